"""What a challenge is good for: one HTTP method, route, path and query, under the MAC.

``opaque`` carries ``{"n": nonce, "s": base64url(SHA-256(scope))}`` plus what a provider adds. The scope is
the four texts as length-prefixed strings, so no two different requests share one.
"""

from collections.abc import Mapping
from hashlib import sha256

from flovia.core.encoding import b64url_decode, b64url_encode, canonical, loads_object
from flovia.core.http import HttpRequest

_CACHED = 1024


class Scopes:
    """Scope hashes, with a small cache: most requests of a route repeat a few paths and queries."""

    def __init__(self) -> None:
        self._cache: dict[tuple[str, str, str, str], str] = {}

    def of(self, request: HttpRequest) -> str:
        """The scope of a request: 43 characters of base64url. HEAD shares the scope of GET."""
        key = (request.http_method, request.route, request.path, request.query)
        found = self._cache.get(key)
        if found is None:
            if len(self._cache) >= _CACHED:
                self._cache.clear()
            found = self._cache[key] = scope_hash(request)
        return found


def scope_hash(request: HttpRequest) -> str:
    """The scope without a cache."""
    method = "GET" if request.http_method == "HEAD" else request.http_method
    parts = [part.encode("utf-8", "surrogatepass") for part in (method, request.route, request.path, request.query)]
    return b64url_encode(sha256(b"".join(b"%d:%s" % (len(part), part) for part in parts)).digest())


def opaque_param(nonce: str, scope: str, extra: Mapping[str, str]) -> str:
    """The opaque parameter as it goes on the wire."""
    if not extra:
        return b64url_encode(f'{{"n":"{nonce}","s":"{scope}"}}'.encode())
    return b64url_encode(canonical({**extra, "n": nonce, "s": scope}))


def read_opaque(opaque: str) -> tuple[str, str, Mapping[str, str]]:
    """Nonce, scope and the whole map of an opaque parameter that we issued (its MAC was checked before)."""
    found = loads_object(b64url_decode(opaque))
    members = {name: value for name, value in found.items() if isinstance(value, str)}
    return members.get("n", ""), members.get("s", ""), members
