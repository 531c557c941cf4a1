"""Output of `receiver doctor`, as text and as JSON."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from receiver.display import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from receiver.monitoring.doctor import Finding


FORMATS: Final = ("text", "json")
WORDS: Final = {True: "ok", False: "not ok"}
INDENT: Final = " " * 8


def show(findings: Iterable[Finding], format_: str) -> bool:
    """Print findings, as text each when it is there; say whether all is in order."""
    if format_ == "json":
        listed = list(findings)
        sys.stdout.write(findings_json(listed))
        return all(finding.ok for finding in listed)
    well = True
    for finding in findings:
        well &= finding.ok
        if sys.stdout.isatty():
            _show_rich(finding)
        else:
            sys.stdout.write("".join(f"{line}\n" for line in finding_lines(finding)))
        sys.stdout.flush()
    return well


def findings_json(findings: Sequence[Finding]) -> str:
    """Return findings as JSON."""
    document = {"ok": all(f.ok for f in findings), "findings": [asdict(f) for f in findings]}
    return json.dumps(document, ensure_ascii=False, indent=2) + "\n"


def finding_lines(finding: Finding) -> list[str]:
    """Return a finding as plain text: one line, and one more for what to do."""
    first = f"{WORDS[finding.ok]:<8}{finding.check}: {finding.said}"
    todo = [f"{INDENT}{finding.todo}"] if finding.todo else []
    return [printable(line) for line in (first, *todo)]


def _show_rich(finding: Finding) -> None:
    """Show the same on a terminal: in colour, and folded beside the words."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(width=6)
    table.add_column(width=10)
    table.add_column(overflow="fold")
    table.add_row(
        Text(WORDS[finding.ok], "green" if finding.ok else "bold red"),
        Text(finding.check, "bold"),
        Text(printable(finding.said)),
    )
    if finding.todo:
        table.add_row("", "", Text(printable(finding.todo), "italic"))
    Console(highlight=False).print(table)
