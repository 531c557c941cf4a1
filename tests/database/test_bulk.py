"""Many rows and ids in one statement: no more values than any SQLite takes that we promise.

The databases of these tests take no more than that (`limited` in conftest.py).
"""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import insert, select

from receiver.database.bulk import (
    MAX_LISTED,
    MAX_VALUES,
    BulkInsert,
    BulkUpdate,
    among,
    chunks,
    halve,
)
from receiver.database.column_types import instant_text
from receiver.database.tables.base import metadata
from receiver.database.tables.callbacks import callback
from receiver.database.tables.messages import sent_message
from receiver.domain.callback import Callback
from receiver.ingest import interpret, store
from receiver.maintenance import erasure, rebuild, replay
from receiver.maintenance.number_pattern import NumberPattern
from receiver.messages import lookup
from receiver.settling import settle
from tests.maintenance.test_rebuild import interpreter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection, Engine, Table

NUMBER: Final = "66812345678"
MANY: Final = MAX_VALUES + 101


def fill(engine: Engine) -> None:
    """Send many messages to one number, and receive a report of each in a callback of its own."""
    arrived = [
        Callback(
            provider="thaibulksms",
            method="GET",
            query=f"Transaction=m{n}&Status=delivery&msisdn={NUMBER}",
        )
        for n in range(MANY)
    ]
    readings = [interpret.read(one, interpreter()) for one in arrived]
    rows = [
        {"provider": "thaibulksms", "message_id": f"m{n}", "recipient": NUMBER} for n in range(MANY)
    ]
    with engine.begin() as connection:
        store.keep(connection, readings)
        connection.execute(insert(sent_message), rows)
    settle.settle_all(engine)


def test_whatever_goes_by_ids_takes_any_number_of_them(engine: Engine) -> None:
    fill(engine)
    with engine.connect() as connection:
        found = lookup.by_recipient(connection, NUMBER)
        ids = list(connection.execute(select(callback.c.id)).scalars())
    assert found.truncated
    assert len(ids) == MANY
    assert [len(message["timeline"]) for message in found.messages] == [2] * lookup.MAX_FOUND
    assert replay.replay(engine, interpreter(), "drop", ids=ids).callbacks == MANY
    done = rebuild.rebuild(engine, interpreter())
    assert (done.messages, done.changed_messages, done.changed_links) == (MANY, 0, 0)
    trace = NumberPattern(NUMBER, b"k" * 32)
    changed = erasure.erase(engine, trace)
    assert (changed["callback"], changed["sent_message"]) == (MANY, MANY)


@pytest.mark.parametrize("table", metadata.sorted_tables, ids=lambda table: table.name)
def test_no_insert_binds_too_much(table: Table) -> None:
    for size, statement in BulkInsert(table, ids=True).sqlite.items():
        assert statement.count("?") == size * len(table.columns) <= MAX_VALUES


def test_ids_are_chosen_as_a_list_chooses_them(engine: Engine) -> None:
    now = datetime(2026, 11, 21, tzinfo=UTC)
    rows = [
        {"provider": "ants", "message_id": id_, "recipient": NUMBER, "sent_at": now}
        for id_ in ("1", "01", "é", 'a"b', "a,b", "{}", "\\", "null")
    ]
    table = sent_message.c
    with engine.begin() as connection:
        connection.execute(insert(sent_message), rows)
        for column in (table.id, table.message_id):
            values = list(connection.execute(select(column)).scalars())
            for number in (0, 1, 3, len(values)):
                for ids in itertools.islice(itertools.combinations(values, number), 30):
                    chosen = select(column).where(among(connection.dialect, column, ids))
                    assert set(connection.execute(chosen).scalars()) == set(ids)


@pytest.mark.parametrize(
    "number", [0, 1, MAX_LISTED - 1, MAX_LISTED, MAX_LISTED + 1, 3 * MAX_LISTED]
)
def test_chunks_are_all_in_order_and_none_too_long(number: int) -> None:
    parts = list(chunks(list(range(number))))
    assert list(itertools.chain.from_iterable(parts)) == list(range(number))
    assert all(0 < len(part) <= MAX_LISTED for part in parts)


# --- BulkUpdate ---

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
UPDATE = BulkUpdate(
    sent_message,
    ["sender", "conflicting", "counted_credit", "changed_at"],
    {"counted_credit": "{old} + {new}", "changed_at": "coalesce({new}, {old})"},
)


def written(connection: Connection, at: datetime) -> object:
    """Return a time as the driver has it."""
    return instant_text(at) if connection.dialect.name == "sqlite" else at


def test_each_row_gets_its_own_values_and_no_other_row_any(engine: Engine) -> None:
    table = sent_message.c
    with engine.begin() as connection:
        for number in range(4):
            row = {"provider": "ants", "message_id": f"m{number}", "recipient": "66811111111"}
            more = {"counted_credit": 10, "changed_at": NOON, "sender": "OLD"}
            connection.execute(insert(sent_message), row | more)
        ids = connection.execute(select(table.id).order_by(table.id)).scalars().all()
        later = written(connection, NOON.replace(hour=13))
        there = UPDATE(
            connection,
            [
                {"id": ids[2], "sender": 'ร้าน "A"', "conflicting": True}
                | {"counted_credit": -3, "changed_at": later},
                {"id": ids[0], "sender": None, "conflicting": False}
                | {"counted_credit": 2**40, "changed_at": None},
            ],
        )
        assert sorted(there) == [ids[0], ids[2]]
        names = [table[name] for name in UPDATE.given.columns[1:]]
        rows = connection.execute(select(*names).order_by(table.id)).all()
    unchanged = ("OLD", False, 10, NOON)
    assert [tuple(row) for row in rows] == [
        (None, False, 2**40 + 10, NOON),
        unchanged,
        ('ร้าน "A"', True, 7, NOON.replace(hour=13)),
        unchanged,
    ]


def test_nothing_to_update_is_no_statement(engine: Engine) -> None:
    with engine.begin() as connection:
        assert UPDATE(connection, []) == []


def test_a_row_that_is_gone_is_not_named_where_another_can_have_deleted_it(engine: Engine) -> None:
    row = {"sender": "A", "conflicting": False, "counted_credit": 0, "changed_at": None}
    with engine.begin() as connection:
        there = UPDATE(connection, [{"id": 4711} | row])
    assert there == ([] if engine.dialect.name == "postgresql" else [4711])


@given(st.lists(st.booleans(), min_size=1, max_size=40))
def test_halving_finds_each_at_fault_and_does_the_others(faults: list[bool]) -> None:
    done: list[int] = []

    def work(numbers: Sequence[int]) -> list[str]:
        if any(faults[number] for number in numbers):
            raise ValueError
        done.extend(numbers)
        return [f"did {number}" for number in numbers]

    values = halve(
        range(len(faults)), work, lambda e: isinstance(e, ValueError), lambda n, _: f"not {n}"
    )
    assert values == [f"{'not' if wrong else 'did'} {n}" for n, wrong in enumerate(faults)]
    assert done == [n for n, wrong in enumerate(faults) if not wrong]


def test_halving_ends_at_what_is_nobodys_fault() -> None:
    def work(_items: Sequence[int]) -> list[int]:
        raise OSError

    with pytest.raises(OSError, match=r"^$"):
        halve([1, 2], work, lambda e: isinstance(e, ValueError), lambda n, _: n)
