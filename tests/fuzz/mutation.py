"""Mutations without a look at the code: for what runs in another process, and for the tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random


def mutated(dice: Random, data: bytes, others: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    """Return bytes with a few things done to them, the same for the same dice."""
    for _ in range(dice.choice((1, 1, 2, 3, 8))):
        begin, end = sorted(dice.randrange(len(data) + 1) for _ in range(2))
        other = dice.choice(others)
        middle = dice.choice(
            (
                b"",
                data[begin:end] * 2,
                dice.choice(words),
                dice.choice(words) * dice.randrange(1, 20),
                dice.randbytes(dice.randrange(1, 5)),
                other[dice.randrange(len(other) + 1) :][: dice.randrange(1, 60)],
            )
        )
        if dice.random() < 0.5:
            end = begin
        data = data[:begin] + middle + data[min(end, begin + 40) :]
    return data
