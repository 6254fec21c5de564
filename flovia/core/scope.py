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
_PLAIN_LENGTH: Final = len('{"n":"","s":""}') + 22 + 43
_NOTHING: Final[JsonObject] = MappingProxyType({})


class Scopes:
    """Scope hashes, with a small cache: most requests of a route repeat a few paths and queries."""

    def __init__(self, name: str = "") -> None:
        self._name = name
        self._cache: dict[tuple[str, str, str, str], str] = {}

    def of(self, request: HttpRequest) -> str:
        """The scope of a request: 43 characters of base64url. HEAD shares the scope of GET."""
        key = (request.http_method, request.route, request.path, request.query)
        found = self._cache.get(key)
        if found is None:
            found = scope_hash(request, self._name)
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
    raw = b64url_decode(opaque)
    if len(raw) == _PLAIN_LENGTH and raw[:6] == b'{"n":"' and raw[28:35] == b'","s":"' and b"\\" not in raw:
        text = raw.decode("latin-1")
        return Opaque(text[6:28], text[35:78], _NOTHING)
    members = loads_object(raw)
    nonce, scope = members.get("n"), members.get("s")
    if not isinstance(nonce, str) or not isinstance(scope, str):
        raise ParseError("opaque without nonce and scope")
    return Opaque(nonce, scope, {name: value for name, value in members.items() if name not in ("n", "s")})
