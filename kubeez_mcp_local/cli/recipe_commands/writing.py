"""`recipes check`, `new`, `save`, `add`, `update`, `remove` and `sources`: recipes written, checked and shared."""

from __future__ import annotations

import os
import shlex
from collections import Counter
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import anyio.to_thread
import click

from kubeez_mcp_local.cli.recipe_commands.options import RecipeOptions, is_path, library_of, reference
from kubeez_mcp_local.cli.terminal import print_json, remarks, results, run, run_with_bridge, shown, table
from kubeez_mcp_local.errors import InvalidArgumentError, KubeezError
from kubeez_mcp_local.text import on_one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from kubeez_mcp_local.bridge import Bridge
    from kubeez_mcp_local.cli.main import Options
    from kubeez_mcp_local.cookbook.check import Finding
    from kubeez_mcp_local.cookbook.format import Recipe, RecipeError
    from kubeez_mcp_local.cookbook.library import Provenance
    from kubeez_mcp_local.cookbook.share import Added, Sharing
    from kubeez_mcp_local.runs.run import RunReport
    from kubeez_mcp_local.settings import Settings


@dataclass(frozen=True)
class Checked:
    """One recipe file and what was found about it; `report` is its rehearsal, if there was one."""

    name: str
    file: str
    findings: tuple[Finding, ...]
    report: RunReport | None = None


@click.command(short_help="Find mistakes, and rehearse; fit for CI.")
@click.argument("targets", nargs=-1, metavar="[NAME|FILE|FOLDER]...")
@click.option("--rehearsal/--no-rehearsal", default=True, help="Also run each one in a throw-away sandbox.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of lines.")
@click.pass_context
def check(context: click.Context, targets: tuple[str, ...], rehearsal: bool, as_json: bool) -> None:
    """Find what is wrong with recipes, then rehearse each one and hold it against its `expect`. Free, without a key.

    Prints FILE:LINE: level: field: what is wrong. By default all recipes that are not of the pack, and without any,
    the pack. Exit code 1 on any error, 0 otherwise.
    """
    from rich.text import Text

    settings = context.obj.settings(mode="sandbox")
    chosen = list(_chosen(settings, targets))
    checked = []
    with remarks().status("") as status:
        for place, one in enumerate(chosen, 1):
            status.update(Text(f"{Path(one.file).stem} ({place} of {len(chosen)})"))
            checked.append(_check(settings, one, rehearsal=rehearsal))
    levels = Counter(finding.level for one in checked for finding in one.findings)
    errors, warnings = levels["error"], levels.total() - levels["error"]
    if as_json:
        print_json({"recipes": [_row(one) for one in checked], "errors": errors, "warnings": warnings})
    else:
        _show(checked, errors, warnings)
    context.exit(1 if errors else 0)


def _chosen(settings: Settings, targets: Sequence[str]) -> Iterator[Recipe | RecipeError]:
    """The recipes that are meant; in place of one that cannot be used, what is wrong with it."""
    library = library_of(settings)
    index = library.index()
    if not targets:
        own = [entry for entry in index.entries.values() if entry.origin.kind != "pack"]
        yield from index.problems
        for entry in own or ([] if index.problems else index.entries.values()):
            yield _tried(partial(library.get, entry.name))
    for target in targets:
        path = Path(os.path.expanduser(target))  # noqa: PTH111 - never raises
        if target not in index.entries and path.is_dir():
            yield from _in_folder(path.absolute())
        elif is_path(target):
            yield _in_file(path.absolute())
        else:
            yield _tried(partial(library.get, target))


def _in_folder(folder: Path) -> Iterator[Recipe | RecipeError]:
    """The recipes of a folder, or of the folder `recipes` in it, as a shared repository has them."""
    from kubeez_mcp_local.cookbook.library import Library, Source

    for place in (folder, folder / "recipes"):
        library = Library(partial(list, [Source("folder", place, str(place))]))
        index = library.index()
        if place.is_dir() and (index.entries or index.problems):
            yield from index.problems
            yield from (_tried(partial(library.get, name)) for name in index.entries)
            return
    raise InvalidArgumentError("FOLDER", f"there are no recipes in {folder}.")


def _in_file(path: Path) -> Recipe | RecipeError:
    from kubeez_mcp_local.cookbook.library import read_recipe

    if not path.is_file():
        raise InvalidArgumentError("FILE", f"there is no file or folder {path}.")
    return _tried(lambda: read_recipe(path))


def _tried(read: Callable[[], Recipe]) -> Recipe | RecipeError:
    from kubeez_mcp_local.cookbook.format import RecipeError

    try:
        return read()
    except RecipeError as error:
        return error


def _check(settings: Settings, one: Recipe | RecipeError, *, rehearsal: bool) -> Checked:
    from kubeez_mcp_local.cookbook.check import check_recipe
    from kubeez_mcp_local.cookbook.format import RecipeError
    from kubeez_mcp_local.mcp_server.tools import ALL_TOOLS

    if isinstance(one, RecipeError):
        found = [_as_finding(error)[0] for error in (one, *one.others)]
        return Checked(Path(one.file).stem, shown(one.file), _findings(found))
    checked = Checked(one.name, shown(one.file), _findings(check_recipe(one, [spec.name for spec in ALL_TOOLS])))
    if not rehearsal or not one.steps or any(finding.level == "error" for finding in checked.findings):
        return checked
    found, report = run(settings, lambda: _rehearsed(settings, one))
    return replace(checked, findings=(*checked.findings, *_findings(found)), report=report)


async def _rehearsed(settings: Settings, recipe: Recipe) -> tuple[list[Finding], RunReport | None]:
    """What a rehearsal with the recipe's own examples finds."""
    from kubeez_mcp_local.cookbook.arguments import InvalidArgumentsError
    from kubeez_mcp_local.cookbook.check import Finding, Samples, with_examples
    from kubeez_mcp_local.mcp_server.server import KubeezServer
    from kubeez_mcp_local.runs.client import judge, rehearsal
    from kubeez_mcp_local.runs.prepare import prepare_run

    expect = recipe.line_of("expect")
    with TemporaryDirectory(prefix="kubeez-check-") as name:
        folder = Path(name)
        samples = Samples(folder / "samples")
        try:
            values = await anyio.to_thread.run_sync(with_examples, recipe, {}, samples)
            async with rehearsal(settings, KubeezServer, folder, recipe=recipe.name) as (bridge, client):
                ready = await prepare_run(bridge, recipe, values, client)
                report = await ready.run.carry_out(client, bridge.ledger)
        except InvalidArgumentError as error:
            faults = error.faults if isinstance(error, InvalidArgumentsError) else (error,)
            told = [fault.message.removeprefix("expect.with: ") for fault in faults]
            return [Finding("error", recipe.file, expect, "expect.with", one) for one in told], None
        except KubeezError as error:
            return _as_finding(error, recipe), None
    shortfalls = judge(recipe, report, ready.run.arguments)
    return [Finding("error", recipe.file, expect, "rehearsal", one) for one in shortfalls], report


def _as_finding(error: KubeezError, recipe: Recipe | None = None) -> list[Finding]:
    """One finding for each thing that an error tells."""
    from kubeez_mcp_local.cookbook.check import Finding
    from kubeez_mcp_local.cookbook.format import RecipeError

    if isinstance(error, RecipeError):
        return [Finding("error", error.file, error.line, error.field, error.reason)]
    file, line = (recipe.file, recipe.line_of("steps")) if recipe else ("", 0)
    _, *faults = error.message.split("\n- ")
    return [Finding("error", file, line, "rehearsal", one) for one in faults or [str(error)]]


def _findings(found: Iterable[Finding]) -> tuple[Finding, ...]:
    """The same findings, with paths as one would type them and without what steers a terminal."""
    return tuple(replace(one, file=shown(one.file), message=on_one_line(one.message, 1_000)) for one in found)


def _row(one: Checked) -> dict[str, Any]:
    report = one.report
    rehearsed = None if report is None else {"files": len(report.files), "credits": report.spent}
    findings = [asdict(finding) for finding in one.findings]
    return {"name": one.name, "file": one.file, "findings": findings, "rehearsal": rehearsed}


def _show(checked: Sequence[Checked], errors: int, warnings: int) -> None:
    for one in checked:
        for finding in one.findings:
            results().print(str(finding), soft_wrap=True)
    rehearsed = sum(one.report is not None for one in checked)
    counts = f"{_count(errors, 'error')}, {_count(warnings, 'warning')}"
    results().print(f"{_count(len(checked), 'recipe')} checked, {rehearsed} rehearsed: {counts}.")


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


_folder = click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where it goes; default: the last folder of KUBEEZ_RECIPES, else `recipes` in your output folder.",
)
_override = click.option("--override", is_flag=True, help="Let it win over another recipe of that name.")


@click.command(short_help="Start a recipe: a small one that works as it is.")
@click.argument("name")
@click.option("--title", default="", help="A few words; by default made from the name.")
@_folder
@_override
@click.pass_obj
def new(options: Options, name: str, title: str, folder: Path | None, override: bool) -> None:
    """Start a recipe called NAME: a small one that works as it is, to change."""
    from kubeez_mcp_local.bridge import Bridge
    from kubeez_mcp_local.cookbook.drafts import recipe_folder, refuse_hiding, write_starter
    from kubeez_mcp_local.cookbook.format import SCHEMA_FILE

    settings = options.settings(mode="sandbox")
    if folder is None and not override:
        refuse_hiding(settings, name)
    path = write_starter((folder or recipe_folder(Bridge(settings))).absolute(), name, title)
    _written(settings, path, name)
    results().print(f"\nThe schema of its front matter, for your editor: {SCHEMA_FILE}", soft_wrap=True)


@click.command(short_help="Make a recipe of finished jobs.")
@click.argument("name")
@click.argument("jobs", nargs=-1, required=True, metavar="JOB...")
@click.option("--title", default="", help="A few words; by default made from the name.")
@click.option("--description", default="", help="What it makes, in one sentence.")
@_folder
@_override
@click.pass_obj
def save(
    options: Options,
    name: str,
    jobs: tuple[str, ...],
    title: str,
    description: str,
    folder: Path | None,
    override: bool,
) -> None:
    """Turn finished jobs of the ledger into a recipe called NAME that makes the like again.

    JOB is an id or its unambiguous beginning; see `kubeez-mcp-local jobs list`. Prompts become arguments, and jobs
    that use results of others are chained.
    """
    from kubeez_mcp_local.cookbook.drafts import fixed_in, recipe_folder, refuse_hiding, save_draft
    from kubeez_mcp_local.cookbook.library import read_recipe

    settings = options.settings()
    if folder is None and not override:
        refuse_hiding(settings, name)

    async def draft(bridge: Bridge) -> Path:
        target = folder or recipe_folder(bridge)
        return await save_draft(bridge, jobs, name, folder=target, title=title, description=description)

    path = run_with_bridge(settings, draft).absolute()
    _written(settings, path, name)
    fixed = fixed_in(read_recipe(path))
    if fixed:
        results().print(f"\nFixed in its steps: {'; '.join(fixed[:8])}.", soft_wrap=True, markup=False)


def _written(settings: Settings, path: Path, name: str) -> None:
    """Say where the recipe is and what to do with it."""
    from kubeez_mcp_local.cli.clients.launch import Machine
    from kubeez_mcp_local.cookbook.library import read_recipe

    recipe, program = read_recipe(path), Machine.this().typed
    asked = shlex.quote(reference(settings, path, name))
    required = [argument for argument, facts in recipe.arguments.items() if facts.required]
    names = RecipeOptions.of(recipe, ()).names
    with_arguments = " ".join([asked, *(f'{names[argument]} "…"' for argument in required)])
    terminal = results()
    terminal.print(f"Wrote {shown(path)}. Change it in your editor, then:", soft_wrap=True)
    terminal.print()
    commands = {
        f"check {asked}": "what is wrong with it, and a free rehearsal",
        f"price {with_arguments}": "what it costs",
        f"rehearse {asked}": "free, with marked stand-in files",
        f"run {with_arguments}": "for real, after one yes",
    }
    width = max(map(len, commands))
    for command, what in commands.items():
        terminal.print(f"  {program} recipes {command:<{width}}  # {what}", soft_wrap=True)


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
    results().print(f"Removed {record.slug}: {record.where}.", soft_wrap=True)


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
        print_json([pack, *folders, *({**asdict(record), "kind": f"added {record.kind}"} for record in added)])
    else:
        _table(settings, added)


def _folders(settings: Settings) -> tuple[Path, ...]:
    """The folders of the settings that recipes are read from."""
    own = settings.own_recipes
    return (*([own] if own.is_dir() else []), *settings.recipes)


def _sharing(settings: Settings) -> Sharing:
    from kubeez_mcp_local.cookbook.share import Sharing

    return Sharing(settings.state_dir, _folders(settings))


def _tell(added: Added, done: str) -> None:
    record = added.provenance
    count = _count(len(added.recipes), "recipe")
    results().print(f"{done} {count} from {record.where} as {record.slug}:", soft_wrap=True)
    for name in added.recipes:
        results().print(f"  {name}{' (wins over another of that name)' if name in added.overrides else ''}")
    for problem in added.problems:
        remarks().print(f"Left out: {problem}", style="yellow", soft_wrap=True)


def _table(settings: Settings, added: tuple[Provenance, ...]) -> None:
    rows = table("kind", "name", "from", "added")
    rows.add_row("pack", "", "the recipe pack", "")
    for folder in _folders(settings):
        rows.add_row("folder", "", shown(folder), "")
    for record in added:
        when = f"{datetime.fromtimestamp(record.added, UTC):%Y-%m-%d %H:%M}"
        rows.add_row(f"added {record.kind}", record.slug, record.where, when)
    results().print(rows)
