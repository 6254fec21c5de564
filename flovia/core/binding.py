"""How a challenge's id is bound to the rest of it: HMAC-SHA256 under a secret of the issuer.

Only the issuer checks ids. It needs no list of what it issued: a credential whose echo was altered in any
bound member, or that somebody made up, has the wrong id.
"""

from binascii import b2a_base64
from collections.abc import Callable, Sequence
from hashlib import sha256
from hmac import compare_digest
from typing import Final, Protocol, TypeAlias

from flovia.core.challenge import PAYMENT_AUTHORIZATION, Challenge, clean_description
from flovia.core.errors import ParseError, WiringError

MIN_SECRET: Final = 32
"""Shortest secret of a keyring, in bytes."""

_TO_URL: Final = bytes.maketrans(b"+/", b"-_")
_EIGHTH: Final = f"|{PAYMENT_AUTHORIZATION}"
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
    text = "|".join((realm, method, intent, request, expires or "", digest or "", opaque or ""))
    if header:
        text = f"{text}|{header}"
    return text.encode("utf-8", "surrogatepass")


class _Sha256(Protocol):
    """What we use of hashlib's unnamed hash type."""

    def update(self, data: bytes, /) -> None: ...

    def digest(self) -> bytes: ...

    def copy(self) -> "_Sha256": ...


_Copy: TypeAlias = Callable[[], _Sha256]


def _states(secret: bytes) -> tuple[_Copy, _Copy]:
    """HMAC's two SHA-256 states with the key blocks already in (RFC 2104 section 4), each as its ``copy``."""
    block = (sha256(secret).digest() if len(secret) > _BLOCK else secret).ljust(_BLOCK, b"\0")
    return sha256(block.translate(_INNER)).copy, sha256(block.translate(_OUTER)).copy


def _mac(states: tuple[_Copy, _Copy], message: bytes) -> bytes:
    """The MAC in base64url: 32 bytes are 43 characters and one of padding."""
    inner, outer = states[0](), states[1]()
    inner.update(message)
    outer.update(inner.digest())
    return b2a_base64(outer.digest(), newline=False)[:43].translate(_TO_URL)


def _verified(keys: tuple[tuple[_Copy, _Copy], ...], message: bytes, mac: str) -> bool:
    given = mac.encode("ascii", "replace")
    for copy_inner, copy_outer in keys:
        # _mac() by hand: every paid request comes through here.
        inner, outer = copy_inner(), copy_outer()
        inner.update(message)
        outer.update(inner.digest())
        if compare_digest(b2a_base64(outer.digest(), newline=False)[:43].translate(_TO_URL), given):
            return True
    return False


class Keyring:
    """The secrets that bind ids: the first signs, all verify, so that a new one can be put in front (S39).

    A secret is text (used as UTF-8) or bytes, at least 32 bytes long. The ring never shows them.

    Raises:
        WiringError: no secret, or one that is too short.
    """

    __slots__ = ("states",)

    def __init__(self, secrets: Sequence[str | bytes]) -> None:
        remedy = 'make one with: python -c "import secrets; print(secrets.token_urlsafe(32))"'
        if isinstance(secrets, str | bytes):
            raise WiringError("Keyring takes a list of secrets: put the one secret into a list")
        if not secrets:
            raise WiringError(f"no secret to sign challenges with; {remedy}")
        states: list[tuple[_Copy, _Copy]] = []
        for number, secret in enumerate(secrets, 1):
            raw = secret.encode() if isinstance(secret, str) else secret
            if len(raw) < MIN_SECRET:
                raise WiringError(f"secret {number} of {len(secrets)} is shorter than {MIN_SECRET} bytes; {remedy}")
            states.append(_states(raw))
        self.states = tuple(states)
        """For :class:`Prefix`: of each secret the two states of its HMAC, which sign like the secret itself."""

    def __repr__(self) -> str:
        return f"<Keyring of {len(self.states)}>"

    def sign(self, message: bytes) -> str:
        """The MAC of a message under the first secret, base64url."""
        return _mac(self.states[0], message).decode("ascii")

    def verify(self, message: bytes, mac: str) -> bool:
        """Whether ``mac`` is the message's under any of the secrets. Compared in constant time, on bytes."""
        return _verified(self.states, message, mac)


class Prefix:
    """The beginning that many messages have in common, hashed once under every key of a ring.

    ``sign`` and ``verify`` are the ring's, for the message made of that beginning and ``rest``.
    """

    __slots__ = ("_keys",)

    def __init__(self, keyring: Keyring, beginning: bytes) -> None:
        self._keys = tuple(_begun(states, beginning) for states in keyring.states)

    def sign(self, rest: bytes) -> str:
        """See :meth:`Keyring.sign`."""
        return _mac(self._keys[0], rest).decode("ascii")

    def verify(self, rest: bytes, mac: str) -> bool:
        """See :meth:`Keyring.verify`."""
        return _verified(self._keys, rest, mac)


def _begun(states: tuple[_Copy, _Copy], beginning: bytes) -> tuple[_Copy, _Copy]:
    inner = states[0]()
    inner.update(beginning)
    return inner.copy, states[1]


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
    message = slots(realm, method, intent, request, expires, digest, opaque, header)
    return _mac(_states(secret), message).decode("ascii")


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
    # Else one member could pose as two. The grammars of the others, which format_challenge() checks, have none.
    if "|" in realm or (digest and "|" in digest):
        raise ParseError("challenge not issued: neither realm nor digest may hold '|'", "format_error")
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


def bound_message(challenge: Challenge) -> bytes | None:
    """What the id of an echoed challenge has to authenticate; None if no challenge of ours has that form."""
    rest = bound_rest(challenge)
    if rest is None:
        return None
    c = challenge
    return f"{c.realm}|{c.method}|{c.intent}|{c.request}|".encode("utf-8", "surrogatepass") + rest


def bound_rest(challenge: Challenge) -> bytes | None:
    """The end of :func:`bound_message`, what comes after the slot of ``request`` and its separator."""
    c = challenge
    expires, digest, opaque, header = c.expires, c.digest, c.opaque, c.header
    # An absent member and an empty one fill the same slot, and we never issue an empty one.
    if expires == "" or digest == "" or opaque == "" or header == "":
        return None
    text = f"{expires or ''}|{digest or ''}|{opaque or ''}"
    if header is not None:
        text = f"{text}|{header}"
    # No member of a challenge of ours holds "|", so a message with as many of them splits in one way
    # only. What is left is an echo without header whose last member has taken the eighth slot in.
    elif text.endswith(_EIGHTH):
        return None
    return text.encode("utf-8", "surrogatepass")


def authenticate(keyring: Keyring, challenge: Challenge) -> bool:
    """Whether this echo is of a challenge that one of the keyring's secrets issued, unaltered (S04, S10).

    Says nothing about expiry, use, or which route it was for.
    """
    message = bound_message(challenge)
    return message is not None and keyring.verify(message, challenge.id)
