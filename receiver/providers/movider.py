"""Movider, ThaiBulkSMS's sister brand: delivery reports, and answers to send calls.

The reference of delivery reports at https://developer.movider.co documents the six parameters, by
GET in the query or by POST in a form, as each send call or the dashboard says. The answers to send
calls are read as its own client, movider-go, reads them (seen). Left open: the form and the zone of
`sent_date`, and whether there are reports of what is not the end.
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
    shortened,
)
from receiver.providers import reading
from receiver.providers.parameters import decode_parameters
from receiver.providers.provider import Answer
from receiver.providers.reading import Credit, Id, LongWords, Row, StatusWord, Words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from receiver.domain import Callback
    from receiver.providers.decoding import Body
    from receiver.providers.proofs import Scheme
    from receiver.providers.provider import Setting


TITLE: Final = "Movider"
REGISTER: Final = "`callback_url` of each send call, or the callback URL of the dashboard"
MAX_URL: Final[int | None] = None  # no limit is named (unknown)
METHODS: Final = frozenset({"GET", "POST"})  # documented
# Anything else is sent again after 1, 10, 20, 40, 80 and 160 s (documented).
ANSWER: Final = Answer(media_type="application/json", body='{"status":"OK","detail":""}')
PROOFS: Final[tuple[tuple[Scheme, ...], ...]] = ()
SETTINGS: Final[tuple[Setting, ...]] = ()
SECRETS: Final = False

# All there are (documented).
STATUSES: Final = {
    "ok": Status.DELIVERED,
    "error": Status.UNDELIVERABLE,
    "expired": Status.EXPIRED,
}


class _Parameters(Row):
    """What a delivery report says (documented)."""

    status: StatusWord
    message_id: Id
    detail: LongWords
    message_price: Credit
    to: Words
    sent_date: Words


def is_probe(callback: Callback) -> bool:
    """Say whether there is neither a body nor a query."""
    return not callback.body and not callback.query


def decode(callback: Callback) -> Body:
    """Read query and body into rows; JSON and multipart forms are read as well (inferred)."""
    return decode_parameters(callback, _Parameters)


def parse(body: Body) -> list[Report | Unreadable]:
    """Read a report from each row."""
    return reading.read_items(cast("list[tuple[str, object]]", body.document), _report)


def _report(position: int, row: object) -> Report:
    members = reading.lowered(row)
    if members and not _Parameters.knows(members):
        others = reading.names_of(members)
        raise UnreadableError(f"expected message_id and status, got other names: {others}")
    said = _Parameters.model_validate(members)
    return Report(
        position=position,
        provider_status=said.status,
        message_id=said.message_id,
        provider_recipient=said.to,
        provider_description=said.detail,
        provider_sent_time=said.sent_date,
        credit=said.message_price,
    )


class _Answer(Row):
    """An answer to a send call (seen)."""

    good: Any = Field(alias="phone_number_list")
    bad: Any = Field(alias="bad_phone_number_list")
    remaining: Credit = Field(alias="remaining_balance")
    error: Any


class _Good(Row):
    number: Words
    message_id: Id
    price: Credit


class _Bad(Row):
    number: Words
    msg: LongWords


class _Error(Row):
    code: Words
    name: Words
    description: LongWords


def parse_sent(response: object, _recipients: Sequence[str] = ()) -> list[SentMessage]:
    """Read answers to send calls, which name each number."""
    return reading.all_read(
        item
        for path, answer in reading.read_answers(response)
        for item in _sent(f"{path}." if path else "", _Answer.model_validate(answer))
    )


def _sent(path: str, answer: _Answer) -> list[SentMessage | Unreadable]:
    good = reading.rows(answer.good, f"{path}phone_number_list")
    bad = reading.rows(answer.bad, f"{path}bad_phone_number_list")
    if not (good or bad):
        _refuse(answer.error)
        raise UnreadableError(f"{path}phone_number_list: expected a list, got nothing")
    return [
        replace(item, remaining=answer.remaining) if isinstance(item, SentMessage) else item
        for item in (*reading.read_items(good, _accepted), *reading.read_items(bad, _refused))
    ]


def _refuse(error: object) -> None:
    """Raise ProviderRefusalError in the provider's words, where there is an error."""
    words = shortened(reading.written(error))
    if isinstance(error, dict):
        said = _Error.model_validate(error)
        words = reading.in_words(said.name, said.code, said.description)
    if words:
        raise ProviderRefusalError(words)


def _accepted(_position: int, row: object) -> SentMessage:
    said = _Good.model_validate(row)
    return SentMessage(
        recipient=reading.recipient(said.number, "number", refused=False),
        message_id=said.message_id,
        credit=said.price,
    )


def _refused(_position: int, row: object) -> SentMessage:
    said = _Bad.model_validate(row)
    return SentMessage(
        recipient=reading.recipient(said.number, "number", refused=True),
        error=said.msg or "bad_phone_number_list",
    )


def redact(callback: Callback, _body: Body | None) -> Callback:
    """Return the callback as it is: no message text travels in it (documented)."""
    return callback if callback.redacted else replace(callback, redacted=True)
