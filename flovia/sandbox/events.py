"""The bodies of HitPay's events and callbacks."""

from flovia.sandbox.money import api_amount, number_amount
from flovia.sandbox.records import Payment, PaymentRequest, Recurring, Refund
from flovia.sandbox.state import Draft, iso
from flovia.sandbox.wire import Json, members

EVENTS = (
    "payment_request.completed",
    "payment_request.failed",
    "charge.created",
    "charge.updated",
    "recurring_billing.method_attached",
    "recurring_billing.method_detached",
    "recurring_billing.subscription_updated",
)
"""The events the sandbox sends (HitPay docs: events)."""

BROKER_EVENTS = frozenset(
    {
        "payment_request.completed",
        "charge.created",
        "recurring_billing.method_attached",
        "recurring_billing.method_detached",
    }
)
"""What the broker's own endpoint is registered for (HitPay MPP landing page)."""


def payment_json(payment: Payment) -> Json:
    """A payment as it stands in a payment request."""
    return {
        "id": payment.id,
        "status": payment.status,
        "amount": number_amount(payment.amount, payment.currency),
        "currency": payment.currency,
        "payment_type": payment.rail,
        "fees": 0,
        "created_at": iso(payment.at),
    }


def payment_request_event(d: Draft, request: PaymentRequest, payment: Payment, status: str) -> Json:
    """``payment_request.completed`` and ``.failed``: flat. ``amount`` is what this payment moved."""
    body: Json = {
        "id": request.id,
        "amount": number_amount(payment.amount, request.currency),
        "currency": request.currency,
        "status": status,
        "reference_number": request.reference,
        "payment_type": payment.rail,
        "payments": [payment_json(d.payments[found]) for found in request.payments],
        "created_at": iso(request.created_at),
        "updated_at": iso(request.updated_at),
    }
    if status == "failed":
        body["failure_reason"] = "declined_by_payer"
    return body


def charge_event(payment: Payment, *, reference: str, recurring: bool, refund: Refund | None = None) -> Json:
    """``charge.created`` and ``charge.updated``: flat."""
    body: Json = {
        "id": payment.id,
        "business_id": payment.merchant,
        "channel": "recurrent" if recurring else "payment_request",
        "recurring_billing_id" if recurring else "payment_request_id": payment.owner,
        "reference_number": reference,
        "status": payment.status,
        "amount": number_amount(payment.amount, payment.currency),
        "currency": payment.currency,
        "payment_type": payment.rail,
        "created_at": iso(payment.at),
    }
    if refund is not None:
        amount = number_amount(refund.amount, payment.currency)
        body["amount_refunded"] = amount
        body["refunds"] = [{"id": refund.id, "amount": amount, "created_at": iso(refund.at)}]
    return body


def recurring_event(recurring: Recurring, event: str) -> Json:
    """``recurring_billing.*`` as it was captured on the wire: enveloped."""
    wallet = recurring.methods[0]
    method_id = f"method_{recurring.id[:8]}"
    return {
        "event": event,
        "affected_method_id": method_id,
        "recurring_billing": {
            "id": recurring.id,
            "status": recurring.status,
            "cycle": "save_card",
            "reference": recurring.reference,
            "currency": recurring.currency,
            "payment_provider_charge_method": wallet,
            "default_method": {"id": method_id, "payment_provider_charge_method": wallet},
        },
    }


def reshaped(event: str, body: Json, shape: str) -> Json:
    """An event in the other of the two shapes that HitPay's documents and captures show."""
    about = event.partition(".")[0]
    inner = members(body.get(about))
    if shape == "enveloped" and inner is None:
        return {"event": event, about: body}
    if shape == "flat" and inner is not None:
        return {**inner, **{name: value for name, value in body.items() if name not in ("event", about)}}
    return body


def callback_fields(request: PaymentRequest, payment: Payment, status: str) -> dict[str, str]:
    """The form of a per-request callback, without its ``hmac``."""
    return {
        "payment_id": payment.id,
        "payment_request_id": request.id,
        "phone": request.phone,
        "amount": api_amount(payment.amount, request.currency),
        "currency": request.currency.upper(),
        "status": status,
        "reference_number": request.reference,
    }
