"""Several processes that accept on one socket: started, started again, stopped together.

Each is a new process and no fork, so that none shares a connection, a lock or a thread with
another. uvicorn's own supervisor does not fit: its workers outlive a parent that is killed, it
kills one that is busy for five seconds, and it waits for ever for one that does not end.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import structlog

if TYPE_CHECKING:
    from collections.abc import Sequence
    from multiprocessing.context import SpawnProcess


log = structlog.get_logger(__name__)

CHECK_SECONDS: Final = 0.1
"""Seconds between looks whether a worker ended, or we are to stop."""
MIN_LIFE_SECONDS: Final = 1.0
"""Seconds from one start of a worker to the next, so that one that cannot start is no storm."""
STOP_SECONDS: Final = 9.0
"""How long workers may take to end after SIGTERM; then they are killed."""

Work = Callable[[Any, socket.socket, int], None]


def supervise(
    count: int, work: Work, argument: Any, listener: socket.socket, stops: Sequence[int]
) -> None:
    """Let so many processes work until there is something in `stops`; then stop them all.

    `work` is a function at the top of a module; what is given to it can be pickled. The last it
    is given is the worker's number, from 0; one that takes another's place has that one's.
    """
    workers: list[SpawnProcess] = []
    try:
        workers.extend(_start(work, argument, listener, number) for number in range(count))
        started = [time.monotonic()] * count
        while not stops:
            time.sleep(CHECK_SECONDS)
            for number, worker in enumerate(workers):
                if (
                    worker.is_alive()
                    or stops
                    or time.monotonic() < started[number] + MIN_LIFE_SECONDS
                ):
                    continue
                log.error("worker ended, starting another", pid=worker.pid, code=worker.exitcode)
                started[number] = time.monotonic()
                workers[number] = _start(work, argument, listener, number)
    finally:
        listener.close()  # ours, too: otherwise callers would still wait in its queue
        _stop(workers)


def _start(work: Work, argument: Any, listener: socket.socket, number: int) -> SpawnProcess:
    """Start one; Ctrl-C, which a terminal sends to all of us, is for the parent only."""
    worker = multiprocessing.get_context("spawn").Process(
        target=_run, args=(work, argument, listener, number), name="worker"
    )
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        worker.start()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    return worker


def _run(work: Work, argument: Any, listener: socket.socket, number: int) -> None:
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
    work(argument, listener, number)


def _end_with_parent() -> None:
    """Wait until the parent is gone, however it went, and end as if it had said so."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


def _stop(workers: Sequence[SpawnProcess]) -> None:
    """Ask all to end, and make them."""
    for worker in workers:
        worker.terminate()
    until = time.monotonic() + STOP_SECONDS
    for worker in workers:
        worker.join(max(0.0, until - time.monotonic()))
        if worker.is_alive():
            log.error("worker does not end, killed", pid=worker.pid)
            worker.kill()
            worker.join()
