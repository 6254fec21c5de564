"""Credentials as HitPay's own SDK may send them: not an echoed challenge, but a token that is recognised by its form.

The form of HitPay's one-time credential is not published, so every form that can be told apart is taken (our choice);
whatever it is, the broker's answer decides. Nothing here is trusted: it only finds out what a token claims to be.
"""

import re
from typing import Final

import attrs

from flovia.core.encoding import JsonObject, JsonValue, b64url_decode, decode_param, loads_object
from flovia.core.errors import ParseError
from flovia.core.fields import payment_credentials
from flovia.core.http import HttpRequest
from flovia.providers.hitpay.config import HitPayConfig
from flovia.providers.hitpay.names import first
from flovia.signed import GRANT, BadToken, open_jws

_CHARGE: Final = re.compile(r"mpp_ch_[A-Za-z0-9_-]{1,120}").fullmatch
MAX_NATIVE: Final = 16384


@attrs.frozen(kw_only=True)
class Native:
    """A credential in HitPay's form: it names a charge, or it is a grant. One of the two."""

    charge_id: str | None = None
    grant: str | None = attrs.field(default=None, repr=False)


def read_native(token: str, config: HitPayConfig) -> Native | None:
    """What a token in HitPay's form says; None if it has none of the forms.

    * a JWS of typ ``mpp-spm+jwt``: a grant (documented)
    * base64url JSON with ``challenge_id``, ``challengeId`` or ``charge_id`` (``names.native_charge``): a paid charge,
      only where ``charge_id_json`` is set
    * base64url JSON with ``saved_method_jws`` (``names.payload_grant``): a grant
    * ``mpp_ch_…`` alone, only where ``bare_charge_id`` is set
    """
    if len(token) > MAX_NATIVE:
        return None
    if token.count(".") == 2:
        try:
            open_jws(token, GRANT, config.signed)
        except BadToken:
            return None
        return Native(grant=token)
    if _CHARGE(token):
        return Native(charge_id=token) if config.bare_charge_id else None
    try:
        members = decode_param(token)
    except ParseError:
        return None
    if "challenge" in members:
        return None  # the protocol's own form
    grant = first(members, config.names.payload_grant)
    if isinstance(grant, str) and grant:
        return Native(grant=grant)
    if not config.charge_id_json:
        return None
    named = [found for name in config.names.native_charge if (found := members.get(name)) is not None]
    ident = named[0] if named and named.count(named[0]) == len(named) else None
    # Not the id of a saved method, which stands in the link of its setup: whoever saw that could spend from it.
    return Native(charge_id=ident) if isinstance(ident, str) and _CHARGE(ident) else None


def is_native(request: HttpRequest, config: HitPayConfig) -> bool:
    """Whether the request's credential has HitPay's form: then the receipt gets it too."""
    return any(read_native(token, config) is not None for token in _tokens(request))


def grant_in(request: HttpRequest, config: HitPayConfig) -> str:
    """The grant that the request's credential holds, in either form; "" if there is none."""
    for token in _tokens(request):
        if token.count(".") == 2:
            return token
        try:
            members = decode_param(token)
        except ParseError:
            continue
        payload = members.get("payload")
        found = first(payload if isinstance(payload, dict) else members, config.names.payload_grant)
        if isinstance(found, str):
            return found
    return ""


def _tokens(request: HttpRequest) -> list[str]:
    tokens: list[str] = []
    for field in ("authorization", "payment-authorization"):
        try:
            tokens += payment_credentials(request.headers.get_all(field))
        except ParseError:
            continue
    return [token for token in tokens if len(token) <= MAX_NATIVE]


def peek(jws: str) -> JsonObject:
    """The claims of a JWS that nobody has verified: a hint about what to offer, never a reason to let anyone in."""
    try:
        return loads_object(b64url_decode(jws.split(".")[1]))
    except (ParseError, IndexError):
        empty: dict[str, JsonValue] = {}
        return empty
