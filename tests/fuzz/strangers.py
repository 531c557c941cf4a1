"""Whole requests to a running receiver: a process of its own, real sockets, bytes as they are.

Nothing of its code is looked at; requests are mutated anywhere, or their bodies alone, with the
right length again, so that they get as far as the database.
"""

from __future__ import annotations

import json
import random
import re
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import httptools

from receiver.providers import PROVIDERS
from tests.fuzz import seeds
from tests.fuzz.mutation import mutated
from tests.fuzz.promises import must
from tests.kit.serving import serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.kit.serving import Server

ALLOWED: Final = {200, 201, 303, 400, 401, 404, 405, 408, 413, 415, 422, 429}
"""What a stranger's bytes may be answered (303 leads to the operator's login); a 5xx would be our
fault."""
GROWTH: Final = 300_000
"""Kilobytes that the process may grow to at most."""
THREADS: Final = 8
WORDS: Final = (
    b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip, chunked\r\n",
    b"Content-Length: 0\r\n", b"Content-Length: 99\r\n", b"Content-Length: -1\r\n",
    b"Content-Length: 99999999999999999999\r\n", b"Content-Length: 5, 5\r\n", b"0\r\n\r\n",
    b"5;a=b\r\nhello\r\n", b"ffffffffffffffff\r\n", b"Expect: 100-continue\r\n", b"\r\n", b"\n",
    b"Connection: close\r\n", b"Connection: upgrade\r\nUpgrade: h2c\r\n", b"Host: b\r\n",
    b"X-Forwarded-For: 203.0.113.7, 10.0.0.1\r\n", b"X-Forwarded-For: \xff[::1%25a\r\n",
    b"Content-Encoding: gzip\r\n", b"Authorization: Basic =\r\n", b"%00", b"%0d%0a", b"%2e%2e/",
    b"../", b"?", b"#", b";", b"\r", b"HTTP/1.0", b"HTTP/0.9", b"HTTP/2.0", b"http://b/", b"\0",
    b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"OPTIONS *",
)  # fmt: skip
PATHS: Final = (
    b"/messages?recipient=0812345678", b"/messages?changed_after=", b"/messages/ants/1",
    b"/healthz", b"/readyz", b"/metrics", b"/nothing", b"/callbacks/ants",
)  # fmt: skip


class Fuzzer:
    """A running receiver, requests to begin with, and what may come back."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.port = int(server.url.rpartition(":")[2])
        self.secrets = [t.encode() for t in (*server.tokens.values(), server.api_key)]
        self.seeds = list(self.requests())
        bodies = [body for name in PROVIDERS for body in seeds.callbacks(name)]
        self.words = [*WORDS, *seeds.words(bodies)]
        self.answered = 0

    def requests(self) -> Iterator[tuple[bytes, bytes]]:
        """Make heads and bodies: every callback of the tests, and one of everything else."""
        for name in PROVIDERS:
            for data in seeds.callbacks(name):
                callback = seeds.callback(name, data)
                query = f"?{callback.query}" if callback.query else ""
                yield (
                    f"POST /callbacks/{name}/{self.server.tokens[name]}{query}".encode(),
                    callback.body,
                )
            for data in seeds.answers(name):
                text = data.decode("utf-8", "replace")
                said = json.dumps({"provider": name, "response": text, "recipients": None})
                yield b"POST /messages", said.encode()
        for path in PATHS:
            yield b"GET " + path, b""

    def whole(self, first: bytes, body: bytes) -> bytes:
        """Return a request as a well-behaved caller writes it."""
        head = b"%b HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %b\r\n" % (first, self.secrets[-1])
        return head + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)

    def input(self, number: int) -> bytes:
        """Return one request, the same for the same number."""
        dice = random.Random(number)
        first, body = dice.choice(self.seeds)
        others = [one for _, one in dice.sample(self.seeds, 4)]
        if dice.random() < 0.5:
            return self.whole(first, mutated(dice, body, others, self.words))
        return mutated(dice, self.whole(first, body), others, self.words)

    def check(self, number: int) -> None:
        """Send one request, and check what comes back."""
        found = self.ask(self.input(number))
        for secret in self.secrets:
            must(secret not in found, f"request {number}: the answer holds a secret")
        for status in statuses(found):
            must(status in ALLOWED, f"request {number} is answered {status}")
            self.answered += 1

    def ask(self, data: bytes) -> bytes:
        """Return all that comes back; a half request is ended when nothing comes."""
        found = b""
        with socket.create_connection(("127.0.0.1", self.port), timeout=1) as wire:
            with suppress(ConnectionError, TimeoutError):
                wire.sendall(data)
                while not whole(found) and (piece := wire.recv(65536)):
                    found += piece
            with suppress(OSError):
                wire.shutdown(socket.SHUT_WR)
                wire.settimeout(20)
                while piece := wire.recv(65536):
                    found += piece
        return found

    def check_server(self) -> None:
        """Check that it has come through it: alive, quiet, small, and still keeping callbacks."""
        process = self.server.process
        must(process.poll() is None, "the receiver has ended")
        written = self.server.stdout() + self.server.stderr()
        for word in ("Traceback", "event=failed", "parser failed", "redaction failed"):
            must(word not in written, f"the receiver wrote {word}:\n{written[-3000:]}")
        for secret in self.secrets:
            must(secret.decode() not in written, "the log holds a secret")
        said = Path(f"/proc/{process.pid}/status")
        if said.exists():
            (peak,) = re.findall(r"VmHWM:\s+(\d+) kB", said.read_text())
            must(int(peak) < GROWTH, f"the receiver grew to {peak} kB")
        body = b'{"details": [{"messageId": "honest", "status": {"name": "DELIVERED"}}]}'
        first = f"POST /callbacks/ants/{self.server.tokens['ants']}".encode()
        must(statuses(self.ask(self.whole(first, body))) == [200], "an honest callback is refused")


class _Answers:
    """Reads what comes back, for a parser that was written by others."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.complete = 0
        self.parser = httptools.HttpResponseParser(self)

    def on_message_complete(self) -> None:
        """Note the status of an answer that is all there."""
        self.statuses.append(self.parser.get_status_code())


def statuses(data: bytes) -> list[int]:
    """Return the status of each answer but `100 Continue`; anything else is a broken promise."""
    answers = _Answers()
    try:
        answers.parser.feed_data(data)
    except httptools.HttpParserError as error:
        must(not data, f"an answer that is no HTTP ({error}): {data[:200]!r}")
    return [status for status in answers.statuses if status != 100]


def whole(data: bytes) -> bool:
    """Say whether a whole answer has come."""
    return b"\r\n\r\n" in data and bool(statuses(data))


def run(runs: int, database_url: str | None = None) -> int:
    """Send so many requests to a receiver of its own; return how many answers came."""
    with serving(database_url) as server:
        fuzzer = Fuzzer(server)
        with ThreadPoolExecutor(THREADS) as pool:
            for _ in pool.map(fuzzer.check, range(runs), chunksize=100):
                pass
        fuzzer.check_server()
        return fuzzer.answered
