"""Store of callbacks and their reports, which only adds.

Functions take a connection inside a write transaction and leave commit and roll-back to the
caller. What they add or change is unsettled (`settled_at` NULL); settling is elsewhere.

How to think about it: a callback is known by its id, a report by the digest of what the provider
said, and whatever is there already changes nothing but a count. So everything may be done twice.
For example, a provider repeats a callback of two reports, since our 200 was lost, with a third
report in it: the callback has a new id and is added; two reports are there by their digests, and
their `repeats` go up by one; the third is added, and waits to be settled. Were it this receiver
that wrote the first callback twice, after a COMMIT whose answer was lost, its id would be there,
and nothing would be counted again.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

import structlog
from sqlalchemy import bindparam, delete, func, or_, select, text, update

from receiver.database import SQLITE, BulkInsert, RaceError, among, halve, is_data, reason, upsert
from receiver.database.tables import NOT_READ, callback, callback_repeat, delivery_report
from receiver.domain import (
    Callback,
    Derived,
    Kept,
    Reading,
    RefusedError,
    Report,
    Status,
    first_id,
)
from receiver.messages.templates import mirror

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from sqlalchemy import Connection


log = structlog.get_logger(__name__)
T = TypeVar("T")

MAX_SUMMED: Final = 50_000
"""The unreadable callbacks whose lengths are added up, at most."""
REMEMBERED: Final = timedelta(days=30)
"""How long the id of each repeat of an unreadable callback is remembered."""

COUNT: Final = (
    update(delivery_report)
    .where(delivery_report.c.digest == bindparam("said"))
    .values(repeats=delivery_report.c.repeats + bindparam("times"))
)


INSERT_CALLBACKS: Final = BulkInsert(
    callback, "ON CONFLICT (id) DO NOTHING", returning="CAST(id AS text)"
)
INSERT_REPORTS: Final = BulkInsert(
    delivery_report, "ON CONFLICT (digest) DO NOTHING", returning="digest"
)


def keep(connection: Connection, readings: Sequence[Reading]) -> list[Kept]:
    """Insert callbacks and their reports; a callback whose id is there changes nothing."""
    unique = {r.callback.id: r for r in readings}
    read = {i: r for i, r in unique.items() if r.outcome != "unreadable"}
    new = set(_insert_callbacks(connection, read))
    others = [i for i in unique if i not in new]
    known_ids = _known_ids(connection, others) if others else set()
    if not known_ids.issuperset(read.keys() - new):
        raise RaceError("the table callback took a row and does not have it; is there a trigger?")
    results: dict[str, Kept] = {i: Kept(id=i, was_there=True) for i in known_ids}
    if unreadable := [unique[i] for i in others if i not in known_ids]:
        results |= _keep_unreadable(connection, unreadable)
    if new:
        arrived = [r for i, r in read.items() if i in new]
        repeats = _insert_reports(connection, arrived)
        _keep_reviews(connection, arrived)
        results |= {i: Kept(id=i, repeats=repeats[i]) for i in new}
    return [results[r.callback.id] for r in readings]


def _insert_callbacks(connection: Connection, readings: Mapping[str, Reading]) -> list[str]:
    """Insert callbacks by their ids, in the order of these; return which were new."""
    if not readings:
        return []
    return INSERT_CALLBACKS(connection, [_callback_row(readings[i]) for i in sorted(readings)])


def can_keep(connection: Connection) -> None:
    """Fail where a callback could not be kept: keep one that nobody sent, and undo that.

    Then write what changes nothing, so that there is something to commit.
    """
    with connection.begin_nested() as trial:
        keep(connection, [_trial()])
        if connection.dialect.name != SQLITE:  # also what would only be looked at in the end
            connection.exec_driver_sql("SET CONSTRAINTS ALL IMMEDIATE")
        trial.rollback()
    connection.exec_driver_sql(
        "UPDATE receiver_state SET oldest_revision = oldest_revision WHERE id = 0"
    )


def _trial() -> Reading:
    """Make a callback that is like no other, so that no other waits for it."""
    arrived = Callback(provider="trial", method="GET")
    report = Report(position=0, message_id=arrived.id, provider_status="trial")
    derived = Derived(status=Status.UNKNOWN, done_at=None, sent_at=None, recipient=None)
    return Reading(callback=arrived, outcome="read", reports=[(report, derived)])


class Transact(Protocol):
    """Does work in a transaction of its own, again where others got in the way."""

    def __call__(self, work: Callable[[Connection], T], /) -> T:
        """Return what the work returns, once it is committed."""


def keep_or_refuse(transact: Transact, readings: Sequence[Reading]) -> list[Kept | Exception]:
    """Keep readings together; where the data is at fault, find the one that is.

    That one is kept as unreadable, without its reports; where even that cannot be, the value is a
    RefusedError. Raises what is not the data's fault: some may be kept then.
    """

    def together(some: Sequence[Reading]) -> Sequence[Kept | Exception]:
        return transact(lambda connection: keep(connection, some))

    return halve(
        readings, together, is_data, lambda one, error: _keep_refused(transact, one, error)
    )


def _keep_refused(transact: Transact, reading: Reading, error: Exception) -> Kept | Exception:
    why = f"The database refused its reports: {reason(error)}"
    log.error("callback refused by the database", callback=reading.callback.id, reason=why)
    refused = Reading(
        callback=reading.callback, outcome="unreadable", error=why, whole=reading.whole
    )
    try:
        return transact(lambda connection: keep(connection, [refused]))[0]
    except Exception as second:
        if not is_data(second):
            raise
        log.error("callback refused whole", callback=reading.callback.id, reason=reason(second))
        return RefusedError(f"The database refuses it: {reason(second)}")


def _keep_reviews(connection: Connection, readings: Iterable[Reading]) -> None:
    """Bring the mirror of templates up to date; a review without a time is as old as its callback.

    Safe to repeat, and in any order.
    """
    reviews = defaultdict(list)
    for reading in readings:
        for review, at in reading.reviews:
            arrived = reading.callback
            reviews[arrived.provider].append((review, at or arrived.received_at))
    for provider in sorted(reviews):
        mirror.review(connection, provider, reviews[provider])


def _known_ids(connection: Connection, ids: list[str]) -> set[str]:
    """Return those of the ids that are in the database."""
    chosen = among(connection.dialect, callback.c.id, ids)
    return set(connection.execute(select(callback.c.id).where(chosen)).scalars())


def _callback_row(reading: Reading) -> dict[str, Any]:
    arrived, whole = reading.callback, reading.whole
    digest = None
    if reading.outcome == "unreadable":
        digest = unreadable_digest(arrived) if whole is None else whole.digest
    return {
        **arrived.as_row(),
        "outcome": reading.outcome,
        "error": reading.error,
        "report_count": len(reading.reports),
        "repeats": 0,
        "digest": digest,
    }


def unreadable_digest(arrived: Callback) -> bytes:
    """Return 16 bytes that are the same for the same request, whenever it came."""
    parts = (arrived.provider, arrived.account, arrived.query)
    content = json.dumps(parts).encode() + b"\0" + arrived.body
    return blake2b(content, digest_size=16).digest()


def _keep_unreadable(connection: Connection, readings: Sequence[Reading]) -> dict[str, Kept]:
    """Keep callbacks that could not be read; bytes that are there already are counted."""
    kept = _counted(connection, [r.callback.id for r in readings])
    statement = upsert(connection, callback).on_conflict_do_update(
        index_elements=["digest"],
        index_where=text("digest IS NOT NULL"),
        set_={"repeats": callback.c.repeats + 1},
    )
    again = []
    rows = {r.callback.id: _callback_row(r) for r in readings}
    for reading in sorted(readings, key=lambda r: rows[r.callback.id]["digest"]):
        arrived, whole = reading.callback, reading.whole
        if arrived.id in kept:
            continue
        row = rows[arrived.id] | {"body_size": whole and whole.size}
        connection.execute(statement, row)
        found = connection.execute(
            select(callback.c.id, callback.c.repeats).where(callback.c.digest == row["digest"])
        ).one()
        kept[arrived.id] = Kept(id=found.id, repeats=found.repeats)
        if found.id != arrived.id:
            again.append(
                {"id": arrived.id, "callback_id": found.id, "received_at": arrived.received_at}
            )
    if again:
        connection.execute(callback_repeat.insert(), again)
        oldest = first_id(datetime.now(UTC) - REMEMBERED)
        connection.execute(delete(callback_repeat).where(callback_repeat.c.id < oldest))
    return kept


def unreadable_bytes(connection: Connection, provider: str, account: str, since: datetime) -> int:
    """Return how many bytes of an account's unreadable bodies are kept that came since a time.

    Of no more than SUMMED, so that it takes no longer on a day of trouble.
    """
    table = callback.c
    lengths = (
        select(func.length(table.body).label("size"))
        .where(
            text(NOT_READ),
            table.outcome == "unreadable",
            table.received_at >= since,
            table.provider == provider,
            table.account == account,
        )
        .limit(MAX_SUMMED)
        .subquery()
    )
    kept = select(func.coalesce(func.sum(lengths.c.size), 0))
    return int(connection.execute(kept).scalar_one())


def _counted(connection: Connection, ids: Sequence[str]) -> dict[str, Kept]:
    """Return those that were counted before, as repeats of another callback."""
    table = callback_repeat.c
    chosen = among(connection.dialect, table.id, ids)
    repeats = connection.execute(select(table.id, table.callback_id).where(chosen))
    return {row.id: Kept(id=row.callback_id, was_there=True) for row in repeats}


def report_row(
    report: Report, derived: Derived, arrived: Callback, digest: bytes
) -> dict[str, Any]:
    """Return a report as the table has it."""
    return {
        "callback_id": arrived.id,
        "provider": arrived.provider,
        "account": arrived.account,
        **report.as_row(),
        "received_at": arrived.received_at,
        "digest": digest,
        "repeats": 0,
        "sent_message_id": None,
        "settled_at": None,
        **derived_columns(derived),
    }


def derived_columns(derived: Derived) -> dict[str, Any]:
    """Return what is derived from a report, as the table has it: times in whole milliseconds."""
    return {
        "recipient": derived.recipient,
        "status": derived.status.value,
        "done_at": derived.done_at,
        "sent_at": derived.sent_at,
    }


def _insert_reports(connection: Connection, readings: Sequence[Reading]) -> Counter[str]:
    """Insert the new reports and count the others; return each callback's number of repeats."""
    rows: dict[bytes, dict[str, Any]] = {}
    said_by: dict[bytes, list[str]] = defaultdict(list)
    for reading in readings:
        for report, derived in reading.reports:
            digest = report.digest(reading.callback.provider)
            said_by[digest].append(reading.callback.id)
            if digest not in rows:
                rows[digest] = report_row(report, derived, reading.callback, digest)
    repeats: Counter[str] = Counter()
    if not rows:
        return repeats
    for digest, row in rows.items():
        row["repeats"] = len(said_by[digest]) - 1
        repeats.update(said_by[digest][1:])
    # In digest order, so that two receivers that keep the same reports wait, and do not deadlock.
    ordered = sorted(rows)
    new = set(INSERT_REPORTS(connection, [rows[digest] for digest in ordered]))
    if before := [digest for digest in ordered if digest not in new]:
        connection.execute(COUNT, [{"said": d, "times": len(said_by[d])} for d in before])
        repeats.update(said_by[d][0] for d in before)
    return repeats


def keep_again(
    connection: Connection,
    reading: Reading,
    gone: Callable[[Report, Derived], bool] = lambda _report, _derived: False,
) -> tuple[int, int]:
    """Keep what a kept callback says when it is read again; return reports added and changed.

    Nothing is counted as a repeat. A report that is new takes over how often the callback's
    bytes came while they were unreadable; one that would be new and is `gone` is not added.
    """
    row = _callback_row(reading)
    names = ("outcome", "error", "report_count", "digest", "body", "redacted")
    same_id = callback.c.id == reading.callback.id
    connection.execute(update(callback).where(same_id).values({name: row[name] for name in names}))
    repeats = connection.execute(select(callback.c.repeats).where(same_id)).scalar_one()
    _keep_reviews(connection, [reading])
    added = changed = 0
    for report, derived in reading.reports:
        digest = report.digest(reading.callback.provider)
        values = report_row(report, derived, reading.callback, digest) | {"repeats": repeats}
        if not gone(report, derived) and INSERT_REPORTS(connection, [values]):
            added += 1
            continue
        table = delivery_report.c
        columns = derived_columns(derived)
        differs = or_(*(table[name].is_distinct_from(value) for name, value in columns.items()))
        changed += connection.execute(
            update(delivery_report)
            .where(table.digest == digest, differs)
            .values(columns | {"settled_at": None})
        ).rowcount
    return added, changed
