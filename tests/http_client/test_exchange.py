"""An exchange is bounded as a whole, whatever the other side does."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import httpx2
import pytest

from receiver.http_client.exchange import HttpClient, explain

if TYPE_CHECKING:
    from collections.abc import Iterator

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK"


@contextmanager
def answering(*pieces: bytes, every: float = 0.0) -> Iterator[str]:
    """Give the URL of a server that writes these pieces, so many seconds apart."""
    stop = threading.Event()

    def serve(listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection, suppress(OSError):
                    connection.recv(65536)
                    for piece in pieces:
                        connection.sendall(piece)
                        if stop.wait(every):
                            return

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=[listener])
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/?token=secret"
        stop.set()
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_an_answer_and_the_own_end_of_its_connection() -> None:
    with answering(OK) as url, HttpClient(20, 10, trust_env=False) as client:
        answer = client.exchange("POST", url, content=b"x")
    assert (answer.status, answer.body) == (200, b"OK")
    assert answer.own_address is not None
    assert answer.own_address[0] == "127.0.0.1"


@pytest.mark.parametrize(
    "pieces",
    [
        [b"HTTP/1.1 200 OK\r\n", *[b"X: y\r\n"] * 1000],  # a head that trickles
        [b"HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n", *[b" "] * 1000],
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", *[b"1\r\n \r\n"] * 1000],
    ],
)
def test_one_that_trickles_is_given_up(pieces: list[bytes]) -> None:
    with (
        answering(*pieces, every=0.05) as url,
        HttpClient(0.5, 10_000, trust_env=False) as client,
        pytest.raises(httpx2.TimeoutException) as caught,
    ):
        client.exchange("GET", url)
    assert explain(caught.value) == "no answer within 0.5 s"


def test_a_long_answer_is_not_taken_whole_and_none_is_read_that_nobody_wants() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"
    with answering(head, b"x" * 1_000_000) as url:
        with (
            HttpClient(20, 1000, trust_env=False) as client,
            pytest.raises(httpx2.DecodingError, match="over 1000 bytes"),
        ):
            client.exchange("GET", url)
        with HttpClient(20, trust_env=False) as client:
            assert client.exchange("GET", url).body == b""


@pytest.mark.parametrize(
    ("host", "why"),
    [("127.0.0.1", "Connection refused"), ("localhost", "Connection refused")],
)
def test_why_it_failed_is_said_without_the_url(host: str, why: str) -> None:
    with (
        HttpClient(20, trust_env=False) as client,
        pytest.raises(httpx2.ConnectError) as caught,
    ):
        client.exchange("GET", f"http://{host}:1/?token=secret")
    assert explain(caught.value) == why
