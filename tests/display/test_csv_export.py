"""CSV exports: every cell comes back as it was, and none is a formula."""

from __future__ import annotations

import csv
import io
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.display.csv_export import csv_lines, harmless

DANGEROUS = "=+-@\t\r\n＝＋－＠"  # noqa: RUF001
CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


def read(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline="")))


@pytest.mark.parametrize("first", list(DANGEROUS))
def test_what_a_spreadsheet_would_run_is_text(first: str) -> None:
    for cell in (first, f"{first}cmd|' /C calc'!A0", f'{first}HYPERLINK("https://example.com")'):
        assert harmless(cell) == f"'{cell}"
        assert read("".join(csv_lines(["tag"], [[cell]]))) == [["tag"], [f"'{cell}"]]


@pytest.mark.parametrize("cell", [None, "", "a=b", "ปกติ", "'=1", -1, -0.5, Decimal("-1.5"), True])
def test_all_else_stays_as_it_is(cell: object) -> None:
    assert harmless(cell) is cell


@given(st.lists(st.lists(CELLS, min_size=2, max_size=2)))
def test_every_cell_comes_back(rows: list[list[str]]) -> None:
    written = list(csv_lines(["a", "b"], rows))
    assert len(written) == len(rows) + 1
    assert all(line.endswith("\n") and not line.endswith("\r\n") for line in written)
    back = read("".join(written))
    assert back[0] == ["a", "b"]
    assert [[cell.removeprefix("'") for cell in row] for row in back[1:]] == [
        [cell.removeprefix("'") for cell in row] for row in rows
    ]
    assert not any(cell.startswith(tuple(DANGEROUS)) for row in back for cell in row)


def test_numbers_are_exact() -> None:
    row = [-1, 1 / 3, Decimal("0.1000"), None]
    assert read("".join(csv_lines("abcd", [row])))[1] == ["-1", "0.3333333333333333", "0.1000", ""]
