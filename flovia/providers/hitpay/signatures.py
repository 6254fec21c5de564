"""HitPay's two webhook signatures, over the bytes that arrived. Two salts: they are not the same value.

* v2, field ``Hitpay-Signature``: hex HMAC-SHA256 of the raw body under the salt of the webhook endpoint.
* v1, form member ``hmac``: hex HMAC-SHA256 of the other members, sorted by name and joined without anything between,
  under the salt of the API key.
"""

import hmac
import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Final
from urllib.parse import unquote_to_bytes

_HEX: Final = re.compile(r"(?:sha256=)?([0-9a-fA-F]{64})").fullmatch
MAX_MEMBERS: Final = 64


def check_v2(body: bytes, signature: str, salts: Sequence[str]) -> bool:
    """Whether one of the salts made this signature of the body. A ``sha256=`` in front and capitals are tolerated."""
    return _check(body, signature, salts)


def check_v1(members: Mapping[str, str], salts: Sequence[str]) -> bool:
    """Whether one of the salts made the ``hmac`` among the members of a form."""
    message = "".join(f"{name}{value}" for name, value in sorted(members.items()) if name != "hmac")
    return _check(message.encode("utf-8", "surrogatepass"), members.get("hmac", ""), salts)


def _check(message: bytes, signature: str, salts: Sequence[str]) -> bool:
    found = _HEX(signature.strip())
    if found is None:
        return False
    given, good = bytes.fromhex(found[1]), False
    for salt in salts:  # all of them, whichever it is
        good |= hmac.compare_digest(hmac.digest(salt.encode(), message, sha256), given)
    return good


def read_form(body: bytes) -> dict[str, str] | None:
    """The members of a form (application/x-www-form-urlencoded); None if it is none, or a name comes twice."""
    members: dict[str, str] = {}
    try:
        parts = body.decode("ascii").split("&")
        if len(parts) > MAX_MEMBERS:
            return None
        for part in parts:
            name, equals, value = (unquote_to_bytes(text.replace("+", " ")).decode() for text in part.partition("="))
            if not equals or name in members:
                return None
            members[name] = value
    except UnicodeDecodeError:
        return None
    return members
