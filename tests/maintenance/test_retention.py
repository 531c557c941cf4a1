"""Deleting what is old: what goes, what stays, and what nobody may bring back."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import pytest
from sqlalchemy import Engine, delete, event, func, insert, select, text, update
from sqlalchemy.exc import OperationalError

from receiver.database.bulk import MAX_VALUES
from receiver.database.tables.callbacks import callback, delivery_report
from receiver.database.tables.messages import sent_message
from receiver.database.tables.operations import receiver_state
from receiver.database.tables.statistics import delivery_rollup
from receiver.database.transactions import transact
from receiver.domain.callback import Callback, _id
from receiver.ingest import interpret, store
from receiver.maintenance import rebuild, replay, retention
from receiver.maintenance.nightly import LEASE, Nightly
from receiver.maintenance.retention import Limits
from receiver.settings.settings import Settings
from receiver.settling import settle
from tests.kit.commands import ROOT, Command, process
from tests.kit.serving import serving
from tests.maintenance.test_rebuild import interpreter, rows

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Table

NOW: Final = datetime.now(UTC).replace(microsecond=0)
DAY: Final = timedelta(days=1)
LIMITS: Final = Limits.at(NOW, 400 * DAY, None, None)
VIEWS: Final = ("delivery_rate_hourly", "delivery_rate_daily", "delivery_latency_daily")
_number = itertools.count()


def receive(engine: Engine, said: str | bytes, at: datetime, provider: str = "thaibulksms") -> str:
    """Keep a callback that arrived at a time: a query of ThaiBulkSMS, or a body."""
    given: dict[str, Any] = {"query": said} if isinstance(said, str) else {"body": said}
    id_ = _id(int(at.timestamp() * 1000), next(_number))
    arrived = Callback(id=id_, provider=provider, method="POST", received_at=at, **given)
    reading = interpret.redact_and_read(arrived, interpreter(), "drop")
    with engine.begin() as connection:
        return store.keep(connection, [reading])[0].id


def ants(id_: str, status: str, done: datetime) -> dict[str, Any]:
    at = f"{done + timedelta(hours=7):%Y-%m-%dT%H:%M:%S}.00"
    return {"messageId": id_, "to": "66812345678", "doneDate": at, "status": {"name": status}}


def send(engine: Engine, id_: str, at: datetime, **values: Any) -> None:
    given = {"provider": "thaibulksms", "recipient": "66812345678", "message_id": id_}
    with engine.begin() as connection:
        connection.execute(insert(sent_message), given | {"sent_at": at} | values)


def delivered(engine: Engine, id_: str, at: datetime) -> None:
    """Record a message that is delivered five seconds later."""
    send(engine, id_, at)
    done = at + timedelta(seconds=5)
    receive(engine, f"Transaction={id_}&Status=sent&Time={int(at.timestamp())}", done)
    receive(engine, f"Transaction={id_}&Status=delivery&Time={int(done.timestamp())}", done)


def ids(engine: Engine, table: Table, column: str = "message_id") -> list[Any]:
    return [row[column] for row in rows(engine, table)]


def figures(engine: Engine) -> list[Any]:
    with engine.connect() as connection:
        return [
            sorted(map(repr, connection.execute(text(f"SELECT * FROM {view}")).all()))
            for view in VIEWS
        ]


def old_and_new(engine: Engine) -> None:
    """Fill a database with messages and reports of 401 and of 399 days ago, and of today."""
    for n, age in enumerate((450, 401, 399, 0)):
        delivered(engine, f"m{n}", NOW - age * DAY - timedelta(minutes=1))
        receive(engine, f"Transaction=x{n}&Status=delivery", NOW - age * DAY)
        receive(engine, f"Status={n}", NOW - age * DAY)
    settle.settle_all(engine)


def test_messages_go_with_all_that_is_theirs(engine: Engine) -> None:
    old_and_new(engine)
    before = figures(engine)
    wanted = retention.count(engine, LIMITS)
    told: list[int] = []
    gone = retention.purge(engine, LIMITS, progress=told.append)
    assert gone == wanted == {"messages": 2, "reports": 6, "callbacks": 8}
    assert sum(told) == gone.total()
    assert ids(engine, sent_message) == ["m2", "m3"]
    named = {"m2", "m3", "x2", "x3"}
    assert set(ids(engine, delivery_report, "transaction_id")) == named
    queries = ids(engine, callback, "query")
    assert len(queries) == 8
    assert not [q for q in queries if re.search(r"[mx][01]&|Status=[01]$", q)]
    assert figures(engine) == before
    assert retention.purge(engine, LIMITS) == {}


def test_nothing_deleted_comes_back(engine: Engine) -> None:
    old_and_new(engine)
    # Late: delivered and told of after the limit that the message itself is older than.
    at = NOW - 400 * DAY - timedelta(hours=1)
    send(engine, "late", at, provider="ants")
    late = ants("late", "DELIVERED", at + timedelta(hours=2))
    other = ants("other", "DELIVERED", NOW)
    body = json.dumps({"details": [late, other]}).encode()
    receive(engine, body, NOW - 399 * DAY, "ants")
    settle.settle_all(engine)
    # The same again in callbacks that are younger, and stay.
    again = ants("late", "DELIVERED", at)
    receive(engine, b'{"details": [%s]}' % json.dumps(again).encode(), NOW, "ants")
    receive(engine, f"Transaction=m1&Status=sent&Time={int((NOW - 401 * DAY).timestamp())}", NOW)
    settle.settle_all(engine)
    before = figures(engine)
    retention.purge(engine, LIMITS)
    kept = ids(engine, delivery_report, "id")
    assert "late" not in ids(engine, sent_message) + ids(engine, delivery_report)
    for _ in range(2):
        done = replay.replay(
            engine, interpreter(), "drop", outcomes=("read", "partial", "unreadable")
        )
        assert done.new_reports == 0
        assert done.callbacks == len(rows(engine, callback)) > 0
        found = rebuild.rebuild(engine, interpreter())
        assert not (found.changed_messages or found.changed_links or found.changed_rollups)
        assert ids(engine, delivery_report, "id") == kept
        assert figures(engine) == before


def test_callbacks_may_go_sooner_and_unreadable_ones_sooner_still(engine: Engine) -> None:
    old_and_new(engine)
    receive(engine, b"{", NOW - 8 * DAY, "ants")
    receive(engine, b"[", NOW - 6 * DAY, "ants")
    reports = ids(engine, delivery_report, "id")
    by_default = Limits.set(Settings(), NOW)
    assert retention.count(engine, by_default) == {"callbacks": 1}
    assert retention.purge(engine, by_default) == {"callbacks": 1}
    assert [row["body"] for row in rows(engine, callback) if not row["redacted"]] == [b"["]
    limits = Limits.at(NOW, None, 30 * DAY, None)
    assert retention.purge(engine, limits) == {"callbacks": 12}
    assert min(row["received_at"] for row in rows(engine, callback)) > NOW - 30 * DAY
    assert ids(engine, delivery_report, "id") == reports
    assert len(rows(engine, sent_message)) == 4


def test_no_callback_outlives_its_messages() -> None:
    wanted = Limits(messages=NOW - DAY, callbacks=NOW - DAY)
    assert Limits.at(NOW, DAY, 2 * DAY, None) == Limits.at(NOW, DAY, None, None) == wanted
    assert not Limits.at(NOW, None, None, None)
    assert Limits.set(Settings(), NOW) == Limits(unreadable=NOW - 7 * DAY)


def test_cut_off_half_way_and_run_again(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "MAX_PORTION_ROWS", 1)
    monkeypatch.setattr(retention, "FIRST_PORTION_ROWS", 1)
    old_and_new(engine)
    before = figures(engine)
    rest = retention.count(engine, LIMITS)
    rounds = 0
    while rest:
        stopping = threading.Event()
        gone = retention.purge(
            engine, LIMITS, progress=lambda _, s=stopping: s.set(), stopping=stopping  # type: ignore[misc]
        )  # fmt: skip
        found = rebuild.rebuild(engine, interpreter())
        assert not (found.changed_messages or found.changed_links or found.changed_rollups)
        assert figures(engine) == before
        rest = Counter(rest) - gone
        assert retention.count(engine, LIMITS) == rest
        rounds += 1
    assert rounds > 3
    assert ids(engine, sent_message) == ["m2", "m3"]


def test_what_is_not_counted_yet_waits(engine: Engine) -> None:
    send(engine, "new", NOW - 500 * DAY)
    assert retention.purge(engine, LIMITS) == {}
    settle.settle_all(engine)
    before = figures(engine)
    assert retention.purge(engine, LIMITS) == {"messages": 1}
    assert figures(engine) == before != [[], [], []]


def test_reports_of_a_message_that_was_deleted_meanwhile_go_too(engine: Engine) -> None:
    old_and_new(engine)
    with engine.begin() as connection:
        connection.execute(delete(sent_message))
    assert retention.purge(engine, LIMITS)["reports"] == 6


def test_rebuild_takes_nothing_from_hours_that_were_purged(engine: Engine) -> None:
    """Some messages of two old hours are left: those that were being settled just then."""
    hour = NOW.replace(minute=0) - 500 * DAY
    for n in range(4):
        send(engine, f"m{n}", hour + timedelta(hours=n // 2, minutes=n))
    settle.settle_all(engine)
    before = figures(engine)
    with engine.begin() as connection:
        odd = sent_message.c.message_id.in_(["m1", "m3"])
        connection.execute(update(sent_message).where(odd).values(settled_at=None))
    assert retention.purge(engine, LIMITS) == {"messages": 2}
    rebuild.rebuild(engine, interpreter())
    assert figures(engine) == before
    with engine.connect() as connection:
        assert connection.execute(select(func.sum(delivery_rollup.c.silent))).scalar_one() == 4


def test_what_was_purged_stays_purged_whatever_is_purged_next(engine: Engine) -> None:
    """Else a replay would revive reports of messages that are deleted."""
    old_and_new(engine)
    for days in (400, 800):
        retention.purge(engine, Limits.at(NOW, days * DAY, None, None))
        with engine.connect() as connection:
            assert retention.purged_until(connection) == NOW - 400 * DAY


def test_what_can_be_read_stays_with_its_texts(engine: Engine) -> None:
    """Where texts are kept, nothing is blanked: only what cannot be read goes sooner."""
    limits = Limits.set(Settings(message_text="keep"), NOW)
    for query in ("Transaction=m&Status=delivery", "Status=unreadable"):
        arrived = Callback(provider="thaibulksms", method="GET", query=query, redacted=False,
                           received_at=NOW - 30 * DAY)  # fmt: skip
        with engine.begin() as connection:
            store.keep(connection, [interpret.read(arrived, interpreter())])
    assert retention.count(engine, limits) == {"callbacks": 1}
    assert retention.purge(engine, limits) == {"callbacks": 1}
    assert ids(engine, callback, "outcome") == ["read"]


def test_an_old_report_that_waits_for_its_young_message_stays(engine: Engine) -> None:
    send(engine, "young", NOW - DAY)
    receive(engine, "Transaction=young&Status=delivery", NOW - 500 * DAY)
    assert retention.purge(engine, LIMITS)["reports"] == 0
    settle.settle_all(engine)
    assert ids(engine, sent_message, "status") == ["delivered"]


def test_a_message_with_more_callbacks_than_a_statement_lists(engine: Engine) -> None:
    send(engine, "m", NOW - 500 * DAY)
    many = range(MAX_VALUES + 1)
    old = {"provider": "thaibulksms", "received_at": NOW - 500 * DAY}
    with engine.begin() as connection:
        connection.execute(
            insert(callback),
            [
                old | {"id": str(UUID(int=n)), "method": "GET", "body": b"", "outcome": "read"}
                for n in many
            ],
        )
        connection.execute(
            insert(delivery_report),
            [
                old | {"callback_id": str(UUID(int=n)), "position": 0, "message_id": "m",
                       "provider_status": "sent", "status": "enroute",
                       "digest": n.to_bytes(16, "big")}
                for n in many
            ],
        )  # fmt: skip
    settle.settle_all(engine)
    gone = {"messages": 1, "reports": len(many), "callbacks": len(many)}
    assert retention.purge(engine, LIMITS) == gone


# Portions.


def test_refusals_are_counted_in_a_row_and_every_portion_rests(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(6):
        send(engine, f"m{n}", NOW - 500 * DAY)
    settle.settle_all(engine)
    clock, waited = itertools.count(step=0.5), list[float]()
    tries, really = itertools.count(1), transact

    class Stopping(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waited.append(timeout or 0.0)
            return False

    def busy(engine: Engine, work: Any) -> Any:
        if next(tries) % retention.MAX_REFUSALS:
            raise OperationalError("DELETE", None, sqlite3.OperationalError("locked"))
        return really(engine, work)

    monkeypatch.setattr(retention, "MAX_PORTION_ROWS", 2)
    monkeypatch.setattr(retention, "FIRST_PORTION_ROWS", 2)
    monkeypatch.setattr(retention, "TARGET_SECONDS", 10)
    monkeypatch.setattr(retention, "_store_limit", lambda *_: None)
    monkeypatch.setattr(retention, "transact", busy)
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(clock)))
    gone = retention.purge(engine, LIMITS, stopping=Stopping())
    assert gone["messages"] == 6
    # Longer after each refusal in a row, then as the portion took: half a second, times REST.
    assert waited == [1, 2, 3, 4, 0.5 * retention.REST_FACTOR] * 3


def test_portions_fit_the_time_they_take(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(40):
        send(engine, f"m{n}", NOW - 500 * DAY)
    settle.settle_all(engine)
    clock, sizes = [0.0], list[int]()
    really = retention.delete_messages

    def slow(connection: Any, ids: Any) -> Any:
        sizes.append(len(ids))
        clock[0] += 0.006 * len(ids) if len(sizes) < 3 else 0.0001
        return really(connection, ids)

    monkeypatch.setattr(retention, "delete_messages", slow)
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(retention, "REST_FACTOR", 0)
    retention.purge(engine, LIMITS)
    assert sizes == [20, 2, 2, 4, 8, 4]
    assert ids(engine, sent_message) == []


def test_a_busy_database_is_waited_for(engine: Engine) -> None:
    """Another program has SQLite's lock longer than we are patient; PostgreSQL's lock rows."""
    if engine.dialect.name != "sqlite":
        pytest.skip("PostgreSQL waits for rows by itself")
    old_and_new(engine)
    event.listen(engine, "connect", lambda opened, _: opened.execute("PRAGMA busy_timeout = 1"))
    engine.dispose()
    other = sqlite3.connect(str(engine.url.database), isolation_level=None)
    refused: list[float] = []

    class Stopping(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            if other.in_transaction:
                refused.append(timeout or 0)
                if len(refused) == 2:
                    other.execute("ROLLBACK")
            return False

    class Impatient(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            return timeout is None

    limits = Limits(callbacks=NOW - 400 * DAY)
    other.execute("BEGIN IMMEDIATE")
    assert retention.purge(engine, limits, stopping=Stopping()) == {"callbacks": 8}
    assert refused == [1, 2]
    receive(engine, "Status=again", NOW - 2 * DAY)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(OperationalError):
        retention.purge(engine, Limits(callbacks=NOW), stopping=Impatient())
    other.close()


# Every night.


def waits(engine: Engine, until: datetime | None) -> None:
    with engine.begin() as connection:
        connection.execute(update(receiver_state).values(purge_after=until))


def waiting_until(engine: Engine) -> Any:
    with engine.connect() as connection:
        return connection.execute(select(receiver_state.c.purge_after)).scalar_one()


def test_one_receiver_purges_and_at_night(engine: Engine) -> None:
    settings = Settings(purge_older_than="400d")
    old_and_new(engine)
    first, second = Nightly(engine, settings), Nightly(engine, settings)
    first.run_if_due()
    until = waiting_until(engine)
    assert until == first.night(datetime.now(UTC))
    assert until.astimezone(settings.timezone).hour == 3
    assert timedelta(0) < until - datetime.now(UTC) <= DAY
    assert len(ids(engine, sent_message)) == 4
    # Another one is at it, and was alive a moment ago.
    waits(engine, datetime.now(UTC) + timedelta(minutes=9))
    second.run_if_due()
    assert len(ids(engine, sent_message)) == 4
    # It is no more.
    waits(engine, datetime.now(UTC) - timedelta(minutes=1))
    second.run_if_due()
    assert ids(engine, sent_message) == ["m2", "m3"]
    assert waiting_until(engine) == until
    first.run_if_due()
    assert waiting_until(engine) == until


def test_who_purges_for_long_says_that_it_lives(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else another receiver would take over after the lease, beside it."""
    old_and_new(engine)
    waits(engine, datetime.now(UTC) - timedelta(minutes=1))
    clock, said = itertools.count(step=40), list[timedelta]()
    nightly, portion = Nightly(engine, Settings(purge_older_than="400d")), [0]
    really = nightly._wait_until  # noqa: SLF001

    def wait_until(at: datetime, where: Any = None) -> bool:
        said.append(at - datetime.now(UTC))
        return really(at, where)

    def long(*_: Any, progress: Any, **__: Any) -> Counter[str]:
        for _portion in range(6):
            portion[0] += 1
            progress(1)
        return Counter()

    monkeypatch.setattr(nightly, "_wait_until", wait_until)
    monkeypatch.setattr("receiver.maintenance.nightly.purge", long)
    monkeypatch.setattr(time, "monotonic", lambda: float(next(clock)))
    nightly.run_if_due()
    monkeypatch.undo()
    leases = [left for left in said if abs(left - LEASE) < timedelta(minutes=1)]
    assert portion == [6]
    assert len(leases) > 2  # when it took the work, and while it was at it


def test_of_two_that_look_at_once_one_purges(engine: Engine) -> None:
    nightly = [Nightly(engine, Settings(purge_older_than="400d")) for _ in range(8)]
    due = NOW - DAY
    waits(engine, due)
    ready = threading.Barrier(len(nightly))
    won: list[bool] = []

    def look(one: Nightly) -> None:
        ready.wait()
        won.append(one.claim(datetime.now(UTC)))

    threads = [threading.Thread(target=look, args=[one]) for one in nightly]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(won) == {True: 1, False: 7}


def test_serve_follows_the_settings(url: str, engine: Engine) -> None:
    old_and_new(engine)
    waits(engine, NOW - DAY)
    with serving(url, RECEIVER_PURGE_OLDER_THAN="400d") as server:
        until = time.monotonic() + 20
        while len(ids(engine, sent_message)) > 2 or "event=purged" not in server.stderr():
            assert time.monotonic() < until, server.stderr()
            time.sleep(0.01)
    assert ids(engine, sent_message) == ["m2", "m3"]


# The command.


@pytest.fixture
def command(
    url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Command:
    return Command(monkeypatch, tmp_path, capsys, RECEIVER_DATABASE_URL=url)


def test_the_command(command: Command, engine: Engine) -> None:
    old_and_new(engine)
    assert command("purge").out == "messages 0, reports 0, callbacks 0 deleted\n"
    old = ("purge", "--older-than", "400d")
    tried = command(*old, "--dry-run")
    assert tried.out == "messages 2, reports 6, callbacks 8 would be deleted (nothing was)\n"
    assert len(rows(engine, sent_message)) == 4
    assert command(*old).out == "messages 2, reports 6, callbacks 8 deleted\n"
    command.set(RECEIVER_PURGE_OLDER_THAN="9000h")
    assert command("purge").out == "messages 1, reports 3, callbacks 4 deleted\n"
    command.set(RECEIVER_PURGE_OLDER_THAN="1h")
    assert command("purge", "--older-than", "").out.startswith("messages 0")


@pytest.mark.parametrize("said", ["400", "0d", "-1d", "1w", "1.5d", "d", "9999999d", " "])
def test_an_age_that_is_none(command: Command, said: str) -> None:
    wanted = "expected a number of days or hours, such as 400d or 12h"
    done = command("purge", f"--callbacks-older-than={said}")
    assert done.code == 2
    assert f"--callbacks-older-than: {wanted}." in done.sentence
    command.set(RECEIVER_PURGE_OLDER_THAN=said)
    done = command("purge")
    assert done.code == 1
    assert done.sentence == f"RECEIVER_PURGE_OLDER_THAN: {wanted}."


def test_a_purge_that_is_killed_is_finished_by_the_next(
    url: str, engine: Engine, tmp_path: Path
) -> None:
    """The real command, ended by SIGKILL in the middle of its work."""
    for n in range(30):
        delivered(engine, f"m{n}", NOW - 450 * DAY)
    settle.settle_all(engine)
    before = figures(engine)
    slowly = (
        "import os, signal, sys; from receiver import cli;"
        " from receiver.maintenance import retention; retention.FIRST_PORTION_ROWS = 1;"
        " retention.MAX_PORTION_ROWS = 1; done = []; transact = retention.transact;"
        " retention.transact = lambda *a: ("
        "  os.kill(os.getpid(), signal.SIGKILL) if len(done) > 7 else None,"
        "  done.append(1), transact(*a))[2]; cli.main(sys.argv[1:])"
    )
    killed = subprocess.run(
        [sys.executable, "-c", slowly, "purge", "--older-than", "400d"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "RECEIVER_DATABASE_URL": url},
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    left = len(rows(engine, sent_message))
    assert 0 < left < 30
    assert len(rows(engine, delivery_report)) == len(rows(engine, callback)) == 2 * left
    settings = {"RECEIVER_DATABASE_URL": url}
    done = process(tmp_path, "purge", "--older-than", "400d", settings=settings)
    wanted = f"messages {left}, reports {2 * left}, callbacks {2 * left} deleted\n"
    assert done.out == wanted
    assert figures(engine) == before
