"""The views' SQL: the questions people ask, as tables. docs/sql.md explains every column.

One text a view serves both databases; the few words they do not share stand in `PIECES`, and
`$word` in a view is where they go. Nothing newer than SQLite 3.31 is used. No view is made of
another: planners see the tables and their indexes at once. A WHERE that is worded as an index's
own (`status IN (…)`, `outcome <> 'read'`) is what lets SQLite use a partial index.
"""

from __future__ import annotations

from string import Template
from typing import TYPE_CHECKING, Final

from receiver.database.tables import ACTIVITIES, CREDITS, GROUPS, LAST_TIMES, STEPS
from receiver.domain import FAILED, FINAL, Status

if TYPE_CHECKING:
    from collections.abc import Iterable


def _words(*statuses: Status) -> str:
    return ", ".join(f"'{status}'" for status in statuses)


def _columns(alias: str, names: str) -> str:
    return ", ".join(f"{alias}.{name}" for name in names.split())


def _sqlite_milliseconds(start: str, end: str) -> str:
    # Whole seconds and the three digits: differences of `julianday` are not exact, and on SQLite
    # 3.31 it loses a millisecond of one time in a hundred, so that rounding is no cure (seen).
    return (
        f"(strftime('%s', {end}) - strftime('%s', {start})) * 1000"
        f" + substr({end}, 21, 3) - substr({start}, 21, 3)"
    )


def _postgresql_milliseconds(start: str, end: str) -> str:
    return f"round(extract(epoch FROM {end} - {start}) * 1000)"


# A delivery takes from the provider's own sending time where it gave one.
_TOOK: Final = ("coalesce(r.sent_at, m.sent_at)", "m.done_at")
_SQLITE_NOW: Final = "strftime('%Y-%m-%d %H:%M:%fZ', 'now')"
_POSTGRESQL_NOW: Final = "statement_timestamp()"


def _sqlite_hour(ago: str) -> str:
    return f"strftime('%Y-%m-%d %H:00:00', 'now', '+7 hours', '{ago}')"


def _postgresql_hour(ago: str) -> str:
    now = f"{_POSTGRESQL_NOW} AT TIME ZONE INTERVAL '7 hours'"
    return f"date_trunc('hour', {now} + INTERVAL '{ago}')"


# `now` is the clock when the statement began, the same for every row. Bangkok is UTC+7 all year:
# seven hours need no time zone tables and are three times as fast as its name (measured).
PIECES: Final[dict[str, dict[str, str]]] = {
    "sqlite": {
        "now": _SQLITE_NOW,
        "hour": "strftime('%Y-%m-%d %H:00:00', m.sent_at, '+7 hours')",
        "day": "date(m.sent_at, '+7 hours')",
        "last_hour": _sqlite_hour("-1 hour"),
        "last_day": _sqlite_hour("-1 day"),
        "last_quarter": _sqlite_hour("-90 days"),
        "instant": "TEXT",
        "a_while_ago": "strftime('%Y-%m-%d %H:%M:%fZ', 'now', '-10 minutes')",
        "long_before_sending": "strftime('%Y-%m-%d %H:%M:%fZ', m.sent_at, '-10 minutes')",
        "long_after_arrival": "strftime('%Y-%m-%d %H:%M:%fZ', r.received_at, '+10 minutes')",
        "days_before_arrival": "strftime('%Y-%m-%d %H:%M:%fZ', r.received_at, '-2 days')",
        "no_key": "CAST(NULL AS TEXT)",
        "took": _sqlite_milliseconds(*_TOOK),
        "age": _sqlite_milliseconds("m.sent_at", _SQLITE_NOW),
    },
    "postgresql": {
        "now": _POSTGRESQL_NOW,
        "hour": "date_trunc('hour', m.sent_at AT TIME ZONE INTERVAL '7 hours')",
        "day": "CAST(m.sent_at AT TIME ZONE INTERVAL '7 hours' AS DATE)",
        "last_hour": _postgresql_hour("-1 hour"),
        "last_day": _postgresql_hour("-1 day"),
        "last_quarter": _postgresql_hour("-90 days"),
        "instant": "TIMESTAMP(3) WITH TIME ZONE",
        "a_while_ago": f"{_POSTGRESQL_NOW} - INTERVAL '10 minutes'",
        "long_before_sending": "m.sent_at - INTERVAL '10 minutes'",
        "long_after_arrival": "r.received_at + INTERVAL '10 minutes'",
        "days_before_arrival": "r.received_at - INTERVAL '48 hours'",
        "no_key": "CAST(NULL AS UUID)",
        "took": _postgresql_milliseconds(*_TOOK),
        "age": _postgresql_milliseconds("m.sent_at", _POSTGRESQL_NOW),
    },
}

CALLBACK: Final = (
    "id provider account received_at remote_addr method query content_type redacted outcome error"
    " report_count repeats digest erased_at"
)
DELIVERY_REPORT: Final = (
    "id callback_id position provider account transaction_id message_id recipient sender"
    " provider_status provider_code provider_description provider_time provider_sent_time"
    " provider_recipient credit callback_data received_at digest repeats status done_at sent_at"
    " sent_message_id settled_at erased_at"
)
SENT_MESSAGE: Final = (
    "id provider account transaction_id message_id recipient sender tag reference credit sent_at"
    " recorded_at error refusal_key status done_at report_id conflicting changed_at settled_at"
    " template_id erased_at"
)

UNFINISHED_WORDS: Final = _words(*(status for status in Status if status not in FINAL))
FAILED_WORDS: Final = _words(*FAILED)

# Seven counts; every message is in the first and in one of the others. A message that is scheduled
# for later (sent_at after now) is in no figure before its time.
COUNTS: Final = f"""count(*) AS submitted,
    count(*) FILTER (WHERE m.report_id IS NULL AND m.error IS NOT NULL) AS refused,
    count(*) FILTER (WHERE m.report_id IS NOT NULL AND m.status = 'delivered') AS delivered,
    count(*) FILTER (WHERE m.report_id IS NOT NULL AND m.status IN ({FAILED_WORDS})) AS failed,
    count(*) FILTER (WHERE m.report_id IS NOT NULL AND m.status IN ('accepted', 'enroute'))
        AS pending,
    count(*) FILTER (WHERE m.report_id IS NOT NULL AND m.status = 'unknown') AS unknown,
    count(*) FILTER (WHERE m.report_id IS NULL AND m.error IS NULL) AS silent"""

STATUS_COLUMNS: Final = f"""{_columns("m", SENT_MESSAGE)},
    m.status IN ({_words(*FINAL)}) OR (m.error IS NOT NULL AND m.report_id IS NULL) AS final,
    r.provider_status, r.provider_code, r.provider_description,
    (SELECT count(*) FROM delivery_report c WHERE c.sent_message_id = m.id) AS report_count,
    CASE WHEN m.status = 'delivered' AND m.done_at >= coalesce(r.sent_at, m.sent_at)
        THEN CAST($took AS DOUBLE PRECISION) / 1000 END AS delivery_seconds"""

DELIVERY_RATE: Final = """CAST(count(*) FILTER (
        WHERE m.report_id IS NOT NULL AND m.status = 'delivered') AS DOUBLE PRECISION)
    / nullif(count(*) FILTER (WHERE m.report_id IS NOT NULL OR m.error IS NULL), 0)
        AS delivery_rate"""


def _credit(column: str, known: str, name: str) -> str:
    """Return a sum of ten-thousandths as a credit; NULL where of no message it is known."""
    return f"CASE WHEN d.{known} > 0 THEN round(d.{column} / 10000.0, 4) END AS {name}"


# What became of the messages of an hour or a day, from the roll-ups: the hour and the day are
# columns there, so a filter on them reads nothing else.
RATE: Final = f"""SELECT $period, d.provider, d.account, d.sender, d.tag,
    {" + ".join(f"d.{name}" for name in GROUPS)} AS submitted,
    {", ".join(f"d.{name}" for name in GROUPS)},
    CAST(d.delivered AS DOUBLE PRECISION)
    / nullif({" + ".join(f"d.{name}" for name in GROUPS[1:])}, 0) AS delivery_rate,
    {_credit("credit", "credited", "credit")}
FROM $rollup d
WHERE {" + ".join(f"d.{name}" for name in GROUPS)} > 0"""


def _by_day(by: str, names: Iterable[str]) -> str:
    """Return a table of the roll-ups' sums by day."""
    sums = ", ".join(f"CAST(sum({name}) AS BIGINT) AS {name}" for name in names)
    columns = f"day, provider, account, sender{by}"
    return f"(SELECT {columns}, {sums} FROM delivery_rollup GROUP BY {columns})"


SHOWN: Final = (10, 30, 60, 300, 3600)
LATENCY: Final = ("delivered", "timed", "milliseconds", *(f"within_{n}s" for n in SHOWN))
WITHIN: Final = ",\n    ".join(
    f"CAST(d.within_{seconds}s AS DOUBLE PRECISION) / nullif(d.timed, 0) AS within_{seconds}s"
    for seconds in SHOWN
)


def _percentile(numerator: int, denominator: int) -> str:
    """Return the first step within which so many of the messages were delivered."""
    return "CAST(CASE {} END AS DOUBLE PRECISION)".format(
        " ".join(
            f"WHEN d.within_{seconds}s * {denominator} >= d.timed * {numerator} THEN {seconds}"
            for seconds in STEPS
        )
    )


def _since(name: str) -> str:
    """Return the sums of a column since the beginning of the last hour and of the last day."""
    return ", ".join(
        f"CAST(coalesce(sum({name}) FILTER (WHERE hour >= $last_{period}), 0) AS BIGINT)"
        f" AS {name}_{period}"
        for period in ("hour", "day")
    )


# Looked up for each transaction: a filter on the transaction then reaches every index.
LEDGER_REPORTS: Final = """FROM delivery_report u
    WHERE u.transaction_id = m.transaction_id AND u.provider = m.provider
        AND u.account = m.account AND u.sent_message_id IS NULL"""

# What is known of a report in which something is wrong. Each arm begins with an index of few rows;
# CROSS JOIN keeps SQLite from beginning with all reports of a time.
SUSPECT: Final = _columns(
    "r",
    "id provider account transaction_id message_id recipient status provider_status done_at"
    " received_at callback_id sent_message_id",
)

VIEWS: Final[dict[str, str]] = {
    "message_status": f"""SELECT {STATUS_COLUMNS}
FROM sent_message m LEFT JOIN delivery_report r ON r.id = m.report_id""",
    # SQLite looks into both arms by index where their columns have equal affinities (hence the
    # casts), PostgreSQL where the arms have no condition of their own.
    "message_timeline": """SELECT * FROM (
    SELECT m.id AS sent_message_id, m.provider, m.transaction_id, m.message_id,
        coalesce(m.sent_at, m.recorded_at) AS at, 'sent' AS event,
        CAST(CASE WHEN m.error IS NULL THEN 'accepted' ELSE 'rejected' END AS TEXT) AS status,
        CAST(NULL AS TEXT) AS provider_status, CAST(NULL AS TEXT) AS provider_code,
        m.error AS provider_description, m.recorded_at AS received_at,
        CAST(0 AS INTEGER) AS repeats, $no_key AS callback_id
    FROM sent_message m
    UNION ALL
    SELECT r.sent_message_id, r.provider, r.transaction_id, r.message_id,
        coalesce(r.done_at, r.received_at), 'report',
        r.status,
        r.provider_status, r.provider_code,
        r.provider_description, r.received_at,
        r.repeats, r.callback_id
    FROM delivery_report r) told
WHERE told.sent_message_id IS NOT NULL""",
    "unmatched_report": f"""SELECT {_columns("r", DELIVERY_REPORT)}
FROM delivery_report r WHERE r.sent_message_id IS NULL""",
    "unfinished_message": f"""SELECT {STATUS_COLUMNS},
    CAST($age AS DOUBLE PRECISION) / 1000 AS age_seconds
FROM sent_message m LEFT JOIN delivery_report r ON r.id = m.report_id
WHERE m.status IN ({UNFINISHED_WORDS}) AND (m.error IS NULL OR m.report_id IS NOT NULL)
    AND m.sent_at <= $now""",
    "conflicting_message": f"""SELECT m.id AS sent_message_id, m.provider, m.account,
    m.transaction_id, m.message_id, m.recipient, m.status,
    (SELECT min(coalesce(d.done_at, d.received_at)) FROM delivery_report d
        WHERE d.sent_message_id = m.id AND d.status = 'delivered') AS delivered_at,
    (SELECT max(coalesce(f.done_at, f.received_at)) FROM delivery_report f
        WHERE f.sent_message_id = m.id AND f.status IN ({FAILED_WORDS})) AS failed_at,
    (SELECT f.status FROM delivery_report f
        WHERE f.sent_message_id = m.id AND f.status IN ({FAILED_WORDS})
        ORDER BY coalesce(f.done_at, f.received_at) DESC, CASE f.status
            {" ".join(f"WHEN '{s}' THEN {n}" for n, s in enumerate(FAILED))} END LIMIT 1)
        AS failed_status
FROM sent_message m WHERE m.conflicting""",
    "delivery_rate_hourly": RATE.replace("$period", "d.hour").replace("$rollup", "delivery_rollup"),
    "delivery_rate_daily": RATE.replace("$period", "d.day").replace(
        "$rollup", _by_day(", tag", (*GROUPS, "credited", "credit"))
    ),
    "delivery_latency_daily": f"""SELECT d.day, d.provider, d.account, d.sender, d.delivered,
    {WITHIN},
    CAST(d.milliseconds AS DOUBLE PRECISION) / nullif(d.timed, 0) / 1000 AS mean_seconds
FROM {_by_day("", LATENCY)} d WHERE d.delivered > 0""",
    "delivery_percentile_daily": f"""SELECT d.day, d.provider, d.account, d.sender, d.timed,
    {_percentile(1, 2)} AS median_seconds,
    {_percentile(19, 20)} AS p95_seconds
FROM {_by_day("", ("timed", *(f"within_{seconds}s" for seconds in STEPS)))} d WHERE d.timed > 0""",
    "credit_daily": f"""SELECT d.day, d.provider, d.account, d.sender, d.tag,
    {_credit("credit", "credited", "submitted_credit")},
    {_credit("delivered_credit", "credited", "delivered_credit")},
    {_credit("failed_credit", "credited", "failed_credit")},
    {_credit("reported_credit", "reported", "reported_submitted_credit")},
    {_credit("reported_delivered_credit", "reported", "reported_delivered_credit")},
    {_credit("reported_failed_credit", "reported", "reported_failed_credit")},
    {_credit("credit_difference", "compared", "difference")}
FROM {_by_day(", tag", ("credited", "credit", *CREDITS))} d
WHERE d.credited > 0 OR d.reported > 0""",
    "transaction_ledger": f"""SELECT m.provider, m.account, m.transaction_id, {COUNTS},
    (SELECT coalesce(sum(1 + u.repeats), 0) {LEDGER_REPORTS}) AS unattributed_reports,
    (SELECT coalesce(sum(1 + u.repeats), 0) {LEDGER_REPORTS} AND u.status = 'delivered')
        AS unattributed_delivered,
    (SELECT coalesce(sum(1 + u.repeats), 0) {LEDGER_REPORTS} AND u.status IN ({FAILED_WORDS}))
        AS unattributed_failed
FROM sent_message m WHERE m.transaction_id IS NOT NULL AND m.sent_at <= $now
GROUP BY m.provider, m.account, m.transaction_id
UNION ALL
SELECT u.provider, u.account, u.transaction_id, {", ".join(["CAST(0 AS BIGINT)"] * 7)},
    sum(1 + u.repeats),
    coalesce(sum(1 + u.repeats) FILTER (WHERE u.status = 'delivered'), 0),
    coalesce(sum(1 + u.repeats) FILTER (WHERE u.status IN ({FAILED_WORDS})), 0)
FROM delivery_report u
WHERE u.transaction_id IS NOT NULL AND u.sent_message_id IS NULL AND NOT EXISTS (
    SELECT 1 FROM sent_message m WHERE m.transaction_id = u.transaction_id
        AND m.provider = u.provider AND m.account = u.account AND m.sent_at <= $now)
GROUP BY u.provider, u.account, u.transaction_id""",
    "template_delivery": f"""SELECT m.provider, m.template_id, t.name, t.approval, {COUNTS},
    {DELIVERY_RATE}
FROM sent_message m
LEFT JOIN message_template t ON t.template_id = m.template_id AND t.provider = m.provider
WHERE m.template_id IS NOT NULL AND m.sent_at <= $now
GROUP BY m.provider, m.template_id, t.name, t.approval
UNION ALL
SELECT t.provider, t.template_id, t.name, t.approval, {", ".join(["CAST(0 AS BIGINT)"] * 7)},
    CAST(NULL AS DOUBLE PRECISION)
FROM message_template t
WHERE t.deleted_at IS NULL AND NOT EXISTS (
    SELECT 1 FROM sent_message m WHERE m.template_id = t.template_id
        AND m.provider = t.provider AND m.sent_at <= $now)""",
    # The hours begin at whole ones: the last hour is this one and the one before.
    "provider_activity": f"""SELECT provider, account,
    {", ".join(f"max({name}) AS {name}" for name in (*LAST_TIMES, "last_refused_at"))},
    {", ".join(_since(name) for name in (*ACTIVITIES, "refused"))}
FROM (
    SELECT hour, provider, account, {", ".join((*ACTIVITIES, *LAST_TIMES))},
        CAST(0 AS BIGINT) AS refused, CAST(NULL AS $instant) AS last_refused_at
    FROM activity_rollup WHERE hour >= $last_quarter
    UNION ALL
    SELECT hour, provider, account, {", ".join(["CAST(0 AS BIGINT)"] * len(ACTIVITIES))},
        {", ".join(["CAST(NULL AS $instant)"] * len(LAST_TIMES))}, count, last_at
    FROM refusal WHERE hour >= $last_day
) AS told GROUP BY provider, account""",
    "suspect_report": f"""SELECT CAST('never sent' AS TEXT) AS reason, {SUSPECT}
FROM delivery_report r
WHERE r.sent_message_id IS NULL AND r.settled_at IS NOT NULL AND r.received_at < $a_while_ago
    AND r.provider IN (SELECT d.provider FROM delivery_rollup d)
    AND NOT EXISTS (SELECT 1 FROM sent_message m WHERE m.provider = r.provider
        AND m.message_id = coalesce(r.message_id, r.transaction_id))
    AND NOT EXISTS (SELECT 1 FROM sent_message m WHERE m.provider = r.provider
        AND m.transaction_id = r.transaction_id)
UNION ALL
SELECT CAST('changed after days' AS TEXT), {SUSPECT}
FROM sent_message m CROSS JOIN delivery_report r
WHERE m.conflicting AND r.sent_message_id = m.id AND r.status IN ({_words(*FINAL)}) AND EXISTS (
    SELECT 1 FROM delivery_report f WHERE f.sent_message_id = m.id
        AND f.received_at < $days_before_arrival AND f.status IN ({_words(*FINAL)})
        AND (f.status = 'delivered') <> (r.status = 'delivered'))
UNION ALL
SELECT CAST('before sending' AS TEXT), {SUSPECT}
FROM sent_message m CROSS JOIN delivery_report r
WHERE m.done_at < m.sent_at AND m.done_at < $long_before_sending AND m.status = 'delivered'
    AND r.id = m.report_id
UNION ALL
SELECT CAST('in the future' AS TEXT), {SUSPECT}
FROM delivery_report r
WHERE r.done_at > r.received_at AND r.done_at > $long_after_arrival""",
    "unreadable_callback": f"""SELECT {_columns("c", CALLBACK)}
FROM callback c WHERE c.outcome <> 'read' AND c.outcome IN ('partial', 'unreadable')""",
}


def drop() -> list[str]:
    """Return the statements that drop every view, the last made first."""
    return [f"DROP VIEW IF EXISTS {name}" for name in reversed(VIEWS)]


def create(dialect: str) -> list[str]:
    """Return the statements that make every view, for `sqlite` or `postgresql`."""
    pieces = PIECES[dialect]
    return [
        f"CREATE VIEW {name} AS {Template(body).substitute(pieces)}" for name, body in VIEWS.items()
    ]
