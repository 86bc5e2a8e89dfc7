"""Entry point of `kubeez-mcp-local` and `python -m kubeez_mcp_local`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; without a command, serve MCP over stdio."""
    from kubeez_mcp_local.front import enter

    door = enter(sys.argv[1:])

    from kubeez_mcp_local.cli.main import cli

    cli(prog_name="kubeez-mcp-local", obj=door)


if __name__ == "__main__":
    main()
