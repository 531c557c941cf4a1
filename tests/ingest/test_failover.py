"""The database goes away: what was answered 200 is there when it is back, once."""

from __future__ import annotations

import os
import re
import shutil
import statistics
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from sqlalchemy import select, text

from receiver.database.engine import connect, parse_url
from receiver.database.tables.callbacks import callback, callback_repeat, delivery_report
from receiver.database.tables.messages import sent_message
from receiver.domain.callback import Callback
from receiver.domain.errors import UnavailableError
from receiver.ingest import store
from receiver.ingest.failover import Failover
from receiver.ingest.interpret import Interpreter, read
from receiver.ingest.spool.spool import Spool
from receiver.server.logs import configure
from receiver.settings.settings import Settings
from tests.kit.commands import process
from tests.kit.serving import serving
from tests.web.test_app import (
    OPEN,
    SPOOLLESS,
    Answer,
    Place,
    ants,
    away,
    dr,
    eventually,
    new,
    placed,
    silent_about,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

    from tests.conftest import Databases

DIALECTS = ("sqlite", "postgresql")


@pytest.fixture(params=DIALECTS)
def place(request: pytest.FixtureRequest, databases: Databases) -> Iterator[Place]:
    with placed(databases, request.param, OPEN) as made:
        yield made


def look(place: Place) -> dict[str, Any]:
    """Return what /readyz says."""
    return dict(place("GET", "/readyz").json)


def ready(place: Place) -> bool:
    return str(look(place)["status"]) == "ready"


def settled(place: Place) -> bool:
    waiting = look(place)["settling"] or {}
    return [waiting.get("messages"), waiting.get("reports")] == [0, 0]


def timed(answers: list[Answer], seconds: list[float], place: Place, body: bytes) -> None:
    began = time.monotonic()
    answers.append(place.ants(body))
    seconds.append(time.monotonic() - began)


def test_callbacks_are_kept_while_the_database_is_away(place: Place, databases: Databases) -> None:
    before, during = new(), [new() for _ in range(60)]
    recorded = {"message_id": during[0], "recipient": "66812345678"}
    assert place.record(messages=[recorded]).status == 201
    assert place.ants(ants(dr(before))).status == 200
    unread = b"{" + new().encode()
    assert place.ants(unread).status == 400
    answers: list[Answer] = []
    seconds: list[float] = []
    with away(place, databases):
        for id_ in during:
            timed(answers, seconds, place, ants(dr(id_, "PENDING"), dr(id_)))
        answers += [place.ants(ants(dr(before))), place.ants(ants(dr(during[0])))]
        ids = [place.ants(unread).json["callback"] for _ in range(3)]
        began = time.monotonic()
        refused = place.record(messages=[recorded | {"message_id": new()}])
        assert time.monotonic() - began < 2
        assert (refused.status, refused.headers["retry-after"]) == (503, "5")
        said = place("GET", "/readyz")
        assert (said.status, said.json["status"]) == (200, "degraded")
        assert said.json["spool"]["callbacks"] == len(during) + 2 + 3
        assert said.json["spool"]["bytes"] > 1000
        assert 0 < said.json["spool"]["oldest_seconds"] < 60
        assert said.json["settling"] is None
    assert {answer.status for answer in answers} == {200}
    assert statistics.median(seconds) < 1
    assert sum(s > 2 for s in seconds) <= 1  # who came first waited, and nobody else
    eventually(lambda: ready(place) and settled(place))
    assert [len(place.reports(id_)) for id_ in (before, *during)] == [1] + [2] * 60
    assert [r.repeats for r in place.reports(before)] == [1]
    assert sorted(r.repeats for r in place.reports(during[0])) == [0, 1]
    place.wait_for("delivered", message_id=during[0])
    (row,) = place.rows(select(callback.c.repeats).where(callback.c.outcome == "unreadable"))
    assert row.repeats == 3
    repeats = place.rows(select(callback_repeat.c.id))
    assert sorted(str(r.id) for r in repeats) == sorted(ids)
    assert "spool drained" in place.server.stderr()
    silent_about(place.server, *during)


def test_what_is_spooled_survives_a_kill_and_is_brought_in_by_the_next(
    databases: Databases, tmp_path: Path
) -> None:
    url = databases.make("postgresql")
    ids = [new() for _ in range(300)]
    with ExitStack() as back:
        with serving(url, folder=tmp_path, **OPEN) as server:
            place = Place(server, databases.open(url))
            back.enter_context(away(place, databases))
            with ThreadPoolExecutor(8) as threads:
                assert {a.status for a in threads.map(lambda i: place.ants(ants(dr(i))), ids)} == {
                    200
                }
            server.process.kill()
            server.process.wait()
        # Started while the database is still away: it has seen it before.
        with serving(url, folder=tmp_path, **OPEN) as server:
            assert "database away" in server.stderr()
            assert "receiver-spool.db until it is back" in server.stdout()
            place = Place(server, databases.open(url))
            ids.append(new())
            assert place.ants(ants(dr(ids[-1]))).status == 200
            assert place("GET", "/readyz").json["spool"]["callbacks"] == 301
        # SIGTERM leaves it for the next start, too.
    with serving(url, folder=tmp_path, **OPEN) as server:
        place = Place(server, databases.open(url))
        eventually(lambda: ready(place))
        assert place.count() == (301, 301)
        assert {r.message_id for r in place.rows(select(delivery_report.c.message_id))} == set(ids)


def test_a_drain_that_is_cut_off_doubles_nothing(engine: Engine, tmp_path: Path) -> None:
    """It was committed and not yet forgotten; then it all comes again, repeats included."""
    interpreter = Interpreter.from_settings(Settings())
    good = Callback(provider="ants", method="POST", body=ants(dr("a"), dr("b")))
    bad = Callback(provider="ants", method="POST", body=b"{")
    spool = Spool(tmp_path / "spool.db")
    spool.keep([good, replace(good, id=new_like(good)), bad, replace(bad, id=new_like(bad))])
    portion = spool.portion(100)
    assert portion is not None
    readings = [read(c, interpreter) for c in portion.callbacks]
    for part in (readings, readings, readings[::-1], readings[1:2], readings[3:]):
        with engine.begin() as connection:
            store.keep(connection, part)
    with engine.connect() as connection:
        reports = connection.execute(select(delivery_report.c.repeats)).scalars().all()
        callbacks = connection.execute(select(callback.c.outcome, callback.c.repeats)).all()
    assert reports == [1, 1]
    assert sorted(map(tuple, callbacks)) == [("read", 0), ("read", 0), ("unreadable", 1)]
    spool.close()


def new_like(_: Callback) -> str:
    return Callback(provider="ants", method="POST").id


def test_repeats_that_are_long_past_are_forgotten(engine: Engine) -> None:
    interpreter = Interpreter.from_settings(Settings())
    old = "01000000-0000-7000-8000-000000000001"
    bodies = [Callback(provider="ants", method="POST", body=b"{", id=i) for i in (new_id(), old)]
    bodies.append(replace(bodies[0], id=new_id()))
    for one in bodies:
        with engine.begin() as connection:
            store.keep(connection, [read(one, interpreter)])
    with engine.connect() as connection:
        assert connection.execute(select(callback_repeat.c.id)).scalars().all() == [bodies[-1].id]
        assert connection.execute(select(callback.c.repeats)).scalars().all() == [2]


def new_id() -> str:
    return Callback(provider="ants", method="POST").id


@pytest.mark.parametrize("dialect", DIALECTS)
def test_without_a_database_it_never_saw_it_does_not_start(
    databases: Databases, dialect: str, tmp_path: Path
) -> None:
    settings = OPEN | {"RECEIVER_DATABASE_URL": "postgresql://nobody:pa55word@127.0.0.1:1/none"}
    with ExitStack() as back:
        if dialect == "sqlite":
            url = databases.make("sqlite")
            settings["RECEIVER_DATABASE_URL"] = url
            lock = back.enter_context(databases.open(url).connect())
            lock.exec_driver_sql("SELECT 1")
            lock.exec_driver_sql("DELETE FROM receiver_version")
        done = process(tmp_path, "serve", "--port", "0", settings=settings)
    assert done.code == 1
    assert "The database cannot be used" in done.sentence
    assert "pa55word" not in done.err + done.out
    assert list(tmp_path.iterdir()) == []


def test_with_the_wrong_password_it_says_so(databases: Databases, tmp_path: Path) -> None:
    """Also where the spool could stand in: it does, and the reason is there to read."""
    url = databases.make("sqlite")
    with serving(url, folder=tmp_path, **OPEN):
        pass
    wrong = OPEN | {"RECEIVER_DATABASE_URL": "postgresql://nobody:pa55word@127.0.0.1:1/none"}
    done = process(tmp_path, "serve", "--port", "0", settings=wrong)
    assert done.code == 1
    assert "pa55word" not in done.err + done.out


class Clock(threading.Event):
    """Time that passes only while somebody waits for it, and is noted; it ends after `seconds`."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds
        self.now = 1000.0
        self.waits: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.now += timeout
        self.waits.append(round(timeout, 3))
        if self.now >= 1000 + self.seconds:
            self.set()
        return self.is_set()


def outage_of(
    monkeypatch: pytest.MonkeyPatch, engine: Engine, spool: Spool | None, clock: Clock
) -> Failover:
    """Return one that lives by the clock."""
    monkeypatch.setattr("receiver.ingest.failover.time", clock)
    interpreter = Interpreter.from_settings(Settings())
    made = Failover(engine, spool, lambda c: read(c, interpreter))
    monkeypatch.setattr(made, "_stopping", clock)
    return made


def nowhere() -> Engine:
    return connect(parse_url("postgresql://nobody@127.0.0.1:1/none"))


def test_each_wait_is_twice_as_long_and_none_over_five_seconds(
    monkeypatch: pytest.MonkeyPatch, databases: Databases
) -> None:
    clock = Clock(100)
    failover = outage_of(monkeypatch, databases.open(databases.make("sqlite")), None, clock)
    trials = []

    def prepare() -> None:
        trials.append(clock.now)
        if len(trials) < 9:
            raise UnavailableError("It is away.")

    class Again:
        """Stands in for the moment in which nothing is to be done: it goes away once more."""

        def wait(self, _timeout: float | None = None) -> None:
            failover.prepare = away_for_good
            failover.begin("away again")

        def clear(self) -> None:
            pass

        def set(self) -> None:
            pass

    def away_for_good() -> None:
        raise UnavailableError("It is away.")

    monkeypatch.setattr(failover, "_wake", Again())
    failover.prepare = prepare
    failover.begin("away")
    failover.run(lambda _: [])
    rising = [0.2, 0.4, 0.8, 1.6, 3.2, 5.0]
    assert clock.waits[:9] == [*rising, 5.0, 5.0, 5.0]
    assert clock.waits[9:17] == [*rising, 5.0, 5.0]
    assert max(clock.waits) == 5.0


def test_once_a_minute_the_log_says_what_the_spool_holds(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    structlog.reset_defaults()
    configure()
    clock = Clock(240)
    spool = Spool(tmp_path / "spool.db")
    arrived = datetime.now(UTC) - timedelta(seconds=300)
    kept = [
        Callback(
            provider="ants", account="", method="POST", query="", content_type="", body=b"12345678",
            remote_addr="192.0.2.1", received_at=arrived + timedelta(seconds=n),
        )
        for n in range(3)
    ]  # fmt: skip
    spool.keep(kept)
    engine = nowhere()
    failover = outage_of(monkeypatch, engine, spool, clock)
    failover.begin("away")
    failover.run(lambda _: [])
    spool.close()
    engine.dispose()
    lines = [line for line in capsys.readouterr().err.splitlines() if "spool holds" in line]
    said = [dict(re.findall(r"(\w+)=(\S+)", line)) for line in lines]
    assert [(one["callbacks"], one["bytes"]) for one in said] == [("3", "24")] * 3
    assert all(300 <= float(one["oldest_seconds"]) < 400 for one in said)


@pytest.mark.parametrize("made", ["a folder", "no folder", "a file that may only be read"])
def test_a_spool_that_cannot_be_written_is_said_before_it_starts(tmp_path: Path, made: str) -> None:
    path = tmp_path / "spool" / "spool.db"
    if made == "a folder":
        path.mkdir(parents=True)
    elif made != "no folder":
        path.parent.mkdir()
        path.write_bytes(b"")
        if not immutable(path):
            pytest.skip("as root, only an immutable file cannot be written")
    try:
        settings = OPEN | {"RECEIVER_SPOOL_PATH": str(path)}
        done = process(tmp_path, "serve", "--port", "0", settings=settings)
    finally:
        immutable(path, "-i")
    assert done.code == 1
    assert done.sentence.startswith("RECEIVER_SPOOL_PATH: ")
    assert str(path if made != "no folder" else path.parent) in done.sentence
    assert done.out == ""


def immutable(path: Path, flag: str = "+i") -> bool:
    """Make a file one that not even root can write, or undo it; say whether that was done."""
    if os.geteuid() != 0:
        path.chmod(0o400 if flag == "+i" else 0o600)
        return True
    command = shutil.which("chattr")
    if command is None:
        return False
    return subprocess.run([command, flag, path], capture_output=True, check=False).returncode == 0


def test_a_database_that_hangs_is_left_after_seconds(databases: Databases) -> None:
    """A table is locked, and nothing ever answers: the writer's connection is cut."""
    with placed(databases, "postgresql", OPEN) as place:
        ids = [new() for _ in range(20)]
        with place.engine.connect() as lock:
            lock.exec_driver_sql("LOCK TABLE callback IN ACCESS EXCLUSIVE MODE")
            began = time.monotonic()
            assert place.ants(ants(dr(ids[0]))).status == 200
            assert time.monotonic() - began > 2
            seconds = []
            for id_ in ids[1:]:
                began = time.monotonic()
                assert place.ants(ants(dr(id_))).status == 200
                seconds.append(time.monotonic() - began)
            # The trial may find it alive, and the next batch waits.
            assert statistics.median(seconds) < 1
        eventually(lambda: ready(place))
        assert place.count() == (20, 20)


def limit_files(place: Place, size: int) -> None:
    import resource

    resource.prlimit(
        place.server.process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY)
    )


def test_database_and_spool_on_a_full_disk(databases: Databases) -> None:
    """503, nothing half-kept, and all well again without a restart."""
    with placed(databases, "sqlite", OPEN) as place:
        ids = [new() for _ in range(6)]
        assert place.ants(ants(dr(ids[0]))).status == 200
        limit_files(place, 4096)
        for id_ in ids[1:3]:
            answer = place.ants(ants(dr(id_)))
            assert (answer.status, answer.headers["retry-after"]) == (503, "5")
        assert place.ants(b"{" + ids[3].encode()).status == 503
        said = place("GET", "/readyz")
        assert (said.status, said.json["status"]) == (503, "unavailable")
        limit_files(place, 2**40)
        eventually(lambda: ready(place))
        assert place.ants(ants(dr(ids[4]))).status == 200
        assert place.count() == (2, 2)


def test_a_damaged_spool_does_not_keep_it_from_starting(
    databases: Databases, tmp_path: Path
) -> None:
    url = databases.make("sqlite")
    kept = [Callback(provider="ants", method="POST", body=ants(dr(f"m{n}"))) for n in range(300)]
    spool = Spool(tmp_path / "receiver-spool.db")
    spool.keep(kept)
    spool.close()
    with (tmp_path / "receiver-spool.db").open("r+b") as file:
        file.seek(20_000)
        file.write(b"\xff" * 6000)
    with serving(url, folder=tmp_path, **OPEN) as server:
        place = Place(server, databases.open(url))
        assert place.ants(ants(dr("new"))).status == 200
        said = place("GET", "/readyz")
        assert (said.status, said.json["status"]) == (200, "degraded")
        (name,) = said.json["spool"]["set_aside"]
        assert f"receiver receive --spool {name}" in said.json["problems"][0]
        assert "damaged" in server.stderr()
        settings = OPEN | {"RECEIVER_DATABASE_URL": url}
        busy = process(tmp_path, "receive", "--spool", "receiver-spool.db", settings=settings)
        assert "in use by a running receiver" in busy.sentence
        for _ in range(2):  # the second time changes nothing
            done = process(tmp_path, "receive", "--spool", name, settings=settings)
            assert done.code == 1  # some could not be read, and are counted
            reports = {r.message_id for r in place.rows(select(delivery_report.c.message_id))}
            assert len(reports) > 200
            assert place.count() == (len(reports), len(reports))
        assert "received before" in done.out
        (tmp_path / name).unlink()
        assert ready(place)


def test_a_kept_callback_is_found_by_any_id_it_was_answered(
    databases: Databases, tmp_path: Path
) -> None:
    with placed(databases, "sqlite", OPEN) as place:
        with away(place, databases):
            ids = [place.ants(b"{").json["callback"] for _ in range(2)]
        eventually(lambda: ready(place))
        settings = OPEN | {"RECEIVER_DATABASE_URL": str(place.engine.url)}
        shown = [process(tmp_path, "callbacks", "show", id_, settings=settings).out for id_ in ids]
        assert shown[0] == shown[1] != ""


def test_a_flood_is_bounded_and_what_was_answered_is_there(databases: Databases) -> None:
    """Sixty callers with bodies of 2 MB, and a database that stands still for a while."""
    with placed(databases, "postgresql", OPEN | SPOOLLESS) as place:
        kept: list[str] = []
        statuses: set[int] = set()
        stop = threading.Event()

        def flood(_: int) -> None:
            while not stop.is_set():
                id_ = new()
                with suppress(OSError, HTTPException):
                    status = place.ants(ants(dr(id_, filler="x" * 2_000_000))).status
                    statuses.add(status)
                    if status == 200:
                        kept.append(id_)

        with ThreadPoolExecutor(30) as threads:
            asked = [threads.submit(flood, n) for n in range(30)]
            time.sleep(1)
            with place.engine.connect() as lock:
                lock.exec_driver_sql("LOCK TABLE callback IN ACCESS EXCLUSIVE MODE")
                time.sleep(2)
            time.sleep(1)
            stop.set()
            for one in asked:
                one.result()
        resident = resident_mb(place.server.process.pid)
        assert {200, 503} <= statuses <= {200, 503}
        eventually(lambda: ready(place))
        stored = {r.message_id for r in place.rows(select(delivery_report.c.message_id))}
        assert kept
        assert set(kept) <= stored
        assert resident < 500


def resident_mb(pid: int) -> float:
    """Return the most memory a process has had."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024


# --- Several receivers ---------------------------------------------------------------------------


def hand_of(engine: Engine) -> int | None:
    """Return the port by which the backend that settles is connected, if it settles just now."""
    held = (
        "SELECT a.pid FROM pg_locks l JOIN pg_stat_activity a USING (pid)"
        " WHERE l.relation = 'receiver_state'::regclass AND l.mode = 'RowShareLock'"
    )
    with engine.connect() as connection:
        found = connection.execute(text(held)).scalars().first()
    return None if found is None else int(found)


@pytest.mark.parametrize("harm", ["kill the receiver", "cut the connection"])
def test_when_the_settling_hand_dies_another_takes_over(
    databases: Databases, harm: str, tmp_path: Path
) -> None:
    url = databases.make("postgresql")
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    stop = threading.Event()
    with (
        serving(url, folder=folders[0], **OPEN) as first,
        serving(url, folder=folders[1], **OPEN) as second,
        ThreadPoolExecutor(4) as threads,
    ):
        engine = databases.open(url)
        places = [Place(first, engine, first.api_key), Place(second, engine, second.api_key)]
        kept: list[str] = []

        def provide(number: int) -> None:
            while not stop.is_set():
                id_ = new()
                with suppress(OSError, HTTPException):
                    message = {"message_id": id_, "recipient": "66812345678"}
                    if places[1].record(messages=[message]).status != 201:
                        continue
                    if places[number % 2].ants(ants(dr(id_, "PENDING"), dr(id_))).status == 200:
                        kept.append(id_)

        asked = [threads.submit(provide, n) for n in range(4)]
        eventually(lambda: len(kept) > 50)
        if harm == "kill the receiver":
            first.process.kill()
            first.process.wait()
        else:
            for _ in range(20):
                if (pid := hand_of(engine)) is not None:
                    databases.sql(f"SELECT pg_terminate_backend({pid})")
                time.sleep(0.02)
        before = len(kept)
        eventually(lambda: len(kept) > before + 50)
        stop.set()
        for one in asked:
            one.result()
        eventually(lambda: settled(places[1]))
        done = set(places[1].rows(select(sent_message.c.message_id, sent_message.c.status)))
        assert {(id_, "delivered") for id_ in kept} <= set(map(tuple, done))


@pytest.mark.long
def test_receivers_settling_and_recording_never_leave_a_deadlock_behind(
    databases: Databases,
) -> None:
    """For a minute on the same messages: two receivers, the hand, and who records."""
    seconds = 60
    url = databases.make("postgresql")
    with serving(url, **OPEN) as first, serving(url, **OPEN) as second:
        engine = databases.open(url)
        places = [Place(server, engine, server.api_key) for server in (first, second)]
        ids = [f"m{n}" for n in range(40)]
        until = time.monotonic() + seconds
        statuses: dict[int, int] = {}

        def report(number: int) -> None:
            turn = number
            while time.monotonic() < until:
                turn += 7
                some = [ids[(turn * step) % 40] for step in (1, 3, 5, 11, 13)]
                details = [
                    dr(i, ("PENDING", "DELIVERED", "EXPIRED")[turn % 3], doneDate=f"{turn}")
                    for i in some
                ]
                count(places[turn % 2].ants(ants(*details)).status)

        def record(number: int) -> None:
            turn = number
            while time.monotonic() < until:
                turn += 3
                some = [ids[(turn * step) % 40] for step in (13, 11, 7, 5, 1)]
                messages = [
                    {"message_id": i, "recipient": "66812345678", "transaction_id": f"t{turn % 5}"}
                    for i in dict.fromkeys(some)
                ]
                count(places[turn % 2].record(messages=messages).status)

        def count(status: int) -> None:
            statuses[status] = statuses.get(status, 0) + 1

        with ThreadPoolExecutor(8) as threads:
            asked = [threads.submit(report, n) for n in range(5)]
            asked += [threads.submit(record, n) for n in range(3)]
            for one in asked:
                one.result()
        assert set(statuses) == {200, 201}, statuses
        eventually(lambda: settled(places[0]))
        for server in (first, second):
            assert "given up" not in server.stderr()
            assert "settling failed" not in server.stderr()
            assert "database away" not in server.stderr()
        done = process(
            first.folder, "rebuild", "--dry-run", settings={"RECEIVER_DATABASE_URL": url}
        )
        assert "changed: reports 0, links 0, messages 0" in done.out, done.out
