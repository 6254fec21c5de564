"""The broker's one-time charges (B1 to B3), its webhook (B8) and its key set (B9).

The broker's request and reply members beyond those HitPay shows are our choice; so are its error codes.
"""

import json
from typing import Final

import attrs

from flovia.sandbox import machine
from flovia.sandbox.fields import (
    HASH,
    NONCE,
    broker_merchant,
    broker_problem,
    fingerprint,
    read_json,
    text,
)
from flovia.sandbox.hashing import event_signature, same
from flovia.sandbox.money import CURRENCIES, LEAST, MOST, read_amount, write_amount
from flovia.sandbox.payer import plan_payer
from flovia.sandbox.payment_requests import checkout_url
from flovia.sandbox.receipts import as_told, grant_claims, key_set, receipt_claims
from flovia.sandbox.records import Charge, Merchant, Nonce, PaymentRequest, SavedMethod
from flovia.sandbox.signing import GRANT, RECEIPT, sign
from flovia.sandbox.state import Draft, iso
from flovia.sandbox.wire import Call, Json, Refused, Reply, broker_error, json_reply, members

_OPEN: Final = ("access-control-allow-origin", "*")


def amount_and_currency(body: Json) -> tuple[int, str]:
    """The sum of a charge, in base units, and its currency.

    Raises:
        Refused: 422.
    """
    currency = text(body, "currency", broker_problem, required=True)
    known = CURRENCIES.get(currency)
    if known is None or not known.mpp:
        listed = ", ".join(code for code, found in CURRENCIES.items() if found.mpp)
        raise broker_problem("currency", f"one of {listed}, in lower case")
    amount = read_amount(body.get("amount"), currency) if isinstance(body.get("amount"), str) else None
    if amount is None or not LEAST <= amount <= MOST:
        raise broker_problem("amount", "decimal text such as 1.00, 0.30 or more, with the currency's own decimals")
    return amount, currency


def binding(body: Json) -> tuple[str, str]:
    """The nonce and the request hash.

    Raises:
        Refused: 422.
    """
    nonce = text(body, "nonce", broker_problem, required=True)
    if not NONCE(nonce):
        raise broker_problem("nonce", "8 to 200 visible ASCII characters")
    bound = text(body, "request_hash", broker_problem, required=True)
    if not HASH(bound):
        raise broker_problem("request_hash", "16 to 200 characters of a hash")
    return nonce, bound


def replayed(d: Draft, route: str, merchant: Merchant, nonce: str, body: Json) -> Reply | None:
    """The first answer, if this very call was made before.

    Raises:
        Refused: 409, if the nonce was used for anything else, or a knob says so.
    """
    if d.is_set("nonce", "duplicate", (route,)):
        raise broker_error(409, "nonce_reused", "this nonce was used before")
    known = d.nonces.get((merchant.id, nonce))
    if known is None:
        return None
    if known.route != route or known.fingerprint != fingerprint(body):
        raise broker_error(409, "nonce_reused", "this nonce was used before, for something else")
    return Reply(
        status=known.status if known.status != 201 else 200,
        headers=(("content-type", "application/json"), ("cache-control", "no-store")),
        body=known.body,
    )


def remember(d: Draft, route: str, merchant: Merchant, nonce: str, body: Json, reply: Reply) -> Reply:
    """Keep an answer for whoever repeats the call; the knob ``nonce=race`` lets another one have won."""
    d.nonces[merchant.id, nonce] = Nonce(
        route=route, fingerprint=fingerprint(body), status=reply.status, body=reply.body
    )
    if d.is_set("nonce", "race", (route,)):
        return broker_error(409, "nonce_reused", "a call with this nonce is under way").reply
    return reply


# --- B1, B2, B3 -----------------------------------------------------------------------------------------


def create_charge(d: Draft, call: Call) -> Reply:
    """B1: make a payment request under the merchant's key, and a charge over it."""
    body = read_json(call)
    if "saved_method_id" in body:
        from flovia.sandbox.saved import charge_as_of_old  # saved methods build on this module

        return charge_as_of_old(d, body)
    merchant = broker_merchant(d, body.get("api_key"), creates=True)
    amount, currency = amount_and_currency(body)
    nonce, bound = binding(body)
    salt = text(body, "webhook_salt", broker_problem)
    description = text(body, "description", broker_problem)
    if (first := replayed(d, "B1", merchant, nonce, body)) is not None:
        return first
    charge_id, request_id = d.new_id("mpp_ch"), d.new_uuid()
    expires = d.after(d.limit("charge_ttl"))
    d.requests[request_id] = PaymentRequest(
        id=request_id,
        merchant=merchant.id,
        amount=amount,
        currency=currency,
        reference=charge_id,
        charge=charge_id,
        purpose=description,
        methods=(CURRENCIES[currency].rail,),
        metadata=(("source", "mpp"),),
        qr=True,
        expires_at=expires,
        created_at=d.now,
        updated_at=d.now,
    )
    charge = d.charges[charge_id] = Charge(
        id=charge_id,
        merchant=merchant.id,
        request=request_id,
        amount=amount,
        currency=currency,
        nonce=nonce,
        request_hash=bound,
        salt=salt or merchant.salt,
        expires_at=expires,
    )
    d.at(expires, "expire", charge_id)
    plan_payer(d, "B1", d.requests[request_id])
    reply = json_reply(
        201,
        {
            "challenge_id": charge_id,
            "checkout_url": checkout_url(d, request_id),
            "polling_url": f"{d.origin('broker')}/v1/charges/{charge_id}",
            "expires_at": iso(charge.expires_at),
            "status": "pending",
        },
    )
    return remember(d, "B1", merchant, nonce, body, reply)


def charge_of(d: Draft, charge_id: str) -> Charge:
    """A charge by its id.

    Raises:
        Refused: 404.
    """
    found = d.charges.get(charge_id)
    if found is None:
        raise broker_error(404, "not_found", "no such charge", _OPEN)
    return found


def read_charge(d: Draft, call: Call, charge_id: str) -> Reply:
    """B2: what an agent polls, without a key, from anywhere."""
    charge = charge_of(d, charge_id)
    known = {"expired": "expired", "expired_paid": "expired", "pending": "pending", "core_paid": "pending"}
    status = known.get(charge.state, "paid")
    if status == "paid" and d.fault("broker_status_stuck", ("B2",), (charge.id,)) is not None:
        status = "pending"
    body: Json = {
        "challenge_id": charge.id,
        "status": status,
        "amount": write_amount(paid_amount(d, charge), charge.currency),
        "currency": charge.currency,
        "expires_at": iso(charge.expires_at),
    }
    if status == "paid" and charge.paid_at is not None:
        body["paid_at"] = iso(charge.paid_at)
    return json_reply(200, body, _OPEN)


def paid_amount(d: Draft, charge: Charge) -> int:
    """What was paid, which a payer may have got wrong; before that, what is asked."""
    return d.payments[charge.payment].amount if charge.payment is not None else charge.amount


def verify_charge(d: Draft, call: Call, charge_id: str) -> Reply:
    """B3: the receipt of a paid charge, for the request it was made for."""
    body = read_json(call)
    merchant = broker_merchant(d, body.get("api_key"))
    charge = d.charges.get(charge_id)
    if charge is None or charge.merchant != merchant.id:
        raise broker_error(404, "not_found", "no such charge")
    ids = (charge.id,)
    bound = text(body, "request_hash", broker_problem, required=True)
    if not same(bound, charge.request_hash) or d.is_set("verify", "hash_mismatch", ("B3",), ids):
        raise broker_error(422, "request_hash_mismatch", "this charge was made for another request")
    nonce = text(body, "nonce", broker_problem)
    if nonce and not same(nonce, charge.nonce):
        raise broker_error(422, "nonce_mismatch", "this charge was made with another nonce")
    if charge.state in ("expired", "expired_paid"):
        raise broker_error(410, "expired", "this charge has expired")
    stuck = d.is_set("broker_status_stuck", "verify", ("B3",), ids)
    if stuck or d.is_set("verify", "pending", ("B3",), ids):
        return broker_error(402, "not_paid", "this charge has not been paid").reply
    charge = machine.learn(d, charge)  # by asking the core API with the key that came along
    if charge.state == "pending":
        raise broker_error(402, "not_paid", "this charge has not been paid")
    if charge.state == "refunded" and charge.receipt is None:
        raise broker_error(410, "refunded", "this charge has been refunded")
    if charge.receipt is not None and d.is_set("verify", "single_use", ("B3",), ids):
        return broker_error(409, "already_verified", "the receipt of this charge was handed out before").reply
    if charge.state != "refunded":
        charge = machine.move_charge(d, charge, "verify")
    if charge.receipt is None:
        receipt = sign(d.signing_key, RECEIPT, receipt_claims(d, charge))
        charge = d.charges[charge.id] = attrs.evolve(charge, receipt=receipt, verified_at=d.now)
    return json_reply(200, {"receipt_jws": as_told(d, "B3", charge.id, charge.receipt or "")})


# --- B8 -----------------------------------------------------------------------------------------------------


def receive_webhook(d: Draft, call: Call) -> Reply:
    """B8: hear an event of HitPay's. 401 for a bad signature, 400 for what is no event, else 200."""
    given = (call.header("hitpay-signature") or "").removeprefix("sha256=").lower()
    salts = {charge.salt for charge in d.charges.values()} | {saved.salt for saved in d.saved.values()}
    known = {salt for salt in salts if given.isascii() and same(given, event_signature(call.body, salt))}
    if not known:
        raise _bad_signature()
    try:
        event = members(json.loads(call.body))
    except (ValueError, RecursionError):
        event = None
    if event is None:
        raise broker_error(400, "bad_request", "the event is one JSON object")
    return json_reply(200, {"received": True, "moved": _hear(d, event, known)})


def _inner(event: Json, name: str) -> Json:
    found = members(event.get(name))
    return event if found is None else found


def _hear(d: Draft, event: Json, salts: set[str]) -> bool:
    """Move what the event is about, forward only; the truth comes from the core API, not from the event.

    Raises:
        Refused: 401, if it is about something whose salt is another.
    """
    charge = d.charges.get(str(_inner(event, "payment_request").get("reference_number", "")))
    recurring = d.recurring.get(str(_inner(event, "recurring_billing").get("id", "")))
    saved = d.saved.get(recurring.saved or "") if recurring is not None else None
    about = charge or saved
    if about is not None and about.salt not in salts:
        raise _bad_signature()
    if charge is not None:
        return machine.learn(d, charge).state != charge.state
    return saved is not None and follow(d, saved).state != saved.state


def _bad_signature() -> Refused:
    return broker_error(401, "bad_signature", "not signed with the salt that the broker was given")


def follow(d: Draft, saved: SavedMethod) -> SavedMethod:
    """Bring a saved method up to what the core API says of its recurring billing."""
    status = d.recurring[saved.recurring].status
    if saved.state == "pending" and status == "active":
        saved = machine.move_saved(d, saved, "approve")
        grant = sign(d.signing_key, GRANT, grant_claims(d, saved))
        saved = d.saved[saved.id] = attrs.evolve(saved, grant=grant)
    elif saved.state in ("pending", "active") and status == "canceled":
        saved = machine.move_saved(d, saved, "detach")
    return saved


# --- B9 -------------------------------------------------------------------------------------------------------


def read_keys(d: Draft, call: Call) -> Reply:
    """B9: the public keys of receipts and grants."""
    fault = d.fault("jwks", ("B9",))
    if fault is not None and fault.value == "down":
        return broker_error(503, "unavailable", "the key set cannot be had", ("retry-after", "1")).reply
    age = ("cache-control", f"public, max-age={round(d.limit('jwks_max_age'))}")
    return json_reply(200, {"keys": key_set(d, fault)}, age, _OPEN)
