"""Callbacks of parameters, wherever they are: query, urlencoded or multipart form, JSON. Pure."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING

from receiver.providers import decoding, reading
from receiver.providers.decoding import Body
from receiver.providers.forms import is_multipart, read_form, read_multipart
from receiver.providers.json_document import is_empty

if TYPE_CHECKING:
    from receiver.domain import Callback
    from receiver.providers.forms import Parameters
    from receiver.providers.reading import Row


def decode_parameters(callback: Callback, names: type[Row]) -> Body:
    """Read query and body into rows with their paths; the body's parameters go before the query's.

    `names` has the provider's, which are completed from the query in each row. A body that says
    nothing (`[]`, `{}`, white space) takes nothing away from the query, and neither does an empty
    parameter.
    """
    query = _appended(names).sub("&", callback.query).encode("utf-8", "surrogatepass")
    shared = read_form(query)
    rows = _rows(callback.body, callback.content_type)
    if not rows:
        return Body("form", [("", row) for row in shared])
    common = shared[0] if len(shared) == 1 else {}
    recognised = {name: common[name] for _, name in names.names if name in common}
    return Body("form", [(path, _merged(recognised, row)) for path, row in rows])


@functools.cache
def _appended(names: type[Row]) -> re.Pattern[str]:
    """Find a second question mark before one of the names.

    A URL was registered with a query of its own, and its provider appended to it as if it had none
    (inferred).
    """
    return re.compile(rf"\?(?=(?:{'|'.join(name for _, name in names.names)})=)", re.IGNORECASE)


def _merged(recognised: Parameters, row: object) -> object:
    if not isinstance(row, dict):
        return row
    members = reading.lowered(row)
    return recognised | {n: v for n, v in members.items() if n not in recognised or not is_empty(v)}


def _rows(body: bytes, content_type: str) -> list[tuple[str, object]]:
    """Tell a multipart form, JSON and an urlencoded form by how they begin (inferred)."""
    charset = decoding.declared_charset(body, content_type)
    if is_multipart(body, content_type):
        return [("", row) for row in read_multipart(body, charset)]
    if not body.strip():  # all is in the query, as a GET has it
        return []
    decoded = decoding.decode(body, content_type)
    text = decoded.text.lstrip(decoding.BLANK)
    if not text.startswith(("{", "[")):
        form = body if decoded.codec == "utf-8" else text.encode("utf-8", "surrogatepass")
        form = body if decoded.codec == charset else form
        return [("", row) for row in read_form(form, charset) if row]
    document = decoding.read_document(text)
    if not document:
        return []
    return reading.rows(document, "") if isinstance(document, list) else [("", document)]
