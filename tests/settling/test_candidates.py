"""What comes nearest to a report that belongs to no message, and what is looked up how."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest
from sqlalchemy import Connection, Engine, insert, select

from receiver.database.tables.callbacks import delivery_report
from receiver.database.tables.messages import sent_message
from receiver.domain.status import group_of
from receiver.messages import search
from receiver.settling import settle
from receiver.settling.candidates import FOUND_MAX, Nearness, nearest, spellings

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW: Final = datetime.now(UTC)
NUMBER: Final = "66812345678"
OTHER: Final = "66899999999"
HERE: Final = {"provider": "ants", "recipient": NUMBER}


@pytest.fixture
def connection(engine: Engine) -> Iterator[Connection]:
    with engine.begin() as made:
        yield made


def send(connection: Connection, **values: Any) -> None:
    row = HERE | {"sent_at": NOW - timedelta(minutes=1)} | values
    connection.execute(insert(sent_message).values(row))


def tell(connection: Connection, **values: Any) -> list[Nearness]:
    """Report something that settling links to nothing; return how the nearest differ."""
    row = HERE | {
        "callback_id": "01938f00-0000-7000-8000-000000000001", "position": 0, "status": "delivered",
        "provider_status": "DELIVRD", "received_at": NOW,
        "digest": hashlib.blake2b(repr(values).encode(), digest_size=16).digest(),
    } | values  # fmt: skip
    connection.execute(insert(delivery_report).values(row))
    while settle.settle(connection).more:
        pass
    id_ = connection.execute(select(delivery_report.c.id)).scalar_one()
    report = search.report(connection, str(id_))
    assert report, "it was matched"
    return [one.nearness for one in nearest(connection, report).near]


CASES: Final[list[tuple[list[dict[str, Any]], dict[str, Any], list[Nearness]]]] = [
    ([], {"message_id": "m"}, []),
    ([{"message_id": "AbC"}], {"message_id": "abc"}, [Nearness.CASE]),
    ([{"message_id": "AbC"}], {"message_id": "abC", "recipient": None}, []),
    ([{"message_id": "ABC"}], {"message_id": "aBc", "recipient": None}, [Nearness.CASE]),
    ([{"message_id": "123"}], {"message_id": "00123", "recipient": None}, [Nearness.ZEROS]),
    ([{"message_id": "00123"}], {"message_id": "123", "recipient": None}, [Nearness.ZEROS]),
    ([{"message_id": "m", "provider": "engagelab"}], {"message_id": "m"}, [Nearness.PROVIDER]),
    ([{"message_id": "m", "account": "a"}], {"message_id": "m", "account": "b"},
     [Nearness.ACCOUNT]),
    ([{"message_id": "m", "recipient": OTHER}], {"message_id": "m"}, [Nearness.RECIPIENT]),
    ([{"message_id": "m", "recipient": OTHER}, {"message_id": "m"}],
     {"message_id": "m", "recipient": None}, [Nearness.SEVERAL] * 2),
    ([{"transaction_id": "m", "recipient": OTHER}], {"message_id": "m"}, [Nearness.SWAPPED]),
    ([{"transaction_id": "t", "message_id": "1"}, {"transaction_id": "t", "message_id": "2"}],
     {"transaction_id": "t", "recipient": None}, [Nearness.TRANSACTION] * 2),
    ([{"transaction_id": "t", "error": "no"}], {"transaction_id": "t", "recipient": None},
     [Nearness.REFUSED]),
    ([{"transaction_id": "t", "recipient": OTHER}], {"transaction_id": "t"},
     [Nearness.RECIPIENT]),
    ([{"transaction_id": "7"}], {"transaction_id": "07", "recipient": None}, [Nearness.ZEROS]),
    ([{"message_id": "x"}], {"message_id": "m"}, [Nearness.NUMBER]),
    ([{"message_id": "x", "sent_at": NOW - timedelta(days=9)}], {"message_id": "m"}, []),
]  # fmt: skip


@pytest.mark.parametrize(("sent", "reported", "near"), CASES)
def test_nearest(
    connection: Connection,
    sent: list[dict[str, Any]],
    reported: dict[str, Any],
    near: list[Nearness],
) -> None:
    for row in sent:
        send(connection, **row)
    assert tell(connection, **reported) == near


def test_every_nearness_has_a_case() -> None:
    assert {one for _, _, near in CASES for one in near} == set(Nearness)


def test_the_likeliest_comes_first_and_each_message_once(connection: Connection) -> None:
    send(connection, message_id="m", account="a")
    send(connection, message_id="x")
    assert tell(connection, message_id="m", account="b") == [Nearness.ACCOUNT, Nearness.NUMBER]


def test_many_that_are_near_are_cut_short(connection: Connection) -> None:
    rows = [HERE | {"message_id": f"x{n}", "sent_at": NOW} for n in range(FOUND_MAX + 20)]
    connection.execute(insert(sent_message), rows)
    assert len(tell(connection, message_id="m")) == FOUND_MAX


def test_spellings_are_few() -> None:
    assert {"aB", "ab", "AB"} <= set(spellings("aB"))
    assert {"7", "07", "007"} <= set(spellings("07"))
    assert len(spellings("0" * 200)) < 20


def test_states_are_the_groups_of_the_figures(connection: Connection) -> None:
    for status in ("accepted", "enroute", "delivered", "expired", "unknown"):
        send(connection, message_id=status, status=status, report_id=1)
    send(connection, message_id="silent")
    send(connection, message_id="refused", error="no")
    table = sent_message.c
    for row in connection.execute(select(sent_message)).mappings().all():
        reported, refused = row["report_id"] is not None, row["error"] is not None
        name = group_of(row["status"], reported=reported, refused=refused)
        for state, condition in search.STATES.items():
            found = connection.execute(select(table.id).where(condition, table.id == row["id"]))
            assert (found.first() is not None) == (state == name), (state, row)


def test_what_is_named_is_looked_up_by_indexes(connection: Connection) -> None:
    if connection.dialect.name != "sqlite":
        pytest.skip("planners of PostgreSQL scan small tables whatever the indexes")
    for kind, text in (
        (search.MESSAGES, "m"), (search.UNMATCHED, "m"), (search.UNREADABLE, "x"),
        (search.MESSAGES, ""), (search.MESSAGES, "tag"), (search.UNMATCHED, "tag"),
    ):  # fmt: skip
        where, _ = search.conditions(connection, kind, search.Asked(text=text))
        statement = select(kind.table.c.id).where(*where).order_by(kind.table.c[kind.time].desc())
        literal = statement.limit(25).compile(
            connection.engine, compile_kwargs={"literal_binds": True}
        )
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {literal}").all()
        scans = [row[3] for row in plan if row[3].startswith("SCAN") and " INDEX" not in row[3]]
        assert not [s for s in scans if kind.table.name in s], (kind.table.name, text, plan)
