"""What the spend page shows: the ledger of this account beside the ceilings of the settings."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING

from kubeez_mcp_local.environment import APP
from kubeez_mcp_local.jobs.job import State
from kubeez_mcp_local.text import cut, on_one_line, presentable
from kubeez_mcp_local.web.spend import Account, Entry, Open, Part

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from kubeez_mcp_local.jobs.job import Job
    from kubeez_mcp_local.jobs.ledger import Ledger
    from kubeez_mcp_local.jobs.proof import Row
    from kubeez_mcp_local.settings import Settings

_LONGEST_NAME = 64
_LONGEST_PROMPT = 200
_WHY = {
    State.SENDING: "It is on its way to Kubeez.",
    State.ACCEPTED: "It is being made. What it costs is settled when it ends.",
    State.UNKNOWN: "Its answer was lost, so nobody knows yet whether it was paid.",
}
_ENDED = "It has ended, and Kubeez has not told its price. Its credits are held back for that day."
_WAYS: dict[State, tuple[tuple[str, str], ...]] = {
    State.SENDING: (("Pick up what an earlier program left", "jobs resume"),),
    State.ACCEPTED: (("Wait for its end", "jobs wait {job}"),),
    State.UNKNOWN: (
        ("Look for it in your account's history", "jobs reconcile {job}"),
        ("You looked on kubeez.com: it was paid", "jobs reconcile {job} --paid"),
        ("You looked on kubeez.com: it was not paid", "jobs reconcile {job} --not-paid"),
    ),
}
_LOOK_AGAIN = (("Ask Kubeez again", "jobs show {job}"),)


@dataclass(frozen=True)
class Spending:
    """The spend page's `Source`.

    Attributes:
        doubles: Finds rows of the history that look as if one job had been paid twice, each with that job.
    """

    ledger: Ledger
    settings: Settings
    doubles: Callable[[], Awaitable[list[tuple[Row, Job]]]]

    async def account(self, days: int) -> Account:
        settings, today = self.settings, await self.ledger.today()
        used = today.spent + today.reserved
        entries = await self.entries(days)
        by_day = {part.name: part for part in _parts(entries, lambda entry: entry.day)}
        return Account(
            mode=settings.effective_mode.value,
            today=today.day,
            spent=used,
            held=today.reserved,
            left=max(settings.max_credits_per_day - used, 0.0),
            per_call=settings.max_credits_per_call,
            per_run=settings.run_ceiling,
            per_day=settings.max_credits_per_day,
            asks_above=None if settings.asks_above == float("inf") else settings.asks_above,
            days=[by_day.get(day, Part(day, 0, 0, 0)) for day in _days(today.day, days)],
            models=_parts(entries, lambda entry: entry.model),
            recipes=_parts(entries, lambda entry: entry.recipe),
            tools=_parts(entries, lambda entry: entry.tool),
            doors=_parts(entries, lambda entry: entry.door),
            open=[_open(job) for job in await self.ledger.holding()],
            remarks=[
                f"The history has one more row like job {job.id[:8]}: {on_one_line(row.id, _LONGEST_NAME)}. "
                "Was it paid twice?"
                for row, job in await self.doubles()
            ],
        )

    async def entries(self, days: int) -> list[Entry]:
        since = _days((await self.ledger.today()).day, days)[0]
        return [
            Entry(row.day, row.tool, _name(row.model), _name(row.recipe), row.jobs, row.charged, row.reserved, row.door)
            for row in await self.ledger.spend_since(since)
        ]


def _days(last: str, count: int) -> list[str]:
    return [(date.fromisoformat(last) - timedelta(days=back)).isoformat() for back in reversed(range(count))]


def _name(text: str | None) -> str:
    return on_one_line(text or "", _LONGEST_NAME)


def _parts(entries: Iterable[Entry], name_of: Callable[[Entry], str]) -> Sequence[Part]:
    """The entries added up by name, dearest first."""
    by_name: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        by_name[name_of(entry)].append(entry)
    parts = [
        Part(
            name,
            sum(entry.jobs for entry in found),
            round(sum(entry.charged for entry in found), 6),
            round(sum(entry.held for entry in found), 6),
        )
        for name, found in by_name.items()
    ]
    return sorted(parts, key=lambda part: (-part.charged - part.held, part.name))


def _open(job: Job) -> Open:
    ways = _WAYS.get(job.state, _LOOK_AGAIN)
    return Open(
        job=job.id,
        state=job.state.value,
        prompt=cut(presentable(job.prompt), _LONGEST_PROMPT),
        model=_name(job.model),
        at=job.created_at,
        held=job.reserved,
        why=_WHY.get(job.state, _ENDED),
        ways=[(words, f"{APP} {command.format(job=job.id[:12])}") for words, command in ways],
    )
