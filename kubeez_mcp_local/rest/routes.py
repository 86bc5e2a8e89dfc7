"""Every route the bridge uses, with the evidence for it (rest-api.md §1.3, §1.5, §2)."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

Bucket = Literal["media", "music", "dialogue", "ads", "upload", "read"]
Evidence = Literal["documented", "assumed"]
JobKind = str
"""How a job is followed: the `media` of the routes `media_status` and `media_stream`."""
ELSEWHERE = "Use it on https://kubeez.com, or through the hosted MCP server https://mcp.kubeez.com/mcp."


@dataclass(frozen=True)
class Route:
    """One operation of the API.

    Attributes:
        path: Template such as `/v1/generate/media/{generation_id}`. For an assumed route only a guess, which is
            never sent before the API's own document confirms or corrects it.
        scope: What the key must be allowed to do; `None` where no scope is known to be needed.
        bucket: The per-minute limit this route counts against.
        kind: How a job that this route starts is followed; `None` when it starts none.
        spends: Whether a call can cost credits.
        fields: What its body may hold.
        unproven: Fields known only from the hosted MCP tool or from one old client. A server that does not know
            them ignores them silently, so `Contract.prepare` has to find them published before they are sent.
        called: What the operation behind an assumed route has to be called: in one of these groups, every stem has to
            begin a word of its path or id.
        instead: What a user can do where the API does not offer it.
    """

    name: str
    method: Literal["GET", "POST"]
    path: str
    scope: str | None
    bucket: Bucket
    evidence: Evidence = "documented"
    kind: JobKind | None = None
    spends: bool = False
    keyed: bool = True
    fields: tuple[str, ...] = ()
    unproven: frozenset[str] = frozenset()
    called: tuple[tuple[str, ...], ...] = ()
    instead: str = ELSEWHERE


@dataclass(frozen=True)
class Request:
    """What is sent to start something: a route, and a JSON body without absent fields."""

    route: Route
    body: Mapping[str, Any]


_MEDIA, _MUSIC, _SPEECH, _ADS = "generate:media", "generate:music", "generate:speech", "generate:ads"
_HISTORY = "read:generations"

_TABLE = (
    Route("health", "GET", "/health", None, "read", keyed=False),
    Route("openapi", "GET", "/openapi.json", None, "read", keyed=False),
    Route("models", "GET", "/v1/models", None, "read"),
    Route("balance", "GET", "/v1/balance", "read:balance", "read"),
    Route("generations", "GET", "/v1/generations", _HISTORY, "read"),
    Route("upload_media", "POST", "/v1/upload/media", _MEDIA, "upload"),
    Route(
        *("generate_media", "POST", "/v1/generate/media", _MEDIA, "media"),
        kind="media",
        spends=True,
        fields=(
            *("prompt", "model", "generation_type", "negative_prompt", "source_media_urls", "aspect_ratio", "duration"),
            *("quality", "resolution", "sound", "seed", "fixed_lens", "voice_id", "character_ids"),
        ),
        unproven=frozenset({"fixed_lens", "voice_id", "character_ids"}),
    ),
    Route("media_status", "GET", "/v1/generate/media/{generation_id}", _HISTORY, "read", kind="media"),
    Route("media_stream", "GET", "/v1/generate/media/{generation_id}/stream", _HISTORY, "read", kind="media"),
    Route(
        *("generate_music", "POST", "/v1/generate/music", _MUSIC, "music"),
        kind="music",
        spends=True,
        fields=(
            *("prompt", "instrumental", "model", "title", "style", "vocal_gender", "song_description", "lyrics"),
            *("negative_tags", "style_weight", "weirdness_constraint", "audio_weight", "persona_id"),
        ),
        unproven=frozenset({"persona_id"}),
    ),
    Route("music_status", "GET", "/v1/generate/music/{generation_id}", _HISTORY, "read", kind="music"),
    Route("music_stream", "GET", "/v1/generate/music/{generation_id}/stream", _HISTORY, "read", kind="music"),
    # Speech and ad jobs are followed on the media routes (§2.10, §2.11).
    Route(
        *("generate_dialogue", "POST", "/v1/generate/dialogue", _SPEECH, "dialogue"),
        kind="media",
        spends=True,
        fields=("dialogue", "stability", "language_code", "provider"),
        unproven=frozenset({"provider"}),
    ),
    Route(
        *("create_ad_copy", "POST", "/v1/generate/ad-copy", _ADS, "ads"),
        kind="media",
        spends=True,
        fields=(
            *("reference_ad_url", "product_image_url", "product_text", "language", "variant_count", "aspect_ratio"),
        ),
    ),
    # From here on only the hosted MCP server is documented; contract.py finds the real path and fields.
    Route(
        *("estimate", "POST", "/v1/estimate", None, "read", "assumed"),
        fields=(
            *("model", "generation_type", "duration", "resolution", "quality", "sound"),
            *("reference_video_seconds", "reference_audio_seconds"),
        ),
        called=(("estimat",), ("quote",), ("cost",)),
        instead="Quotes are worked out from the catalogue instead.",
    ),
    Route(
        *("generate_captions", "POST", "/v1/generate/captions", _MEDIA, "media", "assumed", "media", True),
        fields=("media_url", "quality", "language", "style"),
        called=(("caption",), ("subtitle",)),
    ),
    Route(
        *("generate_separation", "POST", "/v1/generate/separation", _MEDIA, "media", "assumed", "separation", True),
        fields=("media_url",),
        called=(("separat",), ("stem",)),
    ),
    Route(
        *("separation_status", "GET", "/v1/generate/separation/{separation_id}", _HISTORY, "read", "assumed"),
        kind="separation",
        called=(("separat",), ("stem",)),
        instead="See the job on https://kubeez.com.",
    ),
    Route(
        *("generate_dubbing", "POST", "/v1/generate/dubbing", _SPEECH, "dialogue", "assumed", "media", True),
        fields=("video_url", "languages", "model", "source_language", "cloning_strength", "ducking"),
        called=(("dub",),),
    ),
    Route(
        *("generate_sound", "POST", "/v1/generate/sound", _MEDIA, "media", "assumed", "media", True),
        fields=("model", "prompt", "video_url", "music_prompt", "sfx_prompt", "duration"),
        called=(("sound",), ("sfx",)),
    ),
    Route(
        *("remove_background", "POST", "/v1/generate/remove-background", _MEDIA, "media", "assumed", "media", True),
        fields=("image_url",),
        called=(("background", "remov"), ("bg", "remov"), ("rembg",)),
    ),
    # Documented as synchronous and free for the hosted tool; nothing says so for REST.
    Route(
        *("generate_music_persona", "POST", "/v1/generate/music/persona", _MUSIC, "music", "assumed"),
        spends=True,
        fields=("song_id", "name", "description", "style"),
        called=(("persona",),),
    ),
)

ROUTES: Mapping[str, Route] = MappingProxyType({route.name: route for route in _TABLE})
SCOPES = (_MEDIA, _MUSIC, _SPEECH, _ADS, "read:balance", _HISTORY)

KINDS: tuple[JobKind, ...] = tuple(name.removesuffix("_status") for name in ROUTES if name.endswith("_status"))
