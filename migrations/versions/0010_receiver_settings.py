"""What each receiver is set to, so that those of one database can be compared.

A new, empty table. The old code, while it still runs, leaves no note.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import context, op
from sqlalchemy.dialects import postgresql

revision = "0010"
down_revision = "0009"

TABLE = "receiver_setting"
SQLITE_INSTANT = (
    "{0} GLOB '[0-9][0-9][0-9][0-9]-[01][0-9]-[0-3][0-9]"
    " [0-2][0-9]:[0-5][0-9]:[0-5][0-9].[0-9][0-9][0-9]Z' AND {0} >= '0001'"
    " AND strftime('%Y-%m-%d %H:%M:%S', substr({0}, 1, 19), '+0 days') IS substr({0}, 1, 19)"
)
POSTGRESQL_INSTANT = "{0} >= '0001-01-01 00:00Z' AND {0} < '10000-01-01 00:00Z'"


def upgrade() -> None:
    sqlite = context.get_context().dialect.name == "sqlite"
    instant: Any = sa.String(24) if sqlite else postgresql.TIMESTAMP(timezone=True, precision=3)
    condition = SQLITE_INSTANT if sqlite else POSTGRESQL_INSTANT
    op.create_table(
        TABLE,
        sa.Column("receiver", sa.Text(), nullable=False),
        sa.Column("setting", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("noted_at", instant, nullable=False),
        sa.PrimaryKeyConstraint("receiver", "setting", name=op.f(f"pk_{TABLE}")),
        sa.CheckConstraint(condition.format("noted_at"), name=op.f(f"ck_{TABLE}_noted_at")),
    )


def downgrade() -> None:
    op.drop_table(TABLE)
