"""Why a status is what it is, in words: each way the rule of `settling` can decide."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from receiver.messages.search import MessageDetails
from receiver.web.admin.views.explanation import why

NOW: Final = datetime(2026, 11, 22, 5, 0, tzinfo=UTC)
WORDS: Final = {"delivered": "DELIVRD", "expired": "EXPIRED", "undeliverable": "UNDELIV",
                "enroute": "ENROUTE", "unknown": "NO_IDEA"}  # fmt: skip


def report(id_: int, status: str, minute: int | None = 0, **more: Any) -> dict[str, Any]:
    done = None if minute is None else NOW + timedelta(minutes=minute)
    return {"id": id_, "status": status, "done_at": done, "received_at": NOW, "settled_at": NOW,
            "provider_status": WORDS[status], "provider_code": None,
            "provider_description": None} | more  # fmt: skip


def said(best: int | None, *reports: dict[str, Any], **message: Any) -> str:
    row = {"report_id": best, "error": None, "sent_at": NOW, "settled_at": NOW} | message
    told = MessageDetails(message=row, reports=reports, callbacks=[])  # type: ignore[arg-type] # as rows are
    return " ".join(why(told, NOW, UTC))


RANK: Final = "It has the highest rank of 2 reports"
LATEST: Final = "Of the reports of this rank it has the latest time."
FIRST: Final = "Of the reports of this rank and time it is the first of: undeliverable, expired"
SAME: Final = "Others of this rank say the same at the same time."
BOTH: Final = "Both delivered and failed were reported."
LATE: Final = "A later report of the way there does not replace a final one."
CASES: Final[list[tuple[int, list[dict[str, Any]], set[str]]]] = [
    (1, [report(1, "delivered")], {"It is the only report."}),
    (1, [report(1, "delivered"), report(2, "enroute", -1)], {RANK}),
    (1, [report(1, "delivered"), report(2, "enroute", 1)], {RANK, LATE}),
    (1, [report(1, "delivered"), report(2, "expired", 1)], {RANK, BOTH}),
    (1, [report(1, "delivered", 1), report(2, "delivered")], {LATEST}),
    (1, [report(1, "delivered"), report(2, "delivered", None)], {LATEST}),
    (1, [report(1, "undeliverable"), report(2, "expired")], {FIRST}),
    (1, [report(1, "delivered"), report(2, "delivered")], {SAME}),
]
ALL: Final = {sentence for *_, expected in CASES for sentence in expected}


@pytest.mark.parametrize(("best", "reports", "expected"), CASES)
def test_what_is_said_of_reports(
    best: int, reports: list[dict[str, Any]], expected: set[str]
) -> None:
    text = said(best, *reports)
    word = WORDS[reports[0]["status"]]
    assert f"The provider said “{word}”" in text
    assert {sentence for sentence in ALL if sentence in text} == expected


def test_an_unknown_word_wants_a_meaning() -> None:
    text = said(1, report(1, "unknown"))
    assert "“NO_IDEA”" in text
    assert "RECEIVER_STATUS_MAP" in text


def test_what_is_said_where_nothing_was_reported() -> None:
    assert "accepted until its first report" in said(None)
    assert "refused it at sending: no credit" in said(None, error="no credit")
    due = NOW + timedelta(hours=2)
    assert "It is to be sent at 2026-11-22 07:00" in said(None, sent_at=due)


def test_a_report_that_is_gone_still_decides() -> None:
    assert "no longer kept" in said(7, report(1, "enroute"))


def test_what_is_still_to_be_settled_is_said() -> None:
    late = "still to be settled"
    assert late not in said(1, report(1, "delivered"))
    assert late in said(1, report(1, "delivered"), report(2, "enroute", settled_at=None))
    assert late in said(None, settled_at=None)


def test_words_cannot_command_a_page() -> None:
    assert "\\x1b" in said(1, report(1, "delivered", provider_description="\x1b[2J"))
