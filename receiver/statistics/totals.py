"""Messages counted since a time by what became of them: from the roll-ups, and exactly.

The hour that the time cuts, and what settling has not counted yet, are counted from the messages
themselves. While an upgrade's messages are still being counted, all are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import bindparam, func, select, text

from receiver.database import COUNTS, PIECES, Instant
from receiver.database.tables import delivery_rollup, receiver_state, sent_message
from receiver.domain import EPOCH, GROUPS, HOUR
from receiver.statistics.bangkok import hour_of
from receiver.statistics.delivery_rollup import OTHER_TAGS
from receiver.statistics.groups import delivery_rate

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import Connection


COUNTED: Final = ("submitted", *GROUPS)
DIMENSIONS: Final = ("provider", "account", "sender", "tag", "hour", "day")

ALL: Final = "m.sent_at >= :since AND m.sent_at <= {now}"
# What messages are counted one by one where the roll-ups count the others. `coalesce` keeps SQLite
# from reading every message of the time for the few that wait.
ONE_BY_ONE: Final = (
    "m.sent_at >= :since AND m.sent_at < :begins AND m.sent_at <= {now}",
    # All that waits to be settled, whatever of it is counted already.
    """m.settled_at IS NULL AND coalesce(m.sent_at, m.sent_at) >= :begins
        AND coalesce(m.sent_at, m.sent_at) <= {now}""",
    # What was scheduled, and its time has come since somebody last looked.
    """m.sent_at > (SELECT counted_until FROM receiver_state) AND m.sent_at <= {now}
        AND coalesce(m.sent_at, m.sent_at) >= :begins
        AND m.settled_at IS NOT NULL AND m.rollup_id IS NULL""",
)
ROLLUPS: Final = "delivery_rollup d WHERE d.hour >= {hour}"
# What the messages that wait have added there.
ADDED: Final = """sent_message m CROSS JOIN delivery_rollup d
    WHERE m.settled_at IS NULL AND d.id = m.rollup_id AND d.hour >= {hour}"""
SUMS: Final = (" + ".join(f"d.{name}" for name in GROUPS), *(f"d.{name}" for name in GROUPS))
TAKEN_OUT: Final = ("-1", *(f"CASE WHEN m.counted_as = '{g}' THEN -1 ELSE 0 END" for g in GROUPS))
HOURS: Final = {"sqlite": ":hour", "postgresql": "CAST(:hour AS TIMESTAMP)"}


def figures(connection: Connection, by: Sequence[str], since: datetime) -> list[dict[str, Any]]:
    """Count messages sent since a time by what became of them, for each group of `by`.

    The counts are those of the view delivery_rate_hourly; `rate` is None where nothing was taken.
    Hours and days are Bangkok's, as text. Groups are in order. What was deleted is still counted,
    but for the hour that `since` cuts.
    """
    begins = since + (EPOCH - since) % HOUR
    known = _counts_all(connection) and not ("tag" in by and _share_a_row(connection, begins))
    statement = text(_sql(connection.dialect.name, by, known=known))
    values = {"since": since} | ({"begins": begins} if known else {})
    statement = statement.bindparams(*(bindparam(n, v, Instant()) for n, v in values.items()))
    hour = {"hour": hour_of(begins)} if known else {}
    rows = []
    for found in connection.execute(statement, hour):
        names = [None if value is None else str(value) for value in found[: len(by)]]
        counts = dict(zip(COUNTED, map(int, found[len(by) :]), strict=True))
        rate = delivery_rate(counts)
        rows.append({**dict(zip(by, names, strict=True)), **counts, "rate": rate})
    return sorted(rows, key=lambda row: [row[name] or "" for name in by])


def _sql(dialect: str, by: Sequence[str], *, known: bool) -> str:
    """Return one statement of all the parts, so that all see the same messages."""
    pieces = PIECES[dialect]
    words = {"now": pieces["now"], "hour": HOURS[dialect]}
    numbers = ", ".join(str(n + 1) for n in range(len(by)))
    grouping = f" GROUP BY {numbers}" if by else ""
    own = [f"{pieces.get(name) or f'm.{name}'} AS by_{name}" for name in by]
    parts = [
        f"SELECT {', '.join([*own, COUNTS])} FROM sent_message m WHERE {which}{grouping}"
        for which in (ONE_BY_ONE if known else (ALL,))
    ]
    if known:
        columns = [f"d.{name}" for name in by]
        parts += [
            f"SELECT {', '.join([*columns, *counts])} FROM {source}"
            for counts, source in ((SUMS, ROLLUPS), (TAKEN_OUT, ADDED))
        ]
    sums = ", ".join([*(f"by_{name}" for name in by), *(f"sum({name})" for name in COUNTED)])
    united = " UNION ALL ".join(parts).format(**words)
    having = " HAVING sum(submitted) <> 0" if by else ""
    return f"SELECT {sums} FROM ({united}) AS told{grouping}{having}"


def _counts_all(connection: Connection) -> bool:
    """Say whether every settled message is in the roll-ups (see `receiver_state`)."""
    state = select(receiver_state.c.uncounted_to, receiver_state.c.changed_until)
    row = connection.execute(state).one()
    changed = sent_message.c.changed_at
    latest = connection.execute(select(func.max(changed)).where(changed.is_not(None))).scalar_one()
    return bool(row.uncounted_to == 0 and latest == row.changed_until)


def _share_a_row(connection: Connection, begins: datetime) -> bool:
    """Say whether tags share rows, so that the roll-ups do not know them apart."""
    table = delivery_rollup.c
    shared = table.hour >= hour_of(begins), table.tag == OTHER_TAGS
    return connection.execute(select(table.id).where(*shared).limit(1)).first() is not None
