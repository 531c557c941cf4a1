"""Applications that are told of what changed, how far each is, and what it refused.

New tables that nothing else needs, empty at first. The old code, while it still runs, does not look
here.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import context, op
from sqlalchemy.dialects import postgresql

revision = "0015"
down_revision = "0014"

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

    row_id: Any = sa.Integer() if sqlite else sa.BigInteger()

    def zero(name: str, kind: Any) -> sa.Column[Any]:
        return sa.Column(name, kind, server_default=sa.text("0"), nullable=False)

    op.create_table(
        "event_destination",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("cursor_at", instant),
        zero("cursor_id", row_id),
        sa.Column("until_at", instant),
        sa.Column("until_id", row_id),
        *(zero(name, sa.BigInteger()) for name in ("replays", "sent", "failed")),
        zero("failures", sa.Integer()),
        sa.Column("problem", sa.Text()),
        *(sa.Column(name, instant) for name in ("retry_at", "taken_at", "off_at")),
        sa.Column("holder", sa.Text()),
        sa.Column("held_until", instant),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_event_destination")),
        *times(
            "event_destination",
            *("cursor_at", "until_at", "retry_at", "taken_at", "off_at", "held_until"),
        ),
    )
    op.create_table(
        "event_set_aside",
        sa.Column("destination", sa.Text(), nullable=False),
        sa.Column("sent_message_id", row_id, autoincrement=False, nullable=False),
        sa.Column("status", sa.Integer()),
        sa.Column("set_aside_at", instant),
        sa.Column("replay_at", instant),
        sa.PrimaryKeyConstraint("destination", "sent_message_id", name=op.f("pk_event_set_aside")),
        *times("event_set_aside", "set_aside_at", "replay_at"),
    )


def downgrade() -> None:
    for table in ("event_set_aside", "event_destination"):
        op.drop_table(table)
