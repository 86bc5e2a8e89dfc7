"""`recipes add`, `update`, `remove` and `sources`: recipes that a team shares."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kubeez_mcp_local.cli.running import run
from kubeez_mcp_local.cli.terminal import plain, print_json, remarks, results, shown

if TYPE_CHECKING:
    from kubeez_mcp_local.cli.main import Options
    from kubeez_mcp_local.cookbook.library import Provenance
    from kubeez_mcp_local.cookbook.share import Added, Sharing
    from kubeez_mcp_local.settings import Settings


@click.command(short_help="Add recipes from a folder or a git repository.")
@click.argument("source")
@click.option("--override", is_flag=True, help="Let the added recipes win where names are taken.")
@click.pass_obj
def add(options: Options, source: str, override: bool) -> None:
    """Add the recipes of a folder, or of a git repository as URL or URL@ref (branch, tag or commit).

    A folder is used where it lies. From a repository only recipe files in its root or in `recipes/` are copied; nothing
    of it is run.
    """
    settings = options.settings(mode="sandbox")
    sharing = _sharing(settings)
    added = run(settings, lambda: sharing.add(source, override=override))
    _tell(added, "Added")


@click.command(short_help="Fetch added repositories again.")
@click.argument("slug", required=False, default="")
@click.option("--override", is_flag=True, help="Let recipes win that now have names of others.")
@click.pass_obj
def update(options: Options, slug: str, override: bool) -> None:
    """Fetch added repositories again: the one added as SLUG, or all of them."""
    settings = options.settings(mode="sandbox")
    sharing = _sharing(settings)
    updated = run(settings, lambda: sharing.update(slug, override=override))
    for one in updated:
        _tell(one, "Updated")
    if not updated:
        results().print("Nothing was added so far.")


@click.command(short_help="Forget what was added.")
@click.argument("slug")
@click.pass_obj
def remove(options: Options, slug: str) -> None:
    """Forget what was added as SLUG. A folder itself is left alone."""
    record = _sharing(options.settings(mode="sandbox")).remove(slug)
    results().print(f"Removed {record.slug}: {plain(record.where)}.", soft_wrap=True)


@click.command(short_help="Where recipes come from.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.pass_obj
def sources(options: Options, as_json: bool) -> None:
    """Where recipes come from; later ones win over earlier ones."""
    from kubeez_mcp_local.cookbook.library import pack_folder

    settings = options.settings(mode="sandbox")
    added = _sharing(settings).list()
    if as_json:
        folders = [{"kind": "folder", "source": str(folder)} for folder in _folders(settings)]
        pack = {"kind": "pack", "source": str(pack_folder())}
        print_json([pack, *folders, *(_row(record) for record in added)])
    else:
        _table(settings, added)


def _row(record: Provenance) -> dict[str, Any]:
    return {**asdict(record), "kind": f"added {record.kind}"}


def _folders(settings: Settings) -> tuple[Path, ...]:
    """The folders of the settings that recipes are read from."""
    own = settings.own_recipes
    return (*([own] if own.is_dir() else []), *settings.recipes)


def _sharing(settings: Settings) -> Sharing:
    from kubeez_mcp_local.cookbook.share import Sharing

    return Sharing(settings.state_dir, _folders(settings))


def _tell(added: Added, done: str) -> None:
    record = added.provenance
    count = f"{len(added.recipes)} recipe{'' if len(added.recipes) == 1 else 's'}"
    results().print(f"{done} {count} from {plain(record.where)} as {record.slug}:", soft_wrap=True)
    for name in added.recipes:
        results().print(f"  {name}{' (wins over another of that name)' if name in added.overrides else ''}")
    for problem in added.problems:
        remarks().print(f"Left out: {plain(problem)}", style="yellow", soft_wrap=True)


def _table(settings: Settings, added: tuple[Provenance, ...]) -> None:
    from rich.table import Table

    table = Table("kind", "name", "from", "added", box=None, header_style="bold")
    table.add_row("pack", "", "the recipe pack", "")
    for folder in _folders(settings):
        table.add_row("folder", "", shown(folder, Path.cwd()), "")
    for record in added:
        when = f"{datetime.fromtimestamp(record.added, UTC):%Y-%m-%d %H:%M}"
        table.add_row(f"added {record.kind}", record.slug, plain(record.where), when)
    results().print(table)
