"""Message templates, and which one a message used.

The new column of `sent_message` is NULL and has no check and no index: on PostgreSQL either would
read the whole table while it is locked. The version before this one names its columns when it
inserts, so it goes on working.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context, op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"

TABLE = "message_template"
SQLITE_INSTANT = (
    "{0} GLOB '[0-9][0-9][0-9][0-9]-[01][0-9]-[0-3][0-9]"
    " [0-2][0-9]:[0-5][0-9]:[0-5][0-9].[0-9][0-9][0-9]Z' AND {0} >= '0001'"
    " AND strftime('%Y-%m-%d %H:%M:%S', substr({0}, 1, 19), '+0 days') IS substr({0}, 1, 19)"
)
POSTGRESQL_INSTANT = "{0} >= '0001-01-01 00:00Z' AND {0} < '10000-01-01 00:00Z'"


def check(name: str, condition: str) -> sa.CheckConstraint:
    """Make a named CHECK."""
    return sa.CheckConstraint(condition, name=op.f(f"ck_{TABLE}_{name}"))


def upgrade() -> None:
    sqlite = context.get_context().dialect.name == "sqlite"
    instant = sa.String(24) if sqlite else postgresql.TIMESTAMP(timezone=True, precision=3)
    condition = SQLITE_INSTANT if sqlite else POSTGRESQL_INSTANT
    times = ("approval_at", "created_at", "updated_at", "mirrored_at", "deleted_at")
    op.create_table(
        TABLE,
        sa.Column(
            "id",
            sa.Integer() if sqlite else sa.BigInteger(),
            sa.Identity(always=True),
            primary_key=True,
        ),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("template_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text()),
        sa.Column("content", sa.Text()),
        sa.Column("template_type", sa.Text()),
        sa.Column("msg_type", sa.Text()),
        sa.Column("sign_id", sa.Text()),
        sa.Column("approval", sa.Text()),
        sa.Column("approval_message", sa.Text()),
        *(sa.Column(name, instant) for name in times),
        check("provider", "provider <> '' AND provider = lower(provider)"),
        check("template_id", "length(template_id) BETWEEN 1 AND 200"),
        check("approval", "approval IN ('pending', 'approved', 'rejected', 'unsubmitted')"),
        *(check(name, condition.format(name)) for name in times),
        sqlite_autoincrement=True,
    )
    op.create_index(
        op.f("uq_message_template_template_id"), TABLE, ["template_id", "provider"], unique=True
    )
    op.add_column("sent_message", sa.Column("template_id", sa.Text()))


def downgrade() -> None:
    op.drop_column("sent_message", "template_id")
    op.drop_table(TABLE)
