"""A token issuer for tests: real Ed25519 keys, a JWKS it answers with, and tokens as right or wrong as a test wants."""

import json
from collections.abc import Mapping

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from flovia.core.effects import HttpCall, HttpReply
from flovia.core.encoding import b64url_encode
from flovia.core.errors import HttpError
from flovia.testing.flows import ByHand

ORIGIN = "https://mpp.example.test"
RECEIPT_HEADER = {"typ": "mpp-receipt+jwt"}
GRANT_HEADER = {"typ": "mpp-spm+jwt"}


def b64(value: object) -> str:
    """JSON as base64url."""
    return b64url_encode(json.dumps(value).encode())


class Issuer:
    """Signs with its newest key. ``down`` makes it unreachable; ``body`` replaces the document it answers with."""

    def __init__(self, origin: str = ORIGIN) -> None:
        self.origin = origin
        self.keys: dict[str, Ed25519PrivateKey] = {}
        self.published: list[dict[str, object]] = []
        self.headers: tuple[tuple[str, str], ...] = ()
        self.down = False
        self.status = 200
        self.body: bytes | None = None
        self.kid = ""
        self.rotate("key-1")

    def rotate(self, kid: str, *, keep: bool = False) -> None:
        """A new key; ``keep`` goes on publishing the old ones."""
        self.keys[kid] = Ed25519PrivateKey.generate()
        self.published = [*(self.published if keep else []), self.jwk(kid)]
        self.kid = kid

    def raw(self, kid: str) -> bytes:
        """The 32 public bytes."""
        return self.keys[kid].public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    def jwk(self, kid: str, **more: object) -> dict[str, object]:
        """A key as it is published."""
        return {"kty": "OKP", "crv": "Ed25519", "x": b64url_encode(self.raw(kid)), "kid": kid, "use": "sig", **more}

    def document(self) -> bytes:
        """The JWKS."""
        return json.dumps({"keys": self.published}).encode() if self.body is None else self.body

    def backend(self, call: HttpCall) -> HttpReply:
        """What :class:`ByHand` asks."""
        assert ("GET", f"{self.origin}/.well-known/jwks.json") == (call.http_method, call.url)
        if self.down:
            raise HttpError("the backend gave no answer: ConnectError", sent=False)
        if len(self.document()) > call.max_bytes:  # as the driver does
            raise HttpError("the backend's answer is too long", sent=True)
        return HttpReply(status=self.status, headers=self.headers, body=self.document())

    def by_hand(self) -> ByHand:
        """A world whose only backend is this issuer."""
        return ByHand(self.backend)

    def sign(self, header: Mapping[str, object], claims: object, *, by: str | None = None) -> str:
        """A compact JWS. ``by`` signs with another key than the header says."""
        kid = header.get("kid", self.kid)
        full = {"alg": "EdDSA", "kid": kid, **header}
        signed = f"{b64(full)}.{b64(claims)}"
        return f"{signed}.{b64url_encode(self.keys[by or str(kid)].sign(signed.encode()))}"

    def receipt(self, now: float, header: Mapping[str, object] = RECEIPT_HEADER, **claims: object) -> str:
        """A receipt of 1.00 SGD; a claim given as None is left out."""
        all_claims = {
            "iss": self.origin,
            "sub": "mpp_ch_demo0001",
            "iat": int(now),
            "jti": "receipt-1",
            "challenge_id": "mpp_ch_demo0001",
            "charge_id": "ch_1",
            "payment_id": "pay_1",
            "amount": "1.00",
            "currency": "sgd",
            "request_hash": "c25ce513",
            "nonce": "test-nonce",
            "status": "paid",
            **claims,
        }
        return self.sign(header, {name: value for name, value in all_claims.items() if value is not None})

    def grant(self, now: float, header: Mapping[str, object] = GRANT_HEADER, **claims: object) -> str:
        """A grant of 10.00 SGD a charge, 50.00 in all; a claim given as None is left out."""
        all_claims = {
            "iss": self.origin,
            "sub": "mpp_spm_demo0001",
            "aud": "merchant-test",
            "iat": int(now),
            "exp": int(now) + 3600,
            "jti": "grant-1",
            "currency": "sgd",
            "max_amount_per_charge": "10.00",
            "total_amount_cap": "50.00",
            "max_uses": 20,
            "payment_method": "grabpay_direct",
            **claims,
        }
        return self.sign(header, {name: value for name, value in all_claims.items() if value is not None})
