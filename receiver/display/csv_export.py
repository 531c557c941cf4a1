"""CSV for people, who open it in a spreadsheet: no cell of it is run as a formula.

The senders, tags and words in it come from outside (OWASP, "CSV Injection").
"""

from __future__ import annotations

import csv
import io
from itertools import chain
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # noqa: RUF001
"""The beginnings of a text that a spreadsheet takes for a formula; some take the wide ones too."""
LINE_END: Final = "\r\n"


def harmless(cell: object) -> object:
    """Return a cell that no spreadsheet runs: such a text with an apostrophe before it.

    Numbers stay as they are, negative ones too.
    """
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA) else cell


def csv_lines(columns: Iterable[str], rows: Iterable[Iterable[object]]) -> Iterator[str]:
    """Return the header and each row as CSV, its line feed included; None is an empty cell."""
    written = io.StringIO()
    # With both characters as its line end, the writer quotes a cell that holds either of them;
    # before Python 3.13 it does so for no other reason.
    writer = csv.writer(written, lineterminator=LINE_END)
    for row in chain((columns,), rows):
        writer.writerow(map(harmless, row))
        yield written.getvalue().removesuffix(LINE_END) + "\n"
        written.seek(0)
        written.truncate()
