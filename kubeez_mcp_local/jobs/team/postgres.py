"""The ledger on Postgres, for a team that shares a key: what `database.py` is for the file of one machine.

The statements are the same, see `statements.py`. A write holds an advisory lock of the account, so that all machines
decide one after the other, as processes do that lock one file.
"""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, LiteralString
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from kubeez_mcp_local.jobs.database import LedgerFacts
from kubeez_mcp_local.jobs.errors import LedgerError
from kubeez_mcp_local.jobs.team.tables import FIRST, STEPS, VERSION, WORKERS_MAY

try:
    import psycopg
    from psycopg import errors, sql
    from psycopg.adapt import Loader
    from psycopg.pq import TransactionStatus

    from kubeez_mcp_local.jobs.team.failures import UNREACHED, explain, is_final
    from kubeez_mcp_local.jobs.team.statements import Row, Statements, rows_by_name
except ImportError as missing:
    raise LedgerError(
        "on Postgres",
        f"needs the package psycopg ({missing})",
        next_step="Install the extra `team`: kubeez-mcp-local[team].",
        code="ledger_unsupported",
    ) from None

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from psycopg import Connection as Session

_OLDEST_SERVER = 130000
_CONNECT_SECONDS = 5
_PAUSE = 0.2
_SCHEMA = "kubeez"
_CLOCK: LiteralString = "CAST(extract(epoch FROM clock_timestamp()) AS double precision) AS clock"


@dataclass(frozen=True)
class Address:
    """Where a team's ledger is.

    Attributes:
        url: For the driver, with name and password.
        schema: The tables' folder in that database; two teams in one database have one each.
    """

    url: str
    schema: str

    @classmethod
    def of(cls, url: str) -> Address:
        """`postgresql://user:password@host/database?schema=kubeez`; the schema may be left out."""
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query))
        schema = options.pop("schema", _SCHEMA)
        return cls(urlunsplit(parts._replace(query=urlencode(options, quote_via=quote))), schema)

    @property
    def engine_schema(self) -> str:
        """Where the engine of campaigns keeps its tables in that database."""
        return f"{self.schema}_dbos"

    @property
    def is_loopback(self) -> bool:
        """Whether nothing of it crosses a network."""
        host = urlsplit(self.url).hostname
        return host in (None, "", "localhost", "127.0.0.1", "::1")

    def __str__(self) -> str:
        """Without name and password."""
        parts = urlsplit(self.url)
        port = f":{parts.port}" if parts.port else ""
        return f"postgresql://{parts.hostname or ''}{port}{parts.path} (schema {self.schema})"


class Postgres:
    """One connection to a team's ledger, used by one thread at a time; opened anew when it was lost.

    A commit whose answer was lost is looked up by the transaction's number, which the server keeps; but not over a
    restart of the server, which may give a number that it has not yet written down to another transaction.

    Args:
        address: Where it is.
        account: Whose decisions are made one after the other.
        beside: Another account that they are about as well; empty for none.
        busy_seconds: How long to wait for other processes, and for a database that cannot be reached.
        pause: Waits that many seconds between two attempts.

    Raises:
        LedgerError: Its code says what is wrong.
    """

    def __init__(
        self,
        address: Address,
        account: str,
        *,
        busy_seconds: float,
        beside: str = "",
        pause: Callable[[float], None] = time.sleep,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self.address = address
        self._accounts = sorted(filter(None, (account, beside)))  # all take them in one order, so none blocks another
        self._busy_seconds = busy_seconds
        self._pause = pause
        self._steady = steady
        self._lock = threading.Lock()
        self._session: Session[Row] | None = None
        self._statements: Statements | None = None
        self._read_at = 0.0
        self._server_started = 0.0
        with self._explained():
            _prepare(self._connected(busy_seconds), address)

    def now(self) -> float:
        """The server's clock after the transaction began, in seconds since 1970: one for all machines."""
        if self._statements is not None:
            self._read_at = self._statements.opened["clock"]
        return self._read_at

    @contextlib.contextmanager
    def write(self, *, durable: bool = True, busy_seconds: float | None = None) -> Iterator[Statements]:
        """One write transaction: the block sees a state that nobody else can change, and happens whole or not.

        With `durable=False` the server does not wait for its disk.

        Raises:
            LedgerError: As the class; `ledger_in_doubt` if nobody can say whether it happened.
        """
        patience = self._busy_seconds if busy_seconds is None else busy_seconds
        with self._transaction(patience, self._to_write(durable, patience)) as statements:
            yield statements
            number = statements.opened["number"]
            statements.say("COMMIT")
            try:
                statements.send()
            except psycopg.Error as error:
                if not statements.session.broken:
                    raise
                if not self._has_happened(number, patience):
                    raise LedgerError(
                        str(self.address), "lost its connection", next_step=UNREACHED, code="ledger_unreachable"
                    ) from error

    @contextlib.contextmanager
    def read(self) -> Iterator[Statements]:
        """One consistent view for reading; does not wait for writers. Raises as the class."""
        with self._transaction(self._busy_seconds, self._to_read()) as statements:
            yield statements

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            if self._session is not None:
                self._session.close()

    @contextlib.contextmanager
    def _transaction(self, patience: float, beginning: Sequence[sql.Composable]) -> Iterator[Statements]:
        """What is not committed in it leaves no trace."""
        with self._lock, self._explained():
            statements = Statements(partial(self._connected, patience), beginning)
            self._statements = statements
            try:
                yield statements
            finally:
                self._statements = None
                _let_go(statements.session)

    def _to_write(self, durable: bool, patience: float) -> list[sql.Composable]:
        durably, wait = "on" if durable else "off", max(int(patience * 1000), 1)
        locks = [sql.Literal(f"kubeez {self.address.schema} {account}") for account in self._accounts]
        return [
            sql.SQL("BEGIN"),
            sql.SQL("SET LOCAL synchronous_commit = {}").format(sql.Literal(durably)),
            sql.SQL("SET LOCAL lock_timeout = {}").format(sql.Literal(wait)),
            sql.SQL("SET LOCAL search_path TO {}").format(sql.Identifier(self.address.schema)),
            *(sql.SQL("SELECT pg_advisory_xact_lock(hashtextextended({}, 0))").format(lock) for lock in locks),
            sql.SQL(f"SELECT CAST(pg_current_xact_id() AS text) AS number, {_CLOCK}"),
        ]

    def _to_read(self) -> list[sql.Composable]:
        return [
            sql.SQL("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"),
            sql.SQL("SET LOCAL search_path TO {}").format(sql.Identifier(self.address.schema)),
            sql.SQL(f"SELECT {_CLOCK}"),
        ]

    def _has_happened(self, number: str, patience: float) -> bool:
        """Whether a transaction was committed whose answer was lost."""
        query = "SELECT pg_xact_status(CAST(CAST(%(number)s AS text) AS xid8))"
        until = self._steady() + patience
        started = self._server_started
        while True:
            try:
                row = self._connected(until - self._steady()).execute(query, {"number": number}).fetchone()
            except (psycopg.Error, LedgerError) as error:
                if self._steady() >= until:
                    raise self._in_doubt() from error
                row = None
            if row is not None and row[0] == "committed" and self._server_started != started:
                raise self._in_doubt()
            if row is not None and row[0] != "in progress":
                return bool(row[0] == "committed")
            if self._steady() >= until:
                raise self._in_doubt()
            self._pause(_PAUSE)

    def _in_doubt(self) -> LedgerError:
        told = "lost its connection while it was written to, and whether that was kept cannot be told yet"
        return LedgerError(str(self.address), told, next_step=UNREACHED, code="ledger_in_doubt")

    def _connected(self, patience: float) -> Session[Row]:
        """The connection, opened anew if it was lost, for as long as that may take."""
        if self._session is not None and _is_free(self._session):
            return self._session
        until = self._steady() + patience
        while True:
            try:
                session = connect(self.address)
                found = session.execute("SELECT extract(epoch FROM pg_postmaster_start_time())::float8").fetchone()
            except psycopg.OperationalError as error:
                if is_final(error) or self._steady() >= until:
                    raise
                self._pause(_PAUSE)
            else:
                self._session, self._server_started = session, found[0] if found else 0.0
                return session

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            explained = explain(self.address, error)
            if explained is None:
                raise  # a bug or a race that the caller knows about, not a state of the database
            raise explained from None


class _Whole(Loader):
    """Postgres sums whole numbers up to `numeric`; they are whole numbers still."""

    def load(self, data: Any) -> int:
        return int(bytes(data))


class PostgresHeart:
    """Beats on a connection of its own, see `beats.Heart`."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._session: Session[Row] | None = None

    def beat(self, owner: str) -> dict[str, int]:
        query = (
            "UPDATE {schema}.owners SET beat = beat + 1 WHERE id = {owner} AND ended_at IS NULL; "
            "SELECT id, beat FROM {schema}.owners WHERE ended_at IS NULL"
        )
        composed = sql.SQL(query).format(schema=sql.Identifier(self._address.schema), owner=sql.Literal(owner))
        try:
            if self._session is None or self._session.closed:
                self._session = connect(self._address)
            cursor = self._session.execute(composed)
            cursor.nextset()
            return {row[0]: row[1] for row in cursor.fetchall()}
        except psycopg.Error as error:
            raise explain(self._address, error) or error from None

    def close(self) -> None:
        if self._session is not None:
            self._session.close()


def connect(address: Address) -> Session[Any]:
    """A connection without prepared statements or session state, which a pooler in transaction mode would mix up."""
    session: Session[Any] = psycopg.connect(
        address.url,
        autocommit=True,
        cursor_factory=psycopg.ClientCursor,
        row_factory=rows_by_name,
        prepare_threshold=None,
        client_encoding="utf8",
        connect_timeout=_CONNECT_SECONDS,
        keepalives_idle=5,
        keepalives_interval=2,
        keepalives_count=3,
        tcp_user_timeout=15_000,
        application_name="kubeez-mcp-local",
    )
    session.adapters.register_loader("numeric", _Whole)
    return session


def _let_go(session: Session[Row]) -> None:
    """Roll back what is under way, if anything is. The answer tells nothing and is not waited for: see `_is_free`."""
    wire = session.pgconn
    with contextlib.suppress(psycopg.Error):
        if wire.transaction_status != TransactionStatus.IDLE:
            wire.send_query(b"ROLLBACK")
            wire.flush()


def _is_free(session: Session[Row]) -> bool:
    """Whether this connection can be used, after an answer that nobody has waited for was taken from it."""
    wire = session.pgconn
    with contextlib.suppress(psycopg.Error):
        while wire.get_result() is not None:
            pass
        if wire.transaction_status != TransactionStatus.IDLE:
            session.close()
    return not session.closed


def version_of(session: Session[Row], schema: str) -> int:
    """The version of the tables in `schema`; 0 where there are none."""
    found = session.execute("SELECT to_regclass(%(name)s)", {"name": f'"{schema}".ledger_version'}).fetchone()
    if found is None or found[0] is None:
        return 0
    row = session.execute(sql.SQL("SELECT version FROM {}.ledger_version").format(sql.Identifier(schema))).fetchone()
    return 0 if row is None else int(row[0])


def _prepare(session: Session[Row], address: Address) -> None:
    """Look at the server and its tables, and make what is missing if this role may."""
    if session.info.server_version < _OLDEST_SERVER:
        told = f"runs on Postgres {session.info.server_version // 10000}; it needs 13 or later"
        raise LedgerError(str(address), told, next_step="Use a newer server.", code="ledger_unsupported")
    if checked(version_of(session, address.schema), address) == VERSION:
        return
    try:
        with session.transaction():
            session.execute("SELECT pg_advisory_xact_lock(hashtextextended('kubeez tables', 0))")
            version = version_of(session, address.schema)
            schema = sql.Identifier(address.schema)
            if not version:
                session.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(schema))
            session.execute(sql.SQL("SET LOCAL search_path TO {}").format(schema))
            for step in STEPS[version - FIRST + 1 if version else 0 :]:
                session.execute(step.encode())
            session.execute("UPDATE ledger_version SET version = %(version)s", {"version": VERSION})
    except errors.InsufficientPrivilege:
        raise LedgerError(
            str(address),
            "has no tables of this version, and this role may not make them",
            next_step="Have who owns the database run any command, such as `kubeez-mcp-local spend`, with its own "
            "KUBEEZ_LEDGER, and then: kubeez-mcp-local team allow ROLE.",
            code="ledger_unprepared",
        ) from None


def checked(version: int, address: Address) -> int:
    if 0 < version < FIRST:
        told = f"has schema version {version}, which no release of this program has made for a team"
        step = "Name another schema in KUBEEZ_LEDGER (?schema=NAME), or restore a backup of the database."
        raise LedgerError(str(address), told, next_step=step, code="ledger_unsupported")
    if version > VERSION:
        told = f"has schema version {version}; this program knows versions up to {VERSION}"
        step = "Update kubeez-mcp-local on this machine."
        raise LedgerError(str(address), told, next_step=step, code="ledger_newer")
    return version


def allow(address: Address, role: str) -> None:
    """Let `role` work with the ledger, without a say in the team's ceiling.

    Raises:
        LedgerError: This role may not do that, or there is no such role.
    """
    try:
        with contextlib.closing(connect(address)) as session:
            _prepare(session, address)
            names = {"schema": sql.Identifier(address.schema), "role": sql.Identifier(role)}
            session.execute(sql.SQL(WORKERS_MAY).format(**names))
            _verify_allowed(session, address, role)
    except psycopg.Error as error:
        raise explain(address, error) or error from None


def _verify_allowed(session: Session[Row], address: Address, role: str) -> None:
    """Of rights that somebody may not give, the server only warns."""
    query = (
        "SELECT has_schema_privilege(%(role)s, %(schema)s, 'USAGE') "
        "AND has_table_privilege(%(role)s, %(jobs)s, 'INSERT')"
    )
    names = {"role": role, "schema": address.schema, "jobs": f'"{address.schema}".jobs'}
    allowed = session.execute(query, names).fetchone()
    if allowed is None or not allowed[0]:
        told, step = "may be opened to others by its owner only", "Run this with the owner's KUBEEZ_LEDGER."
        raise LedgerError(str(address), told, next_step=step, code="ledger_unwritable")


@dataclass(frozen=True)
class ServerFacts:
    """What doctor tells of a team's ledger.

    Attributes:
        clock_ahead: Seconds by which the server's clock is ahead of this machine's.
        encrypted: Whether the connection is.
        may_write: Whether this role may add rows.
        read_only: Whether nobody may, as on a server that follows another.
        may_set_ceiling: Whether this role may set the team's ceiling.
        engine: Whether the engine of campaigns has its tables, and this role may use them.
        hosts: Machines that have carried out rows in the last day: how many, and seconds since the last one.
        beats: The beat of each process that has not ended, and its machine.
        shared: Whether a pooler shares its connections out by the transaction.
    """

    ledger: LedgerFacts | None
    server: str
    clock_ahead: float
    encrypted: bool
    may_write: bool
    may_set_ceiling: bool
    read_only: bool = False
    engine: Literal["missing", "closed", "open"] = "missing"
    hosts: Mapping[str, tuple[int, float]] = field(default_factory=dict)
    beats: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    shared: bool = False

    def beating(self, earlier: ServerFacts) -> list[str]:
        """The machines of processes that have beaten since an earlier look, once for each process."""
        known = earlier.beats
        return sorted(host for owner, (host, beat) in self.beats.items() if known.get(owner, ("", beat))[1] != beat)


def inspect_server(address: Address, clock: Callable[[], float] = time.time) -> ServerFacts:
    """The facts of the ledger at `address`. Blocking; changes nothing.

    Raises:
        LedgerError: It cannot be reached, or was written by a newer version of this program.
    """
    try:
        with contextlib.closing(connect(address)) as session:
            now = session.execute("SELECT CAST(extract(epoch FROM clock_timestamp()) AS double precision)").fetchone()
            ahead = (now[0] if now else clock()) - clock()
            version = checked(version_of(session, address.schema), address)
            server = str(session.info.server_version // 10000)
            encrypted = bool(session.pgconn.ssl_in_use)
            if not version:
                return ServerFacts(None, server, ahead, encrypted, may_write=False, may_set_ceiling=False)
            schema = sql.Identifier(address.schema)
            counted = sql.SQL("SELECT state, COUNT(*) FROM {}.jobs GROUP BY state").format(schema)
            states: dict[str, int] = dict(session.execute(counted).fetchall())
            rights = session.execute(
                "SELECT has_table_privilege(%(jobs)s, 'INSERT'), has_table_privilege(%(ceilings)s, 'INSERT'), "
                "current_setting('transaction_read_only') = 'on'",
                {"jobs": f'"{address.schema}".jobs', "ceilings": f'"{address.schema}".team_ceilings'},
            ).fetchone()
            unfinished = states.get("sending", 0) + states.get("accepted", 0)
            facts = LedgerFacts(version, sum(states.values()), states.get("unknown", 0), unfinished)
            may_write, may_set, read_only = rights or (False, False, False)
            engine, hosts, beats = _engine(session, address), _hosts(session, schema), _beats(session, schema)
            known = (facts, server, ahead, encrypted, may_write, may_set, read_only, engine, hosts, beats)
            return ServerFacts(*known, shared=shares_connections(address))
    except psycopg.Error as error:
        raise explain(address, error) or error from None


def shares_connections(address: Address) -> bool:
    """Whether a pooler gives each transaction another connection of the server, as PgBouncer does in transaction mode.
    Blocking.

    Raises:
        LedgerError: It cannot be reached.
    """
    ask = "SELECT pg_backend_pid()"
    try:
        with contextlib.closing(connect(address)) as one, contextlib.closing(connect(address)) as another:
            before = one.execute(ask).fetchone()
            another.execute("BEGIN; SELECT 1")  # has what was free a moment ago
            return before != one.execute(ask).fetchone()
    except psycopg.Error as error:
        raise explain(address, error) or error from None


def _engine(session: Session[Row], address: Address) -> Literal["missing", "closed", "open"]:
    query = (
        "SELECT CASE WHEN to_regnamespace(%(schema)s) IS NULL THEN 'missing' "
        "WHEN has_schema_privilege(to_regnamespace(%(schema)s), 'USAGE') THEN 'open' ELSE 'closed' END"
    )
    found = session.execute(query, {"schema": f'"{address.engine_schema}"'}).fetchone()
    return found[0] if found else "missing"


def _hosts(session: Session[Row], schema: sql.Identifier) -> dict[str, tuple[int, float]]:
    query = sql.SQL(
        "SELECT host, COUNT(*), extract(epoch FROM clock_timestamp())::double precision - MAX(changed_at) "
        "FROM {}.campaign_rows WHERE host <> '' AND changed_at > extract(epoch FROM clock_timestamp()) - 86400 "
        "GROUP BY host ORDER BY MAX(changed_at) DESC LIMIT 20"
    ).format(schema)
    return {host: (count, ago) for host, count, ago in session.execute(query)}


def _beats(session: Session[Row], schema: sql.Identifier) -> dict[str, tuple[str, int]]:
    query = sql.SQL("SELECT id, host, beat FROM {}.owners WHERE ended_at IS NULL").format(schema)
    return {owner: (host, beat) for owner, host, beat in session.execute(query)}
