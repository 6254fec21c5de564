"""B4 to B7: saved methods of the broker, and the recurring billings under them."""

import pytest

from flovia.sandbox.wire import Json
from tests.sandbox.local import HASH, KEY, OTHER_KEY, Local


def test_options_are_the_wallets_of_a_currency() -> None:
    """B4 lists what can be saved, and needs the merchant's key."""
    local = Local()
    line = "GET /v1/saved-payment-methods/options"
    reply = local.broker(f"{line}?currency=myr", x_api_key=KEY)
    assert 200 == reply.status
    assert {
        "currency": "myr",
        "options": [
            {"payment_method": "grabpay_direct", "label": "GrabPay"},
            {"payment_method": "shopee_pay", "label": "ShopeePay"},
            {"payment_method": "touch_n_go", "label": "Touch 'n Go"},
        ],
    } == reply.json()
    assert [] == local.broker(f"{line}?currency=thb", x_api_key=KEY).json()["options"]
    assert 422 == local.broker(f"{line}?currency=SGD", x_api_key=KEY).status
    assert 422 == local.broker(line, x_api_key=KEY).status
    assert 401 == local.broker(f"{line}?currency=sgd").status


@pytest.mark.parametrize(
    ("members", "status", "code"),
    [
        ({"api_key": "x"}, 401, "invalid_api_key"),
        ({"currency": "thb"}, 422, "invalid_currency"),
        ({"currency": "???"}, 422, "invalid_currency"),
        ({"payment_method": "touch_n_go"}, 422, "invalid_payment_method"),
        ({"payment_method": ["grabpay_direct"]}, 422, "invalid_payment_method"),
        ({"customer_email": "nobody"}, 422, "invalid_customer_email"),
        ({"max_amount_per_charge": None}, 422, "invalid_max_amount_per_charge"),
        ({"max_amount_per_charge": 10}, 422, "invalid_max_amount_per_charge"),
        ({"total_amount_cap": "10.001"}, 422, "invalid_total_amount_cap"),
        ({"max_uses": 0}, 422, "invalid_max_uses"),
        ({"max_uses": True}, 422, "invalid_max_uses"),
        ({"valid_until": "2029-12-31T23:59:59Z"}, 422, "invalid_valid_until"),
        ({"valid_until": "soon"}, 422, "invalid_valid_until"),
        ({"valid_until": 1}, 422, "invalid_valid_until"),
        ({"request_hash": ""}, 422, "invalid_request_hash"),
    ],
)
def test_setup_is_checked(members: dict[str, object], status: int, code: str) -> None:
    """A setup that cannot be is refused, and leaves nothing behind."""
    local = Local()
    reply = local.setup(**members)
    assert (status, code) == (reply.status, reply.json()["error"])
    assert {} == local.state.saved
    assert {} == local.state.recurring


def test_a_setup_is_approved_by_its_payer() -> None:
    """Pending until the payer approves; then one grant, the same at every poll, that says what was allowed."""
    local = Local()
    reply = local.setup()
    assert 201 == reply.status
    body = reply.json()
    saved_id = str(body["saved_method_id"])
    assert {
        "saved_method_id": saved_id,
        "setup_checkout_url": f"http://127.0.0.1:4011/setup/{saved_id}",
        "expires_at": "2030-01-01T00:15:00Z",
        "polling_url": f"http://127.0.0.1:4010/v1/saved-payment-methods/{saved_id}",
        "status": "pending",
    } == body
    line = f"GET /v1/saved-payment-methods/{saved_id}"
    polled = local.broker(line).json()
    assert "pending" == polled["status"]
    assert "saved_method_jws" not in polled
    local.control(f"POST saved-methods/{saved_id}/approve")
    polled = local.broker(line, x_api_key=KEY).json()
    assert ("active", saved_id) == (polled["status"], polled["saved_method_id"])
    header, claims = local.verified(polled["saved_method_jws"])
    assert "mpp-spm+jwt" == header["typ"]
    merchant = next(iter(local.state.merchants.values()))
    assert claims.pop("jti")
    assert {
        "iss": "http://127.0.0.1:4010",
        "sub": saved_id,
        "aud": merchant.id,
        "iat": 1_893_456_000,
        "exp": 1_893_456_000 + 90 * 86400,
        "currency": "sgd",
        "max_amount_per_charge": "10.00",
        "total_amount_cap": "25.00",
        "max_uses": 4,
        "payment_method": "grabpay_direct",
    } == claims
    local.advance(60)
    assert polled["saved_method_jws"] == local.broker(line).json()["saved_method_jws"]


def test_polling_a_setup() -> None:
    """The agent polls without a key, the merchant with its own; anybody else's is 404."""
    local = Local()
    saved_id = str(local.setup().json()["saved_method_id"])
    line = f"GET /v1/saved-payment-methods/{saved_id}"
    assert 200 == local.broker(line).status
    assert 200 == local.broker(line, x_api_key=KEY).status
    assert 404 == local.broker(line, x_api_key=OTHER_KEY).status
    assert 401 == local.broker(line, x_api_key="live").status
    assert 404 == local.broker("GET /v1/saved-payment-methods/mpp_spm_none").status


def test_a_poll_with_the_key_does_without_the_webhook() -> None:
    """If the event got lost, the broker finds out when the merchant asks."""
    local = Local()
    local.fault("webhook", "lost")
    saved_id = str(local.setup().json()["saved_method_id"])
    local.control(f"POST saved-methods/{saved_id}/approve")
    line = f"GET /v1/saved-payment-methods/{saved_id}"
    assert "pending" == local.broker(line).json()["status"]
    assert "active" == local.broker(line, x_api_key=KEY).json()["status"]


def test_a_silent_charge() -> None:
    """Paid at once, with a receipt of its own, counted; a repeated call is the same charge."""
    local = Local()
    saved_id = local.saved()
    reply = local.silent(saved_id)
    assert 200 == reply.status
    body = reply.json()
    _, claims = local.verified(body.pop("receipt_jws"))
    charge_id = str(body["charge_id"])
    (payment,) = local.state.payments.values()
    assert {
        "charge_id": charge_id,
        "saved_method_id": saved_id,
        "amount": "1.00",
        "currency": "sgd",
        "status": "paid",
        "paid_at": "2030-01-01T00:00:00Z",
        "payment_id": payment.id,
    } == body
    expected = {
        "charge_id": charge_id,
        "reference": charge_id,
        "payment_id": payment.id,
        "amount": "1.00",
        "currency": "sgd",
        "request_hash": HASH,
        "nonce": "silent-nonce-01",
        "saved_method_id": saved_id,
        "status": "paid",
    }
    assert expected.items() <= claims.items()
    assert "payment_request_id" not in claims
    assert reply.body == local.silent(saved_id).body
    assert (1, 100) == (local.state.saved[saved_id].uses, local.state.saved[saved_id].spent)
    assert 409 == local.silent(saved_id, amount="2.00").status
    assert 1 == len(local.state.payments)


def test_nothing_beyond_the_grant() -> None:
    """Each cap is kept exactly, and a breach moves no money and burns no nonce."""
    local = Local()
    saved_id = local.saved()

    def taken(nonce: str, **members: object) -> tuple[int, object]:
        reply = local.silent(saved_id, nonce=f"nonce-number-{nonce}", **members)
        return reply.status, reply.json().get("error")

    breach = (403, "scope_exceeded")
    assert breach == taken("1", amount="10.01")
    assert (200, None) == taken("1", amount="10.00")
    assert breach == taken("2", currency="myr")
    assert (200, None) == taken("2", amount="10.00")
    assert breach == taken("3", amount="5.01")
    assert (200, None) == taken("3", amount="4.00")
    assert (200, None) == taken("4", amount="1.00")
    assert breach == taken("5", amount="0.30")
    assert (4, 2500) == (local.state.saved[saved_id].uses, local.state.saved[saved_id].spent)
    assert {"sgd": {"in": "25.00", "refunded": "0.00", "payments": 4}} == local.control("GET money")["money"]
    assert (422, "invalid_amount") == taken("6", amount="0.29")


def test_no_use_is_left() -> None:
    """The number of charges is a limit of its own."""
    local = Local()
    saved_id = local.saved(max_uses=1, total_amount_cap=None)
    assert 200 == local.silent(saved_id).status
    assert 403 == local.silent(saved_id, nonce="another-nonce-1").status


def test_the_wallet_declines() -> None:
    """402, nothing counted, and the same nonce hears the same again; the next one may work."""
    local = Local()
    saved_id = local.saved()
    local.fault("payer", "decline", route="B7", next=1)
    for _ in range(2):
        reply = local.silent(saved_id)
        assert (402, "charge_failed", "failed") == (reply.status, reply.json()["error"], reply.json()["status"])
    assert (0, 0, "active") == (
        (found := local.state.saved[saved_id]).uses,
        found.spent,
        found.state,
    )
    assert {} == local.control("GET money")["money"]
    assert 200 == local.silent(saved_id, nonce="another-nonce-1").status


@pytest.mark.parametrize(("verb", "status"), [("detach", "detached"), ("revoke", "revoked"), ("expire", "expired")])
def test_a_method_that_ended_is_410(verb: str, status: str) -> None:
    """However it ended: no charge, no grant at a poll; a charge that was made before keeps its answer."""
    local = Local()
    saved_id = local.saved()
    made = local.silent(saved_id)
    local.control(f"POST saved-methods/{saved_id}/{verb}")
    reply = local.silent(saved_id, nonce="another-nonce-1")
    assert (410, "saved_method_inactive") == (reply.status, reply.json()["error"])
    assert made.body == local.silent(saved_id).body
    polled = local.broker(f"GET /v1/saved-payment-methods/{saved_id}").json()
    assert status == polled["status"]
    assert "saved_method_jws" not in polled


def test_a_detached_method_is_found_out_without_the_webhook() -> None:
    """A charge asks the API first, so a lost event does not let money through."""
    local = Local()
    saved_id = local.saved()
    local.fault("webhook", "lost")
    local.control(f"POST saved-methods/{saved_id}/detach")
    assert "active" == local.state.saved[saved_id].state
    assert 410 == local.silent(saved_id).status
    assert "detached" == local.state.saved[saved_id].state


def test_setups_and_grants_end() -> None:
    """A setup nobody decides on expires, a grant ends at its own time, and neither timer touches the other."""
    local = Local()
    waiting = str(local.setup(nonce="setup-nonce-0002").json()["saved_method_id"])
    saved_id = local.saved(valid_until="2030-01-01T01:00:00Z")
    local.advance(900)
    assert ("expired", "active") == (local.state.saved[waiting].state, local.state.saved[saved_id].state)
    refused = local.broker(f"POST /__emulator/saved-methods/{waiting}/approve")
    assert (409, "not_possible") == (refused.status, refused.json()["error"])
    local.advance(2700)
    assert "expired" == local.state.saved[saved_id].state


def test_the_grant_can_be_sent_along() -> None:
    """Who sends the grant with a charge must send the right one."""
    local = Local()
    saved_id = local.saved()
    grant = local.state.saved[saved_id].grant
    assert 422 == local.silent(saved_id, saved_method_jws="ey.other.one").status
    assert 200 == local.silent(saved_id, saved_method_jws=grant).status


def test_other_merchants_methods_are_404() -> None:
    """A saved method belongs to the merchant it was made for."""
    local = Local()
    saved_id = local.saved()
    assert 404 == local.silent(saved_id, api_key=OTHER_KEY).status
    assert 404 == local.silent("mpp_spm_none").status


def test_a_repeated_setup_is_the_same() -> None:
    """B5 can be repeated with its nonce as B1 can."""
    local = Local()
    assert local.setup().body == local.setup().body
    assert 409 == local.setup(max_uses=5).status
    assert 1 == len(local.state.saved)


# --- recurring billing ------------------------------------------------------------------------------------


def recurring(local: Local, **members: object) -> Json:
    """A recurring billing through the API itself."""
    body = {
        "name": "Forecasts",
        "customer_email": "payer@example.test",
        "customer_name": "Payer",
        "amount": "5.00",
        "currency": "sgd",
        "payment_methods": ["shopee_pay"],
        "save_payment_method": True,
        "generate_direct_link": True,
        "redirect_url": "http://127.0.0.1:9/done",
        "reference": "r-1",
    } | members
    reply = local.api("POST /v1/recurring-billing", body)
    return {**reply.json(), "http_status": reply.status}


@pytest.mark.parametrize(
    ("members", "status", "field"),
    [
        ({"amount": "0.99"}, 422, "amount"),
        ({"currency": "xxx"}, 422, "currency"),
        ({"payment_methods": []}, 422, "payment_methods"),
        ({"payment_methods": ["shopee_pay", "grabpay_direct"]}, 422, "payment_methods"),
        ({"payment_methods": "shopee_pay"}, 422, "payment_methods"),
        ({"save_payment_method": False}, 422, "save_payment_method"),
        ({"times_to_be_charged": 3}, 422, "times_to_be_charged"),
        ({"redirect_url": None}, 422, "redirect_url"),
        ({"customer_email": None}, 422, "customer_email"),
        ({"generate_direct_link": False}, 400, None),
        ({"generate_qr": True}, 400, None),
    ],
)
def test_recurring_billing_is_checked(members: dict[str, object], status: int, field: str | None) -> None:
    """The API names the member it minds; the generate flags are a plain 400."""
    found = recurring(Local(), **members)
    assert status == found["http_status"]
    assert [field] == list(found.get("errors", {None: ""}))  # type: ignore[call-overload]  # JSON


def test_recurring_billing_charges() -> None:
    """Approved, charged, declined once, reconciled by its total, canceled."""
    local = Local()
    found = recurring(local)
    assert (201, "scheduled") == (found["http_status"], found["status"])
    recurring_id = found["id"]
    link = found["direct_link"]
    assert isinstance(link, dict)
    assert f"http://127.0.0.1:4011/setup/{recurring_id}" == link["direct_link_url"]
    charge = f"POST /v1/charge/recurring-billing/{recurring_id}"
    assert 422 == local.api(charge, {"amount": 5, "currency": "sgd"}).status
    assert 303 == local.http("api", f"POST /setup/{recurring_id}/approve").status
    reply = local.api(charge, {"amount": 5.5, "currency": "sgd"})
    assert 200 == reply.status
    (payment,) = local.state.payments.values()
    assert {
        "payment_id": payment.id,
        "recurring_billing_id": recurring_id,
        "amount": 5.5,
        "currency": "sgd",
        "status": "succeeded",
    } == reply.json()
    local.fault("payer", "decline", route="recurring_billing.charge", next=1)
    assert 422 == local.api(charge, {"amount": 5, "currency": "sgd"}).status
    assert 422 == local.api(charge, {"amount": 5, "currency": "myr"}).status
    assert 422 == local.api(charge, {"amount": "0", "currency": "sgd"}).status
    line = f"/v1/recurring-billing/{recurring_id}"
    shown = local.api(f"GET {line}").json()
    assert ("active", "5.50", 1) == (shown["status"], shown["total_charge"], shown["times_charged"])
    assert "canceled" == local.api(f"DELETE {line}").json()["status"]
    assert 422 == local.api(f"DELETE {line}").status
    assert 404 == local.api(f"GET {line}", key=OTHER_KEY).status
    assert 422 == local.api(charge, {"amount": 5, "currency": "sgd"}).status


def test_canceling_the_recurring_billing_detaches_the_saved_method() -> None:
    """What the merchant cancels in the API is gone at the broker."""
    local = Local()
    saved_id = local.saved()
    local.api(f"DELETE /v1/recurring-billing/{local.state.saved[saved_id].recurring}")
    assert "detached" == local.state.saved[saved_id].state
