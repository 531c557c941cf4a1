"""Replay: callbacks read again after a fix; new reports are added, known ones derived again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import func, select

from receiver.database import READ, among, portions
from receiver.database.tables import callback
from receiver.domain import Callback
from receiver.ingest import interpret, store
from receiver.maintenance import retention
from receiver.maintenance.number_pattern import was_erased
from receiver.maintenance.rebuild import CHUNK_ROWS, Progress, in_transaction
from receiver.settling import settle

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine, RowMapping

    from receiver.domain import Derived, Report
    from receiver.ingest import Interpreter

REREAD: Final = ("unreadable", "partial")
"""The outcomes that are worth another try when nothing else is asked for."""


@dataclass(slots=True)
class Replayed:
    """What came of reading callbacks again: how many by outcome, and what the reports were."""

    outcomes: Counter[str] = field(default_factory=Counter)
    new_reports: int = 0
    changed_reports: int = 0

    @property
    def callbacks(self) -> int:
        """How many were read again."""
        return self.outcomes.total()


def replay(
    engine: Engine,
    interpreter: Interpreter,
    message_text: str,
    *,
    ids: Sequence[str] = (),
    outcomes: Sequence[str] = REREAD,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> Replayed:
    """Read kept callbacks again: those with the ids, else all with the outcomes.

    New reports are added, derived columns of known ones rewritten; nothing is counted as a
    repeat. `progress` is told how many callbacks each step did.
    """
    done = Replayed()
    for rows in _callbacks(engine, ids, outcomes):

        def work(connection: Connection, rows: Sequence[RowMapping] = rows) -> Replayed:
            arrived = list(map(Callback.from_row, rows))
            return _reread(connection, arrived, interpreter, message_text)

        part = in_transaction(engine, work, dry_run=dry_run)
        done.outcomes += part.outcomes
        done.new_reports += part.new_reports
        done.changed_reports += part.changed_reports
        if progress is not None:
            progress(len(rows))
    if not dry_run:
        settle.settle_all(engine)
    return done


def count_callbacks(
    engine: Engine, *, ids: Sequence[str] = (), outcomes: Sequence[str] = REREAD
) -> int:
    """Return how many callbacks `replay` would read."""
    with engine.execution_options(**READ).connect() as connection:
        counted = select(func.count()).select_from(callback).where(_chosen(engine, ids, outcomes))
        return connection.execute(counted).scalar_one()


def _chosen(engine: Engine, ids: Sequence[str], outcomes: Sequence[str]) -> Any:
    """Choose callbacks that are there whole: the head of a body may read as something else."""
    table = callback.c
    chosen = among(engine.dialect, table.id, ids) if ids else table.outcome.in_(outcomes)
    return chosen & table.body_size.is_(None)


def _callbacks(
    engine: Engine, ids: Sequence[str], outcomes: Sequence[str]
) -> Iterator[Sequence[RowMapping]]:
    """Return the chosen callbacks, oldest first, a few at a time: a body may be megabytes."""
    after: portions.KeyValues | None = None
    chosen = [_chosen(engine, ids, outcomes)]
    while True:
        with engine.execution_options(**READ).connect() as connection:
            keys = portions.next_keys(connection, callback, after, CHUNK_ROWS // 50, where=chosen)
            if not keys:
                return
            statement = select(callback).where(callback.c.id.in_([id_ for (id_,) in keys]))
            rows = connection.execute(statement.order_by(callback.c.id)).mappings().all()
        if rows:
            yield rows
        after = keys[-1]


def _reread(
    connection: Connection, arrived: Sequence[Callback], interpreter: Interpreter, message_text: str
) -> Replayed:
    done = Replayed()
    purged = retention.purged_until(connection)
    for stored in arrived:

        def is_gone(report: Report, derived: Derived, stored: Callback = stored) -> bool:
            at = derived.sent_at or derived.done_at or stored.received_at
            return was_erased(report) or (purged is not None and at < purged)

        # What was redacted once stays so, even where texts are kept by now.
        reading = (
            interpret.read(stored, interpreter)
            if stored.redacted
            else interpret.redact_and_read(stored, interpreter, message_text)
        )
        new, changed = store.keep_again(connection, reading, is_gone)
        done.outcomes[reading.outcome] += 1
        done.new_reports += new
        done.changed_reports += changed
    return done
