"""What must hold of every provider, whatever the bytes are."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from dataclasses import fields, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote_to_bytes
from zoneinfo import ZoneInfo

from receiver.domain.errors import ProviderRefusalError, UnreadableError
from receiver.domain.report import Report, TemplateReview, Unreadable
from receiver.domain.sent_message import SentMessage
from receiver.domain.status import SHARED_STATUSES
from receiver.ingest.interpret import Interpreter
from receiver.providers import PROVIDERS, engagelab
from tests.fuzz import outline
from tests.fuzz.outline import Members

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from receiver.domain.callback import Callback
    from receiver.domain.report import Item

INTERPRETER: Final = Interpreter(
    ZoneInfo("Asia/Bangkok"),
    {name: {**SHARED_STATUSES, **provider.STATUSES} for name, provider in PROVIDERS.items()},
)
ARRIVED: Final = datetime(2026, 11, 28, tzinfo=UTC)
MAX_TEXT: Final = 2000


class BrokenPromiseError(AssertionError):
    """A provider does with some bytes what none may do."""


def must(holds: object, what: str) -> None:
    """Raise BrokenPromiseError unless it holds."""
    if not holds:
        raise BrokenPromiseError(what)


# Callbacks


def check(callback: Callback) -> None:
    """Check everything that is promised of `parse` and `redact`."""
    items = read(callback)
    if items is not None:
        for item in items:
            check_item(callback.provider, item)
        check_places(callback, items)
    check_redaction(callback, items)


def read(callback: Callback) -> list[Item] | None:
    """Return what is read; None where nothing can be. Any other exception goes on."""
    try:
        provider = PROVIDERS[callback.provider]
        return provider.parse(provider.decode(callback))
    except UnreadableError as error:
        must(str(error), "a reason that says nothing")
        return None


def redact(callback: Callback) -> Callback:
    """Return the callback as it is kept."""
    provider = PROVIDERS[callback.provider]
    body = None
    with suppress(UnreadableError):
        body = provider.decode(callback)
    return provider.redact(callback, body)


def check_item(provider: str, item: object) -> None:
    """Check that an item is one of three kinds, and that every database can keep it."""
    must(isinstance(item, Report | TemplateReview | Unreadable), f"an item: {type(item)}")
    if isinstance(item, Unreadable):
        must(item.reason, "a reason that says nothing")
        must("could not be read (" not in item.reason, item.reason)
        return
    check_texts(item)
    if isinstance(item, Report):
        item.digest(provider)
        INTERPRETER.report(provider, item, ARRIVED)


def check_texts(value: Any) -> None:
    """Check that no text of a value is one that a database could not keep."""
    for field in fields(value):
        text = getattr(value, field.name)
        if isinstance(text, str):
            must(text == text.strip() and text, f"{field.name}: white space, or nothing")
            must("\0" not in text and len(text) <= MAX_TEXT, f"{field.name}: NUL, or too long")
            text.encode()  # half a character raises


def check_places(callback: Callback, items: list[Item]) -> None:
    """Check that each item of the body is answered for once, but for what is no SMS report."""
    places = [item.position for item in items]
    must(places == sorted(set(places)), f"places: {places}")
    count = expected(callback)
    if count is None:
        return
    silent = [place for place in range(count) if place not in set(places)]
    must(len(places) + len(silent) == count, f"{count} items, and answers for {places}")
    for place in silent:
        must(may_be_silent(callback, place), f"item {place} of {count} is lost")


def expected(callback: Callback) -> int | None:
    """Return how many items a body holds; None where this simple reading cannot tell."""
    with suppress(ValueError, RecursionError):
        return COUNTS[callback.provider](callback)
    return None


def _ants(callback: Callback) -> int | None:
    root = outline.root(callback.body)
    if root is not None:
        found = [e for e in root if outline.local(e.tag) in {"details", "detail"}]
        if len(found) != 1:
            return len(found)
        inner = [e for e in found[0] if outline.local(e.tag) == "detail"]
        return len(inner) or 1
    document = outline.document(callback.body)
    return frames(document) if isinstance(document, Members) else None


def frames(document: Members) -> int:
    """Return how many details are in all of ANTS's lists of them."""
    count = 0
    for frame in document.of("details", "detail"):
        inner = frame.of("detail") if isinstance(frame, Members) else []
        count += sum(map(outline.length, inner)) if any(inner) else outline.length(frame)
    return count


def _engagelab(callback: Callback) -> int | None:
    document = outline.document(callback.body)
    must(isinstance(document, Members), "a report out of nothing")
    assert isinstance(document, Members)
    rows = [value for value in document.of("rows") if value is not None]
    if rows:
        return sum(map(outline.length, rows))
    statuses = [value for value in document.of("status") if isinstance(value, Members)]
    data = [d for status in statuses for d in status.of("status_data") if isinstance(d, Members)]
    for holders in (
        [value for d in data for value in d.of("sms_ids")],
        [value for d in data for value in d.of("sms_id")],
        [value for d in data for value in d.of("to")],
        document.of("to"),
    ):
        if count := sum(map(outline.length, holders)):
            return count
    return 1


def _thaibulksms(callback: Callback) -> int | None:
    said = (outline.text(callback.body) or "").lstrip(outline.BLANK)
    document = outline.document(callback.body) if said.startswith(("{", "[")) else None
    if document and type(document) is list:
        return outline.length(document)
    # Names may number items: `data[0][Status]`.
    numbered = callback.query if document is not None else callback.query + repr(callback.body)
    return None if "[" in numbered or "%5b" in numbered.lower() else 1


def _infobip(callback: Callback) -> int | None:
    document = outline.document(callback.body)
    if not isinstance(document, Members):
        return None
    return sum(map(outline.length, document.of("results")))


COUNTS: Final[Mapping[str, Callable[[Callback], int | None]]] = {
    "ants": _ants,
    "engagelab": _engagelab,
    "thaibulksms": _thaibulksms,
    "movider": _thaibulksms,
    "infobip": _infobip,
    "ais": lambda _callback: 1,
}


def may_be_silent(callback: Callback, place: int) -> bool:
    """Say whether an item may be none about the delivery of an SMS."""
    silent = SILENT.get(callback.provider)
    return silent is not None and silent(callback, place)


def _thaibulksms_silent(callback: Callback, _place: int) -> bool:
    return b"@" in callback.body or b"%40" in callback.body.lower() or "40" in callback.query


def _engagelab_silent(callback: Callback, place: int) -> bool:
    document = outline.document(callback.body)
    assert isinstance(document, Members)
    rows = [row for rows in document.of("rows") if isinstance(rows, list) for row in rows]
    row = rows[place] if rows else document
    assert isinstance(row, Members)
    others = [value for value in row.of(*engagelab.KINDS[1:]) if value is not None]
    words = [v.of("message_status") for v in row.of("status") if isinstance(v, Members)]
    reviews = [w for said in words for w in said if isinstance(w, str)]
    return bool(others) or any(w.strip().lower() == engagelab.REVIEW for w in reviews)


def _ais_silent(callback: Callback, _place: int) -> bool:
    """Say whether `DLVRMSG` is there, however it is encoded."""
    said = unquote_to_bytes(callback.body.replace(b"\0", b"")) + callback.query.encode()
    return b"DLVRMSG" in unquote_to_bytes(said).upper() or b"\\u00" in said


SILENT: Final = {
    "engagelab": _engagelab_silent,
    "thaibulksms": _thaibulksms_silent,
    "ais": _ais_silent,
}
"""Of providers whose callbacks may be about something else than the delivery of an SMS."""


# Redaction


def check_redaction(callback: Callback, items: list[Item] | None) -> None:
    """Check that nothing secret is left, and that nothing else has changed."""
    redacted = redact(callback)
    if redacted.body != callback.body:
        must(redact(redacted) == redacted, "redacted twice, it is another")
    same = replace(redacted, body=callback.body, redacted=callback.redacted)
    must(same == callback, "redact changes the body and its own mark only")
    REDACTIONS[callback.provider](callback, redacted, items)


def _ants_redaction(callback: Callback, redacted: Callback, items: list[Item] | None) -> None:
    if redacted.body != callback.body:
        must(read(redacted) == items, "redact changes a report")
    if not redacted.redacted:
        must(redacted.body == callback.body, "a body that is blank in part")
        must(items is None or may_stay(callback.body, items), "a text stays in what can be read")
        return
    root = outline.root(redacted.body)
    if root is not None:
        for element in root.iter():
            if outline.local(element.tag) == "text":
                must(not (element.text or len(element)), "a text is left in XML")
            must("text" not in map(outline.local, element.keys()), "a text is left in an attribute")
        return
    if b"<![CDATA[" not in redacted.body and b"<!--" not in redacted.body:
        said = (outline.text(redacted.body) or "").lstrip(outline.BLANK)
        must(not said.startswith("<") or not _FULL.search(said), "a text is left in spoiled XML")
    with suppress(ValueError, RecursionError):
        left = outline.document(redacted.body)
        for name, value in outline.members(left):
            must(name.strip().lower() != "text" or value in (None, ""), "a text is left in JSON")
        must(blank(outline.document(callback.body)) == left, "redact changes more than texts")


# What stands in a `text`, in XML that only we can read.
_FULL: Final = re.compile(r"<(?:[^<>\s:]*:)?text(?:\s[^<>'\"]*)?(?<!/)>(?!</)", re.IGNORECASE)


def may_stay(body: bytes, items: list[Item]) -> bool:
    """Say whether it is documented that this body is kept whole: what its texts are is unclear."""
    if any(isinstance(item, Unreadable) for item in items):
        return True
    root = outline.root(body)
    if root is not None:
        return any(outline.local(name) == "text" for e in root.iter() for name in e.keys())  # noqa: SIM118
    said = (outline.text(body) or "").lstrip(outline.BLANK)
    if said.startswith("<"):  # spoiled XML, which only we can read
        return bool(re.search(r"text\s*=", said, re.IGNORECASE))
    return any(not one.is_plain for one in outline.objects(outline.document(body)))


def blank(value: object) -> object:
    """Return a document with its texts blank."""
    if isinstance(value, Members):
        return Members(
            (n, "" if n.strip().lower() == "text" and v is not None else blank(v)) for n, v in value
        )
    return [blank(v) for v in value] if isinstance(value, list) else value


def _engagelab_redaction(callback: Callback, redacted: Callback, items: list[Item] | None) -> None:
    if items is None:
        must(len(redacted.body) <= len(callback.body) + 2 * 10**4, "redact makes a body longer")
    elif redacted.body != callback.body:
        again = read(redacted)
        must(again is not None, "redact makes a body unreadable")
        must(plain(again) == plain(items), "redact changes a report")
    try:
        document = outline.document(redacted.body)
    except (ValueError, RecursionError):
        must(not redacted.redacted, "redacted, and cannot be read")
        left = redacted.body.replace(b"\0", b"").lower()
        must(b"system_event" not in left, "a secret is left in what is no JSON")
        return
    for name, value in outline.members(document):
        must(name.strip().lower() != "system_event" or not value, "a secret is left in JSON")


def plain(items: list[Item] | None) -> list[Item]:
    """Return items without what may hold a secret: the sender's own data, echoed."""
    return [
        replace(item, callback_data=None) if isinstance(item, Report) else item
        for item in items or []
    ]


def _infobip_redaction(callback: Callback, redacted: Callback, items: list[Item] | None) -> None:
    if items is None:
        must(not redacted.redacted, "redacted, and cannot be read")
        return
    must(read(redacted) == items, "redact changes a report")
    left = outline.document(redacted.body)
    for name, value in outline.members(left):
        must(name.strip().lower() != "text" or value in (None, ""), "a text is left in JSON")
    must(blank(outline.document(callback.body)) == left, "redact changes more than texts")


# A text of an incoming message, as the gateway writes it.
_CONTENT: Final = re.compile(r"(?:^|&)content=(?!&|\Z)", re.IGNORECASE)


def _ais_redaction(callback: Callback, redacted: Callback, items: list[Item] | None) -> None:
    if items is not None:
        must(read(redacted) == items, "redact changes a report")
    if not redacted.redacted:
        return
    said = outline.text(redacted.body) or ""
    if said.lstrip(outline.BLANK).startswith("{"):
        for name, value in outline.members(outline.document(redacted.body)):
            must(name.strip().lower() != "content" or value in (None, ""), "a text is left in JSON")
    else:
        must(not _CONTENT.search(said), "a text is left in a form")
    must("content=" not in callback.query.lower(), "a text is left in the query")


def _no_redaction(callback: Callback, redacted: Callback, _items: list[Item] | None) -> None:
    must(redacted == replace(callback, redacted=True), "there is nothing to redact")


REDACTIONS: Final = {
    "ants": _ants_redaction,
    "engagelab": _engagelab_redaction,
    "thaibulksms": _no_redaction,
    "movider": _no_redaction,
    "infobip": _infobip_redaction,
    "ais": _ais_redaction,
}


# Answers to send calls


def check_sent(provider: str, body: bytes) -> None:
    """Check everything that is promised of `parse_sent`, in the forms a response may have."""
    check_response(provider, body, sent_count(provider, body))
    with suppress(ValueError, RecursionError):
        check_response(provider, json.loads(body), None)
    for numbers in (("0812345678",), ("0812345678", "66812345679")):
        check_response(provider, body, None, numbers)


def check_response(
    provider: str, response: object, count: int | None, recipients: tuple[str, ...] = ()
) -> None:
    """Check one form of a response, which holds so many messages where that is known."""
    try:
        messages = PROVIDERS[provider].parse_sent(response, recipients)
    except (UnreadableError, ProviderRefusalError) as error:
        must(str(error), "a reason that says nothing")
        must("could not be read (" not in str(error), str(error))
        return
    must(count in {None, len(messages)}, f"{count} messages, and {len(messages)} are read")
    for message in messages:
        must(isinstance(message, SentMessage), f"a message: {type(message)}")
        for field in fields(message):
            text = getattr(message, field.name)
            must(not isinstance(text, str) or "\0" not in text, f"{field.name}: NUL")
            str(text).encode()  # half a character raises


def sent_count(provider: str, body: bytes) -> int | None:
    """Return how many messages an answer in JSON holds; None where that cannot be told."""
    try:
        document = outline.document(body)
    except (ValueError, RecursionError):
        return None
    said = document if type(document) is list else [document]
    answers = [answer for answer in said if isinstance(answer, Members)]
    return SENT[provider](answers) if len(answers) == len(said) else None


def _thaibulksms_sent(answers: list[Members]) -> int:
    lists = ("phone_number_list", "bad_phone_number_list", "queue")
    return sum(outline.length(v) for answer in answers for v in answer.of(*lists))


SENT: Final[Mapping[str, Callable[[list[Members]], int | None]]] = {
    "ants": lambda answers: sum(map(frames, answers)),
    "engagelab": lambda _answers: None,  # of how many recipients the answer does not always say
    "thaibulksms": _thaibulksms_sent,
    "movider": _thaibulksms_sent,
    "infobip": lambda answers: sum(outline.length(v) for a in answers for v in a.of("messages")),
    "ais": lambda _answers: None,  # a message for each part, and parts stand in one text
}
"""How many messages the objects of an answer hold; None where that cannot be told."""
