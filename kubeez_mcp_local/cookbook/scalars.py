"""What an unquoted value of front matter means, and what is said when front matter cannot be read."""

from __future__ import annotations

import re
from typing import Any

MAX_DEPTH = 12
NO_VALUES: dict[str, Any] = {"": None, "~": None, "null": None, "Null": None, "NULL": None}
WORDS: dict[str, Any] = NO_VALUES | dict.fromkeys(("true", "True", "TRUE"), True)
WORDS |= dict.fromkeys(("false", "False", "FALSE"), False)
_INTEGER = re.compile(r"[-+]?[0-9]{1,18}\Z")
_NUMBER = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]{1,3})?\Z")

FieldPath = tuple[str | int, ...]


class YamlProblem(Exception):  # noqa: N818 - not an error for users: the caller turns it into a RecipeError
    """What cannot be read, and the line (from 1) within the text given."""

    def __init__(self, line: int, field: FieldPath, reason: str) -> None:
        super().__init__(reason)
        self.line = line
        self.field = field
        self.reason = reason


def plain(text: str) -> Any:
    """The value of an unquoted scalar under the YAML 1.2 core schema."""
    if text in WORDS:
        return WORDS[text]
    if text[0] not in "+-.0123456789":
        return text
    if _INTEGER.match(text):
        return int(text)
    return float(text) if _NUMBER.match(text) else text
