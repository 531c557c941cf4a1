"""Sent messages: what was handed to a provider, as a value that checks itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from receiver.domain.credit import check_credit
from receiver.domain.errors import UnreadableError
from receiver.domain.phone import NO_NUMBER, msisdn
from receiver.domain.spoiled import SPOILED, is_rounded
from receiver.domain.text import MAX_ERROR, MAX_ID, bare, check_text, required
from receiver.domain.times import TIME, YEARS

if TYPE_CHECKING:
    from decimal import Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class SentMessage:
    """One message that was handed to a provider.

    `recipient` is digits with country code, or, where the provider refused it (`error`), as it
    was given if it is no number. A message that was not refused has an id. Empty text is None.
    Ids lose invisible characters at their ends. `remaining` is what the sending left of the
    account's credit, in the provider's unit, and `credit_type` what the provider calls that credit;
    both where it says so.
    Raises UnreadableError that names the field.
    """

    recipient: str = field(repr=False)
    message_id: str | None = field(default=None, repr=False)
    transaction_id: str | None = field(default=None, repr=False)
    credit: Decimal | None = None
    remaining: Decimal | None = None
    credit_type: str | None = None
    error: str | None = field(default=None, repr=False)
    sender: str | None = None
    tag: str | None = field(default=None, repr=False)
    reference: str | None = field(default=None, repr=False)
    template_id: str | None = None
    account: str = ""
    sent_at: datetime | None = None
    refusal_key: bytes | None = None

    def __post_init__(self) -> None:
        for name in ("message_id", "transaction_id"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, bare(required(value, name)))
        for name in ("sender", "tag", "reference", "template_id", "credit_type"):
            value = getattr(self, name)
            if value is not None:
                required(value, name)
        if self.account:
            required(self.account, "account")
        check_text(self.recipient, "recipient", MAX_ID)
        check_text(self.error, "error", MAX_ERROR)
        check_credit(self.credit, "credit")
        check_credit(self.remaining, "remaining")
        if self.sent_at is not None and self.sent_at.year not in YEARS:
            raise UnreadableError(f"sent_at: {TIME}")
        if self.error is not None:
            return
        if msisdn(self.recipient) != self.recipient:
            why = SPOILED if is_rounded(self.recipient) else NO_NUMBER
            raise UnreadableError(f"recipient: {why}")
        if self.message_id is None and self.transaction_id is None:
            raise UnreadableError("expected a message_id or a transaction_id, got neither")
