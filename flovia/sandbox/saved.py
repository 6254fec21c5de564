"""The broker's saved methods (B4 to B7): a payer allows silent charges once, within a signed grant.

Members beyond those HitPay shows, and the error codes, are our choice.
"""

from datetime import UTC, datetime

import attrs

from flovia.sandbox import machine
from flovia.sandbox.broker import amount_and_currency, binding, follow, remember, replayed
from flovia.sandbox.fields import broker_merchant, broker_problem, read_json, text
from flovia.sandbox.hashing import same
from flovia.sandbox.money import CURRENCIES, LEAST, MOST, WALLET_LABELS, read_amount, write_amount
from flovia.sandbox.payer import plan_approval
from flovia.sandbox.receipts import as_told, silent_claims
from flovia.sandbox.records import Merchant, SavedMethod
from flovia.sandbox.recurring import setup_url, start
from flovia.sandbox.signing import RECEIPT, sign
from flovia.sandbox.state import Draft, iso
from flovia.sandbox.wire import Call, Json, Reply, broker_error, json_reply

_OPEN = ("access-control-allow-origin", "*")
_OLD_STATUS = {"pending": "pending", "active": "bound"}


def is_old(d: Draft, route: str) -> bool:
    """Whether the broker speaks its first contract, of May 2026."""
    return d.is_set("contract", "2026-05-old", (route,))


def options(d: Draft, call: Call) -> Reply:
    """B4: the wallets that can be saved in a currency."""
    broker_merchant(d, call.header("x-api-key"))
    currency = call.parameter("currency") or ""
    known = CURRENCIES.get(currency)
    if known is None:
        raise broker_problem("currency", f"one of {', '.join(CURRENCIES)}, in lower case")
    found = [{"payment_method": wallet, "label": WALLET_LABELS[wallet]} for wallet in known.wallets]
    return json_reply(200, {"currency": currency, "options": found})


# --- B5 -------------------------------------------------------------------------------------------------


def create(d: Draft, call: Call) -> Reply:
    """B5: begin to save a wallet; the payer approves at ``setup_checkout_url``."""
    body = read_json(call)
    merchant = broker_merchant(d, body.get("api_key"), creates=True)
    currency = text(body, "currency", broker_problem, required=True)
    wallets = CURRENCIES[currency].wallets if currency in CURRENCIES else ()
    if not wallets:
        raise broker_problem("currency", "no wallet can be saved in it")
    wallet = text(body, "payment_method", broker_problem, required=True)
    if wallet not in wallets:
        raise broker_problem("payment_method", f"one of {', '.join(wallets)}")
    email = text(body, "customer_email", broker_problem, required=True)
    if "@" not in email:
        raise broker_problem("customer_email", "an e-mail address")
    most = _cap(body, "max_amount_per_charge", currency)
    if most is None:
        raise broker_problem("max_amount_per_charge", "decimal text such as 10.00")
    total, uses, until = _cap(body, "total_amount_cap", currency), _uses(body), _until(d, body)
    nonce, _ = binding(body)
    salt = text(body, "webhook_salt", broker_problem)
    if (first := replayed(d, "B5", merchant, nonce, body)) is not None:
        return first
    saved_id = d.new_id("mpp_spm")
    recurring = start(
        d, merchant.id, amount=most, currency=currency, wallet=wallet, email=email, name="", reference=saved_id
    )
    d.recurring[recurring.id] = attrs.evolve(recurring, saved=saved_id)
    d.saved[saved_id] = SavedMethod(
        id=saved_id,
        merchant=merchant.id,
        recurring=recurring.id,
        wallet=wallet,
        currency=currency,
        max_per_charge=most,
        total_cap=total,
        max_uses=uses,
        valid_until=until,
        salt=salt or merchant.salt,
        setup_expires_at=recurring.expires_at,
    )
    d.at(recurring.expires_at, "expire_setup", saved_id)
    d.at(until, "expire_grant", saved_id)
    plan_approval(d, "B5", recurring)
    reply = json_reply(
        201,
        {
            "saved_method_id": saved_id,
            "setup_checkout_url": setup_url(d, saved_id),
            "expires_at": iso(recurring.expires_at),
            "polling_url": f"{d.origin('broker')}/v1/saved-payment-methods/{saved_id}",
            "status": "pending",
        },
    )
    return remember(d, "B5", merchant, nonce, body, reply)


def _cap(body: Json, name: str, currency: str) -> int | None:
    found = body.get(name)
    if found is None:
        return None
    amount = read_amount(found, currency) if isinstance(found, str) else None
    if amount is None or not LEAST <= amount <= MOST:
        raise broker_problem(name, "decimal text such as 10.00, 0.30 or more")
    return amount


def _uses(body: Json) -> int | None:
    found = body.get("max_uses")
    if found is not None and (not isinstance(found, int) or isinstance(found, bool) or not 0 < found < 10**9):
        raise broker_problem("max_uses", "a number of charges, 1 or more")
    return found


def _until(d: Draft, body: Json) -> int:
    found = body.get("valid_until")
    if found is None:
        return d.after(d.limit("grant_ttl"))
    try:
        when = datetime.strptime(found, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC) if isinstance(found, str) else None
    except ValueError:
        when = None
    if when is None or (until := round(when.timestamp() * 1000)) <= d.now:
        raise broker_problem("valid_until", "a time to come, such as 2030-01-31T00:00:00Z")
    return until


# --- B6 -------------------------------------------------------------------------------------------------


def _saved_of(d: Draft, merchant: Merchant | None, saved_id: str) -> SavedMethod:
    found = d.saved.get(saved_id)
    if found is None or (merchant is not None and found.merchant != merchant.id):
        raise broker_error(404, "not_found", "no such saved payment method", _OPEN)
    return found


def read(d: Draft, call: Call, saved_id: str) -> Reply:
    """B6: its status, and the grant while it is active. With a key the broker asks the core API first."""
    key = call.header("x-api-key")
    merchant = broker_merchant(d, key) if key is not None else None
    saved = _saved_of(d, merchant, saved_id)
    if merchant is not None:
        saved = follow(d, saved)
    status: str = saved.state
    if is_old(d, "B6"):
        status = _OLD_STATUS.get(saved.state, "failed")
    body: Json = {
        "saved_method_id": saved.id,
        "status": status,
        "payment_method": saved.wallet,
        "currency": saved.currency,
        "max_amount_per_charge": write_amount(saved.max_per_charge, saved.currency),
        "expires_at": iso(saved.valid_until if saved.grant else saved.setup_expires_at),
    }
    if saved.state == "active" and saved.grant is not None and status == "active":
        body["saved_method_jws"] = as_told(d, "B6", saved.id, saved.grant)
    return json_reply(200, body, _OPEN)


# --- B7 -------------------------------------------------------------------------------------------------


def charge(d: Draft, call: Call, saved_id: str) -> Reply:
    """B7: charge silently, within the grant; every limit is checked here, whatever the grant says."""
    if is_old(d, "B7"):
        raise broker_error(404, "not_found", "no such endpoint")
    body = read_json(call)
    merchant = broker_merchant(d, body.get("api_key"))
    return silent(d, "B7", merchant, _saved_of(d, merchant, saved_id), body)


def charge_as_of_old(d: Draft, body: Json) -> Reply:
    """``POST /v1/charges`` with ``saved_method_id``: how the first contract charged, and no other does."""
    if not is_old(d, "B1"):
        raise broker_error(422, "invalid_saved_method_id", "charges of a saved method have an endpoint of their own")
    merchant = broker_merchant(d, body.get("api_key"))
    saved = _saved_of(d, merchant, text(body, "saved_method_id", broker_problem, required=True))
    return silent(d, "B1", merchant, saved, body)


def silent(d: Draft, route: str, merchant: Merchant, saved: SavedMethod, body: Json) -> Reply:
    """One silent charge, or why not. A repeated call gets its first answer, also after the method is gone."""
    amount, currency = amount_and_currency(body)
    nonce, bound = binding(body)
    if (first := replayed(d, route, merchant, nonce, body)) is not None:
        return first
    saved = follow(d, saved)
    if saved.state != "active":
        return broker_error(410, "saved_method_inactive", f"this saved payment method is {saved.state}").reply
    given = text(body, "saved_method_jws", broker_problem, most=8192)
    if given and not same(given, saved.grant or ""):
        raise broker_problem("saved_method_jws", "not the grant of this saved payment method")
    _check_scope(saved, amount, currency)
    declined = d.is_set("payer", "decline", (route,), (saved.id,))
    payment = machine.take(d, d.recurring[saved.recurring], amount, currency, declined=declined)
    charge_id = d.new_id("mpp_ch")
    answer: Json = {
        "charge_id": charge_id,
        "saved_method_id": saved.id,
        "amount": write_amount(amount, currency),
        "currency": currency,
        "status": "failed" if declined else "paid",
    }
    if declined:
        answer |= {"error": "charge_failed", "message": "the wallet declined"}
        return remember(d, route, merchant, nonce, body, json_reply(402, answer))
    saved = machine.move_saved(d, saved, "charge")
    d.saved[saved.id] = attrs.evolve(saved, spent=saved.spent + amount, uses=saved.uses + 1)
    receipt = sign(d.signing_key, RECEIPT, silent_claims(d, charge_id, saved, payment, bound, nonce))
    answer |= {"paid_at": iso(payment.at), "receipt_jws": receipt, "payment_id": payment.id}
    if route == "B1":
        answer["challenge_id"] = charge_id
    reply = json_reply(200, answer)
    kept = remember(d, route, merchant, nonce, body, reply)
    if kept is not reply:
        return kept
    return json_reply(200, {**answer, "receipt_jws": as_told(d, route, saved.id, receipt)})


def _check_scope(saved: SavedMethod, amount: int, currency: str) -> None:
    """Refuse what the payer did not allow; no money moves.

    Raises:
        Refused: 403.
    """
    breach = ""
    if currency != saved.currency:
        breach = f"the currency of this grant is {saved.currency}"
    elif amount > saved.max_per_charge:
        breach = "more than one charge may take"
    elif saved.total_cap is not None and saved.spent + amount > saved.total_cap:
        breach = "more than is left of the total"
    elif saved.max_uses is not None and saved.uses >= saved.max_uses:
        breach = "no charge is left"
    if breach:
        raise broker_error(403, "scope_exceeded", breach)
