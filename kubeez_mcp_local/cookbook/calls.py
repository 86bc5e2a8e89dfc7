"""How a recipe calls tools: the protocol of the caller, and what the cookbook must know about each tool."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from kubeez_mcp_local.errors import KubeezError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kubeez_mcp_local.jobs.order import RunCall

PAID_TOOLS = frozenset(
    {
        "create_ad_copy",
        "generate_captions",
        "generate_dialogue",
        "generate_dubbing",
        "generate_media",
        "generate_music",
        "generate_separation",
        "generate_sound",
        "regenerate",
        "remove_background",
    }
)
READING_TOOLS = frozenset(
    {
        "estimate",
        "get_balance",
        "get_generation",
        "get_generations",
        "get_models",
        "get_skill",
        "get_status",
        "pick_model",
    }
    | {"plan", "view_media", "wait_for_generation", "list_gemini_omni_voices"}
)
FORBIDDEN_TOOLS = frozenset({"run_recipe", "save_recipe", "manage_library"})
FILE_ARGUMENTS = frozenset(
    {"source_media_urls", "media_url", "image_url", "video_url", "source_url", "reference_ad_url", "product_image_url"}
    | {"path", "paths", "file", "files", "url", "audio_url"}
)
# What `estimate` needs to know; everything else in a call does not move the price.
_PRICED_BY = ("model", "generation_type", "duration", "resolution", "quality", "sound", "variant_count")
_MODEL_OF = {
    "create_ad_copy": "ad-copy",
    "generate_captions": "auto-caption",
    "generate_dialogue": "text-to-dialogue-v3",
    "generate_dubbing": "sonilo-dubbing",
    "generate_music": "V5_5",
    "generate_separation": "mvsep-40",
    "remove_background": "remove-background",
}


class ToolCallError(KubeezError):
    """A tool refused or failed. `code` is the tool's own code where it is known."""

    code = "tool_failed"

    def __init__(
        self,
        message: str,
        *,
        code: str = "",
        next_step: str = "",
        spent: bool | None = False,
        retry_safe: bool = False,
    ) -> None:
        super().__init__(message, next_step=next_step, spent=spent, retry_safe=retry_safe)
        if code:
            self.code = code


class ToolCaller(Protocol):
    """Calls a tool as any client would, and returns its structured result.

    Raises a `KubeezError` (such as `ToolCallError`) when the tool refuses; `spent=None` says its fate is unknown.
    """

    async def __call__(
        self, tool: str, arguments: Mapping[str, Any], *, run: RunCall | None = None
    ) -> Mapping[str, Any]:
        """Call `tool`.

        Args:
            tool: Its name.
            arguments: Its arguments.
            run: For paid calls of a run, which one it is: a second call of that name gets the job of the first.
        """
        ...


async def read(call: ToolCaller, tool: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What a free tool tells.

    Raises:
        KubeezError: It refused, or it picked no model, which nothing can be made with.
    """
    answer = dict(await call(tool, arguments))
    if tool == "pick_model" and not answer.get("model"):
        raise ToolCallError(str(answer.get("summary") or "No model fits."), code="no_model_fits")
    return answer


def estimate_arguments(tool: str, arguments: Mapping[str, Any], hints: Mapping[str, Any]) -> dict[str, Any] | None:
    """Arguments for `estimate` that price a call of `tool`, or `None` when it cannot be priced beforehand."""
    priced = {name: arguments[name] for name in _PRICED_BY if arguments.get(name) is not None}
    model = priced.get("model") or _MODEL_OF.get(tool)
    return {**priced, "model": model, **hints} if model else None
