"""Names of people in a form that joins and does not tell: one name, one text, and no way back without the key."""

import hmac
from hashlib import sha256
from typing import Final

PAYER: Final = "payer"
WORKFLOW: Final = "workflow"
PERSONAL: Final = (PAYER, WORKFLOW)
"""The fields of an event that may name a person."""
PREFIX: Final = "hidden_"
_PURPOSE: Final = b"flovia: names of payers and workflows"


class Hider:
    """What writes a keyed hash in place of a name (HMAC-SHA256, 128 bits of it). What is hidden stays as it is.

    The key is derived from a secret and is good for nothing else. Another secret hides the same name as another text.
    ``fields``: those of an event whose names are hidden.
    """

    def __init__(self, secret: str, fields: tuple[str, ...]) -> None:
        self.fields = fields
        self._key = hmac.new(secret.encode(), _PURPOSE, sha256).digest()

    def __call__(self, name: str) -> str:
        """The text in place of a name."""
        if name.startswith(PREFIX):
            return name
        return PREFIX + hmac.new(self._key, name.encode("utf-8", "surrogatepass"), sha256).hexdigest()[:32]

    def __repr__(self) -> str:
        return f"<Hider of {' and '.join(self.fields)}>"


def hider(secret: str, fields: tuple[str, ...] = PERSONAL) -> Hider:
    """What hides names under a secret, see :class:`Hider`."""
    return Hider(secret, fields)
