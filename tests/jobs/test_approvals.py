"""Approval codes: one yes, to exactly this, once, for ten minutes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from kubeez_mcp_local.jobs.approvals import Approval
from kubeez_mcp_local.jobs.failures import ApprovalError
from kubeez_mcp_local.jobs.order import Order
from kubeez_mcp_local.jobs.store import LedgerFile

if TYPE_CHECKING:
    from types import SimpleNamespace

Orders = Callable[..., Order]
Opener = Callable[..., LedgerFile]


def approval(code: str, *, account: str = "live-1", digest: str = "digest-1", quote: float | None = 14) -> Approval:
    return Approval(code, account, digest, quote)


def test_a_code_lets_its_call_through_once(ledger_file: LedgerFile, order: Orders) -> None:
    code = ledger_file.issue_approval("digest-1", 14)
    job = ledger_file.claim([order()], approval(code)).claims[0].job
    assert job is not None
    ledger_file.refused(job.id, "refused", "no")
    with pytest.raises(ApprovalError, match="used before"):
        ledger_file.claim([order()], approval(code))


def test_a_replay_with_the_used_code_gets_the_running_job(ledger_file: LedgerFile, order: Orders) -> None:
    code = ledger_file.issue_approval("digest-1", 14)
    first = ledger_file.claim([order()], approval(code)).claims[0]
    again = ledger_file.claim([order()], approval(code)).claims[0]
    assert again.repeated
    assert again.job == first.job


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"digest": "other"}, "other arguments"),
        ({"quote": 15}, "another price"),
        ({"quote": None}, "another price"),
        ({"account": "live-2"}, "not one that this server gave out"),
    ],
)
def test_a_code_counts_for_nothing_else(
    ledger_file: LedgerFile, order: Orders, given: dict[str, str | float | None], why: str
) -> None:
    code = ledger_file.issue_approval("digest-1", 14)
    fields: dict[str, object] = {"account": "live-1", "digest": "digest-1", "quote": 14.0} | given
    with pytest.raises(ApprovalError, match=why):
        ledger_file.claim([order()], Approval(code, **fields))  # type: ignore[arg-type]  # parametrised by name
    assert ledger_file.recent() == []
    assert ledger_file.claim([order()], approval(code)).claims[0].job


@pytest.mark.parametrize("invented", ["", "ok", "ok-AAAA-AAAA-AAAA-AAAA-AAAA-AAAA", "yes", "' OR 1=1 --"])
def test_an_invented_code_is_refused(ledger_file: LedgerFile, order: Orders, invented: str) -> None:
    with pytest.raises(ApprovalError, match="not one that this server gave out"):
        ledger_file.claim([order()], approval(invented))


@pytest.mark.parametrize("later", [601, -61])
def test_a_code_is_valid_for_ten_minutes_and_not_in_a_past_that_never_was(
    ledger_file: LedgerFile, order: Orders, clock: SimpleNamespace, later: float
) -> None:
    code = ledger_file.issue_approval("digest-1", 14)
    clock.now += later
    with pytest.raises(ApprovalError, match="expired"):
        ledger_file.claim([order()], approval(code))


def test_a_code_from_a_clock_that_ran_ahead_does_not_come_to_life_when_its_time_comes(
    ledger_file: LedgerFile, order: Orders, clock: SimpleNamespace
) -> None:
    clock.now += 86_400
    early = ledger_file.issue_approval("digest-1", 14)
    clock.now -= 86_400
    ledger_file.issue_approval("digest-2", 14)
    clock.now += 86_400
    with pytest.raises(ApprovalError, match="not one that this server gave out"):
        ledger_file.claim([order()], approval(early))


def test_a_code_is_not_kept_in_the_file(ledger_file: LedgerFile) -> None:
    code = ledger_file.issue_approval("digest-1", 14)
    held = ledger_file.path.read_bytes() + ledger_file.path.with_name("ledger.db-wal").read_bytes()
    assert code.encode() not in held


def test_codes_survive_a_restart_and_are_hard_to_guess(open_file: Opener, order: Orders) -> None:
    first = open_file()
    codes = {first.issue_approval("digest-1", 14) for _ in range(50)}
    assert len(codes) == 50
    assert all(len(code.removeprefix("ok-").replace("-", "")) == 24 for code in codes)
    first.close()
    assert open_file().claim([order()], approval(codes.pop())).claims[0].job


def test_a_refused_ceiling_does_not_use_the_code_up(open_file: Opener, order: Orders) -> None:
    file = open_file(per_day=20)
    code = file.issue_approval("digest-1", 14)
    other = file.claim([order("other")]).claims[0].job
    assert other is not None
    with pytest.raises(Exception, match="of the day's 20 credits"):
        file.claim([order()], approval(code))
    file.refused(other.id, "refused", "no")
    assert file.claim([order()], approval(code)).claims[0].job
