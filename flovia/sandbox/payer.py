"""The payer who acts by itself, as the knob ``payer`` says."""

from flovia.core.errors import IllegalTransition
from flovia.sandbox import machine
from flovia.sandbox.money import CURRENCIES, read_amount
from flovia.sandbox.records import PaymentRequest, Recurring
from flovia.sandbox.state import Draft


def plan_payer(d: Draft, route: str, request: PaymentRequest) -> None:
    """Let the payer of a new payment request do later what the knob says."""
    fault = d.fault("payer", (route,), (request.id,))
    if fault is None:
        return
    due = d.after(fault.option("delay", 0))
    match fault.value:
        case "auto_pay":
            d.at(due, "pay", request.id)
        case "pay_twice":
            d.at(due, "pay", request.id)
            d.at(due, "pay_again", request.id)
        case "wrong_amount":
            known = CURRENCIES[request.currency]
            least = 10 ** (known.exponent - known.decimals)
            other = read_amount(fault.text("amount"), request.currency)
            d.at(due, "pay", request.id, request.amount - least if other is None else other)
        case "decline":
            d.at(due, "decline_for_good" if fault.flag("terminal") else "decline", request.id)
        case "late":
            end = request.expires_at if request.expires_at is not None else d.now
            d.at(end + round(fault.option("delay", 1) * 1000), "pay", request.id)
        case _:
            pass  # never


def plan_approval(d: Draft, route: str, recurring: Recurring) -> None:
    """The same for the setup of a saved method: who would pay approves, who would decline rejects."""
    fault = d.fault("payer", (route,), (recurring.id,))
    if fault is None or fault.value == "never":
        return
    delay = fault.option("delay", 0)
    if fault.value == "late":
        d.at(recurring.expires_at + round(delay * 1000), "approve", recurring.id)
    else:
        d.at(d.after(delay), "reject" if fault.value == "decline" else "approve", recurring.id)


def act(d: Draft, action: str, target: str, amount: int | None) -> None:
    """Do what a timer says; what is no longer possible does not happen."""
    try:
        match action:
            case "pay" | "pay_again":
                machine.pay(d, target, amount=amount, again=action == "pay_again")
            case "decline" | "decline_for_good":
                machine.decline(d, target, terminal=action == "decline_for_good")
            case "approve":
                machine.approve(d, d.recurring[target])
            case "reject":
                machine.reject(d, d.recurring[target])
            case "expire":
                machine.expire_charge(d, d.charges[target])
            case "complete" | "expire_request":
                machine.settle_request(d, target, completed=action == "complete")
            case _:
                machine.expire_saved(d, d.saved[target], grant=action == "expire_grant")
    except IllegalTransition:
        return
