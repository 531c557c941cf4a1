"""The views' SQL: the questions people ask, as tables. docs/sql.md explains every column.

One text a view serves both databases; the few words they do not share stand in `PIECES`, and
`$word` in a view is where they go. Nothing newer than SQLite 3.31 is used. No view is made of
another: planners see the tables and their indexes at once. A WHERE that is worded as an index's
own (`status IN (…)`, `outcome <> 'read'`) is what lets SQLite use a partial index.
"""

from __future__ import annotations

from string import Template
from typing import TYPE_CHECKING, Final

from sqlalchemy import Boolean, Column, Float, Integer, MetaData, Table, Text

from receiver.database.column_types import Instant, Key, RowId
from receiver.database.tables import (
    ACTIVITIES,
    CREDITS,
    LAST_TIMES,
    NOT_READ,
    UNFINISHED_ONLY,
    callback,
    delivery_report,
    listed,
    public_columns,
    sent_message,
)
from receiver.domain import BANGKOK_HOURS, DELIVERY_TIMES, FAILED, FINAL, GROUPS, step_name

if TYPE_CHECKING:
    from collections.abc import Iterable


def _columns(alias: str, names: Iterable[str]) -> str:
    return ", ".join(f"{alias}.{name}" for name in names)


def _public(alias: str, table: Table) -> str:
    """Return the columns of a table that views show."""
    return _columns(alias, (column.name for column in public_columns(table)))


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
_BANGKOK: Final = f"{BANGKOK_HOURS} hours"


def _sqlite_hour(ago: str) -> str:
    return f"strftime('%Y-%m-%d %H:00:00', 'now', '+{_BANGKOK}', '{ago}')"


def _postgresql_hour(ago: str) -> str:
    now = f"{_POSTGRESQL_NOW} AT TIME ZONE INTERVAL '{_BANGKOK}'"
    return f"date_trunc('hour', {now} + INTERVAL '{ago}')"


# `now` is the clock when the statement began, the same for every row. Bangkok is UTC+7 all year:
# seven hours need no time zone tables and are three times as fast as its name (measured).
PIECES: Final[dict[str, dict[str, str]]] = {
    "sqlite": {
        "now": _SQLITE_NOW,
        "hour": f"strftime('%Y-%m-%d %H:00:00', m.sent_at, '+{_BANGKOK}')",
        "day": f"date(m.sent_at, '+{_BANGKOK}')",
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
        "hour": f"date_trunc('hour', m.sent_at AT TIME ZONE INTERVAL '{_BANGKOK}')",
        "day": f"CAST(m.sent_at AT TIME ZONE INTERVAL '{_BANGKOK}' AS DATE)",
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

_FAILED: Final = listed(*FAILED)
_FINAL: Final = listed(*FINAL)


def in_group(name: str, message: str = "m") -> str:
    """Return the condition that a message is in one of GROUPS; `message` is its name in the SQL."""
    statuses, refused = GROUPS[name]
    if not statuses:
        error = "IS NOT NULL" if refused else "IS NULL"
        return f"{message}.report_id IS NULL AND {message}.error {error}"
    words = f"IN ({listed(*statuses)})" if len(statuses) > 1 else f"= {listed(*statuses)}"
    return f"{message}.report_id IS NOT NULL AND {message}.status {words}"


# Seven counts; every message is in the first and in one of the others. A message that is scheduled
# for later (sent_at after now) is in no figure before its time.
COUNTS: Final = ",\n    ".join((
    "count(*) AS submitted",
    *(f"count(*) FILTER (WHERE {in_group(name)}) AS {name}" for name in GROUPS),
))  # fmt: skip

_NO_COUNTS: Final = ", ".join(["CAST(0 AS BIGINT)"] * (1 + len(GROUPS)))


def _share(part: str, whole: str) -> str:
    """Return one count's part of another, between 0 and 1; NULL of nothing."""
    return f"CAST({part} AS DOUBLE PRECISION) / nullif({whole}, 0)"


STATUS_COLUMNS: Final = f"""{_public("m", sent_message)},
    m.status IN ({_FINAL}) OR (m.error IS NOT NULL AND m.report_id IS NULL) AS final,
    r.provider_status, r.provider_code, r.provider_description,
    (SELECT count(*) FROM delivery_report c WHERE c.sent_message_id = m.id) AS report_count,
    CASE WHEN m.status = 'delivered' AND m.done_at >= coalesce(r.sent_at, m.sent_at)
        THEN CAST($took AS DOUBLE PRECISION) / 1000 END AS delivery_seconds"""

# Of the messages that the provider took, those that were delivered.
DELIVERY_RATE: Final = _share(
    f"count(*) FILTER (WHERE {in_group('delivered')})",
    "count(*) FILTER (WHERE m.report_id IS NOT NULL OR m.error IS NULL)",
)


def _credit(column: str, known: str, name: str) -> str:
    """Return a sum of ten-thousandths as a credit; NULL where of no message it is known."""
    return f"CASE WHEN d.{known} > 0 THEN round(d.{column} / 10000.0, 4) END AS {name}"


# What became of the messages of an hour or a day, from the roll-ups: the hour and the day are
# columns there, so a filter on them reads nothing else.
_SUBMITTED: Final = " + ".join(f"d.{name}" for name in GROUPS)
RATE: Final = f"""SELECT $period, d.provider, d.account, d.sender, d.tag,
    {_SUBMITTED} AS submitted, {_columns("d", GROUPS)},
    {_share("d.delivered", " + ".join(f"d.{name}" for name in GROUPS if name != "refused"))}
        AS delivery_rate,
    {_credit("credit", "credited", "credit")}
FROM $rollup d
WHERE {_SUBMITTED} > 0"""


def _by_day(by: str, names: Iterable[str]) -> str:
    """Return a table of the roll-ups' sums by day."""
    sums = ", ".join(f"CAST(sum({name}) AS BIGINT) AS {name}" for name in names)
    columns = f"day, provider, account, sender{by}"
    return f"(SELECT {columns}, {sums} FROM delivery_rollup GROUP BY {columns})"


SHOWN: Final = (10, 30, 60, 300, 3600)
LATENCY: Final = ("delivered", "timed", "milliseconds", *map(step_name, SHOWN))
WITHIN: Final = ",\n    ".join(
    f"{_share(f'd.{name}', 'd.timed')} AS {name}" for name in map(step_name, SHOWN)
)


def _percentile(numerator: int, denominator: int) -> str:
    """Return the first step within which so many of the messages were delivered."""
    return "CAST(CASE {} END AS DOUBLE PRECISION)".format(
        " ".join(
            f"WHEN d.{step_name(seconds)} * {denominator} >= d.timed * {numerator} THEN {seconds}"
            for seconds in DELIVERY_TIMES.seconds
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
    ("id", "provider", "account", "transaction_id", "message_id", "recipient", "status",
     "provider_status", "done_at", "received_at", "callback_id", "sent_message_id"),
)  # fmt: skip

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
    "unmatched_report": f"""SELECT {_public("r", delivery_report)}
FROM delivery_report r WHERE r.sent_message_id IS NULL""",
    "unfinished_message": f"""SELECT {STATUS_COLUMNS},
    CAST($age AS DOUBLE PRECISION) / 1000 AS age_seconds
FROM sent_message m LEFT JOIN delivery_report r ON r.id = m.report_id
WHERE m.{UNFINISHED_ONLY} AND (m.error IS NULL OR m.report_id IS NOT NULL)
    AND m.sent_at <= $now""",
    "conflicting_message": f"""SELECT m.id AS sent_message_id, m.provider, m.account,
    m.transaction_id, m.message_id, m.recipient, m.status,
    (SELECT min(coalesce(d.done_at, d.received_at)) FROM delivery_report d
        WHERE d.sent_message_id = m.id AND d.status = 'delivered') AS delivered_at,
    (SELECT max(coalesce(f.done_at, f.received_at)) FROM delivery_report f
        WHERE f.sent_message_id = m.id AND f.status IN ({_FAILED})) AS failed_at,
    (SELECT f.status FROM delivery_report f
        WHERE f.sent_message_id = m.id AND f.status IN ({_FAILED})
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
FROM {_by_day("", ("timed", *DELIVERY_TIMES.names))} d WHERE d.timed > 0""",
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
    (SELECT coalesce(sum(1 + u.repeats), 0) {LEDGER_REPORTS} AND u.status IN ({_FAILED}))
        AS unattributed_failed
FROM sent_message m WHERE m.transaction_id IS NOT NULL AND m.sent_at <= $now
GROUP BY m.provider, m.account, m.transaction_id
UNION ALL
SELECT u.provider, u.account, u.transaction_id, {_NO_COUNTS},
    sum(1 + u.repeats),
    coalesce(sum(1 + u.repeats) FILTER (WHERE u.status = 'delivered'), 0),
    coalesce(sum(1 + u.repeats) FILTER (WHERE u.status IN ({_FAILED})), 0)
FROM delivery_report u
WHERE u.transaction_id IS NOT NULL AND u.sent_message_id IS NULL AND NOT EXISTS (
    SELECT 1 FROM sent_message m WHERE m.transaction_id = u.transaction_id
        AND m.provider = u.provider AND m.account = u.account AND m.sent_at <= $now)
GROUP BY u.provider, u.account, u.transaction_id""",
    "template_delivery": f"""SELECT m.provider, m.template_id, t.name, t.approval, {COUNTS},
    {DELIVERY_RATE} AS delivery_rate
FROM sent_message m
LEFT JOIN message_template t ON t.template_id = m.template_id AND t.provider = m.provider
WHERE m.template_id IS NOT NULL AND m.sent_at <= $now
GROUP BY m.provider, m.template_id, t.name, t.approval
UNION ALL
SELECT t.provider, t.template_id, t.name, t.approval, {_NO_COUNTS},
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
WHERE m.conflicting AND r.sent_message_id = m.id AND r.status IN ({_FINAL}) AND EXISTS (
    SELECT 1 FROM delivery_report f WHERE f.sent_message_id = m.id
        AND f.received_at < $days_before_arrival AND f.status IN ({_FINAL})
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
    "unreadable_callback": f"""SELECT {_public("c", callback)}
FROM callback c WHERE c.{NOT_READ} AND c.outcome IN ('partial', 'unreadable')""",
}

# What our own queries read of views: the columns, with their types.

_views: Final = MetaData()

message_status: Final = Table(
    "message_status",
    _views,
    *(Column(column.name, column.type) for column in public_columns(sent_message)),
    Column("final", Boolean),
    *(
        Column(name, delivery_report.c[name].type)
        for name in ("provider_status", "provider_code", "provider_description")
    ),
    Column("report_count", Integer),
    Column("delivery_seconds", Float),
)
message_timeline: Final = Table(
    "message_timeline",
    _views,
    Column("sent_message_id", RowId),
    Column("provider", Text),
    Column("transaction_id", Text),
    Column("message_id", Text),
    Column("at", Instant),
    Column("event", Text),
    Column("status", Text),
    Column("provider_status", Text),
    Column("provider_code", Text),
    Column("provider_description", Text),
    Column("received_at", Instant),
    Column("repeats", Integer),
    Column("callback_id", Key),
)
provider_activity: Final = Table(
    "provider_activity",
    _views,
    Column("provider", Text),
    Column("account", Text),
    *(Column(name, Instant) for name in (*LAST_TIMES, "last_refused_at")),
    *(
        Column(f"{name}_{period}", Integer)
        for name in (*ACTIVITIES, "refused")
        for period in ("hour", "day")
    ),
)


def drop() -> list[str]:
    """Return the statements that drop every view, the last made first."""
    return [f"DROP VIEW IF EXISTS {name}" for name in reversed(VIEWS)]


def create(dialect: str) -> list[str]:
    """Return the statements that make every view, for `sqlite` or `postgresql`."""
    pieces = PIECES[dialect]
    return [
        f"CREATE VIEW {name} AS {Template(body).substitute(pieces)}" for name, body in VIEWS.items()
    ]
