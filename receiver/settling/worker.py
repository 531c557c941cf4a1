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
SETTLE_AFTER: Final = 0.1
"""Seconds from a commit to settling, so that one settling serves many commits."""
LOOK_EVERY: Final = 1.0
"""Seconds between looks for what other programs inserted."""
LAST_SETTLING: Final = 2.0
"""Seconds that settling may take when stopping; the next start does what is left."""


class Settler:
    """This process's hand: settles what waits, and says nothing twice about the same trouble."""

    def __init__(self, engine: Engine, counters: Counters) -> None:
        self.engine = engine
        self.counters = counters
        self._attempt = Attempt("settling failed, will try again")

    def settle(self) -> float:
        """Settle one portion; return the seconds after which to look again.

        At once after a full portion, since more waits; soon where messages from before an upgrade
        are being counted, which must not hold up what arrives.
        """
        done = self._attempt(lambda: settle.settle_one(self.engine), None)
        if done is None:
            return LOOK_EVERY
        self.counters.write(self.engine)
        self.counters.delivered(done.took)
        if done.messages or done.reports:
            log.debug("settled", messages=done.messages, reports=done.reports)
        if done.full:
            return 0
        return SETTLE_AFTER if done.older else LOOK_EVERY
