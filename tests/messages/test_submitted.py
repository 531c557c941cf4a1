"""What the sending application hands in becomes sent messages, or every fault is named."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from receiver.domain.errors import ProviderRefusalError, RecordError
from receiver.domain.sent_message import SentMessage
from receiver.messages.submitted import submission
from receiver.providers import PROVIDERS

BANGKOK = ZoneInfo("Asia/Bangkok")
NUMBER = "66812345678"
MARK = "hunter2"

V2: dict[str, Any] = {
    "phone_number_list": [{"number": NUMBER, "message_id": "m1", "used_credit": 1}],
    "bad_phone_number_list": [{"number": "0123", "message": "bad number"}],
}
V1 = (
    "<SMS><QUEUE><Msisdn>0812345678</Msisdn><Status>1</Status><Transaction>t1</Transaction>"
    "<UsedCredit>1</UsedCredit></QUEUE></SMS>"
)
ANTS: dict[str, Any] = {
    "bulkId": "b1",
    "details": [
        {"messageId": "a1", "to": NUMBER, "credit": 1, "status": {"name": "PENDING"}},
        {"to": "nobody", "status": {"name": "REJECTED", "code": "7", "description": "no"}},
    ],
}


def read(document: object) -> list[SentMessage]:
    return submission(document).sent_messages(BANGKOK)


def records(*messages: object, **common: Any) -> list[SentMessage]:
    return read({"provider": "ants", "messages": list(messages), **common})


def record(**values: Any) -> dict[str, Any]:
    return {"message_id": "m", "recipient": NUMBER, **values}


def one(**values: Any) -> SentMessage:
    (message,) = records(record(**values))
    return message


def problems(document: object) -> list[str]:
    """Return what is said of a document that is refused, none of its values among it."""
    with pytest.raises(RecordError) as caught:
        read(document)
    said = caught.value.problems
    assert str(caught.value) == "; ".join(said)
    assert MARK not in repr(said)
    return said


def faults(*messages: object, **common: Any) -> list[str]:
    return problems({"provider": "ants", "messages": list(messages), **common})


# Responses


def forms(response: dict[str, Any]) -> list[object]:
    return [response, [response], json.dumps(response), json.dumps([response], indent=2)]


@pytest.mark.parametrize("response", forms(V2))
def test_thaibulksms_responses(response: object) -> None:
    good, bad = read({"provider": "thaibulksms", "response": response, "account": "otp"})
    assert good == SentMessage(recipient=NUMBER, message_id="m1", credit=Decimal(1), account="otp")
    assert (bad.recipient, bad.error, bad.message_id) == ("0123", "bad number", None)
    assert bad.refusal_key is not None and len(bad.refusal_key) == 16


def test_thaibulksms_xml() -> None:
    assert read({"provider": "thaibulksms", "response": f"\n{V1}"}) == [
        SentMessage(recipient=NUMBER, transaction_id="t1", credit=Decimal(1))
    ]


@pytest.mark.parametrize("response", forms(ANTS))
def test_ants_responses(response: object) -> None:
    good, bad = read({"provider": "ants", "response": response})
    assert good == SentMessage(
        recipient=NUMBER, message_id="a1", transaction_id="b1", credit=Decimal(1)
    )
    assert (bad.recipient, bad.error, bad.transaction_id) == ("nobody", "REJECTED (7): no", "b1")
    assert bad.refusal_key is None  # its bulk is its id


def test_ants_xml() -> None:
    response = (
        "<response><bulkId>b1</bulkId><details><detail><messageId>a1</messageId>"
        f"<to>{NUMBER}</to></detail></details></response>"
    )
    assert read({"provider": "ants", "response": response}) == [
        SentMessage(recipient=NUMBER, message_id="a1", transaction_id="b1")
    ]


def test_what_is_said_for_all_goes_to_every_message_of_a_response() -> None:
    common = {"account": "otp", "sender": "ACME", "tag": "c", "reference": "o", "sent_at": None}
    for message in read({"provider": "ants", "response": ANTS, **common}):
        assert (message.account, message.sender) == ("otp", "ACME")
        assert (message.tag, message.reference, message.sent_at) == ("c", "o", None)
    (kept,) = read({"provider": "thaibulksms", "response": V1, "transaction_id": "other"})
    assert kept.transaction_id == "t1"  # the provider's own word


@pytest.mark.parametrize(
    ("provider", "response", "words"),
    [
        (
            "thaibulksms",
            {"error": {"code": 101, "name": "ERROR_X", "description": "No credit"}},
            "ERROR_X (101): No credit",
        ),
        ("thaibulksms", "<SMS><status>0</status><detail>No credit</detail></SMS>", "No credit"),
        ("ants", {"status": {"name": "REJECTED", "description": "No credit"}}, "No credit"),
    ],
)
def test_an_error_of_the_provider_is_in_its_words(
    provider: str, response: object, words: str
) -> None:
    with pytest.raises(ProviderRefusalError) as caught:
        read({"provider": provider, "response": response})
    assert words in str(caught.value)


@pytest.mark.parametrize("provider", ["ants", "thaibulksms"])
@pytest.mark.parametrize(
    "response", [5, True, "", MARK, "{", "<a", [], {}, [5], "null", f'"{MARK}"', {"a": MARK}]
)
def test_a_response_that_cannot_be_read(provider: str, response: object) -> None:
    said = problems({"provider": provider, "response": response})
    assert len(said) == 1 and said[0].startswith("response: ")


def test_wrong_entries_of_a_response_are_all_named() -> None:
    response = {"details": [{"messageId": "a", "to": MARK}, ANTS["details"][0], {"to": NUMBER}]}
    (said,) = problems({"provider": "ants", "response": response})
    assert "details[0].to: expected" in said and "details[2]: expected" in said
    assert "details[1]" not in said


def test_what_is_wrong_for_all_is_named_once() -> None:
    said = problems({"provider": "ants", "response": ANTS, "account": f"{MARK}\0"})
    assert said == ["account: expected text, got a NUL or half a character"]


def test_deep_nesting() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    for response in ({**ANTS, "x": deep}, {**ANTS, "bulkId": deep}, deep):
        assert problems({"provider": "ants", "response": response})[0].startswith("response: ")
    text = json.dumps(ANTS)[:-1] + f', "x": {"[" * 1_000}{"]" * 1_000}}}'
    assert "at most 100 deep" in problems({"provider": "ants", "response": text})[0]
    xml = f"<a>{'<b>' * 60}{'</b>' * 60}</a>"
    assert "deep" in problems({"provider": "ants", "response": xml})[0]
    assert faults(record(message_id=deep), record(x=deep), deep) == [
        "messages[0].message_id: expected a valid string",
        "messages[1].x: Extra inputs are not permitted",
        "messages[2]: expected an object",
    ]


# Records


def test_a_record_with_every_field() -> None:
    values: dict[str, Any] = {
        "message_id": " m ",
        "transaction_id": 17,
        "recipient": "081-234-5678",
        "credit": "1.50",
        "sender": "ACME",
        "tag": "แคมเปญ",
        "reference": "order-7",
        "account": "otp",
        "sent_at": "2026-11-21T10:00:00+07:00",
        "error": "refused",
    }
    assert records(values) == [
        SentMessage(
            message_id="m",
            transaction_id="17",
            recipient=NUMBER,
            credit=Decimal("1.5"),
            sender="ACME",
            tag="แคมเปญ",
            reference="order-7",
            account="otp",
            sent_at=datetime(2026, 11, 21, 3, tzinfo=UTC),
            error="refused",
        )
    ]


def test_a_record_may_say_otherwise_than_what_is_said_for_all() -> None:
    common = {
        "account": "otp",
        "sender": "ACME",
        "tag": "c",
        "reference": "o",
        "transaction_id": "t",
        "sent_at": "2026-11-21T10:00:00Z",
    }
    first, second = records(
        {"recipient": NUMBER}, record(account="own", sender="", tag=None), **common
    )
    at = datetime(2026, 11, 21, 10, tzinfo=UTC)
    assert first == SentMessage(
        recipient=NUMBER,
        account="otp",
        sender="ACME",
        tag="c",
        reference="o",
        transaction_id="t",
        sent_at=at,
    )
    assert (second.account, second.sender, second.tag) == ("own", "ACME", "c")
    assert (second.message_id, second.transaction_id) == ("m", "t")


@pytest.mark.parametrize(
    ("written", "digits"),
    [
        ("0812345678", NUMBER),
        (" +66 81 234 5678 ", NUMBER),
        ("(081) 234-5678", NUMBER),
        ("0066812345678", NUMBER),
        (66812345678, NUMBER),
        ("+66 (0) 812345678", NUMBER),
        ("14155552671", "14155552671"),
        ("+1 415 555 2671", "14155552671"),
        ("66123456789", "66123456789"),
        ("๐๘๑๒๓๔๕๖๗๘", NUMBER),
        # As pandas, Excel, PHP and editors spoil them.
        ("66812345678.0", NUMBER),
        (66812345678.0, NUMBER),
        ("6.6812345678E+10", NUMBER),
        ("812345678", NUMBER),
        (812345678, NUMBER),
        (812345678.0, NUMBER),
        ("\ufeff0812345678\u200b", NUMBER),
    ],
)
def test_numbers_in_any_writing(written: object, digits: str) -> None:
    assert one(recipient=written).recipient == digits


@pytest.mark.parametrize(
    "number", [None, "", MARK, "1234567", "0", "1" * 16, "1" * 300, "66812345678.5", "2147483647"]
)
def test_a_number_that_is_none(number: object) -> None:
    said = "messages[0].recipient: expected a phone number of 8 to 15 digits"
    assert faults(record(recipient=number)) == [said]
    assert one(recipient=number, error="no").recipient == str(number or "")[:200]


ROUNDED = "a spreadsheet has rounded it; make the column text there"
LOST = "it was a floating-point number, which has lost digits of it; write it as text"


@pytest.mark.parametrize(
    "number", ["6.68123E+10", "6,68123E+10", "6.68E10", "66800000000000000000"]
)
def test_a_number_that_was_rounded(number: str) -> None:
    assert faults(record(recipient=number)) == [f"messages[0].recipient: {ROUNDED}"]


@pytest.mark.parametrize("name", ["message_id", "transaction_id"])
@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("2.70715E+19", ROUNDED),
        ("2,70715E+19", ROUNDED),
        ("3E+19", ROUNDED),
        ("2.7071450371600000E19", ROUNDED),  # Java
        ("27071450371600000000", ROUNDED),
        (27071450371600000000, ROUNDED),
        ("1666165485030090000", ROUNDED),
        ("166616548503009000", ROUNDED),
        ("16661654850309000", ROUNDED),
        ("1666165485030000", ROUNDED),
        (2.7071450371600000001e19, LOST),
        (2.0**53, LOST),
    ],
)
def test_an_id_that_was_rounded(name: str, written: object, reason: str) -> None:
    assert faults(record(**{name: written})) == [f"messages[0].{name}: {reason}"]


@pytest.mark.parametrize("name", ["message_id", "transaction_id"])
@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("27071450371600000001", "27071450371600000001"),
        ("27071450371612340000", "27071450371612340000"),  # a spreadsheet makes five zeros of 20
        ("1764335400123450", "1764335400123450"),  # the end of microseconds, by chance
        ("17643354001234500", "17643354001234500"),
        ("123456789012000", "123456789012000"),  # 15 digits are safe there
        ("270714503716000000000", "270714503716000000000"),
        ("12e5", "12e5"),  # hexadecimal
        (12345, "12345"),
        (12345.0, "12345"),
        ("12345.0", "12345"),
        ("\ufeffm1", "m1"),
        ("m1\u200b", "m1"),
        (" m1\u2060\ufeff ", "m1"),
        ("m\u200b1", "m\u200b1"),
    ],
)
def test_an_id_as_it_was(name: str, written: object, kept: str) -> None:
    assert getattr(one(**{name: written}), name) == kept


def test_an_id_of_nothing_but_what_cannot_be_seen() -> None:
    assert one(message_id="\ufeff", transaction_id="t").message_id is None
    said = "messages[0]: expected a message_id or a transaction_id, got neither"
    assert faults(record(message_id="\u200b\ufeff")) == [said]


def test_ids_of_a_provider_lose_what_cannot_be_seen_and_no_digit() -> None:
    """What the provider answered went through no spreadsheet."""
    row = {"number": NUMBER, "message_id": "27071450371600000000\ufeff"}
    (sent,) = read({"provider": "thaibulksms", "response": {"phone_number_list": [row]}})
    assert sent.message_id == "27071450371600000000"


def test_recipients_beside_a_response_are_read_as_what_they_were() -> None:
    """Else the ids that are made of them would match no report."""
    for number in (66812345678.0, "66812345678.0", "6.6812345678E+10"):
        document = {"provider": "engagelab", "response": {"message_id": "m"}}
        (sent,) = read(document | {"recipients": [number]})
        assert (sent.message_id, sent.recipient) == (f"m${NUMBER}", NUMBER)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("2026-11-21T10:00:00+07:00", datetime(2026, 11, 21, 3, tzinfo=UTC)),
        ("2026-11-21T10:00:00Z", datetime(2026, 11, 21, 10, tzinfo=UTC)),
        ("2026-11-21 10:00:00", datetime(2026, 11, 21, 3, tzinfo=UTC)),
        ("2026-11-21T10:00:00.123-05:00", datetime(2026, 11, 21, 15, 0, 0, 123000, tzinfo=UTC)),
        ("", "refused"),
        ("2026-11-21T10:00:00+25:00", "refused"),
        ("0001-01-01T00:00:00", "refused"),
        ("0001-01-01T00:00:00+07:00", "refused"),
        ("9999-12-31T23:59:59-07:00", "refused"),
        ("99999-01-01T00:00:00", "refused"),
        ("1999-12-31T00:00:00", "refused"),
        ("2026-02-30T00:00:00", "refused"),
        (MARK, "refused"),
        (1763694000, "refused"),
        (True, "refused"),
        ([], "refused"),
    ],
)
def test_times(text: object, wanted: object) -> None:
    for place in ("messages[0].sent_at", "sent_at"):
        messages, common = (
            ([record(sent_at=text)], {}) if "[" in place else ([record()], {"sent_at": text})
        )
        if isinstance(wanted, datetime):
            (message,) = records(*messages, **common)
            assert message.sent_at == wanted and message.sent_at.tzinfo is not None
        else:
            said = f"{place}: expected a time such as 2026-11-21T10:00:00+07:00"
            assert faults(*messages, **common) == [said]


def test_a_time_without_an_offset_is_in_the_zone() -> None:
    said = submission({"provider": "ants", "messages": [record(sent_at="2026-11-21T10:00:00")]})
    tokyo = said.sent_messages(ZoneInfo("Asia/Tokyo"))[0].sent_at
    west = said.sent_messages(timezone(timedelta(hours=-5)))[0].sent_at
    assert tokyo == datetime(2026, 11, 21, 1, tzinfo=UTC)
    assert west == datetime(2026, 11, 21, 15, tzinfo=UTC)


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        (1, Decimal(1)),
        (0.1, Decimal("0.1")),
        ("1.00", Decimal(1)),
        (" 2 ", Decimal(2)),
        (0, Decimal(0)),
        ("99999999.9999", Decimal("99999999.9999")),
        (None, None),
        ("", None),
    ],
)
def test_credits(written: object, wanted: Decimal | None) -> None:
    assert one(credit=written).credit == wanted


@pytest.mark.parametrize(
    "credit",
    [
        "NaN",
        "sNaN",
        "Infinity",
        float("nan"),
        float("inf"),
        10**8,
        -(10**8),
        "99999999.99999",
        "1e999999",
        "1e999999999",
        "-1e999999999",
        "abc",
        pytest.param(10**5000, id="5001 digits"),
        True,
        False,
        MARK,
        [],
        {},
        "1,5",
        "9" * 5000,
    ],
)
def test_wrong_credits(credit: object) -> None:
    (said,) = faults(record(credit=credit))
    assert said.startswith("messages[0].credit: ")


def test_a_number_with_a_nul_is_refused_even_of_a_refusal() -> None:
    said = "messages[0].recipient: expected text, got a NUL or half a character"
    assert faults(record(recipient=f"{MARK}\0", error="no")) == [said]


@pytest.mark.parametrize(
    "name", ["message_id", "transaction_id", "account", "sender", "tag", "reference"]
)
@pytest.mark.parametrize(
    "value", ["a" * 201, f"{MARK}\0", f"{MARK}\ud800", True, 1.5, [MARK], {MARK: 1}]
)
def test_wrong_texts(name: str, value: object) -> None:
    (said,) = faults(record(**{name: value}))
    assert said.startswith(f"messages[0].{name}: ") and ("expected" in said or "at most" in said)
    assert getattr(one(**{name: "a" * 200}), name) == "a" * 200


# What is refused


def test_every_bad_record_is_named_and_no_value() -> None:
    assert faults(
        record(),
        record(recipient=MARK),
        {"recipient": NUMBER},
        5,
        record(message_id=f"{MARK}\0", reference="x"),
        record(phone=MARK, sent_at=MARK),
        None,
    ) == [
        "messages[1].recipient: expected a phone number of 8 to 15 digits",
        "messages[2]: expected a message_id or a transaction_id, got neither",
        "messages[3]: expected an object",
        "messages[4].message_id: expected text, got a NUL or half a character",
        "messages[5].sent_at: expected a time such as 2026-11-21T10:00:00+07:00",
        "messages[5].phone: Extra inputs are not permitted",
        "messages[6]: expected an object",
    ]


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"provider": "ants"}, "body: expected either `response` or `messages`"),
        (
            {"provider": "ants", "response": ANTS, "messages": []},
            "body: expected either `response` or `messages`",
        ),
        (
            {"provider": MARK, "messages": []},
            f"provider: expected one of: {', '.join(PROVIDERS)}",
        ),
        (
            {"provider": "ANTS", "messages": []},
            f"provider: expected one of: {', '.join(PROVIDERS)}",
        ),
        ({"provider": 5, "messages": []}, "provider: expected a valid string"),
        ({"messages": []}, "provider: Field required"),
        ({"provider": "ants", "messages": MARK}, "messages: expected a valid list"),
        ({"provider": "ants", "messages": {}}, "messages: expected a valid list"),
        (
            {"provider": "ants", "messages": [], "recipient": MARK},
            "recipient: Extra inputs are not permitted",
        ),
        ([], "body: expected an object"),
        (None, "body: expected an object"),
        (MARK, "body: expected an object"),
    ],
)
def test_a_wrong_outline(document: object, said: str) -> None:
    assert problems(document) == [said]


def test_names_that_are_half_characters() -> None:
    assert problems({"provider": "ants", "\ud800": 1})[0].startswith("body: ")
    assert faults({"\ud800": 1})[0].startswith("messages[0]: ")


def test_no_messages_are_none() -> None:
    assert records() == []


# The key of a refusal without an id


def key(
    response: object = V2, *, provider: str = "thaibulksms", zone: ZoneInfo = BANGKOK, **common: Any
) -> bytes:
    said = submission({"provider": provider, "response": response, **common})
    keys = [message.refusal_key for message in said.sent_messages(zone)]
    (found,) = [k for k in keys if k is not None]
    return found


def bad(**values: Any) -> dict[str, Any]:
    return {**V2, "bad_phone_number_list": [{"number": "0123", "message": "bad number"} | values]}


def test_a_refusal_is_the_same_however_it_is_written() -> None:
    backwards = dict(reversed(V2.items()))
    written = (
        backwards,
        json.dumps(V2),
        json.dumps(backwards, indent=4),
        f"  {json.dumps(V2)}\n",
        json.loads(json.dumps(V2)),
    )
    assert {key(response) for response in written} == {key()}
    assert key(sender="ACME", tag="c", reference="o") == key()


def test_a_refusal_is_the_same_at_the_same_moment() -> None:
    moment = key(sent_at="2026-11-21T10:00:00+07:00")
    assert moment == key(sent_at="2026-11-21T03:00:00Z") == key(sent_at="2026-11-21T10:00:00")
    assert moment != key(sent_at="2026-11-21T10:00:00", zone=ZoneInfo("Asia/Tokyo"))


def test_another_refusal_is_another() -> None:
    keys = [
        key(),
        key(bad(number="0124")),
        key(bad(message="worse")),
        key({**V2, "more": 1}),
        key({**V2, "more": [1, 2]}),
        key({**V2, "more": [2, 1]}),
        key(account="otp"),
        key(sent_at="2026-11-21T10:00:00"),
        key(sent_at="2026-11-21T10:00:01"),
    ]
    assert len(set(keys)) == len(keys)


def test_a_refusal_in_xml() -> None:
    queue = "<Status>0</Status><Detail>bad</Detail>"
    one_line = f"<SMS><QUEUE><Msisdn>0123</Msisdn>{queue}</QUEUE></SMS>"
    spaced = f"<?xml version='1.0'?>\n{one_line}\n".replace("><", ">\n  <")
    assert key(one_line) == key(spaced) == key(f"\ufeff{one_line}")
    assert key(one_line.replace("bad", "worse")) != key(one_line)
    assert key(one_line.replace("</SMS>", "<More>1</More></SMS>")) != key(one_line)


def test_refusals_within_one_response_are_each_their_own() -> None:
    refused = [("0123", "no"), ("0124", "no"), ("0123", "never")]
    entries = [{"number": number, "message": said} for number, said in refused]
    sent = read({"provider": "thaibulksms", "response": {"bad_phone_number_list": entries}})
    assert len({message.refusal_key for message in sent} - {None}) == 3


def test_refusals_of_records() -> None:
    refused = {"recipient": "0123", "error": "no"}
    first, again = records(refused, dict(reversed(refused.items())))
    assert first.refusal_key == again.refusal_key is not None
    (other,) = read({"provider": "thaibulksms", "messages": [refused]})
    assert other.refusal_key not in {None, first.refusal_key}
    assert one(error="no").refusal_key is None  # it has an id
    assert one().refusal_key is None


@pytest.mark.parametrize("time", ["2026-11-21", " 2026-11-21 ", "20261121", "2026-W47-6"])
def test_a_date_alone_is_no_time_of_sending(time: str) -> None:
    with pytest.raises(RecordError, match=r"sent_at: expected a time such as"):
        submission({"provider": "ants", "messages": [], "sent_at": time})


# Recipients of an answer that names none.


def test_recipients_beside_a_response() -> None:
    plan = {"plan_id": "9", "total_count": 2, "accepted_count": 2}
    given = {"provider": "engagelab", "response": json.dumps(plan), "reference": "order-7"}
    sent = read({**given, "recipients": ["0812345678", 66812345679]})
    assert [(m.transaction_id, m.message_id, m.recipient, m.reference) for m in sent] == [
        ("9", None, "66812345678", "order-7"),
        ("9", None, "66812345679", "order-7"),
    ]
    (said,) = problems(given)
    assert said == "response: to: expected the numbers it was sent to, since the answer names none"
    (said,) = problems({**given, "recipients": ["0812345678", MARK]})
    assert said == "response: to[1]: expected a phone number of 8 to 15 digits"
    (said,) = problems({**given, "recipients": [{}]})
    assert said.startswith("recipients.0: ")
    (said,) = problems({"provider": "ants", "messages": [], "recipients": []})
    assert said == "recipients: expected beside `response` only"


def test_recipients_are_nothing_where_the_answer_names_them() -> None:
    one, two = read({"provider": "thaibulksms", "response": V2, "recipients": ["66899999999"]})
    assert "66899999999" not in {one.recipient, two.recipient}


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize(
    "page",
    [
        "<html><body><h1>502 Bad Gateway</h1></body></html>",
        "\n<!DOCTYPE HTML PUBLIC '-//IETF//DTD HTML 2.0//EN'>\n<html>",
        "<!doctype html>",
        "\ufeff<!-- nginx --> <HTML lang=th>",
        '<?xml version="1.0"?>\n<!DOCTYPE html>\n<html xmlns="http://www.w3.org/1999/xhtml"/>',
        "<head><title>504</title></head>",
        "<h1>Service Unavailable</h1>",
        '<br />\n<b>Warning</b>: Undefined variable {"phone_number_list": []}',
        "<script>location = '/login'</script>",
    ],
)
def test_a_page_as_response_is_called_so(provider: str, page: str) -> None:
    said = submission({"provider": provider, "response": page, "recipients": ["66812345678"]})
    with pytest.raises(RecordError) as error:
        said.sent_messages(UTC)
    assert "got an HTML page" in str(error.value)


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("nothing", ["", " \r\n", "\ufeff"])
def test_no_response_is_called_so(provider: str, nothing: str) -> None:
    said = submission({"provider": provider, "response": nothing, "recipients": ["66812345678"]})
    with pytest.raises(RecordError) as error:
        said.sent_messages(UTC)
    assert str(error.value) == "response: expected what the provider answered, got nothing"
