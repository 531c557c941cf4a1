"""The view suspect_report, and the indexes of the few rows it looks at.

Reports dated after their arrival and messages dated after their delivery are few. On a big table
of PostgreSQL the indexes are left to `receiver migrate`, which makes them without a lock; until
then the view is slow, and everything else as fast as before.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import context, op

revision = "0012"
down_revision = "0011"

INDEXES = (
    ("ix_delivery_report_ahead", "delivery_report", ["received_at"], "done_at > received_at"),
    ("ix_sent_message_ahead", "sent_message", ["sent_at", "done_at"], "done_at < sent_at"),
)
BIG = 100_000
"""Rows of a table that is read within a moment."""


def is_big(table: str) -> bool:
    if context.is_offline_mode() or context.get_context().dialect.name == "sqlite":
        return False
    beyond = sa.text(f"SELECT 1 FROM {table} OFFSET {BIG} LIMIT 1")
    return op.get_bind().execute(beyond).first() is not None


def upgrade() -> None:
    for name, table, columns, where in INDEXES:
        if not is_big(table):
            few: dict[str, Any] = {
                "sqlite_where": sa.text(where), "postgresql_where": sa.text(where)
            }  # fmt: skip
            op.create_index(op.f(name), table, columns, **few)


def downgrade() -> None:
    for name, table, *_ in INDEXES:
        op.drop_index(op.f(name), table, if_exists=True)
