"""How people write ratios."""

from __future__ import annotations

import re


def read_ratio(text: str) -> str:
    """A ratio as `w:h`, from `16:9`, `16x9`, `16/9` or `16 : 9`; other words stay as they are, in lower case."""
    return re.sub(r"\s*[:x/×]\s*", ":", text.strip().lower())
