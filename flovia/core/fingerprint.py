"""Who may come back for a payment: whoever brings the same challenge with the same proof, however it is spelled."""

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Final, cast

from flovia.core.encoding import JsonObject

_encode: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


def fingerprint_of(bound: bytes, payload: JsonObject) -> str:
    """A hash over everything the MAC covers and the payload. Member order and spacing do not matter."""
    try:
        # Our JSON reader refuses U+0000, so no text holds one and it keeps them apart.
        texts = cast("Mapping[str, str]", payload)
        names = sorted(texts)
        proof = "\0" + "\0".join([*names, *map(texts.__getitem__, names)])
    except TypeError:
        # Not all of it is text. JSON starts with a brace, the texts with U+0000, so the two forms never meet.
        proof = _encode(payload)
    # The length keeps the two parts apart; both are the client's words.
    return sha256(len(bound).to_bytes(4, "big") + bound + proof.encode("utf-8", "surrogatepass")).hexdigest()
