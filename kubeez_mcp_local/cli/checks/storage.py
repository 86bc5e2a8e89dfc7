"""What lies on disk: folders, the ledger, the catalogue, recipes. Looked at, never touched."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any

from kubeez_mcp_local.cli.checks.finding import ok, problem, warning
from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.settings import wide_folders

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kubeez_mcp_local.cli.checks.finding import Finding
    from kubeez_mcp_local.settings import Settings

_TIGHT = 1_000_000_000
_FULL = 50_000_000
_OLD_SECONDS = 30 * 86_400


def check_folders(settings: Settings) -> Iterator[Finding]:
    """Whether files can be saved, read and remembered."""
    yield _writable("outputs", settings.output_dir, "KUBEEZ_OUTPUT_DIR")
    yield _writable("state", settings.state_dir, "KUBEEZ_STATE_DIR")
    wrong = [str(one) for one in settings.input_dirs if not (one.is_dir() and os.access(one, os.R_OK | os.X_OK))]
    if wrong:
        yield warning(
            "inputs", f"no readable folder: {', '.join(wrong)}", "Correct KUBEEZ_INPUT_DIRS, or make the folder."
        )
    else:
        yield ok("inputs", f"files may be read from {', '.join(map(str, settings.input_dirs)) or 'no folder'}")
    for told in wide_folders(settings):
        yield warning("inputs", told, "Name the folders that may be read in KUBEEZ_INPUT_DIRS.")


def check_ledger(settings: Settings) -> Iterator[Finding]:
    """Whether the ledger can be read, and what in it waits for somebody."""
    from kubeez_mcp_local.jobs.inspection import inspect_ledger

    path = settings.state_dir / "ledger.db"
    try:
        facts = inspect_ledger(path)
    except KubeezError as error:
        yield problem("ledger", error.message.removesuffix(" Nothing was sent."), error.next_step)
        return
    except OSError as error:
        yield problem("ledger", f"{path} cannot be read: {error.strerror or error}", "Make it readable for yourself.")
        return
    if facts is None:
        yield ok("ledger", "none yet; the first job makes it")
        return
    going = f", {facts.unfinished} under way" if facts.unfinished else ""
    yield ok("ledger", f"{path}: version {facts.version}, jobs: {facts.jobs}{going}")
    if facts.unknown:
        yield warning(
            "ledger",
            f"jobs whose fate is unknown, perhaps paid: {facts.unknown}",
            "Run: kubeez-mcp-local jobs reconcile",
        )


async def check_catalogue(settings: Settings) -> Finding:
    """How old the models and prices are that are known without the network."""
    from kubeez_mcp_local.catalogue.store import Catalogue
    from kubeez_mcp_local.jobs.account import account_of

    async def nothing() -> list[Any]:
        raise KubeezError("not asked")

    cache = settings.state_dir / "cache" / f"catalogue-{account_of(settings)}.json"
    listing = await Catalogue(nothing, cache).listing()
    known = f"{len(listing.models)} models"
    if listing.source == "snapshot":
        return ok("catalogue", f"{known} as shipped ({listing.as_of}); read anew when first needed")
    if listing.age_seconds > _OLD_SECONDS:
        days = listing.age_seconds / 86_400
        return warning("catalogue", f"{known}, read {days:.0f} days ago", "It is read anew when the API answers.")
    return ok("catalogue", f"{known}, read {listing.as_of}")


def check_recipes(settings: Settings) -> Iterator[Finding]:
    """Recipes that cannot be used, with file and line."""
    from kubeez_mcp_local.cookbook.library import Library

    index = Library.of(settings.recipes, settings.state_dir, own=settings.own_recipes).index()
    yield ok("recipes", f"{len(index.entries)} can be used")
    for folder in settings.recipes:
        if not folder.is_dir():
            yield warning("recipes", f"there is no folder {folder}", "Correct KUBEEZ_RECIPES, or make the folder.")
    for error in index.problems:
        yield warning("recipes", error.message, error.next_step or "Mend the file, or take it out of the folder.")


def _writable(check: str, folder: Path, setting: str) -> Finding:
    there = next(one for one in (folder, *folder.parents) if one.exists())
    if not there.is_dir():
        return problem(check, f"{there} is a file, not a folder", f"Move it away, or set {setting} to another folder.")
    if not os.access(there, os.W_OK | os.X_OK):
        return problem(check, f"{there} cannot be written", f"Make it writable, or set {setting} to another folder.")
    free = shutil.disk_usage(there).free
    told = f"{folder}{'' if there == folder else ' (will be made)'}, {free / 1e9:.1f} GB free"
    if free < _FULL:
        return problem(check, told, "Free some space: finished files could not be saved.")
    return warning(check, told, "Free some space before making videos.") if free < _TIGHT else ok(check, told)
