"""HitPay's own form of a 402, which is no challenge of the protocol: read, so that it can be explained.

HitPay prints it as ``{"error": "payment_required", "challenge": {…}}`` with decimal amounts, and in its header as
method and request alone (HitPay's MPP samples 01 and 02). It lacks what a credential has to echo, and HitPay has not
published the credential of its own client: so it can be shown, and not paid, by anybody else's.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Final

from flovia.core.encoding import JsonObject, JsonValue, decode_param, loads_object
from flovia.core.errors import ParseError, WiringError
from flovia.core.fields import payment_challenges, printable
from flovia.core.money import to_base_units
from flovia.words import money

WHAT_TO_DO: Final = (
    "HitPay's own form of a 402: it has no id, realm and intent to echo, and HitPay has not published what pays it."
    " Only HitPay's own client can. Ask the server's operator for a Payment challenge; flovia routes send both"
)

_HIDDEN: Final = 300  # a stranger's text is not repeated at any length


def from_body(text: str) -> dict[str, JsonValue] | None:
    """What HitPay's body says; None if it is none, or has problem details beside it as flovia's own has."""
    try:
        found = loads_object(text.strip())
    except ParseError:
        return None
    challenge = found.get("challenge")
    if found.get("error") != "payment_required" or not isinstance(challenge, dict) or "type" in found:
        return None
    mode = found.get("mode")
    return {**({} if mode is None else {"mode": mode}), **_shown(challenge)}


def from_header(values: Sequence[str]) -> Iterator[dict[str, JsonValue]]:
    """What each of HitPay's own header challenges says, in the values of WWW-Authenticate."""
    for params in payment_challenges(values):
        if isinstance(params, ParseError) or "id" in params:
            continue
        if params.get("method") in ("hitpay", "hitpay-save"):
            try:
                yield _shown(decode_param(params.get("request", "")))
            except ParseError:
                continue


def price_of(shown: dict[str, JsonValue]) -> str:
    """What it asks for, for a sentence."""
    found = shown.get("price") or f"{shown.get('amount')} {shown.get('currency')}"
    return printable(str(found)[:_HIDDEN])


def _shown(challenge: JsonObject) -> dict[str, JsonValue]:
    amount, currency = challenge.get("amount"), challenge.get("currency")
    shown: dict[str, JsonValue] = {"amount": amount, "currency": currency}
    if isinstance(amount, str) and isinstance(currency, str):
        with suppress(WiringError):  # no decimal amount of a currency: then there is no price to tell
            shown["price"] = money(to_base_units(amount, currency), currency.lower())
    if "description" in challenge:
        shown["description"] = challenge["description"]
    details = challenge.get("methodDetails")
    if isinstance(details, dict):
        shown |= {name: details[name] for name in ("checkout_url", "expires_at", "polling_url") if name in details}
    return {**shown, "note": WHAT_TO_DO}
