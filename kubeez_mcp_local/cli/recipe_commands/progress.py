"""How far a run is, on a terminal that can show it; nothing anywhere else."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from kubeez_mcp_local.cli.terminal import remarks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kubeez_mcp_local.runs.run import RunEvent


@contextmanager
def progress(title: str, calls: int) -> Iterator[Callable[[RunEvent], None]]:
    """A bar on stderr for the length of a `with` block; call what it gives with each event of the run.

    Args:
        title: What runs.
        calls: How many calls are expected, as far as is known.
    """
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = remarks()
    state = TextColumn("{task.completed}/{task.total} calls · {task.fields[state]}", markup=False)
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(), state)
    with Progress(
        *columns, TimeElapsedColumn(), console=console, disable=not console.is_terminal, transient=True
    ) as bars:
        bar = bars.add_task(title, total=max(calls, 1), state="starting")

        def told(event: RunEvent) -> None:
            words = f"{event.spent:g} credits · {event.key} {event.kind}"
            bars.update(bar, completed=event.done, total=max(event.total, calls, 1), state=words)

        yield told
