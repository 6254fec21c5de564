"""The request hash that binds a charge at the broker to one request: ``flovia-rh-1``, our choice.

HitPay publishes what goes in (method, path, query; another query is another hash) and not how. Only the server
computes it, and the broker stores and compares it, so that it has to agree with itself alone.
"""

from hashlib import sha256
from urllib.parse import unquote_to_bytes

from flovia.core.encoding import JsonValue, canonical
from flovia.core.fields import format_digest
from flovia.core.http import BodyState, HttpRequest
from flovia.providers.hitpay.config import HitPayConfig

_BODILESS = frozenset({"GET", "HEAD"})


def flovia_rh_1(request: HttpRequest, ignores: frozenset[str] = frozenset()) -> str:
    """SHA-256, lower-case hex, over the RFC 8785 JSON of ``method``, ``path``, ``query`` and, with a body, ``body``.

    ``query`` maps each name to its percent-decoded value, a repeated one to the list in the order received; names in
    ``ignores`` are left out. ``path`` is the one that the router saw. HEAD counts as GET. The gate binds the exact
    text of path and query besides, so that no two requests share a challenge even if they share this hash.
    """
    method = "GET" if request.http_method == "HEAD" else request.http_method
    members: dict[str, JsonValue] = {
        "method": method,
        "path": _writable(request.path),
        "query": query_members(request.query, ignores),
    }
    if request.body.state is BodyState.READ and method not in _BODILESS:
        members["body"] = format_digest(request.body.sha256)
    return sha256(canonical(members)).hexdigest()


def query_members(query: str, ignores: frozenset[str] = frozenset()) -> dict[str, JsonValue]:
    """A raw query as a map of names to values, decoded as forms are (``+`` is a space)."""
    found: dict[str, list[JsonValue]] = {}
    for part in query.split("&"):
        if part:
            name, _, value = part.partition("=")
            key = _decoded(name)
            if key not in ignores:
                found.setdefault(key, []).append(_decoded(value))
    return {name: values[0] if len(values) == 1 else values for name, values in found.items()}


def request_hash(request: HttpRequest, config: HitPayConfig) -> str:
    """The hash under the configured function."""
    return (config.request_hash or flovia_rh_1)(request, config.hash_ignores)


def _decoded(text: str) -> str:
    try:
        raw = unquote_to_bytes(text.replace("+", " "))
        return _writable(raw.decode())
    except UnicodeDecodeError:
        # No text that JSON could carry: it stays as it was sent.
        return _writable(text)


def _writable(text: str) -> str:
    """The text without what JSON cannot carry: lone surrogates and U+0000, written out."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")
