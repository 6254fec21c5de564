"""What verified claims mean: times, audience, amounts, caps."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flovia.core.encoding import JsonObject
from flovia.core.money import Price
from flovia.signed import BadToken, Expected, GrantClaims, ReceiptClaims, SignedLimits, read_grant, read_receipt

NOW = 1_700_000_000.0
ISSUER = "https://mpp.example.test"
EXPECTED = Expected(issuer=ISSUER, now=NOW)
RECEIPT: JsonObject = {"iss": ISSUER, "iat": int(NOW), "amount": "1.00", "currency": "sgd"}
GRANT: JsonObject = {
    "iss": ISSUER,
    "iat": int(NOW),
    "exp": int(NOW) + 60,
    "sub": "mpp_spm_1",
    "currency": "SGD",
    "max_amount_per_charge": "10.00",
}


def receipt(**claims: object) -> ReceiptClaims:
    """A receipt with other claims; None leaves one out."""
    return read_receipt(_changed(RECEIPT, claims), EXPECTED)


def grant(**claims: object) -> GrantClaims:
    """A grant with other claims; None leaves one out."""
    return read_grant(_changed(GRANT, claims), EXPECTED)


def _changed(base: JsonObject, claims: dict[str, object]) -> JsonObject:
    return {k: v for k, v in {**base, **claims}.items() if v is not None}  # type: ignore[misc]  # JSON all the same


def reason(read: Callable[..., object], **claims: object) -> str:
    """Why it is refused."""
    with pytest.raises(BadToken) as caught:
        read(**claims)
    return caught.value.reason


@pytest.mark.parametrize("read", [receipt, grant])
def test_times_allow_for_60_seconds_of_skew_and_not_more(read: Callable[..., object]) -> None:
    """iat and nbf up to 60 s ahead, exp up to 60 s ago; each boundary exactly."""
    read(iat=NOW + 60, exp=NOW + 120)
    assert "time" == reason(read, iat=NOW + 61, exp=NOW + 120)
    read(nbf=NOW + 60)
    assert "time" == reason(read, nbf=NOW + 61)
    read(exp=NOW - 59)
    assert "time" == reason(read, exp=NOW - 60)
    assert "time" == reason(read, iat=None)


@pytest.mark.parametrize("bad", ["1700000000", True, -1, 2.0**60, [], {}])
def test_a_time_is_a_number(bad: object) -> None:
    """Seconds as a JSON number, not negative, not absurd."""
    for name in ("iat", "exp", "nbf"):
        assert "time" == reason(receipt, **{name: bad})


def test_a_grant_has_to_expire_and_a_receipt_need_not() -> None:
    """A bearer token without an end is refused; a receipt is a statement about the past."""
    assert "time" == reason(grant, exp=None)
    assert NOW + 60 == grant().expires_at
    receipt(exp=None)


def test_audience() -> None:
    """Where the audience is known, the token must name it, alone or among others."""
    mine = Expected(issuer=ISSUER, now=NOW, audience="merchant-test")
    for aud in ("merchant-test", ["other", "merchant-test"]):
        assert "merchant-test" in read_grant(_changed(GRANT, {"aud": aud}), mine).audience
    for aud in (None, "merchant", ["other"], []):
        with pytest.raises(BadToken) as caught:
            read_grant(_changed(GRANT, {"aud": aud}), mine)
        assert "audience" == caught.value.reason
    assert "claims" == reason(grant, aud=1)
    assert "claims" == reason(grant, aud=["a", 2])


@pytest.mark.parametrize(
    "amount", ["", "1.000", "-1.00", "+1", "1e2", "1,00", "١", " 1", 1, 1.0, True, ["1"], "0.00", "0", None, "9" * 16]
)
def test_a_receipts_amount_is_a_decimal_text(amount: object) -> None:
    """Nothing is guessed and nothing rounded: a JSON number could be base units or not, so it is neither."""
    assert "claims" == reason(receipt, amount=amount)


@pytest.mark.parametrize("currency", ["", "xx", "SGDX", "zzz", 1, None, "ｓgd"])
def test_a_receipts_currency_is_iso_4217(currency: object) -> None:
    """Without the currency's exponent the amount means nothing."""
    assert "claims" == reason(receipt, currency=currency)


@given(st.integers(1, 10**12), st.sampled_from(["sgd", "idr", "jpy", "kwd"]))
def test_amounts_come_back_exactly(amount: int, currency: str) -> None:
    """Every price written as the broker writes it is the same price again, in base units."""
    price = Price(amount=amount, currency=currency)
    assert price == receipt(amount=str(price).split(" ")[0], currency=currency.upper()).price


def test_whole_rupiah_are_base_units_of_two_digits() -> None:
    """HitPay writes rupiah without decimals, ISO 4217 has two."""
    assert 5_000_000 == receipt(amount="50000", currency="idr").price.amount


def test_a_receipt_says_paid_if_it_says_anything() -> None:
    """A signed statement that a payment is pending or refunded is no receipt."""
    receipt(status="paid")
    receipt(status=None)
    for status in ("pending", "PAID", "refunded", 1, ""):
        assert "claims" == reason(receipt, status=status)


@pytest.mark.parametrize("name", ["challenge_id", "payment_id", "request_hash", "nonce", "reference", "sub", "jti"])
def test_texts_are_texts(name: str) -> None:
    """A claim of another type, or an endless one, is refused and not converted."""
    for bad in (1, ["x"], {"a": "b"}, "x" * 513, True):
        assert "claims" == reason(receipt, **{name: bad})


def test_a_receipt_is_held_against_what_was_asked() -> None:
    """What is given must be there and equal; each difference has its reason."""
    sgd = Price(amount=100, currency="sgd")
    found = receipt(challenge_id="mpp_ch_1", request_hash="abc", nonce="test-n", saved_method_id="spm")
    found.check(price=sgd, challenge_id="mpp_ch_1", request_hash="abc", nonce="test-n", saved_method_id="spm")
    found.check(price=sgd)
    for wanted, why in [
        ({"price": Price(amount=101, currency="sgd")}, "amount"),
        ({"price": Price(amount=99, currency="sgd")}, "amount"),
        ({"price": Price(amount=100, currency="usd")}, "currency"),
        ({"price": sgd, "challenge_id": "mpp_ch_2"}, "challenge"),
        ({"price": sgd, "request_hash": "abd"}, "request-hash"),
        ({"price": sgd, "nonce": "test-m"}, "nonce"),
        ({"price": sgd, "saved_method_id": "other"}, "claims"),
    ]:
        with pytest.raises(BadToken) as caught:
            found.check(**wanted)  # type: ignore[arg-type]  # a table
        assert why == caught.value.reason
    with pytest.raises(BadToken):
        receipt().check(price=sgd, challenge_id="mpp_ch_1")  # the receipt does not say


def test_camel_case_grants() -> None:
    """Grants may use either spelling; both at once only if they agree."""
    snake = grant(total_amount_cap="50.00", max_uses=3, payment_method="grabpay_direct")
    camel = grant(
        max_amount_per_charge=None,
        maxAmountPerCharge="10.00",
        totalAmountCap="50.00",
        maxUses=3,
        paymentMethod="grabpay_direct",
    )
    for one in (snake, camel):
        assert (1000, 5000, 3, "grabpay_direct") == (
            one.max_amount_per_charge,
            one.total_amount_cap,
            one.max_uses,
            one.payment_method,
        )
    assert "claims" == reason(grant, maxAmountPerCharge="99.00")
    grant(maxAmountPerCharge="10.00")


@pytest.mark.parametrize(
    "claims",
    [
        {"max_amount_per_charge": None},
        {"max_amount_per_charge": 10},
        {"total_amount_cap": 50.0},
        {"max_uses": "3"},
        {"max_uses": -1},
        {"max_uses": True},
        {"sub": None},
        {"sub": ""},
        {"currency": "nope"},
    ],
)
def test_a_grant_that_cannot_be_read_is_none(claims: dict[str, object]) -> None:
    """A cap that is missing or strange is no cap to rely on."""
    assert "claims" == reason(grant, **claims)


def test_where_a_grant_says_its_saved_method() -> None:
    """In sub, or under the broker's own field name."""
    assert "mpp_spm_1" == grant().saved_method_id
    assert "mpp_spm_2" == grant(sub=None, saved_method_id="mpp_spm_2").saved_method_id
    assert "mpp_spm_3" == grant(sub=None, savedMethodId="mpp_spm_3").saved_method_id


@given(price=st.integers(1, 2000), spent=st.integers(0, 6000), uses=st.integers(0, 5))
def test_a_charge_is_within_a_grant_exactly_if_no_cap_is_exceeded(price: int, spent: int, uses: int) -> None:
    """Per charge, in total, in number: equal is allowed, one more is not."""
    found = grant(total_amount_cap="50.00", max_uses=3)
    allowed = price <= 1000 and spent + price <= 5000 and uses < 3
    try:
        found.check(Price(amount=price, currency="sgd"), spent=spent, uses=uses)
    except BadToken:
        assert not allowed
    else:
        assert allowed


def test_a_grant_of_another_currency() -> None:
    """Caps say nothing about another currency."""
    with pytest.raises(BadToken) as caught:
        grant().check(Price(amount=1, currency="usd"))
    assert "currency" == caught.value.reason


def test_more_skew_is_a_setting() -> None:
    """For an issuer whose clock is known to be off."""
    late = SignedLimits(skew_s=300.0)
    read_receipt(_changed(RECEIPT, {"iat": NOW + 299}), EXPECTED, late)
