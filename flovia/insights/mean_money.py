"""Money that is no whole number of base units: what one attempt brings, for people."""

from decimal import Context, Decimal
from math import floor, log10
from typing import Final

from flovia.core.errors import WiringError
from flovia.core.money import WRITTEN_WHOLE, exponent

SIGNIFICANT: Final = 3
"""Significant digits that are shown at least."""
_EXACT: Final = Context(prec=1100)
"""No float has more digits, so moving the point rounds nothing."""


def mean_money(base_units: float, currency: str | None, *, digits: int | None = None) -> str:
    """``0.357 USD`` for 35.72 base units: rounded (half to even) to a digit more than the currency has, or to more.

    Args:
        base_units: the amount; may be below zero.
        currency: ISO 4217, or a payment method's own, of which base units are shown.
        digits: after the point, as :func:`digits_of` says of another amount; this one's own if left out.
    """
    shown = digits_of(base_units, currency) if digits is None else digits
    try:
        places, code = exponent(currency or ""), (currency or "").upper()
    except WiringError:
        places, code = 0, currency or ""
    return f"{Decimal(base_units).scaleb(-places, _EXACT):.{shown}f} {code}".rstrip()


def digits_of(base_units: float, currency: str | None) -> int:
    """Digits after the point: one more than the currency is written with, or what three significant ones need."""
    try:
        places = exponent(currency or "")
    except WiringError:
        places = 0
    written = 0 if (currency or "").lower() in WRITTEN_WHOLE else places
    needed = SIGNIFICANT - 1 - floor(log10(abs(base_units))) + places if base_units else 0
    return max(written + 1, needed)
