"""What the fuzzers begin with: the files that the tests read, and the words in them.

An input at `parse` and `redact` is a query, a line break and a body; at `parse_sent`, a body.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from receiver.domain.callback import Callback
from tests.kit.fixtures import load

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.kit.fixtures import Case

LARGEST: Final = 4096
"""Bytes of an input: what is longer repeats itself, and only slows the fuzzers down."""
_SAFE: Final = "".join(chr(c) for c in range(0x21, 0x7F))
_WORD: Final = re.compile(rb"[A-Za-z_]{2,24}|[0-9][0-9T:.+-]{3,30}")


def callback(provider: str, data: bytes) -> Callback:
    """Return the callback that an input stands for; its query is in ASCII, as at the edge."""
    query, _, body = data.partition(b"\n")
    return Callback(provider=provider, method="POST", query=quote(query, safe=_SAFE), body=body)


def callbacks(provider: str) -> list[bytes]:
    """Return the inputs that stand for the tests' callbacks."""
    return [
        case.body + b"\n"
        if case.kind == "query"
        else case.expected.get("query", "").encode() + b"\n" + case.body
        for case in _cases("callbacks", provider)
    ]


def answers(provider: str) -> list[bytes]:
    """Return the tests' answers to send calls."""
    return [case.body for case in _cases("sent", provider)]


def _cases(folder: str, provider: str) -> Iterator[Case]:
    cases = (case for case in load(folder) if case.provider == provider)
    return (case for case in cases if len(case.body) <= LARGEST)


SYNTAX: Final = (
    b'{"', b'":', b'","', b"[]", b"{}", b"null", b"true", b"NaN", b"1e999", b"\\u0000", b"\\ud800",
    b"\\", b"</", b"/>", b"<![CDATA[", b"]]>", b"<!--", b"-->", b"<?", b"<!DOCTYPE", b"&amp;",
    b"&#0;", b"xsi:nil='true'", b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\xff\xfe\0\0", b"\0",
    b"%00", b"%ED%A0%80", b"&", b"=", b"+", b"--x\r\n", b"\r\n\r\n", b"\xe0\xb8\x81", b"$", b"@",
    b"Content-Disposition: form-data; name=",
)  # fmt: skip


def words(seeds: list[bytes]) -> list[bytes]:
    """Return what mutations may put in: names, words and times of the seeds, and syntax."""
    return sorted({*SYNTAX, *(word for seed in seeds for word in _WORD.findall(seed))})
