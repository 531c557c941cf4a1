"""Follower of the feed: sends what changed to one destination, at least once and in order.

A destination is a row with a cursor: everything up to it was taken, or set aside. Nothing is queued
elsewhere, so that nothing can be lost or overtake. One receiver at a time sends to a destination,
which is a lease in that row; another goes on from the cursor when it is over. A message that
changes twice before it is sent is sent once, as it is then.
"""

from __future__ import annotations

import hashlib
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Protocol

import structlog

from receiver.database import DERIVED, READ, Attempt, Background, transact
from receiver.messages import FeedPosition, lookup
from receiver.outbound import store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection, Engine, Row, RowMapping


log = structlog.get_logger(__name__)

LOOK_SECONDS: Final = 0.25
"""Seconds between looks for what changed, which is what a change waits for at most."""
RENEW_SECONDS: Final = 1.5
"""Seconds between signs of life while an answer is waited for; some fit into a lease."""
FIRST_WAIT: Final = 1.0
"""Seconds until a batch that was not taken is sent again; each time twice as long, up to"""
LAST_WAIT: Final = 600.0
"""these; about, so that many that failed together do not all come again together."""
PAGE: Final = 1000
"""Changes that are looked at together for those that a destination wants."""
PATIENT_REFUSALS: Final = 10
"""Messages that a destination may refuse one after another before there are pauses between them:
it is likelier that it refuses all."""
STOP_SECONDS: Final = 1.0
"""How long stopping waits; a batch under way is sent again by whoever goes on."""


class Outcome(Enum):
    """What became of a batch."""

    TAKEN = "taken"
    AGAIN = "again"
    """Not taken now; the same may be taken later."""
    REFUSED = "refused"
    """Something in it never will be."""
    OFF = "off"
    """Nothing is to be sent any more."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a destination made of a batch. No URL and no secret is in `problem`.

    `after` are seconds that it asks to wait before the same is sent again; `status` is the number
    that it refused with.
    """

    outcome: Outcome
    problem: str = ""
    after: float | None = None
    status: int = 0


@dataclass(frozen=True, slots=True)
class Batch:
    """Messages that changed, as `message_status` has them, in the order in which they did.

    `key` is the same when the same is sent again, and no other batch's. `at` is the last change.
    """

    key: str
    at: datetime
    rows: Sequence[RowMapping]

    @property
    def ids(self) -> list[int]:
        """Return the messages' row ids."""
        return [row["id"] for row in self.rows]


class Destination(Protocol):
    """The other end: what takes the changes. Called from one thread only."""

    name: str
    max_batch: int

    def wants(self, row: RowMapping) -> bool:
        """Say whether a message is to be sent there."""

    def send(self, batch: Batch) -> Answer:
        """Send a batch and return what came of it. Bounded in time; raises nothing."""

    def close(self) -> None:
        """Give back what it holds; nothing is sent any more."""


@dataclass(frozen=True, slots=True)
class _Turn:
    """One batch, and what to write down of the feed and of replays when it was taken."""

    seen: Row[Any]
    batch: Batch | None
    end: FeedPosition | None
    replayed: Sequence[int] = ()

    def passed(self) -> dict[str, Any]:
        """Return the columns of a destination that is past this turn."""
        none = {"until_at": None, "until_id": None}
        if self.end is None:
            return {}
        return {"cursor_at": self.end.at, "cursor_id": self.end.id, **none}


class Follower:
    """Sends to one destination for as long as a receiver runs, in a thread of its own."""

    def __init__(self, engine: Engine, destination: Destination, holder: str) -> None:
        self.engine = engine
        self.destination = destination
        self.holder = holder
        self.size = destination.max_batch
        self.refusals = 0
        self._sending = threading.Event()
        self._unwritten: Callable[[Connection], object] | None = None
        name = destination.name
        self._background = Background(
            f"events-{name}",
            self.follow,
            LOOK_SECONDS,
            "sending changes failed, will try again",
            destination.close,
        )
        self._lease = Background(
            f"lease-{name}", self._renew, RENEW_SECONDS, "lease not renewed, will try again"
        )
        self._release = Attempt("lease not given back")

    def start(self) -> None:
        """Begin to send."""
        self._background.start()
        self._lease.start(RENEW_SECONDS)

    def ask_to_stop(self) -> None:
        """Send no further batch."""
        self._background.stopping.set()

    def stop(self) -> None:
        """Stop sending, and let another receiver do it at once, unless a batch is under way."""
        self._background.stop(STOP_SECONDS)
        self._lease.stop(STOP_SECONDS)
        if not self._sending.is_set():
            self._release(lambda: self._write(lambda c: store.give_back(c, self.holder)), None)

    def follow(self) -> None:
        """Send until nothing waits, or it must wait."""
        while not self._background.stopping.is_set() and self.step():
            pass

    def step(self) -> bool:
        """Send one batch; say whether to go on at once. Raises what the database raises."""
        self._write_what_is_left()
        turn = self._next()
        if turn is None:
            return False
        if turn.batch is None:  # nothing in it is for this destination
            return bool(self._write(lambda c: self._pass(c, turn)))
        batch = turn.batch
        end = {"until_at": turn.end.at, "until_id": turn.end.id} if turn.end else {}
        if not self._write(lambda c: store.claim(c, turn.seen, self.holder, **end)):
            return False
        self._sending.set()
        try:
            answer = self.destination.send(batch)
            self._unwritten = lambda c: self._settle(c, turn, batch, answer)
            self._write_what_is_left()
        finally:
            self._sending.clear()
        return answer.outcome in {Outcome.TAKEN, Outcome.REFUSED}

    def _write_what_is_left(self) -> None:
        """Write down what came of the last batch; at the next look where the database is away."""
        if self._unwritten is not None:
            self._write(self._unwritten)
            self._unwritten = None

    def _next(self) -> _Turn | None:
        """Return what is to be sent now; None where there is nothing, or it is not our turn."""
        name = self.destination.name
        with self.engine.execution_options(**READ).connect() as connection:
            seen = store.find(connection, name)
            if seen is not None and self._is_free(seen, store.clock(connection)):
                return self._again(connection, seen) or self._changed(connection, seen)
        if seen is None:
            self._write(lambda c: store.begin(c, name))
        return None

    def _is_free(self, seen: Row[Any], now: datetime) -> bool:
        """Say whether something may be sent, and by us."""
        held = seen.held_until is not None and seen.held_until > now
        waits = seen.retry_at is not None and seen.retry_at > now
        return seen.off_at is None and not waits and (not held or seen.holder == self.holder)

    def _again(self, connection: Connection, seen: Row[Any]) -> _Turn | None:
        """Return messages that are to be sent again by themselves."""
        waiting = store.replayed(connection, seen.name, self.size)
        if not waiting:
            return None
        asked = [row.sent_message_id for row in waiting]
        rows = lookup.messages(connection, asked)
        # What is asked for once more is another batch, to who knows batches by their key.
        times = [waiting[0].replay_at.isoformat(), waiting[-1].replay_at.isoformat()]
        batch = self._batch(seen, rows, "replay", *times) if rows else None
        return _Turn(seen, batch, None, asked)

    def _changed(self, connection: Connection, seen: Row[Any]) -> _Turn | None:
        """Return what changed: the batch that was under way, or what comes next."""
        after, until = store.cursor(seen), store.until(seen)
        page = lookup.changed(connection, after, PAGE, until)
        if not page:
            return None if until is None else _Turn(seen, None, until)
        wanted = [row for row in page if self.destination.wants(row)]
        rows = wanted[: self.size]
        # Up to the last of the batch where more are waiting, else past what nobody wants.
        last = rows[-1] if len(wanted) > len(rows) else page[-1]
        end = FeedPosition(last["changed_at"], last["id"])
        return _Turn(seen, self._batch(seen, rows) if rows else None, end)

    def _batch(self, seen: Row[Any], rows: Sequence[RowMapping], *of: str) -> Batch:
        """Return a batch by the name that its content gives it."""
        parts = [seen.name, seen.replays, *of]
        parts += [f"{row['id']} {row['changed_at']}" for row in rows]
        digest = hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()
        times = [row["changed_at"] or row["recorded_at"] for row in rows]
        return Batch(f"msg_{digest[:32]}", max(times), rows)

    def _settle(self, connection: Connection, turn: _Turn, batch: Batch, answer: Answer) -> bool:
        """Write down what came of a batch."""
        if answer.outcome is Outcome.TAKEN:
            return self._taken(connection, turn, batch)
        now = store.clock(connection)
        failed: dict[str, Any] = {"failed": turn.seen.failed + 1, "problem": answer.problem}
        if answer.outcome is Outcome.OFF:
            failed["off_at"] = now
            log.error("destination is off", name=turn.seen.name, reason=answer.problem)
        elif answer.outcome is Outcome.AGAIN:
            failures = turn.seen.failures + 1
            wait = answer.after if answer.after is not None else backoff(failures)
            failed |= {"failures": failures, "retry_at": now + timedelta(seconds=wait)}
            if failures == 1:
                log.warning(
                    "changes not taken, will try again",
                    name=turn.seen.name,
                    reason=answer.problem,
                )
        elif len(batch.rows) > 1:
            self.size = len(batch.rows) // 2
        else:
            return self._set_aside(connection, turn, batch, answer, failed)
        return store.finish(connection, turn.seen, self.holder, **failed)

    def _taken(self, connection: Connection, turn: _Turn, batch: Batch) -> bool:
        done = store.finish(
            connection,
            turn.seen,
            self.holder,
            sent=turn.seen.sent + len(batch.rows),
            taken_at=store.clock(connection),
            failures=0,
            problem=None,
            retry_at=None,
            **turn.passed(),
        )
        if done:
            store.take_back(connection, turn.seen.name, {*batch.ids, *turn.replayed})
        self.size = min(self.destination.max_batch, 2 * self.size)
        self.refusals = 0
        return done

    def _set_aside(
        self,
        connection: Connection,
        turn: _Turn,
        batch: Batch,
        answer: Answer,
        failed: dict[str, Any],
    ) -> bool:
        """Set one message aside that a destination refuses, and let the others go on."""
        self.refusals += 1
        if self.refusals >= PATIENT_REFUSALS:
            wait = backoff(self.refusals - PATIENT_REFUSALS + 1)
            failed["retry_at"] = store.clock(connection) + timedelta(seconds=wait)
        failed["failures"] = 0
        done = store.finish(connection, turn.seen, self.holder, **failed, **turn.passed())
        if done:
            store.set_aside(connection, turn.seen.name, batch.ids[0], answer.status)
            log.warning(
                "message set aside",
                name=turn.seen.name,
                sent_message_id=batch.ids[0],
                reason=answer.problem,
            )
        return done

    def _pass(self, connection: Connection, turn: _Turn) -> bool:
        """Go past changes that this destination does not want, and replays of what is gone."""
        if not store.claim(connection, turn.seen, self.holder, **turn.passed()):
            return False
        store.take_back(connection, turn.seen.name, turn.replayed)
        return True

    def _renew(self) -> None:
        if self._sending.is_set():
            self._write(lambda c: store.renew(c, self.destination.name, self.holder))

    def _write(self, work: Callable[[Connection], Any]) -> Any:
        # What is lost with the power is only sent again; a change that was not lost stands before.
        return transact(self.engine.execution_options(**DERIVED), work)


def backoff(failures: int) -> float:
    """Return the seconds to wait after so many failures in a row."""
    longest: float = min(LAST_WAIT, FIRST_WAIT * 2 ** min(failures - 1, 30))
    return longest * random.uniform(0.75, 1)  # noqa: S311
