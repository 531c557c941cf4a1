"""HTTP as strangers speak it: an offer to upgrade is passed over, a head has its bounds.

httptools takes whatever follows a head with `Upgrade` for another protocol, so uvicorn hands the
request on without its body (seen; github.com/Kludex/uvicorn/issues/2722). The JDK's HttpClient
makes such an offer, h2c, with every first request over plain HTTP, and sends the body all the
same. RFC 9110, section 7.8, lets a server pass it over. Neither of the two bounds a head, in bytes
or in time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

if TYPE_CHECKING:
    from asyncio import TimerHandle, Transport

MAX_HEAD: Final = 65_536
"""Bytes of a request's first line and headers, about."""
OFFER: Final = frozenset({b"connection", b"upgrade", b"http2-settings"})


class Protocol(HttpToolsProtocol):
    """What uvicorn speaks to one caller."""

    head_seconds = 10.0
    """How long a head may take to arrive, the first also to begin."""
    in_head = False
    head = 0
    overdue: TimerHandle | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first head."""
        super().connection_made(transport)
        self.wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self.stop_waiting()
        super().connection_lost(exc)

    def wait_for_head(self) -> None:
        """Close the connection unless a whole head comes in time."""
        self.overdue = self.loop.call_later(self.head_seconds, self.transport.close)

    def stop_waiting(self) -> None:
        """Leave the connection as it is."""
        if self.overdue is not None:
            self.overdue.cancel()
            self.overdue = None

    def data_received(self, data: bytes) -> None:
        """Take what came; a request that offers an upgrade is read again without the offer."""
        self._unset_keepalive_if_required()
        while data:
            begun = self.in_head
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as offer:
                data = self.again() + data[offer.args[0] :]
                continue
            except httptools.HttpParserError:
                self.send_400_response("Invalid HTTP request received.")
                return
            if begun and self.in_head:
                self.head += len(data)
                if self.head > MAX_HEAD:
                    self.send_400_response("The head of the request is too large.")
            if self.in_head and self.overdue is None:
                self.wait_for_head()
            return

    def again(self) -> bytes:
        """Return the head that was just read without its offer, and begin with a new parser."""
        version = self.parser.get_http_version().encode()
        first = b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, version)
        lines = [b"%s: %s" % (name, value) for name, value in self.headers if name not in OFFER]
        if any(n == b"connection" and b"close" in v.lower() for n, v in self.headers):
            lines.append(b"connection: close")
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        return b"\r\n".join((first, *lines, b"", b""))

    def on_message_begin(self) -> None:
        """Begin to count the head."""
        self.in_head, self.head = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Begin the request, unless it comes again."""
        self.in_head = False
        self.stop_waiting()
        if self.parser.get_method() == b"CONNECT":
            raise ValueError("no tunnels")  # which the parser turns into a 400
        if not self.parser.should_upgrade():
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        """End the request, unless it comes again."""
        if not self.parser.should_upgrade():
            super().on_message_complete()
