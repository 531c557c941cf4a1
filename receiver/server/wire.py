"""The connection below the protocol: when it is read, how much at once, and how it ends."""

from __future__ import annotations

import threading
from asyncio import BufferedProtocol
from typing import TYPE_CHECKING

from uvicorn.protocols.http.flow_control import FlowControl

from receiver.server.http_limits import ASKED

if TYPE_CHECKING:
    from asyncio import Transport

    from receiver.server.http_protocol import Protocol


class Flow(FlowControl):
    """Reads nothing more while requests wait: each answer, and each body, would let more in."""

    def __init__(self, transport: Transport, protocol: Protocol) -> None:
        super().__init__(transport)
        self.protocol = protocol

    def resume_reading(self) -> None:
        """Read on, unless requests wait, or what is dropped must."""
        if not self.protocol.is_behind and self.protocol.paced is None:
            self.protocol.is_asked = True
            super().resume_reading()


class Exit:
    """Where an answer goes: uvicorn closes the connection after it, we once the body has come."""

    def __init__(self, protocol: Protocol) -> None:
        self.write = protocol.transport.write
        self.is_closing = protocol.transport.is_closing
        self.close = protocol.leave


class _Room(threading.local):
    """Where what comes is put, one place for all connections of a thread."""

    def __init__(self) -> None:
        self.bytes = memoryview(bytearray(ASKED))


_room = _Room()


class Wire(BufferedProtocol):
    """Hands on what comes, in pieces of our size; uvloop has 256 KB for each connection otherwise.

    No subclass of asyncio's Protocol, as uvicorn's is: uvloop takes those to want no other size.
    """

    def __init__(self, protocol: Protocol) -> None:
        self.protocol = protocol

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's own name
        """Return where to put what comes, as much as may come at once."""
        return _room.bytes[: self.protocol.room()]

    def buffer_updated(self, nbytes: int) -> None:
        """Hand on what came."""
        self.protocol.data_received(bytes(_room.bytes[:nbytes]))

    def eof_received(self) -> bool | None:
        """Say that nothing more comes; return whether the connection stays open for answers."""
        return self.protocol.eof_received()

    def pause_writing(self) -> None:
        """Say that the caller takes no more for now."""
        self.protocol.pause_writing()

    def resume_writing(self) -> None:
        """Say that the caller takes more again."""
        self.protocol.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Say that the connection is closed."""
        self.protocol.connection_lost(exc)
