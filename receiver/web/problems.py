"""Answers that are errors: RFC 9457 problem details, raised wherever they become known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from starlette.responses import JSONResponse

from receiver.statistics import refusals

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response


RETRY_AFTER: Final = {"Retry-After": "5"}
"""The header of a 503."""
JSON_PROBLEM: Final = "application/problem+json"

TITLES: Final = {
    400: "Unreadable",
    401: "Not authorized",
    404: "Not found",
    405: "Method not allowed",
    408: "Body too slow",
    413: "Body too large",
    415: "Content-Encoding not supported",
    422: "Not recorded",
    429: "Refused too often",
    500: "Our fault",
    503: "Not kept, try again",
}


class Problem(Exception):  # noqa: N818 - RFC 9457's own word
    """An answer that is an error: RFC 9457 problem details.

    `why` is the word that it is counted by where it turns a callback away.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        headers: dict[str, str] | None = None,
        *,
        why: str = "",
        **more: object,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.why = why or refusals.REASONS.get(status, "")
        self.detail = detail
        self.headers = headers
        self.more = more

    def response(self) -> Response:
        """Return it as an HTTP response."""
        body = {"title": TITLES[self.status], "status": self.status, "detail": self.detail}
        return JSONResponse(
            body | self.more, self.status, headers=self.headers, media_type=JSON_PROBLEM
        )


def check_method(request: Request, allowed: frozenset[str]) -> None:
    """Raise the 405 for any method that is not allowed."""
    if request.method not in allowed:
        names = ", ".join(sorted(allowed))
        raise Problem(405, f"Expected one of: {names}.", {"Allow": names})


async def no_page(_request: Request) -> Response:
    """Answer 404 for everything that is not there, or not for this caller."""
    return Problem(404, "No such page.").response()
