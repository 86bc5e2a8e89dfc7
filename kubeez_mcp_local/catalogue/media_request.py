"""An image or video request, before and after it was brought into the shape that its model takes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kubeez_mcp_local.catalogue.model import InputKind


@dataclass(frozen=True)
class MediaRequest:
    """What `generate_media` is asked for; `check_media` returns the same type, ready to send.

    Attributes:
        inputs: The kind of each input, in order; `None` where a URL's kind is not known.
        duration: Seconds, as 5, "5" or "5s"; after the check exactly as the model's row spells it.
        notes: What the check changed or left out, in words for the user.
    """

    prompt: str
    model: str
    generation_type: str | None = None
    negative_prompt: str | None = None
    inputs: tuple[InputKind | None, ...] = ()
    aspect_ratio: str | None = None
    duration: str | int | float | None = None
    quality: str | None = None
    resolution: str | None = None
    sound: bool | None = None
    seed: int | None = None
    voice_id: str | None = None
    character_ids: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def noting(self, note: str) -> MediaRequest:
        """The same request with one more note, unless it is there already."""
        return self if note in self.notes else replace(self, notes=(*self.notes, note))
