"""When the database is away: who notices, who tries again, and who brings in what waited.

Whoever cannot write says so once (`notice`); from then on nobody else waits for the database. One
thread tries it, ever more slowly, and when it is back brings the spool in, oldest first, through
the writer, beside what arrives meanwhile. Whether a refusal is the database's or one callback's is
decided by a trial: a made-up callback is kept, and undone. Where a database that takes that does
not take a portion of the spool, its callbacks are brought in one by one; the one that is refused
twice stays there, marked, and is tried again from time to time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import structlog

from receiver.database import InterruptibleConnection, is_away, is_transient, reason, why
from receiver.domain import Callback, Kept, Reading, SpoolError, UnavailableError
from receiver.ingest import store

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from receiver.ingest.spool import Portion, Spool
    from receiver.ingest.store import Transact


Read = Callable[[Callback], Reading]

Keep = Callable[[Sequence[Reading]], Sequence[Kept | Exception]]

log = structlog.get_logger(__name__)

FIRST_WAIT_SECONDS: Final = 0.2
"""The seconds before the database is tried again; each further wait is twice as long."""
MAX_WAIT_SECONDS: Final = 5.0
"""The seconds between two tries of the database, at most."""
TRIAL_SECONDS: Final = 5.0
"""The seconds that one trial may take."""
PORTION: Final = 500
"""The callbacks that the writer brings in at a time, between two batches of new ones."""
SPOOL_LOG_SECONDS: Final = 60.0
"""The seconds between two log lines on what the spool holds."""
REFUSAL_LOG_SECONDS: Final = 1.0
"""The seconds between two log lines on what a working database refuses."""
OFFER_SECONDS: Final = 60.0
"""The seconds after which callbacks that were refused are tried again."""
MAX_OFFERED: Final = 20
"""The refused callbacks that are tried again at a time, drawn at random; all, once one is taken."""


class Failover:
    """Whether the database is away, and the one thread that tries it and drains the spool."""

    def __init__(self, engine: Engine, spool: Spool | None, read: Read) -> None:
        self.spool = spool
        self.is_on = False
        self.why = ""
        """Sentences for a person: why the database is away, while it is."""
        self.connection = InterruptibleConnection(engine)
        self.prepare: Callable[[], object] | None = None
        self._read = read
        self._since = 0.0
        self._logged_at = 0.0
        self._brought = 0
        self._size = PORTION
        self._suspect: tuple[object, int] | None = None
        self._offer_at = 0.0
        self._offered = 0
        self._quiet_until = 0.0
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stopping = threading.Event()

    def notice(self, error: Exception, transact: Transact) -> bool:
        """Take note of what kept the database from taking a transaction; say whether it is away.

        It is not where others only got in the way too often, or where a trial in `transact` shows
        that it takes callbacks.
        """
        if is_transient(error):
            log.error("transaction given up", reason=reason(error))
        elif is_away(error) or not _takes(transact):
            self.begin(why(error))
        elif time.monotonic() >= self._quiet_until:
            self._quiet_until = time.monotonic() + REFUSAL_LOG_SECONDS
            log.error("database works, and refuses this", reason=why(error))
        return self.is_on

    def begin(self, why: str) -> None:
        """Say that the database is away; only the first one is heard."""
        with self._lock:
            if self.is_on:
                return
            self.is_on, self.why = True, why
            self._since = self._logged_at = time.monotonic()
        log.error("database away", reason=why, spool=None if self.spool is None else "in use")
        self._wake.set()

    def wake(self) -> None:
        """Have the thread look at the spool: something waits there."""
        self._wake.set()

    def stop(self) -> None:
        """Let the thread end."""
        self._stopping.set()
        self._wake.set()

    def run(self, keep: Keep) -> None:
        """Try the database while it is away, drain the spool while it is not, until stopped.

        `keep` hands readings to the writer and returns once they are committed.
        """
        wait = FIRST_WAIT_SECONDS
        while not self._stopping.is_set():
            self._log_spool()
            if self.is_on:
                self._stopping.wait(wait)
                back = not self._stopping.is_set() and self._try()
                wait = FIRST_WAIT_SECONDS if back else min(2 * wait, MAX_WAIT_SECONDS)
            elif self.spool is not None and self.spool.callbacks:
                self._bring_in(self.spool, keep)
            elif self.spool is not None and self.spool.trouble:
                self._stopping.wait(MAX_WAIT_SECONDS)
                self.spool.check()
            elif self.spool is not None and self.spool.refused:
                self._offer(self.spool)
            else:
                self._wake.wait()
                self._wake.clear()
        self.connection.close()

    def _try(self) -> bool:
        """Say whether the database is back: whether it takes callbacks."""
        try:
            if self.prepare is not None:
                self.prepare()
                self.prepare = None
            self.connection.transaction(store.can_keep, TRIAL_SECONDS)
        except Exception as error:  # noqa: BLE001 - whatever it is, the thread must live to try again
            if self.why != (now := why(error)):
                self.why = now
                log.error("database still away", reason=now)
            return False
        self.is_on = False
        self._offer_at = 0.0
        log.warning("database back", seconds=round(time.monotonic() - self._since, 1))
        return True

    def _bring_in(self, spool: Spool, keep: Keep) -> None:
        """Bring one portion in."""
        try:
            portion = spool.portion(self._size)
            if portion is None:
                return
            try:
                results = keep([self._read(callback) for callback in portion.callbacks])
            except Exception as error:  # noqa: BLE001 - the thread must live to try again
                self._single_out(spool, portion, error)
                return
            refused = [
                (position, str(value))
                for position, value in zip(portion.positions, results, strict=True)
                if isinstance(value, Exception)
            ]
            spool.forget(portion, refused)
        except SpoolError as error:
            log.error("spool cannot be drained", reason=str(error))
            self._stopping.wait(MAX_WAIT_SECONDS)
            return
        self._size = min(2 * self._size, PORTION)
        self._brought += len(results) - len(refused)
        if not spool.callbacks:
            log.warning("spool drained", callbacks=self._brought, refused=spool.refused)
            self._brought = 0

    def _single_out(self, spool: Spool, portion: Portion, error: Exception) -> None:
        """Find the callback for which a portion was refused: that must not hold up the others.

        Twice, since the database may have gone away just then.
        """
        if isinstance(error, UnavailableError):  # it was not even tried
            return
        if len(portion.positions) > 1:
            self._size = 1
            return
        suspect = portion.file, portion.positions[0]
        if self._suspect != suspect:
            self._suspect = suspect
            return
        log.error(
            "callback refused by the database, held in the spool",
            callback=portion.callbacks[0].id,
            reason=why(error),
        )
        spool.forget(portion, [(portion.positions[0], why(error))])
        self._offer_at = max(self._offer_at, time.monotonic() + OFFER_SECONDS)

    def _offer(self, spool: Spool) -> None:
        """Try again what was refused, when its time has come: some, then all if one was taken."""
        accepted = spool.refused < self._offered
        self._wake.wait(0 if accepted else max(0.0, self._offer_at - time.monotonic()))
        self._wake.clear()
        if self._stopping.is_set() or self.is_on or spool.callbacks:
            return
        if not accepted and time.monotonic() < self._offer_at:
            return
        self._offered = spool.refused
        self._offer_at = time.monotonic() + OFFER_SECONDS
        try:
            spool.offer(None if accepted else MAX_OFFERED)
        except SpoolError as error:
            log.error("spool cannot be drained", reason=str(error))

    def _log_spool(self) -> None:
        """Log once a minute what the spool holds, while it holds anything."""
        now = time.monotonic()
        if self.spool is None or now - self._logged_at < SPOOL_LOG_SECONDS:
            return
        if not (self.spool.callbacks or self.spool.refused):
            return
        self._logged_at = now
        held = self.spool.held()
        log.warning(
            "spool holds callbacks",
            callbacks=held.callbacks,
            refused=held.refused,
            bytes=held.bytes,
            oldest_seconds=held.oldest_seconds,
            away=self.is_on,
        )


def _takes(transact: Transact) -> bool:
    """Say whether the database takes callbacks: a trial."""
    try:
        transact(store.can_keep)
    except Exception as error:  # noqa: BLE001 - whatever it is, it takes nothing
        log.debug("trial failed", reason=reason(error))
        return False
    return True
