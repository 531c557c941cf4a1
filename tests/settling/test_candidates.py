"""What comes nearest to a report that belongs to no message, and what is looked up how."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, RowMapping, func, insert, select
from sqlalchemy.exc import IntegrityError

from receiver.database.tables.callbacks import delivery_report
from receiver.database.tables.messages import sent_message
from receiver.domain.status import group_of
from receiver.messages import search
from receiver.settling import settle
from receiver.settling.candidates import MAX_CANDIDATES, Nearness, nearest, spellings

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW: Final = datetime.now(UTC)
NUMBER: Final = "66812345678"
OTHER: Final = "66899999999"
HERE: Final = {"provider": "ants", "recipient": NUMBER}
ERASED: Final = {"recipient": None, "erased_at": NOW}


@pytest.fixture
def connection(engine: Engine) -> Iterator[Connection]:
    with engine.begin() as made:
        yield made


def send(connection: Connection, **values: Any) -> None:
    row = HERE | {"sent_at": NOW - timedelta(minutes=1)} | values
    connection.execute(insert(sent_message).values(row))


def tell(connection: Connection, **values: Any) -> list[Nearness]:
    """Report something that settling links to nothing; return how the nearest differ."""
    id_ = settled(connection, **values)["id"]
    report = search.report(connection, str(id_))
    assert report, "it was matched"
    return [one.nearness for one in nearest(connection, report).near]


def settled(connection: Connection, **values: Any) -> RowMapping:
    """Report something, and settle it; return the report."""
    row = HERE | {
        "callback_id": "01938f00-0000-7000-8000-000000000001", "position": 0, "status": "delivered",
        "provider_status": "DELIVRD", "received_at": NOW,
        "digest": hashlib.blake2b(repr(values).encode(), digest_size=16).digest(),
    } | values  # fmt: skip
    connection.execute(insert(delivery_report).values(row))
    while settle.settle(connection).more:
        pass
    return connection.execute(select(delivery_report)).mappings().one()


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
    ([{"message_id": "m", **ERASED}] * 2, {"message_id": "m"}, [Nearness.SEVERAL] * 2),
    ([{"transaction_id": "t", "account": "a"}, {"transaction_id": "t", "account": "b"}],
     {"transaction_id": "t"}, [Nearness.SEVERAL] * 2),
    ([{"transaction_id": "t", "message_id": "x", **ERASED}],
     {"transaction_id": "t", "message_id": "m"}, [Nearness.TRANSACTION]),
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


IDS: Final = st.sampled_from(["m", "t"])
ACCOUNTS: Final = st.sampled_from(["", "", "a", "b"])
MESSAGES: Final = st.lists(
    st.fixed_dictionaries(
        {
            "provider": st.sampled_from(["ants", "ants", "engagelab"]),
            "account": ACCOUNTS,
            "message_id": st.sampled_from(["m", "m", "t", None]),
            "transaction_id": IDS,
            "error": st.sampled_from([None, None, "no"]),
            "recipient": st.sampled_from([NUMBER, OTHER, None, None]),
        },
    ),
    min_size=2,
    max_size=4,
)
REPORT: Final = st.fixed_dictionaries(
    {
        "account": ACCOUNTS,
        "message_id": st.sampled_from(["m", "m", "t", None]),
        "transaction_id": IDS,
        "recipient": st.sampled_from([NUMBER, NUMBER, OTHER, None]),
        "erased_at": st.sampled_from([None, None, NOW]),
    }
)


@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(messages=MESSAGES, reported=REPORT)
def test_what_settling_would_link_is_not_blamed(
    connection: Connection, messages: list[dict[str, Any]], reported: dict[str, Any]
) -> None:
    """Of each message settling itself says whether it would be the report's if it were alone."""
    linkable = []
    for message in messages:
        if message["recipient"] is None:
            message["erased_at"] = NOW
        with connection.begin_nested() as alone:
            send(connection, **message)
            linkable.append(settled(connection, **reported)["sent_message_id"] is not None)
            alone.rollback()
    ids: dict[int, bool] = {}
    with connection.begin_nested() as together:
        for message, is_linkable in zip(messages, linkable, strict=True):
            with suppress(IntegrityError), connection.begin_nested():
                send(connection, **message)
                ids[connection.execute(select(func.max(sent_message.c.id))).scalar_one()] = (
                    is_linkable
                )
        report = settled(connection, **reported)
        if report["sent_message_id"] is None:
            is_bare = report["message_id"] is None and report["recipient"] is None
            one_of = {Nearness.SEVERAL} | ({Nearness.TRANSACTION} if is_bare else set())
            for near in nearest(connection, report).near:
                is_taken = ids[near.message["id"]]
                assert near.nearness in one_of or not is_taken, near
        together.rollback()


def test_every_nearness_has_a_case() -> None:
    assert {one for _, _, near in CASES for one in near} == set(Nearness)


def test_the_likeliest_comes_first_and_each_message_once(connection: Connection) -> None:
    send(connection, message_id="m", account="a")
    send(connection, message_id="x")
    assert tell(connection, message_id="m", account="b") == [Nearness.ACCOUNT, Nearness.NUMBER]


def test_many_that_are_near_are_cut_short(connection: Connection) -> None:
    rows = [HERE | {"message_id": f"x{n}", "sent_at": NOW} for n in range(MAX_CANDIDATES + 20)]
    connection.execute(insert(sent_message), rows)
    assert len(tell(connection, message_id="m")) == MAX_CANDIDATES


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
        where, _ = search.conditions(connection, kind, search.Search(text=text))
        statement = select(kind.table.c.id).where(*where).order_by(kind.table.c[kind.time].desc())
        literal = statement.limit(25).compile(
            connection.engine, compile_kwargs={"literal_binds": True}
        )
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {literal}").all()
        scans = [row[3] for row in plan if row[3].startswith("SCAN") and " INDEX" not in row[3]]
        assert not [s for s in scans if kind.table.name in s], (kind.table.name, text, plan)
