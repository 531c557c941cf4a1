"""Bodies under way: who is refused before they are taken, who waits for whom, what is dropped."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Final

import pytest
from sqlalchemy import func, make_url, select

from receiver.database.tables.callbacks import callback
from receiver.database.tables.statistics import refusal
from receiver.ingest.body_budget import SMALL
from receiver.server.composition import Receiver, compose
from receiver.server.http_limits import ASKED, UNASKED, Pace
from receiver.server.http_protocol import Protocol
from receiver.settings.settings import Settings
from receiver.statistics import refusals
from receiver.web.bodies import NO_ROOM
from tests.web.test_app import ants, call, dr, eventually, head, new, raw, running

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from receiver.domain.callback import Callback
    from receiver.domain.reading import Reading
    from receiver.web.app import Edge
    from tests.conftest import Databases

LONGEST: Final = 1024 * 1024
"""RECEIVER_MAX_BODY_BYTES here."""
PATH: Final = "/callbacks/ants/t"
BATCH: Final = ants(*(dr(f"m{number}") for number in range(400)))


@pytest.fixture
def made(databases: Databases) -> Receiver:
    providers = {name: {"tokens": "t"} for name in ("ants", "engagelab", "thaibulksms")}
    settings = Settings.model_validate({"providers": providers, "max_body_bytes": LONGEST})
    return compose(settings, databases.open(databases.make("sqlite")))


@pytest.fixture
def edge(made: Receiver) -> Edge:
    return made.edge


def connected(url: str) -> socket.socket:
    return socket.create_connection(("127.0.0.1", make_url(url).port or 0), timeout=20)


def heard(wire: socket.socket) -> bytes:
    """Return one answer that is a problem, whole."""
    answer = b""
    while not answer.endswith(b"}"):
        piece = wire.recv(65536)
        assert piece, answer
        answer += piece
    return answer


def padded(body: bytes, size: int = LONGEST) -> bytes:
    return body + b" " * (size - len(body))


# The budget.


def test_what_is_announced_is_refused_before_it_comes(made: Receiver, edge: Edge) -> None:
    with running(edge) as url, ExitStack() as stack:
        announced = head(PATH, f"Content-Length: {LONGEST}")
        for _ in range(2):
            stack.enter_context(connected(url)).sendall(announced + b"{")
        eventually(lambda: edge.bodies.budget.used == 2 * LONGEST)
        third = stack.enter_context(connected(url))
        third.sendall(announced)
        answer = heard(third)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: 5" in answer
        assert NO_ROOM.encode() in answer
        # Others get through: single reports, batches, and what another provider sends.
        assert call(url, "POST", PATH, ants(dr(new()))).status == 200
        assert call(url, "POST", PATH, BATCH).status == 200
        large = padded(b'{"total":1,"rows":[]}')
        assert call(url, "POST", "/callbacks/engagelab/t", large).status in {200, 400}
        stack.pop_all().close()
        eventually(lambda: not edge.bodies.budget.used)
        assert call(url, "POST", PATH, padded(BATCH)).status == 200
    assert not edge.bodies.budget.held
    with made.engine.connect() as connection:
        row = connection.execute(select(refusal.c.reason, refusal.c.address)).one()
    assert tuple(row) == (refusals.NO_ROOM, "127.0.0.1")


def test_what_is_not_announced_is_counted_as_it_comes(edge: Edge) -> None:
    piece = b"%x\r\n%s\r\n" % (10_000, b" " * 10_000)
    with running(edge) as url, ExitStack() as stack:
        wires = [stack.enter_context(connected(url)) for _ in range(9)]
        for wire in wires:
            wire.sendall(head(PATH, "Transfer-Encoding: chunked"))
        refused = set()
        for _ in range(100):
            for wire in wires:
                if wire in refused:
                    continue
                wire.settimeout(0.001)
                with suppress(TimeoutError):
                    assert wire.recv(65536).startswith(b"HTTP/1.1 503 ")
                    refused.add(wire)
                wire.settimeout(20)
                wire.sendall(piece)
        assert 5 <= len(refused) < 9
        assert SMALL < edge.bodies.budget.used <= edge.bodies.budget.total
    assert edge.bodies.budget.used == 0


def test_recordings_have_their_share_of_it(databases: Databases) -> None:
    settings = Settings.model_validate({"max_body_bytes": LONGEST, "api_keys": "key"})
    edge = compose(settings, databases.open(databases.make("sqlite"))).edge
    key = "Authorization: Bearer key"
    with running(edge) as url, ExitStack() as stack:
        announced = head("/messages", f"Content-Length: {LONGEST}", key)
        for _ in range(2):
            stack.enter_context(connected(url)).sendall(announced)
        eventually(lambda: edge.bodies.budget.used == 2 * LONGEST)
        assert call(url, "POST", "/messages", b"{}", {"Authorization": "Bearer key"}).status == 422
        wire = stack.enter_context(connected(url))
        wire.sendall(announced)
        assert wire.recv(65536).startswith(b"HTTP/1.1 503 ")


def test_who_has_not_proven_itself_takes_none_of_it(databases: Databases) -> None:
    providers = {"ants": {"tokens": "t", "basic_auth": "a:b"}}
    settings = Settings.model_validate({"providers": providers})
    edge = compose(settings, databases.open(databases.make("sqlite"))).edge
    with running(edge) as url, connected(url) as wire:
        for path in ("/callbacks/ants/wrong", PATH):
            wire.sendall(head(path, "Content-Length: 8000000") + b"x" * 1000)
            assert heard(wire).startswith(b"HTTP/1.1 401 ")
            wire.sendall(b"x" * (8_000_000 - 1000))  # the rest of it is no next request
            assert edge.bodies.budget.used == 0


def test_nothing_is_taken_that_nobody_asked_for(edge: Edge) -> None:
    """Ten thousand connections hold as little as they can before anybody decides on them."""
    taken: list[int] = []
    go_on = threading.Event()

    class Counting(Protocol):
        def data_received(self, data: bytes) -> None:
            taken.append(len(data))
            super().data_received(data)

    async def slowly(request: Request) -> Response:
        await asyncio.to_thread(go_on.wait, 20)
        return await callbacks(request)

    callbacks = edge.callbacks.answer
    edge.callbacks.answer = slowly  # type: ignore[method-assign]
    with running(edge, Counting) as url, connected(url) as wire:
        wire.sendall(head(PATH, f"Content-Length: {LONGEST}"))
        threading.Thread(target=wire.sendall, args=(b" " * LONGEST,), daemon=True).start()
        time.sleep(0.3)
        assert sum(taken) <= 2 * UNASKED  # one piece has the head
        go_on.set()
        assert wire.recv(65536).startswith(b"HTTP/1.1 400 ")
    assert max(taken) <= ASKED


# Who waits for whom.


class Held:
    """An edge whose large bodies are read when they are let go."""

    def __init__(self, edge: Edge) -> None:
        self.reading: list[Callback] = []
        self.go_on = threading.Event()
        self.least = 0
        read = edge.callbacks.read

        def slowly(arrived: Callback) -> Reading:
            self.reading.append(arrived)
            if arrived.provider == "ants" and len(arrived.body) > self.least:
                assert self.go_on.wait(20)
            return read(arrived)

        edge.callbacks.read = slowly


def sending(url: str, path: str, body: bytes) -> threading.Thread:
    thread = threading.Thread(target=call, args=(url, "POST", path, body))
    thread.start()
    return thread


def test_large_bodies_wait_for_those_of_their_provider_and_size_only(
    made: Receiver, edge: Edge
) -> None:
    held = Held(edge)
    held.least = LONGEST // 2
    with running(edge) as url:
        threads = [sending(url, PATH, padded(BATCH)) for _ in range(2)]
        try:
            eventually(lambda: edge.bodies.budget.used >= 2 * LONGEST)
            eventually(lambda: held.reading)
            assert call(url, "POST", PATH, BATCH).status == 200
            row = {"message_id": new(), "to": "+66812345678", "itime": 1764300000}
            row |= {"status": {"message_status": "delivered"}}
            other = padded(json.dumps({"total": 1, "rows": [row]}).encode())
            assert call(url, "POST", "/callbacks/engagelab/t", other).status == 200
            large = [c for c in held.reading if c.provider == "ants" and len(c.body) == LONGEST]
            assert len(large) == 1  # one at a time
        finally:
            held.go_on.set()
            for thread in threads:
                thread.join()
    with made.engine.connect() as connection:
        kept = connection.execute(select(func.count()).select_from(callback)).scalar()
    assert kept == 4


# What is owed to who was refused.


def test_many_who_are_refused_are_heard_and_none_of_it_is_kept(edge: Edge) -> None:
    """Many send all before they look for an answer; closing with bytes unread destroys it."""

    def refused(answers: list[bytes], path: str, *lines: str) -> None:
        answers.append(raw(url, head(path, f"Content-Length: {2 * LONGEST}", *lines), body))

    body = b"x" * 2 * LONGEST
    with running(edge) as url:
        answers: list[bytes] = []
        threads = [
            threading.Thread(target=refused, args=(answers, path, "Connection: close"))
            for path in (PATH, "/callbacks/ants/wrong", "/nowhere")
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    found = sorted(answer.split()[1] for answer in answers)
    assert found == sorted([b"413", b"401", b"404"] * 8)
    assert edge.bodies.budget.used == 0


def test_a_request_after_a_refused_body_is_answered(edge: Edge) -> None:
    body = b"x" * 2 * LONGEST
    with running(edge) as url:
        refused = head("/callbacks/ants/wrong", f"Content-Length: {len(body)}") + body
        good = ants(dr(new()))
        last = head(PATH, f"Content-Length: {len(good)}", "Connection: close") + good
        answer = raw(url, refused, last)
    assert [answer[9:12], answer[answer.rindex(b"HTTP/1.1") :][9:12]] == [b"401", b"200"]


def test_what_is_dropped_comes_slowly(edge: Edge) -> None:
    taken: list[int] = []

    class Slow(Protocol):
        pace = Pace(200_000)

        def data_received(self, data: bytes) -> None:
            taken.append(len(data))
            super().data_received(data)

    with running(edge, Slow) as url, ExitStack() as stack:
        began = time.monotonic()
        for _ in range(4):
            wire = stack.enter_context(connected(url))
            wire.sendall(head("/callbacks/ants/wrong", "Content-Length: 99000000"))
            assert wire.recv(65536).startswith(b"HTTP/1.1 401 ")
            wire.setblocking(False)
            with suppress(BlockingIOError):
                while True:
                    wire.send(b"x" * 65536)
        while time.monotonic() < began + 1:
            assert call(url, "POST", PATH, ants(dr(new()))).status == 200
        assert sum(taken) < 200_000 * (time.monotonic() - began) + 4 * 2 * ASKED + 100_000


def test_only_so_many_are_owed_something(edge: Edge) -> None:
    class Few(Protocol):
        most_owed = 2

    with running(edge, Few) as url, ExitStack() as stack:
        wires = [stack.enter_context(connected(url)) for _ in range(3)]
        for wire in wires:
            wire.sendall(head("/callbacks/ants/wrong", "Content-Length: 1000") + b"x")
            assert heard(wire).startswith(b"HTTP/1.1 401 ")
        with suppress(ConnectionResetError):
            assert wires[0].recv(65536) == b""
        for wire in wires[1:]:
            wire.sendall(b"x" * 999 + head("/healthz", "Connection: close"))
            assert wire.recv(65536).startswith(b"HTTP/1.1 405 ")
    eventually(lambda: not Few.owed)


def test_a_pace_is_shared() -> None:
    pace = Pace(1000)
    assert pace.wait(500, 10) == pytest.approx(0.5)
    assert pace.wait(500, 10) == pytest.approx(1)
    assert pace.wait(1000, 10.5) == pytest.approx(1.5)
    assert pace.wait(100, 50) == pytest.approx(0.1)
