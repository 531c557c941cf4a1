"""Times as providers write them, in UTC. Pure.

No provider says how it writes a time, but ANTS by its samples, so every form is read that has been
seen in this trade. Some digits are a time in more than one form: `2611282010` is 20:10 on 28
November 2026 as SMPP receipts have it, and an evening in 2052 as Unix seconds. Which of them is
meant is told by when the callback arrived.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from enum import Enum
from typing import TYPE_CHECKING, Final

from receiver.domain import YEARS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


NEAR: Final = timedelta(days=7)
"""How far from its arrival what a callback tells of is believable: providers repeat a callback for
hours, messages live for days, and a wrong zone is hours off. What is later is no time at all."""
_CALENDAR: Final = range(1999, 2101)  # an offset may lead into or out of a year
BUDDHIST: Final = 543
"""What Thai calendars are ahead of others, in years: 2569 is 2026."""
MAX_OFFSET: Final = timedelta(hours=14)
MAX_TIME: Final = 64
"""Characters of the longest form, and more."""
DATE_ALONE: Final = "a date without a time"
FAR: Final = "long after it came"
UNCERTAIN: Final = "it may mean several times"
NO_FORM: Final = "in no form that is known"


class _Weight(Enum):
    """What a reading in a form counts for."""

    ALONE = "no other form can have these characters"
    ALSO = "other forms may have them, too"
    NEAR = "the same, and this one counts only where it is near the arrival"


_MONTHS: Final = (
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"
)  # fmt: skip

_YMD: Final = r"(?P<year>[0-9]{4})(?P<_>[-/.])(?P<month>[0-9]{1,2})(?P=_)(?P<day>[0-9]{1,2})"
_DMY: Final = r"(?P<day>[0-9]{1,2})(?P<_>[-/.])(?P<month>[0-9]{1,2})(?P=_)(?P<year>[0-9]{4})"
_MDY: Final = r"(?P<month>[0-9]{1,2})(?P<_>[-/.])(?P<day>[0-9]{1,2})(?P=_)(?P<year>[0-9]{4})"
_DM2: Final = r"(?P<day>[0-9]{1,2})(?P<_>[-/.])(?P<month>[0-9]{1,2})(?P=_)(?P<year>[0-9]{2})"
_2MD: Final = r"(?P<year>[0-9]{2})(?P<_>[-/.])(?P<month>[0-9]{1,2})(?P=_)(?P<day>[0-9]{1,2})"
_NAMED: Final = (
    r"(?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]{0,6},? )?"
    rf"(?P<day>[0-9]{{1,2}})[- ](?P<name>{'|'.join(_MONTHS)})[a-z]{{0,6}}[- ](?P<year>[0-9]{{4}})"
)
_GAP: Final = r"(?:t|\+|,? {1,3})"  # a `+` of a URL that was escaped twice stands for a space
_CLOCK: Final = (
    r"(?P<hour>[0-9]{1,2}):(?P<minute>[0-9]{2})"
    r"(?::(?P<second>[0-9]{2})(?:[.,](?P<fraction>[0-9]{1,9}))?)?"
    r"(?: ?(?P<half>[ap])\.?m\.?)?"
)
# The `+` of an offset that was not escaped in a URL arrives as a space.
_OFFSET: Final = (
    r"(?: ?(?P<utc>z|utc|gmt)|(?: ?(?P<sign>[-+])| )(?P<ahead>[0-9]{1,2})"
    r"(?::?(?P<beyond>[0-5][0-9]))?)?"
)
_TIME: Final = _GAP + _CLOCK + _OFFSET
_DAY: Final = r"(?P<month>[01][0-9])(?P<day>[0-3][0-9])"
_HM: Final = r"(?P<hour>[0-2][0-9])(?P<minute>[0-5][0-9])"
_S: Final = r"(?P<second>[0-5][0-9])(?:[.,](?P<fraction>[0-9]{1,9}))?"

_FORMS: Final = tuple(
    (re.compile(form, re.IGNORECASE | re.ASCII).fullmatch, weight)
    for form, weight in (
        # ISO 8601 and its relatives; ANTS has it (documented).
        (_YMD + _TIME, _Weight.ALONE),
        # Unix seconds and milliseconds, as EngageLab's two generations have them (documented), and
        # finer.
        (r"(?P<epoch>[0-9]{10})(?:[.,](?P<fraction>[0-9]{1,9}))?", _Weight.ALSO),
        (
            r"(?P<epoch>[0-9]{10})(?P<fraction>[0-9]{3}(?:[0-9]{3}){0,2})(?:[.,][0-9]{1,9})?",
            _Weight.ALONE,
        ),
        (rf"(?P<year>[0-9]{{4}}){_DAY}t?{_HM}{_S}{_OFFSET}", _Weight.ALONE),
        (rf"(?P<year>[0-9]{{4}}){_DAY}t?{_HM}", _Weight.ALSO),
        # SMPP v3.4, appendix B; ThaiBulkSMS's older interface (seen).
        (rf"(?P<year>[0-9]{{2}}){_DAY}{_HM}", _Weight.ALSO),
        (rf"(?P<year>[0-9]{{2}}){_DAY}{_HM}{_S}", _Weight.ALSO),
        (_DMY + _TIME, _Weight.ALSO),  # as Thais write (inferred)
        (_NAMED + _TIME, _Weight.ALONE),  # RFC 5322, and databases (inferred)
        (_MDY + _TIME, _Weight.NEAR),
        (_DM2 + _TIME, _Weight.NEAR),
        (_2MD + _TIME, _Weight.NEAR),
    )
)
_DATES: Final = tuple(
    re.compile(form, re.IGNORECASE | re.ASCII)
    for form in (_YMD, _DMY, _NAMED, rf"(?:20|25)[0-9]{{2}}{_DAY}")
)


def parse_time(text: str | None, zone: tzinfo, arrived: datetime) -> datetime | None:
    """Return a provider's time in UTC, cut to whole milliseconds; None where it is none.

    `arrived` is when the callback came, aware. Of several readings the one counts that is within
    seven days of it; where none is, the only one before it. Read are ISO 8601 and what resembles
    it (any offset, without seconds, a comma before the fraction), day/month/year, Unix seconds
    with or without a fraction, Unix milliseconds and finer, `YYYYMMDDhhmmss` and `YYMMDDhhmm`,
    all with Buddhist years too. Without an offset it is in `zone`.

    None are a date alone, since midnight would be invented, a year outside 2000 to 2099, what is
    later than seven days after the arrival, and what has several meanings none of which is near.
    """
    return _believable(text, zone, arrived)[0]


def why_not(text: str, zone: tzinfo, arrived: datetime) -> str:
    """Say in a few words, and none of the text's, why `parse_time` returned None."""
    return _believable(text, zone, arrived)[1]


def form(text: str) -> str:
    """Return how a time is written: digits as 9, letters of any script as A; 40 at most."""
    return "".join(
        "9" if c.isdigit() else "A" if c.isalpha() or not c.isascii() else c if c >= " " else "?"
        for c in text.strip()[:40]
    )


def _believable(text: str | None, zone: tzinfo, arrived: datetime) -> tuple[datetime | None, str]:
    text = text.strip() if text else ""
    if len(text) > MAX_TIME:
        return None, NO_FORM
    readings = list(_readings(text, zone))
    if not readings:
        is_date = any(date.fullmatch(text) for date in _DATES)
        return None, DATE_ALONE if is_date else NO_FORM
    near = [time for time, _ in readings if -NEAR <= time - arrived <= NEAR]
    if near:
        return min(near, key=lambda time: abs(time - arrived)) if near[1:] else near[0], ""
    before = {time for time, weight in readings if time < arrived and weight is not _Weight.NEAR}
    if len(before) == 1:
        return before.pop(), ""
    is_far = not before and all(time > arrived for time, _ in readings)
    return None, FAR if is_far else UNCERTAIN


def _readings(text: str, zone: tzinfo) -> Iterator[tuple[datetime, _Weight]]:
    """Return each time in UTC that a text may be, and what that counts for."""
    for match_whole, weight in _FORMS:
        match = match_whole(text)
        if match is None:
            continue
        parts = match.groupdict("")
        for year in _years(parts.get("year", "")):
            try:
                time = _time(parts, year, zone)
            except ValueError:  # such as 31 February
                continue
            if time.year in YEARS:
                yield time, weight
        if weight is _Weight.ALONE:
            return


def _years(text: str) -> tuple[int, ...]:
    """Return the years of our era that a year may be; 0 where none is said."""
    if len(text) == 2:  # noqa: PLR2004
        return 2000 + int(text), 2500 + int(text) - BUDDHIST
    year = int(text or "0")
    return (year - BUDDHIST if year >= YEARS.start + BUDDHIST else year,)


def _time(parts: Mapping[str, str], year: int, zone: tzinfo) -> datetime:
    """Make the time in UTC of the parts of a form. Raises ValueError where there is none such."""
    microsecond = int((parts["fraction"] + "000")[:3]) * 1000 if parts.get("fraction") else 0
    if "epoch" in parts:
        return datetime.fromtimestamp(int(parts["epoch"]), UTC).replace(microsecond=microsecond)
    month = int(parts["month"]) if "month" in parts else _MONTHS.index(parts["name"].lower()) + 1
    hour = int(parts["hour"])
    if half := parts.get("half"):
        if not 1 <= hour <= 12:  # noqa: PLR2004
            raise ValueError("expected one of twelve hours")
        hour = hour % 12 + (12 if half in "pP" else 0)
    if year not in _CALENDAR:
        raise ValueError("expected a year of this century")
    day, minute, second = int(parts["day"]), int(parts["minute"]), int(parts.get("second") or "0")
    tz = _offset(parts) or zone
    return datetime(year, month, day, hour, minute, second, microsecond, tz).astimezone(UTC)


def _offset(parts: Mapping[str, str]) -> timezone | None:
    """Return the offset that a time names, if it does."""
    if parts.get("utc"):
        return UTC
    if not parts.get("ahead"):
        return None
    offset = timedelta(hours=int(parts["ahead"]), minutes=int(parts["beyond"] or "0"))
    if offset > MAX_OFFSET:
        raise ValueError("expected the offset of a time zone")
    return timezone(-offset if parts["sign"] == "-" else offset)
