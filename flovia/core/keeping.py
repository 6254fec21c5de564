"""What flows ask of the ledger when nobody has come with a credential: what is open, and what has become of it.

Each verb is a method of the same name in :mod:`flovia.ledger.base`, where its parameters are described. None of
them is on the way of a paid request.
"""

import attrs

from flovia.core.events import EventRow


@attrs.frozen
class ListTexts:
    """Ask for short texts of one namespace, in the order of their keys."""

    namespace: str
    after: str
    limit: int


@attrs.frozen
class FindUnresolved:
    """Ask for the payments whose outcome nobody knows."""

    after: str
    limit: int


@attrs.frozen
class SettleFound:
    """Record a payment as taken without beginning its delivery."""

    key: str
    fence: int
    proof: str = attrs.field(repr=False)
    payment_id: str
    amount: int
    currency: str
    record: str = attrs.field(repr=False)
    keep_until: float
    events: tuple[EventRow, ...]


KeepingVerb = ListTexts | FindUnresolved | SettleFound
