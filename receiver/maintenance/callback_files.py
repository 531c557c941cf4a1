"""Files of saved callbacks: one body each, or a log with some in its lines; told apart by content.

A line is a query string or JSON, as it came or in whatever a server writes about it: the request
in an access log (nginx, Apache, Caddy), a URL, what PHP's `error_log` or the vendor's own sample
script wrote behind a time: `<time> Data :{"Transaction": …}` (documented). JSON may go over lines.
Nothing here knows a provider: what comes out are bytes, with the line they begin on and the time
that stands before them, if one does.
"""

from __future__ import annotations

import io
import json
import re
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, BinaryIO, Final
from zoneinfo import ZoneInfo

from receiver.messages import encoding_of, input_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import tzinfo


_BLANK: Final = (
    "\xef\xbb\xbf \t\r\n"  # what is read here are bytes, each as the character it numbers
)
_MAX_BRACKETS: Final = 5
"""The brackets of one line at which JSON is looked for, at most."""


@dataclass(frozen=True, slots=True)
class Saved:
    """A saved body, the line it begins on, and when it arrived (aware), where that is written.

    `is_part` says that it was taken out of a line: then it is a guess, and is nothing where no
    provider can read it.
    """

    line: int
    body: bytes
    received_at: datetime | None = None
    is_part: bool = False


@dataclass(frozen=True, slots=True)
class Bad:
    """A line with no callback in it, and why; no value is in the reason."""

    line: int
    reason: str


def saved(file: BinaryIO, limit: int, zone: tzinfo) -> Iterator[Saved | Bad]:
    """Return every body of a file, in order, and each line without one; `limit` is in bytes.

    `zone` is that of times which name none.
    """
    first = next((text for _, text in _numbered_lines(file, limit) if text.strip(_BLANK)), "")
    file.seek(0)
    if first.strip(_BLANK).startswith(("<", "--")):
        body = file.read(limit + 1)
        yield Saved(1, body) if len(body) <= limit else Bad(1, f"over {limit} bytes")
        return
    for line, text in input_files.documents(_numbered_lines(file, limit), limit):
        if len(text) > limit:
            yield Bad(line, f"over {limit} bytes")
        else:
            yield from _bodies(line, text.strip(_BLANK), zone)


def _numbered_lines(file: BinaryIO, limit: int) -> Iterator[tuple[int, str]]:
    """Return the lines of a file, counted from 1, their bytes as characters.

    Those of UTF-16 are in UTF-8 then; providers' bodies in anything else are read by what they are.
    """
    codec = encoding_of(file) or "utf-8"
    file.seek(0)
    if codec in {"utf-8", "cp874"}:
        for number, line in input_files.numbered_lines(file, limit):
            yield number, line.decode("latin-1")
        return
    text = io.TextIOWrapper(file, codec, newline="")
    try:
        for number, line_ in input_files.numbered_lines(text, limit):
            yield number, line_.encode("utf-8", "surrogatepass").decode("latin-1")
    finally:
        text.detach()


# What stands in a line. Each form is tried in turn.

_LOGGED: Final = re.compile(r"\S+ Data :")
_PLAIN: Final = re.compile(r"\??[A-Za-z_][\w.\[\]%;-]*\s*=")
_REQUEST: Final = re.compile(r'"(?:GET|POST|PUT) ([^\s"]+)')
_URL: Final = re.compile(r"(?:(?:GET|POST|PUT) )?(?:https?://|/)[^\s\"]*")
_OURS: Final = re.compile(r'/callbacks/[^\s"?]+\?[^\s"]*')
_QUERY: Final = re.compile(r"[\w.%\[\]-]+=[^\s\"'&<>]*(?:&[^\s\"'<>]*)+")
_MARKUP: Final = re.compile(r"<(?:\?xml |[A-Za-z]+[ />]).*", re.DOTALL)


def _bodies(line: int, text: str, zone: tzinfo) -> Iterator[Saved | Bad]:
    """Return the bodies of one document, which is mostly a line."""
    if text.startswith(("{", "[")) and not _OURS.search(_unescaped(text)):
        spans = list(_json(text, 0))
        if spans and not text[spans[-1][1] :].strip(", \t\r\n"):
            for start, end in spans:
                yield _saved(line + text.count("\n", 0, start), text[start:end])
            return
    if logged := _LOGGED.match(text):
        yield _saved(line, text[logged.end() :], _time(text[: logged.end()], zone))
    elif _PLAIN.match(text) and not _OURS.search(text):
        yield _saved(line, text.removeprefix("?"))
    else:
        yield _within(line, text, zone)


def _within(line: int, text: str, zone: tzinfo) -> Saved | Bad:
    """Return the body that a server wrote about in a line, with the time before it."""
    text = _unescaped(text)
    match = _OURS.search(text) or _REQUEST.search(text) or _URL.match(text)
    if match is not None:
        _, question_mark, query = match[0].partition("?")
        if not question_mark or not query:
            return Bad(line, "a request without a query; its body, if any, is not in this line")
        return _saved(line, query.partition("#")[0], _time(text, zone, match.start()), is_part=True)
    for bracket in [m.start() for m in re.finditer(r"\{|\[(?=[{\"\]])", text)][:_MAX_BRACKETS]:
        for start, end in _json(text, bracket):
            return _saved(line, text[start:end], _time(text, zone, start), is_part=True)
    if (match := _MARKUP.search(text)) or (match := _QUERY.search(text)):
        return _saved(line, match[0], _time(text, zone, match.start()), is_part=True)
    return Bad(line, "expected a query string or JSON, as it came or in a line of a log")


def _saved(
    line: int, body: str, received_at: datetime | None = None, *, is_part: bool = False
) -> Saved:
    return Saved(line, body.strip(_BLANK).encode("latin-1"), received_at, is_part)


def _json(text: str, at: int) -> Iterator[tuple[int, int]]:
    """Return where the objects and lists begin and end that stand here one after the other."""
    decode = json.JSONDecoder().raw_decode
    while text[at : at + 1] in {"{", "["}:
        try:
            _, end = decode(text, at)
        except (ValueError, RecursionError):
            return
        yield at, end
        at = end + len(text[end:]) - len(text[end:].lstrip(", \t\r\n"))


def _unescaped(text: str) -> str:
    """Undo what JSON does to a URL in a log of JSON lines."""
    return text.replace(r"\u0026", "&").replace(r"\/", "/")


# When it came: the last time before it in its line.

_DATE: Final = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
_CLOCK: Final = r"[0-9]{2}:[0-9]{2}:[0-9]{2}"
_TIMES: Final[tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], datetime]], ...]] = (
    (
        re.compile(
            rf"[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}[T ]{_CLOCK}[.,0-9]*(?:Z| ?[+-][0-9:]{{4,6}})?"
        ),
        lambda match: datetime.fromisoformat(match[0].replace(",", ".").replace(" +", "+")),
    ),
    (  # nginx's and Apache's access logs
        re.compile(rf"[0-9]{{2}}/[A-Z][a-z]{{2}}/[0-9]{{4}}:{_CLOCK} [+-][0-9]{{4}}"),
        lambda match: datetime.strptime(match[0], "%d/%b/%Y:%H:%M:%S %z"),
    ),
    (  # PHP's log
        re.compile(rf"([0-9]{{2}}-[A-Z][a-z]{{2}}-[0-9]{{4}} {_CLOCK}) ([A-Za-z_/+-]+)"),
        lambda match: datetime.strptime(match[1], "%d-%b-%Y %H:%M:%S").replace(
            tzinfo=ZoneInfo(match[2])
        ),
    ),
    (  # nginx's error log
        re.compile(rf"[0-9]{{4}}/[0-9]{{2}}/[0-9]{{2}} {_CLOCK}"),
        lambda match: datetime.strptime(match[0], "%Y/%m/%d %H:%M:%S"),  # noqa: DTZ007 - below
    ),
    (  # Apache's error log
        re.compile(rf"([A-Z][a-z]{{2}} [0-9]{{2}} {_CLOCK})[.0-9]* ([0-9]{{4}})"),
        lambda match: datetime.strptime(f"{match[1]} {match[2]}", "%b %d %H:%M:%S %Y"),  # noqa: DTZ007
    ),
    (  # Caddy's log
        re.compile(r'"ts":([0-9]{10}(?:\.[0-9]+)?)'),
        lambda match: datetime.fromtimestamp(float(match[1]), ZoneInfo("UTC")),
    ),
)
"""The forms in which logs write times, and what reads each; a naive one is in the log's zone."""


def _time(text: str, zone: tzinfo, before: int | None = None) -> datetime | None:
    """Return the first time that stands in a text, up to an index in it; aware, None for none."""
    for pattern, read in _TIMES:
        if match := pattern.search(text, 0, len(text) if before is None else before):
            try:
                time = read(match)
            except (ValueError, KeyError, OSError, OverflowError):
                continue
            return time if time.tzinfo else time.replace(tzinfo=zone)
    return None
