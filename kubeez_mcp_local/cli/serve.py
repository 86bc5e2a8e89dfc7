"""`kubeez-mcp-local serve`: MCP over stdio."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from kubeez_mcp_local.cli.main import Options


@click.command()
@click.pass_obj
def serve(options: Options) -> None:
    """Serve MCP over stdio until stdin closes. This is what an IDE starts."""
    gc.disable()  # importing allocates a lot that lives for ever; collecting meanwhile only costs start-up time
    settings = options.settings()

    from kubeez_mcp_local.logs import configure_logging

    configure_logging(settings.log_level)

    import anyio

    from kubeez_mcp_local.bridge import Bridge
    from kubeez_mcp_local.mcp_server import stdio
    from kubeez_mcp_local.mcp_server.server import KubeezServer

    server = KubeezServer(Bridge(settings))
    gc.freeze()
    gc.enable()
    anyio.run(stdio.serve, server)
