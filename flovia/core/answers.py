"""The answer that was delivered, kept for whoever repeats the request under the same ``Idempotency-Key`` (S41).

A request that brings the key is copied on its way out, up to a limit, and never held back for that. The copy is
written together with ``delivered``, so there is no delivery of which the answer got lost in between.
"""

import re
from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Final, cast

import attrs

from flovia.core.errors import ParseError
from flovia.core.http import HttpResponse

KEY_FIELD: Final = "idempotency-key"
MAX_KEY: Final = 255
"""Longest key, in characters; what most services that take one allow."""
MAX_HEAD: Final = 16384
"""Bytes of header fields that are kept; an answer with more is not kept."""
_MAX_FIELD: Final = 1024
# The usual spellings; what else is a quoted string (escapes, parameters) is for the parser.
_QUOTED: Final = re.compile(r'"([ !#-\[\]-~]*+)"').fullmatch
_BARE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~:/+=@!*-]*+").fullmatch

NOT_KEPT: Final = frozenset(
    {
        # Of the connection that is gone, RFC 9110 section 7.6.1.
        "connection",
        "keep-alive",
        "proxy-connection",
        "proxy-authenticate",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        # A login that may have ended since, and no business of a ledger.
        "set-cookie",
        # When it was sent; a server writes its own.
        "date",
    }
)
"""The header fields of an answer that are not kept."""


def read_key(values: Sequence[str]) -> str:
    """The key in the values of ``Idempotency-Key``: a quoted string (draft-ietf-httpapi-idempotency-key-header).

    Many clients send it without quotes. Then it is taken as it stands, the same key as with them, if it consists of
    letters, digits and ``._~:/+=@!*-`` and begins with one of the first two. Parameters are ignored, as the draft
    defines none.

    Raises:
        ParseError: it came more than once, or is neither, or empty, or longer than 255 characters.
    """
    if len(values) != 1:
        raise ParseError("Idempotency-Key more than once")
    value = values[0].strip(" \t")
    if len(value) > _MAX_FIELD:
        raise ParseError(f"Idempotency-Key longer than {_MAX_FIELD} characters")
    if _BARE(value):
        key = value
    elif match := _QUOTED(value):
        key = match[1]
    else:
        key = _string(value)
    if not 1 <= len(key) <= MAX_KEY:
        raise ParseError(f"Idempotency-Key of {len(key)} characters")
    return key


def _string(value: str) -> str:
    """A string item of a structured field (RFC 9651 section 3.3.3)."""
    import http_sf  # here, because hardly anybody spells it so and the import is not small

    if not value.startswith('"'):
        raise ParseError("Idempotency-Key that is no quoted string")
    try:
        item = http_sf.parse(value.encode("latin-1"), tltype="item")
    except ValueError:
        raise ParseError("Idempotency-Key that is no quoted string") from None
    return cast("tuple[str, object]", item)[0]


def caller_of(key: str, fingerprint: str) -> str:
    """Whose answer it is: a hash of the key and of the credential's fingerprint.

    The fingerprint covers the challenge, and with it the route's scope and the digest of the request's body; and the
    proof, which only the payer has. So one key in two hands is two keys, and nobody learns of the other.
    """
    return sha256(f"{fingerprint}|{key}".encode()).hexdigest()


@attrs.frozen(kw_only=True)
class StoredAnswer:
    """A delivered answer. ``caller``: whose it is, see :func:`caller_of`. ``until``: Unix seconds."""

    caller: str = attrs.field(repr=False)
    status: int
    headers: tuple[tuple[str, str], ...] = attrs.field(repr=False)
    body: bytes = attrs.field(repr=False)
    until: float

    @property
    def response(self) -> HttpResponse:
        """The answer, to be sent again."""
        return HttpResponse(self.status, self.headers, self.body)


class AnswerCopy:
    """An answer while it is on its way. It is given up, silently for the client, once it is over the limit."""

    __slots__ = ("_caller", "_head", "_limit", "_pieces", "_size", "asked_for", "whole")

    def __init__(self, caller: str, limit: int) -> None:
        self._caller = caller
        self._limit = limit
        self._head: tuple[int, tuple[tuple[str, str], ...]] | None = None
        self._pieces: list[bytes] = []
        self._size = 0
        self.asked_for = False
        """An adapter gives it the body."""
        self.whole = False
        """All of the body was given, whether or not anybody received it."""

    def begin(self, status: int, headers: Iterable[tuple[str, str]]) -> None:
        """Take the head as it is sent, names in lower case."""
        self._head, self._pieces, self._size, self.whole = None, [], 0, False
        kept = tuple(pair for pair in headers if pair[0] not in NOT_KEPT)
        length = next((value for name, value in kept if name == "content-length"), "")
        too_long = length.isascii() and length.isdecimal() and (len(length) > 18 or int(length) > self._limit)
        if not too_long and sum(len(name) + len(value) for name, value in kept) <= MAX_HEAD:
            self._head = status, kept

    def feed(self, piece: bytes) -> None:
        """Take the next bytes of the body."""
        if self._head is None:
            return
        self._size += len(piece)
        if self._size > self._limit:
            self.drop()
        else:
            self._pieces.append(bytes(piece))

    def drop(self) -> None:
        """Give it up: it is too long, or its bytes cannot be seen from here."""
        self._head = None
        self._pieces.clear()

    def take(self, response: HttpResponse) -> None:
        """Take a response of the gate's own."""
        self.begin(response.status, response.headers)
        self.feed(response.body)
        self.whole = True

    def stored(self, until: float) -> StoredAnswer | None:
        """The answer to keep; None if it was given up, or if nobody gave it a body."""
        if self._head is None or not (self.asked_for or self.whole):
            return None
        status, headers = self._head
        body = b"".join(self._pieces)
        return StoredAnswer(caller=self._caller, status=status, headers=headers, body=body, until=until)
