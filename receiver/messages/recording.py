"""Recording sent messages: completing the rows that are there, adding the others.

Recording is safe to repeat, also by several at once. What it adds or changes is unsettled
(`settled_at` NULL). Functions work inside the caller's write transaction.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import bindparam, delete, select, text, update
from sqlalchemy.exc import IntegrityError

from receiver.database import SQLITE, RaceError, among, chunks, upsert
from receiver.database.tables import sent_message
from receiver.domain import Status
from receiver.messages import account_credit
from receiver.statistics import delivery_rollup

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import Connection

    from receiver.domain import SentMessage


GIVEN: Final = (
    "provider",
    "account",
    "message_id",
    "transaction_id",
    "recipient",
    "sender",
    "tag",
    "reference",
    "template_id",
    "credit",
    "sent_at",
    "error",
)
"""The columns of `sent_message` that a record may give."""
FILLED: Final = tuple(
    name for name in GIVEN if name not in {"provider", "recipient", "sent_at", "error"}
)
"""What recording again fills in where it is empty; nothing else of a row changes."""
EMPTY: Final = (None, "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A sent message that is in the database; `new` where this call made it."""

    id: int
    message_id: str | None = field(repr=False)
    transaction_id: str | None = field(repr=False)
    recipient: str = field(repr=False)
    reference: str | None = field(repr=False)
    status: str
    refused: bool
    new: bool

    def as_json(self) -> dict[str, Any]:
        """Return it as `POST /messages` answers it."""
        names = ("id", "message_id", "transaction_id", "recipient", "reference", "status")
        return {name: getattr(self, name) for name in names}


def record(
    connection: Connection, provider: str, messages: Sequence[SentMessage]
) -> list[Recorded]:
    """Record sent messages, completing the rows that are there; safe to repeat.

    Raises RaceError where another transaction got in between: roll back and call again.
    """
    recording = _Recording(connection, provider)
    recording.look_up(messages)
    placed = [recording.entry_of(message) for message in messages]
    entries = [entry.last() for entry in placed]
    made = {id(entry) for entry in entries if entry.id is None}
    recording.write()
    recorded = []
    for entry in entries:
        recorded.append(entry.recorded(new=id(entry) in made))
        made.discard(id(entry))
    rows = [entry_.id for entry_ in recorded]
    account_credit.store_latest(connection, provider, list(zip(rows, messages, strict=True)))
    return recorded


@dataclass(slots=True, eq=False)
class _Entry:
    """A row as it is or will be; `id` is None while it is new."""

    values: dict[str, Any]
    id: int | None = None
    status: str = Status.ACCEPTED.value
    changed: bool = False
    joined: _Entry | None = None
    """The row that took this one in; this one goes."""

    def last(self) -> _Entry:
        """Return the row that stays."""
        return self if self.joined is None else self.joined.last()

    def may_be_of(self, account: str) -> bool:
        """Say whether this row is still there, and of the account as far as one can know."""
        return self.joined is None and (not account or self.values["account"] in {"", account})

    def lacks(self, values: dict[str, Any]) -> dict[str, Any]:
        """Return those of the values that are empty here."""
        return {
            name: values[name]
            for name in FILLED
            if self.values[name] in EMPTY and values[name] not in EMPTY
        }

    def fill(self, values: dict[str, Any]) -> None:
        """Take over what is empty here."""
        lacking = self.lacks(values)
        self.values |= lacking
        self.changed |= bool(lacking)

    def recorded(self, *, new: bool) -> Recorded:
        """Return it for the caller, once it is written."""
        if self.id is None:  # pragma: no cover - written before it is returned
            raise AssertionError
        return Recorded(
            id=self.id,
            message_id=self.values["message_id"],
            transaction_id=self.values["transaction_id"],
            recipient=self.values["recipient"],
            reference=self.values["reference"],
            status=self.status,
            refused=self.values["error"] is not None,
            new=new,
        )


COLUMNS: Final = ("id", "status", "recipient", "error", "refusal_key", *FILLED)

# The rows that a record may complete, by any of its keys. An array of pairs keeps a transaction of
# a hundred thousand recipients from being read whole.
FIND: Final = {
    "sqlite": """
        SELECT m.id FROM json_each(:keys) AS k CROSS JOIN sent_message AS m
        WHERE m.message_id = json_extract(k.value, '$[0]')
        UNION
        SELECT m.id FROM json_each(:keys) AS k CROSS JOIN sent_message AS m
        WHERE m.transaction_id = json_extract(k.value, '$[1]')
          AND m.recipient = json_extract(k.value, '$[2]')
    """,
    "postgresql": """
        SELECT m.id FROM sent_message AS m WHERE m.message_id = ANY(CAST(:ids AS text[]))
        UNION
        SELECT m.id FROM unnest(CAST(:transactions AS text[]), CAST(:recipients AS text[]))
            AS k (transaction_id, recipient)
        JOIN sent_message AS m
            ON m.transaction_id = k.transaction_id AND m.recipient = k.recipient
    """,
}


class _Recording:
    """Unit of work of one recording: rows are read once, changed in memory, written at the end."""

    def __init__(self, connection: Connection, provider: str) -> None:
        self.connection = connection
        self.provider = provider
        self.entries: list[_Entry] = []
        self.by_message: dict[tuple[str, str | None], list[_Entry]] = defaultdict(list)
        self.by_transaction: dict[tuple[str, str | None], list[_Entry]] = defaultdict(list)
        self.by_refusal: dict[bytes, _Entry] = {}

    def look_up(self, messages: Sequence[SentMessage]) -> None:
        """Find and lock, in the order of their ids, the rows these messages may complete."""
        for row in self._find([_keys(m) for m in messages]):
            values = {name: row[name] for name in COLUMNS[2:]}
            self.entries.append(_Entry(values, id=row["id"], status=row["status"]))
            self._file(self.entries[-1])

    def _find(self, keys_of: Sequence[dict[str, Any]]) -> Sequence[Any]:
        """Return the rows of this provider that have any of the messages' keys."""
        table, dialect = sent_message.c, self.connection.dialect
        keys = [(w["message_id"], w["transaction_id"], w["recipient"]) for w in keys_of]
        values: dict[str, Any]
        if dialect.name == SQLITE:
            values = {"keys": json.dumps(keys)}
        else:
            values = {
                "ids": [k[0] for k in keys if k[0] is not None],
                "transactions": [k[1] for k in keys],
                "recipients": [k[2] for k in keys],
            }
        ids = set(self.connection.execute(text(FIND[dialect.name]), values).scalars())
        refusals = [w["refusal_key"] for w in keys_of if w["refusal_key"] is not None]
        for part in chunks(refusals):
            refused = select(table.id).where(table.refusal_key.in_(part))
            ids.update(self.connection.execute(refused).scalars())
        statement = (
            select(*(table[name] for name in COLUMNS))
            .where(among(dialect, table.id, ids), table.provider == self.provider)
            .order_by(table.id)
            .with_for_update()
        )
        return self.connection.execute(statement).mappings().all()

    def _file(self, entry: _Entry) -> None:
        """Make an entry findable by the keys it has."""
        values = entry.values
        for index, name in (
            (self.by_message, "message_id"),
            (self.by_transaction, "transaction_id"),
        ):
            if values[name] is not None:
                filed = index[values[name], values["recipient"]]
                if entry not in filed:
                    filed.append(entry)
        if values["refusal_key"] is not None:
            self.by_refusal[values["refusal_key"]] = entry

    def entry_of(self, message: SentMessage) -> _Entry:
        """Complete the row this message is, or make a new one."""
        values = _keys(message) | {
            name: getattr(message, name) for name in ("error", "sent_at", *FILLED)
        }
        entry, sure = self._match(message)
        if entry is None:
            status = Status.ACCEPTED if message.error is None else Status.REJECTED
            entry = _Entry(values, status=status.value)
            self.entries.append(entry)
        elif sure:
            entry.fill(values)
            self._join(entry, message)
        self._file(entry)
        return entry

    def _match(self, message: SentMessage) -> tuple[_Entry | None, bool]:
        """Return the row that this message is already, and whether that is sure.

        Where it may be any of several it is one of them, and adds nothing: to record the same
        again must not add a row.
        """
        message_id, account = message.message_id, message.account
        if message_id is None and message.transaction_id is None:
            return self.by_refusal.get(message.refusal_key or b""), True
        if message_id is not None:
            same_id = self.by_message.get((message_id, message.recipient), ())
            erased = self.by_message.get((message_id, None), ())
            named = _best(same_id or erased, account)
            if named:
                return named[0], len(named) == 1
        same = self.by_transaction.get((message.transaction_id or "", message.recipient), ())
        nameless = _best((e for e in same if e.values["message_id"] is None), account)
        if message_id is not None:
            return (nameless[0] if len(nameless) == 1 else None), True
        candidates = nameless or _best(same, account)
        return (candidates[0] if candidates else None), len(candidates) == 1

    def _join(self, entry: _Entry, message: SentMessage) -> None:
        """Take in the row without a message id that this message shows to be the same one."""
        transaction = entry.values["transaction_id"]
        if message.message_id is None or transaction != message.transaction_id:
            return
        nameless = [
            e
            for e in self.by_transaction.get((transaction or "", message.recipient), ())
            if e is not entry and e.values["message_id"] is None and self._is_free(entry, e.values)
        ]
        while len(twins := _best(nameless, entry.values["account"])) == 1:
            twins[0].joined = entry
            entry.fill(twins[0].values)
            entry.changed = True  # its reports may be more now

    def _is_free(self, entry: _Entry, values: dict[str, Any]) -> bool:
        """Say whether no other row has what would be unique about the entry once it is filled."""
        filled = entry.values | entry.lacks(values)
        key = _key(filled)
        rivals = (
            self.by_transaction.get((filled["transaction_id"], filled["recipient"]), ())
            if filled["message_id"] is None
            else self.by_message.get((filled["message_id"], filled["recipient"]), ())
        )
        return not any(
            e is not entry and e.joined is None and _key(e.values) == key for e in rivals
        )

    def write(self) -> None:
        """Write what changed, and give new rows their ids."""
        table = sent_message.c
        joined = [e.id for e in self.entries if e.joined is not None and e.id is not None]
        if joined:  # first: the row that stays takes over its keys
            delivery_rollup.forget(self.connection, joined)
            of_row = delete(sent_message).where(table.id == bindparam("row"))
            self.connection.execute(of_row, [{"row": row} for row in joined])
        stay = [e for e in self.entries if e.joined is None]
        changed = [e for e in stay if e.id is not None and e.changed]
        if changed:
            statement = (
                update(sent_message)
                .where(table.id == bindparam("row"))
                .values({name: bindparam(f"new_{name}") for name in FILLED} | {"settled_at": None})
            )
            rows = [{f"new_{n}": e.values[n] for n in FILLED} | {"row": e.id} for e in changed]
            try:
                self.connection.execute(statement, rows)
            except IntegrityError as error:
                raise RaceError from error
        self._insert([e for e in stay if e.id is None])

    def _insert(self, entries: Sequence[_Entry]) -> None:
        """Insert new rows; RaceError where one of them is there by now."""
        statement = (
            upsert(self.connection, sent_message)
            .on_conflict_do_nothing()
            .returning(sent_message.c.provider)
        )
        rows = [
            entry.values | {"provider": self.provider, "status": entry.status}
            for entry in sorted(entries, key=_order)
        ]
        for has_time, group in groupby(rows, key=lambda row: row["sent_at"] is not None):
            parameters = list(group)
            if not has_time:  # the column is left out: its default lives in the database
                parameters = [
                    {n: v for n, v in row.items() if n != "sent_at"} for row in parameters
                ]
            if len(self.connection.execute(statement, parameters).all()) != len(parameters):
                raise RaceError
        self._number(entries)

    def _number(self, entries: Sequence[_Entry]) -> None:
        """Read the ids that new rows were given."""
        rows = self._find([e.values for e in entries]) if entries else []
        ids = {_key(row): row["id"] for row in rows}
        for entry in entries:
            entry.id = ids[_key(entry.values)]


def _keys(message: SentMessage) -> dict[str, Any]:
    """Return what a message may be known by."""
    names = ("message_id", "transaction_id", "recipient", "refusal_key")
    return {name: getattr(message, name) for name in names}


def _best(entries: Iterable[_Entry], account: str) -> list[_Entry]:
    """Return the entries of this account, else those that may be of it."""
    fitting = [e for e in entries if e.may_be_of(account)]
    return [e for e in fitting if e.values["account"] == account] or fitting


def _order(entry: _Entry) -> tuple[str, ...]:
    """Order new rows, so that two receivers that record the same wait, and do not deadlock."""
    names = ("message_id", "transaction_id", "recipient", "account")
    key = (entry.values["refusal_key"] or b"").hex()
    return (*(entry.values[name] or "" for name in names), key)


def _key(values: Any) -> tuple[Any, ...]:
    """Return what is unique about a row."""
    if values["message_id"] is not None:
        return values["message_id"], values["recipient"], values["account"]
    if values["transaction_id"] is not None:
        return None, values["transaction_id"], values["recipient"], values["account"]
    return (values["refusal_key"],)
