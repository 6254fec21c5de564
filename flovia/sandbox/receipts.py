"""What receipts and grants claim, the key set, and the ways the knobs spoil them."""

import base64
import json
from typing import Final

import attrs

from flovia.sandbox.faults import Fault
from flovia.sandbox.money import write_amount
from flovia.sandbox.records import Charge, Payment, SavedMethod
from flovia.sandbox.signing import (
    GRANT,
    RECEIPT,
    HmacSigner,
    Key,
    KeyState,
    NoSigner,
    Signer,
    WrongSigner,
    compact,
    new_key,
)
from flovia.sandbox.state import Draft, iso
from flovia.sandbox.wire import Json

HUGE: Final = 2_000


def receipt_claims(d: Draft, charge: Charge) -> Json:
    """The claims of a receipt for a one-time charge. Names are our choice: HitPay publishes none.

    Neither an e-mail address nor a key nor a salt is among them: receipts travel to agents.
    """
    payment = d.payments[charge.payment or ""]
    return _claims(
        d,
        charge_id=charge.id,
        payment=payment,
        request=charge.request,
        request_hash=charge.request_hash,
        nonce=charge.nonce,
        paid_at=charge.paid_at if charge.paid_at is not None else payment.at,
    )


def silent_claims(
    d: Draft, charge_id: str, saved: SavedMethod, payment: Payment, request_hash: str, nonce: str
) -> Json:
    """The claims of a receipt for a silent charge of a saved method."""
    return {
        **_claims(
            d,
            charge_id=charge_id,
            payment=payment,
            request=None,
            request_hash=request_hash,
            nonce=nonce,
            paid_at=payment.at,
        ),
        "saved_method_id": saved.id,
    }


def _claims(
    d: Draft, *, charge_id: str, payment: Payment, request: str | None, request_hash: str, nonce: str, paid_at: int
) -> Json:
    return {
        "iss": d.origin("broker"),
        "sub": charge_id,
        "iat": d.now // 1000,
        "jti": d.new_id("rcpt"),
        "challenge_id": charge_id,
        "charge_id": charge_id,
        "payment_id": payment.id,
        **({} if request is None else {"payment_request_id": request}),
        "amount": write_amount(payment.amount, payment.currency),
        "currency": payment.currency,
        "method": "hitpay",
        "request_hash": request_hash,
        "nonce": nonce,
        "paid_at": iso(paid_at),
        "status": "paid",
        "reference": charge_id,
    }


def grant_claims(d: Draft, saved: SavedMethod) -> Json:
    """The claims of a grant: caps and an end, but no counter, which a signed token cannot carry."""
    claims: Json = {
        "iss": d.origin("broker"),
        "sub": saved.id,
        "aud": saved.merchant,
        "iat": d.now // 1000,
        "exp": saved.valid_until // 1000,
        "jti": d.new_id("grant"),
        "currency": saved.currency,
        "max_amount_per_charge": write_amount(saved.max_per_charge, saved.currency),
        "payment_method": saved.wallet,
    }
    if saved.total_cap is not None:
        claims["total_amount_cap"] = write_amount(saved.total_cap, saved.currency)
    if saved.max_uses is not None:
        claims["max_uses"] = saved.max_uses
    return claims


# --- spoilt on the way out ------------------------------------------------------------------------------


def as_told(d: Draft, route: str, about: str, token: str) -> str:
    """The token as the knob ``jws`` lets it leave. The true one stays on record, for a repeated call."""
    fault = d.fault("jws", (route,), (about,))
    if fault is None:
        return token
    head, claims = (_part(token, index) for index in (0, 1))
    key = next((found for found in d.keys if found.kid == head["kid"]), d.signing_key)
    typ = GRANT if head["typ"] == RECEIPT else RECEIPT
    match fault.value:
        case "wrong_kid":
            return compact({**head, "kid": "no-such-key"}, claims, Signer(key.secret))
        case "retired_kid":
            old = new_key(d.seed, 0)  # a key of before this sandbox's time: no key set has it
            return compact({**head, "kid": old.kid}, claims, Signer(old.secret))
        case "rotate":
            rotate(d)
            return compact({**head, "kid": d.signing_key.kid}, claims, Signer(d.signing_key.secret))
        case "alg_none":
            return compact({**head, "alg": "none"}, claims, NoSigner(key.secret))
        case "alg_hs256":
            return compact({**head, "alg": "HS256"}, claims, HmacSigner(key.secret))
        case "typ_swapped":
            return compact({**head, "typ": typ}, claims, Signer(key.secret))
        case "bad_signature":
            return compact(head, claims, WrongSigner(key.secret))
        case _:
            return compact(head, _wrong_claims(d, fault, claims), Signer(key.secret))


def _wrong_claims(d: Draft, fault: Fault, claims: Json) -> Json:
    amount = "max_amount_per_charge" if "max_amount_per_charge" in claims else "amount"
    if fault.value == "clock_skew":
        ahead = round(fault.option("seconds", 3600))
        issued = claims["iat"]
        return {**claims, "iat": (issued if isinstance(issued, int) else 0) + ahead}
    changed: dict[str, Json] = {
        "wrong_iss": {"iss": "http://127.0.0.1:1"},
        "wrong_amount": {amount: "1" + str(claims.get(amount, ""))},
        "wrong_currency": {"currency": "thb" if claims.get("currency") != "thb" else "sgd"},
        "wrong_hash": {"request_hash": "0" * 64},
        "wrong_charge": dict.fromkeys(("sub", "challenge_id", "charge_id", "reference"), d.new_id("mpp_ch")),
    }
    return {**claims, **changed[fault.value]}


def _part(token: str, index: int) -> Json:
    text = token.split(".")[index]
    found: Json = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    return found


# --- keys -------------------------------------------------------------------------------------------------


def rotate(d: Draft) -> Key:
    """A new key signs from now on; the one before stays published."""
    retired = tuple(attrs.evolve(key, state="retired") if key.state == "current" else key for key in d.keys)
    fresh = new_key(d.seed, len(d.keys) + 1)
    d.keys = (*retired, fresh)
    return fresh


def withdraw(d: Draft, kid: str, *, compromised: bool) -> None:
    """A key is no longer published. If it was the current one, a new one takes over."""
    if any(key.kid == kid and key.state == "current" for key in d.keys):
        rotate(d)
    state: KeyState = "compromised" if compromised else "withdrawn"
    d.keys = tuple(attrs.evolve(key, state=state) if key.kid == kid else key for key in d.keys)


def key_set(d: Draft, fault: Fault | None) -> list[Json]:
    """The published keys, newest first, or what the knob ``jwks`` makes of them."""
    published = [key for key in reversed(d.keys) if key.published]
    value = fault.value if fault else ""
    if value == "empty":
        return []
    if value == "stale":  # a copy from before the last rotation
        published = published[1:] or published
    keys = [key.jwk() for key in published]
    if value == "duplicate_kid":
        other = new_key(d.seed, 0)
        keys = [{**other.jwk(), "kid": published[0].kid}, *keys]
    if value == "huge" and fault is not None:
        keys += [new_key(d.seed, -number).jwk() for number in range(1, round(fault.option("keys", HUGE)) + 1)]
    return keys
