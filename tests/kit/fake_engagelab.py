"""EngageLab's template interface as its page describes it: a real HTTP server that keeps templates.

What it must not be asked to do is told it by `fail`: a broken page, the document's own invalid
JSON, no answer at all.
"""

from __future__ import annotations

import base64
import json
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

USER: Final = "sms-user-0123456789"
KEY: Final = "sms-key-0123456789"
BASIC: Final = "Basic " + base64.b64encode(f"{USER}:{KEY}".encode()).decode()

# The document's own sample of an answer, without the comma it forgets.
INVALID: Final = (
    b'{ "result": { "template_id": 123, "template_name": "test", "msg_type": 2,'
    b' "approval_status": 1, "approval_message": ""\n "create_time": "2015-03-23T14:27:48+0800" } }'
)
BUSY: Final = b'{"code": 30999, "message": "busy"}'
HTML: Final = b"<html><body><h1>502 Bad Gateway</h1></body></html>"


@dataclass
class Fake:
    """The server: its templates, what it was asked, and what it does wrong next."""

    url: str = ""
    templates: dict[int, dict[str, Any]] = field(default_factory=dict)
    asked: list[tuple[str, str, Any]] = field(default_factory=list)
    failures: list[tuple[int, bytes]] = field(default_factory=list)
    hangs: bool = False
    ended: threading.Event = field(default_factory=threading.Event)

    def fail(
        self, status: int, body: bytes = b'{"code": 30999, "message": "busy"}', n: int = 1
    ) -> None:
        """Answer the next calls like this."""
        self.failures += [(status, body)] * n

    def add(self, **values: Any) -> int:
        """Let it have one more template."""
        number = len(self.templates) + 100
        self.templates[number] = {
            "template_id": number,
            "template_name": f"template {number}",
            "msg_type": 2,
            "template_type": 1,
            "template_content": "Dear %name%",
            "approval_status": -2,
            "approval_message": "",
            "create_time": "2016-08-25T14:27:48+0800",
            "update_time": "2017-03-29T14:27:48+0800",
            **values,
        }
        return number

    def calls(self, method: str) -> list[tuple[str, Any]]:
        """Return the paths and bodies of one method's calls."""
        return [(path, body) for asked, path, body in self.asked if asked == method]


class Refusal(Exception):  # noqa: N818 - no error of ours
    """What it answers instead."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.said = {"code": code, "message": message}


class _Handler(BaseHTTPRequestHandler):
    fake: Fake
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def handle_any(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        path = urlsplit(self.path)
        said = json.loads(body) if body else None
        self.fake.asked.append((self.command, self.path, said))
        if self.fake.hangs:
            self.fake.ended.wait(30)
            return
        status, answer = 200, b""
        if self.fake.failures:
            status, answer = self.fake.failures.pop(0)
        else:
            try:
                answer = json.dumps(self.answer(path.path, parse_qs(path.query), said)).encode()
            except Refusal as refusal:
                status, answer = refusal.status, json.dumps(refusal.said).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST = do_PUT = do_DELETE = handle_any  # noqa: N815

    def answer(self, path: str, query: dict[str, list[str]], said: Any) -> Any:
        if self.headers.get("Authorization") != BASIC:
            raise Refusal(401, 30000, "Authentication failed")
        rest = path.removeprefix("/v1/templates").strip("/")
        if not rest:
            return self.create(said) if self.command == "POST" else self.list(query)
        number, _, action = rest.partition("/")
        if not number.isdigit() or int(number) not in self.fake.templates:
            raise Refusal(400, 33001, "The template does not exist")
        template = self.fake.templates[int(number)]
        if action == "submit" and self.command == "POST":
            template["approval_status"] = 0
            return {}
        if self.command == "PUT":
            template |= self.checked(said)
            if set(said) - {"template_name", "submit"}:
                template["approval_status"] = 0 if said.get("submit") else -2
            return {"count": 1}
        if self.command == "DELETE":
            del self.fake.templates[int(number)]
            return {"count": 1}
        return {"result": template}

    def checked(self, said: dict[str, Any]) -> dict[str, Any]:
        if len(said.get("template_name", "")) > 64:
            raise Refusal(400, 33006, "Template name only supports 64 characters")
        return {name: value for name, value in said.items() if name != "submit"}

    def create(self, said: dict[str, Any]) -> Any:
        assert said.keys() >= {"template_name", "template_content", "template_type"}
        number = self.fake.add(**self.checked(said))
        self.fake.templates[number]["approval_status"] = 0 if said.get("submit") else -2
        return {"result": self.fake.templates[number]}

    def list(self, query: dict[str, list[str]]) -> Any:
        said = {name: values[-1] for name, values in query.items()}
        offset, limit = int(said.get("offset", 0)), int(said.get("limit", 100))
        if not 0 <= limit <= 100:
            raise Refusal(400, 30002, "invalid limit")
        found = [
            t
            for t in self.fake.templates.values()
            if said.get("template_name", "") in t["template_name"]
            and said.get("approval_status", str(t["approval_status"])) == str(t["approval_status"])
        ]
        page = found[offset : offset + limit]
        return {"result": page, "count": len(page), "total": len(found)}


@contextmanager
def fake_engagelab() -> Iterator[Fake]:
    """Run the server."""
    fake = Fake()

    handler = type("Handler", (_Handler,), {"fake": fake})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        fake.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield fake
        finally:
            fake.ended.set()
            server.shutdown()
            thread.join()
            time.sleep(0)
