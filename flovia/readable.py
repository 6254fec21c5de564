"""Wire values in a form that can be shown: decoded, with everything secret left out.

A credential's payload is the proof of a payment and a receipt's further members may hold a signed one, so
of both only the names and lengths are shown.
"""

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Final

from flovia.core.challenge import Challenge, parse_expires
from flovia.core.credential import Credential
from flovia.core.encoding import JsonObject, JsonValue, b64url_decode, decode_param, loads_object
from flovia.core.errors import ParseError, WiringError
from flovia.core.money import Price, check_amount
from flovia.core.receipt import Receipt
from flovia.words import counted


def readable_challenge(challenge: Challenge, now: float) -> dict[str, JsonValue]:
    """What a challenge says. ``now``: Unix seconds, to say how long it is good for.

    Raises:
        ParseError: of an echo only: its request, opaque or expiry cannot be read.
    """
    request = challenge.request_json
    shown: dict[str, JsonValue] = {
        "id": challenge.id,
        "realm": challenge.realm,
        "method": challenge.method,
        "intent": challenge.intent,
        "request": request,
    }
    if (price := readable_price(request)) is not None:
        shown["price"] = price
    if challenge.expires is not None:
        shown["expires"] = challenge.expires
        left = parse_expires(challenge.expires) - now
        shown["valid"] = f"for {ceil(left)} s" if left > 0 else f"no, expired {int(-left)} s ago"
    if challenge.digest is not None:
        shown["digest"] = challenge.digest
    if challenge.opaque is not None:
        shown["opaque"] = decode_param(challenge.opaque)
    if challenge.description is not None:
        shown["description"] = challenge.description
    if challenge.header is not None:
        shown["header"] = challenge.header
    return shown


def readable_price(request: JsonObject) -> str | None:
    """``1.00 SGD``, if the request's amount is in base units of a currency we know."""
    currency = request.get("currency")
    try:
        return str(Price(amount=check_amount(request.get("amount")), currency=str(currency)))
    except (ParseError, WiringError):
        return None


def readable_credential(credential: Credential) -> dict[str, JsonValue]:
    """What a credential answers, and who says so; never the proof."""
    echo = credential.challenge
    shown: dict[str, JsonValue] = {
        "challenge": echo.id,
        "realm": echo.realm,
        "method": echo.method,
        "payload": hidden(credential.payload),
    }
    if credential.source is not None:
        shown["source"] = credential.source
    return shown


def readable_receipt(receipt: Receipt) -> dict[str, JsonValue]:
    """What a receipt confirms."""
    shown: dict[str, JsonValue] = {
        "reference": receipt.reference,
        "method": receipt.method,
        "status": receipt.status,
        "timestamp": receipt.timestamp,
    }
    if receipt.extra:
        shown["extra"] = hidden(receipt.extra)
    return shown


_CLAIMS: Final = frozenset(
    {"iss", "aud", "iat", "nbf", "exp", "status", "method", "amount", "currency", "challenge_id", "charge_id"}
    | {"payment_id", "payment_request_id", "paid_at", "payment_method", "reference"}
    | {"max_amount_per_charge", "total_amount_cap", "max_uses", "usage_count"}
)
"""Claims that say what was paid, or may be. A saved method's id is none: who knows it can fetch the grant."""


def readable_signed(token: str) -> dict[str, JsonValue]:
    """What a compact JWS claims; only its length stands for the signature, without which nobody takes it.

    Raises:
        ParseError: not a JWS with JSON inside.
    """
    parts = token.split(".")
    if len(parts) != 3:
        raise ParseError("a signed token has three parts with dots between them")
    header, claims = (loads_object(b64url_decode(part)) for part in parts[:2])
    return {
        "verified": "no: this command checks no signature, anybody can have written it",
        "typ": header.get("typ"),
        "alg": header.get("alg"),
        "kid": header.get("kid"),
        "claims": {name: value if name in _CLAIMS else hidden(value) for name, value in claims.items()},
        "signature": hidden(parts[2]),
    }


def hidden(value: JsonValue) -> JsonValue:
    """The shape of a value without what it says."""
    if isinstance(value, str):
        return f"({counted(len(value), 'character')}, not shown)"
    if isinstance(value, Mapping):
        return {name: hidden(item) for name, item in value.items()}
    if isinstance(value, Sequence):
        return f"({counted(len(value), 'item')}, not shown)"
    return "(not shown)"
