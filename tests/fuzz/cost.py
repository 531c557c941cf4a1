"""Hostile bodies of any size, and what the largest cost: `python -m tests.fuzz.cost`.

The largest are what the edge lets in by default. Each is as costly as the bounds let it be: those
that are refused early are here to show that they are.
"""

from __future__ import annotations

import json
import sys
import time
import tracemalloc
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from receiver.domain.callback import Callback
from receiver.domain.errors import UnreadableError
from receiver.providers import PROVIDERS
from receiver.providers.bounds import (
    MAX_FIELDS,
    MAX_FORBIDDEN,
    MAX_FORM,
    MAX_ITEMS,
    MAX_REPAIRS,
    MAX_VALUES,
)

if TYPE_CHECKING:
    from collections.abc import Callable

LARGEST: Final = 8_000_000
"""Bytes of the largest body."""
MAX_SECONDS: Final = 1.0
MAX_BYTES: Final = 100_000_000


@dataclass(frozen=True, slots=True)
class Hostile:
    """A kind of body, which may have any size, in bytes."""

    provider: str
    name: str
    body: Callable[[int], str | bytes]

    def callback(self, size: int) -> Callback:
        """Return one of about that size."""
        body = self.body(size)
        body = body if isinstance(body, bytes) else body.encode("utf-8", "surrogatepass")
        return Callback(provider=self.provider, method="POST", body=body)


def filled(size: int, unit: str, head: str = "", tail: str = "") -> str:
    """Return units between head and tail, as many as make up the size."""
    return (
        head
        + unit * ((size - len(head) - len(tail)) // len(unit.encode("utf-8", "surrogatepass")))
        + tail
    )


def padded(size: int, count: int, item: Callable[[int, str], str]) -> str:
    """Return at most so many items, each with padding, that make up the size, with commas."""
    count = min(count, size // 200)
    padding = "x" * max(0, size // count - 180)
    return ",".join(item(number, padding) for number in range(count))


def _detail(number: int, padding: str) -> str:
    return json.dumps(
        {"messageId": f"{number}", "to": "66812345678", "credit": 1.0, "text": padding,
         "status": {"code": "000", "name": "DELIVERED", "description": "ok"}}
    )  # fmt: skip


def _row(number: int, padding: str) -> str:
    status = {"message_status": "sent", "status_data": {}, "error_detail": {"message": padding}}
    return json.dumps({"message_id": f"{number}", "to": "66812345678", "status": status})


def _result(number: int, padding: str) -> str:
    status = {"groupId": 3, "groupName": "DELIVERED", "id": 5, "description": padding}
    return json.dumps({"messageId": f"{number}", "to": "66812345678", "status": status})


def _inner(number: int, _padding: str) -> str:
    text = json.dumps({f"a{n}": 1 for n in range(48)})
    return json.dumps(
        {"message_id": f"{number}", "custom_args": text, "status": {"message_status": "sent"}}
    )


def _report(number: int, padding: str) -> str:
    return json.dumps({"Transaction": f"{number}", "Status": "delivery", "x": padding})


ONE: Final = '{"details":[{"messageId":"1","status":{"name":"X"},'
XML: Final = "<CALLBACK><details><detail><messageId>1</messageId>"
MXL: Final = "</detail></details></CALLBACK>"
PART: Final = '--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n'


def _names(size: int) -> str:
    count = size // 11
    return ONE + ",".join(f'"m{n}":1' for n in range(count)) + "}]}"


def _most_names(size: int) -> str:
    count = min(MAX_VALUES - 100, size // 70)
    return ONE + ",".join(f'"\\u006d{n}":"{"x" * 55}"' for n in range(count)) + "}]}"


def _most_elements(size: int) -> str:
    count = min(MAX_VALUES - 100, size // 75)
    return XML + "".join(f"<m{n}>{'x' * 55}</m{n}>" for n in range(count)) + MXL


def _repairs(size: int) -> str:
    count = min(MAX_REPAIRS, size // 20)
    return filled(size, "x", XML + "<text>" + "&#x0B;" * count, "</text>" + MXL)


def _forbidden(size: int) -> str:
    count = min(MAX_FORBIDDEN, size // 4)
    return filled(size, "x", XML + "<text>" + "\x01" * count, "</text>" + MXL)


def _attributes(size: int) -> str:
    return "<a " + " ".join(f"a{n}=''" for n in range(size // 12)) + "/>"


def _many_attributes(size: int) -> str:
    element = f"<b {' '.join(f'a{n}=``' for n in range(5000))}/>".replace("`", "'")
    return filled(size, element, XML, MXL)


def _charset(size: int) -> bytes:
    prolog = b"<?xml version='1.0' encoding='windows-874'?>"
    return prolog + filled(size, "x", XML + "<text>", "</text>" + MXL).replace("x", "ก").encode(
        "cp874"
    )


def _secrets(size: int) -> str:
    return filled(size, '{"system_event":{"a":"' + "x" * 200 + '"}},', '{"rows":[', "{}]}")


def _arrays(size: int) -> str:
    name = "a" + "[]" * (min(size, MAX_FORM) // 2 // MAX_FIELDS - 2)
    return f"{name}=&" * (MAX_FIELDS - 1)


HOSTILE: Final = [
    Hostile("ants", "items", lambda n: f'{{"details":[{padded(n, MAX_ITEMS, _detail)}]}}'),
    Hostile("ants", "items, one too many", lambda n: '{"details":[' + "{}," * (n // 3) + "{}]}"),
    Hostile("ants", "names", _names),
    Hostile("ants", "as many names as may be, escaped", _most_names),
    Hostile("ants", "strings", lambda n: filled(n, '"",', "[", '""]')),
    Hostile("ants", "brackets", lambda n: "[" * n),
    Hostile("ants", "quotes without an end", lambda n: filled(n, '"\\')),
    Hostile("ants", "a long number", lambda n: filled(n, "9", ONE + '"credit":', "}]}")),
    Hostile(
        "ants", "a long text, escaped", lambda n: filled(n, "\\u0e01", ONE + '"text":"', '"}]}')
    ),
    Hostile(
        "ants",
        "texts in texts",
        lambda n: filled(n, "x", ONE + '"text":{' * 90 + '"a":"', '"' + "}" * 91 + "]}"),
    ),
    Hostile("ants", "XML elements", lambda n: filled(n, "<b/>", XML, MXL)),
    Hostile("ants", "as many XML elements as may be", _most_elements),
    Hostile("ants", "XML attributes of one element", _attributes),
    Hostile("ants", "XML attributes of many", _many_attributes),
    Hostile(
        "ants", "XML references", lambda n: filled(n, "&#3585;", XML + "<text>", "</text>" + MXL)
    ),
    Hostile(
        "ants",
        "XML references that it forbids",
        lambda n: filled(n, "&#x0B;", XML + "<text>", "</text>" + MXL),
    ),
    Hostile("ants", "as many of them as may be", _repairs),
    Hostile("ants", "as many characters that it forbids as may be", _forbidden),
    Hostile("ants", "XML, an emoji", lambda n: filled(n, "x", XML + "<text>😀", "</text>" + MXL)),
    Hostile("ants", "XML in a charset that it declares", _charset),
    Hostile("ants", "XML sections without an end", lambda n: filled(n, "<![CDATA[", XML)),
    Hostile("ants", "XML, a tag without an end", lambda n: filled(n, "a='", "<text ")),
    Hostile("ants", "XML, a comment", lambda n: filled(n, "x", XML + "<!--", "-->" + MXL)),
    Hostile("infobip", "items", lambda n: f'{{"results":[{padded(n, MAX_ITEMS, _result)}]}}'),
    Hostile("movider", "a form", lambda n: filled(min(n, MAX_FORM), "%E0", "status=")),
    Hostile("ais", "a form", lambda n: filled(min(n, MAX_FORM), "%E0", "CMD=1&CAMPAIGN=")),
    Hostile("ais", "a form, encoded twice", lambda n: filled(min(n, MAX_FORM), "%25E0", "CMD%3D1")),
    Hostile("ais", "a form, too long", lambda n: filled(n, "%E0", "CMD=1&CAMPAIGN=")),
    Hostile("engagelab", "rows", lambda n: f'{{"rows":[{padded(n, MAX_ITEMS, _row)}]}}'),
    Hostile("engagelab", "JSON in JSON", lambda n: f'{{"rows":[{padded(n, MAX_ITEMS, _inner)}]}}'),
    Hostile("engagelab", "secrets", _secrets),
    Hostile("engagelab", "half a name and NULs", lambda n: filled(n, "s" + "\0" * 50)),
    Hostile("thaibulksms", "items", lambda n: f"[{padded(n, MAX_ITEMS, _report)}]"),
    Hostile("thaibulksms", "a form", lambda n: filled(n, "%E0", "Status=")),
    Hostile(
        "thaibulksms",
        "a form, as long as may be",
        lambda n: filled(min(n, MAX_FORM), "%E0", "Status="),
    ),
    Hostile("thaibulksms", "a form, as many names as may be", _arrays),
    Hostile("thaibulksms", "a multipart form", lambda n: filled(n, "\r\n--", PART)),
    Hostile(
        "thaibulksms",
        "a multipart form, as long as may be",
        lambda n: filled(min(n, MAX_FORM), "\r\n--", PART),
    ),
]


def work(callback: Callback) -> str:
    """Do what a receiver does with a callback, decode, read, redact, and say what came of it."""
    provider = PROVIDERS[callback.provider]
    body, outcome = None, "unreadable"
    with suppress(UnreadableError):
        body = provider.decode(callback)
        outcome = f"{len(provider.parse(body)):,} items"
    provider.redact(callback, body)
    return outcome


def seconds(callback: Callback, times: int = 3) -> float:
    """Return the least of several times this thread needs, which is what noise spares."""

    def once() -> float:
        begun = time.thread_time()
        work(callback)
        return time.thread_time() - begun

    return min(once() for _ in range(times))


def peak(callback: Callback) -> int:
    """Return how many bytes are in use at once, the body itself left out."""
    tracemalloc.start()
    try:
        work(callback)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def main() -> int:
    """Print the table of docs/security.md; 1 where something costs too much."""
    print("| provider | body | bytes | seconds | MB | read as |\n|---|---|---|---|---|---|")
    cheap = True
    for hostile in HOSTILE:
        callback = hostile.callback(LARGEST)
        took, used, outcome = seconds(callback), peak(callback), work(callback)
        cheap = cheap and took <= MAX_SECONDS and used <= MAX_BYTES
        print(
            f"| {hostile.provider} | {hostile.name} | {len(callback.body) / 1e6:.1f} M"
            f" | {took:.2f} | {used / 1e6:.0f} | {outcome} |",
            flush=True,
        )
    return 0 if cheap else 1


if __name__ == "__main__":
    sys.exit(main())
