"""When the database is away: who notices, who tries again, and who brings in what waited.

Whoever cannot write says so once (`begin`); from then on nobody else waits for the database. One
thread tries it, ever more slowly, and when it is back brings the spool in, oldest first, through
the writer, beside what arrives meanwhile.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import structlog

from receiver import store
from receiver.database import Line, is_transient, passes, reason
from receiver.errors import ReceiverError, SpoolError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Connection, Engine

    from receiver.callback import Callback
    from receiver.ledger import Ledger
    from receiver.spool import Spool
    from receiver.store import Kept, Reading

    Read = Callable[[Callback], Reading]
    Keep = Callable[[Sequence[Reading]], Sequence[Kept | Exception]]

log = structlog.get_logger(__name__)

FIRST_WAIT: Final = 0.2
"""Seconds before the database is tried again; each further wait is twice as long,"""
LONGEST_WAIT: Final = 5.0
"""but no longer than this."""
TRIAL_SECONDS: Final = 5.0
"""How long one trial may take."""
PORTION: Final = 500
"""Callbacks that the writer brings in at a time, between two batches of new ones."""
SAY_EVERY: Final = 60.0
"""Seconds between two lines on what the spool holds."""


def can_write(connection: Connection) -> None:
    """Fail where nothing could be kept: one write that changes nothing."""
    connection.exec_driver_sql(
        "UPDATE receiver_state SET oldest_revision = oldest_revision WHERE id = 0"
    )


class Outage:
    """Whether the database is away, and the one thread that tries it and drains the spool."""

    def __init__(self, engine: Engine, spool: Spool | None, read: Read, ledger: Ledger) -> None:
        self.spool = spool
        self.ledger = ledger
        self.is_on = False
        self.line = Line(engine)
        self.prepare: Callable[[], object] | None = None
        self._read = read
        self._since = 0.0
        self._said = 0.0
        self._brought = 0
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stopping = threading.Event()

    def notice(self, error: Exception) -> None:
        """Take note of what kept the database from taking a transaction.

        Where others only got in the way too often it is not away, and takes the next.
        """
        if is_transient(error):
            log.error("transaction given up", reason=reason(error))
            self._wake.set()
        else:
            self.begin(reason(error))

    def begin(self, why: str) -> None:
        """Say that the database is away; only the first one is heard."""
        with self._lock:
            if self.is_on:
                return
            self.is_on = True
            self._since = self._said = time.monotonic()
        log.error("database away", reason=why, spool=None if self.spool is None else "in use")
        self._wake.set()

    def stop(self) -> None:
        """Let the thread end."""
        self._stopping.set()
        self._wake.set()

    def run(self, keep: Keep) -> None:
        """Try the database while it is away, drain the spool while it is not, until stopped.

        `keep` hands readings to the writer and returns once they are committed.
        """
        wait = FIRST_WAIT
        while not self._stopping.is_set():
            self._say()
            if self.is_on:
                self._stopping.wait(wait)
                back = not self._stopping.is_set() and self._try()
                wait = FIRST_WAIT if back else min(2 * wait, LONGEST_WAIT)
            elif self.spool is not None and self.spool.callbacks:
                self._bring_in(self.spool, keep)
            elif self.spool is not None and self.spool.trouble:
                self._stopping.wait(LONGEST_WAIT)
                self.spool.check()
            else:
                self._wake.wait()
                self._wake.clear()
        self.line.close()

    def _try(self) -> bool:
        """Say whether the database is back: it takes the first callback that waits."""
        try:
            if self.prepare is not None:
                self.prepare()
                self.prepare = None
            portion = self.spool.portion(1) if self.spool is not None else None
            if portion is None or self.spool is None:
                self.line.transaction(can_write, TRIAL_SECONDS)
            else:
                readings = [self._read(callback) for callback in portion.callbacks]
                kept = self.line.transaction(lambda c: store.keep(c, readings), TRIAL_SECONDS)
                self.ledger.keep(readings, kept)
                # The database is back, whether or not the spool's disk has room to forget it.
                with suppress(SpoolError):
                    self.spool.forget(portion)
                    self._brought += len(readings)
        except Exception as error:  # noqa: BLE001 - whatever it is, the thread must live to try again
            if isinstance(error, ReceiverError) or passes(error):
                log.debug("database still away", reason=reason(error))
                return False
            # It answers, and refuses this one: the writer finds out what to do about it.
        self.is_on = False
        log.warning("database back", seconds=round(time.monotonic() - self._since, 1))
        return True

    def _bring_in(self, spool: Spool, keep: Keep) -> None:
        """Bring one portion in."""
        try:
            portion = spool.portion(PORTION)
            if portion is None:
                return
            kept = keep([self._read(callback) for callback in portion.callbacks])
            refused = [
                (position, str(value))
                for position, value in zip(portion.positions, kept, strict=True)
                if isinstance(value, Exception)
            ]
            spool.forget(portion, refused)
        except SpoolError as error:
            log.error("spool cannot be drained", reason=str(error))
            self._stopping.wait(LONGEST_WAIT)
        except Exception as error:  # noqa: BLE001 - the thread must live to try again
            if not self._stopping.is_set():
                self.notice(error)
            return
        else:
            self._brought += len(kept) - len(refused)
        if not spool.callbacks:
            log.warning("spool drained", callbacks=self._brought)
            self._brought = 0

    def _say(self) -> None:
        """Say once a minute what the spool holds, while it holds anything."""
        now = time.monotonic()
        if self.spool is None or not self.spool.callbacks or now - self._said < SAY_EVERY:
            return
        self._said = now
        held = self.spool.held()
        log.warning(
            "spool holds callbacks",
            callbacks=held.callbacks,
            bytes=held.bytes,
            oldest_seconds=held.oldest_seconds,
            away=self.is_on,
        )
