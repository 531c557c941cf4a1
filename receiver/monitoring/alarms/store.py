"""State of alarms, the lease on evaluating them, and the states of spools, as tables.

Functions work inside the caller's transaction.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import and_, delete, or_, select, update

from receiver.database import DatabaseNow, upsert
from receiver.database.tables import alarm, alarm_watch, spool_state
from receiver.domain import Alarm, AlarmKey, State

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import Connection, Row


KEY: Final = list(AlarmKey._fields)
SPOOL_STATE_FOR: Final = timedelta(hours=1)
"""How long the state that a process stored of its spool is believed."""
GONE_SENTENCE: Final = "Nothing is known of it any more."


def take_lease(connection: Connection, holder: str, seconds: float) -> bool:
    """Take or renew the lease on evaluating alarms; False where another process has it.

    A lease and not a lock, which would have to be held while RECEIVER_ALARM_URL is waited for.
    """
    now = clock(connection)
    row = {"holder": holder, "held_until": now + timedelta(seconds=seconds)}
    mine_or_free = or_(alarm_watch.c.holder == holder, alarm_watch.c.held_until <= now)
    statement = (
        upsert(connection, alarm_watch)
        .values(id=1, **row)
        .on_conflict_do_update(index_elements=["id"], set_=row, where=mine_or_free)
        .returning(alarm_watch.c.id)
    )
    return connection.execute(statement).first() is not None


def release_lease(connection: Connection, holder: str) -> None:
    """End the lease, so that another process may evaluate at once."""
    connection.execute(
        update(alarm_watch)
        .where(alarm_watch.c.holder == holder)
        .values(held_until=clock(connection))
    )


def clock(connection: Connection) -> datetime:
    """Return the database's time, in UTC."""
    now: datetime = connection.execute(select(DatabaseNow())).scalar_one()
    return now


def update_states(connection: Connection, evaluated: Iterable[Alarm]) -> list[Alarm]:
    """Store the alarms as they were evaluated; return those newly raised, or no longer raised.

    A stored alarm that is not among them becomes unknown, and is deleted once that was notified.
    """
    now = clock(connection)
    stored = {_key(row): row for row in connection.execute(select(alarm).with_for_update())}
    alarms = {each.key: each for each in evaluated}
    for key in stored.keys() - alarms.keys():
        if stored[key].told_at is None:
            connection.execute(delete(alarm).where(_is(key)))
        else:
            alarms[key] = key.not_known(GONE_SENTENCE)
    changed = []
    for key, each in sorted(alarms.items()):
        old = stored.get(key)
        row: dict[str, Any] = {
            "state": each.state.value,
            "sentence": each.sentence,
            "advice": each.advice,
            "since": each.since,
        }
        if old is not None and _alarm(old) == each:
            continue
        if old is None or old.state != each.state:
            row["changed_at"] = now
            if each.is_raised or (old is not None and old.state == State.RAISED):
                changed.append(each)
        _write(connection, key, row, new=old is None)
    return changed


def _write(connection: Connection, key: AlarmKey, row: dict[str, Any], *, new: bool) -> None:
    if new:
        connection.execute(upsert(connection, alarm).values(**key._asdict(), **row))
    else:
        connection.execute(update(alarm).where(_is(key)).values(**row))


def latest(connection: Connection) -> list[Alarm]:
    """Return the alarms as they were last evaluated."""
    return [_alarm(row) for row in connection.execute(select(alarm).order_by(*map(_column, KEY)))]


def raised_since(connection: Connection) -> dict[AlarmKey, datetime]:
    """Return the raised alarms, and since when each is, in UTC."""
    raised = select(alarm).where(alarm.c.state == State.RAISED.value)
    return {_key(row): row.since for row in connection.execute(raised)}


def unnotified(connection: Connection) -> list[Alarm]:
    """Return the alarms that nobody was notified of: raised now, or no longer raised."""
    table = alarm.c
    is_raised = table.state == State.RAISED.value
    pending = or_(
        and_(is_raised, table.told_at.is_(None)), and_(~is_raised, table.told_at.is_not(None))
    )
    rows = connection.execute(select(alarm).where(pending).order_by(table.changed_at, table.name))
    return [_alarm(row) for row in rows]


def mark_notified(connection: Connection, notified: Alarm) -> None:
    """Store that this state of an alarm was notified."""
    told_at = clock(connection) if notified.is_raised else None
    connection.execute(update(alarm).where(_is(notified.key)).values(told_at=told_at))


def write_spool_state(connection: Connection, place: str, held: dict[str, Any] | None) -> None:
    """Store the state of a process's spool; None deletes it, since the spool is empty."""
    if held is None:
        connection.execute(delete(spool_state).where(spool_state.c.place == place))
        return
    row = held | {"seen_at": clock(connection)}
    statement = upsert(connection, spool_state).values(place=place, **row)
    connection.execute(statement.on_conflict_do_update(index_elements=["place"], set_=row))


def forget_spools(connection: Connection) -> None:
    """Delete the states of spools whose processes are long gone: others have their files."""
    old = clock(connection) - SPOOL_STATE_FOR
    connection.execute(delete(spool_state).where(spool_state.c.seen_at < old))


def spools(connection: Connection) -> Sequence[Row[Any]]:
    """Return the stored states of spools; an empty spool has none."""
    return connection.execute(select(spool_state).order_by(spool_state.c.place)).all()


def lease_until(connection: Connection) -> datetime | None:
    """Return until when the lease is held, in UTC; None where nobody ever took it."""
    return connection.execute(select(alarm_watch.c.held_until)).scalar_one_or_none()


def _key(row: Row[Any]) -> AlarmKey:
    return AlarmKey(row.name, row.provider, row.account)


def _alarm(row: Row[Any]) -> Alarm:
    return Alarm(
        **_key(row)._asdict(),
        state=State(row.state),
        sentence=row.sentence,
        advice=row.advice,
        since=row.since,
    )


def _column(name: str) -> Any:
    return alarm.c[name]


def _is(key: AlarmKey) -> Any:
    return and_(*(_column(name) == value for name, value in key._asdict().items()))
