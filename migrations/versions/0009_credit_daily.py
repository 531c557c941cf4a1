"""Credit by what became of the messages, ours and the reports'; the view credit_daily.

No lock is held for long: the column of `sent_message` has no default and no check, and
`delivery_rollup` is small. The settling hand adds what the new columns lack of the messages that
are there already, newest first: message by message what reports tell (`uncounted_to`), hour by
hour what messages have noted already (`uncredited_before`). The old code, while it still runs,
leaves the new columns alone: what it settles meanwhile `receiver rebuild` adds.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import context, op
from sqlalchemy.dialects import postgresql

revision = "0009"
down_revision = "0008"

CREDITS = (
    "delivered_credit",
    "failed_credit",
    "reported",
    "reported_credit",
    "reported_delivered_credit",
    "reported_failed_credit",
    "compared",
    "credit_difference",
)


def upgrade() -> None:
    for name in CREDITS:
        column = sa.Column(name, sa.BigInteger(), nullable=False, server_default=sa.text("0"))
        op.add_column("delivery_rollup", column)
    op.add_column("sent_message", sa.Column("counted_reported_credit", sa.BigInteger()))
    sqlite = context.get_context().dialect.name == "sqlite"
    instant: Any = sa.String(24) if sqlite else postgresql.TIMESTAMP(timezone=True, precision=3)
    op.add_column("receiver_state", sa.Column("uncredited_before", instant))
    op.execute(
        "UPDATE receiver_state SET uncounted_to = NULL,"
        " uncredited_before = '9999-01-01 00:00:00.000Z'"
        " WHERE EXISTS (SELECT 1 FROM delivery_rollup)"
    )


def downgrade() -> None:
    op.drop_column("receiver_state", "uncredited_before")
    op.drop_column("sent_message", "counted_reported_credit")
    for name in CREDITS:
        op.drop_column("delivery_rollup", name)
