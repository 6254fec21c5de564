"""Challenges that were issued, kept under a provider's own name for what they ask.

Only for providers that ask for it (:attr:`~flovia.core.provider.Terms.handle`): a challenge is otherwise known by its
MAC and kept nowhere.
"""

from collections.abc import Sequence
from hashlib import sha256
from typing import Final, cast

import attrs

from flovia.core.challenge import Challenge, parse_challenge
from flovia.core.effects import Flow, recall, remember
from flovia.core.encoding import JsonObject, canonical
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


@attrs.frozen(kw_only=True)
class Made:
    """A challenge that was made for a credential which came without one.

    ``owner``: a hash of the Idempotency-Key it was made under, ``-`` if there was none. ``field``: its
    ``WWW-Authenticate`` value. ``challenge``: None if what is kept cannot be read. ``text``: as it is kept.
    """

    owner: str
    field: str = attrs.field(repr=False)
    challenge: Challenge | None
    text: str = attrs.field(repr=False)


def made_name(method: str, payload: JsonObject, *what: str) -> str:
    """Under which name a challenge is kept that was made for a proof and ``what`` it buys.

    A hash: the proof is a secret, and the store need not hold it.
    """
    texts = (method, canonical(payload).decode(), *what)
    return sha256("\0".join(texts).encode("utf-8", "surrogatepass")).hexdigest()


def find_made(name: str) -> Flow[Made | None]:
    """The challenge last made under this name."""
    text = yield from recall(_MADE, name)
    return None if text is None else _as_made(text)


def keep_made(name: str, owner: str, field: str, ttl_s: float, instead_of: Made | None) -> Flow[Made]:
    """Keep a made challenge, unless another one stands there than ``instead_of``; what stands there now."""
    before = None if instead_of is None else instead_of.text
    text = yield from remember(
        _MADE, name, f"{owner} {field}", ttl_s=ttl_s, if_absent=before is None, instead_of=before
    )
    return _as_made(text)


def drop_made(name: str, made: Made) -> Flow[None]:
    """Forget a made challenge, if it still stands there."""
    yield from remember(_MADE, name, "", ttl_s=0.001, instead_of=made.text)


def _as_made(text: str) -> Made:
    owner, _, field = text.partition(" ")
    return Made(owner=owner, field=field, challenge=_read(field), text=text)


def _read(field: str | None) -> Challenge | None:
    try:
        return None if field is None else parse_challenge(field)
    except ParseError:
        return None
