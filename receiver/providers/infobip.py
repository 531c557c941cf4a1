"""Infobip: delivery reports it POSTs to a webhook, and answers to send calls.

https://www.infobip.com/docs/api/channels/sms/sms-messaging/logs-and-status-reports/receive-outbound-sms-message-report
documents the body, and https://www.infobip.com/docs/developer-resources/api-fundamentals/message-status-codes
the groups and names of statuses. ANTS's words come from here. Failed callbacks are repeated
(documented); how often is unknown. No report carries a text; an incoming message, whose webhook is
another setting, does, so `redact` blanks any `text`.
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
    shortened,
)
from receiver.providers import decoding, reading
from receiver.providers.json_document import Blank
from receiver.providers.proofs import fixed_value
from receiver.providers.provider import OK, Setting
from receiver.providers.reading import Id, IdIfAny, LongWords, Row, StatusWordIfAny, Words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from receiver.domain import Callback
    from receiver.providers.decoding import Body


TITLE: Final = "Infobip"
REGISTER: Final = (
    "the URL of a subscription to delivery reports, in the portal, or the webhook of each send call"
)
MAX_URL: Final[int | None] = None  # no limit is named (unknown)
METHODS: Final = frozenset({"POST"})  # documented
ANSWER: Final = OK
# Basic or one fixed value can be set up at their side (documented).
AUTHORIZATION: Final = fixed_value(
    "Authorization", Setting(name="authorization", shown=False, shared="secret")
)
PROOFS: Final = ((AUTHORIZATION,),)
SETTINGS: Final[tuple[Setting, ...]] = ()
SECRETS: Final = False

OPERATOR: Final = "DELIVERED_TO_OPERATOR"
"""The one name that counts before its group: no handset has the message yet (documented)."""

# By group, never by name or id: those grow in number, and each is in a group (documented).
STATUSES: Final = {
    "accepted": Status.ACCEPTED,
    "ok": Status.ACCEPTED,  # group 0 under its other name
    "pending": Status.ENROUTE,
    "undeliverable": Status.UNDELIVERABLE,
    "delivered": Status.DELIVERED,
    OPERATOR.lower(): Status.ENROUTE,
    "expired": Status.EXPIRED,
    "rejected": Status.REJECTED,
}

# The numbers of the groups, where a name is missing (documented).
_GROUPS: Final = {
    "0": "ACCEPTED",
    "1": "PENDING",
    "2": "UNDELIVERABLE",
    "3": "DELIVERED",
    "4": "EXPIRED",
    "5": "REJECTED",
}
_OPERATOR_ID: Final = "2"

# In the answer to a send call these say that the message was not taken (documented).
_REFUSED: Final = frozenset({"rejected", "undeliverable"})


def _object(value: object) -> object:
    """Take anything but an object for none, where it is optional."""
    return value if isinstance(value, dict) else None


class _Status(Row):
    """A status, of a report or in the answer to a send call (documented)."""

    group_id: Words = Field(alias="groupId")
    group_name: StatusWordIfAny = Field(alias="groupName")
    id: Words
    name: StatusWordIfAny
    description: LongWords

    @property
    def word(self) -> str | None:
        """The group's name; `DELIVERED_TO_OPERATOR`, where that is the status."""
        is_operator = (self.name or "").upper() == OPERATOR
        if is_operator or (self.name is None and self.group and self.id == _OPERATOR_ID):
            return self.name or OPERATOR
        return self.group or self.name

    @property
    def group(self) -> str | None:
        """The group's name; by its number, where the name is missing."""
        return self.group_name or _GROUPS.get(self.group_id or "", self.group_id)


class _Error(Row):
    """What went wrong beside the status (documented); `id` 0 is nothing."""

    id: Words
    name: Words
    description: LongWords
    permanent: Any

    @property
    def words(self) -> str | None:
        """All of it in one line."""
        if self.id in {None, "0"}:
            return None
        said = reading.in_words(self.name, self.id, self.description)
        return f"{said}, permanent" if self.permanent is True else said


class _Result(Row):
    """What one result says (documented)."""

    bulk_id: IdIfAny = Field(alias="bulkId")
    message_id: Id | None = Field(alias="messageId")
    to: Words
    sender: Words = Field(alias="from")
    sent_at: Words = Field(alias="sentAt")
    done_at: Words = Field(alias="doneAt")
    status: _Status
    error: Annotated[_Error | None, BeforeValidator(_object)]
    callback_data: LongWords = Field(alias="callbackData")


def is_probe(callback: Callback) -> bool:
    """Say whether the body is empty."""
    return not callback.body


_TEXT: Final = Blank("text", "", '""')


def decode(callback: Callback) -> Body:
    """Decode JSON, without texts."""
    return decoding.json_body(decoding.decode(callback.body, callback.content_type), _TEXT)


def parse(body: Body) -> list[Report | Unreadable]:
    """Read one report from each result."""
    return reading.read_items(_rows(reading.frame(body.document, "body"), "results"), _report)


def _rows(frame: dict[str, Any], name: str, path: str = "") -> list[tuple[str, object]]:
    """Return the items of a batch with their paths; none are never silence."""
    found = reading.rows(frame.get(name), f"{path}{name}")
    if not found:
        others = reading.names_of({n: v for n, v in frame.items() if n != name})
        names = f", among the names {others}" if others else ""
        raise UnreadableError(f"{path}{name}: expected a list, got nothing{names}")
    return found


def _report(position: int, row: object) -> Report:
    said = _Result.model_validate(row)
    # Without `messageId` the bulk and the number still name one message, as at ANTS (inferred).
    if said.message_id is None and (said.bulk_id is None or said.to is None):
        raise UnreadableError("messageId: expected text, got nothing")
    if said.status.word is None:
        raise UnreadableError("status.groupName: expected text, got nothing")
    described = reading.in_words(said.status.name, None, said.status.description)
    wrong = said.error.words if said.error else None
    return Report(
        position=position,
        provider_status=said.status.word,
        transaction_id=said.bulk_id,
        message_id=said.message_id,
        provider_recipient=said.to,
        sender=said.sender,
        provider_code=said.status.id,
        provider_description=shortened("; ".join(filter(None, (described, wrong)))),
        provider_time=said.done_at,
        provider_sent_time=said.sent_at,
        callback_data=said.callback_data,
    )


class _Message(Row):
    """What one message of the answer to a send call says (documented), with the bulk's id."""

    bulk_id: IdIfAny = Field(alias="bulkId")
    message_id: IdIfAny = Field(alias="messageId")
    to: Words
    status: Annotated[_Status | None, BeforeValidator(_object)]


class _Problem(Row):
    """What an error says, in its older form and its newer (documented)."""

    message_id: Words = Field(alias="messageId")
    text: LongWords
    error_code: Words = Field(alias="errorCode")
    description: LongWords

    @property
    def words(self) -> str | None:
        """All of it in one line."""
        code, said = self.message_id or self.error_code, self.text or self.description
        return reading.in_words(code, None, said)


def parse_sent(response: object, _recipients: Sequence[str] = ()) -> list[SentMessage]:
    """Read answers to send calls, which name each number."""
    return reading.all_read(
        item
        for path, answer in reading.read_answers(response)
        for item in _sent(f"{path}." if path else "", answer)
    )


def _sent(path: str, answer: dict[str, Any]) -> list[SentMessage | Unreadable]:
    if "messages" not in answer:
        _refuse(answer)
    bulk = {"bulkId": answer.get("bulkid")}
    rows = [
        (at, row | bulk if isinstance(row, dict) else row)
        for at, row in _rows(answer, "messages", path)
    ]
    return reading.read_items(rows, _message)


def _message(_position: int, row: object) -> SentMessage:
    said = _Message.model_validate(row)
    word = (said.status.group or "").lower() if said.status else ""
    refused = word in _REFUSED
    return SentMessage(
        recipient=reading.recipient(said.to, "to", refused=refused),
        message_id=said.message_id,
        transaction_id=said.bulk_id,
        error=_refusal(said.status) if refused and said.status else None,
    )


def _refusal(status: _Status) -> str | None:
    return reading.in_words(status.name or status.group, status.id, status.description)


def _refuse(answer: dict[str, Any]) -> None:
    """Raise ProviderRefusalError in Infobip's words; the older form has them two objects deep."""
    request = reading.lowered(_object(answer.get("requesterror")) or {})
    service = reading.lowered(_object(request.get("serviceexception")) or {})
    for holder in (answer, service):
        words = _Problem.model_validate(holder).words
        if words:
            raise ProviderRefusalError(words)


def redact(callback: Callback, body: Body | None) -> Callback:
    """Return the callback with every `text` blank, and every other byte as it was.

    Where it is not certain what is a text (a body that cannot be read, or of which any item is
    none of ours: an incoming message has its text under other names too) `redacted` is false.
    """
    if body is None or body.spans is None:
        return replace(callback, redacted=False)
    blank = body.blanked() if body.spans else callback.body
    try:
        reading.all_read(parse(body))
    except UnreadableError:
        return replace(callback, body=blank, redacted=False)
    return replace(callback, body=blank, redacted=True)
