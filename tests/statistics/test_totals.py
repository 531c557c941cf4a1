"""What `report` counts equals counting the messages, wherever it is read from."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import bindparam, delete, event, text, update

from receiver.database.column_types import Instant
from receiver.database.tables.messages import sent_message
from receiver.database.tables.operations import receiver_state
from receiver.database.tables.statistics import delivery_rollup
from receiver.database.views import COUNTS, PIECES
from receiver.settling import settle
from receiver.statistics import delivery_rollup as rollup
from receiver.statistics import totals
from tests.statistics.test_delivery_rollup import add, message, report

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Engine

NOW = datetime.now(UTC).replace(microsecond=0)
HOUR = timedelta(hours=1)
BYS: list[Sequence[str]] = [(), ("provider",), totals.DIMENSIONS, ("hour",), ("day", "tag")]
SINCES = [NOW - timedelta(minutes=5), NOW - 26 * HOUR, NOW - timedelta(days=400)]


def counted(engine: Engine, by: Sequence[str], since: datetime) -> list[Any]:
    """Count the messages, each of them."""
    pieces = PIECES[engine.dialect.name]
    groups = [pieces.get(name) or f"m.{name}" for name in by]
    grouping = f"GROUP BY {', '.join(str(n + 1) for n in range(len(by)))}" if by else ""
    query = text(
        f"SELECT {', '.join([*groups, COUNTS])} FROM sent_message m"
        f" WHERE m.sent_at >= :since AND m.sent_at <= {pieces['now']} {grouping}"
    ).bindparams(bindparam("since", since, Instant()))
    with engine.connect() as connection:
        rows = connection.execute(query).all()
    named = [[v if v is None else str(v) for v in row[: len(by)]] for row in rows]
    counts = ([*names, *row[len(by) :]] for names, row in zip(named, rows, strict=True))
    return sorted(counts, key=repr)


def check(engine: Engine) -> None:
    for by in BYS:
        for since in (*SINCES, SINCES[1].replace(minute=0, second=0)):
            with engine.connect() as connection:
                found = totals.figures(connection, by, since)
            rows = [[row[name] for name in (*by, *totals.COUNTED)] for row in found]
            assert sorted(rows, key=repr) == counted(engine, by, since), (by, since)


def fill(engine: Engine, begin: int = 0) -> None:
    """Messages around every whole hour of the last days, some of them reported."""
    for n in range(begin, begin + 60):
        sent_at = NOW - n * timedelta(minutes=37)
        values = {"sender": ("S", None)[n % 2], "tag": ("x", "y", None)[n % 3]}
        error = {"error": "no", "status": "rejected"} if n % 11 == 0 else {}
        credit = {"credit": Decimal(1), "account": ("", "otp")[n % 2]}
        add(engine, message(f"m{n}", sent_at=sent_at, **values, **error, **credit))
        if n % 4:
            status = ("delivered", "expired", "enroute", "unknown")[n % 4]
            add(engine, report(n, f"m{n}", status=status, received_at=sent_at))
    add(engine, message(f"later{begin}", sent_at=NOW + 3 * HOUR))


def test_it_equals_counting_the_messages(engine: Engine) -> None:
    fill(engine)
    check(engine)  # nobody has counted anything yet
    settle.settle_all(engine)
    check(engine)
    fill(engine, 60)  # what waits
    with engine.begin() as connection:  # and what was counted, and is to be settled again
        some = sent_message.c.message_id.in_(["m1", "m2", "m3"])
        connection.execute(update(sent_message).where(some).values(settled_at=None, tag="z"))
    check(engine)
    settle.settle_all(engine, portion=7)
    check(engine)
    with engine.begin() as connection:  # what was scheduled, and is due
        due = sent_message.c.message_id == "later0"
        then = NOW - timedelta(minutes=1)
        connection.execute(update(sent_message).where(due).values(sent_at=then))
        connection.execute(update(receiver_state).values(counted_until=then - HOUR))
    check(engine)


def test_it_reads_messages_only_where_it_must(engine: Engine) -> None:
    fill(engine)
    settle.settle_all(engine)
    with engine.begin() as connection:
        connection.execute(delete(sent_message))
        newest = update(receiver_state).values(changed_until=None)
        connection.execute(newest)
    since = (NOW - timedelta(days=3)).replace(minute=0)
    with engine.connect() as connection:
        (row,) = totals.figures(connection, (), since)
        assert row["submitted"] == 60  # deleted, and still counted
        connection.execute(update(receiver_state).values(uncounted_to=None))
        assert totals.figures(connection, (), since)[0]["submitted"] == 0


def test_tags_that_share_a_row_are_told_apart(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollup, "MAX_TAGS", 2)
    add(engine, *(message(f"m{n}", sent_at=NOW - HOUR, tag=f"t{n}") for n in range(6)))
    settle.settle_all(engine)
    with engine.connect() as connection:
        shared = connection.execute(delivery_rollup.select()).all()
        assert {row.tag for row in shared} == {"t0", "t1", rollup.OTHER_TAGS}
    check(engine)


@pytest.mark.parametrize("by", BYS, ids=",".join)
def test_no_message_is_read_that_need_not_be(engine: Engine, by: Sequence[str]) -> None:
    if engine.dialect.name != "sqlite":
        pytest.skip("a small table is soon read there")
    fill(engine)
    settle.settle_all(engine)
    statements: list[Any] = []
    with engine.connect() as connection:
        event.listen(
            connection,
            "before_cursor_execute",
            lambda _c, _cursor, sql, values, *_: statements.append((sql, values)),
        )
        totals.figures(connection, by, NOW - 5 * HOUR)
        plans = [
            row[3]
            for sql, values in list(statements)
            if sql.startswith("SELECT")
            for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", values)
        ]
    assert any("delivery_rollup" in line or line.startswith("SEARCH d ") for line in plans), plans
    scans = [line for line in plans if line.startswith("SCAN") and "receiver_state" not in line]
    allowed = ("SCAN m USING INDEX ix_sent_message_unsettled", "SCAN told", "SCAN (")
    assert [line for line in scans if not line.startswith(allowed)] == [], plans
