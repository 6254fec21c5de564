"""How HitPay's own SDK writes challenges, credentials and receipts, for an Observer in front of it.

Nothing here is verified: the SDK behind the observer is the gate. It is what HitPay's samples print, and where those
leave something out, the forms this provider takes itself.
"""

import re
from collections.abc import Mapping
from typing import Final

import attrs

from flovia.core.encoding import JsonObject, decode_param
from flovia.core.errors import FloviaError, ParseError
from flovia.core.money import exponent
from flovia.core.observed import NOTHING, Seen
from flovia.providers.hitpay.amounts import from_hitpay
from flovia.providers.hitpay.names import DEFAULT_NAMES as DEFAULT_BROKER_NAMES
from flovia.providers.hitpay.names import BrokerNames
from flovia.providers.hitpay.native import peek
from flovia.signed import DEFAULT_NAMES, ClaimNames, camel

_IN_URL: Final = re.compile(r"/(mpp_[a-z]+_[A-Za-z0-9_-]{1,120})(?:[/?#]|$)").search
_CHARGE: Final = re.compile(r"mpp_ch_[A-Za-z0-9_-]{1,120}").fullmatch


@attrs.frozen(kw_only=True)
class HitPayReading:
    """Reads them, under the names that settings give to what HitPay has not published; in camelCase as well."""

    claims: ClaimNames = DEFAULT_NAMES
    names: BrokerNames = DEFAULT_BROKER_NAMES

    def challenge(self, params: Mapping[str, str]) -> Seen:
        """``Payment method="hitpay", request="…"``: the charge is at the end of the polling address."""
        try:
            asked = decode_param(params.get("request", ""))
        except ParseError:
            return NOTHING
        details = asked.get("methodDetails")
        polling = details.get("polling_url") if isinstance(details, dict) else None
        found = _IN_URL(polling) if isinstance(polling, str) else None
        ident = found[1] if found else _first(asked, self.names.native_charge)
        return _seen(asked, ident, None, "amount", "currency")

    def credential(self, token: str) -> Seen:
        """A charge's id, alone or in base64url JSON; a grant names no charge."""
        if _CHARGE(token):
            return Seen(challenge_id=token)
        try:
            return Seen(challenge_id=_first(decode_param(token), self.names.native_charge))
        except ParseError:
            return NOTHING

    def receipt(self, value: str) -> Seen:
        """A compact JWS: the charge it names joins it to what was asked for."""
        claims, names = peek(value), self.claims
        charge = _first(claims, (names.challenge_id, names.charge_id))
        payment = _first(claims, (names.reference, names.charge_id, names.payment_id))
        return _seen(claims, charge, payment, names.amount, names.currency)


DEFAULT_READING: Final = HitPayReading()


def _seen(
    members: JsonObject, challenge_id: str | None, payment_id: str | None, amount_name: str, currency_name: str
) -> Seen:
    currency, amount = members.get(currency_name), None
    try:
        code = currency.lower() if isinstance(currency, str) else ""
        exponent(code)
        amount = from_hitpay(members.get(amount_name), code)
    except FloviaError:
        code = ""
    return Seen(challenge_id=challenge_id, payment_id=payment_id, amount=amount, currency=code or None)


def _first(members: JsonObject, names: tuple[str, ...]) -> str | None:
    """The first usable text under one of the names, each as it is and in camelCase."""
    for spelled in (spelling for name in names for spelling in (name, camel(name))):
        if isinstance(found := members.get(spelled), str) and 0 < len(found) <= 255 and found.isprintable():
            return found
    return None
