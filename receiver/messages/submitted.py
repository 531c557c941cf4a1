"""Schema of what the sending application submits: records, or a provider's send response."""

from __future__ import annotations

import hashlib
import json
import re
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from receiver.domain import (
    CREDIT,
    MAX_ID,
    MAX_TEXT,
    SPOILED,
    TIME,
    YEARS,
    RecordError,
    SentMessage,
    UnreadableError,
    amount,
    bare,
    is_rounded,
    msisdn,
    whole_number,
)
from receiver.providers import BLANK, PROVIDERS, is_xml, read_xml

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import tzinfo


OBJECT: Final = "expected an object"
TOO_LONG: Final = 10**MAX_ID
MAX_EXACT: Final = 2**53
"""The first whole number next to which a floating-point number has no room for another."""
LOST_DIGITS: Final = "it was a floating-point number, which has lost digits of it; write it as text"
_FLOAT_ID: Final = re.compile(r"([0-9]{1,15})\.0")  # as pandas writes a column with a gap
_NAMED: Final = re.compile(r"\w+: ")


def _text(value: object) -> object:
    """Take text or a whole number, without surrounding white space; nothing is None."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value) if abs(value) < TOO_LONG else "9" * (MAX_TEXT + 1)
    return (value.strip() or None) if isinstance(value, str) else value


def _id(value: object) -> object:
    """Take an id; as a floating-point number it must be one that kept its digits."""
    if isinstance(value, float) and value.is_integer():
        if abs(value) >= MAX_EXACT:
            raise ValueError(LOST_DIGITS)
        value = str(int(value))
    value = _text(value)
    if not isinstance(value, str):
        return value
    value = bare(value)
    if match := _FLOAT_ID.fullmatch(value):
        value = match[1]
    if is_rounded(value):
        raise ValueError(SPOILED)
    return value or None


def _number(value: object) -> object:
    """Take a phone number, also as a floating-point number that kept its digits."""
    if isinstance(value, float):
        value = repr(value)
    value = _text(value)
    return (whole_number(value) or value) if isinstance(value, str) else value


def _time(value: object) -> object:
    if value is None or isinstance(value, datetime):
        return value
    text = value.strip() if isinstance(value, str) else ""
    try:  # a date alone is no time: midnight would be invented
        time = datetime.fromisoformat(text) if len(text) > len("2026-11-21") else None
    except ValueError:
        time = None
    if time is None or time.year not in YEARS:
        raise ValueError(TIME)
    return time


def _credit(value: object) -> object:
    if value is None or value == "":
        return None
    value = _text(value)
    is_amount = isinstance(value, str | float | Decimal)
    credit = amount(str(value)) if is_amount else None
    if credit is None:
        raise ValueError(CREDIT)
    return credit


Text = Annotated[Annotated[str, Field(max_length=MAX_ID)] | None, BeforeValidator(_text)]
Id = Annotated[Annotated[str, Field(max_length=MAX_ID)] | None, BeforeValidator(_id)]
Long = Annotated[Annotated[str, Field(max_length=MAX_TEXT)] | None, BeforeValidator(_text)]
Time = Annotated[datetime | None, BeforeValidator(_time)]


class _Common(BaseModel):
    """What may be said of one message, or once for all of them."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    account: Text = None
    sender: Text = None
    tag: Text = None
    reference: Text = None
    template_id: Text = None
    transaction_id: Id = None
    sent_at: Time = None


class _Record(_Common):
    """One sent message, as `messages` lists it."""

    message_id: Id = None
    recipient: Annotated[str | None, BeforeValidator(_number)] = None
    credit: Annotated[Decimal | None, BeforeValidator(_credit)] = None
    error: Long = None


class Submission(_Common):
    """The body of `POST /messages`."""

    provider: str
    response: Any = None
    recipients: list[Annotated[str, BeforeValidator(_number)]] | None = None
    messages: list[Any] | None = None

    def sent_messages(self, zone: tzinfo) -> list[SentMessage]:
        """Return every message, with numbers and times in normal form.

        Times without an offset are in `zone`. Raises RecordError that names every bad record,
        ProviderRefusalError where the response is an error.
        """
        provider = PROVIDERS.get(self.provider)
        if provider is None:
            raise RecordError([f"provider: expected one of: {', '.join(PROVIDERS)}"])
        if (self.response is None) == (self.messages is None):
            raise RecordError(["body: expected either `response` or `messages`"])
        if self.messages is not None and self.recipients is not None:
            raise RecordError(["recipients: expected beside `response` only"])
        common = {
            name: value
            for name in _Common.model_fields
            if (value := getattr(self, name)) is not None
        }
        if self.messages is not None:
            return self._records(common, zone)
        try:
            sent = provider.parse_sent(self.response, self.recipients or ())
            origin = _canonical(self.response)
        except UnreadableError as error:
            raise RecordError([f"response: {error}"]) from error
        try:
            return [
                self._finished(replace(message, **_missing(message, common)), origin, zone)
                for message in sent
            ]
        except UnreadableError as error:  # what was given for all: it is wrong for the first
            raise RecordError([str(error)]) from error

    def _records(self, common: Mapping[str, Any], zone: tzinfo) -> list[SentMessage]:
        """Return the records of `messages`, or name every bad one."""
        problems: list[str] = []
        sent: list[SentMessage] = []
        for position, item in enumerate(self.messages or ()):
            try:
                message = _message(common, _Record.model_validate(item))
                sent.append(self._finished(message, _canonical(item), zone))
            except ValidationError as error:
                problems += problems_of(error, f"messages[{position}]")
            except UnreadableError as error:
                dot = "." if _NAMED.match(str(error)) else ": "
                problems.append(f"messages[{position}]{dot}{error}")
        if problems:
            raise RecordError(problems)
        return sent

    def _finished(self, message: SentMessage, origin: str, zone: tzinfo) -> SentMessage:
        """Place the time in its zone, and make the key of a refusal that has no id."""
        time = message.sent_at
        if time is not None and time.tzinfo is None:
            message = replace(message, sent_at=time.replace(tzinfo=zone))
        if message.error is None or message.message_id or message.transaction_id:
            return message
        identity = (
            self.provider,
            message.account,
            message.recipient,
            message.error,
            message.sent_at and message.sent_at.astimezone(UTC).isoformat(),
            origin,
        )
        key = hashlib.blake2b(json.dumps(identity).encode(), digest_size=16).digest()
        return replace(message, refusal_key=key)


def _message(common: Mapping[str, Any], record: _Record) -> SentMessage:
    values = {**common, **record.model_dump(exclude_none=True)}
    number = values.pop("recipient", "")
    # A number that was refused may be none; SentMessage refuses any other that is none.
    return SentMessage(recipient=msisdn(number) or number[:MAX_ID], **values)


def _missing(message: SentMessage, common: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was said once for all and not of this message."""
    return {name: value for name, value in common.items() if not getattr(message, name)}


def submission(document: object) -> Submission:
    """Check the outline of what was handed in. Raises RecordError."""
    try:
        return Submission.model_validate(document)
    except ValidationError as error:
        raise RecordError(problems_of(error)) from error


def problems_of(error: ValidationError, path: str = "") -> list[str]:
    """Return one sentence for each problem: where it is and what was expected, no values."""
    problems = []
    for problem in error.errors(include_input=False, include_url=False):
        where = ".".join(filter(None, (path, *map(str, problem["loc"])))) or "body"
        message = (
            problem["msg"].removeprefix("Value error, ").replace("Input should be", "expected")
        )
        problems.append(f"{where}: {OBJECT if problem['type'] == 'model_type' else message}")
    return problems


def _canonical(document: object) -> str:
    """Return the same text for the same content, however it is ordered or spaced.

    Raises UnreadableError where it cannot be written.
    """
    if isinstance(document, str):
        with suppress(ValueError):  # what cannot be read is compared as it is written
            document = (
                read_xml(document) if is_xml(document) else json.loads(document.lstrip(BLANK))
            )
    try:
        return json.dumps(document, sort_keys=True, default=str)
    except RecursionError:
        raise UnreadableError("expected JSON, got it nested too deep") from None
    except ValueError:  # a number of thousands of digits
        raise UnreadableError("expected JSON, got a number that is too long") from None
