"""What a callback means: statuses, reports and sent messages, as values that check themselves."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Final

from receiver.errors import UnreadableError

MAX_ID: Final = 200
"""Characters of an id, a sender, a tag, an account, a reference, a provider's word."""
MAX_TEXT: Final = 2000
"""Characters kept of a description or of callback data."""
MAX_ERROR: Final = 2 * MAX_TEXT
"""Characters of a provider's error, whose name and code stand before its description."""
MAX_CREDIT: Final = Decimal(10) ** 8
"""NUMERIC(12, 4) holds less than this."""
_CREDIT_STEP: Final = Decimal("0.0001")
CREDIT: Final = "expected a number below 100,000,000 with at most 4 decimals"
YEARS: Final = range(2000, 2100)
"""Years of a believable time."""
TIME: Final = "expected a time such as 2026-11-21T10:00:00+07:00"


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

# NUL cannot be kept by PostgreSQL, and a lone surrogate cannot be written as UTF-8.
_UNKEEPABLE: Final = re.compile("[\x00\ud800-\udfff]")


def keepable(text: str | None, limit: int = MAX_ID) -> str | None:
    """Return optional text without surrounding white space; None where it cannot be kept."""
    if text is None:
        return None
    text = text.strip()
    if not text or len(text) > limit or _UNKEEPABLE.search(text):
        return None
    return text


def shortened(text: str | None) -> str | None:
    """Return the first 2,000 characters of a description; None where it cannot be kept."""
    return None if text is None else keepable(text.strip()[:MAX_TEXT], MAX_TEXT)


def required(text: str, name: str) -> str:
    """Return a text that must be there, checked.

    Raises UnreadableError that names the field where it is empty, over 200 characters, or holds
    NUL or a lone surrogate.
    """
    text = text.strip()
    if not bare(text):
        raise UnreadableError(f"{name}: expected text, got nothing")
    _check_text(text, name, MAX_ID)
    return text


def _check_text(text: str | None, name: str, limit: int) -> None:
    """Raise UnreadableError where a text is there that a database could not hold."""
    if text is None:
        return
    if len(text) > limit:
        raise UnreadableError(f"{name}: expected at most {limit} characters, got {len(text)}")
    if _UNKEEPABLE.search(text):
        raise UnreadableError(f"{name}: expected text, got a NUL or half a character")


def amount(text: str | None) -> Decimal | None:
    """Return a credit as NUMERIC(12, 4) holds it; None where it cannot be held exactly enough.

    NaN, infinities, exponents out of range and anything that is no number are None.
    """
    if text is None or len(text) > MAX_ID:
        return None
    try:
        value = Decimal(text.strip())
        # By its exponent: arithmetic with 1e999999999 overflows.
        if not value.is_finite() or (value and value.adjusted() >= MAX_CREDIT.adjusted()):
            return None
        value = value.quantize(_CREDIT_STEP)
    except ArithmeticError:
        return None
    return value if abs(value) < MAX_CREDIT else None  # 99999999.99999 is rounded up


def _check_credit(value: object, name: str) -> None:
    """Raise UnreadableError where a credit is there and is none that a database holds."""
    if value is not None and (not isinstance(value, Decimal) or amount(str(value)) != value):
        raise UnreadableError(f"{name}: {CREDIT}")


# What tools leave at the ends of a text: byte-order marks, marks of direction, spaces of no width.
_UNSEEN: Final = "\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff"
_ENDS: Final = re.compile(rf"\A[\s{_UNSEEN}]+|[\s{_UNSEEN}]+\Z")


def bare(text: str) -> str:
    """Return a text, such as an id, without white space and invisible characters at its ends."""
    return text if text.isascii() and text == text.strip() else _ENDS.sub("", text)


_MSISDN: Final = re.compile(r"[1-9][0-9]{7,14}")
_THAI_MOBILE: Final = re.compile(r"66[689][0-9]{8}")
_WITHOUT_ZERO: Final = re.compile(r"(?:6[1-6]|[89][0-9])[0-9]{7}")
"""A Thai mobile number whose 0 a spreadsheet took, or PHP's `(int)`: no other country's numbers are
of nine digits that begin so, but for a few old ones of Myanmar."""
_NUMBER: Final = re.compile(rf"[\s\d+().\-/{_UNSEEN}]+")
_FLOAT: Final = re.compile(r"(\+?[0-9]{8,})\.([0-9]+)")
_EXPONENT: Final = re.compile(r"\+?([1-9])(?:[.,]([0-9]+))?E\+?([0-9]{1,2})", re.IGNORECASE)
NO_NUMBER: Final = "expected a phone number of 8 to 15 digits"
_CLAMPED: Final = ("2147483647", "4294967295")
"""What 32 bits make of a number that is too large for them; no country's numbers begin so."""


def loses_zero(number: str) -> bool:
    """Say whether a number, with country code, is still told without it and without its 0."""
    return number.startswith("66") and _WITHOUT_ZERO.fullmatch(number[2:]) is not None


def msisdn(text: str | None) -> str | None:
    """Return a phone number as digits with country code and no plus; None where it is none.

    Numbers that start with 0 or 66 are read as Thai ones, others as international digits. 8 to
    15 digits that do not start with 0 are kept as they are, even where the numbering plan does
    not know them: the providers' own samples are such (documented). What a tool made of a number
    is read as what it was where that is certain: `66812345678.0`, `6.6812345678E+10` with all of
    its digits, and the nine digits of a Thai mobile number without its 0.
    """
    if text is None or len(text) > MAX_ID:
        return None
    if _THAI_MOBILE.fullmatch(text):  # the normal form, and by far the commonest
        return text
    whole = whole_number(bare(text).removeprefix("'"))  # as spreadsheets mark a cell that is text
    if whole is None or not _NUMBER.fullmatch(whole):
        return None
    digits = "".join(str(int(c)) for c in whole if c.isdigit())
    digits = digits.removeprefix("00")
    if digits.startswith(("66", "0")):
        digits = _thai(digits) or digits
    elif _WITHOUT_ZERO.fullmatch(digits):
        digits = f"66{digits}"
    return digits if _MSISDN.fullmatch(digits) and digits not in _CLAMPED else None


def whole_number(text: str) -> str | None:
    """Return a phone number as it was before a tool took it for one to calculate with.

    None where digits were lost, or where they are of a fraction. Any other text is returned as it
    is.
    """
    if found := _FLOAT.fullmatch(text):
        return None if found[2].strip("0") else found[1]
    if found := _EXPONENT.fullmatch(text):
        fraction = found[2] or ""
        return found[1] + fraction if len(fraction) == int(found[3]) else None
    return text


SPOILED: Final = "a spreadsheet has rounded it; make the column text there"
_ROUNDED_ID: Final = re.compile(r"[0-9]{16,20}")
_PRECISE: Final = 15
"""Digits that a spreadsheet keeps of a number; it makes zeros of the others."""
_NO_CHANCE: Final = 3
"""Zeros at the end of an id that are no chance; fewer may be its own."""


def is_rounded(text: str) -> bool:
    """Say whether an id or a number was rounded: digits of it are lost.

    Such are `2.70715E+19` and `27071450371600000000`: 16 to 20 digits of which those after the
    15th are zeros, and three at least, since the last digits of a good id may be zeros too.
    """
    if _EXPONENT.fullmatch(text):  # with a sign or a point, which no id in hexadecimal has
        return not text.isalnum()
    if not _ROUNDED_ID.fullmatch(text):
        return False
    return len(text) - len(text.rstrip("0")) >= max(_NO_CHANCE, len(text) - _PRECISE)


def _thai(digits: str) -> str | None:
    """Return a Thai number written at home or abroad, with country code."""
    # Imported on first use: its tables are slow to load and most numbers never need them.
    import phonenumbers

    try:
        number = phonenumbers.parse(digits if digits.startswith("0") else "+" + digits, "TH")
    except phonenumbers.NumberParseException:
        return None
    return f"{number.country_code}{number.national_number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One provider statement about one message, in the provider's words.

    Texts are as the provider wrote them, without surrounding white space; `position` is the
    item's place in its callback, from 0. `provider_time` is when the status came about (the
    provider's "done"), `provider_sent_time` when the provider sent the message. At least one id
    is given. Raises UnreadableError where an id or the status cannot be kept verbatim.
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
        if self.transaction_id is not None:
            required(self.transaction_id, "transaction id")
        if self.message_id is not None:
            required(self.message_id, "message id")
        _check_credit(self.credit, "credit")

    def digest(self, provider: str) -> bytes:
        """Return 16 bytes that are the same for a repeat and differ for anything else.

        They are made of what the provider wrote, never of what we derive from it, so that no
        later change of a zone, a table or a parser makes a repeat look new.
        """
        said = json.dumps(
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
        return hashlib.blake2b(said.encode(), digest_size=16).digest()


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
            _check_text(getattr(self, name), name, MAX_TEXT)


Item = Report | TemplateReview | Unreadable
"""What a callback is read as, item by item."""


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
        _check_text(self.recipient, "recipient", MAX_ID)
        _check_text(self.error, "error", MAX_ERROR)
        _check_credit(self.credit, "credit")
        _check_credit(self.remaining, "remaining")
        if self.sent_at is not None and self.sent_at.year not in YEARS:
            raise UnreadableError(f"sent_at: {TIME}")
        if self.error is not None:
            return
        if msisdn(self.recipient) != self.recipient:
            why = SPOILED if is_rounded(self.recipient) else NO_NUMBER
            raise UnreadableError(f"recipient: {why}")
        if self.message_id is None and self.transaction_id is None:
            raise UnreadableError("expected a message_id or a transaction_id, got neither")
