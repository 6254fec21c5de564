"""Which charges have to be looked at again, and when: an index of short texts, in the order of time.

A charge is on it from the moment it is shown to a payer, so that money which nobody presents is found all the same.
The index is written where :mod:`flovia.core.issued` keeps the challenge, and read by
:mod:`flovia.core.reconciling` only.
"""

from collections.abc import Sequence
from typing import Final, cast

import attrs

from flovia.core.effects import Flow, remember
from flovia.core.keeping import ListTexts

AWAITED: Final = "awaited"
"""Keys: ``second|method|handle``, so that what is due comes first. The text is the challenge's id."""
WAITING: Final = "waiting"
"""Keys: ``method|handle`` of what is paid and not presented. The text is the challenge's id."""
CHECKS_S: Final = (60.0, 1020.0)
"""Seconds after its expiry at which an unpaid charge is looked at: a payment may land up to 15 minutes late. Once more
when its credential would not be taken any more, and then it is closed."""
KEPT_S: Final = 30 * 86400.0
"""How long a charge is on the index, seconds, counted from when it was last put there."""
PAGE: Final = 200
"""Charges that are read at once."""


@attrs.frozen(kw_only=True)
class Awaited:
    """One charge on the index. ``due``: Unix seconds; 0 for one that is paid and waits for its agent.

    ``indexed``: False for one that was found elsewhere.
    """

    method: str
    handle: str
    challenge_id: str
    due: float = 0.0
    indexed: bool = True

    @property
    def key(self) -> str:
        """Where it stands on the index."""
        return f"{int(self.due):012d}|{self.method}|{self.handle}"

    @property
    def name(self) -> str:
        """Its key where time does not matter."""
        return f"{self.method}|{self.handle}"


def await_charge(method: str, handle: str, challenge_id: str, expires: float) -> Flow[None]:
    """Put a charge on the index that is about to be shown to a payer. ``expires``: of its challenge, Unix seconds."""
    first = Awaited(method=method, handle=handle, challenge_id=challenge_id, due=expires + CHECKS_S[0])
    yield from keep_awaited(first)


def keep_awaited(awaited: Awaited) -> Flow[None]:
    """Have a charge looked at once ``due`` has come."""
    yield from remember(AWAITED, awaited.key, awaited.challenge_id, ttl_s=KEPT_S)


def keep_waiting(awaited: Awaited) -> Flow[None]:
    """Have a charge looked at every time: it is paid."""
    yield from remember(WAITING, awaited.name, awaited.challenge_id, ttl_s=KEPT_S)


def drop(awaited: Awaited) -> Flow[None]:
    """Take a charge off the index."""
    namespace, key = (AWAITED, awaited.key) if awaited.due else (WAITING, awaited.name)
    yield from remember(namespace, key, "", ttl_s=0.0)


def list_waiting(after: str = "") -> Flow[list[Awaited]]:
    """A page of the charges that are paid and wait, behind the name ``after``."""
    rows = yield from list_texts(WAITING, after, PAGE)
    return [_read(key, text, 0.0) for key, text in rows if key.count("|")]


def list_awaited(after: str = "") -> Flow[list[Awaited]]:
    """A page of the index, what is due first, behind the key ``after``."""
    rows = yield from list_texts(AWAITED, after, PAGE)
    split = ((key.partition("|"), text) for key, text in rows)
    return [_read(rest, text, float(due)) for (due, _, rest), text in split if due.isdecimal() and "|" in rest]


def list_texts(namespace: str, after: str, limit: int) -> Flow[Sequence[tuple[str, str]]]:
    """Short texts of one namespace with their keys, in the order of the keys, behind ``after``."""
    return cast("Sequence[tuple[str, str]]", (yield ListTexts(namespace, after, limit)))


def _read(name: str, text: str, due: float) -> Awaited:
    method, _, handle = name.partition("|")
    return Awaited(method=method, handle=handle, challenge_id=text, due=due)
