"""`kubeez-mcp-local gallery`: everything that was made, in the browser."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import click

from kubeez_mcp_local.cli.terminal import run_with_bridge
from kubeez_mcp_local.errors import KubeezError

if TYPE_CHECKING:
    from kubeez_mcp_local.bridge import Bridge
    from kubeez_mcp_local.cli.main import Options


@click.command()
@click.option("--run", "run_name", default="", metavar="NAME", help="Only the outputs of this run of a recipe.")
@click.option("--no-open", is_flag=True, help="Print the address and open no browser.")
@click.pass_obj
def gallery(options: Options, run_name: str, no_open: bool) -> None:
    """Show everything that was made in the browser, until Ctrl-C. The address works on this machine only."""
    view = {"run": run_name} if run_name else {}

    async def serve(bridge: Bridge) -> None:
        address = bridge.pages.address("gallery", **view)
        print(address, flush=True)
        print("Ctrl-C ends it.", file=sys.stderr)
        if not no_open:
            await anyio.to_thread.run_sync(click.launch, address)
        await bridge.pages.ended()
        raise KubeezError("The page is not served any more.", next_step="Start it again.", code="page_unavailable")

    run_with_bridge(options.settings(), serve)
