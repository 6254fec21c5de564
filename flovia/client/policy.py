"""What a program may pay, and the checks of a challenge against it, all before any money moves.

A challenge is a demand by a server nobody vouched for. It is paid only if every check here passes:
the server's origin, an encrypted channel, the amount, currency and recipient, the time left, and the digest
of the very body that would be sent again.
"""

from collections.abc import Iterable
from hashlib import sha256
from typing import Final, Literal, get_args
from urllib.parse import urlsplit

import attrs

from flovia.client.errors import PolicyViolation, Rule
from flovia.core.challenge import Challenge, parse_expires
from flovia.core.credential import MAX_TOKEN
from flovia.core.errors import ParseError, WiringError
from flovia.core.fields import digest_matches, printable
from flovia.core.http import Headers
from flovia.core.money import Price, check_amount
from flovia.core.origin import is_loopback

MAX_ECHO: Final = 10 * 1024
"""Longest challenge that is paid, in characters: echo and proof must fit the 16 KiB a server reads (S34)."""

_PORTS: Final = {"https": 443, "http": 80}


def origin_of(scheme: str, host: str, port: int | None) -> str:
    """``https://api.example.com``, with the port only where it is not the scheme's own."""
    scheme, host = scheme.lower(), host.lower()
    if ":" in host:
        host = f"[{host}]"
    return f"{scheme}://{host}" if port in (None, _PORTS.get(scheme)) else f"{scheme}://{host}:{port}"


Receipts = Literal["note", "check", "require"]
"""What becomes of a receipt that a verifier does not like; see :class:`Policy`."""


def _origins(allowed: Iterable[str] | None) -> frozenset[str] | None:
    if allowed is None:
        return None
    if isinstance(allowed, str):
        raise WiringError(f"Policy(origins={allowed!r}) is one text: write origins=[{allowed!r}]")
    return frozenset(map(_parse_origin, allowed))


def _parse_origin(text: str) -> str:
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = parts = None
    if (
        parts is None
        or parts.scheme not in _PORTS
        or not host
        or not host.isascii()
        or parts.path not in ("", "/")
        or parts.query
        or parts.fragment
        or parts.username is not None
    ):
        raise WiringError(
            f"Policy(origins=[{text!r}]) is not an origin: write scheme and host alone, https://api.example.com"
        )
    return origin_of(parts.scheme, host, port)


def _texts(allowed: Iterable[str] | None) -> frozenset[str] | None:
    if isinstance(allowed, str):
        raise WiringError(f"Policy(recipients={allowed!r}) is one text: write a list, recipients=[{allowed!r}]")
    return None if allowed is None else frozenset(allowed)


@attrs.frozen(kw_only=True)
class Policy:
    """What may be paid, and how patient to be. The defaults pay any https server, within the budget.

    ``origins``: the only servers to pay (``https://api.example.com``), None for all; also the only ones
    told which methods the wallet has, and the only ones a redirected request may pay.
    ``recipients``: the only recipients to pay, None for all; with a list, a challenge that names none is
    refused. ``expiry_margin_s``: a challenge must have more than this left to live, so that the payment
    arrives in time even if the clocks differ a little. ``max_wait_s`` and ``max_tries`` bound how long,
    and how often, one call presents the same credential to a server that says "later" or cannot be reached.
    ``receipts``: what to do if the wallet can verify receipts and one is wrong. ``check`` raises ReceiptRejected with
    the answer in it, ``require`` also if there is none or nobody can say, ``note`` never (see ``payment_info``).
    ``paid_timeout_s``: a paid request may take at least this long to be answered, whatever shorter read
    time-out the HTTP client has: giving up early would leave the outcome unknown.
    ``idempotency_key``: send an ``Idempotency-Key`` with the credential, one for each payment, unless the request has
    one of its own: a server that keeps its answers gives one that got lost again.
    """

    origins: frozenset[str] | None = attrs.field(default=None, converter=_origins)
    recipients: frozenset[str] | None = attrs.field(default=None, converter=_texts)
    expiry_margin_s: float = 10.0
    max_wait_s: float = 60.0
    max_tries: int = 10
    paid_timeout_s: float = 30.0
    receipts: Receipts = "check"
    idempotency_key: bool = True

    def __attrs_post_init__(self) -> None:
        if self.receipts not in get_args(Receipts):
            raise WiringError(f"Policy(receipts={self.receipts!r}): write one of {', '.join(get_args(Receipts))}")

    def allows(self, origin: str) -> bool:
        """Whether ``origin`` may be paid."""
        return self.origins is None or origin in self.origins


@attrs.frozen(kw_only=True)
class Ask:
    """One HTTP request of the program, as far as paying for it is concerned.

    ``origin``: scheme, host and port; ``host``: the host name alone, in lower case; ``target``: path and
    query as sent. ``body``: the whole body, or None if it is a stream that cannot be sent again.
    ``first_origin``: where the request went before it was redirected, or its own origin.
    ``paid_reference``: the payment already made for this request, if any.
    """

    http_method: str
    origin: str
    host: str
    target: str = attrs.field(repr=False)
    headers: Headers
    body: bytes | None = attrs.field(repr=False)
    first_origin: str
    paid_reference: str | None = None


@attrs.frozen(kw_only=True)
class Terms:
    """What a challenge asks for, decoded and within the policy. ``expires_at``: Unix seconds, or None."""

    price: Price
    recipient: str | None
    expires_at: float | None


def check_channel(ask: Ask, policy: Policy) -> None:
    """Whether this request could be paid at all, whatever the challenge says.

    Raises:
        PolicyViolation: rules ``insecure``, ``origin``, ``redirected`` and ``body``.
    """
    if not ask.origin.startswith("https://") and not is_loopback(ask.host):
        raise PolicyViolation(
            f"{ask.origin} asks for a payment over plain http, where anybody on the way could take the"
            " credential: nothing was paid. Use the server's https:// address",
            rule="insecure",
        )
    if not policy.allows(ask.origin):
        raise PolicyViolation(
            f"{ask.origin} asks for a payment but is not among the policy's origins: nothing was paid."
            " Add it to Policy(origins=…) if it should be paid",
            rule="origin",
        )
    if ask.origin != ask.first_origin and policy.origins is None:
        raise PolicyViolation(
            f"a request to {ask.first_origin} was redirected to {ask.origin}, which asks for a payment:"
            " nothing was paid. Call it directly, or name it in Policy(origins=…)",
            rule="redirected",
        )
    if ask.body is None:
        raise PolicyViolation(
            f"{ask.origin} asks for a payment, but the request's body is a stream that cannot be sent again:"
            " nothing was paid. Give the body as bytes, or call request.read() before sending",
            rule="body",
        )


def check_challenge(ask: Ask, challenge: Challenge, policy: Policy, now: float) -> Terms:
    """Read what a challenge asks for and hold it against the policy. ``now`` in Unix seconds.

    Raises:
        PolicyViolation: the rule says which check failed.
    """
    if challenge.intent != "charge":
        raise _violation(ask, challenge, "intent", "its intent is not 'charge', the only one flovia pays")
    echo = (challenge.id, challenge.realm, challenge.request, challenge.opaque, challenge.description)
    if sum(len(text) for text in echo if text) > MAX_ECHO:
        limit = f"it is so long that its credential would not fit the {MAX_TOKEN} characters a server reads"
        raise _violation(ask, challenge, "challenge", limit)
    if challenge.header is None and ask.headers.get("authorization") is not None:
        raise _violation(
            ask,
            challenge,
            "authorization",
            "the credential needs the Authorization field, which this request already uses. Authenticate in"
            ' another field, or ask the server to choose header="Payment-Authorization"',
        )
    expires_at = None if challenge.expires is None else parse_expires(challenge.expires)
    if expires_at is not None and expires_at - policy.expiry_margin_s <= now:
        raise _violation(
            ask,
            challenge,
            "expires",
            f"it is over, or has no more than {policy.expiry_margin_s:g} s left. Ask again for a fresh one;"
            " if that does not help, compare this machine's clock with the server's",
        )
    if challenge.digest is not None and not digest_matches(challenge.digest, sha256(ask.body or b"").digest()):
        raise _violation(ask, challenge, "digest", "its digest is not that of the body that was sent")
    request = challenge.request_json
    price = _charge(ask, challenge, request.get("amount"), request.get("currency"))
    recipient = request.get("recipient")
    if recipient is not None and not isinstance(recipient, str):
        raise _violation(ask, challenge, "recipient", "its recipient is not text")
    if policy.recipients is not None and recipient not in policy.recipients:
        raise _violation(
            ask,
            challenge,
            "recipient",
            "its recipient is not among the policy's. Add it to Policy(recipients=…) if it should be paid",
        )
    return Terms(price=price, recipient=recipient, expires_at=expires_at)


def _charge(ask: Ask, challenge: Challenge, amount: object, currency: object) -> Price:
    """The price: base units, as ASCII digits, of a currency we know the exponent of (C07)."""
    if not isinstance(amount, str) or not isinstance(currency, str):
        raise _violation(ask, challenge, "amount", "its amount or currency is missing or is not text")
    try:
        units = check_amount(amount)
    except ParseError:
        units = 0
    if units <= 0:
        raise _violation(ask, challenge, "amount", "its amount is not a positive whole number of base units")
    try:
        return Price(amount=units, currency=currency)
    except (ParseError, WiringError):
        pass
    raise _violation(
        ask,
        challenge,
        "currency",
        f"its currency {printable(currency[:40])!r} is no lower-case ISO 4217 code, so nobody here can tell"
        " what the amount is worth, or the amount is beyond any price",
    )


def _violation(ask: Ask, challenge: Challenge, rule: Rule, why: str) -> PolicyViolation:
    realm = printable(challenge.realm[:80])
    return PolicyViolation(
        f"the challenge of {ask.origin} (realm {realm!r}, method {challenge.method[:40]}) was not paid: {why}",
        rule=rule,
    )
