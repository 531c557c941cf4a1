"""AIS and NT: delivery reports of the operators' corporate gateways, and their send answers.

Both speak the same words. No public document of theirs was found: all here is seen in some ten
receivers of other people's and one sender, of 2009 to 2026, unless it is marked otherwise. What a
customer's profile contains decides which fields come, so everything but id and status may be
missing. The same URL gets incoming messages, `CMD=DLVRMSG`, which are no reports and whose text
`redact` blanks.

Nothing is repeated: a report that was not answered in their words goes into an offline file, one
report a line in the same words, which `receiver receive` reads.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote_to_bytes

from pydantic import Field

from receiver.domain import (
    MAX_ID,
    SHARED_STATUSES,
    ProviderRefusalError,
    Report,
    SentMessage,
    Status,
    Unreadable,
    UnreadableError,
)
from receiver.providers import decoding, reading
from receiver.providers.bounds import MAX_FIELDS, MAX_FORM
from receiver.providers.decoding import Body
from receiver.providers.forms import as_text
from receiver.providers.json_document import Blank
from receiver.providers.provider import Answer
from receiver.providers.reading import Id, IdIfAny, LongWords, Row, StatusWordIfAny, Words

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from receiver.domain import Callback
    from receiver.providers.json_document import Span
    from receiver.providers.proofs import Scheme
    from receiver.providers.provider import Setting


TITLE: Final = "AIS and NT"
REGISTER: Final = "given to the operator, who enters it in the profile of the corporate service"
MAX_URL: Final[int | None] = None  # no limit is named (unknown)
METHODS: Final = frozenset({"GET", "POST"})  # POST by AIS's gateway, GET by one of NT's (seen)
ANSWER: Final = Answer(
    media_type="text/xml",
    body="<XML><STATUS>OK</STATUS><DETAIL></DETAIL></XML>",
    # For profiles of JSON (inferred).
    to_json=Answer(media_type="application/json", body='{"STATUS":"OK","DETAIL":""}'),
)
PROOFS: Final[tuple[tuple[Scheme, ...], ...]] = ()
SETTINGS: Final[tuple[Setting, ...]] = ()
SECRETS: Final = False

# STATUS and DETAIL together, since one word of the two does not tell: `OK DELIVRD`.
STATUSES: Final = {
    "ok delivrd": Status.DELIVERED,
    "err": Status.UNDELIVERABLE,  # with a code of the operator's, or with nothing
    "err expired": Status.EXPIRED,
    # With another word of SMPP's receipts (inferred).
    "err undeliv": Status.UNDELIVERABLE,
    "err rejectd": Status.REJECTED,
    "err deleted": Status.DELETED,
    "err unknown": Status.UNKNOWN,
}

_REPORT: Final = "DLVRREP"
_MESSAGE: Final = "DLVRMSG"


class _Fields(Row):
    """What a callback may say, of either command."""

    command: Words = Field(alias="CMD")
    smid: IdIfAny = Field(alias="SMID")
    status: StatusWordIfAny = Field(alias="STATUS")
    detail: Words = Field(alias="DETAIL")
    number: Words = Field(alias="FROM")
    sender: Words = Field(alias="SENDER")
    to: Words = Field(alias="TO")  # the sender's name, in a report
    time: Words = Field(alias="TIME")  # YYMMDDhhmm, without a zone
    campaign: LongWords = Field(alias="CAMPAIGN")
    campaign_name: LongWords = Field(alias="campaignName")
    transaction_id: IdIfAny = Field(alias="transactionId")
    # Of no use to us; named so that a value with an `&` in it ends before them.
    ntype: Any = Field(alias="NTYPE")
    code: Any = Field(alias="CODE")
    total: Any = Field(alias="TOTALMSG")
    # An incoming message's.
    content: Any = Field(alias="CONTENT")
    ctype: Any = Field(alias="CTYPE")
    fet: Any = Field(alias="FET")
    transid: Any = Field(alias="TRANSID")


_KNOWN: Final = frozenset(name for _, name in _Fields.names)
_CONTENT: Final = "content"
# What people write: an `&` in it begins no name that nobody has seen.
_FREE: Final = frozenset({_CONTENT, "campaign", "campaignname"})


def is_probe(callback: Callback) -> bool:
    """Say whether there is neither a body nor a query."""
    return not callback.body and not callback.query


def decode(callback: Callback) -> Body:
    """Decode a flat object of JSON or `NAME=value&…`, without texts of incoming messages.

    The first character tells which; where there is no body, the query is read.
    """
    text = decoding.decode(callback.body, callback.content_type)
    if text.text.lstrip(decoding.BLANK).startswith(("{", "[")):
        return decoding.json_body(text, Blank(_CONTENT, "", '""'))
    if not text.text.strip(decoding.BLANK):
        form = _decoded(callback, callback.query)
        return Body("form", form.values, spans=None if form.spans else [])
    form = _decoded(callback, text.text)
    return Body("form", form.values, text, form.spans)


# NAME=value&NAME=value


@dataclass(frozen=True, slots=True)
class _Form:
    """Values by lower-case name, without texts, and where those stand; None where that is unclear.

    A name that stands twice has all its values.
    """

    values: dict[str, tuple[str, ...]]
    spans: list[Span] | None


def _decoded(callback: Callback, text: str) -> _Form:
    """Read parameters; where they have none of the names, what they hold percent-encoded."""
    charset = decoding.declared_charset(callback.body, callback.content_type)
    is_form = not callback.body or "urlencoded" in callback.content_type.lower()
    form = _form(text, charset, is_form=is_form)
    if form.values.keys() & _KNOWN or "%" not in text:
        return form
    whole = _form(_unquoted(text, charset, is_form=is_form), charset, is_form=False)
    return _Form(whole.values, None if _CONTENT in whole.values else [])


def _form(text: str, charset: str | None, *, is_form: bool) -> _Form:
    values: dict[str, tuple[str, ...]] = {}
    spans: list[Span] = []
    for name, begin, end in _pairs(text):
        value = "" if name == _CONTENT else _unquoted(text[begin:end], charset, is_form=is_form)
        if name == _CONTENT:
            spans.append((begin, end))
        values[name] = (*values.get(name, ()), value.strip())
    return _Form(values, spans)


_NAME: Final = re.compile(r"[ \t\r\n\ufeff?]*([A-Za-z_][A-Za-z0-9_]{0,39})=")


def _pairs(text: str) -> Iterator[tuple[str, int, int]]:
    """Return each lower-case name, and where its value begins and ends.

    Values are not encoded, so an `&` may be a part of one: where no name stands behind it, and in
    what people write where no name stands behind it that we know and that is not there already.
    `CAMPAIGN=Tom & Jerry=2&STATUS=OK` are two.
    """
    if len(text) > MAX_FORM:
        raise UnreadableError(f"form: expected at most {MAX_FORM} characters, got {len(text)}")
    name, begin = "", 0
    seen: set[str] = set()
    for count, start in enumerate(_starts(text)):
        if count >= MAX_FIELDS:
            raise UnreadableError(f"form: expected at most {MAX_FIELDS} parameters, got more")
        match = _NAME.match(text, start)
        if match is None:
            continue
        found = match[1].lower()
        if name in _FREE and (found not in _KNOWN or (name == _CONTENT and found in seen)):
            continue
        if name:
            yield name, begin, max(begin, start - 1)
        name, begin = found, match.end()
        seen.add(found)
    if name:
        yield name, begin, len(text)


def _starts(text: str) -> Iterator[int]:
    yield 0
    for ampersand in re.finditer("&", text):
        yield ampersand.end()


_ENCODED: Final = re.compile(r"%[0-9A-Fa-f]{2}")


def _unquoted(value: str, charset: str | None, *, is_form: bool) -> str:
    """Undo percent-encoding, where every percent sign in it can be that."""
    if is_form:
        value = value.replace("+", " ")
    if "%" not in value or value.count("%") != len(_ENCODED.findall(value)):
        return value
    return as_text(unquote_to_bytes(value.encode("utf-8", "surrogateescape")), charset)


# Reports


def parse(body: Body) -> list[Report | Unreadable]:
    """Read the report; an incoming message is none."""
    members = reading.frame(body.document, "body")
    return reading.read_items([("", members)], _read)


def _read(position: int, row: object) -> Report | None:
    members = reading.lowered(row)
    if not _Fields.knows(members):
        others = reading.names_of(members)
        names = f"other names: {others}" if others else "none of these"
        raise UnreadableError(f"expected CMD, SMID and STATUS, got {names}")
    if is_message(members):
        return None
    said = _Fields.model_validate({name: _once(name, value) for name, value in members.items()})
    if (said.command or _REPORT).upper() != _REPORT:
        raise UnreadableError(f"CMD: expected {_REPORT} or {_MESSAGE}, got another")
    if said.smid is None and said.transaction_id is None:
        raise UnreadableError("SMID: expected text, got nothing")
    return Report(
        position=position,
        provider_status=_word(said.status, said.detail),
        message_id=said.smid,
        transaction_id=said.transaction_id,
        provider_recipient=said.number,
        sender=said.sender or said.to,
        provider_code=said.detail,
        provider_time=said.time,
        callback_data=said.campaign or said.campaign_name,
    )


def is_message(members: Mapping[str, object]) -> bool:
    """Say whether this is an incoming message.

    One `CMD` of several is enough: who writes an SMS can put the name of a report into its text.
    """
    commands = members.get("cmd")
    values = commands if isinstance(commands, tuple) else [commands]
    return any(isinstance(value, str) and value.strip().upper() == _MESSAGE for value in values)


def _once(name: str, value: object) -> object:
    """Return the one value of a parameter that is not empty."""
    if not isinstance(value, tuple):
        return value
    values = sorted({one for one in value if one})
    if len(values) > 1 and name in _KNOWN:
        raise UnreadableError(f"{name.upper()}: expected it once, got it twice")
    return values[0] if values else None


def _word(status: str | None, detail: str | None) -> str:
    """Put both into one word. A code of the operator's is no part of it: they have no end."""
    if status is None and detail is None:
        raise UnreadableError("STATUS: expected text, got nothing")
    word = " ".join(filter(None, (status, detail)))
    is_code = word.lower() not in STATUSES and (detail or "").lower() not in SHARED_STATUSES
    is_error = status is not None and status.lower() == "err"
    if status is not None and ((is_error and is_code) or len(word) > MAX_ID):
        return status
    return word


# Answers to send calls


class _Answer(Row):
    """An answer to a send call, and the number it was sent to, where the sender put it in."""

    status: Words = Field(alias="STATUS")
    detail: LongWords = Field(alias="DETAIL")
    smid: Any = Field(alias="SMID")
    to: Any = Field(alias="TO")


def parse_sent(response: object, recipients: Sequence[str] = ()) -> list[SentMessage]:
    """Read answers to send calls, XML or JSON.

    They name nobody, so `recipients` is the one number it was sent to; it may stand in the answer
    as `TO`, too. A long message has an id for each of its parts, and is reported part by part: it
    is a message for each.
    """
    answers = reading.read_answers(response)
    if recipients and len(answers) > 1:
        raise UnreadableError("expected one answer for the recipients, got a list of several")
    return reading.all_read(
        item
        for path, answer in answers
        for item in _sent(f"{path}." if path else "", _Answer.model_validate(answer), recipients)
    )


def _sent(path: str, answer: _Answer, recipients: Sequence[str]) -> list[SentMessage | Unreadable]:
    if (answer.status or "").upper() == "ERR":
        raise ProviderRefusalError(answer.detail or "STATUS ERR")
    ids = list(_ids(answer.smid))
    if not ids:
        raise UnreadableError(f"{path}SMID: expected text, got nothing")
    numbers = list(recipients) or _listed(answer.to)
    if not numbers:
        raise UnreadableError(
            f"{path}TO: expected the number it was sent to, since the answer names none"
        )
    if len(numbers) > 1:
        raise UnreadableError(
            f"{path}TO: expected one number, since nothing says which id is whose, got"
            f" {len(numbers)}"
        )
    number = reading.written(numbers[0])

    def message(_position: int, smid: object) -> SentMessage:
        return SentMessage(
            recipient=reading.recipient(number, "TO", refused=False),
            message_id=_Part.model_validate({"SMID": smid}).smid,
        )

    return reading.read_items([(path.removesuffix("."), smid) for smid in ids], message)


class _Part(Row):
    smid: Id = Field(alias="SMID")


def _listed(value: object) -> list[object]:
    if value is None or value == "":
        return []
    return value if isinstance(value, list) else [value]


def _ids(value: object) -> Iterator[object]:
    """Return the ids of the parts: several elements, or one with commas in it (inferred)."""
    for one in _listed(value):
        if isinstance(one, str):
            yield from (part for part in one.split(",") if part.strip())
        else:
            yield one


def redact(callback: Callback, body: Body | None) -> Callback:
    """Return the callback with the text of an incoming message blank, every other byte as it was.

    Where it is not certain where a text is (a body that cannot be read, or that was encoded as a
    whole, an incoming message by GET, another provider's) `redacted` is false.
    """
    if body is None or body.spans is None or _CONTENT in callback.query.lower():
        return replace(callback, redacted=False)
    if body.text is not None and body.text.encode(body.text.text) != callback.body:
        return replace(callback, redacted=False)
    blank = body.blanked() if body.spans else callback.body
    try:
        reading.all_read(parse(body))
    except UnreadableError:
        return replace(callback, body=blank, redacted=False)
    return replace(callback, body=blank, redacted=True)
