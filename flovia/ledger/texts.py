"""Text that any database takes."""

from typing import Final

_NUL: Final = "\0"
_INSTEAD: Final = "\N{REPLACEMENT CHARACTER}"


def storable(text: str) -> str:
    """The text without what no database takes: half a surrogate pair, and the NUL that PostgreSQL has no place for.

    Both come from strangers, in a path or a credential, and are no reason to lose a payment or its events.
    """
    if not text.isascii():
        text = text.encode("utf-8", "replace").decode()
    return text.replace(_NUL, _INSTEAD) if _NUL in text else text
