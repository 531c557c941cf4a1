"""Counts by hour, so that the daily and hourly views need not read every message.

No lock is held for long: columns without a default are added, and no index is made on a table that
may be big. Messages that are there already are counted by the settling hand, in portions, newest
first (`receiver_state.uncounted_to`). The old code, while it still runs, leaves the new columns
alone: what it settles is counted when the new code sees that somebody else changed a status
(`changed_until`).
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import context, op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"

STEPS = (
    1, 2, 3, 5, 7, 10, 15, 20, 30, 45, 60, 90, 120, 180, 300, 600, 1200, 1800, 3600, 7200, 14400,
    28800, 43200, 86400, 108000,
)  # fmt: skip
GROUPS = ("refused", "delivered", "failed", "pending", "unknown", "silent")

COUNTED = ("rollup_id", "counted_as", "counted_credit", "counted_milliseconds")
STATE = ("uncounted_to", "counted_until", "changed_until")


def upgrade() -> None:
    sqlite = context.get_context().dialect.name == "sqlite"
    row: Any = sa.Integer() if sqlite else sa.BigInteger()
    instant: Any = sa.String(24) if sqlite else postgresql.TIMESTAMP(timezone=True, precision=3)
    hour: Any = sa.Text() if sqlite else postgresql.TIMESTAMP()
    day: Any = sa.Text() if sqlite else sa.Date()
    kinds: tuple[Any, ...] = (row, sa.Text(), sa.BigInteger(), sa.BigInteger())
    measures = (*GROUPS, "credited", "credit", "timed", "milliseconds")
    op.create_table(
        "delivery_rollup",
        sa.Column("id", row, sa.Identity(always=True), primary_key=True),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("hour", hour, nullable=False),
        sa.Column("day", day, nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("sender", sa.Text()),
        sa.Column("tag", sa.Text()),
        *(
            sa.Column(name, sa.BigInteger(), nullable=False, server_default=sa.text("0"))
            for name in (*measures, *(f"within_{seconds}s" for seconds in STEPS))
        ),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("uq_delivery_rollup_digest"), "delivery_rollup", ["digest"], unique=True)
    op.create_index(op.f("ix_delivery_rollup_hour"), "delivery_rollup", ["hour"])
    op.create_index(op.f("ix_delivery_rollup_day"), "delivery_rollup", ["day"])
    for name, kind in zip(COUNTED, kinds, strict=True):
        op.add_column("sent_message", sa.Column(name, kind))
    for name, kind in zip(STATE, (row, instant, instant), strict=True):
        op.add_column("receiver_state", sa.Column(name, kind))


def downgrade() -> None:
    for table, names in (("receiver_state", STATE), ("sent_message", COUNTED)):
        for name in names:
            op.drop_column(table, name)
    op.drop_table("delivery_rollup")
