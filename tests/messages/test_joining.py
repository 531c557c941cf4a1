"""Rows that turn out to be one message: nothing that was known or reported of it is lost."""

from __future__ import annotations

import threading
from datetime import UTC
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine, insert, select

from receiver.database.tables.callbacks import delivery_report
from receiver.database.tables.messages import sent_message
from receiver.database.transactions import retry
from receiver.domain.sent_message import SentMessage
from receiver.messages.recording import Recorded, record
from receiver.messages.submitted import submission
from receiver.settling import settle
from tests.ingest.test_store import together

if TYPE_CHECKING:
    from tests.conftest import Databases

NUMBER = "66811111111"


def sent(message_id: str | None = None, transaction_id: str | None = None, **more: Any) -> Any:
    ids = {"message_id": message_id, "transaction_id": transaction_id}
    return SentMessage(**{"recipient": NUMBER, **ids, **more})


def put(engine: Engine, *messages: SentMessage, provider: str = "ants") -> list[Recorded]:
    def once() -> list[Recorded]:
        with engine.begin() as connection:
            return record(connection, provider, messages)

    return retry(once)


def rows(engine: Engine) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.execute(select(sent_message).order_by(sent_message.c.id)))


def links(engine: Engine) -> list[int | None]:
    table = delivery_report.c
    with engine.connect() as connection:
        return list(connection.execute(select(table.sent_message_id).order_by(table.id)).scalars())


def say(engine: Engine, number: int, **values: Any) -> None:
    """Insert a report."""
    row = {
        "callback_id": "01900000-0000-7000-8000-000000000000",
        "position": 0,
        "provider": "ants",
        "provider_status": "X",
        "status": "delivered",
        "digest": number.to_bytes(16, "big"),
    }
    with engine.begin() as connection:
        connection.execute(insert(delivery_report), row | values)


def test_the_row_without_message_id_goes_and_what_it_knew_stays(engine: Engine) -> None:
    named, nameless = put(
        engine,
        sent("M", sender="S"),
        sent(None, "T", tag="t", reference="r", credit=Decimal(3), account="x", sender="lost"),
    )
    say(engine, 1, transaction_id="T", recipient=NUMBER, status="enroute")
    say(engine, 2, transaction_id="T", recipient=NUMBER, status="delivered")
    say(engine, 3, message_id="M", status="expired")
    settle.settle_all(engine)
    assert links(engine) == [nameless.id, nameless.id, named.id]
    (told,) = put(engine, sent("M", "T"))
    assert (told.id, told.new, told.reference) == (named.id, False, "r")
    settle.settle_all(engine)
    (row,) = rows(engine)
    assert (row.id, row.message_id, row.transaction_id) == (named.id, "M", "T")
    assert (row.tag, row.reference, row.credit, row.account, row.sender) == ("t", "r", 3, "x", "S")
    assert (row.status, row.conflicting) == ("delivered", True)
    assert links(engine) == [named.id] * 3


def test_a_report_without_a_number_finds_the_row_that_stays(engine: Engine) -> None:
    put(engine, sent(None, "T"))
    with engine.begin() as connection:  # another program recorded the same message
        row = {"provider": "ants", "recipient": NUMBER, "message_id": "M", "transaction_id": "T"}
        connection.execute(insert(sent_message), row)
    say(engine, 1, transaction_id="T")
    settle.settle_all(engine)
    assert [r.status for r in rows(engine)] == ["accepted", "accepted"]
    put(engine, sent("M", "T"))
    settle.settle_all(engine)
    assert [(r.message_id, r.status) for r in rows(engine)] == [("M", "delivered")]


def test_a_row_that_went_in_this_call_is_not_found_again_in_it(engine: Engine) -> None:
    put(engine, sent(None, "T", reference="r"))
    told = put(engine, sent("M"), sent("M", "T", tag="t"), sent(None, "T"))
    assert len({t.id for t in told}) == 1
    (row,) = rows(engine)
    assert (row.message_id, row.transaction_id, row.reference, row.tag) == ("M", "T", "r", "t")


def test_rows_of_two_accounts_are_not_joined(engine: Engine) -> None:
    put(engine, sent("M", account="x"), sent(None, "T", account="y"))
    put(engine, sent("M", "T", account="x"))
    found = {(r.message_id, r.transaction_id, r.account) for r in rows(engine)}
    assert found == {("M", "T", "x"), (None, "T", "y")}


def test_the_same_response_with_refused_numbers_is_recorded_once(engine: Engine) -> None:
    bad = [{"number": "0812", "message": "Invalid"}, {"number": "abc", "message": "Invalid"}]

    def refused(extra: dict[str, Any], **more: Any) -> list[SentMessage]:
        response = {"phone_number_list": [], "bad_phone_number_list": bad} | extra
        document = {"provider": "thaibulksms", "response": response, **more}
        return submission(document).sent_messages(UTC)

    first = put(engine, *refused({"a": 1, "b": 2}), provider="thaibulksms")
    assert [(t.recipient, t.status, t.refused, t.new) for t in first] == [
        ("0812", "rejected", True, True),
        ("abc", "rejected", True, True),
    ]
    again_ = put(engine, *refused({"b": 2, "a": 1}), provider="thaibulksms")
    assert [(t.id, t.new) for t in again_] == [(t.id, False) for t in first]
    for other in (
        refused({"a": 1, "b": 3}),
        refused({"a": 1, "b": 2}, account="otp"),
        refused({"a": 1, "b": 2}, sent_at="2026-11-21T10:00:00Z"),
    ):
        assert all(t.new for t in put(engine, *other, provider="thaibulksms"))
        assert not any(t.new for t in put(engine, *other, provider="thaibulksms"))
    assert len(rows(engine)) == 8


def test_joining_while_another_hand_settles(databases: Databases) -> None:
    engine = databases.open(databases.make("postgresql"))
    stop = threading.Event()

    def hand() -> None:
        while not stop.is_set():
            settle.settle_all(engine, portion=3)

    def recording() -> None:
        try:
            for n in range(40):
                put(engine, sent(None, f"t{n}"))
                say(engine, n, transaction_id=f"t{n}", recipient=NUMBER)
                put(engine, sent(f"m{n}"))
                put(engine, sent(f"m{n}", f"t{n}"))
        finally:
            stop.set()

    together([hand, recording])
    settle.settle_all(engine)
    assert [(r.message_id, r.status) for r in rows(engine)] == [
        (f"m{n}", "delivered") for n in range(40)
    ]
    assert links(engine) == [r.id for r in rows(engine)]
