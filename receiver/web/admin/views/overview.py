"""The first page: whether messages arrive, by provider, now and over time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from starlette_admin import CustomView
from starlette_admin.i18n import gettext
from starlette_admin.i18n import lazy_gettext as _
from starlette_admin.routing import route

from receiver.display import local
from receiver.domain import GROUPS, State
from receiver.monitoring.alarms import evaluate_all
from receiver.providers import PROVIDERS
from receiver.statistics import COUNTED_MAX, Overview, delivery_rate, glance

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from receiver.web.admin.backend import Backend


WINDOWS: Final = {
    "1h": (_("Last hour"), timedelta(hours=1)),
    "24h": (_("24 hours"), timedelta(hours=24)),
    "7d": (_("7 days"), timedelta(days=7)),
}
USUAL: Final = "24h"
CHARTED: Final = timedelta(hours=24)
"""The charts show at least this much."""
GROUP_WORDS: Final = {
    "delivered": _("Delivered"),
    "pending": _("Pending"),
    "silent": _("Silent"),
    "unknown": _("Unknown word"),
    "failed": _("Failed"),
    "refused": _("Refused"),
}
"""In the order of the charts, from the ground up."""
GROUP_HINTS: Final = {
    "delivered": _("The provider reported that it arrived."),
    "pending": _("Reported, but not final yet."),
    "silent": _("Nothing was reported yet."),
    "unknown": _("Reported in words we do not know."),
    "failed": _("Reported as undeliverable, expired, rejected or deleted."),
    "refused": _("The provider did not take it at sending."),
}


class OverviewPage(CustomView):
    """The page at `/`. It fetches itself again every half a minute (static/page.js)."""

    menu_label = _("Overview")
    icon = "fa-solid fa-gauge-high"
    path = "/"
    route_name = "index"

    def __init__(self, backend: Backend) -> None:
        super().__init__()
        self.backend = backend

    @route("", name="index")
    async def index(self, request: Request) -> Response:
        """Show what was counted in a window: `?window=1h`, `24h` or `7d`."""
        chosen = request.query_params.get("window", USUAL)
        chosen = chosen if chosen in WINDOWS else USUAL
        length, now = WINDOWS[chosen][1], datetime.now(UTC)
        overview = await self.backend.look(
            partial(glance, now=now, window=length, charted=max(length, CHARTED))
        )
        alarms = await self.backend.look(
            partial(evaluate_all, settings=self.backend.settings, now=now)
        )
        assert self._admin is not None  # noqa: S101 - the library sets it
        return self._admin._template_response(  # noqa: SLF001 - as the library's own views do
            request,
            "overview.html",
            {
                "title": gettext("Overview"),
                "windows": WINDOWS,
                "chosen": chosen,
                "seen": overview,
                "since": self.clock(overview.since),
                "now": self.clock(now),
                "clock": self.clock,
                "raised": [alarm for alarm in alarms if alarm.is_raised],
                "not_known": sum(alarm.state is State.NOT_KNOWN for alarm in alarms),
                "totals": totals(overview),
                "groups": GROUP_WORDS,
                "hints": GROUP_HINTS,
                "providers": {name: module.TITLE for name, module in PROVIDERS.items()},
                "many": COUNTED_MAX,
                "held": await self.backend.spooled(),
                "chart": chart(overview, str(self.backend.settings.timezone)),
            },
        )

    def clock(self, time: datetime | None) -> str:
        """Return a time to the minute, as clocks of RECEIVER_TIMEZONE show it."""
        return local(time, self.backend.settings.timezone)[:16]


def totals(overview: Overview) -> dict[str, Any]:
    """Return the sums of all providers, and the rate of them together; None without messages."""
    counts = {name: sum(line.counts[name] for line in overview.lines) for name in GROUPS}
    return counts | {"submitted": sum(counts.values()), "rate": delivery_rate(counts)}


def chart(overview: Overview, zone: str) -> dict[str, Any]:
    """Return what static/page.js draws: hours in seconds since 1970, and a list for each line."""

    def listed(name: str) -> Sequence[int]:
        return [hour.counts[name] for hour in overview.hours]

    return {
        "zone": zone,
        "hours": [int(hour.begins.timestamp()) for hour in overview.hours],
        "groups": [
            {"name": name, "label": str(label), "values": listed(name)}
            for name, label in GROUP_WORDS.items()
        ],
        "speeds": [
            {"name": "median", "label": gettext("Half within"),
             "values": [hour.median for hour in overview.hours]},
            {"name": "p95", "label": gettext("95 % within"),
             "values": [hour.p95 for hour in overview.hours]},
        ],
        "time": gettext("Time"),
        "missing": gettext("It cannot be drawn: a file of this page did not load."),
        "none": gettext("Nothing to draw yet."),
    }  # fmt: skip
