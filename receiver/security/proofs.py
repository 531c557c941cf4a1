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
    scheme, _, given = header.partition(" ")
    return find(keys, given.strip()) if scheme.lower() == "bearer" else None


# Signatures. None of these covers the body: what they prove is who once wrote the header.

FRESH: Final = timedelta(minutes=60)
"""How old a signed time may be: a callback is repeated for at least 21 minutes (7 times, 3 minutes
apart; documented), perhaps with its first time (unknown)."""
AHEAD: Final = timedelta(minutes=5)
"""How far a signed time may be in the future: as far as two clocks may be from each other."""


def fresh(timestamp: str, now: datetime) -> bool:
    """Say whether Unix seconds or milliseconds, as digits, are FRESH at an aware `now`.

    And no more than AHEAD of it: what is dated ahead is good for longer.
    """
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) in {10, 13}):
        return False
    age = now - datetime.fromtimestamp(int(timestamp[:10]), UTC)
    return -AHEAD <= age <= FRESH


# Names of ours

UNOWNED: Final = ("localhost", "local", "internal", "home.arpa", "svc", "cluster.local")
"""Below these no stranger can have a name (RFC 6761, 6762, 8375; `internal`: ICANN; Kubernetes)."""


def is_ours(host: str, names: Iterable[str]) -> bool:
    """Say whether a Host header names us: an address, a name inside a network, or one of `names`.

    A stranger's page can point a name of its own at an address inside, and so read there what the
    browser may (DNS rebinding); the header says which name that was. A name of one label, or below
    one that nobody can register, is no stranger's. Without the header no browser asks.
    """
    name = host.strip().lower()
    if not name:
        return True
    if len(name) > LONGEST_NAME or plain_address(name) is not None:
        return len(name) <= LONGEST_NAME
    name = name.partition(":")[0].removesuffix(".")
    within_ours = "." not in name or name.endswith(tuple(f".{end}" for end in UNOWNED))
    return within_ours or name in {known.lower().removesuffix(".") for known in names}


LONGEST_NAME: Final = 300
"""Characters of a Host header: a name has 253 at most."""


def forwarded_https(headers: Sequence[str]) -> bool:
    """Say whether `X-Forwarded-Proto` headers say https, in any case; the caller's hop is first."""
    return ",".join(headers).partition(",")[0].strip().lower() == "https"
