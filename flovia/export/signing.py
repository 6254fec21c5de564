"""Signatures of webhooks as Standard Webhooks has them: HMAC-SHA256 over id, timestamp and body.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import binascii
import hmac
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from typing import Final

from flovia.core.errors import PeerError, WiringError

PREFIX: Final = "whsec_"
TOLERANCE_S: Final = 300.0
_REMEDY: Final = (
    "make one with: python -c \"import base64, secrets; print('whsec_' +"
    ' base64.b64encode(secrets.token_bytes(32)).decode())"'
)


class BadSignature(PeerError):
    """What came is not from who has the secret, or it is too old. Answer 401 and do nothing."""


def read_secrets(given: str | Sequence[str]) -> tuple[bytes, ...]:
    """The keys behind ``whsec_…`` secrets: several, or one text with commas between them.

    Raises:
        WiringError: one is none, or shorter than 24 bytes, or longer than 64.
    """
    texts = given.split(",") if isinstance(given, str) else given
    keys: list[bytes] = []
    for text in texts:
        stripped = text.strip()
        if not stripped.startswith(PREFIX):
            raise WiringError(f"a webhook's secret begins with {PREFIX}; {_REMEDY}")
        try:
            key = b64decode(stripped.removeprefix(PREFIX), validate=True)
        except (binascii.Error, ValueError):
            raise WiringError(f"a webhook's secret is {PREFIX} and base64; {_REMEDY}") from None
        if not 24 <= len(key) <= 64:
            raise WiringError(f"a webhook's secret has 24 to 64 bytes, this one {len(key)}; {_REMEDY}")
        keys.append(key)
    if not keys:
        raise WiringError(f"a webhook needs a secret; {_REMEDY}")
    return tuple(keys)


def signature(key: bytes, ident: str, timestamp: int, body: bytes) -> str:
    """``v1,`` and the base64 of the MAC."""
    signed = b".".join((ident.encode(), str(timestamp).encode(), body))
    return "v1," + b64encode(hmac.digest(key, signed, "sha256")).decode("ascii")


def signed_headers(keys: Sequence[bytes], ident: str, timestamp: int, body: bytes) -> tuple[tuple[str, str], ...]:
    """The three header fields. While secrets are changed every key signs, so that either one verifies."""
    return (
        ("webhook-id", ident),
        ("webhook-timestamp", str(timestamp)),
        ("webhook-signature", " ".join(signature(key, ident, timestamp, body) for key in keys)),
    )


def verify(
    headers: Mapping[str, str],
    body: bytes,
    secret: str | Sequence[str],
    *,
    now: float,
    tolerance_s: float = TOLERANCE_S,
) -> None:
    """Check what a receiver got, before reading any of it.

    Args:
        headers: of the request; any mapping that finds lower-case names.
        body: its bytes, as they came.
        secret: ``whsec_…``, or several of them.
        now: Unix seconds.
        tolerance_s: how far the timestamp may be from now, either way.

    Raises:
        BadSignature: it does not hold.
        WiringError: the secret is none.
    """
    keys = read_secrets(secret)
    ident, stamp, given = (headers.get(f"webhook-{name}") for name in ("id", "timestamp", "signature"))
    if not ident or not stamp or not given:
        raise BadSignature("a webhook has the header fields webhook-id, webhook-timestamp and webhook-signature")
    if not (stamp.isascii() and stamp.isdecimal() and len(stamp) < 16) or abs(now - int(stamp)) > tolerance_s:
        raise BadSignature("the webhook's timestamp is too far from this machine's clock")
    wanted = [signature(key, ident, int(stamp), body).encode() for key in keys]
    if not any(hmac.compare_digest(one.encode(), want) for one in given.split(" ") for want in wanted):
        raise BadSignature("the webhook's signature is none of this secret")
