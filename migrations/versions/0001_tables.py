"""The tables, their checks and their indexes.

Standing warning: no long locks (PostgreSQL indexes on big tables CONCURRENTLY), and the old code
must survive this while it still runs. Import nothing of ours here. A column that strangers' SQL
reads is never changed or dropped without an issue that says so. Views are made anew after every
upgrade (migrations/env.py).
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import context, op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None

STATUSES = (
    "'unknown', 'accepted', 'enroute', 'delivered', 'undeliverable', 'expired', 'rejected',"
    " 'deleted'"
)
PROVIDER = "provider <> '' AND provider = lower(provider)"
SQLITE_INSTANT = (
    "{0} GLOB '[0-9][0-9][0-9][0-9]-[01][0-9]-[0-3][0-9]"
    " [0-2][0-9]:[0-5][0-9]:[0-5][0-9].[0-9][0-9][0-9]Z' AND {0} >= '0001'"
    " AND strftime('%Y-%m-%d %H:%M:%S', substr({0}, 1, 19), '+0 days') IS substr({0}, 1, 19)"
)
POSTGRESQL_INSTANT = "{0} >= '0001-01-01 00:00Z' AND {0} < '10000-01-01 00:00Z'"


class Types:
    """The column types and defaults of the database at hand."""

    def __init__(self) -> None:
        self.sqlite = context.get_context().dialect.name == "sqlite"
        self.instant: Any = (
            sa.String(24) if self.sqlite else postgresql.TIMESTAMP(timezone=True, precision=3)
        )
        self.key: Any = sa.String(36) if self.sqlite else postgresql.UUID()
        self.row: Any = sa.Integer() if self.sqlite else sa.BigInteger()
        self.now = sa.text(
            "(strftime('%Y-%m-%d %H:%M:%fZ', 'now'))" if self.sqlite else "clock_timestamp()"
        )

    def row_id(self) -> sa.Column[Any]:
        """Make a row id that is never used again."""
        return sa.Column("id", self.row, sa.Identity(always=True), primary_key=True)

    def instants(self, table: str, *columns: str) -> list[sa.CheckConstraint]:
        """Refuse what is no time in UTC with milliseconds, and what Python cannot read."""
        condition = SQLITE_INSTANT if self.sqlite else POSTGRESQL_INSTANT
        return [check(table, c, condition.format(c)) for c in columns]


def check(table: str, name: str, condition: str) -> sa.CheckConstraint:
    """Make a named CHECK."""
    return sa.CheckConstraint(condition, name=op.f(f"ck_{table}_{name}"))


def index(name: str, table: str, *columns: str, where: str = "", unique: bool = False) -> None:
    """Make an index, partial where `where` is given."""
    partial: dict[str, Any] = {"sqlite_where": sa.text(where), "postgresql_where": sa.text(where)}
    op.create_index(op.f(name), table, list(columns), unique=unique, **(partial if where else {}))


def upgrade() -> None:
    types = Types()
    callback(types)
    delivery_report(types)
    sent_message(types)
    op.create_table(
        "receiver_state",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("oldest_revision", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_receiver_state")),
        check("receiver_state", "one", "id = 1"),
    )
    op.execute("INSERT INTO receiver_state (id, oldest_revision) VALUES (1, '0001')")


def callback(types: Types) -> None:
    op.create_table(
        "callback",
        sa.Column("id", types.key, nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False, server_default=""),
        sa.Column("received_at", types.instant, nullable=False, server_default=types.now),
        sa.Column("remote_addr", sa.Text(), nullable=False, server_default=""),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("query", sa.Text(), nullable=False, server_default=""),
        sa.Column("content_type", sa.Text(), nullable=False, server_default=""),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("redacted", sa.Boolean(), nullable=False, server_default=sa.text("false")),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("error", sa.Text()),
        sa.Column("report_count", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("repeats", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("digest", sa.LargeBinary()),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_callback")),
        check("callback", "provider", PROVIDER),
        check("callback", "outcome", "outcome IN ('read', 'partial', 'unreadable')"),
        *types.instants("callback", "received_at"),
    )
    index("uq_callback_digest", "callback", "digest", where="digest IS NOT NULL", unique=True)
    index("ix_callback_outcome", "callback", "outcome", "received_at", where="outcome <> 'read'")


def delivery_report(types: Types) -> None:
    name = "delivery_report"
    op.create_table(
        name,
        types.row_id(),
        sa.Column("callback_id", types.key, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False, server_default=""),
        sa.Column("transaction_id", sa.Text()),
        sa.Column("message_id", sa.Text()),
        sa.Column("recipient", sa.Text()),
        sa.Column("sender", sa.Text()),
        sa.Column("provider_status", sa.Text(), nullable=False),
        sa.Column("provider_code", sa.Text()),
        sa.Column("provider_description", sa.Text()),
        sa.Column("provider_time", sa.Text()),
        sa.Column("provider_sent_time", sa.Text()),
        sa.Column("provider_recipient", sa.Text()),
        sa.Column("credit", sa.Numeric(12, 4)),
        sa.Column("callback_data", sa.Text()),
        sa.Column("received_at", types.instant, nullable=False, server_default=types.now),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("repeats", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("done_at", types.instant),
        sa.Column("sent_at", types.instant),
        sa.Column("sent_message_id", types.row),
        sa.Column("settled_at", types.instant),
        check(name, "provider", PROVIDER),
        check(name, "id", "message_id IS NOT NULL OR transaction_id IS NOT NULL"),
        check(name, "message_id", "length(message_id) BETWEEN 1 AND 200"),
        check(name, "transaction_id", "length(transaction_id) BETWEEN 1 AND 200"),
        check(name, "status", f"status IN ({STATUSES})"),
        check(name, "digest", "length(digest) = 16"),
        *types.instants(name, "received_at", "done_at", "sent_at", "settled_at"),
        sqlite_autoincrement=True,
    )
    index("uq_delivery_report_digest", name, "digest", unique=True)
    index("ix_delivery_report_message_id", name, "message_id", where="message_id IS NOT NULL")
    index(
        "ix_delivery_report_transaction_id_recipient",
        name,
        "transaction_id",
        "recipient",
        where="transaction_id IS NOT NULL",
    )
    index(
        "ix_delivery_report_sent_message_id",
        name,
        "sent_message_id",
        where="sent_message_id IS NOT NULL",
    )
    index("ix_delivery_report_received_at", name, "received_at")
    index("ix_delivery_report_unmatched", name, "received_at", where="sent_message_id IS NULL")
    index("ix_delivery_report_unsettled", name, "id", where="settled_at IS NULL")


def sent_message(types: Types) -> None:
    name = "sent_message"
    op.create_table(
        name,
        types.row_id(),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False, server_default=""),
        sa.Column("transaction_id", sa.Text()),
        sa.Column("message_id", sa.Text()),
        sa.Column("recipient", sa.Text(), nullable=False),
        sa.Column("sender", sa.Text()),
        sa.Column("tag", sa.Text()),
        sa.Column("reference", sa.Text()),
        sa.Column("credit", sa.Numeric(12, 4)),
        sa.Column("sent_at", types.instant, nullable=False, server_default=types.now),
        sa.Column("recorded_at", types.instant, nullable=False, server_default=types.now),
        sa.Column("error", sa.Text()),
        sa.Column("refusal_key", sa.LargeBinary()),
        sa.Column("status", sa.Text(), nullable=False, server_default="accepted"),
        sa.Column("done_at", types.instant),
        sa.Column("report_id", types.row),
        sa.Column("conflicting", sa.Boolean(), nullable=False, server_default=sa.text("false")),
        sa.Column("changed_at", types.instant),
        sa.Column("settled_at", types.instant),
        check(name, "provider", PROVIDER),
        check(
            name,
            "recipient",
            "length(recipient) <= 200 AND (error IS NOT NULL OR (recipient <> ''"
            " AND trim(recipient, '0123456789') = '' AND substr(recipient, 1, 1) <> '0'))",
        ),
        check(
            name, "id", "error IS NOT NULL OR message_id IS NOT NULL OR transaction_id IS NOT NULL"
        ),
        check(name, "message_id", "length(message_id) BETWEEN 1 AND 200"),
        check(name, "transaction_id", "length(transaction_id) BETWEEN 1 AND 200"),
        *(check(name, c, f"length({c}) <= 200") for c in ("account", "sender", "tag", "reference")),
        check(name, "status", f"status IN ({STATUSES})"),
        check(
            name,
            "first_status",
            "report_id IS NOT NULL OR status = 'accepted'"
            " OR (status = 'rejected' AND error IS NOT NULL)",
        ),
        check(name, "refusal_key", "length(refusal_key) = 16"),
        *types.instants(name, "sent_at", "recorded_at", "done_at", "changed_at", "settled_at"),
        sqlite_autoincrement=True,
    )
    with_message_id = "message_id IS NOT NULL"
    key = ("recipient", "provider", "account")
    index(
        "uq_sent_message_message_id", name, "message_id", *key, where=with_message_id, unique=True
    )
    index(
        "uq_sent_message_transaction_id",
        name,
        "transaction_id",
        *key,
        where="message_id IS NULL AND transaction_id IS NOT NULL",
        unique=True,
    )
    index(
        "uq_sent_message_refusal_key",
        name,
        "refusal_key",
        where="refusal_key IS NOT NULL",
        unique=True,
    )
    index(
        "ix_sent_message_transaction_id_recipient",
        name,
        "transaction_id",
        "recipient",
        where="transaction_id IS NOT NULL",
    )
    index("ix_sent_message_recipient", name, "recipient")
    index("ix_sent_message_reference", name, "reference", where="reference IS NOT NULL")
    index("ix_sent_message_sent_at", name, "sent_at")
    index("ix_sent_message_changed_at", name, "changed_at", "id", where="changed_at IS NOT NULL")
    index(
        "ix_sent_message_unfinished",
        name,
        "sent_at",
        where="status IN ('unknown', 'accepted', 'enroute')",
    )
    index("ix_sent_message_conflicting", name, "id", where="conflicting")
    index("ix_sent_message_unsettled", name, "id", where="settled_at IS NULL")


def downgrade() -> None:
    for table in ("receiver_state", "sent_message", "delivery_report", "callback"):
        op.drop_table(table)
