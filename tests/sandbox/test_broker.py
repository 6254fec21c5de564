"""B1, B2, B3, B8 and B9: one-time charges of the broker."""

import json

import pytest
from joserfc.errors import JoseError

from flovia.sandbox import event_signature
from tests.sandbox.local import HASH, KEY, OTHER_KEY, SALT, Local, unverified, verified


@pytest.mark.parametrize(
    ("members", "status", "code"),
    [
        ({"api_key": "live_key"}, 401, "invalid_api_key"),
        ({"api_key": None}, 401, "invalid_api_key"),
        ({"api_key": "test_"}, 401, "invalid_api_key"),
        ({"amount": "0.29"}, 422, "invalid_amount"),
        ({"amount": 1}, 422, "invalid_amount"),
        ({"amount": "1.001"}, 422, "invalid_amount"),
        ({"amount": "1000000000.00"}, 422, "invalid_amount"),
        ({"currency": "SGD"}, 422, "invalid_currency"),
        ({"currency": "usd"}, 422, "invalid_currency"),
        ({"currency": "idr", "amount": "10.5"}, 422, "invalid_amount"),
        ({"request_hash": ""}, 422, "invalid_request_hash"),
        ({"request_hash": "short"}, 422, "invalid_request_hash"),
        ({"nonce": None}, 422, "invalid_nonce"),
        ({"nonce": "with space inside"}, 422, "invalid_nonce"),
        ({"description": "x" * 256}, 422, "invalid_description"),
        ({"saved_method_id": "mpp_spm_x"}, 422, "invalid_saved_method_id"),
    ],
)
def test_creation_is_checked(members: dict[str, object], status: int, code: str) -> None:
    """A charge that cannot be is refused with a code of its own, and leaves nothing behind."""
    local = Local()
    reply = local.broker("POST /v1/charges", local.creation(**members))
    assert (status, code) == (reply.status, reply.json()["error"])
    assert {} == local.state.charges
    assert {} == local.state.requests


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b"[" * 100_000])
def test_a_body_is_one_json_object(body: bytes) -> None:
    """Anything else is 400."""
    assert 400 == Local().broker("POST /v1/charges", body).status


def test_a_repeated_creation_is_the_same_charge() -> None:
    """A lost answer can be asked for again; the key and the salt are no part of what must be the same."""
    local = Local()
    first = local.broker("POST /v1/charges", local.creation())
    again = local.broker("POST /v1/charges", local.creation(webhook_salt="test_salt_rotated"))
    assert (201, 200) == (first.status, again.status)
    assert first.body == again.body
    assert 1 == len(local.state.charges)


def test_a_nonce_is_for_one_charge_of_one_merchant() -> None:
    """The same nonce with another body is 409; another merchant may have chosen the same."""
    local = Local()
    local.charge()
    reply = local.broker("POST /v1/charges", local.creation(amount="2.00"))
    assert (409, "nonce_reused") == (reply.status, reply.json()["error"])
    assert 409 == local.setup(nonce=local.creation()["nonce"]).status
    local.charge(api_key=OTHER_KEY)
    assert 2 == len(local.state.charges)


def test_polling_needs_no_key_and_any_page_may() -> None:
    """An agent, or a page in a browser, polls with the id alone, and reads no receipt there."""
    local = Local()
    charge_id = local.charge()
    reply = local.broker(f"GET /v1/charges/{charge_id}", origin="https://agent.example.test")
    assert 200 == reply.status
    assert "*" == dict(reply.headers)["access-control-allow-origin"]
    assert {
        "challenge_id": charge_id,
        "status": "pending",
        "amount": "1.00",
        "currency": "sgd",
        "expires_at": "2030-01-01T00:15:00Z",
    } == reply.json()
    local.pay(charge_id)
    assert "2030-01-01T00:00:00Z" == local.broker(f"GET /v1/charges/{charge_id}").json()["paid_at"]
    assert b"jws" not in local.broker(f"GET /v1/charges/{charge_id}").body
    assert 404 == local.broker("GET /v1/charges/mpp_ch_none").status


def test_a_paid_charge_is_verified_with_a_receipt() -> None:
    """402 until it is paid; then a receipt that says what was paid for which request, and nothing personal."""
    local = Local()
    charge_id = local.charge()
    assert (402, "not_paid") == ((reply := local.verify(charge_id)).status, reply.json()["error"])
    local.pay(charge_id)
    assert "paid" == local.status(charge_id)
    reply = local.verify(charge_id, nonce="0123456789abcdef0123456789abcdef")
    assert 200 == reply.status
    assert ["receipt_jws"] == list(reply.json())
    header, claims = local.verified(reply.json()["receipt_jws"])
    charge = local.state.charges[charge_id]
    kid = local.state.keys[0].kid
    assert {"alg": "EdDSA", "typ": "mpp-receipt+jwt", "kid": kid} == header
    jti = claims.pop("jti")
    assert jti
    assert {
        "iss": "http://127.0.0.1:4010",
        "sub": charge_id,
        "iat": 1_893_456_000,
        "challenge_id": charge_id,
        "charge_id": charge_id,
        "payment_id": charge.payment,
        "payment_request_id": charge.request,
        "amount": "1.00",
        "currency": "sgd",
        "method": "hitpay",
        "request_hash": HASH,
        "nonce": "0123456789abcdef0123456789abcdef",
        "paid_at": "2030-01-01T00:00:00Z",
        "status": "paid",
        "reference": charge_id,
    } == claims
    assert reply.body == local.verify(charge_id).body


def test_verification_is_bound() -> None:
    """Another request, nonce or merchant gets no receipt, paid or not."""
    local = Local()
    charge_id = local.charge()
    for _ in range(2):
        assert "request_hash_mismatch" == local.verify(charge_id, request_hash="0" * 64).json()["error"]
        assert 422 == local.verify(charge_id, nonce="another-nonce-0001").status
        assert 404 == local.verify(charge_id, api_key=OTHER_KEY).status
        assert 401 == local.verify(charge_id, api_key="live").status
        assert 422 == local.verify(charge_id, request_hash=None).status
        local.control(f"POST charges/{charge_id}/pay") if local.status(charge_id) == "pending" else None
    assert 404 == local.verify("mpp_ch_none").status
    assert local.state.charges[charge_id].receipt is None


def test_an_expired_charge_is_410() -> None:
    """At its end, not after it, a charge expires, with its payment request."""
    local = Local()
    charge_id = local.charge()
    local.advance(899)
    assert "pending" == local.status(charge_id)
    local.advance(1)
    assert "expired" == local.status(charge_id)
    assert (410, "expired") == ((reply := local.verify(charge_id)).status, reply.json()["error"])
    assert "expired" == local.request_of(charge_id)["status"]


def test_the_broker_asks_when_no_webhook_came() -> None:
    """Verification finds a payment by itself; only polling waits for the webhook."""
    local = Local()
    charge_id = local.charge()
    local.fault("webhook", "lost")
    local.pay(charge_id)
    assert "pending" == local.status(charge_id)
    assert 200 == local.verify(charge_id).status
    assert "paid" == local.status(charge_id)


def test_the_salt_of_the_dashboard_can_differ() -> None:
    """With a salt set by hand, a charge that named another never hears of its payment."""
    local = Local()
    local.control("PUT salts", {"api_key": KEY, "webhook_salt": "test_salt_of_the_dashboard"})
    wrong = local.charge()
    right = local.charge(webhook_salt="test_salt_of_the_dashboard", nonce="nonce-of-the-right-one")
    default = local.charge(webhook_salt=None, nonce="nonce-of-the-default-one")
    for charge_id in (wrong, right, default):
        local.pay(charge_id)
    assert ["pending", "paid", "paid"] == [local.status(found) for found in (wrong, right, default)]
    assert [401, 401] == [int(str(entry["status"])) for entry in local.control("GET journal?route=B8")["journal"][:2]]


def test_a_webhook_is_heard_only_if_it_is_signed() -> None:
    """B8 wants the salt of the charge: 401 without, 400 for no JSON, 200 for what it does not know, forward only."""
    local = Local()
    charge_id = local.charge()
    local.fault("webhook", "lost")
    local.pay(charge_id)
    event = json.dumps({"reference_number": charge_id, "status": "completed"}).encode()
    good = event_signature(event, SALT)
    hook = "POST /v1/webhook/hitpay"
    assert 401 == local.broker(hook, event).status
    assert 401 == local.broker(hook, event, hitpay_signature="0" * 64).status
    assert 401 == local.broker(hook, event, hitpay_signature="\u00e9").status
    assert 401 == local.broker(hook, event + b" ", hitpay_signature=good).status
    assert 400 == local.broker(hook, b"{", hitpay_signature=event_signature(b"{", SALT)).status
    assert "pending" == local.status(charge_id)
    unknown = b'{"reference_number":"mpp_ch_other"}'
    reply = local.broker(hook, unknown, hitpay_signature=event_signature(unknown, SALT))
    assert (200, False) == (reply.status, reply.json()["moved"])
    reply = local.broker(hook, event, hitpay_signature=f"sha256={good.upper()}")
    assert (200, True) == (reply.status, reply.json()["moved"])
    assert "paid" == local.status(charge_id)
    reply = local.broker(hook, event, hitpay_signature=good)
    assert (200, False) == (reply.status, reply.json()["moved"])


def test_an_event_without_a_payment_moves_nothing() -> None:
    """The truth comes from the API: an event that claims a payment that is not there is only a hint."""
    local = Local()
    charge_id = local.charge()
    event = json.dumps({"payment_request": {"reference_number": charge_id, "status": "completed"}}).encode()
    reply = local.broker("POST /v1/webhook/hitpay", event, hitpay_signature=event_signature(event, SALT))
    assert (200, False) == (reply.status, reply.json()["moved"])
    assert "pending" == local.status(charge_id)


def test_a_receipt_needs_the_key_that_signed_it() -> None:
    """The key set is public and cacheable; another sandbox's does not verify our receipts."""
    local, other = Local(), Local(seed=1)
    charge_id = local.charge()
    local.pay(charge_id)
    token = local.verify(charge_id).json()["receipt_jws"]
    reply = local.broker("GET /.well-known/jwks.json")
    fields = dict(reply.headers)
    assert ("public, max-age=600", "*") == (fields["cache-control"], fields["access-control-allow-origin"])
    (key,) = reply.json()["keys"]
    assert {"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA"}.items() <= key.items()
    assert {"kty", "crv", "use", "alg", "kid", "x"} == set(key)
    (theirs,) = other.jwks()["keys"]
    assert key["x"] != theirs["x"]
    with pytest.raises(JoseError):
        verified(token, {"keys": [{**theirs, "kid": key["kid"]}]})
    assert "EdDSA" == unverified(token, 0)["alg"]


def test_the_same_seed_gives_the_same_answers() -> None:
    """The core is pure: ids, keys, signatures and times follow from the seed and the requests."""

    def story(seed: int) -> list[bytes]:
        local = Local(seed=seed)
        charge_id = local.charge()
        local.pay(charge_id)
        return [local.verify(charge_id).body, local.broker("GET /__emulator/journal").body]

    assert story(7) == story(7)
    assert story(7)[0] != story(8)[0]


def test_a_step_leaves_the_old_state_as_it_was() -> None:
    """States are values: a step returns a new one."""
    local = Local()
    charge_id = local.charge()
    before = local.state
    shown = repr(before)
    local.pay(charge_id)
    local.verify(charge_id)
    assert shown == repr(before)
    assert "pending" == before.charges[charge_id].state
    assert "verified" == local.state.charges[charge_id].state
