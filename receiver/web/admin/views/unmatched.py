"""Reports that belong to no message: what was looked for, and what comes nearest."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from starlette_admin.i18n import gettext
from starlette_admin.i18n import lazy_gettext as _

from receiver.display import local
from receiver.messages import search
from receiver.settling import Diagnosis, Nearness, nearest
from receiver.web.admin.views.lists import PROVIDER_WORDS, List, choice, column, time, word

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection, RowMapping
    from starlette.requests import Request
    from starlette_admin.fields import BaseField


NEARNESS_WORDS: Final = {
    Nearness.SEVERAL: _("It fits, and so do others: with two candidates nothing is guessed"),
    Nearness.PROVIDER: _("The same id, recorded under another provider"),
    Nearness.ACCOUNT: _("The same id, recorded under another account"),
    Nearness.RECIPIENT: _("The same id, recorded for another recipient"),
    Nearness.CASE: _("The same id in other letters (ids are compared with case)"),
    Nearness.ZEROS: _("The same id with other leading zeros"),
    Nearness.SWAPPED: _("The report's message id is recorded as a transaction id"),
    Nearness.TRANSACTION: _("Of the same transaction; the report does not say which message"),
    Nearness.REFUSED: _("Of the same transaction, but the provider refused it at sending"),
    Nearness.NUMBER: _("To the same number about that time, under another id"),
}


class Unmatched(List):
    """What was reported of messages that nobody recorded."""

    key = "unmatched"
    menu_label = _("Unmatched")
    display_name = _("unmatched report")
    icon = "fa-solid fa-link-slash"
    kind = search.UNMATCHED
    detail_template = "report.html"
    hint = _("An id, a phone number, a sender, a status or a day (2026-11-22).")

    def columns(self) -> Sequence[BaseField]:
        """Return the columns."""
        return [
            column("id", _("No."), exclude_from_list=True),
            time("received_at", _("Received"), self.backend),
            choice("provider", _("Provider"), PROVIDER_WORDS),
            word("account", _("Account")),
            word("status", _("Status")),
            column("provider_status", _("Provider's word")),
            column("message_id", _("Message id")),
            column("transaction_id", _("Transaction id")),
            word("recipient", _("Recipient")),
            word("sender", _("Sender")),
            column("repeats", _("Repeats")),
        ]

    async def find_by_pk(self, request: Request, pk: Any) -> Any:
        """Return a report, and with the request what comes nearest to it."""

        def work(connection: Connection) -> tuple[RowMapping, Diagnosis] | None:
            row = search.report(connection, str(pk))
            return None if row is None else (row, nearest(connection, row))

        found = await self.backend.look(work)
        if found is None:
            return None
        self.note(request, "looked at", found=1)
        request.state.sought = found[1]
        request.state.rules = rules(*found)
        request.state.verdict = verdict(found[1])
        request.state.words = NEARNESS_WORDS
        request.state.local = partial(local, zone=self.backend.settings.timezone)
        return found[0]


def rules(report: RowMapping, sought: Diagnosis) -> list[str]:
    """Say what was looked for, rule by rule, as receiver/settling/settle.py does."""
    given = {"id": sought.id, "provider": report["provider"], "number": sought.recipient,
             "transaction": sought.transaction_id}  # fmt: skip
    said = []
    if sought.recipient is None:
        said.append(gettext("A message of %(provider)s whose message id is %(id)s.") % given)
    else:
        said.append(
            gettext("A message of %(provider)s to %(number)s whose message id is %(id)s.") % given
        )
    if sought.transaction_id is not None and sought.recipient is not None:
        said.append(
            gettext("Else one to %(number)s of transaction %(transaction)s, where only one of the"
                    " two names a message id.") % given
        )  # fmt: skip
    if report["message_id"] is None and sought.recipient is None:
        said.append(gettext("Else the only message of transaction %(transaction)s.") % given)
    return said


def verdict(sought: Diagnosis) -> str:
    """Say in one sentence what is likely wrong."""
    if not sought.near:
        return gettext(
            "Nothing like it is recorded. Does your application record what it sends, and was"
            " this message sent by it? As soon as it is recorded, the report finds it."
        )
    first = sought.near[0].nearness
    if first is Nearness.TRANSACTION and sought.siblings > 1:
        return gettext(
            "The transaction is known, but has several messages, and the report says neither"
            " which nor to whom. Such reports are counted, and not guessed at."
        )
    return f"{NEARNESS_WORDS[first]}."
