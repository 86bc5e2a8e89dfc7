"""Entry point of `kubeez-mcp-local` and `python -m kubeez_mcp_local`."""

from __future__ import annotations

import sys


def _open_closed_streams() -> None:
    """Whoever starts a program without one of its streams gets it with an empty one.

    Else the next file that is opened takes its place, and what is printed ends up in it.
    """
    import os

    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.open(os.devnull, os.O_RDWR), mode, encoding="utf-8"))  # noqa: PTH123, SIM115


def main() -> None:
    """Run the command line; without a command, serve MCP over stdio."""
    if None in (sys.stdin, sys.stdout, sys.stderr):
        _open_closed_streams()
    from kubeez_mcp_local.front import enter

    door = enter(sys.argv[1:])

    from kubeez_mcp_local.cli.main import cli

    cli(prog_name="kubeez-mcp-local", obj=door)


if __name__ == "__main__":
    main()
