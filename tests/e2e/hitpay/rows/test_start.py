"""What does not start, and what an app without a key does."""

from pathlib import Path

import pytest

from tests.e2e.hitpay.conftest import challenge_of, code, ident, token
from tests.e2e.hitpay.rows.table import plays
from tests.e2e.hitpay.rows.world import SECRET, World, refused

KEY = "test_key_of_nobody"


@plays("Zero-decimal / bounds", "Environment mix-up")
@pytest.mark.parametrize(
    ("price", "broker", "words"),
    [
        ("0.29 SGD", "https://sandbox.mpp.hitpay.dev", "0.30"),
        ("10.50 IDR", "https://sandbox.mpp.hitpay.dev", "nothing is rounded"),
        ("1.00 SGD", "https://mpp.hitpay.dev", "is a test key"),
    ],
    ids=["below the least", "no whole rupiah", "a test key for production"],
)
def test_refused_at_start(price: str, broker: str, words: str, tmp_path: Path) -> None:
    """The server ends before it serves, and says what to do, without the key."""
    printed = refused(
        HITPAY_API_KEY=KEY,
        HITPAY_MPP_ENDPOINT=broker,
        FLOVIA_SECRET=SECRET,
        FLOVIA_LEDGER=f"sqlite:///{tmp_path}/flovia.db",
        E2E_PRICE=price,
    )
    assert "WiringError" in printed
    assert words in printed
    assert KEY not in printed


@plays("PoC contract")
def test_without_a_key(here: World) -> None:
    """503 that names what is missing, to every GET; no challenge, no call. The query of the demo opens nothing."""
    for path in ("/unset", "/unset?credential=demo-paid"):
        answer = here.get(path)
        assert 503 == answer.status_code
        assert "hitpay_mpp_not_configured" in answer.text
        assert "HITPAY_API_KEY" in answer.text
        assert "www-authenticate" not in answer.headers
    assert [] == here.journal()
    done = here.pay("/unset")
    assert (7, None) == (done.status, done.json["paid"])
    assert [] == here.journal()


@plays("PoC contract")
def test_post_is_405(here: World) -> None:
    """With a key or without, paid or not: a POST is not asked for money, makes no charge and uses none up."""
    challenge = challenge_of(here.get())
    here.settle(ident(challenge))
    for path in ("/unset", "/forecast"):
        for fields in ({}, {"authorization": f"Payment {token(challenge)}"}):
            answer = here.http.post(here.app + path, headers=fields)
            assert 405 == answer.status_code
            assert "www-authenticate" not in answer.headers
            assert "mpp-receipt" not in answer.headers
    assert (1, 0) == (here.calls("B1"), here.calls("B3"))
    done = here.pay("/forecast", "--method", "POST")
    assert (7, 1) == (done.status, here.calls("B1"))
    assert 200 == here.get(token=token(challenge)).status_code
    assert (402, "invalid-challenge") == code(here.get(token=token(challenge)))
