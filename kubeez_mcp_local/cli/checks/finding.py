"""One line of what `doctor` found."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True)
class Finding:
    """What was looked at, how it is, and what to do about it."""

    check: str
    level: Level
    detail: str
    next_step: str = ""

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
