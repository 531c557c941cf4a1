"""Bodies of any size that were made to be costly, each in its own way."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from receiver.domain.callback import Callback

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

DETAIL: Final = {"messageId": "1", "status": {"name": "DELIVERED"}}
SENT: Final = {"message_id": "1", "status": {"message_status": "sent"}}
RESULT: Final = {"messageId": "1", "status": {"groupName": "DELIVERED"}}
REPORT: Final = {"Transaction": "1", "Status": "delivery"}
IDS: Final = ["1$66812345678"]
PART: Final = 'Content-Disposition: form-data; name="a"\r\n\r\n'


@dataclass(frozen=True, slots=True)
class Costly:
    """A body of `n` of something."""

    provider: str
    name: str
    body: Callable[[int], object]
    query: str = ""

    def callback(self, n: int) -> Callback:
        """Return it as a callback: text as it is, anything else as JSON."""
        body = self.body(n)
        text = body if isinstance(body, str) else json.dumps(body)
        return Callback(
            provider=self.provider,
            method="POST",
            body=text.encode("utf-8", "surrogatepass"),
            query=self.query,
        )


def details(*items: Any) -> object:
    """Return ANTS's body."""
    return {"details": list(items)}


def members(n: int) -> dict[str, int]:
    """Return members nobody asked for."""
    return {f"m{i}": i for i in range(n)}


def hook(n: int, data: Mapping[str, Any] | None = None, **more: Any) -> object:
    """Return an event of SMSHook about so many."""
    status = {"message_status": "target", "status_data": {"sms_ids": IDS * n, **(data or {})}}
    return {"message_id": "1", **more, "status": more.get("status", {}) | status}


COSTLY: Final = [
    Costly("ants", "items", lambda n: details(*[DETAIL] * n)),
    Costly("ants", "bad items", lambda n: details(*[{}] * n)),
    Costly("ants", "a long text", lambda n: details(DETAIL | {"text": "ก" * 20 * n})),
    Costly("ants", "texts", lambda n: details(*[DETAIL | {"text": "x"}] * n)),
    Costly("ants", "escapes", lambda n: details(DETAIL | {"text": '"\\' * 10 * n})),
    Costly("ants", "members of an item", lambda n: details(DETAIL | members(n))),
    Costly("ants", "items and members", lambda n: {"details": [DETAIL] * n} | members(n)),
    Costly("ants", "statuses", lambda n: details({"messageId": "1", "status": [{}] * n})),
    Costly("ants", "a long number", lambda n: '{"details": [{"credit": ' + "9" * 20 * n + "}]}"),
    Costly("ants", "quotes", lambda n: '{"' * 10 * n),
    Costly("ants", "objects in objects", lambda n: '{"a":' * 5 * n),
    Costly("ants", "lists in lists", lambda n: "[" * 20 * n),
    Costly("ants", "white space", lambda n: " \n" * 20 * n),
    Costly("ants", "XML items", lambda n: xml("<detail><text>x</text></detail>" * n)),
    Costly("ants", "XML texts in texts", lambda n: xml("<text><text>x</text></text>" * n)),
    Costly("ants", "XML attributes", lambda n: f"<a {attributes(n)}/>"),
    Costly("ants", "XML attributes without an end", lambda n: "<text " + "a='" * 10 * n),
    Costly("ants", "XML comments", lambda n: xml("<text>" + "<!---->" * 3 * n + "</text>")),
    Costly("ants", "XML sections", lambda n: xml("<text>" + "<![CDATA[]]>" * 2 * n + "</text>")),
    Costly("ants", "XML references", lambda n: xml("&amp;" * 5 * n)),
    Costly("ants", "XML namespaces", lambda n: xml("<b xmlns:x='u'/>" * n)),
    Costly("ants", "XML half characters", lambda n: xml("\udcff" * 10 * n)),
    Costly("ants", "XML brackets", lambda n: "<" * 20 * n),
    Costly("infobip", "items", lambda n: {"results": [RESULT] * n}),
    Costly("infobip", "bad items", lambda n: {"results": [{}] * n}),
    Costly(
        "infobip", "members of an error", lambda n: {"results": [RESULT | {"error": members(n)}]}
    ),
    Costly("infobip", "texts", lambda n: {"results": [RESULT | {"text": "x"}] * n}),
    Costly("movider", "items", lambda n: [{"status": "OK", "message_id": "1"}] * n),
    Costly("movider", "a form", lambda n: "status=OK&detail=" + "%41" * 5 * n),
    Costly("ais", "a form", lambda n: "CMD=DLVRREP&CAMPAIGN=" + "%41" * 5 * n),
    Costly("ais", "ampersands", lambda n: "CAMPAIGN=" + "&" * 20 * n),
    Costly("ais", "white space", lambda n: "CMD=1&" + " " * 20 * n),
    Costly("ais", "half a name", lambda n: "CMD=1&" + "a" * 20 * n),
    Costly("ais", "a name again and again", lambda n: "SMID=1&" * n),
    Costly("ais", "a form in a form", lambda n: "CMD%3D1%26CAMPAIGN%3D" + "%2541" * 5 * n),
    Costly("ais", "members", lambda n: {"SMID": "1", "STATUS": "OK"} | members(n)),
    Costly("engagelab", "rows", lambda n: {"rows": [SENT] * n}),
    Costly("engagelab", "secrets", lambda n: {"rows": [{"system_event": {"a": 1}}] * n}),
    Costly("engagelab", "secrets in secrets", lambda n: '{"system_event":' * n),
    Costly("engagelab", "half a name", lambda n: "s\0" * 10 * n),
    Costly("engagelab", "half a name and NULs", lambda n: ("s" + "\0" * 50) * n),
    Costly("engagelab", "half an escape", lambda n: "\\u00" * 5 * n),
    Costly("engagelab", "recipients and data", lambda n: hook(n, custom_args={"a": "x" * 9 * n})),
    Costly("engagelab", "recipients and more", lambda n: hook(n, None, **members(n))),
    Costly("engagelab", "recipients and status", lambda n: hook(n, members(n))),
    Costly("engagelab", "recipients, unreadable", lambda n: hook(n, status=members(n), itime=[])),
    Costly("engagelab", "recipients without ids", lambda n: SENT | {"to": ["1"] * n} | members(n)),
    Costly("thaibulksms", "items", lambda n: [REPORT] * n),
    Costly("thaibulksms", "items and a query", lambda n: [{}] * n, "&".join(members(900))),
    Costly("thaibulksms", "a form", lambda n: "Status=" + "%41" * 5 * n),
    Costly("thaibulksms", "ampersands", lambda n: "&" * 20 * n),
    Costly("thaibulksms", "percents", lambda n: "%" * 20 * n),
    Costly("thaibulksms", "parts", lambda n: "--x\r\n" + (PART + "v\r\n--x\r\n") * n),
    Costly("thaibulksms", "line breaks", lambda n: f"--x\r\n{PART}" + "\r\n" * 10 * n + "--x--"),
    Costly("thaibulksms", "half a boundary", lambda n: f"--x\r\n{PART}" + "\r\n--" * 5 * n),
    Costly("thaibulksms", "headers", lambda n: "--x\r\n" + "a: b\r\n" * 3 * n + "\r\n"),
    Costly("thaibulksms", "hyphens", lambda n: "--" * 10 * n),
]


def attributes(n: int) -> str:
    """Return attributes nobody asked for."""
    return " ".join(f"{name}=''" for name in members(n))


def xml(inner: str) -> str:
    """Return ANTS's body."""
    return f"<CALLBACK><details>{inner}</details></CALLBACK>"
