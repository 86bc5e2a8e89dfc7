"""Which REST call each tool of a recipe becomes (API reference §2)."""

from __future__ import annotations

from dataclasses import dataclass

from kubeez_mcp_local.errors import KubeezError


class NotExportableError(KubeezError):
    """The recipe does something that the wanted form cannot say; the message names it."""

    code = "not_exportable"


@dataclass(frozen=True, slots=True)
class RestCall:
    """The REST side of a paid tool.

    Attributes:
        method: The method of the exported script that builds the body.
        path: Where it is sent.
        kind: How its job is followed: `media`, `music` or `separation`.
        assumed: Whether the path is only assumed; a script then looks into the API's `/openapi.json` before it pays.
        model: Catalogue id for the price when the call names none.
    """

    method: str
    path: str
    kind: str = "media"
    assumed: bool = False
    model: str = ""


REST_CALLS = {
    "generate_media": RestCall("media", "/v1/generate/media"),
    "generate_music": RestCall("music", "/v1/generate/music", "music", model="V5_5"),
    "generate_dialogue": RestCall("dialogue", "/v1/generate/dialogue", model="text-to-dialogue-v3"),
    "create_ad_copy": RestCall("plain", "/v1/generate/ad-copy", model="ad-copy"),
    "generate_captions": RestCall("plain", "/v1/generate/captions", assumed=True, model="auto-caption"),
    "generate_separation": RestCall("plain", "/v1/generate/separation", "separation", assumed=True, model="mvsep-40"),
    "generate_dubbing": RestCall("plain", "/v1/generate/dubbing", assumed=True, model="sonilo-dubbing"),
    "generate_sound": RestCall("plain", "/v1/generate/sound", assumed=True),
    "remove_background": RestCall("plain", "/v1/generate/remove-background", assumed=True, model="remove-background"),
}
# Steps that a script does by itself, or does not need.
IMPLIED_TOOLS = frozenset({"estimate", "get_status", "get_generation", "plan", "view_media", "wait_for_generation"})


def rest_call(tool: str) -> RestCall:
    """The REST side of `tool`.

    Raises:
        NotExportableError: There is none.
    """
    if tool not in REST_CALLS:
        raise NotExportableError(
            f"The tool {tool} has no counterpart in the REST API, so this recipe cannot become a script.",
            next_step="Export it as `skill`, `goose` or `prompt` instead.",
        )
    return REST_CALLS[tool]
