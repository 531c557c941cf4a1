"""Callbacks that could not be read, whole or in part: why, what they hold, and once again."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from starlette_admin import RequestAction
from starlette_admin.actions import row_action
from starlette_admin.exceptions import ActionFailed
from starlette_admin.flash import flash
from starlette_admin.i18n import gettext
from starlette_admin.i18n import lazy_gettext as _

from receiver.display import body, local
from receiver.domain import ReceiverError, UnreadableError
from receiver.ingest import callbacks
from receiver.messages import search
from receiver.web.admin.views.lists import PROVIDER_WORDS, List, choice, column, time, word

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection, RowMapping
    from starlette.requests import Request
    from starlette_admin.fields import BaseField


OUTCOME_WORDS: Final = {"unreadable": _("Unreadable"), "partial": _("Partly read")}


class Callbacks(List):
    """What providers sent that could not be read."""

    key = "unreadable"
    menu_label = _("Unreadable")
    display_name = _("unreadable callback")
    icon = "fa-solid fa-file-circle-question"
    kind = search.UNREADABLE
    detail_template = "callback.html"
    row_actions: Sequence[str] = ("view", "replay")
    hint = _("A callback's id, an account, an address or a day (2026-11-22).")

    def columns(self) -> Sequence[BaseField]:
        """Return the columns."""
        return [
            time("received_at", _("Received"), self.backend),
            choice("outcome", _("Outcome"), OUTCOME_WORDS),
            choice("provider", _("Provider"), PROVIDER_WORDS),
            word("account", _("Account")),
            column("error", _("What is wrong")),
            column("report_count", _("Reports")),
            column("repeats", _("Repeats")),
            column("id", _("Callback")),
        ]

    async def find_by_pk(self, request: Request, pk: Any) -> Any:
        """Return a callback, and with the request its body as people read it."""

        def work(connection: Connection) -> tuple[RowMapping, list[str]] | None:
            try:
                row = callbacks.kept_callback(connection, str(pk), head=body.MAX_SHOWN)
            except UnreadableError:
                return None
            return row, body.readable_lines(row["body"], row["length"])

        row, request.state.body = await self.backend.look(work) or (None, [])
        if row is not None:
            request.state.local = partial(local, zone=self.backend.settings.timezone)
            if request.state.action is RequestAction.DETAIL:
                self.note(request, "looked at", callback=row["id"])
        return row

    @row_action(
        name="replay",
        text=_("Read again"),
        confirmation=_("Read this callback again, under today's settings and program?"),
        icon_class="fa-solid fa-rotate-right",
        submit_btn_text=_("Read again"),
        action_btn_class="btn btn-primary",
    )
    async def replay(self, request: Request, pk: Any) -> None:
        """Read a callback again, as the command `replay` does."""
        try:
            done = await self.backend.replay(str(pk))
        except ReceiverError as error:
            raise ActionFailed(str(error)) from None
        outcome = next(iter(done.outcomes), "")
        self.note(request, "replayed", callback=str(pk), outcome=outcome, new=done.new_reports)
        values = {
            "read": gettext("It is read now: %(count)s new reports."),
            "partial": gettext("A part of it is read now: %(count)s new reports."),
        }.get(outcome, gettext("It still cannot be read."))
        kind = {"read": "success", "partial": "warning"}.get(outcome, "error")
        flash(request, values % {"count": done.new_reports}, kind)
