"""HTTP client: one request and its response, bounded as a whole in seconds and bytes.

The HTTP library bounds each step, so that a response which trickles would go on for ever.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import httpx2

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Response:
    """A response: its status, its body, and our own end of the connection that it came by."""

    status: int
    body: bytes
    own_address: tuple[str, int] | None


class HttpClient:
    """Makes requests one after the other, over connections that are kept.

    `seconds` is what an exchange may take, from looking up the name to the last byte; `max_bytes`
    is how long its body may be, and 0 reads none of it. `options` are httpx2.AsyncClient's.
    For one thread, in which no event loop runs.
    """

    def __init__(self, seconds: float, max_bytes: int = 0, **options: Any) -> None:
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
        return Response(response.status_code, body, tuple(own[:2]) if own else None)

    async def _body(self, response: httpx2.Response) -> bytes:
        body = b""
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > self.max_bytes:
                raise httpx2.DecodingError(f"over {self.max_bytes} bytes")
        return body


def explain(error: Exception) -> str:
    """Say why an exchange failed, in a few words in which no URL is."""
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
