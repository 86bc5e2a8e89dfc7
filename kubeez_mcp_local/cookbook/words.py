"""Makes the words of an untrusted recipe fit to be shown: one line, no control characters, no posing as the system."""

from __future__ import annotations

import re
import unicodedata

MAX_DESCRIPTION = 200
MAX_TITLE = 80
WITHHELD = "(withheld: it reads as instructions to the assistant, not as a description)"

_ROLE_MARK = re.compile(r"<\|[^|>]{0,40}\|>|</?\s*[a-zA-Z_][^<>]{0,60}>|\[/?(?:INST|SYS|SYSTEM)\]|<<\s*/?SYS\s*>>")
_ROLE_START = re.compile(r"(?:^|(?<=[.!?;#*]))[\s#*]*(?:system|assistant|developer|user|human)\s*(?:prompt)?\s*:", re.I)
_ORDERS = re.compile(
    r"\b(?:ignore|disregard|forget|override)\b.{0,40}\b(?:instruction|prompt|rule|polic|guideline|limit|confirmation)"
    r"|\byou (?:are now|must now|must always)\b|\bdo not (?:ask|tell|confirm)\b|\bwithout (?:asking|confirm)",
    re.I,
)
_PLAIN = re.compile(r"[A-Za-z0-9 ,.()'/&+-]*\Z")


def one_line(text: str, limit: int = MAX_DESCRIPTION) -> str:
    """`text` on one line of at most `limit` characters, without control, format or private-use characters."""
    if len(text) <= limit and _PLAIN.match(text) and not _ORDERS.search(text):
        return text.strip()
    visible = "".join(" " if unicodedata.category(char)[0] in "CZ" else char for char in text[: limit * 8])
    calm = " ".join(_ROLE_START.sub(" ", _ROLE_MARK.sub(" ", visible)).split())
    if _ORDERS.search(calm):
        return WITHHELD
    return calm if len(calm) <= limit else calm[: limit - 1].rstrip() + "…"
