"""`kubeez-mcp-local sandbox` and `demo`: the stand-in API by itself, and three ad variants made in it."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import anyio
import click

from kubeez_mcp_local.cli.terminal import remarks, results, run, shown, table
from kubeez_mcp_local.text import spoken

if TYPE_CHECKING:
    from rich.progress import Progress

    from kubeez_mcp_local.cli.main import Options
    from kubeez_mcp_local.runs.client import LocalClient
    from kubeez_mcp_local.settings import Settings

MODEL = "nano-banana-2"
BRIEF = "A light trail running shoe for people who start before sunrise"
ANGLES = {
    "Product as hero": "a trail running shoe on a wet granite ledge, first light, low angle, product photograph",
    "The moment of use": "a runner cresting a ridge above the clouds at dawn, small in a wide landscape",
    "The feeling afterwards": "muddy running shoes beside a steaming cup on cabin steps, morning sun",
}
"""Ways to advertise the brief: their titles and prompts."""


@click.group()
def sandbox() -> None:
    """Run the stand-in API by itself, or empty it. It behaves like the real one and costs nothing."""


@sandbox.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8787, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free port.")
@click.option(
    "--speed",
    type=click.FloatRange(min=0, max=100_000, min_open=True),
    help="How many times faster than life jobs run; default: the setting sandbox_speed.",
)
@click.pass_obj
def serve(options: Options, host: str, port: int, speed: float | None) -> None:
    """Serve the stand-in until it is stopped (Ctrl-C)."""
    from kubeez_mcp_local.logs import configure_logging
    from kubeez_mcp_local.sandbox.embedded import serve as serve_sandbox

    settings = options.settings(mode="sandbox", sandbox_speed=speed)
    configure_logging(settings.log_level)
    serve_sandbox(host, port, state_dir=settings.state_dir, speed=settings.sandbox_speed, on_ready=_announce)


@sandbox.command()
@click.pass_obj
def reset(options: Options) -> None:
    """Forget every account, job and file of the sandbox. Your ledger and saved outputs stay."""
    from shutil import rmtree

    from kubeez_mcp_local.jobs.job import SANDBOX
    from kubeez_mcp_local.runs.prepare import RUNS
    from kubeez_mcp_local.sandbox.embedded import folder_of
    from kubeez_mcp_local.sandbox.embedded import reset as reset_sandbox

    state_dir = options.settings(mode="sandbox").state_dir
    reset_sandbox(state_dir)
    rmtree(state_dir / RUNS / SANDBOX, ignore_errors=True)  # runs of recipes, whose jobs are gone
    print(f"The sandbox in {folder_of(state_dir)} is empty.")


def _announce(origin: str) -> None:
    print(f"Sandbox of the Kubeez API: {origin}. Any key that begins with sk_live_ works; nothing costs anything.")
    print(f"Use it with: KUBEEZ_MODE=sandbox KUBEEZ_BASE_URL={origin}", flush=True)


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


async def _variants(settings: Settings) -> tuple[dict[str, dict[str, Any]], Path]:
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from kubeez_mcp_local.bridge import Bridge
    from kubeez_mcp_local.mcp_server.server import KubeezServer
    from kubeez_mcp_local.media.sheet import SheetItem, comparison_sheet
    from kubeez_mcp_local.runs.client import LocalClient

    made: dict[str, dict[str, Any]] = {}
    state = TextColumn("{task.fields[state]}", markup=False)
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(), state)
    with Progress(*columns, TimeElapsedColumn(), console=remarks()) as progress:
        async with (
            LocalClient(Bridge(settings), KubeezServer, name="kubeez-demo") as client,
            anyio.create_task_group() as tasks,
        ):
            for title in ANGLES:
                tasks.start_soon(_variant, client, title, settings.sandbox_speed, progress, made)
    in_order = {title: made[title] for title in ANGLES}
    charged = {title: f"{MODEL} · {spoken(one['cost']['charged'])}" for title, one in in_order.items()}
    items = [SheetItem(_file_of(one), title, charged[title]) for title, one in in_order.items()]
    return in_order, await comparison_sheet(items, settings.output_dir / "comparison.png", heading=BRIEF)


async def _variant(
    client: LocalClient, title: str, speed: float, bars: Progress, made: dict[str, dict[str, Any]]
) -> None:
    bar = bars.add_task(f"{title:<24}", total=100, state="quoting")
    quote = await client("estimate", {"model": MODEL})
    bars.update(bar, state=f"{spoken(quote['credits'])}")
    started = await client("generate_media", {"prompt": ANGLES[title], "model": MODEL, "aspect_ratio": "4:5"})
    job = started["generation_id"]

    async def moved(progress: float, total: float | None, message: str | None) -> None:
        share = min(progress * speed / total, 0.95) if total else 0.5
        bars.update(bar, completed=100 * share, state=message or "running")

    while True:
        result = await client("wait_for_generation", {"id": job}, progress=moved)
        if result["status"] not in ("pending", "processing"):
            break
    bars.update(bar, completed=100, state=result["status"])
    made[title] = result


def _file_of(result: dict[str, Any]) -> Path:
    return Path(result["files"][0]["path"])


def _report(made: dict[str, dict[str, Any]], sheet: Path) -> None:
    from rich.box import HEAVY_HEAD

    costs = table("variant", "model", "quoted", "charged", "file", right=("quoted", "charged"))
    costs.title, costs.box = "What it cost", HEAVY_HEAD
    for title, one in made.items():
        cost = one["cost"]
        costs.add_row(title, MODEL, f"{cost['quoted']:g}", f"{cost['charged']:g}", shown(_file_of(one)))
    costs.add_section()
    quoted, charged = (sum(one["cost"][kind] for one in made.values()) for kind in ("quoted", "charged"))
    costs.add_row("together", "", f"{quoted:g}", f"{charged:g}", "")
    console = results()
    console.print(costs)
    console.print(f"Comparison sheet: {shown(sheet)}")
    console.print(f"This was a rehearsal with play credits and marked pictures. Live it would cost {spoken(charged)}.")
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
