"""The knobs of what a call means: nonces, verification, the contract, shapes of the answers, limits."""

from tests.sandbox.knobs import shows
from tests.sandbox.local import Local


@shows("nonce", "duplicate")
def test_nonce_duplicate(local: Local) -> None:
    """A fresh nonce is said to be used, and nothing is made."""
    local.fault("nonce", "duplicate", route="B1", next=1)
    reply = local.broker("POST /v1/charges", local.creation())
    assert (409, "nonce_reused", {}) == (reply.status, reply.json()["error"], local.state.charges)
    local.charge()


@shows("nonce", "race")
def test_nonce_race(local: Local) -> None:
    """The charge was made by another call of the same moment: 409, and the repeated call finds it."""
    local.fault("nonce", "race", route="B1", next=1)
    assert 409 == local.broker("POST /v1/charges", local.creation()).status
    assert 1 == len(local.state.charges)
    reply = local.broker("POST /v1/charges", local.creation())
    assert (200, list(local.state.charges)) == (reply.status, [reply.json()["challenge_id"]])
    saved_id = local.saved()
    local.fault("nonce", "race", route="B7", next=1)
    assert 409 == local.silent(saved_id).status
    assert 200 == local.silent(saved_id).status
    assert 1 == len(local.state.payments)


@shows("verify", "idempotent", "single_use")
def test_verify_modes(local: Local) -> None:
    """A second verification gets the same receipt, or 409 where receipts are handed out once."""
    charge_id = local.charge()
    local.pay(charge_id)
    local.fault("verify", "idempotent")
    assert local.verify(charge_id).body == local.verify(charge_id).body
    local.fault("verify", "single_use")
    reply = local.verify(charge_id)
    assert (409, "already_verified") == (reply.status, reply.json()["error"])
    other = local.charge(nonce="another-nonce-1")
    local.pay(other)
    assert [200, 409] == [local.verify(other).status for _ in range(2)]


@shows("verify", "hash_mismatch")
def test_verify_mismatch(local: Local) -> None:
    """The broker finds another hash than was sent."""
    charge_id = local.charge()
    local.pay(charge_id)
    local.fault("verify", "hash_mismatch", next=1)
    assert [422, 200] == [local.verify(charge_id).status for _ in range(2)]


@shows("verify", "pending")
def test_verify_pending(local: Local) -> None:
    """Paid, but not yet as far as the broker knows: so many times, then paid."""
    charge_id = local.charge()
    local.pay(charge_id)
    local.fault("verify", "pending", times=2)
    assert [402, 402, 200] == [local.verify(charge_id).status for _ in range(3)]


@shows("contract", "current", "2026-05-old")
def test_contract(local: Local) -> None:
    """The first contract: bound and failed instead of active, no grant, charges through B1 and nowhere else."""
    local.fault("contract", "2026-05-old")
    saved_id = str(local.setup().json()["saved_method_id"])
    line = f"GET /v1/saved-payment-methods/{saved_id}"
    assert "pending" == local.broker(line).json()["status"]
    local.control(f"POST saved-methods/{saved_id}/approve")
    polled = local.broker(line).json()
    assert "bound" == polled["status"]
    assert "saved_method_jws" not in polled
    assert 404 == local.silent(saved_id).status
    old = local.creation(saved_method_id=saved_id)
    reply = local.broker("POST /v1/charges", old)
    assert (200, "paid") == (reply.status, reply.json()["status"])
    local.verified(reply.json()["receipt_jws"])
    local.control(f"POST saved-methods/{saved_id}/detach")
    assert "failed" == local.broker(line).json()["status"]
    local.fault("contract", "current")
    assert "detached" == local.broker(line).json()["status"]
    assert 422 == local.broker("POST /v1/charges", old).status


@shows("qr", "object", "string")
def test_qr(local: Local) -> None:
    """The QR of a payment request is an object in one of HitPay's documents, and a text in another."""
    line, body = "POST /v1/payment-requests", {"amount": "1.00", "currency": "sgd", "generate_qr": True}
    found = local.api(line, body | {"expires_after": "5 minutes"}).json()
    assert {"qr_code": found["url"], "qr_code_expiry": "2030-01-01T00:05:00Z"} == found["qr_code_data"]
    local.fault("qr", "object")
    assert {"qr_code", "qr_code_expiry"} == set(local.api(line, body).json()["qr_code_data"])  # type: ignore[call-overload]  # JSON
    local.fault("qr", "string")
    found = local.api(line, body).json()
    assert found["url"] == found["qr_code_data"]


@shows("amounts", "plain", "commas")
def test_amounts(local: Local) -> None:
    """The API groups thousands, sometimes."""
    charge_id = local.charge(amount="12345.60")
    assert "12345.60" == local.request_of(charge_id)["amount"]
    local.fault("amounts", "commas")
    assert "12,345.60" == local.request_of(charge_id)["amount"]
    local.fault("amounts", "plain")
    assert "12345.60" == local.request_of(charge_id)["amount"]


@shows("limits", "set")
def test_limits(local: Local) -> None:
    """Every limit is one: rates, lives, the age of the key set, the step of the clock, the pace of retries."""
    local.fault("limits", creations_per_minute=2, charge_ttl=60, setup_ttl=30, grant_ttl=90, jwks_max_age=5)
    first = local.charge(nonce="nonce-number-1")
    local.advance(20)
    setup = local.setup()
    assert "2030-01-01T00:00:50Z" == setup.json()["expires_at"]
    refused = local.broker("POST /v1/charges", local.creation())
    assert (429, "40") == (refused.status, dict(refused.headers)["retry-after"])
    refused = local.api("POST /v1/payment-requests", {"amount": "1.00", "currency": "sgd"})
    assert (429, "40", ["message"]) == (refused.status, dict(refused.headers)["retry-after"], list(refused.json()))
    assert 201 == local.broker("POST /v1/charges", local.creation(api_key="test_another_merchant")).status
    local.advance(39)
    assert 429 == local.broker("POST /v1/charges", local.creation()).status
    assert "pending" == local.status(first)
    local.advance(1)
    assert "expired" == local.status(first)
    assert 201 == local.broker("POST /v1/charges", local.creation()).status
    assert "public, max-age=5" == dict(local.broker("GET /.well-known/jwks.json").headers)["cache-control"]
    local.fault("limits", calls_per_minute=1, clock_step=10)
    line = "GET /v1/payment-requests"
    now = local.state.now
    assert [200, 429, 429] == [local.api(line).status for _ in range(3)]
    assert 30_000 == local.state.now - now
    local.control("DELETE faults")
    assert 200 == local.api(line).status
    assert 200 == local.api(line).status
