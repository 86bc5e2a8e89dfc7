"""One line of what `doctor` found."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from kubeez_mcp_local.text import without_keys


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True)
class Finding:
    """What was looked at, how it is, and what to do about it; a key in the words is cut out."""

    check: str
    level: Level
    detail: str
    next_step: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "detail", without_keys(self.detail))
        object.__setattr__(self, "next_step", without_keys(self.next_step))

    def as_json(self) -> dict[str, str]:
        return {"check": self.check, "level": self.level, "detail": self.detail, "next_step": self.next_step}


def ok(check: str, detail: str) -> Finding:
    """It is as it should be."""
    return Finding(check, Level.OK, detail)


def warning(check: str, detail: str, next_step: str = "") -> Finding:
    """It works, but perhaps not as was meant."""
    return Finding(check, Level.WARNING, detail, next_step)


def problem(check: str, detail: str, next_step: str = "") -> Finding:
    """It keeps something from working."""
    return Finding(check, Level.PROBLEM, detail, next_step)
