"""Tables of what was sent: messages, templates, and the credit that is left."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    LargeBinary,
    Table,
    Text,
    text,
)

from receiver.database.column_types import Credit, DatabaseNow, Instant, RowId
from receiver.database.tables.base import (
    INTERNAL,
    PROVIDER_CHECK,
    erased_at,
    index,
    listed,
    metadata,
    name_check,
    row_id,
    time_checks,
)
from receiver.domain import UNFINISHED, Approval, Status

UNFINISHED_ONLY: Final = f"status IN ({listed(*UNFINISHED)})"
"""The messages that are not final, worded as their index has it: so SQLite uses the index."""


sent_message = Table(
    "sent_message",
    metadata,
    row_id(),
    Column("provider", Text, nullable=False),
    Column("account", Text, nullable=False, server_default=""),
    Column("transaction_id", Text),
    Column("message_id", Text),
    Column("recipient", Text),
    Column("sender", Text),
    Column("tag", Text),
    Column("reference", Text),
    Column("credit", Credit),
    Column("sent_at", Instant, nullable=False, server_default=DatabaseNow()),
    Column("recorded_at", Instant, nullable=False, server_default=DatabaseNow()),
    Column("error", Text),
    Column("refusal_key", LargeBinary),
    Column("status", Text, nullable=False, server_default=Status.ACCEPTED.value),
    Column("done_at", Instant),
    Column("report_id", RowId),
    Column("conflicting", Boolean, nullable=False, server_default=text("false")),
    Column("changed_at", Instant),
    Column("settled_at", Instant),
    # Neither checked nor indexed: nothing is matched by it, and the table is big already.
    Column("template_id", Text),
    # Which row of delivery_rollup counts the message, and what it added there: what is to be taken
    # out again when it changes. NULL: it is not counted yet.
    Column("rollup_id", RowId, info={INTERNAL: True}),
    Column("counted_as", Text, info={INTERNAL: True}),
    Column("counted_credit", BigInteger, info={INTERNAL: True}),
    Column("counted_milliseconds", BigInteger, info={INTERNAL: True}),
    erased_at(),
    Column("counted_reported_credit", BigInteger, info={INTERNAL: True}),
    CheckConstraint(PROVIDER_CHECK, name="provider"),
    CheckConstraint(
        "length(recipient) <= 200 AND (error IS NOT NULL OR (recipient <> ''"
        " AND trim(recipient, '0123456789') = '' AND substr(recipient, 1, 1) <> '0'))",
        name="recipient",
    ),
    # Not valid on PostgreSQL: so it was added without a look at every row, and holds all the same.
    CheckConstraint("recipient IS NOT NULL OR erased_at IS NOT NULL", name="erased"),
    CheckConstraint(
        "error IS NOT NULL OR message_id IS NOT NULL OR transaction_id IS NOT NULL", name="id"
    ),
    name_check("message_id"),
    name_check("transaction_id"),
    CheckConstraint("length(account) <= 200", name="account"),
    CheckConstraint("length(sender) <= 200", name="sender"),
    CheckConstraint("length(tag) <= 200", name="tag"),
    CheckConstraint("length(reference) <= 200", name="reference"),
    CheckConstraint(f"status IN ({listed(*Status)})", name="status"),
    # Where `error` is set and `status` left to its default, settling makes it rejected.
    CheckConstraint(
        "report_id IS NOT NULL OR status = 'accepted'"
        " OR (status = 'rejected' AND error IS NOT NULL)",
        name="first_status",
    ),
    CheckConstraint("length(refusal_key) = 16", name="refusal_key"),
    *time_checks("sent_at", "recorded_at", "done_at", "changed_at", "settled_at"),
    sqlite_autoincrement=True,
)

# What the provider has; `mirrored_at` is when it said so, `approval_at` when that was decided or
# read. A template that is gone stays, since messages name it.
message_template = Table(
    "message_template",
    metadata,
    row_id(),
    Column("provider", Text, nullable=False),
    Column("template_id", Text, nullable=False),
    Column("name", Text),
    Column("content", Text),
    Column("template_type", Text),
    Column("msg_type", Text),
    Column("sign_id", Text),
    Column("approval", Text),
    Column("approval_message", Text),
    Column("approval_at", Instant),
    Column("created_at", Instant),
    Column("updated_at", Instant),
    Column("mirrored_at", Instant),
    Column("deleted_at", Instant),
    CheckConstraint(PROVIDER_CHECK, name="provider"),
    name_check("template_id"),
    CheckConstraint(f"approval IN ({listed(*Approval)})", name="approval"),
    *time_checks("approval_at", "created_at", "updated_at", "mirrored_at", "deleted_at"),
    sqlite_autoincrement=True,
)

# What is left of an account's credit, by what the provider calls that kind of credit ('' where it
# does not say), as the answer to the latest sending told it.
account_credit = Table(
    "account_credit",
    metadata,
    Column("provider", Text, primary_key=True),
    Column("account", Text, primary_key=True),
    Column("credit_type", Text, primary_key=True),
    Column("remaining", Credit, nullable=False),
    Column("seen_at", Instant, nullable=False),
    CheckConstraint(PROVIDER_CHECK, name="provider"),
    *time_checks("seen_at"),
)
UNTIMED: Final = (
    "done_at IS NULL AND provider_time IS NOT NULL"
    " OR sent_at IS NULL AND provider_sent_time IS NOT NULL"
)
"""Which reports hold a time that cannot be read, as their index has it."""

index("uq_message_template_template_id", message_template, "template_id", "provider", unique=True)

index(
    "uq_sent_message_message_id",
    sent_message,
    "message_id",
    "recipient",
    "provider",
    "account",
    where="message_id IS NOT NULL",
    unique=True,
)
index(
    "uq_sent_message_transaction_id",
    sent_message,
    "transaction_id",
    "recipient",
    "provider",
    "account",
    where="message_id IS NULL AND transaction_id IS NOT NULL",
    unique=True,
)
index(
    "uq_sent_message_refusal_key",
    sent_message,
    "refusal_key",
    where="refusal_key IS NOT NULL",
    unique=True,
)
index(
    "ix_sent_message_transaction_id_recipient",
    sent_message,
    "transaction_id",
    "recipient",
    where="transaction_id IS NOT NULL",
)
index("ix_sent_message_recipient", sent_message, "recipient")
index("ix_sent_message_reference", sent_message, "reference", where="reference IS NOT NULL")
index("ix_sent_message_sent_at", sent_message, "sent_at")
index(
    "ix_sent_message_changed_at", sent_message, "changed_at", "id", where="changed_at IS NOT NULL"
)
index(
    "ix_sent_message_unfinished",
    sent_message,
    "sent_at",
    where=UNFINISHED_ONLY,
)
index("ix_sent_message_conflicting", sent_message, "id", where="conflicting")
index("ix_sent_message_unsettled", sent_message, "id", where="settled_at IS NULL")
index(
    "ix_sent_message_ahead",
    sent_message,
    "sent_at",
    "done_at",
    where="done_at < sent_at",
    later=True,
)
