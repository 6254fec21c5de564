"""Tokens whose claims have other names than we chose are read once the settings say so, claim by claim."""

import attrs
import pytest

from flovia.core.encoding import JsonObject
from flovia.core.errors import WiringError
from flovia.signed import (
    BadToken,
    ClaimNames,
    Expected,
    GrantClaims,
    Jwks,
    ReceiptClaims,
    SignedLimits,
    read_grant,
    read_receipt,
)
from flovia.testing.flows import drive
from tests.signed.issuer import ORIGIN, Issuer

NOW = 1_700_000_000.0
EXPECTED = Expected(issuer="https://mpp.example.test", now=NOW, audience="merchant-test")
BOTH: JsonObject = {
    "iss": "https://mpp.example.test",
    "aud": "merchant-test",
    "iat": int(NOW),
    "exp": int(NOW) + 60,
    "jti": "token-1",
    "currency": "sgd",
}
RECEIPT: JsonObject = BOTH | {
    "sub": "mpp_ch_1",
    "amount": "1.00",
    "status": "paid",
    "challenge_id": "mpp_ch_1",
    "charge_id": "ch_1",
    "payment_id": "pay_1",
    "payment_request_id": "request_1",
    "reference": "reference_1",
    "method": "paynow",
    "paid_at": "2030-01-01T00:00:00Z",
    "saved_method_id": "mpp_spm_1",
    "request_hash": "c25c",
    "nonce": "test-nonce",
}
GRANT: JsonObject = BOTH | {
    "sub": "mpp_spm_1",
    "max_amount_per_charge": "10.00",
    "total_amount_cap": "50.00",
    "max_uses": 20,
    "payment_method": "grabpay_direct",
}
OURS = ClaimNames()
GRANTED = ("granted_id", "max_amount_per_charge", "total_amount_cap", "max_uses", "payment_method")
SHARED = ("issuer", "audience", "issued_at", "expires_at", "token_id", "currency")
OF_RECEIPT = [one.name for one in attrs.fields(ClaimNames) if one.name not in (*GRANTED, "paid")]
OF_GRANT = [*GRANTED, *SHARED]


def renamed(field: str, claims: JsonObject) -> tuple[JsonObject, ClaimNames]:
    """The claims with another name for one of them, and the settings that say so."""
    name = "sub" if field == "granted_id" else getattr(OURS, field)
    said: JsonObject = {"their_word" if claim == name else claim: value for claim, value in claims.items()}
    assert "their_word" in said
    other: object = ("their_word",) if field == "granted_id" else "their_word"
    return said, attrs.evolve(OURS, **{field: other})  # type: ignore[arg-type]  # a table


def receipt(claims: JsonObject, names: ClaimNames = OURS) -> ReceiptClaims | str:
    """A receipt without its raw claims, or why it is none."""
    try:
        return attrs.evolve(read_receipt(claims, EXPECTED, SignedLimits(names=names)), raw={})
    except BadToken as error:
        return error.reason


def grant(claims: JsonObject, names: ClaimNames = OURS) -> GrantClaims | str:
    """A grant without its raw claims, or why it is none."""
    try:
        return attrs.evolve(read_grant(claims, EXPECTED, SignedLimits(names=names)), raw={})
    except BadToken as error:
        return error.reason


@pytest.mark.parametrize("field", [name for name in OF_RECEIPT if name not in ("status", "expires_at")])
def test_a_receipts_claim(field: str) -> None:
    """With the setting it reads as ever, without it the claim is missed."""
    said, names = renamed(field, RECEIPT)
    assert isinstance(receipt(RECEIPT), ReceiptClaims)
    assert receipt(RECEIPT) == receipt(said, names)
    assert receipt(RECEIPT) != receipt(said)


@pytest.mark.parametrize("field", OF_GRANT)
def test_a_grants_claim(field: str) -> None:
    """With the setting it reads as ever, without it the claim is missed."""
    said, names = renamed(field, GRANT)
    assert isinstance(grant(GRANT), GrantClaims)
    assert grant(GRANT) == grant(said, names)
    assert grant(GRANT) != grant(said)


@pytest.mark.parametrize(("field", "bad", "why"), [("status", "failed", "claims"), ("expires_at", 1, "time")])
def test_a_receipts_claim_that_only_refuses(field: str, bad: str | int, why: str) -> None:
    """Status and end of a receipt refuse it under their other names."""
    said, names = renamed(field, RECEIPT)
    assert receipt(RECEIPT) == receipt(said, names)
    assert why == receipt({**said, "their_word": bad}, names)


def test_the_word_for_paid() -> None:
    """A status in another word is believed where that is set, and no other."""
    names = ClaimNames(paid="settled")
    assert receipt(RECEIPT) == receipt({**RECEIPT, "status": "settled"}, names)
    assert "claims" == receipt(RECEIPT, names)
    assert "claims" == receipt({**RECEIPT, "status": "settled"})


def test_camel_case_follows_the_name() -> None:
    """The limits of a grant are read in the camelCase form of their other name, and refused if both disagree."""
    names = ClaimNames(max_amount_per_charge="each_at_most")
    said: JsonObject = {name: value for name, value in GRANT.items() if name != "max_amount_per_charge"}
    assert grant(GRANT) == grant({**said, "eachAtMost": "10.00"}, names)
    assert "claims" == grant({**said, "eachAtMost": "10.00", "each_at_most": "11.00"}, names)


def test_another_issuer() -> None:
    """Tokens may name an issuer that is not the origin of the keys, if that is set; the keys stay where they are."""
    issuer = Issuer()
    hand = issuer.by_hand()
    jws = issuer.receipt(hand.clock(), iss="urn:test:hitpay")
    set_up = Jwks(origin=ORIGIN, limits=SignedLimits(issuer="urn:test:hitpay"))
    assert "urn:test:hitpay" == drive(set_up.receipt(jws), hand).issuer
    for jwks, token in ((Jwks(origin=ORIGIN), jws), (set_up, issuer.receipt(hand.clock()))):
        with pytest.raises(BadToken) as caught:
            drive(jwks.receipt(token), hand)
        assert "issuer" == caught.value.reason


@pytest.mark.parametrize("field", [one.name for one in attrs.fields(ClaimNames)])
def test_an_empty_name(field: str) -> None:
    """A claim without a name, or an issuer that is empty, is a mistake in the settings."""
    for empty in ("", (), ("",)):
        with pytest.raises(WiringError, match=field):
            ClaimNames(**{field: empty})  # type: ignore[arg-type]  # settings of a test
    with pytest.raises(WiringError, match="issuer"):
        SignedLimits(issuer="")
