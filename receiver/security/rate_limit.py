"""Rate limit on failed attempts: an address that fails again and again is told to wait.

Pure: the clock is passed in. In memory, of this process alone, and no more than a fixed number of
addresses: a caller who has many of them costs no more memory than one who has few.
"""

from __future__ import annotations

import functools
import math
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import Final

MAX_FAILURES: Final = 20
"""The failures of an address within WINDOW_SECONDS from which on it is told to wait."""
WINDOW_SECONDS: Final = 60.0
"""The seconds in which failures are counted, and those between two log lines about one address."""
MAX_ADDRESSES: Final = 10_000
"""The addresses that are remembered at most, some 12 MB; the one that failed longest ago goes."""
MAX_LOG_LINES: Final = 100
"""The log lines within WINDOW_SECONDS at most, about all addresses together."""
IPV6_PREFIX_BITS: Final = 64
"""The leading bits of an IPv6 address that count: whoever has one address has its network."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What is to be done about one failure."""

    retry_after: int | None
    """Whole seconds to wait; None where it is only refused."""
    unlogged: int
    """Failures of the address to mention in the next log line; 0 suppresses that line."""


@dataclass(slots=True)
class _Address:
    times: deque[float] = field(default_factory=lambda: deque(maxlen=MAX_FAILURES))
    logged_at: float = -math.inf
    unlogged: int = 0


class FailureLimiter:
    """The latest failures of each address."""

    def __init__(self, limit: int = MAX_ADDRESSES) -> None:
        self.limit = limit
        self._addresses: OrderedDict[str, _Address] = OrderedDict()
        self._logged: deque[float] = deque(maxlen=MAX_LOG_LINES)

    def __len__(self) -> int:
        return len(self._addresses)

    def add(self, address: str, now: float) -> Failure:
        """Count a failure of an address, in any text; `now` is seconds of a clock that never steps.

        A failure that is told to wait counts like any other.
        """
        key = network(address)
        history = self._addresses.setdefault(key, _Address())
        self._addresses.move_to_end(key)
        if len(self._addresses) > self.limit:
            self._addresses.popitem(last=False)
        history.times.append(now)
        history.unlogged += 1
        return Failure(
            retry_after=_wait(history.times, now), unlogged=self._due_for_log(history, now)
        )

    def _due_for_log(self, history: _Address, now: float) -> int:
        full = len(self._logged) == MAX_LOG_LINES and now - self._logged[0] < WINDOW_SECONDS
        if full or now - history.logged_at < WINDOW_SECONDS:
            return 0
        self._logged.append(now)
        unlogged, history.logged_at, history.unlogged = history.unlogged, now, 0
        return unlogged


def _wait(times: deque[float], now: float) -> int | None:
    """Return the seconds after which one more failure would not be one too many."""
    if len(times) < MAX_FAILURES or now - times[0] >= WINDOW_SECONDS:
        return None
    return max(1, math.ceil(times[1] + WINDOW_SECONDS - now))


@functools.lru_cache(maxsize=4096)
def network(address: str) -> str:
    """Return what an address is counted as: itself, or the /64 that an IPv6 address is in.

    What is no address is counted as it is.
    """
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address):
        return str(IPv6Network((int(parsed), IPV6_PREFIX_BITS), strict=False))
    return str(parsed)
