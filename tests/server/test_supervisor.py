"""`serve --workers N`: one address, several processes, and nothing acknowledged is lost."""

from __future__ import annotations

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import func, select

from receiver.database.tables.callbacks import delivery_report
from receiver.database.tables.messages import sent_message
from tests.kit.serving import STOP_SECONDS, Server, serving
from tests.web.test_app import OPEN, Place, ants, away, dr, eventually, new

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Databases

TWO = ("--workers", "2")


@pytest.fixture
def url(databases: Databases) -> Iterator[str]:
    made = databases.make("postgresql")
    yield made
    databases.drop(made)


@pytest.fixture
def place(url: str, databases: Databases, tmp_path: Path) -> Iterator[Place]:
    with serving(url, folder=tmp_path, arguments=TWO, **OPEN) as server:
        made = Place(server, databases.open(url), server.api_key)
        eventually(lambda: len(accepting(server)) == 2)
        yield made


def workers(server: Server) -> list[int]:
    """Return the process ids of its workers."""
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            command = (entry / "cmdline").read_bytes()
            if int(fields[1]) == server.process.pid and b"spawn_main" in command:
                found.append(int(entry.name))
    return sorted(found)


def accepting(server: Server) -> list[int]:
    """Return those that run their event loop by now: it waits in epoll."""
    return [pid for pid in workers(server) if any("eventpoll" in file for file in files_of(pid))]


def files_of(pid: int) -> list[str]:
    found = []
    with suppress(OSError):
        for file in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):  # closed meanwhile
                found.append(str(file.readlink()))
    return found


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@contextmanager
def suspended(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_every_worker_answers(place: Place) -> None:
    assert place.server.stdout().count("listens on") == 1
    ids = []
    for pid in accepting(place.server):
        with suspended(pid):  # so the other one answers
            ids.append(new())
            assert place.ants(ants(dr(ids[-1]))).status == 200
            assert place("GET", "/readyz").json["status"] == "ready"
    assert (len(ids), place.count()) == (2, (2, 2))
    names = {file.name for file in place.server.folder.glob("receiver-spool*.db")}
    assert names == {"receiver-spool.db", "receiver-spool.2.db"}


def test_a_worker_that_is_killed_is_replaced_and_nothing_is_lost(place: Place) -> None:
    stop = threading.Event()
    kept: list[str] = []

    def provide() -> None:
        while not stop.is_set():
            id_ = new()
            with suppress(OSError, HTTPException):
                message = {"message_id": id_, "recipient": "66812345678"}
                if place.record(messages=[message]).status != 201:
                    continue
                if place.ants(ants(dr(id_, "PENDING"), dr(id_))).status == 200:
                    kept.append(id_)

    before = accepting(place.server)
    with ThreadPoolExecutor(6) as threads:
        asked = [threads.submit(provide) for _ in range(6)]
        eventually(lambda: len(kept) > 50)
        os.kill(before[0], signal.SIGKILL)
        eventually(lambda: len(now := accepting(place.server)) == 2 and before[0] not in now)
        killed = len(kept)
        eventually(lambda: len(kept) > killed + 50)
        stop.set()
        for one in asked:
            one.result()
    place.server.stop()
    assert "worker ended, starting another" in place.server.stderr()
    assert [pid for pid in workers(place.server) if is_alive(pid)] == []
    # What waited when the process was told to stop was settled before it ended.
    unsettled = select(func.count()).where(delivery_report.c.settled_at.is_(None))
    assert [tuple(row) for row in place.rows(unsettled)] == [(0,)]
    reports = select(
        delivery_report.c.message_id, func.count(), func.sum(delivery_report.c.repeats)
    )
    found = {row[0]: tuple(row[1:]) for row in place.rows(reports.group_by("message_id"))}
    assert {found[id_] for id_ in kept} == {(2, 0)}
    done = place.rows(select(sent_message.c.message_id, sent_message.c.status))
    assert {(id_, "delivered") for id_ in kept} <= set(map(tuple, done))


def test_ctrl_c_reaches_all_and_ends_all(place: Place) -> None:
    pids = workers(place.server)
    for pid in (*pids, place.server.process.pid):  # as a terminal does
        os.kill(pid, signal.SIGINT)
    assert place.server.process.wait(STOP_SECONDS) == 0, place.server.stderr()
    assert not any(map(is_alive, pids))
    assert "starting another" not in place.server.stderr()
    assert "Traceback" not in place.server.stderr()


def test_workers_do_not_outlive_their_parent(place: Place) -> None:
    pids = workers(place.server)
    place.server.process.kill()
    place.server.process.wait()
    eventually(lambda: not any(map(is_alive, pids)))


def test_workers_start_and_keep_while_the_database_is_away(
    url: str, place: Place, databases: Databases, tmp_path: Path
) -> None:
    ids = [new() for _ in range(20)]
    with away(place, databases):
        assert {place.ants(ants(dr(id_))).status for id_ in ids[:10]} == {200}
        place.server.stop()
        with serving(url, folder=tmp_path, arguments=TWO, **OPEN) as server:
            again = Place(server, place.engine)
            assert "until it is back" in server.stdout()
            assert {again.ants(ants(dr(id_))).status for id_ in ids[10:]} == {200}
    with serving(url, folder=tmp_path, arguments=TWO, **OPEN):
        eventually(lambda: place.count() == (20, 20))
