"""Who is behind is seen: an alarm, a row of doctor's, figures for Prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest
from sqlalchemy import insert, update

from receiver.database.tables.messages import sent_message
from receiver.database.tables.outbound import event_destination, event_set_aside
from receiver.domain.alarm import State
from receiver.monitoring.doctor import local
from receiver.monitoring.metrics import database
from receiver.settings.destinations import EventSettings
from receiver.settings.settings import Settings
from tests.kit.application import SECRET
from tests.kit.world import NOW, PROVIDERS, World

if TYPE_CHECKING:
    from sqlalchemy import Engine

EVENTS: Final = {"app": EventSettings(url="https://shop.example/", secrets=(SECRET,))}


def put(engine: Engine, **values: Any) -> None:
    with engine.begin() as connection:
        connection.execute(insert(event_destination).values(name="app", **values))


def test_no_destination_is_no_alarm(engine: Engine) -> None:
    assert World(engine).one("events_behind").state is State.CLEAR


@pytest.mark.parametrize(
    ("values", "waits", "state", "words"),
    [
        ({}, False, State.CLEAR, "in time"),
        ({}, True, State.RAISED, "app is behind by"),
        ({"off_at": NOW, "problem": "answered 410"}, False, State.RAISED, "app is off"),
    ],
)
def test_who_is_behind(
    engine: Engine, values: dict[str, Any], waits: bool, state: State, words: str
) -> None:
    world = World(engine)
    put(engine, **values)
    if waits:
        world.send(NOW, 1)
        with engine.begin() as connection:
            connection.execute(update(sent_message).values(changed_at=NOW))
    alarm = world.one("events_behind", events=EVENTS, now=NOW)
    assert alarm.state is state
    assert words in alarm.sentence
    assert world.one("events_behind", now=NOW).state is State.CLEAR


def test_doctor_and_metrics(engine: Engine) -> None:
    settings = Settings(providers=PROVIDERS, events=EVENTS)
    with engine.connect() as connection:
        (finding,) = local.destinations(settings, connection)
    assert not finding.ok
    assert "nothing was sent there yet" in finding.said
    put(engine, sent=7, failed=3)
    with engine.begin() as connection:
        connection.execute(
            insert(event_set_aside).values(
                destination="app", sent_message_id=1, status=422, set_aside_at=NOW
            )
        )
    with engine.connect() as connection:
        (finding,) = local.destinations(settings, connection)
        figures = {f.name: f.value for f in database.read(connection) if f.labels == ("app",)}
    assert finding.ok
    assert "1 set aside" in finding.said
    assert figures == {
        "receiver_events_lag_seconds": 0, "receiver_events_sent": 7, "receiver_events_failed": 3,
        "receiver_events_set_aside": 1,
    }  # fmt: skip
