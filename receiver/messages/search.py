"""Search for messages, unmatched reports and unreadable callbacks, a page at a time.

A text is first taken for an id, a reference or a number, which indexes find among all rows. Only
where it is none of those it is taken for a day, a status, a sender or a tag, and those are looked
for in a span of time: the last SPAN, where no other is asked for. No count goes past MAX_COUNTED.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Select, and_, exists, false, func, or_, select, text

from receiver.database import in_group, message_status
from receiver.database.tables import NOT_READ, callback, delivery_report, sent_message
from receiver.domain import GROUPS
from receiver.messages.lookup import has_id, numbers, union_of, with_head

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import ColumnElement, Connection, RowMapping, Table


SPAN: Final = timedelta(days=7)
"""The span that is searched, up to now, where no time is asked for and no id was found."""
MAX_COUNTED: Final = 1000
"""The rows that are counted, and can be paged through, at most."""
MAX_RULES: Final = 100
"""The conditions of a filter, at most: databases limit a statement's depth and its values."""
MAX_TEXT_LENGTH: Final = 200
"""The characters of a search, at most: no id, reference, sender or tag is longer."""
MAX_REPORTS: Final = 200
"""The reports of one message that are shown, at most."""
MAX_BODIES: Final = 20
"""The callbacks of one message's reports that are shown, at most."""
MAX_BODIES_BYTES: Final = 256 * 1024
"""The bytes of those callbacks' bodies that are read, of all together."""
MAX_ROW_ID: Final = 2**63 - 1

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
class Search:
    """A search: its text and conditions, and which of the results to return. `zone` is of days."""

    text: str = ""
    rules: Rules = field(default_factory=Rules)
    skip: int = 0
    limit: int = 25
    oldest_first: bool = False
    zone: tzinfo = UTC


@dataclass(frozen=True, slots=True)
class Page:
    """A page of results, and how many there are; `since` is from when on, None: from the first."""

    rows: Sequence[RowMapping]
    total: int
    since: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of row to search for: its table, its time, and the columns a text may be of it."""

    table: Table
    hidden: frozenset[str]
    time: str
    every: ColumnElement[bool] | None = None
    ids: Callable[[str], Sequence[ColumnElement[bool]]]
    words: Callable[[str], Sequence[ColumnElement[bool]]]


MESSAGES: Final = Kind(
    table=sent_message,
    hidden=frozenset({"refusal_key"}),
    time="sent_at",
    ids=lambda q: (
        *has_id(_m, q),
        _m.reference == q,
        _m.recipient.in_(numbers(q)),
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
    ids=lambda q: has_id(_r, q),
    words=lambda q: (
        _r.recipient.in_(numbers(q)),
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


def _is_key(text: str) -> bool:
    return all(c in "0123456789abcdef-" for c in text)


def find(connection: Connection, kind: Kind, search: Search) -> Page:
    """Return a page of what is looked for, the newest first."""
    if len(search.text) > MAX_TEXT_LENGTH or "\0" in search.text:
        return Page([], 0, None)
    where, since = conditions(connection, kind, search)
    table, time = kind.table.c, kind.table.c[kind.time]
    matching = select(table.id).where(*where)
    total = connection.execute(
        select(func.count()).select_from(matching.limit(MAX_COUNTED).subquery())
    ).scalar_one()
    if search.skip >= total:
        return Page([], total, since)
    order = (time, table.id) if search.oldest_first else (time.desc(), table.id.desc())
    statement = (
        select(*(c for c in kind.table.columns if c.name not in kind.hidden))
        .where(*where)
        .order_by(*order)
        .offset(search.skip)
        .limit(min(search.limit, MAX_COUNTED))
    )
    return Page(connection.execute(statement).mappings().all(), total, since)


def conditions(
    connection: Connection, kind: Kind, search: Search
) -> tuple[list[ColumnElement[bool]], datetime | None]:
    """Return the conditions, and how far back they reach."""
    table, time = kind.table.c, kind.table.c[kind.time]
    where = [] if kind.every is None else [kind.every]
    if search.rules.parts:
        where.append(_condition(kind, search.rules))
    named = kind.ids(search.text) if search.text else ()
    if named:
        # A look-up for each column, each by its index; an OR over all need not use any.
        ids = union_of(select(table.id).where(condition) for condition in named)
        if connection.execute(select(exists(ids.subquery().select()))).scalar_one():
            return [*where, table.id.in_(ids)], None
    span = _day(search.text, search.zone)
    if span is not None:
        return [*where, time >= span[0], time < span[1]], span[0]
    if search.text:
        where.append(or_(*kind.words(search.text)))
    if kind.time in search.rules.columns():
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


def _day(text: str, zone: tzinfo) -> tuple[datetime, datetime] | None:
    """Return when the day begins and ends that a text names, `2026-11-22`."""
    try:
        day = date.fromisoformat(text)
        begins = datetime(day.year, day.month, day.day, tzinfo=zone)
        return begins.astimezone(UTC), (begins + timedelta(days=1)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageDetails:
    """A message, its reports in order, and the callbacks that the newest of them came in.

    Of a callback's `body` only the head is here; `length` is how many bytes it has.
    """

    message: RowMapping
    reports: Sequence[RowMapping]
    callbacks: Sequence[RowMapping]


def message(connection: Connection, id_: str) -> MessageDetails | None:
    """Return everything that is known of a message; None where there is none with this id."""
    message_ = _by_id(connection, select(message_status), message_status.c.id, id_)
    if message_ is None:
        return None
    reports = connection.execute(
        select(delivery_report)
        .where(_r.sent_message_id == message_["id"])
        .order_by(func.coalesce(_r.done_at, _r.received_at), _r.id)
        .limit(MAX_REPORTS)
    )
    rows = list(reports.mappings())
    if message_["report_id"] not in {None, *(row["id"] for row in rows)}:  # one of very many
        deciding = select(delivery_report).where(_r.id == message_["report_id"])
        rows += connection.execute(deciding).mappings()
    keys = list(dict.fromkeys(row["callback_id"] for row in reversed(rows)))[:MAX_BODIES]
    columns = with_head(MAX_BODIES_BYTES // max(1, len(keys)))
    bodies = connection.execute(select(*columns).where(_c.id.in_(keys)).order_by(_c.id))
    return MessageDetails(message=message_, reports=rows, callbacks=bodies.mappings().all())


def report(connection: Connection, id_: str) -> RowMapping | None:
    """Return a report that belongs to no message."""
    statement = select(delivery_report).where(_r.sent_message_id.is_(None))
    return _by_id(connection, statement, _r.id, id_)


def _by_id(
    connection: Connection, statement: Select[Any], column: ColumnElement[Any], id_: str
) -> RowMapping | None:
    if not (id_.isascii() and id_.isdigit() and len(id_) < 20 and int(id_) <= MAX_ROW_ID):  # noqa: PLR2004
        return None
    return connection.execute(statement.where(column == int(id_))).mappings().first()
