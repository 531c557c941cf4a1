"""The bytes that bodies may hold while they are under way, and whose."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.ingest.body_budget import FEW, LARGE, SMALL, Body, Budget, order

MB: Final = 1024 * 1024
LONGEST: Final = 8 * MB


def full(
    budget: Budget, provider: str, *sizes: int, addresses: int = 1000, network: str = "192.0"
) -> list[Body]:
    """Take all that somebody gets, of each size, from so many addresses."""
    taken = []
    for size in sizes:
        for number in range(1000):
            which = number % addresses
            body = budget.body(provider, f"{network}.{which // 250}.{which % 250}")
            if not body.cover(size):
                break
            taken.append(body)
    return taken


def takes(budget: Budget, provider: str, address: str, size: int) -> bool:
    with budget.body(provider, address) as body:
        return body.cover(size)


@pytest.mark.parametrize(
    ("size", "which"),
    [(0, 0), (1, 0), (SMALL, 0), (SMALL + 1, 1), (4 * SMALL, 1), (4 * SMALL + 1, 2), (LONGEST, 5)],
)
def test_each_factor_of_four_is_another_order(size: int, which: int) -> None:
    assert order(size) == which


def test_one_address_takes_two_of_the_longest_and_a_provider_three() -> None:
    budget = Budget(6 * LONGEST)
    assert len(full(budget, "ants", LONGEST, addresses=1)) == 2
    assert takes(budget, "ants", "198.51.100.1", LONGEST)
    assert len(full(Budget(6 * LONGEST), "ants", LONGEST)) == 3


def test_a_network_is_one_address() -> None:
    budget = Budget(6 * LONGEST)
    for number in range(2):
        assert budget.body("ants", f"2001:db8::{number}").cover(LONGEST)
    assert not takes(budget, "ants", "2001:db8::9", LONGEST)
    assert takes(budget, "ants", "2001:db8:1::9", LONGEST)


SIZES: Final = (LONGEST, *(SMALL * 4**n for n in range(4, 0, -1)))


def test_who_takes_all_it_can_leaves_another_provider_one_of_the_longest() -> None:
    budget = Budget(6 * LONGEST)
    full(budget, "ants", *SIZES)
    assert budget.used > budget.total * 0.6
    assert takes(budget, "engagelab", "198.51.100.1", LONGEST)
    assert takes(budget, "thaibulksms", "198.51.100.2", LONGEST)


def test_when_three_take_all_of_the_longest_each_has_one_and_others_have_room_for_batches() -> None:
    budget = Budget(6 * LONGEST)
    names = ("ants", "engagelab", "thaibulksms")
    for number, name in enumerate(names):
        assert full(budget, name, LONGEST, network=f"10.{number}")
    for number, name in enumerate(names[1:]):  # but the one that holds half of it
        assert takes(budget, name, f"10.{number}.9.9", 100_000)


def test_from_one_address_too_those_of_one_size_leave_room_for_others() -> None:
    """Behind a proxy that nobody named all have one address."""
    budget = Budget(6 * LONGEST)
    full(budget, "ants", LONGEST, addresses=1)
    assert takes(budget, "ants", "192.0.0.0", 100_000)
    assert takes(budget, "engagelab", "192.0.0.0", LONGEST)


def test_one_address_cannot_take_all_whatever_tokens_it_has() -> None:
    budget = Budget(6 * LONGEST)
    for name in ("ants", "engagelab", "thaibulksms"):
        full(budget, name, *SIZES, addresses=1)
    assert budget.total / 2 < budget.used <= budget.total * 2 / 3
    assert takes(budget, "thaibulksms", "198.51.100.1", LONGEST)


def test_a_large_one_waits_for_two_of_its_caller_at_most() -> None:
    budget = Budget(6 * LONGEST)
    taken = full(budget, "ants", LARGE + 1, addresses=1)
    assert len(taken) == FEW
    assert takes(budget, "ants", "192.0.0.1", LARGE + 1)
    assert takes(budget, "ants", "192.0.0.0", LARGE)
    taken[0].__exit__()
    assert takes(budget, "ants", "192.0.0.0", LARGE + 1)


def test_small_ones_are_always_taken() -> None:
    budget = Budget(0)
    assert takes(budget, "ants", "192.0.2.1", SMALL)
    assert not takes(budget, "ants", "192.0.2.1", SMALL + 1)


def test_what_comes_unannounced_is_counted_as_it_comes() -> None:
    budget = Budget(MB)
    with budget.body("ants", "192.0.2.1") as body, budget.body("ants", "192.0.2.2") as other:
        for size in range(0, MB // 3 - SMALL, SMALL):
            assert body.cover(size), size
            assert budget.used == (size if size > SMALL else 0)
        held = body.size
        assert not body.cover(MB)
        assert body.size == budget.used == held
        assert other.cover(100_000)
    assert budget.used == 0
    assert not budget.held


def test_a_body_never_shrinks() -> None:
    budget = Budget(MB)
    body = budget.body("ants", "192.0.2.1")
    assert body.cover(200_000)
    assert body.cover(100_000)
    assert budget.used == 200_000


STEPS: Final = st.lists(
    st.tuples(st.integers(0, 9), st.integers(0, 9_000_000), st.booleans()), max_size=60
)


@given(STEPS)
def test_the_total_is_never_exceeded_and_all_is_given_back(
    steps: list[tuple[int, int, bool]],
) -> None:
    budget = Budget(6 * LONGEST)
    with ExitStack() as stack:
        names, addresses = ("ants", "engagelab", "thaibulksms"), ("192.0.2.1", "2001:db8::1", "?")
        bodies = [
            stack.enter_context(budget.body(names[n % 3], addresses[n // 3 % 3])) for n in range(10)
        ]
        for which, size, ends in steps:
            body, before = bodies[which], bodies[which].size
            if ends:
                body.__exit__()
            elif not body.cover(size):
                assert body.size == before
            assert budget.used == sum(body.size for body in bodies) <= budget.total
    assert (budget.used, len(budget.held), len(budget.large)) == (0, 0, 0)
