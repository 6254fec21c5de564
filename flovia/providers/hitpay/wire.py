"""What agents see: the challenge's request, the body of the 402 in each profile, the receipt in each form.

The header is always a conforming challenge with all its members: other clients read it, and a bare HitPay challenge
makes some of them refuse the good ones beside it. HitPay's own body stands beside the problem's members (``dual``), in
their place (``hitpay``) or not at all (``core``).
"""

from collections.abc import Mapping
from typing import Final, Literal

import attrs

from flovia.core.challenge import format_expires
from flovia.core.encoding import JsonObject, JsonValue
from flovia.core.errors import ParseError, WiringError
from flovia.core.http import HttpRequest
from flovia.core.money import Price, exponent
from flovia.core.provider import Look, Presented, charge_request
from flovia.providers.hitpay.amounts import from_hitpay, to_hitpay
from flovia.providers.hitpay.broker import Created
from flovia.providers.hitpay.config import HitPayConfig
from flovia.signed import ReceiptClaims

Form = Literal["core", "hitpay", "dual"]
SAVED: Final = "saved-method"
MPP_RECEIPT: Final = "mpp-receipt"


@attrs.frozen(kw_only=True)
class Asked:
    """What a challenge of ours asked for, read back from under its MAC. ``mode`` is ``saved-method`` or "".

    ``ident``: the charge (``mpp_ch_…``) or the setup (``mpp_spm_…``); "" if there was none to be made.
    """

    ident: str
    mode: str
    price: Price
    description: str | None
    checkout_url: str = attrs.field(repr=False)
    polling_url: str = attrs.field(repr=False)
    wallet: str = ""


def form_of(request: HttpRequest, config: HitPayConfig) -> Form:
    """The form of the 402 for this request: ``auto`` gives ``core`` to clients that say what they accept."""
    if config.profile == "auto":
        return "core" if request.headers.get("accept-payment") is not None else "dual"
    return config.profile


def challenge_request(
    price: Price,
    created: Created | None,
    *,
    description: str | None,
    form: Form = "dual",
    wallet: str | None = None,
    limits: Mapping[str, JsonValue] | None = None,
) -> JsonObject:
    """The challenge's ``request``: amounts in base units, and HitPay's decimal text beside it.

    ``created``: the charge, or with ``wallet`` the setup; None for a silent charge nobody has to be shown. ``limits``:
    what a setup asks to be allowed, so that the agent can show it to whoever approves.
    """
    details: dict[str, JsonValue] = {"amount_decimal": to_hitpay(price), "exponent": str(exponent(price.currency))}
    external_id = None
    if wallet is not None:
        details["mode"] = SAVED
        if wallet:
            details["payment_method"] = wallet
        details.update(limits or {})
    if created is not None:
        details["saved_method_id" if wallet is not None else "challenge_id"] = created.id
        details["checkout_url"] = created.checkout_url
        details["polling_url"] = created.polling_url
        external_id = created.id
        if form == "hitpay":
            # Only where HitPay's own client is the reader: the protocol has the expiry in one place.
            details["expires_at"] = format_expires(int(created.expires_at))
    return charge_request(price, description=description, external_id=external_id, method_details=details)


def read_asked(charge: JsonObject) -> Asked | None:
    """What a challenge of ours says; None if it is none of ours (it is authentic, so an older version's)."""
    details = charge.get("methodDetails")
    currency, description = charge.get("currency"), charge.get("description")
    if not isinstance(details, dict) or not isinstance(currency, str):
        return None
    try:
        price = Price(amount=amount_asked(charge), currency=currency)
    except (ParseError, WiringError):
        return None
    mode = details.get("mode") or ""
    texts = {
        name: value if isinstance(value := details.get(member) or "", str) else ""
        for name, member in (
            ("ident", "saved_method_id" if mode == SAVED else "challenge_id"),
            ("checkout_url", "checkout_url"),
            ("polling_url", "polling_url"),
            ("wallet", "payment_method"),
        )
    }
    return Asked(
        mode=SAVED if mode == SAVED else "",
        price=price,
        description=description if isinstance(description, str) else None,
        **texts,
    )


def amount_asked(charge: JsonObject) -> int:
    """The amount of a challenge of ours, base units: from HitPay's decimal text, which is there in every form.

    Raises:
        ParseError: there is none.
    """
    details, currency = charge.get("methodDetails"), charge.get("currency")
    if not isinstance(details, dict) or not isinstance(currency, str):
        raise ParseError("a challenge without its method's details")
    return from_hitpay(details.get("amount_decimal"), currency)


def look_of(asked: Asked, expires: str, form: Form) -> Look | None:
    """What the 402 says beside the challenge; the same whenever the same challenge is presented."""
    if form == "core":
        return None
    shown: dict[str, JsonValue] = {
        "amount": to_hitpay(asked.price),
        "currency": asked.price.currency,
        "methodDetails": {
            "checkout_url": asked.checkout_url,
            "expires_at": expires,
            "polling_url": asked.polling_url,
        },
    }
    if asked.description is not None:
        shown["description"] = asked.description
    body: dict[str, JsonValue] = {"error": "payment_required", "challenge": shown}
    if asked.mode:
        body["mode"] = "saved-method-setup"
        body["method"] = asked.wallet
    return Look(body=body, whole_body=form == "hitpay", content_type="application/json")


def look_again(presented: Presented, asked: Asked, config: HitPayConfig) -> Look | None:
    """The same as :func:`look_of`, for a challenge that comes back and is still to be paid."""
    return look_of(asked, presented.challenge.expires or "", form_of(presented.request, config))


def receipt_parts(
    claims: ReceiptClaims, jws: str, *, native: bool, external_id: str | None
) -> tuple[JsonObject, tuple[tuple[str, str], ...], str | None]:
    """Members of the protocol's receipt, further fields, and the receipt that replaces it for HitPay's own client."""
    inner: dict[str, JsonValue] = {"receipt_jws": jws}
    if claims.payment_id is not None:
        inner["payment_id"] = claims.payment_id
    extra: dict[str, JsonValue] = {"extra": inner}
    if external_id is not None:
        extra["externalId"] = external_id
    return extra, ((MPP_RECEIPT, jws),), jws if native else None
