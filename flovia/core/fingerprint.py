"""Who may come back for a payment: whoever brings the same challenge with the same proof, however it is spelled."""

import json
from hashlib import sha256
from typing import Final

from flovia.core.encoding import JsonObject, b64url_encode

_encode: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


def fingerprint_of(bound: bytes, payload: JsonObject) -> str:
    """A hash over everything the MAC covers and the payload. Member order and spacing do not matter."""
    # The length keeps the two parts apart; both are the client's words.
    return b64url_encode(sha256(b"%d:%s" % (len(bound), bound) + _encode(payload).encode()).digest())
