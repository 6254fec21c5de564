"""Ed25519 public keys, as a JWKS publishes them and as we keep them (RFC 7517, RFC 8037)."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Final

import attrs

from flovia.core.encoding import JsonObject, JsonValue, b64url_decode, canonical, loads_object
from flovia.core.errors import ParseError, WiringError
from flovia.signed.limits import DEFAULT_LIMITS, SignedLimits

if TYPE_CHECKING:
    from joserfc.jwk import OKPKey

MAX_KID: Final = 256
ALGORITHMS: Final = ("EdDSA", "Ed25519")
"""``EdDSA`` (RFC 8037), which HitPay documents by naming Ed25519, and its newer name ``Ed25519`` (RFC 9864)."""

_KEY_BYTES: Final = 32
INSTALL: Final = "signed receipts and grants need joserfc: pip install 'flovia[receipts]'"


def require_joserfc() -> None:
    """Fail now, at start, if the library for signatures is not there.

    Raises:
        WiringError: with the line to install.
    """
    try:
        import_module("joserfc.jws")
    except ImportError:
        raise WiringError(INSTALL) from None


@attrs.frozen(kw_only=True)
class PublicKey:
    """One Ed25519 key. ``x``: its 32 bytes as base64url.

    ``retired_at``: Unix seconds at which it was last seen published, or None while it is published. A retired key
    verifies only what says it was signed before that.
    """

    kid: str
    x: str
    retired_at: float | None = None

    def for_joserfc(self) -> "OKPKey":
        """The key in joserfc's form.

        Raises:
            WiringError: joserfc is not installed.
        """
        try:
            from joserfc.jwk import OKPKey
        except ImportError:
            raise WiringError(INSTALL) from None
        return OKPKey.import_key({"kty": "OKP", "crv": "Ed25519", "x": self.x})


@attrs.frozen(kw_only=True)
class KeySet:
    """The usable keys of one issuer, by ``kid``, and when they were fetched (Unix seconds).

    ``fresh_until``: until then nobody asks for them again, unless a token names a key that is not here.
    ``fetch``: which fetch brought them, so that those who wait for it know.
    """

    keys: Mapping[str, PublicKey]
    fetched_at: float
    fresh_until: float
    fetch: str = ""

    @property
    def current(self) -> Sequence[PublicKey]:
        """The keys that are published now."""
        return [key for key in self.keys.values() if key.retired_at is None]

    def to_json(self) -> str:
        """For the ledger. Public keys only."""
        rows: list[JsonValue] = [
            [key.kid, key.x] if key.retired_at is None else [key.kid, key.x, int(key.retired_at)]
            for key in self.keys.values()
        ]
        return canonical(
            {
                "keys": rows,
                "fetched_at": int(self.fetched_at),
                "fresh_until": int(self.fresh_until),
                "fetch": self.fetch,
            }
        ).decode()

    @classmethod
    def from_json(cls, text: str) -> "KeySet":
        """What :meth:`to_json` wrote.

        Raises:
            ParseError: it did not write this.
        """
        members = loads_object(text)
        rows, fetched_at, fresh_until = members.get("keys"), members.get("fetched_at"), members.get("fresh_until")
        fetch = members.get("fetch")
        if not isinstance(rows, list) or not isinstance(fetched_at, int) or not isinstance(fresh_until, int):
            raise ParseError("not a kept key set")
        if not isinstance(fetch, str):
            raise ParseError("not a kept key set")
        keys: dict[str, PublicKey] = {}
        for row in rows:
            match row:
                case [str(kid), str(x)]:
                    keys[kid] = PublicKey(kid=kid, x=x)
                case [str(kid), str(x), int(retired_at)]:
                    keys[kid] = PublicKey(kid=kid, x=x, retired_at=float(retired_at))
                case _:
                    raise ParseError("not a kept key set")
        return cls(keys=keys, fetched_at=float(fetched_at), fresh_until=float(fresh_until), fetch=fetch)


@attrs.frozen(kw_only=True)
class Published:
    """What a JWKS document says: usable keys by ``kid``, and the kids it takes back."""

    keys: Mapping[str, PublicKey]
    withdrawn: frozenset[str]


def read_jwks(raw: bytes, limits: SignedLimits = DEFAULT_LIMITS) -> Published:
    """Read a JWKS document. Keys that are no Ed25519 verification keys are skipped (RFC 7517 section 5).

    A ``kid`` that two different keys claim is usable for neither, and so is one whose private half was published or
    that is marked ``revoked`` (OpenID Federation section 8.7): those are withdrawn, also from what was kept of them.

    Raises:
        ParseError: not strict JSON, not a key set, too long, too many keys, or none that is usable.
    """
    if len(raw) > limits.max_set:
        raise ParseError(f"key set longer than {limits.max_set} bytes")
    members = loads_object(raw)
    listed = members.get("keys")
    if not isinstance(listed, list):
        raise ParseError("key set without an array 'keys'")
    if len(listed) > limits.max_keys:
        raise ParseError(f"key set with more than {limits.max_keys} keys")
    keys: dict[str, PublicKey] = {}
    withdrawn: set[str] = set()
    for jwk in listed:
        kid = jwk.get("kid") if isinstance(jwk, dict) else None
        if not isinstance(jwk, dict) or not isinstance(kid, str) or not 0 < len(kid) <= MAX_KID:
            continue
        if jwk.get("kty") != "OKP" or jwk.get("crv") != "Ed25519":
            continue
        if "d" in jwk or "revoked" in jwk:
            withdrawn.add(kid)
            continue
        key = _usable(kid, jwk)
        if key is None:
            continue
        if keys.setdefault(kid, key) != key:
            withdrawn.add(kid)
    for kid in withdrawn:
        keys.pop(kid, None)
    if not keys:
        raise ParseError("key set without a usable Ed25519 key")
    return Published(keys=keys, withdrawn=frozenset(withdrawn))


def _usable(kid: str, jwk: JsonObject) -> PublicKey | None:
    x, operations = jwk.get("x"), jwk.get("key_ops", ["verify"])
    if not isinstance(x, str) or jwk.get("use", "sig") != "sig" or jwk.get("alg", "EdDSA") not in ALGORITHMS:
        return None
    if not isinstance(operations, list) or "verify" not in operations:
        return None
    try:
        if len(b64url_decode(x)) != _KEY_BYTES:
            return None
    except ParseError:
        return None
    return PublicKey(kid=kid, x=x)


def succeed(old: KeySet | None, new: Published, now: float, age_s: float, limits: SignedLimits) -> KeySet:
    """The set after a fetch: what is published now, and what was before and older receipts still need.

    ``age_s``: how long it is fresh.
    """
    keys = dict(new.keys)
    for kid, key in old.keys.items() if old is not None else ():
        # It may have signed until this moment: the set is looked at now and then only.
        retired_at = now if key.retired_at is None else key.retired_at
        if kid not in keys and kid not in new.withdrawn and retired_at + limits.retired_s > now:
            keys[kid] = attrs.evolve(key, retired_at=retired_at)
    return KeySet(keys=keys, fetched_at=now, fresh_until=now + age_s)
