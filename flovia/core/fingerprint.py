"""Who may come back for a payment: whoever brings the same challenge with the same proof, however it is spelled."""

import json
from hashlib import sha256
from typing import Final

from flovia.core.encoding import JsonObject

_encode: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


def fingerprint_of(bound: bytes, payload: JsonObject) -> str:
    """A hash over everything the MAC covers and the payload. Member order and spacing do not matter."""
    parts: list[str] = []
    for name, value in sorted(payload.items()):
        if not isinstance(value, str):
            # JSON starts with a brace, the texts below with a digit, so the two forms never meet.
            return _hash(bound, _encode(payload))
        parts.append(f"{len(name)}:{name}{len(value)}:{value}")
    return _hash(bound, "".join(parts))


def _hash(bound: bytes, proof: str) -> str:
    # The length keeps the two parts apart; both are the client's words.
    hashed = sha256(len(bound).to_bytes(4, "big") + bound)
    hashed.update(proof.encode("utf-8", "surrogatepass"))
    return hashed.hexdigest()
