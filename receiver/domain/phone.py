"""Phone numbers as MSISDN: digits with the country code, no plus."""

from __future__ import annotations

import re
from typing import Final

from receiver.domain.spoiled import whole_number
from receiver.domain.text import MAX_ID, UNSEEN, bare

MSISDN: Final = re.compile(r"[1-9][0-9]{7,14}")
_THAI_MOBILE: Final = re.compile(r"66[689][0-9]{8}")
WITHOUT_ZERO: Final = re.compile(r"(?:6[1-6]|[89][0-9])[0-9]{7}")
"""A Thai mobile number whose 0 a spreadsheet took, or PHP's `(int)`: no other country's numbers are
of nine digits that begin so, but for a few old ones of Myanmar."""
_NUMBER: Final = re.compile(rf"[\s\d+().\-/{UNSEEN}]+")
NO_NUMBER: Final = "expected a phone number of 8 to 15 digits"
_CLAMPED: Final = ("2147483647", "4294967295")
"""What 32 bits make of a number that is too large for them; no country's numbers begin so."""


def loses_zero(number: str) -> bool:
    """Say whether a Thai number, with country code, is known from its nine digits alone."""
    return number.startswith("66") and WITHOUT_ZERO.fullmatch(number[2:]) is not None


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
    number = whole_number(bare(text).removeprefix("'"))  # as spreadsheets mark a cell that is text
    if number is None or not _NUMBER.fullmatch(number):
        return None
    digits = "".join(str(int(c)) for c in number if c.isdigit())
    digits = digits.removeprefix("00")
    if digits.startswith(("66", "0")):
        digits = _thai(digits) or digits
    elif WITHOUT_ZERO.fullmatch(digits):
        digits = f"66{digits}"
    return digits if MSISDN.fullmatch(digits) and digits not in _CLAMPED else None


def _thai(digits: str) -> str | None:
    """Return a Thai number written at home or abroad, with country code."""
    # Imported on first use: its tables are slow to load and most numbers never need them.
    import phonenumbers

    try:
        number = phonenumbers.parse(digits if digits.startswith("0") else "+" + digits, "TH")
    except phonenumbers.NumberParseException:
        return None
    return f"{number.country_code}{number.national_number}"
