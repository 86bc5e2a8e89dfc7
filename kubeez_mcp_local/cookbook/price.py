"""What a recipe costs before it runs: each step, and the range over the choices that are still open."""

from __future__ import annotations

import contextlib
import itertools
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import anyio

from kubeez_mcp_local.cookbook.steps import (
    PAID_TOOLS,
    READING_TOOLS,
    Budget,
    arguments_of,
    budget_of,
    calls_of,
    dependencies,
    estimate_arguments,
    hints_of,
    number,
    read,
    scope_for,
    wanted,
)
from kubeez_mcp_local.errors import KubeezError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from kubeez_mcp_local.cookbook.format import Recipe, Step
    from kubeez_mcp_local.cookbook.steps import ToolCaller

MAX_COMBINATIONS = 32
_EXAMPLE = "https://media.kubeez.com/images/example.png"


@dataclass(slots=True)
class PricedStep:
    """The price of one step in credits, of all its `calls`, with the arguments given and the defaults.

    `low` and `high` are those of the cheapest and dearest choice of the arguments that were left open; `None` is an
    unknown price. `note` tells why it is unknown, or on what it rests.
    """

    id: str
    tool: str
    model: str = ""
    calls: int = 0
    credits: float | None = 0.0
    low: float | None = None
    high: float | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class PriceList:
    """The price of a whole recipe in credits; `None` where a step's price is unknown."""

    recipe: str
    steps: tuple[PricedStep, ...]
    credits: float | None
    low: float | None
    high: float | None
    budget: Budget

    @property
    def fits(self) -> bool:
        """Whether the known price is within the budget."""
        return self.credits is not None and self.credits <= self.budget.credits


@dataclass
class Quotes:
    """Prices through the `estimate` tool, each asked for once."""

    call: ToolCaller
    _known: dict[str, float | None] = field(default_factory=dict)
    _asking: anyio.Lock = field(default_factory=anyio.Lock)

    async def of(self, tool: str, arguments: Mapping[str, Any], hints: Mapping[str, Any]) -> float | None:
        """Credits of one call, or `None` when nobody can tell."""
        asked = estimate_arguments(tool, arguments, hints)
        if asked is None:
            return None
        key = json.dumps([tool, asked], sort_keys=True, default=str)
        async with self._asking:
            if key not in self._known:
                try:
                    credits_ = (await self.call("estimate", asked)).get("credits")
                except KubeezError:
                    return None  # may be known the next time
                self._known[key] = float(credits_) if isinstance(credits_, (int, float)) else None
        return self._known[key]


async def price_recipe(
    recipe: Recipe,
    arguments: Mapping[str, Any],
    call: ToolCaller,
    *,
    ceiling: float = float("inf"),
    left_open: Collection[str] = (),
) -> PriceList:
    """The price of a run with checked arguments, step by step. Free reading tools are really called; nothing is made.

    `ceiling` is what the settings leave, in credits. The range goes over the choices of the arguments that are
    `left_open`: those that the caller did not decide.

    Raises:
        RecipeError, TemplateError: The steps cannot be planned.
        KubeezError: A reading tool refused, or no model fits.
    """
    dependencies(recipe)
    quotes = Quotes(call)
    chosen = await _priced(recipe, arguments, call, quotes)
    others = []
    for open_ in _open_choices(recipe, left_open):
        with contextlib.suppress(KubeezError):  # a choice for which nothing fits has no price
            others.append(await _priced(recipe, {**arguments, **open_}, call, quotes))
    for name, step in chosen.items():
        step.low, step.high = _range([run[name].credits for run in [chosen, *others]])
    totals = [_total(run.values()) for run in [chosen, *others]]
    low, high = _range(totals)
    return PriceList(recipe.name, tuple(chosen.values()), totals[0], low, high, budget_of(recipe, arguments, ceiling))


async def _priced(
    recipe: Recipe, arguments: Mapping[str, Any], call: ToolCaller, quotes: Quotes
) -> dict[str, PricedStep]:
    results: dict[str, Any] = {}
    sums: dict[str, PricedStep] = {}
    for step in recipe.steps:
        sums[step.id] = PricedStep(step.id, step.tool)
        found = []
        for one in calls_of(recipe, step, scope_for(arguments, results)):
            scope = scope_for(arguments, results, one)
            if not wanted(one, scope):
                found.append({**_example(step), "status": "skipped"})
                continue
            values = arguments_of(recipe, one, scope)
            found.append(await _imagined(step, values, call))
            if step.tool in PAID_TOOLS:
                credits_ = await quotes.of(step.tool, values, hints_of(one, scope))
                _add(sums[step.id], step, values, credits_)
        results[step.id] = found if step.for_each is not None else found[0]
    return sums


def _add(total: PricedStep, step: Step, values: Mapping[str, Any], credits_: float | None) -> None:
    total.calls += 1
    total.model = str(values.get("model") or total.model)
    if credits_ is None and step.at_most is not None:
        credits_, total.note = step.at_most, f"price unknown; the recipe allows {number(step.at_most)} credits a call"
    if credits_ is None:
        total.credits, total.note = None, "price unknown"
    elif total.credits is not None:
        total.credits += credits_


async def _imagined(step: Step, values: Mapping[str, Any], call: ToolCaller) -> dict[str, Any]:
    """What a step would return: really asked for when that is free, an example otherwise."""
    if step.tool in READING_TOOLS and step.tool not in ("view_media", "wait_for_generation"):
        return await read(call, step.tool, values)
    return _example(step)


def _example(step: Step) -> dict[str, Any]:
    output = {"id": "example", "url": _EXAMPLE, "media_type": "image", "duration": None, "width": 1024, "height": 1024}
    song = {"id": "example", "title": "Example"}
    song |= dict.fromkeys(("audio_url", "stream_url", "cover_image_url"), _EXAMPLE)
    made = {"status": "completed", "outputs": [output], "songs": [song, song], "files": []}
    urls = dict.fromkeys(("vocals_url", "instrumental_url", "url"), _EXAMPLE)
    return {"generation_id": f"example-{step.id}", **made, **urls}


def _open_choices(recipe: Recipe, left_open: Collection[str]) -> Iterator[dict[str, Any]]:
    """Combinations of the open arguments that have few values: choices and yes/no."""
    options: dict[str, list[Any]] = {}
    for name, argument in recipe.arguments.items():
        if name in left_open:
            values: list[Any] = [True, False] if argument.type == "boolean" else list(argument.choices)
            if values and argument.type not in ("list", "table"):
                options[name] = values
    combinations = itertools.product(*options.values()) if options else ()
    for combination in itertools.islice(combinations, MAX_COMBINATIONS):
        yield dict(zip(options, combination, strict=True))


def _range(values: list[float | None]) -> tuple[float | None, float | None]:
    known = [value for value in values if value is not None]
    return (min(known), max(known)) if len(known) == len(values) else (None, None)


def _total(sums: Any) -> float | None:
    values = [total.credits for total in sums]
    return None if None in values else sum(values)
