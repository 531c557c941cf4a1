"""Alarms about what comes in: whether it is matched, readable, known, on time, and worked off.

Rules as in deliveries.py. A report is given some minutes for its message to be recorded.
"""

from __future__ import annotations

import re
from collections import Counter
from datetime import datetime, timedelta
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from receiver.display import count, duration
from receiver.domain import HOUR, AlarmKey, Status
from receiver.ingest import Interpreter, line, words
from receiver.monitoring.alarms.snapshot import DAY, Matched
from receiver.providers import DATE_ALONE, FAR, NO_FORM, UNCERTAIN, form, parse_time, why_not
from receiver.statistics import REMEDIES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Row

    from receiver.domain import Alarm
    from receiver.monitoring.alarms.snapshot import Snapshot
    from receiver.settings import Settings


GRACE: Final = timedelta(minutes=10)
"""How long a message may be recorded after its report came."""
HALF_HOUR: Final = timedelta(minutes=30)
"""What the offsets of all time zones are multiples of, but for a few of small places."""
ZONE_TOLERANCE: Final = timedelta(minutes=10)
"""How far from a multiple of HALF_HOUR a zone's mistake may seem: reports take their time."""
MAX_WAITING: Final = timedelta(hours=3)
"""The age of a message up to which it counts as waiting for its report."""
MIN_WAITING_SHARE: Final = 0.5
MIN_ALIKE_SHARE: Final = 0.8
"""The share of the reports that must be about as far off as the others for a constant offset."""
COUNTS: Final = ("reports", "unmatched")
MAX_LISTED: Final = 10
"""The words or forms that an alarm lists, at most."""
MAX_WORD_LENGTH: Final = 40
"""The characters of a word that may be listed, at most; nothing longer is one."""

_TIME_REMEDIES: Final = {
    DATE_ALONE: "Ask the provider to send the time with the date.",
    FAR: "Where it lies long after it came, set the clock of this machine, or tell the provider.",
    UNCERTAIN: "Where it may mean several times, ask the provider for another form.",
    NO_FORM: "Tell who maintains the receiver of a form that is not known; after the update, run"
    " `receiver rebuild`.",
}

_OFFSET: Final = re.compile(r"(Z|[+-][0-9]{2}:?[0-9]{2})$", re.IGNORECASE)
_UNIX: Final = re.compile(r"[0-9]{10}([0-9]{3})?")
_NUMBER: Final = re.compile(r"[0-9]{6}")


def refused_while_waiting(snapshot: Snapshot, settings: Settings) -> Iterator[Alarm]:
    """Raise where callbacks are turned away while messages wait for their report."""
    enough = settings.alarm_messages
    for provider in providers(snapshot, settings):
        key = AlarmKey("refused_while_waiting", provider)
        refused = snapshot.refused.get(provider)
        if not refused:
            yield key.clear("No callback was turned away in the last hour.")
            continue
        newest = snapshot.waits(
            provider, snapshot.now - MAX_WAITING, snapshot.now - GRACE, 2 * enough
        )
        why = ", ".join(f"{reason}: {times}" for reason, times in sorted(refused.items()))
        fact = f"{count(sum(refused.values()), 'callback')} turned away in the last hour ({why})"
        if len(newest) < enough:
            yield key.not_known(f"{fact}; too few messages were sent to see whether they wait.")
        elif (waiting := sum(newest)) < max(enough, len(newest) * MIN_WAITING_SHARE):
            yield key.clear(f"{fact}, but messages do not wait for reports.")
        else:
            remedies = " ".join(f"{reason}: {REMEDIES[reason]}." for reason in sorted(refused))
            yield key.raised(
                snapshot.now - HOUR,
                f"{fact}, while {waiting} of the last {len(newest)} messages wait for a report.",
                f"{remedies} `SELECT * FROM refusal ORDER BY last_at DESC` says who called.",
            )


def unmatched_risen(snapshot: Snapshot, settings: Settings) -> Iterator[Alarm]:
    """Raise where more of an hour's reports find no message than at this time on other days.

    Never for a provider that no message was ever recorded for.
    """
    until = snapshot.now - GRACE
    for provider in providers(snapshot, settings):
        key = AlarmKey("unmatched_risen", provider)
        if provider not in snapshot.recorded:
            yield key.not_known("No message was ever recorded for this provider.")
            continue
        now = snapshot.matched(until).get(provider, Matched())
        before = [
            snapshot.matched(until - n * DAY).get(provider, Matched())
            for n in range(1, settings.alarm_days + 1)
        ]
        reports, unmatched = (sum(getattr(day, name) for day in before) for name in COUNTS)
        if (few := min(now.reports, reports)) < settings.alarm_messages:
            yield key.not_known(
                f"{count(few, 'report')} in an hour, or at this time of the last"
                f" {settings.alarm_days} days; {settings.alarm_messages} are needed."
            )
            continue
        share, usual = now.unmatched / now.reports, unmatched / reports
        sentence = f"{share:.0%} of the last reports belong to no message; usual is {usual:.0%}."
        if now.first is None or share < usual + settings.alarm_unmatched_rise:
            yield key.clear(sentence)
            continue
        advice = (
            "See whether what is sent is still recorded, with the ids the provider answered:"
            " compare `SELECT * FROM unmatched_report ORDER BY received_at DESC LIMIT 20` with"
            " `sent_message`. What is recorded later is matched then."
        )
        yield key.raised(now.first, sentence, advice)


def unreadable_callbacks(snapshot: Snapshot, settings: Settings) -> Iterator[Alarm]:
    """Raise where callbacks of the last day could not be read, or not all that is in them."""
    for provider in providers(snapshot, settings):
        key = AlarmKey("unreadable_callbacks", provider)
        row = snapshot.unreadable.get(provider)
        if row is not None:
            yield key.raised(
                row.first,
                f"{count(row.callbacks, 'callback')} of the last 24 hours cannot be read, or not"
                " in all parts. They are kept.",
                "`receiver callbacks --outcome unreadable,partial` lists them, `receiver callbacks"
                " show ID` shows one. After a fix or an update, run `receiver replay`.",
            )
        elif snapshot.has_callbacks:
            yield key.clear("All callbacks of the last 24 hours could be read.")
        else:
            yield key.not_known("No callback was received yet.")


def unreadable_not_whole(snapshot: Snapshot, settings: Settings) -> Iterator[Alarm]:
    """Raise where an account sent so much that cannot be read that only heads of it are kept."""
    shortened = dict(snapshot.shortened)
    for provider in providers(snapshot, settings):
        accounts = sorted(account for name, account in shortened if name == provider)
        for account in accounts:
            row = shortened[provider, account]
            yield AlarmKey("unreadable_not_whole", provider, account).raised(
                row.first,
                f"{count(row.callbacks, 'callback')} of the last 24 hours that cannot be read,"
                f" {int(row.size) // 1_000_000} MB together, were more than a day keeps whole.",
                "`SELECT remote_addr, count(*) FROM callback WHERE body_size IS NOT NULL GROUP BY"
                " remote_addr` says who sends them. If it is not the provider, its token is known"
                " to somebody: set another. If it is, have it send them again once they can be"
                " read, and raise RECEIVER_MAX_UNREADABLE_BYTES.",
            )
        if not accounts:
            key = AlarmKey("unreadable_not_whole", provider)
            if snapshot.has_callbacks:
                yield key.clear("Every callback of the last 24 hours is kept whole.")
            else:
                yield key.not_known("No callback was received yet.")


def unknown_words(snapshot: Snapshot, settings: Settings) -> Iterator[Alarm]:
    """Raise where reports of the last day use words we do not know; list them."""
    interpreter = Interpreter.from_settings(settings)
    for provider in providers(snapshot, settings):
        key = AlarmKey("unknown_words", provider)
        rows = [row for row in snapshot.unknown_words if row.provider == provider]
        counts = Counter(row.provider_status.lower() for row in rows)
        unknown = words(
            [(provider, word, number) for word, number in counts.most_common()],
            interpreter.statuses,
            settings.status_map,
        )
        if not unknown:
            sentence = "All words of reports of the last 24 hours are known."
            yield _none_unknown(key, snapshot, sentence)
            continue
        texts = {word.word for word in unknown}
        first = min(row.received_at for row in rows if row.provider_status.lower() in texts)
        new = [word for word in unknown if word.status is Status.UNKNOWN]
        shown_ = [line(word) for word in new if _is_word(word.word)][:MAX_LISTED]
        sentence = (
            f"Reports of the last 24 hours use {count(len(unknown), 'word')} that nobody knows."
        )
        if not new:
            advice = "They have a meaning by now: run `receiver rebuild`."
        else:
            advice = (
                "Put this into the file that RECEIVER_STATUS_MAP names, with what each word means"
                " (`receiver report` says which words may stand there), restart `receiver serve`"
                f" and run `receiver rebuild`:\n[{provider}]\n" + "\n".join(shown_)
            )
            if len(shown_) < len(new):
                advice += "\n# `receiver report` lists the others"
        yield key.raised(first, sentence, advice)


def _none_unknown(key: AlarmKey, snapshot: Snapshot, sentence: str) -> Alarm:
    if snapshot.has_callbacks:
        return key.clear(sentence)
    return key.not_known("No callback was received yet.")


def _is_word(text: str) -> bool:
    """Say whether it may be listed: what holds a number may be somebody's."""
    return len(text) <= MAX_WORD_LENGTH and not _NUMBER.search(text)


def unreadable_times(snapshot: Snapshot, settings: Settings) -> Iterator[Alarm]:
    """Raise where reports of the last day have times that cannot be read; list their forms.

    Their statuses are right, but when it was delivered, and how long that took, is missing.
    """
    zone = settings.timezone
    for provider in providers(snapshot, settings):
        key, times = (
            AlarmKey("unreadable_times", provider),
            snapshot.unreadable_times.get(provider, ()),
        )
        if not times:
            sentence = "Every time in reports of the last 24 hours can be read."
            yield _none_unknown(key, snapshot, sentence)
            continue
        forms = Counter(
            (form(text), why_not(text, zone, arrived))
            for text, arrived in times
            if parse_time(text, zone, arrived) is None
        )
        yield key.raised(
            min(arrived for _, arrived in times),
            f"{count(len(times), 'time')} in reports of the last 24 hours cannot be read.",
            _forms_advice(forms) if forms else "They can be by now: run `receiver rebuild`.",
        )


def _forms_advice(forms: Counter[tuple[str, str]]) -> str:
    """List the forms, and say what to do about each reason."""
    reasons = {why for _, why in forms}
    listed = [f"{shape}  # {why}; times: {n}" for (shape, why), n in forms.most_common(MAX_LISTED)]
    remedies = [words for why, words in _TIME_REMEDIES.items() if why in reasons]
    more = ["# and others"] if len(forms) > MAX_LISTED else []
    return "\n".join(
        [" ".join([*remedies, "They are (9 is a digit, A a letter):"]), *listed, *more]
    )


def clock_or_zone(snapshot: Snapshot, settings: Settings) -> Iterator[Alarm]:
    """Raise where reports say that they were delivered later than now, or hours before they came.

    A constant difference of whole half hours is a time zone; any other into the future a clock.
    """
    for provider in providers(snapshot, settings):
        key = AlarmKey("clock_or_zone", provider)
        rows = snapshot.timed.get(provider, [])
        if len(rows) < settings.alarm_messages:
            yield key.not_known(
                f"{count(len(rows), 'report')} with a time in an hour;"
                f" {settings.alarm_messages} are needed."
            )
            continue
        yield _clock(key, rows, settings)


def _clock(key: AlarmKey, rows: Sequence[Row[Any]], settings: Settings) -> Alarm:
    """Compare the provider's times with when its reports came."""
    ahead = [row.done_at - row.received_at for row in rows]
    middle = median(ahead)
    off = round(middle / HALF_HOUR) * HALF_HOUR
    alike = sum(abs(each - off) <= ZONE_TOLERANCE for each in ahead)
    since = min(row.received_at for row in rows)
    if abs(off) > HALF_HOUR and alike >= MIN_ALIKE_SHARE * len(ahead):
        return key.raised(
            since,
            f"The times in reports of {key.provider} are {_hours(off)}"
            f" {'ahead of' if off > timedelta() else 'behind'} the time they come: another time"
            " zone.",
            _zone_advice(rows, off, settings),
        )
    if middle > timedelta(seconds=settings.alarm_clock_seconds):
        return key.raised(
            since,
            f"Reports of {key.provider} tell of deliveries that are"
            f" {duration(middle.total_seconds())} in the future: a clock is wrong.",
            "Set the clock of this machine (`timedatectl`); if it is right, the provider's is"
            " wrong: tell them.",
        )
    return key.clear("The times in reports agree with when they come.")


def _hours(off: timedelta) -> str:
    return f"{abs(off) / timedelta(hours=1):g} hours"


def _zone_advice(rows: Sequence[Row[Any]], off: timedelta, settings: Settings) -> str:
    """Name the setting, where it is one: a time that names its offset is read as it says."""
    times = [row.provider_time or "" for row in rows]
    if all(_OFFSET.search(time) or _UNIX.fullmatch(time) for time in times):
        return (
            "The times name their offset, so no setting is wrong: ask the provider, or set the"
            " clock of this machine."
        )
    zone = settings.timezone.utcoffset(datetime.now()) or timedelta()  # noqa: DTZ005
    right = zone + off
    sign = "+" if right >= timedelta() else "-"
    hours, minutes = divmod(int(abs(right).total_seconds()) // 60, 60)
    offset = f"UTC{sign}{hours}" + (f":{minutes:02}" if minutes else "")
    named = {7: " (such as Asia/Bangkok)", 0: " (UTC)"}.get(right // timedelta(hours=1), "")
    return (
        f"RECEIVER_TIMEZONE is {settings.timezone}; these times seem to be {offset}{named}. If that"
        " is so of all providers, set it, restart `receiver serve`, and run `receiver rebuild`."
    )


def settling_behind(snapshot: Snapshot, settings: Settings) -> Iterator[Alarm]:
    """Raise where rows wait longer to be settled than they should."""
    key, waiting = AlarmKey("settling_behind"), snapshot.waiting
    age, rows = waiting.oldest_seconds, waiting.messages + waiting.reports
    if age is None or age <= settings.alarm_settling_seconds:
        wait = "waits" if rows == 1 else "wait"
        yield key.clear(f"{count(rows, 'row')} {wait} to be settled, none for long.")
        return
    yield key.raised(
        snapshot.now - timedelta(seconds=age),
        f"{count(rows, 'row')} wait to be settled, the oldest for {duration(age)}: statuses are"
        " behind.",
        "See that `receiver serve` runs and what its log says (`settling failed`). After a"
        " `rebuild` or a large import this ends by itself.",
    )


def spool_not_empty(snapshot: Snapshot, settings: Settings) -> Iterator[Alarm]:  # noqa: ARG001
    """Raise where a process found something in its spool, or cannot use it."""
    key, spools = AlarmKey("spool_not_empty"), snapshot.spools
    if not spools and snapshot.is_evaluated:
        yield key.clear("No spool holds anything.")
    elif not spools:
        yield key.not_known("No receiver has looked at its spool in the last minutes.")
    else:
        yield key.raised(
            min(row.seen_at for row in spools),
            "Not all that came is in the database. " + " ".join(map(_spool, spools)),
            "Look at the database, the disk and the log of that receiver. What waits is brought in"
            " when the database is back, and what it refuses is tried again every minute; damaged"
            " files are taken in with `receiver receive --spool`.",
        )


def _spool(row: Row[Any]) -> str:
    facts = (
        (row.callbacks, "{} waiting"),
        (row.refused, "{} refused by the database"),
        (row.set_aside, "damaged files beside it: {}"),
        (row.trouble, "{}"),
    )
    words = ", ".join(words.format(value) for value, words in facts if value)
    return f"{row.place}: {words.removesuffix('.')}."


def providers(snapshot: Snapshot, settings: Settings) -> list[str]:
    """Return the providers that can get in, and those that messages were recorded for."""
    return sorted(settings.receiving | snapshot.recorded)
