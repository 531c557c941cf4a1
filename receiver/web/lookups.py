"""Questions to the database: in threads, few at once, each for a bounded time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

import structlog
from anyio import CapacityLimiter, to_thread
from sqlalchemy.exc import SQLAlchemyError

from receiver.database import is_cut, is_data, reason, retry, time_limit
from receiver.domain import UnavailableError, UnreadableError
from receiver.web.problems import RETRY_AFTER, Problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection, Engine


T = TypeVar("T")

log = structlog.get_logger(__name__)

AT_ONCE: Final = 8
"""How many look-ups the database is asked at once: the writer must find a connection free."""
TOO_SLOW: Final = f"The database took longer than {time_limit.MAX_LOOKUP_SECONDS} s. Ask for less."
NOT_ASKABLE: Final = "No database can be asked for this: it holds what none could keep."


class Lookups:
    """Reads from the database off the event loop."""

    def __init__(self, reader: Engine) -> None:
        self.reader = reader
        self.limiter = CapacityLimiter(AT_ONCE)

    async def look(self, work: Callable[[Connection], T]) -> T:
        """Return what the work reads.

        Raises UnavailableError where the database is away or too slow, UnreadableError where it
        can never be asked that.
        """

        def read() -> T:
            with self.reader.connect() as connection, time_limit.limited(connection):
                return work(connection)

        return await self.run(read)

    async def run(self, work: Callable[[], T]) -> T:
        """Return what work that finds its connection itself comes to; raises as `look` does."""
        try:
            return await to_thread.run_sync(retry, work, limiter=self.limiter)
        except SQLAlchemyError as error:
            if is_cut(error):
                raise UnavailableError(TOO_SLOW) from None
            if is_data(error):
                raise UnreadableError(NOT_ASKABLE) from None
            log.error("database away", reason=reason(error))
            raise UnavailableError("The database is away.") from None

    async def ask(self, work: Callable[[Connection], T]) -> T:
        """Return what the work reads. Raises the 503 and the 422."""
        try:
            return await self.look(work)
        except UnreadableError as error:
            raise Problem(422, str(error)) from None
        except UnavailableError as error:
            raise Problem(503, str(error), RETRY_AFTER) from None
