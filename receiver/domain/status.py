"""Statuses: the eight words of SMPP's message_state, how they rank, and the groups they make."""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple


class Status(StrEnum):
    """Where a message is: SMPP v3.4 `message_state`, in lower case."""

    UNKNOWN = "unknown"  # SMPP 7: reported in words we do not know
    ACCEPTED = "accepted"  # SMPP 6
    ENROUTE = "enroute"  # SMPP 1
    DELIVERED = "delivered"  # SMPP 2, final
    UNDELIVERABLE = "undeliverable"  # SMPP 5, final
    EXPIRED = "expired"  # SMPP 3, final
    REJECTED = "rejected"  # SMPP 8, final
    DELETED = "deleted"  # SMPP 4, final


FAILED: Final = (Status.UNDELIVERABLE, Status.EXPIRED, Status.REJECTED, Status.DELETED)
"""The statuses of a message that will not arrive, in the order that breaks a tie."""
FINAL: Final = (Status.DELIVERED, *FAILED)
"""The statuses that nothing but delivered replaces."""
UNFINISHED: Final = tuple(status for status in Status if status not in FINAL)
"""The statuses of a message that waits for more."""


class Group(NamedTuple):
    """Which messages are in a group: those that something was reported of, by their status now.

    Without `statuses` nothing was reported of them, and `refused` says whether the provider had
    turned them down at sending.
    """

    statuses: tuple[Status, ...] = ()
    refused: bool = False


GROUPS: Final = {
    "refused": Group(refused=True),
    "delivered": Group((Status.DELIVERED,)),
    "failed": Group(FAILED),
    "pending": Group((Status.ACCEPTED, Status.ENROUTE)),
    "unknown": Group((Status.UNKNOWN,)),
    "silent": Group(),
}
"""What became of a message: every one is in one of these groups."""
REPORTED: Final = {
    status.value: name for name, group in GROUPS.items() for status in group.statuses
}
"""The group of a message that something was reported of, by its status."""


def group_of(status: str, *, reported: bool, refused: bool) -> str:
    """Return what became of a message: the name of its group."""
    if reported:
        return REPORTED[status]
    return "refused" if refused else "silent"


class Approval(StrEnum):
    """What the provider says of a message template."""

    PENDING = "pending"
    APPROVED = "approved"
    REJECTED = "rejected"
    UNSUBMITTED = "unsubmitted"


# The field's standard words: the SMPP receipt's `stat` (SMPP v3.4, appendix B) and plain English.
# Every provider falls back on them, so an undocumented `Status=Delivered` is still understood.
SHARED_STATUSES: Final = {
    "delivrd": Status.DELIVERED,
    "expired": Status.EXPIRED,
    "deleted": Status.DELETED,
    "undeliv": Status.UNDELIVERABLE,
    "acceptd": Status.ACCEPTED,
    "unknown": Status.UNKNOWN,
    "rejectd": Status.REJECTED,
    "enroute": Status.ENROUTE,
    "delivered": Status.DELIVERED,
    "undelivered": Status.UNDELIVERABLE,
    "undeliverable": Status.UNDELIVERABLE,
    "rejected": Status.REJECTED,
    "accepted": Status.ACCEPTED,
    "sent": Status.ENROUTE,
    "failed": Status.UNDELIVERABLE,
    "pending": Status.ENROUTE,
}

# Which report decides: the lower number first. No report undoes delivered, and a late interim
# report never replaces a final one.
RANK: Final = {
    Status.DELIVERED: 0,
    **dict.fromkeys(FAILED, 1),
    Status.ENROUTE: 2,
    Status.ACCEPTED: 3,
    Status.UNKNOWN: 4,
}
