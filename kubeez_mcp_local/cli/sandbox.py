"""`kubeez-mcp-local sandbox`: the stand-in API by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from kubeez_mcp_local.cli.main import Options


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
