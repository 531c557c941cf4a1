"""Erasure of a phone number from everything that is kept: tables, raw callbacks, spool files.

Rows stay, so that every count, status and roll-up stays what it was. A number becomes NULL, an id
that names it and every digest of the row a random value; in texts and bodies it is replaced by an
18-digit placeholder, which no phone number can be. `erased_at` says that this was done: settling
leaves the link of such a report as it is, and replay adds none of them again.

Callbacks go first, so that no replay says again what a report no longer does; reports before their
messages, since their links are then fixed. Cut off anywhere, what is done is right, and the next
run does the rest.
"""

from __future__ import annotations

import os
import secrets
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import func, select, update

from receiver.database import READ, among, portions, transact
from receiver.database.tables import (
    callback,
    delivery_report,
    delivery_rollup,
    message_template,
    sent_message,
)
from receiver.domain import MAX_ID
from receiver.ingest.spool import salvage, spool
from receiver.maintenance.number_pattern import NumberPattern
from receiver.settling import settle

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine, RowMapping, Table

    from receiver.settings import Settings


CHUNK_ROWS: Final = 1000
"""The rows that are read together at most; fewer where they are long."""

Progress = Callable[[int], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchedTable:
    """A table that may hold a number, and its columns by what becomes of them when they do."""

    table: Table
    chunk: int = CHUNK_ROWS
    numbers: Sequence[str] = ()
    ids: Sequence[str] = ()
    texts: Sequence[str] = ()
    bodies: Sequence[str] = ()
    digests: Sequence[str] = ()

    @property
    def names(self) -> Sequence[str]:
        """Return the names of the columns that are searched."""
        return (*self.numbers, *self.ids, *self.texts, *self.bodies, *self.digests)

    @property
    def columns(self) -> list[Any]:
        """Return what is to be read, the id first."""
        return [self.table.c[name] for name in ("id", *self.names)]


SEARCHED_TABLES: Final = (
    SearchedTable(
        table=callback,
        texts=("query", "content_type", "error"),
        bodies=("body",),
        digests=("digest",),
    ),
    SearchedTable(
        table=delivery_report,
        numbers=("recipient", "provider_recipient"),
        ids=("transaction_id", "message_id"),
        texts=("sender", "provider_status", "provider_code", "provider_description",
               "provider_time", "provider_sent_time", "callback_data"),
        digests=("digest",),
    ),
    SearchedTable(
        table=sent_message,
        numbers=("recipient",),
        ids=("transaction_id", "message_id"),
        texts=("sender", "tag", "reference", "template_id", "error"),
        digests=("refusal_key",),
    ),
    SearchedTable(table=delivery_rollup, texts=("sender", "tag"), digests=("digest",)),
    SearchedTable(table=message_template, texts=("name", "content", "approval_message")),
)  # fmt: skip
"""Every table that may hold a recipient's number, in the order in which they are gone through."""

EXEMPT_COLUMNS: Final[Mapping[str, Sequence[str]]] = {
    "the name of a provider, one of ours": (
        "callback.provider", "delivery_report.provider", "sent_message.provider",
        "message_template.provider", "account_credit.provider", "delivery_rollup.provider",
        "activity_rollup.provider", "refusal.provider", "alarm.provider",
    ),
    "the name of an account, as the business calls it": (
        "callback.account", "delivery_report.account", "sent_message.account",
        "account_credit.account", "delivery_rollup.account", "activity_rollup.account",
        "refusal.account", "alarm.account",
    ),
    "one of a list of words of ours": (
        "callback.method", "callback.outcome", "delivery_report.status", "sent_message.status",
        "sent_message.counted_as", "message_template.approval", "refusal.reason", "alarm.name",
        "alarm.state", "receiver_setting.setting",
    ),
    "an hour or a day": (
        "delivery_rollup.hour", "delivery_rollup.day", "activity_rollup.hour", "refusal.hour",
    ),
    "the address of who called, which is a provider's or a stranger's": (
        "callback.remote_addr", "refusal.address",
    ),
    "what a provider calls a template, which is no message's, or a kind of credit": (
        "message_template.template_id", "message_template.template_type",
        "message_template.msg_type", "message_template.sign_id", "account_credit.credit_type",
    ),
    "sentences of ours, into which no number of a report is taken": (
        "alarm.sentence", "alarm.advice",
    ),
    "what receivers say of themselves": (
        "receiver_setting.receiver", "receiver_setting.value", "alarm_watch.holder",
        "spool_state.place", "spool_state.trouble", "receiver_state.oldest_revision",
        "event_destination.holder", "event_destination.problem",
    ),
    "how a setting calls a destination of events": (
        "event_destination.name", "event_set_aside.destination",
    ),
}  # fmt: skip
"""Every other column of text or bytes, as `table.column`, by why no number stands there."""


@dataclass(slots=True)
class Erased:
    """What was done: rows by table, and spooled callbacks; spool files that were not looked into.

    `held` are those of running receivers, `damaged` those that were set aside.
    """

    rows: Counter[str] = field(default_factory=Counter)
    spooled: int = 0
    held: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)


def erase_all(
    engine: Engine, settings: Settings, number: str, *, progress: Progress | None = None
) -> Erased:
    """Erase a number, digits with country code, from database and spool files; say where it was.

    What takes its place is made with a key that is forgotten: nobody can compare it with a number.
    """
    pattern = NumberPattern(number, secrets.token_bytes(32))
    done = Erased()
    if settings.spool_path:
        _erase_spooled(Path(settings.spool_path).absolute(), pattern, done)
    done.rows = erase(engine, pattern, progress=progress)
    return done


def _erase_spooled(path: Path, pattern: NumberPattern, done: Erased) -> None:
    """Erase the number from spool files first: what is brought in meanwhile is found later."""
    files, aside = spool.files(path)
    done.damaged = [file.name for file in aside]
    for file in files:
        changed = salvage.rewrite(file, pattern.without_callback)
        if changed is None:
            done.held.append(file.name)
        else:
            done.spooled += changed


def erase(
    engine: Engine, pattern: NumberPattern, *, progress: Progress | None = None
) -> Counter[str]:
    """Erase a number from the database; return how many rows of each table named it.

    Each portion with a row to change is a transaction of its own. `progress` is told how many
    rows each portion looked at.
    """
    settle.settle_all(engine)  # what belongs together is linked before it loses what shows it
    changed: Counter[str] = Counter()
    for searched in SEARCHED_TABLES:
        for rows in _row_portions(engine, searched):
            planned = {
                row["id"]: (row, new) for row in rows if (new := _changes(searched, row, pattern))
            }
            if planned:
                changed[searched.table.name] += _erase(engine, searched, planned, pattern)
            if progress is not None:
                progress(len(rows))
    return changed


def count_rows(engine: Engine) -> int:
    """Return how many rows `erase` looks at."""
    with engine.execution_options(**READ).connect() as connection:
        return sum(
            connection.execute(select(func.count()).select_from(searched.table)).scalar_one()
            for searched in SEARCHED_TABLES
        )


def count_messages(engine: Engine, number: str) -> int:
    """Return how many messages went to a number, digits with country code."""
    sent_there = sent_message.c.recipient == number
    with engine.execution_options(**READ).connect() as connection:
        counted = select(func.count()).select_from(sent_message).where(sent_there)
        return connection.execute(counted).scalar_one()


def _row_portions(engine: Engine, searched: SearchedTable) -> Iterator[Sequence[RowMapping]]:
    """Return all rows of a table, in the order of their ids, those that come meanwhile too."""
    after: tuple[Any, ...] | None = None
    while True:
        with engine.execution_options(**READ).connect() as connection:
            keys = portions.next_keys(connection, searched.table, after, searched.chunk)
            if not keys:
                return
            chosen = portions.between(searched.table, engine.dialect, after, keys[-1])
            statement = select(*searched.columns).where(*chosen).order_by(searched.table.c.id)
            rows = connection.execute(statement).mappings().all()
        yield rows
        after = keys[-1]


def _erase(
    engine: Engine,
    searched: SearchedTable,
    planned: Mapping[Any, tuple[RowMapping, dict[str, Any]]],
    pattern: NumberPattern,
) -> int:
    """Change rows, each as it is when its turn comes; return how many.

    What becomes of a row was found out before: looking through a body of megabytes takes seconds,
    and whoever writes would wait for the lock meanwhile.
    """
    id_ = searched.table.c.id

    def work(connection: Connection) -> int:
        chosen = among(connection.dialect, id_, planned)
        now = select(*searched.columns).where(chosen).order_by(id_).with_for_update()
        done = 0
        for row in connection.execute(now).mappings().all():
            before, values = planned[row["id"]]
            if row != before:
                values = _changes(searched, row, pattern)
            if values:
                connection.execute(update(searched.table).where(id_ == row["id"]).values(values))
                done += 1
        return done

    return transact(engine, work)


def _changes(searched: SearchedTable, row: RowMapping, pattern: NumberPattern) -> dict[str, Any]:
    """Return the new values of a row that names the number; nothing for any other."""
    texts = [row[name] for name in (*searched.numbers, *searched.ids, *searched.texts)]
    # One look at all of them: NUL is in none, and is no gap in a number.
    in_texts = pattern.names("\0".join(text for text in texts if text is not None))
    if not in_texts and not any(pattern.in_body(row[name]) for name in searched.bodies):
        return {}
    named = {
        name
        for name in (*searched.numbers, *searched.ids, *searched.texts)
        if row[name] is not None and pattern.names(row[name])
    }
    values: dict[str, Any] = {name: None for name in searched.numbers if name in named}
    values |= {name: pattern.token(row[name]) for name in searched.ids if name in named}
    seed = str(row["id"]) if searched.bodies else ""
    for name in searched.texts:
        if name in named:
            text = pattern.without(row[name], seed)
            values[name] = text[: max(MAX_ID, len(row[name]))]
    values |= {
        name: pattern.without_body(row[name], seed)
        for name in searched.bodies
        if pattern.in_body(row[name])
    }
    values |= {name: os.urandom(16) for name in searched.digests if row[name] is not None}
    if "erased_at" in searched.table.c:
        values["erased_at"] = datetime.now(UTC)
    return values
