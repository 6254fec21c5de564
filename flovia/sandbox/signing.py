"""Keys and compact JWS, written by hand, with no JOSE library, so that no bug is shared with a verifier."""

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Final, Literal

import attrs
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

RECEIPT: Final = "mpp-receipt+jwt"
GRANT: Final = "mpp-spm+jwt"

KeyState = Literal["current", "retired", "withdrawn", "compromised"]
"""``retired`` keys are still published, ``withdrawn`` and ``compromised`` ones are not."""


@attrs.frozen(kw_only=True)
class Key:
    """An Ed25519 signing key of the broker."""

    kid: str
    secret: bytes = attrs.field(repr=False)
    state: KeyState = "current"

    @property
    def public(self) -> bytes:
        """The 32 bytes of the public key."""
        return _private(self.secret).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    @property
    def published(self) -> bool:
        """Whether the key set shows it."""
        return self.state in ("current", "retired")

    def jwk(self) -> dict[str, object]:
        """The public key as a JWK (RFC 8037)."""
        return {
            "kty": "OKP",
            "crv": "Ed25519",
            "kid": self.kid,
            "x": b64url(self.public),
            "use": "sig",
            "alg": "EdDSA",
        }


def new_key(seed: bytes, number: int) -> Key:
    """The ``number``-th key of a sandbox. Ed25519 signs deterministically, so a seed fixes every signature too."""
    secret = hashlib.sha256(seed + b"|signing key|" + str(number).encode()).digest()
    return Key(kid=f"sandbox-{number}-{hashlib.sha256(secret).hexdigest()[:8]}", secret=secret)


def b64url(raw: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def compact(header: Mapping[str, object], claims: Mapping[str, object], sign: "Signer") -> str:
    """A compact JWS (RFC 7515 section 7.1)."""
    parts = (json.dumps(part, separators=(",", ":"), sort_keys=True).encode() for part in (header, claims))
    signed = ".".join(b64url(part) for part in parts)
    return f"{signed}.{b64url(sign(signed.encode()))}"


class Signer:
    """Signs the bytes of a JWS with an Ed25519 key."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def __call__(self, signed: bytes) -> bytes:
        """The signature over ``signed``."""
        return _private(self._secret).sign(signed)


class WrongSigner(Signer):
    """Signs, and then changes one bit."""

    def __call__(self, signed: bytes) -> bytes:
        """A signature that does not verify."""
        good = super().__call__(signed)
        return good[:-33] + bytes([good[-33] ^ 1]) + good[-32:]


class NoSigner(Signer):
    """The signature of ``alg: none``: nothing."""

    def __call__(self, signed: bytes) -> bytes:
        """No bytes at all."""
        return b""


class HmacSigner(Signer):
    """HS256 with the *public* key's bytes as secret: what a verifier that trusts ``alg`` falls for."""

    def __call__(self, signed: bytes) -> bytes:
        """The HMAC anybody can make who has read the key set."""
        public = _private(self._secret).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return hmac.new(public, signed, hashlib.sha256).digest()


def sign(key: Key, typ: str, claims: Mapping[str, object]) -> str:
    """An EdDSA JWS of this type, with the key's id."""
    return compact({"alg": "EdDSA", "typ": typ, "kid": key.kid}, claims, Signer(key.secret))


def _private(secret: bytes) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(secret)
