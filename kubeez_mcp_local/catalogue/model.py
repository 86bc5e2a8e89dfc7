"""One catalogue row: what a model takes, what it costs, and what nobody has recorded about it.

Row fields and their aliases: API reference §2.2. A field that the row does not carry is `None` or empty, meaning
"not recorded"; nothing may be refused on its account.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from kubeez_mcp_local.catalogue import ids

if TYPE_CHECKING:
    from collections.abc import Mapping

InputKind = Literal["image", "video", "audio"]
Sound = Literal["none", "toggle", "included", "unknown"]


@dataclass(frozen=True)
class Model:
    """A model of the catalogue.

    Attributes:
        credits: Price of one generation in credits; a mere reference price where a rate applies. `None`: unknown.
        seconds: Usual processing time in seconds; `None`: not recorded.
        prompt_max: Longest prompt in characters; `None`: not recorded.
        ratios: Aspect ratios on offer; empty: the model has no ratio control.
        durations: Clip lengths on offer, in seconds; empty: fixed by the id, or no choice.
        max_images: Most images a request may hold; `None`: not recorded. Likewise videos and audios.
        sound: `toggle`: the `sound` field switches it; `included`: always there; `unknown`: not recorded.
        row: The row as received.
    """

    id: str
    name: str
    type: str
    provider: str = ""
    credits: float | None = None
    seconds: int | None = None
    generation_types: tuple[str, ...] = ()
    requires_input: bool = False
    input_types: tuple[str, ...] = ()
    prompt_max: int | None = None
    ratios: tuple[str, ...] = ()
    durations: tuple[int, ...] = ()
    resolutions: tuple[str, ...] = ()
    qualities: tuple[str, ...] = ()
    max_images: int | None = None
    max_videos: int | None = None
    max_audios: int | None = None
    sound: Sound = "unknown"
    voices: tuple[str, ...] = ()
    usage_notes: str = ""
    cost_note: str = ""
    website_only: bool = False
    duration_spellings: Mapping[int, str] = field(default_factory=dict, compare=False, repr=False)
    row: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @cached_property
    def family(self) -> str:
        """The id without length, tier and mode, to group variants by."""
        return ids.family(self.id)

    @cached_property
    def fixed_seconds(self) -> int | None:
        """The clip length that the id fixes, in seconds."""
        return ids.fixed_seconds(self.id)

    @cached_property
    def tier(self) -> str | None:
        """The resolution that the id fixes, such as `2K` or `720p`."""
        return ids.tier(self.id)

    @property
    def makes_media(self) -> bool:
        """Whether `generate_media` can run it: an image or video model with a prompt."""
        return self.type in ("image", "video") and self.id.lower() not in ("ad-copy", "remove-background")

    @property
    def only_logos(self) -> bool:
        """Whether it is made for logos, so that its price says nothing about other pictures."""
        return self.id.lower().startswith("logo-")

    @property
    def only_from_text(self) -> bool:
        """Whether the row says that nothing can be attached."""
        takes = [value for value in (self.max_images, self.max_videos, self.max_audios) if value is not None]
        from_inputs = [kind for kind in self.generation_types if not kind.startswith("text-")]
        return bool(takes) and not any(takes) and not from_inputs

    @property
    def needs_input(self) -> bool:
        """Whether a request without inputs cannot work."""
        from_text = [kind for kind in self.generation_types if kind.startswith("text-")]
        return self.requires_input or (bool(self.generation_types) and not from_text)

    def limit(self, kind: InputKind) -> int | None:
        """How many inputs of `kind` fit; `None`: not recorded."""
        return {"image": self.max_images, "video": self.max_videos, "audio": self.max_audios}[kind]
