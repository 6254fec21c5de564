"""Challenges that were issued, kept under a provider's own name for what they ask.

Only for providers that ask for it (:attr:`~flovia.core.provider.Terms.handle`): a challenge is otherwise known by its
MAC and kept nowhere.
"""

from collections.abc import Sequence
from hashlib import sha256
from typing import Final, cast

from flovia.core.challenge import Challenge, parse_challenge
from flovia.core.effects import Flow, recall, remember
from flovia.core.errors import ParseError
from flovia.core.keeping import ListTexts

_ISSUED: Final = "issued"
_MADE: Final = "adopted"


def keep_issued(method: str, handle: str, field: str, ttl_s: float) -> Flow[None]:
    """Keep a challenge, as its ``WWW-Authenticate`` value, under a provider's name for it."""
    yield from remember(_ISSUED, f"{method}|{handle}", field, ttl_s=ttl_s)


def find_issued(method: str, handle: str) -> Flow[Challenge | None]:
    """The challenge that was issued under this name; None if there is none any more."""
    return _read((yield from recall(_ISSUED, f"{method}|{handle}")))


def list_issued(after: str, limit: int) -> Flow[list[tuple[str, str]]]:
    """Methods and provider's names of the challenges that are kept, behind ``method|name``."""
    rows = cast("Sequence[tuple[str, str]]", (yield ListTexts(_ISSUED, after, limit)))
    return [(method, handle) for key, _ in rows for method, _, handle in (key.partition("|"),)]


def keep_made(method: str, token: str, scope: str, field: str, ttl_s: float) -> Flow[None]:
    """Keep the challenge that was made for a credential which came without one."""
    yield from remember(_MADE, _made_key(method, token, scope), field, ttl_s=ttl_s)


def find_made(method: str, token: str, scope: str) -> Flow[Challenge | None]:
    """The challenge last made for this credential on this request."""
    return _read((yield from recall(_MADE, _made_key(method, token, scope))))


def _made_key(method: str, token: str, scope: str) -> str:
    # A hash: the token is a secret, and the store need not hold it.
    return sha256("\0".join((method, scope, token)).encode("utf-8", "surrogatepass")).hexdigest()


def _read(field: str | None) -> Challenge | None:
    try:
        return None if field is None else parse_challenge(field)
    except ParseError:
        return None
