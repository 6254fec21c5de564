"""The knobs of the payer, and of how late the money is seen."""

from tests.sandbox.knobs import listed, shows
from tests.sandbox.local import Local


@shows("payer", "auto_pay")
def test_auto_pay(local: Local) -> None:
    """Charges are paid after the delay, setups approved."""
    local.fault("payer", "auto_pay", delay=2)
    charge_id, saved_id = local.charge(), str(local.setup().json()["saved_method_id"])
    local.advance(1.9)
    assert ("pending", "pending") == (local.status(charge_id), local.state.saved[saved_id].state)
    local.advance(0.1)
    assert ("paid", "active") == (local.status(charge_id), local.state.saved[saved_id].state)


@shows("payer", "decline")
def test_decline(local: Local) -> None:
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
def test_never(local: Local) -> None:
    """Nobody pays, even where auto_pay was set before."""
    local.fault("payer", "auto_pay")
    local.fault("payer", "never", route="B1")
    charge_id, saved_id = local.charge(), str(local.setup().json()["saved_method_id"])
    local.advance(899)
    assert ("pending", "active") == (local.status(charge_id), local.state.saved[saved_id].state)


@shows("payer", "pay_twice")
def test_pay_twice(local: Local) -> None:
    """Two payments, two completed events, one charge."""
    local.fault("payer", "pay_twice")
    charge_id = local.charge()
    local.advance(0)
    assert {"sgd": {"in": "2.00", "refunded": "0.00", "payments": 2}} == local.control("GET money")["money"]
    events = [found["event"] for found in listed(local, "webhooks")]
    assert 2 == events.count("payment_request.completed")
    assert "paid" == local.status(charge_id)


@shows("payer", "wrong_amount")
def test_wrong_amount(local: Local) -> None:
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
def test_late(local: Local) -> None:
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


def test_a_late_approval_comes_too_late() -> None:
    """Who would pay late approves late."""
    local = Local()
    local.fault("payer", "late", delay=1)
    saved_id = str(local.setup().json()["saved_method_id"])
    local.advance(1000)
    assert "expired" == local.state.saved[saved_id].state


@shows("pr_lag", "seconds")
def test_lag(local: Local) -> None:
    """The payment has succeeded while the payment request still says pending, for so long."""
    local.fault("pr_lag", 10)
    charge_id = local.charge()
    local.pay(charge_id)
    found = local.request_of(charge_id)
    assert ("pending", ["succeeded"]) == (found["status"], [each["status"] for each in found["payments"]])  # type: ignore[attr-defined]  # JSON
    local.advance(10)
    assert "completed" == local.request_of(charge_id)["status"]


@shows("pr_lag", "forever")
def test_lag_forever(local: Local) -> None:
    """Or for ever, past the end of the charge, which is paid all the same."""
    local.fault("pr_lag", "forever")
    charge_id = local.charge()
    local.pay(charge_id)
    local.advance(86400)
    assert ("pending", "paid") == (local.request_of(charge_id)["status"], local.status(charge_id))
    assert 200 == local.verify(charge_id).status


@shows("broker_status_stuck", "status")
def test_stuck(local: Local) -> None:
    """B2 never leaves pending though the money is there; B3 knows better."""
    local.fault("broker_status_stuck", True)
    charge_id = local.charge()
    local.pay(charge_id)
    assert ("pending", "completed") == (local.status(charge_id), local.request_of(charge_id)["status"])
    assert 200 == local.verify(charge_id).status
    assert "pending" == local.status(charge_id)


@shows("broker_status_stuck", "verify")
def test_stuck_verify(local: Local) -> None:
    """B3 does not know either: only the core API shows the payment."""
    local.fault("broker_status_stuck", "verify")
    charge_id = local.charge()
    local.pay(charge_id)
    assert ("pending", "completed") == (local.status(charge_id), local.request_of(charge_id)["status"])
    assert 402 == local.verify(charge_id).status
