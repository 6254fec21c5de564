"""Prices as integers in base units (cents, yen, fils): never a float, never a rounding."""

import re
from typing import Final

import attrs

from flovia.core._currencies import EXPONENTS
from flovia.core.errors import ParseError, WiringError

MAX_DIGITS: Final = 15
"""Most digits of a price in base units: below 2^53, so that every JSON reader keeps it exact."""

MAX_WIRE_DIGITS: Final = 78
"""Most digits of an amount on the wire: payment methods with 18 decimals and 256-bit amounts exist."""

WRITTEN_WHOLE: Final = frozenset({"idr"})
"""Currencies with decimals in ISO 4217 that nobody uses: whole amounts are written without them (HitPay's samples)."""

_PRICE: Final = re.compile(r"([^ ]+) ([A-Z]{3}|[a-z]{3})").fullmatch
_AMOUNT: Final = re.compile(r"(0|[1-9][0-9]*+)(?:\.([0-9]++))?").fullmatch
_WIRE: Final = re.compile(r"0|[1-9][0-9]*+").fullmatch


@attrs.frozen(kw_only=True)
class Price:
    """What a call costs: ``amount`` in base units, more than 0, and ``currency`` (ISO 4217, lower case).

    Raises:
        WiringError: an amount or currency that cannot be charged.
    """

    amount: int
    currency: str

    def __attrs_post_init__(self) -> None:
        exponent(self.currency)
        if self.currency != self.currency.lower():
            raise WiringError(f"write the currency in lower case: {self.currency.lower()!r}")
        if type(self.amount) is not int:
            raise WiringError("a price is an int in base units (cents), or a text: Price.parse('1.00 SGD')")
        if self.amount <= 0:
            raise WiringError("a price has to be more than zero: leave a free route without a gate")
        if self.amount >= 10**MAX_DIGITS:
            raise WiringError(f"a price has at most {MAX_DIGITS} digits in base units")

    @classmethod
    def parse(cls, text: str) -> "Price":
        """Read ``digits[.digits] CODE``, for example ``"1.00 SGD"``: ASCII, one space, no sign, no separators.

        Fewer fraction digits than the currency has are fine, more are refused.

        Raises:
            WiringError: anything else; the message says what to write.
        """
        if type(text) is not str:
            raise WiringError(f"a price is a text like '1.00 SGD', not {type(text).__name__}")
        match = _PRICE(text)
        if match is None:
            raise WiringError(f"{text[:40]!r} is no price: write an amount, one space and a currency, '1.00 SGD'")
        return cls(amount=to_base_units(match[1], match[2]), currency=match[2].lower())

    def __str__(self) -> str:
        digits = exponent(self.currency)
        code = self.currency.upper()
        if not digits:
            return f"{self.amount} {code}"
        whole, fraction = divmod(self.amount, 10**digits)
        if not fraction and self.currency in WRITTEN_WHOLE:
            return f"{whole} {code}"
        return f"{whole}.{fraction:0{digits}d} {code}"


def exponent(currency: str) -> int:
    """How many decimal digits the currency's base unit is away from it (ISO 4217): 2 for SGD, 0 for JPY.

    Raises:
        WiringError: not the code of a currency with a base unit.
    """
    found = EXPONENTS.get(currency.lower()) if type(currency) is str and currency.isascii() else None
    if found is None:
        raise WiringError(f"{currency!r:.40} is not the ISO 4217 code of a currency: write three letters, like 'SGD'")
    return found


def to_base_units(amount: str, currency: str) -> int:
    """``amount`` (``digits[.digits]``, ASCII) in base units of ``currency`` (either case).

    Raises:
        WiringError: not such a text, more fraction digits than the currency has, or more than 15 digits.
    """
    digits = exponent(currency)
    match = _AMOUNT(amount) if type(amount) is str else None
    if match is None:
        raise WiringError(
            f"{amount!r:.40} is no amount: write ASCII digits with at most one point, as text, like '1.00'"
        )
    whole, fraction = match[1], match[2] or ""
    if len(fraction) > digits:
        raise WiringError(
            f"{currency.upper()} has {digits} decimal digits, {amount!r:.40} has more: nothing is rounded"
        )
    text = (whole + fraction.ljust(digits, "0")).lstrip("0")
    if len(text) > MAX_DIGITS:
        raise WiringError(f"an amount has at most {MAX_DIGITS} digits in base units")
    return int(text or "0")


def check_amount(wire: object) -> int:
    """An amount from the wire: text, digits of base units without leading zeros (H01).

    Raises:
        ParseError: anything else, an int included, and more than 78 digits.
    """
    if type(wire) is not str or len(wire) > MAX_WIRE_DIGITS or not _WIRE(wire):
        raise ParseError("amount is not a text of ASCII digits in base units")
    return int(wire)
