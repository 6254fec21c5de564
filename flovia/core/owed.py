"""What flows ask of the ledger about money that is to go back: late payments and refunds.

Each verb is a method of the same name in :mod:`flovia.ledger.base`, where its parameters are described. None of
them is on the way of a paid request.
"""

from typing import Literal

import attrs

from flovia.core.events import EventRow

RefundState = Literal["open", "refunded", "refused"]
RefundEnd = Literal["refunded", "refused", "unknown"]
RefundOutcome = Literal[
    "open", "busy", "unknown", "delivering", "refunded", "too_much", "other_currency", "other_amount", "no_amount"
]
NoteResult = Literal["noted", "known", "moved"]


def challenge_of(key: str) -> str:
    """The challenge id in a payment's key, ``realm|challenge id`` or that of a late payment."""
    return key.split("|", 2)[1]


def late_key(realm: str, challenge_id: str, proof: str) -> str:
    """The key of a late payment: no challenge id holds a ``|``, so no claim can ever meet it."""
    return f"{realm}|{challenge_id}|{proof}"


# --- the verbs ------------------------------------------------------------------------------------------


@attrs.frozen
class Late:
    """Record money that can buy nothing any more as settled with its refund due."""

    key: str
    proof: str = attrs.field(repr=False)
    payment_id: str
    amount: int
    currency: str
    keep_until: float
    events: tuple[EventRow, ...]


@attrs.frozen
class FindPaid:
    """Look a payment up by its proof."""

    proof: str = attrs.field(repr=False)


@attrs.frozen
class OpenRefund:
    """Open a refund order, or take up the open one, before the provider is asked; ``events`` tell of that."""

    proof: str = attrs.field(repr=False)
    amount: int | None
    currency: str | None
    nonce: str = attrs.field(repr=False)
    lease_s: float
    events: tuple[EventRow, ...] = ()


@attrs.frozen
class CloseRefund:
    """Record what the provider said about an order."""

    proof: str = attrs.field(repr=False)
    fence: int
    end: RefundEnd
    amount: int
    refund_id: str
    reason: str
    events: tuple[EventRow, ...]


@attrs.frozen
class NoteRefund:
    """Record a refund that was made elsewhere."""

    key: str
    proof: str = attrs.field(repr=False)
    amount: int
    currency: str
    events: tuple[EventRow, ...]


@attrs.frozen
class FindDue:
    """Ask for the payments whose refund is due."""

    limit: int


RefundVerb = Late | FindPaid | OpenRefund | CloseRefund | NoteRefund | FindDue

# --- results --------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class RefundOpening:
    """What opening a refund found.

    * ``open``: ask the provider now, under ``fence``, for ``amount`` of what was ``paid``, with ``nonce``.
    * ``busy``: another call is asking for this refund; come back in ``retry_after_s`` seconds.
    * ``unknown``: no payment has this proof.
    * ``delivering``: what was paid for is being delivered; come back in ``retry_after_s`` seconds.
    * ``refunded``: ``amount`` of what was ``paid`` (0: nobody knows) was given back already, by the provider's
      ``refund_id`` if that is known.
    * ``too_much``, ``other_currency``: more than was ``paid``, or not in its ``currency``.
    * ``other_amount``: an order over ``amount`` is open, and its outcome is unknown.
    * ``no_amount``: it was taken before the ledger kept amounts for so long.
    """

    outcome: RefundOutcome
    fence: int = 0
    key: str = ""
    amount: int = 0
    paid: int = 0
    currency: str = ""
    nonce: str = attrs.field(default="", repr=False)
    retry_after_s: int = 1
    refund_id: str = ""


@attrs.frozen(kw_only=True)
class PaidView:
    """One payment by its proof. ``amount`` and ``currency`` are None where they are no longer known.

    ``state``: of the payment's row, ``delivered`` if that was forgotten. ``refund``: the state of its refund
    order, if there is one; ``refunded`` is the amount that was given back.
    """

    key: str
    payment_id: str
    amount: int | None
    currency: str | None
    state: str
    refund: RefundState | None = None
    refunded: int | None = None


@attrs.frozen(kw_only=True)
class RefundDue:
    """A payment whose refund is due, for :meth:`flovia.Flovia.refund`.

    ``amount``: all that was paid, base units of ``currency``. ``ordered``: the amount of a refund that was begun
    and whose outcome is unknown; None if there is none.
    """

    key: str
    method: str
    payment_id: str
    amount: int
    currency: str
    ordered: int | None = None

    @property
    def challenge_id(self) -> str:
        """The challenge that the money was meant for."""
        return challenge_of(self.key)
