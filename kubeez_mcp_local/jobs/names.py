"""File names for outputs: readable, the same on every system, and never anybody else's choice of path."""

from __future__ import annotations

import re
import unicodedata

_SLUG_LENGTH = 48
_ID_LENGTH = 8


def stem_for(prompt: str, model: str, job_id: str) -> str:
    """A file name without extension: a few words of the prompt (or the model) and a short id.

    Only `a-z`, `0-9` and `-`, so nothing can be a path, a hidden file or an option; the id at the end keeps it from
    being a name that Windows reserves, such as `con`.
    """
    return f"{slug(prompt) or slug(model) or 'output'}-{_short(job_id)}"


def slug(text: str) -> str:
    """`A red fox, 35 mm` becomes `a-red-fox-35-mm`; cut at a word where possible, empty if nothing is left."""
    plain = unicodedata.normalize("NFKD", text[:400]).encode("ascii", "ignore").decode().lower()
    whole = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
    if len(whole) <= _SLUG_LENGTH:
        return whole
    cut = whole[: _SLUG_LENGTH + 1]
    return (cut.rpartition("-")[0] or cut[:_SLUG_LENGTH]).strip("-")


def _short(job_id: str) -> str:
    return re.sub(r"[^a-z0-9]", "", job_id.lower())[:_ID_LENGTH] or "x"
