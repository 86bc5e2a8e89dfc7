"""Gets a run ready: checked arguments, a name, a price, a budget, and what earlier attempts have already spent.

The same recipe with the same arguments is the same run: asked for again, it goes on where it was cut off, or comes
back with what it made. A new one has to be asked for.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import inf
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread

from kubeez_mcp_local.catalogue.checks import verify_media_kind
from kubeez_mcp_local.catalogue.models import KINDS
from kubeez_mcp_local.catalogue.voices import OMNI_VOICES, dialogue_voices
from kubeez_mcp_local.cookbook.arguments import (
    MAX_ENTRIES,
    TextFiles,
    UnfitValueError,
    all_at_once,
    numbered,
    read_arguments,
)
from kubeez_mcp_local.cookbook.format import RecipeError, near
from kubeez_mcp_local.cookbook.price import PriceList, price_recipe
from kubeez_mcp_local.cookbook.steps import Budget, budget_of, deciding, dependencies, fields_of, names_in, number
from kubeez_mcp_local.errors import InvalidArgumentError, KubeezError
from kubeez_mcp_local.jobs.errors import over_run_ceiling
from kubeez_mcp_local.jobs.job import EXACT
from kubeez_mcp_local.media.inputs import LocalInput
from kubeez_mcp_local.operations import dialogue
from kubeez_mcp_local.rest.errors import UnauthorizedError
from kubeez_mcp_local.runs.journal import Record, RunId, digest, file_of, is_taken
from kubeez_mcp_local.runs.run import Run
from kubeez_mcp_local.text import cut, spoken

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Sequence
    from pathlib import Path

    from kubeez_mcp_local.bridge import Bridge
    from kubeez_mcp_local.catalogue.listing import Listing
    from kubeez_mcp_local.cookbook.format import Argument, Column, Recipe
    from kubeez_mcp_local.cookbook.price import Measure, Planned
    from kubeez_mcp_local.cookbook.steps import ToolCaller
    from kubeez_mcp_local.jobs.budget import RunSpend
    from kubeez_mcp_local.media.inputs import Inputs
    from kubeez_mcp_local.operations import Input
    from kubeez_mcp_local.runs.journal import Outcome
    from kubeez_mcp_local.runs.payments import Books
    from kubeez_mcp_local.runs.run import RunReport

_KEY_SECONDS = 5.0
RUNS = "runs"
"""Folder of the records of runs, in the state folder; it has one folder for each account."""
_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}\Z")


def runs_folder(bridge: Bridge) -> Path:
    """Where the records of runs are kept: a folder for each account, so that no run is mistaken for another's."""
    return bridge.settings.state_dir / RUNS / bridge.account


@dataclass(frozen=True, slots=True)
class EarlierAttempts:
    """What earlier attempts at a run came to; empty for a new run.

    The quotes of what the ledger calls its `spend` are the part of the price that needs no further yes. `outcome` is
    how the last attempt ended: `None` when it was cut off, or there was none. `taken`: somebody carries it out now.
    """

    spend: RunSpend
    outcome: Outcome | None
    taken: bool


@dataclass(frozen=True, slots=True)
class Prepared:
    """A run that can start. It has no `prices` when it is over and nothing is to be paid any more.

    `read` says which text files were read for its arguments, `held` what they held, see `Checked`. `behind` are the
    steps for which there must be another yes, once all before them is made.
    """

    run: Run
    prices: PriceList | None
    earlier: EarlierAttempts
    read: tuple[str, ...] = ()
    behind: frozenset[str] = frozenset()
    held: Mapping[str, str] = field(default_factory=dict)

    @property
    def recipe(self) -> Recipe:
        return self.run.recipe

    @property
    def complete(self) -> bool:
        """Whether everything is made already, so that the run only reports."""
        return self.earlier.outcome == "completed"

    @property
    def due(self) -> float | None:
        """Credits that are still to be paid, as far as is known; `None` when the price is unknown."""
        if self.prices is None or self.earlier.taken:
            return 0.0
        now = [call.credits for call in self._planned(behind=False)]
        known = [credits_ for credits_ in now if credits_ is not None]
        return max(round(sum(known) - self.earlier.spend.quoted, 6), 0.0) if len(known) == len(now) else None

    @property
    def basis(self) -> str:
        """What `due` rests on: the catalogue's own prices alone, or a rate or an estimate as well."""
        if self.due is None:
            return "unknown"
        others = [call.basis for call in self._planned(behind=False) if call.basis != EXACT]
        return others[0] if others else EXACT

    @property
    def exact(self) -> bool:
        """Whether that is what will be charged."""
        return self.basis == EXACT

    @property
    def paid_calls(self) -> int:
        """How many calls of this attempt cost credits, earlier ones included."""
        return len(self._planned(behind=False))

    @property
    def remarks(self) -> tuple[str, ...]:
        """What was read for the arguments, and what is to be known of the prices, one sentence each."""
        notes = [step.note for step in self.prices.steps if step.note] if self.prices else []
        return (*self.read, *(note if note.endswith((".", "!")) else f"{note}." for note in notes))

    def _planned(self, *, behind: bool) -> list[Planned]:
        planned = self.prices.planned if self.prices else ()
        return [call for call in planned if (call.step in self.behind) is behind]

    def way_on(self, report: RunReport, same: str) -> str:
        """How to go on after an attempt, in a sentence or two; nothing when all is made. `same`: call or command."""
        if report.status == "completed":
            return ""
        done = {call.key for call in report.calls if call.status == "completed"}
        rest = [call for call in self.prices.planned if call.key not in done] if self.prices else []
        price = f", {sum_}" if (sum_ := _sum(rest)) else ""
        left = f"{_counted(len(rest))} left{price}"
        if report.status == "paused":
            return f"Show what there is so far. After a yes the {same} goes on: {left}."
        if report.status == "stopped":
            return f"Once that is settled, the {same} goes on and only the rest is paid: {left}."
        refused = [call for call in report.calls if not call.again]
        if refused and not any(call.again and call.status in ("failed", "parked") for call in report.calls):
            return f"The {same} would be refused again: change what the reasons name. What is made stays made ({left})."
        also = " What was refused would be refused again." if refused else ""
        return f"The {same} tries what is missing and only the rest is paid: {left}.{also}"

    @property
    def identity(self) -> str:
        """Names exactly this run in its present state, for the yes that is given to it."""
        spend = self.earlier.spend
        state = [self.run.id.header, dict(self.run.arguments), spend.charged, spend.reserved, spend.quoted]
        return digest(json.dumps(state, sort_keys=True, default=str))

    def lowered(self, max_credits: float | None) -> Prepared:
        """The same run with a budget of at most `max_credits`."""
        if max_credits is None or max_credits >= self.run.budget.credits:
            return self
        budget = Budget(max_credits, f"--max-credits {number(max_credits)} holds.")
        self.verify_budget(max_credits, "--max-credits")
        return replace(self, run=replace(self.run, budget=budget))

    def verify_budget(self, budget: float, name: str) -> None:
        """Refuse what cannot be finished within `budget` credits, which `name` can raise; nothing is spent."""
        if self.prices is None or self.prices.credits is None or self.earlier.taken:
            return
        spend = self.earlier.spend
        whole = spend.charged + spend.reserved + max(self.prices.credits - spend.quoted, 0.0)
        if whole > budget + 1e-6:
            raise KubeezError(
                f"{self.recipe.name} costs {spoken(round(whole, 6))} with these arguments, and its budget is "
                f"{spoken(budget)}: it could not be finished. Nothing was spent.",
                next_step=f"Raise {name} to at least {number(whole)}, or choose less work or cheaper models.",
                code="over_budget",
            )

    def summary(self) -> str:
        """What is about to happen, in one sentence for whoever has to agree to it."""
        if self.complete:
            return f"The run {self.run.id.name} is complete; nothing more is paid."
        if self.earlier.taken:
            return f"The run {self.run.id.name} is being carried out already."
        about = "" if self.exact else "about "
        due = "a price that is not known in advance" if self.due is None else f"{about}{spoken(self.due)}"
        calls = _counted(self.paid_calls, "paid ")
        spent, most = self.earlier.spend.charged, number(self.run.budget.credits)
        earlier = f", {number(spent)} of them spent before" if spent else ""
        priced = f"{calls} for {due}"
        later = self._planned(behind=True)
        if later:
            # Nobody agrees to a part who does not know the whole.
            costs = [call.credits for call in later if call.credits is not None]
            rest = number(round(sum(costs), 6)) if len(costs) == len(later) else "an unknown price"
            now = "an unknown price" if self.due is None else number(self.due)
            about = "" if self.exact and all(call.exact for call in later) else "about "
            whole = "" if self.whole is None else f"{about}{spoken(self.whole)} in all: "
            before = f"before {later[0].step} ({_counted(len(later))})"
            priced = f"{whole}{now} now ({calls}), {rest} after another yes {before}"
        return (
            f"Recipe {self.recipe.name}: {priced}, at most {most}{'' if later else ' in all'}{earlier}.{self._makes()}"
        )

    @property
    def whole(self) -> float | None:
        """Credits that are still to be paid, steps behind another yes among them; `None` when the price is unknown."""
        costs = [call.credits for call in self._planned(behind=True)]
        if self.due is None or any(cost is None for cost in costs):
            return None
        return round(self.due + sum(cost or 0 for cost in costs), 6)

    def _makes(self) -> str:
        """The models, shapes and voices of the planned calls, and how many of each."""
        planned = self.prices.planned if self.prices else ()
        counted = Counter(_what(call) for call in planned)
        told = [f"{times} × {what}" if times > 1 else what for what, times in counted.items()]
        more = f", {len(told) - _MOST_TOLD} kinds more" if len(told) > _MOST_TOLD else ""
        return f" Calls: {', '.join(told[:_MOST_TOLD])}{more}." if told else ""


_MOST_TOLD = 6


def _what(call: Planned) -> str:
    """What a call is made with, such as `nano-banana-2 16:9`, `generate_dialogue (Mark, Rachel)`."""
    said = call.arguments
    lines = said.get("dialogue")
    spoken_by = [line.get("voice") for line in lines if isinstance(line, Mapping)] if isinstance(lines, list) else []
    voices = dict.fromkeys(str(voice) for voice in [said.get("voice"), *spoken_by] if voice)
    named = [str(said.get("model") or call.tool), *(str(said[name]) for name in _SHAPES if said.get(name))]
    made = int(said.get("variant_count") or 1)
    heard = f" ({', '.join(voices)})" if voices else ""
    return f"{f'{made} of ' if made > 1 else ''}{' '.join(named)}{heard}"


_SHAPES = ("aspect_ratio", "duration", "resolution")


def _sum(calls: Sequence[Planned]) -> str:
    """What these calls cost together, in words; empty where that is not known."""
    costs = [call.credits for call in calls if call.credits is not None]
    if not costs or len(costs) < len(calls):
        return ""
    return f"{'' if all(call.exact for call in calls) else 'about '}{spoken(round(sum(costs), 6))}"


def _counted(calls: int, kind: str = "") -> str:
    return f"{calls} {kind}call{'' if calls == 1 else 's'}"


@dataclass(frozen=True, slots=True)
class Checked:
    """Arguments of a recipe, with everything found that they name; `notes` says what was read, one sentence each, and
    `held` has a digest of each text file that was read, by its path."""

    values: dict[str, Any]
    notes: tuple[str, ...] = ()
    held: Mapping[str, str] = field(default_factory=dict)


async def checked_arguments(bridge: Bridge, recipe: Recipe, given: Mapping[str, Any]) -> Checked:
    """The arguments `given` for a recipe: typed, text files read, files found, patterns expanded, ids known.

    Every use of a recipe begins here, so that what does not fit is told the same way, all at once, and before
    anything is priced. Raises `InvalidArgumentError`, `InvalidArgumentsError` for several.
    """
    texts = TextFiles(bridge.settings.input_dirs)
    values, faults = await anyio.to_thread.run_sync(lambda: read_arguments(recipe.front, given, read=texts))
    finder = _Finder(bridge.sources.inputs, await bridge.catalogue.listing(), _voices_known(recipe))
    for name, argument in recipe.arguments.items():
        if name in values:
            try:
                values[name] = await finder.found(name, argument, values[name])
            except UnfitValueError as unfit:
                faults += [InvalidArgumentError(name, reason) for reason in unfit.reasons]
            except InvalidArgumentError as error:
                faults.append(error)
    places = {name: place for place, name in enumerate(recipe.arguments)}
    all_at_once(sorted(faults, key=lambda fault: places.get(fault.argument, -1)))
    return Checked(values, tuple(texts.read), texts.held)


def _voices_known(recipe: Recipe) -> bool:
    """Whether its voices are those of the catalogue: those of another speech engine are not listed anywhere."""
    return not any("provider" in step.with_ for step in recipe.steps)


@dataclass(frozen=True, slots=True)
class _Finder:
    """Finds what values name: files, models, voices."""

    inputs: Inputs
    listing: Listing
    voices_known: bool

    async def found(self, name: str, argument: Argument, value: Any) -> Any:
        if value in (None, "", []):
            return value
        if argument.type == "list":
            return await self._entries(name, argument, value)
        if argument.type == "table":
            return await self._rows(name, argument, value)
        return (await self._one(name, argument.type, argument, value))[0]

    async def _one(self, name: str, kind: str, declared: Argument | Column, value: Any, most: int = 1) -> list[Any]:
        if kind == "path":
            return await self._files(name, declared, value, most)
        try:
            if kind == "model":
                return [self.listing.get(value).id]
        except InvalidArgumentError as error:
            reason = error.message.removeprefix("model: ")
            raise InvalidArgumentError(name, reason, next_step=error.next_step, code=error.code) from None
        if kind == "voice" and self.voices_known:
            _verify_voice(name, value, self.listing)
        return [value]

    async def _files(self, name: str, declared: Argument | Column, value: str, most: int) -> list[str]:
        if most == 1:
            items = [await self.inputs.resolve(value, argument=name)]
        else:
            items = await self.inputs.expand([value], argument=name, limit=most)
        for item in items:
            verify_media_kind(name, item.kind, declared.kinds or KINDS)
        return [value] if len(items) == 1 and not any(char in value for char in "*?[") else list(map(_named, items))

    async def _entries(self, name: str, argument: Argument, value: Sequence[Any]) -> list[Any]:
        most = int(argument.maximum or MAX_ENTRIES)
        found: list[Any] = []
        wrong: list[str] = []
        for number_, entry in enumerate(value, start=1):
            try:
                found += await self._one(name, argument.of, argument, entry, max(most, 2))
            except InvalidArgumentError as error:
                reason = error.message.removeprefix(f"{name}: ")
                if len(value) == 1:
                    raise
                wrong.append(f"entry {number_}: {reason}")
        if wrong:
            raise UnfitValueError(*wrong)
        found = list(dict.fromkeys(found)) if argument.of == "path" and len(found) > len(value) else found
        if len(found) > most:
            raise UnfitValueError(f"stands for {len(found)} entries; at most {most} are allowed")
        return found

    async def _rows(self, name: str, argument: Argument, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        found = [dict(row) for row in rows]
        wrong: dict[str, list[int]] = {}
        for column, declared in argument.columns.items():
            for number_, row in enumerate(found, start=1):
                if row[column] is None:
                    continue
                try:
                    row[column] = (await self._one(column, declared.type, declared, row[column]))[0]
                except InvalidArgumentError as error:
                    reason = error.message.removeprefix(f"{column}: ")
                    wrong.setdefault(f"{column}: {reason}", []).append(number_)
        if wrong:
            raise UnfitValueError(*(f"{numbered('row', rows_)}: {reason}" for reason, rows_ in wrong.items()))
        return found


def _named(item: Input) -> str:
    return str(item.path) if isinstance(item, LocalInput) else item.url


def _verify_voice(name: str, value: str, listing: Listing) -> None:
    voices = dialogue_voices(listing.find(dialogue.MODEL))
    known = {voice.lower() for voice in (*voices, *(omni.id for omni in OMNI_VOICES))}
    if voices and value.strip().lower() not in known:
        hint = near(value.strip().capitalize(), voices)
        told = f"there is no voice {cut(value, 40)!r}.{hint} Voices: {', '.join(voices)}."
        raise InvalidArgumentError(name, told, code="invalid_voice_id")


async def prepare_run(
    bridge: Bridge,
    recipe: Recipe,
    given: Mapping[str, Any],
    call: ToolCaller,
    *,
    run_id: str = "",
    anew: bool = False,
    pausing: bool = False,
    on_team: bool = False,
) -> Prepared:
    """A run of `recipe` on this bridge, ready to start; raises as `prepare`.

    One for the team (`on_team`) goes on for as many days as it takes: what today leaves does not lower its budget, and
    each row meets the day's ceiling on its own day. Its name is new among the team's campaigns, too.
    """
    settings = bridge.settings
    checked = await checked_arguments(bridge, recipe, given)
    await verify_key(bridge)
    return await prepare(
        recipe,
        checked,
        call,
        bridge.ledger,
        left_today=inf if on_team else (await bridge.today()).left,
        ceiling=settings.run_ceiling,
        folder=runs_folder(bridge),
        mode=bridge.mode.value,
        run_id=run_id,
        anew=anew,
        measure=measure_of(bridge),
        pausing=pausing,
        campaigns=bridge.ledger.campaign_names if on_team else None,
    )


async def price_of(
    bridge: Bridge, recipe: Recipe, given: Mapping[str, Any], call: ToolCaller
) -> tuple[PriceList, tuple[str, ...]]:
    """The price of a recipe with the arguments `given`, and what was read for them; raises as `prepare_run`.

    The range goes over the choices that were not given.
    """
    checked = await checked_arguments(bridge, recipe, given)
    await verify_key(bridge)
    left_open = [name for name in recipe.arguments if given.get(name) in (None, "", [])]
    ceiling = (await bridge.today()).left
    prices = await price_recipe(
        recipe, checked.values, call, ceiling=ceiling, left_open=left_open, measure=measure_of(bridge)
    )
    return prices, checked.notes


async def verify_key(bridge: Bridge) -> None:
    """Raise `UnauthorizedError` where the account's key is not taken: nothing that needs it can work.

    What else keeps the balance from being read says nothing of what is to be made.
    """
    with anyio.move_on_after(_KEY_SECONDS):
        try:
            await bridge.api.balance()
        except UnauthorizedError:
            raise
        except KubeezError:
            return


def measure_of(bridge: Bridge) -> Measure:
    """How long a file or a result of this machine is; `None` when only whoever fetches it knows."""

    async def measure(text: str) -> float | None:
        try:
            return (await bridge.inputs.resolve(text, argument="file")).measured.seconds
        except KubeezError:
            return None  # the tool says what is wrong with it

    return measure


async def prepare(
    recipe: Recipe,
    checked: Checked,
    call: ToolCaller,
    books: Books,
    *,
    left_today: float,
    ceiling: float,
    folder: Path,
    mode: str,
    run_id: str = "",
    anew: bool = False,
    measure: Measure | None = None,
    pausing: bool = False,
    campaigns: Callable[[str], Awaitable[Collection[str]]] | None = None,
) -> Prepared:
    """Everything that is known of a run with checked arguments before it starts. Nothing is made or paid.

    Args:
        books: The ledger behind the tools.
        left_today: Credits the settings leave for today.
        ceiling: Credits that one run may cost.
        folder: Where the records of runs are kept; one folder for each account.
        mode: `live` or `sandbox`.
        run_id: The run; by default the one of this recipe with these arguments.
        anew: Begin another run even if this one exists.
        measure: As for `price_recipe`.
        pausing: Whether it ends before steps that want another yes.
        campaigns: The names of the team's campaigns that begin so.

    Raises:
        InvalidArgumentError: The run id does not fit.
        RecipeError, TemplateError: There are no steps, or they cannot be planned.
        KubeezError: The run id belongs to something else (`run_mismatch`).
        CeilingError: It costs more than one run may.
        KubeezError: It costs more than its own budget (`over_budget`).
    """
    if not recipe.steps:
        reason = "this recipe has no steps, so it cannot run by itself"
        raise RecipeError(recipe.file, 0, "steps", reason, next_step="Use it as a prompt.")
    arguments = checked.values
    decided = deciding(recipe, arguments)
    if run_id and not _RUN_ID.match(run_id):
        raise InvalidArgumentError("run_id", f"{run_id!r}: use up to 64 letters, digits, - and _")
    name = run_id or _default_name(recipe, decided)
    if anew:
        others = await campaigns(name) if campaigns else ()
        name = await anyio.to_thread.run_sync(_unused, folder, name, others)
    run = RunId.of(name, recipe.text, decided, mode)
    # In this order: who had begun it at the first look still has it at the second, or has written its end by the third.
    spend = await books.run_spend(run.in_ledger)
    taken = await anyio.to_thread.run_sync(is_taken, folder, name)
    record = await anyio.to_thread.run_sync(Record.read, folder, run)
    before = spend.charged + spend.reserved
    budget = budget_of(recipe, arguments, min(left_today + before, ceiling))
    over = record.outcome == "completed"
    wanted = {step.id for step in recipe.steps if step.pause} if pausing else set()
    pauses = frozenset(wanted - record.passed)
    prices = None if over else await price_recipe(recipe, arguments, call, ceiling=budget.credits, measure=measure)
    prepared = Prepared(
        Run(recipe, arguments, run, folder, budget, pauses),
        prices,
        EarlierAttempts(spend, record.outcome, taken),
        checked.notes,
        _behind(recipe, pauses),
        checked.held,
    )
    if prepared.due and before + prepared.due > ceiling:
        raise over_run_ceiling(prepared.due, max(ceiling - before, 0.0), ceiling, own=False, spare=False, whole=True)
    prepared.verify_budget(budget_of(recipe, arguments).credits, _budget_argument(recipe))
    return prepared


def _behind(recipe: Recipe, pauses: frozenset[str]) -> frozenset[str]:
    """The steps that a pause holds up: those before which it is, and what builds on them."""
    behind: set[str] = set()
    for step, needs in dependencies(recipe).items():
        if step in pauses or needs & behind:
            behind.add(step)
    return frozenset(behind)


def _budget_argument(recipe: Recipe) -> str:
    """What raises a recipe's budget, in words."""
    budget = recipe.front.budget
    used = names_in(budget) | fields_of(budget, "args") if isinstance(budget, str) else set()
    named = [name for name in recipe.arguments if name in used]
    return f"its argument {named[0]}" if len(named) == 1 else "the budget in the recipe"


def _default_name(recipe: Recipe, decided: Mapping[str, Any]) -> str:
    """The name of the run of exactly this recipe with exactly these arguments, such as `brand-series-1f0c2d3e4b`."""
    text = json.dumps([recipe.text, decided], sort_keys=True, default=str)
    return f"{recipe.name[:45].rstrip('-')}-{digest(text)[:10]}"


def _unused(folder: Path, name: str, others: Collection[str]) -> str:
    number_ = 1
    while (free := name if number_ == 1 else f"{name}-{number_}") in others or file_of(folder, free).exists():
        number_ += 1
    return free
