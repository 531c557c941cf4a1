"""Background work goes on whatever it raises, says so once, and ends when it is told."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
import structlog

from receiver.database import background
from receiver.database.background import Attempt, Background

if TYPE_CHECKING:
    from collections.abc import Iterator, MutableMapping
    from typing import Any


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[MutableMapping[str, Any]]]:
    structlog.reset_defaults()
    monkeypatch.setattr(background, "log", structlog.get_logger())
    with structlog.testing.capture_logs() as captured:
        yield captured


def fails() -> int:
    raise ValueError


def test_of_failures_in_a_row_the_first_is_said(lines: list[MutableMapping[str, Any]]) -> None:
    attempt = Attempt("counting failed, will try again")
    assert [attempt(work, -1) for work in (fails, fails, lambda: 1, fails)] == [-1, -1, 1, -1]
    assert [line["event"] for line in lines] == ["counting failed, will try again"] * 2


def test_it_goes_on_and_ends(lines: list[MutableMapping[str, Any]]) -> None:
    enough, ended = threading.Event(), threading.Event()
    done = []

    def work() -> None:
        done.append(1)
        if len(done) == 3:
            enough.set()
        raise ValueError

    running = Background("test", work, 0.0, "work failed", ended.set)
    running.stop(5)  # which was never started
    running = Background("test", work, 0.0, "work failed", ended.set)
    running.start()
    assert enough.wait(20)
    running.stop(20)
    assert ended.is_set()
    assert len(done) >= 3
    assert len(lines) == 1
