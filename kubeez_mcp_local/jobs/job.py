"""A paid request before it is sent (an order) and afterwards (a job), who pays for it, and in what amounts."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal, Protocol

from kubeez_mcp_local.rest.wire import MOST
from kubeez_mcp_local.settings import Mode
from kubeez_mcp_local.text import quoted, spoken

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable
    from pathlib import Path

    from kubeez_mcp_local.rest.downloading import Accept, Downloaded
    from kubeez_mcp_local.rest.routes import Bucket, JobKind, Request
    from kubeez_mcp_local.rest.wire import Accepted, Generation
    from kubeez_mcp_local.settings import Settings


class Priced(Protocol):
    """What the ledger needs of a quote: the expected price (`None` without evidence), where it comes from (`catalogue`,
    `rate`, `api` or `unknown`), and the expected processing time."""

    @property
    def credits(self) -> float | None: ...
    @property
    def basis(self) -> str: ...
    @property
    def seconds(self) -> int | None: ...


@dataclass(frozen=True)
class RunCall:
    """One paid call of a run of a recipe. The ledger pays each once, however often and late it is asked for again.

    Attributes:
        run: Names the run: its recipe and what it makes, so that nothing else is taken for a part of it.
        call: Names the call within the run.
        budget: Credits that the whole run may cost; can only lower the ceiling for one run.
        at_most: What the call costs at most, as far as its recipe knows; room for it must be left where its price is
            unknown, and without it such a call is refused.
        item: What the call is about, in words, where its step makes several; only names its files.
        part: Which of several it is, such as `2-of-3`, where the item does not tell; only names its files.
        person: Whose work it is, where that is not who sends it; counts in a team's ledger only.

    Raises:
        TypeError, ValueError: Something is missing, or no amount of credits.
    """

    run: str
    call: str
    budget: float
    at_most: float | None = None
    item: str = ""
    part: str = ""
    person: str = ""

    def __post_init__(self) -> None:
        named = isinstance(self.run, str) and isinstance(self.call, str) and self.run and self.call
        told = all(isinstance(text, str) for text in (self.item, self.part, self.person))
        if not named or not told or not is_amount(self.budget) or not (self.at_most is None or is_amount(self.at_most)):
            raise ValueError(f"{self!r} is no call of a run")


def step_and_index(call: str) -> tuple[str, int]:
    """The step that a call of a run belongs to, and which of its calls it is: `pictures[2]` is `("pictures", 2)`."""
    step, _, index = call.partition("[")
    return step, int(index.rstrip("]") or 0)


@dataclass(frozen=True)
class Labels:
    """What tells the outputs of a job from those of others; settled when it is ordered, and no part of the request.

    Attributes:
        name: What its files are called, without extension; empty where nobody has said.
        part: Which of several of one call it is, such as `1-of-3`.
        folder: Where they lie below the output folder, such as that of a run; by default the one of the day.
        call: The call of a run that it is, such as `variants[0]`.
        item: What that call is about, in words.
        language: What is spoken or written in it, if that was asked for.
        inputs: The files that go in, as they can be named again.
        batch: Names the one call that ordered it together with others.
    """

    name: str = ""
    part: str = ""
    folder: str = ""
    call: str = ""
    item: str = ""
    language: str = ""
    inputs: tuple[str, ...] = ()
    batch: str = ""

    def told(self) -> dict[str, Any]:
        """As the ledger keeps them: what is said, as JSON types."""
        default = Labels()
        return {name: value for name, value in vars(self).items() if value != getattr(default, name)}

    @classmethod
    def of_told(cls, told: Mapping[str, Any]) -> Labels:
        """Back from the ledger; what other versions have told besides is left out."""
        known = {name: value for name, value in told.items() if name in cls.__dataclass_fields__}
        return cls(**{**known, "inputs": tuple(told.get("inputs", ()))})


@dataclass(frozen=True)
class Order:
    """One paid request.

    Attributes:
        tool: The tool or command that asked for it.
        kind: Which status route follows it.
        prompt: What the user asked for; empty for work without a prompt.
        digest: Identifies the intention, see `digest_of`; equal digests are paid once.
        beside: What its digest is at the other door, where two are open.
        build: Uploads what must be uploaded and makes the request; runs after consent, before sending.
        arguments: Everything needed to show or repeat the request, JSON types only; never the key.
        generation_type: As the API's history names it.
        client: Name of the MCP client or command that asked.
        notes: What differs from what the user asked for, in words for the question.
        implied: What decides and is said by no argument, in a few words each.
        how: How its price was reckoned, such as `12 s at 0.5 credits/s`; empty for a price that is simply so much.
        title: What it does, for people, such as `Make an image or video`.
        inputs: Its files for people: name, length, size.
        run: The call of a run that it is, if it is one. Then an equal digest means the same however late it comes.
        labels: What its outputs are called and told apart by.
    """

    tool: str
    route: str
    bucket: Bucket
    kind: JobKind
    model: str
    prompt: str
    digest: str
    quote: Priced
    build: Callable[[], Awaitable[Request]] = field(repr=False, compare=False)
    arguments: Mapping[str, Any] = field(default_factory=dict, repr=False)
    generation_type: str | None = None
    recipe: str | None = None
    client: str | None = None
    notes: tuple[str, ...] = ()
    run: RunCall | None = None
    implied: tuple[str, ...] = ()
    how: str = ""
    title: str = ""
    inputs: tuple[str, ...] = ()
    labels: Labels = field(default_factory=Labels, compare=False)
    beside: str = ""


NAMES_FILES = ("_url", "_urls")
"""How arguments end whose values are files."""
EXACT = "catalogue"
"""The basis of prices that are what will be charged; others may turn out otherwise."""
_WORDS_SHOWN = 200
_PLAIN_WORD = re.compile(r"[\w.:+-]{1,40}\Z")
SAID_APART = ("prompt", "model", "generation_type", "variant_count")
"""Arguments that a question says in other places than among the settings."""
_SPEAK_FOR_THEMSELVES = ("aspect_ratio", "resolution", "generation_type")


def settings_words(arguments: Mapping[str, Any], *, prompt: str = "") -> list[str]:
    """What a request says beside its prompt, model and files, each in a few words: `16:9`, `languages de, fr`.

    Whatever its arguments are: a new operation is covered by itself.
    """
    apart = {prompt, ""}
    found = []
    for name, value in arguments.items():
        spoken_name = name.replace("_", " ")
        if name in SAID_APART or name.endswith(NAMES_FILES):
            continue
        if isinstance(value, bool):
            found.append(spoken_name if value else f"{spoken_name}: no")
        elif words := _words_of(value, apart):
            found.append(words if name in _SPEAK_FOR_THEMSELVES else f"{spoken_name} {words}")
    return found


def _words_of(value: Any, apart: Collection[str]) -> str:
    """A value in words; nothing for what is said apart."""
    if isinstance(value, str):
        if value in apart:
            return ""
        more = f" ({len(value):,} characters)" if len(value) > _WORDS_SHOWN else ""
        return value if _PLAIN_WORD.match(value) else quoted(value, _WORDS_SHOWN) + more
    if isinstance(value, Mapping):  # a line of a dialogue: who says what
        return ": ".join(words for item in reversed([*value.values()]) if (words := _words_of(item, apart)))
    if isinstance(value, Sequence):
        return ", ".join(words for item in value if (words := _words_of(item, apart)))
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


@dataclass(frozen=True)
class SpendQuestion:
    """What a user is asked. Made from the call's arguments and a kept quote only, so that the same call always asks
    the same question.

    Attributes:
        count: How many paid requests the call sends.
        credits: Price of all of them together; `None` when there is no evidence.
        balance_after: Credits left afterwards, where the balance and the price were known.
        quoted_at: When it was quoted; tells this question from one about the same call after it has been paid for.
        lines: The text in sentences, without the prompt.
        prompt: What the user asked for, whole; empty where there is none, or another line says it.
        inputs: The files that go in, as they can be named again.
    """

    tool: str
    model: str
    count: int
    credits: float | None
    basis: str
    balance_after: float | None
    text: str
    digest: str
    quoted_at: float
    lines: tuple[str, ...] = ()
    prompt: str = ""
    inputs: tuple[str, ...] = ()

    @property
    def identity(self) -> str:
        """Tells this very question, with its quote and its words, from any other."""
        return f"{self.digest}\n{self.quoted_at!r}\n{self.text}"

    @property
    def price(self) -> str:
        """What a yes pays, in words."""
        return "whatever it costs" if self.credits is None else spoken(self.credits)


class State(StrEnum):
    """Where a job stands. Only the first three and `unknown` hold a reservation."""

    SENDING = "sending"  # claimed; the request has not been answered
    ACCEPTED = "accepted"  # the API gave it an id
    UNKNOWN = "unknown"  # sent, but nobody knows whether it was accepted; or accepted, and the API denies it now
    COMPLETED = "completed"
    FAILED = "failed"  # the API gave up on it
    REFUNDED = "refunded"  # failed, and the API says that nothing was kept
    REFUSED = "refused"  # never accepted, nothing was spent
    NOT_ACCEPTED = "not_accepted"  # was unknown; the API's history shows that it never arrived
    LOST = "lost"  # was unknown; counts as paid, because the user says so or the API had accepted it


UNSETTLED = (State.SENDING, State.ACCEPTED, State.UNKNOWN)


@dataclass(frozen=True)
class SavedFile:
    """An output on this machine's disk: absolute path, where it came from, MIME type by content, size in bytes, and the
    API's id of it, if it has one.

    Attributes:
        label: What tells it from other outputs of its job: a language, `vocals`, `1-of-2`.
        doubt: Why `label` may be wrong, in a few words; empty where it is known.
    """

    path: str
    url: str
    media_type: str
    size: int
    output_id: str | None = None
    label: str = ""
    doubt: str = ""


@dataclass(frozen=True)
class Job:
    """One row of the ledger. Amounts are credits, moments are seconds since 1970.

    Attributes:
        id: The ledger's own id; exists before the API gives one.
        reserved: Credits held back for it now.
        charged: What it really cost; `None` while that is not known.
        results: The API's final answers, one for each generation id.
        files: Outputs saved so far.
        verdict: Why it was refused, as its caller was told; see `errors.told`.
        answered_at: When its answer came, or when waiting for it was given up.
        save_error: Why outputs could not be saved, if so. The URLs in `results` remain.
        run: The run of a recipe that it belongs to, as the ledger calls it; empty for none.
        place: Where its outputs lie below the output folder, without what tells several apart and without extension,
            such as `2026-11-29/fox`; empty for jobs of older versions.
        person: Who ordered it, as settings say; empty for jobs of older versions.
    """

    id: str
    account: str
    state: State
    digest: str
    tool: str
    route: str
    bucket: Bucket
    kind: JobKind
    model: str
    prompt: str
    generation_type: str | None
    arguments: Mapping[str, Any]
    recipe: str | None
    client: str | None
    owner: str
    quote_credits: float | None
    quote_basis: str
    expected_seconds: int | None
    reserved: float
    charged: float | None
    generation_ids: tuple[str, ...]
    results: tuple[Mapping[str, Any], ...]
    files: tuple[SavedFile, ...]
    error_code: str | None
    error: str | None
    save_error: str | None
    created_at: float
    sent_at: float | None
    answered_at: float | None
    accepted_at: float | None
    settled_at: float | None
    verdict: Mapping[str, Any] | None = None
    run: str = ""
    place: str = ""
    labels: Labels = field(default_factory=Labels)
    person: str = ""

    @property
    def generation_id(self) -> str | None:
        """The API's id; the first one where a request started several."""
        return self.generation_ids[0] if self.generation_ids else None

    @property
    def settled(self) -> bool:
        """Whether nothing further will become of it."""
        return self.state not in UNSETTLED

    @property
    def created(self) -> datetime:
        """When it was claimed, UTC."""
        return datetime.fromtimestamp(self.created_at, UTC)


def digest_of(
    *,
    account: str,
    route: str,
    body: Mapping[str, Any],
    inputs: Mapping[str, str] | None = None,
    variant: int = 0,
    repeat: str = "",
) -> str:
    """A digest that is equal for every replay of one intention and for nothing else.

    Args:
        body: The request's fields after normalisation. `None` counts as absent, so that spelling out a default that
            is "absent" changes nothing; the order of keys does not matter, the order of lists does.
        inputs: For every value in `body` that stands for a local file, the hash of the file's content. An upload URL
            changes from upload to upload, the content does not.
        variant: Number of the variant where one call starts several.
        repeat: Anything that makes a wanted repeat a new intention, such as the id of the job being repeated.
    """
    known = inputs or {}
    intention = [account, route, _normal(body, known), variant, repeat]
    text = json.dumps(intention, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _normal(value: Any, inputs: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return {"sha256": inputs[value]} if value in inputs else value
    if isinstance(value, bool):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Mapping):
        return {str(key): _normal(item, inputs) for key, item in value.items() if item is not None}
    if isinstance(value, Sequence):
        return [_normal(item, inputs) for item in value]
    return value


def group_digest(digests: Sequence[str]) -> str:
    """One digest for several requests that are asked about together."""
    return digests[0] if len(digests) == 1 else hashlib.sha256("\n".join(sorted(digests)).encode()).hexdigest()


MICRO = 1_000_000


def to_micro(amount: float) -> int:
    """Credits as a whole number of millionths; whatever costs anything costs at least one of them. A `ValueError` if
    `amount` is negative, not a number, or more than anything costs."""
    if not is_amount(amount):
        raise ValueError(f"{amount!r} is not an amount of credits")
    return max(round(amount * MICRO), int(amount > 0))


def is_amount(amount: float) -> bool:
    """Whether this many credits can be paid."""
    return 0 <= amount <= MOST


def to_credits(micro: int) -> float:
    """Millionths as credits."""
    return micro / MICRO


SANDBOX = "sandbox"
HOSTED = "hosted-"
"""Stands in the names of accounts of the hosted server, and in no others."""

DoorName = Literal["rest", "hosted"]


def door_of(account: str) -> DoorName:
    """Which door an account is: the REST API by key, or the hosted server by token."""
    return "hosted" if HOSTED in account else "rest"


def outputs_in(answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What an answer of the API says of each output: files, songs, and the stems of a separation."""
    return [
        *map(dict, answer.get("outputs") or ()),
        *({**song, "url": song.get("audio_url")} for song in answer.get("songs") or ()),
        *({"url": url, "label": stem} for stem in ("vocals", "instrumental") if (url := answer.get(f"{stem}_url"))),
    ]


def as_ordered(jobs: Iterable[Job]) -> list[Job]:
    """Oldest first; those of one step of a run, which are started side by side, together and as the step has them."""
    began: dict[tuple[str, str], float] = {}

    def place(job: Job) -> tuple[float, str, int]:
        step, index = step_and_index(job.labels.call)
        return began.setdefault((job.run, step) if step else ("", job.id), job.created_at), step, index

    return sorted(sorted(jobs, key=lambda job: (job.created_at, job.id)), key=place)


def fingerprint(api_key: str, base_url: str) -> str:
    """A short one-way name of a key at an API origin. Two keys, or one key at two origins, are two accounts."""
    return "live-" + _short(f"{api_key}\n{base_url}")


def accounts_of(settings: Settings) -> dict[DoorName, str]:
    """The accounts of the doors that `settings` open, that of the REST API first; at least one."""
    if settings.hosted_door is None:
        return {"rest": _rest_account_of(settings)}
    from kubeez_mcp_local.hosted.tokens import account_of as hosted_account_of

    hosted = hosted_account_of(settings)
    if settings.effective_mode is Mode.SANDBOX:
        hosted = f"{SANDBOX}-{hosted}"
    found: dict[DoorName, str] = {"hosted": hosted}
    return {"rest": _rest_account_of(settings), **found} if settings.rest_door else found


def account_of(settings: Settings) -> str:
    """The account of the first door that `settings` open."""
    return next(iter(accounts_of(settings).values()))


def _rest_account_of(settings: Settings) -> str:
    """Each standalone sandbox is an account of its own."""
    if settings.effective_mode is Mode.SANDBOX:
        origin = settings.standalone_sandbox
        return f"{SANDBOX}-{_short(origin)}" if origin else SANDBOX
    if settings.api_key is None and settings.login is not None:
        return settings.login.account
    key = settings.api_key.get_secret_value() if settings.api_key else ""
    return fingerprint(key, settings.base_url)


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class JobsApi(Protocol):
    """Starts, reads and fetches jobs; raises the errors of `rest.errors`."""

    async def start(self, request: Request) -> Accepted: ...
    async def status(self, kind: JobKind, job_id: str) -> Generation: ...

    def events(self, kind: JobKind, job_id: str) -> AsyncGenerator[Generation, None]:
        """The job once it ends; ends without a word when the stream breaks."""

    async def generations(
        self,
        *,
        limit: int | None = None,
        status: str | None = None,
        model: str | None = None,
        generation_type: str | None = None,
    ) -> list[Generation]:
        """The account's history, newest first."""

    async def download(self, url: str, target: Path, *, max_bytes: int, accept: Accept | None = None) -> Downloaded:
        """Save a finished file, never over an existing one."""
