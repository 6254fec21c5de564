"""The two state machines, as tables, and the steps that move money and states."""

from collections.abc import Mapping
from typing import Final, TypeVar

import attrs

from flovia.core.errors import IllegalTransition
from flovia.sandbox.events import (
    BROKER_EVENTS,
    callback_fields,
    charge_event,
    payment_request_event,
    recurring_event,
)
from flovia.sandbox.money import CURRENCIES
from flovia.sandbox.records import (
    Charge,
    ChargeState,
    Payment,
    PaymentRequest,
    Recurring,
    Refund,
    RequestStatus,
    SavedMethod,
    SavedState,
)
from flovia.sandbox.state import Draft
from flovia.sandbox.webhooks import queue_callback, queue_event
from flovia.sandbox.wire import Json

CHARGE: Final[dict[tuple[str, str], ChargeState]] = {
    ("pending", "pay"): "core_paid",
    ("pending", "decline"): "pending",
    ("pending", "expire"): "expired",
    ("core_paid", "learn"): "paid",
    ("paid", "verify"): "verified",
    ("verified", "verify"): "verified",
    ("expired", "pay"): "expired_paid",
    ("core_paid", "pay"): "core_paid",
    ("paid", "pay"): "paid",
    ("verified", "pay"): "verified",
    ("refunded", "pay"): "refunded",
    ("expired_paid", "pay"): "expired_paid",
    ("core_paid", "refund"): "refunded",
    ("paid", "refund"): "refunded",
    ("verified", "refund"): "refunded",
    ("expired_paid", "refund"): "refunded",
}
"""A one-time charge. A step from a state to itself moves money, or an attempt at it, but no state."""

SAVED: Final[dict[tuple[str, str], SavedState]] = {
    ("pending", "approve"): "active",
    ("pending", "reject"): "expired",
    ("pending", "expire"): "expired",
    ("pending", "detach"): "detached",  # the events of attaching and detaching may come in the other order
    ("active", "charge"): "active",
    ("active", "detach"): "detached",
    ("active", "revoke"): "revoked",
    ("active", "expire"): "expired",
}
"""A saved method."""


_State = TypeVar("_State", bound=str)


def step(name: str, table: Mapping[tuple[str, str], _State], state: str, verb: str) -> _State:
    """The state that ``verb`` leads to.

    Raises:
        IllegalTransition: the table has no such step.
    """
    found = table.get((state, verb))
    if found is None:
        raise IllegalTransition(name, state, verb, tuple(verb for known, verb in table if known == state))
    return found


def move_charge(d: Draft, charge: Charge, verb: str) -> Charge:
    """Take one step of the charge's table."""
    moved = d.charges[charge.id] = attrs.evolve(charge, state=step("charge", CHARGE, charge.state, verb))
    return moved


def move_saved(d: Draft, saved: SavedMethod, verb: str) -> SavedMethod:
    """Take one step of the saved method's table."""
    moved = d.saved[saved.id] = attrs.evolve(saved, state=step("saved method", SAVED, saved.state, verb))
    return moved


# --- one-time payments --------------------------------------------------------------------------------


def pay(d: Draft, request_id: str, *, amount: int | None = None, again: bool = False) -> Payment:
    """The payer pays a payment request, in time or late.

    ``amount``: another sum than was asked for. ``again``: pay what is already paid a second time.

    Raises:
        IllegalTransition: canceled, failed, or paid already.
    """
    request = d.requests[request_id]
    charge = d.charges.get(request.charge or "")
    paid = any(d.payments[found].status != "failed" for found in request.payments)
    if request.status in ("canceled", "failed") or (paid and not again and not request.repeated):
        state = request.status if request.status != "pending" else "paid"
        raise IllegalTransition("payment request", state, "pay", ("refund",) if paid else ())
    payment = _payment(d, request, request.amount if amount is None else amount, "succeeded")
    request = d.requests[request_id]
    if charge is not None:
        charge = move_charge(d, charge, "pay")
        if charge.payment is None:
            d.charges[charge.id] = attrs.evolve(charge, payment=payment.id, paid_at=d.now)
    if request.status in ("pending", "expired"):
        lag = d.fault("pr_lag", (), (request.id, request.charge or ""))
        if lag is None or (lag.value == "seconds" and not lag.option("seconds", 0)):
            request = attrs.evolve(request, status="completed")
        elif lag.value == "seconds":
            d.at(d.after(lag.option("seconds", 0)), "complete", request.id)
        d.requests[request.id] = request
    _tell_request(d, request, payment, "completed")
    _tell(
        d,
        "charge.created",
        payment.merchant,
        request.charge or request.id,
        charge_event(payment, reference=request.reference, recurring=False),
    )
    return payment


def decline(d: Draft, request_id: str, *, terminal: bool = False) -> Payment:
    """The payer tries and fails; may try again unless it is ``terminal``.

    Raises:
        IllegalTransition: nothing is waiting for a payment.
    """
    request = d.requests[request_id]
    if request.status != "pending" or any(d.payments[found].status != "failed" for found in request.payments):
        raise IllegalTransition("payment request", request.status, "decline", ())
    if (charge := d.charges.get(request.charge or "")) is not None:
        move_charge(d, charge, "decline")
    payment = _payment(d, request, request.amount, "failed")
    request = d.requests[request_id]
    if terminal:
        request = d.requests[request_id] = attrs.evolve(request, status="failed")
    _tell_request(d, request, payment, "failed")
    return payment


def expire_charge(d: Draft, charge: Charge) -> None:
    """The charge's time is over. Money that arrives from now on is late."""
    charge = move_charge(d, charge, "expire")
    request = d.requests[charge.request]
    if request.status == "pending":
        d.requests[request.id] = attrs.evolve(request, status="expired", updated_at=d.now)
    if charge.expires_at > d.now:
        d.charges[charge.id] = attrs.evolve(charge, expires_at=d.now)


def settle_request(d: Draft, request_id: str, *, completed: bool) -> None:
    """The top-level status of a payment request follows its payments, or its end."""
    request = d.requests[request_id]
    if request.status == "pending":
        paid = any(d.payments[found].status != "failed" for found in request.payments)
        if completed or not paid:
            status: RequestStatus = "completed" if completed else "expired"
            d.requests[request_id] = attrs.evolve(request, status=status, updated_at=d.now)


def learn(d: Draft, charge: Charge) -> Charge:
    """The broker learns of a payment, by webhook or by asking; forward only, so twice is once."""
    return move_charge(d, charge, "learn") if charge.state == "core_paid" else charge


def refund(d: Draft, payment: Payment, amount: int) -> Refund:
    """Give money back."""
    given = Refund(id=d.new_uuid(), payment=payment.id, amount=amount, at=d.now)
    d.refunds[given.id] = given
    full = amount == payment.amount
    changed = attrs.evolve(payment, refunded=amount, status="refunded" if full else "partially_refunded")
    d.payments[payment.id] = changed
    request = d.requests.get(payment.owner)
    reference = request.reference if request else d.recurring[payment.owner].reference
    about = (request.charge or request.id) if request else payment.owner
    charge = d.charges.get(request.charge or "") if request else None
    if charge is not None and full and charge.payment == payment.id:
        move_charge(d, charge, "refund")
    body = charge_event(changed, reference=reference, recurring=request is None, refund=given)
    _tell(d, "charge.updated", payment.merchant, about, body)
    return given


def _payment(d: Draft, request: PaymentRequest, amount: int, status: str) -> Payment:
    payment = Payment(
        id=d.new_uuid(),
        merchant=request.merchant,
        owner=request.id,
        amount=amount,
        currency=request.currency,
        status="succeeded" if status == "succeeded" else "failed",
        rail=request.methods[0] if request.methods else CURRENCIES[request.currency].rail,
        at=d.now,
    )
    d.payments[payment.id] = payment
    d.requests[request.id] = attrs.evolve(request, payments=(*request.payments, payment.id), updated_at=d.now)
    return payment


# --- saved methods --------------------------------------------------------------------------------------


def approve(d: Draft, recurring: Recurring) -> None:
    """The payer allows silent charges. The broker hears of it through its webhook.

    Raises:
        IllegalTransition: it is not waiting for that.
    """
    if recurring.status != "scheduled" or d.now >= recurring.expires_at:
        state = recurring.status if recurring.status != "scheduled" else "expired"
        raise IllegalTransition("recurring billing", state, "approve", ())
    changed = d.recurring[recurring.id] = attrs.evolve(recurring, status="active")
    _tell_recurring(d, changed, "recurring_billing.method_attached")


def reject(d: Draft, recurring: Recurring) -> None:
    """The payer refuses the setup.

    Raises:
        IllegalTransition: it is not waiting for that.
    """
    if recurring.status != "scheduled":
        raise IllegalTransition("recurring billing", recurring.status, "reject", ())
    d.recurring[recurring.id] = attrs.evolve(recurring, status="canceled")
    if (saved := d.saved.get(recurring.saved or "")) is not None and saved.state == "pending":
        move_saved(d, saved, "reject")


def expire_saved(d: Draft, saved: SavedMethod, *, grant: bool) -> None:
    """The time of the setup is over, or that of the ``grant``; the other one means nothing now.

    Raises:
        IllegalTransition: it ended before.
    """
    if saved.state == ("active" if grant else "pending"):
        move_saved(d, saved, "expire")


def detach(d: Draft, recurring: Recurring) -> None:
    """The payer, or the merchant through the API, takes the method away.

    Raises:
        IllegalTransition: there is none any more.
    """
    if recurring.status == "canceled":
        raise IllegalTransition("recurring billing", recurring.status, "detach", ())
    changed = d.recurring[recurring.id] = attrs.evolve(recurring, status="canceled")
    _tell_recurring(d, changed, "recurring_billing.method_detached")
    _tell_recurring(d, changed, "recurring_billing.subscription_updated")


def take(d: Draft, recurring: Recurring, amount: int, currency: str, *, declined: bool) -> Payment:
    """A silent charge, made or declined by the wallet."""
    payment = Payment(
        id=d.new_uuid(),
        merchant=recurring.merchant,
        owner=recurring.id,
        amount=amount,
        currency=currency,
        status="failed" if declined else "succeeded",
        rail=recurring.methods[0],
        at=d.now,
    )
    d.payments[payment.id] = payment
    if not declined:
        d.recurring[recurring.id] = attrs.evolve(recurring, payments=(*recurring.payments, payment.id))
        body = charge_event(payment, reference=recurring.reference, recurring=True)
        _tell(d, "charge.created", recurring.merchant, recurring.id, body)
    return payment


# --- who hears of it ----------------------------------------------------------------------------------


def _tell_request(d: Draft, request: PaymentRequest, payment: Payment, status: str) -> None:
    event = f"payment_request.{status}"
    about = request.charge or request.id
    _tell(d, event, request.merchant, about, payment_request_event(d, request, payment, status))
    if request.webhook:
        fields = callback_fields(request, payment, status)
        queue_callback(d, event, d.merchant_by_id(request.merchant), about, fields, request.webhook)


def _tell_recurring(d: Draft, recurring: Recurring, event: str) -> None:
    _tell(d, event, recurring.merchant, recurring.id, recurring_event(recurring, event))


def _tell(d: Draft, event: str, merchant_id: str, about: str, body: Json) -> None:
    """Queue an event for the broker, if it is about something of its own, and for the merchant's endpoints."""
    merchant = d.merchant_by_id(merchant_id)
    salt = broker_salt(d, about)
    signed_with = merchant.salt if merchant.pinned or salt is None else salt
    if event in BROKER_EVENTS and salt is not None:
        url = f"{d.origin('broker')}/v1/webhook/hitpay"
        queue_event(d, event, merchant, about, body, target="broker", url=url, salt=signed_with)
    for endpoint in d.endpoints.values():
        if endpoint.merchant == merchant.id and event in endpoint.events:
            queue_event(d, event, merchant, about, body, target="endpoint", url=endpoint.url, salt=endpoint.salt)
    if d.before.webhook is not None:
        queue_event(d, event, merchant, about, body, target="endpoint", url=d.before.webhook, salt=signed_with)


def broker_salt(d: Draft, about: str) -> str | None:
    """The salt that came with the creation of a charge, or of the saved method over a recurring billing."""
    if (charge := d.charges.get(about)) is not None:
        return charge.salt
    if (recurring := d.recurring.get(about)) is not None and recurring.saved is not None:
        return d.saved[recurring.saved].salt
    return None
