"""Alarms about what was sent: whether it is reported, recorded, delivered, and how soon.

Each rule is a function of a snapshot of the database and of the thresholds; it returns one
alarm for each provider and account it knows. Fewer than RECEIVER_ALARM_MESSAGES are too little
to say anything.
"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from receiver.display import count, duration, shown, title
from receiver.domain import DELIVERY_TIMES, HOUR, AlarmKey
from receiver.monitoring.alarms.snapshot import DAY, HourCounts, SeriesKey, add
from receiver.statistics import hour_begins

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from receiver.domain import Alarm
    from receiver.monitoring.alarms.snapshot import Snapshot
    from receiver.settings import Settings


USUAL_QUANTILE: Final = 0.99
"""The quantile of the delays of first reports after which silence is unusual."""
MIN_SILENT_SECONDS: Final = 60.0
"""The lower bound of that delay, in seconds: reports of a burst come together, or late."""
COMPARED_AFTER: Final = timedelta(hours=2)
"""How long ago the hour began that is compared with others: most of its messages are final."""
MIN_SLOW_SECONDS: Final = 30
"""The seconds to delivery (median) that are no alarm, however fast it was before."""
HALF: Final = 0.5
TEN_THOUSANDTHS: Final = 10_000
"""What the roll-ups count credit in."""
SILENCE_ADVICE: Final = (
    "See whether its callbacks are refused (`SELECT * FROM provider_activity`), whether the URL of"
    " `receiver urls` is registered there and reachable from outside, and ask the provider."
)


def provider_silent(snapshot: Snapshot, settings: Settings) -> Iterator[Alarm]:
    """Raise where the newest messages are older than a report ever takes, and none has one."""
    for series in known_series(snapshot, settings):
        yield _silence(AlarmKey("provider_silent", *series), series, snapshot, settings)


def _silence(key: AlarmKey, series: SeriesKey, snapshot: Snapshot, settings: Settings) -> Alarm:
    enough = settings.alarm_messages
    day = [
        (at, hour)
        for at, hour in snapshot.hours.get(series, {}).items()
        if at > hour_begins(snapshot.now) - DAY and at <= snapshot.now
    ]
    accepted = add(hour for _, hour in day).accepted
    if accepted < enough:
        return key.not_known(f"{count(accepted, 'message')} in 24 hours; {enough} are needed.")
    # What was sent in or after the newest hour of which anything was reported.
    reported = [at for at, hour in day if hour.reported]
    begins = max(reported) if reported else snapshot.now - DAY
    if add(hour for at, hour in day if at >= begins).get("silent", 0) < enough:
        return key.clear("Messages of the last hours are reported.")
    seconds = snapshot.first_reports(series, begins + HOUR)
    if len(seconds) < enough:
        return key.not_known(
            f"{count(len(seconds), 'report')} in {settings.alarm_days} days to go by."
        )
    usual = max(MIN_SILENT_SECONDS, seconds[int(USUAL_QUANTILE * (len(seconds) - 1))])
    until = snapshot.now - timedelta(seconds=usual)
    silent = snapshot.silent(series, begins, until, enough)
    if len(silent) < enough or snapshot.is_reported(series, silent[-1], begins + HOUR):
        return key.clear("Messages are reported, or have not waited longer than usual.")
    sentence = (
        f"{title(*series)} is silent: the last {len(silent)} messages wait for a first report"
        f" for more than {duration(usual)}, which nearly none ever took."
    )
    return key.raised(silent[-1], sentence, SILENCE_ADVICE)


def nothing_recorded(snapshot: Snapshot, settings: Settings) -> Iterator[Alarm]:
    """Raise where hours are empty in which messages were sent on most of the last days."""
    key = AlarmKey("nothing_recorded")
    days, last = settings.alarm_days, snapshot.last_sent
    if last is None or snapshot.now - last > days * DAY:
        yield key.not_known(f"No message was recorded for the last {days} days.")
        return
    fact = f"The last message was sent at {shown(last, settings.timezone)}."
    begins = hour_begins(last) + HOUR
    ends = min(hour_begins(snapshot.now), begins + DAY)
    if begins >= ends:
        yield key.clear(fact)
        return
    counted = [at for hours in snapshot.hours.values() for at in hours]
    if min(counted, default=begins) > begins - days * DAY:
        yield key.not_known(f"{fact} Messages of {days} days are needed to know what is usual.")
        return
    before = [
        snapshot.between(None, begins - n * DAY, ends - n * DAY).accepted
        for n in range(1, days + 1)
    ]
    usual = sum(before) / days
    # A week ago is the same day of the week.
    most = sum(accepted > 0 for accepted in before) > days * HALF and before[min(days, 7) - 1] > 0
    if usual < settings.alarm_messages or not most:
        yield key.clear(f"{fact} It is not unusual that nothing follows.")
        return
    sentence = (
        f"Nothing was recorded since {shown(last, settings.timezone)}; on other days about"
        f" {count(round(usual), 'message')} are sent in these hours."
    )
    advice = (
        "See whether your application sends, and whether it records what it sends"
        " (`POST /messages`, `receiver record`, or its INSERT); its queue may be stopped."
    )
    yield key.raised(last, sentence, advice)


def delivery_rate_fallen(snapshot: Snapshot, settings: Settings) -> Iterator[Alarm]:
    """Raise where less of an hour's messages is delivered than of the same hour's on other days."""
    for series in known_series(snapshot, settings):
        key = AlarmKey("delivery_rate_fallen", *series)
        at, now, usual = _compared(series, snapshot, settings)
        if (few := min(now.accepted, usual.accepted)) < settings.alarm_messages:
            yield key.not_known(_too_few(few, "message", at, settings))
            continue
        sentence = (
            f"{now.rate:.0%} of what was sent with {title(*series)} in the hour from"
            f" {shown(at, settings.timezone)} on is delivered; usual in this hour is"
            f" {usual.rate:.0%}."
        )
        if now.rate > usual.rate - settings.alarm_rate_drop:
            yield key.clear(sentence)
            continue
        advice = (
            "See what failed and in which words: `receiver report --by provider,sender,tag --since"
            " 6h`, and `provider_description` in `message_status`; then ask the provider."
        )
        yield key.raised(at, sentence, advice)


def delivery_slower(snapshot: Snapshot, settings: Settings) -> Iterator[Alarm]:
    """Raise where half of an hour's deliveries take much longer than in the same hour before."""
    for series in known_series(snapshot, settings):
        key = AlarmKey("delivery_slower", *series)
        at, now, usual = _compared(series, snapshot, settings)
        if (few := min(now["timed"], usual["timed"])) < settings.alarm_messages:
            yield key.not_known(_too_few(few, "delivery time", at, settings))
            continue
        median, before = (DELIVERY_TIMES.percentile(hour, 1, 2) for hour in (now, usual))
        sentence = (
            f"Half of what {title(*series)} delivered of the hour from"
            f" {shown(at, settings.timezone)} on took up to {_step(median)}; usual in this hour is"
            f" up to {_step(before)}."
        )
        limit = max(MIN_SLOW_SECONDS, settings.alarm_slower * (before or float("inf")))
        if median is not None and median <= limit:
            yield key.clear(sentence)
            continue
        advice = (
            "See whether all senders are slow: `SELECT * FROM delivery_percentile_daily`; then ask"
            " the provider. Codes may run out before they arrive."
        )
        yield key.raised(at, sentence, advice)


def credit_low(snapshot: Snapshot, settings: Settings) -> Iterator[Alarm]:
    """Raise where less credit is left than the last 24 hours used."""
    for series in sorted({*known_series(snapshot, settings), *snapshot.credits}):
        key, balance = AlarmKey("credit_low", *series), snapshot.credits.get(series)
        if balance is None:
            yield key.not_known("No answer to a send call told what is left.")
            continue
        day = snapshot.between(series, hour_begins(snapshot.now) - DAY, snapshot.now)
        used = Decimal(day["credit"]) / TEN_THOUSANDTHS
        sentence = f"{balance.remaining:f} credit is left; the last 24 hours used {used:f}."
        if balance.remaining > 0 and day.accepted < settings.alarm_messages:
            yield key.not_known(f"{sentence} That is too little to go by.")
        elif balance.remaining > 0 and balance.remaining >= used:
            yield key.clear(sentence)
        else:
            yield key.raised(balance.seen_at, sentence, "Buy credit: without it nothing is sent.")


def _compared(
    series: SeriesKey, snapshot: Snapshot, settings: Settings
) -> tuple[datetime, HourCounts, HourCounts]:
    """Return an hour that has nearly ended, its figures, and those of the same hour before."""
    at = hour_begins(snapshot.now) - COMPARED_AFTER
    hours = snapshot.hours.get(series, {})
    before = (hours.get(at - n * DAY, HourCounts()) for n in range(1, settings.alarm_days + 1))
    return at, add([hours.get(at, HourCounts())]), add(before)


def _too_few(few: int, noun: str, at: datetime, settings: Settings) -> str:
    return (
        f"{count(few, noun)} in the hour from {shown(at, settings.timezone)} on, or in this hour"
        f" of the last {settings.alarm_days} days; {settings.alarm_messages} are needed."
    )


def known_series(snapshot: Snapshot, settings: Settings) -> list[SeriesKey]:
    """Return the providers and accounts that messages are sent with, and the providers set up."""
    used = set(snapshot.hours)
    idle = settings.receiving - {series.provider for series in used}
    return sorted(used | {SeriesKey(name) for name in idle})


def _step(seconds: int | None) -> str:
    """Return a step of the histogram."""
    return "more than 30 hours" if seconds is None else duration(seconds)
