"""What was promised, what the database has, and where the two differ. Plain SQL, nothing of ours.

Counted are statements: each report of a callback each time it was sent, each unreadable callback
each time, each recorded message once. What was sent and not acknowledged may be kept or not, so
acknowledged <= kept <= sent must hold, for every statement.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections import defaultdict
from contextlib import closing
from dataclasses import dataclass, field
from itertools import pairwise
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import psycopg

from tests.chaos.load import ACKNOWLEDGED
from tests.chaos.traffic import Statement, request_digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path


@dataclass(slots=True)
class Told:
    """What the journal says about one item."""

    kind: str
    digest: str
    statements: list[Statement]
    attempts: int = 0
    acknowledged: int = 0
    callbacks: set[str] = field(default_factory=set)
    """The ids that were answered."""


@dataclass(slots=True)
class Promises:
    """What the journals of a round say."""

    items: dict[tuple[str, str], Told] = field(default_factory=dict)
    times: list[float] = field(default_factory=list)
    """When callbacks were acknowledged."""
    unexpected: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Contents:
    """What a database has."""

    reports: dict[tuple[str | None, ...], list[int]]
    """How often each report was said, row by row."""
    callbacks: dict[str, dict[str, int]]
    """By digest and id: how often each callback came."""
    messages: dict[tuple[str, str], list[str]]
    """By provider and message id: the status of each row."""
    again: dict[str, str] = field(default_factory=dict)
    """The ids that repeats of unreadable callbacks arrived with, and the callback each is of."""
    unsettled: int = 0
    unreadable: set[str] = field(default_factory=set)
    """The digests of the callbacks that are kept as unreadable."""


@dataclass(slots=True)
class Verdict:
    """What came of a comparison."""

    sent: int = 0
    acknowledged: int = 0
    kept: int = 0
    lost: int = 0
    doubled: int = 0
    wrong: int = 0
    """What is neither lost nor doubled, and yet not as it must be."""
    unreadable: int = 0
    """Callbacks that can be read, and are kept as if they could not."""
    told: list[str] = field(default_factory=list)

    def count(self, what: str, acknowledged: int, kept: int, sent: int) -> None:
        """Count one statement."""
        self.sent += sent
        self.acknowledged += acknowledged
        self.kept += kept
        self.lost += max(0, acknowledged - kept)
        self.doubled += max(0, kept - sent)
        if not acknowledged <= kept <= sent:
            self.told.append(f"{what}: acknowledged {acknowledged}, kept {kept}, sent {sent}")

    def fault(self, what: str) -> None:
        """Count something that is wrong in another way."""
        self.wrong += 1
        self.told.append(what)

    @property
    def good(self) -> bool:
        """Say whether nothing is wrong."""
        return not (self.lost or self.doubled or self.wrong or self.unreadable)


def read_journals(paths: Iterable[Path]) -> Promises:
    """Read what was sent and what was answered."""
    said = Promises()
    for path in paths:
        for line in _lines(path):
            if "item" in line:
                statements = [Statement(**statement) for statement in line["statements"]]
                said.items[path.name, line["item"]] = Told(line["kind"], line["digest"], statements)
                continue
            item = said.items[path.name, line["of"]]
            if "attempt" in line:
                item.attempts += 1
            elif line["status"] == ACKNOWLEDGED[item.kind]:
                item.acknowledged += 1
                if item.kind != "record":
                    said.times.append(line["at"])
                if item.kind == "unreadable":
                    item.callbacks.add(str(line["callback"]))
            elif 0 < line["status"] <= 500:  # a 503 says "not kept", a 500 that we are at fault
                said.unexpected.append(f"{line['of']} was answered {line['status']}")
    said.times.sort()
    return said


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """Read a journal; a last line that was not finished says nothing."""
    for line in path.read_text().splitlines(keepends=True):
        if line.endswith("\n"):
            yield json.loads(line)


def read_database(url: str) -> Contents:
    """Read everything that is to be compared."""
    reports = defaultdict(list)
    callbacks: dict[str, dict[str, int]] = defaultdict(dict)
    messages = defaultdict(list)
    unreadable = set()
    for *key, times in rows(
        url,
        "SELECT provider, transaction_id, message_id, provider_status, provider_time,"
        " 1 + repeats FROM delivery_report",
    ):
        reports[tuple(key)].append(times)
    for id_, provider, query, body, times, outcome in rows(
        url, "SELECT CAST(id AS text), provider, query, body, 1 + repeats, outcome FROM callback"
    ):
        digest = request_digest(provider, query, bytes(body))
        callbacks[digest][id_] = times
        if outcome == "unreadable":
            unreadable.add(digest)
    for provider, message, status in rows(
        url, "SELECT provider, message_id, status FROM sent_message"
    ):
        messages[provider, message].append(status)
    unsettled = rows(
        url,
        "SELECT (SELECT count(*) FROM delivery_report WHERE settled_at IS NULL)"
        " + (SELECT count(*) FROM sent_message WHERE settled_at IS NULL)",
    )[0][0]
    again = dict(
        rows(url, "SELECT CAST(id AS text), CAST(callback_id AS text) FROM callback_repeat")
    )
    return Contents(dict(reports), dict(callbacks), dict(messages), again, unsettled, unreadable)


def rows(url: str, statement: str) -> list[tuple[Any, ...]]:
    """Return the rows of a query."""
    if url.startswith("sqlite:///"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as file:
            return file.execute(statement).fetchall()
    with psycopg.connect(url) as connection:
        return connection.execute(statement.encode()).fetchall()


def spooled(path: Path) -> int:
    """Return how many callbacks are left in a spool, and in files beside it that were set aside.

    Copies are read: a file on a full disk could not be opened, and evidence stays as it is.
    """
    left = 0
    with TemporaryDirectory() as folder:
        for found in path.parent.glob(f"{path.stem}*{path.suffix}"):
            for part in path.parent.glob(f"{found.name}*"):
                shutil.copy(part, folder)
            url = f"sqlite:///{folder}/{found.name}"
            if rows(url, "SELECT name FROM sqlite_master WHERE name = 'callback'"):
                left += rows(url, "SELECT count(*) FROM callback")[0][0]
    return left


def compare(said: Promises, found: Contents) -> Verdict:
    """Compare what was promised with what is there."""
    verdict = Verdict()
    for sentence in said.unexpected:
        verdict.fault(sentence)
    if found.unsettled:
        verdict.fault(f"{found.unsettled} rows are not settled")
    messages: dict[tuple[str, str], list[str]] = {}
    for (_, name), item in said.items.items():
        if item.kind == "report":
            _compare_report(verdict, name, item, found, messages)
        if item.kind == "unreadable":
            _compare_unreadable(verdict, name, item, found)
    records: dict[tuple[str, str], int] = defaultdict(int)
    for item in said.items.values():
        for statement in item.statements if item.kind == "record" else ():
            records[statement.provider, statement.message] += item.acknowledged
    for message, acknowledged in records.items():
        there = found.messages.get(message, [])
        verdict.count(f"record of {message}", min(1, acknowledged), len(there), 1)
        wanted = _status(messages.get(message, []))
        if there and there[0] != wanted:
            verdict.fault(f"status of {message}: {there[0]}, and its reports say {wanted}")
    _compare_strangers(verdict, said, found)
    return verdict


def _compare_report(
    verdict: Verdict,
    name: str,
    item: Told,
    found: Contents,
    messages: dict[tuple[str, str], list[str]],
) -> None:
    """Look at a callback that could be read; note what the reports there say of each message."""
    if item.digest in found.unreadable:
        verdict.unreadable += 1
        verdict.told.append(f"{name}: kept as unreadable")
    callbacks = len(found.callbacks.get(item.digest, {}))
    if not item.acknowledged <= callbacks <= item.attempts:
        verdict.fault(
            f"{name}: acknowledged {item.acknowledged}, sent {item.attempts},"
            f" and {callbacks} rows of callback"
        )
    for statement in item.statements:
        times = found.reports.get(statement.key, [])
        verdict.count(f"{name} {statement.key}", item.acknowledged, sum(times), item.attempts)
        if len(times) > 1:
            verdict.fault(f"{name} {statement.key}: {len(times)} rows of delivery_report")
        if times:
            messages.setdefault((statement.provider, statement.message), []).append(
                statement.status
            )


def _status(said: list[str]) -> str:
    """Return what the reports of one message decide: at most one of them is final here."""
    final = [status for status in said if status != "enroute"]
    return (final or said or ["accepted"])[0]


def _compare_unreadable(verdict: Verdict, name: str, item: Told, found: Contents) -> None:
    """Look at a callback that could not be read: one row, by the ids that were answered."""
    there = found.callbacks.get(item.digest, {})
    verdict.count(name, item.acknowledged, sum(there.values()), item.attempts)
    if len(there) > 1:
        verdict.fault(f"{name}: {len(there)} rows of callback")
    if {found.again.get(id_, id_) for id_ in item.callbacks} - set(there):
        verdict.fault(f"{name}: answered {sorted(item.callbacks)}, kept as {sorted(there)}")


def _compare_strangers(verdict: Verdict, said: Promises, found: Contents) -> None:
    """Find rows that nobody sent."""
    items = said.items.values()
    keys = {s.key for item in items if item.kind == "report" for s in item.statements}
    for key in set(found.reports) - keys:
        verdict.doubled += 1
        verdict.told.append(f"report {key}: nobody sent it")
    for digest in set(found.callbacks) - {item.digest for item in items}:
        verdict.fault(f"callbacks {sorted(found.callbacks[digest])}: nobody sent them")
    messages = {(s.provider, s.message) for i in items if i.kind == "record" for s in i.statements}
    for message in set(found.messages) - messages:
        verdict.fault(f"message {message}: nobody recorded it")


def longest_gap(
    times: list[float], span: tuple[float, float], down: list[tuple[float, float]]
) -> float:
    """Return the longest time without an acknowledged callback, but for what the kit took down."""
    marks = [span[0], *(time for time in times if span[0] < time < span[1]), span[1]]
    longest = 0.0
    for begin, end in pairwise(marks):
        taken = sum(max(0.0, min(end, up) - max(begin, off)) for off, up in down)
        longest = max(longest, end - begin - taken)
    return longest
