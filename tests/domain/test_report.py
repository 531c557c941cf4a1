"""Values that check themselves: numbers, credits, texts, reports, sent messages."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.database.tables.callbacks import delivery_report
from receiver.domain.credit import amount
from receiver.domain.errors import UnreadableError
from receiver.domain.phone import msisdn
from receiver.domain.report import Report
from receiver.domain.sent_message import SentMessage
from receiver.domain.status import FAILED, FINAL, SHARED_STATUSES, Status
from receiver.domain.text import keepable, required, shortened

# Statuses


def test_the_statuses_are_message_state_of_smpp() -> None:
    assert {str(status) for status in Status} == {
        "unknown", "accepted", "enroute", "delivered",
        "undeliverable", "expired", "rejected", "deleted",
    }  # fmt: skip
    assert set(FINAL) == set(Status) - {Status.UNKNOWN, Status.ACCEPTED, Status.ENROUTE}
    assert FAILED == (Status.UNDELIVERABLE, Status.EXPIRED, Status.REJECTED, Status.DELETED)


def test_the_shared_words_are_lower_case_and_hold_every_receipt_word() -> None:
    assert all(word == word.lower() for word in SHARED_STATUSES)
    assert {
        "delivrd", "expired", "deleted", "undeliv", "acceptd", "unknown", "rejectd", "enroute"
    } <= set(SHARED_STATUSES)  # fmt: skip
    assert set(SHARED_STATUSES.values()) == set(Status)


# Phone numbers


@pytest.mark.parametrize(
    "text",
    [
        "66812345678", "0812345678", "+66812345678", "+66 81 234 5678", "081-234-5678",
        "(081) 234 5678", "0066812345678", "660812345678", "+66 (0)81 234 5678", " 0812345678\n",
        "\u200e0812345678", "\u202a+66812345678\u202c", "๐๘๑๒๓๔๕๖๗๘",
        "081.234.5678", "081/234/5678", "\u00a00812345678",
        # What tools made of it: pandas, printf, Excel, Java, PHP's (int), editors.
        "66812345678.0", "66812345678.00", "66812345678.000000", "+66812345678.0", "0812345678.0",
        "6.6812345678E+10", "6,6812345678E+10", "6.6812345678e10", "8.12345678E+8",
        "812345678", "81-234-5678", "812345678.0", "'0812345678", "'+66812345678",
        "\ufeff66812345678", "66812345678\u200b", "0812345678\ufeff\u2060 ",
        "\u2066812345678\u2069",
    ],
)  # fmt: skip
def test_one_number_in_many_ways(text: str) -> None:
    assert msisdn(text) == "66812345678"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("66123456789", "66123456789"),  # the documents' own sample, and no valid number
        ("66112233445", "66112233445"),
        ("14155552671", "14155552671"),  # no Thai number, whatever a region of TH makes of it
        ("+1 415 555 2671", "14155552671"),
        ("021234567", "6621234567"),
        ("12345678", "12345678"),
        ("123456789012345", "123456789012345"),
        ("14155552671.0", "14155552671"),
        ("612345678", "66612345678"),  # the 0 is lost of 0612345678
        ("912345678", "66912345678"),
        ("212345678", "212345678"),  # of a number that begins so nobody knows what was lost
        ("687123456", "687123456"),  # New Caledonia has nine digits
        ("21234567", "21234567"),
    ],
)
def test_other_numbers(text: str, expected: str) -> None:
    assert msisdn(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        None, "", " ", "+", "0", "66", "1234567", "1234567890123456", "0" * 11, "66XXXXXXXXX",
        "somebody", "a@example.com", "66812345678;66812345679", "66812345678,66812345679",
        "6.68e10", "6.68123E+10", "6.681234567E+10", "6.6812345678E+11", "66812345678.5",
        "812345678.12", "2147483647", "4294967295", "2147483647.0", "1e+300", "nan",
        "66,812,345,678", "''0812345678",
        "²²²²²²²²²", "6681234\x005678", "6681234\ud8005678", "1" * 10000,
    ],
)  # fmt: skip
def test_no_number(text: str | None) -> None:
    assert msisdn(text) is None


@given(st.text() | st.text("0123456789+-() 6", max_size=20))
def test_any_text_is_a_number_in_normal_form_or_none(text: str) -> None:
    number = msisdn(text)

    assert number is None or (number.isascii() and number.isdigit() and 8 <= len(number) <= 15)
    assert number is None or number[0] != "0"
    assert msisdn(number) == number


# Credits


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", "1.0000"), ("1.00", "1.0000"), (" 0.5 ", "0.5000"), ("1e2", "100.0000"),
        ("-1", "-1.0000"), ("0.12345", "0.1234"), ("1e-400", "0.0000"),
        ("1e-999999999", "0.0000"), ("0e999999", "0.0000"), ("+2", "2.0000"),
        ("99999999.9999", "99999999.9999"), ("-99999999.9999", "-99999999.9999"),
    ],
)  # fmt: skip
def test_an_amount(text: str, expected: str) -> None:
    assert str(amount(text)) == expected


@pytest.mark.parametrize(
    "text",
    [
        None, "", " ", "abc", "1,00", "1 000", "NaN", "sNaN", "-NaN", "Infinity", "-inf", "1e99",
        "1e999999999", "-1e999999999", "1e-999999999999999999999",
        "1e8", "100000000", "99999999.99999", "-99999999.99995", "1e999999999999999999999",
        "9" * 201, "0x1", "\ud800", "1\x00",
    ],
)  # fmt: skip
def test_no_amount(text: str | None) -> None:
    assert amount(text) is None


@given(st.text() | st.decimals().map(str) | st.floats().map(str))
def test_any_text_is_an_amount_that_fits_or_none(text: str) -> None:
    value = amount(text)

    if value is not None:
        _, digits, exponent = value.as_tuple()
        assert (exponent, len(digits) <= 12) == (-4, True)


# Texts


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, None), ("", None), (" \n", None), (" a b ", "a b"), ("a" * 200, "a" * 200),
        ("a" * 201, None), ("a\x00", None), ("\ud83d", None), ("😀", "😀"),
    ],
)  # fmt: skip
def test_keepable(text: str | None, expected: str | None) -> None:
    assert keepable(text) == expected


def test_shortened() -> None:
    assert shortened("a" * 2001) == "a" * 2000
    assert shortened("a" * 2000 + "\x00") == "a" * 2000
    assert shortened(" " * 2001 + "a") == "a"
    assert shortened("a" * 1999 + " b") == "a" * 1999
    assert shortened("a\x00") is None
    assert shortened(None) is None


def test_required() -> None:
    assert required(" a ", "x") == "a"
    for text, reason in [
        (" ", "x: expected text, got nothing"),
        ("a" * 201, "x: expected at most 200 characters, got 201"),
        ("a\x00", "x: expected text, got a NUL or half a character"),
        ("\udc80", "x: expected text, got a NUL or half a character"),
    ]:
        with pytest.raises(UnreadableError) as caught:
            required(text, "x")
        assert str(caught.value) == reason


# Reports

REPORT: Final = Report(
    position=3,
    provider_status="DELIVERED",
    transaction_id="b",
    message_id="m",
    provider_recipient="66812345678",
    sender="ANTS",
    provider_code="000",
    provider_description="Successfully sent to phone",
    provider_time="2019-05-27T14:40:09.44",
    provider_sent_time="2019-05-27T14:39:40.273",
    credit=Decimal("1.0000"),
    callback_data="d",
)


def test_a_report_is_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        REPORT.position = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"provider_status": ""}, "status: expected text, got nothing"),
        ({"provider_status": "s" * 201}, "status: expected at most 200 characters, got 201"),
        ({"message_id": " "}, "message id: expected text, got nothing"),
        ({"message_id": "a\x00"}, "message id: expected text, got a NUL or half a character"),
        ({"transaction_id": "a" * 201}, "transaction id: expected at most 200 characters, got 201"),
        ({"message_id": None, "transaction_id": None},
         "expected a message id or a transaction id, got neither"),
    ],
)  # fmt: skip
def test_a_report_refuses_to_be_wrong(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(UnreadableError) as caught:
        replace(REPORT, **change)

    assert str(caught.value) == reason


def test_a_digest_never_changes() -> None:
    least = Report(position=0, provider_status="delivery", transaction_id="t")

    # Written down, since another value would make every repeat of what is kept look new.
    assert REPORT.digest("ants").hex() == "70c2b121d31c5e7125ae0040d8b15747"
    assert least.digest("thaibulksms").hex() == "f9c3b6552070a0200e7effe898a6fcfa"
    unseen = replace(least, transaction_id="\u200et 1", message_id="\ufeffm1\u200b")
    unseen = replace(unseen, provider_status="DELIVRD", provider_recipient=None)
    assert unseen.digest("ants").hex() == "bf9707e353ed68d8c6634da18eff9b23"
    assert (unseen.as_row()["transaction_id"], unseen.as_row()["message_id"]) == ("t 1", "m1")


TEXTS: Final = ("provider_recipient", "sender", "provider_code", "provider_time",
                "provider_sent_time")  # fmt: skip


@pytest.mark.parametrize(
    ("written", "kept"),
    [(" a ", "a"), ("", None), (" ", None), ("a\0", None), ("\ud800", None), ("x" * 200, "x" * 200),
     ("x" * 201, None)],
)  # fmt: skip
@pytest.mark.parametrize("name", TEXTS)
def test_a_report_cleans_its_texts_itself(name: str, written: str, kept: str | None) -> None:
    change: dict[str, Any] = {name: written}
    assert getattr(replace(REPORT, **change), name) == kept


@pytest.mark.parametrize("name", ["provider_description", "callback_data"])
def test_a_report_keeps_the_first_of_a_long_text(name: str) -> None:
    for written, kept in ((" a ", "a"), (" ", None), ("a\0", None), ("x" * 2001, "x" * 2000)):
        change: dict[str, Any] = {name: written}
        assert getattr(replace(REPORT, **change), name) == kept


def test_what_a_report_is_kept_as_is_what_its_table_has() -> None:
    assert REPORT.as_row().keys() <= {column.name for column in delivery_report.c}


@pytest.mark.parametrize(
    "change",
    [
        {"position": 0}, {"sender": None}, {"credit": None}, {"callback_data": "x"},
        {"provider_sent_time": None},
    ],
)  # fmt: skip
def test_what_is_no_part_of_a_repeat(change: dict[str, Any]) -> None:
    assert replace(REPORT, **change).digest("ants") == REPORT.digest("ants")


@pytest.mark.parametrize(
    "change",
    [
        {"provider_status": "delivered"}, {"transaction_id": None}, {"message_id": "M"},
        {"provider_recipient": "0812345678"}, {"provider_code": None}, {"provider_code": "0"},
        {"provider_description": "\ue000"}, {"provider_time": "2019-05-27T14:40:09.440"},
        {"transaction_id": "m", "message_id": "b"}, {"transaction_id": None, "message_id": "b"},
    ],
)  # fmt: skip
def test_what_makes_a_report_another(change: dict[str, Any]) -> None:
    digest = replace(REPORT, **change).digest("ants")

    assert len(digest) == 16
    assert digest != REPORT.digest("ants")


def test_a_digest_is_of_one_provider() -> None:
    assert REPORT.digest("ants") != REPORT.digest("thaibulksms")


# Sent messages

SENT: Final = SentMessage(recipient="66812345678", message_id="m")


def test_a_sent_message() -> None:
    assert SENT.account == ""
    assert replace(SENT, sent_at=datetime(2026, 11, 21, tzinfo=UTC)).sent_at
    assert replace(SENT, message_id=None, transaction_id="t").transaction_id == "t"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"recipient": "0812345678"}, "recipient: expected a phone number of 8 to 15 digits"),
        ({"recipient": ""}, "recipient: expected a phone number of 8 to 15 digits"),
        ({"recipient": "6" * 16}, "recipient: expected a phone number of 8 to 15 digits"),
        ({"message_id": None}, "expected a message_id or a transaction_id, got neither"),
        ({"message_id": ""}, "message_id: expected text, got nothing"),
        ({"message_id": "m" * 201}, "message_id: expected at most 200 characters, got 201"),
        ({"tag": "t" * 201}, "tag: expected at most 200 characters, got 201"),
        ({"reference": "a\x00"}, "reference: expected text, got a NUL or half a character"),
        ({"account": " "}, "account: expected text, got nothing"),
        ({"error": "a\x00"}, "error: expected text, got a NUL or half a character"),
        ({"error": "e", "recipient": "\ud800"},
         "recipient: expected text, got a NUL or half a character"),
        ({"error": "e", "message_id": ""}, "message_id: expected text, got nothing"),
    ],
)  # fmt: skip
def test_a_sent_message_refuses_to_be_wrong(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(UnreadableError) as caught:
        replace(SENT, **change)

    assert str(caught.value) == reason


def test_a_refused_message_needs_neither_id_nor_number() -> None:
    refused = SentMessage(recipient="nobody", error="MSISDN is invalid.")

    assert (refused.recipient, refused.message_id) == ("nobody", None)
    assert SentMessage(recipient="", error="e").recipient == ""
    with pytest.raises(UnreadableError, match="recipient: expected at most 200 characters"):
        SentMessage(recipient="x" * 201, error="e")
