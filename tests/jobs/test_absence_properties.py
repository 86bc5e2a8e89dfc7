"""Whatever the API's history tells, and however: repeating a call whose answer never came pays for nothing twice.

Each example is the story of one account: own jobs, strangers, one request whose answer is lost, and then reads, kills,
restarts and repeated calls, against an API that keeps books. The wall clock is wrong, the steady clock is an argument,
and nothing waits.
"""

from __future__ import annotations

import random
import tempfile
from collections import Counter
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from kubeez_mcp_local.jobs.budget import Ceilings
from kubeez_mcp_local.jobs.errors import UnsettledJobError
from kubeez_mcp_local.jobs.guard import Limits
from kubeez_mcp_local.jobs.job import Order, State
from kubeez_mcp_local.jobs.ledger import Ledger, LedgerFile
from kubeez_mcp_local.jobs.reconcile import Reconciler
from kubeez_mcp_local.jobs.sending import Background, Pacer, Sender
from kubeez_mcp_local.jobs.spender import Asking, Spender
from kubeez_mcp_local.jobs.team.beats import Timing
from kubeez_mcp_local.rest.errors import AmbiguousError
from kubeez_mcp_local.rest.wire import Accepted, Generation
from tests.jobs.server import NO_SERVER, SERVER, team_ledger
from tests.requests import sent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from kubeez_mcp_local.jobs.job import Job
    from kubeez_mcp_local.jobs.proof import OpenQuestion

NOT_BY_ITSELF = Timing(by_itself=False)
EXAMPLES = max(500, 5 * settings().max_examples)
pytestmark = pytest.mark.long
MEMORY = "/dev/shm"  # where there is one, no example waits for a disk
PAGE = 25
MODEL, KIND = "nano-banana-2", "text-to-image"
NAMES = {MODEL: "Nano Banana 2", "z-image": "Z", KIND: "image", "text-to-music": "music"}
PROMPTS = (
    "a fox",
    "A photograph of a red fox that sleeps in fresh snow under a birch, 35 mm",
    "ein Füchslein im Schnee",
)
OTHER_PROMPTS = (
    "a wolf",
    "the same street at night, neon, rain, 50 mm, nobody in it",
    "Zwölf Boxkämpfer",
    "lo-fi beat",
)


@dataclass(frozen=True)
class Story:
    """How one account's history is told, and what happens to the request in question.

    The wall clock may be wrong from the start, and be set once more after the send. A process may be `stopped` (Ctrl-Z,
    a busy machine) between writing down that the request leaves and its leaving. The history may begin to rewrite
    prompts with a certain row, and the steady clock of each further boot may be ahead of the one before.
    """

    seed: int
    prompt: str
    arrives: bool
    late: float
    held: float
    killed: bool
    own_jobs: int
    strangers_an_hour: int
    twins: bool
    dropped: frozenset[str]
    renamed: bool
    cut: int | None
    rewritten: bool
    times: str
    shuffled: bool
    in_order_of_creation: bool
    wall_clock_off_by: float
    wall_clock_set_by: float
    stopped: float
    gaps: tuple[float, ...]
    restarts: frozenset[int]
    busy: frozenset[int]
    reboots: bool
    person: bool
    rewritten_from: float = inf
    boots_ahead_by: float = 0.0

    @property
    def must_end_without_a_person(self) -> bool:
        """Truly absent, prompts as sent, watched without a gap and long enough, and nobody asks for the same thing."""
        told_as_sent = not self.dropped & {"prompt", "id"} and self.cut is None and not self.rewritten
        watched = (
            self.stopped <= 60
            and max(self.gaps) <= 240
            and sum(self.gaps) >= 1200
            and not (self.reboots and self.restarts)
        )
        return not self.arrives and told_as_sent and watched and self.own_jobs >= 2 and not self.twins


FIELDS = ("prompt", "model", "generation_type", "created_at", "credits_deducted")
STEADY_GAPS = st.lists(st.sampled_from([20.0, 60.0, 120.0, 240.0]), min_size=1, max_size=3).map(
    lambda gaps: (*gaps, 240.0, 240.0, 240.0, 240.0, 240.0)
)
ANY_GAPS = st.lists(st.sampled_from([5.0, 60.0, 240.0, 900.0, 2400.0, 40_000.0]), min_size=2, max_size=6).map(tuple)
STORIES = st.builds(
    Story,
    seed=st.integers(0, 2**32),
    prompt=st.sampled_from(PROMPTS),
    arrives=st.booleans(),
    late=st.sampled_from([0.0, 3.0, 59.0, 400.0, 890.0, 900.0]),
    held=st.sampled_from([0.0, 60.0, 110.0]),
    killed=st.booleans(),
    own_jobs=st.integers(0, 3),
    strangers_an_hour=st.sampled_from([0, 1, 12, 40, 100]),
    twins=st.booleans(),
    dropped=st.one_of(
        st.just(frozenset()), st.frozensets(st.sampled_from(FIELDS)), st.just(frozenset({"id", "created_at"}))
    ),
    renamed=st.booleans(),
    cut=st.sampled_from([None, None, 1, 5, 30, 60]),
    rewritten=st.sampled_from([False, False, True]),
    times=st.sampled_from(["true", "missing", "local", "zoned", "shifted", "nonsense"]),
    shuffled=st.booleans(),
    in_order_of_creation=st.booleans(),
    wall_clock_off_by=st.sampled_from([0.0, 900.0, -900.0, 86_400.0]),
    wall_clock_set_by=st.sampled_from([0.0, 0.0, 1200.0, -1200.0, 86_400.0]),
    stopped=st.sampled_from([0.0, 0.0, 0.0, 60.0, 1200.0]),
    gaps=st.one_of(STEADY_GAPS, ANY_GAPS),
    restarts=st.frozensets(st.integers(0, 7), max_size=3),
    busy=st.frozensets(st.integers(0, 7), max_size=3),
    reboots=st.booleans(),
    person=st.booleans(),
)


class Account:
    """The API of one account: it keeps books, and tells them as the story has it. It is also who answers questions."""

    def __init__(self, story: Story, server: str = "") -> None:
        self.story = story
        self.server = server  # the database that is the ledger; a file where there is none
        self.steady = 50_000.0
        self.posts: Counter[str] = Counter()
        self.posted = anyio.Event()
        self.silent = False
        self.books: list[tuple[float, float, dict[str, Any]]] = []
        self.said_none = False
        self.questions = 0
        self.clock_is_set = False
        self._chance = random.Random(story.seed)
        self._strangers = self._chance.expovariate(1) * self._between
        for _ in range(3):
            self._book(self.steady - 5000, "something old", "z-image", late=0)

    @property
    def wall(self) -> float:
        set_by = self.story.wall_clock_set_by if self.clock_is_set else 0.0
        return 1_800_000_000.0 + self.steady + self.story.wall_clock_off_by + set_by

    @property
    def _between(self) -> float:
        return 3600 / self.story.strangers_an_hour if self.story.strangers_an_hour else inf

    def pass_time(self, seconds: float) -> None:
        self.steady += seconds
        self._strangers = min(self._strangers, 1e12)
        while self._strangers + 50_000 < self.steady:
            twin = self.story.twins and self._chance.random() < 0.1
            prompt = self.story.prompt if twin else self._chance.choice(OTHER_PROMPTS)
            model = self._chance.choice([MODEL, "z-image"])
            self._book(50_000 + self._strangers, prompt, model, late=self._chance.choice([0, 0, 30, 900]))
            self._strangers += self._chance.expovariate(1) * self._between

    def _book(self, created: float, prompt: str, model: str, *, late: float) -> str:
        name = f"row-{len(self.books)}"
        row = {"id": name, "prompt": prompt, "model": model, "generation_type": KIND, "credits_deducted": 14.0}
        self.books.append((created, created + late, row | {"created_at": self._time(created)}))
        return name

    def _time(self, created: float) -> str | None:
        real = 1_800_000_000.0 + created
        told = {
            "true": str(real),
            "shifted": str(real + self._chance.choice([-7200, 3600, 900])),
            "local": "2027-01-15T09:00:00",
            "zoned": "2027-01-15T09:00:00+09:00",
            "nonsense": "yesterday",
        }
        return told.get(self.story.times)

    async def start(self, request: Any) -> Accepted:
        prompt = str(request.body["prompt"])
        self.posts[prompt] += 1
        if not self.silent:
            return Accepted(generation_ids=[self._book(self.steady, prompt, MODEL, late=0)])
        self.silent = False
        self.pass_time(self.story.stopped)
        if self.story.arrives:
            self.ours = self._book(self.steady, prompt, MODEL, late=self.story.late)
        self.posted.set()
        if self.story.killed:
            await anyio.sleep_forever()
        self.pass_time(self.story.held)
        raise AmbiguousError("The answer was cut.")

    async def generations(self, **_: Any) -> list[Generation]:
        by_creation = self.story.in_order_of_creation and self.story.strangers_an_hour <= 12
        listed = [entry for entry in self.books if entry[1] <= self.steady]
        listed.sort(key=lambda entry: entry[0] if by_creation else entry[1])
        newest = [entry[2] for entry in listed[-PAGE:]][::-1]
        if self.story.shuffled:
            self._chance.shuffle(newest)
        return [self._told(row) for row in newest]

    def _told(self, row: dict[str, Any]) -> Generation:
        lot = random.Random(f"{self.story.seed} {row['id']}")
        told = {name: value for name, value in row.items() if name not in self.story.dropped or lot.random() < 0.5}
        if self.story.renamed:
            told |= {name: NAMES.get(told[name], told[name]) for name in ("model", "generation_type") if name in told}
        late_enough = int(str(row["id"]).rpartition("-")[2]) >= self.story.rewritten_from
        if (self.story.rewritten or late_enough) and "prompt" in told:
            told["prompt"] = f"Enhanced: {told['prompt']}"
        if self.story.cut is not None and "prompt" in told and lot.random() < 0.7:
            told["prompt"] = told["prompt"][: self.story.cut] + lot.choice(["", "…", "..."])
        return Generation.model_validate({"id": ""} | told)

    async def ask(self, question: object) -> Any:
        raise AssertionError("nobody is asked before paying here")

    async def which_are_mine(self, question: OpenQuestion) -> frozenset[str] | None:
        self.questions += 1
        if not self.story.person:
            return None
        mine = frozenset({self.ours} & {row.id for row in question.rows}) if self.story.arrives else frozenset()
        self.said_none = self.said_none or not mine
        return mine


@dataclass(frozen=True)
class Quoted:
    credits: float | None = 14.0
    basis: str = "catalogue"
    seconds: int | None = None


def order(prompt: str) -> Order:
    async def build() -> Any:
        return sent("generate_media", prompt=prompt, model=MODEL)

    return Order(
        *("generate_media", "generate_media", "media", "media", MODEL, prompt, f"digest of {prompt}", Quoted(), build),
        arguments={"prompt": prompt},
        generation_type=KIND,
    )


class InThisThread(Ledger):
    """A ledger whose work is done at once: a story has some 250 steps, and handing them to a thread costs the most."""

    async def run(self, work: Callable[[LedgerFile], Any]) -> Any:
        await anyio.lowlevel.checkpoint()
        return work(self._opened())


@asynccontextmanager
async def process(account: Account, folder: Path, boot: int) -> AsyncIterator[SimpleNamespace]:
    """One process, up to its end; what it has not written by then is lost with it."""

    async def never(_: float) -> None:
        await anyio.sleep_forever()  # the story says when the history is read

    def steady() -> float:
        return account.steady + boot * account.story.boots_ahead_by

    file = LedgerFile(
        *(folder, "live-1", Ceilings(500, 2000)),
        server=account.server,
        timing=NOT_BY_ITSELF,
        clock=lambda: account.wall,
        steady=steady,
        boot=f"boot {boot}",
    )
    ledger = InThisThread(lambda: file)
    api: Any = account
    try:
        async with Background() as background:
            pacer = Pacer(ledger, Limits(per_minute={}, at_once={}), clock=lambda: account.wall)
            reconciler = Reconciler(api, ledger, sleep=never)
            sender = Sender(api, ledger, pacer, reconciler, background, settling=2.9)
            asking = Asking(ledger, account="live-1", asks_above=inf)
            spender = Spender(sender, ledger, reconciler, asking, settling=2.9)
            yield SimpleNamespace(spender=spender, reconciler=reconciler, ledger=ledger, file=file)
            file.close()
    finally:
        file.close()


async def first_call(account: Account, folder: Path) -> None:
    """Own jobs, and then the request whose answer never comes; its process may be killed while it waits."""
    story = account.story
    async with process(account, folder, 0) as here:
        for number in range(story.own_jobs):
            await here.spender.submit(
                order(f"own picture number {number}, on a white table in the light of a morning"), account
            )
            account.pass_time(40)
        account.silent = True
        if not story.killed:
            with suppress(UnsettledJobError):  # unless the history shows it at once
                await here.spender.submit(order(story.prompt), account)
            return
        async with anyio.create_task_group() as group:
            group.start_soon(here.spender.submit, order(story.prompt), account)
            await account.posted.wait()
            here.file.close()
            group.cancel_scope.cancel()


async def repeated_calls(account: Account, folder: Path) -> None:
    """The same call again after every gap, in one process after the other; the books are looked at every time."""
    story, boot = account.story, 0
    gaps = list(enumerate(story.gaps))
    while gaps:
        async with process(account, folder, boot) as here:
            while gaps:
                number, gap = gaps.pop(0)
                account.pass_time(gap)
                for place in range(2 if number in story.busy else 0):  # others go on
                    await here.spender.submit(order(f"another picture, {number} {place}"), account)
                submission = None
                with suppress(UnsettledJobError):
                    submission = await here.spender.submit(order(story.prompt), account)
                check_books(account)
                if submission is not None:
                    check_whose_it_is(account, submission.job)
                if number in story.restarts:
                    break
        boot += story.reboots


def check_books(account: Account) -> None:
    posts = account.posts[account.story.prompt]
    assert posts == 1 or (posts == 2 and (not account.story.arrives or account.said_none)), "it was paid twice"


def check_whose_it_is(account: Account, job: Job) -> None:
    """What is given out as the user's job is one that this ledger paid for."""
    if account.story.twins or account.said_none:
        return
    assert job.state is State.ACCEPTED
    (ours,) = [row["id"] for _, _, row in account.books if row["prompt"] == account.story.prompt]
    assert job.generation_ids == (ours,)


async def live_through(story: Story, folder: Path, server: str) -> None:
    account = Account(story, server)
    await first_call(account, folder)
    account.clock_is_set = True
    await repeated_calls(account, folder)
    if story.must_end_without_a_person:
        assert (account.posts[story.prompt], account.questions) == (2, 0), "what never arrived was not settled"


def check(story: Story, *, on_postgres: bool = False) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY if Path(MEMORY).is_dir() else None) as folder:
        server = team_ledger(f"absence {Path(folder).name}") if on_postgres else ""
        anyio.run(live_through, story, Path(folder), server)


PLAIN = Story(
    seed=1,
    prompt=PROMPTS[0],
    arrives=True,
    late=400.0,
    held=0.0,
    killed=False,
    own_jobs=3,
    strangers_an_hour=12,
    twins=False,
    dropped=frozenset(),
    renamed=False,
    cut=None,
    rewritten=False,
    times="true",
    shuffled=False,
    in_order_of_creation=False,
    wall_clock_off_by=0.0,
    wall_clock_set_by=0.0,
    stopped=0.0,
    gaps=(300.0,) * 5,
    restarts=frozenset(),
    busy=frozenset(),
    reboots=False,
    person=False,
)
"""Each story that is made of it pays twice as soon as one part of the rule is left out."""


@example(replace(PLAIN, late=inf, own_jobs=0, strangers_an_hour=0))  # such jobs are never listed
@example(replace(PLAIN, late=700.0, gaps=(60.0,) * 20, reboots=True, restarts=frozenset({0}), boots_ahead_by=1e5))
@example(replace(PLAIN, late=0.0, strangers_an_hour=0, rewritten_from=5))  # with the last own row
@example(replace(PLAIN, late=0.0, strangers_an_hour=0))  # seen in the first read after the send
@example(replace(PLAIN, strangers_an_hour=100, gaps=(40_000.0, 60.0, 60.0)))  # it went by between two reads
@example(replace(PLAIN, late=0.0, rewritten=True))  # seen at once, and not recognised
@example(replace(PLAIN, wall_clock_set_by=1200.0, gaps=(60.0, 60.0, 400.0)))
@example(replace(PLAIN, killed=True, stopped=1200.0, gaps=(60.0, 60.0, 400.0)))
@settings(max_examples=EXAMPLES, derandomize=True, suppress_health_check=list(HealthCheck))
@given(story=STORIES)
def test_no_story_pays_twice_unless_a_person_said_so(story: Story) -> None:
    check(story)


@pytest.mark.skipif(not SERVER, reason=NO_SERVER)
@example(PLAIN)
@settings(max_examples=EXAMPLES // 25, derandomize=True, suppress_health_check=list(HealthCheck))
@given(story=STORIES)
def test_no_story_pays_twice_from_a_teams_ledger_either(story: Story) -> None:
    check(story, on_postgres=True)


@settings(max_examples=EXAMPLES // 5, derandomize=True, suppress_health_check=list(HealthCheck))
@given(story=STORIES, seed=st.integers(0, 2**32))
def test_what_never_arrived_is_settled_without_a_person_where_prompts_are_told_as_they_were_sent(
    story: Story, seed: int
) -> None:
    told = frozenset(story.dropped - {"prompt", "id"})
    gaps = (20.0, *[240.0] * 5)
    absent = replace(
        story, seed=seed, arrives=False, twins=False, cut=None, rewritten=False, dropped=told, gaps=gaps, reboots=False
    )
    absent = replace(absent, own_jobs=max(2, story.own_jobs), stopped=min(story.stopped, 60), person=False)
    assert absent.must_end_without_a_person
    check(absent)
