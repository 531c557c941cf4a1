"""Times as providers write them: every form, and which of several readings is meant."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Final
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from receiver.providers import times

BANGKOK: Final = ZoneInfo("Asia/Bangkok")
ARRIVED: Final = datetime(2026, 11, 28, 13, 15, tzinfo=UTC)
SAME: Final = datetime(2026, 11, 28, 13, 10, tzinfo=UTC)
"""20:10 in Bangkok, five minutes before."""
HALF: Final = SAME + timedelta(seconds=0.5)


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type,misc]


def unix(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def read(text: str | None, arrived: datetime = ARRIVED, zone: Any = BANGKOK) -> datetime | None:
    return times.parse_time(text, zone, arrived)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2019-05-27T14:40:09.44", "2019-05-27T07:40:09.440000+00:00"),
        ("2019-05-27T14:39:40.273", "2019-05-27T07:39:40.273000+00:00"),
        ("2019-05-27T14:40:09", "2019-05-27T07:40:09+00:00"),
        ("2019-05-27 14:40:09", "2019-05-27T07:40:09+00:00"),
        ("2019-05-27T14:40:09Z", "2019-05-27T14:40:09+00:00"),
        ("2019-05-27T14:40:09+07:00", "2019-05-27T07:40:09+00:00"),
        ("2019-05-27T14:40:09+0700", "2019-05-27T07:40:09+00:00"),
        ("2019-05-27 14:40:09.5-0330", "2019-05-27T18:10:09.500000+00:00"),
        ("2019-05-27T14:40:09.1", "2019-05-27T07:40:09.100000+00:00"),
        ("2019-05-27T14:40:09.123456789", "2019-05-27T07:40:09.123000+00:00"),
        ("2019-05-27T14:40:09.9999999Z", "2019-05-27T14:40:09.999000+00:00"),
        ("20190527144009", "2019-05-27T07:40:09+00:00"),
        ("1558942809", "2019-05-27T07:40:09+00:00"),
        ("1558942809044", "2019-05-27T07:40:09.044000+00:00"),
        (" 1558942809\n", "2019-05-27T07:40:09+00:00"),
        ("2000-01-01T07:00:00", "2000-01-01T00:00:00+00:00"),
        ("27/05/2019 14:40:09", "2019-05-27T07:40:09+00:00"),
        ("05/06/2019 14:40:09", "2019-06-05T07:40:09+00:00"),  # the day first, as Thais write
        ("2562-05-27T14:40:09", "2019-05-27T07:40:09+00:00"),
        ("1905271440", "2019-05-27T07:40:00+00:00"),  # as Unix seconds it is in 2030
    ],
)
def test_a_time_of_long_ago(text: str, expected: str) -> None:
    time = read(text)

    assert time is not None
    assert time.isoformat() == expected
    assert time.tzinfo is UTC


# Each is a way that a tool, a language or a telco writes 20:10 of 28 November 2026 in Bangkok.
@pytest.mark.parametrize(
    "text",
    [
        "2611282010", "261128201000", "202611282010", "20261128201000", "20261128201000.123",
        "6911282010", "25691128201000", "256911282010", "691128201000",
        "2026-11-28T20:10:00+07", "2026-11-28 20:10:00 +0700", "2026-11-28 20:10:00 +07:00",
        "2026-11-28T20:10:00+7", "2026-11-28T20:10:00 07:00", "2026-11-28T20:10:00 0700",
        "2026-11-28T20:10:00 07", "2026-11-28T20:10:00.5 07:00", "2026-11-28T20:10:00,5",
        "2026-11-28T20:10", "2026-11-28 20:10", "2026-11-28T20:10+07:00", "2026-11-28T13:10Z",
        "2026-11-28t20:10:00", "2026-11-28+20:10:00", "2026-11-28  20:10:00",
        "2026/11/28 20:10:00", "2026.11.28 20:10", "2026-11-28 13:10:00 UTC",
        "2026-11-28T13:10:00z", "2026-11-28 13:10:00 GMT",
        "1795871400", "1795871400.0", "1795871400.5", "1795871400,5", "1795871400.123456",
        "1795871400000", "1795871400000.0", "1795871400500123", "1795871400500123456",
        "28/11/2026 20:10:00", "28/11/2026 20:10", "28-11-2026 20:10:00", "28.11.2026 20:10:00",
        "28/11/2026, 20:10:00", "28/11/2569 20:10:00", "28/11/2569, 20:10:00",
        "2569-11-28T20:10:00", "2569-11-28 20:10", "28/11/2026 8:10 PM", "28/11/2026 08:10:00 p.m.",
        "11/28/2026 8:10:00 PM", "11/28/2026 20:10", "28/11/26 20:10", "28/11/69 20:10",
        "26/11/28 20:10:00", "28-Nov-2026 20:10:00", "28 November 2026 20:10",
        "Sat, 28 Nov 2026 20:10:00 +0700", "28-NOV-2569 20:10:00", "20261128T201000",
        "20261128T131000Z", "20261128T201000+0700", "20261128201000 +0700",
    ],
)  # fmt: skip
def test_one_time_in_many_ways(text: str) -> None:
    time = read(text)

    assert time is not None
    assert SAME <= time <= HALF
    assert time.tzinfo is UTC


@pytest.mark.parametrize(
    "text",
    [
        None, "", " ", "0", "soon", "xxxxxxxxxx", "NaN", "-1558942809", "+1558942809",
        "2019-05-27", "20190527", "27/05/2019", "27 May 2019", "2562-05-27", "2019-W22-1",
        "2019-147", "2019-05-27T14", "2019-05-27x14:40:09", "2019-05-27T14:40:09.",
        "2019-05-27T14:40:09 ICT", "2019-05-27T14:40:09.1234567890", "2019/05-27 14:40",
        "2019-02-29T00:00:00", "2019-13-01T00:00:00", "2019-05-27T25:00:00", "2019-05-27T14:60:00",
        "2019-05-27T14:40:60", "2019-05-27T14:40:09+29:00", "2019-05-27T14:40:09+14:30",
        "2019-05-27T14:40 30", "20190229000000", "20191301000000", "29/02/2019 10:00",
        "0001-01-01T00:00:00", "1999-12-31T23:59:59", "2100-01-01T00:00:00", "99999-01-01T00:00:00",
        "19991231235959", "0946684799", "9999999999", "4102444800", "9999999999999", "0000000000",
        "2000-01-01T00:00:00+07:00", "2099-12-31T23:59:59-07:00", "9" * 10000, "1" * 11,
        "๒๐๑๙-๐๕-๒๗T๑๔:๔๐:๐๙", "๑๕๕๘๙๔๒๘๐๙", "1558942809\x00", "2019-05-27T14:40:09\ud800",
        "2019-05-27T24:00:00", "27/05/2019 13:40 PM", "27/05/2019 0:40 AM", "2643-01-01T00:00:00",
        "2542-01-01T00:00:00", "27/05/19 14:40", "0000-00-00 00:00:00", "1970-01-01 07:00:00",
    ],
)  # fmt: skip
def test_no_time(text: str | None) -> None:
    assert read(text) is None


@pytest.mark.parametrize(
    ("text", "arrived", "expected"),
    [
        # Digits that are Unix seconds and a date as SMPP receipts have it, each in its time.
        ("2611282010", ARRIVED, SAME),
        ("2611282010", utc(2052, 10, 2), unix(2611282010)),
        ("1611282010", utc(2021, 1, 22), unix(1611282010)),
        ("1611282010", utc(2016, 11, 29), utc(2016, 11, 28, 13, 10)),
        ("1611282010", ARRIVED, None),  # of either year: it cannot be known
        ("2611282010", utc(2025, 1, 1), None),  # later than it came, in either
        # The month first counts only where it is near.
        ("12/06/2026 10:00", utc(2026, 12, 6, 3, 1), utc(2026, 12, 6, 3)),
        ("12/06/2026 10:00", utc(2026, 6, 12, 3, 1), utc(2026, 6, 12, 3)),
        ("12/06/2026 10:00", utc(2027, 6, 12), utc(2026, 6, 12, 3)),
        # Twelve digits, with a century or with seconds.
        ("201212111009", utc(2012, 12, 11, 4), utc(2012, 12, 11, 3, 9)),
        ("201212111009", utc(2020, 12, 12, 5), utc(2020, 12, 12, 4, 10, 9)),
        ("201212111009", ARRIVED, None),
        # A clock or a zone is hours off, not weeks.
        ("2026-12-05 20:14:59", ARRIVED, ARRIVED + timedelta(days=7, seconds=-1)),
        ("2026-12-05 20:15:01", ARRIVED, None),
        ("2052-11-28 20:10:00", ARRIVED, None),
    ],
)  # fmt: skip
def test_of_several_readings_the_believable_one(
    text: str, arrived: datetime, expected: datetime | None
) -> None:
    assert read(text, arrived) == expected


ZONES: Final = st.sampled_from([UTC, BANGKOK, ZoneInfo("America/St_Johns"), ZoneInfo("Etc/GMT+12")])
MOMENTS: Final = st.datetimes(datetime(2000, 1, 2), datetime(2099, 12, 30)).map(  # noqa: DTZ001
    lambda time: time.replace(tzinfo=UTC)
)
TOOK: Final = st.timedeltas(timedelta(hours=-14), timedelta(days=3))


@given(MOMENTS, ZONES, st.integers(-14 * 60, 14 * 60), TOOK)
def test_every_way_to_write_a_moment(
    moment: datetime, zone: Any, minutes: int, took: timedelta
) -> None:
    whole = moment.replace(microsecond=0)
    exact = moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    minute = whole.replace(second=0)
    offset = moment.astimezone(timezone(timedelta(minutes=minutes)))
    seconds = int(whole.timestamp())
    arrived = moment + took

    assert read(offset.isoformat(), arrived, zone) == exact
    assert read(offset.isoformat(" ", "milliseconds"), arrived, zone) == exact
    assert read(moment.isoformat().replace("+00:00", "Z"), arrived, zone) == exact
    assert read(offset.isoformat().replace("+", " "), arrived, zone) == exact
    assert read(offset.strftime("%Y-%m-%dT%H:%M:%S%z"), arrived, zone) == whole
    assert read(offset.strftime("%d %b %Y %H:%M:%S %z"), arrived, zone) == whole
    if seconds >= 10**9:
        assert read(str(seconds), arrived, zone) == whole
        assert read(str(seconds) + exact.strftime("%f")[:3], arrived, zone) == exact
        assert read(f"{seconds}.{moment:%f}", arrived, zone) == exact
    local = whole.astimezone(zone)
    assume(local.fold == 0)  # the first of two hours with one name, where a zone has them
    assert read(local.strftime("%Y-%m-%d %H:%M:%S"), arrived, zone) == whole
    assert read(local.strftime("%Y%m%d%H%M%S"), arrived, zone) == whole
    assert read(local.strftime("%d/%m/%Y %H:%M:%S"), arrived, zone) == whole
    assert read(local.strftime("%m/%d/%Y %I:%M:%S %p"), arrived, zone) == whole
    assert read(local.strftime("%y%m%d%H%M%S"), arrived, zone) == whole
    assert read(local.strftime("%y%m%d%H%M"), arrived, zone) == minute
    assert read(local.strftime("%Y-%m-%d %H:%M"), arrived, zone) == minute
    thai = f"{local.year + 543}"
    assert read(local.strftime(f"%d/%m/{thai} %H:%M:%S"), arrived, zone) == whole
    assert read(local.strftime(f"{thai}%m%d%H%M%S"), arrived, zone) == whole
    if thai < "2600":
        assert read(local.strftime(f"{thai[2:]}%m%d%H%M"), arrived, zone) == minute


@given(
    st.text()
    | st.from_regex(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9:.+\-Z]{0,16}", fullmatch=True)
    | st.text("0123456789", max_size=22)
    | st.text("0123456789/-.:, +TZapm", max_size=30),
    st.datetimes().map(lambda time: time.replace(tzinfo=UTC)),
)
def test_any_text_is_a_time_of_this_century_or_none_with_a_reason(
    text: str, arrived: datetime
) -> None:
    time = read(text, arrived)

    if time is None:
        assert times.why_not(text, BANGKOK, arrived)
    else:
        assert 2000 <= time.year <= 2099
        assert time.microsecond % 1000 == 0
        assert time - arrived <= times.NEAR


@pytest.mark.parametrize(
    ("text", "reason", "form"),
    [
        ("2026-11-28", times.DATE_ALONE, "9999-99-99"),
        ("28/11/2569", times.DATE_ALONE, "99/99/9999"),
        ("28 Nov 2026", times.DATE_ALONE, "99 AAA 9999"),
        ("20261128", times.DATE_ALONE, "99999999"),
        ("2052-11-28 20:10:00", times.FAR, "9999-99-99 99:99:99"),
        ("4000000000", times.FAR, "9999999999"),
        ("1611282010", times.UNCERTAIN, "9999999999"),
        ("สิบโมง to 0812345678", times.NO_FORM, "AAAAAA AA 9999999999"),
        ("x" * 50, times.NO_FORM, "A" * 40),
        ("1\x1b[31m2\u202e", times.NO_FORM, "9?[99A9A"),
    ],
)  # fmt: skip
def test_why_a_time_is_none_and_its_form(text: str, reason: str, form: str) -> None:
    assert read(text) is None
    assert times.why_not(text, BANGKOK, ARRIVED) == reason
    assert times.form(text) == form
