"""What waits in the spool is brought in, past what the database refuses, and nothing is dropped."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Final

import pytest
import structlog
from sqlalchemy import event, select

from receiver.database.tables.callbacks import callback, delivery_report
from receiver.domain.callback import Callback
from receiver.domain.errors import SpoolError
from receiver.domain.reading import Kept, Reading
from receiver.ingest import failover as outages
from receiver.ingest.interpret import Interpreter, read
from receiver.ingest.spool.salvage import salvage
from receiver.ingest.spool.spool import Spool
from receiver.ingest.writer import Writer
from receiver.server.logs import configure
from receiver.settings.settings import Settings
from receiver.statistics.counters import Counters
from receiver.statistics.instruments import Metrics
from tests.ingest.test_failover import Clock, nowhere, outage_of
from tests.ingest.test_writer import until as soon
from tests.web.test_app import ants, dr
from tests.web.test_refused import POISON, execute

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

    from sqlalchemy import Engine

    from receiver.ingest.failover import Read
    from tests.conftest import Databases

INTERPRETER: Final = Interpreter.from_settings(Settings())
READ: Final = partial(read, interpreter=INTERPRETER)
SOON: Final = 60.0


def arrived(id_: str) -> Callback:
    return Callback(provider="ants", method="POST", body=ants(dr(id_)))


def reading(id_: str) -> Reading:
    return read(arrived(id_), INTERPRETER)


@asynccontextmanager
async def writing(engine: Engine, spool: Spool, read: Read = READ) -> AsyncIterator[Writer]:
    made = Writer(engine, spool, read=read, counters=Counters(Metrics()))
    made.start()
    try:
        yield made
    finally:
        await made.stop()


def plain(came: Callback) -> Reading:
    """Read nothing of it: for a provider that is none."""
    return read(came, INTERPRETER) if came.provider == "ants" else unread(came)


def unread(came: Callback) -> Reading:
    return Reading(callback=came, outcome="read")


def play(work: Callable[[], Awaitable[None]]) -> None:
    """Run a test's coroutine, which must end in time."""

    async def main() -> None:
        async with asyncio.timeout(SOON):
            await work()

    asyncio.run(main())


async def until(condition: Callable[[], bool]) -> None:
    await soon(condition, SOON)


def reported(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return sorted(connection.execute(select(delivery_report.c.message_id)).scalars())


# What a working database refuses.


def test_what_is_refused_whole_stays_and_the_others_come_in(engine: Engine, tmp_path: Path) -> None:
    """Neither its reports nor a plain row of it: the provider's name breaks a CHECK of both."""
    bad = Callback(provider="NO LOWER CASE", method="POST", body=b"7")
    spool = Spool(tmp_path / "spool.db")
    spool.keep([arrived("a"), bad, arrived("b")])

    async def main() -> None:
        async with writing(engine, spool, plain):
            await until(lambda: not spool.callbacks)

    play(main)
    with engine.connect() as connection:
        assert set(connection.execute(select(callback.c.provider)).scalars()) == {"ants"}
    again = Spool(tmp_path / "spool.db")
    held = again.held()
    assert (held.callbacks, held.refused, held.bytes) == (0, 1, 0)
    assert "ck_callback_provider" in str(held.refusal)
    again.offer(None)
    portion = again.portion(10)
    assert portion is not None
    assert [c.id for c in portion.callbacks] == [bad.id]
    again.close()


def test_what_is_refused_whole_is_answered_from_the_spool(engine: Engine, tmp_path: Path) -> None:
    bad = unread(Callback(provider="NO LOWER CASE", method="POST", body=b"7"))
    spool = Spool(tmp_path / "spool.db")

    async def main() -> None:
        async with writing(engine, spool, plain) as made:
            kept = await asyncio.gather(*map(made.keep, (reading("a"), bad, reading("b"))))
            assert kept[1] == Kept(id=bad.callback.id)
            await until(lambda: (spool.callbacks, spool.refused) == (0, 1))
            assert reported(engine) == ["a", "b"]
            assert not made.failover.is_on

    play(main)


@pytest.mark.parametrize("offered", [20, 2])
def test_what_was_refused_is_tried_again_without_a_restart(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offered: int
) -> None:
    """Some at a time; as soon as one of them is taken, all."""
    monkeypatch.setattr(outages, "OFFER_SECONDS", 0.3)
    monkeypatch.setattr(outages, "MAX_OFFERED", offered)
    doing, undoing = POISON[engine.dialect.name]
    execute(engine, doing)
    spool = Spool(tmp_path / "spool.db")
    bad = [f"poison{n}" for n in range(7)]

    async def main() -> None:
        async with writing(engine, spool) as made:
            for one in ("a", *bad, "b"):
                await made.keep(reading(one))
            await until(lambda: (spool.callbacks, spool.refused) == (0, 7))
            assert reported(engine) == ["a", "b"]
            await asyncio.sleep(1)  # tried again, and refused again
            await until(lambda: (spool.callbacks, spool.refused) == (0, 7))
            assert not made.failover.is_on
            await asyncio.to_thread(execute, engine, undoing)
            await until(lambda: reported(engine) == sorted(["a", *bad, "b"]))
            await until(lambda: (spool.callbacks, spool.refused) == (0, 0))

    play(main)


def test_a_row_that_another_program_holds_locked_holds_up_nobody(
    databases: Databases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session left open on one report: its repeat waits for it for ever, and nobody else does."""
    engine = databases.open(databases.make("postgresql"))
    spool = Spool(tmp_path / "spool.db")

    async def main() -> None:
        async with writing(engine, spool) as made:
            await made.keep(reading("a"))
            with engine.connect() as left:
                left.exec_driver_sql("UPDATE delivery_report SET sender = sender")
                await made.keep(reading("a"))
                for n in range(5):
                    await made.keep(reading(f"b{n}"))
                await until(lambda: (spool.callbacks, spool.refused) == (0, 1))
                assert reported(engine) == ["a", *(f"b{n}" for n in range(5))]
                left.rollback()
            monkeypatch.setattr(made.failover, "_offer_at", 0.0)
            made.failover.wake()
            await until(lambda: not spool.refused and not spool.callbacks)

    play(main)
    with engine.connect() as connection:
        (repeats,) = connection.execute(
            select(delivery_report.c.repeats).where(delivery_report.c.message_id == "a")
        ).scalars()
    assert repeats == 1


# The database away, and back.


def test_a_drain_that_takes_its_time_is_waited_for(
    databases: Databases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Longer than anybody looks whether the receiver stops."""
    engine = databases.open(databases.make("sqlite"))
    event.listen(engine, "before_cursor_execute", lambda *_: time.sleep(0.1))
    spool = Spool(tmp_path / "spool.db")
    failed: list[object] = []

    async def main() -> None:
        async with writing(engine, spool) as made:
            monkeypatch.setattr(made.failover, "_single_out", lambda *given: failed.append(given))
            spool.keep([arrived("a")])
            made.failover.wake()
            await until(lambda: not spool.callbacks)

    play(main)
    assert reported(engine) == ["a"]
    assert failed == []


@pytest.mark.parametrize("spooled", [True, False])
def test_a_trial_asks_the_database(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, spooled: bool
) -> None:
    """With a spool and without: what cannot be reached is not back."""
    engine = nowhere()
    spool = Spool(tmp_path / "spool.db") if spooled else None
    failover = outage_of(monkeypatch, engine, spool, Clock(20))
    failover.begin("It is away.")
    failover.run(lambda _: [])
    assert failover.is_on
    assert "connection" in failover.why
    engine.dispose()


def test_that_the_database_is_away_is_said_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    structlog.reset_defaults()
    configure()
    engine = nowhere()
    failover = outage_of(monkeypatch, engine, None, Clock(1))
    threads = [threading.Thread(target=failover.begin, args=[f"{n}"]) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert capsys.readouterr().err.count("database away") == 1
    engine.dispose()


def test_the_database_is_back_although_the_spool_takes_nothing(
    engine: Engine, tmp_path: Path
) -> None:
    """Nothing can be forgotten on a full disk; what arrives is kept, and nothing is doubled."""
    spool = Spool(tmp_path / "spool.db")
    spool.keep([arrived("a")])

    async def main() -> None:
        async with writing(engine, spool) as made:
            await until(lambda: not spool.callbacks)
            with full(spool):
                made.failover.begin("A test takes it away.")
                with suppress(SpoolError):
                    spool.keep([arrived("x" * 50_000)])
                assert spool.trouble
                await until(lambda: not made.failover.is_on)
                await made.keep(reading("b"))
                assert reported(engine) == ["a", "b"]

    play(main)


def file_of(spool: Spool) -> sqlite3.Connection:
    """Return the connection to the spool's own file."""
    connection = vars(spool)["_own"].connection
    assert isinstance(connection, sqlite3.Connection)
    return connection


@contextmanager
def full(spool: Spool) -> Iterator[None]:
    """Let the spool's file get no larger."""
    run = file_of(spool).execute
    (pages,) = run("PRAGMA page_count").fetchone()
    run(f"PRAGMA max_page_count = {pages}").close()
    try:
        yield
    finally:
        run("PRAGMA max_page_count = 1000000").close()


# The file.


def test_a_full_disk_is_no_damage(tmp_path: Path) -> None:
    """Nor is one that may only be read: the file stays the one that is used, with what is in it."""
    spool = Spool(tmp_path / "spool.db")
    first = arrived("a")
    spool.keep([first])
    with full(spool):
        for _ in range(2):
            with pytest.raises(SpoolError, match="full"):
                spool.keep([arrived("x" * 100_000)])
        assert spool.callbacks == 1
        assert spool.own == tmp_path / "spool.db"
    waiting = spool.portion(10)
    assert waiting is not None
    file_of(spool).execute("PRAGMA query_only = ON").close()
    with pytest.raises(SpoolError, match="readonly"):
        spool.forget(waiting)
    file_of(spool).execute("PRAGMA query_only = OFF").close()
    assert spool.own == tmp_path / "spool.db"
    spool.keep([arrived("b")])
    portion = spool.portion(10)
    assert portion is not None
    assert [len(portion.callbacks), portion.callbacks[0].id] == [2, first.id]
    assert sorted(path.name for path in tmp_path.glob("*.db")) == ["spool.db"]
    spool.close()


def test_what_is_kept_is_on_the_disk_before_it_is_answered(tmp_path: Path) -> None:
    """Also after something was forgotten, which need not be."""
    spool = Spool(tmp_path / "spool.db")
    statements: list[str] = []
    file_of(spool).set_trace_callback(statements.append)
    for turn in range(3):
        spool.keep([arrived(f"{turn}")])
        portion = spool.portion(1)
        assert portion is not None
        if turn:
            spool.forget(portion)
    level = ""
    seen = []
    for statement in statements:
        if statement.startswith("PRAGMA synchronous"):
            level = statement.rpartition(" ")[2]
        elif statement.startswith("INSERT INTO callback"):
            seen.append(level)
    assert seen == ["FULL"] * 3
    spool.close()


def test_the_bytes_shrink_with_what_is_forgotten(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.db")
    kept = [arrived("a"), arrived("bb"), arrived("ccc")]
    spool.keep(kept)
    portion = spool.portion(2)
    assert portion is not None
    spool.forget(portion)
    assert spool.held().bytes == len(kept[2].body) > 0
    spool.close()


@pytest.mark.parametrize("refused", [0, 1])
def test_a_drained_file_of_another_process_is_there_for_the_next(
    tmp_path: Path, refused: int
) -> None:
    """But not while something is left in it, which somebody has to see and to try again."""
    spools = [Spool(tmp_path / "spool.db") for _ in range(2)]
    spools[1].keep([arrived("a")])
    for spool in spools:
        spool.close()
    heir = Spool(tmp_path / "spool.db")
    portion = heir.portion(10)
    assert portion is not None
    heir.forget(portion, [(position, "no") for position in portion.positions[:refused]])
    assert (heir.callbacks, heir.refused) == (0, refused)
    newcomer = Spool(tmp_path / "spool.db")
    assert newcomer.own is not None
    assert newcomer.own.name == ("spool.3.db" if refused else "spool.2.db")
    for spool in (heir, newcomer):
        spool.close()


def test_a_damaged_file_that_was_partly_drained_is_read_to_its_end(tmp_path: Path) -> None:
    """A page is gone, and right behind it a hundred callbacks that were brought in before."""
    path = tmp_path / "spool.db"
    spool = Spool(path)
    kept = [
        Callback(provider="ants", method="POST", body=b"number-%03d" % n + bytes(1000))
        for n in range(300)
    ]
    spool.keep(kept)
    spool.close()
    data = bytearray(path.read_bytes())
    begin = data.index(b"number-100") // 4096 * 4096
    page = bytes(data[begin : begin + 4096])
    gone = {n for n in range(300) if b"number-%03d" % n in page}
    assert 2 <= len(gone) <= 4
    drained = range(max(gone) + 1, 200)
    with sqlite3.connect(path) as file:
        file.executemany("DELETE FROM callback WHERE position = ?", [(n + 1,) for n in drained])
    file.close()
    data = bytearray(path.read_bytes())
    begin = data.index(b"number-%03d" % min(gone)) // 4096 * 4096
    data[begin : begin + 4096] = b"\xff" * 4096
    path.write_bytes(data)
    for ending in ("-wal", "-shm"):
        path.with_name(path.name + ending).unlink(missing_ok=True)
    found = {c.id for c in salvage(path) if c is not None}
    assert found == {c.id for n, c in enumerate(kept) if n not in gone and n not in drained}
