"""What a claim may do with a payment that is already known: the one place that reads its state for that.

The steps themselves are :data:`flovia.core.exchange.PAYMENT`; here is only which of them a presented
credential asks for, and what it is told when it may take none.
"""

from typing import Final, Literal, Protocol

from flovia.core.effects import ClaimResult
from flovia.core.exchange import CLAIMED, DELIVERED, DELIVERING, ISSUED, REFUNDED

REFUND_DUE: Final = ClaimResult("refund_due")
ALREADY_DELIVERED: Final = ClaimResult("delivered")
OVER: Final = ClaimResult("expired")
PAID_BACK: Final = ClaimResult("refunded")
EXHAUSTED: Final = ClaimResult("exhausted")
FOREIGN: Final = ClaimResult("foreign")
IN_DOUBT: Final = ClaimResult("busy", retry_after_s=2)

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
        return REFUND_DUE
    return EXHAUSTED if held.deliveries >= max_deliveries else "redeem"
