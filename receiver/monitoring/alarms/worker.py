"""Worker that evaluates alarms while `serve` runs: once a minute, in a thread of its own.

Every process stores the state of its spool. The one that holds the lease evaluates, stores the
alarms, and notifies RECEIVER_ALARM_URL of what changed. What it could not be notified of is tried
again at the next evaluations, some times. While the database is away nothing is
shared: each folder of spool files has one process that tells of that.
"""

from __future__ import annotations

import functools
import os
import secrets
import socket
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import structlog
from sqlalchemy.exc import DBAPIError

from receiver.database import DERIVED, READ, SQLITE, Background, passes, reason, sqlstate, transact
from receiver.domain import AlarmKey
from receiver.monitoring.alarms import evaluate, notifier, store

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection, Engine

    from receiver.domain import Alarm
    from receiver.ingest.spool import Held, Spool
    from receiver.settings import Settings


log = structlog.get_logger(__name__)

STATEMENT_SECONDS: Final = 20
"""The seconds that one statement of an evaluation may take on PostgreSQL."""
MAX_TRIES: Final = 60
"""The tries to notify of an alarm after which that is given up, until its state changes."""
MIN_MISSED: Final = 2
"""The evaluations in a row that must fail before the database counts as unavailable."""
STOP_SECONDS: Final = 1.0
"""The seconds that stopping waits; a POST under way is left to itself."""
CANCELLED: Final = "57014"
"""The SQLSTATE of a statement that took longer than LOOK_SECONDS: slow is not away."""
DATABASE_AWAY: Final = AlarmKey("database_away")


class AlarmWorker:
    """Evaluates alarms in the background and notifies of them, one process at a time.

    Start it once; it ends with `stop`, or with the process.
    """

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        spool: Spool | None,
        refusal: Callable[[], str] = str,
    ) -> None:
        """`refusal` says why callbacks are not taken, though all else may be; empty if they are."""
        self.settings = settings
        self.engine = engine
        self.spool = spool
        self.refusal = refusal
        self.holder = f"{socket.gethostname()} {os.getpid()} {secrets.token_hex(4)}"
        self.failed = 0
        self.missed = 0
        self.spool_was_stored = True  # by whoever had this file before
        self.away_alarm: Alarm | None = None
        self.is_away_notified = False
        self.tries: Counter[tuple[AlarmKey, str]] = Counter()
        self._background = Background(
            "watch",
            self.evaluate,
            settings.alarm_every,
            "looking for alarms failed, will try again",
            self._release_lease,
        )
        self._stopping = self._background.stopping

    def start(self) -> None:
        """Begin to evaluate, first when what waited has had time to be settled."""
        self._background.start(self.settings.alarm_every)

    def stop(self) -> None:
        """Stop evaluating, and let another process do it."""
        self._background.stop(STOP_SECONDS)

    def _release_lease(self) -> None:
        if not self.failed:
            try:
                self._write(lambda c: store.release_lease(c, self.holder))
            except Exception as error:  # noqa: BLE001 - the next takes it when our time is over
                log.debug("watch not given back", reason=reason(error))

    def evaluate(self) -> None:
        """Evaluate the alarms once, and notify of what changed. Raises nothing."""
        why = self.refusal()
        try:
            self._store_spool_state()
            if self._take_lease():
                self._evaluate()
            self.failed = 0
        except Exception as error:  # noqa: BLE001 - the thread must live to look again
            self.failed += 1
            log.warning("looking for alarms failed, will try again", reason=reason(error))
            why = why or (reason(error) if _is_unreachable(error) else "")
        self._miss(why)
        try:
            self._notify_database_away()
            if not self.failed:
                self._notify_pending()
        except Exception as error:  # noqa: BLE001 - the same
            log.warning("alarms not told, will try again", reason=reason(error))

    def _take_lease(self) -> bool:
        """Take the lease on evaluating, for two intervals; False where another process has it."""
        seconds = 2 * self.settings.alarm_every + notifier.MAX_SECONDS
        return bool(self._write(lambda c: store.take_lease(c, self.holder, seconds)))

    def _evaluate(self) -> None:
        with self.engine.execution_options(**READ).connect() as connection:
            if connection.dialect.name != SQLITE:
                connection.exec_driver_sql(f"SET LOCAL statement_timeout = '{STATEMENT_SECONDS}s'")
            alarms = evaluate.evaluate_all(connection, self.settings)
        self._write(store.forget_spools)
        for alarm in self._write(lambda c: store.update_states(c, alarms)):
            if alarm.is_raised:
                log.warning("alarm", **alarm.key._asdict(), state=alarm.state.value)
            else:
                log.info("no alarm", **alarm.key._asdict(), state=alarm.state.value)

    def _store_spool_state(self) -> None:
        """Store what the spool holds, and that it holds nothing any more."""
        if self.spool is None or self.spool.own is None:
            return
        held = _spool_state(self.spool.held())
        if held is not None or self.spool_was_stored:
            place = f"{socket.gethostname()}:{self.spool.own}"
            self._write(lambda c: store.write_spool_state(c, place, held))
            self.spool_was_stored = held is not None

    def _notify_pending(self) -> None:
        """Notify of pending alarms, up to the first that fails: then the URL is unreachable."""
        if self.settings.alarm_url is None:
            return
        with self.engine.execution_options(**READ).connect() as connection:
            unnotified = store.unnotified(connection)
        waiting = {(alarm.key, alarm.state.value): alarm for alarm in unnotified}
        self.tries = Counter({key: self.tries[key] for key in waiting})
        for key, alarm in waiting.items():
            if self._stopping.is_set() or not self._take_lease():
                return
            if self.tries[key] >= MAX_TRIES:
                continue
            if not self._notify(alarm):
                self.tries[key] += 1
                return
            self._write(functools.partial(store.mark_notified, notified=alarm))

    def _notify(self, alarm: Alarm) -> bool:
        """Notify of one alarm; say whether that was accepted."""
        if self.settings.alarm_url is None:
            return False
        why = notifier.notify(self.settings.alarm_url, alarm)
        if why is not None:
            log.warning("alarm not told, will try again", name=alarm.name, reason=why)
        return why is None

    def _miss(self, why: str) -> None:
        """Raise the alarm where the database was unavailable at several evaluations in a row."""
        self.missed = self.missed + 1 if why else 0
        if self.missed < MIN_MISSED or self.away_alarm is not None:
            return
        held = self.spool.held().callbacks if self.spool is not None else 0
        self.away_alarm = DATABASE_AWAY.raised(
            datetime.now(UTC),
            f"The database is away; {held} callbacks wait in the spool of {socket.gethostname()}.",
            f"{why} Look at the database, its disk and the network; `/readyz` and the log say"
            " more.",
        )
        log.warning("alarm", name=DATABASE_AWAY.name, state=self.away_alarm.state.value, reason=why)

    def _notify_database_away(self) -> None:
        """Notify that the database is away, and that it is back; once for each folder of spools."""
        if self.away_alarm is None:
            return
        if not self.is_away_notified and self.missed and self._is_first_of_folder():
            self.is_away_notified = self._notify(self.away_alarm)
        if self.missed:
            return
        if not self.is_away_notified or self._notify(DATABASE_AWAY.clear("The database is back.")):
            self.away_alarm, self.is_away_notified = None, False

    def _is_first_of_folder(self) -> bool:
        return self.spool is None or self.spool.own == self.spool.path

    def _write(self, work: Callable[[Connection], Any]) -> Any:
        return transact(self.engine.execution_options(**DERIVED), work)


def _is_unreachable(error: Exception) -> bool:
    slow = isinstance(error, DBAPIError) and sqlstate(error) == CANCELLED
    return passes(error) and not slow


def _spool_state(held: Held) -> dict[str, Any] | None:
    """Return a spool's state as its table has it; None where it holds nothing."""
    if not (held.callbacks or held.refused or held.set_aside or held.trouble):
        return None
    message = f"it takes nothing: {held.trouble}" if held.trouble else held.refusal
    return {
        "callbacks": held.callbacks,
        "refused": held.refused,
        "set_aside": len(held.set_aside),
        "trouble": message,
    }
