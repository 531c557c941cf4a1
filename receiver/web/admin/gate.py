"""What a request of the page may hold: what the library cannot take is refused before it gets it.

The library fails, or asks the database for what no database takes, where a text is endless, is no
URL, or holds a NUL. No browser sends that by itself; whoever does is told what was expected.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import Request

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.types import Message


PARAMETERS: Final = 300
"""Parameters of a query, and fields of a form: a page of ticked rows has 100."""
FILTER_LENGTH: Final = 4000
"""Characters of a filter; the library's reading of it grows with the square."""
WITHIN: Final = 10
"""Addresses within one another that are looked into; each is where another page came from."""
URLS: Final = ("next", "_origin")
"""The parameters that say where to go next."""
FORMS: Final = ("application/x-www-form-urlencoded", "multipart/form-data")


async def check(request: Request, body: bytes) -> None:
    """Raise the 400, in words, for a request that the library cannot take."""
    asked = _counted(request.scope["query_string"])
    _check_query(asked)
    _check_query(_counted(asked.get("_list_query", "").lstrip("?").encode()))
    if request.method == "POST":
        if request.url.path.endswith("/action") and not asked.get("name"):
            raise _refused("name: expected the name of an action.")
        await _check_form(request, body)


def _counted(query: bytes) -> QueryParams:
    if query.count(b"&") >= PARAMETERS:
        raise _refused(f"Expected at most {PARAMETERS} parameters.")
    return QueryParams(query)


def _check_query(parameters: QueryParams) -> None:
    _check_texts(
        value for name, value in parameters.multi_items() if name != "q"
    )  # any text may be
    if len(parameters.get("filter", "")) > FILTER_LENGTH:
        raise _refused(f"filter: expected at most {FILTER_LENGTH} characters.")
    for name in URLS:
        for given in parameters.getlist(name):
            _check_url(name, given)


def _check_texts(texts: Iterable[str]) -> None:
    if any("\0" in text for text in texts):
        raise _refused("Expected texts without a NUL.")


def _check_url(name: str, url: str) -> None:
    """Refuse what is no URL, also within the query of one that is: the library looks there, too."""
    for _ in range(WITHIN):
        try:
            url = parse_qs(urlsplit(url).query).get("_origin", [""])[0]
        except ValueError:
            raise _refused(f"{name}: expected the path of a page.") from None
        if not url:
            return
    raise _refused(f"{name}: expected the path of a page.")


async def _check_form(request: Request, body: bytes) -> None:
    kind = request.headers.get("content-type", "").lower()
    if not any(name in kind for name in FORMS):
        return

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    scope = {name: value for name, value in request.scope.items() if name != "app"}
    try:
        form = await Request(scope, receive).form(max_files=0, max_fields=PARAMETERS)
    except (MultiPartException, ValueError, KeyError):
        raise _refused(f"Expected a form of at most {PARAMETERS} fields, and no file.") from None
    _check_texts(str(part) for pair in form.multi_items() for part in pair)


def _refused(why: str) -> HTTPException:
    return HTTPException(400, why)
