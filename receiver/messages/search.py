"""What people look for: messages, unmatched reports and unreadable callbacks, a page at a time.

A text is first taken for an id, a reference or a number, which indexes find among all rows. Only
where it is none of those it is taken for a day, a status, a sender or a tag, and those are looked
for in a span of time: the last SPAN, where no other is asked for. No count goes past COUNTED_MAX.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Select, and_, exists, false, func, or_, select, text

from receiver.database import in_group, message_status
from receiver.database.tables import NOT_READ, callback, delivery_report, sent_message
from receiver.domain import GROUPS, msisdn
from receiver.messages.lookup import union_of, with_head

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import ColumnElement, Connection, RowMapping, Table


SPAN: Final = timedelta(days=7)
"""How far back is looked where no time is asked for, and no id was found."""
COUNTED_MAX: Final = 1000
"""Rows that are counted, and can be paged through, at most."""
RULES_MAX: Final = 100
"""Conditions of a filter: databases limit how deep a statement is and how many values it has."""
TEXT_MAX: Final = 200
"""No id, reference, sender or tag is longer."""
REPORTS_MAX: Final = 200
"""Reports of one message that are shown."""
BODIES_MAX: Final = 20
"""Callbacks behind them that are shown."""
BODIES_BYTES: Final = 256 * 1024
"""Bytes of their bodies that are read, of all together."""
LARGEST_ID: Final = 2**63 - 1

_m, _r, _c = sent_message.c, delivery_report.c, callback.c

STATES: Final[dict[str, Any]] = {
    name: text(f"({in_group(name, 'sent_message')})") for name in GROUPS
}
"""The groups that figures count messages in."""

COMPARED: Final[dict[str, Callable[..., ColumnElement[bool]]]] = {
    "eq": operator.eq,
    "in": lambda column, values: column.in_(values),
    "between": lambda column, first, last: column.between(first, last),
}


@dataclass(frozen=True, slots=True)
class Rule:
    """One condition: a column, how it is compared (a name of COMPARED), and with what."""

    column: str
    compared: str
    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Rules:
    """Conditions that must all hold, or one of which must."""

    parts: tuple[Rule | Rules, ...] = ()
    every: bool = True

    def columns(self) -> set[str]:
        """Return the columns that are asked about."""
        return set().union(
            *(part.columns() if isinstance(part, Rules) else {part.column} for part in self.parts)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is looked for, and which of what is found is wanted. `zone` is that of days."""

    text: str = ""
    rules: Rules = field(default_factory=Rules)
    skip: int = 0
    limit: int = 25
    oldest_first: bool = False
    zone: tzinfo = UTC


@dataclass(frozen=True, slots=True)
class Page:
    """Rows, and of how many; `since` says how far back was looked, None: all the way."""

    rows: Sequence[RowMapping]
    total: int
    since: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of thing that is looked for: its table, its time, and what a text may be of it."""

    table: Table
    hidden: frozenset[str]
    time: str
    every: ColumnElement[bool] | None = None
    ids: Callable[[str], Sequence[ColumnElement[bool]]]
    words: Callable[[str], Sequence[ColumnElement[bool]]]


def _numbers(given: str) -> set[str]:
    return {given, msisdn(given)} - {None}  # type: ignore[return-value]


MESSAGES: Final = Kind(
    table=sent_message,
    hidden=frozenset({"refusal_key"}),
    time="sent_at",
    ids=lambda q: (
        _m.message_id == q,
        _m.transaction_id == q,
        _m.reference == q,
        _m.recipient.in_(_numbers(q)),
    ),
    words=lambda q: (
        _m.tag == q,
        _m.sender == q,
        _m.status == q.lower(),
        STATES.get(q.lower(), false()),
    ),
)
UNMATCHED: Final = Kind(
    table=delivery_report,
    hidden=frozenset({"digest"}),
    time="received_at",
    every=_r.sent_message_id.is_(None),
    ids=lambda q: (_r.message_id == q, _r.transaction_id == q),
    words=lambda q: (
        _r.recipient.in_(_numbers(q)),
        _r.sender == q,
        _r.status == q.lower(),
        func.lower(_r.provider_status) == q.lower(),
    ),
)
UNREADABLE: Final = Kind(
    table=callback,
    hidden=frozenset({"body", "digest", "query"}),  # which may be long
    time="received_at",
    every=text(NOT_READ),  # type: ignore[arg-type]
    ids=lambda q: (_c.id == q,) if len(q) == 36 and _is_key(q) else (),  # noqa: PLR2004
    words=lambda q: (_c.provider == q.lower(), _c.account == q, _c.remote_addr == q),
)


def _is_key(given: str) -> bool:
    return all(c in "0123456789abcdef-" for c in given)


def find(connection: Connection, kind: Kind, asked: Asked) -> Page:
    """Return a page of what is looked for, the newest first."""
    if len(asked.text) > TEXT_MAX or "\0" in asked.text:
        return Page([], 0, None)
    where, since = conditions(connection, kind, asked)
    table, time = kind.table.c, kind.table.c[kind.time]
    wanted = select(table.id).where(*where)
    total = connection.execute(
        select(func.count()).select_from(wanted.limit(COUNTED_MAX).subquery())
    ).scalar_one()
    if asked.skip >= total:
        return Page([], total, since)
    order = (time, table.id) if asked.oldest_first else (time.desc(), table.id.desc())
    statement = (
        select(*(c for c in kind.table.columns if c.name not in kind.hidden))
        .where(*where)
        .order_by(*order)
        .offset(asked.skip)
        .limit(min(asked.limit, COUNTED_MAX))
    )
    return Page(connection.execute(statement).mappings().all(), total, since)


def conditions(
    connection: Connection, kind: Kind, asked: Asked
) -> tuple[list[ColumnElement[bool]], datetime | None]:
    """Return the conditions, and how far back they reach."""
    table, time = kind.table.c, kind.table.c[kind.time]
    where = [] if kind.every is None else [kind.every]
    if asked.rules.parts:
        where.append(_condition(kind, asked.rules))
    named = kind.ids(asked.text) if asked.text else ()
    if named:
        # A look-up for each column, each by its index; an OR over all need not use any.
        ids = union_of(select(table.id).where(one) for one in named)
        if connection.execute(select(exists(ids.subquery().select()))).scalar_one():
            return [*where, table.id.in_(ids)], None
    span = _day(asked.text, asked.zone)
    if span is not None:
        return [*where, time >= span[0], time < span[1]], span[0]
    if asked.text:
        where.append(or_(*kind.words(asked.text)))
    if kind.time in asked.rules.columns():
        return where, None
    since = datetime.now(UTC) - SPAN
    return [*where, time >= since], since


def _condition(kind: Kind, rules: Rules | Rule) -> ColumnElement[bool]:
    if isinstance(rules, Rules):
        parts = [_condition(kind, part) for part in rules.parts]
        return and_(*parts) if rules.every else or_(*parts)
    if rules.column == "state":
        named = rules.values[0] if rules.compared == "in" else rules.values
        return or_(*(STATES.get(name, false()) for name in named))
    return COMPARED[rules.compared](kind.table.c[rules.column], *rules.values)


def _day(given: str, zone: tzinfo) -> tuple[datetime, datetime] | None:
    """Return when the day begins and ends that a text names, `2026-11-22`."""
    try:
        day = date.fromisoformat(given)
        begins = datetime(day.year, day.month, day.day, tzinfo=zone)
        return begins.astimezone(UTC), (begins + timedelta(days=1)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A message, its reports in order, and the callbacks that the newest of them came in.

    Of a callback's `body` only the head is here; `length` is how many bytes it has.
    """

    message: RowMapping
    reports: Sequence[RowMapping]
    callbacks: Sequence[RowMapping]


def message(connection: Connection, id_: str) -> Told | None:
    """Return everything that is known of a message; None where there is none with this id."""
    found = _by_id(connection, select(message_status), message_status.c.id, id_)
    if found is None:
        return None
    reports = connection.execute(
        select(delivery_report)
        .where(_r.sent_message_id == found["id"])
        .order_by(func.coalesce(_r.done_at, _r.received_at), _r.id)
        .limit(REPORTS_MAX)
    )
    rows = list(reports.mappings())
    if found["report_id"] not in {None, *(row["id"] for row in rows)}:  # one of very many
        deciding = select(delivery_report).where(_r.id == found["report_id"])
        rows += connection.execute(deciding).mappings()
    keys = list(dict.fromkeys(row["callback_id"] for row in reversed(rows)))[:BODIES_MAX]
    columns = with_head(BODIES_BYTES // max(1, len(keys)))
    bodies = connection.execute(select(*columns).where(_c.id.in_(keys)).order_by(_c.id))
    return Told(message=found, reports=rows, callbacks=bodies.mappings().all())


def report(connection: Connection, id_: str) -> RowMapping | None:
    """Return a report that belongs to no message."""
    wanted = select(delivery_report).where(_r.sent_message_id.is_(None))
    return _by_id(connection, wanted, _r.id, id_)


def _by_id(
    connection: Connection, wanted: Select[Any], column: ColumnElement[Any], id_: str
) -> RowMapping | None:
    if not (id_.isascii() and id_.isdigit() and len(id_) < 20 and int(id_) <= LARGEST_ID):  # noqa: PLR2004
        return None
    return connection.execute(wanted.where(column == int(id_))).mappings().first()
