"""How a challenge's id is bound to the rest of it: HMAC-SHA256 under a secret of the issuer.

Only the issuer checks ids. It needs no list of what it issued: a credential whose echo was altered in any
bound member, or that somebody made up, has the wrong id.
"""

from collections.abc import Sequence
from hashlib import sha256
from hmac import compare_digest
from typing import Final

from flovia.core.challenge import Challenge, clean_description
from flovia.core.encoding import b64url_encode
from flovia.core.errors import ParseError, WiringError

MIN_SECRET: Final = 32
"""Shortest secret of a keyring, in bytes."""

_BLOCK: Final = 64  # SHA-256 works on blocks of this many bytes (RFC 2104 section 2: B)
_INNER: Final = bytes(byte ^ 0x36 for byte in range(256))
_OUTER: Final = bytes(byte ^ 0x5C for byte in range(256))


def slots(
    realm: str,
    method: str,
    intent: str,
    request: str,
    expires: str | None,
    digest: str | None,
    opaque: str | None,
    header: str | None,
) -> bytes:
    """What the id authenticates: the members in fixed slots joined with ``|``, "" for an absent one.

    ``header`` is an eighth slot after the others, only where present, as drafts -01 and -02 say. The
    TypeScript, Python and Rust SDKs insert it before ``opaque`` (open as mpp-specs#357); nobody but the
    issuer checks ids, so the difference is never seen on the wire.
    """
    text = f"{realm}|{method}|{intent}|{request}|{expires or ''}|{digest or ''}|{opaque or ''}"
    if header:
        text = f"{text}|{header}"
    return text.encode("utf-8", "surrogatepass")


class _Key:
    """One secret as two SHA-256 states with the key blocks already in (RFC 2104 section 4)."""

    __slots__ = ("_inner", "_outer")

    def __init__(self, secret: bytes) -> None:
        block = (sha256(secret).digest() if len(secret) > _BLOCK else secret).ljust(_BLOCK, b"\0")
        self._inner = sha256(block.translate(_INNER))
        self._outer = sha256(block.translate(_OUTER))

    def sign(self, message: bytes) -> str:
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(message)
        outer.update(inner.digest())
        return b64url_encode(outer.digest())


class Keyring:
    """The secrets that bind ids: the first signs, all verify, so that a new one can be put in front (S39).

    A secret is text (used as UTF-8) or bytes, at least 32 bytes long. The ring never shows them.

    Raises:
        WiringError: no secret, or one that is too short.
    """

    __slots__ = ("_first", "_keys")

    def __init__(self, secrets: Sequence[str | bytes]) -> None:
        remedy = 'make one with: python -c "import secrets; print(secrets.token_urlsafe(32))"'
        if isinstance(secrets, str | bytes):
            raise WiringError("Keyring takes a list of secrets: put the one secret into a list")
        if not secrets:
            raise WiringError(f"no secret to sign challenges with; {remedy}")
        keys: list[_Key] = []
        for number, secret in enumerate(secrets, 1):
            raw = secret.encode() if isinstance(secret, str) else secret
            if len(raw) < MIN_SECRET:
                raise WiringError(
                    f"secret {number} of {len(secrets)} is shorter than {MIN_SECRET} bytes; {remedy}"
                )
            keys.append(_Key(raw))
        self._keys = tuple(keys)
        self._first = keys[0]

    def __repr__(self) -> str:
        return f"<Keyring of {len(self._keys)}>"

    def sign(self, message: bytes) -> str:
        """The MAC of a message under the first secret, base64url."""
        return self._first.sign(message)

    def verify(self, message: bytes, mac: str) -> bool:
        """Whether ``mac`` is the message's under any of the secrets. Compared in constant time, on bytes."""
        given = mac.encode("ascii", "replace")
        return any(compare_digest(key.sign(message).encode("ascii"), given) for key in self._keys)


def challenge_id(
    secret: bytes,
    *,
    realm: str,
    method: str,
    intent: str,
    request: str,
    expires: str | None = None,
    digest: str | None = None,
    opaque: str | None = None,
    header: str | None = None,
) -> str:
    """The id of a challenge under one secret of any length. For checking other implementations; see :func:`issue`."""
    return _Key(secret).sign(slots(realm, method, intent, request, expires, digest, opaque, header))


def issue(
    keyring: Keyring,
    *,
    realm: str,
    method: str,
    intent: str,
    request: str,
    expires: str,
    digest: str | None = None,
    opaque: str | None = None,
    description: str | None = None,
    header: str | None = None,
) -> Challenge:
    """A challenge with its id, to be sent with :func:`~flovia.core.challenge.format_challenge`.

    ``request`` and ``opaque`` come from :func:`~flovia.core.encoding.encode_param` and
    :func:`~flovia.core.challenge.encode_opaque`. The description is made sendable, see
    :func:`~flovia.core.challenge.clean_description`.

    Raises:
        ParseError: of kind ``format_error``: a bound member holds ``|``, which would blur the slots.
    """
    message = slots(realm, method, intent, request, expires, digest, opaque, header)
    if not _unambiguous(message, header):
        raise ParseError(
            "challenge not issued: no bound member may hold '|', check the realm", "format_error"
        )
    return Challenge(
        id=keyring.sign(message),
        realm=realm,
        method=method,
        intent=intent,
        request=request,
        expires=expires,
        digest=digest,
        opaque=opaque,
        description=None if description is None else clean_description(description),
        header=header,
    )


def authenticate(keyring: Keyring, challenge: Challenge) -> bool:
    """Whether this echo is of a challenge that one of the keyring's secrets issued, unaltered (S04, S10).

    Says nothing about expiry, use, or which route it was for.
    """
    c = challenge
    # An absent member and an empty one fill the same slot, and we never issue an empty one.
    if c.expires == "" or c.digest == "" or c.opaque == "" or c.header == "":
        return False
    message = slots(c.realm, c.method, c.intent, c.request, c.expires, c.digest, c.opaque, c.header)
    return _unambiguous(message, c.header) and keyring.verify(message, c.id)


def _unambiguous(message: bytes, header: str | None) -> bool:
    """Whether every ``|`` is a separator: else one member could pose as two."""
    return message.count(b"|") == (7 if header else 6)
