"""Tables of what is sent to applications: destinations, and messages that one of them refused."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Integer, Table, Text, text

from receiver.database.column_types import Instant, RowId
from receiver.database.tables.base import metadata, time_checks

# One row for each destination that was ever set. All changes up to `cursor_at`, `cursor_id` were
# taken or set aside; the batch under way ends at `until_at`, `until_id`, so that whoever sends it
# again sends the same. `replays`: how often it was told to send again. `sent`: messages that were
# taken; `failed`: requests that were not; `failures`: how many of them since the last that was, and
# `retry_at` when to try again. Nobody but `holder` sends before `held_until`.
event_destination = Table(
    "event_destination",
    metadata,
    Column("name", Text, primary_key=True),
    Column("cursor_at", Instant),
    Column("cursor_id", RowId, nullable=False, server_default=text("0")),
    Column("until_at", Instant),
    Column("until_id", RowId),
    Column("replays", BigInteger, nullable=False, server_default=text("0")),
    Column("sent", BigInteger, nullable=False, server_default=text("0")),
    Column("failed", BigInteger, nullable=False, server_default=text("0")),
    Column("failures", Integer, nullable=False, server_default=text("0")),
    Column("problem", Text),
    Column("retry_at", Instant),
    Column("taken_at", Instant),
    Column("off_at", Instant),
    Column("holder", Text),
    Column("held_until", Instant),
    *time_checks("cursor_at", "until_at", "retry_at", "taken_at", "off_at", "held_until"),
)

# Messages that a destination refused, alone: `status` is what it answered with. `replay_at`: when
# it was told to send this message again, which then waits to be sent.
event_set_aside = Table(
    "event_set_aside",
    metadata,
    Column("destination", Text, primary_key=True),
    Column("sent_message_id", RowId, primary_key=True, autoincrement=False),
    Column("status", Integer),
    Column("set_aside_at", Instant),
    Column("replay_at", Instant),
    *time_checks("set_aside_at", "replay_at"),
)
