"""Counts the work of a template while it renders, so that a hostile one stops soon instead of filling the machine."""

from __future__ import annotations

import time
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kubeez_mcp_local.cookbook.problems import TemplateError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MAX_TEXT = 200_000
MAX_NUMBER = 10**15


class TooMuchWork(TemplateError):  # noqa: N818 - reads as what happened
    """A template asked for more loops, text or time than a recipe may use."""

    code = "template_too_costly"


@dataclass(slots=True)
class Meter:
    """What one rendering may still use: rounds of loops, characters built, seconds."""

    clock: Callable[[], float] = time.monotonic
    rounds: int = 20_000
    characters: int = 5_000_000
    entries: int = 500_000
    seconds: float = 2.0
    _deadline: float = field(init=False)

    def __post_init__(self) -> None:
        self._deadline = self.clock() + self.seconds

    def round(self) -> None:
        self.rounds -= 1
        if self.rounds < 0:
            raise TooMuchWork("The template loops too often; 20,000 rounds are allowed in all.")
        self.check_time()

    def text(self, length: int) -> None:
        if length > MAX_TEXT:
            raise TooMuchWork(f"The template builds a text of {length:,} characters; {MAX_TEXT:,} are allowed.")
        self.characters -= length
        if self.characters < 0:
            raise TooMuchWork("The template builds too much text.")
        self.check_time()

    def list(self, length: int) -> None:
        self.entries -= length
        if self.entries < 0:
            raise TooMuchWork("The template builds lists that are too long or nested too often.")
        self.check_time()

    def check_time(self) -> None:
        if self.clock() > self._deadline:
            raise TooMuchWork(f"The template took longer than {self.seconds:g} s.")


_current: ContextVar[Meter | None] = ContextVar("meter", default=None)


@contextmanager
def metered(meter: Meter) -> Iterator[Meter]:
    """Charge everything that renders inside to `meter`."""
    token = _current.set(meter)
    try:
        yield meter
    finally:
        _current.reset(token)


def meter() -> Meter:
    """The meter of the rendering under way."""
    return _current.get() or Meter()


def counted(values: Any) -> Iterator[Any]:
    """`values`, each round of the loop over them charged."""
    for value in values:
        meter().round()
        yield value


def weigh(value: Any) -> Any:
    """`value`, charged by its size with all it holds; numbers beyond 10^15 are refused."""
    if isinstance(value, str):
        meter().text(len(value))
    elif isinstance(value, (list, tuple, dict)):
        _weigh_nested(value)
    elif isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) > MAX_NUMBER:
        raise TooMuchWork("The template computes with numbers beyond 10^15.")
    return value


def _weigh_nested(value: Any) -> None:
    """Charge every entry as often as it would be written: a list that holds itself many times is huge as text."""
    charge = meter()
    waiting = [value]
    while waiting:
        entries = waiting.pop()
        charge.list(len(entries) + 1)
        inner = entries.values() if isinstance(entries, dict) else entries
        waiting.extend(entry for entry in inner if isinstance(entry, (list, tuple, dict)))
