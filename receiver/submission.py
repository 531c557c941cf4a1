"""What the sending application hands in: its records, or a provider's answer to a send call."""

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

from receiver.errors import RecordError, UnreadableError
from receiver.providers import PROVIDERS
from receiver.providers.decoding import BLANK, is_xml, read_xml
from receiver.report import MAX_ID, MAX_TEXT, SentMessage, amount, msisdn

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import tzinfo

YEARS: Final = range(2000, 2100)
"""Years of a believable time of sending."""
OBJECT: Final = "expected an object"
_NAMED: Final = re.compile(r"\w+: ")


def _text(value: object) -> object:
    """Take text or a whole number, without surrounding white space; nothing is None."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return (value.strip() or None) if isinstance(value, str) else value


def _time(value: object) -> object:
    if value is None or isinstance(value, datetime):
        return value
    text = value.strip() if isinstance(value, str) else ""
    try:  # a date alone is no time: midnight would be invented
        time = datetime.fromisoformat(text) if len(text) > len("2026-11-21") else None
    except ValueError:
        time = None
    if time is None or time.year not in YEARS:
        raise ValueError("expected a time such as 2026-11-21T10:00:00+07:00")
    return time


def _credit(value: object) -> object:
    if value is None or value == "":
        return None
    known = isinstance(value, str | int | float | Decimal) and not isinstance(value, bool)
    credit = amount(str(value)) if known else None
    if credit is None:
        raise ValueError("expected a number below 100,000,000 with at most 4 decimals")
    return credit


Text = Annotated[Annotated[str, Field(max_length=MAX_ID)] | None, BeforeValidator(_text)]
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
    transaction_id: Text = None
    sent_at: Time = None


class _Record(_Common):
    """One sent message, as `messages` lists it."""

    message_id: Text = None
    recipient: Annotated[str | None, BeforeValidator(_text)] = None
    credit: Annotated[Decimal | None, BeforeValidator(_credit)] = None
    error: Long = None


class Submission(_Common):
    """The body of `POST /messages`."""

    provider: str
    response: Any = None
    recipients: list[Annotated[str, BeforeValidator(_text)]] | None = None
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
        given = {
            name: value
            for name in _Common.model_fields
            if (value := getattr(self, name)) is not None
        }
        if self.messages is not None:
            return self._records(given, zone)
        try:
            sent = provider.parse_sent(self.response, self.recipients or ())
        except UnreadableError as error:
            raise RecordError([f"response: {error}"]) from error
        try:
            origin = _canonical(self.response)
        except RecursionError as error:
            raise RecordError(["response: expected JSON, got it nested too deep"]) from error
        try:
            return [
                self._finished(replace(message, **_missing(message, given)), origin, zone)
                for message in sent
            ]
        except UnreadableError as error:  # what was given for all: it is wrong for the first
            raise RecordError([str(error)]) from error

    def _records(self, given: Mapping[str, Any], zone: tzinfo) -> list[SentMessage]:
        """Return the records of `messages`, or name every bad one."""
        problems: list[str] = []
        sent: list[SentMessage] = []
        for place, item in enumerate(self.messages or ()):
            try:
                message = _message(given, _Record.model_validate(item))
                sent.append(self._finished(message, _canonical(item), zone))
            except ValidationError as error:
                problems += words(error, f"messages[{place}]")
            except UnreadableError as error:
                dot = "." if _NAMED.match(str(error)) else ": "
                problems.append(f"messages[{place}]{dot}{error}")
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
        said = (
            self.provider,
            message.account,
            message.recipient,
            message.error,
            message.sent_at and message.sent_at.astimezone(UTC).isoformat(),
            origin,
        )
        key = hashlib.blake2b(json.dumps(said).encode(), digest_size=16).digest()
        return replace(message, refusal_key=key)


def _message(given: Mapping[str, Any], record: _Record) -> SentMessage:
    said = {**given, **record.model_dump(exclude_none=True)}
    number = said.pop("recipient", "")
    # A number that was refused may be none; SentMessage refuses any other that is none.
    return SentMessage(recipient=msisdn(number) or number[:MAX_ID], **said)


def _missing(message: SentMessage, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was said once for all and not of this message."""
    return {name: value for name, value in given.items() if not getattr(message, name)}


def submission(document: object) -> Submission:
    """Check the outline of what was handed in. Raises RecordError."""
    try:
        return Submission.model_validate(document)
    except ValidationError as error:
        raise RecordError(words(error)) from error


def words(error: ValidationError, path: str = "") -> list[str]:
    """Return one sentence for each problem: where it is and what was expected, no values."""
    said = []
    for problem in error.errors(include_input=False, include_url=False):
        where = ".".join(filter(None, (path, *map(str, problem["loc"])))) or "body"
        message = (
            problem["msg"].removeprefix("Value error, ").replace("Input should be", "expected")
        )
        said.append(f"{where}: {OBJECT if problem['type'] == 'model_type' else message}")
    return said


def _canonical(document: object) -> str:
    """Return the same text for the same content, however it is ordered or spaced."""
    if isinstance(document, str):
        with suppress(ValueError):  # what cannot be read is compared as it is written
            document = (
                read_xml(document) if is_xml(document) else json.loads(document.lstrip(BLANK))
            )
    return json.dumps(document, sort_keys=True, default=str)
