"""The only request and response types the core knows.

Adapters build an :class:`HttpRequest` from what their framework received and turn an
:class:`HttpResponse` back into the framework's own. Values are text as they were on the wire
(header values latin-1), nothing is normalised here.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import Enum
from hashlib import sha256
from typing import Final

import attrs


class FieldSet:
    """Some field names (lower case), prepared for :meth:`Headers.has_any`."""

    __slots__ = ("environ", "names", "raw")

    def __init__(self, *names: str) -> None:
        self.names = frozenset(names)
        self.raw = frozenset(name.encode("latin-1") for name in names)
        self.environ = frozenset("HTTP_" + name.upper().replace("-", "_") for name in names)


class Headers:
    """Header fields: ordered, multi-valued, names case-insensitive.

    Build it with :meth:`of`, :meth:`from_asgi` or :meth:`from_environ`; decoding is put off until a
    field is asked for, because most requests are answered after looking at three of them.
    """

    __slots__ = ()

    @staticmethod
    def of(pairs: Iterable[tuple[str, str]]) -> "Headers":
        """Headers from (name, value) text pairs."""
        return _PairHeaders(tuple(pairs))

    @staticmethod
    def from_asgi(raw: Sequence[tuple[bytes, bytes]]) -> "Headers":
        """Headers from an ASGI scope's list: lower-case byte names, byte values."""
        return _AsgiHeaders(raw)

    @staticmethod
    def from_environ(environ: Mapping[str, object]) -> "Headers":
        """Headers from a WSGI environ. Servers join repeated fields with a comma before we see them."""
        return _EnvironHeaders(environ)

    def get_all(self, name: str) -> list[str]:
        """Every value of a field in order; ``name`` in lower case. Empty if the field is absent."""
        raise KeyError(name)

    def get(self, name: str) -> str | None:
        """The field's value, repeated ones joined with ``", "`` as RFC 9110 section 5.3 allows; None if absent."""
        values = self.get_all(name)
        if not values:
            return None
        return values[0] if len(values) == 1 else ", ".join(values)

    def has_any(self, fields: FieldSet) -> bool:
        """Whether any of these fields is present."""
        return not fields.names.isdisjoint(name for name, _ in self.items())

    def items(self) -> Iterator[tuple[str, str]]:
        """All fields as (lower-case name, value)."""
        raise KeyError

    def __repr__(self) -> str:
        # Values may be credentials.
        return f"<Headers {sorted({name for name, _ in self.items()})}>"


class _PairHeaders(Headers):
    __slots__ = ("_pairs",)

    def __init__(self, pairs: tuple[tuple[str, str], ...]) -> None:
        self._pairs = tuple((name.lower(), value) for name, value in pairs)

    def get_all(self, name: str) -> list[str]:
        return [value for key, value in self._pairs if key == name]

    def items(self) -> Iterator[tuple[str, str]]:
        return iter(self._pairs)


class _AsgiHeaders(Headers):
    __slots__ = ("_index", "_raw")

    def __init__(self, raw: Sequence[tuple[bytes, bytes]]) -> None:
        self._raw = raw
        index = dict(raw)
        # Without a repeated field the dict is the whole truth, and looking up costs one hash.
        self._index = index if len(index) == len(raw) else None

    def get_all(self, name: str) -> list[str]:
        key = name.encode("latin-1")
        if self._index is not None:
            value = self._index.get(key)
            return [] if value is None else [value.decode("latin-1")]
        return [value.decode("latin-1") for found, value in self._raw if found == key]

    def get(self, name: str) -> str | None:
        if self._index is not None:
            value = self._index.get(name.encode("latin-1"))
            return None if value is None else value.decode("latin-1")
        return super().get(name)

    def has_any(self, fields: FieldSet) -> bool:
        if self._index is not None:
            return not fields.raw.isdisjoint(self._index)
        return super().has_any(fields)

    def items(self) -> Iterator[tuple[str, str]]:
        for name, value in self._raw:
            yield name.decode("latin-1"), value.decode("latin-1")


class _EnvironHeaders(Headers):
    __slots__ = ("_environ",)

    def __init__(self, environ: Mapping[str, object]) -> None:
        self._environ = environ

    def get_all(self, name: str) -> list[str]:
        value = self.get(name)
        return [] if value is None else [value]

    def get(self, name: str) -> str | None:
        key = name.upper().replace("-", "_")
        if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            key = "HTTP_" + key
        value = self._environ.get(key)
        return value if isinstance(value, str) else None

    def has_any(self, fields: FieldSet) -> bool:
        return not fields.environ.isdisjoint(self._environ)

    def items(self) -> Iterator[tuple[str, str]]:
        for key, value in self._environ.items():
            if isinstance(value, str):
                if key.startswith("HTTP_"):
                    yield key[5:].lower().replace("_", "-"), value
                elif key in ("CONTENT_TYPE", "CONTENT_LENGTH") and value:
                    yield key.lower().replace("_", "-"), value


class BodyState(Enum):
    """What an adapter found when it read the request's body for the digest."""

    EMPTY = "empty"
    READ = "read"
    TOO_LARGE = "too_large"
    """More than the route's ``max_body`` bytes: 413."""
    UNTERMINATED = "unterminated"
    """Chunked input on a server that does not say where it ends: 411."""
    UNREAD = "unread"
    """The route does not bind bodies (``digest=False``), so nobody read it."""


SMALL_BODY: Final = 4096
"""Bytes of a body that are kept beside its hash. A body that arrives whole anyway costs nothing more for it."""


@attrs.frozen(kw_only=True)
class Body:
    """The request's body, as far as the protocol cares: its SHA-256 and size in bytes.

    ``small`` is the body itself where somebody read it and it has at most :data:`SMALL_BODY` bytes, for a provider
    that finds a wish of the agent's in it; else None. Nothing may depend on it that the hash does not bind.
    """

    state: BodyState
    sha256: bytes = b""
    size: int = 0
    small: bytes | None = attrs.field(default=None, repr=False)


NO_BODY = Body(state=BodyState.EMPTY)
UNREAD_BODY = Body(state=BodyState.UNREAD)
BODY_TOO_LARGE = Body(state=BodyState.TOO_LARGE)
BODY_UNTERMINATED = Body(state=BodyState.UNTERMINATED)


class BodyMeter:
    """SHA-256 and size of a body that arrives in pieces, with a limit in bytes."""

    __slots__ = ("_hash", "_limit", "_size", "_small")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        self._small = b""
        self._hash = sha256()

    def feed(self, chunk: bytes) -> bool:
        """Count one piece. False once the body is over the limit: stop reading then."""
        self._size += len(chunk)
        if self._size > self._limit:
            return False
        self._hash.update(chunk)
        if self._size <= SMALL_BODY:
            self._small += chunk
        return True

    @property
    def body(self) -> Body:
        """What was seen so far."""
        if self._size > self._limit:
            return BODY_TOO_LARGE
        if not self._size:
            return NO_BODY
        small = self._small if self._size <= SMALL_BODY else None
        return Body(state=BodyState.READ, sha256=self._hash.digest(), size=self._size, small=small)


@attrs.define
class HttpRequest:
    """One HTTP request as the router saw it. Read-only by agreement; adapters build one per request, so it is
    positional and not frozen, which would cost as much as making it.

    ``http_method`` upper case. ``path`` is SCRIPT_NAME/root_path plus path, decoded as the router decoded
    it. ``query`` is the raw query string without ``?``. ``route`` is the route's pattern
    (``/items/{id}``), or "" if the adapter knows none; then the path stands for it. ``client`` is the
    peer's address, ``server`` the address the server is bound to ("" where unknown). ``request_id`` is
    the caller's own, never the same for two requests, or "" to have one made: from ``traceparent``, if
    there is one, and random. ``multiprocess`` is True where the server says that other processes serve the
    same app (``wsgi.multiprocess``).
    """

    http_method: str
    path: str
    query: str
    headers: Headers
    route: str = ""
    client: str = ""
    server: str = ""
    body: Body = NO_BODY
    request_id: str = ""
    multiprocess: bool = False


@attrs.define
class HttpResponse:
    """A whole response that flovia answers itself: a refusal, or a withheld answer. ``body`` is never large.

    Read-only by agreement, like :class:`HttpRequest`.
    """

    status: int
    # A stored answer has its receipt among them.
    headers: tuple[tuple[str, str], ...] = attrs.field(repr=lambda fields: str([name for name, _ in fields]))
    body: bytes = attrs.field(default=b"", repr=False)
