"""The end of every price: what the catalogue does not tell, the API's own estimate may; asked once for each job."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import anyio

from kubeez_mcp_local.catalogue.prices import Quote, QuoteLine, rounded
from kubeez_mcp_local.errors import InvalidArgumentError, KubeezError
from kubeez_mcp_local.jobs.guard import VALID_SECONDS
from kubeez_mcp_local.media.containers import Measured
from kubeez_mcp_local.media.inputs import ComingInput
from kubeez_mcp_local.rest.routes import ROUTES, Request
from kubeez_mcp_local.rest.wire import price_of
from kubeez_mcp_local.text import amount

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from kubeez_mcp_local.bridge.api import Api
    from kubeez_mcp_local.operations import Described, Draft, Input, Operation, Sources
    from kubeez_mcp_local.rest.contract import Terms

log = logging.getLogger(__name__)
# How its answer is spelled is not documented (API reference §2.13); the name of a start's answer comes first.
_TOTALS = ("estimated_cost_credits", "estimated_credits", "total_credits", "credits", "cost_credits", "total")
_LONGEST_WAIT = 5.0
_SILENCE_KEPT = 60.0
_MOST_KEPT = 1_000


@dataclass
class Pricing:
    """Finishes prices. A price that was told holds as long as a question about it may take: ten minutes.

    Attributes:
        clock: Seconds; only differences count.
    """

    api: Api
    contract: Terms
    clock: Callable[[], float] = time.monotonic
    _told: dict[tuple[tuple[str, Any], ...], tuple[float, float | None]] = field(default_factory=dict)
    _one_at_a_time: anyio.Lock = field(default_factory=anyio.Lock)

    async def finished(self, quote: Quote, job: Described | None) -> Quote:
        """`quote`, or where it is unknown or an upper bound the API's own estimate of `job`, as a quote of basis `api`.

        It stays as it is where a length is missing (any price would be a guess), where the API could not be told all
        that decides (`job` is `None`), and where it publishes no estimate, names no price, names zero, or is silent
        for five seconds. Free; asked at most once in ten minutes for the same job, in one minute after no answer.
        Never raises for want of a price.
        """
        settled = quote.credits is not None and not quote.upper_bound
        if settled or quote.lacks_length or job is None:
            return quote
        each = await self._each(_said(job))
        if each is None:
            return quote
        line = QuoteLine(job.model, rounded(each * job.count * job.languages), "as the API estimates it")
        note = "The API's own estimate."
        return replace(quote, credits=line.credits, basis="api", breakdown=(line,), note=note, upper_bound=False)

    async def told(self, body: Mapping[str, Any]) -> Quote | None:
        """The API's own estimate of a job of which `body` says all that decides; `None` where it names none."""
        each = await self._each(body)
        if each is None:
            return None
        return Quote(each, "api", note="The API's own estimate.")

    async def _each(self, body: Mapping[str, Any]) -> float | None:
        """The API's price of one such job; remembered."""
        key = tuple(sorted(body.items()))
        async with self._one_at_a_time:
            until, each = self._told.get(key, (0.0, None))
            if self.clock() >= until:
                each = await self._ask(body)
                if len(self._told) >= _MOST_KEPT:
                    self._told.clear()
                self._told[key] = (self.clock() + (_SILENCE_KEPT if each is None else VALID_SECONDS), each)
            return each

    async def _ask(self, body: Mapping[str, Any]) -> float | None:
        try:
            with anyio.move_on_after(_LONGEST_WAIT):
                request = await self.contract.prepare(Request(ROUTES["estimate"], body))
                await self.api.may_read()
                return total_of(await self.api.call(request)) or None
            log.info("the API names no price: it does not answer")
        except KubeezError as error:
            log.info("the API names no price: %s", error.code)
        return None


_OF_EVERY_CALL = ("name", "approval")
_SAME_LENGTH = 0.05
"""Seconds by which two lengths may differ and are still said to be the same."""


async def outlined(
    sources: Sources,
    operation: Operation,
    job: Described,
    given: Mapping[str, Any],
    check: Callable[[Mapping[str, Any]], Mapping[str, Any]],
) -> Draft:
    """The draft of a job of which only an outline may be known: what is missing is filled in, then it is a call.

    Args:
        operation: Runs `job.model`.
        job: Model, count, and the lengths of files that are not given.
        given: Arguments of the operation's tool. A file among them is measured, and its length counts.
        check: Types and limits of the tool's arguments.

    Raises:
        InvalidArgumentError: As the tool itself.
    """
    own = {name: value for name, value in given.items() if name in operation.parameters}
    own |= {"model": job.model} if "model" in operation.parameters else {}
    model = (await sources.catalogue.listing()).get(job.model)
    stand_ins, said = operation.stand_ins(model, own)
    own = {**stand_ins, **own}
    lengths = _Lengths(sources.inputs.look, operation, job)
    refusal: InvalidArgumentError | None = None
    for likely in operation.likely_files(model, job):
        missing = {name: kinds for name, kinds in likely.items() if kinds and name not in own}
        coming = {
            f"{name} {place}": ComingInput(f"{name} {place}", kind, Measured(lengths.said(kind)))
            for name, kinds in missing.items()
            for place, kind in enumerate(kinds)
        }
        files = {name: [f"{name} {place}" for place in range(len(kinds))] for name, kinds in missing.items()}
        arguments = own | {name: several if several[1:] else several[0] for name, several in files.items()}
        try:
            draft = await operation.draft(_looking(sources, coming, lengths), **check(arguments))
        except InvalidArgumentError as error:
            refusal = refusal if refusal and refusal.argument not in operation.files else error
            if own.keys() >= likely.keys():  # all files were given
                break
            continue
        foreign = [name for name in given if name not in (*operation.parameters, *_OF_EVERY_CALL)]
        notes = [
            *draft.notes,
            *lengths.notes,
            *([said] if said else []),
            *([f"Not an argument of {operation.name}, and without effect: {', '.join(foreign)}."] if foreign else []),
        ]
        count = draft.count if "variant_count" in operation.parameters else job.count
        return replace(draft, notes=tuple(notes), count=count)
    assert refusal is not None, "there is always one likely set of files"
    raise refusal


def _looking(sources: Sources, coming: Mapping[str, ComingInput], lengths: _Lengths) -> Sources:
    expecting = sources.expecting(coming)
    return replace(expecting, inputs=replace(expecting.inputs, look=lengths.of))


@dataclass
class _Lengths:
    """Looks at the files of an outlined job, and compares their lengths with those that were said."""

    look: Callable[[Input], Awaitable[Measured]]
    operation: Operation
    job: Described
    notes: list[str] = field(default_factory=list)
    _unmeasured: Input | None = None

    def said(self, kind: str | None) -> float | None:
        if kind == "image":
            return None
        if self.operation.by_length:
            return self.job.file_seconds
        return self.job.audio_seconds if kind == "audio" else self.job.video_seconds

    async def of(self, item: Input) -> Measured:
        """What is known of the file. The length that was said counts only for a single one that cannot be measured."""
        found, said = await self.look(item), self.said(item.kind)
        if isinstance(item, ComingInput) or said is None:
            return found
        if found.seconds is None and self._unmeasured in (None, item):
            self._unmeasured = item
            self._note(f"The file could not be measured; it is priced at {amount(said)} s, as was said.")
            return replace(found, seconds=said)
        if found.seconds is not None and abs(found.seconds - said) > _SAME_LENGTH:
            self._note(f"The file lasts {amount(found.seconds)} s, not {amount(said)} s as was said; the file counts.")
        return found

    def _note(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)


def _said(job: Described) -> dict[str, Any]:
    """What the API is told of a job: all that its published estimate is known to take."""
    said = {
        **{name: getattr(job, name) for name in ("model", "generation_type", "duration", "resolution", "quality")},
        "sound": job.sound,
        "reference_video_seconds": job.video_seconds,
        "reference_audio_seconds": job.audio_seconds,
    }
    return {name: value for name, value in said.items() if value is not None}


def total_of(answer: Mapping[str, Any]) -> float | None:
    """The price that an answer names, in credits; `None` if it names none that can be true."""
    amounts = (price_of(answer.get(name)) for name in _TOTALS)
    return next((amount for amount in amounts if amount is not None), None)
