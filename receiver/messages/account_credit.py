"""Account credit that is left, as answers to send calls state it.

Of several answers the one to the latest sending stays, whoever records them and in what order.
Functions work inside the caller's write transaction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import and_, or_, select

from receiver.database import among, upsert
from receiver.database.tables import account_credit, sent_message

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime
    from decimal import Decimal

    from sqlalchemy import Connection

    from receiver.domain import SentMessage


KEY: Final = ("provider", "account", "credit_type")


def store_latest(
    connection: Connection, provider: str, recorded: Sequence[tuple[int, SentMessage]]
) -> None:
    """Store what was left of the credit after the latest of these messages, by their rows.

    A sending is as late as its message's `sent_at`, or `recorded_at` where it is scheduled for
    later: both stay when the same is recorded again, which therefore changes nothing. Of two at one
    time the one that left less is the later.
    """
    balances = [
        (row, (message.account, message.credit_type or ""), -message.remaining)
        for row, message in recorded
        if message.remaining is not None
    ]
    times = dict(_times(connection, sorted({row for row, _, _ in balances})))
    latest: dict[tuple[str, str], tuple[datetime, Decimal]] = {}
    for row, key, less in balances:
        candidate = times[row], less
        latest[key] = max(latest.get(key, candidate), candidate)
    # In one order, so that two who write the same wait, and do not deadlock.
    rows = [
        dict(zip(KEY, (provider, *key), strict=True)) | {"seen_at": seen_at, "remaining": -less}
        for key, (seen_at, less) in sorted(latest.items())
    ]
    if rows:
        _write(connection, rows)


def _times(connection: Connection, ids: Sequence[int]) -> Iterator[tuple[int, datetime]]:
    """Return when the message of each row was handed over."""
    table = sent_message.c
    chosen = among(connection.dialect, table.id, ids)
    times = select(table.id, table.sent_at, table.recorded_at).where(chosen)
    for row in connection.execute(times):
        yield row.id, min(row.sent_at, row.recorded_at)


def _write(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    stored, statement = account_credit.c, upsert(connection, account_credit)
    new = statement.excluded
    later = or_(
        new.seen_at > stored.seen_at,
        and_(new.seen_at == stored.seen_at, new.remaining < stored.remaining),
    )
    changes = {"remaining": new.remaining, "seen_at": new.seen_at}
    connection.execute(
        statement.on_conflict_do_update(index_elements=KEY, set_=changes, where=later), rows
    )
