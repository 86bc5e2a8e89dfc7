"""Keeps secrets of a config off the screen: ours, and those of the servers beside us."""

from __future__ import annotations

import re

from kubeez_mcp_local.logs import redact

_NAMED = re.compile(
    r"""(?ix)
    ( ["']? [\w.-]* (?:key|token|secret|passw|credential|authorization) [\w.-]* ["']? [ \t]* [:=] [ \t]* )
    ( "(?:\\.|[^"\\])*" | '[^']*' | [^\s,\[\]{}"'\#][^,}\#\n]* )"""
)
_REFERENCE = re.compile(r"\$\{[^}]*\}|\$\w+|true|false|null|\d+", re.IGNORECASE)
_WORDS = re.compile(r"\b(?:sk|pk|ghp|gho|ghs|glpat|xox[a-z]|AKIA|eyJ)[\w-]{12,}")


def masked(text: str) -> str:
    """`text` without the values of fields that are named like secrets, and without words that look like keys."""
    return _WORDS.sub("…", redact(_NAMED.sub(_hide, text)))


def _hide(match: re.Match[str]) -> str:
    value = match[2].strip()
    bare = value.strip("\"'")
    if not bare or _REFERENCE.fullmatch(bare):
        return match[0]
    quote = value[0] if value[0] in "\"'" else ""
    return f"{match[1]}{quote}…{quote}"
