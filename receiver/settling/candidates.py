"""For a report that belongs to no message: what was looked for, and what comes nearest to it.

The rules are those of `settle`. Every look-up here is by an index and returns few rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from sqlalchemy import select

from receiver.database.tables import sent_message

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import ColumnElement, Connection, RowMapping


MAX_CANDIDATES: Final = 50
"""Messages that one look-up returns."""
AROUND: Final = timedelta(days=3)
"""How far from the report a message to the same number may have been sent."""
MAX_ZEROS: Final = 8
"""Leading zeros that may be missing."""

_m: Final = sent_message.c
_COLUMNS: Final = (
    _m.id, _m.provider, _m.account, _m.message_id, _m.transaction_id, _m.recipient, _m.sent_at,
    _m.error, _m.status,
)  # fmt: skip


class Nearness(StrEnum):
    """How a message differs from what was looked for; the likeliest cause first."""

    SEVERAL = "several"  # two or more fit, and nothing is guessed
    PROVIDER = "provider"
    ACCOUNT = "account"
    RECIPIENT = "recipient"
    CASE = "case"
    ZEROS = "zeros"
    SWAPPED = "swapped"  # the message id is recorded as the transaction's, or the other way round
    TRANSACTION = "transaction"  # known, but which of its messages is not said
    REFUSED = "refused"  # the transaction is known, and the provider refused its only message
    NUMBER = "number"  # the same number about the same time, under another id


@dataclass(frozen=True, slots=True)
class Near:
    """A message, and in what it differs from what was looked for."""

    nearness: Nearness
    message: RowMapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """What was looked for, and what is nearest; `siblings` messages share the transaction."""

    id: str
    transaction_id: str | None
    recipient: str | None
    near: Sequence[Near]
    siblings: int


def nearest(connection: Connection, report: RowMapping) -> Diagnosis:
    """Return what was looked for when a report was to be matched, and what comes nearest."""
    id_ = report["message_id"] or report["transaction_id"]
    siblings = _siblings(connection, report)
    near = sorted(
        _near(connection, report, id_, siblings), key=lambda one: _ORDER.index(one.nearness)
    )
    unique = {one.message["id"]: one for one in reversed(near)}
    return Diagnosis(
        id=id_,
        transaction_id=report["transaction_id"],
        recipient=report["recipient"],
        near=[one for one in near if unique[one.message["id"]] is one][:MAX_CANDIDATES],
        siblings=len(siblings),
    )


_ORDER: Final = list(Nearness)


def _rows(connection: Connection, *where: ColumnElement[bool]) -> Sequence[RowMapping]:
    return (
        connection.execute(select(*_COLUMNS).where(*where).limit(MAX_CANDIDATES)).mappings().all()
    )


def _siblings(connection: Connection, report: RowMapping) -> Sequence[RowMapping]:
    if report["transaction_id"] is None:
        return []
    return _rows(
        connection,
        _m.transaction_id == report["transaction_id"],
        _m.provider == report["provider"],
    )


def _near(
    connection: Connection, report: RowMapping, id_: str, siblings: Sequence[RowMapping]
) -> Iterator[Near]:
    """Return what is near, and why each is not the report's message.

    A message that the rules would take alone is not to blame: it is one of several.
    """
    for near in _looked_up(connection, report, id_, siblings):
        yield Near(Nearness.SEVERAL, near.message) if fits(report, near.message) else near


def fits(report: RowMapping, message: RowMapping) -> bool:
    """Say whether the first two rules take a message for a report's, as `statements.MATCH` does.

    Example: two messages were recorded with the id that a report names, and their numbers were
    erased since. Both fit, whatever number the report names.
    """
    if message["provider"] != report["provider"] or _is_of_another_account(report, message):
        return False
    number, own_number = report["recipient"], message["recipient"]
    if message["message_id"] == (report["message_id"] or report["transaction_id"]):
        return number is None or own_number is None or number == own_number
    return (
        number is not None
        and number == own_number
        and message["transaction_id"] == report["transaction_id"] is not None
        and None in {message["message_id"], report["message_id"]}
    )


def _is_of_another_account(report: RowMapping, message: RowMapping) -> bool:
    return bool(
        message["account"] and report["account"] and message["account"] != report["account"]
    )


def _looked_up(
    connection: Connection, report: RowMapping, id_: str, siblings: Sequence[RowMapping]
) -> Iterator[Near]:
    forms = spellings(id_)
    for row in _rows(connection, _m.message_id.in_(forms)):
        yield Near(_differs(report, row, id_, row["message_id"]), row)
    if report["message_id"] is not None:
        for row in _rows(connection, _m.transaction_id == id_):
            yield Near(Nearness.SWAPPED, row)
    elif not siblings:
        for row in _rows(connection, _m.transaction_id.in_(forms)):
            yield Near(_differs(report, row, id_, row["transaction_id"]), row)
    for row in siblings:
        yield Near(_in_transaction(report, row, len(siblings)), row)
    if report["recipient"] is not None:
        around = report["sent_at"] or report["done_at"] or report["received_at"]
        for row in _rows(
            connection,
            _m.recipient == report["recipient"],
            _m.sent_at.between(around - AROUND, around + AROUND),
        ):
            own = row["message_id"] or row["transaction_id"] or ""
            same = own.casefold() == id_.casefold()
            yield Near(Nearness.CASE if same and own != id_ else Nearness.NUMBER, row)


def spellings(id_: str) -> list[str]:
    """Return an id as it may have been recorded by mistake: in other letters, with other zeros."""
    forms = {id_, id_.lower(), id_.upper(), id_.strip()}
    if id_.isascii() and id_.isdigit():
        bare = id_.lstrip("0") or "0"
        forms |= {"0" * zeros + bare for zeros in range(MAX_ZEROS + 1)}
    return sorted(forms)


def _differs(report: RowMapping, row: RowMapping, id_: str, own: str) -> Nearness:
    """Say in what a message that does not fit differs from a report with its id, or nearly so."""
    if own != id_:
        return Nearness.CASE if own.casefold() == id_.casefold() else Nearness.ZEROS
    if row["provider"] != report["provider"]:
        return Nearness.PROVIDER
    if _is_of_another_account(report, row):
        return Nearness.ACCOUNT
    return Nearness.RECIPIENT


def _in_transaction(report: RowMapping, row: RowMapping, siblings: int) -> Nearness:
    """Say why a message of the report's own transaction is not it."""
    if _is_of_another_account(report, row):
        return Nearness.ACCOUNT
    if siblings > 1:
        return Nearness.TRANSACTION
    if row["error"] is not None:
        return Nearness.REFUSED
    # An erased number is nobody's any more: neither the report's nor another's.
    both_known = report["recipient"] is not None and row["recipient"] is not None
    return Nearness.RECIPIENT if both_known else Nearness.TRANSACTION
