"""What a claim may do with a payment that is already known: the one place that reads its state for that.

The steps themselves are :data:`flovia.core.exchange.PAYMENT`; here is only which of them a presented
credential asks for, and what it is told when it may take none.
"""

from typing import Final, Literal, Protocol

import attrs

from flovia.core.effects import ClaimResult
from flovia.core.exchange import CLAIMED, DELIVERED, DELIVERING, ISSUED, REFUNDED
from flovia.core.owed import PaidView, RefundOpening, RefundState

REFUND_DUE: Final = ClaimResult("refund_due")
UNDELIVERED: Final = ClaimResult("undelivered")
ALREADY_DELIVERED: Final = ClaimResult("delivered")
OVER: Final = ClaimResult("expired")
PAID_BACK: Final = ClaimResult("refunded")
EXHAUSTED: Final = ClaimResult("exhausted")
FOREIGN: Final = ClaimResult("foreign")
TO_GO_BACK: Final = (REFUND_DUE, UNDELIVERED)
"""While a refund order is open that was not due before, a claim is told :data:`REFUNDING` instead."""
IN_DOUBT: Final = ClaimResult("busy", retry_after_s=2)
REFUNDING: Final = ClaimResult("busy", retry_after_s=5)
"""It may go back, or may not: until that is known nothing is delivered, and nobody is asked to pay again."""

LONGEST_WAIT_S: Final = 5
"""A client is never told to wait longer for another request, however long its lease: most end early."""


class Held(Protocol):
    """The columns of a payment that a claim looks at. ``record`` is set from settled until delivered."""

    @property
    def state(self) -> str:
        """A state of :data:`flovia.core.exchange.PAYMENT`."""
        ...

    @property
    def fingerprint(self) -> str:
        """Of the credential that claimed it last."""
        ...

    @property
    def lease_until(self) -> float:
        """Unix seconds; counts in ``claimed`` and ``delivering`` only."""
        ...

    @property
    def keep_until(self) -> float:
        """Unix seconds; a settled payment can be redeemed until then."""
        ...

    @property
    def deliveries(self) -> int:
        """Deliveries begun."""
        ...

    @property
    def record(self) -> str | None:
        """What was settled."""
        ...

    @property
    def refund_due(self) -> bool:
        """Settled, but not to be delivered."""
        ...


def judge(
    held: Held, now: float, fingerprint: str, expired: bool, max_deliveries: int
) -> Literal["claim", "redeem"] | ClaimResult:
    """The step of the payment's table that the claim takes, or what it is told instead.

    Args:
        held: the payment as it stands.
        now: Unix seconds by the ledger's clock.
        fingerprint: of the credential that is presented.
        expired: the challenge's expiry has passed.
        max_deliveries: deliveries that may be begun.
    """
    state = held.state
    if state == ISSUED:
        return OVER if expired else "claim"
    if state in (CLAIMED, DELIVERING) and held.lease_until > now:
        return ClaimResult("busy", retry_after_s=max(1, min(LONGEST_WAIT_S, round(held.lease_until - now))))
    if state in (DELIVERED, REFUNDED):
        if held.keep_until <= now:
            return OVER
        return ALREADY_DELIVERED if state == DELIVERED else PAID_BACK
    if held.record is None:
        # Parked, or its holder went silent: money may be moving for the other proof, which goes first.
        return "claim" if held.fingerprint == fingerprint else IN_DOUBT
    if held.keep_until <= now:
        return OVER
    if held.fingerprint != fingerprint:
        return FOREIGN
    if held.refund_due:
        return UNDELIVERED if held.deliveries else REFUND_DUE
    return EXHAUSTED if held.deliveries >= max_deliveries else "redeem"


@attrs.frozen(kw_only=True)
class Order:
    """A refund order. ``was_due``: the refund was due before it was ordered, so a refusal leaves it due."""

    key: str
    payment_id: str
    amount: int
    paid: int
    currency: str
    nonce: str = attrs.field(repr=False)
    state: RefundState
    fence: int
    lease_until: float
    was_due: bool
    refund_id: str | None = None
    reason: str | None = None


def judge_refund(
    found: PaidView,
    busy_until: float,
    order: Order | None,
    now: float,
    amount: int | None,
    currency: str | None,
    nonce: str,
) -> RefundOpening:
    """What becomes of a refund that is asked for.

    Args:
        found: the payment.
        busy_until: the end of its delivery's lease, 0 if none is running.
        order: its refund order, if there is one.
        now: Unix seconds by the ledger's clock.
        amount: base units; None for all.
        currency: None for that of the payment.
        nonce: of a new order.
    """
    if order is not None and order.state == "refunded":
        return RefundOpening(
            outcome="refunded",
            key=found.key,
            amount=order.amount,
            # Of what was given back elsewhere before anybody presented it only that much is on record.
            paid=0 if not found.key else found.amount or order.paid,
            currency=order.currency,
            refund_id=order.refund_id or "",
        )
    if found.amount is None or found.currency is None:
        return RefundOpening(outcome="no_amount")
    is_open = order is not None and order.state == "open"
    if busy_until > now and not is_open:
        return RefundOpening(outcome="delivering", retry_after_s=max(1, round(busy_until - now)))
    paid, money = found.amount, found.currency
    if currency is not None and currency != money:
        return RefundOpening(outcome="other_currency", paid=paid, currency=money)
    wanted = paid if amount is None else amount
    if wanted > paid:
        return RefundOpening(outcome="too_much", paid=paid, currency=money)
    if order is not None and is_open:
        if order.amount != wanted:
            return RefundOpening(outcome="other_amount", amount=order.amount, paid=paid, currency=money)
        if order.lease_until > now:
            return RefundOpening(outcome="busy", retry_after_s=max(1, round(order.lease_until - now)))
        nonce = order.nonce
    return RefundOpening(
        outcome="open",
        fence=1 if order is None else order.fence + 1,
        key=found.key,
        amount=wanted,
        paid=paid,
        currency=money,
        nonce=nonce,
    )


def opened(opening: RefundOpening, payment_id: str, before: Order | None, was_due: bool, until: float) -> Order:
    """The order that :func:`judge_refund` lets be opened, asked for until ``until``."""
    if before is not None and before.state == "open":
        return attrs.evolve(before, fence=opening.fence, lease_until=until)
    return Order(
        key=opening.key,
        payment_id=payment_id,
        amount=opening.amount,
        paid=opening.paid,
        currency=opening.currency,
        nonce=opening.nonce,
        state="open",
        fence=opening.fence,
        lease_until=until,
        was_due=was_due,
    )
