"""What a refusal says: RFC 9457 problem details with fixed texts.

The texts are constants: nothing of the request, the configuration or an exception can leak into them.
Each tells the payer what to do next. Providers describe conditions of their own with a
:class:`ProblemType`; :func:`problem_body` takes it in place of a code.
"""

from collections.abc import Mapping
from json.encoder import encode_basestring_ascii
from types import MappingProxyType
from typing import Final

import attrs

MPP: Final = "https://paymentauth.org/problems/"
"""Prefix of the problem types that the drafts define."""

FLOVIA: Final = "urn:flovia:problem:"
"""Prefix of ours, for statuses without a type in the drafts."""


def _head(problem: "ProblemType") -> bytes:
    """The JSON of a problem up to where ``challengeId`` may follow."""
    quote = encode_basestring_ascii
    text = (
        f'{{"type":{quote(problem.type)},"title":{quote(problem.title)},'
        f'"status":{problem.status},"detail":{quote(problem.detail)}'
    )
    return text.encode("ascii")


@attrs.frozen(kw_only=True)
class ProblemType:
    """One kind of refusal.

    ``code`` is the last part of ``type`` (a URI). ``status`` is the HTTP status, ``title`` a short
    summary, ``detail`` fixed text that tells the payer what to do and nothing about us.
    """

    code: str
    type: str
    status: int
    title: str
    detail: str
    _head: bytes = attrs.field(default=attrs.Factory(_head, takes_self=True), init=False, eq=False, repr=False)

    def body(self, challenge_id: str | None = None) -> bytes:
        """The problem as ``application/problem+json``: ``type``, ``title``, ``status``, ``detail``, ``challengeId``."""
        if challenge_id is None:
            return self._head + b"}"
        return b'%b,"challengeId":%b}' % (self._head, encode_basestring_ascii(challenge_id).encode("ascii"))


def _mpp(code: str, status: int, title: str, detail: str) -> ProblemType:
    return ProblemType(code=code, type=MPP + code, status=status, title=title, detail=detail)


def _ours(code: str, status: int, title: str, detail: str) -> ProblemType:
    return ProblemType(code=code, type=FLOVIA + code, status=status, title=title, detail=detail)


_TABLE: Final = (
    # The types of draft-httpauth-payment-02.
    _mpp(
        "payment-required",
        402,
        "Payment required",
        "Pay one of the challenges in WWW-Authenticate, then repeat this request with the credential.",
    ),
    _mpp(
        "payment-insufficient",
        402,
        "Payment insufficient",
        "Less was paid than the challenge asks. Pay the challenge of this response in full, and ask for what was paid "
        "back.",
    ),
    _mpp(
        "payment-expired",
        402,
        "Payment expired",
        "The challenge expired before it was paid. Pay the challenge of this response; if the old one was paid too "
        "late, ask for that money back.",
    ),
    _mpp(
        "verification-failed",
        402,
        "Payment not verified: use the challenge of this response",
        # Word for word the text of the public conformance suite; the title carries the advice.
        "Payment verification failed.",
    ),
    _mpp(
        "malformed-credential",
        402,
        "Malformed credential",
        "The credential is not base64url JSON with a challenge and a payload. Build it from a challenge "
        "of this response.",
    ),
    _mpp(
        "invalid-challenge",
        402,
        "Invalid challenge",
        "The credential's challenge is unknown, altered, used, or for another request. Pay a challenge of this "
        "response and echo it unchanged.",
    ),
    _mpp(
        "invalid-payload",
        402,
        "Invalid payload",
        "The credential's payload is not what its payment method defines. Build it again for the challenge of "
        "this response.",
    ),
    _mpp(
        "payment-action-required",
        402,
        "Payment action required",
        "The payer has to confirm this payment with the payment method first. Then repeat this request with "
        "the same credential.",
    ),
    _mpp(
        "method-unsupported",
        400,
        "Payment method unsupported",
        "No offer here takes this payment method. Request without a credential to see the offers.",
    ),
    _mpp(
        "bad-request",
        400,
        "Bad request",
        "This request cannot be paid for as it is: send exactly one Payment credential, to the service's public name.",
    ),
    _mpp(
        "internal-payment-error",
        500,
        "Internal payment error",
        "Payments do not work here at the moment. If you have paid, do not pay again: keep the credential and repeat "
        "this request with it later.",
    ),
    # Ours.
    _ours(
        "in-flight",
        409,
        "Credential in use",
        "Another request with this credential is being served. Repeat this one after Retry-After; do not pay again.",
    ),
    _ours(
        "method-not-allowed",
        405,
        "Method not allowed",
        "This HTTP method cannot redeem a payment here. Use one of those in Allow.",
    ),
    _ours(
        "length-required",
        411,
        "Length required",
        "The end of this body cannot be seen here. Send it with Content-Length.",
    ),
    _ours(
        "body-too-large",
        413,
        "Body too large",
        "The body is larger than this route binds to a payment. Send a smaller one; do not pay for this one.",
    ),
    _ours(
        "rate-limited",
        429,
        "Too many requests",
        "Wait as long as Retry-After says, then repeat this request. A credential stays good until it expires.",
    ),
    _ours(
        "ledger-unavailable",
        503,
        "Payment records unavailable",
        "Payments cannot be recorded at the moment, so none is taken. Repeat this request after Retry-After, with "
        "the same credential if there is one.",
    ),
    _ours(
        "outcome-unknown",
        503,
        "Payment outcome unknown",
        "It is not known yet whether the payment went through. Do not pay again; repeat this request with the same "
        "credential after Retry-After.",
    ),
    _ours(
        "provider-unavailable",
        503,
        "Payment provider unavailable",
        "The payment provider does not answer. Repeat this request after Retry-After; do not pay again.",
    ),
    _ours(
        "delivery-failed",
        500,
        "Paid, not delivered",
        "The payment was taken, the answer failed. Do not pay again; repeat this request with the same credential.",
    ),
    _ours(
        "precondition-failed",
        412,
        "Precondition failed",
        "The payment was taken, but a precondition of this request, such as If-Match, is not fulfilled. Do not pay "
        "again; the same credential, without that precondition, gets the answer.",
    ),
    _ours(
        "delivery-exhausted",
        500,
        "Paid, not deliverable",
        "The payment was taken and every attempt to deliver failed. Do not pay again; ask the provider for a refund.",
    ),
    _ours(
        "payment-refunded",
        403,
        "Payment refunded",
        "What this credential paid has been given back, so it buys nothing any more. To buy again, request without a "
        "credential.",
    ),
    _ours(
        "refund-due",
        500,
        "Paid, not delivered, refund due",
        "The payment was taken, nothing was delivered, and the money is to go back. This credential is good for "
        "nothing more; do not pay again before the refund has arrived.",
    ),
    _ours(
        "delivery-final",
        500,
        "Paid, and the answer failed",
        "The payment was taken and the answer failed; on this route it pays for the attempt. The same credential gets "
        "no other; do not pay again unless another attempt is worth it.",
    ),
    _ours(
        "idempotency-key-invalid",
        400,
        "Idempotency-Key not readable",
        "Send Idempotency-Key once, as one quoted string of 1 to 255 characters, or not at all. Nothing was done.",
    ),
    _ours(
        "idempotency-key-reused",
        422,
        "Idempotency-Key of another request",
        "This credential and its Idempotency-Key belong to another request. Repeat that one unchanged to get its "
        "answer; do not pay again for it. Begin this one without a credential.",
    ),
    _ours(
        "access-denied",
        403,
        "Access denied",
        "Access to this resource is not granted, and paying does not change that.",
    ),
)

PROBLEMS: Final[Mapping[str, ProblemType]] = MappingProxyType({problem.code: problem for problem in _TABLE})
"""Every problem type of the protocol and of flovia, by code."""


def problem_body(problem: str | ProblemType, challenge_id: str | None = None) -> bytes:
    """The JSON of a problem: a code of :data:`PROBLEMS`, or a provider's own type.

    ``challenge_id`` is the id of the challenge this response carries, if it carries one.

    Raises:
        KeyError: no problem type has this code.
    """
    if isinstance(problem, str):
        problem = PROBLEMS[problem]
    return problem.body(challenge_id)
