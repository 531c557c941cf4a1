"""Reading that the providers share: decoded rows to reports and sent messages. Pure.

Whatever cannot mean what it must mean raises UnreadableError, and the loop over the items confines
it to its item. A message says where, what was expected and what kind of thing was there; it never
holds a value, since a value may be a phone number or a message text.
"""

from __future__ import annotations

import re
import string
from contextlib import suppress
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, TypeVar

from pydantic import BaseModel, ConfigDict, PlainValidator, ValidationError, model_validator

from receiver.domain import (
    NO_NUMBER,
    Unreadable,
    UnreadableError,
    amount,
    keepable,
    msisdn,
    required,
    shortened,
)
from receiver.providers.bounds import MAX_ITEMS
from receiver.providers.decoding import BLANK, decode, read_document
from receiver.providers.json_document import Number, Repeated, is_empty
from receiver.providers.xml_document import FORBIDDEN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping


T = TypeVar("T")


# Fields


def written(value: object) -> str | None:
    """Return text, or a number as it was written; None for true, false, null, lists, objects."""
    if isinstance(value, str):
        return value
    if isinstance(value, Number):
        return value.text
    # What another decoder made of a send response.
    if isinstance(value, (int, float, Decimal)) and not isinstance(value, bool):
        with suppress(ValueError):  # thousands of digits
            return str(value)
    return None


_KINDS: Final = (
    (type(None), "nothing"),
    (bool, "true or false"),
    (str, "text"),
    ((int, float, Decimal, Number), "a number"),
    (dict, "an object"),
    (list, "a list"),
)


def kind(value: object) -> str:
    """Say what kind of thing a decoded value is, and nothing else of it."""
    return next((words for types, words in _KINDS if isinstance(value, types)), "something else")


# A decoder that knows no whole numbers writes 7 as 7.0; up to 15 digits are safe with it.
_WHOLE: Final = re.compile(r"(-?[0-9]+)|([0-9]{1,15})\.0")


def _id(value: object) -> str:
    text = written(value)
    if text is None:
        raise UnreadableError(f"expected text, got {kind(value)}")
    if not isinstance(value, str):
        number = _WHOLE.fullmatch(text)
        if number is None:
            raise UnreadableError("expected text or a whole number, got another number")
        text = number[1] or number[2]
    return required(text, "")


def _id_if_any(value: object) -> str | None:
    return None if value is None or (isinstance(value, str) and not value.strip()) else _id(value)


_HALF: Final = re.compile("[\ud800-\udfff]")
_BYTES: Final = range(0xDC80, 0xDD00)  # how a byte that is no UTF-8 is decoded


def _status(value: object) -> str:
    if not isinstance(value, str):
        return _id(value)
    return _id(_HALF.sub(_as_code, value.strip(string.whitespace + FORBIDDEN)))


def _status_if_any(value: object) -> str | None:
    return None if is_empty(value) else _status(value)


def _as_code(half: re.Match[str]) -> str:
    code = ord(half[0])
    return f"\\x{code - 0xDC00:02x}" if code in _BYTES else f"\\u{code:04x}"


Id = Annotated[str, PlainValidator(_id)]
"""Text or a whole number that must be there: an id, a status."""
IdIfAny = Annotated[str | None, PlainValidator(_id_if_any)]
"""The same where it may be missing or empty."""
Words = Annotated[str | None, PlainValidator(lambda value: keepable(written(value)))]
"""Up to 200 characters that are None where they cannot be read."""
LongWords = Annotated[
    str | None, PlainValidator(lambda value: shortened(_HALF.sub("\ufffd", written(value) or "")))
]
"""The first 2,000 characters, U+FFFD for each that is none; None where they cannot be read."""
StatusWord = Annotated[str, PlainValidator(_status)]
"""A status: text or a whole number that must be there. In a foreign charset it is an unknown word,
its bytes written as `\\xca`, so that the report is kept and two such words stay two."""
StatusWordIfAny = Annotated[str | None, PlainValidator(_status_if_any)]
"""The same where it may be missing or empty."""
Credit = Annotated[Decimal | None, PlainValidator(lambda value: amount(written(value)))]
"""A credit as the database holds it; None where it cannot."""


def lowered(value: object, path: str = "") -> dict[str, Any]:
    """Return an object's members by lower-case name; the last counts that is not empty."""
    if not isinstance(value, dict):
        raise UnreadableError(f"{path}: expected an object, got {kind(value)}".removeprefix(": "))
    members = {name.strip().lower(): member for name, member in value.items()}
    if len(members) < len(value):
        for name, member in value.items():
            if not is_empty(member):
                members[name.strip().lower()] = member
    return members


_SHOWN: Final = re.compile(r"[A-Za-z_][A-Za-z_.-]{0,39}")
_SHOWN_AT_MOST: Final = 10


def names_of(members: Mapping[str, object]) -> str:
    """List the names that are there, for an error; none that could be a number or a text."""
    names = [name for name, value in members.items() if value != "" and _SHOWN.fullmatch(name)]
    listed = ", ".join(names[:_SHOWN_AT_MOST])
    others = len(members) - len(names[:_SHOWN_AT_MOST])
    more = f"{others} that {'is' if others == 1 else 'are'} not shown" if others else ""
    return " and ".join(filter(None, (listed, more)))


def frame(value: object, path: str) -> dict[str, Any]:
    """Return the members of what holds a batch, by lower-case name, each of which stands once.

    The last of two lists with one name would hide the items of the first.
    """
    members = lowered(value, path)
    if isinstance(value, Repeated) or len(members) < len(value):  # type: ignore[arg-type]
        raise UnreadableError(f"{path}: expected each name once, got one twice".removeprefix(": "))
    return members


class Row(BaseModel):
    """An item of a decoded body. Its fields' aliases are the provider's names, in any case.

    What is missing is None, as null is, and each field's type says what that means.
    """

    model_config = ConfigDict(frozen=True)
    names: ClassVar[tuple[tuple[str, str], ...]]

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        """Remember the provider's names."""
        aliases = [field.alias or name for name, field in cls.model_fields.items()]
        cls.names = tuple((alias, alias.lower()) for alias in aliases)

    @classmethod
    def knows(cls, members: Mapping[str, object]) -> bool:
        """Say whether any of these lower-case names is one of the provider's."""
        return any(name in members for _, name in cls.names)

    @model_validator(mode="before")
    @classmethod
    def _by_name(cls, row: object) -> dict[str, object]:
        members = lowered(row)
        return {alias: members.get(name) for alias, name in cls.names}


# Items


def read_items(
    rows: Iterable[tuple[str, object]], read: Callable[[int, object], T | None]
) -> list[T | Unreadable]:
    """Read each row, given with its path in the body; one that fails costs only itself.

    `read` gets the position, from 0, and the row; where it returns None there is nothing to keep.
    """
    items: list[T | Unreadable] = []
    for position, (path, row) in enumerate(rows):
        if position == MAX_ITEMS:
            raise UnreadableError(f"body: expected at most {MAX_ITEMS} items, got more")
        try:
            item = read(position, row)
        except Exception as error:  # noqa: BLE001 (a stranger's bytes: nothing may get past here)
            items.append(Unreadable(position=position, reason=_reason(path, error)))
        else:
            if item is not None:
                items.append(item)
    return items


def all_read(items: Iterable[T | Unreadable]) -> list[T]:
    """Return items that are all readable, or raise UnreadableError that names each that is not."""
    good: list[T] = []
    reasons: list[str] = []
    for item in items:
        if isinstance(item, Unreadable):
            reasons.append(item.reason)
        else:
            good.append(item)
    if reasons:
        raise UnreadableError("; ".join(reasons))
    return good


def rows(value: object, path: str) -> list[tuple[str, object]]:
    """Return a list's items with their paths; an item alone is a list of one, as XML has it."""
    if value is None or value == "":
        return []
    if isinstance(value, dict):
        value = [value]
    if not isinstance(value, list):
        raise UnreadableError(f"{path}: expected a list, got {kind(value)}")
    return [(f"{path}[{index}]", row) for index, row in enumerate(value)]


# How an error page begins, of a web server or a proxy, or a warning of PHP before the answer.
_HTML: Final = re.compile(
    r"(?:[\ufeff\s]|<\?xml[^>]*>|<!--[^>]*-->)*+"
    r"<(?:!doctype\s+html|html|head|title|body|center|h[1-6]|p|br|b|div|font|meta|script)\b",
    re.IGNORECASE,
)


def read_answers(response: object) -> list[tuple[str, dict[str, Any]]]:
    """Return each answer to a send call, its members by lower-case name, and its path.

    The response is an object, a list of them, or text or bytes that hold either, or XML.
    """
    if isinstance(response, bytes):
        response = decode(response).text
    if isinstance(response, str):
        if not response.strip(BLANK):
            raise UnreadableError("expected what the provider answered, got nothing")
        if _HTML.match(response):
            raise UnreadableError(
                "expected what the provider answered, as JSON or XML, got an HTML page: it is from"
                " a web server, a proxy or PHP; look at the send call's own HTTP status"
            )
        response = read_document(response)
    answers = rows(response, "") if isinstance(response, list) else [("", response)]
    if not answers:
        raise UnreadableError("expected an object, got an empty list")
    return [(path, frame(answer, path)) for path, answer in answers]


def recipient(number: str | None, name: str, *, refused: bool) -> str:
    """Return a sent message's number as digits with country code.

    A number that was refused may be none, and is then returned as it was given.
    """
    digits = msisdn(number)
    if digits is None and not refused:
        raise UnreadableError(f"{name}: {NO_NUMBER}")
    return digits or number or ""


def in_words(name: str | None, code: str | None, description: str | None) -> str | None:
    """Put a provider's error into one line: `NAME (code): description`."""
    head = f"{name} ({code})" if name and code else name or code
    return ": ".join(filter(None, (head, description))) or None


_FIELD: Final = re.compile(r"\w+(?:\.\w+)*: ")


def _reason(path: str, error: Exception) -> str:
    """Say what is wrong with an item, and where, in our own words."""
    return "; ".join(
        reason if not path else f"{path}{'.' if _FIELD.match(reason) else ': '}{reason}"
        for reason in _reasons(error)
    )


def _reasons(error: Exception) -> list[str]:
    if isinstance(error, UnreadableError):
        return [str(error).removeprefix(": ")]  # so `required` begins where it has no name to say
    if not isinstance(error, ValidationError):
        return [f"could not be read ({type(error).__name__})"]
    return [
        ": ".join(filter(None, (".".join(map(str, e["loc"])), *_reasons(e["ctx"]["error"]))))
        for e in error.errors(include_url=False, include_input=False)
    ]
