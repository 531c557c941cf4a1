"""Keeping: every callback once, every report once, every repeat counted, on both databases."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, insert, select, text

from receiver.database.failures import RaceError
from receiver.database.tables.callbacks import callback, delivery_report
from receiver.database.tables.messages import sent_message
from receiver.database.transactions import retry
from receiver.domain.callback import Callback, new_id
from receiver.domain.reading import Kept, Reading
from receiver.domain.report import Report
from receiver.domain.sent_message import SentMessage
from receiver.ingest import store
from receiver.ingest.interpret import Interpreter
from receiver.messages.recording import record
from receiver.settings.settings import Settings
from receiver.settling import settle
from tests.settling.test_settle import actual, expected

if TYPE_CHECKING:
    from tests.conftest import Databases

INTERPRETER: Final = Interpreter.from_settings(Settings())
ARRIVED: Final = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)


def report(message_id: str | None, status: str = "DELIVERED", **more: Any) -> Report:
    return Report(position=0, message_id=message_id, provider_status=status, **more)


def reading(*reports: Report, **more: Any) -> Reading:
    """Return a callback of ANTS and its reports, which need not be in its body."""
    arrived = Callback(provider="ants", method="POST", received_at=ARRIVED, **more)
    numbered = (replace(report_, position=n) for n, report_ in enumerate(reports))
    said = [INTERPRETER.report("ants", report_, ARRIVED) for report_ in numbered]
    return Reading(callback=arrived, outcome="read", reports=said)


def unreadable(body: bytes, **more: Any) -> Reading:
    arrived = Callback(provider="ants", method="POST", body=body, **more)
    return Reading(callback=arrived, outcome="unreadable", error="body: no")


def keep(engine: Engine, *readings: Reading) -> list[Kept]:
    with engine.begin() as connection:
        return store.keep(connection, readings)


def everything(engine: Engine) -> dict[str, list[Any]]:
    with engine.connect() as connection:
        return {
            table.name: [
                tuple(row) for row in connection.execute(select(table).order_by(table.c.id))
            ]
            for table in (callback, delivery_report)
        }


def repeats(engine: Engine) -> dict[str, int]:
    """Return how often each report came again."""
    table = delivery_report.c
    with engine.connect() as connection:
        rows = connection.execute(select(table.message_id, table.provider_status, table.repeats))
        return {f"{message_id}{status}": count for message_id, status, count in rows}


def clear(engine: Engine) -> None:
    with engine.begin() as connection:
        for table in (callback, delivery_report, sent_message):
            connection.execute(table.delete())


# --- One row, as it is kept ----------------------------------------------------------------------


def test_a_report_is_kept_as_the_provider_said_it_and_unsettled(engine: Engine) -> None:
    said = report(
        "M", "Delivered", transaction_id="T", provider_recipient="081 234 5678", sender="ACME",
        provider_code="000", provider_description="ok " * 1000, provider_time="2026-11-21T10:00:00",
        provider_sent_time="yesterday", credit=Decimal("1.5"), callback_data="c",
    )  # fmt: skip
    first = reading(
        said, account="otp", body=b"\0\xff", query="a=%00", content_type="x", remote_addr="::1"
    )
    assert keep(engine, first) == [Kept(id=first.callback.id)]
    with engine.connect() as connection:
        row = connection.execute(select(delivery_report)).one()
        came = connection.execute(select(callback)).one()
    assert (str(row.callback_id), row.position, row.provider, row.account) == (
        first.callback.id, 0, "ants", "otp",
    )  # fmt: skip
    assert (row.message_id, row.transaction_id, row.sender) == ("M", "T", "ACME")
    assert (row.provider_status, row.provider_code, row.status) == ("Delivered", "000", "delivered")
    assert (row.provider_recipient, row.recipient) == ("081 234 5678", "66812345678")
    assert len(row.provider_description) == 2000
    assert (row.provider_time, row.provider_sent_time) == ("2026-11-21T10:00:00", "yesterday")
    assert (row.done_at, row.sent_at) == (datetime(2026, 11, 21, 3, tzinfo=UTC), None)
    assert (row.credit, row.callback_data, row.repeats) == (Decimal("1.5000"), "c", 0)
    assert (row.settled_at, row.sent_message_id, row.received_at) == (None, None, ARRIVED)
    assert row.digest == replace(said, position=5).digest("ants")
    assert (came.body, came.query, came.content_type, came.remote_addr) == (
        b"\0\xff", "a=%00", "x", "::1",
    )  # fmt: skip
    assert (came.outcome, came.report_count, came.repeats, came.digest) == ("read", 1, 0, None)


def test_what_cannot_be_seen_at_an_ids_end_is_no_part_of_it(engine: Engine) -> None:
    """The digest is of what was written, so that what was kept before stays a repeat."""
    said = report("\ufeffM\u200b", transaction_id="T\u2060", provider_recipient="66812345678\ufeff")
    keep(engine, reading(said))
    with engine.connect() as connection:
        row = connection.execute(select(delivery_report)).one()
    assert (row.message_id, row.transaction_id) == ("M", "T")
    assert (row.provider_recipient, row.recipient) == ("66812345678\ufeff", "66812345678")
    assert row.digest == said.digest("ants") != replace(said, message_id="M").digest("ants")


def test_without_readings_nothing_happens(engine: Engine) -> None:
    assert keep(engine) == []
    assert keep(engine, reading())[0].repeats == 0  # readable, and no report
    assert everything(engine)["delivery_report"] == []


# --- Again ---------------------------------------------------------------------------------------


def test_a_callback_whose_id_is_there_changes_nothing(engine: Engine) -> None:
    bad = unreadable(b"{")
    partial = replace(reading(report("B")), outcome="partial", error="details[1]: no")
    all_ = [reading(report("A"), report("A"), report("B")), partial, bad, reading()]
    first = keep(engine, *all_, *all_)
    assert [k.id for k in first] == [r.callback.id for r in all_] * 2
    assert repeats(engine) == {"ADELIVERED": 1, "BDELIVERED": 1}
    before = everything(engine)
    for some in (all_, all_[:1], all_[::-1], [bad], [partial, partial]):
        assert [k.id for k in keep(engine, *some)] == [r.callback.id for r in some]
        assert everything(engine) == before
    # Whatever came of it the second time: what is there stays.
    changed = [replace(r, outcome="unreadable", error="x", reports=()) for r in all_]
    keep(engine, *changed)
    assert everything(engine) == before


SWALLOWING: Final = {
    "sqlite": ["CREATE TRIGGER no BEFORE INSERT ON callback BEGIN SELECT RAISE(IGNORE); END"],
    "postgresql": [
        "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        "CREATE TRIGGER no BEFORE INSERT ON callback FOR EACH ROW EXECUTE FUNCTION no()",
    ],
}


def test_a_callback_that_a_trigger_swallows_is_not_kept_as_if_it_were_there(engine: Engine) -> None:
    with engine.begin() as connection:
        for statement in SWALLOWING[engine.dialect.name]:
            connection.exec_driver_sql(statement)
    with pytest.raises(RaceError):
        keep(engine, reading(report("m1")))
    assert everything(engine) == {"callback": [], "delivery_report": []}


def test_what_is_there_and_what_is_new_are_told_apart_in_one_batch(engine: Engine) -> None:
    old, new, bad = reading(report("m1")), reading(report("m2")), unreadable(b"{")
    keep(engine, old, bad)
    values = keep(engine, new, old, bad, new)
    assert [(value.id, value.was_there) for value in values] == [
        (new.callback.id, False),
        (old.callback.id, True),
        (bad.callback.id, True),
        (new.callback.id, False),
    ]
    assert repeats(engine) == {"m1DELIVERED": 0, "m2DELIVERED": 0}


def test_repeats_are_counted_within_a_batch_and_across_batches(engine: Engine) -> None:
    a, b, later = report("A"), report("B"), report("A", provider_time="2026-11-21T10:00:01")
    assert [k.repeats for k in keep(engine, reading(a), reading(a, b, a), reading(b))] == [0, 2, 1]
    assert [k.repeats for k in keep(engine, reading(a, b), reading(later))] == [2, 0]
    assert [k.repeats for k in keep(engine, reading(a), reading(a, later))] == [1, 2]
    with engine.connect() as connection:
        table = delivery_report.c
        rows = connection.execute(
            select(table.message_id, table.provider_time, table.repeats).order_by(table.id)
        )
        assert {tuple(row) for row in rows} == {
            ("A", None, 5),
            ("B", None, 2),
            ("A", "2026-11-21T10:00:01", 1),
        }


def test_the_first_callback_that_said_it_is_named(engine: Engine) -> None:
    first, second = reading(report("A")), reading(report("A"))
    keep(engine, first, second)
    keep(engine, reading(report("A")))
    with engine.connect() as connection:
        (said_by,) = connection.execute(select(delivery_report.c.callback_id)).scalars()
    assert str(said_by) == first.callback.id


def test_the_same_unreadable_bytes_are_one_row(engine: Engine) -> None:
    first, same, other = unreadable(b"{"), unreadable(b"{"), unreadable(b"{{")
    kept = keep(engine, first, same, other)
    assert {kept[0].id, kept[1].id} in ({first.callback.id}, {same.callback.id})
    assert (kept[2].id, kept[2].repeats) == (other.callback.id, 0)
    assert sorted(k.repeats for k in kept) == [0, 0, 1]
    (again_,) = keep(engine, unreadable(b"{", content_type="x", remote_addr="::1"))
    assert (again_.id, again_.repeats) == (kept[0].id, 2)
    for different in (
        unreadable(b"{", query="x"),
        unreadable(b"{", account="otp"),
        replace(first, callback=replace(first.callback, id=new_id(), provider="thaibulksms")),
    ):
        (kept_,) = keep(engine, different)
        assert (kept_.id, kept_.repeats) == (different.callback.id, 0)


def test_a_batch_larger_than_a_statement_may_list(engine: Engine) -> None:
    reports = [report(f"m{n}") for n in range(1300)]
    keep(engine, reading(*reports))
    (kept,) = keep(engine, reading(*reports[::-1], report("new")))
    assert kept.repeats == 1300
    counts = repeats(engine)
    assert counts.pop("newDELIVERED") == 0
    assert set(counts.values()) == {1}
    assert len(counts) == 1300


words = st.sampled_from([report(m, s) for m in "AB" for s in ("DELIVERED", "PENDING")])


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    callbacks=st.lists(st.lists(words, max_size=3), min_size=1, max_size=6),
    data=st.data(),
)
def test_any_batching_and_any_repetition_of_callbacks_count_the_same(
    engine: Engine, callbacks: list[list[Report]], data: st.DataObject
) -> None:
    clear(engine)
    readings = [reading(*reports) for reports in callbacks]
    doubled = readings + data.draw(st.lists(st.sampled_from(readings), max_size=3))
    waiting: list[Reading] = data.draw(st.permutations(doubled))
    told = 0
    while waiting:
        size = data.draw(st.integers(1, len(waiting)))
        batch, waiting = waiting[:size], waiting[size:]
        kept = {k.id: k for k in keep(engine, *batch)}
        told += sum(k.repeats for k in kept.values())
    said = Counter(f"{r.message_id}{r.provider_status}" for reports in callbacks for r in reports)
    assert repeats(engine) == {name: count - 1 for name, count in said.items()}
    assert told == sum(count - 1 for count in said.values())
    assert len(everything(engine)["callback"]) == len(readings)


# --- Several receivers at once -------------------------------------------------------------------


def together(works: Sequence[Callable[[], Any]]) -> list[Any]:
    """Begin all the work at the same moment, each in a thread of its own."""
    begin = threading.Barrier(len(works))

    def run(work: Callable[[], Any]) -> Any:
        begin.wait()
        return work()

    with ThreadPoolExecutor(len(works)) as threads:
        return [done.result() for done in [threads.submit(run, work) for work in works]]


def test_overlapping_batches_of_several_receivers(databases: Databases) -> None:
    """No deadlock is left, nothing is doubled, and every repeat is counted."""
    engine = databases.open(databases.make("postgresql"))
    reports = [report(f"m{n}") for n in range(700)]
    turns = threading.Barrier(6)

    def receiver(number: int) -> Callable[[], int]:
        def work() -> int:
            told = 0
            for turn in range(12):
                turns.wait()
                some = [reports[turn * 50 + n] for n in range(150)]
                if number % 2:
                    some.reverse()
                readings = [reading(*some[:70]), reading(*some[70:])]
                if turn % 4 == 0:  # its lock makes the others wait for their turn
                    readings.append(unreadable(b"{"))
                kept = retry(partial(keep, engine, *readings))
                told += kept[0].repeats + kept[1].repeats
            return told

        return work

    told = sum(together([receiver(number) for number in range(6)]))
    counts = repeats(engine)
    assert len(counts) == 700
    assert sum(counts.values()) == told == 6 * 12 * 150 - 700
    with engine.connect() as connection:
        rows = connection.execute(select(callback.c.outcome, callback.c.repeats)).all()
    assert Counter(row.outcome for row in rows) == {"read": 6 * 12 * 2, "unreadable": 1}
    assert sum(row.repeats for row in rows) == 6 * 3 - 1
    assert deadlocks(engine) == 0


def test_keeping_while_another_hand_settles(databases: Databases) -> None:
    engine = databases.open(databases.make("postgresql"))
    stop = threading.Event()
    messages = [SentMessage(message_id=f"m{n}", recipient="66812345678") for n in range(30)]

    def hand() -> None:
        while not stop.is_set():
            settle.settle_all(engine, portion=7)

    def receiver(step: int) -> None:
        try:
            for turn in range(40):
                some = [report(f"m{(turn * step + n) % 30}") for n in range(10)]
                retry(partial(keep, engine, reading(*some)))
                retry(partial(_record, engine, [messages[turn * step % 30]]))
        finally:
            if step == 1:
                stop.set()

    together([hand, hand, lambda: receiver(1), lambda: receiver(7)])
    for message in messages:
        retry(partial(_record, engine, [message]))
    settle.settle_all(engine)
    assert sum(repeats(engine).values()) == 800 - 30
    with engine.connect() as connection:
        rows = connection.execute(select(sent_message.c.status)).scalars().all()
    assert Counter(rows) == {"delivered": 30}


def deadlocks(engine: Engine) -> int:
    """Return how many deadlocks this database has seen; the counts come a moment late."""
    seen = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    with engine.connect() as connection:
        connection.exec_driver_sql("SELECT pg_stat_force_next_flush()")
        connection.commit()
        return int(connection.exec_driver_sql(seen).scalar_one())


def _record(engine: Engine, messages: Sequence[SentMessage]) -> None:
    """Record; look again when the other receiver recorded the same, as the writer does."""
    with suppress(RaceError), engine.begin() as connection:
        record(connection, "ants", messages)
        return
    _record(engine, messages)


# --- Everything that comes in, in every order ----------------------------------------------------

NUMBERS: Final = ("66811111111", "66822222222", "66833333333")

Step = Callable[[Connection], object]


def kept_step(*reports: Report, account: str = "") -> Step:
    one = reading(*reports, account=account)
    return lambda connection: store.keep(connection, [one])


def recorded_step(*messages: SentMessage) -> Step:
    return lambda connection: record(connection, "ants", messages)


def inserted_step(**values: Any) -> Step:
    row = {"provider": "ants", "sent_at": ARRIVED} | values
    return lambda connection: connection.execute(insert(sent_message), row)


def sent(recipient: str, **values: Any) -> SentMessage:
    return SentMessage(recipient=recipient, sent_at=ARRIVED, **values)


late: Final = {"provider_time": "2026-11-21T10:00:05"}
# Reports, records that complete and join one another, and what other programs insert.
STEPS: Final = [
    kept_step(report("A", "PENDING"), report("A", "DELIVERED", **late)),
    kept_step(report("A", "DELIVERED", **late)),
    kept_step(report("A", "EXPIRED", **late), report("B", "WHAT"), account="x"),
    kept_step(report(None, "DELIVERED", transaction_id="T", provider_recipient=NUMBERS[1])),
    kept_step(report(None, "EXPIRED", transaction_id="T", provider_recipient=NUMBERS[2])),
    kept_step(report(None, "REJECTED", transaction_id="U")),
    kept_step(report(None, "PENDING", transaction_id="C")),
    recorded_step(sent(NUMBERS[0], message_id="A")),
    recorded_step(sent(NUMBERS[0], message_id="A", transaction_id="T")),
    recorded_step(sent(NUMBERS[0], transaction_id="T", account="x")),
    recorded_step(sent(NUMBERS[1], transaction_id="T"), sent(NUMBERS[1], message_id="B")),
    recorded_step(sent(NUMBERS[1], message_id="B", transaction_id="T", account="x")),
    recorded_step(sent(NUMBERS[0], transaction_id="U", error="no")),
    inserted_step(recipient=NUMBERS[2], transaction_id="T"),
    inserted_step(recipient=NUMBERS[2], transaction_id="U"),
    inserted_step(recipient=NUMBERS[2], message_id="C"),
]


def end(engine: Engine) -> dict[str, Any]:
    """Return what is there in the end, compared with what the whole set means."""
    with engine.connect() as connection:
        messages = [dict(row) for row in connection.execute(select(sent_message)).mappings()]
        reports = [dict(row) for row in connection.execute(select(delivery_report)).mappings()]
    found = actual(engine)
    assert found == expected(messages, reports)
    return found | {"repeats": repeats(engine)}


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_reports_records_and_inserts_in_every_order(engine: Engine, data: st.DataObject) -> None:
    chosen = data.draw(st.lists(st.sampled_from(STEPS), unique=True, min_size=2, max_size=9))
    ends = []
    for steps in (chosen, data.draw(st.permutations(chosen))):
        clear(engine)
        for step in steps:
            with engine.begin() as connection:
                step(connection)
            if data.draw(st.booleans()):
                settle.settle_all(engine, portion=data.draw(st.sampled_from([1, 2, 5000])))
        settle.settle_all(engine, portion=data.draw(st.sampled_from([1, 5000])))
        ends.append(end(engine))
    assert ends[0] == ends[1]


def test_the_clock_is_the_databases(engine: Engine) -> None:
    """A callback without a time of its own gets the database's, in whole milliseconds."""
    with engine.begin() as connection:
        connection.execute(
            text("INSERT INTO callback (id, provider, method, body, outcome)"
                 " VALUES (:id, 'ants', 'POST', :body, 'read')"),
            {"id": new_id(), "body": b""},
        )  # fmt: skip
        came = connection.execute(select(callback.c.received_at)).scalar_one()
    assert abs(datetime.now(UTC) - came) < timedelta(minutes=1)


def test_what_the_database_refuses_is_raised(engine: Engine) -> None:
    said = reading(report("A"))
    object.__setattr__(said.reports[0][0], "message_id", "x" * 201)
    with pytest.raises(Exception, match=r"message_id"):
        keep(engine, said)
    assert everything(engine) == {"callback": [], "delivery_report": []}


def test_a_bulk_insert_says_which_were_new(engine: Engine) -> None:
    one = reading(*(report(f"m{n}") for n in range(5)))
    rows = [store.report_row(r, d, one.callback, r.digest("ants")) for r, d in one.reports]
    new = []
    for some in (rows[:2], rows, rows, rows[1:2], [rows[0], rows[0]]):
        with engine.begin() as connection:
            new.append(store.INSERT_REPORTS(connection, some))
    digests = [row["digest"] for row in rows]
    assert new == [digests[:2], digests[2:], [], [], []]


def test_reports_go_in_the_order_of_their_digests(engine: Engine) -> None:
    """So that two receivers that keep the same reports wait for each other, and never deadlock."""
    keep(engine, *(reading(*(report(f"m{n}{i}") for i in range(5))) for n in range(10)))
    table = delivery_report.c
    with engine.connect() as connection:
        digests = connection.execute(select(table.digest).order_by(table.id)).scalars().all()
    assert len(digests) == 50
    assert digests == sorted(digests)


def test_the_digest_of_what_cannot_be_read_never_changes() -> None:
    """Else bytes that were kept before an update would be kept once more after it."""
    arrived = Callback(provider="ants", account="otp", method="POST", query="a=1", body=b"{\xff")
    digest = store.unreadable_digest(arrived)
    assert digest.hex() == "210ddf300569002603ea92fae2b98b59"
    for other in (
        replace(arrived, provider="engagelab"),
        replace(arrived, account=""),
        replace(arrived, query="a=2"),
        replace(arrived, body=b"{"),
    ):
        assert store.unreadable_digest(other) != digest
    assert store.unreadable_digest(replace(arrived, method="GET", content_type="x")) == digest
