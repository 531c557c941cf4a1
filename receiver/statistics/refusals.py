"""Callbacks that were turned away: by hour, provider, account, reason and address; no content.

The words for why, and the table `refusal`. Strangers can call from many addresses: only so many of
an hour have rows of their own.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import delete, select

from receiver.database import SQLITE, larger, upsert
from receiver.database.tables import refusal
from receiver.statistics.bangkok import hour_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection


MAX_ADDRESSES: Final = 900
"""Rows of an hour with an address of their own; the others of the hour's at most 1,000 rows are
one for each provider, account and reason."""
OTHER_ADDRESSES: Final = "(other addresses)"
STORED_FOR: Final = timedelta(days=30)
"""How long a row stays."""

REASONS: Final = {
    405: "wrong method",
    408: "body too slow",
    413: "body too large",
    415: "encoded body",
    429: "too many failures",
    503: "not kept",
}
"""Why, by the answer; 401 has several reasons, and 503 another."""
NO_TOKEN: Final = "no token configured"  # noqa: S105 - words for people
INVALID_HTTP: Final = "invalid http"
WRONG_TOKEN: Final = "wrong token"  # noqa: S105
WRONG_ADDRESS: Final = "address not allowed"
WRONG_BASIC: Final = "wrong user or password"
WRONG_SIGNATURE: Final = "wrong signature"
USED_NONCE: Final = "nonce used before"
QUEUE_FULL: Final = "queue full"
NO_ROOM: Final = "no room for the body"

REMEDIES: Final = {
    INVALID_HTTP: "see the log line `no http`: what is wrong, and what it begins as",
    NO_TOKEN: "set the provider's `RECEIVER_…_TOKENS`",
    WRONG_TOKEN: "compare the URL registered with the provider with what `receiver urls` prints",
    WRONG_ADDRESS: (
        "look at `RECEIVER_…_ALLOWED_IPS`, and behind a proxy at `RECEIVER_TRUSTED_PROXIES`"
    ),
    WRONG_BASIC: "compare `RECEIVER_…_BASIC_AUTH` with what the provider was given",
    WRONG_SIGNATURE: "compare the keys set with the provider's console; look at both clocks",
    USED_NONCE: "nothing, if it is rare: somebody sent a signature again, with another body",
    REASONS[405]: (
        "let the provider call with the right method; a redirect makes POST a GET: register the"
        " URL that answers without one"
    ),
    REASONS[408]: "look at the network and the proxy",
    REASONS[413]: "raise `RECEIVER_MAX_BODY_BYTES`",
    REASONS[415]: "have the proxy pass bodies on as they are",
    REASONS[429]: "see the other rows of that address",
    QUEUE_FULL: "the database is too slow for what arrives",
    NO_ROOM: "see who sends so many bodies of that size at once, and what is in them",
    REASONS[503]: "database and spool are both away; see the log",
}
"""What to do about each."""


class Refusal(NamedTuple):
    """What is counted in one row; `hour` is Bangkok's."""

    hour: str
    provider: str
    account: str
    reason: str
    address: str

    def without_address(self) -> Refusal:
        """Return the row that the addresses without one of their own share."""
        return self._replace(address=OTHER_ADDRESSES)


class Times(NamedTuple):
    """How often, and when last."""

    often: int
    last_at: datetime

    def and_(self, other: Times | None) -> Times:
        """Return both together."""
        if other is None:
            return self
        return Times(self.often + other.often, max(self.last_at, other.last_at))


Refused = dict[Refusal, Times]


def count(refused: Refused, key: Refusal, times: Times) -> None:
    """Count in memory; there, too, only so many addresses have places of their own."""
    if key not in refused and len(refused) >= MAX_ADDRESSES:
        key = key.without_address()
    refused[key] = times.and_(refused.get(key))


def write(connection: Connection, refused: Mapping[Refusal, Times]) -> None:
    """Add to the table, and drop what is old, in the caller's write transaction."""
    if connection.dialect.name != SQLITE:
        # Several receivers together keep to the number of rows; nobody waits for them but they.
        connection.exec_driver_sql("SET LOCAL lock_timeout = '500ms'")
        connection.exec_driver_sql("LOCK TABLE refusal IN SHARE ROW EXCLUSIVE MODE")
    values: Refused = {}
    for hour in sorted({key.hour for key in refused}):
        there = _with_address(connection, hour)
        for key in sorted(key for key in refused if key.hour == hour):
            key_ = _place(key, there)
            values[key_] = refused[key].and_(values.get(key_))
    latest = max(times.last_at for times in refused.values())
    connection.execute(delete(refusal).where(refusal.c.hour < hour_of(latest - STORED_FOR)))
    insert = upsert(connection, refusal)
    statement = insert.on_conflict_do_update(
        index_elements=list(refusal.primary_key),
        set_={
            "count": refusal.c["count"] + insert.excluded["count"],
            "last_at": larger(connection.dialect, refusal.c.last_at, insert.excluded.last_at),
        },
    )
    rows = [
        key._asdict() | {"count": times.often, "last_at": times.last_at}
        for key, times in sorted(values.items())
    ]
    connection.execute(statement, rows)


def _with_address(connection: Connection, hour: str) -> set[Refusal]:
    """Return the rows of an hour that have an address of their own."""
    table = refusal.c
    columns = [table[name] for name in Refusal._fields[1:]]
    rows = select(*columns).where(table.hour == hour, table.address != OTHER_ADDRESSES)
    return {Refusal(hour, *row) for row in connection.execute(rows)}


def _place(key: Refusal, there: set[Refusal]) -> Refusal:
    """Return the row to count in; `there` are those with an address, and become more."""
    if key.address == OTHER_ADDRESSES or key in there:
        return key
    if len(there) >= MAX_ADDRESSES:
        return key.without_address()
    there.add(key)
    return key
