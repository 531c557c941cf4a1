"""How far each destination is, as the tables `event_destination` and `event_set_aside` have it.

Functions work inside the caller's transaction. Times are the database's.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import and_, delete, func, or_, select, update

from receiver.database import DatabaseNow, upsert
from receiver.database.tables import event_destination, event_set_aside
from receiver.domain import EventError
from receiver.messages import FeedPosition, lookup

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from sqlalchemy import ColumnElement, Connection, Row


LEASE: Final = timedelta(seconds=6)
"""How long one receiver alone sends to a destination, beyond the last sign of it."""

_table = event_destination.c
_aside = event_set_aside.c


class Standing(NamedTuple):
    """One destination as an operator sees it.

    `lag_seconds` is the age of the oldest change that is still to be sent, 0 where there is none;
    `replaying` are messages that wait to be sent again.
    """

    row: Row[Any]
    lag_seconds: float
    set_aside: int
    replaying: int


def clock(connection: Connection) -> datetime:
    """Return the database's time."""
    now: datetime = connection.execute(select(DatabaseNow())).scalar_one()
    return now


def find(connection: Connection, name: str) -> Row[Any] | None:
    """Return how far a destination is; None where it is new."""
    return connection.execute(select(event_destination).where(_table.name == name)).one_or_none()


def begin(connection: Connection, name: str) -> None:
    """Let a new destination begin with the next change: what was before, it can be told again."""
    end = lookup.latest_change(connection)
    values = {} if end is None else {"cursor_at": end.at, "cursor_id": end.id}
    connection.execute(
        upsert(connection, event_destination).values(name=name, **values).on_conflict_do_nothing()
    )


def cursor(row: Row[Any]) -> FeedPosition | None:
    """Return up to where everything was sent; None for nothing."""
    return None if row.cursor_at is None else FeedPosition(row.cursor_at, row.cursor_id)


def until(row: Row[Any]) -> FeedPosition | None:
    """Return where the batch ends that is under way; None where none is."""
    return None if row.until_at is None else FeedPosition(row.until_at, row.until_id)


def claim(connection: Connection, seen: Row[Any], holder: str, **values: Any) -> bool:
    """Be the one who sends to a destination; say whether nobody else is, nor has sent meanwhile."""
    now = clock(connection)
    statement = (
        update(event_destination)
        .where(
            _unchanged(seen),
            _table.off_at.is_(None),
            or_(_table.holder == holder, _table.held_until.is_(None), _table.held_until <= now),
        )
        .values(holder=holder, held_until=now + LEASE, **values)
    )
    return connection.execute(statement).rowcount == 1


def renew(connection: Connection, name: str, holder: str) -> None:
    """Go on being the one who sends to a destination, where that is still so."""
    now = clock(connection)
    connection.execute(
        update(event_destination)
        .where(_table.name == name, _table.holder == holder, _table.held_until > now)
        .values(held_until=now + LEASE)
    )


def give_back(connection: Connection, holder: str) -> None:
    """Let another receiver send at once."""
    connection.execute(
        update(event_destination).where(_table.holder == holder).values(held_until=None)
    )


def finish(connection: Connection, seen: Row[Any], holder: str, **values: Any) -> bool:
    """Write down what came of a batch, unless somebody else has it by now; say whether."""
    statement = (
        update(event_destination)
        .where(_unchanged(seen), _table.holder == holder)
        .values(held_until=clock(connection) + LEASE, **values)
    )
    return connection.execute(statement).rowcount == 1


def _unchanged(seen: Row[Any]) -> ColumnElement[bool]:
    return and_(
        _table.name == seen.name,
        _table.cursor_at.is_not_distinct_from(seen.cursor_at),
        _table.cursor_id == seen.cursor_id,
        _table.replays == seen.replays,
    )


def set_aside(connection: Connection, name: str, message: int, status: int) -> None:
    """Put a message aside that a destination refused with this status."""
    row = {"status": status, "set_aside_at": clock(connection), "replay_at": None}
    connection.execute(
        upsert(connection, event_set_aside)
        .values(destination=name, sent_message_id=message, **row)
        .on_conflict_do_update(index_elements=["destination", "sent_message_id"], set_=row)
    )


def take_back(connection: Connection, name: str, messages: Collection[int]) -> None:
    """Forget that messages were set aside, or were to be sent again: they were taken, or are gone.

    What it is now is what the destination was told.
    """
    connection.execute(
        delete(event_set_aside).where(
            _aside.destination == name, _aside.sent_message_id.in_(messages)
        )
    )


def replayed(connection: Connection, name: str, limit: int) -> Sequence[Row[Any]]:
    """Return what is to be sent again, message by message, what was asked for first before."""
    return connection.execute(
        select(event_set_aside)
        .where(_aside.destination == name, _aside.replay_at.is_not(None))
        .order_by(_aside.replay_at, _aside.sent_message_id)
        .limit(limit)
    ).all()


def replay_since(connection: Connection, name: str, since: datetime) -> None:
    """Send everything again that changed since an aware time, and all after it."""
    now = clock(connection)
    found = _must_be_there(connection, name)
    if found.cursor_at is None or found.cursor_at < since:
        return  # all that is to be sent again is still to be sent
    connection.execute(
        update(event_destination)
        .where(_table.name == name)
        .values(
            cursor_at=min(since, now), cursor_id=-1, until_at=None, until_id=None,
            replays=_table.replays + 1,
        )
    )  # fmt: skip


def replay(connection: Connection, name: str, messages: Collection[int]) -> None:
    """Send these messages again, as they are now."""
    _must_be_there(connection, name)
    now = clock(connection)
    if messages:
        connection.execute(
            upsert(connection, event_set_aside)
            .values([
                {"destination": name, "sent_message_id": id_, "replay_at": now}
                for id_ in sorted(messages)
            ])
            .on_conflict_do_update(
                index_elements=["destination", "sent_message_id"], set_={"replay_at": now}
            )
        )  # fmt: skip


def replay_set_aside(connection: Connection, name: str) -> int:
    """Send again what was set aside; return how many messages that is."""
    _must_be_there(connection, name)
    return connection.execute(
        update(event_set_aside)
        .where(_aside.destination == name, _aside.replay_at.is_(None))
        .values(replay_at=clock(connection))
    ).rowcount


def resume(connection: Connection, name: str) -> None:
    """Send at once again, also where a destination is off."""
    _must_be_there(connection, name)
    connection.execute(
        update(event_destination)
        .where(_table.name == name)
        .values(off_at=None, retry_at=None, failures=0, problem=None)
    )


def _must_be_there(connection: Connection, name: str) -> Row[Any]:
    found = find(connection, name)
    if found is None:
        raise EventError(f"{name}: nothing was sent there yet. Run `receiver serve` with it first.")
    return found


def standings(connection: Connection) -> dict[str, Standing]:
    """Return how far every destination is that there ever was, by name."""
    now = clock(connection)
    counted = select(
        _aside.destination, func.count(_aside.set_aside_at), func.count(_aside.replay_at)
    ).group_by(_aside.destination)
    aside = {name: counts for name, *counts in connection.execute(counted)}
    found = {}
    for row in connection.execute(select(event_destination).order_by(_table.name)):
        first = lookup.next_change(connection, cursor(row))
        lag = 0.0 if first is None else max(0.0, (now - first).total_seconds())
        found[row.name] = Standing(row, lag, *aside.get(row.name, (0, 0)))
    return found


COLUMNS: Final = ("name", "state", "lag", "sent", "failed", "aside", "taken_at", "problem")
"""What is shown of a destination, in this order."""


def shown(found: Standing) -> dict[str, Any]:
    """Return what is shown of a destination, by column; `lag` is in whole seconds."""
    row = found.row
    state = "off" if row.off_at else "trying again" if row.failures else "on"
    return {
        "name": row.name, "state": state, "lag": round(found.lag_seconds), "sent": row.sent,
        "failed": row.failed, "aside": found.set_aside, "taken_at": row.taken_at,
        "problem": row.problem,
    }  # fmt: skip


def replay_named(connection: Connection, name: str, sought: Sequence[str]) -> int:
    """Send messages again by their ids at the provider, or their references; return how many.

    Raises EventError where one names no message: then nothing is sent again.
    """
    ids: set[int] = set()
    for word in sought:
        rows = lookup.named(connection, word)
        if not rows:
            raise EventError("--id: no message has this id or reference. Nothing is sent again.")
        ids.update(rows)
    replay(connection, name, ids)
    return len(ids)
