"""What is left of each account's credit.

A new table that nothing else needs. The old code, while it still runs, does not write here: what
is left is known from the next sending that the new code records.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import context, op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"

TABLE = "account_credit"
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
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("credit_type", sa.Text(), nullable=False),
        sa.Column("remaining", sa.Numeric(12, 4), nullable=False),
        sa.Column("seen_at", instant, nullable=False),
        sa.PrimaryKeyConstraint("provider", "account", "credit_type", name=op.f(f"pk_{TABLE}")),
        sa.CheckConstraint(
            "provider <> '' AND provider = lower(provider)", name=op.f(f"ck_{TABLE}_provider")
        ),
        sa.CheckConstraint(condition.format("seen_at"), name=op.f(f"ck_{TABLE}_seen_at")),
    )


def downgrade() -> None:
    op.drop_table(TABLE)
