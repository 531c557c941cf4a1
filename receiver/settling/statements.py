"""Statements of settling, in the words of both databases."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from receiver.database import BulkUpdate, GivenRows
from receiver.database.tables import delivery_report, sent_message
from receiver.domain import FAILED, RANK, Status
from receiver.statistics import Contribution, delivery_rollup

if TYPE_CHECKING:
    from collections.abc import Iterable


def _case(order: Iterable[tuple[Status, int]]) -> str:
    return "CASE r.status " + " ".join(f"WHEN '{s}' THEN {n}" for s, n in order) + " END"


# The whole rule. Within a rank the later time (a missing one counts as earliest), then the order
# of FAILED, then the lower digest.
DECIDES: Final = (
    f"{_case(RANK.items())}, r.done_at DESC NULLS LAST,"
    f" {_case((s, n) for n, s in enumerate(FAILED))}, r.digest"
)

# How each database takes a list of ids, and how it locks the rows it takes. A row that somebody
# else is changing right now is left for the next round.
IDS: Final = {
    "sqlite": "SELECT value FROM json_each(:ids)",
    "postgresql": "SELECT unnest(CAST(:ids AS bigint[]))",
}
SKIP: Final = {"sqlite": "", "postgresql": "FOR NO KEY UPDATE SKIP LOCKED"}
LOCK: Final = {"sqlite": "", "postgresql": "FOR NO KEY UPDATE"}
# The database's clock, the latest change, and the time of the next: later than any change there, so
# that a clock set back, or receivers whose clocks differ, never put a change behind a reader of
# the feed.
CLOCK: Final = {
    "sqlite": """
        SELECT now, latest,
               max(now, coalesce(strftime('%Y-%m-%d %H:%M:%fZ', latest, '+0.001 seconds'), ''))
                   AS change
        FROM (SELECT strftime('%Y-%m-%d %H:%M:%fZ', 'now') AS now,
                     (SELECT max(changed_at) FROM sent_message
                      WHERE changed_at IS NOT NULL) AS latest)
    """,
    "postgresql": """
        SELECT now, latest, greatest(now, latest + interval '1 millisecond') AS change
        FROM (SELECT date_trunc('milliseconds', clock_timestamp()) AS now,
                     (SELECT max(changed_at) FROM sent_message
                      WHERE changed_at IS NOT NULL) AS latest) AS clock
    """,
}

# How far the roll-ups are.
NEWEST: Final = "SELECT coalesce(max(id), 0) FROM sent_message"
STATE_COLUMNS: Final = ("uncounted_to", "counted_until", "changed_until", "uncredited_before")
STATE: Final = f"SELECT {', '.join(STATE_COLUMNS)} FROM receiver_state"
WRITE_STATE: Final = """
    UPDATE receiver_state SET uncounted_to = :uncounted_to, counted_until = :counted_until,
        changed_until = :changed_until, uncredited_before = :uncredited_before
"""
# Messages that were there before anybody counted, newest first.
TAKE_OLDER: Final = """
    SELECT id FROM sent_message WHERE id <= :uncounted_to ORDER BY id DESC LIMIT :portion
"""
# Messages that were scheduled, and whose time has come. Of what was counted when it was recorded
# this reads the last moments only.
TAKE_DUE: Final = """
    SELECT id FROM sent_message
    WHERE sent_at > :since AND sent_at <= :until
      AND rollup_id IS NULL AND settled_at IS NOT NULL
    ORDER BY sent_at LIMIT :portion
"""

SETTLING_LOCK: Final = "SELECT id FROM receiver_state WHERE id = 1 FOR UPDATE SKIP LOCKED"

TAKE_MESSAGES: Final = """
    SELECT id FROM sent_message WHERE settled_at IS NULL ORDER BY id LIMIT :portion {skip}
"""

# What the rules ask of a report: the fields of `Matched`.
_REPORT: Final = """
    SELECT r.id, r.provider, r.account, r.transaction_id, r.message_id, r.recipient,
           r.sent_message_id, r.erased_at IS NOT NULL AS erased
    FROM delivery_report AS r
"""
TAKE_REPORTS: Final = _REPORT + "WHERE r.settled_at IS NULL ORDER BY r.id LIMIT :portion {skip}"
READ_REPORTS: Final = _REPORT + "WHERE r.id IN ({ids}) ORDER BY r.id {lock}"

# Reports whose match may change because the messages of :ids are new or changed.
AFFECTED_REPORTS: Final = """
    SELECT id FROM (
        SELECT r.id FROM sent_message AS m CROSS JOIN delivery_report AS r
        WHERE m.id IN ({ids}) AND r.message_id = m.message_id AND r.provider = m.provider
        UNION
        SELECT r.id FROM sent_message AS m CROSS JOIN delivery_report AS r
        WHERE m.id IN ({ids}) AND r.transaction_id = m.message_id AND r.provider = m.provider
          AND COALESCE(r.message_id, '') = ''
        UNION
        SELECT r.id FROM sent_message AS m CROSS JOIN delivery_report AS r
        WHERE m.id IN ({ids}) AND r.transaction_id = m.transaction_id
          AND r.recipient = m.recipient AND r.provider = m.provider
        UNION
        SELECT r.id FROM (
            SELECT DISTINCT transaction_id, provider FROM sent_message WHERE id IN ({ids})
        ) AS t CROSS JOIN delivery_report AS r
        WHERE r.transaction_id = t.transaction_id AND r.recipient IS NULL
          AND r.provider = t.provider AND COALESCE(r.message_id, '') = ''
        UNION
        SELECT r.id FROM delivery_report AS r WHERE r.sent_message_id IN ({ids})
    ) AS found WHERE id > :after ORDER BY id LIMIT :portion
"""

# Candidates with the report's own account go before those with none.
_ACCOUNT: Final = "(m.account = given.account OR m.account = '' OR given.account = '')"
_GRADE: Final = "CASE WHEN given.account <> '' AND m.account = given.account THEN 0 ELSE 1 END"

# Reports are given to the rules, wherever they are: some are not in the table yet.
_TRANSACTION: Final = ("provider", "account", "transaction_id")


def _given(name: str, columns: Iterable[str]) -> GivenRows:
    return GivenRows(name, {column: delivery_report.c[column].type for column in columns})


GIVEN: Final = _given("reports", ("id", *_TRANSACTION, "message_id", "recipient"))
TRANSACTIONS: Final = _given("t", _TRANSACTION)

# Rules 1 and 2: per report the candidates of each grade, how many, and one of them. A message whose
# number was erased comes after those that have the report's.
#
# How to think about it: the lowest grade that has any candidate decides, and only where it has one;
# nothing is guessed. For example, a report of account A names message id 5. Recorded are 5 of
# account A (grade 0) and 5 of no account (grade 1): the first is the match, the other is not asked.
# Without the first the second is the match. With two of account A, to two numbers, and no number in
# the report, there is none.
MATCH: Final = f"""
    WITH given AS MATERIALIZED (SELECT * FROM {{rows}})
    SELECT report, grade, count(*), min(message) FROM (
        SELECT given.id AS report, m.id AS message, {_GRADE} + CASE
                   WHEN given.recipient <> '' AND m.recipient IS NULL THEN 4 ELSE 0 END AS grade
        FROM given CROSS JOIN sent_message AS m
        WHERE m.message_id = COALESCE(given.message_id, given.transaction_id)
          AND m.provider = given.provider AND {_ACCOUNT}
          AND (given.recipient IS NULL OR m.recipient IS NULL OR m.recipient = given.recipient)
        UNION ALL
        SELECT given.id, m.id, 2 + {_GRADE}
        FROM given CROSS JOIN sent_message AS m
        WHERE m.transaction_id = given.transaction_id AND m.recipient = given.recipient
          AND (COALESCE(m.message_id, '') = '' OR COALESCE(given.message_id, '') = '')
          AND m.provider = given.provider AND {_ACCOUNT}
    ) AS candidate GROUP BY report, grade ORDER BY report, grade
"""

# Rule 3: per transaction at most two of its messages that were not refused, of the report's own
# account and of the others it may belong to. LIMIT keeps a transaction of a million cheap.
_OF: Final = """
    FROM sent_message AS m WHERE m.transaction_id = t.transaction_id AND m.provider = t.provider
      AND m.error IS NULL AND {account}
"""
_OWN: Final = _OF.format(account="t.account <> '' AND m.account = t.account")
_SHARED: Final = _OF.format(account="(m.account = '' OR t.account = '')")
SOLE: Final = f"""
    SELECT t.provider, t.account, t.transaction_id,
           (SELECT count(*) FROM (SELECT 1 {_OWN} LIMIT 2) AS own),
           (SELECT m.id {_OWN} LIMIT 1),
           (SELECT count(*) FROM (SELECT 1 {_SHARED} LIMIT 2) AS other),
           (SELECT m.id {_SHARED} LIMIT 1)
    FROM {{rows}}
"""

DECIDING: Final = f"""
    SELECT message, id, status, done_at, sent_at, delivered, failed,
           CAST(round(credit * 10000) AS BIGINT) AS credit
    FROM (
        SELECT r.sent_message_id AS message, r.id, r.status, r.done_at, r.sent_at, r.credit,
               row_number() OVER (PARTITION BY r.sent_message_id ORDER BY {DECIDES}) AS place,
               max(CASE WHEN r.status = '{Status.DELIVERED}' THEN 1 ELSE 0 END)
                   OVER (PARTITION BY r.sent_message_id) AS delivered,
               max(CASE WHEN r.status IN ({", ".join(f"'{s}'" for s in FAILED)}) THEN 1 ELSE 0 END)
                   OVER (PARTITION BY r.sent_message_id) AS failed
        FROM delivery_report AS r WHERE r.sent_message_id IN ({{ids}})
    ) AS ranked WHERE place = 1
"""

# `gone`: the report that decided was deleted; then the message keeps what it said.
READ_MESSAGES: Final = f"""
    SELECT m.id, {delivery_rollup.COLUMNS},
           m.status, m.done_at, m.report_id, m.conflicting, m.error IS NOT NULL AS refused,
           m.report_id IS NOT NULL AND NOT EXISTS (
               SELECT 1 FROM delivery_report AS r WHERE r.id = m.report_id
           ) AS gone
    FROM sent_message AS m WHERE m.id IN ({{ids}})
"""

LINK: Final = BulkUpdate(delivery_report, ["sent_message_id"])
SETTLE_REPORTS: Final = BulkUpdate(delivery_report, ["sent_message_id", "settled_at"])
DECIDE: Final = BulkUpdate(
    sent_message,
    ["status", "done_at", "report_id", "conflicting", "changed_at", *Contribution._fields],
    {"changed_at": "coalesce({new}, {old})"},
)
# The same of messages that stay as they are: no index and no CHECK knows these columns.
COUNT: Final = BulkUpdate(sent_message, Contribution._fields)
SETTLE_MESSAGES: Final = "UPDATE sent_message SET settled_at = :now WHERE id IN ({ids})"
