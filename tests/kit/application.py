"""An application that is told of changes: a real HTTP server, which verifies and remembers."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final

from standardwebhooks.webhooks import Webhook

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator

SECRET: Final = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="


@dataclass(frozen=True, slots=True)
class Post:
    """One POST that was verified: its headers in lower case, its body, and what it holds."""

    headers: Mapping[str, str]
    body: bytes

    @property
    def key(self) -> str:
        """Return the webhook-id."""
        return self.headers["webhook-id"]

    @property
    def messages(self) -> list[dict[str, Any]]:
        """Return the messages."""
        messages: list[dict[str, Any]] = json.loads(self.body)["data"]["messages"]
        return messages

    @property
    def ids(self) -> list[str]:
        """Return the provider's ids of the messages."""
        return [message["message_id"] for message in self.messages]


class Application:
    """Takes POSTs, and answers what `answer` says: a status, and headers."""

    def __init__(self, context: ssl.SSLContext | None = None, secret: str = SECRET) -> None:
        self.posts: list[Post] = []
        self.taken: list[Post] = []
        self.forged: list[str] = []
        self.answer: Callable[[Post], tuple[int, dict[str, str]]] = lambda _: (204, {})
        application, verifier = self, Webhook(secret)

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                post = Post(headers, body)
                try:
                    verifier.verify(body, headers)
                except Exception as error:  # noqa: BLE001 - the test asks
                    application.forged.append(repr(error))
                application.posts.append(post)
                status, extra = application.answer(post)
                if 200 <= status < 300:
                    application.taken.append(post)
                self.send_response(status)
                for name, value in extra.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:  # who went away is no concern of ours
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        if context is not None:
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        scheme = "http" if context is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self.server.server_port}/told"

    def seen(self) -> list[str]:
        """Return the ids of all messages that were taken, in the order in which they came."""
        return [id_ for post in self.taken for id_ in post.ids]


@contextmanager
def application(
    context: ssl.SSLContext | None = None, secret: str = SECRET
) -> Iterator[Application]:
    """Run an application until the `with` ends; nothing that came may have been forged."""
    made = Application(context, secret)
    thread = threading.Thread(target=lambda: made.server.serve_forever(0.02))
    thread.start()
    try:
        yield made
    finally:
        made.server.shutdown()
        thread.join()
        made.server.server_close()
    assert made.forged == []
