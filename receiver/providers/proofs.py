"""Proofs of providers: signatures and fixed values in the headers of their callbacks.

What they have in common. Which there are, and how each is made, each provider's module says.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from receiver.providers.provider import Setting


def _no_replay_keys(_headers: Mapping[str, str]) -> tuple[str, ...]:
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheme:
    """One way to prove who calls: the settings it takes, and what it asks of the headers."""

    settings: tuple[Setting, ...]
    """What it must know of us; a scheme of which one is not set is not asked for."""
    headers: tuple[str, ...]
    """The names of the headers it reads, in lower case."""
    expected: str
    """What it asks for, in words."""
    holds: Callable[[Mapping[str, str], Sequence[str], datetime], bool]
    """Says whether headers, of lower-case names, prove the caller to who knows the values of the
    settings, at an aware time."""
    sign: Callable[[Sequence[str], datetime, str], dict[str, str]]
    """Makes headers that hold, of the values of the settings, an aware time and a nonce; it is what
    `receiver simulate` calls with."""
    replay_keys: Callable[[Mapping[str, str]], tuple[str, ...]] = _no_replay_keys
    """Returns what of the headers may come again with the same body only: whoever overhears a
    signature that does not cover the body could send any other with it."""


def fixed_value(header: str, setting: Setting) -> Scheme:
    """Return the scheme of one header that always has the same value."""

    def holds(headers: Mapping[str, str], secrets: Sequence[str], _now: datetime) -> bool:
        return same(headers.get(header.lower(), ""), secrets[0])

    def sign(secrets: Sequence[str], _now: datetime, _nonce: str) -> dict[str, str]:
        return {header: secrets[0]}

    return Scheme(
        settings=(setting,),
        headers=(header.lower(),),
        expected=f"`{header}` with the value we know",
        holds=holds,
        sign=sign,
    )


def same(offered: str, secret: str) -> bool:
    """Compare what a caller offered with our secret, in a time that tells nothing of it."""
    return hmac.compare_digest(offered.encode("utf-8", "surrogatepass"), secret.encode())


Demand = Sequence[tuple[Scheme, Sequence[str]]]
"""Schemes that must all hold, each with what we know."""


def demands(groups: Sequence[Sequence[Scheme]], value: Callable[[str], str]) -> Sequence[Demand]:
    """Return the groups of schemes of which one is demanded, by what is set.

    `value` returns a setting, empty where it is not set. A scheme that lacks a setting is left
    out, and so is a group without schemes.
    """
    demanded_ = [
        [
            (scheme, values)
            for scheme in group
            if all(values := [value(setting.name) for setting in scheme.settings])
        ]
        for group in groups
    ]
    return [group for group in demanded_ if group]


def prove(
    demanded: Sequence[Demand], headers: Mapping[str, str], now: datetime
) -> tuple[str, ...] | None:
    """Return the replay keys of a demand that is met; None where none is. No demand: no keys.

    `headers` have lower-case names; `now` is aware. A key may come again with its body only.
    """
    met: tuple[str, ...] | None = None if demanded else ()
    for demand in demanded:
        if all([scheme.holds(headers, known, now) for scheme, known in demand]):  # noqa: C419
            met = tuple(key for scheme, _ in demand for key in scheme.replay_keys(headers))
    return met


def expected(demanded: Sequence[Demand]) -> str:
    """Return what would meet the demands, in words; empty where nothing is demanded."""
    sentences = [" and ".join(scheme.expected for scheme, _ in demand) for demand in demanded]
    return f"Expected {', or '.join(sentences)}." if sentences else ""
