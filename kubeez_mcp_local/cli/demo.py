"""`kubeez-mcp-local demo`: three ad variants through the real server, in the sandbox."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import anyio
import click

from kubeez_mcp_local.cli.terminal import remarks, results, run, shown
from kubeez_mcp_local.text import spoken

if TYPE_CHECKING:
    from rich.progress import Progress

    from kubeez_mcp_local.cli.main import Options
    from kubeez_mcp_local.runs.client import LocalClient
    from kubeez_mcp_local.settings import Settings

MODEL = "nano-banana-2"
BRIEF = "A light trail running shoe for people who start before sunrise"


@dataclass(frozen=True)
class Angle:
    """One way to advertise the brief."""

    title: str
    prompt: str


ANGLES = (
    Angle("Product as hero", "a trail running shoe on a wet granite ledge, first light, low angle, product photograph"),
    Angle("The moment of use", "a runner cresting a ridge above the clouds at dawn, small in a wide landscape"),
    Angle("The feeling afterwards", "muddy running shoes beside a steaming cup on cabin steps, morning sun"),
)


@dataclass(frozen=True)
class Made:
    """One finished variant."""

    angle: Angle
    result: dict[str, Any]

    @property
    def path(self) -> Path:
        return Path(self.result["files"][0]["path"])

    @property
    def quoted(self) -> float:
        return float(self.result["cost"]["quoted"])

    @property
    def charged(self) -> float:
        return float(self.result["cost"]["charged"])


@click.command()
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("kubeez-demo"),
    show_default=True,
    help="Where the pictures go.",
)
@click.pass_obj
def demo(options: Options, output: Path) -> None:
    """Make three ad variants in the sandbox: pictures, a comparison sheet, a table of credits. Free, without a key."""
    with TemporaryDirectory(prefix="kubeez-demo-") as state_dir:
        settings = options.settings(
            mode="sandbox",
            base_url="https://api.kubeez.com",  # never a sandbox that runs elsewhere
            output_dir=str(output.absolute()),
            state_dir=state_dir,
            toolsets="all",
            read_only=False,
        )
        made, sheet = run(settings, lambda: _variants(settings))
    _report(made, sheet)


async def _variants(settings: Settings) -> tuple[list[Made], Path]:
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from kubeez_mcp_local.bridge import Bridge
    from kubeez_mcp_local.mcp_server.server import KubeezServer
    from kubeez_mcp_local.media.sheet import SheetItem, comparison_sheet
    from kubeez_mcp_local.runs.client import LocalClient

    made: dict[str, Made] = {}
    state = TextColumn("{task.fields[state]}", markup=False)
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(), state)
    with Progress(*columns, TimeElapsedColumn(), console=remarks()) as progress:
        async with (
            LocalClient(Bridge(settings), KubeezServer, name="kubeez-demo") as client,
            anyio.create_task_group() as tasks,
        ):
            for angle in ANGLES:
                tasks.start_soon(_variant, client, angle, settings.sandbox_speed, progress, made)
    in_order = [made[angle.title] for angle in ANGLES]
    items = [SheetItem(one.path, one.angle.title, f"{MODEL} · {spoken(one.charged)}") for one in in_order]
    sheet = await comparison_sheet(items, settings.output_dir / "comparison.png", heading=BRIEF)
    return in_order, sheet


async def _variant(client: LocalClient, angle: Angle, speed: float, bars: Progress, made: dict[str, Made]) -> None:
    bar = bars.add_task(f"{angle.title:<24}", total=100, state="quoting")
    quote = await client("estimate", {"model": MODEL})
    bars.update(bar, state=f"{spoken(quote['credits'])}")
    started = await client("generate_media", {"prompt": angle.prompt, "model": MODEL, "aspect_ratio": "4:5"})
    job = started["generation_id"]

    async def moved(progress: float, total: float | None, message: str | None) -> None:
        share = min(progress * speed / total, 0.95) if total else 0.5
        bars.update(bar, completed=100 * share, state=message or "running")

    while True:
        result = await client("wait_for_generation", {"id": job}, progress=moved)
        if result["status"] not in ("pending", "processing"):
            break
    bars.update(bar, completed=100, state=result["status"])
    made[angle.title] = Made(angle, result)


def _report(made: list[Made], sheet: Path) -> None:
    from rich.table import Table

    here = Path.cwd()
    table = Table("variant", "model", title="What it cost")
    table.add_column("quoted", justify="right")
    table.add_column("charged", justify="right")
    table.add_column("file", overflow="fold")
    for one in made:
        row = (one.angle.title, MODEL, f"{one.quoted:g}", f"{one.charged:g}", shown(one.path, here))
        table.add_row(*row)
    table.add_section()
    total = sum(one.charged for one in made)
    table.add_row("together", "", f"{sum(one.quoted for one in made):g}", f"{total:g}", "")
    console = results()
    console.print(table)
    console.print(f"Comparison sheet: {shown(sheet, here)}")
    console.print(f"This was a rehearsal with play credits and marked pictures. Live it would cost {spoken(total)}.")
    console.print(f"Next: {_next_command()}", style="dim")


def _next_command() -> str:
    """How to get from here into the person's own client."""
    from kubeez_mcp_local.cli.clients.installing import is_here
    from kubeez_mcp_local.cli.clients.known import CLIENTS
    from kubeez_mcp_local.cli.clients.launch import Machine

    machine = Machine.this()
    here = [client for client in CLIENTS.values() if is_here(client, machine)]
    if not here:
        return f"`{machine.typed} install` lists the clients it can be added to."
    others = f" (also here: {', '.join(client.name for client in here[1:])})" if here[1:] else ""
    return f"`{machine.typed} install {here[0].name}` adds this to {here[0].title}{others}."
