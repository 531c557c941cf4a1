"""`serve` looks for alarms, and tells each once, whatever the URL does."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final

import pytest
from sqlalchemy import delete, select, text, update

from receiver.database.column_types import milliseconds
from receiver.database.tables.callbacks import callback
from receiver.database.tables.operations import alarm, alarm_watch, spool_state
from receiver.domain.alarm import AlarmKey, State
from receiver.ingest.spool.spool import Spool
from receiver.monitoring.alarms import notifier, store, worker
from receiver.monitoring.alarms.worker import AlarmWorker
from receiver.monitoring.metrics import database
from receiver.settings.settings import Settings
from tests.kit.serving import ROOT, ask, serving
from tests.kit.world import PROVIDERS, World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sqlalchemy import Engine

    from tests.conftest import Databases

KEY: Final = AlarmKey("unreadable_callbacks", "ants")
PATIENCE: Final = 300


class Listener:
    """A real HTTP server that takes POSTs, or answers something else."""

    def __init__(self) -> None:
        self.status = 204
        self.posts: list[dict[str, Any]] = []
        told = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                assert self.headers["Content-Type"] == "application/json"
                told.posts.append(json.loads(body))
                self.send_response(told.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook?key=secret"

    def said(self) -> list[tuple[str, str]]:
        """Return what was told: names and states."""
        return [(post["name"], post["state"]) for post in self.posts]


@pytest.fixture
def listener() -> Iterator[Listener]:
    made = Listener()
    thread = threading.Thread(target=made.server.serve_forever, args=[0.01])
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


@contextmanager
def hanging() -> Iterator[tuple[str, socket.socket]]:
    """Listen, and never answer."""
    with socket.create_server(("127.0.0.1", 0)) as opened:
        yield f"http://127.0.0.1:{opened.getsockname()[1]}/", opened


@pytest.fixture
def world(engine: Engine) -> World:
    return World(engine)


def looking(engine: Engine, url: str | None = None, spool: Spool | None = None) -> AlarmWorker:
    return AlarmWorker(Settings(alarm_url=url, providers=PROVIDERS), engine, spool)


def break_(world: World) -> datetime:
    """Raise an alarm; return since when."""
    now = milliseconds(datetime.now(UTC))
    world.call(now, "unreadable", error="to 66812345678", query="to=66812345678")
    return now


def mend(world: World) -> None:
    with world.engine.begin() as connection:
        connection.execute(update(callback).values(outcome="read"))


def stands(engine: Engine, key: AlarmKey = KEY) -> Any:
    with engine.connect() as connection:
        found = select(alarm).where(alarm.c.name == key.name, alarm.c.provider == key.provider)
        return connection.execute(found).one()


def test_one_post_when_it_is_raised_and_one_when_it_is_over(
    world: World, listener: Listener
) -> None:
    looks = looking(world.engine, listener.url)
    looks.evaluate()
    assert listener.posts == []
    break_(world)
    for _ in range(3):
        looks.evaluate()
    assert listener.said() == [(KEY.name, "raised")]
    row = stands(world.engine)
    (told,) = listener.posts
    assert told["text"].startswith("raised: unreadable_callbacks (ants). 1 callback of")
    assert told["since"] == row.since.isoformat(timespec="milliseconds")[:-6] + "Z"
    assert told["advice"]
    assert "6681" not in json.dumps(told)
    mend(world)
    for _ in range(2):
        looks.evaluate()
    assert listener.said() == [(KEY.name, "raised"), (KEY.name, "clear")]
    break_(world)
    looks.evaluate()
    assert len(listener.posts) == 3


def test_what_is_told_is_what_the_page_shows() -> None:
    page = (ROOT / "docs" / "alarms.md").read_text("utf-8")
    (example,) = re.findall(r"```json\n(.+?)```", page, re.DOTALL)
    assert json.loads(example).keys() == notifier.document(KEY.clear("x")).keys()


def test_it_is_kept_since_when(world: World) -> None:
    looks = looking(world.engine)
    began = break_(world)
    looks.evaluate()
    first = stands(world.engine)
    assert first.since == began
    with world.engine.begin() as connection:
        connection.execute(delete(callback))
    break_(world)  # later than the first one was
    looks.evaluate()
    row = stands(world.engine)
    assert (row.since, row.changed_at) == (first.since, first.changed_at)
    (found,) = [a for a in world.examine(datetime.now(UTC)) if a.key == KEY]
    assert found.since == first.since


def test_a_restart_tells_nothing_twice(world: World, listener: Listener) -> None:
    break_(world)
    first = looking(world.engine, listener.url)
    first.evaluate()
    with world.engine.begin() as connection:
        store.release_lease(connection, first.holder)
    looking(world.engine, listener.url).evaluate()
    assert listener.said() == [(KEY.name, "raised")]


def test_only_one_process_looks_until_it_is_gone(world: World, listener: Listener) -> None:
    first, second = (looking(world.engine, listener.url) for _ in range(2))
    first.evaluate()
    break_(world)
    second.evaluate()
    assert listener.posts == []
    assert stands(world.engine).state == "not known"
    with world.engine.begin() as connection:  # as if its time were over
        past = datetime.now(UTC) - timedelta(seconds=1)
        connection.execute(update(alarm_watch).values(held_until=past))
    second.evaluate()
    assert len(listener.posts) == 1
    first.evaluate()
    mend(world)
    first.evaluate()
    assert len(listener.posts) == 1


def test_many_at_once_tell_it_once(world: World, listener: Listener) -> None:
    break_(world)
    all_ = [looking(world.engine, listener.url) for _ in range(6)]
    threads = [threading.Thread(target=each.evaluate) for each in all_]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(listener.posts) == 1


def test_what_is_not_taken_is_told_again_and_not_for_ever(
    world: World, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "MAX_TRIES", 3)
    looks = looking(world.engine, listener.url)
    listener.status = 500
    break_(world)
    for _ in range(5):
        looks.evaluate()
    assert len(listener.posts) == 3
    assert stands(world.engine).told_at is None
    listener.status = 200
    mend(world)
    looks.evaluate()
    assert len(listener.posts) == 3  # it was never told that it is raised
    break_(world)
    looks.evaluate()
    assert len(listener.posts) == 4
    assert stands(world.engine).told_at is not None


def test_nothing_is_told_without_a_url(world: World) -> None:
    break_(world)
    looking(world.engine).evaluate()
    row = stands(world.engine)
    assert (row.state, row.told_at) == ("raised", None)


def test_a_url_that_hangs_is_left_in_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifier, "MAX_SECONDS", 0.2)
    break_(world)
    world.call(datetime.now(UTC), "unreadable", provider="engagelab", error="?")
    with hanging() as (url, _):
        looks = AlarmWorker(
            Settings(alarm_url=url, providers=PROVIDERS | {"engagelab": {"tokens": "secret"}}),
            world.engine,
            None,
        )
        looks.evaluate()  # which else ends never
    assert sum(looks.tries.values()) == 1  # nor is another told when one was not taken


def test_one_that_trickles_is_left_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifier, "MAX_SECONDS", 0.5)
    stop = threading.Event()

    def trickle(opened: socket.socket) -> None:
        connection, _ = opened.accept()
        with connection:
            connection.sendall(b"HTTP/1.1 200 OK\r\n")
            while not stop.wait(0.05):
                try:
                    connection.sendall(b"X-More: 1\r\n")
                except OSError:
                    return

    with hanging() as (url, opened):
        thread = threading.Thread(target=trickle, args=[opened])
        thread.start()
        try:
            assert notifier.notify(url, KEY.clear("x")) == "no answer within 0.5 s"
        finally:
            stop.set()
            thread.join()


@pytest.mark.parametrize("status", [200, 204, 301, 404, 503])
def test_only_2xx_takes_it(listener: Listener, status: int) -> None:
    listener.status = status
    why = notifier.notify(listener.url, KEY.clear("x"))
    assert why == (None if status < 300 else f"answered {status}")


def test_a_url_without_anybody(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as opened:
        port = opened.getsockname()[1]
    assert notifier.notify(f"http://127.0.0.1:{port}/?key=secret", KEY.clear("x")) == "ConnectError"
    assert "secret" not in capsys.readouterr().err


def test_an_alarm_of_a_provider_that_is_gone_is_over(world: World, listener: Listener) -> None:
    break_(world)
    looking(world.engine, listener.url).evaluate()
    with world.engine.begin() as connection:
        connection.execute(delete(alarm_watch))
    without = AlarmWorker(Settings(alarm_url=listener.url), world.engine, None)
    without.evaluate()
    assert listener.said() == [(KEY.name, "raised"), (KEY.name, "not known")]
    without.evaluate()
    with world.engine.connect() as connection:
        assert KEY not in {each.key for each in store.latest(connection)}
    assert len(listener.posts) == 2


def test_the_metrics_have_it(world: World) -> None:
    name = "unreadable_callbacks"
    world.call(datetime.now(UTC), "unreadable", provider="smsmkt", error="?")
    world.send(datetime.now(UTC), 1, provider="smsmkt", account="66812345678")
    look = looking(world.engine)

    def shown() -> dict[tuple[str, ...], float]:
        with world.engine.connect() as connection:
            found = database.read(connection)
        return {labels: value for name, labels, value in found if name == "receiver_alarm"}

    assert shown() == {}
    look.evaluate()
    assert shown()[name, "ants"] == 0
    assert shown()[name, "other"] == 1
    assert shown()["settling_behind", ""] == 0
    break_(world)
    look.evaluate()
    assert shown()[name, "ants"] == 1


# The database is away.


def test_the_database_is_away_and_back(
    databases: Databases, listener: Listener, tmp_path: Path
) -> None:
    url = databases.make("postgresql")
    engine = databases.open(url)
    name = engine.url.database
    spool = Spool(tmp_path / "spool.db")
    other = Spool(tmp_path / "spool.db")
    looks = looking(engine, listener.url, spool)
    looks.evaluate()
    databases.sql(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    databases.sql(
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
    )
    looks.evaluate()
    assert listener.posts == []
    for _ in range(3):
        looks.evaluate()
    assert listener.said() == [("database_away", "raised")]
    beside = looking(engine, listener.url, other)
    for _ in range(3):
        beside.evaluate()
    assert len(listener.posts) == 1
    databases.sql(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    looks.evaluate()
    beside.evaluate()
    assert listener.said() == [("database_away", "raised"), ("database_away", "clear")]
    for each in (spool, other):
        each.close()
    databases.drop(url)


def test_a_database_that_refuses_callbacks_and_nothing_else_is_told_of(
    databases: Databases, listener: Listener
) -> None:
    """With the statement that is refused, and what to do; and again when that is over."""
    url = databases.make("postgresql")
    engine = databases.open(url)
    looks = looking(engine, listener.url)
    why = "It refuses `INSERT INTO callback`: permission denied. Give our user the right."
    looks.refusal = lambda: why
    looks.evaluate()
    assert listener.posts == []  # it may be over at once
    looks.evaluate()
    looks.evaluate()
    assert listener.said() == [("database_away", "raised")]
    assert why in listener.posts[0]["advice"]
    looks.refusal = str
    looks.evaluate()
    assert listener.said() == [("database_away", "raised"), ("database_away", "clear")]
    engine.dispose()
    databases.drop(url)


def test_a_look_that_takes_too_long_is_given_up_and_the_database_is_not_away(
    databases: Databases, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = databases.make("postgresql")
    engine = databases.open(url)
    monkeypatch.setattr(worker, "STATEMENT_SECONDS", 1)
    looks = looking(engine, listener.url)
    with engine.begin() as other:
        other.execute(text("LOCK TABLE sent_message IN ACCESS EXCLUSIVE MODE"))
        for _ in range(3):
            looks.evaluate()
    assert looks.failed == 3
    assert listener.posts == []
    looks.evaluate()
    assert looks.failed == 0
    engine.dispose()
    databases.drop(url)


# Spools.


def test_a_spool_that_holds_something(world: World, tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.db")
    looks = looking(world.engine, None, spool)
    assert world.one("spool_not_empty").state is State.NOT_KNOWN
    looks.evaluate()
    now = datetime.now(UTC)
    assert world.one("spool_not_empty", now).state is State.CLEAR
    spool.keep([arrived()])
    looks.evaluate()
    found = world.one("spool_not_empty", now)
    assert found.is_raised
    assert f"{socket.gethostname()}:{tmp_path}/spool.db: 1 waiting." in found.sentence
    portion = spool.portion(10)
    assert portion is not None
    spool.forget(portion, [(portion.positions[0], "It refuses `INSERT INTO x`: no. Drop it.")])
    looks.evaluate()
    sentence = world.one("spool_not_empty", now).sentence
    assert ": 1 refused by the database, It refuses `INSERT INTO x`: no. Drop it." in sentence
    spool.close()
    # The next process has the same file; another that took all of it out says that it is empty.
    (tmp_path / "spool.db").unlink()
    spool = Spool(tmp_path / "spool.db")
    looking(world.engine, None, spool).evaluate()
    assert world.one("spool_not_empty", now).state is State.CLEAR
    spool.close()


def test_what_a_process_noted_is_forgotten_when_it_is_gone(world: World) -> None:
    held = {"callbacks": 0, "refused": 0, "set_aside": 1, "trouble": "it takes nothing: disk full"}
    with world.engine.begin() as connection:
        store.write_spool_state(connection, "elsewhere:/spool.db", held)
    looks = looking(world.engine)
    looks.evaluate()
    said = world.one("spool_not_empty").sentence
    assert "elsewhere:/spool.db: damaged files beside it: 1, it takes nothing: disk full." in said
    with world.engine.begin() as connection:
        old = datetime.now(UTC) - timedelta(hours=2)
        connection.execute(update(spool_state).values(seen_at=old))
    looks.evaluate()
    assert world.one("spool_not_empty", datetime.now(UTC)).state is State.CLEAR


def arrived() -> Any:
    from receiver.domain.callback import Callback

    return Callback(provider="ants", account="", method="POST", query="", content_type="",
                    body=b"{}", remote_addr="")  # fmt: skip


# A real receiver.


def waits_to_be_told(engine: Engine) -> bool:
    with engine.connect() as connection:
        return bool(store.unnotified(connection))


def until(condition: Callable[[], object]) -> None:
    """Wait until something is so."""
    limit = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.02)


def test_a_receiver_tells_it_and_a_restart_and_a_kill_do_not_again(
    world: World, url: str, listener: Listener, tmp_path: Path
) -> None:
    break_(world)
    given = {"RECEIVER_ALARM_URL": listener.url, "RECEIVER_ALARM_EVERY": "1"}
    workers = ["--workers", "2"] if url.startswith("postgresql") else []
    with serving(url, folder=tmp_path, arguments=workers, **given) as server:
        # One that is killed before it has noted that it told tells again: better twice than never.
        until(lambda: listener.posts and not waits_to_be_told(world.engine))
        server.process.kill()
        server.process.wait()
    with serving(url, folder=tmp_path, arguments=workers, **given) as server:
        with world.engine.begin() as connection:
            connection.execute(update(alarm).values(sentence="to be written again"))
        until(lambda: stands(world.engine).sentence != "to be written again")
        assert listener.said() == [(KEY.name, "raised")]
        mend(world)
        until(lambda: len(listener.posts) > 1)
        assert listener.said() == [(KEY.name, "raised"), (KEY.name, "clear")]
        assert "secret" not in server.stderr()


def test_a_url_that_hangs_harms_nothing(world: World, url: str) -> None:
    break_(world)
    with (
        hanging() as (hook, opened),
        serving(url, RECEIVER_ALARM_URL=hook, RECEIVER_ALARM_EVERY="1") as server,
    ):
        waiting, _ = opened.accept()  # it tells, and is not answered
        port = int(server.url.rpartition(":")[2])
        token = server.tokens["thaibulksms"]
        path = f"/callbacks/thaibulksms/{token}?Transaction=t1&Status=delivery&Time=&MSISDN="
        for _ in range(20):
            status, _ = ask(port, path)
            assert status in {200, 400}
        server.stop()  # though somebody still owes it an answer
        waiting.close()
