"""Rebuild: deriving again from what is kept, after a parser, a word or a zone changed.

What a provider said never changes; what we make of it may. Both functions work in bounded
transactions, may be cut off and run again, and change nothing where nothing is to be changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import bindparam, func, select, update
from sqlalchemy.exc import IntegrityError

from receiver.database import READ, among, retry
from receiver.database.tables import delivery_report, sent_message
from receiver.domain import msisdn
from receiver.ingest import store
from receiver.maintenance import retention
from receiver.maintenance.changes import Change, Changes
from receiver.settling import settle
from receiver.statistics import bangkok, delivery_rollup

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine, RowMapping

    from receiver.ingest import Interpreter


CHUNK_ROWS: Final = 1000
"""The callbacks, messages or reports that one transaction reads, at most."""
DERIVED: Final = ("status", "done_at", "sent_at", "recipient")
KINDS = REPORT, TIME, NUMBER, LINK, MESSAGE = ("report", "time", "number", "link", "message")
"""What changes: what a report means, a time or the number in it, its message; or a message."""
VALUES: Final = {"done_at": TIME, "sent_at": TIME, "recipient": NUMBER}

DIGITS_WITHOUT_ZERO: Final = 9
"""Digits of a Thai mobile number whose 0 was lost."""

Progress = Callable[[int], object]


@dataclass(slots=True)
class Rebuilt:
    """What was looked at, and what changed: statuses, and links. It stays small.

    An example of a report is its callback's id, one of a message its own. `changed_rollups` are
    rows of the roll-ups that did not count what the messages say.
    """

    messages: int = 0
    changes: Changes = field(default_factory=Changes)
    changed_rollups: int = 0

    @property
    def changed_reports(self) -> int:
        """How many reports mean something else."""
        return self.changes.total(REPORT)

    @property
    def changed_times(self) -> int:
        """How many times in reports are read otherwise, or at last, or not any more."""
        return self.changes.total(TIME)

    @property
    def changed_numbers(self) -> int:
        """How many phone numbers in reports are."""
        return self.changes.total(NUMBER)

    @property
    def changed_links(self) -> int:
        """How many reports belong to another message, or to one at last, or to none any more."""
        return self.changes.total(LINK)

    @property
    def changed_messages(self) -> int:
        """How many messages have another status."""
        return self.changes.total(MESSAGE)


class _Undo(Exception):  # noqa: N818 - no error: how a dry run ends a transaction
    """Roll back what was only tried."""


def rebuild(
    engine: Engine,
    interpreter: Interpreter,
    *,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> Rebuilt:
    """Derive every report, every link and every message's status again, under today's tables.

    First message by message with all reports that concern it, then the reports that concern
    none, then the roll-ups of every hour that still has messages. With `dry_run` each step is
    rolled back, and only counted. `progress` is told how many messages and reports each step did.
    """
    done = Rebuilt()
    unmatched = delivery_report.c.sent_message_id.is_(None)
    steps = (
        (_chunks(engine, sent_message), _concerned),
        (_chunks(engine, delivery_report, unmatched), _themselves),
    )
    for chunks, choose in steps:
        for ids in chunks:

            def work(
                connection: Connection, ids: list[int] = ids, choose: Chooser = choose
            ) -> Changes:
                settle.lock_settling(connection)
                chosen = choose(connection, ids)
                return _derive_again(connection, *chosen, interpreter, tried=dry_run)

            done.changes.merge(in_transaction(engine, work, dry_run=dry_run))
            done.messages += len(ids) if choose is _concerned else 0
            if progress is not None:
                progress(len(ids))
    done.changed_rollups = _count_again(engine, dry_run=dry_run)
    return done


def _count_again(engine: Engine, *, dry_run: bool) -> int:
    """Make the roll-ups of each hour equal to its messages; return how many rows differed."""
    differed = 0
    before: datetime | None = None
    while True:
        with engine.execution_options(**READ).connect() as connection:
            begins = bangkok.next_hour(connection, before)
            purged = retention.purged_until(connection)
        if begins is None:
            return differed

        # Where messages may have been deleted the roll-ups know of more than there is.
        some = before is None or (purged is not None and begins < purged)

        def work(connection: Connection, begins: datetime = begins, some: bool = some) -> int:
            settle.lock_settling(connection)
            return delivery_rollup.remake(connection, begins, some=some)

        differed += in_transaction(engine, work, dry_run=dry_run)
        before = begins


Chooser = Callable[["Connection", list[int]], tuple[list[int], list[int]]]


def _concerned(connection: Connection, ids: list[int]) -> tuple[list[int], list[int]]:
    """Return messages, and every report whose match may change because of them."""
    return ids, list(settle.affected_reports(connection, ids))


def _themselves(_connection: Connection, ids: list[int]) -> tuple[list[int], list[int]]:
    """Return reports alone."""
    return [], ids


def _derive_again(
    connection: Connection,
    messages: list[int],
    reports: list[int],
    interpreter: Interpreter,
    *,
    tried: bool,
) -> Changes:
    """Derive the reports, then settle them and the messages as if they were new.

    What is only `tried` is found again in every step that it concerns: then only that step tells
    of a report which has its message, or the last one where it had none.
    """
    done, own = Changes(), set(messages)
    before = {row["id"]: row for row in _rows(connection, reports)}
    reported = [row for row in before.values() if not tried or _is_of(row, own)]
    derived = {id_: _derived(row, interpreter) for id_, row in before.items()}
    for row in reported:
        for change in _reread_as(row, derived[row["id"]]):
            done.add(change, str(row["callback_id"]))
    _write_derived(connection, before, derived)
    for id_, provider in _mended(connection, messages):
        change = Change(NUMBER, provider, "a number", "another number")
        done.add(change, f"sent_message {id_}")
    for kind, ids in ((delivery_report, reports), (sent_message, messages)):
        chosen = among(connection.dialect, kind.c.id, ids)
        connection.execute(update(kind).where(chosen).values(settled_at=None))
    statuses: dict[int, tuple[str, str]] = {}
    while (settled := settle.settle(connection)).messages or settled.reports:
        statuses |= settled.changes
    after = {row["id"]: row["sent_message_id"] for row in _rows(connection, reports)}
    for row in reported:
        old, new = row["sent_message_id"], after[row["id"]]
        if new != old:
            change = Change(LINK, row["provider"], *_became(old, new, MESSAGE))
            done.add(change, str(row["callback_id"]))
    changed = [id_ for id_ in statuses if id_ in own or not tried]
    for id_, provider, example in _named(connection, changed):
        done.add(Change(MESSAGE, provider, *statuses[id_]), example)
    return done


def _mended(connection: Connection, messages: list[int]) -> Iterator[tuple[int, str]]:
    """Give messages recorded without the 0 of a Thai number that number; return their providers.

    Reports name the whole number, and so would never find them. A message that was recorded again
    with it stays as it is.
    """
    table = sent_message.c
    short = select(table.id, table.provider, table.recipient).where(
        among(connection.dialect, table.id, messages),
        func.length(table.recipient) == DIGITS_WITHOUT_ZERO,
        table.error.is_(None),
    )
    for row in connection.execute(short).all():
        number = msisdn(row.recipient)
        if number in {None, row.recipient}:
            continue
        change = update(sent_message).where(table.id == row.id).values(recipient=number)
        try:
            with connection.begin_nested():
                connection.execute(change)
        except IntegrityError:
            continue
        yield row.id, row.provider


def _write_derived(
    connection: Connection, before: Mapping[int, RowMapping], derived: Mapping[int, dict[str, Any]]
) -> None:
    """Write what is derived from reports where it is not what they have."""
    changes = [
        {"row": id_} | {f"new_{name}": derived[id_][name] for name in DERIVED}
        for id_, row in before.items()
        if any(derived[id_][name] != row[name] for name in DERIVED)
    ]
    if changes:
        values: dict[str, Any] = {name: bindparam(f"new_{name}") for name in DERIVED}
        of_row = delivery_report.c.id == bindparam("row")
        connection.execute(update(delivery_report).where(of_row).values(values), changes)


def _is_of(report: RowMapping, messages: set[int]) -> bool:
    """Say whether a report had one of the messages; without any, whether it had none."""
    linked = report["sent_message_id"]
    return linked in messages if messages else linked is None


def _reread_as(row: RowMapping, derived: Mapping[str, Any]) -> Iterator[Change]:
    """Return what is read otherwise in a report."""
    if derived["status"] != row["status"]:
        yield Change(REPORT, row["provider"], row["status"], derived["status"])
    for name, kind in VALUES.items():
        if derived[name] != row[name]:
            yield Change(kind, row["provider"], *_became(row[name], derived[name], kind))


def _became(old: object, new: object, kind: str) -> tuple[str, str]:
    """Say what a report had, and has now, without saying which."""
    if new is None:
        return f"a {kind}", "none"
    return ("none", f"a {kind}") if old is None else (f"a {kind}", f"another {kind}")


def _named(connection: Connection, ids: list[int]) -> Iterator[tuple[int, str, str]]:
    """Return messages with their providers and a name that holds no phone number."""
    table = sent_message.c
    columns = table.id, table.provider, table.message_id, table.transaction_id, table.recipient
    chosen = among(connection.dialect, table.id, ids)
    for row in connection.execute(select(*columns).where(chosen).order_by(table.id)):
        # EngageLab makes ids of the number (documented); its end is the same however written.
        number = (row.recipient or "")[-8:]
        names = (row.message_id, row.transaction_id)
        safe = (name for name in names if name and number and number not in name)
        yield row.id, row.provider, next(safe, f"sent_message {row.id}")


def _rows(connection: Connection, ids: list[int]) -> Iterator[RowMapping]:
    id_ = delivery_report.c.id
    chosen = select(delivery_report).where(among(connection.dialect, id_, ids)).order_by(id_)
    yield from connection.execute(chosen).mappings()


def _derived(row: RowMapping, interpreter: Interpreter) -> dict[str, Any]:
    derived = interpreter.derive(
        row["provider"],
        row["provider_status"],
        row["provider_time"],
        row["provider_sent_time"],
        row["provider_recipient"],
        arrived=row["received_at"],
    )
    return store.derived_columns(derived)


def count_rows(engine: Engine) -> int:
    """Return how many rows `rebuild` looks at, about."""
    unmatched = delivery_report.c.sent_message_id.is_(None)
    with engine.execution_options(**READ).connect() as connection:
        messages = connection.execute(select(func.count()).select_from(sent_message)).scalar_one()
        reports = connection.execute(
            select(func.count()).select_from(delivery_report).where(unmatched)
        ).scalar_one()
    return messages + reports


def _chunks(engine: Engine, table: Any, *where: Any) -> Iterator[list[int]]:
    after = 0
    while True:
        statement = (
            select(table.c.id)
            .where(table.c.id > after, *where)
            .order_by(table.c.id)
            .limit(CHUNK_ROWS)
        )
        with engine.execution_options(**READ).connect() as connection:
            ids = list(connection.execute(statement).scalars())
        if not ids:
            return
        yield ids
        after = ids[-1]


def in_transaction(engine: Engine, work: Callable[[Connection], Any], *, dry_run: bool) -> Any:
    """Do work in a transaction, and take it back where it is only tried."""
    result: list[Any] = []

    def once() -> None:
        result.clear()
        with engine.begin() as connection:
            result.append(work(connection))
            if dry_run:
                raise _Undo

    with suppress(_Undo):
        retry(once)
    return result[0]
