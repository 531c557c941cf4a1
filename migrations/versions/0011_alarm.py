"""Alarms as they stand, who looks after them, and what spools hold.

New tables that nothing else needs, empty at first. The old code, while it still runs, does not look
here.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import context, op
from sqlalchemy.dialects import postgresql

revision = "0011"
down_revision = "0010"

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

    def times(table: str, *names: str) -> list[sa.CheckConstraint]:
        return [
            sa.CheckConstraint(condition.format(name), name=op.f(f"ck_{table}_{name}"))
            for name in names
        ]

    op.create_table(
        "alarm",
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("name", "provider", "account")),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("state", "sentence", "advice")),
        sa.Column("since", instant),
        sa.Column("changed_at", instant, nullable=False),
        sa.Column("told_at", instant),
        sa.PrimaryKeyConstraint("name", "provider", "account", name=op.f("pk_alarm")),
        sa.CheckConstraint(
            "state IN ('raised', 'clear', 'not known')", name=op.f("ck_alarm_state")
        ),
        *times("alarm", "since", "changed_at", "told_at"),
    )
    op.create_table(
        "alarm_watch",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("held_until", instant, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alarm_watch")),
        sa.CheckConstraint("id = 1", name=op.f("ck_alarm_watch_one")),
        *times("alarm_watch", "held_until"),
    )
    op.create_table(
        "spool_state",
        sa.Column("place", sa.Text(), nullable=False),
        *(
            sa.Column(name, sa.BigInteger(), nullable=False)
            for name in ("callbacks", "refused", "set_aside")
        ),
        sa.Column("trouble", sa.Text()),
        sa.Column("seen_at", instant, nullable=False),
        sa.PrimaryKeyConstraint("place", name=op.f("pk_spool_state")),
        *times("spool_state", "seen_at"),
    )


def downgrade() -> None:
    for table in ("spool_state", "alarm_watch", "alarm"):
        op.drop_table(table)
