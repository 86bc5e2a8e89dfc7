"""Which of several fitting models to recommend when the user named no preference.

An opinion, kept in one place: models that serve most people well at a middling price. It only ever chooses among
models that fit; without one of these the numbers decide.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kubeez_mcp_local.catalogue.intent import Intent
    from kubeez_mcp_local.catalogue.model import Model
    from kubeez_mcp_local.catalogue.pick import Choice
    from kubeez_mcp_local.catalogue.wish import Candidate

_USUAL: dict[str, tuple[str, ...]] = {
    "text-to-image": ("nano-banana-2", "nano-banana-2-2K", "nano-banana-2-4K", "seedream-v4-5"),
    "image-to-image": ("nano-banana-2", "nano-banana-edit", "nano-banana-2-2K", "nano-banana-2-4K"),
    "text-to-video": ("seedance-1-5-pro-720p-4s", "seedance-1-5-pro-720p-8s", "seedance-1-5-pro-720p-12s"),
    "image-to-video": ("seedance-1-5-pro-720p-4s", "seedance-1-5-pro-720p-8s", "seedance-1-5-pro-720p-12s"),
}
_LOGO = ("Logo-maker",)
_VIDEO_REFERENCE = "gemini-omni-video-hd"


def recommended(choice: Choice, intent: Intent, named: Model | None = None) -> Candidate | None:
    """The fitting candidate to recommend: the one that the user named if it fits; `None` if nothing fits."""
    by_name = next((held for held in choice.ranked if named and held.model.id == named.id), None)
    if choice.chosen is None or by_name or intent.prefer is not None:
        return by_name or choice.chosen
    if "video" in choice.wish.inputs:
        follows = (held for held in choice.ranked if held.model.id.startswith(_VIDEO_REFERENCE))
        return next(follows, choice.chosen)
    usual = _usual(choice.wish.task, intent)
    by_id = {held.model.id.lower(): held for held in choice.ranked}
    return next((by_id[name.lower()] for name in usual if name.lower() in by_id), choice.chosen)


def _usual(task: str, intent: Intent) -> tuple[str, ...]:
    plain = _USUAL.get(task, ())
    if intent.logo and task == "text-to-image":
        return (*_LOGO, *plain)
    return tuple(f"{name}-audio" for name in plain) if intent.sound else plain
