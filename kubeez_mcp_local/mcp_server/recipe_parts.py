"""What recipes need of the product beyond its tools: tables from files, where runs are kept, jobs to record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio.to_thread

from kubeez_mcp_local.cookbook.prepare import Prepared, prepare
from kubeez_mcp_local.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from kubeez_mcp_local.bridge import Bridge
    from kubeez_mcp_local.cookbook.arguments import Table
    from kubeez_mcp_local.cookbook.calls import ToolCaller
    from kubeez_mcp_local.cookbook.format import Recipe
    from kubeez_mcp_local.cookbook.record import RecordedJob
    from kubeez_mcp_local.jobs.job import Job
    from kubeez_mcp_local.settings import Settings

RUNS = "runs"
"""Folder of the records of runs, in the state folder; it has one folder for each account."""


def runs_folder(bridge: Bridge) -> Path:
    """Where the records of runs are kept: a folder for each account, so that no run is mistaken for another's."""
    return bridge.settings.state_dir / RUNS / bridge.account


def table_reader(bridge: Bridge) -> Callable[[str, str], Table]:
    """Reads a CSV file that the input folders allow; blocking.

    It raises `TableProblem` or, for a path that is not allowed, `InvalidArgumentError`.
    """
    from kubeez_mcp_local.cookbook.tables import read_csv
    from kubeez_mcp_local.media.path_guard import PathGuard

    guard = PathGuard(bridge.settings.input_dirs)

    def read(argument: str, path: str) -> Table:
        return read_csv(guard.check(path, argument=argument))

    return read


async def prepare_run(
    bridge: Bridge,
    recipe: Recipe,
    given: Mapping[str, Any],
    call: ToolCaller,
    *,
    run_id: str = "",
    anew: bool = False,
) -> Prepared:
    """A run of `recipe` on this bridge, ready to start; raises as `prepare`."""
    return await prepare(
        recipe,
        given,
        call,
        ceiling=(await bridge.today()).left,
        run_dir=runs_folder(bridge),
        mode=bridge.mode.value,
        run_id=run_id,
        anew=anew,
        read_table=table_reader(bridge),
    )


def recipe_folder(bridge: Bridge) -> Path:
    """Where new recipes go: the last folder of the setting `recipes`, else the user's own."""
    settings = bridge.settings
    return settings.recipes[-1] if settings.recipes else settings.own_recipes


def refuse_hiding(settings: Settings, name: str) -> None:
    """Refuse a new recipe that would hide one of the same name; blocking.

    Raises:
        InvalidArgumentError: There is one, in the pack or in another folder.
    """
    from kubeez_mcp_local.cookbook.library import Library

    entry = Library.of(settings.recipes, settings.state_dir, own=settings.own_recipes).index().entries.get(name)
    if entry is not None and entry.origin.path is not None:
        raise InvalidArgumentError("name", f"{name!r} is taken: {entry.origin.path}; choose another name")


async def save_draft(
    bridge: Bridge, job_ids: Sequence[str], name: str, *, title: str = "", description: str = "", folder: Path
) -> Path:
    """Write a recipe that makes again what jobs of the ledger made.

    Args:
        job_ids: Ids of the jobs, or their unambiguous beginnings, in any order.
        name: Name of the recipe.
        folder: Where it goes.

    Raises:
        InvalidArgumentError: A name that is taken or that no recipe can have; jobs that are not finished or cannot be
            repeated.
        UnknownJobError: The ledger has no such job.
        RecipeError: What came out is no recipe, such as one with an endless title.
    """
    from kubeez_mcp_local.cookbook.format import Origin
    from kubeez_mcp_local.cookbook.new import check_name, write_recipe
    from kubeez_mcp_local.cookbook.parse import parse_recipe
    from kubeez_mcp_local.cookbook.record import record_recipe

    check_name(name)
    jobs = {job.id: job for job in [await bridge.ledger.get(wanted) for wanted in job_ids]}
    unfinished = [job.generation_id or job.id for job in jobs.values() if job.state.value != "completed"]
    if unfinished:
        raise InvalidArgumentError("job_ids", f"{', '.join(unfinished)}: only completed jobs can be recorded.")
    oldest_first = sorted(jobs.values(), key=lambda job: (job.created_at, job.id))
    text = record_recipe([_recorded(job) for job in oldest_first], name, title, description)
    parse_recipe(text, Origin("draft", "recorded jobs"))
    return await anyio.to_thread.run_sync(write_recipe, folder, name, text)


def _recorded(job: Job) -> RecordedJob:
    from kubeez_mcp_local.cookbook.record import RecordedJob

    urls = [str(output["url"]) for answer in job.results for output in answer.get("outputs") or () if output.get("url")]
    return RecordedJob(
        id=job.generation_id or job.id,
        tool="generate_media" if job.tool == "regenerate" else job.tool,
        arguments=job.arguments,
        outputs=urls,
        files=[file.path for file in job.files],
        credits=job.charged if job.charged is not None else job.quote_credits,
    )
