"""Limits of what strangers may hold and send over HTTP: bytes, headers, connections, time."""

from __future__ import annotations

import math
import resource
from typing import Final

MAX_HEAD: Final = 65_536
"""Bytes of a request's first line and headers, about; and of its trailers."""
PER_BYTE: Final = 8
"""Bytes of chunks' own lines that each byte of a body may bring: `1`, its byte, and line breaks."""
PIECE: Final = 512
"""Bytes that are read at a time: each request in them costs work before the first is answered."""
UNASKED: Final = 16 * 1024
"""Bytes that are taken from a connection at a time; each may hold so many that nobody asked for."""
ASKED: Final = 64 * 1024
"""And of a body that somebody reads, or that is dropped."""
OWED_RATE: Final = 32 * 1024 * 1024
"""Bytes a second that are dropped of bodies after their answers, on all connections together."""
MOST_OWED: Final = 256
"""Connections on which that is done; one more costs the one whose answer is oldest."""
TURN_SECONDS: Final = 0.0005
"""How long one connection may keep the others waiting with what it sent."""
MAX_HEADERS: Final = 200
"""Headers and trailers of a request: each costs many times its bytes."""
MAX_CONNECTIONS: Final = 10_000
SPARE_FILES: Final = 200
"""Files that are kept for the database, the spool and the log."""


def allow_connections() -> int:
    """Let this process have as many files as it may; return how many connections that allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_CONNECTIONS + SPARE_FILES
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
        soft = allowed
    most = wanted if soft == resource.RLIM_INFINITY else min(wanted, soft)
    return max(1, most - SPARE_FILES)


class Pace:
    """When what is dropped may come: so many bytes a second, in the order of asking."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self.free_at = -math.inf

    def wait(self, size: int, now: float) -> float:
        """Return after how many seconds more may come from who has just sent `size` bytes.

        `now` is seconds of a clock that never steps.
        """
        self.free_at = max(self.free_at, now) + size / self.rate
        return self.free_at - now
