"""Histograms: every step, and who is in which."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.domain.histogram import DELIVERY_TIMES, Histogram


def count(histogram: Histogram, times: list[int]) -> Counter[str]:
    counts = Counter({"timed": len(times)})
    for milliseconds in times:
        counts.update(histogram.names[histogram.step(milliseconds) :])
    return counts


@pytest.mark.parametrize("place", range(len(DELIVERY_TIMES.seconds)))
def test_a_step_holds_what_took_no_longer(place: int) -> None:
    milliseconds = DELIVERY_TIMES.seconds[place] * 1000
    assert [DELIVERY_TIMES.step(milliseconds + more) for more in (-1, 0, 1)] == [
        place, place, place + 1,
    ]  # fmt: skip


@given(st.lists(st.integers(0, 200_000_000), max_size=50), st.sampled_from([(1, 2), (19, 20)]))
def test_a_percentile_is_the_first_step_that_holds_so_many(
    times: list[int], share: tuple[int, int]
) -> None:
    part, whole = share
    within = [
        seconds
        for seconds in DELIVERY_TIMES.seconds
        if times and sum(t <= seconds * 1000 for t in times) * whole >= len(times) * part
    ]
    expected = within[0] if within else None
    assert DELIVERY_TIMES.percentile(count(DELIVERY_TIMES, times), part, whole) == expected


def test_nothing_timed_has_no_percentile() -> None:
    assert DELIVERY_TIMES.percentile({}, 1, 2) is None
    assert DELIVERY_TIMES.percentile({"timed": None}, 1, 2) is None
