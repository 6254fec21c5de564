"""Prices: one strict grammar, integers only."""

from typing import Any

import iso4217
import pytest

from flovia.core import _currencies
from flovia.core.errors import ParseError, WiringError
from flovia.core.money import MAX_WIRE_DIGITS, Price, check_amount, exponent, to_base_units
from tests.tools import currencies


@pytest.mark.parametrize(
    ("text", "amount", "currency", "again"),
    [
        ("1.00 SGD", 100, "sgd", "1.00 SGD"),
        ("1 SGD", 100, "sgd", "1.00 SGD"),
        ("1.5 sgd", 150, "sgd", "1.50 SGD"),
        ("0.01 USD", 1, "usd", "0.01 USD"),
        ("5 JPY", 5, "jpy", "5 JPY"),
        ("50000 IDR", 5_000_000, "idr", "50000 IDR"),
        ("0.50 IDR", 50, "idr", "0.50 IDR"),
        ("1.234 KWD", 1234, "kwd", "1.234 KWD"),
        ("0.0001 CLF", 1, "clf", "0.0001 CLF"),
        ("9999999999999.99 USD", 999999999999999, "usd", "9999999999999.99 USD"),
    ],
)
def test_prices_are_read(text: str, amount: int, currency: str, again: str) -> None:
    """A price is base units of a currency; its text has all the digits that are written of the currency."""
    price = Price.parse(text)
    assert Price(amount=amount, currency=currency) == price
    assert again == str(price)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1.00",
        "SGD",
        "1.00SGD",
        "1.00  SGD",
        " 1.00 SGD",
        "1.00 SGD ",
        "1.00 SGD\n",
        "1.00\tSGD",
        "1.00\u00a0SGD",
        "SGD 1.00",
        "$1.00",
        "1.00 Sgd",
        "1.00 SG",
        "1.00 SGDD",
        "1.00 ＳGD",
        "1.00 ſgd",
        "1.00 XXX",
        "1.00 XAU",
        "1.00 ABC",
        "+1.00 SGD",
        "-1.00 SGD",
        "1,000.00 SGD",
        "1_000 SGD",
        "1e2 SGD",
        "0x10 SGD",
        "01.00 SGD",
        "1. SGD",
        ".5 SGD",
        "1.0.0 SGD",
        "1.005 SGD",
        "1.0 JPY",
        "0 SGD",
        "0.00 SGD",
        "５.００ SGD",
        "١ SGD",
        "nan SGD",
        "inf SGD",
        "10000000000000.00 SGD",
        "9" * 5000 + " SGD",
    ],
)
def test_every_other_text_is_refused(text: str) -> None:
    """No sign, separator, exponent, Unicode digit, rounding, zero or overflow: one grammar, and a message."""
    with pytest.raises(WiringError) as caught:
        Price.parse(text)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("given", [None, 1, 1.5, b"1.00 SGD", ["1.00 SGD"]])
def test_only_text_is_a_price(given: Any) -> None:
    """A float or None is refused by name, never converted."""
    with pytest.raises(WiringError):
        Price.parse(given)


@pytest.mark.parametrize(
    ("amount", "currency"),
    [
        (0, "sgd"),
        (-1, "sgd"),
        (True, "sgd"),
        (1.0, "sgd"),
        ("1", "sgd"),
        (10**15, "sgd"),
        (1, "SGD"),
        (1, "xxx"),
        (1, 1),
    ],
)
def test_a_price_is_checked_when_made(amount: Any, currency: Any) -> None:
    """An amount that is no positive int, or a currency that is none, makes no Price."""
    with pytest.raises(WiringError):
        Price(amount=amount, currency=currency)


def test_zero_says_what_to_do() -> None:
    """A free route is one without a gate, and the error says so."""
    with pytest.raises(WiringError, match="without a gate"):
        Price.parse("0.00 SGD")


def test_base_units() -> None:
    """The amount function knows zero, which a price does not, and takes the currency in either case."""
    assert 0 == to_base_units("0.00", "sgd")
    assert 150 == to_base_units("1.5", "SGD")
    assert 2 == exponent("Sgd")
    for amount in (1, 1.5, None, True):
        with pytest.raises(WiringError):
            to_base_units(amount, "SGD")  # type: ignore[arg-type]  # the mistake under test


@pytest.mark.parametrize("wire", ["0", "1", "500000", "9" * MAX_WIRE_DIGITS])
def test_wire_amounts_are_read(wire: str) -> None:
    """H01: an amount on the wire is a text of digits."""
    assert int(wire) == check_amount(wire)


@pytest.mark.parametrize(
    "wire",
    [
        "",
        "01",
        "-1",
        "+1",
        "1.0",
        "1e3",
        " 1",
        "1\n",
        "１",
        "1_0",
        "9" * (MAX_WIRE_DIGITS + 1),
        1,
        1.0,
        True,
        None,
        [],
        {},
    ],
)
def test_other_wire_amounts_are_refused(wire: object) -> None:
    """H01: anything but plain digits is refused, JSON numbers included."""
    with pytest.raises(ParseError):
        check_amount(wire)


def test_the_currencies_are_those_of_iso_4217() -> None:
    """The generated table is the installed table's, if both are of the same date, and contradicts no other date's."""
    assert {"sgd": 2, "jpy": 0, "kwd": 3, "clf": 4} == {code: exponent(code) for code in ("sgd", "jpy", "kwd", "clf")}
    if iso4217.__published__.isoformat() == _currencies.PUBLISHED:
        assert currencies.render() == currencies.TARGET.read_text(encoding="utf-8")
    else:
        known = currencies.table()
        assert {} == {
            code: digits for code, digits in _currencies.EXPONENTS.items() if known.get(code, digits) != digits
        }
