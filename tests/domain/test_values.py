"""Every value is one that both databases hold, or refuses to exist, whatever it is made of."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from receiver.domain.callback import Callback
from receiver.domain.credit import amount
from receiver.domain.errors import ProviderRefusalError, RecordError, UnreadableError
from receiver.domain.phone import loses_zero, msisdn
from receiver.domain.reading import Reading
from receiver.domain.report import Report, TemplateReview
from receiver.domain.sent_message import SentMessage
from receiver.domain.spoiled import is_rounded, whole_number
from receiver.domain.status import SHARED_STATUSES, Approval
from receiver.domain.text import bare, keepable, required, shortened
from receiver.ingest import store
from receiver.ingest.interpret import Interpreter
from receiver.messages import recording
from receiver.messages.submitted import submission
from receiver.providers import PROVIDERS, reading, times
from receiver.providers.json_document import Number
from receiver.providers.reading import Credit, Id, IdIfAny, LongWords, Row, Words

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine

BANGKOK: Final = ZoneInfo("Asia/Bangkok")
NOW: Final = datetime(2026, 11, 28, tzinfo=UTC)
INTERPRETER: Final = Interpreter(BANGKOK, dict.fromkeys(PROVIDERS, SHARED_STATUSES))

NUMBERS: Final = st.sampled_from(
    ["1e999999999", "-1e999999999", "1e-999999999", "0e999999999", "NaN", "sNaN", "-sNaN123", "inf",
     "abc", "1_000", "99999999.99995", "9" * 5000, "-0", "\u0662\u0663", "0x10", "1e8", "+", "E5",
     "66812345678.0", "6.68123E+10", "6.6812345678E+10", "812345678", "27071450371600000000"]
)  # fmt: skip
TEXTS: Final = (
    NUMBERS
    | st.sampled_from(
        ["", " ", "\0", "\ud800", "\udfff", "\ufeff", "\u200b", "a\0b", "a" * 200, "a" * 201,
         "\U0001f600" * 200, "\ufeff" * 300, "x" * 5000, "\x1b[31m", "'; --", "m\ufeff"]
    )
    | st.text(st.characters(exclude_categories=[]), max_size=30)
    | st.text("0123456789+-.eE:/ TZ", max_size=30)
)  # fmt: skip
DATES: Final = (
    st.datetimes()
    | st.datetimes(timezones=st.sampled_from([UTC, BANGKOK, timezone(timedelta(hours=-14))]))
    | st.sampled_from([datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)])
)  # fmt: skip
CREDITS: Final = (
    st.decimals()
    | st.sampled_from(
        [Decimal("1e999999999"), Decimal("-1e999999"), Decimal("sNaN"), Decimal("-NaN"),
         Decimal("1.00005"), Decimal(10**8), Decimal("99999999.9999"), "abc", 1, 1.5]
    )
)  # fmt: skip
OF_TYPE: Final[dict[str, st.SearchStrategy[Any]]] = {
    "int": st.integers(0, 2**31 - 1),
    "str": TEXTS,
    "str | None": st.none() | TEXTS,
    "Decimal | None": st.none() | CREDITS,
    "datetime | None": st.none() | DATES,
    "bytes | None": st.none() | st.binary(min_size=16, max_size=16),
    "Approval": st.sampled_from(Approval),
}


def made(kind: type) -> st.SearchStrategy[dict[str, Any]]:
    """Give values for the fields of a class, most of them good, so that any one decides."""
    good = {"message_id": "m", "provider_status": "delivery", "recipient": "66812345678",
            "template_id": "t", "account": "", "position": 0}  # fmt: skip
    return st.fixed_dictionaries(
        {
            field.name: st.sampled_from([good.get(field.name)]) | OF_TYPE[str(field.type)]
            if field.name in good
            else OF_TYPE[str(field.type)]
            for field in fields(kind)
        }
    ) | st.fixed_dictionaries(
        {name: st.just(good[name]) for name in good if name in {f.name for f in fields(kind)}}
        | ({"approval": st.just(Approval.APPROVED)} if kind is TemplateReview else {}),
        optional={
            field.name: OF_TYPE[str(field.type)]
            for field in fields(kind)
            if field.name not in good and field.name != "approval"
        },
    )


def or_refused(make: Callable[[], Any]) -> Any:
    """Return what is made; None where it refuses to be, and says why. Nothing else escapes."""
    try:
        return make()
    except (UnreadableError, RecordError, ProviderRefusalError) as error:
        reason = str(error)
    assert reason
    assert "could not be read (" not in reason  # how an exception of ours is told
    return None


SOME: Final = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@given(said=made(Report))
@SOME
def test_a_report_is_kept_or_refuses_to_exist(engine: Engine, said: dict[str, Any]) -> None:
    report = or_refused(lambda: Report(**said))
    if report is None:
        return
    arrived = Callback(provider="ants", method="POST", received_at=NOW)
    told = [INTERPRETER.report("ants", report, NOW)]
    with engine.begin() as connection:
        store.keep(connection, [Reading(callback=arrived, outcome="read", reports=told)])
    assert len(report.digest("ants")) == 16


@given(said=made(SentMessage))
@SOME
def test_a_sent_message_is_recorded_or_refuses_to_exist(
    engine: Engine, said: dict[str, Any]
) -> None:
    message = or_refused(lambda: SentMessage(**said))
    if message is None:
        return
    # As every message is finished before it is recorded.
    if message.sent_at is not None:
        message = replace(message, sent_at=message.sent_at.replace(tzinfo=BANGKOK))
    if not (message.message_id or message.transaction_id):
        message = replace(message, refusal_key=message.refusal_key or bytes(16))
    with engine.begin() as connection:
        (recorded,) = recording.record(connection, "ants", [message])
    assert recorded.recipient is not None
    assert message.error is not None or msisdn(message.recipient) == message.recipient


@given(said=made(TemplateReview))
@SOME
def test_a_review_is_kept_or_refuses_to_exist(engine: Engine, said: dict[str, Any]) -> None:
    review = or_refused(lambda: TemplateReview(**said))
    if review is None:
        return
    arrived = Callback(provider="engagelab", method="POST", received_at=NOW)
    told = [INTERPRETER.review(review, NOW)]
    with engine.begin() as connection:
        store.keep(connection, [Reading(callback=arrived, outcome="read", reviews=told)])


class AnyRow(Row):
    """A row with a field of every kind."""

    id: Id | None
    id_if_any: IdIfAny
    words: Words
    long_words: LongWords
    credit: Credit


HOSTILE: Final = (
    TEXTS
    | CREDITS
    | NUMBERS.map(Number)
    | st.floats()
    | st.integers()
    | st.sampled_from([10**5000, -(10**5000), None, True, [], {}, [1], {"a": 1}])
)


@pytest.mark.parametrize("name", AnyRow.model_fields)
@given(value=HOSTILE)
def test_a_field_of_a_row_is_read_or_refused(name: str, value: object) -> None:
    items = reading.read_items([("", {name: value})], lambda _, row: AnyRow.model_validate(row))
    rows = or_refused(lambda: reading.all_read(items))
    if rows is None:
        return
    read = getattr(rows[0], name)
    if isinstance(read, str):
        assert read.strip() == read != ""
        assert "\0" not in read.encode().decode()
    elif read is not None:
        assert read == amount(str(read))


@given(TEXTS)
def test_what_is_derived_of_any_text_is_a_value_or_none(text: str) -> None:
    for read in (keepable(text), shortened(text), msisdn(text), amount(text)):
        assert read != ""
    assert whole_number(text) is None or msisdn(whole_number(text)) == msisdn(text)
    assert or_refused(lambda: required(text, "x")) != ""
    assert bare(bare(text)) == bare(text)
    assert is_rounded(text) in {True, False}
    assert loses_zero(text) in {True, False}
    assert times.parse_time(text, BANGKOK, NOW) is None or not times.why_not(text, BANGKOK, NOW)


@given(
    name=st.sampled_from(
        ["message_id", "transaction_id", "recipient", "credit", "sent_at", "account", "sender",
         "tag", "reference", "template_id", "error"]
    ),
    value=HOSTILE,
    place=st.sampled_from(["record", "all"]),
)  # fmt: skip
def test_what_is_handed_in_is_taken_or_refused_in_words(
    name: str, value: object, place: str
) -> None:
    record: dict[str, Any] = {"message_id": "m", "recipient": "66812345678"}
    document: dict[str, Any] = {"provider": "ants", "messages": [record]}
    (record if place == "record" else document)[name] = value
    messages = or_refused(lambda: submission(document).sent_messages(BANGKOK))
    assert messages is None or len(messages) == 1


@given(
    provider=st.sampled_from(sorted(PROVIDERS)),
    value=HOSTILE,
    name=st.sampled_from(["number", "to", "message_id", "messageId", "used_credit", "credit",
                          "remaining_credit", "plan_id", "error"]),
)  # fmt: skip
def test_an_answer_is_taken_or_refused_in_words(provider: str, value: object, name: str) -> None:
    row = {"number": "66812345678", "to": "66812345678", "message_id": "m", "messageId": "m"}
    answer = {"phone_number_list": [row | {name: value}], "details": [row | {name: value}],
              "plan_id": "p", "to": ["66812345678"], name: value}  # fmt: skip
    document = {"provider": provider, "response": answer}
    messages = or_refused(lambda: submission(document).sent_messages(BANGKOK))
    assert messages is None or messages
