"""Header fields of a request, gone through once: Starlette's go through all of them for each name.

Of a field that comes again the first value counts, as in Starlette's, unless its values are a list.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import HTTPConnection


LISTS: Final = frozenset((b"content-encoding", b"x-forwarded-for"))
"""Fields whose values are lists, which may come in several lines (RFC 9110, section 5.3)."""
_KEPT: Final = "receiver.fields"


def fields(request: HTTPConnection) -> Mapping[bytes, bytes]:
    """Return the fields by their names, in lower case; they are read once in a request."""
    scope = request.scope
    found: dict[bytes, bytes] | None = scope.get(_KEPT)
    if found is None:
        found = scope[_KEPT] = {}
        for name, value in scope["headers"]:
            if name not in found:
                found[name] = value
            elif name in LISTS:
                found[name] += b"," + value
    return found


def text(value: bytes) -> str:
    """Return a field's value as Starlette does: any byte is a character."""
    return value.decode("latin-1")
