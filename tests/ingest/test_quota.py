"""How much is kept of what cannot be read: seen and counted always, whole while there is room."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Final

import pytest
from sqlalchemy import select, update

from receiver.database.tables.callbacks import callback
from receiver.domain.callback import Callback
from receiver.domain.reading import Kept, Reading
from receiver.ingest import quota, store
from receiver.ingest.quota import HEAD, Quota
from receiver.maintenance import replay
from tests.maintenance.test_rebuild import interpreter
from tests.web.test_app import OPEN, away, eventually, placed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

    from tests.conftest import Databases
    from tests.web.test_app import Place

BANGKOK: Final = timezone(timedelta(hours=7))
NOW: Final = datetime(2026, 11, 21, 3, tzinfo=UTC)
LIMIT: Final = 1_000_000


def reading(body: bytes, outcome: str = "unreadable", **more: object) -> Reading:
    usual: dict[str, object] = {"provider": "ants", "method": "POST", "received_at": NOW}
    arrived = Callback(body=body, **(usual | more))  # type: ignore[arg-type]
    return Reading(callback=arrived, outcome=outcome, error="why")  # type: ignore[arg-type]


def kept(readings: list[Reading]) -> list[Kept | Exception]:
    return [Kept(id=one.callback.id) for one in readings]


class Clock:
    """A clock of the test's own."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def made(limit: int = LIMIT) -> tuple[Quota, Clock]:
    clock = Clock()
    return Quota(limit, BANGKOK, clock), clock


def spend(of: Quota, *readings: Reading) -> list[bool]:
    """Keep readings, one after the other; return whether each was kept whole."""
    whole = []
    for one in readings:
        (fitted,) = of.fit([one], None)
        of.count([fitted], kept([fitted]))
        whole.append(fitted.whole is None)
    return whole


def test_what_fits_is_whole_and_what_does_not_is_its_head() -> None:
    of, _ = made()
    bodies = [bytes([n]) * 300_000 for n in range(5)]
    fitted = of.fit([reading(body) for body in bodies], None)
    assert [one.whole is None for one in fitted] == [True, True, True, False, False]
    cut = fitted[4]
    assert cut.callback.body == bodies[4][:HEAD]
    assert cut.whole
    assert cut.whole.size == 300_000
    assert hashlib.sha256(bodies[4]).hexdigest() in (cut.error or "")
    assert (cut.error or "").endswith("why")
    assert cut.outcome == "unreadable"


def test_small_bodies_and_readable_ones_are_always_whole() -> None:
    of, _ = made(1)
    assert spend(of, reading(b"x" * HEAD), reading(b"x" * 10**6, "read"),
                 reading(b"x" * 10**6, "partial"), reading(b"x" * (HEAD + 1))) == [
        True, True, True, False]  # fmt: skip


def test_each_account_has_its_own_room_and_every_day_new() -> None:
    of, _ = made()
    large = b"x" * 900_000
    evening = NOW.replace(hour=16, minute=59)  # 23:59 in Bangkok
    assert spend(
        of,
        reading(large),
        reading(large),
        reading(large, account="b"),
        reading(large, provider="engagelab"),
        reading(large, received_at=evening),
        reading(large, received_at=evening + timedelta(minutes=1)),
        reading(large, received_at=evening + timedelta(minutes=2)),
    ) == [True, False, True, True, False, True, False]


def test_what_was_there_before_or_was_not_kept_costs_nothing() -> None:
    of, _ = made()
    large = reading(b"x" * 900_000)
    for answer in (Kept(id="another"), Kept(id=large.callback.id, was_there=True), OSError()):
        (fitted,) = of.fit([large], None)
        of.count([fitted], [answer])
    assert spend(of, reading(b"y" * 900_000), reading(b"z" * 900_000)) == [True, False]


def test_the_database_says_what_others_kept_and_what_was_before(engine: Engine) -> None:
    of, clock = made()

    def ask(work: object) -> int:
        with engine.connect() as connection:
            return int(work(connection))  # type: ignore[operator]

    def others(body: bytes, **more: object) -> None:
        with engine.begin() as connection:
            store.keep(connection, [reading(body, **more)])  # type: ignore[arg-type]

    others(b"a" * 600_000)
    others(b"b" * 900_000, received_at=NOW - timedelta(days=1))
    others(b"c" * 900_000, account="b")
    others(b"d" * 900_000, outcome="partial")
    large = reading(b"e" * 500_000)
    assert of.fit([large], ask)[0].whole
    assert of.fit([reading(b"f" * 400_000)], ask)[0].whole is None
    others(b"g" * 300_000)
    small = reading(b"h" * 200_000)
    assert of.fit([small], ask)[0].whole is None  # not asked again so soon
    clock.now += quota.ASK_EVERY
    assert of.fit([small], ask)[0].whole


# In a receiver.


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, databases: Databases) -> Iterator[Place]:
    more = {"RECEIVER_MAX_UNREADABLE_BYTES": str(LIMIT)}
    with placed(databases, request.param, OPEN | more) as made:
        yield made


def bodies(place: Place) -> list[tuple[int, int | None, int]]:
    with place.engine.connect() as connection:
        found = connection.execute(select(callback).order_by(callback.c.id)).mappings()
        return [(len(row["body"]), row["body_size"], row["repeats"]) for row in found]


def test_a_flood_of_unreadable_bodies_ends_at_the_days_room(place: Place) -> None:
    sizes = 300_000
    for n in range(8):
        answer = place.ants(b"{" + bytes([65 + n]) * sizes)
        assert answer.status == 400
        assert answer.json["callback"]
    assert bodies(place) == [(sizes + 1, None, 0)] * 3 + [(HEAD, sizes + 1, 0)] * 5
    # Each again is counted, whether it was kept whole or not.
    for n in (0, 7):
        assert place.ants(b"{" + bytes([65 + n]) * sizes).status == 400
    assert [repeats for _, _, repeats in bodies(place)] == [1, 0, 0, 0, 0, 0, 0, 1]
    # What can be read, and what is short, is kept as ever.
    good = (
        b'{"details": [{"messageId": "m", "to": "66812345678", "status": {"name": "DELIVERED"}}]}'
    )
    assert place.ants(good + b" " * sizes).status == 200
    assert place.ants(b"{short").status == 400
    assert bodies(place)[-2:] == [(len(good) + sizes, None, 0), (6, None, 0)]


def test_a_head_is_never_read_as_if_it_were_all(place: Place) -> None:
    """The head of a form is a form, with a status cut in two."""
    start = "Transaction=t1&Status="
    path = "/callbacks/thaibulksms/thai-token"
    filler = b"Status=delivery&Status=failed&x="  # a name that stands twice cannot be read
    for n in range(5):
        body = filler + bytes([65 + n]) * 300_000
        place("POST", path, body, {"Content-Type": "application/x-www-form-urlencoded"})
    heads = [size for size, whole, _ in bodies(place) if whole]
    assert heads == [HEAD, HEAD]
    with place.engine.begin() as connection:
        cut = callback.c.body_size.is_not(None)
        readable = f"{start}delivery&Msisdn=66812345678".encode()
        connection.execute(update(callback).where(cut).values(body=readable))
    done = replay.replay(place.engine, interpreter(), "drop", outcomes=("unreadable",))
    assert (done.callbacks, done.new_reports) == (3, 0)


def test_the_spool_has_the_same_room(place: Place, databases: Databases) -> None:
    large = 300_000
    assert place.ants(b"{first").status == 400
    with away(place, databases):
        answers = [place.ants(b"{" + bytes([65 + n]) * large).status for n in range(6)]
        assert answers == [400] * 3 + [503] * 3
        assert place.ants(b"{short").status == 400  # the head is all there is
    eventually(lambda: len(bodies(place)) == 5)
    assert bodies(place) == [(6, None, 0), *[(large + 1, None, 0)] * 3, (6, None, 0)]
    # Sent again, as who hears a 503 does.
    assert place.ants(b"{" + b"F" * large).status == 400
    assert bodies(place)[-1] == (HEAD, large + 1, 0)
