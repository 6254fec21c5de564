"""HitPay's own API: payment requests, refunds, webhook endpoints, and its error shapes."""

import pytest

from flovia.sandbox.wire import Json
from tests.sandbox.local import KEY, OTHER_KEY, Local


def make(local: Local, **members: object) -> Json:
    """A payment request."""
    reply = local.api("POST /v1/payment-requests", {"amount": "12.50", "currency": "SGD"} | members)
    assert 201 == reply.status, reply.body
    return reply.json()


@pytest.mark.parametrize("key", [None, "", "live_key", "test_"])
def test_a_key_is_needed(key: str | None) -> None:
    """Without a key that starts with test_ every endpoint is 401 with a message."""
    local = Local()
    for line in (
        "POST /v1/payment-requests",
        "GET /v1/payment-requests/x",
        "POST /v1/refund",
        "GET /v1/webhook-events",
    ):
        reply = local.http("api", line, {}, **({} if key is None else {"x_business_api_key": key}))
        assert 401 == reply.status
        assert ["message"] == list(reply.json())


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({"amount": None}, "amount"),
        ({"amount": "0.29"}, "amount"),
        ({"amount": "abc"}, "amount"),
        ({"currency": None}, "currency"),
        ({"currency": "xyz"}, "currency"),
        ({"purpose": "x" * 256}, "purpose"),
        ({"reference_number": "x" * 256}, "reference_number"),
        ({"reference_number": 1}, "reference_number"),
        ({"generate_qr": True, "generate_direct_link": True}, "generate_qr"),
        ({"payment_methods": [1]}, "payment_methods"),
        ({"metadata": []}, "metadata"),
        ({"metadata": {"a": "x" * 501}}, "metadata"),
        ({"metadata": {str(number): "" for number in range(51)}}, "metadata"),
        ({"expires_after": "soon"}, "expires_after"),
        ({"expires_after": "0 minutes"}, "expires_after"),
        ({"expiry_date": "2030-01-01"}, "expiry_date"),
        ({"expiry_date": "2030-01-01 08:00:00"}, "expiry_date"),
        ({"webhook": "https://example.com/hook"}, "webhook"),
        ({"webhook": "http://127.0.0.1@example.com/"}, "webhook"),
        ({"webhook": "http://127.0.0.1.example.com/"}, "webhook"),
        ({"webhook": "file:///etc/passwd"}, "webhook"),
        ({"webhook": "http://[::1"}, "webhook"),
    ],
)
def test_creation_is_checked(members: dict[str, object], field: str) -> None:
    """422 with a message, and the member to blame among the errors."""
    local = Local()
    reply = local.api("POST /v1/payment-requests", {"amount": "1.00", "currency": "sgd"} | members)
    assert 422 == reply.status
    body = reply.json()
    assert {"message", "errors"} == set(body)
    assert [field] == list(body["errors"])  # type: ignore[call-overload]  # JSON
    assert {} == local.state.requests


def test_a_payment_request() -> None:
    """What was sent comes back, with an id, a URL and times; amounts have two decimals."""
    local = Local()
    found = make(
        local,
        reference_number="order-1",
        purpose="Forecast",
        email="payer@example.test",
        name="Payer",
        phone="+65",
        payment_methods=["paynow_online"],
        redirect_url="http://127.0.0.1:9/back",
        webhook="http://127.0.0.1:9/hook",
        metadata={"a": "b"},
        expires_after="5 minutes",
    )
    assert {
        "id": found["id"],
        "name": "Payer",
        "email": "payer@example.test",
        "phone": "+65",
        "amount": "12.50",
        "currency": "sgd",
        "status": "pending",
        "purpose": "Forecast",
        "reference_number": "order-1",
        "payment_methods": ["paynow_online"],
        "url": f"http://127.0.0.1:4011/payment-request/@hitpay/{found['id']}/checkout",
        "redirect_url": "http://127.0.0.1:9/back",
        "webhook": "http://127.0.0.1:9/hook",
        "allow_repeated_payments": False,
        "expiry_date": "2030-01-01 08:05:00",
        "metadata": {"a": "b"},
        "created_at": "2030-01-01T00:00:00Z",
        "updated_at": "2030-01-01T00:00:00Z",
    } == found
    assert {**found, "payments": []} == local.api(f"GET /v1/payment-requests/{found['id']}").json()


def test_older_guides_send_forms() -> None:
    """A form works too, with a list spelt name[]."""
    local = Local()
    reply = local.api(
        "POST /v1/payment-requests",
        b"amount=2&currency=myr&payment_methods[]=fpx&payment_methods[]=duitnow&allow_repeated_payments=true",
        content_type="application/x-www-form-urlencoded",
    )
    body = reply.json()
    assert (201, "2.00", ["fpx", "duitnow"], True) == (
        reply.status,
        body["amount"],
        body["payment_methods"],
        body["allow_repeated_payments"],
    )


def test_a_payment_shows_in_the_request() -> None:
    """Declined, then paid: both are listed, and the status follows."""
    local = Local()
    request_id = make(local)["id"]
    local.control(f"POST payment-requests/{request_id}/decline")
    found = local.api(f"GET /v1/payment-requests/{request_id}").json()
    assert ("pending", ["failed"]) == (found["status"], [each["status"] for each in found["payments"]])  # type: ignore[attr-defined]  # JSON
    local.control(f"POST payment-requests/{request_id}/pay")
    found = local.api(f"GET /v1/payment-requests/{request_id}").json()
    assert "completed" == found["status"]
    payments = found["payments"]
    assert isinstance(payments, list)
    assert [("failed", "12.50"), ("succeeded", "12.50")] == [(each["status"], each["amount"]) for each in payments]
    assert {"id", "status", "amount", "currency", "payment_type", "fees", "created_at"} == set(payments[0])
    assert 404 == local.broker(f"POST /__emulator/payment-requests/{request_id}/fly").status
    assert 404 == local.broker("POST /__emulator/payment-requests/none/pay").status
    assert 409 == local.broker(f"POST /__emulator/payment-requests/{request_id}/decline").status


def test_requests_of_others_do_not_exist() -> None:
    """404 in the words of HitPay's framework; a list has only the merchant's own."""
    local = Local()
    request_id = make(local)["id"]
    reply = local.api(f"GET /v1/payment-requests/{request_id}", key=OTHER_KEY)
    assert 404 == reply.status
    assert str(reply.json()["message"]).startswith("No query results for model")
    assert 404 == local.api(f"DELETE /v1/payment-requests/{request_id}", key=OTHER_KEY).status
    assert [] == local.api("GET /v1/payment-requests", key=OTHER_KEY).json()["data"]
    listed = local.api("GET /v1/payment-requests").json()["data"]
    assert isinstance(listed, list)
    assert [request_id] == [each["id"] for each in listed]


def test_canceling() -> None:
    """A pending request can be canceled and not paid then; a paid one cannot."""
    local = Local()
    request_id, paid = make(local)["id"], make(local)["id"]
    reply = local.api(f"DELETE /v1/payment-requests/{request_id}")
    assert (200, {"success": True}) == (reply.status, reply.json())
    assert "canceled" == local.api(f"GET /v1/payment-requests/{request_id}").json()["status"]
    assert 409 == local.broker(f"POST /__emulator/payment-requests/{request_id}/pay").status
    assert 422 == local.api(f"DELETE /v1/payment-requests/{request_id}").status
    local.control(f"POST payment-requests/{paid}/pay")
    assert 422 == local.api(f"DELETE /v1/payment-requests/{paid}").status


@pytest.mark.parametrize(
    "members", [{"expires_after": "1 hour"}, {"expiry_date": "2030-01-01 09:00:00"}, {"expires_after": "60 mins"}]
)
def test_expiry(members: dict[str, object]) -> None:
    """A request ends when it says; the date is Singapore time."""
    local = Local()
    request_id = make(local, **members)["id"]
    local.advance(3599)
    assert "pending" == local.api(f"GET /v1/payment-requests/{request_id}").json()["status"]
    local.advance(1)
    assert "expired" == local.api(f"GET /v1/payment-requests/{request_id}").json()["status"]


def test_repeated_payments() -> None:
    """Only a request that allows it is paid twice without being told to."""
    local = Local()
    once, often = make(local)["id"], make(local, allow_repeated_payments=True)["id"]
    for request_id in (once, often):
        local.control(f"POST payment-requests/{request_id}/pay")
    assert 409 == local.broker(f"POST /__emulator/payment-requests/{once}/pay").status
    assert 200 == local.broker(f"POST /__emulator/payment-requests/{often}/pay").status
    assert 3 == len(local.state.payments)


# --- refunds ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("amount", "state", "payment"), [("1.00", "refunded", "refunded"), (0.4, "verified", "partially_refunded")]
)
def test_refunds(amount: object, state: str, payment: str) -> None:
    """A payment is refunded once, in full or in part; its receipt stays good, and B3 still hands it out."""
    local = Local()
    charge_id = local.charge()
    local.pay(charge_id)
    receipt = local.verify(charge_id).body
    payment_id = local.state.charges[charge_id].payment
    reply = local.api("POST /v1/refund", {"payment_id": payment_id, "amount": amount})
    assert 201 == reply.status
    body = reply.json()
    refunded = "1.00" if state == "refunded" else "0.40"
    assert {
        "id": body["id"],
        "payment_id": payment_id,
        "amount_refunded": refunded,
        "total_amount": "1.00",
        "currency": "sgd",
        "status": "succeeded",
        "payment_method": "paynow_online",
        "refunded_at": "2030-01-01T00:00:00Z",
        "created_at": "2030-01-01T00:00:00Z",
    } == body
    assert body == local.api(f"GET /v1/refund/{body['id']}").json()
    assert 404 == local.api(f"GET /v1/refund/{body['id']}", key=OTHER_KEY).status
    assert (state, payment) == (local.state.charges[charge_id].state, local.state.payments[str(payment_id)].status)
    assert receipt == local.verify(charge_id).body
    assert 422 == local.api("POST /v1/refund", {"payment_id": payment_id, "amount": 0.1}).status
    assert {"sgd": {"in": "1.00", "refunded": refunded, "payments": 1}} == local.control("GET money")["money"]


def test_refunds_that_cannot_be() -> None:
    """Not more than was paid, not nothing, not what failed, not another's."""
    local = Local()
    charge_id = local.charge()
    local.control(f"POST charges/{charge_id}/decline")
    (failed,) = local.state.payments
    local.pay(charge_id)
    paid = local.state.charges[charge_id].payment

    def refused(payment_id: object, amount: object, key: str = KEY) -> tuple[int, list[str]]:
        reply = local.api("POST /v1/refund", {"payment_id": payment_id, "amount": amount}, key=key)
        return reply.status, list(reply.json().get("errors", {}))  # type: ignore[call-overload]  # JSON

    assert (422, ["amount"]) == refused(paid, "1.01")
    assert (422, ["amount"]) == refused(paid, "0")
    assert (422, ["amount"]) == refused(paid, None)
    assert (422, ["payment_id"]) == refused(failed, "1.00")
    assert (422, ["payment_id"]) == refused(None, "1.00")
    assert (404, []) == refused("none", "1.00")
    assert (404, []) == refused(paid, "1.00", OTHER_KEY)
    assert {} == local.state.refunds


def test_a_charge_refunded_before_its_receipt_has_none() -> None:
    """410: the money went back, so there is nothing to redeem."""
    local = Local()
    charge_id = local.charge()
    local.pay(charge_id)
    local.api("POST /v1/refund", {"payment_id": local.state.charges[charge_id].payment, "amount": "1.00"})
    assert (410, "refunded") == ((reply := local.verify(charge_id)).status, reply.json()["error"])
    assert "paid" == local.status(charge_id)


def test_a_silent_charge_is_refunded_too() -> None:
    """Payments of saved methods are refunded as any other."""
    local = Local()
    paid = local.silent(local.saved()).json()["payment_id"]
    assert 201 == local.api("POST /v1/refund", {"payment_id": paid, "amount": "1.00"}).status


# --- webhook endpoints --------------------------------------------------------------------------------------


def test_webhook_endpoints() -> None:
    """Registered with a salt of its own, listed without it, deleted."""
    local = Local()
    body: dict[str, object] = {
        "name": "mine",
        "url": "http://localhost:8000/hook",
        "event_types": ["payment_request.completed"],
    }
    reply = local.api("POST /v1/webhook-events", body)
    assert 201 == reply.status
    made = reply.json()
    assert str(made.pop("salt")).startswith("test_salt_")
    assert made == {"id": made["id"], **body, "created_at": "2030-01-01T00:00:00Z"}
    assert [made] == local.api("GET /v1/webhook-events").json()["data"]
    assert [] == local.api("GET /v1/webhook-events", key=OTHER_KEY).json()["data"]
    line = f"/v1/webhook-events/{made['id']}"
    assert made == local.api(f"GET {line}").json()
    assert 404 == local.api(f"DELETE {line}", key=OTHER_KEY).status
    assert 200 == local.api(f"DELETE {line}").status
    assert 404 == local.api(f"GET {line}").status


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({"name": ""}, "name"),
        ({"url": "https://example.com/"}, "url"),
        ({"url": "http://127.0.0.1:0/"}, "url"),
        ({"url": "http://127.0.0.1:99999/"}, "url"),
        ({"url": "http://127.0.0.1\\@example.com/"}, "url"),
        ({"url": "http://0.0.0.0/"}, "url"),
        ({"event_types": []}, "event_types"),
        ({"event_types": ["payout.created"]}, "event_types"),
        ({"event_types": None}, "event_types"),
    ],
)
def test_webhook_endpoints_are_checked(members: dict[str, object], field: str) -> None:
    """Events leave this machine for nowhere."""
    local = Local()
    body = {"name": "x", "url": "http://127.0.0.1:8000/", "event_types": ["charge.created"]} | members
    reply = local.api("POST /v1/webhook-events", body)
    assert 422 == reply.status
    assert [field] == list(reply.json()["errors"])  # type: ignore[call-overload]  # JSON
