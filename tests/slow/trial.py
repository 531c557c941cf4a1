"""One trial: honest callbacks while somebody attacks, their waits, and the receiver's memory."""

from __future__ import annotations

import http.client
import json
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.kit.serving import ROOT
from tests.slow.attacks import ATTACKS, trusting
from tests.web.test_app import ants, dr, new

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.kit.serving import Server

PEAK_MB: Final = 350
"""What a process may hold at most."""
SENDERS: Final = 6
PAUSE: Final = 0.05
"""Seconds between two honest callbacks of one sender: some 100 a second in all."""
BATCH: Final = 400
"""Reports in a batch of ANTS."""
BATCH_PAUSE: Final = 0.4
TOOL: Final = shutil.which("slowhttptest")
TOOLS: Final = {
    "slowhttptest, slow heads": ("-H", "-t", "POST"),
    "slowhttptest, slow bodies": ("-B", "-t", "POST"),
    "slowhttptest, slow reading": ("-X",),
}
NOTHING: Final = "nothing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What honest senders saw, in seconds, and what the others were answered.

    `batches` are the waits for batches of BATCH reports; `peak_mb` is the largest process's.
    """

    name: str
    connections: int
    waits: Sequence[float]
    batches: Sequence[float]
    refused: int
    answers: Counter[str]
    peak_mb: float

    @property
    def is_well(self) -> bool:
        """Say whether nobody honest was refused, or had to wait, and memory was enough."""
        limit = ATTACKS[self.name].limit if self.name in ATTACKS else 0.2
        waited = bool(self.waits) and quantile(self.waits, 0.99) < limit
        in_time = quantile(self.batches, 0.99) < 1
        return not self.refused and waited and in_time and self.peak_mb < PEAK_MB


def quantile(waits: Sequence[float], share: float) -> float:
    """Return the wait that this share did not exceed."""
    return sorted(waits)[min(len(waits) - 1, int(len(waits) * share))]


@dataclass(frozen=True, slots=True)
class Where:
    """Where the receiver is called: itself, or a proxy before it with HTTPS."""

    port: int
    secure: bool

    def line(self) -> http.client.HTTPConnection:
        """Return a connection that is made when it is used."""
        if self.secure:
            return http.client.HTTPSConnection(
                "127.0.0.1", self.port, timeout=30, context=trusting()
            )
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)


Callback = tuple[str, str, bytes]


def thai_callback(token: str) -> Callback:
    query = f"Transaction={new()}&Msisdn=66812345678&Status=delivery&Time=2026-11-21+10:00:00"
    return "GET", f"/callbacks/thaibulksms/{token}?{query}", b""


def ants_callback(token: str) -> Callback:
    return "POST", f"/callbacks/ants/{token}", ants(dr(new()))


def ants_batch(token: str) -> Callback:
    return "POST", f"/callbacks/ants/{token}", ants(*(dr(new()) for _ in range(BATCH)))


def engagelab_callback(token: str) -> Callback:
    row = {"message_id": new(), "to": "+66812345678", "status": {"message_status": "delivered"}}
    body = json.dumps({"total": 1, "rows": [row | {"itime": int(time.time())}]}).encode()
    return "POST", f"/callbacks/engagelab/{token}", body


MAKERS: Final = {
    "thaibulksms": thai_callback,
    "ants": ants_callback,
    "engagelab": engagelab_callback,
}


def trial(
    server: Server, name: str, connections: int | None, seconds: float, where: Where | None = None
) -> Trial:
    """Send honest callbacks for so long, the attack beside them."""
    where = where or Where(int(server.url.rpartition(":")[2]), secure=False)
    path = f"/callbacks/ants/{server.tokens['ants']}"
    many = connections or (ATTACKS[name].connections if name in ATTACKS else 1000)
    waits: list[float] = []
    batches: list[float] = []
    refused: list[object] = []
    stop = threading.Event()
    senders = [
        threading.Thread(
            target=honest,
            args=(where, partial(make, server.tokens[of]), waits, refused),
            kwargs={"stop": stop, "pause": PAUSE, "keeps": keeps},
        )
        for of, make in MAKERS.items()
        for keeps in (False, True)
    ]
    batch = partial(ants_batch, server.tokens["ants"])
    senders.append(
        threading.Thread(
            target=honest,
            args=(where, batch, batches, refused),
            kwargs={"stop": stop, "pause": BATCH_PAUSE, "keeps": True},
        )
    )
    peak = 0.0
    process = attacker(name, where, path, many, seconds)
    for sender in senders:
        sender.start()
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        peak = max(peak, *(resident(pid) for pid in family(server.process.pid)))
        stop.wait(0.1)
    stop.set()
    for sender in senders:
        sender.join()
    answers: Counter[str] = Counter()
    if process is not None:
        said, _ = process.communicate(timeout=60)
        if name in ATTACKS:
            answers.update(json.loads(said))
    return Trial(
        name=name,
        connections=0 if name == NOTHING else many,
        waits=waits,
        batches=batches,
        refused=len(refused),
        answers=answers,
        peak_mb=peak,
    )


def attacker(
    name: str, where: Where, path: str, many: int, seconds: float
) -> subprocess.Popen[bytes] | None:
    """Start whoever attacks."""
    if name == NOTHING:
        return None
    scheme = "https" if where.secure else "http"
    command = [sys.executable, "-m", "tests.slow.attacks", name, str(where.port), path, str(many)]
    command += [str(seconds), scheme]
    if name in TOOLS:
        url = f"{scheme}://127.0.0.1:{where.port}{path}"
        command = [TOOL or "", *TOOLS[name], "-c", str(many), "-r", "500", "-i", "1"]
        command += ["-l", str(int(seconds)), "-u", url]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def honest(
    where: Where,
    make: Callable[[], Callback],
    waits: list[float],
    refused: list[object],
    *,
    stop: threading.Event,
    pause: float,
    keeps: bool,
) -> None:
    """Send callbacks, on one connection or each on its own, and note how long each took."""
    line = where.line()
    while not stop.is_set():
        method, path, body = make()
        began = time.monotonic()
        try:
            line.request(method, path, body)
            answer = line.getresponse()
            answer.read()
            if answer.status != 200:
                refused.append(answer.status)
        except (OSError, http.client.HTTPException) as error:
            refused.append(error)
            line.close()
        waits.append(time.monotonic() - began)
        if not keeps:
            line.close()
        stop.wait(pause)
    line.close()


def family(pid: int) -> list[int]:
    """Return a process and its workers."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [pid, *map(int, children.split())]


def resident(pid: int) -> float:
    """Return the memory a process holds, in MB."""
    status = Path(f"/proc/{pid}/status").read_text().partition("VmRSS:")[2]
    return int(status.split()[0]) / 1024 if status else 0.0  # of one that has just ended
