"""What a verified token says: claims by their meaning, checked for issuer, time and shape.

HitPay publishes what its grants and receipts are about, not the names of the claims: those are settings, in
:mod:`~flovia.signed.names`. What was not published at all is optional, except where leaving it out would make a check
disappear.
"""

from hmac import compare_digest
from typing import Final

import attrs

from flovia.core.encoding import MAX_INTEGER, JsonObject, JsonValue
from flovia.core.errors import WiringError
from flovia.core.money import Price, exponent, to_base_units
from flovia.signed.errors import BadToken, Reason
from flovia.signed.limits import DEFAULT_LIMITS, SignedLimits
from flovia.signed.names import ClaimNames, camel

MAX_TEXT: Final = 512
"""Longest text claim, in characters."""


@attrs.frozen(kw_only=True)
class Expected:
    """Who must have signed, when it is, and for whom. ``issuer``: in general an origin. ``now``: Unix seconds.

    ``audience``: if given, the token must name it in ``aud``.
    """

    issuer: str
    now: float
    audience: str | None = None


@attrs.frozen(kw_only=True)
class ReceiptClaims:
    """A payment, as the broker attests it.

    ``price``: what was paid. ``challenge_id``: the charge at the broker that it paid, ``charge_id`` and
    ``payment_id`` the payment's own names. ``issued_at``: Unix seconds. ``raw``: every claim as it stands.
    """

    issuer: str
    issued_at: float
    price: Price
    subject: str | None = None
    token_id: str | None = None
    challenge_id: str | None = None
    charge_id: str | None = None
    payment_id: str | None = None
    payment_request_id: str | None = None
    reference: str | None = None
    method: str | None = None
    paid_at: str | None = None
    saved_method_id: str | None = None
    request_hash: str | None = attrs.field(default=None, repr=False)
    nonce: str | None = attrs.field(default=None, repr=False)
    raw: JsonObject = attrs.field(repr=False, factory=dict[str, JsonValue])

    def check(
        self,
        *,
        price: Price,
        challenge_id: str | None = None,
        request_hash: str | None = None,
        nonce: str | None = None,
        saved_method_id: str | None = None,
    ) -> None:
        """Hold the receipt against what was asked for. What is given must be there and equal.

        Raises:
            BadToken: reason ``currency``, ``amount``, ``challenge``, ``request-hash``, ``nonce`` or ``claims``.
        """
        if self.price.currency != price.currency:
            raise BadToken("the receipt is in another currency than was asked for", "currency")
        if self.price.amount != price.amount:
            raise BadToken("the receipt is for another amount than was asked for", "amount")
        pairs: tuple[tuple[str | None, str | None, Reason], ...] = (
            (challenge_id, self.challenge_id, "challenge"),
            (request_hash, self.request_hash, "request-hash"),
            (nonce, self.nonce, "nonce"),
            (saved_method_id, self.saved_method_id, "claims"),
        )
        for wanted, found, reason in pairs:
            if wanted is not None and not _same(wanted, found):
                raise BadToken(f"the receipt is not for this payment: its {reason} differs", reason)


@attrs.frozen(kw_only=True)
class GrantClaims:
    """The right to charge a saved wallet, within limits. A static token: what is used up, the broker counts.

    ``saved_method_id``: the wallet (``mpp_spm_…``). Amounts in base units of ``currency``. ``expires_at``: Unix
    seconds. ``None`` for a limit: the token does not say.
    """

    issuer: str
    issued_at: float
    expires_at: float
    saved_method_id: str
    currency: str
    max_amount_per_charge: int
    total_amount_cap: int | None = None
    max_uses: int | None = None
    audience: tuple[str, ...] = ()
    payment_method: str | None = None
    token_id: str | None = None
    raw: JsonObject = attrs.field(repr=False, factory=dict[str, JsonValue])

    def check(self, price: Price, *, spent: int = 0, uses: int = 0) -> None:
        """Whether one more charge of ``price`` is within the grant, with ``spent`` (base units) and ``uses`` so far.

        Raises:
            BadToken: reason ``currency``, ``amount`` (a cap) or ``claims`` (used up).
        """
        if price.currency != self.currency:
            raise BadToken(f"the grant is for {self.currency.upper()}, not {price.currency.upper()}", "currency")
        if price.amount > self.max_amount_per_charge:
            raise BadToken("the charge is over the grant's cap for one charge", "amount")
        if self.total_amount_cap is not None and spent + price.amount > self.total_amount_cap:
            raise BadToken("the charge would go over the grant's cap for all charges together", "amount")
        if self.max_uses is not None and uses >= self.max_uses:
            raise BadToken("the grant has been used as often as it allows", "claims")


def read_receipt(claims: JsonObject, expected: Expected, limits: SignedLimits = DEFAULT_LIMITS) -> ReceiptClaims:
    """A receipt's claims. ``status``, where it is given, must be ``paid``.

    Raises:
        BadToken: another issuer or audience, not (or no longer) valid, or claims that cannot be read.
    """
    names = limits.names
    issued_at, _ = _common(claims, expected, limits, must_expire=False)
    if claims.get(names.status, names.paid) != names.paid:
        raise BadToken("the receipt is of a payment that is not paid", "claims")
    currency = _currency(claims.get(names.currency))
    amount = _amount(claims.get(names.amount), currency)
    if not amount:
        raise BadToken("the receipt's amount is zero", "claims")
    return ReceiptClaims(
        issuer=expected.issuer,
        issued_at=issued_at,
        price=Price(amount=amount, currency=currency),
        subject=_text(claims, names.subject),
        token_id=_text(claims, names.token_id),
        challenge_id=_text(claims, names.challenge_id),
        charge_id=_text(claims, names.charge_id),
        payment_id=_text(claims, names.payment_id),
        payment_request_id=_text(claims, names.payment_request_id),
        reference=_text(claims, names.reference),
        method=_text(claims, names.method),
        paid_at=_text(claims, names.paid_at),
        saved_method_id=_text(claims, names.saved_method_id),
        request_hash=_text(claims, names.request_hash),
        nonce=_text(claims, names.nonce),
        raw=claims,
    )


def read_grant(claims: JsonObject, expected: Expected, limits: SignedLimits = DEFAULT_LIMITS) -> GrantClaims:
    """A grant's claims, under their snake_case or camelCase names.

    Raises:
        BadToken: another issuer or audience, not (or no longer) valid, or claims that cannot be read.
    """
    names = limits.names
    issued_at, expires_at = _common(claims, expected, limits, must_expire=True)
    currency = _currency(claims.get(names.currency))
    per_charge = _amount(_either(claims, names.max_amount_per_charge), currency)
    total, uses = _either(claims, names.total_amount_cap), _either(claims, names.max_uses)
    if uses is not None and (type(uses) is not int or uses < 0):
        raise BadToken("the grant's number of uses is not a whole number", "claims")
    saved_method_id = next((found for name in names.granted_id if (found := _text(claims, name))), None)
    if not saved_method_id:
        raise BadToken("the grant does not say which saved method it is for", "claims")
    return GrantClaims(
        issuer=expected.issuer,
        issued_at=issued_at,
        expires_at=expires_at,
        saved_method_id=saved_method_id,
        currency=currency,
        max_amount_per_charge=per_charge,
        total_amount_cap=None if total is None else _amount(total, currency),
        max_uses=uses,
        audience=_audience(claims, names),
        payment_method=_text(claims, names.payment_method) or _text(claims, camel(names.payment_method)),
        token_id=_text(claims, names.token_id),
        raw=claims,
    )


def _common(claims: JsonObject, expected: Expected, limits: SignedLimits, *, must_expire: bool) -> tuple[float, float]:
    """Issuer, audience and times (RFC 7519 section 4.1); returns ``iat`` and ``exp``."""
    names = limits.names
    if claims.get(names.issuer) != expected.issuer:
        raise BadToken("the token is by another issuer than the configured one", "issuer")
    audience = _audience(claims, names)
    if expected.audience is not None and expected.audience not in audience:
        raise BadToken("the token is for somebody else (aud)", "audience")
    issued_at, expires_at, from_ = (_time(claims, name) for name in (names.issued_at, names.expires_at, "nbf"))
    if issued_at is None:
        raise BadToken("the token does not say when it was issued (iat)", "time")
    if issued_at > expected.now + limits.skew_s or (from_ is not None and from_ > expected.now + limits.skew_s):
        raise BadToken("the token is from the future: compare this machine's clock with the issuer's", "time")
    if expires_at is None and must_expire:
        raise BadToken("the token does not say when it expires (exp)", "time")
    if expires_at is not None and expires_at + limits.skew_s <= expected.now:
        raise BadToken("the token has expired", "time")
    return issued_at, float("inf") if expires_at is None else expires_at


def _audience(claims: JsonObject, names: ClaimNames) -> tuple[str, ...]:
    found = claims.get(names.audience)
    listed = [] if found is None else found if isinstance(found, list) else [found]
    texts = tuple(item for item in listed if isinstance(item, str))
    if len(texts) != len(listed):
        raise BadToken("the token's audience (aud) is not text", "claims")
    return texts


def _time(claims: JsonObject, name: str) -> float | None:
    found = claims.get(name)
    if found is None:
        return None
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 <= found <= MAX_INTEGER:
        raise BadToken(f"the token's {name} is not a time", "time")
    return float(found)


def _text(claims: JsonObject, name: str) -> str | None:
    found = claims.get(name)
    if found is None:
        return None
    if not isinstance(found, str) or len(found) > MAX_TEXT:
        raise BadToken(f"the token's {name} is not text of at most {MAX_TEXT} characters", "claims")
    return found


def _either(claims: JsonObject, name: str) -> object:
    """A claim under its snake_case or its camelCase name; both only if they agree."""
    other = camel(name)
    if name in claims and other in claims and claims[name] != claims[other]:
        raise BadToken(f"the token says {name} twice, differently", "claims")
    return claims.get(name, claims.get(other))


def _currency(found: object) -> str:
    if isinstance(found, str):
        try:
            exponent(found)
        except WiringError:
            pass
        else:
            return found.lower()
    raise BadToken("the token's currency is not an ISO 4217 code", "claims")


def _amount(found: object, currency: str) -> int:
    """A decimal text of the currency's unit, as the broker writes it, in base units. A JSON number is refused."""
    if isinstance(found, str):
        try:
            return to_base_units(found, currency)
        except WiringError:
            pass
    raise BadToken("the token's amount is not a decimal text, like '1.00'", "claims")


def _same(wanted: str, found: str | None) -> bool:
    return found is not None and compare_digest(wanted.encode(), found.encode())
