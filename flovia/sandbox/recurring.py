"""HitPay's own API: recurring billing, under which saved methods lie (HitPay docs: embedded recurring billing)."""

from flovia.core.errors import IllegalTransition
from flovia.sandbox import machine
from flovia.sandbox.fields import api_merchant, api_problem, flag, read_body, text
from flovia.sandbox.money import CURRENCIES, MOST, WALLET_LABELS, api_amount, number_amount, read_amount
from flovia.sandbox.payer import plan_approval
from flovia.sandbox.payment_requests import methods
from flovia.sandbox.records import Recurring
from flovia.sandbox.state import Draft, iso
from flovia.sandbox.wire import Call, Json, Reply, api_error, json_reply

_LEAST: int = 100
"""The displayed amount of a recurring billing is 1.00 or more."""


def create(d: Draft, call: Call) -> Reply:
    """``POST /v1/recurring-billing``: ask a payer to allow charges of one wallet."""
    merchant = api_merchant(d, call, creates=True)
    body = read_body(call)
    if "times_to_be_charged" in body:
        raise api_problem("times_to_be_charged", "A saved method has no such number.")
    currency = text(body, "currency", api_problem, required=True).lower()
    if currency not in CURRENCIES:
        raise api_problem("currency", "The selected currency is invalid.")
    amount = read_amount(body.get("amount"), currency)
    if amount is None or not _LEAST <= amount <= MOST:
        raise api_problem("amount", "The amount must be 1.00 or more.")
    wallets = methods(body)
    if len(wallets) != 1 or wallets[0] not in CURRENCIES[currency].wallets:
        raise api_problem("payment_methods", f"Exactly one of: {', '.join(CURRENCIES[currency].wallets) or 'none'}.")
    if not flag(body, "save_payment_method"):
        raise api_problem("save_payment_method", "The sandbox knows saved methods only: send true.")
    links = [name for name in ("generate_direct_link", "generate_embed", "generate_qr") if flag(body, name)]
    if len(links) != 1:
        raise api_error(400, "Exactly one generate flag is required.")
    text(body, "redirect_url", api_problem, most=2000, required=True)
    recurring = start(
        d,
        merchant.id,
        amount=amount,
        currency=currency,
        wallet=wallets[0],
        email=text(body, "customer_email", api_problem, required=True),
        name=text(body, "customer_name", api_problem),
        reference=text(body, "reference", api_problem),
    )
    plan_approval(d, "recurring_billing.create", recurring)
    return json_reply(201, {**_json(d, recurring), "direct_link": _link(d, recurring)})


def start(
    d: Draft, merchant_id: str, *, amount: int, currency: str, wallet: str, email: str, name: str, reference: str
) -> Recurring:
    """A recurring billing that waits for its payer."""
    recurring = Recurring(
        id=d.new_uuid(),
        merchant=merchant_id,
        amount=amount,
        currency=currency,
        methods=(wallet,),
        name=name,
        email=email,
        reference=reference,
        expires_at=d.after(d.limit("setup_ttl")),
        created_at=d.now,
    )
    d.recurring[recurring.id] = recurring
    return recurring


def setup_url(d: Draft, setup_id: str) -> str:
    """The page where the payer allows it."""
    return f"{d.origin('api')}/setup/{setup_id}"


def _link(d: Draft, recurring: Recurring) -> Json:
    url = setup_url(d, recurring.id)
    return {"direct_link_url": url, "direct_link_app_url": url, "expiry_time": iso(recurring.expires_at)}


def _of(d: Draft, call: Call, recurring_id: str) -> Recurring:
    merchant = api_merchant(d, call)
    found = d.recurring.get(recurring_id)
    if found is None or found.merchant != merchant.id:
        raise api_error(404, f"No query results for model [RecurringBilling] {recurring_id}")
    return found


def read(d: Draft, call: Call, recurring_id: str) -> Reply:
    """``GET /v1/recurring-billing/{id}``: ``total_charge`` settles what became of a charge without an answer."""
    return json_reply(200, _json(d, _of(d, call, recurring_id)))


def cancel(d: Draft, call: Call, recurring_id: str) -> Reply:
    """``DELETE /v1/recurring-billing/{id}``: the payer's method is detached."""
    recurring = _of(d, call, recurring_id)
    try:
        machine.detach(d, recurring)
    except IllegalTransition:
        raise api_error(422, "This recurring billing is canceled already.") from None
    return json_reply(200, _json(d, d.recurring[recurring_id]))


def charge(d: Draft, call: Call, recurring_id: str) -> Reply:
    """``POST /v1/charge/recurring-billing/{id}``: take money now, or be told that the wallet declined."""
    recurring = _of(d, call, recurring_id)
    body = read_body(call)
    currency = text(body, "currency", api_problem, required=True).lower()
    amount = read_amount(body.get("amount"), recurring.currency)
    if currency != recurring.currency:
        raise api_problem("currency", "The currency is another than that of the recurring billing.")
    if amount is None or not 0 < amount <= MOST:
        raise api_problem("amount", "The amount is invalid.")
    if recurring.status != "active":
        raise api_error(422, "This recurring billing has no payment method attached.")
    declined = d.is_set("payer", "decline", ("recurring_billing.charge",), (recurring.id,))
    payment = machine.take(d, recurring, amount, currency, declined=declined)
    if declined:
        return api_error(422, "The payment method was declined.").reply
    return json_reply(
        200,
        {
            "payment_id": payment.id,
            "recurring_billing_id": recurring.id,
            "amount": number_amount(amount, currency),
            "currency": currency,
            "status": payment.status,
        },
    )


def _json(d: Draft, recurring: Recurring) -> Json:
    wallet = recurring.methods[0]
    total = sum(d.payments[found].amount for found in recurring.payments)
    return {
        "id": recurring.id,
        "status": recurring.status,
        "cycle": "save_card",
        "customer_name": recurring.name or None,
        "customer_email": recurring.email,
        "amount": api_amount(recurring.amount, recurring.currency),
        "currency": recurring.currency,
        "payment_methods": list(recurring.methods),
        "payment_method_label": WALLET_LABELS.get(wallet, wallet),
        "reference": recurring.reference or None,
        "times_charged": len(recurring.payments),
        "total_charge": api_amount(total, recurring.currency),
        "created_at": iso(recurring.created_at),
    }
