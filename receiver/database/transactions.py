"""Transactions that are tried again, and a connection that can be cut from outside."""

from __future__ import annotations

import os
import random
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar

from sqlalchemy.exc import DBAPIError, OperationalError

from receiver.database import postgresql
from receiver.database.column_types import SQLITE
from receiver.database.engine import CANCEL_SECONDS
from receiver.database.failures import (
    RaceError,
    is_data,
    is_transient,
)

if TYPE_CHECKING:
    import psycopg
    from sqlalchemy import Connection, Engine


T = TypeVar("T")
MAX_ATTEMPTS: Final = 10
"""The tries of a transaction that others got in the way of, at most."""

# Read-only queries: `engine.execution_options(**READ)`. SQLite then takes no write lock.
READ: Final = {"receiver_read": True}

# Recomputable transactions: committed without waiting for the disk, since what a power cut takes
# is derived again. Everything else waits.
DERIVED: Final = {"receiver_derived": True}


def retry(work: Callable[[], T], attempts: int = MAX_ATTEMPTS) -> T:
    """Do a whole transaction, again after a deadlock or the like, bounded."""
    for attempt in range(1, attempts):
        try:
            return work()
        except (DBAPIError, RaceError) as error:
            if not is_transient(error):
                raise
            # Whoever collided with us should not do so again at the same moment.
            time.sleep(random.uniform(0, 0.01 * attempt))  # noqa: S311
    return work()


def transact(engine: Engine, work: Callable[[Connection], T]) -> T:
    """Commit the work in a transaction of its own, again after a deadlock or the like."""

    def once() -> T:
        with engine.begin() as connection:
            return work(connection)

    return retry(once)


class _ConnectionEnds:
    """How a connection is cut, at the server's end and at ours, from any thread."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection
        # Of our own: the driver's may be closed, and its number used again, at any moment.
        self.socket = socket.socket(fileno=os.dup(connection.fileno()))

    def cut(self) -> None:
        """Cancel what the server does, where it can be reached, and end the connection."""
        with suppress(Exception):
            self.connection.cancel_safe(timeout=CANCEL_SECONDS)
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)


class InterruptibleConnection:
    """One connection that a thread keeps between its transactions, and that another can cut.

    Nothing else ends the wait for a database that neither answers nor goes away. A pool would ask
    the database whether it is there before each transaction. What is cut is cancelled first: a
    server that waits, for a lock or for a standby, does not see that nobody listens any more, and
    each new try would leave one more of its processes behind.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._connection: Connection | None = None
        self._ends: _ConnectionEnds | None = None
        self._until: float | None = None
        self._cut = False

    def transaction(self, work: Callable[[Connection], T], seconds: float) -> T:
        """Commit the work, again after races, deadlocks and serialization failures.

        After `seconds`, beside what connecting takes, it may be cut. A connection that was lost
        meanwhile is made anew, once.
        Raises what the database raises; whether a lost COMMIT was one is then unknown.
        """
        return retry(lambda: self._patiently(work, seconds))

    def _patiently(self, work: Callable[[Connection], T], seconds: float) -> T:
        old = self._connection is not None
        try:
            return self._once(work, seconds)
        except DBAPIError as error:
            if not (old and error.connection_invalidated and not self._cut):
                raise
            return self._once(work, seconds)

    def _once(self, work: Callable[[Connection], T], seconds: float) -> T:
        if self._cut:  # a moment after the last one had ended
            self.close()
        connection = self._connection or self._connect()
        self._cut = False
        self._until = time.monotonic() + seconds
        try:
            with connection.begin():
                result = work(connection)
            self._check_uncut()
        except DBAPIError as error:
            # A server that may only be read is best left, too; and a new connection has the rights
            # and the search path of today.
            if (
                self._cut
                or error.connection_invalidated
                or not (is_data(error) or is_transient(error))
            ):
                self.close()
            raise
        finally:
            self._until = None
        return result

    def _check_uncut(self) -> None:
        """Raise OperationalError where a transaction was cut that nevertheless seems committed.

        A server that was to wait for its standby answers so when the wait is cancelled.
        """
        if self._cut:
            raise OperationalError("COMMIT", None, TimeoutError("cut off: it took too long"))

    def _connect(self) -> Connection:
        connection = self.engine.connect()
        if connection.dialect.name != SQLITE:
            self._ends = _ConnectionEnds(postgresql.driver(connection))
        self._connection = connection
        return connection

    def cut_if_overdue(self) -> None:
        """End a transaction that takes too long, from any thread. SQLite's never wait so long."""
        until, ends = self._until, self._ends
        if until is not None and ends is not None and not self._cut and time.monotonic() > until:
            self._cut = True
            threading.Thread(target=ends.cut, name="cut", daemon=True).start()

    def hurry(self, seconds: float) -> None:
        """Let the transaction that is under way take no longer than this from now on."""
        until = self._until
        if until is not None:
            self._until = min(until, time.monotonic() + seconds)

    def close(self) -> None:
        """Close the connection; the next transaction makes another."""
        connection, self._connection = self._connection, None
        ends, self._ends = self._ends, None
        if ends is not None:
            ends.socket.close()
        if connection is not None:
            with suppress(DBAPIError):
                connection.invalidate()
            with suppress(DBAPIError):
                connection.close()
