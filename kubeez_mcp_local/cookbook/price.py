"""What a recipe costs before it runs: each step, and the range over the choices that are still open.

Each paid call is drafted, checked and priced by the tool itself, which ends there: a recipe's prices and errors are
those of its tools. What earlier steps will have made by then stands in as something to come.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import anyio

from kubeez_mcp_local.catalogue.checks import parse_seconds
from kubeez_mcp_local.cookbook.arguments import CORRECT_ALL, listed, numbered
from kubeez_mcp_local.cookbook.format import LENGTHS, RecipeError, TemplateError
from kubeez_mcp_local.cookbook.steps import (
    FILE_ARGUMENTS,
    PAID_TOOLS,
    READING_TOOLS,
    Budget,
    Call,
    ToolCallError,
    arguments_of,
    budget_of,
    calls_of,
    dependencies,
    fields_of,
    hints_of,
    leaves,
    number,
    read,
    scope_for,
    wanted,
)
from kubeez_mcp_local.errors import InvalidArgumentError, KubeezError
from kubeez_mcp_local.jobs.job import EXACT, step_and_index
from kubeez_mcp_local.media.sniff import by_extension
from kubeez_mcp_local.text import cut

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping

    from kubeez_mcp_local.cookbook.format import Recipe, Step
    from kubeez_mcp_local.cookbook.steps import ToolCaller

    Measure = Callable[[str], Awaitable[float | None]]

MAX_COMBINATIONS = 32
MANY = 40
"""Calls of one step from which on those that differ only in their prompts are not each drafted."""
_COMING = "https://coming.invalid"
"""What stands for results that do not exist yet; no host can have this name."""
# Refusals that have nothing to do with what is asked for: they stand before every call alike.
_SAME_FOR_ALL = frozenset(
    {"unauthorized", "missing_scope", "insufficient_credits", "unreachable", "unavailable", "tool_unknown"}
)


@dataclass(slots=True)
class PricedStep:
    """The price of one step in credits, of all its `calls`, with the arguments given and the defaults.

    `low` and `high` are those of the cheapest and dearest choice of the arguments that were left open; `None` is an
    unknown price. `note` tells why it is unknown, or on what it rests. `model` lists them where its calls differ.
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
class Planned:
    """A paid call as it will be made: its arguments, and its price in credits (`None`: unknown) with its basis."""

    key: str
    tool: str
    arguments: Mapping[str, Any]
    credits: float | None
    basis: str = "unknown"

    @property
    def exact(self) -> bool:
        """Whether the price is what will be charged."""
        return self.basis == EXACT

    @property
    def step(self) -> str:
        return step_and_index(self.key)[0]


@dataclass(frozen=True, slots=True)
class PriceList:
    """The price of a whole recipe in credits; `None` where a step's price is unknown."""

    recipe: str
    steps: tuple[PricedStep, ...]
    credits: float | None
    low: float | None
    high: float | None
    budget: Budget
    planned: tuple[Planned, ...] = ()

    @property
    def fits(self) -> bool:
        """Whether the known price is within the budget."""
        return self.credits is not None and self.credits <= self.budget.credits


@dataclass(frozen=True, slots=True)
class Quoted:
    """What a paid tool said a call would be: its price in credits (`None`: unknown) and the arguments as sent.

    `why` says why the price is unknown; `note` what the reader must know of it; `exact`: it is what will be charged.
    """

    credits: float | None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    why: str = ""
    note: str = ""
    basis: str = "unknown"


def _key(*parts: Any) -> str:
    return json.dumps(parts, sort_keys=True, default=str)


def _but_words(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What a call's price rests on."""
    return {name: value for name, value in arguments.items() if name not in ("prompt", "negative_prompt")}


@dataclass
class Quotes:
    """Prices of calls, as the paid tools tell them, each asked for once.

    `measure` tells how long a file is, in seconds, `None` where nobody knows; without it only URLs get the length that
    was declared for them.
    """

    call: ToolCaller
    measure: Measure | None = None
    _known: dict[str, Quoted] = field(default_factory=dict)
    _asking: anyio.Lock = field(default_factory=anyio.Lock)

    async def of(
        self,
        tool: str,
        arguments: Mapping[str, Any],
        hints: Mapping[str, Any],
        coming: Mapping[str, Mapping[str, Any]] | None = None,
        *,
        loosely: bool = False,
    ) -> Quoted:
        """What one call would be. `hints` are lengths that were declared for files that nobody can measure.

        `loosely`: a call that differs in nothing but its prompt has the same price. Raises `KubeezError` as the tool.
        """
        used = {text: (coming or {})[text] for text in leaves(dict(arguments)) if text in (coming or {})}
        exact, loose = _key(tool, arguments, hints, used), _key(tool, _but_words(arguments), hints, used)
        async with self._asking:
            known = self._known.get(exact) or (self._known.get(loose) if loosely else None)
            if known is None:
                known = self._known[exact] = self._known[loose] = await self._ask(tool, arguments, hints, used)
        return known

    async def _ask(
        self, tool: str, arguments: Mapping[str, Any], hints: Mapping[str, Any], used: dict[str, Mapping[str, Any]]
    ) -> Quoted:
        note = await self._lengths(arguments, hints, used) if hints else ""
        answer = await self.call.quote(tool, arguments, used)
        credits_ = answer.get("credits")
        why = "" if credits_ is not None else " ".join(map(str, answer.get("notes") or ()))
        return Quoted(
            float(credits_) if isinstance(credits_, (int, float)) else None,
            answer.get("arguments") or dict(arguments),
            cut(why.removeprefix("Price not known: "), 160),
            note,
            str(answer.get("basis") or "unknown"),
        )

    async def _lengths(
        self, arguments: Mapping[str, Any], hints: Mapping[str, Any], used: dict[str, Mapping[str, Any]]
    ) -> str:
        """Put declared lengths to what cannot be measured; what differs from the measure, in words."""
        files = [text for name in arguments if name in FILE_ARGUMENTS for text in leaves(arguments[name])]
        told = []
        for name, declared in hints.items():
            kind, seconds = LENGTHS[name], float(declared)
            open_ = []
            for text in dict.fromkeys(files):
                if text in used:
                    continue
                remote = text.startswith("https://")
                measured = await self.measure(text) if self.measure is not None else None
                if measured is None and remote:
                    open_.append(text)
                elif measured is not None and abs(measured - seconds) >= 1:  # less is a length rounded to seconds
                    short = text.rpartition("/")[2]
                    told.append(f"{cut(short, 40)} is {measured:.0f} s long, not {seconds:g} s: it is priced as it is.")
            for text in open_:
                by_name = by_extension(urlsplit(text).path)
                used[text] = {"kind": by_name.kind if by_name else kind, "seconds": seconds / len(open_)}
        return " ".join(told)


async def price_recipe(
    recipe: Recipe,
    arguments: Mapping[str, Any],
    call: ToolCaller,
    *,
    ceiling: float = float("inf"),
    left_open: Collection[str] = (),
    measure: Measure | None = None,
) -> PriceList:
    """The price of a run with checked arguments, step by step. Free reading tools are really called; nothing is made.

    `ceiling` is what the settings leave, in credits. The range goes over the choices of the arguments that are
    `left_open`: those that the caller did not decide. `measure` as for `Quotes`.

    Raises:
        RecipeError: The steps cannot be planned.
        KubeezError: A tool refused: all calls that cannot be made as they are, at once; or no model fits.
    """
    dependencies(recipe)
    quotes = Quotes(call, measure)
    planning = _Planning(recipe, call, quotes)
    chosen = await planning.priced(arguments)
    others = []
    for open_ in _open_choices(recipe, left_open):
        with contextlib.suppress(KubeezError):  # a choice for which nothing fits has no price
            others.append(await _Planning(recipe, call, quotes, loosely=True).priced({**arguments, **open_}))
    for name, step in chosen.items():
        step.low, step.high = _range([run[name].credits for run in [chosen, *others]])
    totals = [_total(run.values()) for run in [chosen, *others]]
    low, high = _range(totals)
    budget = budget_of(recipe, arguments, ceiling)
    return PriceList(recipe.name, tuple(chosen.values()), totals[0], low, high, budget, tuple(planning.planned))


@dataclass
class _Planning:
    """Goes through the steps once, in thought; `loosely` as for `Quotes.of`."""

    recipe: Recipe
    call: ToolCaller
    quotes: Quotes
    loosely: bool = False
    coming: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    planned: list[Planned] = field(default_factory=list)
    faults: list[tuple[Call, KubeezError]] = field(default_factory=list)

    async def priced(self, arguments: Mapping[str, Any]) -> dict[str, PricedStep]:
        results: dict[str, Any] = {}
        sums: dict[str, PricedStep] = {}
        for step in self.recipe.steps:
            sums[step.id] = PricedStep(step.id, step.tool)
            try:
                calls = calls_of(self.recipe, step, scope_for(arguments, results))
            except RecipeError:
                if self.faults:
                    break  # told by what it builds on
                raise
            found = []
            loosely = self.loosely or await self._pass_alike(calls, arguments, results)
            for one in calls:
                try:
                    found.append(await self._one(one, scope_for(arguments, results, one), sums[step.id], loosely))
                except RecipeError:
                    raise  # nothing that other arguments would mend
                except TemplateError as error:
                    place = ("steps", self.recipe.steps.index(step))
                    raise self.recipe.error(f"{_places(self.recipe, [one])}: {error.message}", *place) from None
                except KubeezError as error:
                    if error.code in _SAME_FOR_ALL or error.retry_safe or step.tool not in PAID_TOOLS:
                        raise
                    self.faults.append((one, error))
                    found.append(self._example(one, step.with_, None))
            results[step.id] = found if step.for_each is not None else found[0]
        if self.faults:
            raise _all_of(self.recipe, self.faults)
        return sums

    async def _pass_alike(self, calls: list[Call], arguments: Mapping[str, Any], results: Mapping[str, Any]) -> bool:
        """Whether many calls fit because, of those that differ in nothing but their prompt, the longest one does.

        Where one of them does not, each is looked at by itself, so that all faults are told.
        """
        if len(calls) < MANY or calls[0].step.tool not in PAID_TOOLS:
            return False
        longest: dict[str, tuple[int, Mapping[str, Any], Mapping[str, Any]]] = {}
        try:
            for one in calls:
                scope = scope_for(arguments, results, one)
                if wanted(one, scope):
                    values, hints = arguments_of(self.recipe, one, scope), hints_of(one, scope)
                    words = len(str(values.get("prompt") or ""))
                    if not words:
                        return False
                    key = _key(_but_words(values), hints)
                    if words > longest.get(key, (0,))[0]:
                        longest[key] = words, values, hints
            for _, sent, lengths in longest.values():
                await self.quotes.of(calls[0].step.tool, sent, lengths, self.coming)
        except KubeezError:
            return False
        return True

    async def _one(self, one: Call, scope: Mapping[str, Any], total: PricedStep, loosely: bool) -> dict[str, Any]:
        """What one call would return, its price added to the step's."""
        step = one.step
        if not wanted(one, scope):
            return {**self._example(one, {}, None), "status": "skipped"}
        values = arguments_of(self.recipe, one, scope)
        if step.tool in READING_TOOLS and step.tool not in ("view_media", "wait_for_generation"):
            return await read(self.call, step.tool, values)
        quoted = None
        if step.tool in PAID_TOOLS:
            quoted = await self.quotes.of(step.tool, values, hints_of(one, scope), self.coming, loosely=loosely)
            self.planned.append(Planned(one.key, step.tool, values, quoted.credits, quoted.basis))
            _add(total, step, values, quoted)
        return self._example(one, values, quoted)

    def _example(self, one: Call, values: Mapping[str, Any], quoted: Quoted | None) -> dict[str, Any]:
        """What stands for a call's result; later calls are priced by its kind and length."""
        place = f"{_COMING}/{re.sub(r'[^a-z0-9_]', '-', one.key).rstrip('-')}"
        words = {name: values[name] for name in ("prompt", "negative_prompt") if name in values}
        sent = {**(quoted.arguments if quoted else values), **words}
        kind, seconds = _what_comes(one.step.tool, {**values, **sent}, self.coming)
        variants = values.get("variant_count")
        many = range(1, 1 + (variants if isinstance(variants, int) else 1))
        told = {"kind": kind, **({"seconds": seconds} if seconds else {})} if kind else {}
        urls = [f"{place}-{position}" for position in many]
        self.coming |= dict.fromkeys(urls, told)
        self.coming |= {place: {"tool": one.step.tool, "arguments": dict(sent)}}
        outputs = [
            {"id": place, "url": url, "media_type": kind, "duration": seconds, "width": 1024, "height": 1024}
            for url in urls
        ]
        sound: dict[str, Any] = {}
        for name in ("audio_url", "stream_url", "vocals_url", "instrumental_url"):
            sound[name] = f"{place}-{name}"
            self.coming[sound[name]] = {"kind": "audio"}
        song = {"id": place, "title": "to come", "cover_image_url": f"{place}-cover", **sound}
        made = {"status": "completed", "outputs": outputs, "songs": [song, song], "files": []}
        return {"generation_id": place, "url": urls[0], **made, **sound}


_MAKES = {"generate_music": "audio", "generate_dialogue": "audio", "generate_sound": "audio"}
_MAKES |= {"generate_separation": "audio", "generate_captions": "video", "remove_background": "image"}


def _what_comes(
    tool: str, sent: Mapping[str, Any], coming: Mapping[str, Mapping[str, Any]]
) -> tuple[str | None, float | None]:
    """The kind of what a call makes and its length in seconds, as far as they are known beforehand."""
    kind = _MAKES.get(tool)
    if str(sent.get("generation_type") or "").endswith(("-to-image", "-to-video")):
        kind = "video" if str(sent["generation_type"]).endswith("video") else "image"
    seconds: float | None = None
    if kind == "video" and sent.get("duration"):
        with contextlib.suppress(InvalidArgumentError):
            seconds = parse_seconds(sent["duration"])
    if tool == "generate_captions":
        files = [text for name in sent if name in FILE_ARGUMENTS for text in leaves(sent[name])]
        seconds = next((coming[text].get("seconds") for text in files if text in coming), None)
    return kind, seconds


def _add(total: PricedStep, step: Step, values: Mapping[str, Any], quoted: Quoted) -> None:
    total.calls += 1
    total.model = ", ".join(filter(None, dict.fromkeys([*total.model.split(", "), str(values.get("model") or "")])))
    credits_, why = quoted.credits, f": {quoted.why}" if quoted.why else ""
    if credits_ is None and (asked := _lengths_left_open(step)):
        why = f": the length of the file is not known; give it as {asked}"
    if quoted.note and quoted.note not in total.note:
        total.note = f"{total.note} {quoted.note}".strip()
    if credits_ is None and step.at_most is not None:
        credits_ = step.at_most
        total.note = f"price unknown{why.rstrip('.')}; the recipe allows {number(step.at_most)} credits a call"
    if credits_ is None:
        total.credits, total.note = None, f"price unknown{why}"
    elif total.credits is not None:
        total.credits = round(total.credits + credits_, 6)


def _lengths_left_open(step: Step) -> str:
    """The arguments that would tell how long a file is."""
    texts = [value for value in step.quote.values() if isinstance(value, str)]
    return " or ".join(dict.fromkeys(name for text in texts for name in sorted(fields_of(text, "args"))))


def _all_of(recipe: Recipe, faults: list[tuple[Call, KubeezError]]) -> KubeezError:
    """What keeps calls from being made, alike ones together, as one error; one alone keeps its code and next step."""
    alike: dict[str, list[Call]] = {}
    for call, error in faults:
        alike.setdefault(error.message, []).append(call)
    lines = [f"{_places(recipe, calls)}: {message}" for message, calls in alike.items()]
    first = faults[0][1]
    if len(lines) == 1:
        return ToolCallError(lines[0], code=first.code, next_step=first.next_step)
    text = listed(f"{len(faults)} calls cannot be made as they are:", lines)
    return ToolCallError(text, code="invalid_argument", next_step=CORRECT_ALL)


_WHOLE_ARGUMENT = re.compile(r"\{\{\s*args\.([a-z0-9_]+)\s*\}\}\Z")


def _looped(step: Step) -> str:
    """The argument of whose entries a step makes its calls; empty for any other loop."""
    found = _WHOLE_ARGUMENT.match(step.for_each) if isinstance(step.for_each, str) else None
    return found[1] if found else ""


def _places(recipe: Recipe, calls: list[Call]) -> str:
    """What was wrong, as its giver knows it: `rows: rows 2 and 5` for calls made of an argument, else the step."""
    loops = {_looped(call.step) for call in calls}
    argument = recipe.arguments.get(name) if len(loops) == 1 and (name := loops.pop()) else None
    if argument:
        thing = "row" if argument.type == "table" else "entry"
        return f"{name}: {numbered(thing, sorted({call.index + 1 for call in calls}))}"
    return calls[0].key + (f" and {len(calls) - 1} more" if len(calls) > 1 else "")


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
