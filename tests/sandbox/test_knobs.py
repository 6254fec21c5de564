"""Every fault knob has its effect. One test for each value, and a check that none is without."""

import json
from collections.abc import Callable
from typing import Final

import pytest
from joserfc.errors import JoseError

from flovia.sandbox import KNOBS, LIMITS, Post, event_signature
from flovia.sandbox.wire import Json
from tests.sandbox.local import HASH, KEY, SALT, Local, unverified, verified

Scenario = Callable[[Local], None]
SCENARIOS: Final[dict[tuple[str, str], Scenario]] = {}


def shows(knob: str, *values: str) -> Callable[[Scenario], Scenario]:
    """Mark a scenario as the one that shows these values."""

    def mark(scenario: Scenario) -> Scenario:
        SCENARIOS.update({(knob, value): scenario for value in values})
        return scenario

    return mark


@pytest.mark.parametrize(("knob", "value"), [(knob, value) for knob, values in KNOBS.items() for value in values])
def test_knob(knob: str, value: str) -> None:
    """The value of the knob does what its scenario says; the scenario is written for this value or for all."""
    SCENARIOS[knob, value](Local())


def test_no_scenario_is_for_a_value_that_is_not_there() -> None:
    """The table of scenarios and the table of knobs are the same."""
    assert {(knob, value) for knob, values in KNOBS.items() for value in values} == set(SCENARIOS)


# --- payer ------------------------------------------------------------------------------------------------


@shows("payer", "auto_pay")
def auto_pay(local: Local) -> None:
    """Charges are paid after the delay, setups approved."""
    local.fault("payer", "auto_pay", delay=2)
    charge_id, saved_id = local.charge(), str(local.setup().json()["saved_method_id"])
    local.advance(1.9)
    assert ("pending", "pending") == (local.status(charge_id), local.state.saved[saved_id].state)
    local.advance(0.1)
    assert ("paid", "active") == (local.status(charge_id), local.state.saved[saved_id].state)


@shows("payer", "decline")
def decline(local: Local) -> None:
    """Payments fail; terminal ones end the payment request; setups are rejected, wallets decline."""
    saved_id = local.saved(nonce="setup-nonce-0009")
    local.fault("payer", "decline")
    charge_id = local.charge()
    local.advance(0)
    assert ("pending", "pending") == (local.status(charge_id), local.request_of(charge_id)["status"])
    assert ["failed"] == [payment.status for payment in local.state.payments.values()]
    local.pay(charge_id)
    assert "paid" == local.status(charge_id)
    rejected = str(local.setup().json()["saved_method_id"])
    local.advance(0)
    assert "expired" == local.state.saved[rejected].state
    assert 402 == local.silent(saved_id).status
    local.fault("payer", "decline", terminal=True)
    final = local.charge(nonce="another-nonce-1")
    local.advance(0)
    assert "failed" == local.request_of(final)["status"]
    assert 409 == local.broker(f"POST /__emulator/charges/{final}/pay").status


@shows("payer", "never")
def never(local: Local) -> None:
    """Nobody pays, even where auto_pay was set before."""
    local.fault("payer", "auto_pay")
    local.fault("payer", "never", route="B1")
    charge_id, saved_id = local.charge(), str(local.setup().json()["saved_method_id"])
    local.advance(899)
    assert ("pending", "active") == (local.status(charge_id), local.state.saved[saved_id].state)


@shows("payer", "pay_twice")
def pay_twice(local: Local) -> None:
    """Two payments, two completed events, one charge."""
    local.fault("payer", "pay_twice")
    charge_id = local.charge()
    local.advance(0)
    assert {"sgd": {"in": "2.00", "refunded": "0.00", "payments": 2}} == local.control("GET money")["money"]
    events = [found["event"] for found in listed(local, "webhooks")]
    assert 2 == events.count("payment_request.completed")
    assert "paid" == local.status(charge_id)


@shows("payer", "wrong_amount")
def wrong_amount(local: Local) -> None:
    """The receipt states what was paid, which is not what was asked for."""
    local.fault("payer", "wrong_amount")
    charge_id = local.charge()
    local.advance(0)
    _, claims = local.verified(local.verify(charge_id).json()["receipt_jws"])
    assert "0.99" == claims["amount"]
    assert "0.99" == local.broker(f"GET /v1/charges/{charge_id}").json()["amount"]
    local.fault("payer", "wrong_amount", amount="7.00")
    more = local.charge(nonce="another-nonce-1")
    rupiah = local.charge(nonce="another-nonce-2", currency="idr", amount="50000")
    local.advance(0)
    assert "7.00" == local.broker(f"GET /v1/charges/{more}").json()["amount"]
    assert "7" == local.broker(f"GET /v1/charges/{rupiah}").json()["amount"]


@shows("payer", "late")
def late(local: Local) -> None:
    """The money comes after the charge has expired: it stays expired, the money is there, the event goes out."""
    local.fault("payer", "late", delay=5)
    charge_id = local.charge()
    local.advance(904)
    assert "expired" == local.status(charge_id)
    assert {} == local.control("GET money")["money"]
    local.advance(1)
    assert ("expired", "expired_paid") == (local.status(charge_id), local.state.charges[charge_id].state)
    assert 410 == local.verify(charge_id).status
    assert "payment_request.completed" in [found["event"] for found in listed(local, "webhooks")]
    assert ["succeeded"] == [each["status"] for each in local.request_of(charge_id)["payments"]]  # type: ignore[attr-defined]  # JSON


# --- status lag ---------------------------------------------------------------------------------------------


@shows("pr_lag", "seconds")
def lag(local: Local) -> None:
    """The payment has succeeded while the payment request still says pending, for so long."""
    local.fault("pr_lag", 10)
    charge_id = local.charge()
    local.pay(charge_id)
    found = local.request_of(charge_id)
    assert ("pending", ["succeeded"]) == (found["status"], [each["status"] for each in found["payments"]])  # type: ignore[attr-defined]  # JSON
    local.advance(10)
    assert "completed" == local.request_of(charge_id)["status"]


@shows("pr_lag", "forever")
def lag_forever(local: Local) -> None:
    """Or for ever, past the end of the charge, which is paid all the same."""
    local.fault("pr_lag", "forever")
    charge_id = local.charge()
    local.pay(charge_id)
    local.advance(86400)
    assert ("pending", "paid") == (local.request_of(charge_id)["status"], local.status(charge_id))
    assert 200 == local.verify(charge_id).status


@shows("broker_status_stuck", "status")
def stuck(local: Local) -> None:
    """B2 never leaves pending though the money is there; B3 knows better."""
    local.fault("broker_status_stuck", True)
    charge_id = local.charge()
    local.pay(charge_id)
    assert ("pending", "completed") == (local.status(charge_id), local.request_of(charge_id)["status"])
    assert 200 == local.verify(charge_id).status
    assert "pending" == local.status(charge_id)


@shows("broker_status_stuck", "verify")
def stuck_verify(local: Local) -> None:
    """B3 does not know either: only the core API shows the payment."""
    local.fault("broker_status_stuck", "verify")
    charge_id = local.charge()
    local.pay(charge_id)
    assert ("pending", "completed") == (local.status(charge_id), local.request_of(charge_id)["status"])
    assert 402 == local.verify(charge_id).status


# --- webhooks -------------------------------------------------------------------------------------------------

MERCHANT_SALT: Final = "test_salt_of_my_endpoint"
URL: Final = "http://127.0.0.1:9/hook"
EVENT: Final = "payment_request.completed"


def listed(local: Local, what: str) -> list[Json]:
    """A list of the control API."""
    found = local.control(f"GET {what}")[what]
    assert isinstance(found, list)
    return found


def with_endpoint(local: Local, *events: str) -> None:
    """Register an endpoint for some events."""
    local.api(
        "POST /v1/webhook-events",
        {"name": "mine", "url": URL, "event_types": list(events or [EVENT]), "salt": MERCHANT_SALT},
    )


def sent(local: Local, **options: object) -> list[Post]:
    """The events that an endpoint gets for one paid charge; ``options``: the knob."""
    with_endpoint(local)
    local.fault("webhook", target="endpoint", **options)  # type: ignore[arg-type]  # the value is among them
    local.pay(local.charge())
    return local.posts


def well_signed(post: Post) -> bool:
    """Whether the signature is the endpoint's over what was sent."""
    return dict(post.headers)["hitpay-signature"] == event_signature(post.body, MERCHANT_SALT)


@shows("webhook", "normal")
def normal(local: Local) -> None:
    """One event, signed, with the headers HitPay sends; the broker's own is untouched by the endpoint's knob."""
    (post,) = sent(local, value="normal")
    assert well_signed(post)
    headers = dict(post.headers)
    assert ("payment_request", "completed") == (headers["hitpay-event-object"], headers["hitpay-event-type"])
    assert ("HitPay v2.0", "application/json") == (headers["user-agent"], headers["content-type"])
    body = json.loads(post.body)
    (charge,) = local.state.charges.values()
    assert (charge.request, charge.id, "completed", 1) == (
        body["id"],
        body["reference_number"],
        body["status"],
        body["amount"],
    )


@shows("webhook", "lost")
def lost(local: Local) -> None:
    """It never comes, unless somebody sends it again by hand."""
    assert [] == sent(local, value="lost")
    local.advance(3600)
    assert [] == local.posts
    (found,) = [each for each in listed(local, "webhooks") if each["target"] == "endpoint"]
    assert "lost" == found["status"]
    local.control(f"POST webhooks/{found['id']}/redeliver")
    assert 1 == len(local.posts)


@shows("webhook", "duplicate")
def duplicate(local: Local) -> None:
    """The very same event comes several times."""
    posts = sent(local, value="duplicate", times=3)
    assert 3 == len(posts)
    assert 1 == len({post.body for post in posts})
    assert all(well_signed(post) for post in posts)


@shows("webhook", "delayed")
def delayed(local: Local) -> None:
    """It comes later."""
    assert [] == sent(local, value="delayed", seconds=30)
    local.advance(29)
    assert [] == local.posts
    local.advance(1)
    assert 1 == len(local.posts)


@shows("webhook", "out_of_order")
def out_of_order(local: Local) -> None:
    """A detachment is heard before the attachment it ends; nothing is active afterwards."""
    local.fault("webhook", "out_of_order", route="recurring_billing.method_attached")
    saved_id = str(local.setup().json()["saved_method_id"])
    local.control(f"POST saved-methods/{saved_id}/approve")
    assert "pending" == local.state.saved[saved_id].state
    local.control(f"POST saved-methods/{saved_id}/detach")
    local.advance(1)
    delivered = [str(each["what"]).split()[0] for each in listed(local, "journal") if each["kind"] == "webhook"]
    assert [
        "recurring_billing.method_detached",
        "recurring_billing.method_attached",
    ] == delivered
    assert "detached" == local.state.saved[saved_id].state


@shows("webhook", "bad_signature")
def bad_signature(local: Local) -> None:
    """The signature is another one."""
    (post,) = sent(local, value="bad_signature")
    assert not well_signed(post)
    assert 64 == len(dict(post.headers)["hitpay-signature"])


@shows("webhook", "wrong_salt")
def wrong_salt(local: Local) -> None:
    """It is signed with the salt of the API key."""
    (post,) = sent(local, value="wrong_salt")
    merchant = next(iter(local.state.merchants.values()))
    assert dict(post.headers)["hitpay-signature"] == event_signature(post.body, merchant.api_salt)


@shows("webhook", "enveloped")
def enveloped(local: Local) -> None:
    """A payment request's event, flat by default, in an envelope."""
    (post,) = sent(local, value="enveloped")
    assert well_signed(post)
    body = json.loads(post.body)
    assert {"event", "payment_request"} == set(body)
    assert "completed" == body["payment_request"]["status"]


@shows("webhook", "flat")
def flat(local: Local) -> None:
    """A recurring billing's event, enveloped by default, flat; and the broker understands it."""
    with_endpoint(local, "recurring_billing.method_attached")
    local.fault("webhook", "flat")
    saved_id = local.saved()
    (post,) = local.posts
    body = json.loads(post.body)
    assert local.state.saved[saved_id].recurring == body["id"]
    assert "recurring_billing" not in body
    assert "affected_method_id" in body


@shows("webhook", "truncated")
def truncated(local: Local) -> None:
    """The end of the body is missing; signed as it was, or as it is."""
    (post,) = sent(local, value="truncated")
    assert not well_signed(post)
    with pytest.raises(ValueError):
        json.loads(post.body)
    local.posts.clear()
    local.fault("webhook", "truncated", target="endpoint", signed=True)
    local.pay(local.charge(nonce="another-nonce-1"))
    assert [True] == [well_signed(post) for post in local.posts]


@shows("webhook", "foreign")
def foreign(local: Local) -> None:
    """An event about another merchant's payment comes beside one's own, just as well signed."""
    posts = sent(local, value="foreign")
    assert [True, True] == [well_signed(post) for post in posts]
    theirs, own = (json.loads(post.body) for post in posts)
    (charge,) = local.state.charges.values()
    assert charge.id == own["reference_number"]
    assert charge.id != theirs["reference_number"]
    assert charge.request != theirs["id"]


@shows("webhook", "sha256_prefix")
def sha256_prefix(local: Local) -> None:
    """The signature has a prefix some receivers know."""
    (post,) = sent(local, value="sha256_prefix")
    assert f"sha256={event_signature(post.body, MERCHANT_SALT)}" == dict(post.headers)["hitpay-signature"]


@shows("webhook", "upper_hex")
def upper_hex(local: Local) -> None:
    """The signature is in capitals."""
    (post,) = sent(local, value="upper_hex")
    assert event_signature(post.body, MERCHANT_SALT).upper() == dict(post.headers)["hitpay-signature"]


def test_what_is_flat_stays_flat() -> None:
    """A shape that an event has already is left as it is."""
    local = Local()
    with_endpoint(local, EVENT, "recurring_billing.method_attached")
    local.fault("webhook", "flat", target="endpoint")
    local.pay(local.charge())
    local.fault("webhook", "enveloped", target="endpoint")
    local.saved(nonce="another-nonce-1")
    flat_one, enveloped_one = (json.loads(post.body) for post in local.posts)
    assert "completed" == flat_one["status"]
    assert {"event", "affected_method_id", "recurring_billing"} == set(enveloped_one)


def test_a_foreign_attachment() -> None:
    """Inside an envelope too, the ids are those of somebody else; and only the next event has company."""
    local = Local()
    with_endpoint(local, "recurring_billing.method_attached", "recurring_billing.method_detached")
    local.fault("webhook", "foreign", target="endpoint", next=1)
    saved_id = local.saved()
    local.control(f"POST saved-methods/{saved_id}/detach")
    theirs, own, gone = (json.loads(post.body)["recurring_billing"]["id"] for post in local.posts)
    assert own == gone == local.state.saved[saved_id].recurring
    assert theirs != own


def test_a_late_approval_comes_too_late() -> None:
    """Who would pay late approves late."""
    local = Local()
    local.fault("payer", "late", delay=1)
    saved_id = str(local.setup().json()["saved_method_id"])
    local.advance(1000)
    assert "expired" == local.state.saved[saved_id].state


def test_a_page_has_no_fields_to_spoil() -> None:
    """Faults of JSON leave pages, and members that are not there, alone."""
    local = Local()
    charge_id = local.charge()
    request = local.state.charges[charge_id].request
    page = f"GET /payment-request/@hitpay/{request}/checkout"
    before = local.http("api", page).body
    local.fault("http", "extra_fields")
    assert before == local.http("api", page).body
    local.fault("http", "missing_fields", field="nothing")
    assert "pending" == local.status(charge_id)


# --- http ---------------------------------------------------------------------------------------------------


@shows("http", "500", "502", "503", "429")
def failing(local: Local) -> None:
    """The status comes instead of the answer, before or after the work was done; only here, only so often."""
    for number, status in enumerate((500, 502, 503, 429)):
        local.fault("http", status, route="B1", next=1, retry_after=7)
        body = local.creation(nonce=f"nonce-number-{number}")
        reply = local.broker("POST /v1/charges", body)
        assert (status, number * 2) == (reply.status, len(local.state.charges))
        assert ("7" if status in (503, 429) else None) == dict(reply.headers).get("retry-after")
        assert 201 == local.broker("POST /v1/charges", body).status
        local.fault("http", status, route="B1", next=1, after_commit=True)
        body = local.creation(nonce=f"nonce-number-{number}-after")
        assert (status, number * 2 + 2) == (
            local.broker("POST /v1/charges", body).status,
            len(local.state.charges),
        )
        assert 200 == local.broker("POST /v1/charges", body).status
        local.fault("http", status, route="payment_requests.list", next=1)
        reply = local.api("GET /v1/payment-requests")
        assert (status, ["message"]) == (reply.status, list(reply.json()))


@shows("http", "slow")
def slow(local: Local) -> None:
    """The answer is to be held back so long."""
    local.fault("http", "slow", ms=250, route="B9")
    assert (250, 200) == ((reply := local.broker("GET /.well-known/jwks.json")).delay_ms, reply.status)


@shows("http", "hang")
def hang(local: Local) -> None:
    """No answer at all, before or after the work was done."""
    local.fault("http", "hang", route="B1", next=1)
    assert "hang" == local.broker("POST /v1/charges", local.creation()).ending
    assert {} == local.state.charges
    local.fault("http", "hang", route="B1", next=1, after_commit=True)
    assert "hang" == local.broker("POST /v1/charges", local.creation()).ending
    assert 1 == len(local.state.charges)


@shows("http", "reset")
def reset(local: Local) -> None:
    """The work is done, and the connection gone: the same nonce gets the first answer, and one debit stands."""
    saved_id = local.saved()
    local.fault("http", "reset", route="B7", next=1)
    assert "reset" == local.silent(saved_id).ending
    assert 0 == next(entry.status for entry in local.state.journal if entry.route == "B7")
    reply = local.silent(saved_id)
    assert (200, "paid") == (reply.status, reply.json()["status"])
    local.verified(reply.json()["receipt_jws"])
    assert 1 == len(local.state.payments)
    local.fault("http", "reset", route="B7", next=1, after_commit=False)
    assert "reset" == local.silent(saved_id, nonce="another-nonce-1").ending
    assert 1 == len(local.state.payments)


@shows("http", "non_json")
def non_json(local: Local) -> None:
    """A page comes instead of JSON, with the status as it was."""
    charge_id = local.charge()
    local.fault("http", "non_json", id=charge_id)
    reply = local.broker(f"GET /v1/charges/{charge_id}")
    assert (200, "text/html") == (reply.status, dict(reply.headers)["content-type"])
    other = local.charge(nonce="another-nonce-1")
    assert "pending" == local.status(other)


@shows("http", "extra_fields")
def extra_fields(local: Local) -> None:
    """Members nobody has documented."""
    charge_id = local.charge()
    before = local.broker(f"GET /v1/charges/{charge_id}").json()
    local.fault("http", "extra_fields", route="B2")
    after = local.broker(f"GET /v1/charges/{charge_id}").json()
    assert before.items() <= after.items()
    assert {"sandbox_extra", "sandbox_more"} == set(after) - set(before)


@shows("http", "missing_fields")
def missing_fields(local: Local) -> None:
    """A member is not there: the first, or the one that is named."""
    local.fault("http", "missing_fields", route="B1")
    body = local.broker("POST /v1/charges", local.creation()).json()
    assert "challenge_id" not in body
    local.fault("http", "missing_fields", route="B1", field="expires_at")
    body = local.broker("POST /v1/charges", local.creation(nonce="another-nonce-1")).json()
    assert "expires_at" not in body
    assert "challenge_id" in body


@shows("http", "redirect")
def redirect(local: Local) -> None:
    """The answer is elsewhere, it says."""
    local.fault("http", "redirect", route="B3", location="http://127.0.0.1:1/")
    reply = local.verify(local.charge())
    assert (307, "http://127.0.0.1:1/") == (reply.status, dict(reply.headers)["location"])
    local.fault("http", "redirect", route="B3")
    assert dict(local.verify("x").headers)["location"].startswith("http://127.0.0.1:4010/")


# --- jws ------------------------------------------------------------------------------------------------------


def spoilt(local: Local, value: str, **options: object) -> tuple[object, object]:
    """A receipt under the knob, and the one that the next call gets."""
    charge_id = local.charge()
    local.pay(charge_id)
    local.fault("jws", value, route="B3", next=1, **options)
    first, second = (local.verify(charge_id).json()["receipt_jws"] for _ in range(2))
    assert first != second
    _, claims = local.verified(second)
    assert ("1.00", HASH) == (claims["amount"], claims["request_hash"])
    return first, second


@shows("jws", "wrong_kid", "retired_kid", "bad_signature", "alg_none", "alg_hs256")
def does_not_verify(local: Local) -> None:
    """The token is no good, in its own way; the next call brings the true one."""
    heads = {}
    for number, value in enumerate(("wrong_kid", "retired_kid", "bad_signature", "alg_none", "alg_hs256")):
        local = Local(seed=number)
        token, _ = spoilt(local, value)
        with pytest.raises(JoseError):
            local.verified(token)
        head = heads[value] = unverified(token, 0)
        assert (head["kid"] in local.control("GET keys")["keys"][0]["kid"]) == (  # type: ignore[index]  # JSON
            value in ("bad_signature", "alg_none", "alg_hs256")
        )
    assert ("none", "HS256") == (heads["alg_none"]["alg"], heads["alg_hs256"]["alg"])
    assert {"EdDSA"} == {heads[value]["alg"] for value in ("wrong_kid", "retired_kid", "bad_signature")}


@shows("jws", "rotate")
def rotate_mid_flight(local: Local) -> None:
    """Signed with a key that is newer than any copy of the key set."""
    before = local.jwks()
    token, _ = spoilt(local, "rotate")
    with pytest.raises(JoseError):
        verified(token, before)
    header, _ = local.verified(token)
    assert local.state.keys[-1].kid == header["kid"]


@shows("jws", "typ_swapped")
def typ_swapped(local: Local) -> None:
    """A receipt that says it is a grant, and the reverse; both are well signed."""
    token, _ = spoilt(local, "typ_swapped")
    assert "mpp-spm+jwt" == local.verified(token)[0]["typ"]
    saved_id = local.saved()
    local.fault("jws", "typ_swapped", route="B6")
    polled = local.broker(f"GET /v1/saved-payment-methods/{saved_id}").json()
    assert "mpp-receipt+jwt" == local.verified(polled["saved_method_jws"])[0]["typ"]


@shows("jws", "clock_skew")
def clock_skew(local: Local) -> None:
    """Issued in the future."""
    token, good = spoilt(local, "clock_skew", seconds=120)
    issued, true = (local.verified(each)[1]["iat"] for each in (token, good))
    assert isinstance(issued, int)
    assert isinstance(true, int)
    assert 120 == issued - true


@shows("jws", "wrong_iss", "wrong_amount", "wrong_currency", "wrong_hash", "wrong_charge")
def wrong_claims(local: Local) -> None:
    """Well signed, but about something else, in one respect."""
    claims = {
        "wrong_iss": {"iss"},
        "wrong_amount": {"amount"},
        "wrong_currency": {"currency"},
        "wrong_hash": {"request_hash"},
        "wrong_charge": {"sub", "challenge_id", "charge_id", "reference"},
    }
    for number, (value, changed) in enumerate(claims.items()):
        local = Local(seed=number)
        token, good = spoilt(local, value)
        wrong, true = local.verified(token)[1], local.verified(good)[1]
        assert changed == {name for name in true if wrong[name] != true[name]}
    saved_id = local.saved()
    local.fault("jws", "wrong_amount", route="B7")
    _, silent = local.verified(local.silent(saved_id).json()["receipt_jws"])
    assert "11.00" == silent["amount"]


# --- key set --------------------------------------------------------------------------------------------------


@shows("jwks", "down")
def jwks_down(local: Local) -> None:
    """503."""
    local.fault("jwks", "down", next=1)
    assert 503 == local.broker("GET /.well-known/jwks.json").status
    assert 200 == local.broker("GET /.well-known/jwks.json").status


@shows("jwks", "stale")
def jwks_stale(local: Local) -> None:
    """The set of before the last rotation, if there was one."""
    before = local.jwks()
    local.fault("jwks", "stale", next=1)
    assert before == local.jwks()
    local.control("POST keys/rotate")
    local.fault("jwks", "stale")
    assert before == local.jwks()


@shows("jwks", "empty")
def jwks_empty(local: Local) -> None:
    """No key."""
    local.fault("jwks", "empty")
    assert {"keys": []} == local.jwks()


@shows("jwks", "duplicate_kid")
def jwks_duplicate(local: Local) -> None:
    """Two keys of one name; the first is the wrong one."""
    local.fault("jwks", "duplicate_kid")
    keys = local.jwks()["keys"]
    assert isinstance(keys, list)
    assert keys[0]["kid"] == keys[1]["kid"]
    assert keys[0]["x"] != keys[1]["x"]


@shows("jwks", "huge")
def jwks_huge(local: Local) -> None:
    """More keys than anybody needs; ours is among them."""
    local.fault("jwks", "huge", keys=300)
    keys = local.jwks()["keys"]
    assert isinstance(keys, list)
    assert 301 == len({each["x"] for each in keys})


# --- nonce, verify --------------------------------------------------------------------------------------------


@shows("nonce", "duplicate")
def nonce_duplicate(local: Local) -> None:
    """A fresh nonce is said to be used, and nothing is made."""
    local.fault("nonce", "duplicate", route="B1", next=1)
    reply = local.broker("POST /v1/charges", local.creation())
    assert (409, "nonce_reused", {}) == (reply.status, reply.json()["error"], local.state.charges)
    local.charge()


@shows("nonce", "race")
def nonce_race(local: Local) -> None:
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
def verify_modes(local: Local) -> None:
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
def verify_mismatch(local: Local) -> None:
    """The broker finds another hash than was sent."""
    charge_id = local.charge()
    local.pay(charge_id)
    local.fault("verify", "hash_mismatch", next=1)
    assert [422, 200] == [local.verify(charge_id).status for _ in range(2)]


@shows("verify", "pending")
def verify_pending(local: Local) -> None:
    """Paid, but not yet as far as the broker knows: so many times, then paid."""
    charge_id = local.charge()
    local.pay(charge_id)
    local.fault("verify", "pending", times=2)
    assert [402, 402, 200] == [local.verify(charge_id).status for _ in range(3)]


# --- contract, shapes, limits -----------------------------------------------------------------------------------


@shows("contract", "current", "2026-05-old")
def contract(local: Local) -> None:
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
def qr(local: Local) -> None:
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
def amounts(local: Local) -> None:
    """The API groups thousands, sometimes."""
    charge_id = local.charge(amount="12345.60")
    assert "12345.60" == local.request_of(charge_id)["amount"]
    local.fault("amounts", "commas")
    assert "12,345.60" == local.request_of(charge_id)["amount"]
    local.fault("amounts", "plain")
    assert "12345.60" == local.request_of(charge_id)["amount"]


@shows("limits", "set")
def limits(local: Local) -> None:
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


def test_retries_can_be_scaled() -> None:
    """With a scale of a hundredth, what takes seconds takes hundredths."""
    local = Local()
    with_endpoint(local)
    local.fault("limits", retry_scale=0.01)
    local.pay(local.charge())
    answer(local, 500)
    local.advance(0.009)
    assert [] == local.posts
    local.advance(0.001)
    assert 1 == len(local.posts)


def answer(local: Local, status: int) -> None:
    """The receivers of all webhooks that are out answer with this status."""
    from flovia.sandbox import Answered

    posts, local.posts = local.posts, []
    for post in posts:
        local.step(Answered(delivery=post.delivery, status=status))


# --- the knobs themselves ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        {},
        {"knob": "nothing"},
        {"knob": "http"},
        {"knob": "http", "value": 418},
        {"knob": "http", "value": True},
        {"knob": "http", "value": "slow", "ms": -1},
        {"knob": "http", "value": "slow", "ms": 1.5},
        {"knob": "http", "value": "slow", "ms": True},
        {"knob": "http", "value": "slow", "seconds": 1},
        {"knob": "http", "value": "reset", "after_commit": 1},
        {"knob": "http", "value": "redirect", "location": 1},
        {"knob": "http", "value": 503, "next": 0},
        {"knob": "http", "value": 503, "next": True},
        {"knob": "http", "value": 503, "route": 1},
        {"knob": "http", "value": 503, "id": 1},
        {"knob": "payer", "value": "auto_pay", "delay": "1"},
        {"knob": "limits", "unknown": 1},
        {"knob": "limits", "charge_ttl": 1, "id": "x"},
        {"knob": "limits", "charge_ttl": 1, "next": 1},
        {"knob": "pr_lag", "value": "forever", "route": "B1"},
        {"knob": "http", "value": 503, "route": "B10"},
        {"knob": "webhook", "value": "lost", "route": "B8"},
        {"knob": "webhook", "value": "lost", "target": "nobody"},
        {"knob": "http", "value": "redirect", "location": "http://127.0.0.1/\r\nx: y"},
        {"knob": "http", "value": "redirect", "location": "http://127.0.0.1/\u00e9"},
        {"faults": {"knob": "http"}},
        {"faults": [[]]},
    ],
)
def test_a_fault_that_is_none_is_refused(fault: dict[str, object]) -> None:
    """A misspelt knob, value or option is 422 with the ones there are, and nothing is set."""
    local = Local()
    reply = local.broker("PUT /__emulator/faults", fault)
    assert (422, "invalid") == (reply.status, reply.json()["error"])
    assert () == local.state.faults


def test_scopes() -> None:
    """By route, by id, for the next calls; a fault of the same scope replaces the one before; all can be cleared."""
    local = Local()
    charge_id, other = local.charge(), local.charge(nonce="another-nonce-1")
    local.fault("http", 503, route="B2", id=charge_id, next=2)
    assert [200, 503, 503, 200] == [
        local.broker(f"GET /v1/charges/{each}").status for each in (other, charge_id, charge_id, charge_id)
    ]
    local.fault("http", 500, route="B2")
    local.fault("http", 502, route="B2")
    assert 502 == local.broker(f"GET /v1/charges/{other}").status
    local.control("PUT faults", {"faults": [{"knob": "jwks", "value": "down"}, {"knob": "qr", "value": "string"}]})
    assert ["http", "http", "jwks", "qr"] == [fault.knob for fault in local.state.faults]
    local.control("DELETE faults?knob=http")
    assert 200 == local.broker(f"GET /v1/charges/{other}").status
    shown = local.control("GET faults")
    assert [{"knob": "jwks", "value": "down"}, {"knob": "qr", "value": "string"}] == shown["faults"]
    assert set(KNOBS) == set(shown["knobs"])  # type: ignore[call-overload]  # JSON
    local.control("DELETE faults")
    assert () == local.state.faults


def test_the_journal_names_the_faults() -> None:
    """What was spoilt on purpose is told apart from what went wrong."""
    local = Local()
    local.fault("http", 503, route="B1")
    local.broker("POST /v1/charges", local.creation())
    assert [["http=503"]] == [each["faults"] for each in listed(local, "journal")]


def test_limits_have_defaults() -> None:
    """Each limit of the knob is one that a sandbox can be started with."""
    assert set(LIMITS) == set(KNOBS["limits"]["set"])
    assert KEY != SALT
