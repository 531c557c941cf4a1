"""Two receivers, of which the one that sends is killed: the other goes on, and nothing is lost."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from sqlalchemy import select

from receiver.database.tables.outbound import event_destination
from tests.kit.application import SECRET, application
from tests.kit.serving import serving
from tests.outbound.test_examples import deliver, eventually

if TYPE_CHECKING:
    from tests.conftest import Databases


def test_another_goes_on_where_the_one_that_sends_is_killed(databases: Databases) -> None:
    url = databases.make("postgresql")
    engine = databases.open(url)

    def row() -> tuple[str, ...]:
        with engine.connect() as connection:
            found = connection.execute(select(event_destination.c.holder)).all()
        return tuple(f"{holder}" for (holder,) in found)

    with application() as app:
        own = {"RECEIVER_EVENTS_APP_URL": app.url, "RECEIVER_EVENTS_APP_SECRETS": SECRET}
        with serving(url, **own) as first, serving(url, **own) as second:
            eventually(row)
            deliver(first, "a")
            eventually(lambda: app.seen() == ["a"])
            number = int(row()[0].split()[1])
            killed, other = (first, second) if first.process.pid == number else (second, first)
            app.answer = lambda _: (500, {})  # a batch is under way when it is killed
            deliver(other, "b")
            eventually(lambda: len(app.posts) > 1)
            os.kill(number, signal.SIGKILL)
            killed.process.wait()
            app.answer = lambda _: (204, {})
            deliver(other, "c")
            eventually(lambda: app.seen()[-1] == "c")
            assert app.seen() == ["a", "b", "c"]
            assert len({post.key for post in app.posts if post.ids == ["b"]}) == 1
