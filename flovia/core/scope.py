"""What a challenge is good for: one HTTP method, route, path and query, under the MAC.

``opaque`` carries ``{"n": nonce, "s": base64url(SHA-256(scope))}`` plus what a provider adds. The scope is
the texts as length-prefixed strings, and the gate's own name if it was given one, so no two different requests
share one.
"""

from collections.abc import Mapping
from hashlib import sha256
from types import MappingProxyType
from typing import Final

from flovia.core.encoding import JsonObject, b64url_decode, b64url_encode, encode_param, loads_object
from flovia.core.errors import ParseError
from flovia.core.http import HttpRequest

_CACHED: Final = 1024
_CACHED_LENGTH: Final = 512
"""Longest path and query, in characters, that are kept: anybody can send a thousand long ones."""
_NOTHING: Final[JsonObject] = MappingProxyType({})


# Where the parts of a plain opaque parameter stand in its base64url text. Six bytes, {"n":", come before the nonce,
# and from byte 30 on all is scope: whole groups of three bytes, so the text of one scope is always the same there.
_HEAD: Final = b64url_encode(b'{"n":"')
_BEFORE_SCOPE: Final = 40


class Scopes:
    """Scope hashes, with a small cache: most requests of a route repeat a few paths and queries."""

    def __init__(self, name: str = "") -> None:
        self._name = name
        self._cache: dict[tuple[str, str, str, str], tuple[str, str]] = {}

    def of(self, request: HttpRequest) -> str:
        """The scope of a request: 43 characters of base64url. HEAD shares the scope of GET."""
        return self._find(request)[0]

    def read(self, opaque: str, request: HttpRequest) -> JsonObject | None:
        """What a provider added to the opaque parameter of a challenge for this request; None if it is for another.

        Only for a text that our MAC is over: of the form that we issue most, not every byte is looked at.

        Raises:
            ParseError: it is none of ours.
        """
        scope, tail = self._find(request)
        if opaque.endswith(tail) and len(opaque) == _BEFORE_SCOPE + len(tail) and opaque.startswith(_HEAD):
            return _NOTHING
        found = read_opaque(opaque)
        return found.extra if found.scope == scope else None

    def _find(self, request: HttpRequest) -> tuple[str, str]:
        """The scope, and what it comes to at the end of a plain opaque parameter."""
        key = (request.http_method, request.route, request.path, request.query)
        found = self._cache.get(key)
        if found is None:
            scope = scope_hash(request, self._name)
            found = scope, opaque_param("n" * 22, scope, {})[_BEFORE_SCOPE:]
            if len(request.path) + len(request.query) <= _CACHED_LENGTH:
                if len(self._cache) >= _CACHED:
                    self._cache.clear()
                self._cache[key] = found
        return found


def scope_hash(request: HttpRequest, name: str = "") -> str:
    """The scope without a cache. ``name``: the gate's own, if it has one; it tells gates on the same path apart."""
    method = "GET" if request.http_method == "HEAD" else request.http_method
    parts = [
        part.encode("utf-8", "surrogatepass") for part in (method, request.route, request.path, request.query, name)
    ]
    return b64url_encode(sha256(b"".join(b"%d:%s" % (len(part), part) for part in parts)).digest())


def opaque_param(nonce: str, scope: str, extra: Mapping[str, str]) -> str:
    """The opaque parameter as it goes on the wire.

    Raises:
        ParseError: of kind ``format_error``: what the provider adds cannot be read back.
    """
    if not extra:
        return b64url_encode(f'{{"n":"{nonce}","s":"{scope}"}}'.encode())
    return encode_param({**extra, "n": nonce, "s": scope})


class Opaque:
    """A decoded opaque parameter: nonce, scope, and what the provider added."""

    __slots__ = ("extra", "nonce", "scope")

    def __init__(self, nonce: str, scope: str, extra: JsonObject) -> None:
        self.nonce = nonce
        self.scope = scope
        self.extra = extra


def read_opaque(opaque: str) -> Opaque:
    """Decode an opaque parameter in the form that we issue. Whether we did is for the MAC to say.

    Raises:
        ParseError: it is none of ours.
    """
    members = loads_object(b64url_decode(opaque))
    nonce, scope = members.get("n"), members.get("s")
    if not isinstance(nonce, str) or not isinstance(scope, str):
        raise ParseError("opaque without nonce and scope")
    return Opaque(nonce, scope, {name: value for name, value in members.items() if name not in ("n", "s")})
