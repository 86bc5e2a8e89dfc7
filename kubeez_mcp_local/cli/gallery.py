"""`kubeez-mcp-local gallery`: everything that was made, in the browser."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import anyio
import anyio.to_thread
import click

from kubeez_mcp_local.cli.terminal import remarks, run_with_bridge
from kubeez_mcp_local.errors import KubeezError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kubeez_mcp_local.bridge import Bridge
    from kubeez_mcp_local.cli.main import Options
    from kubeez_mcp_local.web.export import Exported

_DAY = click.DateTime(["%Y-%m-%d"])


@click.command()
@click.option(
    "--search", "words", default="", metavar="WORDS", help="Only outputs in whose prompt, model or name these are."
)
@click.option("--run", "run_name", default="", metavar="NAME", help="Only those of this run of a recipe.")
@click.option("--recipe", default="", metavar="NAME", help="Only those of this recipe.")
@click.option("--model", default="", metavar="ID", help="Only those of this model.")
@click.option("--since", type=_DAY, metavar="DAY", help="Only from this UTC day on, as 2026-11-23.")
@click.option("--until", type=_DAY, metavar="DAY", help="Only up to this UTC day.")
@click.option(
    "--export", "folder", type=click.Path(path_type=Path), help="Write the page and its files to a new folder."
)
@click.option("--no-open", is_flag=True, help="Print the address and open no browser.")
@click.pass_obj
def gallery(options: Options, /, folder: Path | None, no_open: bool, run_name: str, **given: Any) -> None:
    """Show everything that was made in the browser, until Ctrl-C. The address works on this machine only.

    With --export FOLDER it becomes a page to share, with files, sidecars and prompts, without keys and local paths.
    """
    days = {name: f"{given.pop(name):%Y-%m-%d}" for name in ("since", "until") if given.get(name)}
    view = {name: value for name, value in {**given, **days, "run": run_name}.items() if value}

    async def export(bridge: Bridge) -> Exported:
        from kubeez_mcp_local.web.export import Export
        from kubeez_mcp_local.web.gallery import Wanted

        assert folder is not None
        with remarks().status("Copying…") as status:
            told = lambda done, total: status.update(f"{done:,} of {total:,} outputs")  # noqa: E731
            return await Export(bridge.outputs_made, folder, Wanted(**view), told=told).write()

    if folder is None:
        run_with_bridge(options.settings(), lambda bridge: serve(bridge, view, opens=not no_open))
        return
    done = run_with_bridge(options.settings(), export)
    here = done.outputs - done.missing
    gone = f" {done.missing:,} more named there, whose files are gone." if done.missing else ""
    words = "output with its sidecar" if here == 1 else "outputs with their sidecars"
    print(f"{folder / 'index.html'}: {here:,} {words}.{gone}")


async def serve(bridge: Bridge, view: Mapping[str, str], *, opens: bool = True, out: TextIO | None = None) -> None:
    """Serve the gallery with `view` until it cannot be served any more; its address goes to `out`, else to stdout."""
    address = bridge.pages.address("gallery", **view)
    print(address, file=out, flush=True)
    remarks().print("Ctrl-C ends it.", style="dim")
    if opens:
        await anyio.to_thread.run_sync(click.launch, address)
    await bridge.pages.ended()
    raise KubeezError("The page is not served any more.", next_step="Start it again.", code="page_unavailable")
