"""Everything that is fuzzed with bytes, and a batch's promise, which hypothesis asks for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from receiver.domain.report import Report, Unreadable
from receiver.providers import PROVIDERS
from tests.fuzz import seeds
from tests.fuzz.promises import check, check_sent, must, read
from tests.fuzz.shapes import PLANTED

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.fuzz.shapes import Batch


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One thing to fuzz: bytes go in, and a broken promise comes out as an exception."""

    run: Callable[[bytes], object]
    seeds: Callable[[], list[bytes]]


def check_input(provider: str, data: bytes) -> None:
    """Check what is promised of a callback, given as the fuzzers write it."""
    check(seeds.callback(provider, data))


TARGETS: Final = {
    f"{name}.{parser}": Target(run=partial(run, name), seeds=partial(found, name))
    for parser, run, found in (
        ("parse", check_input, seeds.callbacks),
        ("parse_sent", check_sent, seeds.answers),
    )
    for name in PROVIDERS
}


def check_spoiled(batch: Batch, bad: Batch, places: list[int]) -> None:
    """Check that every item of a batch is answered for, and a bad one costs only itself."""
    whole, partly = read(batch.callback), read(bad.callback)
    must(whole is not None and partly is not None, "a batch is lost")
    assert whole is not None
    assert partly is not None
    must(all(isinstance(item, Report) for item in whole), "a valid item is unreadable")
    must([item.position for item in whole] == list(range(len(batch.items))), "an item is lost")
    for item in partly:
        if isinstance(item, Unreadable):
            must(not set(PLANTED) & set(item.reason), f"a reason repeats a value: {item.reason}")
    wanted = [place if place in places else item for place, item in enumerate(whole)]
    found = [item.position if isinstance(item, Unreadable) else item for item in partly]
    must(found == wanted, "a bad item costs another, or is none")
    check(batch.callback)
    check(bad.callback)
