"""Errors of a database: whose fault one is, and whether the same may succeed later."""

from __future__ import annotations

import re
import sqlite3
from typing import TYPE_CHECKING, Final

from sqlalchemy import CheckConstraint
from sqlalchemy.exc import DataError, DBAPIError, InterfaceError, OperationalError, StatementError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from receiver.database import postgresql
from receiver.database.tables import metadata

if TYPE_CHECKING:
    from collections.abc import Iterator


RETRIED: Final = frozenset({"40001", "40P01"})
"""SQLSTATEs that say "try the same again": serialization failure, deadlock."""


def is_away(error: BaseException) -> bool:
    """Say whether the database cannot take any transaction now: gone, locked, read-only, full."""
    if isinstance(error, PoolTimeoutError):
        return True
    if not isinstance(error, DBAPIError):
        return False
    if error.connection_invalidated or is_damage(error.orig):
        return True
    state = sqlstate(error)
    if state == "25006":  # read-only: an InternalError to the driver
        return True
    # Operational to the drivers, and yet it answers: to try again, too large, "no such table".
    code = getattr(error.orig, "sqlite_errorcode", None)
    if state in RETRIED or (state or "").startswith("54") or code == sqlite3.SQLITE_ERROR:
        return False
    return isinstance(error, OperationalError | InterfaceError)


def is_damage(error: BaseException | None) -> bool:
    """Say whether SQLite finds its file damaged, or no database at all."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is not None:
        return code & 0xFF in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
    # What we found ourselves; what SQLite raises has a code, and a kind of its own.
    return type(error) is sqlite3.DatabaseError


def is_cut(error: BaseException) -> bool:
    """Say whether a statement was ended because it took too long."""
    if not isinstance(error, DBAPIError):
        return False
    code = getattr(error.orig, "sqlite_errorcode", None)
    return code == sqlite3.SQLITE_INTERRUPT or sqlstate(error) == "57014"


class RaceError(Exception):
    """Another transaction got in between: roll back, and do the whole again."""


def is_transient(error: BaseException) -> bool:
    """Say whether the same transaction should simply be tried again.

    After 40001, 40P01, a race, and where a prepared statement was lost: none is used any more.
    """
    if isinstance(error, RaceError):
        return True
    if not isinstance(error, DBAPIError):
        return False
    return sqlstate(error) in RETRIED or (
        error.connection_invalidated and postgresql.is_unprepared(error.orig)
    )


def passes(error: BaseException) -> bool:
    """Say whether an error is the database's, not the data's: the same may be written later."""
    ours = isinstance(error, DBAPIError | PoolTimeoutError | RaceError)
    return ours and not is_data(error)


def reason(error: BaseException) -> str:
    """Return a sentence for a person: no parameters, no password, no value of ours, one line."""
    origin = getattr(error, "orig", None) or error
    return f"{type(origin).__name__}: {message(origin)}".strip()


STATEMENT_LENGTH: Final = 60
"""The characters of a statement that are shown, at most; ours hold no values."""

TOO_LARGE: Final = "54000"
"""The SQLSTATE of an index row of more than a third of a page; drivers call it operational."""
SEQUENCE_USED_UP: Final = "2200H"
"""The SQLSTATE of class 22 that is not the data's fault: a sequence without values left."""
_SQLITE_DATA: Final = frozenset({sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_MISMATCH})
_SQLITE_CHECK: Final = "CHECK constraint failed: "
_SQLITE_NOT_NULL: Final = "NOT NULL constraint failed: "


def _checks() -> Iterator[str]:
    for table in metadata.tables.values():
        for constraint in table.constraints:
            if isinstance(constraint, CheckConstraint):
                yield str(constraint.name)


CHECKS: Final = frozenset(_checks())
"""The names of the CHECK constraints that are ours."""
REQUIRED: Final = frozenset(
    f"{table.name}.{column.name}"
    for table in metadata.tables.values()
    for column in table.columns
    if not column.nullable and column.identity is None
)
"""The columns that are NOT NULL in our tables; a missing row id is not the data's fault."""


def is_data(error: BaseException) -> bool:
    """Say whether the data itself is refused, and always will be.

    That is SQLSTATE class 22 (but for a sequence that is used up), CHECK and NOT NULL of our own
    tables, 54000, and text that the encoding cannot hold; on SQLite what is the same. A constraint
    that somebody else added is not ours, and its refusals are the database's.
    """
    if isinstance(error, UnicodeError | OverflowError):  # raised by a driver, before it asks
        return True
    if isinstance(error, StatementError) and not isinstance(error, DBAPIError):
        return error.orig is not None and is_data(error.orig)
    if not isinstance(error, DBAPIError):
        return False
    state = sqlstate(error)
    if state is not None:
        return _is_data_to_postgresql(error, state)
    if isinstance(error.orig, sqlite3.Error):
        return _is_data_to_sqlite(error.orig)
    return isinstance(error, DataError)  # PostgreSQL's driver did not ask: a NUL in a text


def _is_data_to_postgresql(error: DBAPIError, state: str) -> bool:
    if state == "23514":
        return _diagnosis(error, "constraint_name") in CHECKS
    if state == "23502":
        table, column = (_diagnosis(error, name) for name in ("table_name", "column_name"))
        return f"{table}.{column}" in REQUIRED
    return (state.startswith("22") and state != SEQUENCE_USED_UP) or state == TOO_LARGE


def _is_data_to_sqlite(error: sqlite3.Error) -> bool:
    code = getattr(error, "sqlite_errorcode", None)
    if code == sqlite3.SQLITE_CONSTRAINT_CHECK:
        return str(error).removeprefix(_SQLITE_CHECK) in CHECKS
    if code == sqlite3.SQLITE_CONSTRAINT_NOTNULL:
        return str(error).removeprefix(_SQLITE_NOT_NULL) in REQUIRED
    return code is not None and code & 0xFF in _SQLITE_DATA


def sqlstate(error: DBAPIError) -> str | None:
    """Return PostgreSQL's five characters for an error; None on SQLite."""
    state = getattr(error.orig, "sqlstate", None)
    return state if isinstance(state, str) else None


def _diagnosis(error: DBAPIError, name: str) -> str:
    """Return what PostgreSQL says beside its message: a name of the schema's; empty for none."""
    return getattr(getattr(error.orig, "diag", None), name, None) or ""


def failed_statement(error: BaseException) -> str:
    """Return the beginning of the statement that failed, on one line; empty where none did."""
    text = getattr(error, "statement", None) or ""
    return " ".join(text.split())[:STATEMENT_LENGTH]


_QUOTED: Final = re.compile(r'"[^"]*"')


def message(error: BaseException) -> str:
    """Return what a driver's error says, on one line and without any value of ours.

    What a trigger says is its author's, and may be a phone number: where it was said stands for it.
    """
    words = next(iter(str(error).splitlines()), "")
    state = getattr(error, "sqlstate", None) or ""
    context = getattr(getattr(error, "diag", None), "context", None) or ""
    if state.startswith("P0") or " at RAISE" in context:
        return f"raised by {context.splitlines()[0]}" if context else "raised by a function"
    if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_CONSTRAINT_TRIGGER:
        return "raised by a trigger"
    return _QUOTED.sub('"…"', words) if state.startswith("22") else words


GUIDE: Final = 'docs/operations.md, "A database that says no"'
REMEDIES: Final = {
    "42501": "Give our user the right, or the tables, back",
    "42P01": "Bring the table back, by its name and in the schema it was in",
    "42703": "Bring the column back, by its name",
    "23505": "See that no sequence is behind its table",
    "P0001": "Mend or drop the trigger that raises it",
}
"""What to do, by SQLSTATE."""
SQLITE_REMEDIES: Final = {
    "no such table": REMEDIES["42P01"],
    "no such column": REMEDIES["42703"],
    "has no column named": REMEDIES["42703"],
}


def remedy(error: BaseException) -> str:
    """Return a sentence that says what to do about a refusal."""
    origin = getattr(error, "orig", None)
    advice = REMEDIES.get(getattr(origin, "sqlstate", None) or "")
    if isinstance(origin, sqlite3.Error):
        words = str(origin)
        advice = next((SQLITE_REMEDIES[part] for part in SQLITE_REMEDIES if part in words), None)
        if origin.sqlite_errorcode == sqlite3.SQLITE_CONSTRAINT_TRIGGER:
            advice = REMEDIES["P0001"]
    return f"{advice}: see {GUIDE}." if advice else f"See {GUIDE}."
