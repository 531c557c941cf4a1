"""Why the status of a message is what it is: the rule of `settling`, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from starlette_admin.i18n import gettext as _

from receiver.display import local, printable
from receiver.domain import FAILED, FINAL, RANK, Status

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime, tzinfo

    from receiver.messages import MessageDetails


Row = Mapping[Any, Any]


def why(told: MessageDetails, now: datetime, zone: tzinfo) -> list[str]:
    """Return the reasons as sentences, the one that decides first. `now` is aware."""
    reported = told.message["report_id"] is not None
    said = _decided(told, zone) if reported else _first(told, now, zone)
    if told.message["settled_at"] is None or any(r["settled_at"] is None for r in told.reports):
        said.append(_("Something new of it is still to be settled; look again in a second."))
    return said


def _first(told: MessageDetails, now: datetime, zone: tzinfo) -> list[str]:
    """Explain the status of a message that no report was linked to."""
    message = told.message
    if message["error"] is not None:
        error = printable(message["error"])
        return [
            _("The provider refused it at sending: %(error)s") % {"error": error},
            _("It has reported nothing of it since."),
        ]
    if message["sent_at"] > now:
        due = local(message["sent_at"], zone)[:16]
        return [_("It is to be sent at %(time)s, so nothing can be reported yet.") % {"time": due}]
    return [
        _("Nothing was reported of it yet. Every message is accepted until its first report."),
    ]


def _decided(told: MessageDetails, zone: tzinfo) -> list[str]:
    """Explain which of the reports decides, and what the others could not change."""
    message = told.message
    best = next((r for r in told.reports if r["id"] == message["report_id"]), None)
    if best is None:
        return [_("The report that decided is no longer kept; the message keeps what it said.")]
    said = [
        _("The provider said “%(words)s” at %(time)s, which means %(status)s.")
        % {
            "words": _words(best),
            "time": local(best["done_at"] or best["received_at"], zone)[:19],
            "status": best["status"],
        },
        *_beside(best, told.reports),
    ]
    if best["status"] == Status.UNKNOWN:
        said.append(
            _("We do not know this word. RECEIVER_STATUS_MAP gives it a meaning; then rebuild.")
        )
    return said


def _beside(best: Row, reports: Sequence[Row]) -> list[str]:
    """Say why this report decides and not another."""
    if len(reports) == 1:
        return [_("It is the only report.")]
    said = []
    rank = RANK[Status(best["status"])]
    equal = [r for r in reports if RANK[Status(r["status"])] == rank]
    if len(equal) < len(reports):
        said.append(
            _("It has the highest rank of %(count)s reports: delivered before failed, failed before"
              " on its way, that before accepted, and that before unknown.")
            % {"count": len(reports)}
        )  # fmt: skip
    if len(equal) > 1:
        said.append(_tie(best, [r for r in equal if r is not best]))
    statuses = {Status(r["status"]) for r in reports}
    if Status.DELIVERED in statuses and statuses & set(FAILED):
        said.append(_("Both delivered and failed were reported. No report undoes delivered."))
    if best["status"] in FINAL and _is_late(best, reports):
        said.append(_("A later report of the way there does not replace a final one."))
    return said


def _tie(best: Row, others: Sequence[Row]) -> str:
    """Say what parted reports of one rank."""
    if all(r["done_at"] != best["done_at"] for r in others):
        return _("Of the reports of this rank it has the latest time.")
    if all(r["done_at"] != best["done_at"] or r["status"] != best["status"] for r in others):
        return _("Of the reports of this rank and time it is the first of: %(order)s.") % {
            "order": ", ".join(FAILED)
        }
    return _("Others of this rank say the same at the same time.")


def _is_late(best: Row, reports: Sequence[Row]) -> bool:
    return any(
        r["done_at"] and best["done_at"] and r["done_at"] > best["done_at"]
        for r in reports
        if r["status"] not in FINAL
    )


def _words(report: Row) -> str:
    names = ("provider_status", "provider_code", "provider_description")
    return " ".join(printable(report[name]) for name in names if report[name])
