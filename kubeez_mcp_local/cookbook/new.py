"""Writes new recipes: a small one to start from, that works as it is, and drafts made of finished jobs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import anyio.to_thread

from kubeez_mcp_local.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from kubeez_mcp_local.bridge import Bridge
    from kubeez_mcp_local.cookbook.record import RecordedJob
    from kubeez_mcp_local.jobs.job import Job
    from kubeez_mcp_local.settings import Settings

_NAME = re.compile(r"[a-z0-9](?:-?[a-z0-9])*\Z")
_STARTER = """---
name: {name}
title: {title}
description: One picture of one subject, in the style you name.
version: 1
tags: [image]
arguments:
  subject:
    description: What the picture shows, in one or two sentences
    required: true
    max_length: 1000
  style:
    description: How it looks
    choices: [photograph, watercolour, flat illustration]
    default: photograph
  aspect_ratio:
    description: Frame of the picture
    type: ratio
    choices: ["1:1", "4:5", "16:9"]
    default: "1:1"
  max_credits:
    description: Ceiling for the whole recipe, in credits
    type: integer
    minimum: 1
    maximum: 200
    default: 20
budget: "{{{{ max_credits }}}}"
tools: [estimate, generate_media, wait_for_generation, view_media]
steps:
  - id: picture
    tool: generate_media
    with:
      model: nano-banana-2
      aspect_ratio: "{{{{ args.aspect_ratio }}}}"
      prompt: "{{{{ args.subject | sentence }}}} Style: {{{{ args.style }}}}. No text, no watermark."
expect:
  files: 1
  count: 1
  ratio: "{{{{ args.aspect_ratio }}}}"
  credits: 20
  with:
    subject: A lighthouse on a rocky coast at dawn
---
Make one picture for me.

**Subject:** {{{{ subject }}}}
**Style:** {{{{ style }}}}, framed {{{{ aspect_ratio }}}}.

1. Write the prompt: subject, setting, light, framing, mood. Show it to me.
2. Price it with `estimate` and wait for my yes.
3. Make it with `generate_media`, wait with `wait_for_generation`, and look at it with `view_media`.
4. Show me the file. Say in one sentence what you would change, with the price of another try.
"""


def check_name(name: str) -> str:
    """`name`, if a recipe can have it.

    Raises:
        InvalidArgumentError: It cannot.
    """
    if not _NAME.match(name) or len(name) > 64:
        raise InvalidArgumentError("name", f"{name!r}: use up to 64 lower-case letters, digits and single hyphens")
    return name


def starter(name: str, title: str = "") -> str:
    """The text of a new recipe called `name`.

    Raises:
        InvalidArgumentError: The name is not one a recipe can have.
    """
    words = " ".join(title.split())[:80] or name.replace("-", " ").capitalize()
    return _STARTER.format(name=check_name(name), title=_quoted(words))


def write_starter(folder: Path, name: str, title: str = "") -> Path:
    """Write a new recipe into `folder`; an existing file is never replaced.

    Raises:
        InvalidArgumentError: The name is not allowed or taken, or the folder cannot be written to.
    """
    return write_recipe(folder, name, starter(name, title))


def write_recipe(folder: Path, name: str, text: str) -> Path:
    """Write the text of a recipe as a new file.

    Raises:
        InvalidArgumentError: The name is taken, or the folder cannot be written to.
    """
    path = folder / f"{name}.md"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise InvalidArgumentError("name", f"{path} is there already; choose another name") from None
    except OSError as error:
        raise InvalidArgumentError("folder", f"{folder} cannot be written to: {error.strerror}") from None
    return path


def _quoted(text: str) -> str:
    """Text as a YAML scalar that means just itself."""
    import json

    return (
        text if re.fullmatch(r"[A-Za-z][A-Za-z0-9 ,.()-]*", text) and text.lower() not in _WORDS else json.dumps(text)
    )


_WORDS = ("true", "false", "null", "yes", "no")


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
