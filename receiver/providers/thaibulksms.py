"""ThaiBulkSMS: delivery reports of API 2.0, and answers to its send calls, old and new.

The webhook is set in the dashboard, https://dashboard.thaibulksms.com/developer-settings/, and
documented on one slide: `Transaction=…&Status=delivery&Time=…`, read by a PHP sample from
`$_REQUEST` (documented). Method, encoding, other words and the shape of `Time` are unknown, so
everything but those three names is read leniently.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, cast

from pydantic import Field

from receiver.domain import (
    ProviderRefusalError,
    Report,
    SentMessage,
    Status,
    Unreadable,
    UnreadableError,
    keepable,
    shortened,
)
from receiver.providers import reading
from receiver.providers.parameters import decode_parameters
from receiver.providers.provider import OK
from receiver.providers.reading import Credit, Id, IdIfAny, LongWords, Row, StatusWord, Words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from receiver.domain import Callback
    from receiver.providers.decoding import Body
    from receiver.providers.proofs import Scheme
    from receiver.providers.provider import Setting


TITLE: Final = "ThaiBulkSMS"
REGISTER: Final = (
    "Webhook URL of the API key, at https://dashboard.thaibulksms.com/developer-settings/"
)
MAX_URL: Final[int | None] = None  # no limit is named (unknown)

# GET, POST or PUT, by error 119 of the send API (documented).
METHODS: Final = frozenset({"GET", "POST", "PUT"})
ANSWER: Final = OK
PROOFS: Final[tuple[tuple[Scheme, ...], ...]] = ()
SETTINGS: Final[tuple[Setting, ...]] = ()
SECRETS: Final = False

# The only word that is documented. Others are read by the shared table.
STATUSES: Final = {"delivery": Status.DELIVERED}


class _Parameters(Row):
    """What a delivery report may say; see the module's docstring for how sure each name is."""

    # Documented.
    transaction: IdIfAny = Field(alias="Transaction")
    status: StatusWord = Field(alias="Status")
    time: Words = Field(alias="Time")
    # Seen in other people's handlers. `recipient` is the e-mail report's (documented there).
    msisdn: Words
    message_id: Words
    recipient: LongWords
    sent_time: Words
    done_time: Words
    error_message: LongWords


def is_probe(callback: Callback) -> bool:
    """Say whether there is neither a body nor a query."""
    return not callback.body and not callback.query


def decode(callback: Callback) -> Body:
    """Read query and body into rows; method and encoding are unknown, so all are read."""
    return decode_parameters(callback, _Parameters)


def parse(body: Body) -> list[Report | Unreadable]:
    """Read a report from each row.

    An e-mail report, which the vendor's one webhook setting can send here too (inferred), is
    readable and no report.
    """
    return reading.read_items(cast("list[tuple[str, object]]", body.document), _report)


def _report(position: int, row: object) -> Report | None:
    members = reading.lowered(row)
    if members and not _Parameters.knows(members):
        others = reading.names_of(members)
        raise UnreadableError(f"expected Transaction and Status, got other names: {others}")
    fields = _Parameters.model_validate(members)
    if fields.recipient and "@" in fields.recipient:  # an e-mail report
        return None
    # `message_id` stands in for a missing Transaction, under its own name: the two kinds of id
    # look different and cannot be made into one another (documented).
    if fields.transaction is None and fields.message_id is None:
        raise UnreadableError("Transaction: expected text, got nothing")
    return Report(
        position=position,
        provider_status=fields.status,
        transaction_id=fields.transaction,
        message_id=fields.message_id,
        provider_recipient=fields.msisdn or keepable(fields.recipient),
        provider_description=fields.error_message,
        provider_time=fields.time or fields.done_time,
        provider_sent_time=fields.sent_time,
    )


class _Answer(Row):
    """An answer to a send call."""

    # `POST /sms` of API 2.0 (documented).
    good: Any = Field(alias="phone_number_list")
    bad: Any = Field(alias="bad_phone_number_list")
    remaining: Credit = Field(alias="remaining_credit")
    credit_type: Words
    error: Any
    # The interface before it: XML, `SMS` with a `QUEUE` for each number, or `sms` with `status` 0
    # and `detail` (seen).
    queue: Any = Field(alias="QUEUE")
    status: Words
    detail: LongWords


class _Good(Row):
    number: Words
    message_id: Id
    used_credit: Credit


class _Bad(Row):
    number: Words
    message: LongWords
    message_id: Words  # not documented here


class _Queue(Row):
    number: Words = Field(alias="Msisdn")
    status: Id = Field(alias="Status")  # 1 accepted, 0 refused
    transaction: IdIfAny = Field(alias="Transaction")
    used_credit: Credit = Field(alias="UsedCredit")
    remaining: Credit = Field(alias="RemainCredit")
    detail: LongWords = Field(alias="Detail")


class _Error(Row):
    code: Words
    name: Words
    description: LongWords


def parse_sent(response: object, _recipients: Sequence[str] = ()) -> list[SentMessage]:
    """Read answers to send calls of API 2.0 (JSON) and of the interface before it (XML)."""
    answers = reading.read_answers(response)
    return reading.all_read(
        item
        for path, answer in answers
        for item in _sent(f"{path}." if path else "", _Answer.model_validate(answer))
    )


def _sent(path: str, answer: _Answer) -> list[SentMessage | Unreadable]:
    good = reading.rows(answer.good, f"{path}phone_number_list")
    bad = reading.rows(answer.bad, f"{path}bad_phone_number_list")
    queue = reading.rows(answer.queue, f"{path}QUEUE")
    if not (good or bad or queue):
        _refuse(answer)
        raise UnreadableError(f"{path}phone_number_list: expected a list, got nothing")
    items = [*reading.read_items(good, _accepted), *reading.read_items(bad, _refused)]
    return [
        *(
            replace(item, remaining=answer.remaining, credit_type=answer.credit_type)
            if isinstance(item, SentMessage)
            else item
            for item in items
        ),
        *reading.read_items(queue, _queued),
    ]


def _refuse(answer: _Answer) -> None:
    """Raise ProviderRefusalError in the provider's words, where the answer is an error."""
    words = shortened(reading.written(answer.error))
    if isinstance(answer.error, dict):
        error = _Error.model_validate(answer.error)
        words = reading.in_words(error.name, error.code, error.description)
    elif answer.status == "0":
        words = answer.detail or "status 0"
    if words:
        raise ProviderRefusalError(words)


def _accepted(_position: int, row: object) -> SentMessage:
    fields = _Good.model_validate(row)
    return SentMessage(
        recipient=reading.recipient(fields.number, "number", refused=False),
        message_id=fields.message_id,
        credit=fields.used_credit,
    )


def _refused(_position: int, row: object) -> SentMessage:
    fields = _Bad.model_validate(row)
    return SentMessage(
        recipient=reading.recipient(fields.number, "number", refused=True),
        message_id=fields.message_id,
        error=fields.message or "bad_phone_number_list",
    )


def _queued(_position: int, row: object) -> SentMessage:
    fields = _Queue.model_validate(row)
    refused = fields.status == "0"
    return SentMessage(
        recipient=reading.recipient(fields.number, "Msisdn", refused=refused),
        transaction_id=fields.transaction,
        credit=fields.used_credit,
        remaining=fields.remaining,
        error=(fields.detail or f"Status {fields.status}") if refused else None,
    )


def redact(callback: Callback, _body: Body | None) -> Callback:
    """Return the callback as it is: no message text travels in it (documented)."""
    return callback if callback.redacted else replace(callback, redacted=True)
