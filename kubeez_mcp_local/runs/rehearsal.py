"""Rehearsals: the same tools against a sandbox of their own, free; and how one falls short of what was expected."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from kubeez_mcp_local.bridge import Bridge
from kubeez_mcp_local.cookbook.steps import PAID_TOOLS, number, scope_of
from kubeez_mcp_local.runs.client import LocalClient
from kubeez_mcp_local.settings import DEFAULT_BASE_URL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping
    from pathlib import Path

    from kubeez_mcp_local.cookbook.format import Recipe
    from kubeez_mcp_local.runs.client import ServerFactory
    from kubeez_mcp_local.runs.run import RunReport
    from kubeez_mcp_local.settings import Settings

_RATIO_TOLERANCE = 0.03
REHEARSAL_SPEED = 1_000.0
"""How many times faster than life jobs of a rehearsal run: a clip of three minutes' work takes a fifth of a second."""


def rehearsal_settings(settings: Settings, folder: Path) -> Settings:
    """`settings` for a rehearsal whose state and outputs go into `folder`; the same ceilings hold as otherwise.

    Sample files lie in `folder`, too, so it may be read.
    """
    return settings.model_copy(
        update={
            "mode": "sandbox",
            "api_key": None,
            "base_url": DEFAULT_BASE_URL,
            "state_dir": folder / "state",
            "output_dir": folder / "outputs",
            "input_dirs": (*settings.input_dirs, folder),
            "ask_above": None,
            "toolsets": ("all",),
            "read_only": False,
            "sandbox_speed": max(settings.sandbox_speed, REHEARSAL_SPEED),
        }
    )


@asynccontextmanager
async def rehearsal(
    settings: Settings, server: ServerFactory, folder: Path, *, recipe: str = "", outputs: Path | None = None
) -> AsyncIterator[tuple[Bridge, LocalClient]]:
    """A sandbox of its own in `folder`, and a client that calls its tools.

    Args:
        settings: Ceilings, input folders and recipes are taken over from them.
        server: Makes a server, see `LocalClient`.
        folder: Where everything goes.
        recipe: On whose behalf.
        outputs: Where outputs go instead.
    """
    chosen = rehearsal_settings(settings, folder)
    bridge = Bridge(chosen if outputs is None else chosen.model_copy(update={"output_dir": outputs}))
    async with LocalClient(bridge, server, name="kubeez-rehearsal", recipe=recipe) as client:
        yield bridge, client


def judge(recipe: Recipe, report: RunReport, arguments: Mapping[str, Any]) -> tuple[str, ...]:
    """How a rehearsal falls short of the recipe's `expect`, one sentence each; empty when it does not."""
    from kubeez_mcp_local.cookbook.templates import evaluate

    found = [
        f"{call.key} {call.status}: {call.reason}" for call in report.calls if call.status in ("failed", "stopped")
    ]
    expect = recipe.front.expect
    if expect is None:
        return tuple(found)
    count = sum(call.status == "completed" and call.tool in PAID_TOOLS for call in report.calls)
    if expect.files is not None and len(report.files) < expect.files:
        found.append(f"saved {len(report.files)} files; expected at least {expect.files}")
    if expect.count is not None and count != expect.count:
        found.append(f"finished {count} paid calls; expected {expect.count}")
    if expect.credits is not None and report.spent > expect.credits:
        found.append(f"spent {number(report.spent)} credits; expected at most {number(expect.credits)}")
    if expect.ratio is not None:
        ratio = str(evaluate(expect.ratio, scope_of(arguments)))
        found += _wrong_ratios(report, ratio)
    return tuple(found)


def _wrong_ratios(report: RunReport, ratio: str) -> Iterator[str]:
    across, _, down = ratio.partition(":")
    if not (across.isdigit() and down.isdigit() and int(down)):
        yield f"expect.ratio comes to {ratio!r}, which is no ratio such as 1:1"
        return
    wanted = int(across) / int(down)
    for call in report.calls:
        for output in (call.result or {}).get("outputs") or []:
            width, height = output.get("width"), output.get("height")
            if width and height and abs(width / height - wanted) > _RATIO_TOLERANCE * wanted:
                yield f"{call.key} is {width} x {height}; expected {ratio}"
