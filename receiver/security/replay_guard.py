"""Replay protection for signatures that do not cover the body: each is good for one body.

A replay key names such a signature, or its nonce. The keys are in memory, of this process alone,
and no more than a fixed number: authentication needs no database. Only who can sign adds one, so
nobody else can push out what is remembered.
"""

from __future__ import annotations

from collections import OrderedDict
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from receiver.security.proofs import MAX_AGE, MAX_AHEAD

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime


MAX_KEYS: Final = 250_000
"""The replay keys that are remembered at most; the oldest go first."""
REMEMBERED_FOR: Final = MAX_AHEAD + MAX_AGE
"""How long a replay key is remembered: as long as what is dated as far ahead as may be is fresh."""


class ReplayGuard:
    """Remembers which body each replay key came with."""

    def __init__(self, limit: int = MAX_KEYS) -> None:
        self.limit = limit
        self._bodies: OrderedDict[bytes, tuple[bytes, datetime]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._bodies)

    def admit(self, provider: str, replay_keys: Iterable[str], body: bytes, now: datetime) -> bool:
        """Say whether all replay keys are new, or came with this body; remember them if so.

        `now` is aware. The same body again is a repeat, and is right.
        """
        self._forget(now)
        digest = blake2b(body, digest_size=16).digest()
        keys = [blake2b(f"{provider} {m}".encode(), digest_size=16).digest() for m in replay_keys]
        if any(self._bodies.get(key, (digest,))[0] != digest for key in keys):
            return False
        for key in keys:
            self._bodies.setdefault(key, (digest, now))
        return True

    def _forget(self, now: datetime) -> None:
        """Forget what is no longer fresh, and the oldest of too many."""
        while self._bodies:
            _, since = next(iter(self._bodies.values()))
            if len(self._bodies) < self.limit and now - since <= REMEMBERED_FOR:
                return
            self._bodies.popitem(last=False)
