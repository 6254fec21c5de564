"""Signed receipts and grants: Ed25519 JWS against the issuer's own key set (extra ``receipts``).

For providers and for the paying client alike::

    broker = Jwks(origin="https://mpp.hitpay.dev")  # once; WiringError if it cannot work
    claims = yield from broker.receipt(jws)  # in a flow: BadToken, or KeysUnavailable (answer 503)
    claims.check(price=price, challenge_id=challenge_id, request_hash=request_hash)  # BadToken

Only ``core`` is imported here; joserfc does the cryptography and is loaded on first use.
"""

from flovia.signed.claims import Expected, GrantClaims, ReceiptClaims, read_grant, read_receipt
from flovia.signed.errors import BadToken, KeysUnavailable, Reason, UnknownKey
from flovia.signed.jwks import Jwks, issuer_origin
from flovia.signed.jws import (
    GRANT,
    GRANT_TYP,
    RECEIPT,
    RECEIPT_TYP,
    TypRule,
    open_jws,
    receipt_rule,
    verify_jws,
)
from flovia.signed.keys import KeySet, PublicKey, Published, read_jwks, require_joserfc
from flovia.signed.limits import DEFAULT_LIMITS, SignedLimits
from flovia.signed.names import DEFAULT_NAMES, ClaimNames, camel

__all__ = [
    "DEFAULT_LIMITS",
    "DEFAULT_NAMES",
    "GRANT",
    "GRANT_TYP",
    "RECEIPT",
    "RECEIPT_TYP",
    "BadToken",
    "ClaimNames",
    "Expected",
    "GrantClaims",
    "Jwks",
    "KeySet",
    "KeysUnavailable",
    "PublicKey",
    "Published",
    "Reason",
    "ReceiptClaims",
    "SignedLimits",
    "TypRule",
    "UnknownKey",
    "camel",
    "issuer_origin",
    "open_jws",
    "read_grant",
    "read_jwks",
    "read_receipt",
    "receipt_rule",
    "require_joserfc",
    "verify_jws",
]
