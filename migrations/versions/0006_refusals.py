"""Callbacks that were turned away, and what came, by the hour; the view provider_activity.

Two new tables, empty at first: what came before the upgrade is not counted, but for messages, which
are where the roll-ups still have to count them. The old code, while it still runs, does not write
here.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import context, op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"

SQLITE_INSTANT = (
    "{0} GLOB '[0-9][0-9][0-9][0-9]-[01][0-9]-[0-3][0-9]"
    " [0-2][0-9]:[0-5][0-9]:[0-5][0-9].[0-9][0-9][0-9]Z' AND {0} >= '0001'"
    " AND strftime('%Y-%m-%d %H:%M:%S', substr({0}, 1, 19), '+0 days') IS substr({0}, 1, 19)"
)
POSTGRESQL_INSTANT = "{0} >= '0001-01-01 00:00Z' AND {0} < '10000-01-01 00:00Z'"

COUNTS = ("callbacks", "unreadable", "reports", "repeats", "recorded")
TIMES = ("last_callback_at", "last_report_at", "last_recorded_at")


def upgrade() -> None:
    sqlite = context.get_context().dialect.name == "sqlite"
    instant: Any = sa.String(24) if sqlite else postgresql.TIMESTAMP(timezone=True, precision=3)
    hour: Any = sa.Text() if sqlite else postgresql.TIMESTAMP()
    condition = SQLITE_INSTANT if sqlite else POSTGRESQL_INSTANT
    op.create_table(
        "refusal",
        sa.Column("hour", hour, nullable=False),
        *(
            sa.Column(name, sa.Text(), nullable=False)
            for name in ("provider", "account", "reason", "address")
        ),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("last_at", instant, nullable=False),
        sa.PrimaryKeyConstraint(
            "hour", "provider", "account", "reason", "address", name=op.f("pk_refusal")
        ),
        sa.CheckConstraint(
            "provider <> '' AND provider = lower(provider)", name=op.f("ck_refusal_provider")
        ),
        sa.CheckConstraint(condition.format("last_at"), name=op.f("ck_refusal_last_at")),
    )
    op.create_table(
        "activity_rollup",
        sa.Column("hour", hour, nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        *(
            sa.Column(name, sa.BigInteger(), nullable=False, server_default=sa.text("0"))
            for name in COUNTS
        ),
        *(sa.Column(name, instant) for name in TIMES),
        sa.PrimaryKeyConstraint("hour", "provider", "account", name=op.f("pk_activity_rollup")),
        sa.CheckConstraint(
            "provider <> '' AND provider = lower(provider)",
            name=op.f("ck_activity_rollup_provider"),
        ),
        *(
            sa.CheckConstraint(condition.format(name), name=op.f(f"ck_activity_rollup_{name}"))
            for name in TIMES
        ),
    )


def downgrade() -> None:
    op.drop_table("activity_rollup")
    op.drop_table("refusal")
