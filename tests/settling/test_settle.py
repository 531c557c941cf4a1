"""Matching and settling: one end state, whatever came first, on both databases.

The rules are written down a second time here, in plain Python over whole sets, and compared.
"""

from __future__ import annotations

import re
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, event, insert, select, text, update
from sqlalchemy.exc import OperationalError

from receiver.database.tables.callbacks import delivery_report
from receiver.database.tables.messages import sent_message
from receiver.domain.status import Status
from receiver.settling import settle, statements

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from receiver.database.bulk import GivenRows

Row = dict[str, Any]

START = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
NUMBERS = ("66811111111", "66822222222")
RULE = {
    "delivered": 0,
    "undeliverable": 1,
    "expired": 1,
    "rejected": 1,
    "deleted": 1,
    "enroute": 2,
    "accepted": 3,
    "unknown": 4,
}
TIE = ["undeliverable", "expired", "rejected", "deleted"]


def message(**values: Any) -> Row:
    row = {
        "provider": "ants",
        "recipient": NUMBERS[0],
        "account": "",
        "transaction_id": None,
        "message_id": None,
        "error": None,
    }
    return row | {"sent_at": START} | values


def report(number: int, **values: Any) -> Row:
    row: Row = {
        "callback_id": "01900000-0000-7000-8000-000000000000",
        "position": 0,
        "provider": "ants",
        "account": "",
        "transaction_id": None,
        "message_id": None,
        "recipient": None,
        "provider_status": "X",
        "status": "delivered",
        "done_at": None,
        "digest": number.to_bytes(16, "big"),
        "received_at": START,
    }
    return row | values


def add(engine: Engine, rows: list[Row]) -> None:
    with engine.begin() as connection:
        for row in rows:
            table = delivery_report if "digest" in row else sent_message
            connection.execute(insert(table), row)


# --- The rules again, over whole sets --------------------------------------------------------


def fits(m: Row, r: Row) -> bool:
    return m["provider"] == r["provider"] and (
        m["account"] == r["account"] or not m["account"] or not r["account"]
    )


def candidates(r: Row, messages: list[Row]) -> Iterator[list[Row]]:
    key = r["message_id"] or r["transaction_id"]
    yield [
        m for m in messages if m["message_id"] == key and r["recipient"] in {None, m["recipient"]}
    ]
    yield [
        m
        for m in messages
        if r["transaction_id"]
        and m["transaction_id"] == r["transaction_id"]
        and m["recipient"] == r["recipient"]
        and not (m["message_id"] and r["message_id"])
    ]
    if r["message_id"] is None and r["recipient"] is None:
        yield [
            m for m in messages if m["transaction_id"] == r["transaction_id"] and m["error"] is None
        ]


def matched(r: Row, messages: list[Row]) -> Row | None:
    for found in candidates(r, [m for m in messages if fits(m, r)]):
        own = [m for m in found if r["account"] and m["account"] == r["account"]]
        best = own or found
        if best:
            return best[0] if len(best) == 1 else None
    return None


def decided(m: Row, reports: list[Row]) -> tuple[Any, ...]:
    if not reports:
        return ("rejected" if m["error"] else "accepted", None, None, False)

    def order(r: Row) -> tuple[Any, ...]:
        late = -r["done_at"].timestamp() if r["done_at"] else 0
        tie = TIE.index(r["status"]) if r["status"] in TIE else 0
        return RULE[r["status"]], late, tie, r["digest"]

    best = min(reports, key=order)
    words = {r["status"] for r in reports}
    conflicting = "delivered" in words and bool(words & set(TIE))
    return best["status"], best["done_at"], best["digest"], conflicting


def expected(messages: list[Row], reports: list[Row]) -> dict[str, Any]:
    links = {r["digest"]: matched(r, messages) for r in reports}
    return {
        "links": {d: m and unique(m) for d, m in links.items()},
        "messages": {
            unique(m): decided(m, [r for r in reports if links[r["digest"]] is m]) for m in messages
        },
    }


def unique(m: Any) -> tuple[Any, ...]:
    names: tuple[str, ...] = ("message_id", "recipient", "provider", "account")
    if m["message_id"] is None:
        names = ("transaction_id", *names)
    return tuple(m[name] for name in names)


def actual(engine: Engine) -> dict[str, Any]:
    with engine.connect() as connection:
        rows = connection.execute(select(sent_message)).mappings().all()
        said = connection.execute(select(delivery_report)).mappings().all()
    assert all(row["settled_at"] is not None for row in (*rows, *said))
    names = {row["id"]: unique(row) for row in rows}
    digests = {row["id"]: row["digest"] for row in said}
    return {
        "links": {row["digest"]: names.get(row["sent_message_id"]) for row in said},
        "messages": {
            unique(row): (
                row["status"],
                row["done_at"],
                digests.get(row["report_id"]),
                row["conflicting"],
            )
            for row in rows
        },
    }


ids = st.sampled_from([None, "A", "B", "C"])
messages_ = st.lists(
    st.builds(
        message,
        recipient=st.sampled_from(NUMBERS),
        account=st.sampled_from(["", "x", "y"]),
        transaction_id=ids,
        message_id=ids,
        error=st.sampled_from([None, None, "no"]),
    ).filter(lambda m: m["message_id"] or m["transaction_id"]),
    max_size=5,
    unique_by=unique,
)
reports_ = st.lists(
    st.builds(
        report,
        st.integers(0, 2**32),
        account=st.sampled_from(["", "x", "y"]),
        transaction_id=ids,
        message_id=ids,
        recipient=st.sampled_from([None, *NUMBERS]),
        status=st.sampled_from([s.value for s in Status]),
        done_at=st.sampled_from([None, START, START + timedelta(seconds=5)]),
    ).filter(lambda r: r["message_id"] or r["transaction_id"]),
    max_size=7,
    unique_by=lambda r: r["digest"],
)


def clear(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM sent_message"))
        connection.execute(text("DELETE FROM delivery_report"))


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(messages=messages_, reports=reports_, data=st.data())
def test_one_end_state_in_every_order(
    engine: Engine, messages: list[Row], reports: list[Row], data: st.DataObject
) -> None:
    wanted = expected(messages, reports)
    clear(engine)
    for row in data.draw(st.permutations([*messages, *reports])):
        add(engine, [row])
        if data.draw(st.booleans()):
            settle.settle_all(engine, portion=data.draw(st.sampled_from([1, 2, 5000])))
    settle.settle_all(engine, portion=data.draw(st.sampled_from([1, 2, 5000])))
    assert actual(engine) == wanted
    assert settle.settle_all(engine) == 0


# --- Single rules, by hand -------------------------------------------------------------------


def state(engine: Engine) -> list[tuple[Any, ...]]:
    with engine.connect() as connection:
        return [
            tuple(row)
            for row in connection.execute(
                select(
                    sent_message.c.message_id, sent_message.c.transaction_id, sent_message.c.status
                ).order_by(sent_message.c.id)
            )
        ]


def test_thaibulksms_transaction_is_a_v2_message_id_or_a_v1_transaction(engine: Engine) -> None:
    add(
        engine,
        [
            message(message_id="v2"),
            message(transaction_id="v1"),
            report(1, transaction_id="v2"),
            report(2, transaction_id="v1", status="expired"),
        ],
    )
    settle.settle_all(engine)
    assert state(engine) == [("v2", None, "delivered"), (None, "v1", "expired")]


def test_a_transaction_of_several_is_not_guessed_at(engine: Engine) -> None:
    add(engine, [message(transaction_id="T"), report(1, transaction_id="T")])
    settle.settle_all(engine)
    assert [s[2] for s in state(engine)] == ["delivered"]
    add(engine, [message(transaction_id="T", recipient=NUMBERS[1])])
    settle.settle_all(engine)
    assert [s[2] for s in state(engine)] == ["accepted", "accepted"]


def test_ids_are_compared_with_case(engine: Engine) -> None:
    add(engine, [message(message_id="aB"), message(message_id="ab"), report(1, message_id="ab")])
    settle.settle_all(engine)
    assert [s[2] for s in state(engine)] == ["accepted", "delivered"]


def test_a_refused_message_without_a_report_is_rejected(engine: Engine) -> None:
    add(engine, [message(message_id="m", error="bad number", recipient="12")])
    settle.settle_all(engine)
    assert state(engine) == [("m", None, "rejected")]


def test_a_message_whose_deciding_report_was_deleted_keeps_its_status(engine: Engine) -> None:
    add(engine, [message(message_id="m"), report(1, message_id="m", status="expired")])
    settle.settle_all(engine)
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM delivery_report"))
        connection.execute(update(sent_message).values(settled_at=None))
    add(engine, [report(2, message_id="m", status="enroute")])
    settle.settle_all(engine)
    assert state(engine) == [("m", None, "expired")]
    add(engine, [report(3, message_id="m", status="delivered")])
    settle.settle_all(engine)
    assert state(engine) == [("m", None, "delivered")]


def test_a_final_status_whose_report_was_deleted_is_replaced_by_no_other_failure(
    engine: Engine,
) -> None:
    add(engine, [message(message_id="m"), report(1, message_id="m", status="expired")])
    settle.settle_all(engine)
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM delivery_report"))
    later = {"status": "undeliverable", "done_at": START + timedelta(hours=1)}
    add(engine, [report(2, message_id="m", **later)])
    settle.settle_all(engine)
    assert state(engine) == [("m", None, "expired")]


def test_the_same_status_reported_again_leaves_the_time_of_the_change(engine: Engine) -> None:
    """Else the message would leave the feed of changes."""
    add(engine, [message(message_id="m"), report(1, message_id="m", done_at=START)])
    settle.settle_all(engine)
    (before,) = told(engine)
    add(engine, [report(2, message_id="m", done_at=START + timedelta(minutes=1))])
    settle.settle_all(engine)
    (after,) = told(engine)
    assert before.report_id != after.report_id
    assert before.changed_at == after.changed_at is not None


def told(engine: Engine) -> Sequence[Any]:
    with engine.connect() as connection:
        return connection.execute(select(sent_message).order_by(sent_message.c.id)).all()


def test_an_erased_report_is_given_to_nobody(engine: Engine) -> None:
    """What showed which message it belongs to is gone: the only one left may not be it."""
    add(engine, [message(transaction_id="t")])
    add(engine, [report(1, transaction_id="t", erased_at=START)])
    add(engine, [report(2, transaction_id="t", status="enroute")])
    settle.settle_all(engine)
    table = delivery_report.c
    with engine.connect() as connection:
        found = select(table.sent_message_id, table.settled_at).order_by(table.id)
        erased, other = connection.execute(found).all()
    assert (erased.sent_message_id, erased.settled_at is None) == (None, False)
    assert other.sent_message_id is not None
    assert state(engine) == [(None, "t", "enroute")]


def test_after_a_change_of_ours_nothing_is_counted_again(engine: Engine) -> None:
    add(engine, [message(message_id=f"m{n}") for n in range(3)])
    settle.settle_all(engine)
    add(engine, [report(1, message_id="m0")])
    changed = settle.settle_one(engine)
    assert changed.changes
    assert [settle.settle_one(engine).older for _ in range(2)] == [0, 0]
    with engine.begin() as connection:  # a change of somebody else is found by counting all
        latest = connection.execute(text("SELECT max(changed_at) FROM sent_message")).scalar_one()
        assert latest is not None
        table = sent_message.c
        values = {"status": "accepted", "changed_at": datetime.now(UTC) + timedelta(seconds=9)}
        connection.execute(update(sent_message).where(table.message_id == "m1").values(values))
    assert settle.settle_one(engine).older == 3


def test_a_changed_status_of_a_linked_report_is_decided_again(engine: Engine) -> None:
    add(engine, [message(message_id="m"), report(1, message_id="m", status="unknown")])
    settle.settle_all(engine)
    with engine.begin() as connection:
        connection.execute(update(delivery_report).values(status="delivered", settled_at=None))
    settle.settle_all(engine)
    assert state(engine) == [("m", None, "delivered")]


def test_changes_have_rising_times_even_when_the_clock_is_set_back(engine: Engine) -> None:
    future = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    add(engine, [message(message_id="old"), message(message_id="m"), report(1, message_id="m")])
    with engine.begin() as connection:
        connection.execute(
            update(sent_message).where(sent_message.c.message_id == "old").values(changed_at=future)
        )
    settle.settle_all(engine)
    with engine.connect() as connection:
        changed = dict(
            connection.execute(select(sent_message.c.message_id, sent_message.c.changed_at)).all()
        )
    assert changed["m"] == future + timedelta(milliseconds=1)


def test_a_transaction_of_very_many_is_settled_in_portions(engine: Engine) -> None:
    add(engine, [report(n, transaction_id="T", recipient=f"668{n:08}") for n in range(230)])
    settle.settle_all(engine)
    add(engine, [message(transaction_id="T", recipient=f"668{n:08}") for n in range(230)])
    settle.settle_all(engine, portion=50)
    assert {s[2] for s in state(engine)} == {"delivered"}


# --- PostgreSQL: several at once -------------------------------------------------------------


@pytest.fixture
def postgresql(databases: Any) -> Iterator[Engine]:
    url = databases.make("postgresql")
    yield databases.open(url)
    databases.drop(url)


def test_rows_committed_long_after_they_were_written(postgresql: Engine) -> None:
    """A row with a low id that becomes visible late is still settled."""
    with postgresql.connect() as slow, postgresql.connect() as other:
        slow.begin()
        slow.execute(insert(sent_message), message(message_id="late"))
        slow.execute(insert(delivery_report), report(1, message_id="late report"))
        other.begin()
        other.execute(insert(delivery_report), report(2, message_id="late"))
        other.execute(insert(sent_message), message(message_id="late report"))
        other.commit()
        settle.settle_all(postgresql)
        assert state(postgresql) == [("late report", None, "accepted")]
        slow.commit()
    settle.settle_all(postgresql)
    assert {s[2] for s in state(postgresql)} == {"delivered"}


def test_only_one_hand_settles(postgresql: Engine) -> None:
    add(postgresql, [message(message_id="m"), report(1, message_id="m")])
    with postgresql.begin() as other:
        other.execute(text(statements.SETTLING_LOCK))
        assert settle.settle_all(postgresql) == 0
    assert settle.settle_all(postgresql) == 2


def test_a_row_that_changes_meanwhile_is_not_marked_settled_unseen(postgresql: Engine) -> None:
    add(postgresql, [message(message_id="m"), report(1, message_id="m", status="unknown")])
    settle.settle_all(postgresql)
    with postgresql.connect() as other:
        other.begin()
        other.execute(update(delivery_report).values(status="delivered", settled_at=None))
        settle.settle_all(postgresql)
        other.commit()
    settle.settle_all(postgresql)
    assert state(postgresql) == [("m", None, "delivered")]


def test_a_row_that_somebody_changes_is_left_for_the_next_round(postgresql: Engine) -> None:
    """It is not waited for: one who keeps a row for long would stop all settling."""
    names = ("locked", "free")
    add(postgresql, [message(message_id=name) for name in names])
    add(postgresql, [report(n, message_id=name) for n, name in enumerate(names)])
    with postgresql.connect() as other:
        other.begin()
        for table in (sent_message, delivery_report):
            locked = select(table.c.id).where(table.c.message_id == "locked").with_for_update()
            other.execute(locked)
        with postgresql.begin() as connection:
            connection.execute(text("SET LOCAL lock_timeout = '2s'"))
            done = settle.settle(connection)
    assert (done.messages, done.reports) == (1, 1)
    settle.settle_all(postgresql)
    assert [row[2] for row in state(postgresql)] == ["delivered", "delivered"]


def test_a_report_cannot_change_while_it_is_linked_again(postgresql: Engine) -> None:
    add(postgresql, [report(1, message_id="m", recipient=NUMBERS[0])])
    settle.settle_all(postgresql)
    add(postgresql, [message(message_id="m")])
    refused: list[str] = []

    def change(_: Any, __: Any, statement: str, *_more: Any) -> None:
        if " AS erased" not in statement or " WHERE r.id " not in " ".join(statement.split()):
            return
        with postgresql.connect() as other:
            other.execute(text("SET LOCAL lock_timeout = '100ms'"))
            try:
                other.execute(text("UPDATE delivery_report SET recipient = '66822222222'"))
            except OperationalError as error:
                refused.append(type(error.orig).__name__)
            other.rollback()

    event.listen(postgresql, "after_cursor_execute", change)
    settle.settle_all(postgresql)
    event.remove(postgresql, "after_cursor_execute", change)
    assert refused == ["LockNotAvailable"]
    assert state(postgresql) == [("m", None, "delivered")]


def test_concurrent_reports_records_and_two_settling_receivers(postgresql: Engine) -> None:
    """Whatever interleaving happens, what is left is what the whole set means."""
    messages = [message(message_id=f"m{n}", transaction_id=f"t{n % 7}") for n in range(120)]
    reports = [
        report(n, message_id=f"m{n % 120}", status=s)
        for n, s in enumerate(["enroute", "delivered", "expired"] * 120)
    ]
    stop = threading.Event()
    errors: list[BaseException] = []

    def guarded(work: Any) -> threading.Thread:
        def run() -> None:
            try:
                work()
            except BaseException as error:  # noqa: BLE001 - handed to the test
                errors.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    def feed(rows: list[Row], engine: Engine) -> None:
        for row in rows:
            with engine.begin() as connection:
                table = delivery_report if "digest" in row else sent_message
                connection.execute(insert(table), row)

    def hand() -> None:
        while not stop.is_set():
            settle.settle_all(postgresql, portion=20)
            time.sleep(0.001)

    hands = [guarded(hand), guarded(hand)]
    feeders = [
        guarded(lambda rows=rows: feed(rows, postgresql))
        for rows in (messages[::2], messages[1::2], reports[::3], reports[1::3], reports[2::3])
    ]
    for thread in feeders:
        thread.join()
    stop.set()
    for thread in hands:
        thread.join()
    assert errors == []
    settle.settle_all(postgresql)
    assert actual(postgresql) == expected(messages, reports)


def plan(connection: Connection, statement: str) -> str:
    values = {"ids": "[1]", "after": 0, "portion": 5}
    return detail(connection.execute(text("EXPLAIN QUERY PLAN " + statement), values))


def plan_given(connection: Connection, statement: str, given: GivenRows) -> str:
    bound = given.bind(connection, [[1, *("x" for _ in given.columns[1:])]])
    return detail(connection.exec_driver_sql("EXPLAIN QUERY PLAN " + statement, bound))


def detail(steps: Any) -> str:
    return "\n".join(str(step.detail) for step in steps)


def test_no_statement_walks_a_big_table_on_sqlite(databases: Any) -> None:
    engine = databases.open(databases.make("sqlite"))
    with engine.begin() as connection:  # a planner with figures chooses as it does in production
        connection.execute(text("ANALYZE"))
        plans = [
            plan(connection, template.format(ids=statements.IDS["sqlite"], skip="", lock=""))
            for template in (
                statements.TAKE_MESSAGES,
                statements.TAKE_REPORTS,
                statements.READ_REPORTS,
                statements.AFFECTED_REPORTS,
                statements.DECIDING,
                statements.READ_MESSAGES,
                statements.CLOCK["sqlite"],
            )
        ]
        plans += [
            plan_given(connection, template.format(rows=given.sql["sqlite"]), given)
            for template, given in (
                (statements.MATCH, statements.GIVEN),
                (statements.SOLE, statements.TRANSACTIONS),
            )
        ]
    for steps in plans:
        for step in steps.splitlines():
            walks = re.match(r"SCAN (r|m|delivery_report|sent_message)\b(?!.*unsettled)", step)
            assert not walks, steps
            assert "unmatched" not in step, steps
