"""The roll-ups equal counting, whatever happened; and no statement walks a big table."""

from __future__ import annotations

import re
import threading
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import product
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from alembic import command
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, delete, insert, select, text, update
from sqlalchemy.exc import OperationalError

from receiver.database import schema
from receiver.database.bulk import BulkUpdate, GivenRows
from receiver.database.column_types import instant_text
from receiver.database.tables.callbacks import callback, delivery_report
from receiver.database.tables.messages import sent_message
from receiver.database.tables.operations import receiver_state
from receiver.database.tables.statistics import CREDITS, MEASURES, delivery_rollup
from receiver.domain.histogram import DELIVERY_TIMES
from receiver.domain.sent_message import SentMessage
from receiver.domain.status import GROUPS, Status
from receiver.maintenance import rebuild
from receiver.messages import recording
from receiver.settling import settle, statements
from receiver.statistics import bangkok
from receiver.statistics import delivery_rollup as rollups
from receiver.statistics.delivery_rollup import OTHER_TAGS, Contribution
from tests.conftest import give_ids
from tests.kit.counting import ORACLE, counted
from tests.maintenance.test_rebuild import interpreter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

    from tests.conftest import Databases

Row = dict[str, Any]

MIDNIGHT = datetime(2025, 6, 10, 17, tzinfo=UTC)  # in Bangkok, 11 June begins
LATER = datetime(2099, 1, 1, tzinfo=UTC)
DIALECTS = ("sqlite", "postgresql")
INTERPRETER = interpreter()
VIEWS = ("delivery_rate_hourly", "delivery_rate_daily", "delivery_latency_daily", "credit_daily")


def message(name: str, **values: Any) -> Row:
    row = {"provider": "ants", "recipient": "66811111111", "message_id": name, "sent_at": MIDNIGHT}
    return row | values


def report(number: int, name: str, **values: Any) -> Row:
    row = {
        "callback_id": str(UUID(int=number)), "position": 0, "provider": "ants",
        "message_id": name, "provider_status": "X", "status": "delivered",
        "digest": number.to_bytes(16, "big"), "received_at": MIDNIGHT,
        "done_at": MIDNIGHT + timedelta(seconds=9),
    }  # fmt: skip
    return row | values


def add(engine: Engine, *rows: Row) -> None:
    with engine.begin() as connection:
        for row in rows:
            table = delivery_report if "digest" in row else sent_message
            connection.execute(insert(table), row)


def lines(connection: Connection, query: str) -> list[tuple[Any, ...]]:
    """Return rows in an order of their own, numbers as both ways of counting have them."""
    found = connection.execute(text(query)).all()
    number = (int, float, Decimal)
    return sorted(
        (tuple(round(float(v), 6) if isinstance(v, number) else v for v in row) for row in found),
        key=repr,
    )


def check(engine: Engine) -> None:
    """Compare the views with what counting the messages gives, and the rows with their notes."""
    with engine.connect() as connection:
        for view in VIEWS:
            wanted = lines(connection, counted(connection, view))
            assert lines(connection, f"SELECT * FROM {view}") == wanted, view


def counts(engine: Engine) -> dict[str, int]:
    """Return what is counted in all, without what is 0."""
    with engine.connect() as connection:
        sums = connection.execute(
            text(f"SELECT {', '.join(f'sum({g}) AS {g}' for g in GROUPS)} FROM delivery_rollup")
        ).mappings().one()  # fmt: skip
    return {group: int(total) for group, total in sums.items() if total}


def clear(engine: Engine) -> None:
    with engine.begin() as connection:
        for table in (sent_message, delivery_report, delivery_rollup):
            connection.execute(delete(table))
        connection.execute(update(receiver_state).values(**dict.fromkeys(statements.STATE_COLUMNS)))


# As it is after the upgrades that brought the roll-ups, and the credit in them.
FORGOTTEN: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "forget what is counted": (Contribution._fields, MEASURES),
    "forget the credit": (("counted_reported_credit",), CREDITS),
}


def forget(engine: Engine, notes: tuple[str, ...], measures: tuple[str, ...]) -> None:
    nothing: dict[str, Any] = dict.fromkeys(notes)
    zero: dict[str, Any] = dict.fromkeys(measures, 0)
    with engine.begin() as connection:
        connection.execute(update(sent_message).values(**nothing))
        connection.execute(update(delivery_rollup).values(**zero))
        upgraded = {"uncounted_to": None, "uncredited_before": LATER}
        connection.execute(update(receiver_state).values(**upgraded))


NAMES = st.sampled_from([None, "x", "y"])
IDS = st.sampled_from(["A", "B", "C", "D"])
TIMES = st.integers(-40_000, 40_000).map(lambda n: MIDNIGHT + timedelta(milliseconds=n))
SENT = st.builds(
    lambda **values: SentMessage(recipient="66811111111", **values),
    message_id=IDS | st.none(),
    transaction_id=st.sampled_from(["T", "U"]),
    account=st.sampled_from(["", "otp"]),
    sender=NAMES,
    tag=NAMES,
    credit=st.none() | st.decimals("0", "99999999.9999", places=4),
    error=st.sampled_from([None, None, "no"]),
    sent_at=TIMES | st.just(LATER),
)
TOLD = st.fixed_dictionaries(
    {
        "message_id": IDS | st.none(),
        "transaction_id": st.sampled_from(["T", "U"]),
        "recipient": st.sampled_from(["66811111111", None]),
        "status": st.sampled_from([status.value for status in Status]),
        "done_at": st.none() | TIMES,
        "sent_at": st.none() | TIMES,
        "credit": st.none() | st.decimals("0", "99999999.9999", places=4),
    }
)
STEPS = st.lists(
    SENT | TOLD | st.sampled_from(["settle one", "settle", *FORGOTTEN, "rebuild"]),
    max_size=14,
)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=STEPS)
def test_roll_ups_equal_counting(engine: Engine, steps: list[Any]) -> None:
    clear(engine)
    for number, step in enumerate(steps):
        if isinstance(step, SentMessage):
            with engine.begin() as connection:
                recording.record(connection, "ants", [step])
        elif isinstance(step, dict):
            add(engine, report(number, "", **step))
        elif step == "settle one":
            settle.settle_one(engine, 1)
        elif step == "settle":
            settle.settle_all(engine)
            check(engine)
        elif step == "rebuild":
            rebuild.rebuild(engine, INTERPRETER)
        else:
            forget(engine, *FORGOTTEN[step])
    settle.settle_all(engine)
    check(engine)
    tried = rebuild.rebuild(engine, INTERPRETER, dry_run=True)
    assert tried.changed_rollups == 0


def test_a_scheduled_message_is_counted_when_its_time_comes(engine: Engine) -> None:
    now = datetime.now(UTC)
    soon = now + timedelta(hours=5)
    add(engine, message("a"), message("b", sent_at=soon), message("c", sent_at=soon))
    add(engine, report(1, "c"), report(2, "a"))
    settle.settle_all(engine)
    assert counts(engine) == {"delivered": 1}
    check(engine)
    with engine.begin() as connection:  # time goes by
        moved = now - timedelta(hours=6)
        connection.execute(update(receiver_state).values(counted_until=moved))
        connection.execute(
            update(sent_message)
            .where(sent_message.c.sent_at == soon)
            .values(sent_at=now - timedelta(hours=5))
        )
    settle.settle_all(engine)
    assert counts(engine) == {"delivered": 2, "silent": 1}
    check(engine)


def test_a_clock_that_is_set_back_loses_no_scheduled_message(engine: Engine) -> None:
    ahead = datetime.now(UTC) + timedelta(hours=2)
    with engine.begin() as connection:
        connection.execute(update(receiver_state).values(counted_until=ahead, uncounted_to=0))
    add(engine, message("a", sent_at=ahead - timedelta(hours=1)))
    settle.settle_all(engine)
    assert counts(engine) == {"silent": 1}


def test_messages_from_before_are_counted_newest_first_in_portions(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settle, "MAX_CATCH_UP", 10)
    add(engine, *(message(f"m{n}", settled_at=MIDNIGHT) for n in range(25)))
    done = []
    while (settled := settle.settle_one(engine)).more:
        done.append(settled.older)
        with engine.connect() as connection:
            statement = select(sent_message.c.rollup_id).order_by(sent_message.c.id.desc())
            ids = list(connection.execute(statement).scalars())
        there = [n for n, found in enumerate(ids) if found is not None]
        assert there == list(range(len(there)))
    assert done == [10, 10, 5]
    assert counts(engine) == {"silent": 25}
    check(engine)


def test_what_waits_goes_before_what_is_old(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settle, "MAX_CATCH_UP", 3)
    add(engine, *(message(f"m{n}", settled_at=MIDNIGHT) for n in range(5)))
    add(engine, *(message(f"n{n}") for n in range(5)))
    assert settle.settle_one(engine) == settle.Settled(messages=5)
    assert settle.settle_one(engine).older == 3


def test_who_has_nothing_to_do_writes_once_a_minute(
    engine: Engine,
) -> None:
    def looked() -> datetime:
        settle.settle_one(engine)
        with engine.connect() as connection:
            found: datetime = connection.execute(
                select(receiver_state.c.counted_until)
            ).scalar_one()
        return found

    add(engine, message("a"))
    settle.settle_all(engine)
    first = looked() - timedelta(seconds=30)
    with engine.begin() as connection:
        connection.execute(update(receiver_state).values(counted_until=first))
    assert looked() == first
    add(engine, message("b"))  # which is written with what was to do
    assert looked() > first + timedelta(seconds=29)
    first -= settle.STATE_INTERVAL
    with engine.begin() as connection:
        connection.execute(update(receiver_state).values(counted_until=first))
    assert looked() > first + settle.STATE_INTERVAL


def test_what_the_old_code_settled_is_counted(engine: Engine) -> None:
    """It knows neither the roll-ups nor the columns of messages that they need."""
    add(engine, message("a"), message("b"))
    settle.settle_all(engine)
    add(engine, report(1, "a"), message("c"))
    with engine.begin() as connection:
        settle.settle(connection)
        left = select(sent_message.c.status).order_by(sent_message.c.id)
        assert list(connection.execute(left).scalars()) == ["delivered", "accepted", "accepted"]
        # All that only this code wrote, back to what it was.
        nothing: dict[str, Any] = dict.fromkeys(Contribution._fields)
        name = sent_message.c.message_id
        connection.execute(update(sent_message).where(name == "c").values(**nothing))
        connection.execute(
            update(sent_message)
            .where(name == "a")
            .values(counted_as="silent", counted_milliseconds=None)
        )
        zero: dict[str, Any] = {
            c.name: 0 for c in delivery_rollup.c if c.name in {"delivered", "timed", "milliseconds"}
        }
        within: dict[str, Any] = dict.fromkeys(DELIVERY_TIMES.names, 0)
        connection.execute(update(delivery_rollup).values(silent=2, **zero, **within))
        connection.execute(update(receiver_state).values(changed_until=None))
    settle.settle_all(engine)
    assert counts(engine) == {"delivered": 1, "silent": 2}
    check(engine)


def test_an_upgrade_adds_the_credit_of_what_is_there(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the schema before, on data, with changes while it is done."""
    monkeypatch.setattr(settle, "MAX_CATCH_UP", 3)
    hours = [MIDNIGHT + timedelta(hours=n) for n in range(8)]
    for n, at in enumerate(hours):
        credit = Decimal(n) / 4
        add(engine, message(f"m{n}", sent_at=at, credit=credit), message(f"s{n}", sent_at=at))
        add(engine, report(n, f"m{n}", status=("delivered", "expired")[n % 2], credit=credit + n))
    settle.settle_all(engine)
    check(engine)
    configuration = schema.configuration
    with engine.begin() as connection:
        command.downgrade(configuration(connection=connection, views=False), "0008")
    assert schema.upgrade(engine)
    with engine.connect() as connection:
        assert counts(engine) == {"delivered": 4, "failed": 4, "silent": 8}
        assert lines(connection, "SELECT sum(delivered_credit) FROM credit_daily") == [(0.0,)]
    add(engine, report(8, "m1", credit=Decimal(9)), report(9, "s6", credit=Decimal(2)))
    settle.settle_all(engine)
    check(engine)
    with engine.connect() as connection:
        state = select(receiver_state.c.uncounted_to, receiver_state.c.uncredited_before)
        assert tuple(connection.execute(state).one()) == (0, None)


def test_rows_that_are_joined_count_once(engine: Engine) -> None:
    first = SentMessage(recipient="66811111111", transaction_id="T", tag="x", credit=Decimal(2))
    second = SentMessage(recipient="66811111111", message_id="A", sent_at=MIDNIGHT)
    both = SentMessage(recipient="66811111111", message_id="A", transaction_id="T")
    for recorded in (first, second):
        with engine.begin() as connection:
            recording.record(connection, "ants", [recorded])
    settle.settle_all(engine)
    assert counts(engine) == {"silent": 2}
    with engine.begin() as connection:
        recording.record(connection, "ants", [both])
    settle.settle_all(engine)
    assert counts(engine) == {"silent": 1}
    check(engine)


def test_a_row_that_is_joined_while_it_is_settled_is_counted_no_more(databases: Databases) -> None:
    url = databases.make("postgresql")
    engine = databases.open(url)
    add(engine, message("a"))
    settle.settle_all(engine)
    add(engine, report(1, "a"))
    blocked = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
    with engine.begin() as other:
        ids = list(other.execute(select(sent_message.c.id).with_for_update()).scalars())
        rollups.forget(other, ids)
        other.execute(delete(sent_message))
        thread = threading.Thread(target=settle.settle_all, args=[engine])
        thread.start()
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as looking:
            while thread.is_alive() and not looking.execute(blocked).scalar_one():
                pass
        assert thread.is_alive()
    thread.join(10)
    assert counts(engine) == {}
    databases.drop(url)


def test_what_is_deleted_stays_counted(engine: Engine) -> None:
    add(engine, message("a", tag="x", credit=Decimal("0.5")), report(1, "a"), message("b"))
    settle.settle_all(engine)
    with engine.connect() as connection:
        before = [lines(connection, f"SELECT * FROM {view}") for view in VIEWS]
    with engine.begin() as connection:
        connection.execute(delete(delivery_report))
        connection.execute(update(sent_message).values(settled_at=None))
    settle.settle_all(engine)
    with engine.begin() as connection:
        connection.execute(delete(sent_message).where(sent_message.c.message_id == "a"))
    rebuild.rebuild(engine, INTERPRETER)
    with engine.connect() as connection:
        assert [lines(connection, f"SELECT * FROM {view}") for view in VIEWS] == before


def test_a_message_is_recorded_once_however_often_its_status_changes(engine: Engine) -> None:
    add(engine, message("a"), message("b", error="no", message_id="b"))
    settle.settle_all(engine)
    for number, status in enumerate(("accepted", "enroute", "expired", "delivered")):
        add(
            engine, report(number, "a", status=status, done_at=MIDNIGHT + timedelta(minutes=number))
        )
        settle.settle_all(engine)
    with engine.connect() as connection:
        recorded = "SELECT sum(recorded) FROM activity_rollup"
        assert connection.execute(text(recorded)).scalar_one() == 2
    assert counts(engine) == {"delivered": 1, "refused": 1}


def test_what_a_deleted_report_told_stays_counted(engine: Engine) -> None:
    """How long it took from the provider's own time of sending, and the credit that it told."""
    own = {"sent_at": MIDNIGHT + timedelta(seconds=7), "credit": Decimal("1.5")}
    add(engine, message("a", credit=Decimal(1)), report(1, "a", **own))
    settle.settle_all(engine)
    wanted = {"timed": 1, "milliseconds": 2000, "reported": 1, "reported_credit": 15000}
    assert sums(engine, *wanted) == wanted
    with engine.begin() as connection:
        connection.execute(delete(delivery_report))
        connection.execute(update(sent_message).values(settled_at=None))
    settle.settle_all(engine)
    assert sums(engine, *wanted) == wanted


def sums(engine: Engine, *names: str) -> dict[str, int]:
    with engine.connect() as connection:
        said = ", ".join(f"sum({name}) AS {name}" for name in names)
        found = connection.execute(text(f"SELECT {said} FROM delivery_rollup")).mappings().one()
    return {name: int(found[name]) for name in names}


def test_an_hour_is_locked_while_it_is_made_again(databases: Databases) -> None:
    """Else what another process counts meanwhile would be undone."""
    engine = databases.open(url := databases.make("postgresql"))
    add(engine, message("a"))
    settle.settle_all(engine)
    begins = bangkok.hour_begins(MIDNIGHT)
    with engine.begin() as connection, engine.connect() as other:
        rollups.remake(connection, begins, some=False)
        other.execute(text("SET LOCAL lock_timeout = '100ms'"))
        with pytest.raises(OperationalError, match="lock timeout"):
            other.execute(text("UPDATE delivery_rollup SET silent = silent + 1"))
    databases.drop(url)


def test_tags_without_number_share_a_row(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollups, "MAX_TAGS", 3)
    add(engine, *(message(f"m{n}", tag=f"t{n}") for n in range(5)), message("m5"))
    settle.settle_all(engine, portion=2)
    add(engine, message("m6", tag="t1", sender="S"), message("m7", tag="t4"))
    add(engine, message("m8", tag="t4", sent_at=MIDNIGHT + timedelta(hours=1)))
    add(engine, report(1, "m4"))
    settle.settle_all(engine)
    with engine.connect() as connection:
        query = "SELECT hour, tag, sender, submitted, delivered FROM delivery_rate_hourly"
        found = Counter({row[1:3]: row[3] for row in connection.execute(text(query))})
        assert found == {
            ("t0", None): 1, ("t1", None): 1, ("t2", None): 1, (None, None): 1, ("t1", "S"): 1,
            (OTHER_TAGS, None): 3, ("t4", None): 1,
        }  # fmt: skip
        other = f"WHERE tag = '{OTHER_TAGS}'"
        assert [row[4] for row in connection.execute(text(f"{query} {other}"))] == [1]


def test_rebuild_makes_spoilt_roll_ups_again(engine: Engine) -> None:
    hours = [MIDNIGHT + timedelta(hours=n) for n in (0, 1, 5)]
    add(engine, *(message(f"m{n}", sent_at=at, tag="x") for n, at in enumerate(hours)))
    add(engine, report(1, "m1", done_at=hours[1] + timedelta(seconds=3)))
    with engine.begin() as connection:
        connection.execute(update(delivery_report).values(provider_status="DELIVERED"))
    settle.settle_all(engine)
    rebuild.rebuild(engine, INTERPRETER)
    check(engine)
    with engine.begin() as connection:
        connection.execute(update(delivery_rollup).values(silent=7, within_5s=9))
    assert rebuild.rebuild(engine, INTERPRETER, dry_run=True).changed_rollups == 2
    rebuild.rebuild(engine, INTERPRETER)
    # Of the oldest hour that has messages, others may have been deleted.
    assert counts(engine)["silent"] == 7 + 1
    with engine.begin() as connection:
        connection.execute(delete(delivery_rollup))
    rebuild.rebuild(engine, INTERPRETER)
    check(engine)


def test_percentiles_are_the_steps_they_are_in(engine: Engine) -> None:
    seconds = [1, 1.001, 2, 8, 9, 9.999, 10, 70, 110_000]
    for n, took in enumerate(seconds):
        done = MIDNIGHT + timedelta(seconds=took)
        add(engine, message(f"m{n}"), report(n, f"m{n}", done_at=done))
    settle.settle_all(engine)
    query = "SELECT timed, median_seconds, p95_seconds FROM delivery_percentile_daily"
    with engine.connect() as connection:
        assert connection.execute(text(query)).one() == (9, 10.0, None)
        connection.execute(delete(delivery_rollup))


# Plans. Few hours and many messages, as it is; or many reports and no message at all.

N = 6_000


def fill(connection: Connection, messages: int, *, analyzed: bool) -> None:
    if connection.dialect.name == "postgresql":  # which else looks at the tables when it likes
        for table in (sent_message, delivery_report, callback, delivery_rollup):
            connection.execute(text(f"ALTER TABLE {table} SET (autovacuum_enabled = false)"))
    give_ids(connection)
    at = [MIDNIGHT + timedelta(minutes=n) for n in range(N)]
    rows = [
        message(
            f"m{n}", id=n, transaction_id=f"t{n // 3}", recipient=f"668{n:08}", sent_at=at[n],
            settled_at=at[n], recorded_at=at[n], rollup_id=1 + n // 60, counted_as="delivered",
            status="delivered", report_id=n, changed_at=at[n],
        )
        for n in range(1, messages)
    ]  # fmt: skip
    if rows:
        connection.execute(insert(sent_message), rows)
    connection.execute(
        insert(delivery_report),
        [
            report(
                n, f"m{n}", id=n, transaction_id=f"t{n // 3}", received_at=at[n],
                settled_at=at[n], sent_message_id=n if messages else None,
            )
            for n in range(1, N)
        ],
    )  # fmt: skip
    connection.execute(
        insert(callback),
        [
            {"id": str(UUID(int=n)), "provider": "ants", "method": "POST", "body": b"",
             "received_at": at[n], "outcome": "read"}
            for n in range(1, N)
        ],
    )  # fmt: skip
    keys = [
        rollups.RollupKey(bangkok.hour_number(MIDNIGHT) + n // 6, "ants", "", f"S{n % 6}", None)
        for n in range(2000 if messages else 0)
    ]
    if keys:
        connection.execute(insert(delivery_rollup), [key.row() for key in keys])
    if analyzed:
        connection.execute(text("ANALYZE"))


@pytest.fixture(scope="module", params=product(DIALECTS, (N, 0), (True, False)), ids=str)
def crowded(request: pytest.FixtureRequest, databases: Databases) -> Iterator[Engine]:
    """Connect to a database of many messages with reports, or of reports alone.

    What planners know of them is one thing soon after a bulk load, and another later.
    """
    dialect, messages, analyzed = request.param
    url = databases.make(dialect)
    engine = databases.open(url)
    with engine.begin() as connection:
        fill(connection, messages, analyzed=analyzed)
    yield engine
    databases.drop(url)


STATEMENTS = (
    "TAKE_MESSAGES", "TAKE_REPORTS", "READ_REPORTS", "AFFECTED_REPORTS", "MATCH", "SOLE",
    "DECIDING",
    "READ_MESSAGES", "SETTLE_MESSAGES", "LINK", "SETTLE_REPORTS", "DECIDE", "COUNT", "CLOCK",
    "NEWEST", "TAKE_OLDER", "TAKE_DUE",
)  # fmt: skip
GIVEN = {"MATCH": statements.GIVEN, "SOLE": statements.TRANSACTIONS}
TEXTS = ("provider", "account", "transaction_id", "message_id", "recipient")
ONE = {"ids": [7], "after": 0, "portion": 100, "uncounted_to": N}
NOW = MIDNIGHT + timedelta(minutes=N)
MOMENTS = {"now": NOW, "since": NOW, "until": NOW}


def explaining(connection: Connection) -> str:
    return "EXPLAIN QUERY PLAN" if connection.dialect.name == "sqlite" else "EXPLAIN"


def plan_given(connection: Connection, sql: str, given: GivenRows) -> str:
    """Explain a statement that is given one row."""
    one = [[7 if name == "id" else "x" if name in TEXTS else None for name in given.columns]]
    return "\n".join(
        row[-1]
        for row in connection.exec_driver_sql(
            f"{explaining(connection)} {sql}", given.bind(connection, one)
        )
    )


def plan(connection: Connection, sql: str, values: Row) -> str:
    explain = explaining(connection)
    used = {name: value for name, value in values.items() if re.search(rf":{name}\b", sql)}
    return "\n".join(row[-1] for row in connection.execute(text(f"{explain} {sql}"), used))


def walks(found: str) -> list[str]:
    """Return the steps that read a big table, or a big index, from end to end."""
    big = r"(sent_message|delivery_report|callback|m|r|c|u)\b"
    return [
        line
        for line in found.splitlines()
        if (re.match(rf"SCAN {big}", line) and "_unsettled" not in line)
        or re.search(r"Seq Scan on (sent_message|delivery_report|callback)\b", line)
        or "unmatched" in line
    ]


@pytest.mark.parametrize("name", STATEMENTS)
def test_no_statement_of_settling_walks_a_big_table(crowded: Engine, name: str) -> None:
    dialect = crowded.dialect.name
    template = getattr(statements, name)
    values: Row = ONE | {
        n: instant_text(v) if dialect == "sqlite" else v for n, v in MOMENTS.items()
    }
    if dialect == "sqlite":
        values["ids"] = "[7]"
    with crowded.connect() as connection:
        if isinstance(template, BulkUpdate):
            found = plan_given(connection, template.sql[dialect], template.given)
        elif name in GIVEN:
            sql = template.format(rows=GIVEN[name].sql[dialect])
            found = plan_given(connection, sql, GIVEN[name])
        else:
            sql = template if isinstance(template, str) else template[dialect]
            sql = sql.format(ids=statements.IDS[dialect], skip="", lock="")
            found = plan(connection, sql, values)
        many = "SELECT count(*) FROM sent_message"
        empty = not connection.execute(text(many)).scalar_one()
    if empty and dialect == "postgresql":  # an empty table is read whole, and rightly so
        found = re.sub(r".*Seq Scan on sent_message.*", "", found)
    assert not walks(found), f"{name}\n{found}"


DOCUMENTED = [
    ("delivery_rate_hourly", "hour >= '2025-06-11 09:00:00' AND hour < '2025-06-11 18:00:00'"),
    ("delivery_rate_hourly", "hour = '2025-06-11 09:00:00'"),
    ("delivery_rate_daily", "day >= '2025-06-20'"),
    ("delivery_rate_daily", "day = '2025-06-12'"),
    ("delivery_latency_daily", "day >= '2025-06-20'"),
    ("credit_daily", "day >= '2025-06-20'"),
    ("delivery_percentile_daily", "day >= '2025-06-20'"),
]


@pytest.mark.parametrize(("view", "where"), DOCUMENTED)
def test_a_view_reads_the_hours_that_are_asked_for(crowded: Engine, view: str, where: str) -> None:
    with crowded.connect() as connection:
        if connection.dialect.name == "postgresql":  # to which 2,000 rows are soon read
            connection.execute(text("SET LOCAL enable_seqscan = off"))
        found = plan(connection, f"SELECT * FROM {view} WHERE {where}", {})
    assert re.search(r"ix_delivery_rollup_(day|hour)", found), found
    assert not re.search("sent_message|delivery_report", found), found
    assert not re.search(r"SCAN delivery_rollup|Seq Scan", found), found


def test_every_view_that_counted_messages_is_compared() -> None:
    assert set(VIEWS) == set(ORACLE)
