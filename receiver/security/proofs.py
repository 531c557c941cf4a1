"""Proofs in `Authorization`: Basic and bearer, compared in constant time."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from receiver.security.addresses import plain_address
from receiver.security.secrets import Named, find

if TYPE_CHECKING:
    from collections.abc import Iterable


def basic(pairs: Iterable[Named], header: str) -> bool:
    """Say whether an Authorization header is Basic (RFC 7617) with one of the pairs."""
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return False
    try:
        offered = base64.b64decode(encoded.strip(), validate=True)
    except (binascii.Error, ValueError):
        return False
    right = False
    for pair in pairs:
        right |= hmac.compare_digest(f"{pair.name}:{pair.value}".encode(), offered)
    return right


def bearer(keys: Iterable[Named], header: str) -> Named | None:
    """Return the key of an Authorization header (RFC 6750), or None."""
    scheme, _, credentials = header.partition(" ")
    return find(keys, credentials.strip()) if scheme.lower() == "bearer" else None


# Signatures. None of these covers the body: what they prove is who once wrote the header.

MAX_AGE: Final = timedelta(minutes=60)
"""How old a signed time may be: a callback is repeated for at least 21 minutes (7 times, 3 minutes
apart; documented), perhaps with its first time (unknown)."""
MAX_AHEAD: Final = timedelta(minutes=5)
"""How far a signed time may be in the future: as far as two clocks may be from each other."""


def fresh(timestamp: str, now: datetime) -> bool:
    """Say whether Unix seconds or milliseconds, as digits, are at most MAX_AGE before `now`.

    And no more than MAX_AHEAD after it, since what is dated ahead is good for longer. `now` is
    aware.
    """
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) in {10, 13}):
        return False
    age = now - datetime.fromtimestamp(int(timestamp[:10]), UTC)
    return -MAX_AHEAD <= age <= MAX_AGE


# Names of ours

UNOWNED: Final = ("localhost", "local", "internal", "home.arpa", "svc", "cluster.local")
"""The suffixes below which nobody outside can have a name (RFC 6761, 6762, 8375; `internal`: ICANN;
Kubernetes)."""


def is_ours(host: str, names: Iterable[str]) -> bool:
    """Say whether a Host header names us: an address, a name inside a network, or one of `names`.

    A page from outside can point a name of its own at an address inside, and so read there what the
    browser may (DNS rebinding); the header says which name that was. A name of one label, or below
    one that nobody can register, cannot be such a page's. Without the header no browser asks.
    """
    name = host.strip().lower()
    if not name:
        return True
    if len(name) > MAX_HOST_LENGTH or plain_address(name) is not None:
        return len(name) <= MAX_HOST_LENGTH
    name = name.partition(":")[0].removesuffix(".")
    within_ours = "." not in name or name.endswith(tuple(f".{suffix}" for suffix in UNOWNED))
    return within_ours or name in {own.lower().removesuffix(".") for own in names}


MAX_HOST_LENGTH: Final = 300
"""The most characters of a Host header that is looked at: a name has 253 at most."""


def forwarded_https(headers: Sequence[str]) -> bool:
    """Say whether `X-Forwarded-Proto` headers say https, in any case; the caller's hop is first."""
    return ",".join(headers).partition(",")[0].strip().lower() == "https"
