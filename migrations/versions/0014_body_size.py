"""How long a callback's body was, where only its head is kept: a day's room is bounded."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    op.add_column("callback", sa.Column("body_size", sa.BigInteger()))


def downgrade() -> None:
    op.drop_column("callback", "body_size")
