"""What the operator's page needs of the receiver it belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection
    from starlette.requests import Request

    from receiver.ingest.spool import Held
    from receiver.maintenance import Replayed
    from receiver.security import FailureLimiter
    from receiver.settings import Settings


T = TypeVar("T")


class Look(Protocol):
    """Reads from the database off the event loop, within the time a look-up may take."""

    async def __call__(self, work: Callable[[Connection], T]) -> T:
        """Return what the work returns.

        Raises UnavailableError and UnreadableError with a sentence for a person.
        """


class Replay(Protocol):
    """Reads a kept callback again."""

    async def __call__(self, id_: str) -> Replayed:
        """Return what came of it. Raises UnreadableError, UnavailableError."""


class Spooled(Protocol):
    """Looks into the spool."""

    async def __call__(self) -> Held | None:
        """Return what waits there; None where there is no spool."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """The receiver, as far as the page may touch it."""

    settings: Settings
    look: Look
    replay: Replay
    spooled: Spooled
    address: Callable[[Request], str]
    guesses: FailureLimiter
    """Wrong API keys, here and at `/messages`."""
