"""The tables, and the column types that SQLite and PostgreSQL must agree on. Declarations only."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    Dialect,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    String,
    Table,
    Text,
    TypeDecorator,
    text,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.expression import ColumnElement

from receiver.alarm import State
from receiver.report import FINAL, Approval, Status

if TYPE_CHECKING:
    from sqlalchemy.sql.compiler import SQLCompiler
    from sqlalchemy.types import TypeEngine

SQLITE: Final = "sqlite"
LATER: Final = "later"
"""Marks a column that no INSERT of ours fills, and an index that was added to a big table."""
UNFINISHED: Final = tuple(s for s in Status if s not in FINAL)


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
    if value.tzinfo is not UTC:
        value = milliseconds(value)
    return value.isoformat(" ", "milliseconds")[:23] + "Z"


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

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)


def _row_id() -> Column[int]:
    """Make a row id that is never used again (AUTOINCREMENT on SQLite), and never given."""
    return Column("id", RowId, Identity(always=True), primary_key=True)


def _name(column: str, length: int = 200) -> CheckConstraint:
    """Allow NULL or 1 to 200 characters."""
    return CheckConstraint(f"length({column}) BETWEEN 1 AND {length}", name=column)


def _instants(*columns: str) -> list[CheckConstraint]:
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


def _erased_at() -> Column[datetime]:
    """Make the time when a phone number was taken out of the row; NULL in every other row."""
    return Column("erased_at", Instant, info={LATER: True})


def _words(*words: str) -> str:
    return ", ".join(f"'{word}'" for word in words)


PROVIDER_CHECK: Final = "provider <> '' AND provider = lower(provider)"

callback = Table(
    "callback",
    metadata,
    Column("id", Key, primary_key=True),
    Column("provider", Text, nullable=False),
    Column("account", Text, nullable=False, server_default=""),
    Column("received_at", Instant, nullable=False, server_default=DatabaseNow()),
    Column("remote_addr", Text, nullable=False, server_default=""),
    Column("method", Text, nullable=False),
    Column("query", Text, nullable=False, server_default=""),
    Column("content_type", Text, nullable=False, server_default=""),
    Column("body", LargeBinary, nullable=False),
    Column("redacted", Boolean, nullable=False, server_default=text("false")),
    Column("outcome", Text, nullable=False),
    Column("error", Text),
    Column("report_count", Integer, nullable=False, server_default=text("0")),
    Column("repeats", Integer, nullable=False, server_default=text("0")),
    Column("digest", LargeBinary),
    _erased_at(),
    # How long the body was, where only its head is kept; NULL for every other.
    Column("body_size", BigInteger, info={LATER: True}),
    CheckConstraint(PROVIDER_CHECK, name="provider"),
    CheckConstraint("outcome IN ('read', 'partial', 'unreadable')", name="outcome"),
    *_instants("received_at"),
)
Index(
    "uq_callback_digest",
    callback.c.digest,
    unique=True,
    sqlite_where=text("digest IS NOT NULL"),
    postgresql_where=text("digest IS NOT NULL"),
)
Index(
    "ix_callback_outcome",
    callback.c.outcome,
    callback.c.received_at,
    sqlite_where=text("outcome <> 'read'"),
    postgresql_where=text("outcome <> 'read'"),
)

# Unreadable bytes that came again: the id each got on arrival, and the callback that has the bytes.
callback_repeat = Table(
    "callback_repeat",
    metadata,
    Column("id", Key, primary_key=True),
    Column("callback_id", Key, nullable=False),
    Column("received_at", Instant, nullable=False),
    *_instants("received_at"),
)

delivery_report = Table(
    "delivery_report",
    metadata,
    _row_id(),
    Column("callback_id", Key, nullable=False),
    Column("position", Integer, nullable=False),
    Column("provider", Text, nullable=False),
    Column("account", Text, nullable=False, server_default=""),
    Column("transaction_id", Text),
    Column("message_id", Text),
    Column("recipient", Text),
    Column("sender", Text),
    Column("provider_status", Text, nullable=False),
    Column("provider_code", Text),
    Column("provider_description", Text),
    Column("provider_time", Text),
    Column("provider_sent_time", Text),
    Column("provider_recipient", Text),
    Column("credit", Credit),
    Column("callback_data", Text),
    Column("received_at", Instant, nullable=False, server_default=DatabaseNow()),
    Column("digest", LargeBinary, nullable=False),
    Column("repeats", Integer, nullable=False, server_default=text("0")),
    Column("status", Text, nullable=False),
    Column("done_at", Instant),
    Column("sent_at", Instant),
    Column("sent_message_id", RowId),
    Column("settled_at", Instant),
    _erased_at(),
    CheckConstraint(PROVIDER_CHECK, name="provider"),
    CheckConstraint("message_id IS NOT NULL OR transaction_id IS NOT NULL", name="id"),
    _name("message_id"),
    _name("transaction_id"),
    CheckConstraint(f"status IN ({_words(*Status)})", name="status"),
    CheckConstraint("length(digest) = 16", name="digest"),
    *_instants("received_at", "done_at", "sent_at", "settled_at"),
    sqlite_autoincrement=True,
)

sent_message = Table(
    "sent_message",
    metadata,
    _row_id(),
    Column("provider", Text, nullable=False),
    Column("account", Text, nullable=False, server_default=""),
    Column("transaction_id", Text),
    Column("message_id", Text),
    Column("recipient", Text),
    Column("sender", Text),
    Column("tag", Text),
    Column("reference", Text),
    Column("credit", Credit),
    Column("sent_at", Instant, nullable=False, server_default=DatabaseNow()),
    Column("recorded_at", Instant, nullable=False, server_default=DatabaseNow()),
    Column("error", Text),
    Column("refusal_key", LargeBinary),
    Column("status", Text, nullable=False, server_default=Status.ACCEPTED.value),
    Column("done_at", Instant),
    Column("report_id", RowId),
    Column("conflicting", Boolean, nullable=False, server_default=text("false")),
    Column("changed_at", Instant),
    Column("settled_at", Instant),
    # Neither checked nor indexed: nothing is matched by it, and the table is big already.
    Column("template_id", Text),
    # Which row of delivery_rollup counts the message, and what it added there: what is to be taken
    # out again when it changes. NULL: it is not counted yet.
    Column("rollup_id", RowId),
    Column("counted_as", Text),
    Column("counted_credit", BigInteger),
    Column("counted_milliseconds", BigInteger),
    _erased_at(),
    Column("counted_reported_credit", BigInteger),
    CheckConstraint(PROVIDER_CHECK, name="provider"),
    CheckConstraint(
        "length(recipient) <= 200 AND (error IS NOT NULL OR (recipient <> ''"
        " AND trim(recipient, '0123456789') = '' AND substr(recipient, 1, 1) <> '0'))",
        name="recipient",
    ),
    # Not valid on PostgreSQL: so it was added without a look at every row, and holds all the same.
    CheckConstraint("recipient IS NOT NULL OR erased_at IS NOT NULL", name="erased"),
    CheckConstraint(
        "error IS NOT NULL OR message_id IS NOT NULL OR transaction_id IS NOT NULL", name="id"
    ),
    _name("message_id"),
    _name("transaction_id"),
    CheckConstraint("length(account) <= 200", name="account"),
    CheckConstraint("length(sender) <= 200", name="sender"),
    CheckConstraint("length(tag) <= 200", name="tag"),
    CheckConstraint("length(reference) <= 200", name="reference"),
    CheckConstraint(f"status IN ({_words(*Status)})", name="status"),
    # Where `error` is set and `status` left to its default, settling makes it rejected.
    CheckConstraint(
        "report_id IS NOT NULL OR status = 'accepted'"
        " OR (status = 'rejected' AND error IS NOT NULL)",
        name="first_status",
    ),
    CheckConstraint("length(refusal_key) = 16", name="refusal_key"),
    *_instants("sent_at", "recorded_at", "done_at", "changed_at", "settled_at"),
    sqlite_autoincrement=True,
)

# What the provider has; `mirrored_at` is when it said so, `approval_at` when that was decided or
# read. A template that is gone stays, since messages name it.
message_template = Table(
    "message_template",
    metadata,
    _row_id(),
    Column("provider", Text, nullable=False),
    Column("template_id", Text, nullable=False),
    Column("name", Text),
    Column("content", Text),
    Column("template_type", Text),
    Column("msg_type", Text),
    Column("sign_id", Text),
    Column("approval", Text),
    Column("approval_message", Text),
    Column("approval_at", Instant),
    Column("created_at", Instant),
    Column("updated_at", Instant),
    Column("mirrored_at", Instant),
    Column("deleted_at", Instant),
    CheckConstraint(PROVIDER_CHECK, name="provider"),
    _name("template_id"),
    CheckConstraint(f"approval IN ({_words(*Approval)})", name="approval"),
    *_instants("approval_at", "created_at", "updated_at", "mirrored_at", "deleted_at"),
    sqlite_autoincrement=True,
)

# What is left of an account's credit, by what the provider calls that kind of credit ('' where it
# does not say), as the answer to the latest sending told it.
account_credit = Table(
    "account_credit",
    metadata,
    Column("provider", Text, primary_key=True),
    Column("account", Text, primary_key=True),
    Column("credit_type", Text, primary_key=True),
    Column("remaining", Credit, nullable=False),
    Column("seen_at", Instant, nullable=False),
    CheckConstraint(PROVIDER_CHECK, name="provider"),
    *_instants("seen_at"),
)
BangkokHour: Final = Text().with_variant(postgresql.TIMESTAMP(), "postgresql")
"""An hour of Bangkok's clocks; on SQLite the text `YYYY-MM-DD HH:00:00`."""

ACTIVITIES: Final = ("callbacks", "unreadable", "reports", "repeats", "recorded")
"""What a row of activity_rollup counts."""
LAST_TIMES: Final = ("last_callback_at", "last_report_at", "last_recorded_at")
"""The times that a row of activity_rollup keeps the latest of."""

GROUPS: Final = ("refused", "delivered", "failed", "pending", "unknown", "silent")
"""What became of a message; every one is in one of them."""
STEPS: Final = (
    1, 2, 3, 5, 7, 10, 15, 20, 30, 45, 60, 90, 120, 180, 300, 600, 1200, 1800, 3600, 7200, 14400,
    28800, 43200, 86400, 108000,
)  # fmt: skip
"""The histogram's steps: seconds to delivery, one second to thirty hours."""
CREDITS: Final = (
    "delivered_credit",
    "failed_credit",
    "reported",
    "reported_credit",
    "reported_delivered_credit",
    "reported_failed_credit",
    "compared",
    "credit_difference",
)
"""The credit by what became of the messages, as we recorded it and as the reports tell it."""
MEASURES: Final = (
    *GROUPS,
    "credited",
    "credit",
    "timed",
    "milliseconds",
    *(f"within_{seconds}s" for seconds in STEPS),
    *CREDITS,
)
"""What a row of delivery_rollup counts and adds up."""

# Messages by the Bangkok hour of `sent_at`, and by what is asked for most: no numbers, no ids, so
# that it may be kept when messages are purged. One row for each value of `digest`, which is made
# of the columns from `hour` to `tag` (UNIQUE would let rows with NULL double). `credit` is in
# ten-thousandths: whole numbers add up to the same on both databases.
delivery_rollup = Table(
    "delivery_rollup",
    metadata,
    _row_id(),
    Column("digest", LargeBinary, nullable=False),
    Column("hour", BangkokHour, nullable=False),
    Column("day", Text().with_variant(Date(), "postgresql"), nullable=False),
    Column("provider", Text, nullable=False),
    Column("account", Text, nullable=False),
    Column("sender", Text),
    Column("tag", Text),
    *(Column(name, BigInteger, nullable=False, server_default=text("0")) for name in MEASURES),
    sqlite_autoincrement=True,
)

# Callbacks that were turned away, by the Bangkok hour: nothing of what they held.
refusal = Table(
    "refusal",
    metadata,
    Column("hour", BangkokHour, primary_key=True),
    Column("provider", Text, primary_key=True),
    Column("account", Text, primary_key=True),
    Column("reason", Text, primary_key=True),
    Column("address", Text, primary_key=True),
    Column("count", BigInteger, nullable=False),
    Column("last_at", Instant, nullable=False),
    CheckConstraint(PROVIDER_CHECK, name="provider"),
    *_instants("last_at"),
)

# What must be set alike at every receiver of this database, as each last noted it.
receiver_setting = Table(
    "receiver_setting",
    metadata,
    Column("receiver", Text, primary_key=True),
    Column("setting", Text, primary_key=True),
    Column("value", Text, nullable=False),
    Column("noted_at", Instant, nullable=False),
    *_instants("noted_at"),
)

# What came by the Bangkok hour of its arrival, so that what is asked for every few seconds need
# not read reports and messages.
activity_rollup = Table(
    "activity_rollup",
    metadata,
    Column("hour", BangkokHour, primary_key=True),
    Column("provider", Text, primary_key=True),
    Column("account", Text, primary_key=True),
    *(Column(name, BigInteger, nullable=False, server_default=text("0")) for name in ACTIVITIES),
    *(Column(name, Instant) for name in LAST_TIMES),
    CheckConstraint(PROVIDER_CHECK, name="provider"),
    *_instants(*LAST_TIMES),
)

# Every alarm as it was at the last look (once a minute). `told_at`: when RECEIVER_ALARM_URL was
# told that it is raised; NULL again when it was told that it no longer is.
alarm = Table(
    "alarm",
    metadata,
    Column("name", Text, primary_key=True),
    Column("provider", Text, primary_key=True),
    Column("account", Text, primary_key=True),
    Column("state", Text, nullable=False),
    Column("sentence", Text, nullable=False),
    Column("advice", Text, nullable=False),
    Column("since", Instant),
    Column("changed_at", Instant, nullable=False),
    Column("told_at", Instant),
    CheckConstraint(f"state IN ({_words(*State)})", name="state"),
    *_instants("since", "changed_at", "told_at"),
)

# At most one row: the process that looks and tells, and until when no other does.
alarm_watch = Table(
    "alarm_watch",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("holder", Text, nullable=False),
    Column("held_until", Instant, nullable=False),
    CheckConstraint("id = 1", name="one"),
    *_instants("held_until"),
)

# What a process found in its spool when it last looked; no row where that is nothing.
spool_state = Table(
    "spool_state",
    metadata,
    Column("place", Text, primary_key=True),
    Column("callbacks", BigInteger, nullable=False),
    Column("refused", BigInteger, nullable=False),
    Column("set_aside", BigInteger, nullable=False),
    Column("trouble", Text),
    Column("seen_at", Instant, nullable=False),
    *_instants("seen_at"),
)

# One row. Whoever holds its lock is the hand that settles; `oldest_revision` is the oldest
# program that can still work on this schema. How far the roll-ups are: messages with an id up to
# `uncounted_to` are still to be looked at (NULL: all); those whose time came up to `counted_until`
# are counted; `changed_until` is the last change of a status that this code made; the rows of hours
# before `uncredited_before` lack the credit by what became of the messages (NULL: none does).
# Messages that were sent before `purged_until` may have been deleted; nobody has to delete before
# `purge_after`.
receiver_state = Table(
    "receiver_state",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("oldest_revision", Text, nullable=False),
    Column("uncounted_to", RowId),
    Column("counted_until", Instant),
    Column("changed_until", Instant),
    Column("purged_until", Instant),
    Column("purge_after", Instant),
    Column("uncredited_before", Instant),
    CheckConstraint("id = 1", name="one"),
)


def _index(
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


# The id comes first and the provider last: with the provider first, planners walk the whole index
# to serve GROUP BY provider. `message_id IS NULL` in a look-up would scan every such row, so the
# rows without one are kept out of the index.
_index("uq_delivery_report_digest", delivery_report, "digest", unique=True)
_index(
    "ix_delivery_report_message_id", delivery_report, "message_id", where="message_id IS NOT NULL"
)
_index(
    "ix_delivery_report_transaction_id_recipient",
    delivery_report,
    "transaction_id",
    "recipient",
    where="transaction_id IS NOT NULL",
)
_index(
    "ix_delivery_report_sent_message_id",
    delivery_report,
    "sent_message_id",
    where="sent_message_id IS NOT NULL",
)
_index("ix_delivery_report_received_at", delivery_report, "received_at")
_index(
    "ix_delivery_report_unmatched", delivery_report, "received_at", where="sent_message_id IS NULL"
)
_index("ix_delivery_report_unsettled", delivery_report, "id", where="settled_at IS NULL")
_index(
    "ix_delivery_report_ahead",
    delivery_report,
    "received_at",
    where="done_at > received_at",
    later=True,
)
UNTIMED: Final = (
    "done_at IS NULL AND provider_time IS NOT NULL"
    " OR sent_at IS NULL AND provider_sent_time IS NOT NULL"
)
"""Which reports hold a time that cannot be read, as their index has it."""
_index("ix_delivery_report_untimed", delivery_report, "received_at", where=UNTIMED, later=True)

_index("uq_message_template_template_id", message_template, "template_id", "provider", unique=True)

_index(
    "uq_sent_message_message_id",
    sent_message,
    "message_id",
    "recipient",
    "provider",
    "account",
    where="message_id IS NOT NULL",
    unique=True,
)
_index(
    "uq_sent_message_transaction_id",
    sent_message,
    "transaction_id",
    "recipient",
    "provider",
    "account",
    where="message_id IS NULL AND transaction_id IS NOT NULL",
    unique=True,
)
_index(
    "uq_sent_message_refusal_key",
    sent_message,
    "refusal_key",
    where="refusal_key IS NOT NULL",
    unique=True,
)
_index(
    "ix_sent_message_transaction_id_recipient",
    sent_message,
    "transaction_id",
    "recipient",
    where="transaction_id IS NOT NULL",
)
_index("ix_sent_message_recipient", sent_message, "recipient")
_index("ix_sent_message_reference", sent_message, "reference", where="reference IS NOT NULL")
_index("ix_sent_message_sent_at", sent_message, "sent_at")
_index(
    "ix_sent_message_changed_at", sent_message, "changed_at", "id", where="changed_at IS NOT NULL"
)
_index(
    "ix_sent_message_unfinished",
    sent_message,
    "sent_at",
    where=f"status IN ({_words(*UNFINISHED)})",
)
_index("ix_sent_message_conflicting", sent_message, "id", where="conflicting")
_index("ix_sent_message_unsettled", sent_message, "id", where="settled_at IS NULL")
_index(
    "ix_sent_message_ahead",
    sent_message,
    "sent_at",
    "done_at",
    where="done_at < sent_at",
    later=True,
)

_index("uq_delivery_rollup_digest", delivery_rollup, "digest", unique=True)
_index("ix_delivery_rollup_hour", delivery_rollup, "hour")
_index("ix_delivery_rollup_day", delivery_rollup, "day")
