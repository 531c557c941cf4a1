"""Metadata that all tables share: naming, row ids, and checks of times."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    CheckConstraint,
    Column,
    Identity,
    Index,
    MetaData,
    Table,
    text,
)

from receiver.database.column_types import SQLITE, Instant, RowId

LATER: Final = "later"
"""Marks a column that no INSERT of ours fills, and an index that was added to a big table."""

INTERNAL: Final = "internal"
"""Marks a column that no view shows: what is long, or only our own book-keeping."""

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)


def row_id() -> Column[int]:
    """Make a row id that is never used again (AUTOINCREMENT on SQLite), and never given."""
    return Column("id", RowId, Identity(always=True), primary_key=True)


def public_columns(table: Table) -> list[Column[Any]]:
    """Return the columns that views show, in order."""
    return [column for column in table.columns if INTERNAL not in column.info]


def name_check(column: str, length: int = 200) -> CheckConstraint:
    """Allow NULL or 1 to 200 characters."""
    return CheckConstraint(f"length({column}) BETWEEN 1 AND {length}", name=column)


def time_checks(*columns: str) -> list[CheckConstraint]:
    """Refuse what is no time in UTC with milliseconds, and what Python cannot read.

    PostgreSQL's type does the rest by itself; it also has an infinity. SQLite takes any text, and
    knows of no 31 February until it is asked.
    """
    day, clock = "[0-9][0-9][0-9][0-9]-[01][0-9]-[0-3][0-9]", "[0-2][0-9]:[0-5][0-9]:[0-5][0-9]"
    sqlite = (
        f"{{0}} GLOB '{day} {clock}.[0-9][0-9][0-9]Z' AND {{0}} >= '0001'"
        " AND strftime('%Y-%m-%d %H:%M:%S', substr({0}, 1, 19), '+0 days') IS substr({0}, 1, 19)"
    )
    postgresql = "{0} >= '0001-01-01 00:00Z' AND {0} < '10000-01-01 00:00Z'"
    return [
        CheckConstraint(condition.format(c), name=c).ddl_if(dialect)
        for c in columns
        for dialect, condition in ((SQLITE, sqlite), ("postgresql", postgresql))
    ]


def erased_at() -> Column[datetime]:
    """Make the time when a phone number was taken out of the row; NULL in every other row."""
    return Column("erased_at", Instant, info={LATER: True})


def listed(*words: str) -> str:
    """Return words as SQL lists them: quoted, and parted by commas."""
    return ", ".join(f"'{word}'" for word in words)


PROVIDER_CHECK: Final = "provider <> '' AND provider = lower(provider)"


def index(
    name: str,
    table: Table,
    *columns: str,
    where: str = "",
    unique: bool = False,
    later: bool = False,
) -> Index:
    """Declare an index, partial where `where` is given.

    One that came `later` is not there on a big table of PostgreSQL before `receiver migrate`.
    """
    partial: dict[str, Any] = {"sqlite_where": text(where), "postgresql_where": text(where)}
    return Index(
        name,
        *(table.c[column] for column in columns),
        unique=unique,
        info={LATER: True} if later else {},
        **(partial if where else {}),
    )
