"""How often an address was refused lately: whoever fails again and again is told to wait.

Pure: the clock is passed in. In memory, of this process alone, and no more than a fixed number of
addresses: a stranger who has many of them costs no more memory than one who has few.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import Final

FAILURES: Final = 20
"""From this failure of an address within WINDOW on, it is told to wait."""
WINDOW: Final = 60.0
"""Seconds, also between two log lines about one address."""
ADDRESSES: Final = 10_000
"""Addresses that are remembered at most, some 12 MB; the one that failed longest ago goes first."""
LINES: Final = 100
"""Log lines within WINDOW at most, about whatever addresses."""
PREFIX: Final = 64
"""Bits of an IPv6 address that count: whoever has one address has the network around it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What is to be done about one failure."""

    retry_after: int | None
    """Whole seconds to wait; None where it is only refused."""
    unsaid: int
    """Failures of the address that no log line has told of, this one among them; 0: say nothing."""


@dataclass(slots=True)
class _Address:
    times: deque[float] = field(default_factory=lambda: deque(maxlen=FAILURES))
    said: float = -math.inf
    unsaid: int = 0


class FailureLimiter:
    """The latest failures of each address."""

    def __init__(self, limit: int = ADDRESSES) -> None:
        self.limit = limit
        self._addresses: OrderedDict[str, _Address] = OrderedDict()
        self._lines: deque[float] = deque(maxlen=LINES)

    def __len__(self) -> int:
        return len(self._addresses)

    def add(self, address: str, now: float) -> Failure:
        """Count a failure of an address, in any text; `now` is seconds of a clock that never steps.

        A failure that is told to wait counts like any other.
        """
        key = network(address)
        found = self._addresses.setdefault(key, _Address())
        self._addresses.move_to_end(key)
        if len(self._addresses) > self.limit:
            self._addresses.popitem(last=False)
        found.times.append(now)
        found.unsaid += 1
        return Failure(retry_after=_wait(found.times, now), unsaid=self._say(found, now))

    def _say(self, found: _Address, now: float) -> int:
        full = len(self._lines) == LINES and now - self._lines[0] < WINDOW
        if full or now - found.said < WINDOW:
            return 0
        self._lines.append(now)
        unsaid, found.said, found.unsaid = found.unsaid, now, 0
        return unsaid


def _wait(times: deque[float], now: float) -> int | None:
    """Return the seconds after which one more failure would not be one too many."""
    if len(times) < FAILURES or now - times[0] >= WINDOW:
        return None
    return max(1, math.ceil(times[1] + WINDOW - now))


def network(address: str) -> str:
    """Return what an address is counted as: itself, or the /64 that an IPv6 address is in.

    What is no address is counted as it is.
    """
    try:
        found = ip_address(address)
    except ValueError:
        return address
    if isinstance(found, IPv6Address):
        return str(IPv6Network((int(found), PREFIX), strict=False))
    return str(found)
