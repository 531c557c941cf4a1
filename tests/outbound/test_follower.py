"""What changed is sent at least once, in order, and nothing else stops for what is refused."""

from __future__ import annotations

import functools
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest
from sqlalchemy import insert, select, text, update

from receiver.database.tables.callbacks import delivery_report
from receiver.database.tables.messages import sent_message
from receiver.database.tables.outbound import event_destination, event_set_aside
from receiver.domain.errors import EventError
from receiver.messages import lookup
from receiver.outbound import follower as follower_
from receiver.outbound import store
from receiver.outbound.follower import Follower, backoff
from receiver.outbound.webhooks import Webhooks
from receiver.settings.destinations import EventSettings
from receiver.settling import settle
from tests.kit.application import SECRET, Application, application
from tests.web.test_app import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sqlalchemy import Engine

    from tests.conftest import Databases

START: Final = datetime(2025, 6, 18, 5, 30, tzinfo=UTC)


@pytest.fixture
def app() -> Iterator[Application]:
    with application() as made:
        yield made


OPEN: Final[list[Webhooks]] = []


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    while OPEN:
        OPEN.pop().close()


def following(engine: Engine, url: str, holder: str = "us", **settings: Any) -> Follower:
    """Return a follower that is past the beginning, so that it sends what comes."""
    own = EventSettings(**({"url": url, "secrets": SECRET} | settings))
    destination = Webhooks("app", own)
    OPEN.append(destination)
    made = Follower(engine, destination, holder)
    assert not made.step()
    return made


def change(
    engine: Engine, *ids: str, status: str = "delivered", at: int = 0, **values: Any
) -> None:
    """Let messages be sent, where they were not, and be reported; settle."""
    came = START + timedelta(seconds=at)
    with engine.begin() as connection:
        there = set(connection.execute(select(sent_message.c.message_id)).scalars())
        for id_ in ids:
            if id_ not in there:
                row = {"provider": "ants", "message_id": id_, "recipient": "66811111111"}
                connection.execute(insert(sent_message).values(**row, sent_at=START, **values))
            connection.execute(
                insert(delivery_report).values(
                    callback_id="00000000-0000-0000-0000-000000000000", position=0,
                    provider="ants", message_id=id_, provider_status=status, status=status,
                    digest=f"{id_}{status}{at}".encode().rjust(16, b"-")[-16:], received_at=came,
                    done_at=came,
                )
            )  # fmt: skip
    settle.settle_all(engine)


def standing(engine: Engine) -> store.Standing:
    with engine.connect() as connection:
        return store.standings(connection)["app"]


def do(engine: Engine, work: Callable[..., Any], *args: Any) -> Any:
    with engine.begin() as connection:
        return work(connection, *args)


def at_once(engine: Engine) -> None:
    """Let the time pass after which it is tried again."""
    do(engine, lambda c: c.execute(update(event_destination).values(retry_at=None)))


def test_what_changed_is_sent_in_order_and_once(engine: Engine, app: Application) -> None:
    change(engine, "before")
    follower = following(engine, app.url, max_batch=2)
    assert not follower.step()
    change(engine, "a", "b", "c")
    while follower.step():
        pass
    assert [post.ids for post in app.taken] == [["a", "b"], ["c"]]
    with engine.connect() as connection:
        feed, _ = lookup.changes(connection, "", 10)
    assert [m for post in app.taken for m in post.messages] == feed[1:]
    assert not follower.step()
    change(engine, "a", status="undeliverable", at=1)
    follower.step()
    assert [post.ids for post in app.taken][2:] == []  # the status is what it was
    change(engine, "d")
    follower.step()
    assert app.seen() == ["a", "b", "c", "d"]
    assert (standing(engine).row.sent, standing(engine).lag_seconds) == (4, 0)


def test_what_was_not_taken_is_sent_again_the_same(engine: Engine, app: Application) -> None:
    follower = following(engine, app.url)
    change(engine, "a", "b")
    app.answer = lambda _: (500, {})
    assert not follower.step()
    change(engine, "c")  # is not put into the batch that was sent already
    assert not follower.step(), "it waits"
    assert len(app.posts) == 1
    at_once(engine)
    app.answer = lambda _: (200, {})
    other = Follower(engine, follower.destination, "us")  # a new process, which knows nothing
    while other.step():
        pass
    first, again, last = app.posts
    assert (first.key, first.body) == (again.key, again.body)
    assert (again.ids, last.ids) == (["a", "b"], ["c"])
    row = standing(engine).row
    assert (row.failed, row.failures, row.problem, row.retry_at) == (1, 0, None, None)


def test_a_message_that_changes_meanwhile_is_sent_as_it_is_then(
    engine: Engine, app: Application
) -> None:
    follower = following(engine, app.url)
    change(engine, "a", "b", status="enroute")
    app.answer = lambda _: (500, {})
    follower.step()
    change(engine, "a", at=1)
    at_once(engine)
    app.answer = lambda _: (200, {})
    while follower.step():
        pass
    assert [(m["message_id"], m["status"]) for p in app.taken for m in p.messages] == [
        ("b", "enroute"), ("a", "delivered")
    ]  # fmt: skip
    assert len({post.key for post in app.posts}) == 3


@pytest.mark.parametrize(
    ("status", "headers", "within"),
    [
        (500, {}, (0.5, 1)), (301, {"Location": "http://127.0.0.1:1/"}, (0.5, 1)),
        (408, {}, (0.5, 1)), (429, {"Retry-After": "77"}, (76, 77)),
        (503, {"Retry-After": "99999999"}, (3599, 3600)),
        (503, {"Retry-After": "Wed, 01 Jan 2020 00:00:00 GMT"}, (-1, 0)),
        (503, {"Retry-After": "soon"}, (0.5, 1)), (500, {"Retry-After": "77"}, (0.5, 1)),
    ],
)  # fmt: skip
def test_when_it_is_tried_again(
    engine: Engine,
    app: Application,
    status: int,
    headers: dict[str, str],
    within: tuple[float, float],
) -> None:
    follower = following(engine, app.url)
    change(engine, "a")
    app.answer = lambda _: (status, headers)
    with engine.connect() as connection:
        before = store.clock(connection)
    assert not follower.step()
    with engine.connect() as connection:
        after = store.clock(connection)
    row = standing(engine).row
    assert (row.failures, row.problem) == (1, f"answered {status}")
    least, most = (timedelta(seconds=seconds) for seconds in within)
    assert before + least <= row.retry_at <= after + most


def test_pauses_grow_and_are_not_all_alike() -> None:
    for failures, longest in ((1, 1), (2, 2), (5, 16), (10, 512), (11, 600), (10_000, 600)):
        waits = {backoff(failures) for _ in range(50)}
        assert len(waits) > 10
        assert all(longest * 0.75 <= wait <= longest for wait in waits)


def test_what_is_refused_is_set_aside_alone_and_the_rest_goes_on(
    engine: Engine, app: Application
) -> None:
    follower = following(engine, app.url)
    ids = [f"m{n:02}" for n in range(40)]
    bad = {"m07", "m08", "m31"}
    app.answer = lambda post: (422, {}) if bad & set(post.ids) else (200, {})
    change(engine, *ids)
    while follower.step():
        pass
    assert app.seen() == [id_ for id_ in ids if id_ not in bad]
    found = standing(engine)
    assert (found.set_aside, found.lag_seconds, found.row.sent) == (3, 0, 37)
    with engine.connect() as connection:
        rows = connection.execute(select(event_set_aside)).all()
    assert [row.status for row in rows] == [422] * 3
    assert len(app.posts) < 40
    # It is set aside no more when it was taken, here since it changed again.
    bad.clear()
    change(engine, "m07", status="unknown", at=-5)
    change(engine, "m50")
    follower.step()
    assert do(engine, store.replay_set_aside, "app") == 3
    while follower.step():
        pass
    assert set(app.seen()) == {*ids, "m50"}
    assert standing(engine).set_aside == standing(engine).replaying == 0


def test_who_refuses_all_is_not_asked_without_a_pause(engine: Engine, app: Application) -> None:
    follower = following(engine, app.url, max_batch=1)
    app.answer = lambda _: (404, {})
    change(engine, *(f"m{n:02}" for n in range(40)))
    while follower.step():
        pass
    found = standing(engine)
    assert (found.set_aside, len(app.posts)) == (10, 10)
    assert found.row.retry_at is not None
    assert found.lag_seconds > 0


def test_gone_is_off_until_it_is_resumed(engine: Engine, app: Application) -> None:
    follower = following(engine, app.url)
    app.answer = lambda _: (410, {})
    change(engine, "a")
    follower.step()
    app.answer = lambda _: (200, {})
    at_once(engine)
    assert not follower.step()
    assert standing(engine).row.off_at is not None
    do(engine, store.resume, "app")
    assert follower.step()
    assert app.seen() == ["a"]
    with pytest.raises(EventError, match="nothing was sent there yet"):
        do(engine, store.resume, "other")


def test_filters_let_the_rest_pass_by(engine: Engine, app: Application) -> None:
    follower = following(engine, app.url, tags="otp,bill", statuses="delivered")
    change(engine, *(f"n{n}" for n in range(5)), tag="news")
    change(engine, "a", tag="otp")
    change(engine, "b", tag="otp", status="undeliverable")
    change(engine, "c", tag="bill")
    change(engine, "d", tag=None)
    while follower.step():
        pass
    assert app.seen() == ["a", "c"]
    assert standing(engine).lag_seconds == 0


def test_more_than_a_page_that_nobody_wants_is_passed(
    engine: Engine, app: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower_, "PAGE", 3)
    follower = following(engine, app.url, tags="otp")
    change(engine, *(f"n{n}" for n in range(10)))
    change(engine, "a", tag="otp")
    while follower.step():
        pass
    assert app.seen() == ["a"]


def test_it_is_sent_again_since_a_time(engine: Engine, app: Application) -> None:
    follower = following(engine, app.url)
    change(engine, "a")
    follower.step()
    with engine.connect() as connection:
        (at,) = connection.execute(select(sent_message.c.changed_at)).scalars()
    change(engine, "b")
    follower.step()
    do(engine, store.replay_since, "app", at)
    while follower.step():
        pass
    assert app.seen() == ["a", "b", "a", "b"]
    assert len({post.key for post in app.posts}) == len(app.posts)
    do(engine, store.replay_since, "app", datetime.now(UTC) + timedelta(hours=1))
    assert not follower.step()


def test_messages_are_sent_again_by_themselves(engine: Engine, app: Application) -> None:
    follower = following(engine, app.url, max_batch=2)
    change(engine, "a", "b", "c", "d")
    while follower.step():
        pass
    with engine.connect() as connection:
        ids = dict(connection.execute(select(sent_message.c.message_id, sent_message.c.id)).all())
    do(engine, store.replay, "app", [ids["d"], ids["a"], ids["b"], 10**9])
    assert standing(engine).replaying == 4
    while follower.step():
        pass
    assert app.seen()[4:] == ["a", "b", "d"]
    assert (standing(engine).replaying, standing(engine).set_aside) == (0, 0)
    # Twice is twice, to who throws away what has the key of something that came.
    do(engine, store.replay, "app", [ids["a"]])
    follower.step()
    do(engine, store.replay, "app", [ids["a"]])
    follower.step()
    assert len({post.key for post in app.posts}) == len(app.posts)


def test_a_replay_that_is_refused_is_set_aside(engine: Engine, app: Application) -> None:
    follower = following(engine, app.url)
    change(engine, "a", "b")
    follower.step()
    with engine.connect() as connection:
        ids = list(connection.execute(select(sent_message.c.id)).scalars())
    app.answer = lambda post: (400, {}) if "a" in post.ids else (200, {})
    do(engine, store.replay, "app", ids)
    while follower.step():
        pass
    assert (standing(engine).replaying, standing(engine).set_aside) == (0, 1)


def test_a_replay_in_the_middle_of_a_batch_is_not_undone(engine: Engine, app: Application) -> None:
    follower = following(engine, app.url)
    change(engine, "a")

    def answer(_: object) -> tuple[int, dict[str, str]]:
        if len(app.posts) == 1:
            do(engine, store.replay_since, "app", START)
        return 200, {}

    follower.step()
    change(engine, "b")
    app.posts.clear()
    app.answer = answer
    while follower.step():
        pass
    assert app.seen() == ["a", "b", "a", "b"]


def test_one_at_a_time_and_another_goes_on_when_it_is_over(
    engine: Engine, app: Application
) -> None:
    follower = following(engine, app.url)
    other = following(engine, app.url, "other")
    change(engine, "a")
    assert follower.step()
    change(engine, "b")
    assert not other.step()
    assert follower.step()
    do(engine, store.give_back, "us")
    change(engine, "c")
    assert other.step()
    assert app.seen() == ["a", "b", "c"]


def test_who_lost_the_lease_meanwhile_changes_nothing(engine: Engine, app: Application) -> None:
    """A process that slept: another has sent the same, and more, by the time it awakes."""
    follower = following(engine, app.url)
    other = following(engine, app.url, "other")
    change(engine, "a")

    def answer(_: object) -> tuple[int, dict[str, str]]:
        if len(app.posts) == 1:
            late = datetime.now(UTC) - timedelta(seconds=1)
            do(engine, lambda c: c.execute(update(event_destination).values(held_until=late)))
            assert other.step()
            change(engine, "b")
            assert other.step()
        return 200, {}

    app.answer = answer
    follower.step()
    assert sorted(app.seen()) == ["a", "a", "b"]
    row = standing(engine).row
    assert (row.holder, row.sent) == ("other", 2)
    assert not other.step()


def test_a_lease_is_renewed_for_as_long_as_an_answer_is_waited_for(
    engine: Engine, app: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "LEASE", timedelta(seconds=2))
    monkeypatch.setattr(follower_, "RENEW_SECONDS", 0.05)
    monkeypatch.setattr(follower_, "LOOK_SECONDS", 0.05)
    follower = following(engine, app.url)
    other = following(engine, app.url, "other")
    arrived, go_on = threading.Event(), threading.Event()

    def answer(_: object) -> tuple[int, dict[str, str]]:
        arrived.set()
        go_on.wait(30)
        return 200, {}

    app.answer = answer
    change(engine, "a")
    follower.start()
    assert arrived.wait(30)
    first = last = standing(engine).row.held_until
    while last < first + timedelta(seconds=2):
        assert not other.step()
        last = standing(engine).row.held_until
        time.sleep(0.05)
    go_on.set()
    deadline = time.monotonic() + 30
    while not app.taken:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    follower.stop()
    assert app.seen() == ["a"]


def test_a_database_that_is_away_when_it_was_taken_is_told_later(
    engine: Engine, app: Application
) -> None:
    follower = following(engine, app.url)
    change(engine, "a")
    whole, broken = follower._write, [True]  # noqa: SLF001

    def write(work: Any) -> Any:
        if app.taken and broken:
            raise OSError
        return whole(work)

    follower._write = write  # type: ignore[method-assign]  # noqa: SLF001
    with pytest.raises(OSError):
        follower.step()
    broken.clear()
    assert not follower.step()
    assert app.seen() == ["a"]
    assert standing(engine).row.sent == 1


def test_nothing_is_ever_skipped_however_many_settle(databases: Databases) -> None:  # noqa: C901
    """The feed holds nothing back: who reads while others settle sees every last status.

    Broken by a settling that takes its time when its transaction begins, or holds no lock.
    """
    engine = databases.open(databases.make("postgresql"))
    stop, errors = threading.Event(), list[BaseException]()
    messages = 160
    ids = [f"m{n}" for n in range(messages)]
    with engine.begin() as connection:
        rows = [
            {"provider": "ants", "message_id": i, "recipient": "66811111111", "sent_at": START}
            for i in ids
        ]
        connection.execute(insert(sent_message), rows)
    settle.settle_all(engine)

    def report(numbers: Sequence[int]) -> None:
        for turn, status in enumerate(("enroute", "delivered")):
            for n in numbers:
                with engine.begin() as connection:
                    connection.execute(
                        insert(delivery_report).values(
                            callback_id="00000000-0000-0000-0000-000000000000", position=0,
                            provider="ants", message_id=f"m{n}", provider_status=status,
                            status=status, digest=f"{n}{status}".encode().rjust(16, b"-"),
                            received_at=START, done_at=START + timedelta(seconds=turn),
                        )
                    )  # fmt: skip

    def hand() -> None:
        while not stop.is_set():
            settle.settle_one(engine, portion=7)

    def unsettled() -> int:
        waiting = text("SELECT count(*) FROM delivery_report WHERE settled_at IS NULL")
        with engine.connect() as connection:
            return int(connection.execute(waiting).scalar_one())

    def guarded(work: Callable[[], None]) -> threading.Thread:
        def run() -> None:
            try:
                work()
            except BaseException as error:  # noqa: BLE001 - handed to the test
                errors.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    seen: dict[str, str] = {}
    places: list[lookup.FeedPosition] = []

    def read() -> None:
        cursor = ""
        while True:
            ended = stop.is_set()
            with engine.connect() as connection:
                page, cursor = lookup.changes(connection, cursor, 50)
            seen.update((m["message_id"], m["status"]) for m in page)
            places.extend(lookup._cursor(cursor) or () for _ in page[:1])  # type: ignore[misc] # noqa: SLF001
            if ended and not page:
                return

    hands = [guarded(hand) for _ in range(3)]
    reader = guarded(read)
    feeders = [guarded(functools.partial(report, range(k, messages, 4))) for k in range(4)]
    for thread in feeders:
        thread.join()
    eventually(lambda: errors or unsettled() == 0)
    stop.set()
    for thread in (*hands, reader):
        thread.join()
    assert errors == []
    assert places == sorted(places)
    assert seen == dict.fromkeys(ids, "delivered")
