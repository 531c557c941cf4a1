"""Reports: what a provider says of one message, as a value that checks itself."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final

from receiver.domain.credit import check_credit
from receiver.domain.errors import UnreadableError
from receiver.domain.text import MAX_TEXT, bare, check_text, keepable, required, shortened

if TYPE_CHECKING:
    from decimal import Decimal

    from receiver.domain.status import Approval


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One provider statement about one message, in the provider's words.

    Texts are as the provider wrote them, without surrounding white space; `position` is the
    item's place in its callback, from 0. `provider_time` is when the status came about (the
    provider's "done"), `provider_sent_time` when the provider sent the message. At least one id
    is given. Raises UnreadableError where an id or the status cannot be kept verbatim; any other
    text that cannot be kept is None, and a description keeps its first 2,000 characters.
    """

    position: int
    provider_status: str
    transaction_id: str | None = field(default=None, repr=False)
    message_id: str | None = field(default=None, repr=False)
    provider_recipient: str | None = field(default=None, repr=False)
    sender: str | None = None
    provider_code: str | None = None
    provider_description: str | None = field(default=None, repr=False)
    provider_time: str | None = None
    provider_sent_time: str | None = None
    credit: Decimal | None = None
    callback_data: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        required(self.provider_status, "status")
        if self.transaction_id is None and self.message_id is None:
            raise UnreadableError("expected a message id or a transaction id, got neither")
        for name, clean in _CLEANED.items():
            text = getattr(self, name)
            if text is not None and (cleaned := clean(text)) != text:
                object.__setattr__(self, name, cleaned)
        if self.transaction_id is not None:
            required(self.transaction_id, "transaction id")
        if self.message_id is not None:
            required(self.message_id, "message id")
        check_credit(self.credit, "credit")

    def as_row(self) -> dict[str, Any]:
        """Return its values by their columns; ids lose what is invisible at their ends.

        Only here: the digest is of the ids as they were written, like those that are kept.
        """
        values = {name: getattr(self, name) for name in _COLUMNS}
        ids = ("transaction_id", "message_id")
        return values | {name: values[name] and bare(values[name]) for name in ids}

    def digest(self, provider: str) -> bytes:
        """Return 16 bytes that are the same for a repeat and differ for anything else.

        They are made of what the provider wrote, never of what we derive from it, so that no
        later change of a zone, a table or a parser makes a repeat look new.
        """
        text = json.dumps(
            (
                provider,
                self.transaction_id,
                self.message_id,
                self.provider_recipient,
                self.provider_status,
                self.provider_code,
                self.provider_description,
                self.provider_time,
            )
        )
        return hashlib.blake2b(text.encode(), digest_size=16).digest()


_COLUMNS: Final = tuple(one.name for one in fields(Report))
_CLEANED: Final[dict[str, Callable[[str], str | None]]] = {
    "provider_recipient": keepable,
    "sender": keepable,
    "provider_code": keepable,
    "provider_description": shortened,
    "provider_time": keepable,
    "provider_sent_time": keepable,
    "callback_data": shortened,
}
"""What becomes of the optional texts of a report."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """An item of a callback that is no report: its place, from 0, and why."""

    position: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateReview:
    """What a provider decided about one message template, in a callback.

    `message` is its reason, `provider_time` when it was decided, as the provider wrote it. Raises
    UnreadableError where the id cannot be kept verbatim.
    """

    position: int
    template_id: str
    approval: Approval
    message: str | None = None
    provider_time: str | None = None

    def __post_init__(self) -> None:
        required(self.template_id, "template_id")
        for name in ("message", "provider_time"):
            check_text(getattr(self, name), name, MAX_TEXT)


Item = Report | TemplateReview | Unreadable
"""What a callback is read as, item by item."""
