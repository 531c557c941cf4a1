"""Erasing numbers and purging rows: where they note what they did.

No lock is held for long. On PostgreSQL a column is added without a default, NOT NULL is dropped
and a CHECK is added that is not tried on the rows there are (`NOT VALID`): none of it reads a
table. On SQLite, which cannot drop NOT NULL, the table's own words are changed in place, as
https://www.sqlite.org/lang_altertable.html (section 7) describes for constraints that go, instead
of copying every message. The old code never sees a NULL there before somebody erases a number.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import context, op
from sqlalchemy.dialects import postgresql

revision = "0008"
down_revision = "0007"

TABLES = ("callback", "delivery_report", "sent_message")
STATE = ("purged_until", "purge_after")
WORDS = "recipient TEXT NOT NULL"
CHECK = "ck_sent_message_erased"
CONDITION = "recipient IS NOT NULL OR erased_at IS NOT NULL"
BEFORE = "CONSTRAINT ck_sent_message_recipient"
ADDED = f"CONSTRAINT {CHECK} CHECK ({CONDITION}), {BEFORE}"


def on_sqlite() -> bool:
    return bool(context.get_context().dialect.name == "sqlite")


def reword(*changes: tuple[str, str]) -> None:
    """Change what SQLite has written down of the table, and have it read that again."""
    words = "sql"
    for old, new in changes:
        words = f"replace({words}, '{old}', '{new}')"
    op.execute("PRAGMA writable_schema = ON")
    table = "type = 'table' AND name = 'sent_message'"
    op.execute(f"UPDATE sqlite_master SET sql = {words} WHERE {table}")
    op.execute("PRAGMA writable_schema = RESET")


def upgrade() -> None:
    instant: Any = (
        sa.String(24) if on_sqlite() else postgresql.TIMESTAMP(timezone=True, precision=3)
    )
    for table in TABLES:
        op.add_column(table, sa.Column("erased_at", instant))
    if on_sqlite():
        reword((WORDS, WORDS.removesuffix(" NOT NULL")), (BEFORE, ADDED))
    else:
        op.alter_column("sent_message", "recipient", nullable=True)
        op.create_check_constraint(
            op.f(CHECK), "sent_message", CONDITION, postgresql_not_valid=True
        )
    # After the above: another schema change, by which other connections see that one, too.
    for name in STATE:
        op.add_column("receiver_state", sa.Column(name, instant))


def downgrade() -> None:
    """Give messages without a number one that is none: sixteen digits and more."""
    none = "CAST(99999999000000000 + id AS TEXT)"
    op.execute(f"UPDATE sent_message SET recipient = {none} WHERE recipient IS NULL")
    if on_sqlite():
        reword((ADDED, BEFORE), (WORDS.removesuffix(" NOT NULL"), WORDS))
    else:
        op.drop_constraint(CHECK, "sent_message")
        op.alter_column("sent_message", "recipient", nullable=False)
    for name in STATE:
        op.drop_column("receiver_state", name)
    for table in TABLES:
        op.drop_column(table, "erased_at")
