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
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.serving import ROOT
from tests.slow.attacks import ATTACKS
from tests.test_app import ants, dr, new

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.serving import Server

LIMIT: Final = 0.2
"""Seconds that 99 of 100 honest callbacks may take at most."""
SENDERS: Final = 4
PAUSE: Final = 0.05
"""Seconds between two honest callbacks of one sender: some 80 a second in all."""
TOOL: Final = shutil.which("slowhttptest")
TOOLS: Final = {
    "slowhttptest, slow heads": ("-H", "-t", "POST"),
    "slowhttptest, slow bodies": ("-B", "-t", "POST"),
    "slowhttptest, slow reading": ("-X",),
}
NOTHING: Final = "nothing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What honest senders saw, in seconds, and what the others were answered."""

    name: str
    connections: int
    waits: Sequence[float]
    refused: int
    answers: Counter[str]
    peak_mb: float

    @property
    def is_well(self) -> bool:
        """Say whether nobody honest was refused, or had to wait."""
        return not self.refused and bool(self.waits) and self.quantile(0.99) < LIMIT

    def quantile(self, share: float) -> float:
        """Return the wait that this share of the honest did not exceed."""
        return sorted(self.waits)[min(len(self.waits) - 1, int(len(self.waits) * share))]


def trial(server: Server, name: str, connections: int | None, seconds: float) -> Trial:
    """Send honest callbacks for so long, the attack beside them."""
    port, path = int(server.url.rpartition(":")[2]), f"/callbacks/ants/{server.tokens['ants']}"
    many = connections or (ATTACKS[name].connections if name in ATTACKS else 1000)
    waits: list[float] = []
    refused: list[object] = []
    stop = threading.Event()
    senders = [
        threading.Thread(
            target=honest,
            args=(port, path, stop, waits, refused),
            kwargs={"keeps": number % 2 == 0},
        )
        for number in range(SENDERS)
    ]
    peak = 0.0
    process = attacker(name, port, path, many, seconds)
    for sender in senders:
        sender.start()
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        peak = max(peak, resident(server.process.pid))
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
        refused=len(refused),
        answers=answers,
        peak_mb=peak,
    )


def attacker(
    name: str, port: int, path: str, many: int, seconds: float
) -> subprocess.Popen[bytes] | None:
    """Start whoever attacks."""
    if name == NOTHING:
        return None
    command = [sys.executable, "-m", "tests.slow.attacks", name, str(port), path, str(many)]
    command.append(str(seconds))
    if name in TOOLS:
        url = f"http://127.0.0.1:{port}{path}"
        command = [TOOL or "", *TOOLS[name], "-c", str(many), "-r", "500", "-i", "1"]
        command += ["-l", str(int(seconds)), "-u", url]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def honest(
    port: int,
    path: str,
    stop: threading.Event,
    waits: list[float],
    refused: list[object],
    *,
    keeps: bool,
) -> None:
    """Send callbacks, on one connection or each on its own, and note how long each took."""
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    while not stop.is_set():
        began = time.monotonic()
        try:
            line.request("POST", path, ants(dr(new())))
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
        stop.wait(PAUSE)
    line.close()


def resident(pid: int) -> float:
    """Return the memory a process holds, in MB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024
