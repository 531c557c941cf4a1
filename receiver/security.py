"""Ways to prove who calls: pure answers, in constant time. Nothing here does I/O."""

from __future__ import annotations

import base64
import binascii
import functools
import hmac
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from ipaddress import IPv4Network, IPv6Network


class Named(Protocol):
    """A secret and the name it goes by."""

    @property
    def name(self) -> str:
        """Account, user or key name; empty where it has none."""

    @property
    def value(self) -> str:
        """The secret."""


def find(secrets: Iterable[Named], given: str) -> Named | None:
    """Return the secret that was given, or None; every one is compared, in constant time."""
    offered = given.encode("utf-8", "surrogatepass")
    right = None
    for secret in secrets:
        if hmac.compare_digest(secret.value.encode(), offered):
            right = secret
    return right


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


@functools.lru_cache(maxsize=4096)
def _address(text: str) -> IPv4Address | IPv6Address | None:
    """Read an address as proxies write it: with a port, in brackets, with a zone."""
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


@functools.lru_cache(maxsize=4096)
def within(address: str, networks: tuple[IPv4Network | IPv6Network, ...]) -> bool:
    """Say whether an address is in one of the networks; what is no address is in none."""
    found = _address(address)
    return found is not None and any(found in network for network in networks)


def client(
    peer: str, forwarded_for: Sequence[str], trusted: tuple[IPv4Network | IPv6Network, ...]
) -> str:
    """Return the address a request comes from.

    `X-Forwarded-For` is read from the right, for as long as the one who wrote it is trusted. An
    entry that is no address leaves the caller unknown, and "unknown" is in no network: to take
    the proxy's own address instead would make a stranger internal.
    """
    address = peer
    for hop in reversed(",".join(forwarded_for).split(",")):
        if not within(address, trusted):
            break
        if hop.strip():
            address = hop
    found = _address(address)
    return "unknown" if found is None else str(found)
