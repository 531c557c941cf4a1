"""The load, a process of its own: `python -m tests.chaos.load`; SIGTERM ends it.

Every attempt is written to the journal before it is sent, every answer after it came. Whoever
reads the journal knows what was promised, whatever happened to the receiver meanwhile.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import asdict
from heapq import heappop, heappush
from pathlib import Path
from random import Random
from typing import IO, Any, Final

from tests.chaos.traffic import Item, Traffic

ROOT: Final = Path(__file__).resolve().parents[2]
TOKEN: Final = "chaos-0123456789abcdef"
KEY: Final = "chaos-key-0123456789abcdef"
ANSWER_SECONDS: Final = 5.0
"""How long an answer is waited for."""
RESENT: Final = 0.7
"""The share of unanswered requests that are sent again, as a provider does."""
ACKNOWLEDGED: Final = {"report": 200, "unreadable": 400, "record": 201}
BROKEN: Final = (OSError, EOFError, TimeoutError, ValueError, IndexError)


class Journal:
    """A file of JSON lines: items, attempts at them, and their answers."""

    def __init__(self, file: IO[str]) -> None:
        self.file = file
        self.attempts = 0
        self.known: set[str] = set()

    def attempt(self, item: Item) -> int:
        """Write that an item is about to be sent; return the attempt's number."""
        if item.id not in self.known:
            self.known.add(item.id)
            said = {"kind": item.kind, "digest": item.digest}
            says = [asdict(statement) for statement in item.statements]
            self._write(item=item.id, **said, statements=says)
        self.attempts += 1
        self._write(attempt=self.attempts, of=item.id)
        return self.attempts

    def answer(self, attempt: int, item: Item, status: int, callback: str | None) -> None:
        """Write what was answered."""
        self._write(
            answer=attempt, of=item.id, status=status, callback=callback, at=time.monotonic()
        )

    def _write(self, **line: Any) -> None:
        self.file.write(json.dumps(line) + "\n")
        self.file.flush()


class Connection:
    """A kept-alive connection to one of the receivers; it is made again where it broke."""

    def __init__(self, ports: list[int], first: int) -> None:
        self.ports = ports
        self.turn = first
        self.streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, item: Item) -> tuple[int, bytes]:
        """Return the status and body of the answer. Raises one of BROKEN."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await self._exchange(item)
        except BROKEN:
            self.close()
            self.turn += 1
            raise

    async def _exchange(self, item: Item) -> tuple[int, bytes]:
        if self.streams is None:
            port = self.ports[self.turn % len(self.ports)]
            self.streams = await asyncio.open_connection("127.0.0.1", port)
        reader, writer = self.streams
        writer.write(request(item))
        await writer.drain()
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        status = int(head.split(None, 2)[1])
        length = int(head.partition("content-length:")[2].split(None, 1)[0])
        body = await reader.readexactly(length)
        if "connection: close" in head:
            self.close()
        return status, body

    def close(self) -> None:
        """Hang up."""
        if self.streams is not None:
            self.streams[1].close()
        self.streams = None


def request(item: Item) -> bytes:
    """Return the bytes of a request."""
    path, proof = f"/callbacks/{item.provider}/{TOKEN}", ""
    if item.kind == "record":
        path, proof = "/messages", f"Authorization: Bearer {KEY}\r\n"
    kind = f"Content-Type: {item.content_type}\r\n" if item.content_type else ""
    query = f"?{item.query}" if item.query else ""
    head = (
        f"{item.method} {path}{query} HTTP/1.1\r\nHost: 127.0.0.1\r\n{proof}{kind}"
        f"Content-Length: {len(item.body)}\r\n\r\n"
    )
    return head.encode() + item.body


class Load:
    """Sends what is due over several connections, no faster than the rate."""

    def __init__(self, chosen: argparse.Namespace, journal: Journal) -> None:
        self.chosen = chosen
        self.journal = journal
        self.random = Random(chosen.seed)
        self.traffic = Traffic(chosen.run, self.random)
        self.waiting: list[tuple[float, int, Item]] = []
        self.next_at = time.monotonic()
        self.ended = asyncio.Event()
        self.pushed = 0

    async def run(self) -> None:
        """Send until told to end; requests under way are finished."""
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self.ended.set)
        async with asyncio.TaskGroup() as group:
            for place in range(self.chosen.connections):
                group.create_task(self._sender(place))

    async def _sender(self, place: int) -> None:
        connection = Connection(self.chosen.ports, place)
        while not self.ended.is_set():
            self.next_at = max(self.next_at, time.monotonic() - 0.1) + 1 / self.chosen.rate
            await asyncio.sleep(self.next_at - time.monotonic())
            await self._send(connection, self._due())
        connection.close()

    def _due(self) -> Item:
        """Return the next item that is due; where none is, there are always new ones."""
        while not self.waiting or self.waiting[0][0] > time.monotonic():
            for seconds, item in self.traffic.bundle():
                self._push(seconds, item)
        return heappop(self.waiting)[2]

    def _push(self, seconds: float, item: Item) -> None:
        self.pushed += 1
        heappush(self.waiting, (time.monotonic() + seconds, self.pushed, item))

    async def _send(self, connection: Connection, item: Item) -> None:
        attempt = self.journal.attempt(item)
        status, callback = 0, None
        try:
            status, body = await connection.send(item)
            with suppress(ValueError, AttributeError):
                callback = json.loads(body).get("callback")
        except BROKEN:
            await asyncio.sleep(0.05)
        self.journal.answer(attempt, item, status, callback)
        if status != ACKNOWLEDGED[item.kind] and self.random.random() < RESENT:
            self._push(self.random.uniform(0.2, 4), item)


def start(
    journal: Path, ports: list[int], *, run: str, seed: int, rate: int, connections: int
) -> subprocess.Popen[bytes]:
    """Start the load."""
    options = {"journal": journal, "run": run, "seed": seed, "rate": rate}
    options |= {"connections": connections}
    arguments = [f"--{name}={value}" for name, value in options.items()]
    command = [sys.executable, "-m", "tests.chaos.load", *arguments, *map(str, ports)]
    return subprocess.Popen(
        command, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdin=subprocess.DEVNULL
    )


def main() -> None:
    """Read the command line and send."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.load", description=__doc__)
    parser.add_argument("ports", type=int, nargs="+", help="of receivers on this machine")
    parser.add_argument("--journal", type=Path, required=True)
    parser.add_argument("--run", default="run", help="what ids begin with")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=int, default=300, help="requests a second at most")
    parser.add_argument("--connections", type=int, default=8)
    chosen = parser.parse_args()
    with chosen.journal.open("a") as file:
        asyncio.run(Load(chosen, Journal(file)).run())


if __name__ == "__main__":
    main()
