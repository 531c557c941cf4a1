"""`receiver events`: what it shows, and what it has sent again."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select

from receiver.database.tables.outbound import event_destination, event_set_aside
from receiver.outbound.follower import Follower
from receiver.outbound.webhooks import Webhooks
from receiver.settings.destinations import EventSettings
from tests.kit.application import SECRET, application
from tests.kit.commands import TOKENS, Command
from tests.kit.world import NOW, World

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Engine

    from tests.kit.application import Application


@pytest.fixture
def app() -> Iterator[Application]:
    with application() as made:
        yield made


@pytest.fixture
def receiver(
    url: str,
    app: Application,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> Command:
    return Command(
        monkeypatch, tmp_path, capsys, RECEIVER_DATABASE_URL=url, RECEIVER_EVENTS_APP_URL=app.url,
        RECEIVER_EVENTS_APP_SECRETS=SECRET, **TOKENS,
    )  # fmt: skip


@pytest.fixture
def follower(engine: Engine, app: Application) -> Iterator[Follower]:
    destination = Webhooks("app", EventSettings(url=app.url, secrets=(SECRET,)))
    yield Follower(engine, destination, "us")
    destination.close()


def test_how_far_each_is(
    receiver: Command, engine: Engine, app: Application, follower: Follower
) -> None:
    assert "not begun" in receiver("events").out
    follower.step()
    World(engine).send(NOW, 2)
    app.answer = lambda _: (500, {})
    follower.step()
    (row,) = json.loads(receiver("events", "--format", "json").out)
    assert row["lag"] >= 0
    assert row | {"lag": 0} == {
        "name": "app", "state": "trying again", "lag": 0, "sent": 0, "failed": 1, "aside": 0,
        "taken_at": None, "problem": "answered 500",
    }  # fmt: skip
    app.answer = lambda _: (410, {})
    receiver("events", "resume", "app")
    follower.step()
    assert " off " in receiver("events").out
    app.answer = lambda _: (200, {})
    assert receiver("events", "resume", "app").out == "app is sent to again.\n"
    follower.step()
    assert app.seen() == ["m1", "m2"]
    out = receiver("events").out
    assert " on " in out
    assert SECRET not in out
    assert app.url not in out


def test_what_is_sent_again(
    receiver: Command, engine: Engine, app: Application, follower: Follower
) -> None:
    follower.step()
    World(engine).send(NOW, 3)
    app.answer = lambda post: (400, {}) if "m2" in post.ids else (200, {})
    while follower.step():
        pass
    app.answer = lambda _: (200, {})
    app.taken.clear()
    for arguments, expected in (
        (("--id", "m1"), ["m1"]),
        (("--set-aside",), ["m2"]),
        (("--since", "1h"), ["m1", "m2", "m3"]),
    ):
        done = receiver("events", "replay", "app", *arguments)
        assert done.code == 0, done
        while follower.step():
            pass
        assert app.seen() == expected
        app.taken.clear()
    with engine.connect() as connection:
        assert connection.execute(select(event_set_aside)).all() == []
        assert connection.execute(select(event_destination.c.replays)).scalar() == 1


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("replay", "app"), 2, "expected one of --since, --id and --set-aside"),
        (("replay", "app", "--since", "soon"), 2, "--since: expected 90m"),
        (("replay", "app", "--since", "1h"), 1, "app: nothing was sent there yet"),
        (("replay", "shop", "--since", "1h"), 1, "shop: no such destination"),
        (("replay", "app", "--id", "x"), 1, "--id: no message has this id"),
        (("resume", "shop"), 1, "shop: no such destination"),
        (("test", "shop"), 1, "shop: no such destination"),
        (("--format", "xml"), 2, "--format: expected one of"),
    ],
)
def test_what_cannot_be_meant(
    receiver: Command, arguments: tuple[str, ...], code: int, sentence: str
) -> None:
    done = receiver("events", *arguments)
    assert done.code == code
    assert done.sentence.startswith(sentence)


def test_an_example_and_a_secret(receiver: Command, app: Application) -> None:
    assert receiver("events", "test", "app").out == "app took it.\n"
    app.answer = lambda _: (404, {})
    assert receiver("events", "test", "app").sentence == "app did not take it: answered 404."
    made = receiver("events", "secret").out.strip()
    receiver.set(RECEIVER_EVENTS_APP_SECRETS=f"{SECRET},{made}")
    app.answer = lambda _: (200, {})
    assert receiver("events", "test", "app").code == 0
