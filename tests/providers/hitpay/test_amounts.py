"""Money between challenge and HitPay: exact, or refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flovia.core.errors import ParseError, WiringError
from flovia.core.money import Price, exponent
from flovia.providers.hitpay.amounts import CURRENCIES, check_price, decimals, from_hitpay, to_hitpay
from tests.providers.hitpay.fake import World, config, request

CODES = st.sampled_from([*CURRENCIES, "usd", "jpy", "bhd"])


@pytest.mark.parametrize(
    ("price", "text"),
    [
        ("5.00 SGD", "5.00"),
        ("15.00 MYR", "15.00"),
        ("50000 IDR", "50000"),
        ("200.00 PHP", "200.00"),
        ("120.00 THB", "120.00"),
        ("0.30 SGD", "0.30"),
        ("1 JPY", "1"),
        ("1.234 BHD", "1.234"),
    ],
)
def test_the_texts_of_hitpays_samples(price: str, text: str) -> None:
    """Each currency is written with the decimals that HitPay's samples have."""
    assert text == to_hitpay(Price.parse(price))


@given(CODES, st.integers(1, 10**15 - 1))
def test_there_and_back(currency: str, amount: int) -> None:
    """What HitPay can write comes back as the same base units; what it cannot is refused, never rounded."""
    price = Price(amount=amount, currency=currency)
    lost = exponent(currency) - decimals(currency)
    if lost > 0 and amount % 10**lost:
        with pytest.raises(WiringError, match="nothing is rounded"):
            to_hitpay(price)
    else:
        assert amount == from_hitpay(to_hitpay(price), currency)


@given(st.integers(30, 99_999_999_999))
def test_json_numbers(cents: int) -> None:
    """A JSON number, as webhooks have it, is read exactly over the whole range of HitPay's amounts."""
    assert cents == from_hitpay(cents / 100, "sgd")
    assert cents == from_hitpay(f"{cents // 100:,}.{cents % 100:02d}", "sgd")


@pytest.mark.parametrize(
    "value",
    [
        *(None, True, "", "1.001", "-1", "+1", "1e2", "1,00", "1,0000", "١", "1.", ".5", "01", " 1", "1.00\n", [], {}),
        *(1e300, float("nan"), "9" * 40, "1_000", "0x10", "1,000,00"),
    ],
)
def test_what_is_no_amount(value: object) -> None:
    """Everything else is refused."""
    with pytest.raises(ParseError):
        from_hitpay(value, "sgd")


def test_zeros_beyond_the_decimals() -> None:
    """Decimals that are zero may be more than the currency has."""
    assert (5, 150) == (from_hitpay("5.00", "jpy"), from_hitpay("1.5000", "sgd"))
    assert 5_000_000 == from_hitpay(50000, "idr")


@pytest.mark.parametrize(
    ("price", "words"),
    [
        ("0.29 SGD", "0.30 to 999999999.99"),
        ("1000000000.00 SGD", "0.30 to"),
        ("10.50 IDR", "nothing is rounded"),
        ("1.00 USD", "known: IDR, MYR, PHP, SGD, THB"),
        ("50000 VND", "HitPayConfig"),
    ],
)
def test_refused_at_configuration(price: str, words: str) -> None:
    """A price that HitPay would refuse is refused when the route is set up."""
    with pytest.raises(WiringError, match=words):
        World(price=price)


@pytest.mark.parametrize("price", ["0.30 SGD", "999999999.99 SGD", "1 IDR"])
def test_the_bounds_themselves(price: str) -> None:
    """The least and the largest amount are fine."""
    check_price(Price.parse(price), config())


def test_allowed_by_name() -> None:
    """Another currency can be allowed, with the decimals of ISO 4217, and other bounds set."""
    check_price(Price.parse("0.10 USD"), config(currencies=frozenset({"usd"}), min_amount="0.10"))


def test_a_price_function() -> None:
    """A computed price that HitPay does not take opens nothing and creates nothing."""
    world = World()
    world.paid = world.flo.paid_api(provider=world.provider, price=lambda request: "0.10 SGD")
    assert 500 == world.refusal(request()).status
    assert [] == world.hitpay.calls


def test_more_digits_than_an_amount_has() -> None:
    """A number beyond fifteen digits, or of no currency, is no amount."""
    for value, currency in (("1234567890123456.00", "sgd"), ("1.00", "xx")):
        with pytest.raises(ParseError):
            from_hitpay(value, currency)
