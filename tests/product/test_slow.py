"""What a stranger can hold of a receiver is bounded: connections, heads, trailers, queues, time."""

from __future__ import annotations

import resource
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, Final

import pytest
from sqlalchemy import make_url

from receiver.server.composition import compose
from receiver.server.http_limits import MAX_HEADERS, PIECE, allow_connections
from receiver.server.http_protocol import Protocol
from receiver.settings.settings import Settings
from tests.kit.serving import ROOT, serving
from tests.slow.__main__ import main
from tests.slow.attacks import ATTACKS
from tests.slow.trial import NOTHING, PEAK_MB, trial
from tests.web.test_app import PATIENCE, eventually, exchange, head, raw, running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from receiver.web.app import Edge
    from tests.conftest import Databases
    from tests.kit.serving import Server

GET: Final = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


class Impatient(Protocol):
    head_seconds = 0.5


@pytest.fixture
def edge(databases: Databases) -> Edge:
    providers = {"ants": {"tokens": "t"}}
    settings = Settings.model_validate({"providers": providers})
    made = compose(settings, databases.open(databases.make("sqlite"))).edge
    made.bodies.seconds = 1
    return made


def connected(url: str) -> socket.socket:
    return socket.create_connection(("127.0.0.1", make_url(url).port or 0), timeout=10)


def cut_off_after(url: str, first: bytes, trickle: bytes) -> float:
    """Send something, then a little now and then; return after how many seconds it was closed."""
    began = time.monotonic()
    with connected(url) as wire, suppress(ConnectionError):
        wire.settimeout(0.1)
        wire.sendall(first)
        while time.monotonic() < began + PATIENCE:
            with suppress(TimeoutError):
                wire.sendall(trickle)
                if not wire.recv(65536):
                    break
    return time.monotonic() - began


@pytest.mark.parametrize(
    ("first", "trickle"),
    [
        (GET, b"\r\n"),
        (b"", b"\r\n"),
        (head("/callbacks/ants/wrong", "Content-Length: 99999"), b"x"),
        (head("/callbacks/ants/wrong", "Transfer-Encoding: chunked"), b"1\r\nx\r\n"),
        (head("/callbacks/ants/t", "Transfer-Encoding: chunked"), b"1\r\nx\r\n"),
        (head("/callbacks/ants/t", "Transfer-Encoding: chunked") + b"0\r\n", b"X: y\r\n"),
        (head("/callbacks/ants/t", "Transfer-Encoding: chunked") + b"1;", b"x"),
    ],
)
def test_no_little_now_and_then_holds_a_connection(
    edge: Edge, first: bytes, trickle: bytes
) -> None:
    with running(edge, Impatient) as url:
        assert cut_off_after(url, first, trickle) < PATIENCE
        assert raw(url, GET[:-2] + b"Connection: close\r\n\r\n").startswith(b"HTTP/1.1 200 ")


CHUNKED: Final = head("/callbacks/ants/t", "Transfer-Encoding: chunked")


@pytest.mark.parametrize(
    ("first", "more"),
    [
        (CHUNKED + b"0\r\n", b"Name: value\r\n" * 100),
        (CHUNKED + b"0\r\nName: ", b"x" * 1000),
        (CHUNKED + b"1;", b"x" * 1000),
        (GET[:-2], b"X: y\r\n" * 100),
        (GET[:-2] + b"X: ", b"x" * 1000),
    ],
)
def test_what_is_no_body_is_bounded(edge: Edge, first: bytes, more: bytes) -> None:
    with running(edge) as url, connected(url) as wire:
        wire.sendall(first)
        with suppress(ConnectionError):
            for _ in range(5000):
                wire.sendall(more)
            pytest.fail("megabytes were taken")


def test_headers_are_counted(edge: Edge) -> None:
    def asked(count: int) -> bytes:
        return raw(url, GET[:-2] + b"X: y\r\n" * (count - 2) + b"Connection: close\r\n\r\n")

    with running(edge) as url:
        assert asked(MAX_HEADERS).startswith(b"HTTP/1.1 200 ")
        assert asked(MAX_HEADERS + 1).startswith(b"HTTP/1.1 400 ")


def test_length_and_chunked_together_are_refused(edge: Edge) -> None:
    """Who stands in between may have believed the other one: the rest would be a second request."""
    with running(edge) as url:
        for lines in (
            ["Content-Length: 5", "Transfer-Encoding: chunked"],
            ["Transfer-Encoding: chunked", "Content-Length: 5"],
            ["Content-Length: 5", "Content-Length: 6"],
            ["Transfer-Encoding: gzip, chunked, identity"],
            ["Content-Length: 5, 5"],
            ["Content-Length: +5"],
        ):
            found = raw(url, head("/callbacks/ants/t", *lines), b"0\r\n\r\n" + GET)
            assert found.startswith(b"HTTP/1.1 400 "), lines
            assert found.count(b"HTTP/1.1") == 1, lines


def test_requests_that_wait_for_another_are_few_and_all_are_answered(edge: Edge) -> None:
    waited: list[int] = []

    class Counting(Protocol):
        def on_headers_complete(self) -> None:
            super().on_headers_complete()
            waited.append(len(self.pipeline))

    many = 5000
    with running(edge, Counting) as url:
        last = GET[:-2] + b"Connection: close\r\n\r\n"
        found = raw(url, GET * (many - 1), last)
    assert found.count(b"HTTP/1.1 200 OK") == len(waited) == many
    assert max(waited) <= PIECE // len(GET) + 1


def test_large_and_small_pieces_of_a_body_are_one(edge: Edge) -> None:
    body = b'{"details":[' + b" " * 300_000
    small = b"".join(b"1\r\n%c\r\n" % byte for byte in body[:20_000]) + b"0\r\n\r\n"
    with running(edge) as url:
        path, close = "/callbacks/ants/t", "Connection: close"
        for sent in (
            head(path, f"Content-Length: {len(body)}", close) + body,
            CHUNKED[:-2] + close.encode() + b"\r\n\r\n" + small,
        ):
            answer = raw(url, sent)
            assert answer.startswith(b"HTTP/1.1 400 "), answer
            assert b'"callback":' in answer  # it was read to its end, and is kept


def test_one_connection_too_many_costs_the_one_that_waited_longest(edge: Edge) -> None:
    class Few(Protocol):
        most = 4

    with running(edge, Few) as url, ExitStack() as stack:
        idle = [stack.enter_context(connected(url)) for _ in range(4)]
        assert exchange(url, [GET]) == [b"HTTP/1.1 200 OK"]
        assert idle[0].recv(1) == b""
        for wire in idle[1:]:
            wire.sendall(GET)
            assert wire.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_who_is_being_answered_is_not_cut_off(edge: Edge) -> None:
    class Few(Protocol):
        most = 2

    with running(edge, Few) as url, ExitStack() as stack:
        busy = [stack.enter_context(connected(url)) for _ in range(2)]
        for wire in busy:
            wire.sendall(head("/callbacks/ants/t", "Content-Length: 2") + b"{")
        eventually(lambda: not Few.waiting)
        assert not answers(url)
        for wire in busy:
            wire.sendall(b"x")
            assert wire.recv(65536).startswith(b"HTTP/1.1 400 ")
        eventually(lambda: answers(url))


def answers(url: str) -> bool:
    with suppress(ConnectionError):
        return exchange(url, [GET]) == [b"HTTP/1.1 200 OK"]
    return False


def test_as_many_files_are_allowed_as_may_be() -> None:
    code = (
        "import resource\nfrom receiver.server.http_limits import allow_connections\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (300, {hard}))\n"
        "print(allow_connections(), resource.getrlimit(resource.RLIMIT_NOFILE)[0])"
    )
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    for hard, said in ((1000, "800 1000"), (most, "10000 10200"), (150, "1 150")):
        if hard == most and 0 <= most < 10_200:
            continue
        text = code.format(hard=hard).replace("300", str(min(300, hard)) if hard > 0 else "300")
        command = [sys.executable, "-c", text]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        assert done.stdout.split() == said.split()
    assert allow_connections() <= 10_000


# The short form of `python -m tests.slow`.


@pytest.fixture(scope="module")
def server(databases: Databases) -> Iterator[Server]:
    with serving(databases.make("sqlite")) as made:
        yield made


@pytest.mark.long
@pytest.mark.parametrize("name", [NOTHING, *ATTACKS])
def test_honest_callbacks_are_answered_beside(server: Server, name: str) -> None:
    connections = min(100, ATTACKS[name].connections) if name in ATTACKS else 0
    done = trial(server, name, connections, 1.5)
    assert done.refused == 0
    # How long they wait says how busy the machine is; the figures are in docs/reliability.md.
    assert done.waits
    assert done.peak_mb < PEAK_MB
    assert "Traceback" not in server.stderr()


@pytest.mark.long
def test_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    code = main([NOTHING, "--seconds", "0.5"])
    *_, row = capsys.readouterr().out.splitlines()
    cells: list[Any] = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[0] == NOTHING
    assert code == (0 if float(cells[5]) < 200 and float(cells[7]) < 1000 else 1)
