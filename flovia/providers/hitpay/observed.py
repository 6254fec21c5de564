"""How HitPay's own SDK writes challenges, credentials and receipts, for an Observer in front of it.

Nothing here is verified: the SDK behind the observer is the gate. It is what HitPay's samples print, and where those
leave something out, the forms this provider takes itself.
"""

import re
from collections.abc import Mapping
from typing import Final

from flovia.core.encoding import JsonObject, decode_param
from flovia.core.errors import FloviaError, ParseError
from flovia.core.money import exponent
from flovia.core.observed import NOTHING, Seen
from flovia.providers.hitpay.amounts import from_hitpay
from flovia.providers.hitpay.native import peek

_IN_URL: Final = re.compile(r"/(mpp_[a-z]+_[A-Za-z0-9_-]{1,120})(?:[/?#]|$)").search
_CHARGE: Final = re.compile(r"mpp_ch_[A-Za-z0-9_-]{1,120}").fullmatch
_IDS: Final = ("challenge_id", "challengeId", "charge_id", "chargeId")
_PAYMENTS: Final = ("reference", "charge_id", "chargeId", "payment_id", "paymentId")


def challenge(params: Mapping[str, str]) -> Seen:
    """``Payment method="hitpay", request="…"``: the charge is at the end of the polling address."""
    try:
        asked = decode_param(params.get("request", ""))
    except ParseError:
        return NOTHING
    details = asked.get("methodDetails")
    polling = details.get("polling_url") if isinstance(details, dict) else None
    found = _IN_URL(polling) if isinstance(polling, str) else None
    ident = found[1] if found else _first(asked, _IDS)
    return _seen(asked, ident, None)


def credential(token: str) -> Seen:
    """A charge's id, alone or in base64url JSON; a grant names no charge."""
    if _CHARGE(token):
        return Seen(challenge_id=token)
    try:
        return Seen(challenge_id=_first(decode_param(token), _IDS))
    except ParseError:
        return NOTHING


def receipt(value: str) -> Seen:
    """A compact JWS: the charge it names joins it to what was asked for."""
    claims = peek(value)
    return _seen(claims, _first(claims, _IDS), _first(claims, _PAYMENTS))


def _seen(members: JsonObject, challenge_id: str | None, payment_id: str | None) -> Seen:
    currency, amount = members.get("currency"), None
    try:
        code = currency.lower() if isinstance(currency, str) else ""
        exponent(code)
        amount = from_hitpay(members.get("amount"), code)
    except FloviaError:
        code = ""
    return Seen(challenge_id=challenge_id, payment_id=payment_id, amount=amount, currency=code or None)


def _first(members: JsonObject, names: tuple[str, ...]) -> str | None:
    for name in names:
        if isinstance(found := members.get(name), str) and 0 < len(found) <= 255 and found.isprintable():
            return found
    return None
