"""Tables that commands print: coloured on a terminal, plain aligned text anywhere else.

What providers wrote is shown with every character that could command a terminal written out.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import TYPE_CHECKING, Final, Literal

from receiver.display.text import printable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import RenderableType


GAP: Final = "  "
FOLDED: Final = 24
"""The width, in characters, that the column of a long text gets at least."""
BAR: Final = 12
"""The width of a bar, in characters."""


@dataclass(slots=True, kw_only=True)
class Table:
    """Rows under named columns; those in `right` hold numbers, those in `fold` long texts.

    `styles` says how a terminal shows cells with these words.
    `bars` are shares from 0 to 1, one for each row, that a terminal shows as bars beside the rows;
    None has none.
    """

    columns: Sequence[str]
    rows: list[Sequence[object]] = field(default_factory=list)
    title: str = ""
    right: frozenset[str] = frozenset()
    fold: frozenset[str] = frozenset()
    styles: Mapping[str, str] = field(default_factory=dict)
    bars: list[float | None] = field(default_factory=list)

    def cells(self) -> list[list[str]]:
        """Return the names and the rows, as they are shown."""
        return [[printable(cell) for cell in row] for row in (self.columns, *self.rows)]

    def widths(self, rows: list[list[str]]) -> list[int]:
        """Return how wide each column is on a terminal."""
        from rich.cells import cell_len

        return [max(cell_len(row[i]) for row in rows) for i in range(len(self.columns))]


def show(table: Table) -> None:
    """Print a table to stdout."""
    if sys.stdout.isatty():
        _show_rich(table)
    else:
        sys.stdout.write("".join(f"{line}\n" for line in text_lines(table)))


def text_lines(table: Table) -> list[str]:
    """Return a table as lines of aligned text, nothing cut off."""
    from rich.cells import cell_len

    rows = table.cells()
    widths = table.widths(rows)
    right = [column in table.right for column in table.columns]
    lines = [printable(table.title)] if table.title else []
    for row in rows:
        cells = []
        for cell, width, is_right in zip(row, widths, right, strict=True):
            fill = " " * (width - cell_len(cell))
            cells.append(fill + cell if is_right else cell + fill)
        lines.append(GAP.join(cells).rstrip())
    return lines


def _show_rich(table: Table) -> None:
    """Fold long texts; where the rest is still too wide the terminal breaks it, ids stay whole."""
    from rich.bar import Bar
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    made = RichTable(box=None, padding=(0, len(GAP), 0, 0), header_style="bold")
    rows = table.cells()
    console = Console(highlight=False)
    needed = 0
    for name, width in zip(table.columns, table.widths(rows), strict=True):
        folds = name in table.fold
        needed += len(GAP) + (min(width, FOLDED) if folds else width)
        justify: Literal["left", "right"] = "right" if name in table.right else "left"
        made.add_column(Text(name), justify=justify, no_wrap=not folds, overflow="fold")
    if table.bars:
        made.add_column(width=BAR)
        needed += len(GAP) + BAR
    for row, share in zip_longest(rows[1:], table.bars):
        cells: list[RenderableType] = [Text(cell, table.styles.get(cell, "")) for cell in row]
        if share is not None:
            cells.append(Bar(1, 0, share, width=BAR, color="green", bgcolor="bright_black"))
        made.add_row(*cells)
    console.width = max(console.width, needed)
    if table.title:
        console.print(Text(printable(table.title), "bold"), soft_wrap=True)
    console.print(made)
