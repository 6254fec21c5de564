"""Compact JWS, checked in the one order that leaves an attacker no choice (RFC 7515, RFC 8725).

Size, shape, header, key, signature; only then is the payload decoded. The header decides nothing: the algorithm is
Ed25519, and the key is the issuer's key of that ``kid``. ``jku``, ``jwk``, ``x5u`` and ``x5c`` are never looked at.
"""

from collections.abc import Mapping
from typing import Final

import attrs

from flovia.core.encoding import JsonObject, b64url_decode, loads
from flovia.core.errors import ParseError, WiringError
from flovia.signed.errors import BadToken, UnknownKey
from flovia.signed.keys import ALGORITHMS, INSTALL, MAX_KID, PublicKey
from flovia.signed.limits import DEFAULT_LIMITS, SignedLimits

GRANT_TYP: Final = "mpp-spm+jwt"
"""The ``typ`` of a saved-method grant (HitPay docs: MPP landing page). A receipt never has it."""

RECEIPT_TYP: Final = "mpp-receipt+jwt"
"""The ``typ`` our sandbox gives a receipt; HitPay publishes none."""

_SIGNATURE_BYTES: Final = 64


@attrs.frozen(kw_only=True)
class TypRule:
    """Which ``typ`` a token may have. Compared without case and without a leading ``application/``."""

    required: str | None = None
    forbidden: frozenset[str] = frozenset()

    def check(self, typ: str | None) -> None:
        """Refuse what the rule does not allow.

        Raises:
            BadToken: reason ``type``.
        """
        if self.required is not None and typ != self.required:
            raise BadToken(f"the token's typ is not {self.required}: it is another kind of token", "type")
        if typ in self.forbidden:
            raise BadToken(f"the token's typ is {typ}: it is another kind of token", "type")


GRANT: Final = TypRule(required=GRANT_TYP)
RECEIPT: Final = TypRule(forbidden=frozenset({GRANT_TYP}))


def receipt_rule(limits: SignedLimits = DEFAULT_LIMITS) -> TypRule:
    """The rule for receipts: strict if the setting names a ``typ``."""
    return RECEIPT if limits.strict_receipt_typ is None else TypRule(required=_plain(limits.strict_receipt_typ))


@attrs.frozen(kw_only=True)
class Unverified:
    """A token whose header is in order and whose signature nobody has looked at. Only ``kid`` is of use."""

    kid: str
    typ: str | None
    signed: bytes = attrs.field(repr=False)
    payload: str = attrs.field(repr=False)
    signature: bytes = attrs.field(repr=False)


def open_jws(token: str, typ: TypRule, limits: SignedLimits = DEFAULT_LIMITS) -> Unverified:
    """Take a compact JWS apart and check its header; costs no cryptography and asks nobody.

    Raises:
        BadToken: too long, malformed, another algorithm, a ``crit`` header, the wrong ``typ``, or no ``kid``.
    """
    if len(token) > limits.max_token:
        raise BadToken(f"the token is longer than {limits.max_token} characters", "size")
    parts = token.split(".") if token.count(".") == 2 else []
    if len(parts) != 3 or not all(parts) or not token.isascii():
        raise BadToken("the token is no compact JWS: three parts of base64url with dots between them", "format")
    head, payload, tail = parts
    if len(head) > limits.max_header * 4 // 3:
        raise BadToken(f"the token's header is longer than {limits.max_header} bytes", "size")
    header = _members(_decoded(head), limits, "header")
    try:
        signature = b64url_decode(tail)
    except ParseError:
        raise BadToken("the token's signature is not base64url", "format") from None
    if header.get("alg") not in ALGORITHMS:
        raise BadToken("the token's alg is not EdDSA, the only one that is accepted", "algorithm")
    if "crit" in header:
        raise BadToken("the token has critical header parameters, and none is understood here", "critical")
    if header.get("b64", True) is not True:
        raise BadToken("the token's payload is not base64url (b64)", "critical")
    found = header.get("typ")
    if found is not None and not isinstance(found, str):
        raise BadToken("the token's typ is not text", "type")
    plain = None if found is None else _plain(found)
    typ.check(plain)
    kid = header.get("kid")
    if not isinstance(kid, str) or not 0 < len(kid) <= MAX_KID:
        raise BadToken("the token names no key (kid)", "key")
    if len(signature) != _SIGNATURE_BYTES:
        raise BadToken("the token's signature has not the length of an Ed25519 signature", "signature")
    return Unverified(
        kid=kid, typ=plain, signed=f"{head}.{payload}".encode("ascii"), payload=payload, signature=signature
    )


def verify_opened(opened: Unverified, key: PublicKey, limits: SignedLimits = DEFAULT_LIMITS) -> JsonObject:
    """The claims, once the signature has been verified with ``key``.

    Raises:
        BadToken: the signature is not this key's, the claims are no JSON object, or ``iat`` is after the key's
            retirement.
        WiringError: joserfc is not installed.
    """
    try:
        from joserfc.jws import JWSRegistry
    except ImportError:
        raise WiringError(INSTALL) from None
    # The algorithm is ours to name, not the header's; and this one takes no other curve.
    if not JWSRegistry.algorithms["Ed25519"].verify(opened.signed, opened.signature, key.for_joserfc()):
        raise BadToken("the token's signature is not the issuer's", "signature")
    claims = _members(_decoded(opened.payload), limits, "payload")
    if key.retired_at is not None:
        at = claims.get("iat")
        if isinstance(at, bool) or not isinstance(at, int | float) or at > key.retired_at + limits.skew_s:
            raise BadToken("the token says it was signed after its key was retired", "key")
    return claims


def verify_jws(
    token: str, keys: Mapping[str, PublicKey], typ: TypRule, limits: SignedLimits = DEFAULT_LIMITS
) -> JsonObject:
    """The claims of a compact JWS that one of ``keys`` (by ``kid``) has signed. Says nothing about their meaning.

    Raises:
        BadToken: any check failed; UnknownKey: there is no key of that name.
        WiringError: joserfc is not installed.
    """
    opened = open_jws(token, typ, limits)
    key = keys.get(opened.kid)
    if key is None:
        raise UnknownKey("the token's key (kid) is none of the issuer's")
    return verify_opened(opened, key, limits)


def _plain(typ: str) -> str:
    """A media type as RFC 7515 section 4.1.9 abbreviates it."""
    return typ.lower().removeprefix("application/")


def _decoded(part: str) -> bytes:
    try:
        return b64url_decode(part)
    except ParseError:
        raise BadToken("the token is not base64url", "format") from None


def _members(raw: bytes, limits: SignedLimits, what: str) -> JsonObject:
    try:
        value = loads(raw, max_depth=limits.max_depth)
    except ParseError:
        raise BadToken(f"the token's {what} is not strict JSON", "format") from None
    if not isinstance(value, dict):
        raise BadToken(f"the token's {what} is not a JSON object", "format")
    return value
