"""Queries and forms to parameters, as their senders' habits have them. Pure.

PHP and .NET programs spoil names in a few well-known ways, and a form whose names cannot be told
is a report that is lost. So names are cleaned; values are left as they are.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_to_bytes

from receiver.domain import UnreadableError
from receiver.providers.bounds import MAX_FIELDS, MAX_FORM

if TYPE_CHECKING:
    from collections.abc import Iterable


Parameters = dict[str, str]
"""Parameters by lower-case name; of several values of a name the last that is not empty."""


def read_form(form: bytes, charset: str | None = None) -> list[Parameters]:
    """Return the items of an urlencoded form or a query: one, or more where names are numbered.

    `&amp;` separates as `&` does (PHP's `arg_separator.output`), a name's white space and leading
    `?` are no part of it, and neither is what an array of PHP puts around it: `data[Status]` is
    `status`, and `data[0][Status]` is of another item than `data[1][Status]`. Bytes that are no
    UTF-8 are in `charset`, where one is declared, or else lone surrogates.
    """
    if len(form) > MAX_FORM:
        raise UnreadableError(f"form: expected at most {MAX_FORM} characters, got {len(form)}")
    if form.count(b"&") >= MAX_FIELDS:
        raise UnreadableError(f"form: expected at most {MAX_FIELDS} parameters, got more")
    return _items(
        (_unquoted(name, charset), _unquoted(value, charset))
        for name, _, value in (pair.partition(b"=") for pair in form.split(b"&"))
    )


def _unquoted(part: bytes, charset: str | None) -> str:
    return as_text(unquote_to_bytes(part.replace(b"+", b" ")), charset)


def as_text(value: bytes, charset: str | None) -> str:
    """Return UTF-8 as text, or else what it is in a declared charset."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode(charset or "utf-8", "surrogateescape")


# What is around a name: what is left of `&amp;`, a URL's `?`, white space, marks nobody sees.
_AROUND: Final = "? \t\r\n\0\xa0\u200b\ufeff"
_SEPARATOR: Final = re.compile(r"(?:amp;|#0*38;|#x0*26;)+", re.IGNORECASE)
_ARRAY: Final = re.compile(r"([^][]*)((?:\[[^][]*\])+)")


def _items(pairs: Iterable[tuple[str, str]]) -> list[Parameters]:
    """Group parameters by what numbers them; those without a number are every item's."""
    common: Parameters = {}
    groups: dict[tuple[str, ...], Parameters] = {}
    names: dict[str, int] = {}
    for written, value in pairs:
        name = _SEPARATOR.sub("", written.strip(_AROUND), count=1) if ";" in written else written
        name = name.strip(_AROUND).lower()
        if not name:
            continue
        array = _ARRAY.fullmatch(name)
        if array is None:
            _put(common, name, value)
            continue
        if "[]" in name:  # numbered by how often it came, as PHP does
            names[name] = names.get(name, -1) + 1
            name = name.replace("[]", f"[{names[name]}]")
        keys = [key.strip(_AROUND) for key in re.split(r"[][]+", name) if key]
        local = next((key for key in reversed(keys) if not key.isdigit()), keys[-1])
        path = tuple(key for key in keys if key != local)
        _put(groups.setdefault(path, {}), local, value)
    return [group | common for group in groups.values()] or [common]


def _put(parameters: Parameters, name: str, value: str) -> None:
    """Put a parameter where it is the first of its name, or not empty."""
    if name not in parameters or value.strip():
        parameters[name] = value


# Multipart

_BOUNDARY: Final = re.compile(rb"^--(?=\S)([^\r\n]{1,200}+)(?=[\r\n]|\Z)", re.MULTILINE)
_HEADERS: Final = re.compile(rb"\r?\n\r?\n")
_NAME: Final = re.compile(
    rb"""
    ^ content-disposition [ \t]*+ : [^\r\n]*? ;
    [ \t]*+ name [ \t]*+ = [ \t]*+ (?: "([^"\r\n]*)" | ([^";\r\n]+) )
    """,
    re.IGNORECASE | re.MULTILINE | re.VERBOSE,
)


def is_multipart(body: bytes, content_type: str = "") -> bool:
    """Say whether a body is multipart/form-data: by how it begins, or by what it is called."""
    if body.lstrip().startswith(b"--"):
        return True
    return content_type.strip().lower().startswith("multipart/") and bool(_BOUNDARY.search(body))


def read_multipart(body: bytes, charset: str | None = None) -> list[Parameters]:
    """Return the items of multipart/form-data, as `read_form` does; files' contents are values.

    The boundary is the first line that could be one, so neither a preamble nor a Content-Type
    without it does harm. Lines may end with LF alone, and blanks may stand behind a boundary. A
    form that is cut off is read to the end of the body; within a part's head it is unreadable.
    """
    if len(body) > MAX_FORM:
        raise UnreadableError(f"form: expected at most {MAX_FORM} characters, got {len(body)}")
    first = _BOUNDARY.search(body)
    if first is None:
        raise _no_form()
    delimiter = re.compile(
        rb"(?:\A|\r?\n)--" + re.escape(first[1].rstrip()) + rb"(--)?[ \t]*+(?=\r?\n|\r?\Z)"
    )
    parts: list[bytes] = []
    begin = None
    for delimiting in delimiter.finditer(body, max(0, first.start() - 2)):
        if begin is not None:
            parts.append(body[begin : delimiting.start()])
        begin = None if delimiting[1] else delimiting.end()
        if len(parts) > MAX_FIELDS:
            raise UnreadableError(f"form: expected at most {MAX_FIELDS} parameters, got more")
        if delimiting[1]:
            break
    if begin is not None and body[begin:].strip():
        parts.append(body[begin:])
    return _items(_part(part, charset) for part in parts)


def _part(part: bytes, charset: str | None) -> tuple[str, str]:
    """Return a part's name and value. `part` begins with the end of its boundary's line."""
    blank = _HEADERS.search(part)
    name = _NAME.search(part, 0, blank.start() if blank else 0)
    if blank is None or name is None:
        raise _no_form()
    return as_text(name[1] or name[2] or b"", charset), as_text(part[blank.end() :], charset)


def _no_form() -> UnreadableError:
    return UnreadableError("body: expected a multipart form, got something else")
