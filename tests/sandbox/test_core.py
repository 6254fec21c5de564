"""The core's own rules: who may call, what is not there, control, time, webhooks and their retries, the journal."""

import json
from urllib.parse import parse_qs

import attrs
import pytest

from flovia.core.errors import WiringError
from flovia.sandbox import ENDPOINTS, ROUTES, Advance, Answered, Call, event_signature, form_signature, handle, initial
from flovia.sandbox.core import MAX_BODY
from flovia.sandbox.records import Payment
from flovia.sandbox.state import JOURNAL
from flovia.sandbox.webhooks import RETRIES_S
from flovia.sandbox.wire import Json, Reply, is_local, json_reply, members
from tests.sandbox.local import KEY, OTHER_KEY, SALT, Local

ANY_ADDRESS = ".".join("0000")
"""The address that would let everybody in."""

# --- who may call -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        "mpp.hitpay.dev",
        "127.0.0.1.example.test",
        "example.test:4010",
        "",
        "localhost.example.test",
        "127.1",
        "127.0.0.1:4010.example.test",
        ANY_ADDRESS,
    ],
)
def test_other_host_names_are_refused(host: str) -> None:
    """A page elsewhere whose name leads to this machine must not drive the sandbox (DNS rebinding)."""
    local = Local()
    reply = local.http("broker", "POST /v1/charges", local.creation(), host=host)
    assert (421, "misdirected") == (reply.status, reply.json()["error"])
    assert {} == local.state.charges


@pytest.mark.parametrize("host", ["127.0.0.1:4010", "localhost", "LOCALHOST:1", "[::1]:4010", "127.0.0.2"])
def test_loopback_names_are_served(host: str) -> None:
    """However this machine calls itself."""
    assert 200 == Local().http("broker", "GET /.well-known/jwks.json", host=host).status


def test_exactly_one_host_is_needed() -> None:
    """A request with two, or none, means something else to somebody."""
    for hosts in ((), (("Host", "127.0.0.1"), ("host", "127.0.0.1"))):
        call = Call(side="broker", http_method="GET", path="/.well-known/jwks.json", headers=hosts)
        _, (reply,) = handle(initial(), call)
        assert isinstance(reply, Reply)
        assert 421 == reply.status


def test_pages_of_other_sites_change_nothing() -> None:
    """A form or script of another origin is refused; the sandbox's own pages are not."""
    local = Local()
    charge_id = local.charge()
    line = f"POST /__emulator/charges/{charge_id}/pay"
    for origin in ("https://evil.example.test", "null", "http://127.0.0.1.evil.example.test"):
        assert 403 == local.broker(line, origin=origin).status
    assert "pending" == local.status(charge_id)
    assert 200 == local.broker(line, origin="http://127.0.0.1:4011").status


def test_a_large_body_is_413() -> None:
    """Nobody needs more."""
    assert 413 == Local().broker("POST /v1/charges", b" " * (MAX_BODY + 1)).status


@pytest.mark.parametrize(
    "origin", ["https://mpp.hitpay.dev", "https://sandbox.mpp.hitpay.dev", "http://127.0.0.1", "x"]
)
def test_a_sandbox_is_this_machine(origin: str) -> None:
    """A receipt of a sandbox must never verify as HitPay's: its origins are loopback, or it does not start."""
    with pytest.raises(WiringError, match=r"http://127\.0\.0\.1"):
        initial(broker=origin)
    with pytest.raises(WiringError):
        initial(api=origin)


def test_limits_that_are_none() -> None:
    """A misspelt limit is said to be one."""
    with pytest.raises(WiringError, match="charge_ttl"):
        initial(limits={"charges": 1})


# --- what is not there ----------------------------------------------------------------------------------------


def test_unknown_paths_and_verbs() -> None:
    """404, 405 with the verbs there are, each in the words of its side."""
    local = Local()
    assert "not_found" == local.broker("GET /v2/charges").json()["error"]
    assert ["message"] == list(local.api("GET /v2").json())
    reply = local.broker("DELETE /v1/charges")
    assert (405, "POST") == (reply.status, dict(reply.headers)["allow"])
    assert 404 == local.http("api", "POST /v1/charges", local.creation()).status
    assert 404 == local.broker("POST /v1/refund").status
    assert 404 == local.broker("GET /v1/charges/a/b/c").status
    assert 404 == local.broker("GET /v1/charges/%2e%2e").status


def test_preflight_and_head() -> None:
    """A page of an agent may ask before it polls; HEAD is a GET."""
    local = Local()
    charge_id = local.charge()
    reply = local.broker(f"OPTIONS /v1/charges/{charge_id}")
    assert (204, "*") == (reply.status, dict(reply.headers)["access-control-allow-origin"])
    assert "access-control-allow-origin" not in dict(local.broker("OPTIONS /v1/charges").headers)
    assert 404 == local.broker("OPTIONS /nothing").status
    assert 200 == local.broker(f"HEAD /v1/charges/{charge_id}").status


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.name} {route.http_method} {route.path}")
def test_every_endpoint_survives_nonsense(route: object) -> None:
    """Whatever it is sent, every endpoint answers, and never with a 5xx of its own."""
    from flovia.sandbox import Route

    assert isinstance(route, Route)
    path = route.path.replace("{id}", "x").replace("{step}", "x").replace("{action}", "x")
    sides = ("broker", "api") if route.side == "both" else (route.side,)
    for side in sides:
        for body in (b"", b"{}", b"[1]", b"{", b'{"api_key":1,"amount":{},"faults":1}', b"\xff\xfe", b"null"):
            for headers in (
                {},
                {"x_business_api_key": KEY, "x_api_key": KEY},
                {"content_type": "application/x-www-form-urlencoded"},
            ):
                reply = Local().http(side, f"{route.http_method} {path}?currency=%FF&note=%00", body, **headers)
                assert 200 <= reply.status < 500


# --- control ----------------------------------------------------------------------------------------------------


def test_control_is_on_both_origins() -> None:
    """Either port will do."""
    local = Local()
    for side in ("broker", "api"):
        assert 200 == local.http(side, "GET /__emulator/clock").status  # type: ignore[arg-type]  # one of the two


def test_charges_are_driven() -> None:
    """Pay another sum, pay twice, expire, pay late; what makes no sense is refused."""
    local = Local()
    first, second, third = (local.charge(nonce=f"nonce-number-{number}") for number in range(3))
    local.pay(first, amount="0.50")
    assert 50 == local.state.payments[local.state.charges[first].payment or ""].amount
    local.pay(second, times=2)
    local.pay(second, again=True)
    local.control(f"POST charges/{third}/late_pay")
    assert "expired_paid" == local.state.charges[third].state
    assert {"in": "4.50", "refunded": "0.00", "payments": 5} == local.control("GET money")["money"]["sgd"]  # type: ignore[index]  # JSON
    states = [each["state"] for each in local.control("GET charges")["charges"]]  # type: ignore[attr-defined]  # JSON
    assert ["paid", "paid", "expired_paid"] == states
    for body in ({"amount": "x"}, {"times": 0}, {"times": True}):
        assert 422 == local.broker(f"POST /__emulator/charges/{first}/pay", body).status
    assert 404 == local.broker("POST /__emulator/charges/none/pay").status
    assert 404 == local.broker(f"POST /__emulator/charges/{first}/fly").status
    assert 409 == local.broker(f"POST /__emulator/charges/{first}/pay").status
    assert 409 == local.broker(f"POST /__emulator/charges/{first}/expire").status
    assert 404 == local.broker("POST /__emulator/saved-methods/none/approve").status


def test_saved_methods_are_listed() -> None:
    """With what they were used for."""
    local = Local()
    saved_id = local.saved()
    local.silent(saved_id)
    (found,) = local.control("GET saved-methods")["saved_methods"]  # type: ignore[misc]  # JSON
    assert {"id": saved_id, "state": "active", "spent": "1.00", "uses": 1, "currency": "sgd"}.items() <= found.items()
    assert 404 == local.broker(f"POST /__emulator/saved-methods/{saved_id}/fly").status


def test_the_clock() -> None:
    """It moves when told, and everything due happens on the way."""
    local = Local()
    charge_id = local.charge()
    assert {"now": "2030-01-01T00:15:00Z", "ms": 1_893_456_900_000} == local.control(
        "POST clock/advance", {"seconds": 900}
    )
    assert "expired" == local.status(charge_id)
    for seconds in (-1, "1", True, 10**9, None):
        assert 422 == local.broker("POST /__emulator/clock/advance", {"seconds": seconds}).status
    local.step(Advance(ms=-5))
    assert 1_893_456_900_000 == local.state.now


def test_keys() -> None:
    """Rotated keys stay published until they are retired; a compromised one is gone at once."""
    local = Local()

    def published() -> set[object]:
        return {key["kid"] for key in local.jwks()["keys"]}  # type: ignore[attr-defined]  # JSON

    first = local.state.keys[0].kid
    local.control("POST keys/rotate")
    second = local.state.keys[-1].kid
    assert {first, second} == published()
    local.control("POST keys/retire")
    assert {second} == published()
    local.control("POST keys/compromise")
    assert second not in published()
    third = local.state.keys[-1].kid
    assert {third} == published()
    local.control("POST keys/retire", {"kid": third})
    assert {local.state.keys[-1].kid} == published()
    assert ["withdrawn", "compromised", "withdrawn", "current"] == [key.state for key in local.state.keys]
    assert 404 == local.broker("POST /__emulator/keys/retire", {"kid": first}).status
    assert 404 == local.broker("POST /__emulator/keys/fly").status


def test_salts() -> None:
    """Made up for each key, or set by hand."""
    local = Local()
    first = local.control("PUT salts", {"api_key": KEY})
    assert first == local.control("PUT salts", {"api_key": KEY})
    assert first != local.control("PUT salts", {"api_key": OTHER_KEY})
    changed = local.control("PUT salts", {"api_key": KEY, "webhook_salt": "test_a", "api_salt": "test_b"})
    assert ("test_a", "test_b", first["merchant"]) == (
        changed["webhook_salt"],
        changed["api_salt"],
        changed["merchant"],
    )
    for body in ({"api_key": "live"}, {}, {"api_key": KEY, "webhook_salt": 1}):
        assert 422 == local.broker("PUT /__emulator/salts", body).status


def test_reset() -> None:
    """Everything is gone but the time and the seed; no id is given twice."""
    local = Local()
    local.advance(5)
    first = local.charge()
    local.fault("qr", "string")
    local.control("POST reset")
    state = local.state
    assert ({}, {}, (), (), ()) == (state.charges, state.deliveries, state.faults, state.journal, state.timers)
    assert 1_893_456_005_000 == state.now
    assert first != local.charge()
    assert 404 == local.broker(f"GET /v1/charges/{first}").status


# --- webhooks ---------------------------------------------------------------------------------------------------


def hooked(local: Local, **options: object) -> None:
    """Register an endpoint."""
    body = {"name": "x", "url": "http://127.0.0.1:9/", "event_types": ["payment_request.completed"], "salt": SALT}
    local.api("POST /v1/webhook-events", body | options)


def out(local: Local) -> list[str]:
    """The ids of the webhooks that are out; forgets them."""
    posts, local.posts = local.posts, []
    return [post.delivery for post in posts]


def test_a_refused_webhook_is_sent_again() -> None:
    """At 1, 5, 30, 120 and 600 s after each refusal, then no more; the same bytes each time."""
    local = Local()
    hooked(local)
    local.pay(local.charge())
    bodies = {post.body for post in local.posts}
    for number, wait in enumerate(RETRIES_S):
        (delivery,) = out(local)
        local.step(Answered(delivery=delivery, status=0 if number % 2 else 500))
        local.advance(wait - 0.001)
        assert [] == local.posts
        local.advance(0.001)
        bodies |= {post.body for post in local.posts}
    (delivery,) = out(local)
    local.step(Answered(delivery=delivery, status=302))
    local.advance(86400)
    assert [] == local.posts
    (found,) = [each for each in listed(local) if each["target"] == "endpoint"]
    assert ("failed", [500, 0, 500, 0, 500, 302], None) == (found["status"], found["answers"], found["due"])
    assert 1 == len(bodies)
    local.control(f"POST webhooks/{delivery}/redeliver")
    (again,) = out(local)
    local.step(Answered(delivery=again, status=204))
    assert "delivered" == next(each for each in listed(local) if each["target"] == "endpoint")["status"]
    assert 404 == local.broker("POST /__emulator/webhooks/none/redeliver").status


def listed(local: Local) -> list[Json]:
    """Every webhook."""
    found = local.control("GET webhooks")["webhooks"]
    assert isinstance(found, list)
    return found


def test_a_webhook_for_everybody() -> None:
    """Every merchant's events go there, signed as its app says: with the salt that came with the charge.

    Without one, and for what was made without the broker, it is the salt that the sandbox shows; one that was set by
    hand wins. It survives a reset, and it is this machine.
    """
    local = Local(webhook="http://127.0.0.1:9/hooks/hitpay")
    local.control("POST reset")
    saved_id = local.saved()
    made = local.api("POST /v1/payment-requests", {"amount": "1.00", "currency": "sgd"}).json()["id"]
    local.posts.clear()
    local.pay(local.charge())
    local.pay(local.charge(api_key=OTHER_KEY, webhook_salt="test_another_salt"))
    own = local.control("PUT salts", {"api_key": KEY})["webhook_salt"]
    local.pay(local.charge(webhook_salt=None, nonce="another-nonce-1"))
    local.control(f"POST payment-requests/{made}/pay")
    local.silent(saved_id)
    local.control("PUT salts", {"api_key": KEY, "webhook_salt": "test_by_hand"})
    local.pay(local.charge(nonce="another-nonce-2"))
    assert {"http://127.0.0.1:9/hooks/hitpay"} == {post.url for post in local.posts}
    signed = [
        (dict(post.headers)["hitpay-event-object"], dict(post.headers)["hitpay-signature"], post.body)
        for post in local.posts
    ]
    salts = [SALT, SALT, *["test_another_salt"] * 2, *[str(own)] * 4, SALT, *["test_by_hand"] * 2]
    assert salts == [
        next(salt for salt in {*salts} if event_signature(body, salt) == signature) for _, signature, body in signed
    ]
    assert ["payment_request", "charge"] * 4 + ["charge", "payment_request", "charge"] == [each[0] for each in signed]
    with pytest.raises(WiringError, match="loopback"):
        Local(webhook="https://example.com/")


def test_an_answer_counts_once() -> None:
    """A second answer for the same attempt, or one for a webhook nobody knows, changes nothing."""
    local = Local()
    hooked(local)
    local.pay(local.charge())
    (delivery,) = out(local)
    local.step(Answered(delivery=delivery, status=200))
    before = local.state
    local.step(Answered(delivery=delivery, status=500))
    local.step(Answered(delivery="none", status=500))
    assert before == local.state


def test_an_accepted_webhook_is_not_sent_again() -> None:
    """Any 2xx will do."""
    local = Local()
    hooked(local)
    local.pay(local.charge())
    (delivery,) = out(local)
    local.step(Answered(delivery=delivery, status=202))
    local.advance(86400)
    assert [] == local.posts


def test_endpoints_get_their_merchants_events_only() -> None:
    """Another merchant's payments, and events that were not asked for, are not told."""
    local = Local()
    hooked(local)
    local.pay(local.charge(api_key=OTHER_KEY))
    local.saved(nonce="another-nonce-1")
    assert [] == local.posts
    local.pay(local.charge())
    assert 1 == len(local.posts)


def test_the_callback_of_a_payment_request() -> None:
    """The older form: fields in a body, signed with the salt of the API key."""
    local = Local()
    body = {"amount": "2.00", "currency": "sgd", "webhook": "http://127.0.0.1:9/cb", "reference_number": "order-1"}
    request_id = local.api("POST /v1/payment-requests", body).json()["id"]
    local.control(f"POST payment-requests/{request_id}/pay")
    (post,) = local.posts
    assert "http://127.0.0.1:9/cb" == post.url
    fields = {name: value for name, (value,) in parse_qs(post.body.decode(), keep_blank_values=True).items()}
    (payment,) = local.state.payments.values()
    merchant = next(iter(local.state.merchants.values()))
    assert fields.pop("hmac") == form_signature(fields, merchant.api_salt)
    assert {
        "payment_id": payment.id,
        "payment_request_id": request_id,
        "phone": "",
        "amount": "2.00",
        "currency": "SGD",
        "status": "completed",
        "reference_number": "order-1",
    } == fields


@pytest.mark.parametrize(
    ("value", "holds"),
    [("normal", True), ("bad_signature", False), ("wrong_salt", False), ("truncated", False), ("foreign", True)],
)
def test_callbacks_can_be_spoilt(value: str, holds: bool) -> None:
    """The knobs work on callbacks as on events."""
    local = Local()
    body = {"amount": "2.00", "currency": "sgd", "webhook": "http://127.0.0.1:9/cb"}
    request_id = local.api("POST /v1/payment-requests", body).json()["id"]
    local.fault("webhook", value, target="callback")
    local.control(f"POST payment-requests/{request_id}/pay")
    (post,) = local.posts
    fields = {name: found for name, (found,) in parse_qs(post.body.decode(), keep_blank_values=True).items()}
    merchant = next(iter(local.state.merchants.values()))
    assert holds == (fields.get("hmac") == form_signature(fields, merchant.api_salt))
    assert (value != "foreign") == (fields.get("payment_request_id") == request_id)


def test_what_failed_is_told_too() -> None:
    """A decline is an event with a reason, a refund another; both of the right object."""
    local = Local()
    events = ["payment_request.failed", "charge.created", "charge.updated", "recurring_billing.method_detached"]
    hooked(local, event_types=events)
    charge_id = local.charge()
    local.control(f"POST charges/{charge_id}/decline")
    local.pay(charge_id)
    payment_id = local.state.charges[charge_id].payment
    local.api("POST /v1/refund", {"payment_id": payment_id, "amount": "0.40"})
    saved_id = local.saved()
    local.silent(saved_id)
    local.control(f"POST saved-methods/{saved_id}/detach")
    bodies = [json.loads(post.body) for post in local.posts]
    failed, created, updated, silent, detached = bodies
    assert ("failed", "declined_by_payer") == (failed["status"], failed["failure_reason"])
    assert (payment_id, "payment_request") == (created["id"], created["channel"])
    assert ("partially_refunded", 0.4) == (updated["status"], updated["amount_refunded"])
    assert ("recurrent", local.state.saved[saved_id].recurring) == (silent["channel"], silent["recurring_billing_id"])
    assert "recurring_billing.method_detached" == detached["event"]
    assert all(dict(post.headers)["hitpay-signature"] == event_signature(post.body, SALT) for post in local.posts)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:8000/hook", True),
        ("https://localhost/", True),
        ("http://[::1]:8000/", True),
        ("http://127.9.9.9/", True),
        ("http://127.0.0.1.example.test/", False),
        ("http://user@127.0.0.1/", False),
        ("ftp://127.0.0.1/", False),
        ("http://2130706433/", False),
        ("http://127.1/", False),
        ("http://0x7f000001/", False),
        ("http://api.hit-pay.com/", False),
        ("http://127.0.0.1/\n", False),
        ("http://\u0967\u0968\u096d.0.0.1/", False),
        ("//127.0.0.1/", False),
        ("", False),
    ],
)
def test_targets(url: str, expected: bool) -> None:
    """Only what can mean nothing but this machine is a target."""
    assert expected == is_local(url)


# --- the journal --------------------------------------------------------------------------------------------------


def test_the_journal_has_every_call_and_no_secret() -> None:
    """Keys, salts, tokens, signatures, pages, nonces and people are masked; what was asked and answered is not."""
    local = Local()
    hooked(local)
    charge_id = local.charge(nonce="nonce-that-must-not-show")
    request = local.state.charges[charge_id].request
    local.http("api", f"GET /payment-request/@hitpay/{request}/checkout")
    local.pay(charge_id)
    receipt = str(local.verify(charge_id).json()["receipt_jws"])
    saved_id = local.saved()
    grant = local.state.saved[saved_id].grant or ""
    local.broker(f"GET /v1/saved-payment-methods/{saved_id}", x_api_key=KEY)
    local.silent(saved_id)
    local.api(
        "POST /v1/payment-requests",
        b"amount=2&currency=sgd&email=payer%40example.test&name=Payer&phone=%2B6599&generate_qr=1",
        content_type="application/x-www-form-urlencoded",
    )
    local.broker("POST /v1/charges", b"not json " + KEY.encode())
    for post in local.posts:
        local.step(Answered(delivery=post.delivery, status=200))
    local.broker(f"GET /v1/charges/{KEY}")
    shown = json.dumps(local.control("GET journal"))
    merchant = next(iter(local.state.merchants.values()))
    secrets = [KEY, SALT, receipt, receipt.split(".")[2], grant, "nonce-that-must-not-show", "payer@example", "6599"]
    secrets += [merchant.salt, merchant.api_salt, "/checkout?", "/setup/", "http://127.0.0.1:4010/v1/charges/"]
    secrets += ["securecheckout", *(dict(post.headers)["hitpay-signature"] for post in local.posts)]
    assert [] == [secret for secret in secrets if secret in shown]
    assert [] == [secret for secret in secrets if secret in repr(local.state) and secret != "/checkout?"]
    routes = {entry.route for entry in local.state.journal}
    assert {"B1", "B3", "B5", "B6", "B7", "B8", "checkout", "payment_requests.create"} <= routes
    (verified,) = [entry for entry in local.state.journal if entry.route == "B3"]
    assert charge_id in verified.what
    assert dict(verified.sent)["request_hash"] == local.state.charges[charge_id].request_hash
    # Equal values can be told from different ones without being shown.
    created = [dict(entry.sent) for entry in local.state.journal if entry.route in ("B1", "B3")]
    assert created[0]["api_key"] == created[1]["api_key"]


def test_the_journal_is_bounded() -> None:
    """The oldest lines go."""
    local = Local()
    local.broker("GET /first")
    (entry,) = local.state.journal
    local.state = attrs.evolve(local.state, journal=(entry,) * JOURNAL)
    local.broker("GET /last")
    assert (JOURNAL, "GET /last") == (len(local.state.journal), local.state.journal[-1].what)


def test_the_journal_can_be_asked_for_one_route() -> None:
    """Other routes are left out."""
    local = Local()
    local.status(local.charge())
    assert ["B2"] == [each["route"] for each in local.control("GET journal?route=B2")["journal"]]  # type: ignore[attr-defined]  # JSON


def test_records_do_not_print_secrets() -> None:
    """What a payment was is no secret; who has which key is."""
    local = Local()
    local.charge()
    assert "Payment(" in repr(
        Payment(id="x", merchant="m", owner="o", amount=1, currency="sgd", status="failed", rail="r", at=0)
    )
    assert SALT not in repr(local.state)
    assert repr(json_reply(200, {"api_key": KEY})).count(KEY) == 0


def test_json_objects() -> None:
    """What is no JSON object has no members, and an answer that is none cannot be read as one."""
    assert members([1]) is None
    assert {"1": 2} == members({1: 2})
    with pytest.raises(ValueError):
        Reply(status=200, body=b"[]").json()


def test_every_control_endpoint_is_listed_once() -> None:
    """The table of the control API has no line twice."""
    lines = [line for line, _ in ENDPOINTS]
    assert len(lines) == len(set(lines))
