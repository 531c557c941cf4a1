"""The index of reports with a time that cannot be read, which an alarm lists.

They are few, or none. On a big table of PostgreSQL the index is left to `receiver migrate`, which
makes it without a lock; until then the alarm reads the reports of a day.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context, op

revision = "0013"
down_revision = "0012"

NAME = "ix_delivery_report_untimed"
TABLE = "delivery_report"
WHERE = (
    "done_at IS NULL AND provider_time IS NOT NULL"
    " OR sent_at IS NULL AND provider_sent_time IS NOT NULL"
)
BIG = 100_000
"""Rows of a table that is read within a moment."""


def is_big() -> bool:
    if context.is_offline_mode() or context.get_context().dialect.name == "sqlite":
        return False
    beyond = sa.text(f"SELECT 1 FROM {TABLE} OFFSET {BIG} LIMIT 1")
    return op.get_bind().execute(beyond).first() is not None


def upgrade() -> None:
    if not is_big():
        few = sa.text(WHERE)
        op.create_index(op.f(NAME), TABLE, ["received_at"], sqlite_where=few, postgresql_where=few)


def downgrade() -> None:
    op.drop_index(op.f(NAME), TABLE, if_exists=True)
