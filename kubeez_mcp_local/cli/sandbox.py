"""`kubeez-mcp-local sandbox` and `demo`: the stand-in API by itself, and three ad variants made in it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click

from kubeez_mcp_local.cli.terminal import results, run, shown, table
from kubeez_mcp_local.text import spoken

if TYPE_CHECKING:
    from kubeez_mcp_local.cli.main import Options
    from kubeez_mcp_local.runs.run import RunReport
    from kubeez_mcp_local.settings import Settings

RECIPE = "three-ad-variants"
BRIEF = "A light trail running shoe for people who start before sunrise"


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
@click.option("--hosted", is_flag=True, help="Also serve the hosted MCP server's tools, at /mcp, with a sign-in.")
@click.option(
    "--token",
    "tokens",
    multiple=True,
    help="A personal access token that --hosted takes, whatever its form; those that begin with kbz_pat_ always work.",
)
@click.pass_obj
def serve(
    options: Options, host: str, port: int, speed: float | None, *, hosted: bool, tokens: tuple[str, ...]
) -> None:
    """Serve the stand-in until it is stopped (Ctrl-C)."""
    from kubeez_mcp_local.logs import configure_logging
    from kubeez_mcp_local.sandbox.embedded import serve as serve_sandbox

    settings = options.settings(mode="sandbox", sandbox_speed=speed)
    configure_logging(settings.log_level, settings.log_file)
    serve_sandbox(
        host,
        port,
        state_dir=settings.state_dir,
        speed=settings.sandbox_speed,
        hosted=hosted,
        tokens=tokens,
        on_ready=partial(_announce, hosted=hosted),
    )


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


def _announce(origin: str, *, hosted: bool) -> None:
    print(f"Sandbox of the Kubeez API: {origin}. Any key that begins with sk_live_ works; nothing costs anything.")
    print(f"Use it with: KUBEEZ_MODE=sandbox KUBEEZ_BASE_URL={origin}", flush=True)
    if hosted:
        print(f"Hosted tools: {origin}/mcp. Any token that begins with kbz_pat_ works, and so does signing in.")
        print(f"Use them with: KUBEEZ_MCP_URL={origin}/mcp KUBEEZ_MCP_TOKEN=kbz_pat_example", flush=True)


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
        run(settings, lambda: _variants(settings))


async def _variants(settings: Settings) -> None:
    from kubeez_mcp_local.cli.recipe_commands.running import recipe_client, shown_run
    from kubeez_mcp_local.cookbook.library import Library
    from kubeez_mcp_local.runs.prepare import prepare_run

    recipe = Library.of().get(RECIPE)
    async with recipe_client(settings, recipe) as (bridge, client):
        given = {"brief": BRIEF, "aspect_ratio": "4:5"}
        await shown_run(bridge, client, await prepare_run(bridge, recipe, given, client, run_id="demo"), _report)
    results().print(f"Next: {_next_command()}", style="dim")


def _report(report: RunReport) -> None:
    from rich.box import HEAVY_HEAD

    costs = table("variant", "model", "quoted", "charged", "file", right=("quoted", "charged"))
    costs.title, costs.box = "What it cost", HEAVY_HEAD
    made = [(call, (call.result or {}).get("cost") or {}) for call in report.calls]
    for call, cost in made:
        model = str((call.result or {}).get("model"))
        costs.add_row(call.label, model, f"{cost['quoted']:g}", f"{call.credits:g}", Path(call.files[0]).name)
    costs.add_section()
    quoted = sum(cost["quoted"] for _, cost in made)
    costs.add_row("together", "", f"{quoted:g}", f"{report.spent:g}", "")
    console = results()
    console.print(costs)
    console.print(f"Files: {shown(Path(report.calls[0].files[0]).parent)}", soft_wrap=True)
    console.print(
        f"This was a rehearsal with play credits and marked pictures. Live it would cost {spoken(report.spent)}."
    )


def _next_command() -> str:
    """How to get from here into the person's own client."""
    from kubeez_mcp_local.cli.clients.installing import look_everywhere
    from kubeez_mcp_local.cli.clients.launch import Machine

    machine = Machine.this()
    here = [found for found in look_everywhere(machine) if found.here]
    without = [found.client for found in here if found.state == "–"]
    having = [found.client.title for found in here if found.state == "yes"]
    if without:
        others = f" (also here: {', '.join(client.name for client in without[1:])})" if without[1:] else ""
        return f"`{machine.typed} install {without[0].name}` adds this to {without[0].title}{others}."
    if having:
        return f"ask for a picture in {having[0]}; for real ones, `{machine.typed} login` keeps your key."
    return f"`{machine.typed} install` lists the clients it can be added to."
