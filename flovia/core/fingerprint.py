"""Who may come back for a payment: whoever brings the same challenge with the same proof, however it is spelled."""

import json
from hashlib import sha256
from typing import Final

from flovia.core.encoding import JsonObject

_encode: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


def fingerprint_of(bound: bytes, payload: JsonObject) -> str:
    """A hash over everything the MAC covers and the payload. Member order and spacing do not matter."""
    texts = [""]
    for name, value in sorted(payload.items()):
        if not isinstance(value, str):
            # JSON starts with a brace, the texts with U+0000, so the two forms never meet.
            proof = _encode(payload)
            break
        texts += (name, value)
    else:
        # Our JSON reader refuses U+0000, so no text holds one and it keeps them apart.
        proof = "\0".join(texts)
    # The length keeps the two parts apart; both are the client's words.
    return sha256(len(bound).to_bytes(4, "big") + bound + proof.encode("utf-8", "surrogatepass")).hexdigest()
