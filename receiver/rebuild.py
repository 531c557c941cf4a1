"""Deriving again from what is kept: after a parser was mended, a word was mapped, a zone changed.

What a provider said never changes; what we make of it may. Both functions work in bounded
transactions, may be cut off and run again, and change nothing where nothing is to be changed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import bindparam, func, select, update
from sqlalchemy.exc import IntegrityError

from receiver import pipeline, portions, retention, rollup, settle, store
from receiver.callback import Callback
from receiver.changes import Change, Changes
from receiver.database import READ, again
from receiver.models import callback, delivery_report, sent_message
from receiver.report import msisdn
from receiver.traces import was_erased

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine, RowMapping

    from receiver.pipeline import Interpreter
    from receiver.report import Report
    from receiver.store import Derived

CHUNK: Final = 1000
"""Callbacks, messages or reports that one transaction looks at."""
REREAD: Final = ("unreadable", "partial")
"""The outcomes that are worth another try when nothing else is asked for."""
DERIVED: Final = ("status", "done_at", "sent_at", "recipient")
KINDS = REPORT, TIME, NUMBER, LINK, MESSAGE = ("report", "time", "number", "link", "message")
"""What changes: what a report means, a time or the number in it, its message; or a message."""
VALUES: Final = {"done_at": TIME, "sent_at": TIME, "recipient": NUMBER}

WITHOUT_ZERO: Final = 9
"""Digits of a Thai mobile number whose 0 was lost."""

Progress = Callable[[int], object]


@dataclass(slots=True)
class Replayed:
    """What came of reading callbacks again: how many by outcome, and what the reports were."""

    outcomes: Counter[str] = field(default_factory=Counter)
    new_reports: int = 0
    changed_reports: int = 0

    @property
    def callbacks(self) -> int:
        """How many were read again."""
        return self.outcomes.total()


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


def replay(
    engine: Engine,
    interpreter: Interpreter,
    message_text: str,
    *,
    ids: Sequence[str] = (),
    outcomes: Sequence[str] = REREAD,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> Replayed:
    """Read kept callbacks again: those with the ids, else all with the outcomes.

    New reports are added, derived columns of known ones rewritten; nothing is counted as a
    repeat. `progress` is told how many callbacks each step did.
    """
    done = Replayed()
    for rows in _callbacks(engine, ids, outcomes):

        def work(connection: Connection, rows: Sequence[RowMapping] = rows) -> Replayed:
            return _reread(connection, [_arrived(row) for row in rows], interpreter, message_text)

        part = _do(engine, work, dry_run=dry_run)
        done.outcomes += part.outcomes
        done.new_reports += part.new_reports
        done.changed_reports += part.changed_reports
        if progress is not None:
            progress(len(rows))
    if not dry_run:
        settle.settle_all(engine)
    return done


def count_callbacks(
    engine: Engine, *, ids: Sequence[str] = (), outcomes: Sequence[str] = REREAD
) -> int:
    """Return how many callbacks `replay` would read."""
    with engine.execution_options(**READ).connect() as connection:
        counted = select(func.count()).select_from(callback).where(_chosen(ids, outcomes))
        return connection.execute(counted).scalar_one()


def _chosen(ids: Sequence[str], outcomes: Sequence[str]) -> Any:
    """Choose callbacks that are there whole: the head of a body may read as something else."""
    chosen = callback.c.id.in_(ids) if ids else callback.c.outcome.in_(outcomes)
    return chosen & callback.c.body_size.is_(None)


def _callbacks(
    engine: Engine, ids: Sequence[str], outcomes: Sequence[str]
) -> Iterator[Sequence[RowMapping]]:
    """Return the chosen callbacks, oldest first, a few at a time: a body may be megabytes."""
    after: portions.Place | None = None
    chosen = [_chosen(ids, outcomes)]
    while True:
        with engine.execution_options(**READ).connect() as connection:
            places = portions.next_places(connection, callback, after, CHUNK // 50, where=chosen)
            if not places:
                return
            found = select(callback).where(callback.c.id.in_([id_ for (id_,) in places]))
            rows = connection.execute(found.order_by(callback.c.id)).mappings().all()
        if rows:
            yield rows
        after = places[-1]


def _arrived(row: RowMapping) -> Callback:
    names = ("provider", "method", "body", "query", "content_type", "account", "remote_addr")
    return Callback(
        id=row["id"],
        received_at=row["received_at"],
        redacted=row["redacted"],
        **{name: row[name] for name in names},
    )


def _reread(
    connection: Connection, arrived: Sequence[Callback], interpreter: Interpreter, message_text: str
) -> Replayed:
    done = Replayed()
    purged = retention.purged_until(connection)
    for kept in arrived:

        def gone(report: Report, derived: Derived, kept: Callback = kept) -> bool:
            at = derived.sent_at or derived.done_at or kept.received_at
            return was_erased(report) or (purged is not None and at < purged)

        # What was redacted once stays so, even where texts are kept by now.
        reading = (
            pipeline.read(kept, interpreter)
            if kept.redacted
            else pipeline.receive(kept, interpreter, message_text)
        )
        new, changed = store.keep_again(connection, reading, gone)
        done.outcomes[reading.outcome] += 1
        done.new_reports += new
        done.changed_reports += changed
    return done


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
                settle.take_hand(connection)
                chosen = choose(connection, ids)
                return _derive_again(connection, *chosen, interpreter, tried=dry_run)

            done.changes.merge(_do(engine, work, dry_run=dry_run))
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
            begins = rollup.next_hour(connection, before)
            purged = retention.purged_until(connection)
        if begins is None:
            return differed

        # Where messages may have been deleted the roll-ups know of more than there is.
        some = before is None or (purged is not None and begins < purged)

        def work(connection: Connection, begins: datetime = begins, some: bool = some) -> int:
            settle.take_hand(connection)
            return rollup.remake(connection, begins, some=some)

        differed += _do(engine, work, dry_run=dry_run)
        before = begins


Chooser = Callable[["Connection", list[int]], tuple[list[int], list[int]]]


def _concerned(connection: Connection, ids: list[int]) -> tuple[list[int], list[int]]:
    """Return messages, and every report they may win or lose."""
    return ids, list(settle.concerned(connection, ids))


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
    told = [row for row in before.values() if not tried or _is_of(row, own)]
    derived = {id_: _derived(row, interpreter) for id_, row in before.items()}
    for row in told:
        for change in _reread_as(row, derived[row["id"]]):
            done.add(change, str(row["callback_id"]))
    _write_derived(connection, before, derived)
    for id_, provider in _mended(connection, messages):
        change = Change(NUMBER, provider, "a number", "another number")
        done.add(change, f"sent_message {id_}")
    for kind, ids in ((delivery_report, reports), (sent_message, messages)):
        for some in _portions(ids):
            connection.execute(update(kind).where(kind.c.id.in_(some)).values(settled_at=None))
    statuses: dict[int, tuple[str, str]] = {}
    while (settled := settle.settle(connection)).messages or settled.reports:
        statuses |= settled.changes
    after = {row["id"]: row["sent_message_id"] for row in _rows(connection, reports)}
    for row in told:
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
    for some in _portions(messages):
        short = table.id.in_(some), func.length(table.recipient) == WITHOUT_ZERO
        found = select(table.id, table.provider, table.recipient).where(
            *short, table.error.is_(None)
        )
        for row in connection.execute(found).all():
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
        there = delivery_report.c.id == bindparam("row")
        connection.execute(update(delivery_report).where(there).values(values), changes)


def _is_of(report: RowMapping, messages: set[int]) -> bool:
    """Say whether a report had one of the messages; without any, whether it had none."""
    linked = report["sent_message_id"]
    return linked in messages if messages else linked is None


def _reread_as(row: RowMapping, derived: Mapping[str, Any]) -> Iterator[Change]:
    """Return what is read otherwise in a report."""
    if derived["status"] != row["status"]:
        yield Change(REPORT, row["provider"], row["status"], derived["status"])
    for name, what in VALUES.items():
        if derived[name] != row[name]:
            yield Change(what, row["provider"], *_became(row[name], derived[name], what))


def _became(old: object, new: object, what: str) -> tuple[str, str]:
    """Say what a report had, and has now, without saying which."""
    if new is None:
        return f"a {what}", "none"
    return ("none", f"a {what}") if old is None else (f"a {what}", f"another {what}")


def _named(connection: Connection, ids: list[int]) -> Iterator[tuple[int, str, str]]:
    """Return messages with their providers and a name that holds no phone number."""
    table = sent_message.c
    columns = table.id, table.provider, table.message_id, table.transaction_id, table.recipient
    for some in _portions(ids):
        found = select(*columns).where(table.id.in_(some)).order_by(table.id)
        for row in connection.execute(found):
            # EngageLab makes ids of the number (documented); its end is the same however written.
            number = (row.recipient or "")[-8:]
            names = (row.message_id, row.transaction_id)
            safe = (name for name in names if name and number and number not in name)
            yield row.id, row.provider, next(safe, f"sent_message {row.id}")


def _rows(connection: Connection, ids: list[int]) -> Iterator[RowMapping]:
    for some in _portions(ids):
        statement = select(delivery_report).where(delivery_report.c.id.in_(some))
        yield from connection.execute(statement.order_by(delivery_report.c.id)).mappings().all()


def _portions(ids: list[int]) -> Iterator[list[int]]:
    return (ids[i : i + CHUNK] for i in range(0, len(ids), CHUNK))


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
            select(table.c.id).where(table.c.id > after, *where).order_by(table.c.id).limit(CHUNK)
        )
        with engine.execution_options(**READ).connect() as connection:
            ids = list(connection.execute(statement).scalars())
        if not ids:
            return
        yield ids
        after = ids[-1]


def _do(engine: Engine, work: Callable[[Connection], Any], *, dry_run: bool) -> Any:
    """Do work in a transaction, and take it back where it is only tried."""
    result: list[Any] = []

    def once() -> None:
        result.clear()
        with engine.begin() as connection:
            result.append(work(connection))
            if dry_run:
                raise _Undo

    with suppress(_Undo):
        again(once)
    return result[0]
