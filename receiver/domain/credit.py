"""Credit: an amount as providers write it."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from receiver.domain.errors import UnreadableError
from receiver.domain.text import MAX_ID

MAX_CREDIT: Final = Decimal(10) ** 8
"""The credit, in the provider's unit, that NUMERIC(12, 4) holds less than."""
_CREDIT_STEP: Final = Decimal("0.0001")
CREDIT: Final = "expected a number below 100,000,000 with at most 4 decimals"


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


def check_credit(value: object, name: str) -> None:
    """Raise UnreadableError where a credit is there and is none that a database holds."""
    if value is not None and (not isinstance(value, Decimal) or amount(str(value)) != value):
        raise UnreadableError(f"{name}: {CREDIT}")
