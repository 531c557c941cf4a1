"""Column types: times, ids and money, the same on both databases."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import (
    BigInteger,
    Dialect,
    Integer,
    Numeric,
    String,
    TypeDecorator,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.expression import ColumnElement

from receiver.domain import utc_text

if TYPE_CHECKING:
    from sqlalchemy.sql.compiler import SQLCompiler
    from sqlalchemy.types import TypeEngine


SQLITE: Final = "sqlite"


class Instant(TypeDecorator[datetime]):
    """An aware UTC time in whole milliseconds; on SQLite the text `YYYY-MM-DD HH:MM:SS.fffZ`.

    Anything beyond the millisecond is cut off, on both databases. A naive time is refused.
    """

    impl = String
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Choose the database's own type."""
        if dialect.name == SQLITE:
            return dialect.type_descriptor(String(24))
        return postgresql.TIMESTAMP(timezone=True, precision=3)

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """Write it."""
        if value is None:
            return None
        return instant_text(value) if dialect.name == SQLITE else milliseconds(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Read it."""
        if value is None:
            return None
        if dialect.name == SQLITE:
            return datetime.fromisoformat(value)
        return milliseconds(value)


def milliseconds(value: datetime) -> datetime:
    """Return the time in UTC, cut to whole milliseconds. Raises ValueError for a naive one."""
    if value.tzinfo is None:
        raise ValueError("expected an aware time, got a naive one")
    value = value.astimezone(UTC)
    return value.replace(microsecond=value.microsecond // 1000 * 1000)


def instant_text(value: datetime) -> str:
    """Return the time as SQLite keeps it, in UTC. Raises ValueError for a naive one."""
    return utc_text(value, " ")


class Credit(TypeDecorator[Decimal]):
    """NUMERIC(12, 4), a Decimal on both databases (SQLite's twelve digits survive its REAL)."""

    impl = Numeric(12, 4)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Keep SQLAlchemy's detour through float off SQLite."""
        if dialect.name == SQLITE:
            return dialect.type_descriptor(_SqliteNumeric())
        return dialect.type_descriptor(Numeric(12, 4))

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> Any:
        """Write it."""
        return str(value) if value is not None and dialect.name == SQLITE else value

    def process_result_value(self, value: Any, dialect: Dialect) -> Decimal | None:  # noqa: ARG002
        """Read it, with four places."""
        return None if value is None else Decimal(str(value)).quantize(Decimal("0.0001"))


class _SqliteNumeric(Numeric[Any]):
    """NUMERIC(12, 4) in the schema, and the driver's own value in Python."""

    def __init__(self) -> None:
        super().__init__(12, 4, asdecimal=False)

    def bind_processor(self, dialect: Dialect) -> None:  # noqa: ARG002
        return None

    def result_processor(self, dialect: Dialect, coltype: object) -> None:  # noqa: ARG002
        return None


class Key(TypeDecorator[str]):
    """A UUID as its 36 characters; PostgreSQL's own type there."""

    impl = String(36)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Choose the database's own type."""
        if dialect.name == SQLITE:
            return dialect.type_descriptor(String(36))
        return dialect.type_descriptor(postgresql.UUID(as_uuid=False))


class DatabaseNow(ColumnElement[datetime]):
    """The database's clock, as the column types keep it."""

    inherit_cache = True
    type = Instant()


@compiles(DatabaseNow, SQLITE)
def _sqlite_now(element: DatabaseNow, compiler: SQLCompiler, **kw: object) -> str:  # noqa: ARG001
    return "(strftime('%Y-%m-%d %H:%M:%fZ', 'now'))"


@compiles(DatabaseNow, "postgresql")
def _postgresql_now(element: DatabaseNow, compiler: SQLCompiler, **kw: object) -> str:  # noqa: ARG001
    return "clock_timestamp()"


RowId: Final = BigInteger().with_variant(Integer, SQLITE)
