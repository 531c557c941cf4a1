"""Text, tables, CSV and bodies for people."""

from __future__ import annotations

from receiver.display import body, json_values
from receiver.display.body import MAX_SHOWN
from receiver.display.csv_export import csv_lines
from receiver.display.json_values import Json, row_as_json
from receiver.display.progress_bar import progress
from receiver.display.table import Table, show
from receiver.display.text import local, printable
from receiver.display.wording import count, duration, shown, title

__all__ = [
    "MAX_SHOWN",
    "Json",
    "Table",
    "body",
    "count",
    "csv_lines",
    "duration",
    "json_values",
    "local",
    "printable",
    "progress",
    "row_as_json",
    "show",
    "shown",
    "title",
]
