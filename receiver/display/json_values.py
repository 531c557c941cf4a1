"""JSON of rows: ISO 8601 with Z, credit as text, digests in hex."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from receiver.domain import utc_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import RowMapping


Json = dict[str, Any]

_JSON: Final[dict[type, Callable[[Any], str]]] = {
    datetime: utc_text,
    Decimal: str,
    bytes: bytes.hex,
}


def jsonable(value: object) -> object:
    """Return a value as JSON has it everywhere: ISO 8601 with Z, credit as text, digests in hex."""
    written = _JSON.get(type(value))
    return value if written is None else written(value)


def row_as_json(row: RowMapping) -> Json:
    """Return a row as a JSON object."""
    names: Iterable[Any] = row  # text that knows whether to be quoted; making it plain costs more
    return dict(zip(names, map(jsonable, row.values()), strict=True))
