"""Values of the simulator: what is sent, recorded and called back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

from receiver.domain import RANK, SHARED_STATUSES, Status
from receiver.providers import PROVIDERS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from random import Random

    from receiver.providers import Scheme

SHARE: Final = 0.2
"""How many of the requests or messages that may have a fault have it; the first has it always."""
FAULTS: Final = ("repeats", "reorder", "early", "unknown", "bad-item", "truncated", "encodings")
"""What a play can have wrong with it; `--faults` names some."""
STRANGE: Final = "SIM-STRANGE"
PREFIX: Final = "sim-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request of a play; `kind` is its row in the table of what was sent."""

    kind: str
    method: str
    path: str
    """`/messages`, or what follows the token in a callback URL."""
    body: bytes = b""
    content_type: str = ""
    expected: int = 200
    schemes: Sequence[Scheme] = ()
    """How its provider proves it, where that is set up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message that was never sent, and the words its provider will have for it, in order."""

    id: str
    recipient: str
    words: tuple[tuple[str, datetime], ...]
    early: bool

    def status(self, provider: str) -> Status:
        """Return what a receiver makes of it in the end."""
        words = {**SHARED_STATUSES, **PROVIDERS[provider].STATUSES}
        statuses = (words.get(word.lower(), Status.UNKNOWN) for word, _ in self.words)
        return min(statuses, key=lambda status: RANK[status])


@dataclass(frozen=True, slots=True, kw_only=True)
class Play:
    """Everything one provider does, in order, and the statuses it leads to."""

    provider: str
    requests: Sequence[Request]
    statuses: Mapping[str, Status]
    """By message id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """What a play is made of."""

    provider: str
    account: str
    run: str
    count: int
    faults: frozenset[str]
    start: datetime
    random: Random
    groups: Sequence[int]
    """The provider's groups of proofs that may be played, by turns."""

    def is_struck(self, fault: str, index: int) -> bool:
        """Say whether a fault befalls the request or message at a place."""
        return fault in self.faults and (self.random.random() < SHARE or index == 0)


# The actors: what each provider's requests look like.

ReportedStatus = tuple[Message, str, datetime]
