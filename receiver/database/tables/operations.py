"""Tables of running receivers: state, settings, alarms, spools."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Integer,
    Table,
    Text,
)

from receiver.database.column_types import Instant, RowId
from receiver.database.tables.base import listed, metadata, time_checks
from receiver.domain import State

# What must be set alike at every receiver of this database, as each last noted it.
receiver_setting = Table(
    "receiver_setting",
    metadata,
    Column("receiver", Text, primary_key=True),
    Column("setting", Text, primary_key=True),
    Column("value", Text, nullable=False),
    Column("noted_at", Instant, nullable=False),
    *time_checks("noted_at"),
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
    CheckConstraint(f"state IN ({listed(*State)})", name="state"),
    *time_checks("since", "changed_at", "told_at"),
)

# At most one row: the process that looks and tells, and until when no other does.
alarm_watch = Table(
    "alarm_watch",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("holder", Text, nullable=False),
    Column("held_until", Instant, nullable=False),
    CheckConstraint("id = 1", name="one"),
    *time_checks("held_until"),
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
    *time_checks("seen_at"),
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
