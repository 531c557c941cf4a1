"""Worker that settles in the background, one portion at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog

from receiver.database import Attempt
from receiver.settling import settle

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from receiver.statistics import Counters


log = structlog.get_logger(__name__)
SETTLE_AFTER_SECONDS: Final = 0.1
"""The seconds from a commit to settling, so that one settling serves many commits."""
CHECK_SECONDS: Final = 1.0
"""The seconds between checks for what other programs inserted."""
LAST_SETTLING_SECONDS: Final = 2.0
"""The seconds that settling may take when stopping; the next start does what is left."""


class Settler:
    """Runs settling in the background; logs a failure once, not at every retry."""

    def __init__(self, engine: Engine, counters: Counters) -> None:
        self.engine = engine
        self.counters = counters
        self._attempt = Attempt("settling failed, will try again")

    def settle(self) -> float:
        """Settle one portion; return the seconds after which to settle again.

        At once after a full portion, since more waits; soon where messages from before an upgrade
        are being counted, which must not hold up what arrives.
        """
        done = self._attempt(lambda: settle.settle_one(self.engine), None)
        if done is None:
            return CHECK_SECONDS
        self.counters.write(self.engine)
        self.counters.delivered(done.took)
        if done.messages or done.reports:
            log.debug("settled", messages=done.messages, reports=done.reports)
        if done.full:
            return 0
        return SETTLE_AFTER_SECONDS if done.older else CHECK_SECONDS
