"""A team's ledger on a real Postgres server: what is shared, what gets lost on the way, and what it says then.

What the guard decides is tried on both engines by `test_guard_properties` and `test_absence_properties`.
"""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from click.testing import CliRunner

from kubeez_mcp_local.cli.main import cli
from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.jobs.budget import Ceilings
from kubeez_mcp_local.jobs.errors import CeilingError, LedgerError
from kubeez_mcp_local.jobs.guard import Limits
from kubeez_mcp_local.jobs.job import Order, RunCall, SavedFile, State
from kubeez_mcp_local.jobs.ledger import LedgerFile
from kubeez_mcp_local.jobs.team import tables
from kubeez_mcp_local.jobs.team.beats import Timing
from kubeez_mcp_local.jobs.team.campaigns import Campaign, RowState
from tests.jobs.server import NO_SERVER, SERVER, team_ledger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Orders = Callable[..., Order]
    Opener = Callable[..., LedgerFile]

pytestmark = pytest.mark.skipif(not SERVER, reason=NO_SERVER)
pytest.importorskip("psycopg")

import psycopg  # noqa: E402 - it belongs to an extra

from kubeez_mcp_local.jobs.team import postgres  # noqa: E402
from kubeez_mcp_local.jobs.team.postgres import Address, Postgres, allow, inspect_server  # noqa: E402
from kubeez_mcp_local.jobs.team.statements import translated  # noqa: E402


@pytest.fixture
def url() -> Iterator[str]:
    """A ledger of its own."""
    url = team_ledger(f"one {uuid4().hex}")
    yield url
    with psycopg.connect(SERVER, autocommit=True) as session:
        session.execute(f'DROP SCHEMA IF EXISTS "{Address.of(url).schema}" CASCADE'.encode())


@pytest.fixture
def machine(tmp_path: Path, url: str) -> Iterator[Opener]:
    """Opens the ledger as a process of some machine does."""
    opened: list[LedgerFile] = []

    def make(person: str = "ana", *, per_day: float = 2000, account: str = "live-1", **more: Any) -> LedgerFile:
        options: dict[str, Any] = {"timing": Timing(beat=2.0, dead=6.0, by_itself=False), "busy_seconds": 2.0}
        options |= {"server": url, "person": person}
        ceilings = Ceilings(500, per_day)
        opened.append(LedgerFile(tmp_path / uuid4().hex, account, ceilings, **options | more))
        return opened[-1]

    yield make
    for file in opened:
        file.close()


def test_both_engines_have_the_same_tables_but_for_campaigns(machine: Opener, url: str, tmp_path: Path) -> None:
    machine()
    local = LedgerFile(tmp_path / "local", "live-1", Ceilings(1, 1))
    with sqlite3.connect(local.path) as file:
        (names,) = zip(*file.execute("SELECT name FROM sqlite_master WHERE type = 'table'"), strict=True)
        here = {name: {row[1] for row in file.execute(f"PRAGMA table_info({name})")} for name in names}
    local.close()
    with psycopg.connect(SERVER) as session:
        query = "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = %s"
        there: dict[str, set[str]] = {}
        for table, column in session.execute(query, (Address.of(url).schema,)):
            there.setdefault(table, set()).add(column)
    here.pop("sqlite_sequence", None)
    here["owners"] = here["owners"] - {"lock_device", "lock_inode"} | {"beat"}
    assert there.pop("ledger_version") == {"version"}
    for of_a_team in ("campaigns", "campaign_rows", "schedules", "nights"):
        del there[of_a_team]
    assert there == here


def test_tables_of_an_earlier_version_are_brought_up_to_date(
    machine: Opener, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as earlier:
        earlier.setattr(postgres, "STEPS", tables.STEPS[:1])
        earlier.setattr(postgres, "VERSION", tables.FIRST)
        machine().close()
    file = machine()
    assert file.schedules()[1] == []
    with psycopg.connect(SERVER) as session:
        query = f'SELECT version FROM "{Address.of(url).schema}".ledger_version'.encode()
        assert session.execute(query).fetchone() == (tables.VERSION,)


def test_texts_compare_byte_by_byte_whatever_the_database_does(machine: Opener, url: str) -> None:
    machine()
    query = (
        "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = %s "
        "AND data_type = 'text' AND collation_name IS DISTINCT FROM 'C'"
    )
    with psycopg.connect(SERVER) as session:
        assert session.execute(query, (Address.of(url).schema,)).fetchall() == []


def test_a_statement_is_translated() -> None:
    query = "SELECT '50%' FROM jobs INDEXED BY jobs_open WHERE id = :job AND at < :now - :window"
    words = "SELECT '50%%' FROM jobs WHERE id = %(job)s AND at < %(now)s - %(window)s"
    assert translated(query) == (words, frozenset({"job", "now", "window"}))
    assert translated("SELECT 'at:noon', 1::bigint") == ("SELECT 'at:noon', 1::bigint", frozenset())


def test_a_call_is_paid_once_whichever_machine_repeats_it(machine: Opener, order: Orders) -> None:
    first = machine("ana").claim([order("a")]).claims[0]
    again = machine("ben").claim([order("a")]).claims[0]
    assert first.job
    assert again.job
    assert (again.repeated, again.job.id, again.job.person) == (True, first.job.id, "ana")


def test_machines_decide_one_after_the_other_and_do_not_wait_for_ever(machine: Opener, order: Orders) -> None:
    ana, ben, another = machine("ana"), machine("ben", busy_seconds=0.05), machine(account="live-2")
    with ana.writing() as tx:
        assert tx.now
        with pytest.raises(LedgerError, check=lambda error: error.code == "ledger_locked"):
            ben.claim([order("a")])
        another.claim([order("a")])
    assert not ben.claim([order("a")]).claims[0].repeated


def test_each_person_has_a_ceiling_and_the_team_has_one(machine: Opener, order: Orders) -> None:
    ana, ben = machine("ana", per_day=20), machine("ben", per_day=20)
    ana.claim([order("a", price=14.0)])
    with pytest.raises(CeilingError, match="of the day's 20 credits"):
        ana.claim([order("b", price=14.0)])
    ben.set_team_ceiling(30)
    ben.claim([order("c", price=14.0)])
    with pytest.raises(CeilingError, match=r"of the team's 30 credits .* 28 credits are reserved"):
        machine("cleo").claim([order("d", price=14.0)])
    ben.set_team_ceiling(None)
    machine("cleo").claim([order("d", price=14.0)])
    assert [(one.key, one.reserved) for one in ben.spend_by("person")] == [("ana", 14.0), ("ben", 14.0), ("cleo", 14.0)]
    assert (ben.today().reserved, ben.team_today().reserved) == (14.0, 42.0)


def test_what_a_worker_pays_counts_for_who_submitted_it(machine: Opener, order: Orders) -> None:
    worker = machine("worker", per_day=20)
    for number, person in enumerate(("ana", "ben")):
        worker.claim([order(f"row {number}", run=RunCall("run-1", f"row[{number}]", 100.0, person=person))])
    assert [(one.key, one.reserved) for one in worker.spend_by("person")] == [("ana", 14.0), ("ben", 14.0)]
    with pytest.raises(CeilingError, match="of the day's 20 credits"):
        worker.claim([order("row 2", run=RunCall("run-1", "row[2]", 100.0, person="ben"))])


def test_what_must_survive_a_power_cut_waits_for_the_servers_disk(machine: Opener) -> None:
    file = machine()
    for durable, told in ((True, "on"), (False, "off")):
        with file.writing(durable=durable) as tx:
            assert tx.execute("SHOW synchronous_commit").fetchone()[0] == told


def test_codes_quotes_pauses_and_permits_are_shared(machine: Opener, order: Orders) -> None:
    from kubeez_mcp_local.jobs.guard import Approval, KeptQuote

    ana, ben = machine("ana"), machine("ben")
    code = ana.issue_approval("digest-1", 14.0)
    ana.keep_quote("digest-1", KeptQuote(14.0, "catalogue", 100.0))
    kept = ben.kept_quote("digest-1", 14.0)
    assert kept
    assert kept.credits == 14.0
    assert not ben.claim([order("digest-1")], Approval(code, "live-1", "digest-1", 14.0)).claims[0].repeated
    ana.pause("media", 60)
    (job,) = ben.in_state(State.SENDING)
    assert ben.dispatch(job, Limits()) is not None
    assert ana.take_reads(120, Limits())[0] == 120
    assert ben.take_reads(1, Limits())[0] == 0


def test_a_process_that_stands_still_is_taken_over_and_what_it_wakes_up_with_is_not_sent(
    machine: Opener, order: Orders
) -> None:
    time = iter(range(0, 10_000, 2))
    stopped, watching = machine("ana"), machine("ben", steady=lambda: float(next(time)))
    (unsent,) = (claim.job for claim in stopped.claim([order("a")]).claims)
    (sent,) = (claim.job for claim in stopped.claim([order("b")]).claims)
    assert unsent
    assert sent
    stopped.dispatch(sent, Limits())
    for _ in range(3):
        watching.beat()
    watching.recover()
    assert [job.state for job in watching.recent()] == [State.SENDING, State.SENDING]
    for _ in range(3):
        watching.beat()
    watching.recover()
    assert {job.id: job.state for job in watching.recent()} == {unsent.id: State.REFUSED, sent.id: State.UNKNOWN}
    with pytest.raises(KubeezError, match="has it as refused", check=lambda error: error.retry_after == 1.0):
        stopped.dispatch(unsent, Limits())
    assert stopped.accepted(sent.id, ["generation-1"]).state is State.ACCEPTED
    assert stopped.claim([order("c")]).claims[0].job.owner != sent.owner  # type: ignore[union-attr]  # it is a new job


def cut(file: LedgerFile, moment: str) -> None:
    """Lose the connection when the next transaction is committed: `before` or `after` the server has done so."""
    database = file._database
    assert isinstance(database, Postgres)
    session = database._connected(1.0)
    execute = session.execute

    def losing(query: Any, *values: Any, **more: Any) -> Any:
        if not query.endswith(b"COMMIT"):
            return execute(query, *values, **more)
        if moment == "after":
            execute(query)
        session.pgconn.finish()
        return execute(query)

    session.execute = losing  # type: ignore[method-assign]  # a wire that is cut at this very moment


def test_a_claim_whose_answer_was_lost_on_the_way_is_known_again(machine: Opener, order: Orders) -> None:
    file = machine()
    file.recent()
    cut(file, "after")
    assert not file.claim([order("a")]).claims[0].repeated
    assert [job.state for job in file.recent()] == [State.SENDING]


def test_one_that_did_not_arrive_was_not_made(machine: Opener, order: Orders) -> None:
    file = machine()
    file.recent()
    cut(file, "before")
    with pytest.raises(LedgerError, check=lambda error: error.code == "ledger_unreachable"):
        file.claim([order("a")])
    assert file.recent() == []
    assert not file.claim([order("a")]).claims[0].repeated


def test_one_that_cannot_be_looked_up_is_let_go_as_soon_as_the_database_is_back(
    machine: Opener, order: Orders, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = machine(busy_seconds=0.1)
    file.recent()
    cut(file, "after")
    with monkeypatch.context() as patched:
        patched.setattr(psycopg, "connect", _refuses)
        with pytest.raises(LedgerError, check=lambda error: error.code == "ledger_in_doubt"):
            file.claim([order("a")])
    again = file.claim([order("a")])
    assert [job.state for job in file.recent()] == [State.SENDING, State.REFUSED]
    assert not again.claims[0].repeated


def test_a_server_that_was_restarted_is_not_believed_to_have_kept_what_it_calls_by_that_number(
    machine: Opener, order: Orders
) -> None:
    file = machine()
    file.recent()
    cut(file, "after")
    database = file._database
    assert isinstance(database, Postgres)
    database._server_started -= 60.0
    with pytest.raises(LedgerError, check=lambda error: error.code == "ledger_in_doubt"):
        file.claim([order("a")])
    assert not file.claim([order("a")]).claims[0].repeated
    assert [job.state for job in file.recent()] == [State.SENDING, State.REFUSED]


def _refuses(*_: Any, **__: Any) -> Any:
    raise psycopg.OperationalError("connection refused")


def end_connection_of(file: LedgerFile) -> None:
    database = file._database
    assert isinstance(database, Postgres)
    assert database._session
    with psycopg.connect(SERVER, autocommit=True) as session:
        session.execute("SELECT pg_terminate_backend(%s, 5000)", (database._session.info.backend_pid,))


def test_a_connection_that_the_server_ends_between_two_calls_is_opened_anew(machine: Opener, order: Orders) -> None:
    file = machine()
    assert not file.claim([order("a")]).claims[0].repeated
    end_connection_of(file)
    assert not file.claim([order("b")]).claims[0].repeated
    end_connection_of(file)
    assert len(file.recent()) == 2


def test_one_that_it_ends_in_the_middle_undoes_what_was_begun(machine: Opener, order: Orders) -> None:
    file = machine()

    def cut_off() -> None:
        with file.writing() as tx:
            tx.execute("INSERT INTO pauses VALUES (:account, 'media', :now)")
            end_connection_of(file)

    with pytest.raises(LedgerError, check=lambda error: error.code == "ledger_unreachable"):
        cut_off()
    assert file.claim([order("a")]).claims[0].job
    with file.reading() as tx:
        assert tx.execute("SELECT * FROM pauses").fetchall() == []


def test_what_needs_no_answer_goes_over_the_network_with_what_comes_next(machine: Opener) -> None:
    file = machine()
    with sent_by(file) as messages, file.reading() as tx:
        asked = [tx.execute("SELECT :account AS told"), tx.execute("SELECT :owner AS told"), tx.execute("SELECT '5%'")]
        assert messages == []
        assert [one.fetchone()[0] for one in asked] == ["live-1", tx.owner, "5%"]
        assert asked[0].fetchone() is None
    assert len(messages) == 1


def test_a_claim_crosses_the_network_four_times_and_a_look_at_one_job_once(machine: Opener, order: Orders) -> None:
    file = machine()
    (claim,) = file.claim([order("a")]).claims
    assert claim.job
    with sent_by(file) as messages:
        file.claim([order("b"), order("c")])
    assert len(messages) == 4
    with sent_by(file) as messages:
        assert file.get(claim.job.id) == claim.job
        assert [job.digest for job in file.recent()] == ["c", "b", "a"]
    assert len(messages) == 2


@contextmanager
def sent_by(file: LedgerFile) -> Iterator[list[bytes]]:
    """The messages that `file` sends to its server."""
    database = file._database
    assert isinstance(database, Postgres)
    session, messages = database._connected(1.0), list[bytes]()
    with pytest.MonkeyPatch.context() as patched:
        execute = session.execute

        def told(query: Any, *values: Any, **more: Any) -> Any:
            messages.append(query)
            return execute(query, *values, **more)

        patched.setattr(session, "execute", told)
        yield messages


@pytest.fixture
def worker(url: str) -> Iterator[str]:
    """The URL of the same ledger for a role that owns nothing."""
    role = f"worker_{uuid4().hex}"
    with psycopg.connect(SERVER, autocommit=True) as session:
        session.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'example-password'".encode())
    address = url.split("@", 1)[1]
    yield f"postgresql://{role}:example-password@{address}"
    with psycopg.connect(SERVER, autocommit=True) as session:
        session.execute(f"DROP OWNED BY {role}; DROP ROLE {role}".encode())


def test_a_worker_spends_under_a_ceiling_that_it_cannot_raise(
    worker: str, machine: Opener, order: Orders, url: str, tmp_path: Path
) -> None:
    owner = machine("owner")
    owner.set_team_ceiling(20)
    role = Address.of(worker).url.split("//")[1].split(":")[0]
    allow(Address.of(url), role)
    file = machine("ana", server=worker)
    file.claim([order("a", price=14.0)])
    with pytest.raises(CeilingError, match="team's 20"):
        file.claim([order("b", price=14.0)])
    with pytest.raises(LedgerError, match="may not be written by this role"):
        file.set_team_ceiling(1000)
    facts = inspect_server(Address.of(worker))
    assert (facts.may_write, facts.may_set_ceiling) == (True, False)
    variables = {"KUBEEZ_API_KEY": "sk_live_example", "KUBEEZ_LEDGER": worker, "KUBEEZ_STATE_DIR": str(tmp_path)}
    told = CliRunner().invoke(cli, ["team", "ceiling", "1000"], env=variables).stderr
    assert "This role may not set the team's ceiling" in told
    assert "team allow" not in told


def test_a_role_that_may_not_make_tables_says_who_can(worker: str, tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="may not make them") as refused:
        LedgerFile(tmp_path, "live-1", Ceilings(1, 1), server=worker)
    assert "team allow ROLE" in refused.value.next_step


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        (lambda url: url.replace("/postgres?", "/nowhere?"), "ledger_missing", "is no database of that server"),
        (lambda url: url + "&sslmode=require", "ledger_refused", "does not speak TLS"),
        (lambda url: url + "&sslmode=never", "ledger_refused", "an option that has no such value"),
        (lambda url: url + "&wished=for", "ledger_refused", "an option that Postgres does not have"),
        (lambda url: url.replace("://", "://nobody_at_all:x", 1), "ledger_refused", "refuses this name or password"),
        (
            lambda url: url.replace(url.split("@")[1].split("/")[0], "127.0.0.1:1"),
            "ledger_unreachable",
            "cannot be reached",
        ),
    ],
)
def test_what_cannot_be_used_is_explained_without_its_password(
    url: str, tmp_path: Path, change: Callable[[str], str], code: str, words: str
) -> None:
    secret = change(url).replace("://", "://me:hunter2-example@", 1) if "@" not in url else change(url)
    with pytest.raises(LedgerError, match=words) as refused:
        LedgerFile(tmp_path, "live-1", Ceilings(1, 1), server=secret, busy_seconds=0.1)
    assert refused.value.code == code
    assert "hunter2" not in str(refused.value)


def test_a_server_that_can_only_be_read_is_not_taken_for_a_role_without_rights(
    machine: Opener, order: Orders, url: str
) -> None:
    machine().claim([order("a")])
    following = url + "&options=-c%20default_transaction_read_only%3Don"
    file = machine(server=following)
    assert len(file.recent()) == 1
    with pytest.raises(LedgerError, match="can only be read here") as refused:
        file.claim([order("b")])
    assert "KUBEEZ_LEDGER" in refused.value.next_step
    facts = inspect_server(Address.of(following))
    assert (facts.read_only, facts.may_write, facts.shared) == (True, True, False)


def test_tables_that_somebody_has_taken_away_are_no_mistake_of_the_program(
    machine: Opener, order: Orders, url: str
) -> None:
    file = machine()
    with psycopg.connect(SERVER, autocommit=True) as session:
        session.execute(f'DROP TABLE "{Address.of(url).schema}".pauses'.encode())
    with pytest.raises(LedgerError, match="has other tables than this program makes"):
        file.pause("media", 1)


def test_a_newer_schema_is_left_alone(machine: Opener, url: str) -> None:
    machine()
    with psycopg.connect(SERVER, autocommit=True) as session:
        session.execute(f'UPDATE "{Address.of(url).schema}".ledger_version SET version = 99'.encode())
    with pytest.raises(LedgerError, match="has schema version 99"):
        machine()


def test_what_was_made_is_searched_and_paged_as_in_a_file(
    machine: Opener, order: Orders, url: str, tmp_path: Path
) -> None:
    local = LedgerFile(tmp_path / "local", "live-1", Ceilings(500, 2000))
    another = machine(account="live-2")
    for file in (machine(), local, another):
        for number, kind in enumerate(("image/png", "video/mp4", "image/png")):
            claimed = file.claim([order(f"digest {number}", prompt=f"A Fox, {number}", recipe="ads")]).claims[0].job
            assert claimed
            file.dispatch(claimed, Limits())
            file.accepted(claimed.id, [f"generation {number}"])
            file.settled(claimed.id, State.COMPLETED, 14.0, [{"id": f"generation {number}"}])
            file.saved(claimed.id, [SavedFile(f"/out/{number}-{each}", "u", kind, 3) for each in range(2)])
    shared = machine()
    wishes: list[dict[str, Any]] = [{}, {"words": "fox 1"}, {"kind": "image"}, {"recipe": "none"}, {"least": 14.0}]
    for wish in wishes:
        wanted = SimpleNamespace(**NOTHING_WANTED | wish)
        assert shared.days(wanted) == local.days(wanted), wish
        found, expected = ([(job.prompt, at) for job, at in file.outputs(wanted, 1, 3)] for file in (shared, local))
        assert found == expected, wish
    assert shared.choices() == local.choices()
    before = shared.made(), shared.stamp()
    another.pause("media", 1)
    assert shared.made() == before[0]
    assert shared.stamp() != before[1]


NOTHING_WANTED: dict[str, Any] = dict.fromkeys(
    ("words", "since", "until", "recipe", "run", "model", "kind", "mode"), ""
)
NOTHING_WANTED |= {"least": None, "most": None}


def test_rows_are_never_deleted(machine: Opener, order: Orders) -> None:
    file = machine()
    file.claim([order("a")])
    with pytest.raises(psycopg.Error, match="never deleted"), file.writing() as tx:
        tx.execute("DELETE FROM jobs")
    assert len(file.recent()) == 1


def test_texts_that_postgres_does_not_keep(machine: Opener, order: Orders) -> None:
    (claim,) = machine().claim([order("a", prompt="a fox\0 100% :now")]).claims
    assert claim.job
    assert claim.job.prompt == "a fox\N{REPLACEMENT CHARACTER} 100% :now"


def test_a_row_that_waits_for_a_job_of_somebody_else_is_not_tried_without_rest(machine: Opener, order: Orders) -> None:
    now = [1_000.0]
    file = machine(clock=lambda: now[0])
    (claim,) = file.claim([order("of no campaign")]).claims
    assert claim.job
    file.unknown(claim.job.id, "timeout", "no answer")
    file.submit_campaign(Campaign("run-1", "run-1/a", "running", "text", {}, 100.0, 20.0, "wait", "ana"), ["Oslo"])
    file.take_row("run-1", 0, 1, "desk")
    file.end_row(("run-1", 0, 1), RowState.UNKNOWN, "perhaps paid", 0, [])
    for seconds, state in ((59.0, RowState.UNKNOWN), (2.0, RowState.WAITING)):
        now[0] += seconds
        file.wake_settled_rows()
        assert [row.state for row in file.campaign_rows("run-1", list(RowState))] == [state]


def test_an_unknown_role_and_a_schema_that_nobody_made_are_told_apart(machine: Opener, url: str) -> None:
    machine().today()
    with pytest.raises(LedgerError, match="no database role of that name"):
        allow(Address.of(url), f"nobody_{uuid4().hex}")
    with psycopg.connect(SERVER, autocommit=True) as session:
        session.execute(f'UPDATE "{Address.of(url).schema}".ledger_version SET version = 1'.encode())
    with pytest.raises(LedgerError, match="no release of this program has made"):
        machine("ben")


def test_doctor_is_told_which_processes_beat_and_who_carries_out_rows(machine: Opener, url: str) -> None:
    file = machine()
    file.owner()
    before = inspect_server(Address.of(url))
    assert (before.engine, before.hosts) == ("missing", {})
    file.beat()
    assert len(inspect_server(Address.of(url)).beating(before)) == 1
    assert before.beating(before) == []
