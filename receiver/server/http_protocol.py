"""HTTP as strangers speak it: odd requests are read where they can be, and all has its bounds.

httptools takes whatever follows a head with `Upgrade` for another protocol, so uvicorn hands the
request on without its body (seen; github.com/Kludex/uvicorn/issues/2722). The JDK's HttpClient
makes such an offer, h2c, with every first request over plain HTTP, and sends the body all the
same. RFC 9110, section 7.8, lets a server pass it over.

A first line that the parser would not take is made such as it does (first_line.py). What comes is
read line by line and head by head, so that this is seen of every request but one that comes in one
packet with the end of a chunked body.

What is no HTTP at all is turned away, counted and logged, but never instead of an answer to what
came before it: a body may be longer than its Content-Length by the NUL of a C string.

What uvicorn leaves without a bound (all seen): a head, in bytes and in time; line breaks between
requests, and a body after its answer, each of which ends the wait for the next head; trailers;
requests that are sent before the first is answered; what is taken of a body before anybody asked
for it; what still comes of it after the answer; connections.

Who is refused before its body is here is owed an answer that it hears: many clients send all
before they look, and closing a connection with unread bytes in it destroys the answer (RFC 9112,
section 9.6). So the rest is read and dropped, but slowly, all such connections together OWED_RATE,
and for `head_seconds` at most.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, ClassVar, Final

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from receiver.server.first_line import MAY_BEGIN, PLAIN, encoded
from receiver.server.http_limits import (
    ASKED,
    MAX_CONNECTIONS,
    MAX_HEAD,
    MAX_HEADERS,
    MOST_OWED,
    OWED_RATE,
    PER_BYTE,
    PIECE,
    TURN_SECONDS,
    UNASKED,
    Pace,
)
from receiver.server.wire import Exit, Flow, Wire

if TYPE_CHECKING:
    from asyncio import Handle, TimerHandle, Transport
    from collections.abc import Callable

    from uvicorn._types import ASGI3Application


BLANK_LINE: Final = b"\r\n\r\n"
INVALID: Final = "Invalid HTTP request received."
TOO_LARGE: Final = "The head of the request is too large."
OFFER: Final = frozenset({b"connection", b"upgrade", b"http2-settings"})


class Protocol(HttpToolsProtocol):
    """What uvicorn speaks to one caller."""

    head_seconds = 10.0
    """How long a head may take to arrive, the first also to begin; and the rest of a body after
    its answer."""
    most = MAX_CONNECTIONS
    """Connections at once. One more costs the one that has waited for a head the longest."""
    waiting: ClassVar[OrderedDict[Protocol, None]] = OrderedDict()
    """Those that wait for a head, the longest first."""
    turned_away: Callable[[str, bytes, bytes, str], object] | None = None
    """Is told of what is no HTTP: who sent it, the last URL that was read on the connection, the
    odd first line that was read behind it, and what is wrong."""
    url = last_url = b""
    in_request = False
    """Whether a request has begun, and has not come to its end."""
    in_head = False
    is_over = False
    """Whether nothing more is read, and the connection closed after the last answer."""
    line: bytearray
    """The first line of a request, as long as its end has not come."""
    odd_line = b""
    """The first line of the request that is read, where it is not plain."""
    spare = MAX_HEAD
    rest = 0
    """Remaining Content-Length bytes; no pipelined request can start within them."""
    unread = b""
    at = 0
    """Where in it to read on."""
    running: RequestResponseCycle | None = None
    overdue: TimerHandle | None = None
    turn: Handle | None = None
    in_body = False
    is_asked = False
    """Somebody wants the body, or it is dropped as it comes."""
    owed: ClassVar[OrderedDict[Protocol, None]] = OrderedDict()
    """Those that were answered before their body was here, the longest ago first."""
    most_owed = MOST_OWED
    pace: ClassVar[Pace] = Pace(OWED_RATE)
    paced: TimerHandle | None = None
    is_leaving = False

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first head."""
        super().connection_made(transport)
        transport.set_protocol(Wire(self))
        self.line = bytearray()
        self.flow = Flow(transport, self)
        self.exit = Exit(self)
        if len(self.connections) > self.most:
            longest = next(iter(self.waiting), self)
            longest.stop_waiting()
            longest.transport.close()
        if not transport.is_closing():
            self.wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self.stop_waiting()
        if self.turn is not None:
            self.turn.cancel()
        if self.paced is not None:
            self.paced.cancel()
        self.owed.pop(self, None)
        self.unread = b""
        self.pipeline.clear()
        self.hang_up()
        super().connection_lost(exc)

    def eof_received(self) -> bool:  # type: ignore[override]
        """Answer what came whole: a caller may say that nothing more comes, and wait.

        Return whether the connection stays open for that.
        """
        self.miss_head("its head broke off")
        stays = self.end()
        if not stays:
            self.hang_up()
        return stays

    def end(self) -> bool:
        """Read no more, and close after the last answer that is owed; say whether there is one.

        A request that is not whole is owed none.
        """
        self.is_over, self.unread = True, b""
        self.flow.pause_reading()
        if self.pipeline and self.pipeline[0][0].more_body:
            self.pipeline.popleft()
        last = self.pipeline[0][0] if self.pipeline else self.running
        if last is None or last.response_complete or last.more_body:
            return False
        last.keep_alive = False  # which closes the connection
        return True

    def turn_away(self, why: str, answer: str = INVALID) -> None:
        """Answer what is no HTTP, unless answers are owed to what came before it."""
        self.tell(self.odd_line, why)
        if self.end():
            return
        cycle = self.running
        if cycle is not None and cycle.response_started and cycle.more_body:
            self.transport.close()  # it is the rest of a body that was answered already
        else:
            self.send_400_response(answer)

    def tell(self, line: bytes, why: str) -> None:
        """Have it counted and logged that something is no HTTP."""
        if self.turned_away is not None:
            peer = self.client[0] if self.client else ""
            self.turned_away(peer, self.url or self.last_url, line, why)

    def miss_head(self, why: str) -> None:
        """Tell of a head that has begun, where one has, and does not come to its end."""
        if (self.in_head or self.line) and not self.is_over:
            self.tell(bytes(self.line), why)

    def hang_up(self) -> None:
        """Answer nobody what is under way. uvicorn does so for the last request only."""
        if self.running is not None:
            self.running.disconnected = True

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self.running = cycle
        super()._start_asgi_task(cycle, app)

    def wait_for_head(self) -> None:
        """Close the connection unless a whole head comes in time."""
        self.overdue = self.loop.call_later(self.head_seconds, self.give_up)
        self.waiting[self] = None

    def give_up(self) -> None:
        """Close the connection, whose head did not come."""
        self.miss_head("its head did not come in time")
        self.transport.close()

    def stop_waiting(self) -> None:
        """Leave the connection as it is."""
        if self.overdue is not None:
            self.overdue.cancel()
            self.overdue = None
        self.waiting.pop(self, None)

    @property
    def is_behind(self) -> bool:
        """Say whether requests wait for the one before them."""
        return bool(self.pipeline or self.unread or self.is_over)

    @property
    def is_owed(self) -> bool:
        """Say whether the last request was answered before its body was here."""
        cycle = self.cycle
        return self.in_body and cycle is self.running and cycle.response_complete

    def room(self) -> int:
        """Return how many bytes may come at once: few, unless it is a body that is asked for."""
        return max(UNASKED, min(ASKED, self.rest)) if self.is_asked else UNASKED

    def data_received(self, data: bytes) -> None:
        """Take what came, as much as is answered."""
        if self.is_over:
            return
        self.unread, self.at = self.unread[self.at :] + data, 0
        if self.turn is None:
            self.read_on()
        if self.is_owed:
            wait = self.pace.wait(len(data), self.loop.time())
            self.paced = self.loop.call_later(wait, self.drop_more)
            self.flow.pause_reading()

    def drop_more(self) -> None:
        """Let more come of a body that is dropped."""
        self.paced = None
        self.flow.resume_reading()

    def on_response_complete(self) -> None:
        """Go on with what came meanwhile."""
        if self.running is not None:
            self.running.body = bytearray()
        super().on_response_complete()
        if self.is_owed and not self.transport.is_closing():
            self.owed[self] = None
            if len(self.owed) > self.most_owed:
                oldest, _ = self.owed.popitem(last=False)
                oldest.transport.close()
        self.read_more()

    def leave(self) -> None:
        """Close the connection; where a body is still coming, after it has come."""
        if self.is_owed:
            self.is_leaving = True
            self.transport.write_eof()
        else:
            self.transport.close()

    def read_more(self) -> None:
        """Go on with what is there; let more come when nothing of it is left."""
        if self.unread:
            self.read_on()
            self.flow.resume_reading()

    def read_on(self) -> None:
        """Read piece by piece until a request waits for another; nobody is waited for for ever."""
        self._unset_keepalive_if_required()
        self.turn = None
        until = self.loop.time() + TURN_SECONDS
        while self.unread and not self.pipeline and not self.transport.is_closing():
            if self.loop.time() > until:
                self.turn = self.loop.call_soon(self.read_more)
                break
            self.read(self.piece())
        if self.unread or (self.in_body and not self.is_asked):
            self.flow.pause_reading()
        idle = self.cycle is None or self.cycle.response_complete  # type: ignore[redundant-expr]
        waits = (self.in_head or idle) and not self.is_over
        if waits and self.overdue is None and not self.transport.is_closing():
            self.wait_for_head()

    def piece(self) -> bytes:
        """Take what to read next: of one request only, but for what follows a chunked body."""
        if not (self.in_request or PLAIN.match(self.unread, self.at)) or self.line:
            return self.first_line()
        end = self.at + (self.rest or PIECE)
        if self.in_head or not self.in_request:
            blank = self.unread.find(BLANK_LINE, self.at, end)
            end = end if blank < 0 else blank + len(BLANK_LINE)
        return self.take(end)

    def take(self, end: int) -> bytes:
        """Take what is unread up to there."""
        data = self.unread[self.at : end]
        self.at = end
        if self.at >= len(self.unread):
            self.unread, self.at = b"", 0
        return data

    def first_line(self) -> bytes:
        """Take a first line, percent-encoded; nothing where it has begun and its end is to come."""
        end = self.unread.find(b"\n", self.at) + 1
        self.line += self.take(end or len(self.unread))
        if not end and len(self.line) <= MAX_HEAD and MAY_BEGIN.match(self.line):
            return b""
        self.odd_line = bytes(self.line)
        self.line.clear()
        return encoded(self.odd_line)

    def read(self, data: bytes) -> None:
        """Read a piece; a request that offers an upgrade is read again without the offer."""
        self.spare -= len(data)
        while data:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as offer:
                data = self.again() + data[offer.args[0] :]
                continue
            except httptools.HttpParserError as error:
                self.turn_away(_why(error))
                return
            if self.spare < 0:
                self.turn_away("its head is too large", TOO_LARGE)
            return

    def again(self) -> bytes:
        """Replay the request head without its Upgrade headers into a fresh parser."""
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
        self.in_request, self.in_head = True, True
        self.spare, self.rest = MAX_HEAD - len(self.odd_line), 0
        self.last_url = self.url or self.last_url
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, or a trailer."""
        if len(self.headers) == MAX_HEADERS:
            raise _TurnedAwayError("it has too many headers")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begin the request, unless it comes again."""
        self.in_head = False
        self.stop_waiting()
        if self.parser.get_method() == b"CONNECT":
            raise _TurnedAwayError("it wants a tunnel")
        if not self.parser.should_upgrade():
            lengths = (int(value) for name, value in self.headers if name == b"content-length")
            self.rest = next(lengths, 0)
            self.in_body, self.is_asked = True, False
            super().on_headers_complete()
            self.cycle.transport = self.exit  # type: ignore[assignment]

    def on_body(self, body: bytes) -> None:
        """Count what is not body: the rest are trailers and the lines of chunks."""
        self.rest = max(0, self.rest - len(body))
        self.spare = min(MAX_HEAD, self.spare + len(body) * (1 + PER_BYTE))
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End the request, unless it comes again."""
        if not self.parser.should_upgrade():
            self.in_request, self.odd_line = False, b""
            super().on_message_complete()
            self.in_body = False
            self.owed.pop(self, None)
            if self.is_leaving:
                self.transport.close()


def _why(error: httptools.HttpParserError) -> str:
    """Return what is wrong, in the parser's words or ours; never what was sent."""
    if isinstance(error, httptools.HttpParserCallbackError):
        cause = error.__context__
        return str(cause) if isinstance(cause, _TurnedAwayError) else "its target is no URL"
    return str(error)


class _TurnedAwayError(ValueError):
    """What we turn away where the parser would not; raised in its callbacks, it ends in a 400."""
