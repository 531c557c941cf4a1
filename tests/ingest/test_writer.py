"""Group commit: nobody is answered before the commit, and everybody is answered rightly."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

import pytest
from sqlalchemy import Connection, Engine, event, insert, select, text

from receiver.database.failures import RaceError
from receiver.database.tables.callbacks import callback, delivery_report
from receiver.database.tables.messages import sent_message
from receiver.database.transactions import MAX_ATTEMPTS
from receiver.domain.callback import Callback
from receiver.domain.errors import BusyError, UnavailableError
from receiver.domain.reading import Derived, Kept, Reading
from receiver.domain.report import Report
from receiver.domain.sent_message import SentMessage
from receiver.domain.status import Status
from receiver.ingest import writer as writing
from receiver.ingest.writer import Writer
from receiver.messages.recording import record
from receiver.statistics.counters import Counters
from receiver.statistics.instruments import Metrics

if TYPE_CHECKING:
    from tests.conftest import Databases

T = TypeVar("T")
SOON: Final = 120.0
"""Seconds after which a test gives up."""
DELIVERED: Final = Derived(status=Status.DELIVERED, done_at=None, sent_at=None, recipient=None)


def reading(*ids: str, body: bytes = b"", derived: Derived = DELIVERED) -> Reading:
    """Return a callback of ANTS with one report for each message id."""
    reports = [
        (Report(position=n, message_id=i, provider_status="DELIVERED"), derived)
        for n, i in enumerate(ids)
    ]
    arrived = Callback(provider="ants", method="POST", body=body)
    return Reading(callback=arrived, outcome="read", reports=reports)


def unread(arrived: Callback) -> Reading:
    """Fail: without a spool nothing waits to be read."""
    raise AssertionError(arrived.id)


def poison(message_id: str) -> Reading:
    """Return a callback whose report no database takes."""
    derived = replace(DELIVERED)
    object.__setattr__(derived, "status", Word("no such status"))
    return reading(message_id, derived=derived)


class Word(str):
    """A status that is none."""

    __slots__ = ()

    @property
    def value(self) -> str:
        """Return it as it goes into the table."""
        return str(self)


@asynccontextmanager
async def started(engine: Engine) -> AsyncIterator[Writer]:
    made = Writer(engine, read=unread, counters=Counters(Metrics()))
    made.start()
    try:
        yield made
    finally:
        await made.stop()


def run(work: Callable[[], Awaitable[T]]) -> T:
    """Run a test's coroutine, which must end in time."""

    async def main() -> T:
        async with asyncio.timeout(SOON * 2):
            return await work()

    return asyncio.run(main())


@contextmanager
def counting(engine: Engine) -> Iterator[list[int]]:
    """Count the commits of an engine."""
    commits: list[int] = []

    def count(connection: Connection) -> None:
        commits.append(id(connection))

    event.listen(engine, "commit", count)
    try:
        yield commits
    finally:
        event.remove(engine, "commit", count)


async def until(condition: Callable[[], bool], seconds: float = SOON) -> float:
    """Wait until something holds; return how long it took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, "it never came"
        await asyncio.sleep(0.005)
    return time.monotonic() - began


def callbacks(engine: Engine) -> dict[str, str]:
    """Return the outcome of each callback."""
    with engine.connect() as connection:
        rows = connection.execute(select(callback.c.id, callback.c.outcome))
        return {row.id: row.outcome for row in rows}


def reported(engine: Engine) -> set[str | None]:
    with engine.connect() as connection:
        return set(connection.execute(select(delivery_report.c.message_id)).scalars())


@contextmanager
def held(engine: Engine) -> Iterator[Callable[[], None]]:
    """Hold the writer's next transaction up; the value lets it go on."""
    if engine.dialect.name == "sqlite":
        other = sqlite3.connect(engine.url.database or "", isolation_level=None, timeout=10)
        other.execute("BEGIN IMMEDIATE").close()

        def let_go() -> None:
            if other.in_transaction:
                other.execute("ROLLBACK").close()

        try:
            yield let_go
        finally:
            let_go()
            other.close()
        return
    with engine.connect() as connection:
        connection.execute(text("LOCK TABLE callback, sent_message IN ACCESS EXCLUSIVE MODE"))
        yield connection.rollback


# --- Group commit --------------------------------------------------------------------------------


def test_many_that_wait_share_few_commits(engine: Engine) -> None:
    async def main() -> None:
        made = Writer(engine, read=unread, counters=Counters(Metrics()))
        waiting = [asyncio.create_task(made.keep(reading(f"m{n}"))) for n in range(500)]
        waiting += [asyncio.create_task(made.keep(reading("m0"))) for _ in range(20)]
        await asyncio.sleep(0)
        assert made.callbacks == 520
        with counting(engine) as commits:
            made.start()
            kept = await asyncio.gather(*waiting)
            # One of ours. Settling may have had one meanwhile, and its look at an empty database.
            assert len(commits) <= 3
        assert [k.repeats for k in kept] == [0] * 500 + [1] * 20
        assert (made.callbacks, made.bytes) == (0, 0)
        await made.stop()
        assert set(callbacks(engine)) == {k.id for k in kept}
        assert reported(engine) == {f"m{n}" for n in range(500)}

    run(main)


def test_a_batch_is_bounded_by_its_reports(engine: Engine) -> None:
    async def main() -> None:
        made = Writer(engine, read=unread, counters=Counters(Metrics()))
        waiting = [
            asyncio.create_task(made.keep(reading(*(f"m{n}-{i}" for i in range(1500)))))
            for n in range(4)
        ]
        await asyncio.sleep(0)
        batches = [made._take(0), made._take(0), made._take(0)]  # noqa: SLF001
        assert [(len(batch), more) for batch, more in batches] == [(2, True), (2, True), (0, True)]
        for task in waiting:
            task.cancel()

    run(main)


def test_nobody_is_answered_before_the_commit(engine: Engine) -> None:
    """At the moment of each answer another connection sees the row."""

    async def main() -> None:
        async with started(engine) as made:

            async def one(number: int) -> None:
                kept = await made.keep(reading(f"m{number}"))
                seen = select(callback.c.id).where(callback.c.id == kept.id)
                with engine.connect() as connection:
                    assert connection.execute(seen).scalar_one() == kept.id
                    said = select(delivery_report.c.id).where(
                        delivery_report.c.message_id == f"m{number}"
                    )
                    assert connection.execute(said).scalar_one()

            await asyncio.gather(*(one(n) for n in range(50)))

    run(main)


def test_there_is_no_answer_while_the_transaction_is_open(engine: Engine) -> None:
    async def main() -> None:
        async with started(engine) as made:
            await made.keep(reading("first"))
            with held(engine) as let_go:
                late = asyncio.create_task(made.keep(reading("late")))
                done, _ = await asyncio.wait([late], timeout=0.3)
                assert not done
                let_go()
                assert isinstance(await late, Kept)
        assert reported(engine) == {"first", "late"}

    run(main)


# --- Bad data ------------------------------------------------------------------------------------


def test_the_culprit_is_kept_as_unreadable_and_its_neighbours_are_kept(engine: Engine) -> None:
    async def main() -> None:
        made = Writer(engine, read=unread, counters=Counters(Metrics()))
        good = [reading(f"m{n}", body=b"%d" % n) for n in range(21)]
        bad = [poison("bad 1"), poison("bad 2")]
        bad[1] = replace(bad[1], callback=replace(bad[1].callback, body=b"another"))
        all_ = [*good[:5], bad[0], *good[5:16], bad[1], *good[16:]]
        waiting = [asyncio.create_task(made.keep(r)) for r in all_]
        await asyncio.sleep(0)
        made.start()
        kept = await asyncio.gather(*waiting)
        await made.stop()
        assert [k.id for k in kept] == [r.callback.id for r in all_]
        there = callbacks(engine)
        assert {there[r.callback.id] for r in good} == {"read"}
        assert {there[r.callback.id] for r in bad} == {"unreadable"}
        assert reported(engine) == {f"m{n}" for n in range(21)}
        with engine.connect() as connection:
            rows = connection.execute(
                select(callback).where(callback.c.outcome == "unreadable")
            ).all()
        for row in rows:
            assert row.error.startswith("The database refused its reports: ")
            assert "status" in row.error  # the constraint's name
            assert row.report_count == 0
            assert len(row.digest) == 16

    run(main)


def test_what_cannot_be_kept_at_all_is_answered_and_its_neighbours_are_kept(
    engine: Engine,
) -> None:
    async def main() -> None:
        made = Writer(engine, read=unread, counters=Counters(Metrics()))
        bad = reading("x")
        bad = replace(bad, callback=replace(bad.callback, provider="NO LOWER CASE"))
        waiting = [asyncio.create_task(made.keep(r)) for r in (reading("a"), bad, reading("b"))]
        await asyncio.sleep(0)
        made.start()
        first, second, third = await asyncio.gather(*waiting, return_exceptions=True)
        assert isinstance(first, Kept)
        assert isinstance(second, UnavailableError)
        assert isinstance(third, Kept)
        assert isinstance(await made.keep(reading("after")), Kept)
        await made.stop()
        assert reported(engine) == {"a", "b", "after"}

    run(main)


def test_a_database_that_keeps_asking_to_try_again_is_not_the_datas_fault(
    databases: Databases,
) -> None:
    """Serialization failures say nothing of the bytes: nothing is kept as unreadable."""
    engine = databases.open(databases.make("postgresql"))
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE FUNCTION collide() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE EXCEPTION 'collision' USING ERRCODE = '40001'; END $$"
        )
        connection.exec_driver_sql(
            "CREATE TRIGGER collide BEFORE INSERT ON delivery_report"
            " FOR EACH ROW EXECUTE FUNCTION collide()"
        )

    async def main() -> None:
        async with started(engine) as made:
            said = reading("m")
            with pytest.raises(UnavailableError):
                await made.keep(said)
            assert callbacks(engine) == {}
            with engine.begin() as connection:
                connection.exec_driver_sql("DROP TRIGGER collide ON delivery_report")
            assert (await made.keep(said)).id == said.callback.id
        assert callbacks(engine) == {said.callback.id: "read"}

    run(main)


# --- Too much, and nowhere -----------------------------------------------------------------------


def test_more_callbacks_than_may_wait_are_refused(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "MAX_CALLBACKS", 3)

    async def main() -> None:
        made = Writer(engine, read=unread, counters=Counters(Metrics()))
        waiting = [asyncio.create_task(made.keep(reading(f"m{n}"))) for n in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(BusyError):
            await made.keep(reading("too many"))
        made.start()
        await asyncio.gather(*waiting)
        await made.keep(reading("room again"))
        await made.stop()
        assert reported(engine) == {"m0", "m1", "m2", "room again"}

    run(main)


def test_more_bytes_than_may_wait_are_refused(engine: Engine) -> None:
    async def main() -> None:
        made = Writer(engine, read=unread, counters=Counters(Metrics()))
        half = b"x" * (writing.MAX_BYTES // 2)
        first = asyncio.create_task(made.keep(reading("a", body=half)))
        await asyncio.sleep(0)
        with pytest.raises(BusyError):
            await made.keep(reading("b", body=half + b"x"))
        second = asyncio.create_task(made.keep(reading("c", body=half)))
        await asyncio.sleep(0)
        assert made.bytes == writing.MAX_BYTES
        with pytest.raises(BusyError):
            await made.keep(reading("d", body=b"x"))
        first.cancel()
        second.cancel()

    run(main)


def test_one_that_is_larger_than_all_that_may_wait_is_taken_when_nothing_waits(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "MAX_BYTES", 10)

    async def main() -> None:
        async with started(engine) as made:
            assert isinstance(await made.keep(reading("a", body=b"x" * 11)), Kept)

    run(main)


def test_those_that_wait_no_longer_make_room_once_written(engine: Engine) -> None:
    """A client that goes away neither loses its callback nor keeps its place for good."""

    async def main() -> None:
        made = Writer(engine, read=unread, counters=Counters(Metrics()))
        waiting = [asyncio.create_task(made.keep(reading(f"m{n}", body=b"x"))) for n in range(5)]
        await asyncio.sleep(0)
        for task in waiting[:4]:
            task.cancel()
        made.start()
        await waiting[4]
        await until(lambda: made.callbacks == 0)
        assert made.bytes == 0
        await made.stop()
        assert reported(engine) == {f"m{n}" for n in range(5)}

    run(main)


def test_whoever_waits_too_long_is_told_and_nothing_is_doubled(engine: Engine) -> None:
    async def main() -> None:
        async with started(engine) as made:
            await made.keep(reading("before"))
            await until(lambda: unsettled(engine) == 0)
            made.patience = 0.05
            said = reading("m")
            ran: list[int] = []
            with held(engine) as let_go:
                late = asyncio.create_task(made.run(lambda _: ran.append(1)))
                with pytest.raises(UnavailableError):
                    await made.keep(said)
                with pytest.raises(UnavailableError):
                    await late
                assert made.callbacks == 1  # it still waits, and counts
                let_go()
                await until(lambda: made.callbacks == 0)
            made.patience = SOON
            assert (await made.keep(said)).id == said.callback.id
        assert len(callbacks(engine)) == 2
        with engine.connect() as connection:
            table = delivery_report.c
            assert set(connection.execute(select(table.message_id, table.repeats))) == {
                ("before", 0),
                ("m", 0),
            }
        assert ran == []  # nobody waited any more

    run(main)


def test_a_locked_sqlite_is_away_and_comes_back(databases: Databases) -> None:
    engine = databases.open(databases.make("sqlite"))

    async def main() -> None:
        async with started(engine) as made:
            await made.keep(reading("before"))
            await until(lambda: unsettled(engine) == 0)
            said = [reading("a"), reading("b")]
            with held(engine):
                began = time.monotonic()
                results = await asyncio.gather(
                    *(made.keep(r) for r in said),
                    made.run(lambda _: None),
                    return_exceptions=True,
                )
                assert time.monotonic() - began > 0.9
                assert [type(r) for r in results] == [UnavailableError] * 3
                assert made.callbacks == 0
                began = time.monotonic()
                with pytest.raises(UnavailableError):
                    await made.keep(said[0])  # nobody else waits for it
                assert time.monotonic() - began < 0.5
            await until(lambda: not made.failover.is_on)
            kept = await asyncio.gather(*(made.keep(r) for r in said))
            assert [k.id for k in kept] == [r.callback.id for r in said]
            await until(lambda: unsettled(engine) == 0)
        assert reported(engine) == {"before", "a", "b"}

    run(main)


def test_a_postgresql_that_ends_our_connections_comes_back(databases: Databases) -> None:
    engine = databases.open(databases.make("postgresql"))
    ours = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '%s'"

    async def main() -> None:
        async with started(engine) as made:
            await made.keep(reading("before"))
            databases.sql(ours % engine.url.database)
            for n in range(3):
                with suppress(UnavailableError):
                    await made.keep(reading(f"m{n}"))
            await made.keep(reading("after"))
            await until(lambda: unsettled(engine) == 0)
        assert {"before", "after"} <= reported(engine)

    run(main)


# --- Recordings ----------------------------------------------------------------------------------


def message(message_id: str, **more: Any) -> SentMessage:
    return SentMessage(message_id=message_id, recipient="66812345678", **more)


def test_run_returns_and_raises_what_the_work_does(engine: Engine) -> None:
    async def main() -> None:
        async with started(engine) as made:
            told = await made.run(lambda c: record(c, "ants", [message("m")]))
            assert [t.message_id for t in told] == ["m"]
            with engine.connect() as connection:
                assert connection.execute(select(sent_message.c.id)).scalar_one() == told[0].id

            def fail(connection: Connection) -> None:
                record(connection, "ants", [message("undone")])
                raise LookupError("not this one")

            with pytest.raises(LookupError, match="not this one"):
                await made.run(fail)
            assert await made.run(lambda _: 42) == 42
        with engine.connect() as connection:
            assert connection.execute(select(sent_message.c.message_id)).scalars().all() == ["m"]

    run(main)


def test_work_that_races_is_done_again_but_not_for_ever(engine: Engine) -> None:
    async def main() -> None:
        tries: list[int] = []

        def race(times: int) -> Callable[[Connection], int]:
            def work(connection: Connection) -> int:
                tries.append(1)
                record(connection, "ants", [message(f"m{times}")])
                if len(tries) <= times:
                    raise RaceError
                return len(tries)

            return work

        async with started(engine) as made:
            assert await made.run(race(2)) == 3
            tries.clear()
            with pytest.raises(UnavailableError):
                await made.run(race(1000))
            assert len(tries) == MAX_ATTEMPTS
        with engine.connect() as connection:
            assert connection.execute(select(sent_message.c.message_id)).scalars().all() == ["m2"]

    run(main)


def test_callbacks_and_recordings_are_written_in_the_order_they_came(engine: Engine) -> None:
    async def main() -> None:
        made = Writer(engine, read=unread, counters=Counters(Metrics()))
        seen: list[set[str | None]] = []

        def look(connection: Connection) -> None:
            seen.append(set(connection.execute(select(delivery_report.c.message_id)).scalars()))

        waiting: list[asyncio.Task[Any]] = []
        for n in range(3):
            waiting.append(asyncio.create_task(made.keep(reading(f"m{n}"))))
            waiting.append(asyncio.create_task(made.run(look)))
        await asyncio.sleep(0)
        made.start()
        await asyncio.gather(*waiting)
        await made.stop()
        assert seen == [{"m0"}, {"m0", "m1"}, {"m0", "m1", "m2"}]

    run(main)


def test_several_writers_that_record_the_same_messages(databases: Databases) -> None:
    """Receivers beside each other on one PostgreSQL: one record, whoever comes first."""
    url = databases.make("postgresql")
    engines = [databases.open(url) for _ in range(3)]
    messages = [message(f"m{n}", tag="t") for n in range(30)]

    async def main() -> None:
        writers = [Writer(engine, read=unread, counters=Counters(Metrics())) for engine in engines]
        for made in writers:
            made.start()
        for turn in range(5):
            some = messages[turn * 6 : turn * 6 + 6]
            told = await asyncio.gather(
                *(
                    made.run(partial(record, provider="ants", messages=part))
                    for made in writers
                    for part in (some, some[::-1])
                )
            )
            assert sum(t.new for one in told for t in one) == 6
        await asyncio.gather(*(made.stop() for made in writers))

    run(main)
    with engines[0].connect() as connection:
        assert len(connection.execute(select(sent_message.c.id)).all()) == 30


# --- Settling, and the end -----------------------------------------------------------------------


def unsettled(engine: Engine) -> int:
    with engine.connect() as connection:
        return sum(
            len(connection.execute(select(table.c.id).where(table.c.settled_at.is_(None))).all())
            for table in (delivery_report, sent_message)
        )


def statuses(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return list(connection.execute(select(sent_message.c.status)).scalars())


def test_a_status_is_right_within_a_second_of_the_answer(engine: Engine) -> None:
    async def main() -> None:
        async with started(engine) as made:
            await made.run(lambda c: record(c, "ants", [message("m")]))
            await until(lambda: unsettled(engine) == 0)
            await made.keep(reading("m"))
            took = await until(lambda: statuses(engine) == ["delivered"])
            assert took < 1

    run(main)


def test_what_another_program_inserts_is_settled_too(engine: Engine) -> None:
    async def main() -> None:
        async with started(engine) as made:
            await made.keep(reading("m"))
            await until(lambda: unsettled(engine) == 0)
            row = {"provider": "ants", "recipient": "66812345678", "message_id": "m"}
            with engine.begin() as connection:
                connection.execute(insert(sent_message), row)
            assert await until(lambda: statuses(engine) == ["delivered"]) < 2

    run(main)


def test_what_waited_when_it_starts_is_settled(engine: Engine) -> None:
    row = {"provider": "ants", "recipient": "66812345678", "message_id": "m"}
    with engine.begin() as connection:
        connection.execute(insert(sent_message), row)

    async def main() -> None:
        async with started(engine):
            assert await until(lambda: unsettled(engine) == 0) < 2

    run(main)


def test_stopping_writes_and_settles_everything_that_waits(engine: Engine) -> None:
    async def main() -> None:
        made = Writer(engine, read=unread, counters=Counters(Metrics()))
        waiting: list[asyncio.Task[Any]] = [
            asyncio.create_task(made.keep(reading(*(f"m{n}-{i}" for i in range(7)))))
            for n in range(400)
        ]
        many = [message(f"m{n}-0") for n in range(400)]
        waiting.append(asyncio.create_task(made.run(lambda c: record(c, "ants", many))))
        await asyncio.sleep(0)
        made.start()
        await made.stop()
        assert all(task.done() for task in waiting)
        assert {type(task.result()) for task in waiting} == {Kept, list}
        assert len(reported(engine)) == 2800
        assert statuses(engine) == ["delivered"] * 400
        assert made.callbacks == 0
        for late in (made.keep(reading("late")), made.run(lambda _: None)):
            with pytest.raises(UnavailableError):
                await late
        assert not [t for t in threading.enumerate() if t in made._threads]  # noqa: SLF001

    run(main)


def test_stopping_does_not_wait_for_a_database_that_holds_us_up(
    databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "STOP_SECONDS", 0.3)
    engine = databases.open(databases.make("postgresql"))

    async def main() -> None:
        made = Writer(engine, read=unread, counters=Counters(Metrics()))
        made.start()
        with held(engine):
            late = asyncio.create_task(made.keep(reading("late")))
            await asyncio.sleep(0)
            began = time.monotonic()
            await made.stop()
            assert time.monotonic() - began < 3
            assert not late.done()
            assert made.callbacks == 1
        # The database goes on after all: what waited is written, and answered.
        assert isinstance(await late, Kept)
        await until(lambda: not any(t.is_alive() for t in made._threads))  # noqa: SLF001

    run(main)
    assert reported(engine) == {"late"}


def test_when_the_loop_has_closed_what_waits_is_written_all_the_same(engine: Engine) -> None:
    made = Writer(engine, read=unread, counters=Counters(Metrics()))

    async def main() -> None:
        waiting = asyncio.create_task(made.keep(reading("m")))
        await asyncio.sleep(0)
        made._loop = asyncio.get_running_loop()  # noqa: SLF001
        waiting.cancel()

    run(main)
    for thread in made._threads:  # noqa: SLF001
        thread.start()
    asyncio.run(made.stop())
    assert reported(engine) == {"m"}


def test_a_read_only_postgresql_is_away_and_comes_back(databases: Databases) -> None:
    engine = databases.open(databases.make("postgresql"))
    name = engine.url.database

    def only_read(value: str) -> None:
        databases.sql(f"ALTER DATABASE {name} SET default_transaction_read_only = {value}")
        engine.dispose()

    async def main() -> None:
        made = Writer(engine, read=unread, counters=Counters(Metrics()))
        made.start()
        only_read("on")
        with pytest.raises(UnavailableError, match="away"):
            await made.keep(reading("m"))
        only_read("off")
        await until(lambda: not made.failover.is_on)
        assert isinstance(await made.keep(reading("m")), Kept)
        await made.stop()

    run(main)
    assert reported(engine) == {"m"}
