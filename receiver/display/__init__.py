"""Text, tables, CSV and bodies for people."""

from __future__ import annotations

from receiver.display import body, json_values
from receiver.display.body import MAX_SHOWN
from receiver.display.csv_export import lines
from receiver.display.json_values import EPOCH, MILLISECOND, Json, as_json
from receiver.display.progress_bar import progress
from receiver.display.table import Table, show
from receiver.display.text import local, printable
from receiver.display.wording import count, duration, shown, title

__all__ = [
    "EPOCH",
    "MAX_SHOWN",
    "MILLISECOND",
    "Json",
    "Table",
    "as_json",
    "body",
    "count",
    "duration",
    "json_values",
    "lines",
    "local",
    "printable",
    "progress",
    "show",
    "shown",
    "title",
]
