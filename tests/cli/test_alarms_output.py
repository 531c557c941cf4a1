"""`receiver check`: what it prints, and its exit code."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from tests.kit.commands import TOKENS, Command, process
from tests.kit.world import HOUR, SECOND, World

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Engine

NOW = datetime.now(UTC).replace(microsecond=0)


@pytest.fixture
def run(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    return Command(monkeypatch, tmp_path, capsys, **TOKENS, RECEIVER_DATABASE_URL=url)


@pytest.fixture
def world(engine: Engine) -> World:
    return World(engine)


def test_nothing_is_wrong(run: Command) -> None:
    done = run("check")
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[0].split() == ["state", "alarm", "of", "what"]
    assert {line.split("  ")[0].strip() for line in lines[1:]} == {"clear", "not known"}


def test_something_is_wrong_and_what_to_do(run: Command, world: World) -> None:
    since = NOW - 2 * HOUR
    world.call(since, "unreadable", error="\x1b[31m")
    world.report(NOW, 1, status="unknown", provider_status="Hmm\x1b[31m")
    done = run("check")
    assert (done.code, done.err) == (1, "")
    lines = done.out.splitlines()
    assert lines[1].split()[:3] == ["raised", "unknown_words", "ants"]
    assert lines[2].split()[:3] == ["raised", "unreadable_callbacks", "ants"]
    bangkok = (since + timedelta(hours=7)).isoformat(" ")[:16]
    assert f"unreadable_callbacks of ants, since {bangkok}:" in lines
    assert '  "hmm\\u001b[31m" = "unknown"  # reports: 1' in lines
    assert "\x1b" not in done.out


def test_as_json(run: Command, world: World) -> None:
    world.call(NOW - SECOND, "unreadable", error="?")
    done = run("check", "--format", "json")
    assert (done.code, done.err) == (1, "")
    said = json.loads(done.out)
    (raised,) = [alarm for alarm in said["alarms"] if alarm["state"] == "raised"]
    assert said["raised"] == 1
    assert raised["since"] == (NOW - SECOND).isoformat()[:-6] + ".000Z"
    assert raised["name"] == "unreadable_callbacks"
    assert raised.keys() == {
        "name", "provider", "account", "state", "sentence", "since", "advice",
    }  # fmt: skip
    others = [alarm for alarm in said["alarms"] if alarm["state"] != "raised"]
    assert {(alarm["since"], alarm["advice"]) for alarm in others} == {(None, "")}


def test_wrong_usage(run: Command) -> None:
    done = run("check", "--format", "xml")
    assert done.code == 2
    assert "--format: expected one of: text, json" in done.sentence


def test_the_database_is_away(tmp_path: Path) -> None:
    settings = TOKENS | {"RECEIVER_DATABASE_URL": "postgresql://receiver@127.0.0.1:1/receiver"}
    done = process(tmp_path, "check", settings=settings)
    assert (done.code, done.out) == (1, "")
    assert done.sentence.startswith("The database cannot be used")
