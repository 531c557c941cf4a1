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

        result = await self.backend.look(work)
        if result is None:
            return None
        self.note(request, "looked at", found=1)
        request.state.sought = result[1]
        request.state.rules = rules(*result)
        request.state.verdict = verdict(result[1])
        request.state.words = NEARNESS_WORDS
        request.state.local = partial(local, zone=self.backend.settings.timezone)
        return result[0]


def rules(report: RowMapping, diagnosis: Diagnosis) -> list[str]:
    """Say what was looked for, rule by rule, as receiver/settling/settle.py does."""
    values = {"id": diagnosis.id, "provider": report["provider"], "number": diagnosis.recipient,
             "transaction": diagnosis.transaction_id}  # fmt: skip
    sentences = []
    if diagnosis.recipient is None:
        sentences.append(gettext("A message of %(provider)s whose message id is %(id)s.") % values)
    else:
        sentences.append(
            gettext("A message of %(provider)s to %(number)s whose message id is %(id)s.") % values
        )
    if diagnosis.transaction_id is not None and diagnosis.recipient is not None:
        sentences.append(
            gettext("Else one to %(number)s of transaction %(transaction)s, where only one of the"
                    " two names a message id.") % values
        )  # fmt: skip
    if report["message_id"] is None and diagnosis.recipient is None:
        sentences.append(gettext("Else the only message of transaction %(transaction)s.") % values)
    return sentences


def verdict(diagnosis: Diagnosis) -> str:
    """Say in one sentence what is likely wrong."""
    if not diagnosis.near:
        return gettext(
            "Nothing like it is recorded. Does your application record what it sends, and was"
            " this message sent by it? As soon as it is recorded, the report finds it."
        )
    first = diagnosis.near[0].nearness
    if first is Nearness.TRANSACTION and diagnosis.siblings > 1:
        return gettext(
            "The transaction is known, but has several messages, and the report says neither"
            " which nor to whom. Such reports are counted, and not guessed at."
        )
    return f"{NEARNESS_WORDS[first]}."
