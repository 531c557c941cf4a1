"""Tables of what came in: callbacks and the delivery reports in them."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    text,
)

from receiver.database.column_types import Credit, DatabaseNow, Instant, Key, RowId
from receiver.database.tables.base import (
    INTERNAL,
    LATER,
    PROVIDER_CHECK,
    erased_at,
    index,
    listed,
    metadata,
    name_check,
    row_id,
    time_checks,
)
from receiver.database.tables.messages import UNTIMED
from receiver.domain import Status

NOT_READ: Final = "outcome <> 'read'"
"""The callbacks that were not read whole, worded as their index has it: so SQLite uses the index.
"""

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
    Column("body", LargeBinary, nullable=False, info={INTERNAL: True}),
    Column("redacted", Boolean, nullable=False, server_default=text("false")),
    Column("outcome", Text, nullable=False),
    Column("error", Text),
    Column("report_count", Integer, nullable=False, server_default=text("0")),
    Column("repeats", Integer, nullable=False, server_default=text("0")),
    Column("digest", LargeBinary),
    erased_at(),
    # How long the body was, where only its head is kept; NULL for every other.
    Column("body_size", BigInteger, info={LATER: True}),
    CheckConstraint(PROVIDER_CHECK, name="provider"),
    CheckConstraint("outcome IN ('read', 'partial', 'unreadable')", name="outcome"),
    *time_checks("received_at"),
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
    sqlite_where=text(NOT_READ),
    postgresql_where=text(NOT_READ),
)

# Unreadable bytes that came again: the id each got on arrival, and the callback that has the bytes.
callback_repeat = Table(
    "callback_repeat",
    metadata,
    Column("id", Key, primary_key=True),
    Column("callback_id", Key, nullable=False),
    Column("received_at", Instant, nullable=False),
    *time_checks("received_at"),
)

delivery_report = Table(
    "delivery_report",
    metadata,
    row_id(),
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
    erased_at(),
    CheckConstraint(PROVIDER_CHECK, name="provider"),
    CheckConstraint("message_id IS NOT NULL OR transaction_id IS NOT NULL", name="id"),
    name_check("message_id"),
    name_check("transaction_id"),
    CheckConstraint(f"status IN ({listed(*Status)})", name="status"),
    CheckConstraint("length(digest) = 16", name="digest"),
    *time_checks("received_at", "done_at", "sent_at", "settled_at"),
    sqlite_autoincrement=True,
)


# The id comes first and the provider last: with the provider first, planners walk the whole index
# to serve GROUP BY provider. `message_id IS NULL` in a look-up would scan every such row, so the
# rows without one are kept out of the index.
index("uq_delivery_report_digest", delivery_report, "digest", unique=True)
index(
    "ix_delivery_report_message_id", delivery_report, "message_id", where="message_id IS NOT NULL"
)
index(
    "ix_delivery_report_transaction_id_recipient",
    delivery_report,
    "transaction_id",
    "recipient",
    where="transaction_id IS NOT NULL",
)
index(
    "ix_delivery_report_sent_message_id",
    delivery_report,
    "sent_message_id",
    where="sent_message_id IS NOT NULL",
)
index("ix_delivery_report_received_at", delivery_report, "received_at")
index(
    "ix_delivery_report_unmatched", delivery_report, "received_at", where="sent_message_id IS NULL"
)
index("ix_delivery_report_unsettled", delivery_report, "id", where="settled_at IS NULL")
index(
    "ix_delivery_report_ahead",
    delivery_report,
    "received_at",
    where="done_at > received_at",
    later=True,
)
index("ix_delivery_report_untimed", delivery_report, "received_at", where=UNTIMED, later=True)
