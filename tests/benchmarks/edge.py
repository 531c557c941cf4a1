"""What the edge costs: processor time a request, beside a bare ASGI app on the same protocol.

`python -m tests.benchmarks.edge` serves, each in a process of its own, and sends with wrk, in turn:

- `uvicorn`: an ASGI app that takes the body and answers `OK`, on uvicorn's own HTTP protocol;
- `bare`: the same app on ours;
- `route`: the receiver's callback route, with nothing read and nothing written: reading gives one
  value, and the writer says at once that it is kept;
- `handed`: the same, handed over to the writer's thread, which writes nothing.

All are told by the processor time of the process, since it hardly depends on what else the machine
does; ratios are made round by round.
"""

from __future__ import annotations

import argparse
import multiprocessing
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from receiver.database import schema
from receiver.database.engine import connect, parse_url
from receiver.domain.reading import Kept, Reading
from receiver.server import running
from receiver.server.composition import compose
from receiver.server.http_protocol import Protocol
from receiver.settings.settings import Settings
from tests.benchmarks import processes
from tests.benchmarks.load import wrk

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send


TOKEN: Final = "benchmark-0123456789abcdef"
KINDS: Final = ("uvicorn", "bare", "route", "handed")
SHAPES: Final = {
    "form": (
        f"/callbacks/thaibulksms/{TOKEN}",
        "application/x-www-form-urlencoded",
        "Transaction=0123456789abcdef&Status=delivery&Time=1764300000&Msisdn=66812345678",
    ),
    "query": (
        f"/callbacks/thaibulksms/{TOKEN}?Transaction=0123456789abcdef&Status=delivery&Time=17643",
        "",
        "",
    ),
    "json": (
        f"/callbacks/ants/{TOKEN}",
        "application/json",
        '{"details":[{"messageId":"1","to":"66812345678","status":{"name":"DELIVERED"}}]}',
    ),
}
SCRIPT: Final = """
wrk.method = "{method}"
wrk.path = "{path}"
{rest}
"""
WARM_SECONDS: Final = 1


async def bare(scope: Scope, receive: Receive, send: Send) -> None:
    """Take the body, answer."""
    if scope["type"] == "lifespan":
        return
    while (await receive()).get("more_body"):
        pass
    headers = [(b"content-length", b"2"), (b"content-type", b"text/plain; charset=utf-8")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"OK"})


def receiver(kind: str, folder: Path) -> ASGIApp:
    """Make the receiver's application, which reads nothing and writes nothing."""
    engine = connect(parse_url(f"sqlite:///{folder / kind}.db"))
    schema.upgrade(engine)
    providers = {name: {"tokens": TOKEN} for name in ("thaibulksms", "ants")}
    made = compose(Settings.model_validate({"providers": providers}), engine)
    stub: Any = made.edge.callbacks
    stub.read = lambda arrived: Reading(callback=arrived, outcome="read")
    writer: Any = made.writer
    if kind == "route":

        async def keep(reading: Reading) -> Kept:
            return Kept(id=reading.callback.id)

        writer.keep = keep
    else:
        writer._keep_somewhere = lambda readings: (  # noqa: SLF001 - what writes is left out
            [Kept(id=reading.callback.id) for reading in readings],
            False,
        )
    return made.edge.app()


def serve(kind: str, listener: socket.socket, folder: Path) -> None:
    """Serve until SIGTERM."""
    running.tune()
    config = uvicorn.Config(
        receiver(kind, folder) if kind in {"route", "handed"} else bare,
        http=HttpToolsProtocol if kind == "uvicorn" else Protocol,
        ws="none",
        lifespan="on" if kind == "handed" else "off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
    )
    uvicorn.Server(config).run(sockets=[listener])


class Served:
    """One kind that is served in a process of its own."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.process = multiprocessing.get_context("fork").Process(
            target=serve, args=(kind, self.listener, folder), daemon=True
        )
        self.process.start()

    def cost(self, script: Path, connections: int, seconds: int) -> float:
        """Return the microseconds of processor time that each request takes."""
        pid = self.process.pid or 0
        before = processes.cpu_seconds(pid)
        url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        command = [wrk(), "-t1", f"-c{connections}", f"-d{seconds}", "--timeout", "30"]
        done = subprocess.run(
            [*command, "-s", str(script), url], capture_output=True, text=True, check=True
        )
        if "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
            raise SystemExit(done.stdout)
        requests = re.search(r"(\d+) requests in", done.stdout)
        assert requests is not None, done.stdout
        return (processes.cpu_seconds(pid) - before) / int(requests[1]) * 1e6

    def stop(self) -> None:
        """End the process."""
        self.process.terminate()
        self.process.join(20)
        self.listener.close()


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.edge", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3, help="of each kind in a round")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--shape", choices=SHAPES, nargs="+", default=list(SHAPES))
    return parser.parse_args(arguments)


def script(folder: Path, shape: str) -> Path:
    """Write what wrk sends."""
    path, kind, body = SHAPES[shape]
    rest = f"wrk.body = '{body}'\nwrk.headers['Content-Type'] = '{kind}'" if body else ""
    made = folder / f"{shape}.lua"
    made.write_text(SCRIPT.format(method="POST" if body else "GET", path=path, rest=rest))
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print."""
    asked = options(arguments)
    print("shape  kind     µs a request  times bare")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        served = {kind: Served(kind, folder) for kind in KINDS}
        try:
            for shape in asked.shape:
                sent = script(folder, shape)
                costs: dict[str, list[float]] = {kind: [] for kind in KINDS}
                for one in served.values():
                    one.cost(sent, asked.connections, WARM_SECONDS)
                for _ in range(asked.rounds):
                    for kind, one in served.items():
                        costs[kind].append(one.cost(sent, asked.connections, asked.seconds))
                for kind, took in costs.items():
                    times = sorted(a / b for a, b in zip(took, costs["bare"], strict=True))
                    print(
                        f"{shape:6} {kind:8} {median(took):8.1f}"
                        f"      {median(times):.2f} ({times[0]:.2f} to {times[-1]:.2f})",
                        flush=True,
                    )
        finally:
            for one in served.values():
                one.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
