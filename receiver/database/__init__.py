"""Engines, transactions, column types, tables, views and the schema."""

from __future__ import annotations

from receiver.database import opening, portions, postgresql, schema, time_limit
from receiver.database.background import Attempt, Background
from receiver.database.bulk import (
    MAX_LISTED,
    BulkInsert,
    BulkUpdate,
    GivenRows,
    among,
    chunks,
    halve,
    larger,
    upsert,
)
from receiver.database.column_types import SQLITE, DatabaseNow, Instant, Key, RowId, instant_text
from receiver.database.engine import SNAPSHOT, parse_url, why
from receiver.database.failures import (
    RaceError,
    is_away,
    is_cut,
    is_damage,
    is_data,
    is_transient,
    passes,
    reason,
    sqlstate,
)
from receiver.database.opening import existing, explain
from receiver.database.transactions import DERIVED, READ, InterruptibleConnection, retry, transact
from receiver.database.views import (
    COUNTS,
    PIECES,
    in_group,
    message_status,
    message_timeline,
    provider_activity,
)

__all__ = [
    "COUNTS",
    "DERIVED",
    "MAX_LISTED",
    "PIECES",
    "READ",
    "SNAPSHOT",
    "SQLITE",
    "Attempt",
    "Background",
    "BulkInsert",
    "BulkUpdate",
    "DatabaseNow",
    "GivenRows",
    "Instant",
    "InterruptibleConnection",
    "Key",
    "RaceError",
    "RowId",
    "among",
    "chunks",
    "existing",
    "explain",
    "halve",
    "in_group",
    "instant_text",
    "is_away",
    "is_cut",
    "is_damage",
    "is_data",
    "is_transient",
    "larger",
    "message_status",
    "message_timeline",
    "opening",
    "parse_url",
    "passes",
    "portions",
    "postgresql",
    "provider_activity",
    "reason",
    "retry",
    "schema",
    "sqlstate",
    "time_limit",
    "transact",
    "upsert",
    "why",
]
