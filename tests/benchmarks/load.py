"""The load: wrk, sending each message's callback once."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.benchmarks.server import TOKEN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.benchmarks.data import Shape

SCRIPT: Final = Path(__file__).with_suffix(".lua")
TIMEOUT: Final = 60
"""Seconds until wrk calls an answer late; 64 requests of 500 details wait for one another."""
THREADS: Final = 1 if (os.cpu_count() or 1) <= 2 else 2


class LoadError(Exception):
    """There is no wrk, or it failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What wrk saw."""

    requests: int
    refused: int
    broken: int
    timeouts: int
    exhausted: int
    late: int = 0
    """Requests that were sent late, with a rate offered."""
    seconds: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    cpu: float
    cpu_share: float
    """Of the cores that its threads could use; near 1, wrk is what was measured."""


def wrk() -> str:
    """Return where wrk is."""
    found = shutil.which("wrk")
    if found is None:
        raise LoadError("wrk is needed: apt-get install wrk")
    return found


def run(
    shape: Shape,
    *,
    ports: Sequence[int],
    numbers: Path,
    messages: int,
    connections: int,
    seconds: int,
    offered: int = 0,
) -> Load:
    """Send for some seconds, as fast as it is answered, or so many requests a second.

    With several ports a thread of wrk sends to each.
    """
    threads = max(THREADS, len(ports))
    kind = "xml" if shape.xml else "json" if shape.details > 1 else "single"
    path = f"/callbacks/{shape.provider}/{TOKEN}"
    script = (numbers, messages, threads, shape.details, kind, path, offered)
    command = [
        wrk(),
        *("--threads", threads),
        *("--connections", connections),
        *("--duration", seconds),
        *("--timeout", TIMEOUT),
        *("--script", SCRIPT),
        f"http://127.0.0.1:{ports[0]}",
        *("--", *script),
    ]
    before, start = _cpu_seconds(), time.perf_counter()
    try:
        done = subprocess.run(
            [str(word) for word in command],
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {"RECEIVER_PORTS": " ".join(map(str, ports))},
            timeout=seconds + TIMEOUT + 30,
        )
    except subprocess.TimeoutExpired:
        raise LoadError("wrk did not end in time") from None
    used, took = _cpu_seconds() - before, time.perf_counter() - start
    result = next((line for line in done.stdout.splitlines() if line.startswith("RESULT ")), None)
    if done.returncode != 0 or result is None:
        raise LoadError(f"wrk failed: {done.stderr.strip() or done.stdout.strip()}")
    said = json.loads(result.removeprefix("RESULT "))
    seconds = said.pop("microseconds") / 1e6
    return Load(
        seconds=seconds, cpu=used, cpu_share=used / took / min(threads, os.cpu_count() or 1), **said
    )


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
