"""How many bytes of bodies may be under way, and whose: counted before they are taken.

A body counts from its announcement, or byte by byte where it announces nothing, until it is
answered. It is taken where none of the groups it belongs to (its provider, its address, each with
all sizes or one) then holds more than its share of what is left free. So whoever takes all he can
leaves room for the others, however many of him there are (dynamic thresholds: Choudhury and Hahne,
"Dynamic queue length thresholds for shared-memory packet switches", 1998), and bodies of one order
of size leave room for those of another: a flood of 8 MB each for batches of 100 KB. Small bodies
are always taken: connections bound them.

Pure: no clock, no network, no lock; all calls come from one thread.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from receiver.security import network

if TYPE_CHECKING:
    from collections.abc import Iterator


SMALL: Final = 16 * 1024
"""Bytes of a body that is always taken."""
LONGEST_BODIES: Final = 6
"""The budget in bodies of the longest that is taken: 48 MiB by default."""
LARGE: Final = 1024 * 1024
"""Bodies over this can take a second to read each;"""
FEW: Final = 3
"""so that many of a caller's, of one order of size, are under way at most: one waits for two."""


def order(size: int) -> int:
    """Return a size's order: 0 up to SMALL bytes, and one more for each factor of four."""
    return max(0, ((size - 1).bit_length() - (SMALL - 1).bit_length() + 1) // 2)


class Budget:
    """The bytes that all bodies may hold together, in one process.

    Of memory; the spool has one of its file's bytes.
    """

    def __init__(self, total: int, few: float = FEW) -> None:
        """Begin with nothing under way; `total` is in bytes, `few` in LARGE bodies of a caller."""
        self.total = total
        self.few = few
        self.used = 0
        self.held: Counter[Hashable] = Counter()
        """Bytes by group; a group that holds nothing is not in it."""
        self.large: Counter[Hashable] = Counter()
        """Large bodies by caller and order of size."""

    def body(self, provider: str, address: str) -> Body:
        """Return a body of a provider that comes from an address, in any text; nothing is here."""
        return Body(self, provider, network(address))

    def change(self, provider: str, address: str, before: int, after: int) -> None:
        """Let a body hold another number of bytes, whether or not there is room for it.

        One that is SMALL counts as nothing.
        """
        sizes = [0 if size <= SMALL else size for size in (before, after)]
        Body(self, provider, network(address), sizes[0]).hold(sizes[1])


@dataclass(slots=True, eq=False)
class Body(AbstractContextManager["Body"]):
    """What one body holds of the budget; leaving its `with` gives it back."""

    budget: Budget
    provider: str
    address: str
    size: int = 0

    def cover(self, size: int) -> bool:
        """Hold at least `size` bytes; return whether there was room, or else hold what it did."""
        if size <= max(self.size, SMALL):
            return True
        before = self.size
        self.hold(0)
        room = self._has_room(size)
        self.hold(size if room else before)
        return room

    def __exit__(self, *_: object) -> None:
        if self.size:
            self.hold(0)

    def _has_room(self, size: int) -> bool:
        left = self.budget.total - self.budget.used - size
        held, caller = self.budget.held, self._caller(size)
        if size > LARGE and self.budget.large[caller] >= self.budget.few:
            return False
        if held[caller] and held[caller] + size > left / 2:
            return False
        return all(held[group] + size <= share * left for group, share in self._groups(size))

    def _groups(self, size: int) -> Iterator[tuple[Hashable, int]]:
        """Return the groups of a body of a size, and how many times what is left each may hold.

        A caller may hold half of what is left, or its first body. For example, where the budget is
        6 bodies of the longest: one address can bring 2 of those at once, a provider 3, and with
        bodies of other sizes beside them 4. So one of the longest is left for another provider.
        """
        yield ("provider", self.provider), 2
        yield ("address", self.address), 2
        yield (self.provider, order(size)), 1

    def _caller(self, size: int) -> Hashable:
        return self.provider, self.address, order(size)

    def hold(self, size: int) -> None:
        """Give back what it holds, and hold `size` bytes."""
        for bytes_, sign in ((self.size, -1), (size, 1)):
            if not bytes_:
                continue
            self.budget.used += sign * bytes_
            for group in (self._caller(bytes_), *(group for group, _ in self._groups(bytes_))):
                _add(self.budget.held, group, sign * bytes_)
            if bytes_ > LARGE:
                _add(self.budget.large, self._caller(bytes_), sign)
        self.size = size


def _add(counts: Counter[Hashable], key: Hashable, number: int) -> None:
    """Count, and forget what is nothing: addresses are many."""
    counts[key] += number
    if not counts[key]:
        del counts[key]
