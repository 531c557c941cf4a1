"""Every alarm is raised when it should be, clears, and is not known with too little data."""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import delete, event, insert, update

from receiver.database.tables.callbacks import callback, delivery_report
from receiver.database.tables.messages import account_credit, sent_message
from receiver.database.tables.statistics import delivery_rollup
from receiver.domain.alarm import Alarm, AlarmKey, State
from receiver.monitoring.alarms import evaluate, store
from receiver.monitoring.alarms.snapshot import Snapshot
from receiver.settings.settings import Settings
from receiver.settling import settle
from receiver.statistics import refusals
from receiver.statistics.bangkok import hour_of
from receiver.statistics.refusals import Refusal, Times
from tests.kit.world import BEGUN, DAY, HOUR, MINUTE, NOW, PROVIDERS, SECOND, World

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Engine

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def world(engine: Engine) -> World:
    return World(engine)


def test_an_alarm_checks_itself() -> None:
    wrongs: tuple[dict[str, Any], ...] = (
        {"state": State.RAISED, "sentence": "x"},
        {"state": State.RAISED, "sentence": "x", "since": NOW},
        {"state": State.CLEAR, "sentence": "x", "advice": "y"},
        {"state": State.RAISED, "sentence": "x", "advice": "y", "since": NOW.replace(tzinfo=None)},
    )
    for wrong in wrongs:
        with pytest.raises(ValueError, match="expected"):
            Alarm(name="n", **wrong)


def test_every_rule_is_named_as_its_alarms(world: World) -> None:
    names = [rule.__name__ for rule in evaluate.RULES]
    assert list(dict.fromkeys(alarm.name for alarm in world.examine())) == names


def test_every_alarm_is_on_the_page_and_no_other() -> None:
    page = (ROOT / "docs" / "alarms.md").read_text("utf-8")
    documented = re.findall(r"^\| `([a-z_]+)` \|", page, re.MULTILINE)
    assert documented == [rule.__name__ for rule in evaluate.RULES]


def test_an_empty_database_raises_nothing(world: World) -> None:
    found = world.examine()
    assert not any(alarm.is_raised for alarm in found)
    assert len({alarm.key for alarm in found}) == len(found)


def test_a_week_as_usual_raises_nothing(world: World) -> None:
    world.week(credit=Decimal(1))
    world.call(NOW)
    left(world, "1000")
    with world.engine.begin() as connection:
        store.take_lease(connection, "somebody", 60)
    states = {alarm.key: (alarm.state, alarm.sentence) for alarm in world.examine()}
    assert {key for key, (state, _) in states.items() if state is not State.CLEAR} == set(), states


# A provider that is silent.


def reporting(world: World, hours: int = 3, **values: Any) -> None:
    """Have messages reported, each after 5 s, until two hours ago."""
    for n in range(2, 2 + hours):
        world.send(BEGUN - n * HOUR, 20, **values)


def test_a_provider_is_silent(world: World) -> None:
    reporting(world)
    first = NOW - 40 * MINUTE
    world.send(first, 20, every=MINUTE, status=None)
    alarm = world.one("provider_silent")
    assert (alarm.state, alarm.provider, alarm.since) == (State.RAISED, "ants", first)
    assert "ants is silent: the last 20 messages" in alarm.sentence


def test_each_account_for_itself(world: World) -> None:
    for account in ("otp", "promo"):
        reporting(world, account=account)
    world.send(NOW - 30 * MINUTE, 20, status=None, account="otp")
    world.send(NOW - 30 * MINUTE, 20, account="promo")
    found = {alarm.account: alarm.state for alarm in world.find("provider_silent")}
    assert found == {"otp": State.RAISED, "promo": State.CLEAR}


def test_a_provider_that_reports_again_is_not_silent(world: World) -> None:
    reporting(world)
    world.send(NOW - 40 * MINUTE, 20, status=None)
    world.send(NOW - 20 * MINUTE, 1)
    assert world.one("provider_silent").state is State.CLEAR
    # In another hour than those that wait:
    world.send(NOW - 40 * MINUTE - HOUR, 20, status=None)
    assert world.one("provider_silent").state is State.CLEAR


def test_one_that_reports_within_the_hour_that_others_wait_in(world: World) -> None:
    reporting(world)
    world.send(BEGUN, 1)
    world.send(BEGUN + 2 * MINUTE, 20, every=SECOND, status=None)
    assert world.one("provider_silent").is_raised
    world.send(BEGUN + 3 * MINUTE, 1)
    assert world.one("provider_silent").state is State.CLEAR


def test_messages_that_wait_no_longer_than_usual_are_not_silent(world: World) -> None:
    reporting(world, took=30 * MINUTE)
    world.send(NOW - 29 * MINUTE, 20, status=None)
    assert world.one("provider_silent").state is State.CLEAR
    assert world.one("provider_silent", NOW + 2 * MINUTE).is_raised


def test_what_the_provider_refused_is_not_silent(world: World) -> None:
    reporting(world)
    world.send(NOW - 30 * MINUTE, 30, status=None, error="no credit")
    assert world.one("provider_silent").state is State.CLEAR


def test_too_few_messages_are_not_known_to_be_silent(world: World) -> None:
    reporting(world, hours=1)
    assert world.one("provider_silent", NOW + 2 * DAY).state is State.NOT_KNOWN
    world.send(NOW - 30 * MINUTE, 19, status=None)
    assert world.one("provider_silent").state is State.CLEAR
    assert world.one("provider_silent", alarm_messages=19).is_raised


def test_one_that_never_reported_is_not_known_to_be_silent(world: World) -> None:
    world.send(NOW - 30 * MINUTE, 40, status=None)
    alarm = world.one("provider_silent")
    assert (alarm.state, alarm.sentence) == (State.NOT_KNOWN, "0 reports in 7 days to go by.")


# Nothing recorded.


def test_nothing_is_recorded(world: World) -> None:
    world.week(skip=3)
    alarm = world.one("nothing_recorded")
    assert alarm.is_raised
    assert alarm.since == BEGUN - 3 * HOUR + 23 * MINUTE
    assert "about 48 messages are sent in these hours" in alarm.sentence
    assert world.one("nothing_recorded", NOW + 9 * HOUR).is_raised
    assert world.one("nothing_recorded", NOW + 8 * DAY).state is State.NOT_KNOWN
    world.send(NOW - MINUTE, 1)
    assert world.one("nothing_recorded").state is State.CLEAR


def test_a_night_and_a_weekend_without_messages_are_usual(world: World) -> None:
    """At NOW it is noon of a Wednesday, of which the last was a day without messages."""
    times = [
        BEGUN - n * DAY - hour * HOUR + minute * MINUTE
        for n in (1, 2, 3, 4, 5, 6, 8)
        for hour in range(4)
        for minute in range(60)
    ]
    world.send_at(times)
    assert world.one("nothing_recorded").state is State.CLEAR
    assert world.one("nothing_recorded", NOW - 6 * HOUR).state is State.CLEAR
    world.send_at(BEGUN - 7 * DAY - 2 * HOUR + n * SECOND for n in range(30))
    assert world.one("nothing_recorded").is_raised
    assert world.one("nothing_recorded", NOW - 6 * HOUR).state is State.CLEAR


def test_few_messages_are_no_alarm_when_none_comes(world: World) -> None:
    world.send_at(BEGUN - n * HOUR + MINUTE for n in range(3, 24 * 8) for _ in range(5))
    assert world.one("nothing_recorded").state is State.CLEAR
    assert world.one("nothing_recorded", alarm_messages=5).is_raised


def test_messages_that_are_not_counted_yet_say_nothing(world: World) -> None:
    """As right after an upgrade."""
    world.send(NOW - 5 * HOUR, 20)
    with world.engine.begin() as connection:
        connection.execute(delete(delivery_rollup))
    assert not any(alarm.is_raised for alarm in world.examine())


def test_days_that_are_not_there_are_not_known_to_be_usual(world: World) -> None:
    world.week(skip=3, days=5)
    assert world.one("nothing_recorded").state is State.NOT_KNOWN


# Rate and time of delivery, of the hour that began at THEN.

THEN = BEGUN - 2 * HOUR


def usual(world: World, messages: int = 3, **values: Any) -> None:
    """Send at this hour of the last seven days."""
    world.send_at(
        (THEN - day * DAY + n * SECOND for day in range(1, 8) for n in range(messages)), **values
    )


def test_the_delivery_rate_falls(world: World) -> None:
    usual(world)
    world.send(THEN, 15)
    world.send(THEN, 5, status="undeliverable")
    alarm = world.one("delivery_rate_fallen")
    assert (alarm.state, alarm.since) == (State.RAISED, THEN)
    assert "75% of what was sent with ants" in alarm.sentence
    assert "is 100%" in alarm.sentence
    assert world.one("delivery_rate_fallen", alarm_rate_drop=0.3).state is State.CLEAR
    assert world.one("delivery_rate_fallen", NOW + HOUR).state is State.NOT_KNOWN
    world.send(THEN, 20)
    assert world.one("delivery_rate_fallen").state is State.CLEAR


def test_a_delivery_rate_of_few_is_not_known(world: World) -> None:
    usual(world)
    world.send(THEN, 19, status="undeliverable")
    world.send(THEN, 9, status=None, error="refused")
    alarm = world.one("delivery_rate_fallen")
    assert alarm.state is State.NOT_KNOWN
    assert alarm.sentence.startswith("19 messages in the hour from 2025-06-18 10:00 on")


def test_nor_one_of_few_days(world: World) -> None:
    usual(world, 2)
    world.send(THEN, 20, status="undeliverable")
    assert world.one("delivery_rate_fallen").state is State.NOT_KNOWN


def test_deliveries_take_longer(world: World) -> None:
    usual(world)
    world.send(THEN, 20, took=200)
    alarm = world.one("delivery_slower")
    assert (alarm.state, alarm.since) == (State.RAISED, THEN)
    assert "took up to 5 minutes; usual in this hour is up to 5 seconds" in alarm.sentence
    assert world.one("delivery_slower", alarm_slower=100).state is State.CLEAR
    world.send(THEN, 21)
    assert world.one("delivery_slower").state is State.CLEAR


def test_what_is_still_soon_is_no_alarm(world: World) -> None:
    usual(world, took=1)
    world.send(THEN, 20, took=29)
    assert world.one("delivery_slower").state is State.CLEAR


def test_longer_than_any_step(world: World) -> None:
    usual(world)
    world.send(THEN, 20, took=31 * HOUR)
    assert "more than 30 hours" in world.one("delivery_slower").sentence
    assert world.one("delivery_slower").is_raised


def test_the_time_of_few_deliveries_is_not_known(world: World) -> None:
    usual(world)
    world.send(THEN, 19, took=200)
    world.send(THEN, 19, status="undeliverable", took=200)
    assert world.one("delivery_slower").state is State.NOT_KNOWN


# Unmatched.


def at_this_time(world: World, matched: int, unmatched: int) -> None:
    """Let reports come at this time of the last seven days."""
    for day in range(1, 8):
        world.send(NOW - day * DAY - 20 * MINUTE, matched)
        world.report(NOW - day * DAY - 20 * MINUTE, unmatched)


def test_more_reports_are_unmatched(world: World) -> None:
    at_this_time(world, 9, 1)
    world.send(NOW - 20 * MINUTE, 20)
    world.report(NOW - 20 * MINUTE, 20)
    alarm = world.one("unmatched_risen")
    assert alarm.is_raised
    assert alarm.sentence.startswith("50% of the last reports belong to no message; usual is 10%")
    assert alarm.since == NOW - 20 * MINUTE - 19 * SECOND
    assert world.one("unmatched_risen", alarm_unmatched_rise=0.5).state is State.CLEAR
    world.send(NOW - 20 * MINUTE, 60)
    assert world.one("unmatched_risen").state is State.CLEAR


def test_who_never_recorded_all_is_used_to_it(world: World) -> None:
    at_this_time(world, 5, 5)
    world.report(NOW - 20 * MINUTE, 20)
    world.send(NOW - 20 * MINUTE, 10)
    assert world.one("unmatched_risen").state is State.CLEAR


def test_reports_of_the_last_minutes_may_find_their_message_yet(world: World) -> None:
    at_this_time(world, 9, 1)
    world.send(NOW - 20 * MINUTE, 20)
    world.report(NOW - 5 * MINUTE, 100)
    assert world.one("unmatched_risen").state is State.CLEAR
    assert world.one("unmatched_risen", NOW + 6 * MINUTE).is_raised


def test_few_unmatched_reports_are_not_known(world: World) -> None:
    at_this_time(world, 9, 1)
    world.report(NOW - 20 * MINUTE, 19)
    assert world.one("unmatched_risen").state is State.NOT_KNOWN
    world.report(NOW - 20 * MINUTE, 1)
    assert world.one("unmatched_risen").is_raised


def test_a_provider_that_no_message_was_recorded_for_has_no_unmatched_ones(world: World) -> None:
    for day in range(8):
        world.report(NOW - day * DAY - 20 * MINUTE, 20 if day else 200)
    alarm = world.one("unmatched_risen")
    assert alarm.sentence == "No message was ever recorded for this provider."
    assert alarm.state is State.NOT_KNOWN


# Callbacks and their words.


def test_an_account_with_more_than_is_kept_whole(world: World) -> None:
    assert world.one("unreadable_not_whole").state is State.NOT_KNOWN
    world.call(NOW - 2 * HOUR, "unreadable", error="?", body=b"x" * 5000)
    assert world.one("unreadable_not_whole").state is State.CLEAR
    for minutes in (60, 30):
        values = {"error": "?", "account": "otp", "body_size": 8_000_000}
        world.call(NOW - minutes * MINUTE, "unreadable", **values)
    alarm = world.one("unreadable_not_whole")
    assert (alarm.state, alarm.since, alarm.account) == (State.RAISED, NOW - HOUR, "otp")
    assert alarm.sentence.startswith("2 callbacks of the last 24 hours that cannot be read, 16 MB")
    assert world.one("unreadable_not_whole", NOW + 2 * DAY).state is State.CLEAR


def test_an_unreadable_callback(world: World) -> None:
    assert world.one("unreadable_callbacks").state is State.NOT_KNOWN
    world.call(NOW - 2 * HOUR)
    assert world.one("unreadable_callbacks").state is State.CLEAR
    world.call(NOW - HOUR, "unreadable", error="?")
    world.call(NOW - MINUTE, "partial", error="?")
    alarm = world.one("unreadable_callbacks")
    assert (alarm.state, alarm.since) == (State.RAISED, NOW - HOUR)
    assert alarm.sentence.startswith("2 callbacks of the last 24 hours cannot be read")
    assert world.one("unreadable_callbacks", NOW + 2 * DAY).state is State.CLEAR
    with world.engine.begin() as connection:  # as `replay` does
        connection.execute(update(callback).values(outcome="read"))
    assert world.one("unreadable_callbacks").state is State.CLEAR


def test_unknown_words_are_listed_for_the_status_map(world: World, tmp_path: Path) -> None:
    assert world.one("unknown_words").state is State.NOT_KNOWN
    world.call(NOW)
    assert world.one("unknown_words").state is State.CLEAR
    word = {"provider_status": 'Half "way"'}
    world.send(NOW - HOUR, 2, status="unknown", report=word)
    world.report(NOW - 2 * HOUR, 1, status="unknown", provider_status='half "way"')
    alarm = world.one("unknown_words")
    assert (alarm.state, alarm.since) == (State.RAISED, NOW - 2 * HOUR)
    lines = alarm.advice.splitlines()
    assert lines[-2:] == ["[ants]", r'"half \"way\"" = "unknown"  # reports: 3']
    path = tmp_path / "map.toml"
    path.write_text("\n".join(lines[-2:]))
    assert world.one("unknown_words", status_map=str(path)).state is State.CLEAR
    path.write_text("\n".join(lines[-2:]).replace("unknown", "enroute"))
    alarm = world.one("unknown_words", status_map=str(path))
    assert alarm.advice == "They have a meaning by now: run `receiver rebuild`."
    assert world.one("unknown_words", NOW + 2 * DAY).state is State.CLEAR


def test_what_may_be_somebodys_number_is_no_word(world: World) -> None:
    for word in ("to 66812345678", "x" * 41, "short"):
        world.report(NOW - HOUR, 1, status="unknown", provider_status=word)
    alarm = world.one("unknown_words")
    assert "use 3 words" in alarm.sentence
    listed = ["[ants]", '"short" = "unknown"  # reports: 1', "# `receiver report` lists the others"]
    assert alarm.advice.splitlines()[1:] == listed


def test_only_some_words_are_listed(world: World) -> None:
    for number in range(12):
        world.report(NOW - HOUR, 1, status="unknown", provider_status=f"w{number}")
    alarm = world.one("unknown_words")
    assert "use 12 words" in alarm.sentence
    assert len(alarm.advice.splitlines()) == 1 + 1 + 10 + 1


# Times.


def untimed(world: World, at: datetime, time: str, reports: int = 1, **values: Any) -> None:
    world.report(at, reports, **({"provider_time": time, "done_at": None} | values))


def test_times_that_cannot_be_read_are_listed_by_form(world: World) -> None:
    assert world.one("unreadable_times").state is State.NOT_KNOWN
    world.call(NOW)
    assert world.one("unreadable_times").state is State.CLEAR
    untimed(world, NOW - HOUR, "soon (0812345678)", 2)
    untimed(world, NOW - 2 * HOUR, "2025-06-18")
    untimed(world, NOW - HOUR, "2052-10-02 10:00:00")
    # When it was sent counts, too, and what was erased or left out does not.
    world.report(NOW - HOUR, 1, provider_sent_time="2025-06-17", sent_at=None)
    world.report(NOW - HOUR, 1, provider_time=None, done_at=None)
    alarm = world.one("unreadable_times")
    assert (alarm.state, alarm.since) == (State.RAISED, NOW - 2 * HOUR)
    assert alarm.sentence == "5 times in reports of the last 24 hours cannot be read."
    advice, *forms = alarm.advice.splitlines()
    assert set(forms) == {
        "9999-99-99 99:99:99  # long after it came; times: 1",
        "9999-99-99  # a date without a time; times: 2",
        "AAAA (9999999999)  # in no form that is known; times: 2",
    }
    for words in ("set the clock", "with the date", "`receiver rebuild`"):
        assert words in advice
    assert "several times" not in advice
    assert world.one("unreadable_times", NOW + 2 * DAY).state is State.CLEAR


def test_times_that_can_be_read_by_now(world: World) -> None:
    untimed(world, NOW - HOUR, "2506180930")
    alarm = world.one("unreadable_times")
    assert alarm.sentence.startswith("1 time in reports")
    assert alarm.advice == "They can be by now: run `receiver rebuild`."
    with world.engine.begin() as connection:  # as `rebuild` does
        connection.execute(update(delivery_report).values(done_at=NOW - 3 * HOUR))
    world.call(NOW)
    assert world.one("unreadable_times").state is State.CLEAR


def test_only_some_forms_are_listed(world: World) -> None:
    for number in range(12):
        untimed(world, NOW - HOUR, "x" * (number + 1))
    assert world.one("unreadable_times").advice.splitlines()[-1] == "# and others"


def test_unreadable_times_are_read_from_the_index_of_the_few(world: World) -> None:
    world.report(NOW - HOUR, 20)
    with world.engine.connect() as connection:
        statements: list[tuple[str, Any]] = []
        event.listen(
            world.engine,
            "before_cursor_execute",
            lambda _c, _u, statement, values, _x, _m: statements.append((statement, values)),
        )
        assert Snapshot(connection, 7, NOW).unreadable_times == {}
        statement, values = statements[-1]
        if world.engine.dialect.name == "sqlite":
            explained = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
        else:
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
            connection.exec_driver_sql("SET LOCAL enable_sort = off")
            explained = connection.exec_driver_sql(f"EXPLAIN {statement}", values)
        assert "ix_delivery_report_untimed" in str(explained.all())


# Clock and zone.


def told(world: World, off: timedelta, reports: int = 20, **values: Any) -> None:
    """Let reports come that are off: that say something else than when they came."""
    for n in range(reports):
        came = NOW - n * MINUTE
        done = came + off - n * SECOND
        world.report(came, 1, **({"done_at": done} | values))


@pytest.mark.parametrize(
    ("hours", "zone", "named"),
    [
        (7, "UTC", "UTC+7 (such as Asia/Bangkok)"),
        (-7, "Asia/Bangkok", "UTC+0 (UTC)"),
        (1, "Asia/Bangkok", "UTC+8"),
        (-1.5, "Asia/Bangkok", "UTC+5:30"),
        (-8, "Asia/Bangkok", "UTC-1"),
    ],
)
def test_a_zone_is_wrong(world: World, hours: float, zone: str, named: str) -> None:
    told(world, timedelta(hours=hours))
    alarm = world.one("clock_or_zone", timezone=zone)
    assert alarm.is_raised
    way = "ahead of" if hours > 0 else "behind"
    assert f"are {abs(hours):g} hours {way} the time they come" in alarm.sentence
    assert f"RECEIVER_TIMEZONE is {zone}; these times seem to be {named}." in alarm.advice
    told(world, timedelta(), 50)
    assert world.one("clock_or_zone", timezone=zone).state is State.CLEAR


@pytest.mark.parametrize("time", ["2025-06-18T05:00:00Z", "2025-06-18 05:00:00+0700", "1750224600"])
def test_no_zone_of_ours_is_wrong_where_times_name_their_own(world: World, time: str) -> None:
    told(world, 7 * HOUR, provider_time=time)
    assert "no setting is wrong" in world.one("clock_or_zone").advice


def test_a_clock_is_wrong(world: World) -> None:
    told(world, 5 * MINUTE)
    alarm = world.one("clock_or_zone")
    assert alarm.is_raised
    assert "5 minutes in the future" in alarm.sentence
    assert "Set the clock" in alarm.advice
    assert world.one("clock_or_zone", alarm_clock_seconds=301).state is State.CLEAR
    told(world, -MINUTE, 30)
    assert world.one("clock_or_zone").state is State.CLEAR


def test_reports_that_take_hours_are_no_zone(world: World) -> None:
    for n in range(37):
        told(world, -10 * HOUR + n * 15 * MINUTE, 1)
    assert world.one("clock_or_zone").state is State.CLEAR


def test_times_of_few_reports_are_not_known(world: World) -> None:
    told(world, 7 * HOUR, 19)
    told(world, 7 * HOUR, 10, done_at=None)
    assert world.one("clock_or_zone").state is State.NOT_KNOWN


# Settling.


def test_settling_is_behind(world: World) -> None:
    world.send(NOW - MINUTE, 1, recorded_at=NOW - MINUTE)
    assert world.one("settling_behind").state is State.CLEAR
    unsettled: dict[str, Any] = {"settled_at": None}
    with world.engine.begin() as connection:
        for table in (sent_message, delivery_report):
            connection.execute(update(table).values(**unsettled))
    alarm = world.one("settling_behind")
    assert alarm.is_raised
    assert alarm.sentence.startswith("2 rows wait to be settled, the oldest for")
    settle.settle_all(world.engine)
    assert world.one("settling_behind").state is State.CLEAR


def test_what_has_just_come_is_not_behind(world: World) -> None:
    with world.engine.connect() as connection:
        now = Snapshot(connection, 7).now
    world.send(now, 1, recorded_at=now, settled_at=now)
    unsettled: dict[str, Any] = {"settled_at": None}
    with world.engine.begin() as connection:
        connection.execute(update(sent_message).values(**unsettled))
    alarm = world.one("settling_behind", now)
    assert (alarm.state, alarm.sentence) == (
        State.CLEAR, "1 row waits to be settled, none for long.",
    )  # fmt: skip


# Callbacks that are turned away while messages wait.


def refuse(world: World, times: int = 1, why: str = refusals.WRONG_TOKEN) -> None:
    """Turn callbacks away."""
    key = Refusal(hour_of(NOW), "ants", "", why, "192.0.2.1")
    with world.engine.begin() as connection:
        refusals.write(connection, {key: Times(times, NOW)})


def test_callbacks_are_refused_while_messages_wait(world: World) -> None:
    name = "refused_while_waiting"
    world.send(NOW - HOUR, 19)
    world.send(NOW - HOUR, 20, status=None)
    assert world.one(name).sentence == "No callback was turned away in the last hour."
    refuse(world, 3)
    refuse(world, 1, refusals.REASONS[413])
    alarm = world.one(name)
    assert alarm.is_raised
    assert alarm.sentence == (
        "4 callbacks turned away in the last hour (body too large: 1, wrong token: 3), while 20 of"
        " the last 39 messages wait for a report."
    )
    assert "`receiver urls`" in alarm.advice
    assert "RECEIVER_MAX_BODY_BYTES" in alarm.advice
    assert "192.0.2.1" not in alarm.sentence + alarm.advice
    assert world.one(name, NOW + 3 * HOUR).state is State.CLEAR
    world.send(NOW - 30 * MINUTE, 5)
    assert world.one(name).state is State.CLEAR


def test_refusals_while_nothing_waits_for_long_are_none_of_ours(world: World) -> None:
    name = "refused_while_waiting"
    refuse(world)
    world.send(NOW - HOUR, 19, status=None)
    world.send(NOW - HOUR, 30, status=None, error="no credit")
    assert world.one(name).state is State.NOT_KNOWN
    world.send(NOW - 9 * MINUTE, 20, status=None)
    assert world.one(name).state is State.NOT_KNOWN
    world.send(NOW - HOUR, 1, status=None)
    assert world.one(name).is_raised


def test_every_reason_has_its_remedy_as_the_page_has_it() -> None:
    page = (ROOT / "docs" / "sql.md").read_text("utf-8")
    documented = dict(
        re.findall(r"^\| `([a-z ]+)` \| [45][0-9]{2} \| (.+) \|$", page, re.MULTILINE)
    )
    assert documented == refusals.REMEDIES


# Credit.


def left(world: World, remaining: str, kind: str = "standard", at: datetime = NOW) -> None:
    """Have an answer to a send call tell what is left."""
    row = {"provider": "ants", "account": "", "credit_type": kind, "seen_at": at}
    with world.engine.begin() as connection:
        connection.execute(delete(account_credit).where(account_credit.c.credit_type == kind))
        connection.execute(insert(account_credit), row | {"remaining": Decimal(remaining)})


def test_credit_is_low(world: World) -> None:
    assert world.one("credit_low").state is State.NOT_KNOWN
    world.send(NOW - 2 * HOUR, 30, credit=Decimal("1.5"))
    assert world.one("credit_low").state is State.NOT_KNOWN
    left(world, "44.9999")
    alarm = world.one("credit_low")
    assert (alarm.state, alarm.since) == (State.RAISED, NOW)
    assert alarm.sentence == "44.9999 credit is left; the last 24 hours used 45."
    left(world, "45")
    assert world.one("credit_low").state is State.CLEAR
    left(world, "1", "corporate", NOW - HOUR)  # was used before the other
    assert world.one("credit_low").state is State.CLEAR
    left(world, "1", "corporate", NOW + HOUR)
    assert world.one("credit_low").is_raised


def test_little_that_is_used_says_nothing_of_credit(world: World) -> None:
    world.send(NOW - 2 * HOUR, 19, credit=Decimal(2))
    left(world, "1")
    assert world.one("credit_low").state is State.NOT_KNOWN
    left(world, "0")  # nothing more can be sent
    assert world.one("credit_low").is_raised


# How it is asked.

BIG = "sent_message|delivery_report|callback"


def test_no_look_reads_a_whole_table(world: World) -> None:
    world.week(skip=2)
    world.send(NOW - HOUR, 40, status=None)
    world.report(NOW - HOUR, 40, status="unknown")
    world.send(NOW - HOUR, 1, status="unknown")
    refuse(world)
    left(world, "0")
    asked: list[tuple[str, Any]] = []

    def note(_c: object, _cursor: object, statement: str, values: Any, *_: object) -> None:
        asked.append((statement, values))

    with world.engine.connect() as connection:
        event.listen(connection, "before_cursor_execute", note)
        found = evaluate.evaluate_all(connection, Settings(providers=PROVIDERS), NOW)
        event.remove(connection, "before_cursor_execute", note)
        raised = {"provider_silent", "refused_while_waiting", "unknown_words", "credit_low"}
        assert raised <= {alarm.name for alarm in found if alarm.is_raised}
        explain = "EXPLAIN QUERY PLAN"
        if connection.dialect.name == "postgresql":  # which soon reads a small table whole
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
            explain = "EXPLAIN"
        selects = [(sql, values) for sql, values in asked if sql.startswith("SELECT")]
        assert len(selects) > 15
        for sql, values in selects:
            plan = [row[-1] for row in connection.exec_driver_sql(f"{explain} {sql}", values)]
            whole = [
                step
                for step in plan
                if re.search(rf"Seq Scan on ({BIG})\b", step)
                or (re.match(rf"SCAN ({BIG})\b", step) and not re.search("_unsettled|LIMIT", step))
            ]
            assert not whole or sql.endswith("LIMIT ? OFFSET ?"), f"{sql}\n{plan}"


def test_keys_are_what_alarms_are_told_apart_by(world: World) -> None:
    world.send(NOW - HOUR, 1, provider="smsmkt", account="otp")
    keys = {alarm.key for alarm in world.examine(providers={"ants": PROVIDERS["ants"]})}
    assert {
        AlarmKey("provider_silent", "ants"),
        AlarmKey("provider_silent", "smsmkt", "otp"),
    } <= keys
