"""Amounts as HitPay writes them, and the currencies the sandbox knows.

Written apart from :mod:`flovia.core.money` on purpose: one mistake must not hide at both ends of a test.
"""

import re
from typing import Final

import attrs


@attrs.frozen
class Currency:
    """``exponent``: ISO 4217 digits of the base unit. ``decimals``: digits HitPay takes. ``rail``: what pays it."""

    exponent: int
    decimals: int
    rail: str
    mpp: bool = True
    wallets: tuple[str, ...] = ()


CURRENCIES: Final = {
    "sgd": Currency(2, 2, "paynow_online", wallets=("grabpay_direct", "shopee_pay")),
    "myr": Currency(2, 2, "fpx", wallets=("grabpay_direct", "shopee_pay", "touch_n_go")),
    "idr": Currency(2, 0, "doku_qris"),
    "php": Currency(2, 2, "gcash_qr", wallets=("shopee_pay",)),
    "thb": Currency(2, 2, "opn_prompt_pay"),
    "vnd": Currency(0, 0, "vietqr", mpp=False),
    "usd": Currency(2, 2, "card", mpp=False),
}
"""By lower-case code. MPP charges are documented for the first five (HitPay MPP samples); rails and saved wallets
are those of HitPay's own documents (payment methods reference; save a payment method)."""

WALLET_LABELS: Final = {"grabpay_direct": "GrabPay", "shopee_pay": "ShopeePay", "touch_n_go": "Touch 'n Go"}

LEAST: Final = 30
MOST: Final = 99_999_999_999
"""Bounds of one payment request in hundredths: 0.3 to 999,999,999.99 (HitPay docs: create payment request)."""

_DECIMAL: Final = re.compile(r"(0|[1-9][0-9]{0,11})(?:\.([0-9]{1,2}))?").fullmatch


def read_amount(value: object, currency: str) -> int | None:
    """Base units of an amount given as decimal text (or a JSON integer), or None if it is none of this currency.

    A JSON fraction is read through its shortest text, as a JSON reader of decimals would.
    """
    known = CURRENCIES.get(currency)
    if known is None or isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    found = _DECIMAL(value if isinstance(value, str) else repr(value))
    if found is None:
        return None
    fraction = (found[2] or "").rstrip("0")
    if len(fraction) > known.decimals:
        return None
    return int(found[1] + fraction.ljust(known.exponent, "0"))


def write_amount(amount: int, currency: str) -> str:
    """``1.00`` for 100 sgd, ``50000`` for 5000000 idr: as MPP samples write amounts."""
    known = CURRENCIES[currency]
    whole, fraction = divmod(amount, 10**known.exponent)
    digits = f"{fraction:0{known.exponent}d}" if known.exponent else ""
    return f"{whole}.{digits}" if known.decimals else str(whole)


def api_amount(amount: int, currency: str, *, commas: bool = False) -> str:
    """Two decimals always, thousands commas sometimes: as HitPay's own API writes amounts."""
    whole, fraction = divmod(amount * 100 // 10 ** CURRENCIES[currency].exponent, 100)
    return f"{whole:,}.{fraction:02d}" if commas else f"{whole}.{fraction:02d}"


def number_amount(amount: int, currency: str) -> int | float:
    """The JSON number of webhooks and charges. Only for output: nothing here calculates with it."""
    whole, fraction = divmod(amount, 10 ** CURRENCIES[currency].exponent)
    return whole if not fraction else float(write_amount(amount, currency))
