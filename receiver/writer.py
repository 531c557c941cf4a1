"""Group commit: many waiting requests share one transaction, and nobody is answered before it.

One thread writes everything this process writes, in order: callbacks in batches, recordings one
by one. There is no artificial delay: an idle writer takes one request at once, under load batches
grow by themselves. On SQLite the same thread settles between batches; on PostgreSQL a thread of
its own does, so that a long settling never holds up an answer.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

import structlog

from receiver import settle, store
from receiver.database import again, passes, reason
from receiver.errors import BusyError, UnavailableError
from receiver.models import SQLITE
from receiver.store import Kept, Reading

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

log = structlog.get_logger(__name__)
T = TypeVar("T")

MAX_CALLBACKS: Final = 10_000
MAX_BYTES: Final = 32 * 1024 * 1024
BATCH_REPORTS: Final = 2000
SETTLE_AFTER: Final = 0.1
"""Seconds from a commit to settling, so that one settling serves many commits."""
LOOK_EVERY: Final = 1.0
"""Seconds between looks for what other programs inserted."""
PATIENCE: Final = 30.0
"""Seconds that a request waits for its commit; what it brought may still be written later."""
GIVE_UP_EVERY: Final = 0.1
"""Seconds between looks for requests that waited too long."""
STOP_SECONDS: Final = 3.0
"""Seconds that stopping may take; with what requests under way are given, less than ten."""
LAST_SETTLING: Final = 2.0
"""Seconds that settling may take when stopping; the next start does what is left."""


@dataclass(slots=True)
class _Waiting:
    """A callback on its way into the database, and who waits for it."""

    reading: Reading
    answer: asyncio.Future[Kept]


@dataclass(slots=True)
class _Job:
    """A recording, and who waits for it."""

    work: Callable[[Connection], Any]
    answer: asyncio.Future[Any]


class Settler:
    """This process's hand: settles what waits, and says nothing twice about the same trouble."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.troubled = False

    def settle(self) -> bool:
        """Settle one portion; say whether more may wait."""
        try:
            done = settle.settle_one(self.engine)
        except Exception as error:  # noqa: BLE001 - the hand must live to try again
            if not self.troubled:
                log.warning("settling failed, will try again", reason=reason(error))
            self.troubled = True
            return False
        self.troubled = False
        if done.messages or done.reports:
            log.debug("settled", messages=done.messages, reports=done.reports)
        return bool(done.messages or done.reports)


class Writer:
    """The one thread that writes, and the front door where requests wait for it."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.settler = Settler(engine)
        self.sqlite = engine.dialect.name == SQLITE
        self.callbacks = 0
        self.bytes = 0
        self.patience = PATIENCE
        self._queue: queue.SimpleQueue[_Waiting | _Job | None] = queue.SimpleQueue()
        self._overdue: deque[tuple[float, asyncio.Future[Any]]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._due = threading.Event()
        self._stopping = threading.Event()
        self._written = threading.Event()
        # Daemons: one that a database holds up must not keep the process from ending.
        self._threads = [threading.Thread(target=self._write, name="writer", daemon=True)]
        if not self.sqlite:
            self._threads.append(threading.Thread(target=self._settle, name="settler", daemon=True))
        self._loop: asyncio.AbstractEventLoop | None = None

    # The front door: called in the event loop.

    def start(self) -> None:
        """Start writing; what waited to be settled is settled first."""
        self._loop = asyncio.get_running_loop()
        self._give_up()
        for thread in self._threads:
            thread.start()

    async def stop(self) -> None:
        """Write everything that waits, settle it, and stop; at the latest after STOP_SECONDS."""
        self._stopping.set()
        self._queue.put(None)
        until = time.monotonic() + STOP_SECONDS
        for thread in self._threads:
            await asyncio.to_thread(thread.join, max(0.0, until - time.monotonic()))
        if self._timer is not None:
            self._timer.cancel()
        if self.callbacks:
            log.error("stopped before all was written", callbacks=self.callbacks)

    async def keep(self, reading: Reading) -> Kept:
        """Return once the callback is committed.

        Raises BusyError where too much waits already, UnavailableError where the database is
        away or does not answer; then nothing of it was kept, or it is and the answer got lost:
        the same callback again changes nothing.
        """
        self._check_open()
        size = reading.size
        if self.callbacks >= MAX_CALLBACKS or (self.bytes and self.bytes + size > MAX_BYTES):
            raise BusyError("Too many callbacks wait to be written.")
        self.callbacks += 1
        self.bytes += size
        answer: asyncio.Future[Kept] = asyncio.get_running_loop().create_future()
        self._queue.put(_Waiting(reading, answer))
        return await self._patiently(answer)

    async def run(self, work: Callable[[Connection], T]) -> T:
        """Do work in a write transaction of its own; return once it is committed.

        Raises what the work raises, or UnavailableError. Work that nobody waits for any more is
        not begun.
        """
        self._check_open()
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._queue.put(_Job(work, answer))
        return await self._patiently(answer)

    def _patiently(self, answer: asyncio.Future[T]) -> asyncio.Future[T]:
        """Note when an answer is overdue: one timer for all costs less than one for each."""
        until = asyncio.get_running_loop().time() + self.patience
        self._overdue.append((until, answer))
        return answer

    def _give_up(self) -> None:
        """Fail who waited too long, and look again."""
        loop = asyncio.get_running_loop()
        while self._overdue and (self._overdue[0][1].done() or self._overdue[0][0] <= loop.time()):
            answer = self._overdue.popleft()[1]
            if not answer.done():
                answer.set_exception(UnavailableError("The database does not answer."))
        self._timer = loop.call_later(GIVE_UP_EVERY, self._give_up)

    def _check_open(self) -> None:
        if self._stopping.is_set():
            raise UnavailableError("The receiver is shutting down.")

    def _release(self, batch: Sequence[_Waiting | _Job], values: Sequence[Any]) -> None:
        """Answer everybody who waited; those who went away meanwhile are passed over."""
        for item, value in zip(batch, values, strict=True):
            if isinstance(item, _Waiting):
                self.callbacks -= 1
                self.bytes -= item.reading.size
            if item.answer.done():
                continue
            if isinstance(value, Exception):
                item.answer.set_exception(value)
            else:
                item.answer.set_result(value)

    # Behind it: the threads.

    def _write(self) -> None:
        """Write batches until told to stop; on SQLite settle between them."""
        due = time.monotonic() if self.sqlite else float("inf")
        more = True
        while more:
            batch, more = self._take(max(0.0, due - time.monotonic()))
            if batch:
                self._commit(batch)
                if self.sqlite:
                    due = min(due, time.monotonic() + SETTLE_AFTER)
                self._due.set()
            if time.monotonic() >= due:
                waits = self.settler.settle()
                due = time.monotonic() + (0 if waits else LOOK_EVERY)
        if self.sqlite:
            self._settle_last()
        self._written.set()
        self._due.set()

    def _settle(self) -> None:
        """On PostgreSQL: settle when something was written, and every second."""
        while not self._written.is_set():
            if self._due.wait(LOOK_EVERY):
                self._stopping.wait(SETTLE_AFTER)
            self._due.clear()
            while self.settler.settle() and not self._stopping.is_set():
                pass
        self._settle_last()

    def _settle_last(self) -> None:
        until = time.monotonic() + LAST_SETTLING
        while time.monotonic() < until and self.settler.settle():
            pass

    def _take(self, patience: float) -> tuple[list[_Waiting | _Job], bool]:
        """Return what waits, at most one batch or one job, and whether to go on."""
        batch: list[_Waiting | _Job] = []
        reports = 0
        try:
            item = self._queue.get(timeout=min(patience, threading.TIMEOUT_MAX))
            while item is not None:
                batch.append(item)
                if isinstance(item, _Job):
                    return batch, True
                reports += max(1, len(item.reading.reports))
                if reports >= BATCH_REPORTS:
                    return batch, True
                item = self._queue.get_nowait()
        except queue.Empty:
            return batch, True
        return batch, False

    def _commit(self, batch: list[_Waiting | _Job]) -> None:
        """Write a batch, then the job that may follow it, and release who waited."""
        readings = [item.reading for item in batch if isinstance(item, _Waiting)]
        values: list[Any] = []
        if readings:
            began = time.perf_counter()
            values += self._keep(readings)
            say(readings, values, time.perf_counter() - began)
        values += [self._do(item) for item in batch if isinstance(item, _Job)]
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._release, batch, values)

    def _keep(self, readings: Sequence[Reading]) -> list[Kept | Exception]:
        """Keep readings together; where the data is refused, find the one that is."""
        try:
            return list(self._transaction(lambda connection: store.keep(connection, readings)))
        except Exception as error:  # noqa: BLE001 - each waiting request gets its answer
            if passes(error):
                log.error("database away", reason=reason(error), callbacks=len(readings))
                return [UnavailableError("The database is away.")] * len(readings)
            if len(readings) > 1:
                half = len(readings) // 2
                return self._keep(readings[:half]) + self._keep(readings[half:])
            return [self._keep_refused(readings[0], error)]

    def _keep_refused(self, reading: Reading, error: Exception) -> Kept | Exception:
        """Keep a callback that the database refuses, without its reports."""
        why = f"The database refused its reports: {reason(error)}"
        log.error("callback refused by the database", callback=reading.callback.id, reason=why)
        refused = Reading(callback=reading.callback, outcome="unreadable", error=why)
        try:
            return self._transaction(lambda connection: store.keep(connection, [refused]))[0]
        except Exception as second:  # noqa: BLE001 - ours to answer for, whatever it is
            log.error("callback not kept", callback=reading.callback.id, reason=reason(second))
            return UnavailableError("The callback could not be kept.")

    def _do(self, job: _Job) -> Any:
        if job.answer.done():
            return None
        try:
            return self._transaction(job.work)
        except Exception as error:  # noqa: BLE001 - handed to whoever waits
            if passes(error):
                log.error("database away", reason=reason(error))
                return UnavailableError("The database is away.")
            return error

    def _transaction(self, work: Callable[[Connection], T]) -> T:
        """Commit the work, again after races, deadlocks and serialization failures."""
        return again(lambda: self._once(work))

    def _once(self, work: Callable[[Connection], T]) -> T:
        with self.engine.begin() as connection:
            return work(connection)


def say(readings: Sequence[Reading], values: Sequence[Kept | Exception], seconds: float) -> None:
    """Write one line for each provider of a commit: under load many callbacks share it.

    A line for each callback would cost a tenth of the whole work and overrun system journals,
    which drop what comes too fast.
    """
    done = [(r, v) for r, v in zip(readings, values, strict=True) if isinstance(v, Kept)]
    for provider in sorted({reading.callback.provider for reading, _ in done}):
        of = [(reading, kept) for reading, kept in done if reading.callback.provider == provider]
        single = {"callback": of[0][1].id, "account": of[0][0].callback.account}
        log.info(
            "kept",
            provider=provider,
            callbacks=len(of),
            reports=sum(len(reading.reports) for reading, _ in of),
            repeats=sum(kept.repeats for _, kept in of),
            ms=round(seconds * 1000, 1),
            **(single if len(of) == 1 else {}),
        )
