"""What was signed before, and the body it came with: a signature that covers none is used once.

Kept in memory, of this process alone, and no more than a fixed number: authentication needs no
database. Only who can sign adds to it, so no stranger can push out what is remembered.
"""

from __future__ import annotations

from collections import OrderedDict
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from receiver.security.proofs import AHEAD, FRESH

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime


LIMIT: Final = 250_000
"""Marks that are remembered at most; the oldest go first."""
REMEMBERED: Final = AHEAD + FRESH
"""How long: for as long as what was signed as far ahead as may be is fresh."""


class ReplayGuard:
    """Remembers which body each mark of a signature came with."""

    def __init__(self, limit: int = LIMIT) -> None:
        self.limit = limit
        self._bodies: OrderedDict[bytes, tuple[bytes, datetime]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._bodies)

    def admit(self, provider: str, marks: Iterable[str], body: bytes, now: datetime) -> bool:
        """Say whether all marks are new, or came with the same body; remember them if so.

        `now` is aware. The same body again is a repeat, and is right.
        """
        self._forget(now)
        said = blake2b(body, digest_size=16).digest()
        keys = [blake2b(f"{provider} {m}".encode(), digest_size=16).digest() for m in marks]
        if any(self._bodies.get(key, (said,))[0] != said for key in keys):
            return False
        for key in keys:
            self._bodies.setdefault(key, (said, now))
        return True

    def _forget(self, now: datetime) -> None:
        """Forget what is no longer fresh, and the oldest of too many."""
        while self._bodies:
            _, since = next(iter(self._bodies.values()))
            if len(self._bodies) < self.limit and now - since <= REMEMBERED:
                return
            self._bodies.popitem(last=False)
