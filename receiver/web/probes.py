"""Probes: requests that say nothing and are answered 200, counted by their method.

A GET without a query is one, and it is also what becomes of a POST on the way through a redirect
(301, 302 and 303 let the caller come again by GET and without its body): then reports are lost
while every answer is a 200. One such request is somebody who looks whether the URL is there; the
second within an hour is logged, with what to check.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import structlog

if TYPE_CHECKING:
    from receiver.statistics import Counters


log = structlog.get_logger(__name__)

WINDOW: Final = 3600.0
"""Seconds in which one request by GET is nobody's business."""
CHECK: Final = (
    "is the URL registered with http:// where your proxy redirects to https://, or with another "
    "host name or path than the one that answers? A redirect turns POST into GET and takes the "
    "body: register the last URL, which `receiver urls` prints and `receiver doctor` tries"
)


class Probes:
    """Counts probes in the counters of a process; for the event loop only."""

    def __init__(self, counters: Counters) -> None:
        self.counters = counters
        self._by_get: dict[tuple[str, str], tuple[float, int]] = {}

    def count(self, provider: str, account: str, method: str, now: float | None = None) -> None:
        """Count a probe of an account of a provider of ours.

        `now` is seconds of a clock that never steps; without it, the machine's.
        """
        self.counters.probed(provider, method)
        if method != "GET":
            return
        now = time.monotonic() if now is None else now
        began, often = self._by_get.get((provider, account), (now, 0))
        if now - began >= WINDOW:
            began, often = now, 0
        self._by_get[provider, account] = began, often + 1
        if often == 1:
            log.warning("calls by GET say nothing", provider=provider, account=account, check=CHECK)
