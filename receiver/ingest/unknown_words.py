"""Words of providers that we do not know: what they mean today, and how to give them a meaning."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    func,
    select,
)

from receiver.database.tables import delivery_report
from receiver.domain import Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import Connection


from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


def unknown_words(connection: Connection, since: datetime) -> list[tuple[str, str, int]]:
    """Return provider, word in lower case and number of reports, for words that were unknown."""
    table = delivery_report.c
    statement = (
        select(table.provider, table.provider_status, func.count())
        .where(table.received_at >= since, table.status == Status.UNKNOWN.value)
        .group_by(table.provider, table.provider_status)
    )
    counts: Counter[tuple[str, str]] = Counter()
    for provider, word, count in connection.execute(statement):
        counts[provider, word.lower()] += count
    return [(provider, word, count) for (provider, word), count in sorted(counts.items())]


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """A word of a provider that was unknown when its reports came; what it means today."""

    provider: str
    word: str
    reports: int
    status: Status

    def as_json(self) -> dict[str, Any]:
        """Return it as `report --format json` has it."""
        return {"provider": self.provider, "word": self.word, "reports": self.reports}


def words(
    words_: Iterable[tuple[str, str, int]],
    statuses: Mapping[str, Mapping[str, Status]],
    own: Mapping[str, Mapping[str, Status]],
) -> list[Word]:
    """Return the words that want a meaning; not those the user's `own` map calls unknown."""
    return [
        Word(provider=provider, word=word, reports=reports, status=status)
        for provider, word, reports in words_
        for status in [statuses.get(provider, {}).get(word, Status.UNKNOWN)]
        if own.get(provider, {}).get(word) is not Status.UNKNOWN
    ]


def advice(unknown: Sequence[Word]) -> list[str]:
    """Say how to give unknown words a meaning."""
    lines: list[str] = []
    new = [word for word in unknown if word.status is Status.UNKNOWN]
    if new:
        others = ", ".join(status for status in Status if status is not Status.UNKNOWN)
        lines += [
            "Words we do not know. Put them into the file that RECEIVER_STATUS_MAP names, each",
            f"with one of {others};",
            "then restart `receiver serve` and run `receiver rebuild`:",
            "",
        ]
        for provider in sorted({word.provider for word in new}):
            lines.append(f"[{provider}]")
            lines += [line(word) for word in new if word.provider == provider]
    if len(new) < len(unknown):
        lines.append("Some unknown words have a meaning by now: run `receiver rebuild`.")
    return lines


def line(word: Word) -> str:
    """Return the line of the status map that says what a word means: unknown, until it is put."""
    return f'{_toml(word.word)} = "unknown"  # reports: {word.reports}'


def _toml(text: str) -> str:
    """Return a TOML basic string, nothing but visible characters in it."""
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else _toml_escape(c) for c in quoted) + '"'


def _toml_escape(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"  # noqa: PLR2004
