"""One row for each time that unreadable bytes came again, by the id it was given on arrival.

Such a callback leaves no row of its own in `callback`, only a count; without this, keeping it again
after a lost COMMIT answer, or from a spool that was drained half-way, would count it twice. The
old code, while it still runs, does not write here: what it counts is counted as before.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context, op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"

SQLITE_INSTANT = (
    "{0} GLOB '[0-9][0-9][0-9][0-9]-[01][0-9]-[0-3][0-9]"
    " [0-2][0-9]:[0-5][0-9]:[0-5][0-9].[0-9][0-9][0-9]Z' AND {0} >= '0001'"
    " AND strftime('%Y-%m-%d %H:%M:%S', substr({0}, 1, 19), '+0 days') IS substr({0}, 1, 19)"
)
POSTGRESQL_INSTANT = "{0} >= '0001-01-01 00:00Z' AND {0} < '10000-01-01 00:00Z'"


def upgrade() -> None:
    sqlite = context.get_context().dialect.name == "sqlite"
    key = sa.String(36) if sqlite else postgresql.UUID()
    instant = sa.String(24) if sqlite else postgresql.TIMESTAMP(timezone=True, precision=3)
    condition = SQLITE_INSTANT if sqlite else POSTGRESQL_INSTANT
    op.create_table(
        "callback_repeat",
        sa.Column("id", key, nullable=False),
        sa.Column("callback_id", key, nullable=False),
        sa.Column("received_at", instant, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_callback_repeat")),
        sa.CheckConstraint(
            condition.format("received_at"), name=op.f("ck_callback_repeat_received_at")
        ),
    )


def downgrade() -> None:
    op.drop_table("callback_repeat")
