"""EngageLab: the callbacks of both generations of its SMS service, and answers to send calls.

Generation 1 (sms.api.engagelab.cc) calls it SMSHook,
https://www.engagelab.com/docs/SMS/SMSHook/Learn-about-SMSHook: one object for each event.
Generation 2 (smsapi.engagelab.com) calls it callback,
https://www.engagelab.com/docs/sms/api/callback: `total` and `rows`. They are told apart by that
shape. Left open: generation 1's words for delivered and failed, what a template's review says and
what its send call answers; generation 2's rows are documented for the sister product only.

A `system_event` of generation 2 can carry an API key and an e-mail address (documented), so
`redact` blanks it.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Final, cast

from pydantic import BeforeValidator, Field

from receiver.domain import (
    Approval,
    ProviderRefusalError,
    Report,
    SentMessage,
    Status,
    TemplateReview,
    Unreadable,
    UnreadableError,
    keepable,
    shortened,
)
from receiver.providers import decoding, reading
from receiver.providers.engagelab_proofs import AUTHORIZATION, CALLBACK_ID, SMSHOOK
from receiver.providers.json_document import Blank, decode_json, write_json
from receiver.providers.provider import OK, Setting
from receiver.providers.reading import IdIfAny, LongWords, Row, StatusWord, Words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from receiver.domain import Callback, Item
    from receiver.providers.decoding import Body


TITLE: Final = "EngageLab"
REGISTER: Final = (
    "callback URL in the console's callback settings; of the first generation, the URL of SMSHook"
)
MAX_URL: Final[int | None] = None  # no limit is named (unknown)
METHODS: Final = frozenset({"POST"})  # documented
ANSWER: Final = OK
PROOFS: Final = ((SMSHOOK,), (CALLBACK_ID, AUTHORIZATION))  # by generation (documented)
SETTINGS: Final = (  # of the template interface, which only commands call
    Setting(name="sms_user", shown=False, shared=None),
    Setting(name="sms_key", shown=False, shared=None),
    Setting(name="url", kind="url", shown=False, shared=None),
)
SECRETS: Final = True

# `status.message_status`, of both generations.
STATUSES: Final = {
    # Generation 1 (documented); `delivered` could not be read there (inferred).
    "target": Status.ACCEPTED,
    "sent": Status.ENROUTE,
    "delivered": Status.DELIVERED,
    # Generation 2 (documented for the sister product, inferred for SMS).
    "plan": Status.ACCEPTED,
    "target_valid": Status.ACCEPTED,
    "target_invalid": Status.REJECTED,
    "sent_failed": Status.UNDELIVERABLE,
    "sent_fail": Status.UNDELIVERABLE,  # as one sample has it
    "delivered_failed": Status.UNDELIVERABLE,
    "delivered_timeout": Status.EXPIRED,
    "verified": Status.DELIVERED,
    # What became of a code, not of its message.
    "verified_failed": Status.UNKNOWN,
    "verified_timeout": Status.UNKNOWN,
}
REVIEW: Final = "template_approval"
"""The word that makes a status the result of a template's review, and no report (documented)."""

# `approval_status` of the template interface (documented), and plain words (inferred).
APPROVALS: Final = {
    "0": Approval.PENDING,
    "1": Approval.APPROVED,
    "-1": Approval.REJECTED,
    "-2": Approval.UNSUBMITTED,
    "pending": Approval.PENDING,
    "approved": Approval.APPROVED,
    "rejected": Approval.REJECTED,
}

KINDS: Final = ("status", "notification", "response", "system_event")
"""A row of generation 2 is told by which of these it has (documented)."""


_EVENT: Final = Blank("system_event", {}, "{}")


MAX_INNER: Final = 500
"""How long JSON within a text of JSON may be, since there may be some in every row."""


def _object(value: object) -> object:
    """Take anything but an object for none: it is optional. Text may hold one, as JSON (seen)."""
    if isinstance(value, str) and value.lstrip().startswith("{") and len(value) <= MAX_INNER:
        with suppress(UnreadableError):
            value, _ = decode_json(value, _EVENT)
    return value if isinstance(value, dict) else None


def _detail(value: object) -> object:
    """Return an error's detail; text alone is its message (inferred)."""
    members = _object(value)
    return {"message": value} if members is None and isinstance(value, str) else members


def _listed(value: object) -> list[Any]:
    """Return a list, or what stands alone as a list of one; nothing is none."""
    if value is None or value == "":
        return []
    return value if isinstance(value, list) else [value]


class _Review(Row):
    """What `status_data` may say of a template (unknown; the template interface's names)."""

    template_id: IdIfAny
    approval_status: Words
    approval_message: LongWords


class _Error(Row):
    message: LongWords


class _Status(Row):
    message_status: StatusWord
    status_data: Annotated[dict[str, Any] | None, BeforeValidator(_object)]
    error_code: Words
    error_detail: Annotated[_Error | None, BeforeValidator(_detail)]


class _Custom(Row):
    """What the sender gave with the send call; `transaction_id` is our advice to it."""

    transaction_id: Words


class _Event(Row):
    """What both generations say of one event."""

    message_id: IdIfAny
    to: Words
    sender: Words = Field(alias="from")
    itime: Words  # Unix milliseconds in generation 1, seconds in generation 2
    custom_args: Any
    status: _Status

    # Once for an event, however many recipients it names: all of these may be long.

    @cached_property
    def transaction_id(self) -> str | None:
        """The sender's own, where it put one into `custom_args`."""
        members = _object(self.custom_args)
        return None if members is None else _Custom.model_validate(members).transaction_id

    @cached_property
    def callback_data(self) -> str | None:
        """`custom_args`, as JSON."""
        if not self.custom_args:
            return None
        return shortened(reading.written(self.custom_args) or write_json(self.custom_args))

    @cached_property
    def data(self) -> dict[str, Any]:
        """`status_data` by lower-case name."""
        return reading.lowered(self.status.status_data or {})

    def report(self, position: int, transaction: str | None, message: str | None) -> Report:
        """Return the report; each generation has its ids elsewhere."""
        detail = self.status.error_detail
        return Report(
            position=position,
            provider_status=self.status.message_status,
            transaction_id=transaction,
            message_id=message,
            provider_recipient=self.to,
            sender=self.sender,
            provider_code=self.status.error_code,
            provider_description=detail.message if detail else None,
            provider_time=self.itime,
            callback_data=self.callback_data,
        )

    def review(self, position: int) -> TemplateReview | None:
        """Return what became of a template; None where it cannot be read (its form is unknown)."""
        fields = _Review.model_validate(self.data)
        approval = APPROVALS.get((fields.approval_status or "").lower())
        if fields.template_id is None or approval is None:
            return None
        return TemplateReview(
            position=position,
            template_id=fields.template_id,
            approval=approval,
            message=fields.approval_message,
            provider_time=self.itime,
        )


def is_probe(callback: Callback) -> bool:
    """Say whether the body is empty, or `{}`: what is sent when the URL is saved (documented)."""
    return not callback.body.strip() or bool(_PROBE.fullmatch(callback.body))


_PROBE: Final = re.compile(rb"\s*\{\s*\}\s*")


def decode(callback: Callback) -> Body:
    """Decode JSON, without what system events say."""
    return decoding.json_body(decoding.decode(callback.body, callback.content_type), _EVENT)


def parse(body: Body) -> list[Item]:
    """Read the callback of either generation; the body's shape tells which."""
    members = _shaped(body.document)
    if members.get("status") is not None:
        return _hooked(members)
    items = reading.read_items(reading.rows(members["rows"], "rows"), _row)
    return cast("list[Item]", items)  # mypy joins the union of what they return to object


def _shaped(document: object) -> dict[str, Any]:
    """Return a body that has the shape of one generation, by lower-case name.

    `rows` is a list (documented); one row that stands alone is a list of one (inferred).
    """
    members = reading.frame(document, "body")
    shapes = [name for name in ("rows", "status") if members.get(name) is not None]
    if len(shapes) != 1:
        others = "" if shapes else reading.names_of(members)
        raise UnreadableError(
            "body: expected `rows` (a callback) or `status` (SMSHook), got"
            f" {'both' if shapes else 'neither'}{others and f', among the names {others}'}"
        )
    if shapes == ["rows"] and not isinstance(members["rows"], (list, dict)):
        raise UnreadableError(f"rows: expected a list, got {reading.kind(members['rows'])}")
    return members


# Generation 1


class _Target(Row):
    """One recipient of an event of SMSHook."""

    sms_id: IdIfAny
    number: Words


def _targets(body: dict[str, Any]) -> list[tuple[str, object]]:
    """Return each recipient that the event names, with its path.

    `target` lists `sms_ids` and `to` of many (documented); others name one in `to` (documented)
    and perhaps its `sms_id` (unknown).
    """
    status = reading.frame(_object(body.get("status")) or {}, "status")
    data = reading.frame(_object(status.get("status_data")) or {}, "status.status_data")
    ids = _listed(data.get("sms_ids")) or _listed(data.get("sms_id"))
    numbers = _listed(data.get("to")) or _listed(body.get("to"))
    if ids:
        same = len(numbers) == len(ids)
        path = "status.status_data.sms_ids"
        return [
            (f"{path}[{n}]", {"sms_id": i, "number": numbers[n] if same else None})
            for n, i in enumerate(ids)
        ]
    return [("", {"number": number}) for number in numbers or [None]]


def _hooked(body: dict[str, Any]) -> list[Item]:
    """Read the event, once: what it says of all its recipients may be long, and they many."""
    (fields,) = reading.read_items([("", body)], lambda _, row: _Event.model_validate(row))
    is_review = isinstance(fields, _Event) and fields.status.message_status.lower() == REVIEW

    def read(position: int, row: object) -> Report | TemplateReview | None:
        if isinstance(fields, Unreadable):
            raise UnreadableError(fields.reason)
        return fields.review(position) if is_review else _targeted(position, fields, row)

    rows = [("", body)] if is_review else _targets(body)
    return cast("list[Item]", reading.read_items(rows, read))


def _targeted(position: int, fields: _Event, row: object) -> Report:
    """Return the report about one recipient."""
    target = _Target.model_validate(row)
    sms_id, number = target.sms_id, target.number
    if fields.message_id is None and sms_id is None:
        raise UnreadableError("message_id: expected text, got nothing")
    # `sms_id` is `message_id`, a dollar and the number as submitted (documented).
    if sms_id is None and number is not None and fields.message_id is not None:
        sms_id = f"{fields.message_id}${number}"
    if sms_id is not None and "$" in sms_id:
        number = keepable(sms_id.rpartition("$")[2]) or number
    report = fields.report(position, fields.transaction_id or fields.message_id, sms_id)
    return replace(report, provider_recipient=number)


# Generation 2


def _row(position: int, row: object) -> Report | TemplateReview | None:
    members = reading.lowered(row)
    # An empty one beside another says nothing (inferred); alone it still tells the row's kind.
    kinds = [kind for kind in KINDS if members.get(kind) is not None]
    kinds = [kind for kind in kinds if members[kind] not in ({}, [], "")] or kinds
    if len(kinds) != 1:
        raise UnreadableError(
            f"expected one of {', '.join(KINDS)}, got {' and '.join(kinds) or 'none'}"
        )
    if kinds != ["status"]:
        return None
    fields = _Event.model_validate(row)
    if fields.status.message_status.lower() == REVIEW:
        return fields.review(position)
    if fields.message_id is None and fields.transaction_id is None:
        raise UnreadableError("message_id: expected text, got nothing")
    return fields.report(position, fields.transaction_id, fields.message_id)


# Answers to send calls


class _Answer(Row):
    """An answer to a send call, and what of the call itself the sender put in."""

    # Generation 2 (documented).
    plan_id: IdIfAny
    accepted_count: Words
    message_id: IdIfAny  # for a single recipient; generation 1's, for all of them (inferred)
    # Generation 1 (unknown; these are its callback's words).
    sms_ids: Any
    # Errors of both (documented).
    code: Words
    message: LongWords
    # Of the send call.
    to: Any
    custom_args: Annotated[_Custom | None, BeforeValidator(_object)]


def parse_sent(response: object, recipients: Sequence[str] = ()) -> list[SentMessage]:
    """Read answers to send calls of both generations.

    They name nobody, so `recipients` are the numbers as they were submitted. An answer may have
    them as `to`, too, and the sender's own transaction id in `custom_args`, as the call had them.
    """
    answers = reading.read_answers(response)
    if recipients and len(answers) > 1:
        raise UnreadableError("expected one answer for the recipients, got a list of several")
    fields = reading.all_read(reading.read_items(answers, _answer))
    return reading.all_read(
        item
        for (path, _), answer in zip(answers, fields, strict=True)
        for item in _sent(f"{path}." if path else "", answer, recipients)
    )


def _answer(_position: int, row: object) -> _Answer:
    """Read an answer; the template calls wrap theirs in `result` (documented there)."""
    answer = reading.lowered(row)
    inner = _object(answer.get("result")) or {}
    return _Answer.model_validate(answer | reading.lowered(inner))


def _sent(path: str, fields: _Answer, recipients: Sequence[str]) -> list[SentMessage | Unreadable]:
    if fields.plan_id is None and fields.message_id is None:
        words = reading.in_words(None, fields.code, fields.message)
        if words:
            raise ProviderRefusalError(words)
        raise UnreadableError(f"{path}plan_id: expected text, got nothing")
    numbers = list(recipients) or _listed(fields.to)
    ids = _listed(fields.sms_ids) if fields.plan_id is None else []
    if not numbers:
        numbers = [(reading.written(i) or "").rpartition("$")[2] for i in ids]
    if not numbers:
        raise UnreadableError(
            f"{path}to: expected the numbers it was sent to, since the answer names none"
        )
    rows = [(f"{path}to[{n}]", number) for n, number in enumerate(numbers)]
    single = len(rows) == 1

    def message(_position: int, number: object) -> SentMessage:
        return _message(fields, reading.written(number), single=single)

    return reading.read_items(rows, message)


def _message(fields: _Answer, number: str | None, *, single: bool) -> SentMessage:
    own = fields.custom_args.transaction_id if fields.custom_args else None
    if fields.plan_id is not None:
        refused = fields.accepted_count == "0"  # where some are, which is unknown
        return SentMessage(
            recipient=reading.recipient(number, "", refused=refused),
            message_id=fields.message_id if single else None,
            transaction_id=own or fields.plan_id,
            error="accepted_count 0" if refused else None,
        )
    return SentMessage(
        recipient=reading.recipient(number, "", refused=False),
        message_id=f"{fields.message_id}${number}",
        transaction_id=own or fields.message_id,
    )


# Secrets

# The name as it may be written, in any encoding, in a body that may not be JSON at all, nor in one
# encoding only: UTF-16 and UTF-32 have NULs between the letters.
_SECRET: Final = re.compile(
    rb"\0*+".join(
        b"(?:%c|%b)" % (char, rb"\0*+".join((rb"\\", b"u", *(b"%c" % c for c in b"%04x" % char))))
        for char in b"system_event"
    ),
    re.IGNORECASE,
)


def redact(callback: Callback, body: Body | None) -> Callback:
    """Return the callback with every `system_event` empty, and every other byte as it was.

    `body` is None where it cannot be read. Where it is not certain where a system event ends, the
    body ends before it. What has neither generation's shape may be another provider's and hold
    message texts: `redacted` is then false.
    """
    if body is None or body.spans is None:
        return replace(callback, body=_before_secrets(callback.body), redacted=False)
    blank = body.blanked() if body.spans else callback.body
    try:
        _shaped(body.document)
    except UnreadableError:
        return replace(callback, body=blank, redacted=False)
    return replace(callback, body=blank, redacted=True)


def _before_secrets(body: bytes) -> bytes:
    """Return what stands before the first name of a secret."""
    secret = _SECRET.search(body)
    return body[: secret.start()] if secret else body
