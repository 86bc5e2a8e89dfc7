"""From a draft to what it starts: orders of one account, submitted together; and jobs that are repeated on purpose."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from kubeez_mcp_local.errors import InvalidArgumentError, KubeezError
from kubeez_mcp_local.jobs.errors import ConsentRequiredError, UnknownJobError
from kubeez_mcp_local.jobs.guard import VALID_SECONDS
from kubeez_mcp_local.jobs.job import EXACT, Order, digest_of, outputs_in
from kubeez_mcp_local.jobs.naming import given_name, labels_for, own_name
from kubeez_mcp_local.media.inputs import LocalInput, RemoteInput
from kubeez_mcp_local.operations import Input, media, operations
from kubeez_mcp_local.operations.media_check import MediaRequest
from kubeez_mcp_local.rest.routes import Request
from kubeez_mcp_local.text import LONGEST_IN_ROW, LONGEST_NAME, amount, extent, on_one_line, spoken

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from kubeez_mcp_local.bridge.api import Api
    from kubeez_mcp_local.bridge.pricing import Pricing
    from kubeez_mcp_local.jobs.job import Labels, RunCall
    from kubeez_mcp_local.jobs.ledger import Ledger
    from kubeez_mcp_local.jobs.spender import Consent, Spender, Submission
    from kubeez_mcp_local.media.inputs import Uploads
    from kubeez_mcp_local.operations import Draft, Sources
    from kubeez_mcp_local.rest.contract import Terms

_SEARCHED_JOBS = 200
RECIPE = "com.kubeez/recipe"
"""In a call's `_meta`: the recipe on whose behalf it comes, for the ledger."""
SPEND = "spend"
"""The field of the question about credits; its tick is the yes."""
RUN = "com.kubeez/run"
"""In a call's `_meta`: the call of a run that it is, with the fields of `RunCall`. It can only lower ceilings."""
QUOTE = "com.kubeez/quote"
"""In a call's `_meta`, as `true`: the call of a paid tool is checked and priced, and ends there.

Everything up to the question happens as always: inputs are found and measured, the request is checked against the
model and the API's document, the price is finished by `Pricing`; errors come as themselves. Nothing is uploaded,
claimed, written down or asked. The answer is an `EstimateResult` with `status: "quoted"`: `credits` for all `count`
jobs together (absent where unknown; `lacks_length` where only a length is missing), `basis`, `breakdown`, `model` and
`arguments` as they would be sent, and in `notes` what the check changed and how sure the price is.
"""
COMING = "com.kubeez/coming"
"""In the `_meta` of such a call: what earlier steps of a recipe will have made by then.

An object from the text that stands for it in the arguments to `{"kind": "image" | "video" | "audio"}`, with
`"seconds"` where its length is known beforehand; what is left out is unknown, as for any URL that nobody has looked at.
For `regenerate`, from the id to `{"tool": …, "arguments": …}`: those that the quote of the earlier step answered.
"""


@dataclass(frozen=True)
class Caller:
    """Who asks for a paid job.

    Attributes:
        approval: The code of an earlier quote that the user has agreed to; empty without one.
        client: Name of the program, for the ledger.
        run: The call of a run that it is: another of the same name gets the job of the first, however late.
        name: What the outputs are to be called; empty for a name made of what the job is about.
    """

    consent: Consent
    approval: str = ""
    client: str = ""
    recipe: str = ""
    run: RunCall | None = None
    name: str = ""


_MOST_WAITING = 20


@dataclass(frozen=True)
class Started:
    """What one call started: its draft, and those of others whose codes came along."""

    draft: Draft
    submissions: list[Submission]
    errors: tuple[str, ...] = ()


@dataclass(frozen=True)
class Waiting:
    """A call whose question waits for a yes, so that one yes can cover several of them.

    Attributes:
        until: When its code expires, on the steady clock.
        listed: Whether later quotes name it. Its code stays good when a later one for the same work, or a payment,
            has taken it off the list.
    """

    draft: Draft
    name: str
    credits: float | None
    until: float
    listed: bool = True


@dataclass(frozen=True)
class Orders:
    """Prices what is drafted, and orders it on the account that pays.

    Attributes:
        beside: The account of the other door, where two are open; then `whose` says in words which one pays.
    """

    account: str
    uploads: Uploads
    contract: Terms
    pricing: Pricing
    spender: Spender
    ledger: Ledger
    clock: Callable[[], float] = time.monotonic
    beside: str = ""
    whose: str = ""
    _waiting: dict[str, Waiting] = field(default_factory=dict)
    """By approval code; of this process only, which loses nothing but the convenience."""

    async def priced(self, drafting: Awaitable[Draft]) -> Draft:
        """A draft that the API takes, with its price finished (see `Pricing.finished`). Free; nothing is kept.

        Every price that is said, asked about or held back comes from here.

        Raises:
            NotOfferedError: The API has no such operation.
            KubeezError: As the draft.
        """
        draft = _noting_unseen(await drafting)
        await self.contract.prepare(_sent(draft, _name))
        return replace(draft, quote=await self.pricing.finished(draft.quote, draft.described))

    async def submit(self, drafting: Awaitable[Draft], caller: Caller) -> Started:
        """Order a draft as often as it says and submit the orders together: one question, one check of ceilings.

        Raises:
            InvalidArgumentError: Nothing of the name can be a file's.
            NotOfferedError: The API has no such operation; found out before anybody is asked.
            KubeezError: As `Spender.submit_all`.
        """
        draft = await self.priced(drafting)
        codes = list(dict.fromkeys(caller.approval.replace(",", " ").split()))
        if len(codes) > 1:
            return await self._submit_waiting(draft, codes, caller)
        try:
            return await self._submit(draft, caller)
        except ConsentRequiredError as error:
            self._keep_waiting(draft, caller.name, error)
            raise

    async def _submit_waiting(self, draft: Draft, codes: Sequence[str], caller: Caller) -> Started:
        """Several calls that were answered with codes, this one among them, each as it was asked about.

        Each is bound to its own code and goes through the guard by itself; an error of one leaves the others alone.
        """
        calls = {code: self._waiting[code] for code in codes if code in self._waiting}
        step = "Repeat each call with its own code."
        if strange := [code for code in codes if code not in calls]:
            raise InvalidArgumentError("approval", f"{strange[0]} is of no call that waits here.", next_step=step)
        if not any(one.draft == draft for one in calls.values()):
            raise InvalidArgumentError("approval", "none of the codes is of this very call.", next_step=step)
        submissions: list[Submission] = []
        errors: list[KubeezError] = []
        for code, one in calls.items():
            try:
                started = await self._submit(one.draft, replace(caller, approval=code, name=one.name))
                submissions += started.submissions
            except KubeezError as error:
                errors.append(error)
        if not submissions:
            raise errors[0]
        return Started(draft, submissions, tuple(map(str, errors)))

    def _keep_waiting(self, draft: Draft, name: str, error: ConsentRequiredError) -> None:
        """Remember the call, and say which others wait: one yes may cover them all, with one balance afterwards."""
        now, question = self.clock(), error.question
        for code, one in list(self._waiting.items()):
            if one.until <= now or one.draft == draft or len(self._waiting) > _MOST_WAITING:
                del self._waiting[code]
        self._unlist([code for code, one in self._waiting.items() if _same_work(one.draft, draft)])
        self._waiting[error.approval] = Waiting(draft, name, question.credits, now + VALID_SECONDS)
        calls = [one for one in self._waiting.values() if one.listed]
        *others, _ = calls
        if not others:
            return
        each = ", ".join(f"{one.draft.model} {'?' if one.credits is None else amount(one.credits)}" for one in others)
        together, exact = sum(one.credits or 0 for one in calls), all(one.draft.quote.basis == EXACT for one in calls)
        about, total = "" if exact else "about ", ""
        if all(one.credits is not None for one in calls):
            total = f" All {len(calls)}: {about}{spoken(round(together, 6))}"
            if question.balance_after is not None:
                after = question.balance_after + (question.credits or 0) - together
                total += f", balance afterwards {about}{spoken(round(after, 6))}"
            total += "."
        waits = "1 other waits" if len(others) == 1 else f"{len(others)} others wait"
        error.next_step += (
            f" {waits}: {each}.{total} One yes may cover several: then make this call alone, its approval being their "
            "codes with commas between."
        )

    def _unlist(self, codes: Sequence[str]) -> None:
        for code in codes:
            if code in self._waiting:
                self._waiting[code] = replace(self._waiting[code], listed=False)

    async def _submit(self, draft: Draft, caller: Caller) -> Started:
        older = list(self._waiting)
        inputs = tuple(_in_words(item) for item in _inputs(draft.body))
        labels = await self._labels(draft, caller)
        orders = [self._order(draft, caller, variant, inputs, each) for variant, each in enumerate(labels)]
        submissions = await self.spender.submit_all(orders, caller.consent, caller.approval or None)
        for code in [code for code, one in self._waiting.items() if one.draft == draft]:
            del self._waiting[code]
        if any(not one.repeated and one.error is None for one in submissions):
            self._unlist(older)
        if len(submissions) == 1 and submissions[0].error is not None:
            raise submissions[0].error
        return Started(draft, submissions)

    async def _labels(self, draft: Draft, caller: Caller) -> list[Labels]:
        inputs = _inputs(draft.body)
        return labels_for(
            draft,
            account=self.account,
            name=given_name(caller.name) if caller.name.strip() else "",
            run=caller.run,
            inputs=[_name(item) for item in inputs],
            source=await self._own_name(inputs[0]) if inputs else "",
        )

    async def _own_name(self, item: Input) -> str:
        """What the file is called: by its path, by the job that made it, or by its URL; empty where nothing tells."""
        if isinstance(item, LocalInput):
            return own_name(item.reference or str(item.path))
        for job in await self.ledger.recent(_SEARCHED_JOBS):
            found = [file.path for file in job.files if file.url == item.url]
            made = any(output.get("url") == item.url for result in job.results for output in outputs_in(result))
            if found or (made and job.place):
                return own_name(found[0] if found else PurePosixPath(job.place).name)
        return own_name(item.url)

    def _order(self, draft: Draft, caller: Caller, variant: int, inputs: tuple[str, ...], labels: Labels) -> Order:
        arguments = sent_arguments(draft)
        route = draft.route

        async def build() -> Request:
            urls = {item: await self._url(item, draft.model) for item in _inputs(draft.body)}
            return await self.contract.prepare(_sent(draft, urls.__getitem__))

        return Order(
            tool=draft.tool or route.name,
            route=route.name,
            bucket=route.bucket,
            kind=route.kind or "media",
            model=draft.model,
            prompt=draft.prompt,
            digest=_digest(self.account, draft, arguments, caller.run, variant),
            beside=_digest(self.beside, draft, arguments, caller.run, variant) if self.beside else "",
            quote=draft.quote,
            build=build,
            arguments=arguments,
            generation_type=draft.generation_type,
            recipe=caller.recipe or None,
            client=caller.client or None,
            notes=(*([self.whose] if self.whose else []), *draft.notes),
            run=caller.run,
            implied=draft.implied,
            how=draft.quote.how,
            title=operations()[route.name].title,
            inputs=inputs,
            labels=labels,
        )

    async def _url(self, item: Input, model: str) -> str:
        return await self.uploads.url_for(item, model=model) if isinstance(item, LocalInput) else item.url


def _digest(account: str, draft: Draft, body: Mapping[str, Any], run: RunCall | None, variant: int) -> str:
    """A call of a run is known by its name: whatever its request looks like by now, it is paid once."""
    if run is not None:
        return digest_of(account=account, route="run", body={"run": run.run, "call": run.call}, variant=variant)
    hashes = {_name(item): item.sha256 for item in _inputs(draft.body) if isinstance(item, LocalInput)}
    return digest_of(
        account=account, route=draft.route.name, body=body, inputs=hashes, variant=variant, repeat=draft.repeat
    )


def sent_arguments(draft: Draft) -> dict[str, Any]:
    """What would be sent, with each input under the name that the user gave it."""
    return dict(_sent(draft, _name).body)


def _sent(draft: Draft, url: Callable[[Input], str]) -> Request:
    """The request with each input under the name that `url` gives it, and without what was not said."""

    def one(value: Any) -> Any:
        if isinstance(value, Input):
            return url(value)
        return [one(item) for item in value] if isinstance(value, tuple) else value

    return Request(draft.route, {name: one(value) for name, value in draft.body.items() if value is not None})


def _same_work(one: Draft, other: Draft) -> bool:
    """Whether a quote for `other` is a second thought about `one`: the same tool, prompt and inputs, however set."""
    works = [(draft.tool or draft.route.name, draft.prompt, _inputs(draft.body)) for draft in (one, other)]
    return works[0] == works[1]


def _inputs(body: Mapping[str, Any]) -> list[Input]:
    values = [value if isinstance(value, tuple) else (value,) for value in body.values()]
    return [item for several in values for item in several if isinstance(item, Input)]


def _noting_unseen(draft: Draft) -> Draft:
    """The draft with a note about inputs that may be damaged for all that is known here."""
    unseen = [item for item in _inputs(draft.body) if not item.measured.looked_at]
    if not unseen:
        return draft
    why = (
        "a URL" if isinstance(item, RemoteInput) else "too large, or only the extra 'video' reads it" for item in unseen
    )
    names = (f"{item.name} ({reason})" for item, reason in zip(unseen, why, strict=True))
    return replace(draft, notes=(*draft.notes, f"Not looked at: {', '.join(names)}."))


def _in_words(item: Input) -> str:
    """An input for people: `/home/ada/talk.mp4 (62.4 s, 8.1 MB)`, as far as it is known."""
    known, local = item.measured, isinstance(item, LocalInput)
    sound = known.has_sound if item.kind == "video" else None
    size = item.size if isinstance(item, LocalInput) else None
    said = extent(width=known.width, height=known.height, seconds=known.seconds, sound=sound, size=size)
    name = on_one_line(_name(item) if local else _name(item).partition("?")[0], LONGEST_IN_ROW)
    name = name if len(name) <= LONGEST_NAME else f"…{name[-LONGEST_NAME + 1 :]}"
    return f"{name} ({said})" if said else name


def _name(item: Input) -> str:
    """How the user can name it again; a library entry by its name, since its copy lies outside the input folders."""
    return item.url if isinstance(item, RemoteInput) else item.reference or str(item.path)


# Not the seed: with the old one the same picture would be paid for again.
_TAKEN_OVER = (
    *("negative_prompt", "generation_type", "aspect_ratio", "duration", "quality", "resolution", "sound", "voice_id"),
)
_NESTED = ("params", "parameters", "settings", "request", "input")
_SEARCHED_ROWS = 100


_Original = tuple[str, "Mapping[str, Any]", str, str]
"""The id of a job, its settings, what must be said about them, and what its files are called."""


@dataclass(frozen=True)
class Regenerating:
    """Repeats jobs on purpose: those of the ledger, and those of other programs as far as the history tells.

    Attributes:
        coming: The tool and arguments of jobs that are still to be made, by what stands for their ids; see `COMING`.
    """

    ledger: Ledger
    api: Api
    sources: Sources
    coming: Mapping[str, tuple[str, Mapping[str, Any]]] = field(default_factory=dict)

    async def again(self, job_id: str, changes: Mapping[str, Any], *, count: int) -> Draft:
        """The job once more; settings in `changes` replace the original's.

        A replay of the very same call is one payment; to repeat once more, name the new job's id.

        Raises:
            UnknownJobError: There is no such job.
            InvalidArgumentError: It is no image or video job, or a change does not fit its model.
        """
        original, settings, note, called = await self._original(job_id.strip())
        changed = {name: value for name, value in changes.items() if value not in (None, "", [])}
        kept: dict[str, Any] = {n: settings[n] for n in _TAKEN_OVER if settings.get(n) is not None}
        if changed.keys() & {"model", "source_media_urls"}:
            kept.pop("generation_type", None)  # follows from these
        sources = changed.pop("source_media_urls", None) or settings.get("source_media_urls") or []
        characters = changed.pop("character_ids", None) or settings.get("character_ids") or ()
        request = replace(MediaRequest(prompt=str(settings["prompt"]), model=str(settings["model"]), **kept), **changed)
        request = replace(request, character_ids=tuple(characters))
        request = request.noting(note) if note else request
        draft = await media.drafted(self.sources, request, sources, count=count)
        called = "" if "prompt" in changed else called
        return replace(draft, tool="regenerate", repeat=f"again {original}", called=called)

    async def _original(self, job_id: str) -> _Original:
        if job_id in self.coming:
            tool, arguments = self.coming[job_id]
            return _repeatable(job_id, tool, arguments, again=tool in (media.ROUTE.name, "regenerate"))
        try:
            job = await self.ledger.get(job_id)
        except UnknownJobError:
            return await self._of_other_program(job_id)
        found = _repeatable(job.id, job.tool, job.arguments, again=job.route == media.ROUTE.name)
        return (*found[:3], job.labels.name)

    async def _of_other_program(self, job_id: str) -> _Original:
        """What the API's history tells; how much that is, is not documented."""
        from kubeez_mcp_local.rest.errors import NotFoundError

        rows = await self.api.generations(limit=_SEARCHED_ROWS)
        row = next((row for row in rows if row.id == job_id), None)
        try:
            row = row or await self.api.status("media", job_id)
        except NotFoundError:
            raise UnknownJobError(job_id) from None
        if not row.prompt or not row.model:
            raise InvalidArgumentError(
                "id",
                f"{job_id} was started elsewhere, and the API does not tell its prompt and model.",
                next_step="Call generate_media with them.",
            )
        settings = {**_told(row.raw), "prompt": row.prompt, "model": row.model}
        if row.generation_type:
            settings["generation_type"] = row.generation_type
        told = ", ".join(sorted(settings))
        return row.id, settings, f"The job was started elsewhere; its history tells {told}, nothing more.", ""


def _repeatable(job_id: str, tool: str, arguments: Mapping[str, Any], *, again: bool) -> _Original:
    if not again:
        raise InvalidArgumentError(
            "id", f"{job_id} is a job of {tool}, not an image or video job.", next_step=f"Call {tool} again."
        )
    return job_id, arguments, "", ""


def _told(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Settings in a history row, at its top or in one of the places where they may be kept."""
    found: dict[str, Any] = {}
    for place in (raw, *(raw[name] for name in _NESTED if isinstance(raw.get(name), dict))):
        for name in _TAKEN_OVER:
            if isinstance(place.get(name), str | int | float) and place[name] != "":
                found.setdefault(name, place[name])
        for name in ("source_media_urls", "character_ids"):
            values = place.get(name)
            values = [values] if isinstance(values, str) else values
            if isinstance(values, list) and values and all(isinstance(value, str) for value in values):
                found.setdefault(name, values)
    return found
