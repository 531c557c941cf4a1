"""Group commit: many waiting requests share one transaction, and nobody is answered before it.

One thread writes everything this process writes, in order: callbacks in batches, recordings one
by one. There is no artificial delay: an idle writer takes one request at once, under load batches
grow by themselves. On SQLite the same thread settles between batches; on PostgreSQL a thread of
its own does, so that a long settling never holds up an answer. While the database is away the
same thread commits callbacks to the spool instead (failover.py says when, and brings them in).

How to think about it: a request owns nothing; it puts its reading into the queue and waits for a
future, which is set only behind a commit. For example, forty requests wait while a commit takes
8 ms: the next batch is those forty, one transaction, one wait for the disk, forty answers. Where
the database refuses the data of one, the batch is halved until that one stands alone: it is kept as
unreadable, and the others as they are.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYetError
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING, Any, Final, TypeVar

import structlog

from receiver.database import SQLITE, InterruptibleConnection, passes
from receiver.domain import BusyError, Kept, Reading, SpoolError, UnavailableError
from receiver.ingest import store
from receiver.ingest.commit_log import CommitLog
from receiver.ingest.failover import Failover
from receiver.ingest.quota import LIMIT, Quota, refuse_cut
from receiver.settling import CHECK_SECONDS, LAST_SETTLING_SECONDS, SETTLE_AFTER_SECONDS, Settler

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from receiver.ingest.failover import Read
    from receiver.ingest.spool import Spool
    from receiver.statistics import Counters


log = structlog.get_logger(__name__)
T = TypeVar("T")

AWAY: Final = "The database is away."
REFUSED: Final = "The database does not take it now."
SPOOL_FULL: Final = f"{AWAY} The spool has no more room for bodies of this size."
STOPPING: Final = "The receiver is shutting down."
MAX_CALLBACKS: Final = 10_000
MAX_BYTES: Final = 64 * 1024 * 1024
"""More than all large bodies under way have by themselves (body_budget.py): those that hold so much
never turn small ones away."""
BATCH_REPORTS: Final = 2000
BATCH_SECONDS: Final = 3.0
"""The seconds that a batch may take before the database counts as unavailable."""
HURRIED_SECONDS: Final = 1.0
"""The seconds that a batch or recording may take while the writer stops."""
ANSWER_SECONDS: Final = 30.0
"""The seconds that a request waits for its commit; what it brought may still be written later."""
OVERDUE_CHECK_SECONDS: Final = 0.1
"""The seconds between checks for requests that waited too long."""
STOP_SECONDS: Final = 3.0
"""The seconds that stopping may take; with what requests under way are given, less than ten."""


@dataclass(slots=True)
class _Waiting:
    """A callback on its way into the database, and who waits for it."""

    reading: Reading
    answer: asyncio.Future[Kept]


@dataclass(slots=True)
class _Job:
    """A recording, how long it may take, and who waits for it."""

    work: Callable[[Connection], Any]
    seconds: float
    answer: asyncio.Future[Any]


@dataclass(slots=True)
class _Spooled:
    """Callbacks on their way from the spool into the database; the outage's thread waits."""

    readings: Sequence[Reading]
    done: Future[Sequence[Kept | Exception]]


_Item = _Waiting | _Job | _Spooled


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """How a writer is at one moment."""

    callbacks: int
    """How many callbacks wait to be written."""
    bytes: int
    """The bytes of the callbacks that wait to be written."""
    is_away: bool
    """Whether the database takes none, so that the spool does."""
    why: str
    """Sentences for a person: why it does not; empty where it does."""


class Writer:
    """The one thread that writes, and the queue in which requests wait for it."""

    def __init__(
        self,
        engine: Engine,
        spool: Spool | None = None,
        quota: Quota | None = None,
        *,
        read: Read,
        counters: Counters,
        prepare: Callable[[], object] | None = None,
        away: str | None = None,
    ) -> None:
        """Make one that writes nothing before `start`.

        `read` is how what waited in the spool is read, `counters` what it counts in. `away` says,
        in sentences, why the database could not be prepared, where it could not; `prepare` is then
        tried until it does not raise.
        """
        self.engine = engine
        self.quota = quota or Quota(LIMIT, UTC, time.monotonic)
        self.spool = spool
        self.counters = counters
        self.commits = CommitLog()
        self.failover = Failover(engine, spool, read)
        if away is not None:
            self.failover.prepare = prepare
            self.failover.begin(away)
        self.settler = Settler(engine, self.counters)
        self.sqlite = engine.dialect.name == SQLITE
        self.callbacks = 0
        self.bytes = 0
        self.patience = ANSWER_SECONDS
        self._connection = InterruptibleConnection(engine)
        self._queue: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
        self._overdue: deque[tuple[float, asyncio.Future[Any]]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._due = threading.Event()
        self._stopping = threading.Event()
        self._written = threading.Event()
        # Daemons: one that a database holds up must not keep the process from ending.
        self._threads = [
            threading.Thread(target=self._write, name="writer", daemon=True),
            threading.Thread(
                target=self.failover.run, args=[self._bring_in], name="outage", daemon=True
            ),
        ]
        if not self.sqlite:
            self._threads.append(threading.Thread(target=self._settle, name="settler", daemon=True))
        self._loop: asyncio.AbstractEventLoop | None = None

    def state(self) -> State:
        """Return how it is now, from any thread."""
        return State(
            callbacks=self.callbacks,
            bytes=self.bytes,
            is_away=self.failover.is_on,
            why=self.failover.why if self.failover.is_on else "",
        )

    # What requests call, in the event loop.

    def start(self) -> None:
        """Start writing; what waited in the spool, or to be settled, is taken up at once."""
        self._loop = asyncio.get_running_loop()
        self._give_up()
        for thread in self._threads:
            thread.start()

    async def stop(self) -> None:
        """Write everything that waits, settle it, and stop; at the latest after STOP_SECONDS."""
        self._stopping.set()
        self._connection.hurry(HURRIED_SECONDS)
        self.failover.stop()
        self._queue.put(None)
        until = time.monotonic() + STOP_SECONDS
        for thread in self._threads:
            await asyncio.to_thread(thread.join, max(0.0, until - time.monotonic()))
        if self._timer is not None:
            self._timer.cancel()
        self.commits.write(at_once=True)
        if self.callbacks:
            log.error("stopped before all was written", callbacks=self.callbacks)
        elif self.spool is not None:
            self.spool.close()

    async def keep(self, reading: Reading) -> Kept:
        """Return once the callback is committed, to the database or to the spool.

        Raises BusyError where too much waits already, UnavailableError where neither takes it or
        answers; then nothing of it was kept, or it is and the answer got lost: the same callback
        again changes nothing.
        """
        size = reading.size
        self.check(size)
        self.callbacks += 1
        self.bytes += size
        answer: asyncio.Future[Kept] = asyncio.get_running_loop().create_future()
        self._queue.put(_Waiting(reading, answer))
        return await self._patiently(answer)

    async def run(self, work: Callable[[Connection], T], seconds: float = BATCH_SECONDS) -> T:
        """Do work in a write transaction of its own, which may take `seconds`, and commit it.

        Raises what the work raises, or UnavailableError, at once where the database is known to
        be away. Work that nobody waits for any more is not begun.
        """
        self._check_open()
        if self.failover.is_on:
            raise UnavailableError(AWAY)
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._queue.put(_Job(work, seconds, answer))
        return await self._patiently(answer)

    def _patiently(self, answer: asyncio.Future[T]) -> asyncio.Future[T]:
        """Note when an answer is overdue: one timer for all costs less than one for each."""
        until = asyncio.get_running_loop().time() + self.patience
        self._overdue.append((until, answer))
        return answer

    def _give_up(self) -> None:
        """Fail who waited too long, cut what takes too long, and look again."""
        for line in (self._connection, self.failover.connection):
            line.cut_if_overdue()
        self.commits.write()
        loop = asyncio.get_running_loop()
        while self._overdue and (self._overdue[0][1].done() or self._overdue[0][0] <= loop.time()):
            answer = self._overdue.popleft()[1]
            if not answer.done():
                answer.set_exception(UnavailableError("The database does not answer."))
        self._timer = loop.call_later(OVERDUE_CHECK_SECONDS, self._give_up)

    def check(self, size: int = 0) -> None:
        """Raise the UnavailableError that a callback of this size would get now."""
        self._check_open()
        if self.callbacks >= MAX_CALLBACKS or (self.bytes and self.bytes + size > MAX_BYTES):
            raise BusyError("Too many callbacks wait to be written.")

    def _check_open(self) -> None:
        if self._stopping.is_set():
            raise UnavailableError(STOPPING)

    def _release(self, batch: Sequence[_Item], values: Sequence[Any]) -> None:
        """Answer everybody who waited; those who went away meanwhile are passed over."""
        for item, value in zip(batch, values, strict=True):
            if isinstance(item, _Waiting):
                self.callbacks -= 1
                self.bytes -= item.reading.size
            if isinstance(item, _Spooled) or item.answer.done():
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
                    due = min(due, time.monotonic() + SETTLE_AFTER_SECONDS)
                self._due.set()
            if time.monotonic() >= due:
                wait = CHECK_SECONDS if self.failover.is_on else self.settler.settle()
                due = time.monotonic() + wait
        if self.sqlite and not self.failover.is_on:
            self._settle_last()
        self._connection.close()
        self._written.set()
        self._due.set()

    def _settle(self) -> None:
        """On PostgreSQL: settle when something was written, and every second."""
        wait = CHECK_SECONDS
        while not self._written.is_set():
            if self._due.wait(wait) and wait:
                self._stopping.wait(SETTLE_AFTER_SECONDS)
            self._due.clear()
            wait = self.settler.settle()
        self._settle_last()

    def _settle_last(self) -> None:
        until = time.monotonic() + LAST_SETTLING_SECONDS
        while time.monotonic() < until and not self.settler.settle():
            pass
        self.counters.write(self.engine, at_once=True)

    def _take(self, patience: float) -> tuple[list[_Item], bool]:
        """Return what waits, at most one batch or one job, and whether to go on."""
        batch: list[_Item] = []
        reports = 0
        try:
            item = self._queue.get(timeout=min(patience, threading.TIMEOUT_MAX))
            while item is not None:
                batch.append(item)
                if not isinstance(item, _Waiting):
                    return batch, True
                reports += max(1, len(item.reading.reports))
                if reports >= BATCH_REPORTS:
                    return batch, True
                item = self._queue.get_nowait()
        except queue.Empty:
            return batch, True
        return batch, False

    def _commit(self, batch: list[_Item]) -> None:
        """Write a batch, then the job that may follow it, and release who waited."""
        readings = [item.reading for item in batch if isinstance(item, _Waiting)]
        values: list[Any] = []
        if readings:
            began = time.perf_counter()
            values, spooled = self._keep_somewhere(readings)
            seconds = time.perf_counter() - began
            self.commits.add(readings, values, seconds, spooled=spooled)
            self.counters.committed(len(readings), seconds, spooled=spooled)
        for item in batch:
            if isinstance(item, _Job):
                values.append(self._do(item))
            elif isinstance(item, _Spooled):
                self._keep_spooled(item)
                values.append(None)
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._release, batch, values)

    def _keep_somewhere(self, readings: Sequence[Reading]) -> tuple[list[Kept | Exception], bool]:
        """Keep readings in the database, and what that does not take in the spool.

        Say also whether the database took none of them.
        """
        values: list[Kept | Exception] = [UnavailableError(AWAY)] * len(readings)
        if not self.failover.is_on:
            try:
                values = list(self._store(readings))
            except Exception as error:  # noqa: BLE001 - each waiting request gets its answer
                if not self.failover.notice(error, self._transaction):
                    values = [UnavailableError(REFUSED)] * len(readings)
        left = [at for at, value in enumerate(values) if isinstance(value, Exception)]
        if left and self.spool is not None:
            results = self._keep_in_spool(self.spool, [readings[at] for at in left])
            for at, value in zip(left, results, strict=True):
                values[at] = value
        return values, len(left) == len(readings)

    def _keep_in_spool(
        self, spool: Spool, readings: Sequence[Reading]
    ) -> Sequence[Kept | Exception]:
        fitted = self.quota.fit(readings, None)
        values = [refuse_cut(reading) or Kept(id=reading.callback.id) for reading in fitted]
        whole = [at for at, value in enumerate(values) if isinstance(value, Kept)]
        try:
            has_room = spool.keep([fitted[at].callback for at in whole])
        except SpoolError:
            return [UnavailableError("Database and spool are away.")] * len(readings)
        self.failover.wake()
        for at, room in zip(whole, has_room, strict=True):
            if not room:
                values[at] = BusyError(SPOOL_FULL)
        self.quota.count(fitted, values)
        return values

    def _store(self, readings: Sequence[Reading]) -> Sequence[Kept | Exception]:
        readings = self.quota.fit(readings, self._transaction)
        results = store.keep_or_refuse(self._transaction, readings)
        self.quota.count(readings, results)
        self.counters.keep(readings, results)
        return results

    def _bring_in(self, readings: Sequence[Reading]) -> Sequence[Kept | Exception]:
        """Keep readings from the spool, in the writer's thread; called in the outage's."""
        item = _Spooled(readings, Future())
        self._queue.put(item)
        while True:
            with suppress(NotYetError):
                return item.done.result(OVERDUE_CHECK_SECONDS)
            if self._written.is_set() and not item.done.done():
                raise UnavailableError(STOPPING)

    def _keep_spooled(self, item: _Spooled) -> None:
        if self.failover.is_on:
            item.done.set_exception(UnavailableError(AWAY))
            return
        try:
            item.done.set_result(self._store(item.readings))
        except Exception as error:  # noqa: BLE001 - handed to whoever waits
            self.failover.notice(error, self._transaction)
            item.done.set_exception(error)

    def _do(self, job: _Job) -> Any:
        if job.answer.done():
            return None
        if self.failover.is_on:
            return UnavailableError(AWAY)
        try:
            return self._transaction(job.work, job.seconds)
        except Exception as error:  # noqa: BLE001 - handed to whoever waits
            if not passes(error):
                return error
            is_away = self.failover.notice(error, self._transaction)
            return UnavailableError(AWAY if is_away else REFUSED)

    def _transaction(self, work: Callable[[Connection], T], seconds: float = BATCH_SECONDS) -> T:
        """Commit the work; while we stop, nothing may take long."""
        return self._connection.transaction(
            work, HURRIED_SECONDS if self._stopping.is_set() else seconds
        )
