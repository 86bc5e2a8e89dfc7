"""Which models a sentence names: "use Kling", "with nano banana pro", "a Veo 3.1 video"."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from kubeez_mcp_local.catalogue.model import Model

# A single word of an id is often an ordinary word, so it counts only where a model is meant.
_INTRODUCING = ("use", "uses", "using", "with", "via", "by", "in")
_WHAT_IT_MAKES = (
    "image",
    "images",
    "picture",
    "pictures",
    "video",
    "videos",
    "clip",
    "clips",
    "model",
    "song",
    "music",
)


def named_models(text: str, models: Iterable[Model]) -> tuple[Model, ...]:
    """The models whose id begins with the longest run of words found in `text`; none if nothing is named."""
    words = _words(text)
    lengths = {model.id: _longest_run(_words(model.id), words) for model in models}
    longest = max(lengths.values(), default=0)
    return tuple(model for model in models if longest and lengths[model.id] == longest)


def exactly_named(text: str, models: Iterable[Model]) -> Model | None:
    """The model whose whole id is in `text`; the longest id of several."""
    words = _words(text)
    whole = [model for model in models if _longest_run(name := _words(model.id), words) == len(name)]
    return max(whole, key=lambda model: len(model.id), default=None)


def _words(text: str) -> list[str]:
    """Letters and figures apart where a name is followed by its version: `Veo3.1` as `veo 3 1`."""
    return re.findall(r"[a-z]+(?![a-z])|\d+[a-z]*", text.lower())


def _longest_run(name: Sequence[str], words: Sequence[str]) -> int:
    longest = 0
    for start in range(len(words)):
        run = 0
        while run < len(name) and start + run < len(words) and name[run] == words[start + run]:
            run += 1
        if run > 1 or (run == 1 and _is_meant(words, start)):
            longest = max(longest, run)
    return longest


def _is_meant(words: Sequence[str], place: int) -> bool:
    before = words[place - 1] if place else ""
    after = words[place + 1] if place + 1 < len(words) else ""
    return words[place].isalpha() and len(words[place]) > 2 and (before in _INTRODUCING or after in _WHAT_IT_MAKES)
