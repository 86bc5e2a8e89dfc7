"""A plain recipe to read, change and break, and tools that make nothing: for the tests of recipes and their runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import anyio.lowlevel
import pytest

from kubeez_mcp_local.cookbook.arguments import check_arguments
from kubeez_mcp_local.cookbook.steps import Budget, ToolCallError, deciding
from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.jobs.budget import RunSpend
from kubeez_mcp_local.operations import operations
from kubeez_mcp_local.runs.journal import RunId
from kubeez_mcp_local.runs.run import Run

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from kubeez_mcp_local.cookbook.format import Recipe
    from kubeez_mcp_local.jobs.job import RunCall

PLAIN = """---
name: plain
title: A plain recipe
description: One picture of one thing.
version: 2
tags: [image]
arguments:
  subject: {description: What is shown, required: true, max_length: 100}
  aspect_ratio: {description: Frame, type: ratio, choices: ["1:1", "16:9"], default: "1:1"}
  max_credits: {description: Ceiling, type: integer, minimum: 1, maximum: 500, default: 60}
budget: "{{ max_credits }}"
tools: [estimate, generate_media, wait_for_generation]
steps:
  - id: hero
    tool: generate_media
    with: {model: nano-banana-2, prompt: "A picture of {{ args.subject }}", aspect_ratio: "{{ args.aspect_ratio }}"}
---
Make a picture of {{ subject }} in {{ aspect_ratio }}.
"""


@pytest.fixture
def plain() -> str:
    """The text of a sound recipe called `plain`."""
    return PLAIN


@dataclass
class FakeTools:
    """Stands in for the MCP client and for the ledger behind it: jobs that finish after a few waits, paid once a name.

    `prices` are credits by model; `trouble` maps a word of the prompt to the error to raise or the status to end with,
    `unfit` to the error with which its price is refused.
    """

    prices: dict[str, float | None] = field(default_factory=lambda: {"nano-banana-2": 14.0, "V5_5": 19.0})
    trouble: dict[str, KubeezError | str] = field(default_factory=dict)
    waits: int = 1
    unfit: dict[str, KubeezError] = field(default_factory=dict)
    calls: list[tuple[str, dict[str, Any], RunCall | None]] = field(default_factory=list)
    quoted: list[tuple[str, dict[str, Any], dict[str, Any]]] = field(default_factory=list)
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    by_key: dict[str, str] = field(default_factory=dict)
    running: int = 0
    most_running: int = 0

    async def __call__(self, tool: str, arguments: Mapping[str, Any], *, run: RunCall | None = None) -> dict[str, Any]:
        self.calls.append((tool, dict(arguments), run))
        await anyio.lowlevel.checkpoint()
        match tool:
            case "pick_model":
                if arguments.get("sound"):
                    return {"summary": "Nothing fits. The nearest is z-image."}
                return {"model": "nano-banana-2", "credits": 14}
            case "get_balance":
                return {"credits": 100}
            case "wait_for_generation":
                return self._state(arguments["id"])
        assert run is not None
        return self._start(tool, arguments, run)

    async def quote(
        self, tool: str, arguments: Mapping[str, Any], coming: Mapping[str, Mapping[str, Any]] | None = None
    ) -> dict[str, Any]:
        self.quoted.append((tool, dict(arguments), dict(coming or {})))
        await anyio.lowlevel.checkpoint()
        for word, trouble in self.unfit.items():
            if word in str(arguments.get("prompt", "")):
                raise trouble
        price = self.prices.get(_model(tool, arguments))
        told = {"credits": price} if price is not None else {"notes": ["The price is not recorded."]}
        return {**told, "arguments": {"model": _model(tool, arguments), **arguments}}

    def made(self, tool: str = "generate_media") -> list[dict[str, Any]]:
        """The arguments of the paid calls."""
        return [arguments for name, arguments, _ in self.calls if name == tool]

    async def run_spend(self, run: str) -> RunSpend:
        jobs = [job for job in self.jobs.values() if job["run"] == run and job["status"] != "failed"]
        held = sum(job["price"] for job in jobs if "over" not in job)
        return RunSpend(sum(job["price"] for job in jobs) - held, held, held, sum(job["price"] for job in jobs))

    def _start(self, tool: str, arguments: Mapping[str, Any], run: RunCall) -> dict[str, Any]:
        text = str(arguments.get("prompt", ""))
        status = "completed"
        for word, trouble in self.trouble.items():
            if word in text and isinstance(trouble, KubeezError):
                raise trouble
            if word in text and isinstance(trouble, str):
                status = trouble
        name = f"{run.run} {run.call}"
        if name in self.by_key:
            return {"generation_id": self.by_key[name], "status": "pending", "repeated": True}
        price = self.prices.get(_model(tool, arguments))
        if price is None and run.at_most is None:
            raise ToolCallError("Its price is unknown.", code="budget_reached")
        left = run.budget - sum(job["price"] for job in self.jobs.values() if job["status"] != "failed")
        if (price or run.at_most or 0) > left:
            raise ToolCallError(f"It costs {price:g} credits, and {left:g} are left.", code="budget_reached")
        job_id = f"job-{len(self.jobs) + 1}"
        self.by_key[name] = job_id
        self.jobs[job_id] = {"status": status, "waits": self.waits, "price": price or 14.0, "run": run.run}
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        return {"generation_id": job_id, "generation_ids": [job_id], "status": "pending"}

    def _state(self, job_id: str) -> dict[str, Any]:
        job = self.jobs[job_id]
        if job["waits"] > 0:
            job["waits"] -= 1
            return {"generation_id": job_id, "status": "processing"}
        if "over" not in job:
            self.running -= 1
            job["over"] = True
        if job["status"] == "failed":
            return {"generation_id": job_id, "status": "failed", "error_message": "moderated"}
        return {
            **finished(job_id),
            "files": [{"path": f"/out/{job_id}.png", "media_type": "image/png", "size_bytes": 1}],
            "cost": {"quoted": 14.0, "charged": job["price"]},
        }


def _model(tool: str, arguments: Mapping[str, Any]) -> str:
    operation = operations().get(tool)
    return str(arguments.get("model") or (operation and operation.model) or tool)


async def no_sleep(_: float) -> None:
    """Waits for nothing."""


def finished(job_id: str) -> dict[str, Any]:
    """What a job came to, whatever it was."""
    made = f"https://media.example/{job_id}"
    songs = [{"id": f"{job_id}-{number}", "audio_url": f"{made}-{number}.mp3"} for number in (1, 2)]
    return {
        "generation_id": job_id,
        "status": "completed",
        "outputs": [{"id": f"{job_id}-o", "url": f"{made}.png", "width": 1024, "height": 1024}],
        "songs": songs,
        "vocals_url": f"{made}-vocals.mp3",
        "instrumental_url": f"{made}-instrumental.mp3",
    }


@pytest.fixture
def tools() -> FakeTools:
    """Tools that make nothing and remember everything."""
    return FakeTools()


def run_of(
    recipe: Recipe,
    given: Mapping[str, Any],
    folder: Path,
    *,
    budget: float | Budget = 1000.0,
    run_id: str = "r1",
    mode: str = "sandbox",
) -> Run:
    """A run of `recipe` whose record goes into `folder`."""
    arguments = check_arguments(recipe.front, given)
    run = RunId.of(run_id, recipe.text, deciding(recipe, arguments), mode)
    return Run(recipe, arguments, run, folder, budget if isinstance(budget, Budget) else Budget(budget))
