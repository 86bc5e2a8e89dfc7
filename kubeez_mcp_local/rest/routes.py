"""Every route the bridge uses, with the evidence for it (rest-api.md §1.3, §1.5, §2)."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

Bucket = Literal["media", "music", "dialogue", "ads", "upload", "read"]
Evidence = Literal["documented", "assumed"]
JobKind = Literal["media", "music", "separation"]


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


_MEDIA, _MUSIC, _SPEECH, _ADS = "generate:media", "generate:music", "generate:speech", "generate:ads"
_HISTORY = "read:generations"

_TABLE = (
    Route("health", "GET", "/health", None, "read", keyed=False),
    Route("openapi", "GET", "/openapi.json", None, "read", keyed=False),
    Route("models", "GET", "/v1/models", None, "read"),
    Route("balance", "GET", "/v1/balance", "read:balance", "read"),
    Route("generations", "GET", "/v1/generations", _HISTORY, "read"),
    Route("upload_media", "POST", "/v1/upload/media", _MEDIA, "upload"),
    Route("generate_media", "POST", "/v1/generate/media", _MEDIA, "media", kind="media", spends=True),
    Route("media_status", "GET", "/v1/generate/media/{generation_id}", _HISTORY, "read", kind="media"),
    Route("media_stream", "GET", "/v1/generate/media/{generation_id}/stream", _HISTORY, "read", kind="media"),
    Route("generate_music", "POST", "/v1/generate/music", _MUSIC, "music", kind="music", spends=True),
    Route("music_status", "GET", "/v1/generate/music/{generation_id}", _HISTORY, "read", kind="music"),
    Route("music_stream", "GET", "/v1/generate/music/{generation_id}/stream", _HISTORY, "read", kind="music"),
    # Speech and ad jobs are followed on the media routes (§2.10, §2.11).
    Route("generate_dialogue", "POST", "/v1/generate/dialogue", _SPEECH, "dialogue", kind="media", spends=True),
    Route("create_ad_copy", "POST", "/v1/generate/ad-copy", _ADS, "ads", kind="media", spends=True),
    # From here on only the hosted MCP server is documented; contract.py finds the real path and fields.
    Route("estimate", "POST", "/v1/estimate", None, "read", "assumed"),
    Route("generate_captions", "POST", "/v1/generate/captions", _MEDIA, "media", "assumed", "media", True),
    Route("generate_separation", "POST", "/v1/generate/separation", _MEDIA, "media", "assumed", "separation", True),
    Route(
        "separation_status", "GET", "/v1/generate/separation/{separation_id}", _HISTORY, "read", "assumed", "separation"
    ),
    Route("generate_dubbing", "POST", "/v1/generate/dubbing", _SPEECH, "dialogue", "assumed", "media", True),
    Route("generate_sound", "POST", "/v1/generate/sound", _MEDIA, "media", "assumed", "media", True),
    Route("remove_background", "POST", "/v1/generate/remove-background", _MEDIA, "media", "assumed", "media", True),
    # Documented as synchronous and free for the hosted tool; nothing says so for REST.
    Route("generate_music_persona", "POST", "/v1/generate/music/persona", _MUSIC, "music", "assumed", spends=True),
)

ROUTES: Mapping[str, Route] = MappingProxyType({route.name: route for route in _TABLE})
SCOPES = (_MEDIA, _MUSIC, _SPEECH, _ADS, "read:balance", _HISTORY)


def status_route(kind: JobKind) -> Route:
    """The route on which a job of `kind` is read."""
    return ROUTES[f"{kind}_status"]


def stream_route(kind: JobKind) -> Route | None:
    """The route that streams a job of `kind`, where there is one."""
    return ROUTES.get(f"{kind}_stream")
