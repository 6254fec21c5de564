"""Names of people in a form that joins and does not tell: one name, one text, and no way back without the key."""

import hmac
from collections.abc import Callable
from hashlib import sha256
from typing import Final

PREFIX: Final = "hidden_"
_PURPOSE: Final = b"flovia: names of payers and workflows"


def hider(secret: str) -> Callable[[str], str]:
    """What writes a keyed hash in place of a name (HMAC-SHA256, 128 bits of it). What is hidden stays as it is.

    The key is derived from the secret that signs challenges and is good for nothing else. Another secret hides the same
    name as another text.
    """
    key = hmac.new(secret.encode(), _PURPOSE, sha256).digest()

    def hide(name: str) -> str:
        if name.startswith(PREFIX):
            return name
        return PREFIX + hmac.new(key, name.encode("utf-8", "surrogatepass"), sha256).hexdigest()[:32]

    return hide
