"""Addresses of callers, and the networks they are in."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ipaddress import IPv4Network, IPv6Network


MAX_ADDRESS_LENGTH: Final = 100
"""The most characters of what may be an address, with brackets, zone and port. A header may be a
thousand times as long, and what is read is remembered."""


def plain_address(text: str) -> IPv4Address | IPv6Address | None:
    """Read an address as proxies write it: with a port, in brackets, with a zone; None for none."""
    return _short_address(text) if len(text) <= MAX_ADDRESS_LENGTH else None


@functools.lru_cache(maxsize=4096)
def _short_address(text: str) -> IPv4Address | IPv6Address | None:
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


def within(address: str, networks: tuple[IPv4Network | IPv6Network, ...]) -> bool:
    """Say whether an address is in one of the networks; what is no address is in none."""
    parsed = plain_address(address)
    return parsed is not None and any(parsed in network for network in networks)


def client(
    peer: str, forwarded_for: Sequence[str], trusted: tuple[IPv4Network | IPv6Network, ...]
) -> str:
    """Return the address a request comes from.

    `X-Forwarded-For` is read from the right, for as long as the one who wrote it is trusted. An
    entry that is no address leaves the caller unknown, and "unknown" is in no network: to take
    the proxy's own address instead would make an outsider internal.
    """
    address = peer
    for hop in reversed(",".join(forwarded_for).split(",") if forwarded_for else ()):
        if not within(address, trusted):
            break
        if hop.strip():
            address = hop
    return _written(address) if len(address) <= MAX_ADDRESS_LENGTH else "unknown"


@functools.lru_cache(maxsize=4096)
def _written(text: str) -> str:
    parsed = _short_address(text)
    return "unknown" if parsed is None else str(parsed)


METADATA: Final = tuple(
    ip_network(network)
    for network in (
        "169.254.0.0/16",  # AWS, Azure, Google, Oracle, DigitalOcean; containers of AWS
        "fe80::/10",
        "fd00:ec2::/32",  # AWS
        "fd20:ce::/32",  # Google
        "100.100.100.200/32",  # Alibaba
        "168.63.129.16/32",  # Azure's host
        "192.0.0.192/32",  # Oracle
    )
)
"""Where clouds tell a machine of itself, its secrets among that (documented by each)."""
NAT64: Final = ip_network("64:ff9b::/96")


def is_metadata(address: IPv4Address | IPv6Address) -> bool:
    """Say whether an address is one of clouds' metadata, also written as one of IPv6."""
    inside: IPv4Address | IPv6Address | None = None
    if isinstance(address, IPv6Address):
        inside = address.ipv4_mapped or address.sixtofour
        if address in NAT64:
            inside = IPv4Address(int(address) & 0xFFFFFFFF)
    return any(one in network for one in {address, inside or address} for network in METADATA)
