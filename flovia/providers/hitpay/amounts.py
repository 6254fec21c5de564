"""Money as HitPay writes it, and back: a table, strict text, integers, never a rounding.

HitPay takes decimal texts of the currency's unit (``"1.00"`` sgd). Two scales differ for rupiah: ISO 4217 and so the
challenge count two decimals, HitPay's samples none. What does not fit the coarser of the two is refused.
"""

import re
from typing import Final

import attrs

from flovia.core.errors import ParseError, WiringError
from flovia.core.money import MAX_DIGITS, Price, exponent, to_base_units
from flovia.providers.hitpay.config import HitPayConfig, Source


@attrs.frozen(kw_only=True)
class Currency:
    """One currency. ``decimals``: how many HitPay writes. ``rail``: what the broker offers a payer for it."""

    code: str
    decimals: int
    rail: str
    source: Source
    why: str


def _documented(code: str, decimals: int, rail: str, why: str) -> Currency:
    return Currency(code=code, decimals=decimals, rail=rail, source="documented", why=why)


CURRENCIES: Final[dict[str, Currency]] = {
    row.code: row
    for row in (
        _documented("sgd", 2, "PayNow", "HitPay's MPP samples"),
        _documented("myr", 2, "FPX", "HitPay's MPP samples; its landing page adds DuitNow"),
        Currency(
            code="idr",
            decimals=0,
            rail="QRIS",
            source="choice",
            why="the samples write 50000 and round caps to whole rupiah; ISO 4217 has two decimals",
        ),
        _documented("php", 2, "GCash, PayMaya", "HitPay's MPP samples"),
        _documented("thb", 2, "PromptPay", "HitPay's MPP samples"),
    )
}
"""The currencies of HitPay's MPP samples. Another one has to be allowed by name and gets ISO 4217's decimals."""

_TEXT: Final = re.compile(r"(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?").fullmatch
_COMMAS: Final = re.compile(r"[1-9][0-9]{0,2}(?:,[0-9]{3})++(?:\.[0-9]++)?").fullmatch


def decimals(currency: str) -> int:
    """How many decimals HitPay writes of a currency."""
    row = CURRENCIES.get(currency)
    return exponent(currency) if row is None else row.decimals


def to_hitpay(price: Price) -> str:
    """The price as HitPay's decimal text.

    Raises:
        WiringError: HitPay has fewer decimals for this currency than the price needs.
    """
    ours, theirs = exponent(price.currency), decimals(price.currency)
    amount, rest = divmod(price.amount, 10 ** max(0, ours - theirs))
    if rest:
        raise WiringError(
            f"{price} has more decimals than HitPay takes for {price.currency.upper()} ({theirs}): nothing is rounded,"
            " so write another price"
        )
    if not theirs:
        return str(amount)
    whole, fraction = divmod(amount * 10 ** max(0, theirs - ours), 10**theirs)
    return f"{whole}.{fraction:0{theirs}d}"


def from_hitpay(value: object, currency: str) -> int:
    """An amount that HitPay says, in base units: a decimal text, one with thousands commas, or a JSON number.

    A number is read by its shortest decimal form, which is what was sent for all amounts HitPay takes.

    Raises:
        ParseError: anything else, or more decimals than the currency has that are not zero.
    """
    text = repr(value) if type(value) in (int, float) else value
    if isinstance(text, str) and len(text) <= 2 * MAX_DIGITS:
        if _COMMAS(text):
            text = text.replace(",", "")
        if _TEXT(text):
            whole, point, fraction = text.partition(".")
            try:
                digits = exponent(currency)
                if not fraction[digits:].strip("0"):
                    return to_base_units(f"{whole}{point}{fraction[:digits]}".rstrip("."), currency)
            except WiringError:
                pass
    raise ParseError("an amount of HitPay is no decimal number of its currency")


def check_price(price: Price, config: HitPayConfig) -> None:
    """Refuse what HitPay would refuse, at start.

    Raises:
        WiringError: a currency that is not allowed, too many decimals, or an amount out of HitPay's bounds.
    """
    code = price.currency
    if code not in config.currencies:
        known = ", ".join(sorted(config.currencies)).upper()
        raise WiringError(
            f"HitPay is not known to take {code.upper()} over MPP (known: {known}); if your account does, allow it:"
            f" HitPayConfig(currencies={{'{code}', …}})"
        )
    to_hitpay(price)
    scale = 10 ** exponent(code)
    least, most = (_cents(text) for text in (config.min_amount, config.max_amount))
    if not least * scale <= price.amount * 100 <= most * scale:
        raise WiringError(
            f"HitPay takes payments of {config.min_amount} to {config.max_amount}, and {price} is outside: smaller"
            " prices cannot ride this rail, charge for several calls at once"
        )


def _cents(text: str) -> int:
    """A bound of the configuration in hundredths of a unit, whatever the currency."""
    return to_base_units(text, "sgd")
