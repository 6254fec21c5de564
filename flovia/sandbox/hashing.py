"""The request hash and the two webhook signatures, each written here a second time, apart from the provider's."""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from urllib.parse import parse_qsl

import rfc8785


def request_hash(http_method: str, path: str, query: str = "", body: bytes = b"") -> str:
    """The hash ``flovia-rh-1`` that binds a charge to one request: lower-case hex SHA-256.

    Over RFC 8785 JSON of the verb, the raw path, the decoded query (a repeated key becomes a list in received
    order) and, if there is a body and the verb may have one, its RFC 9530 digest. Our choice: HitPay publishes
    the inputs (method, path, query) and no algorithm.
    """
    members: dict[str, str | list[str]] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        known = members.get(name)
        if known is None:
            members[name] = value
        elif isinstance(known, list):
            known.append(value)
        else:
            members[name] = [known, value]
    verb = http_method.upper()
    bound: dict[str, str | dict[str, str | list[str]]] = {"method": verb, "path": path, "query": members}
    if body and verb not in ("GET", "HEAD"):
        bound["body"] = f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode()}:"
    return hashlib.sha256(rfc8785.dumps(bound)).hexdigest()


def event_signature(body: bytes, salt: str) -> str:
    """``Hitpay-Signature``: hex HMAC-SHA256 over the raw body with the endpoint's salt (HitPay docs: events)."""
    return hmac.new(salt.encode(), body, hashlib.sha256).hexdigest()


def form_signature(fields: Mapping[str, str], api_salt: str) -> str:
    """``hmac`` of a per-request callback: over ``key1value1key2value2…`` sorted by key, with the API key's salt."""
    text = "".join(f"{name}{fields[name]}" for name in sorted(fields) if name != "hmac")
    return hmac.new(api_salt.encode(), text.encode(), hashlib.sha256).hexdigest()


def same(left: str, right: str) -> bool:
    """Compare two texts in constant time."""
    return hmac.compare_digest(left.encode(), right.encode())
