"""Roll-ups for rows that a test wrote as they stand, and the views before there were any."""

from __future__ import annotations

from datetime import UTC, datetime
from string import Template
from typing import TYPE_CHECKING, Final

from sqlalchemy import select, text, update

from receiver.database.tables.callbacks import delivery_report
from receiver.database.tables.messages import sent_message
from receiver.database.views import COUNTS, PIECES
from receiver.domain import group_of
from receiver.domain.status import FAILED
from receiver.statistics import delivery_rollup
from receiver.statistics.delivery_rollup import Contribution, Tally

if TYPE_CHECKING:
    from sqlalchemy import Connection

_CREDIT: Final = text("CAST(round(sent_message.credit * 10000) AS BIGINT) AS units")
_REPORTED: Final = text("CAST(round(delivery_report.credit * 10000) AS BIGINT) AS told")


def count_all(connection: Connection) -> None:
    """Count every message as what its row says it is."""
    table, reports = sent_message.c, delivery_report.c
    rows = connection.execute(
        select(sent_message, reports.sent_at.label("own"), _CREDIT, _REPORTED).outerjoin(
            delivery_report, reports.id == table.report_id
        )
    ).all()
    tally = Tally(connection, datetime.now(UTC))
    for row, place in tally.place(rows):
        added = Contribution()
        if place is not None:
            group = group_of(
                row.status, reported=row.report_id is not None, refused=row.error is not None
            )
            timed = group == "delivered" and row.done_at is not None
            took = delivery_rollup.took(row.own or row.sent_at, row.done_at) if timed else None
            added = Contribution(place, group, row.units, took, row.told)
        tally.change(row, added)
        connection.execute(update(sent_message).where(table.id == row.id).values(**added._asdict()))
    tally.write()


# The views as they were while they read every message: what the roll-ups must equal.

RATE: Final = f"""SELECT $period, m.provider, m.account, m.sender, m.tag, {COUNTS},
    CAST(count(*) FILTER (WHERE m.report_id IS NOT NULL AND m.status = 'delivered')
        AS DOUBLE PRECISION)
    / nullif(count(*) FILTER (WHERE m.report_id IS NOT NULL OR m.error IS NULL), 0)
        AS delivery_rate,
    round(sum(m.credit), 4) AS credit
FROM sent_message m
WHERE m.sent_at <= $now
GROUP BY 1, 2, 3, 4, 5"""


def _credits(credit: str) -> str:
    """Return the sums of a credit: of all, of the delivered and of the failed messages."""
    statuses = ("", "'delivered'", ", ".join(f"'{status}'" for status in FAILED))
    return ", ".join(
        f"CASE WHEN count({credit}) > 0 THEN coalesce(round(sum({credit}) {only}, 4), 0) END"
        for only in (
            f"FILTER (WHERE m.report_id IS NOT NULL AND m.status IN ({s}))" if s else ""
            for s in statuses
        )
    )


WITHIN: Final = ",\n    ".join(
    f"CAST(count(*) FILTER (WHERE took <= {seconds * 1000}) AS DOUBLE PRECISION)"
    f" / nullif(count(took), 0) AS within_{seconds}s"
    for seconds in (10, 30, 60, 300, 3600)
)
ORACLE: Final = {
    "delivery_rate_hourly": RATE.replace("$period", "$hour AS hour"),
    "delivery_rate_daily": RATE.replace("$period", "$day AS day"),
    "delivery_latency_daily": f"""SELECT day, provider, account, sender, count(*) AS delivered,
    {WITHIN},
    CAST(sum(took) AS DOUBLE PRECISION) / nullif(count(took), 0) / 1000 AS mean_seconds
FROM (SELECT $day AS day, m.provider, m.account, m.sender,
        CASE WHEN m.done_at >= coalesce(r.sent_at, m.sent_at) THEN $took END AS took
    FROM sent_message m LEFT JOIN delivery_report r ON r.id = m.report_id
    WHERE m.status = 'delivered' AND m.sent_at <= $now) delivered_message
GROUP BY day, provider, account, sender""",
    "credit_daily": f"""SELECT $day AS day, m.provider, m.account, m.sender, m.tag,
    {_credits("m.credit")}, {_credits("r.credit")}, round(sum(r.credit - m.credit), 4) AS difference
FROM sent_message m LEFT JOIN delivery_report r ON r.id = m.report_id
WHERE m.sent_at <= $now
GROUP BY 1, 2, 3, 4, 5 HAVING count(coalesce(m.credit, r.credit)) > 0""",
}


def counted(connection: Connection, view: str) -> str:
    """Return the SQL that counts the messages themselves, as a view of this name once did."""
    return Template(ORACLE[view]).substitute(PIECES[connection.dialect.name])
