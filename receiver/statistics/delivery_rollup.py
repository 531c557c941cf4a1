"""Roll-ups: messages counted by the hour, so that a month of figures need not read the messages.

A message notes in its own row where it is counted and what it added there (`rollup_id`,
`counted_as`, `counted_credit`, `counted_milliseconds`). When it changes, whatever it is that
changed, exactly that is taken out and what it adds now put in; the difference is written with the
change, in one transaction. What is deleted stays counted.

Functions work inside the caller's write transaction, and all but `forget` in one that holds the
settling lock: one process at a time settles, and nobody else makes rows here.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import bindparam, insert, select, text

from receiver.database import BulkUpdate, Instant, among, chunks
from receiver.database.tables import MEASURES, delivery_rollup, sent_message
from receiver.domain import DELIVERY_TIMES, EPOCH, GROUPS, HOUR, MILLISECOND
from receiver.statistics import activity_rollup
from receiver.statistics.activity_rollup import ActivityKey, HourlyActivity, later
from receiver.statistics.bangkok import hour_number, hour_of, moment, numbered

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from sqlalchemy import Connection, Row


MAX_TAGS: Final = 1000
"""The different tags of one hour that have rows of their own, at most."""
OTHER_TAGS: Final = "(other tags)"
"""The tag of the row that the others of the hour share."""
NEWS_AGE: Final = timedelta(days=3)
"""The age of a message up to which its delivery is news; providers try for up to two days."""
FINAL_GROUPS: Final = ("delivered", "failed")
"""The groups whose credit has sums of its own."""

# What a roll-up is made of, read from a message `m`; a credit in ten-thousandths.
COLUMNS: Final = """m.provider, m.account, m.sender, m.tag, m.sent_at, m.recorded_at,
    CAST(round(m.credit * 10000) AS BIGINT) AS credit,
    m.rollup_id, m.counted_as, m.counted_credit, m.counted_milliseconds,
    m.counted_reported_credit"""


class Contribution(NamedTuple):
    """What a message adds to the roll-ups, and where; all None where it is not counted."""

    rollup_id: int | None = None
    counted_as: str | None = None
    counted_credit: int | None = None
    counted_milliseconds: int | None = None
    counted_reported_credit: int | None = None
    """The credit that the report tells which decides."""


class RollupKey(NamedTuple):
    """What a row of the roll-ups counts; `hour` is counted from 1970, in Bangkok."""

    hour: int
    provider: str
    account: str
    sender: str | None
    tag: str | None

    @property
    def digest(self) -> bytes:
        """Return 16 bytes that no other key has."""
        return hashlib.blake2b(json.dumps(self).encode(), digest_size=16).digest()

    def row(self) -> dict[str, Any]:
        """Return a row that counts nothing yet."""
        begins = numbered(self.hour)
        return self._asdict() | {
            "digest": self.digest,
            "hour": hour_of(begins),
            "day": str(begins.date()),
        }


class Tally:
    """What one transaction counts: differences, collected in memory and written at the end.

    `until` is the time up to which messages are counted: what is scheduled for later is in no
    figure yet. `took` are the deliveries that are new, each with its provider and milliseconds.
    """

    def __init__(self, connection: Connection, until: datetime) -> None:
        self.connection = connection
        self.until = until
        self._ids: dict[RollupKey, int] = {}
        self._counts: Counter[tuple[int, str, int | None]] = Counter()
        self._sums: Counter[tuple[int, str]] = Counter()
        self._credits: Counter[tuple[int, str]] = Counter()
        self._recorded: dict[tuple[int, str, str], HourlyActivity] = defaultdict(HourlyActivity)
        self.took: list[tuple[str, int]] = []

    def place(self, messages: Sequence[Row[Any]]) -> Iterator[tuple[Row[Any], int | None]]:
        """Return each message with the row to count it in, made where it is missing.

        None where it is not to be counted yet.
        """
        keys = [self._key(row) for row in messages]
        self._find({key for key in keys if key is not None})
        for row, key in zip(messages, keys, strict=True):
            yield row, None if key is None else self._ids[key]

    def _key(self, row: Row[Any]) -> RollupKey | None:
        sent_at = moment(row.sent_at)
        if sent_at > self.until:
            return None
        hour = hour_number(sent_at)
        return RollupKey(hour, row.provider, row.account, row.sender, row.tag)

    def _find(self, keys: set[RollupKey]) -> None:
        """Find the row of each key; make those that are missing."""
        self._look_up(keys)
        row_keys = self._row_keys(keys - self._ids.keys())
        self._look_up(row_keys.values())
        new = sorted(set(row_keys.values()) - self._ids.keys(), key=repr)
        if new:
            self.connection.execute(insert(delivery_rollup), [key.row() for key in new])
            self._look_up(new)
        self._ids |= {key: self._ids[row_key] for key, row_key in row_keys.items()}

    def _look_up(self, keys: Iterable[RollupKey]) -> None:
        table, by_digest = delivery_rollup.c, {key.digest: key for key in keys}
        for part in chunks(list(by_digest)):
            statement = select(table.digest, table.id).where(table.digest.in_(part))
            for digest, id_ in self.connection.execute(statement):
                self._ids[by_digest[digest]] = id_

    def _row_keys(self, missing: set[RollupKey]) -> dict[RollupKey, RollupKey]:
        """Return for keys without a row the one to make: past the limit, tags share one."""
        row_keys: dict[RollupKey, RollupKey] = {}
        tags_of: dict[int, set[str]] = {}
        for key in sorted(missing, key=repr):
            if key.tag is not None:
                if key.hour not in tags_of:
                    tags_of[key.hour] = self._tags(key.hour)
                tags = tags_of[key.hour]
                if key.tag not in tags and len(tags) >= MAX_TAGS:
                    row_keys[key] = key._replace(tag=OTHER_TAGS)
                    continue
                tags.add(key.tag)
            row_keys[key] = key
        return row_keys

    def _tags(self, hour: int) -> set[str]:
        """Return the tags that have rows of their own in an hour."""
        table = delivery_rollup.c
        statement = select(table.tag).where(table.hour == hour_of(numbered(hour))).distinct()
        return set(self.connection.execute(statement).scalars()) - {None, OTHER_TAGS}

    def change(self, row: Row[Any], new: Contribution) -> None:
        """Take out what a message added, and put in what it adds now."""
        self._add(noted(row), -1)
        self._add(new, 1)
        if row.rollup_id is None and new.rollup_id is not None:
            self._record(row)
        milliseconds, before = new.counted_milliseconds, row.counted_milliseconds
        if (
            milliseconds is not None
            and before is None
            and self.until - moment(row.sent_at) <= NEWS_AGE
        ):
            self.took.append((row.provider, milliseconds))

    def _record(self, row: Row[Any]) -> None:
        """Count a message that is counted for the first time where messages were recorded."""
        at = moment(row.recorded_at)
        activity = self._recorded[hour_number(at), row.provider, row.account]
        activity.recorded += 1
        activity.last_recorded_at = later(activity.last_recorded_at, at)

    def _add(self, added: Contribution, sign: int) -> None:
        rollup_id, group, credit, milliseconds, reported = added
        if rollup_id is None or group is None:
            return
        step = None if milliseconds is None else DELIVERY_TIMES.step(milliseconds)
        self._counts[rollup_id, group, step] += sign
        if credit is not None:
            self._sums[rollup_id, "credited"] += sign
            self._credits[rollup_id, group] += sign * credit
        if milliseconds is not None:
            self._sums[rollup_id, "milliseconds"] += sign * milliseconds
        if reported is not None:
            self._add_reported(rollup_id, group, credit, sign, reported)

    def _add_reported(
        self, rollup_id: int, group: str, credit: int | None, sign: int, reported: int
    ) -> None:
        """Add the credit that a report tells."""
        self._sums[rollup_id, "reported"] += sign
        self._sums[rollup_id, "reported_credit"] += sign * reported
        if group in FINAL_GROUPS:
            self._sums[rollup_id, f"reported_{group}_credit"] += sign * reported
        if credit is not None:
            self._sums[rollup_id, "compared"] += sign
            self._sums[rollup_id, "credit_difference"] += sign * (reported - credit)

    def write(self) -> None:
        """Write the differences."""
        rows: dict[int, Counter[str]] = defaultdict(Counter)
        for (rollup_id, group, step), count in self._counts.items():
            rows[rollup_id][group] += count
            for name in () if step is None else ("timed", *DELIVERY_TIMES.names[step:]):
                rows[rollup_id][name] += count
        for (rollup_id, name), total in self._sums.items():
            rows[rollup_id][name] += total
        for (rollup_id, group), total in self._credits.items():
            for name in ("credit", f"{group}_credit")[: 2 if group in FINAL_GROUPS else 1]:
                rows[rollup_id][name] += total
        add(self.connection, rows)
        recorded = {
            ActivityKey(hour_of(numbered(hour)), *of): activity
            for (hour, *of), activity in self._recorded.items()
        }
        activity_rollup.write(self.connection, recorded)


def noted(row: Row[Any]) -> Contribution:
    """Return what a message has noted that it added."""
    return Contribution(
        row.rollup_id,
        row.counted_as,
        row.counted_credit,
        row.counted_milliseconds,
        row.counted_reported_credit,
    )


def took(began: Any, ended: Any) -> int | None:
    """Return the milliseconds of a delivery; None where it would end before it began."""
    milliseconds = (moment(ended) - moment(began)) // MILLISECOND
    return milliseconds if milliseconds >= 0 else None


def add(connection: Connection, rows: Mapping[int, Mapping[str, int]]) -> None:
    """Add differences to rows of the roll-ups, in the order of their ids."""
    values = [
        {"id": id_} | {name: rows[id_].get(name, 0) for name in MEASURES}
        for id_ in sorted(rows)
        if any(rows[id_].values())
    ]
    ADD(connection, values)


def forget(connection: Connection, ids: Sequence[int]) -> None:
    """Subtract duplicates that are about to be deleted from the roll-ups.

    The lock order is messages, then roll-ups, so this cannot deadlock with settling.
    """
    table, tally = sent_message.c, Tally(connection, EPOCH)
    columns = [table[name] for name in Contribution._fields]
    chosen = among(connection.dialect, table.id, ids)
    for row in connection.execute(select(*columns).where(chosen)):
        tally.change(row, Contribution())
    tally.write()


def remake(connection: Connection, begins: datetime, *, some: bool) -> int:
    """Make the roll-ups of an hour equal to what its messages add; return how many differed.

    Where only `some` may be left of an hour's messages, rows that count more than that stay.
    """
    table = delivery_rollup.c
    of_hour = table.hour == hour_of(begins)
    columns = [table[name] for name in ("id", *MEASURES)]
    rows = connection.execute(select(*columns).where(of_hour).with_for_update()).mappings().all()
    from_, to = begins, begins + HOUR
    counted = {
        row["rollup_id"]: row
        for row in connection.execute(ADDED, {"from_": from_, "to": to}).mappings()
    }
    differences = {}
    for row in rows:
        sums = counted.get(row["id"])
        difference = {name: ((sums and sums[name]) or 0) - row[name] for name in MEASURES}
        if any(difference.values()) and not (some and any(difference[name] < 0 for name in GROUPS)):
            differences[row["id"]] = difference
    add(connection, differences)
    return len(differences)


def _sum(note: str, group: str = "") -> str:
    """Return the sum of what messages noted, those of a group or all."""
    only = f" FILTER (WHERE counted_as = '{group}')" if group else ""
    return f"CAST(sum({note}){only} AS BIGINT)"


_SUMS: Final = {
    **{name: f"count(*) FILTER (WHERE counted_as = '{name}')" for name in GROUPS},
    "credited": "count(counted_credit)",
    "credit": _sum("counted_credit"),
    "timed": "count(counted_milliseconds)",
    "milliseconds": _sum("counted_milliseconds"),
    **{
        name: f"count(*) FILTER (WHERE counted_milliseconds <= {seconds * 1000})"
        for name, seconds in zip(DELIVERY_TIMES.names, DELIVERY_TIMES.seconds, strict=True)
    },
    **{f"{group}_credit": _sum("counted_credit", group) for group in FINAL_GROUPS},
    "reported": "count(counted_reported_credit)",
    "reported_credit": _sum("counted_reported_credit"),
    **{
        f"reported_{group}_credit": _sum("counted_reported_credit", group) for group in FINAL_GROUPS
    },
    "compared": "count(counted_reported_credit - counted_credit)",
    "credit_difference": _sum("counted_reported_credit - counted_credit"),
}
# What the messages of an hour say they added.
ADDED: Final = text(f"""
    SELECT rollup_id, {", ".join(f"{sql} AS {name}" for name, sql in _SUMS.items())}
    FROM sent_message WHERE sent_at >= :from_ AND sent_at < :to AND rollup_id IS NOT NULL
    GROUP BY rollup_id
""").bindparams(bindparam("from_", type_=Instant()), bindparam("to", type_=Instant()))

ADD: Final = BulkUpdate(delivery_rollup, MEASURES, dict.fromkeys(MEASURES, "{old} + {new}"))
