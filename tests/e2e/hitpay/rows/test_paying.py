"""Asking, paying once, and what a credential is good for: one app, one sandbox, agents as processes."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import pytest

from flovia import runtime
from flovia.core import events as ev
from flovia.core.encoding import JsonObject, b64url_decode
from flovia.ledger.memory import MemoryLedger
from flovia.signed import Jwks
from tests.e2e.hitpay.conftest import challenge_of, code, ident, token
from tests.e2e.hitpay.rows.table import plays
from tests.e2e.hitpay.rows.world import SECRET, World, ended
from tests.interop.javascript import Javascript
from tests.interop.pympp import Challenge as PymppChallenge
from tests.patience import eventually

GOODS = {"forecast": "sunny"}


@plays("402 usable by spec clients")
def test_pympp_reads_the_402(here: World) -> None:
    """Both profiles are one challenge whose id pympp recomputes; HitPay's body is there in dual, a problem in core."""
    for path, kind in (("/forecast", "application/json"), ("/core", "application/problem+json")):
        answer = here.get(path)
        (field,) = answer.headers.get_list("www-authenticate")
        read = PymppChallenge.from_www_authenticate(field)
        assert read.verify(SECRET, read.realm)
        assert (402, kind) == (answer.status_code, answer.headers["content-type"])
        body = answer.json()
        assert ("hitpay", "charge", read.id) == (read.method, read.intent, body["challengeId"])
        assert ("challenge" in body, body.get("error")) == (
            (True, "payment_required") if path == "/forecast" else (False, None)
        )


@pytest.mark.node
@plays("402 usable by spec clients", "Mixed methods")
def test_mppx_reads_the_402(here: World) -> None:
    """mppx recomputes the id of both profiles, and reads the list of a route with two methods."""
    with Javascript() as mppx:
        for path in ("/forecast", "/core"):
            (field,) = here.get(path).headers.get_list("www-authenticate")
            assert mppx.call("challenge.read", field=field, secretKey=SECRET)["verified"] is True
        fields = cast("list[Any]", here.get("/mixed").headers.get_list("www-authenticate"))
        listed = cast("list[JsonObject]", mppx.call("challenge.list", fields=fields)["challenges"])
    assert ["hitpay", "mock"] == sorted(str(one["method"]) for one in listed)


@plays("Mixed methods")
def test_mixed_methods(here: World) -> None:
    """An agent pays by the method it can; for who cannot pay by HitPay no charge is made."""
    fields = here.get("/mixed").headers.get_list("www-authenticate")
    assert {"hitpay", "mock"} == {PymppChallenge.from_www_authenticate(field).method for field in fields}
    assert 1 == here.calls("B1")
    here.fault("payer", "auto_pay", delay=0)
    for wallet, budget, price, charges in (("mock", "1.00 USD", "0.75 USD", 1), ("hitpay", "1.00 SGD", "1.00 SGD", 2)):
        done = here.pay("/mixed", "--wallet", wallet, budget=budget)
        assert (0, GOODS) == (done.status, json.loads(str(done.json["body"]))), done.err
        assert (wallet, price) == (done.told["method"], done.told["price"])
        assert charges == here.calls("B1")


@plays("Pay then retry")
def test_pay_then_retry(here: World) -> None:
    """The agent gets its answer and verifies the receipt; on the wire both receipts are there, of one charge."""
    here.fault("payer", "auto_pay", delay=0)
    done = here.pay()
    assert (0, GOODS) == (done.status, json.loads(str(done.json["body"]))), done.err
    assert ("1.00 SGD", True) == (done.told["price"], done.told["receipt_verified"])
    challenge = challenge_of(here.get())
    polled = str(cast(JsonObject, challenge.request_json["methodDetails"])["polling_url"])
    assert "paid" == eventually(lambda: here.http.get(polled).json()["status"], lambda found: found == "paid")
    paid = here.get(token=token(challenge))
    assert (200, GOODS) == (paid.status_code, paid.json())
    jws = paid.headers["mpp-receipt"]
    assert jws == json.loads(b64url_decode(paid.headers["payment-receipt"]))["extra"]["receipt_jws"]
    claims = runtime.run(Jwks(origin=here.broker).receipt(jws), runtime.World(ledger=MemoryLedger()))
    assert (ident(challenge), "1.00 SGD") == (claims.challenge_id, str(claims.price))
    assert (2, 2) == (here.calls("B1"), here.calls("B3"))


@plays("Not paid yet")
def test_not_paid_yet(here: World) -> None:
    """An agent that nobody pays for gives up, and resumes; the same challenge is presented again, of one charge."""
    first = here.pay("/forecast", "--timeout", "1")
    assert (3, 1) == (first.status, here.calls("B1")), first.err
    challenge = challenge_of(here.get())
    for _ in range(2):
        again = here.get(token=token(challenge))
        assert (402, "verification-failed") == code(again)
        assert (challenge.id, "2") == (challenge_of(again).id, again.headers["retry-after"])
    mine = next(one for one in here.journal("B1"))
    here.settle(str(cast(JsonObject, mine["got"])["challenge_id"]))
    done = here.resume(first)
    assert (0, GOODS) == (done.status, json.loads(str(done.json["body"]))), done.err
    assert 2 == here.calls("B1")


@plays("Cross-URL replay")
def test_another_url(here: World) -> None:
    """A paid credential opens no other URL and no other route, and the broker is not asked; its own it does."""
    challenge = challenge_of(here.get("/forecast?zip=94103"))
    here.settle(ident(challenge))
    for path in ("/forecast?zip=10001", "/forecast", "/core?zip=94103"):
        assert (402, "invalid-challenge") == code(here.get(path, token(challenge)))
    assert 0 == here.calls("B3")
    assert 200 == here.get("/forecast?zip=94103", token(challenge)).status_code


@plays("Double use, 50 concurrent")
def test_fifty_at_once(here: World) -> None:
    """Fifty requests with one paid credential at the same moment: one delivery, one debit."""
    challenge = challenge_of(here.get())
    here.settle(ident(challenge))
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: here.get(token=token(challenge)).status_code, range(50)))
    assert 1 == answers.count(200)
    assert {200, 402, 409} >= set(answers)
    assert 1 == len(cast("list[object]", here.request_of(ident(challenge))["payments"]))

    assert 1 == eventually(lambda: here.events(challenge.id).count(ev.PAYMENT_DELIVERED), bool)


@plays("Expired / late pay")
def test_expired_and_paid_late(here: World) -> None:
    """A charge runs out while the agent waits: not paid. Paid after all, its refund is due, and it goes back."""
    with here.started("-m", "flovia.cli", *here.paying("/forecast")) as agent:
        (made,) = eventually(lambda: here.journal("B1"), bool)
        charge = str(cast(JsonObject, made["got"])["challenge_id"])
        here.settle(charge, "expire")
        done = ended(agent)
    assert (5, None) == (done.status, done.json["paid"]), done.err
    here.settle(charge, "late_pay")
    assert charge in eventually(here.due, lambda found: charge in found)
    gone = here.flovia("refund", charge)
    assert (0, "refunded") == (gone.status, here.charge(charge)["state"]), gone.err
    assert 1 == here.calls("B1")


@plays("Expired / late pay")
def test_an_expired_credential(here: World) -> None:
    """It gets 402 and a fresh challenge over a fresh charge, whether money has come late or not."""
    here.fault("limits", "set", charge_ttl=2)
    for payer, state in (("never", "expired"), ("late", "expired_paid")):
        here.fault("payer", payer)
        challenge = challenge_of(here.get())
        charge = ident(challenge)
        assert state == eventually(lambda of=charge: here.charge(of)["state"], lambda found, to=state: found == to)
        answer = here.get(token=token(challenge))
        assert (402, "payment-expired") == code(answer)
        assert charge != ident(challenge_of(answer))


@plays("Zero-decimal / bounds")
def test_rupiah(here: World) -> None:
    """50000 IDR goes to the broker as 50000, stands in the challenge in base units, and is what the receipt says."""
    here.fault("payer", "auto_pay", delay=0)
    done = here.pay("/rupiah", budget="60000 IDR")
    assert (0, "50000 IDR", 5_000_000, True) == (
        done.status,
        done.told["price"],
        done.told["amount"],
        done.told["receipt_verified"],
    ), done.err
    (made,) = here.journal("B1")
    sent = cast(JsonObject, made["sent"])
    assert ("50000", "idr") == (sent["amount"], sent["currency"])
