"""Money that is no whole number of base units, for people."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flovia.insights.mean_money import digits_of, mean_money


@pytest.mark.parametrize(
    ("base_units", "currency", "text"),
    [
        (91.34615384615384, "usd", "0.913 USD"),
        (159.0909, "usd", "1.591 USD"),
        (4.2, "usd", "0.0420 USD"),
        (0.35, "usd", "0.00350 USD"),
        (123456.7, "usd", "1234.567 USD"),
        (27.1875, "jpy", "27.2 JPY"),
        (3.254, "jpy", "3.25 JPY"),
        (0.0, "jpy", "0.0 JPY"),
        (0.0, "usd", "0.000 USD"),
        (-29.66, "usd", "-0.297 USD"),
        (12.5, "bhd", "0.0125 BHD"),
        (1500000.5, "idr", "15000.0 IDR"),
        (0.25, "0xtoken", "0.250 0xtoken"),
        (17.25, None, "17.2"),
        (1e30, "usd", "10000000000000000198846248386.560 USD"),
    ],
)
def test_one_digit_more_or_three_significant_ones(base_units: float, currency: str | None, text: str) -> None:
    """A digit more than the currency is written with; more where three significant ones need them."""
    assert text == mean_money(base_units, currency)


@given(st.floats(-1e12, 1e12), st.sampled_from(["usd", "jpy", "bhd", "idr", "token"]))
def test_rounded_to_what_is_shown(base_units: float, currency: str) -> None:
    """It is off by half of its last digit at most, and has no exponent."""
    text, code = mean_money(base_units, currency).split(" ")
    assert currency in (code, code.lower())
    assert "E" not in text
    places = {"usd": 2, "jpy": 0, "bhd": 3, "idr": 2, "token": 0}[currency]
    exact = Decimal(base_units).scaleb(-places)
    assert abs(Decimal(text) - exact) <= Decimal(1).scaleb(-digits_of(base_units, currency)) / 2


def test_an_interval_has_the_digits_of_its_middle() -> None:
    """So that the three line up."""
    assert ["0.0001 USD", "0.0420 USD"] == [
        mean_money(one, "usd", digits=digits_of(4.2, "usd")) for one in (0.008, 4.2)
    ]
