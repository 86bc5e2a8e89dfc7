"""`recipes check`: what is wrong with recipes, in their files and in a rehearsal."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import anyio.to_thread
import click

from kubeez_mcp_local.cli.recipe_commands.finding import is_path, library_of
from kubeez_mcp_local.cli.running import run
from kubeez_mcp_local.cli.terminal import plain, print_json, remarks, results, shown
from kubeez_mcp_local.errors import InvalidArgumentError, KubeezError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from kubeez_mcp_local.cli.main import Options
    from kubeez_mcp_local.cookbook.check import Finding
    from kubeez_mcp_local.cookbook.format import Recipe, RecipeError
    from kubeez_mcp_local.cookbook.library import Index, Library
    from kubeez_mcp_local.runs.run import RunReport
    from kubeez_mcp_local.settings import Settings


@dataclass(frozen=True)
class Checked:
    """One recipe file and what was found about it; `report` is its rehearsal, if there was one."""

    name: str
    file: str
    findings: tuple[Finding, ...]
    report: RunReport | None = None

    @property
    def errors(self) -> int:
        return sum(finding.level == "error" for finding in self.findings)

    @property
    def warnings(self) -> int:
        return len(self.findings) - self.errors


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
    options: Options = context.obj
    settings = options.settings(mode="sandbox")
    chosen = list(_chosen(settings, targets))
    with _counter(len(chosen)) as now:
        checked = [_check(settings, one, rehearsal=rehearsal, now=now) for one in chosen]
    errors, warnings = sum(one.errors for one in checked), sum(one.warnings for one in checked)
    if as_json:
        print_json({"recipes": [_row(one) for one in checked], "errors": errors, "warnings": warnings})
    else:
        _show(checked, errors, warnings)
    context.exit(1 if errors else 0)


def _chosen(settings: Settings, targets: Sequence[str]) -> Iterator[Recipe | RecipeError]:
    """The recipes that are meant; in place of one that cannot be used, what is wrong with it.

    Raises:
        InvalidArgumentError, UnknownRecipeError: There is nothing like a target.
    """
    library = library_of(settings)
    index = library.index()
    if not targets:
        yield from _default(library, index)
    for target in targets:
        path = Path(os.path.expanduser(target))  # noqa: PTH111 - never raises
        if target not in index.entries and path.is_dir():
            yield from _in_folder(path.absolute())
        elif is_path(target):
            yield _in_file(path.absolute())
        else:
            yield _tried(partial(library.get, target))


def _default(library: Library, index: Index) -> Iterator[Recipe | RecipeError]:
    own = [entry for entry in index.entries.values() if entry.origin.kind != "pack"]
    yield from index.problems
    for entry in own or ([] if index.problems else index.entries.values()):
        yield _tried(partial(library.get, entry.name))


def _in_folder(folder: Path) -> Iterator[Recipe | RecipeError]:
    """The recipes of a folder, or of the folder `recipes` in it, as a shared repository has them."""
    from kubeez_mcp_local.cookbook.library import Library, Source

    def sources(place: Path) -> list[Source]:
        return [Source("folder", place, str(place))]

    for place in (folder, folder / "recipes"):
        library = Library(partial(sources, place))
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


def _check(settings: Settings, one: Recipe | RecipeError, *, rehearsal: bool, now: Callable[[str], None]) -> Checked:
    from kubeez_mcp_local.cookbook.check import check_recipe
    from kubeez_mcp_local.cookbook.format import RecipeError
    from kubeez_mcp_local.mcp_server.tools.inventory import ALL_TOOLS

    if isinstance(one, RecipeError):
        return Checked(Path(one.file).stem, _here(one.file), _findings([_as_finding(one)]))
    now(one.name)
    checked = Checked(one.name, _here(one.file), _findings(check_recipe(one, [spec.name for spec in ALL_TOOLS])))
    if not rehearsal or not one.steps or checked.errors:
        return checked
    found, report = run(settings, lambda: _rehearsed(settings, one))
    return replace(checked, findings=(*checked.findings, *_findings(found)), report=report)


async def _rehearsed(settings: Settings, recipe: Recipe) -> tuple[list[Finding], RunReport | None]:
    """What a rehearsal with the recipe's own examples finds."""
    from kubeez_mcp_local.cookbook.check import Finding, Samples, example_values
    from kubeez_mcp_local.mcp_server.server import KubeezServer
    from kubeez_mcp_local.runs.prepare import prepare_run
    from kubeez_mcp_local.runs.rehearsal import judge, rehearsal

    expect = recipe.line_of("expect")
    with TemporaryDirectory(prefix="kubeez-check-") as name:
        folder = Path(name)
        samples = Samples(folder / "samples")
        try:
            values = await anyio.to_thread.run_sync(lambda: example_values(recipe, samples))
            async with rehearsal(settings, KubeezServer, folder, recipe=recipe.name) as (bridge, client):
                ready = await prepare_run(bridge, recipe, values, client)
                report = await ready.run.carry_out(client, bridge.ledger)
        except InvalidArgumentError as error:
            return [
                Finding("error", recipe.file, expect, "expect.with", str(error).removeprefix("expect.with: "))
            ], None
        except KubeezError as error:
            return [_as_finding(error, recipe)], None
    shortfalls = judge(recipe, report, ready.run.arguments)
    return [Finding("error", recipe.file, expect, "rehearsal", one) for one in shortfalls], report


def _as_finding(error: KubeezError, recipe: Recipe | None = None) -> Finding:
    from kubeez_mcp_local.cookbook.check import Finding
    from kubeez_mcp_local.cookbook.format import RecipeError

    if isinstance(error, RecipeError):
        return Finding("error", error.file, error.line, error.field, error.reason)
    file, line = (recipe.file, recipe.line_of("steps")) if recipe else ("", 0)
    return Finding("error", file, line, "rehearsal", str(error))


def _findings(found: Iterable[Finding]) -> tuple[Finding, ...]:
    """The same findings, with paths as one would type them and without what steers a terminal."""
    return tuple(replace(one, file=_here(one.file), message=plain(one.message)) for one in found)


def _here(file: str) -> str:
    return shown(Path(file), Path.cwd())


@contextmanager
def _counter(total: int) -> Iterator[Callable[[str], None]]:
    """Names on stderr what is being checked, where there is a terminal to show it."""
    from rich.text import Text

    console = remarks()
    if not console.is_terminal:
        yield lambda name: None
        return
    with console.status("") as status:
        done = iter(range(1, total + 1))
        yield lambda name: status.update(Text(f"{name} ({next(done, total)} of {total})"))


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
