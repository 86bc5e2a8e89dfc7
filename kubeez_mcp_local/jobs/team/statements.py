"""How the ledger's statements are said to Postgres: translated, and as few messages as their answers allow."""

from __future__ import annotations

import re
from enum import Enum
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

from psycopg import ClientCursor, OperationalError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from psycopg import Connection as Session
    from psycopg import Cursor, sql

_NAMED = re.compile(r"(?<![:\w]):([a-z_]+[0-9]*)")
_INDEX = re.compile(r" INDEXED BY \w+")
_IN_OTHER_WORDS = (
    ("SELECT value FROM json_each(:ids)", "SELECT json_array_elements_text(CAST(:ids AS json))"),
    ("PRAGMA data_version", "SELECT CAST(CAST(pg_snapshot_xmax(pg_current_snapshot()) AS text) AS bigint)"),
    ("SELECT total_changes()", "SELECT 0"),
    ("json_each(jobs.files) AS file", "each_of(jobs.files) AS file"),
    ("CAST(json_extract(file.value, '$.path') AS BLOB)", "json_extract(file.value, '$.path')"),
    ("json_group_array(generation_id)", "CAST(json_agg(generation_id ORDER BY position) AS text)"),
)
"""What SQLite says in its own way. The number of the newest transaction is another one after each change, too."""
_MOST_AT_ONCE = 500


@lru_cache(maxsize=256)
def translated(statement: str) -> tuple[str, frozenset[str]]:
    """A statement of the ledger as Postgres and its driver take it, and which values it names: `%(name)s` for `:name`,
    and no hint of an index."""
    for ours, theirs in _IN_OTHER_WORDS:
        statement = statement.replace(ours, theirs)
    statement = _INDEX.sub("", statement).replace("%", "%%")
    return _NAMED.sub(r"%(\1)s", statement), frozenset(_NAMED.findall(statement))


class Row(tuple[Any, ...]):
    """A row whose values are found by place and by name, as in SQLite."""

    places: Mapping[str, int]

    def __getitem__(self, key: Any) -> Any:
        return super().__getitem__(self.places[key] if isinstance(key, str) else key)


def rows_by_name(cursor: Cursor[Any]) -> Callable[[Sequence[Any]], Row]:
    """Makes rows of what the driver has read."""
    result = cursor.pgresult
    fields = range(result.nfields) if result else ()
    places = {name.decode(): place for place in fields if result and (name := result.fname(place))}

    def make(values: Sequence[Any]) -> Row:
        row = Row(values)
        row.places = places
        return row

    return make


class Answer:
    """What a statement has found, or changed. Whoever looks at it first has it sent."""

    def __init__(self, send: Callable[[], None]) -> None:
        self._send: Callable[[], None] | None = send
        self._rows: Iterator[Row] = iter(())
        self._count = -1

    def take(self, cursor: Cursor[Row]) -> None:
        """Keep what `cursor` stands at."""
        self._send = None
        self._rows = iter(cursor.fetchall() if cursor.pgresult and cursor.pgresult.nfields else ())
        self._count = cursor.rowcount

    @property
    def rowcount(self) -> int:
        self._arrive()
        return self._count

    def fetchone(self) -> Row | None:
        return next(iter(self), None)

    def fetchall(self) -> list[Row]:
        return list(self)

    def __iter__(self) -> Iterator[Row]:
        self._arrive()
        return self._rows

    def _arrive(self) -> None:
        if self._send is not None:
            self._send()


class Statements:
    """A transaction as the ledger's functions see it.

    A network is crossed once a message, and a statement waits until somebody looks at an answer, or the end comes:
    then all that wait leave as one. What is wrong with a statement is told then, too.

    Args:
        connected: The connection, opened anew where it was lost. Between two transactions that goes unnoticed.
        beginning: Statements that begin the transaction; the last of them finds the row `opened`.
    """

    def __init__(self, connected: Callable[[], Session[Row]], beginning: Iterable[sql.Composable]) -> None:
        self.session = connected()
        self._connected = connected
        self._begun = False
        self._waiting: list[tuple[str, Answer]] = []
        self._opening = [self.say(statement.as_string(self.session)) for statement in beginning][-1]

    @cached_property
    def opened(self) -> Row:
        """What the last of the beginning statements has found."""
        return self._opening.fetchall()[0]

    def execute(self, statement: str, values: Mapping[str, Any] | None = None, /) -> Answer:
        words, names = translated(statement)
        if not names:
            return self.say(words.replace("%%", "%"))
        named = {name: _plain((values or {})[name]) for name in names}
        return self.say(ClientCursor(self.session).mogrify(words, named))

    ask = execute

    def executemany(self, statement: str, values: Iterable[Mapping[str, Any]], /) -> None:
        for each in values:
            self.execute(statement, each)

    def say(self, statement: str) -> Answer:
        """Let a statement in Postgres' own words wait."""
        answer = Answer(self.send)
        self._waiting.append((statement, answer))
        if len(self._waiting) >= _MOST_AT_ONCE:
            self.send()
        return answer

    def send(self) -> None:
        """Send what waits, and read the answers."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        cursor = self._sent("; ".join(statement for statement, _ in waiting).encode())
        for _, answer in waiting:
            answer.take(cursor)
            cursor.nextset()

    def _sent(self, message: bytes) -> Cursor[Row]:
        begun, self._begun = self._begun, True
        try:
            return self.session.execute(message)
        except OperationalError:
            if begun or not self.session.broken:
                raise
        self.session = self._connected()
        return self.session.execute(message)


def _plain(value: Any) -> Any:
    """A name for an enumeration; and no NUL, which Postgres keeps in no text."""
    plain = value.value if isinstance(value, Enum) else value
    return plain.replace("\0", "\N{REPLACEMENT CHARACTER}") if isinstance(plain, str) else plain
