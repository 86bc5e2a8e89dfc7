"""What goes to the terminal, one console for results and one for everything said on the way, and how commands run."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

import anyio
from rich.console import Console
from rich.text import Text

from kubeez_mcp_local.errors import first_error_in
from kubeez_mcp_local.logs import configure_logging
from kubeez_mcp_local.text import LONGEST_VALUE, cut_and_counted, escaped_json, visible

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable

    from rich.console import ConsoleOptions, RenderableType
    from rich.segment import Segment
    from rich.table import Table

    from kubeez_mcp_local.bridge import Bridge
    from kubeez_mcp_local.settings import Settings


_PLAIN_WIDTH = 120


def results() -> Console:
    """The console on stdout, for what the command was asked for."""
    return _console(sys.stdout)


def remarks() -> Console:
    """The console on stderr, for progress, questions and hints."""
    return _console(sys.stderr)


def print_json(value: Any) -> None:
    """Write `value` to stdout as JSON and nothing else, with escapes for what its encoding cannot say."""
    text = escaped_json(json.dumps(value, indent=2, ensure_ascii=False))
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(value, indent=2)
    print(text)


def table(*headings: str, right: Collection[str] = ()) -> Table:
    """A table without lines and rows; the columns in `right` hold numbers, and the last one breaks what is long."""
    from rich.table import Table

    made = Table(box=None, header_style="bold")
    for heading in headings:
        made.add_column(heading, justify="right" if heading in right else "left", no_wrap=heading in right)
    made.columns[-1].overflow = "fold"
    return made


def can_ask() -> bool:
    """Whether a person sits at the terminal who can answer a question."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def shown(path: str | Path) -> str:
    """`path` as a person would type it here."""
    from kubeez_mcp_local.settings import current_folder

    path, here = Path(path), current_folder()
    return str(path.relative_to(here)) if here and path.is_relative_to(here) else str(path)


class _SeenConsole(Console):
    """Shows every character that would steer a terminal, whoever wrote it and wherever it stands; reads no markup."""

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(_seen(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        if isinstance(renderable, Text) and _seen(renderable.plain) != renderable.plain:
            renderable = Text(_seen(renderable.plain), renderable.style)
        return super().render(renderable, options)


def _seen(text: str) -> str:
    return cut_and_counted(visible(text), LONGEST_VALUE)


def _console(stream: TextIO) -> Console:
    width = None if stream.isatty() else _PLAIN_WIDTH
    return _SeenConsole(file=stream, highlight=False, markup=False, emoji=False, width=width)


T = TypeVar("T")


def run(settings: Settings, work: Callable[[], Awaitable[T]]) -> T:
    """Run `work` to its end with logging as `settings` say; what it raises is taken out of task groups."""
    configure_logging(settings.log_level, settings.log_file)
    try:
        return anyio.run(work)
    except BaseExceptionGroup as group:
        raise first_error_in(group) from None


def run_with_bridge(settings: Settings, work: Callable[[Bridge], Awaitable[T]]) -> T:
    """Run `work` with a bridge that is open meanwhile; as `run`."""
    from kubeez_mcp_local.bridge import Bridge

    async def inside() -> T:
        async with Bridge(settings) as bridge:
            return await work(bridge)

    return run(settings, inside)
