"""Which recipes an intent in plain words calls for. By the words of their names; no model is asked."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_WORD = re.compile(r"[a-z]{2,}")
_FILLERS = frozenset({"and", "by", "every", "for", "from", "in", "of", "on", "the", "to", "with"})
_ENOUGH = 2
"""Words that must agree: one alone, such as `video`, says too little."""


def fitting_recipes(intent: str, names: Iterable[str]) -> list[str]:
    """Those of `names` that share two words or more with `intent`, the closest first; plurals count as singulars."""
    wanted = _words(intent)
    scores = {name: len(_words(name) & wanted) for name in names}
    return sorted((name for name, score in scores.items() if score >= _ENOUGH), key=lambda name: (-scores[name], name))


def _words(text: str) -> set[str]:
    return {word.removesuffix("s") for word in _WORD.findall(text.lower())} - _FILLERS
