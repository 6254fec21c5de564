"""The control API under ``/__emulator``: what people and tests do to a running sandbox."""

from collections.abc import Callable
from typing import Final, cast

import attrs

from flovia.sandbox import machine, receipts, webhooks
from flovia.sandbox.events import EVENTS
from flovia.sandbox.faults import KNOBS, read_fault
from flovia.sandbox.fields import is_key, read_json
from flovia.sandbox.money import read_amount, write_amount
from flovia.sandbox.records import Charge, Delivery, Entry, PaymentRequest, SavedMethod
from flovia.sandbox.state import Draft, iso
from flovia.sandbox.wire import Call, Json, Refused, Reply, broker_error, json_reply, members

PREFIX: Final = "/__emulator"


def _bad(message: str) -> Refused:
    return broker_error(422, "invalid", message)


def _body(call: Call) -> Json:
    return read_json(call) if call.body.strip() else {}


def _missing(what: str) -> Refused:
    return broker_error(404, "not_found", f"no such {what}")


# --- charges, payment requests ------------------------------------------------------------------------------


def charge_act(d: Draft, call: Call, charge_id: str, verb: str) -> Reply:
    """``pay``, ``decline``, ``expire`` or ``late_pay`` a charge."""
    charge = d.charges.get(charge_id)
    if charge is None:
        raise _missing("charge")
    if verb == "expire":
        machine.expire_charge(d, charge)
    elif verb == "late_pay":
        if charge.state == "pending":
            machine.expire_charge(d, charge)
        _pay(d, call, d.requests[charge.request])
    else:
        _request_verb(d, call, d.requests[charge.request], verb)
    return json_reply(200, charge_json(d, d.charges[charge_id]))


def request_act(d: Draft, call: Call, request_id: str, verb: str) -> Reply:
    """``pay`` or ``decline`` a payment request that the broker knows nothing of."""
    request = d.requests.get(request_id)
    if request is None:
        raise _missing("payment request")
    _request_verb(d, call, request, verb)
    return json_reply(200, {"id": request.id, "status": d.requests[request_id].status})


def _request_verb(d: Draft, call: Call, request: PaymentRequest, verb: str) -> None:
    if verb == "pay":
        _pay(d, call, request)
    elif verb == "decline":
        machine.decline(d, request.id, terminal=_body(call).get("terminal") is True)
    else:
        raise _missing("step")


def _pay(d: Draft, call: Call, request: PaymentRequest) -> None:
    body = _body(call)
    times, again = body.get("times", 1), body.get("again") is True
    if not isinstance(times, int) or isinstance(times, bool) or not 1 <= times <= 100:
        raise _bad("times: 1 to 100")
    amount = None
    if "amount" in body and (amount := read_amount(body["amount"], request.currency)) is None:
        raise _bad("amount: decimal text such as 1.00")
    for number in range(times):
        machine.pay(d, request.id, amount=amount, again=again or number > 0)


def charge_json(d: Draft, charge: Charge) -> Json:
    """A charge as the control API shows it."""
    return {
        "id": charge.id,
        "state": charge.state,
        "amount": write_amount(charge.amount, charge.currency),
        "currency": charge.currency,
        "payment_request_id": charge.request,
        "payment_id": charge.payment,
        "expires_at": iso(charge.expires_at),
    }


def charges(d: Draft, call: Call) -> Reply:
    """Every charge."""
    return json_reply(200, {"charges": [charge_json(d, charge) for charge in d.charges.values()]})


# --- saved methods ----------------------------------------------------------------------------------------


def saved_act(d: Draft, call: Call, saved_id: str, verb: str) -> Reply:
    """``approve``, ``reject``, ``detach``, ``revoke`` or ``expire`` a saved method."""
    saved = d.saved.get(saved_id)
    if saved is None:
        raise _missing("saved method")
    recurring = d.recurring[saved.recurring]
    match verb:
        case "approve":
            machine.approve(d, recurring)
        case "reject":
            machine.reject(d, recurring)
        case "detach":
            machine.detach(d, recurring)
        case "revoke" | "expire":
            machine.move_saved(d, saved, verb)
        case _:
            raise _missing("step")
    return json_reply(200, saved_json(d, d.saved[saved_id]))


def saved_json(d: Draft, saved: SavedMethod) -> Json:
    """A saved method as the control API shows it."""
    return {
        "id": saved.id,
        "state": saved.state,
        "recurring_billing_id": saved.recurring,
        "payment_method": saved.wallet,
        "currency": saved.currency,
        "spent": write_amount(saved.spent, saved.currency),
        "uses": saved.uses,
    }


def saved_methods(d: Draft, call: Call) -> Reply:
    """Every saved method."""
    return json_reply(200, {"saved_methods": [saved_json(d, saved) for saved in d.saved.values()]})


# --- clock, faults, keys --------------------------------------------------------------------------------------


def clock(d: Draft, call: Call) -> Reply:
    """What time it is here."""
    return json_reply(200, {"now": iso(d.now), "ms": d.now})


def clock_advance(d: Draft, call: Call) -> Reply:
    """Move the clock forward; what becomes due in between happens."""
    from flovia.sandbox.core import run  # the clock moves everything, the control API included

    seconds = _body(call).get("seconds")
    if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not 0 <= seconds <= 366 * 86400:
        raise _bad("seconds: a number up to a year")
    run(d, d.after(seconds))
    return clock(d, call)


def faults(d: Draft, call: Call) -> Reply:
    """The faults in force, and which knobs there are."""
    knobs = {knob: {value: sorted(options) for value, options in values.items()} for knob, values in KNOBS.items()}
    return json_reply(200, {"faults": [fault.to_json() for fault in d.faults], "knobs": knobs})


def faults_put(d: Draft, call: Call) -> Reply:
    """Turn one knob, or several in ``faults``. One with the same knob and scope is replaced."""
    from flovia.sandbox.core import ROUTES  # which include the control API

    body = _body(call)
    wanted = body.get("faults", [body])
    found: list[Json] = []
    for item in cast("list[object]", wanted) if isinstance(wanted, list) else [None]:
        if (wish := members(item)) is None:
            raise _bad("a fault is a JSON object with knob and value")
        found.append(wish)
    for fault in [read_fault(item) for item in found]:
        if isinstance(fault, str):
            raise _bad(fault)
        names = set(EVENTS) if fault.knob == "webhook" else {route.name for route in ROUTES}
        if fault.route is not None and fault.route not in names:
            raise _bad(f"route: one of {', '.join(sorted(names))}")
        scope = (fault.knob, fault.route, fault.about, dict(fault.options).get("target"))
        d.faults = [
            known
            for known in d.faults
            if (known.knob, known.route, known.about, dict(known.options).get("target")) != scope
        ]
        d.faults.append(fault)
    return json_reply(200, {"faults": [fault.to_json() for fault in d.faults]})


def faults_delete(d: Draft, call: Call) -> Reply:
    """Clear every fault, or with ``?knob=`` and ``?id=`` those of one knob and about one thing."""
    knob, about = call.parameter("knob"), call.parameter("id")
    d.faults = [
        fault
        for fault in d.faults
        if (knob is not None and fault.knob != knob) or (about is not None and fault.about != about)
    ]
    return json_reply(200, {"faults": [fault.to_json() for fault in d.faults]})


def keys_act(d: Draft, call: Call, verb: str) -> Reply:
    """``rotate``: a new key signs, the old stays published. ``retire`` and ``compromise`` withdraw one (``kid``)."""
    kid = _body(call).get("kid")
    current = d.signing_key.kid
    retired = [key.kid for key in d.keys if key.state == "retired"]
    match verb:
        case "rotate":
            receipts.rotate(d)
        case "retire" | "compromise":
            default = current if verb == "compromise" or not retired else retired[0]
            found = default if kid is None else kid
            if found not in [key.kid for key in d.keys if key.published]:
                raise _missing("published key")
            receipts.withdraw(d, str(found), compromised=verb == "compromise")
        case _:
            raise _missing("step")
    return keys(d, call)


def keys(d: Draft, call: Call) -> Reply:
    """Every key there was, by id and state."""
    return json_reply(200, {"keys": [{"kid": key.kid, "state": key.state} for key in d.keys]})


# --- webhooks, journal, money -------------------------------------------------------------------------------


def _delivery_json(delivery: Delivery) -> Json:
    return {
        "id": delivery.id,
        "event": delivery.event,
        "about": delivery.about,
        "target": delivery.target,
        "status": delivery.status,
        "answers": list(delivery.answers),
        "due": iso(delivery.due) if delivery.due is not None else None,
    }


def deliveries(d: Draft, call: Call) -> Reply:
    """Every webhook, and what became of it."""
    return json_reply(200, {"webhooks": [_delivery_json(found) for found in d.deliveries.values()]})


def deliveries_redeliver(d: Draft, call: Call, delivery_id: str) -> Reply:
    """Send one again, now; also one that was lost."""
    if delivery_id not in d.deliveries:
        raise _missing("webhook")
    webhooks.redeliver(d, delivery_id)
    return json_reply(200, _delivery_json(d.deliveries[delivery_id]))


def salts(d: Draft, call: Call) -> Reply:
    """Set the salts of a merchant by hand, as its dashboard would show them."""
    body = _body(call)
    api_key, salt, api_salt = (body.get(name) for name in ("api_key", "webhook_salt", "api_salt"))
    if not is_key(api_key):
        raise _bad("api_key: one that starts with test_")
    if not isinstance(salt, str | None) or not isinstance(api_salt, str | None):
        raise _bad("webhook_salt and api_salt: text")
    merchant = d.merchant(api_key)
    merchant = attrs.evolve(
        merchant, salt=salt or merchant.salt, api_salt=api_salt or merchant.api_salt, pinned=bool(salt)
    )
    d.put_merchant(merchant)
    return json_reply(200, {"merchant": merchant.id, "webhook_salt": merchant.salt, "api_salt": merchant.api_salt})


def _entry_json(entry: Entry) -> Json:
    return {
        "number": entry.number,
        "at": iso(entry.at),
        "kind": entry.kind,
        "where": entry.where,
        "what": entry.what,
        "route": entry.route,
        "status": entry.status,
        "sent": dict(entry.sent),
        "got": dict(entry.got),
        "faults": list(entry.faults),
    }


def journal(d: Draft, call: Call) -> Reply:
    """Every call and webhook attempt so far, secrets masked; with ``?route=`` only those of one route."""
    route = call.parameter("route")
    found = [_entry_json(entry) for entry in d.before.journal if route is None or entry.route == route]
    return json_reply(200, {"journal": found})


def money(d: Draft, call: Call) -> Reply:
    """What came in and what went back, by currency."""
    totals: dict[str, dict[str, int]] = {}
    for payment in d.payments.values():
        if payment.status != "failed":
            sums = totals.setdefault(payment.currency, {"in": 0, "refunded": 0, "payments": 0})
            sums["in"] += payment.amount
            sums["refunded"] += payment.refunded
            sums["payments"] += 1
    shown: Json = {}
    for currency, sums in totals.items():
        shown[currency] = {
            "in": write_amount(sums["in"], currency),
            "refunded": write_amount(sums["refunded"], currency),
            "payments": sums["payments"],
        }
    return json_reply(200, {"money": shown})


def reset(d: Draft, call: Call) -> Reply:
    """Forget everything but origins, seed and time. Ids that were given are not given again."""
    d.wiped = True
    return json_reply(200, {"reset": True})


ENDPOINTS: Final[tuple[tuple[str, Callable[..., Reply]], ...]] = (
    (f"GET {PREFIX}/charges", charges),
    (f"POST {PREFIX}/charges/{{id}}/{{step}}", charge_act),
    (f"POST {PREFIX}/payment-requests/{{id}}/{{step}}", request_act),
    (f"GET {PREFIX}/saved-methods", saved_methods),
    (f"POST {PREFIX}/saved-methods/{{id}}/{{step}}", saved_act),
    (f"GET {PREFIX}/clock", clock),
    (f"POST {PREFIX}/clock/advance", clock_advance),
    (f"GET {PREFIX}/faults", faults),
    (f"PUT {PREFIX}/faults", faults_put),
    (f"DELETE {PREFIX}/faults", faults_delete),
    (f"GET {PREFIX}/keys", keys),
    (f"POST {PREFIX}/keys/{{step}}", keys_act),
    (f"GET {PREFIX}/webhooks", deliveries),
    (f"POST {PREFIX}/webhooks/{{id}}/redeliver", deliveries_redeliver),
    (f"PUT {PREFIX}/salts", salts),
    (f"GET {PREFIX}/journal", journal),
    (f"GET {PREFIX}/money", money),
    (f"POST {PREFIX}/reset", reset),
)
"""Every endpoint of the control API, on both origins."""
