"""Changes that a rebuild makes: counted by kind, with a few examples of each."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final, NamedTuple

EXAMPLES: Final = 3
"""The examples that are kept of each change."""


class Change(NamedTuple):
    """One kind of change: of a `report`, a `message` or what belongs to one, between two words."""

    kind: str
    provider: str
    old: str
    new: str


@dataclass(slots=True)
class Changes:
    """How often each change was made, and the ids of the first few that it was made to."""

    counts: Counter[Change] = field(default_factory=Counter)
    examples: dict[Change, list[str]] = field(default_factory=dict)

    def add(self, change: Change, example: str, count: int = 1) -> None:
        """Count a change, and keep the example where there are few yet."""
        self.counts[change] += count
        examples = self.examples.setdefault(change, [])
        if len(examples) < EXAMPLES and example not in examples:
            examples.append(example)

    def merge(self, other: Changes) -> None:
        """Take in other changes."""
        for change, examples in other.examples.items():
            for example in examples:
                self.add(change, example, 0)
        self.counts += other.counts

    def total(self, kind: str) -> int:
        """Return how many changes of one kind there were."""
        return sum(count for change, count in self.counts.items() if change.kind == kind)
