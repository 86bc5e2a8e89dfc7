"""The free routes of the API, with the evidence for them (rest-api.md §1.3, §1.5, §2); paid ones are in operations/."""

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
ELSEWHERE = "Use it on https://kubeez.com, or sign in to the hosted server: `kubeez-mcp-local login --hosted`."


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
    Route("media_status", "GET", "/v1/generate/media/{generation_id}", _HISTORY, "read", kind="media"),
    Route("media_stream", "GET", "/v1/generate/media/{generation_id}/stream", _HISTORY, "read", kind="media"),
    Route("music_status", "GET", "/v1/generate/music/{generation_id}", _HISTORY, "read", kind="music"),
    Route("music_stream", "GET", "/v1/generate/music/{generation_id}/stream", _HISTORY, "read", kind="music"),
    Route(
        *("estimate", "POST", "/v1/estimate", None, "read", "assumed"),
        fields=(
            *("model", "generation_type", "duration", "resolution", "quality", "sound"),
            *("reference_video_seconds", "reference_audio_seconds"),
        ),
        called=(("estimat",), ("quote",), ("cost",)),
        instead="Quotes are worked out from the catalogue instead.",
    ),
)

ROUTES: Mapping[str, Route] = MappingProxyType({route.name: route for route in _TABLE})
SCOPES = (_MEDIA, _MUSIC, _SPEECH, _ADS, "read:balance", _HISTORY)
