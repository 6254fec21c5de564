"""A HitPay payment from the first 402 to the receipt, and everything that goes wrong on the way, over real HTTP."""

import base64
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import ClassVar

import pytest

import flovia
from flovia import runtime
from flovia.core import events as ev
from flovia.core.encoding import b64url_decode
from flovia.insights.join import JoinedEvent, join
from flovia.ledger.memory import MemoryLedger
from flovia.ledger.opening import open_ledger
from flovia.providers.hitpay.core_api import request_id_of
from flovia.signed import Jwks, ReceiptClaims
from tests.e2e.hitpay.conftest import Site, Start, challenge_of, code, ident, token
from tests.patience import eventually

EMAIL = "buyer@example.test"


def verified(site: Site, jws: str) -> ReceiptClaims:
    """The receipt, checked with the broker's keys as an agent would."""
    world = runtime.World(ledger=MemoryLedger())
    return runtime.run(Jwks(origin=site.sandbox.broker_url).receipt(jws), world)


def test_pay_then_retry(site: Site) -> None:
    """402, pay, 200 with both receipts whose signature is the broker's; one charge; not a second time."""
    response = site.get()
    challenge = challenge_of(response)
    body = response.json()
    assert "payment_required" == body["error"]
    assert body["challenge"]["methodDetails"]["checkout_url"].startswith(site.sandbox.api_url)
    site.sandbox.pay(ident(challenge))
    paid = site.get(token=token(challenge))
    assert (200, {"forecast": "sunny"}) == (paid.status_code, paid.json())
    receipt = json.loads(b64url_decode(paid.headers["payment-receipt"]))
    assert paid.headers["mpp-receipt"] == receipt["extra"]["receipt_jws"]
    claims = verified(site, paid.headers["mpp-receipt"])
    assert ("1.00 SGD", ident(challenge)) == (str(claims.price), claims.challenge_id)
    assert "private" == paid.headers["cache-control"]
    assert (402, "invalid-challenge") == code(site.get(token=token(challenge)))
    assert "1.00" == site.sandbox.money()["sgd"]["in"]  # type: ignore[index]  # JSON of the sandbox


def test_hitpays_own_credential(site: Site) -> None:
    """A credential in HitPay's form is good too, and gets the JWS as its receipt."""
    challenge = site.challenge()
    site.sandbox.pay(ident(challenge))
    native = base64.urlsafe_b64encode(json.dumps({"challenge_id": ident(challenge)}).encode()).decode().rstrip("=")
    paid = site.get(token=native)
    assert 200 == paid.status_code
    assert paid.headers["payment-receipt"] == paid.headers["mpp-receipt"]


def test_pending(site: Site) -> None:
    """Not paid yet: the same challenge, Retry-After, and no second charge at HitPay."""
    first = site.get()
    challenge = challenge_of(first)
    for _ in range(3):
        response = site.get(token=token(challenge))
        assert (402, "verification-failed") == code(response)
        assert (challenge.id, "2") == (challenge_of(response).id, response.headers["retry-after"])
        assert first.json()["challenge"] == response.json()["challenge"]
    assert 1 == site.calls("B1")


def test_declined_then_paid(site: Site) -> None:
    """A declined payment may be tried again on the same charge."""
    challenge = site.challenge()
    site.sandbox.decline(ident(challenge))
    assert challenge.id == challenge_of(site.get(token=token(challenge))).id
    site.sandbox.pay(ident(challenge))
    assert 200 == site.get(token=token(challenge)).status_code


def test_expired(site: Site) -> None:
    """The charge's time ran out unpaid: a fresh challenge over a fresh charge."""
    challenge = site.challenge()
    site.sandbox.expire(ident(challenge))
    response = site.get(token=token(challenge))
    assert (402, "payment-expired") == code(response)
    assert ident(challenge) != ident(challenge_of(response))


def test_another_url(site: Site) -> None:
    """A paid credential opens no other URL, and the broker is not even asked."""
    challenge = site.challenge("/forecast?zip=94103")
    site.sandbox.pay(ident(challenge))
    assert (402, "invalid-challenge") == code(site.get("/forecast?zip=10001", token(challenge)))
    assert 0 == site.calls("B3")
    assert 200 == site.get("/forecast?zip=94103", token(challenge)).status_code


@pytest.mark.parametrize(("amount", "problem"), [("0.50", "payment-insufficient"), ("2.00", "verification-failed")])
def test_wrong_amount(site: Site, amount: str, problem: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another sum than was asked opens nothing, however often it is tried; what was paid is due, and goes back once."""
    challenge = site.challenge()
    site.sandbox.pay(ident(challenge), amount=amount)
    for _ in range(2):
        assert (402, problem) == code(site.get(token=token(challenge)))
    flo = _shop(site, monkeypatch)
    try:
        (due,) = [one for one in flo.refunds_due() if one.payment_id == ident(challenge)]
        assert f"{due.amount / 100:.2f}" == amount
        assert "refunded" == flo.refund(due.payment_id).status
    finally:
        flo.close()
    assert (403, "payment-refunded") == code(site.get(token=token(challenge)))
    assert amount == site.sandbox.money()["sgd"]["refunded"]  # type: ignore[index]  # JSON of the sandbox


def test_broker_down(site: Site) -> None:
    """Down while asking: 503 and no challenge. Down while verifying: 503, no challenge, and good afterwards."""
    site.sandbox.fault("http", "503", route="B1")
    response = site.get()
    assert (503, "provider-unavailable") == code(response)
    assert "www-authenticate" not in response.headers
    site.sandbox.clear("http")
    challenge = site.challenge()
    site.sandbox.pay(ident(challenge))
    for value in ("500", "non_json", "reset", "redirect", "missing_fields"):
        site.sandbox.fault("http", value, route="B3", next=1)
        response = site.get(token=token(challenge))
        assert (503, "outcome-unknown") == code(response), value
        assert "www-authenticate" not in response.headers
        assert int(response.headers["retry-after"]) > 0
        assert site.sandbox.api_key not in response.text
    assert 200 == site.get(token=token(challenge)).status_code
    assert 1 == site.sandbox.money()["sgd"]["payments"]  # type: ignore[index]  # JSON of the sandbox


def test_stuck_broker(start: Start) -> None:
    """A broker whose status is stuck: with the core API asked as well, the paid charge is let in."""
    site = start(E2E_CORE_FALLBACK="1")
    challenge = site.challenge()
    site.sandbox.fault("broker_status_stuck", "verify")
    site.sandbox.fault("pr_lag", "forever")
    assert challenge.id == challenge_of(site.get(token=token(challenge))).id
    site.sandbox.pay(ident(challenge))
    paid = site.get(token=token(challenge))
    assert 200 == paid.status_code
    assert "mpp-receipt" not in paid.headers
    assert "payment_id" in json.loads(b64url_decode(paid.headers["payment-receipt"]))["extra"]


def test_stuck_broker_without_the_fallback(site: Site) -> None:
    """By default the broker's word counts, and the same challenge is presented again."""
    challenge = site.challenge()
    site.sandbox.fault("broker_status_stuck", "verify")
    site.sandbox.pay(ident(challenge))
    assert challenge.id == challenge_of(site.get(token=token(challenge))).id


def test_key_rotation(site: Site) -> None:
    """A receipt under a new key is good: the keys are asked for once more."""
    before = 0
    for more in (0, 1):
        challenge = site.challenge()
        site.sandbox.pay(ident(challenge))
        assert 200 == site.get(token=token(challenge)).status_code
        assert site.calls("B9") == before + more or not more
        before = site.calls("B9")
        site.sandbox.keys("rotate")
        time.sleep(1.1)  # keys are kept with their second: what was fetched in this one counts as new


@pytest.mark.parametrize(
    "value",
    ["wrong_kid", "alg_none", "alg_hs256", "typ_swapped", "bad_signature", "wrong_iss", "wrong_hash", "wrong_charge"],
)
def test_a_receipt_that_proves_nothing(site: Site, value: str) -> None:
    """The broker says paid and its receipt does not prove it: 503, and the true receipt lets in."""
    challenge = site.challenge()
    site.sandbox.pay(ident(challenge))
    site.sandbox.fault("jws", value, route="B3")
    assert (503, "outcome-unknown") == code(site.get(token=token(challenge)))
    site.sandbox.clear("jws")
    assert 200 == site.get(token=token(challenge)).status_code


@pytest.mark.parametrize("value", ["wrong_amount", "wrong_currency"])
def test_a_receipt_for_other_money(site: Site, value: str) -> None:
    """A receipt for another sum than was paid proves nothing: 503, and the true receipt lets in."""
    challenge = site.challenge()
    site.sandbox.pay(ident(challenge))
    site.sandbox.fault("jws", value, route="B3")
    assert (503, "outcome-unknown") == code(site.get(token=token(challenge)))
    site.sandbox.clear("jws")
    assert 200 == site.get(token=token(challenge)).status_code


@pytest.mark.parametrize("value", ["down", "huge"])
def test_keys_that_cannot_be_had(start: Start, value: str) -> None:
    """Without usable keys nothing is believed: 503, no challenge."""
    site = start()
    challenge = site.challenge()
    site.sandbox.pay(ident(challenge))
    site.sandbox.fault("jwks", value)
    response = site.get(token=token(challenge))
    assert (503, "outcome-unknown") == code(response)
    assert "www-authenticate" not in response.headers


def test_verified_before(start: Start) -> None:
    """A single-use broker whose answer got lost: the core API tells that it was paid."""
    site = start(E2E_CORE_FALLBACK="1")
    challenge = site.challenge()
    site.sandbox.pay(ident(challenge))
    site.sandbox.fault("verify", "single_use")
    site.sandbox.fault("http", "reset", route="B3", next=1)
    responses = [site.get(token=token(challenge)) for _ in range(2)]
    assert [503, 200] == [response.status_code for response in responses]


def test_a_handler_that_fails(site: Site) -> None:
    """Paid and not delivered: the same credential is delivered, with the same receipt, and nobody is asked again."""
    challenge = site.challenge("/broken")
    site.sandbox.pay(ident(challenge))
    failed = site.get("/broken", token(challenge))
    assert 500 == failed.status_code
    assert "mpp-receipt" not in failed.headers
    paid = site.get("/broken", token(challenge))
    assert 200 == paid.status_code
    assert ident(challenge) == verified(site, paid.headers["mpp-receipt"]).challenge_id
    assert 1 == site.calls("B3")


def test_a_flood(start: Start) -> None:
    """Unpaid requests over two workers: ten charges for one client in a minute, then 429 before the broker."""
    site = start(workers=2)
    statuses = [site.get(f"/forecast?zip={number}").status_code for number in range(40)]
    assert statuses.count(402) <= 10
    assert statuses.count(429) >= 30
    assert statuses.count(402) == site.calls("B1")


def test_late_and_refunded(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Money that comes after the charge has closed is put on record, its refund is due, and it goes back."""
    challenge = site.challenge()
    site.sandbox.register_webhook(f"{site.url}/hooks/hitpay")
    site.sandbox.late_pay(ident(challenge))
    assert (402, "payment-expired") == code(site.get(token=token(challenge)))
    _until(
        lambda: any(
            found["target"] == "endpoint" and found["status"] == "delivered" for found in site.sandbox.webhooks()
        )
    )
    flo = _shop(site, monkeypatch)
    try:
        # The app is the module's, so other tests may have left money of theirs.
        (due,) = [one for one in flo.refunds_due() if one.payment_id == ident(challenge)]
        assert (100, "sgd") == (due.amount, due.currency)
        assert "refunded" == flo.refund(due.payment_id).status
        assert due.payment_id not in [one.payment_id for one in flo.refunds_due()]
    finally:
        flo.close()
    assert "1.00" == site.sandbox.money()["sgd"]["refunded"]  # type: ignore[index]  # JSON of the sandbox


def test_another_sum_is_owed_without_its_agent(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Less is paid than was asked for: the webhook alone puts it on record, once, and its credential buys nothing."""
    challenge = site.challenge()
    site.sandbox.register_webhook(f"{site.url}/hooks/hitpay")
    site.sandbox.pay(ident(challenge), amount="0.50")
    with closing(_shop(site, monkeypatch)) as flo:

        def owed() -> list[tuple[int, str]]:
            return [(one.amount, one.currency) for one in flo.refunds_due() if one.payment_id == ident(challenge)]

        _until(lambda: bool(owed()))
        assert (402, "payment-insufficient") == code(site.get(token=token(challenge)))
        assert [(50, "sgd")] == owed()
        assert "refunded" == flo.refund(ident(challenge)).status
        assert [] == owed()
        events = [event for _, event in flo.ledger.read_events(limit=100_000) if event.challenge_id == challenge.id]
    assert 1 == [event.type for event in events].count(ev.PAYMENT_UNMATCHED)


def _shop(site: Site, monkeypatch: pytest.MonkeyPatch) -> flovia.Flovia:
    """The merchant's own program, beside the app and on its ledger."""
    for name, value in site.sandbox.environment.items():
        monkeypatch.setenv(name, value)
    return flovia.Flovia(provider="hitpay", ledger=site.ledger)


@pytest.mark.parametrize(
    ("value", "answer"),
    [
        ("normal", 200),
        ("duplicate", 200),
        ("flat", 200),
        ("enveloped", 200),
        ("sha256_prefix", 200),
        ("upper_hex", 200),
        ("foreign", 200),
        ("bad_signature", 401),
        ("wrong_salt", 401),
        ("truncated", 401),
    ],
)
def test_webhooks(site: Site, value: str, answer: int) -> None:
    """However an event comes, it is answered as it deserves, and opens nothing that the broker does not vouch for."""
    site.sandbox.register_webhook(f"{site.url}/hooks/hitpay", events=("payment_request.completed",))
    challenge = site.challenge()
    site.sandbox.fault("broker_status_stuck", "verify")
    site.sandbox.fault("webhook", value, next=4)
    site.sandbox.pay(ident(challenge))

    def answered() -> list[int]:
        mine = [found for found in site.sandbox.webhooks() if found["target"] == "endpoint"]
        return [given for found in mine for given in found["answers"] if given]  # type: ignore[attr-defined]  # JSON

    _until(lambda: bool(answered()))
    assert answer in answered()
    assert challenge.id == challenge_of(site.get(token=token(challenge))).id
    site.sandbox.clear("broker_status_stuck")
    assert 200 == site.get(token=token(challenge)).status_code


def test_webhooks_in_the_other_order(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The refund is heard of before the payment: both are answered 200, and the refund is on record once."""
    site.sandbox.register_webhook(f"{site.url}/hooks/hitpay", events=("payment_request.completed", "charge.updated"))
    challenge = site.challenge()
    site.sandbox.fault("webhook", "out_of_order", hold=60, next=1, target="endpoint")
    site.sandbox.pay(ident(challenge))
    assert 200 == site.get(token=token(challenge)).status_code
    request = request_id_of(str(challenge.request_json["methodDetails"]["checkout_url"]))  # type: ignore[index,call-overload]  # JSON
    payment = site.sandbox.call_api("GET", f"/v1/payment-requests/{request}")["payments"][0]["id"]  # type: ignore[index,call-overload]  # JSON
    site.sandbox.call_api("POST", "/v1/refund", {"payment_id": payment, "amount": "1.00"})

    def heard() -> list[object]:
        mine = [found for found in site.sandbox.webhooks() if found["target"] == "endpoint"]
        return [found["event"] for found in mine if found["status"] == "delivered"]

    _until(lambda: len(heard()) == 2)
    assert {"charge.updated", "payment_request.completed"} == set(heard())
    flo = _shop(site, monkeypatch)
    with closing(flo):
        events = [event for _, event in flo.ledger.read_events(limit=100_000) if event.challenge_id == challenge.id]
    assert 1 == [event.type for event in events].count(ev.PAYMENT_REFUNDED)
    assert (403, "payment-refunded") == code(site.get(token=token(challenge)))


def test_fifty_at_once(start: Start) -> None:
    """One paid charge, its credential presented fifty times at the same moment: one delivery, one debit."""
    site = start(workers=2, E2E_MANY="1")
    challenge = site.challenge()
    site.sandbox.pay(ident(challenge))
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: site.get(token=token(challenge)).status_code, range(50)))
    assert 1 == answers.count(200)
    assert {200, 402, 409} >= set(answers)
    assert "1.00" == site.sandbox.money()["sgd"]["in"]  # type: ignore[index]  # JSON of the sandbox
    with closing(open_ledger(site.ledger)) as ledger:
        # A delivery is recorded after its last byte, and then the ledger is asked.
        events = eventually(
            lambda: [event.type for _, event in ledger.read_events(limit=100_000)],
            lambda found: ev.PAYMENT_DELIVERED in found,
        )
    assert 1 == events.count(ev.PAYMENT_DELIVERED)


def test_without_a_key(start: Start) -> None:
    """The app starts; a paid route says by 503 what is missing, and no charge is made."""
    site = start(HITPAY_API_KEY=None)
    answer = site.get()
    assert 503 == answer.status_code
    assert "hitpay_mpp_not_configured" in answer.text
    assert "HITPAY_API_KEY" in answer.text
    assert 0 == site.calls("B1")


def test_a_test_key_for_production(tmp_path: Path) -> None:
    """It is refused when the program starts, with what to do, and without the key."""
    program = "import flovia; flovia.paid_api(provider='hitpay', rail='mpp', price='1.00 SGD')"
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith("HITPAY_")},
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "HITPAY_API_KEY": "test_key_of_nobody",
        "HITPAY_MPP_ENDPOINT": "https://mpp.hitpay.dev",
        "FLOVIA_SECRET": "test-secret-of-at-least-32-bytes!!",
        "FLOVIA_LEDGER": f"sqlite:///{tmp_path}/flovia.db",
    }
    done = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=False)
    assert 1 == done.returncode
    assert "WiringError" in done.stderr
    assert "test_" in done.stderr
    assert "test_key_of_nobody" not in done.stderr


def test_refunded_in_the_dashboard_and_no_webhook_came(site: Site) -> None:
    """Given back before it was redeemed: 403 that says so, no delivery, no second charge, one attempt in the join."""
    challenge = site.challenge()
    site.sandbox.pay(ident(challenge))
    request_id = challenge.request_json["methodDetails"]["checkout_url"].split("/")[-2]  # type: ignore[index,call-overload,union-attr]
    (payment,) = site.sandbox.call_api("GET", f"/v1/payment-requests/{request_id}")["payments"]  # type: ignore[misc]
    site.sandbox.call_api("POST", "/v1/refund", {"payment_id": payment["id"], "amount": "1.00"})  # type: ignore[index,call-overload]
    for _ in range(2):
        response = site.get(token=token(challenge))
        assert (403, "payment-refunded") == code(response)
        assert "www-authenticate" not in response.headers
    assert 1 == site.calls("B1")
    with closing(open_ledger(site.ledger)) as ledger:

        def attempt() -> JoinedEvent:
            events = [event for _, event in ledger.read_events(limit=100_000)]
            return next(one for one in join(events) if one.challenge_id == challenge.id)

        # The end of a request that brought no money is written in the background.
        mine = eventually(attempt, lambda one: one.response_status is not None)
    assert ("payment refunded", 100, 403) == (mine.insight, mine.refunded, mine.response_status)
    assert ident(challenge) == mine.payment_id


def test_refund(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A delivered payment goes back through HitPay's API, in part, once."""
    challenge = site.challenge()
    site.sandbox.pay(ident(challenge))
    assert 200 == site.get(token=token(challenge)).status_code
    flo = _shop(site, monkeypatch)
    try:
        result = flo.refund(ident(challenge), "0.40 SGD")
        assert "refunded" == result.status
        with pytest.raises(flovia.RefundError):
            flo.refund(ident(challenge), "0.60 SGD")
    finally:
        flo.close()
    assert "0.40" == site.sandbox.money()["sgd"]["refunded"]  # type: ignore[index]  # JSON of the sandbox


class TestSaved:
    """A saved wallet, from its setup to its end."""

    ASKS: ClassVar = {"x_mpp_payment_method": "grabpay_direct", "x_user_email": EMAIL}

    def grant(self, site: Site) -> str:
        """Bind a wallet, as agent and customer do; the grant."""
        challenge = site.challenge(**self.ASKS)
        assert challenge.id == challenge_of(site.get(token=token(challenge), **self.ASKS)).id
        site.sandbox.saved_method(ident(challenge), "approve")
        reply = site.agent.get(f"{site.sandbox.broker_url}/v1/saved-payment-methods/{ident(challenge)}")
        return str(reply.json()["saved_method_jws"])

    def test_bind_and_charge(self, site: Site) -> None:
        """One bind, three silent charges: alone, in a fresh challenge, and on another URL."""
        grant = self.grant(site)
        assert 200 == site.get(token=grant).status_code
        assert 200 == site.get(token=token(site.challenge(), {"saved_method_jws": grant})).status_code
        assert 200 == site.get("/forecast?zip=10001", grant).status_code
        assert "3.00" == site.sandbox.money()["sgd"]["in"]  # type: ignore[index]  # JSON of the sandbox

    def test_a_lost_answer(self, site: Site) -> None:
        """The silent charge was made and its answer lost: the same credential gets the receipt, one debit."""
        grant = self.grant(site)
        site.sandbox.fault("http", "reset", route="B7", next=1)
        assert (503, "outcome-unknown") == code(site.get(token=grant))
        assert 200 == site.get(token=grant).status_code
        assert 1 == site.sandbox.money()["sgd"]["payments"]  # type: ignore[index]  # JSON of the sandbox

    def test_detached(self, site: Site) -> None:
        """A wallet that was unbound is charged no more; a new setup is offered."""
        grant = self.grant(site)
        saved = str(site.sandbox.saved_methods()[0]["id"])
        site.sandbox.saved_method(saved, "detach")
        response = site.get(token=grant, x_user_email=EMAIL)
        assert (402, "payment-expired") == code(response)
        assert "saved-method-setup" == response.json()["mode"]

    def test_a_grant_is_no_receipt_and_no_other_way_round(self, site: Site) -> None:
        """A receipt presented as a grant charges nothing."""
        challenge = site.challenge()
        site.sandbox.pay(ident(challenge))
        receipt = site.get(token=token(challenge)).headers["mpp-receipt"]
        response = site.get(token=token(site.challenge(), {"saved_method_jws": receipt}))
        assert (402, "verification-failed") == code(response)
        assert 0 == site.calls("B7")


def _until(done: object) -> None:
    for _ in range(200):
        if done():  # type: ignore[operator]  # a function
            return
        time.sleep(0.05)
    raise AssertionError("it did not happen within 10 s")
