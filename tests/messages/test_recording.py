"""Recording: one row for one message, whatever is said of it, how often, and in what order."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, event, insert, select, update

from receiver.database.failures import RaceError
from receiver.database.tables.messages import sent_message
from receiver.database.transactions import retry
from receiver.domain.sent_message import SentMessage
from receiver.messages.recording import FILLED, Recorded, record
from tests.ingest.test_store import deadlocks, together

if TYPE_CHECKING:
    from tests.conftest import Databases

ONE: Final = "66811111111"
TWO: Final = "66822222222"
SENT: Final = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)


def message(recipient: str = ONE, **said: Any) -> SentMessage:
    return SentMessage(recipient=recipient, **said)


def recorded(engine: Engine, *messages: SentMessage, provider: str = "ants") -> list[Recorded]:
    with engine.begin() as connection:
        return record(connection, provider, messages)


def rows(engine: Engine) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.execute(select(sent_message).order_by(sent_message.c.id)))


def seen(engine: Engine) -> list[dict[str, Any]]:
    """Return what recording decides of each row, in an order of its own."""
    names = ("provider", "recipient", "error", "refusal_key", "status", *FILLED)
    found = ({name: getattr(row, name) for name in names} for row in rows(engine))
    return sorted(found, key=repr)


def clear(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(sent_message.delete())


# --- Two at once ---------------------------------------------------------------------------------


def test_two_that_complete_different_rows_to_one_key_race(databases: Databases) -> None:
    """It is no error: who lost looks again, and finds the row of the other."""
    engine = databases.open(url := databases.make("postgresql"))
    recorded(engine, message(transaction_id="T1"), message(transaction_id="T2"))
    won: list[str] = []

    def win(_: Any, __: Any, statement: str, *_more: Any) -> None:
        if statement.startswith("UPDATE sent_message") and not won:
            won.append(statement)
            recorded(engine, message(transaction_id="T1", message_id="M"))

    event.listen(engine, "before_cursor_execute", win)
    with pytest.raises(RaceError):
        recorded(engine, message(transaction_id="T2", message_id="M"))
    event.remove(engine, "before_cursor_execute", win)
    (again_,) = recorded(engine, message(transaction_id="T2", message_id="M"))
    assert (again_.message_id, again_.new) == ("M", False)
    databases.drop(url)


# --- New rows ------------------------------------------------------------------------------------


def test_a_new_row_is_unsettled_and_has_the_databases_time(engine: Engine) -> None:
    (first,) = recorded(engine, message(message_id="M", credit=Decimal("0.5"), tag="t"))
    (second,) = recorded(engine, message(transaction_id="T", sent_at=SENT))
    one, two = rows(engine)
    assert (first.id, second.id) == (one.id, two.id)
    assert (first.new, first.refused, first.status) == (True, False, "accepted")
    assert (one.message_id, one.transaction_id, one.tag) == ("M", None, "t")
    assert (one.credit, one.account) == (Decimal("0.5"), "")
    assert (one.settled_at, one.changed_at, one.report_id, one.done_at) == (None,) * 4
    assert abs(one.sent_at - datetime.now(UTC)) < timedelta(minutes=1)
    assert two.sent_at == SENT
    assert one.recorded_at <= two.recorded_at


def test_a_refused_one_is_rejected(engine: Engine) -> None:
    (refused,) = recorded(engine, message("12", error="no number", refusal_key=b"k" * 16))
    assert (refused.refused, refused.status, refused.new) == (True, "rejected", True)
    (row,) = rows(engine)
    assert (row.status, row.recipient, row.error) == ("rejected", "12", "no number")


def test_nothing_is_recorded_of_nothing(engine: Engine) -> None:
    assert recorded(engine) == []
    assert rows(engine) == []


def test_answers_are_in_the_order_of_the_messages(engine: Engine) -> None:
    some = [message(message_id=f"M{n}", sent_at=SENT if n % 2 else None) for n in range(20)]
    assert [r.message_id for r in recorded(engine, *some)] == [f"M{n}" for n in range(20)]
    back = recorded(engine, *some[::-1])
    assert [r.message_id for r in back] == [f"M{n}" for n in reversed(range(20))]
    assert not any(r.new for r in back)


# --- Completing ----------------------------------------------------------------------------------


def test_only_what_is_empty_is_filled(engine: Engine) -> None:
    recorded(engine, message(message_id="M", sender="A", credit=Decimal(0), sent_at=SENT))
    other = message(
        message_id="M", transaction_id="T", sender="B", tag="t", reference="r", account="x",
        credit=Decimal(5), error="no", sent_at=SENT + timedelta(days=1),
    )  # fmt: skip
    (again_,) = recorded(engine, other)
    assert (again_.new, again_.transaction_id, again_.reference) == (False, "T", "r")
    (row,) = rows(engine)
    assert (row.sender, row.tag, row.reference, row.account) == ("A", "t", "r", "x")
    assert (row.credit, row.error, row.sent_at) == (Decimal(0), None, SENT)
    recorded(engine, message(message_id="M", tag="u", account="x"))
    assert rows(engine)[0].tag == "t"


def test_a_credit_of_nothing_is_a_credit(engine: Engine) -> None:
    recorded(engine, message(message_id="M"))
    recorded(engine, message(message_id="M", credit=Decimal(0)))
    assert rows(engine)[0].credit == Decimal(0)


def test_a_row_that_is_completed_is_unsettled_and_one_that_is_not_stays(engine: Engine) -> None:
    recorded(engine, message(message_id="M"))
    for said, settled in (({}, True), ({"message_id": "M"}, True), ({"tag": "t"}, False)):
        with engine.begin() as connection:
            connection.execute(update(sent_message).values(settled_at=SENT))
        recorded(engine, message(**{"message_id": "M"} | said))
        assert (rows(engine)[0].settled_at is not None) == settled


@pytest.mark.parametrize(
    ("first", "second", "count"),
    [
        ({"message_id": "M"}, {"message_id": "M"}, 1),
        ({"message_id": "M"}, {"message_id": "m"}, 2),
        ({"message_id": "M"}, {"message_id": "M", "recipient": TWO}, 2),
        ({"message_id": "M"}, {"transaction_id": "M"}, 2),
        ({"message_id": "M", "account": "x"}, {"message_id": "M"}, 1),
        ({"message_id": "M"}, {"message_id": "M", "account": "x"}, 1),
        ({"message_id": "M", "account": "x"}, {"message_id": "M", "account": "y"}, 2),
        ({"transaction_id": "T"}, {"transaction_id": "T"}, 1),
        ({"transaction_id": "T"}, {"transaction_id": "T", "recipient": TWO}, 2),
        ({"transaction_id": "T", "account": "x"}, {"transaction_id": "T"}, 1),
        ({"transaction_id": "T", "account": "x"}, {"transaction_id": "T", "account": "y"}, 2),
        ({"transaction_id": "T"}, {"transaction_id": "T", "message_id": "M"}, 1),
        ({"transaction_id": "T", "message_id": "M"}, {"transaction_id": "T"}, 1),
        ({"transaction_id": "T", "message_id": "M"}, {"transaction_id": "T", "message_id": "N"}, 2),
        ({"message_id": "M"}, {"transaction_id": "T", "message_id": "M"}, 1),
        ({"message_id": "M", "transaction_id": "T"}, {"message_id": "M", "transaction_id": "U"}, 1),
    ],
)
def test_which_row_a_record_is(
    engine: Engine, first: dict[str, Any], second: dict[str, Any], count: int
) -> None:
    for said in (first, second, first, second):
        recorded(engine, message(**said))
    assert len(rows(engine)) == count
    clear(engine)
    found = recorded(engine, message(**first), message(**second), message(**first))
    assert sum(r.new for r in found) == count == len(rows(engine))


def test_the_same_ids_of_another_provider_are_another_message(engine: Engine) -> None:
    for provider in ("ants", "thaibulksms", "ants"):
        recorded(engine, message(message_id="M", transaction_id="T"), provider=provider)
    assert [row.provider for row in rows(engine)] == ["ants", "thaibulksms"]


def test_where_it_may_be_any_of_several_it_adds_nothing(engine: Engine) -> None:
    for name in "MN":
        recorded(engine, message(message_id=name, transaction_id="T"))
    for account in "xy":
        recorded(engine, message(message_id="O", account=account))
    before = rows(engine)
    for said in ({"transaction_id": "T"}, {"message_id": "O"}):
        (found,) = recorded(engine, message(tag="t", **said))
        assert not found.new
        assert rows(engine) == before
    # One that names a message is never lost, though.
    for account in "xy":
        recorded(engine, message(transaction_id="U", account=account))
    (new,) = recorded(engine, message(message_id="P", transaction_id="U"))
    assert (new.new, new.message_id) == (True, "P")


def test_refusals_are_known_by_their_key(engine: Engine) -> None:
    keys = [n.to_bytes(16, "big") for n in range(1200)]
    refusals = [message("12", error="no", refusal_key=key) for key in keys]
    assert sum(r.new for r in recorded(engine, *refusals, refusals[0])) == 1200
    assert sum(r.new for r in recorded(engine, *refusals[::-1])) == 0
    assert recorded(engine, replace(refusals[0], refusal_key=b"z" * 16))[0].new


# --- Joining -------------------------------------------------------------------------------------


@pytest.mark.parametrize("account", ["", "x"])
@pytest.mark.parametrize("at_once", [True, False])
def test_a_record_with_both_ids_joins_the_two_rows(
    engine: Engine, account: str, *, at_once: bool
) -> None:
    parts = [
        message(message_id="M", sender="A"),
        message(transaction_id="T", sender="B", tag="t", account=account),
        message(message_id="M", transaction_id="T"),
    ]
    if at_once:
        found = recorded(engine, *parts)
        assert [r.new for r in found] == [True, False, False]
        assert len({r.id for r in found}) == 1
    else:
        for part in parts[:2]:
            recorded(engine, part)
        with engine.begin() as connection:
            connection.execute(update(sent_message).values(settled_at=SENT))
        (joined,) = recorded(engine, parts[2])
        assert not joined.new
    (row,) = rows(engine)
    assert (row.message_id, row.transaction_id, row.account) == ("M", "T", account)
    assert (row.sender, row.tag, row.settled_at) == ("A", "t", None)


def test_rows_that_cannot_be_one_are_not_joined(engine: Engine) -> None:
    recorded(engine, message(message_id="M", account="x"))
    recorded(engine, message(transaction_id="T", account="y"))
    recorded(engine, message(transaction_id="T", recipient=TWO, account="x"))
    recorded(engine, message(message_id="M", transaction_id="T", account="x"))
    assert len(rows(engine)) == 3


def test_rows_that_other_programs_made_never_stand_in_the_way(engine: Engine) -> None:
    """Filling them in would make two rows with the same key: then they stay as they are."""
    given = {"provider": "ants", "recipient": ONE}
    keys = ({"account": "x", "message_id": "M"}, {"account": "y", "message_id": "M"},
            {"transaction_id": "T"}, {"account": "x", "transaction_id": "T"})  # fmt: skip
    with engine.begin() as connection:
        for key in keys:
            connection.execute(insert(sent_message), given | key)
    for account in ("", "x", "y", "z", ""):
        said = message(message_id="M", transaction_id="T", account=account)
        recorded(engine, said)
        assert not recorded(engine, said)[0].new
    with engine.begin() as connection:
        for key in (
            {"message_id": "N"},
            {"message_id": "N", "account": "x"},
            {"transaction_id": "U", "account": "x"},
        ):
            connection.execute(insert(sent_message), given | key)
    recorded(engine, message(message_id="N", transaction_id="U"))
    found = [(r.account, r.transaction_id) for r in rows(engine) if r.message_id == "N"]
    assert found == [("", "U"), ("x", None)]


# --- Any order, any repetition -------------------------------------------------------------------

# Each message has its own message id and number, and its own transaction and number.
WORLD: Final = [
    {"message_id": "A", "transaction_id": "T", "recipient": ONE, "account": "x"},
    {"message_id": "B", "transaction_id": "T", "recipient": TWO, "account": ""},
    {"message_id": "C", "transaction_id": "U", "recipient": ONE, "account": "y"},
    {"message_id": "A", "transaction_id": "U", "recipient": TWO, "account": "x"},
]
MORE: Final = {"sender": "S", "tag": "t", "reference": "r", "credit": Decimal(0)}


@st.composite
def parts(draw: st.DrawFn) -> tuple[int, dict[str, Any]]:
    """Draw a message, and some of what there is to say of it."""
    place = draw(st.integers(0, len(WORLD) - 1))
    ids = draw(st.sampled_from([("message_id",), ("transaction_id",), ("message_id",) * 2,
                                ("message_id", "transaction_id")]))  # fmt: skip
    names = {"recipient", *ids, *draw(st.sets(st.sampled_from(["account"])))}
    more = draw(st.sets(st.sampled_from(sorted(MORE))))
    return place, {n: v for n, v in WORLD[place].items() if n in names} | {n: MORE[n] for n in more}


def meant(said: Sequence[tuple[int, dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return the rows that must come of it: one for each message whose ids were joined."""
    found = []
    for place in range(len(WORLD)):
        mine = [part for where, part in said if where == place]
        groups = [mine]
        if not any(part.keys() >= {"message_id", "transaction_id"} for part in mine):
            names = ("message_id", "transaction_id")
            groups = [[part for part in mine if name in part] for name in names]
        for group in filter(None, groups):
            row: dict[str, Any] = dict.fromkeys((*FILLED, "error", "refusal_key"))
            row |= {"provider": "ants", "status": "accepted", "account": ""}
            for part in group:
                row |= part
            found.append(row)
    return sorted(({n: row[n] for n in sorted(row)} for row in found), key=repr)


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(said=st.lists(parts(), min_size=1, max_size=7), data=st.data())
def test_any_order_and_repetition_of_records_gives_one_set_of_rows(
    engine: Engine, said: list[tuple[int, dict[str, Any]]], data: st.DataObject
) -> None:
    clear(engine)
    more = data.draw(st.lists(st.sampled_from(said), max_size=3))
    waiting = data.draw(st.permutations([*said, *more]))
    made = 0
    while waiting:
        size = data.draw(st.integers(1, len(waiting)))
        call, waiting = waiting[:size], waiting[size:]
        before = len(rows(engine))
        messages = [message(**part) for _, part in call]
        new = sum(r.new for r in recorded(engine, *messages))
        made += new
        assert len(rows(engine)) <= before + new
        assert not any(r.new for r in recorded(engine, *messages))
    found = [{n: row[n] for n in sorted(row)} for row in seen(engine)]
    assert sorted(found, key=repr) == meant(said)
    assert made >= len(found)


ids = st.sampled_from([None, "A", "B"])


def is_sound(said: dict[str, Any]) -> bool:
    return bool(said["message_id"] or said["transaction_id"] or said["error"])


messages_ = st.fixed_dictionaries(
    {
        "recipient": st.sampled_from([ONE, TWO]),
        "message_id": ids,
        "transaction_id": ids,
        "account": st.sampled_from(["", "x", "y"]),
        "error": st.sampled_from([None, None, None, "no"]),
    }
).filter(is_sound)


def sound(said: dict[str, Any]) -> SentMessage:
    key = None if said["message_id"] or said["transaction_id"] else b"k" * 16
    return message(**said, refusal_key=key)


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(calls=st.lists(st.lists(messages_.map(sound), min_size=1, max_size=4), max_size=5))
def test_whatever_is_there_the_same_call_again_adds_nothing(
    engine: Engine, calls: list[list[SentMessage]]
) -> None:
    """Also where ids are shared and nobody can say which message is meant."""
    clear(engine)
    for call in calls:
        first = recorded(engine, *call)
        before = rows(engine)
        again_ = recorded(engine, *call)
        assert not any(r.new for r in again_)
        assert {r.id for r in first} <= {row.id for row in before}
        assert {row.id for row in rows(engine)} <= {row.id for row in before}


# --- Several at once -----------------------------------------------------------------------------


def insist(engine: Engine, messages: Sequence[SentMessage]) -> list[Recorded]:
    """Record as the writer does: looking again when somebody else was quicker."""
    return retry(partial(recorded, engine, *messages), attempts=1000)


def test_equal_calls_of_several_receivers_are_one_record(databases: Databases) -> None:
    engine = databases.open(databases.make("postgresql"))
    said = [message(message_id=f"m{n}", transaction_id=f"t{n // 3}") for n in range(20)]
    said += [message(transaction_id=f"u{n}") for n in range(20)]
    said += [message("1", error="no", refusal_key=n.to_bytes(16, "big")) for n in range(20)]

    def receiver(number: int) -> Callable[[], int]:
        mine = random.Random(number).sample(said, len(said))
        return lambda: sum(r.new for r in insist(engine, mine))

    assert sum(together([receiver(number) for number in range(8)])) == 60
    assert len(rows(engine)) == 60
    assert deadlocks(engine) == 0


def test_several_receivers_that_complete_the_same_rows(databases: Databases) -> None:
    engine = databases.open(databases.make("postgresql"))
    names = [f"m{n}" for n in range(25)]
    recorded(engine, *(message(message_id=name) for name in names))
    fields: list[dict[str, Any]] = [{"sender": "S"}, {"tag": "t"}, {"reference": "r"},
                                    {"credit": Decimal(1)}, {"account": "x"}]  # fmt: skip

    def receiver(number: int) -> Callable[[], object]:
        mine = random.Random(number).sample(names, len(names))
        said = [message(message_id=name, **fields[number]) for name in mine]
        return lambda: insist(engine, said)

    together([receiver(number) for number in range(len(fields))])
    found = {(r.sender, r.tag, r.reference, r.credit, r.account) for r in rows(engine)}
    assert found == {("S", "t", "r", Decimal(1), "x")}
    assert len(rows(engine)) == 25


def test_whoever_is_late_is_told_to_look_again(databases: Databases) -> None:
    engine = databases.open(databases.make("postgresql"))
    with engine.connect() as slow:
        slow.begin()
        record(slow, "ants", [message(message_id="M")])

        def late() -> object:
            with pytest.raises(RaceError):
                recorded(engine, message(message_id="M"))
            return recorded(engine, message(message_id="M"))[0].new

        def commit() -> object:
            waits = "SELECT count(*) FROM pg_locks WHERE NOT granted"
            with engine.connect() as other:
                while not other.exec_driver_sql(waits).scalar():
                    other.rollback()
            slow.commit()
            return None

        assert together([late, commit]) == [False, None]
    assert len(rows(engine)) == 1
