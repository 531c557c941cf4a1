"""ANTS: delivery reports it POSTs to the `notifyUrl` of each send, and answers to send calls.

https://apidoc.ants.co.th/thai-v1.0.0/api-sms-1/callback documents the body, as JSON and as XML,
by tables and one sample each. Where the two disagree both are read. `text` is what was sent,
one-time passwords included, so `redact` blanks it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import BeforeValidator, Field

from receiver.domain import (
    ProviderRefusalError,
    Report,
    SentMessage,
    Status,
    Unreadable,
    UnreadableError,
)
from receiver.providers import decoding, reading
from receiver.providers.json_document import Blank
from receiver.providers.provider import OK
from receiver.providers.reading import Credit, Id, IdIfAny, LongWords, Row, StatusWord, Words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from receiver.domain import Callback
    from receiver.providers.decoding import Body
    from receiver.providers.proofs import Scheme
    from receiver.providers.provider import Setting


TITLE: Final = "ANTS"
REGISTER: Final = "`notifyUrl` of each send call, with `notifyContentType` application/json"
MAX_URL: Final[int | None] = 150  # `notifyUrl` (documented)
METHODS: Final = frozenset({"POST"})  # documented
ANSWER: Final = OK
PROOFS: Final[tuple[tuple[Scheme, ...], ...]] = ()
SETTINGS: Final[tuple[Setting, ...]] = ()
SECRETS: Final = False

# By `status.name`, never by `status.code`: 000 stands under PENDING and under DELIVERED
# (documented, https://apidoc.ants.co.th/thai-v1.0.0/api-sms-1/).
STATUSES: Final = {
    "accepted": Status.ACCEPTED,
    "pending": Status.ENROUTE,
    "undelivered": Status.UNDELIVERABLE,
    "delivered": Status.DELIVERED,
    "expired": Status.EXPIRED,
    "rejected": Status.REJECTED,
    "completed": Status.UNKNOWN,  # listed on the Thai page only; what it means is unknown
}

# In the answer to a send call these say that the message was not taken (inferred).
_REFUSED: Final = frozenset({"rejected", "undelivered"})


def _last(value: object) -> object:
    """Return the last of several statuses: the table says list, both samples say object."""
    if isinstance(value, list):
        return value[-1] if value else None
    return value


class _Status(Row):
    name: StatusWord
    code: Words
    description: LongWords


class _Detail(Row):
    """What one detail of a delivery report says (documented)."""

    bulk_id: IdIfAny = Field(alias="bulkId")
    message_id: Id | None = Field(alias="messageId")
    to: Words
    sender: Words = Field(alias="from")
    credit: Credit
    send_date: Words = Field(alias="sendDate")
    done_date: Words = Field(alias="doneDate")
    status: Annotated[_Status, BeforeValidator(_last)]
    callback_data: LongWords = Field(alias="callbackData")


def is_probe(callback: Callback) -> bool:
    """Say whether the body is empty."""
    return not callback.body


_TEXT: Final = Blank("text", "", '""')


def decode(callback: Callback) -> Body:
    """Decode JSON or XML, without the texts; the first character tells which of the two it is."""
    return decoding.read_body(decoding.decode(callback.body, callback.content_type), _TEXT)


def parse(body: Body) -> list[Report | Unreadable]:
    """Read one report from each detail."""
    return reading.read_items(_details(reading.frame(body.document, "body")), _report)


def _details(body: dict[str, Any], path: str = "") -> list[tuple[str, object]]:
    """Return the details with their paths, the bulk's id in each; none are never silence.

    XML has `details` > `detail` (documented); some clients read `detail` from the answer to a
    send call (seen).
    """
    both = [found for found in (body.get("details"), body.get("detail")) if found]
    if len(both) > 1:
        raise UnreadableError(f"{path}details: expected one list, got `detail` beside it")
    details = both[0] if both else None
    if isinstance(details, dict):
        details = reading.frame(details, f"{path}details").get("detail", details)
    found = reading.rows(details, f"{path}details")
    if not found:
        others = reading.names_of({} if "bulkid" in body or "details" in body else body)
        names = f", among the names {others}" if others else ""
        raise UnreadableError(f"{path}details: expected a list, got nothing{names}")
    bulk = {"bulkId": body.get("bulkid")}
    return [(at, row | bulk if isinstance(row, dict) else row) for at, row in found]


def _report(position: int, row: object) -> Report:
    fields = _Detail.model_validate(row)
    # Without `messageId` the bulk and the number still name one message (inferred).
    if fields.message_id is None and (fields.bulk_id is None or fields.to is None):
        raise UnreadableError("messageId: expected text, got nothing")
    return Report(
        position=position,
        provider_status=fields.status.name,
        transaction_id=fields.bulk_id,
        message_id=fields.message_id,
        provider_recipient=fields.to,
        sender=fields.sender,
        provider_code=fields.status.code,
        provider_description=fields.status.description,
        provider_time=fields.done_date,
        provider_sent_time=fields.send_date,
        credit=fields.credit,
        callback_data=fields.callback_data,
    )


class _Error(Row):
    """What an error may say; the last three as Infobip, whose vocabulary this is, has them."""

    code: Words
    name: Words
    description: LongWords
    message_id: Words = Field(alias="messageId")
    message: LongWords
    text: LongWords

    @property
    def words(self) -> str | None:
        """All of it in one line."""
        fields = self.description or self.message or self.text
        return reading.in_words(self.name or self.message_id, self.code, fields)


class _Sent(Row):
    """What one detail of the answer to a send call says (seen and inferred, so all lenient)."""

    bulk_id: IdIfAny = Field(alias="bulkId")
    message_id: IdIfAny = Field(alias="messageId")
    to: Words
    credit: Credit
    status: Annotated[_Error | None, BeforeValidator(_last)]


def parse_sent(response: object, _recipients: Sequence[str] = ()) -> list[SentMessage]:
    """Read answers to `POST /sms/send`; one without details is an error in ANTS's words."""
    return reading.all_read(
        item
        for path, answer in reading.read_answers(response)
        for item in _sent(f"{path}." if path else "", answer)
    )


def _sent(path: str, answer: dict[str, Any]) -> list[SentMessage | Unreadable]:
    if not {"details", "detail", "to", "messageid"} & answer.keys():
        _refuse(answer)
    return reading.read_items(_details(answer, path), _message)


def _refuse(answer: dict[str, Any]) -> None:
    """Raise ProviderRefusalError in ANTS's words, wherever in the answer they are (unknown)."""
    holders: list[dict[str, Any]] = [answer]
    for holder in holders:  # which grows on the way
        words = _Error.model_validate(holder).words
        if words:
            raise ProviderRefusalError(words)
        holders += [member for member in holder.values() if isinstance(member, dict)]


def _message(_position: int, row: object) -> SentMessage:
    fields = _Sent.model_validate(row)
    refused = fields.status is not None and (fields.status.name or "").lower() in _REFUSED
    return SentMessage(
        recipient=reading.recipient(fields.to, "to", refused=refused),
        message_id=fields.message_id,
        transaction_id=fields.bulk_id,
        credit=fields.credit,
        error=fields.status.words if refused and fields.status else None,
    )


def redact(callback: Callback, body: Body | None) -> Callback:
    """Return the callback with every `text` blank, and every other byte as it was.

    `body` is None where it cannot be read. Where it is not certain what is a text (a body that
    cannot be read, a `text` that is an attribute, no text at all and an item that is unreadable)
    the body is returned whole and `redacted` is false.
    """
    if body is None or body.text is None or body.text.encode(body.text.text) != callback.body:
        return replace(callback, redacted=False)
    try:
        blank = body.blanked()
        if not body.spans:
            reading.all_read(parse(body))
    except UnreadableError:
        return replace(callback, redacted=False)
    return replace(callback, body=blank, redacted=True)
