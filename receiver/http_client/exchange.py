"""HTTP client: one request and its response, bounded as a whole in seconds and bytes.

The HTTP library bounds each step, so that a response which trickles would go on for ever.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Final, Self

import httpx2

from receiver.security import is_metadata


@dataclass(frozen=True, slots=True)
class Response:
    """A response: status, body, headers (in lower case), and our own end of its connection."""

    status: int
    body: bytes
    headers: Mapping[str, str]
    own_address: tuple[str, int] | None


class HttpClient:
    """Makes requests one after the other, over connections that are kept.

    `seconds` is what an exchange may take, from looking up the name to the last byte; `max_bytes`
    is how long its body may be, and 0 reads none of it. One that is `guarded` connects to no
    address of a cloud's metadata, whatever a name stands for at that moment. `options` are
    httpx2.AsyncClient's. For one thread, in which no event loop runs.
    """

    def __init__(
        self, seconds: float, max_bytes: int = 0, *, guarded: bool = False, **options: Any
    ) -> None:
        if guarded:
            options.setdefault("transport", _Guarded())
        self.seconds = seconds
        self.max_bytes = max_bytes
        self._runner = asyncio.Runner()
        self._client = httpx2.AsyncClient(timeout=seconds, **options)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections."""
        self._runner.run(self._client.aclose())
        self._runner.close()

    def exchange(
        self,
        method: str,
        url: str,
        *,
        content: bytes = b"",
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
    ) -> Response:
        """Send a request and return its response.

        Raises httpx2.HTTPError, or httpx2.InvalidURL: httpx2.TimeoutException where it takes too
        long, httpx2.DecodingError where the response's body is longer than `max_bytes`.
        """
        request = self._client.build_request(
            method, url, content=content or None, headers=headers, params=params
        )
        return self._runner.run(self._exchange(request))

    async def _exchange(self, request: httpx2.Request) -> Response:
        try:
            async with asyncio.timeout(self.seconds):
                response = await self._client.send(request, stream=True)
                try:
                    connection = response.extensions.get("network_stream")
                    own = connection.get_extra_info("client_addr") if connection else None
                    body = await self._body(response) if self.max_bytes else b""
                finally:
                    await response.aclose()
        except TimeoutError:
            raise httpx2.ReadTimeout(f"no answer within {self.seconds:g} s") from None
        return Response(
            response.status_code, body, dict(response.headers), tuple(own[:2]) if own else None
        )

    async def _body(self, response: httpx2.Response) -> bytes:
        body = b""
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > self.max_bytes:
                raise httpx2.DecodingError(f"over {self.max_bytes} bytes")
        return body


class ForbiddenAddressError(httpx2.ConnectError):
    """It stands for an address of a cloud's metadata."""


class _Guarded(httpx2.AsyncHTTPTransport):
    """Connects to the addresses of a name that may be connected to, and to no other.

    The name is looked up once: what is looked at is what is connected to.
    """

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request to the first address that takes it."""
        host, port = request.url.host, request.url.port or 0
        found = await asyncio.get_running_loop().getaddrinfo(
            host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
        )
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        if any(is_metadata(ip_address(address)) for address in addresses):
            raise ForbiddenAddressError(FORBIDDEN)
        for address in addresses[:-1]:
            try:
                return await self._send(request, host, address)
            except httpx2.ConnectError:
                continue
        return await self._send(request, host, addresses[-1])

    async def _send(self, request: httpx2.Request, host: str, address: str) -> httpx2.Response:
        # `Host` is as it was made of the name; TLS is told the name, and proves it.
        sent = httpx2.Request(
            request.method,
            request.url.copy_with(host=address),
            headers=request.headers,
            stream=request.stream,
            extensions=request.extensions | {"sni_hostname": host},
        )
        return await super().handle_async_request(sent)


FORBIDDEN: Final = "the name stands for an address of a cloud's metadata"


def explain(error: Exception) -> str:
    """Say why an exchange failed, in a few words in which no URL is."""
    if isinstance(error, ForbiddenAddressError):
        return FORBIDDEN
    if isinstance(error, httpx2.TimeoutException):
        return str(error) or "no answer in time"
    cause: BaseException = error
    while True:
        if isinstance(cause, BaseExceptionGroup):  # of several addresses none could be reached
            cause = cause.exceptions[0]
        deeper = cause.__cause__ or cause.__context__
        if deeper is None:
            break
        cause = deeper
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"the certificate is not right ({cause.verify_message})"
    if isinstance(cause, socket.gaierror):
        return str(cause.strerror)
    if isinstance(cause, OSError) and cause.errno:  # asyncio's own words repeat the address
        return os.strerror(cause.errno)
    return type(error).__name__
