"""Who may come back for a payment: whoever brings the same challenge with the same proof, however it is spelled."""

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Final, cast

from flovia.core.encoding import JsonObject

_encode: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


class Fingerprints:
    """Hashes over everything the MAC covers and the payload. The payload's member order and spacing do not matter.

    ``beginning`` is the part of the bound message that all of them have in common, hashed once.
    """

    __slots__ = ("_begun", "_length")

    def __init__(self, beginning: bytes) -> None:
        self._begun = sha256(beginning).copy
        self._length = len(beginning)

    def of(self, rest: bytes, payload: JsonObject) -> str:
        """The fingerprint of a credential whose bound message goes on with ``rest`` after the beginning."""
        try:
            # Our JSON reader refuses U+0000, so no text holds one and it keeps them apart.
            texts = cast("Mapping[str, str]", payload)
            names = sorted(texts)
            proof = "\0" + "\0".join([*names, *map(texts.__getitem__, names)])
        except TypeError:
            # Not all of it is text. JSON starts with a brace, the texts with U+0000, so the two forms never meet.
            proof = _encode(payload)
        hashed = self._begun()
        # The length keeps the message and the proof apart; both are the client's words.
        length = (self._length + len(rest)).to_bytes(4, "big")
        hashed.update(rest + proof.encode("utf-8", "surrogatepass") + length)
        return hashed.hexdigest()
