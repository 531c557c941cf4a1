"""Tables of counts: roll-ups by the hour, and callbacks that were refused."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Date,
    LargeBinary,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects import postgresql

from receiver.database.column_types import Instant
from receiver.database.tables.base import PROVIDER_CHECK, index, metadata, row_id, time_checks
from receiver.domain import DELIVERY_TIMES, GROUPS

BangkokHour: Final = Text().with_variant(postgresql.TIMESTAMP(), "postgresql")
"""An hour of Bangkok's clocks; on SQLite the text `YYYY-MM-DD HH:00:00`."""

ACTIVITIES: Final = ("callbacks", "unreadable", "reports", "repeats", "recorded")
"""What a row of activity_rollup counts."""
LAST_TIMES: Final = ("last_callback_at", "last_report_at", "last_recorded_at")
"""The times that a row of activity_rollup keeps the latest of."""

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
    *DELIVERY_TIMES.names,
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
    row_id(),
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
    *time_checks("last_at"),
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
    *time_checks(*LAST_TIMES),
)

index("uq_delivery_rollup_digest", delivery_rollup, "digest", unique=True)
index("ix_delivery_rollup_hour", delivery_rollup, "hour")
index("ix_delivery_rollup_day", delivery_rollup, "day")
