"""A HitPay route without flovia's gate, and the observer in front of it."""

import base64
import json
import runpy
from collections.abc import Generator
from pathlib import Path

import httpx
import pytest

from flovia import api
from flovia.core.observed import NOTHING, Seen
from flovia.insights.join import join
from flovia.ledger.opening import open_ledger
from flovia.providers.hitpay import BrokerNames, HitPayConfig, HitPayProvider
from flovia.providers.hitpay.observed import DEFAULT_READING
from flovia.providers.registry import observed
from flovia.sandbox import Sandbox
from flovia.signed import ClaimNames, SignedLimits
from flovia.testing.servers import serve_asgi
from tests.e2e.hitpay.environment import examples_environment
from tests.tree import ROOT


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Generator[Sandbox]:
    """A broker on this machine, and the example's environment."""
    with examples_environment(monkeypatch, tmp_path) as found:
        yield found


def b64(value: object) -> str:
    """Base64url of a JSON value."""
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def test_the_example(sandbox: Sandbox, tmp_path: Path) -> None:
    """402, pay, 200: one attempt in the joined events, by the charge that mpp-receipt names; nothing is altered."""
    app = runpy.run_path(str(ROOT / "examples" / "hitpay_bare.py"))["app"]
    with serve_asgi(app) as url, httpx.Client(base_url=url, timeout=60) as agent:
        asked = agent.get("/paid")
        assert 402 == asked.status_code
        assert {"error", "challenge"} == set(asked.json())
        ident = asked.json()["challenge"]["methodDetails"]["polling_url"].rpartition("/")[2]
        token = {"authorization": f"Payment {b64({'challenge_id': ident})}"}
        assert 402 == agent.get("/paid", headers=token).status_code
        sandbox.pay(ident)
        paid = agent.get("/paid", headers=token)
        assert (200, {"forecast": "sunny"}) == (paid.status_code, paid.json())
        assert 3 == len(paid.headers["mpp-receipt"].split("."))
        assert 402 == agent.get("/paid", headers={"authorization": "Payment x"}).status_code
    api.default().close()
    ledger = open_ledger(f"sqlite:///{tmp_path}/flovia.db", clock=lambda: 0.0)
    try:
        events = [event for _, event in ledger.read_events(limit=1000)]
    finally:
        ledger.close()
    joined = [one for one in join(events) if one.challenge_id == ident]
    assert [ident] == [one.payment_id for one in joined]
    granted = [event for event in events if event.type == "paid_api.access_granted"]
    assert [(ident, ident, 100, "sgd")] == [
        (event.challenge_id, event.payment_id, event.amount, event.currency) for event in granted
    ]
    issued = [event for event in events if event.type == "paid_api.challenge_issued"]
    assert ident in {event.challenge_id for event in issued}
    assert {(100, "sgd")} == {(event.amount, event.currency) for event in issued}


OURS = DEFAULT_READING


class TestReading:
    """What is read from HitPay's own forms, and what is not."""

    def test_challenge(self) -> None:
        """The charge from the polling address, amount and currency as decimals; else what it names itself."""
        details = {"polling_url": "https://sandbox.mpp.hitpay.dev/v1/charges/mpp_ch_1?x=1"}
        asked = {"amount": "1.00", "currency": "SGD", "methodDetails": details}
        assert Seen(challenge_id="mpp_ch_1", amount=100, currency="sgd") == OURS.challenge({"request": b64(asked)})
        assert Seen(challenge_id="mpp_ch_2") == OURS.challenge({"request": b64({"challenge_id": "mpp_ch_2"})})
        assert Seen() == OURS.challenge({"request": b64({"amount": "x", "currency": "sgd", "methodDetails": 7})})
        assert NOTHING is OURS.challenge({})

    def test_credential(self) -> None:
        """A charge alone or in JSON; a grant names none."""
        assert Seen(challenge_id="mpp_ch_1") == OURS.credential("mpp_ch_1")
        assert Seen(challenge_id="mpp_ch_1") == OURS.credential(b64({"chargeId": "mpp_ch_1"}))
        assert NOTHING is OURS.credential("a.b.c")

    def test_receipt(self) -> None:
        """Claims of the JWS; what is none says nothing."""
        claims = {"challenge_id": "mpp_ch_1", "reference": "ch_1", "amount": "1.00", "currency": "sgd"}
        found = OURS.receipt(f"x.{b64(claims)}.y")
        assert Seen(challenge_id="mpp_ch_1", payment_id="ch_1", amount=100, currency="sgd") == found
        assert Seen() == OURS.receipt("not a jws")
        assert Seen() == OURS.receipt(f"x.{b64({'reference': 7, 'challenge_id': 'x' * 300})}.y")

    def test_other_names(self) -> None:
        """What HitPay has not published is read under the names of the provider's settings, in camelCase as well."""
        claims = ClaimNames(challenge_id="asked", reference="ref_no", amount="sum", currency="ccy")
        config = HitPayConfig(
            names=BrokerNames(native_charge=("paid_charge",)),
            signed=SignedLimits(
                names=ClaimNames(challenge_id="asked", reference="ref_no", amount="sum", currency="ccy")
            ),
        )
        name, field, reading = observed(HitPayProvider(config))
        assert ("hitpay", "mpp-receipt") == (name, field)
        assert reading is not None
        assert Seen(challenge_id="mpp_ch_1") == reading.credential(b64({"paidCharge": "mpp_ch_1"}))
        assert Seen() == reading.credential(b64({"challenge_id": "mpp_ch_1"}))
        claims = {
            "asked": "mpp_ch_1",
            "refNo": "ch_1",
            "sum": "1.00",
            "ccy": "sgd",
            "amount": "9.00",
            "currency": "usd",
        }
        found = reading.receipt(f"x.{b64(claims)}.y")
        assert Seen(challenge_id="mpp_ch_1", payment_id="ch_1", amount=100, currency="sgd") == found
        assert DEFAULT_READING is observed("hitpay")[2]
