"""Messages: looked for by anything, and each with its story."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from starlette_admin.i18n import lazy_gettext as _

from receiver.display import body, local
from receiver.domain import group_of
from receiver.messages import search
from receiver.web.admin.views.explanation import why
from receiver.web.admin.views.lists import PROVIDER_WORDS, List, choice, column, time, word
from receiver.web.admin.views.overview import GROUP_WORDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection
    from starlette.requests import Request
    from starlette_admin.fields import BaseField


class Messages(List):
    """What was sent, and what became of it."""

    key = "sent"
    menu_label = _("Messages")
    display_name = _("message")
    icon = "fa-solid fa-message"
    kind = search.MESSAGES
    detail_template = "message.html"
    hint = _(
        "An id, a reference, a phone number in any form (081-234-5678, +66 81 234 5678), a sender,"
        " a tag, a status or a day (2026-11-22)."
    )

    def columns(self) -> Sequence[BaseField]:
        """Return the columns."""
        return [
            column("id", _("No."), exclude_from_list=True),
            time("sent_at", _("Sent"), self.backend),
            choice(
                "state",
                _("State"),
                GROUP_WORDS,
                getter=lambda _r, row: state(row),
                list_template="fields/list/state.html",
            ),
            word("recipient", _("Recipient")),
            choice("provider", _("Provider"), PROVIDER_WORDS),
            word("account", _("Account")),
            word("sender", _("Sender")),
            word("tag", _("Tag")),
            word("reference", _("Reference")),
            column("message_id", _("Message id")),
            column("transaction_id", _("Transaction id"), exclude_from_list=True),
            word("status", _("Status")),
            time("done_at", _("Done"), self.backend),
        ]

    async def find_by_pk(self, request: Request, pk: Any) -> Any:
        """Return a message with its reports and callbacks, what it is in words, and why."""

        def work(connection: Connection) -> tuple[search.MessageDetails, list[list[str]]] | None:
            told = search.message(connection, str(pk))
            if told is None:
                return None
            return told, [body.readable_lines(row["body"], row["length"]) for row in told.callbacks]

        found = await self.backend.look(work)
        if found is None:
            return None
        told, request.state.bodies = found
        self.note(request, "looked at", found=1)
        zone = self.backend.settings.timezone
        request.state.told = told
        request.state.why = why(told, datetime.now(UTC), zone)
        request.state.group = state(told.message)
        request.state.local = partial(local, zone=zone)
        return told.message


def state(message: Any) -> str:
    """Return the group of the figures that a message is in; search.STATES says it in SQL."""
    reported, refused = message["report_id"] is not None, message["error"] is not None
    return group_of(message["status"], reported=reported, refused=refused)
