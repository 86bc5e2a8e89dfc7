"""What is wrong with a team's database, in plain words: what Postgres and its driver say, and what to do then."""

from __future__ import annotations

import psycopg
from psycopg import errors

from kubeez_mcp_local.jobs.errors import LedgerError

UNREACHED = (
    "Try again when the database is back (`kubeez-mcp-local doctor` looks at it); "
    "jobs that run are followed then, and nothing is sent meanwhile."
)
NOT_SHARED = "Name the server itself in the KUBEEZ_LEDGER of workers, or set pool_mode = session in the pooler."
_CORRECT = "Correct KUBEEZ_LEDGER."
_READ_ONLY = "Name the server that others follow in KUBEEZ_LEDGER, or have who owns it allow writing."
_OTHER_TABLES = "Name another schema in KUBEEZ_LEDGER (?schema=NAME), or restore a backup of the database."
_KINDS: tuple[tuple[tuple[type[psycopg.Error], ...], str, str, str], ...] = (
    (
        (errors.InsufficientPrivilege,),
        "ledger_unwritable",
        "may not be written by this role",
        "Have who owns it run: kubeez-mcp-local team allow ROLE.",
    ),
    ((errors.ReadOnlySqlTransaction,), "ledger_unwritable", "can only be read here", _READ_ONLY),
    ((errors.LockNotAvailable,), "ledger_locked", "is being written by somebody else for too long", "Try again."),
    (
        (errors.UndefinedObject,),
        "unknown_role",
        "has no database role of that name",
        "Make it first, where the server is: sudo -u postgres createuser --pwprompt ROLE.",
    ),
    ((errors.DiskFull,), "ledger_unwritable", "cannot grow: the server's disk is full", "Free some space there."),
    (
        (errors.UndefinedTable, errors.UndefinedColumn, errors.DuplicateTable, errors.DuplicateColumn),
        "ledger_unsupported",
        "has other tables than this program makes",
        _OTHER_TABLES,
    ),
)
"""What an error means that comes with a kind: code, message, next step."""
_WORDS: tuple[tuple[tuple[str, ...], str, str, str], ...] = (
    (("password authentication failed",), "ledger_refused", "refuses this name or password", _CORRECT),
    (("no password supplied",), "ledger_refused", "asks for a password, and KUBEEZ_LEDGER has none", _CORRECT),
    (('role "', "does not exist"), "ledger_refused", "refuses this name or password", _CORRECT),
    (("no such database",), "ledger_missing", "is no database of that server", _CORRECT),
    (('database "', "does not exist"), "ledger_missing", "is no database of that server", _CORRECT),
    (
        ("permission denied for database",),
        "ledger_refused",
        "does not let this role in",
        "Have who owns the database run: GRANT CONNECT ON DATABASE NAME TO ROLE.",
    ),
    (
        ("pg_hba.conf",),
        "ledger_refused",
        "lets nobody in from this machine under this name",
        "Have who looks after the server allow it in pg_hba.conf, or add sslmode=require to KUBEEZ_LEDGER.",
    ),
    (
        ("does not support SSL",),
        "ledger_refused",
        "does not speak TLS, which KUBEEZ_LEDGER asks for",
        "Turn TLS on there, or leave sslmode out.",
    ),
    (
        ("certificate",),
        "ledger_refused",
        "has a TLS certificate that is not accepted",
        "Correct sslmode or sslrootcert in KUBEEZ_LEDGER.",
    ),
    (
        ("invalid URI query parameter",),
        "ledger_refused",
        "is named with an option that Postgres does not have",
        _CORRECT,
    ),
    (("connection is bad: invalid",), "ledger_refused", "is named with an option that has no such value", _CORRECT),
    (
        ("resolve host",),
        "ledger_unreachable",
        "is on a machine whose name is not known here",
        "Correct the name in KUBEEZ_LEDGER, or wait for the network.",
    ),
)
"""The same for what fails before anybody is let in: then there is a text and no kind. A server that speaks another
language than English is only said not to be reached."""


def is_final(error: psycopg.Error) -> bool:
    """Whether trying again is of no use."""
    known = _known_by_words(error)
    return known is not None and known[0] != "ledger_unreachable"


def explain(address: object, error: psycopg.Error) -> LedgerError | None:
    """The driver's own words may hold a name or a part of a statement, so only its kind is told. `None` for a mistake
    of this program."""
    known = next((known for kinds, *known in _KINDS if isinstance(error, kinds)), None) or _known_by_words(error)
    if known is None and isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        known = ["ledger_unreachable", f"cannot be reached ({type(error).__name__})", UNREACHED]
    if known is None:
        return None
    code, message, next_step = known
    return LedgerError(str(address), message, next_step=next_step, code=code)


def _known_by_words(error: psycopg.Error) -> list[str] | None:
    if error.sqlstate is not None:
        return None
    return next((known for words, *known in _WORDS if all(word in str(error) for word in words)), None)
