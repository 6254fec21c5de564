"""What a claim may do with a known payment, state by state."""

import attrs
import pytest

from flovia.core.effects import ClaimResult
from flovia.core.exchange import (
    CLAIMED,
    DELIVERED,
    DELIVERING,
    EXPIRED,
    ISSUED,
    PARKED,
    PAYMENT,
    REFUNDED,
    SETTLED,
)
from flovia.ledger.rules import LONGEST_WAIT_S, judge


@attrs.frozen(kw_only=True)
class Payment:
    """A payment at second 100: its lease has run out, it is kept for long."""

    state: str
    fingerprint: str = "mine"
    lease_until: float = 100.0
    keep_until: float = 1000.0
    deliveries: int = 1
    record: str | None = None
    refund_due: bool = False


def outcome(payment: Payment, *, fingerprint: str = "mine", expired: bool = False) -> str:
    """The verb, or the outcome in its place."""
    verdict = judge(payment, 100.0, fingerprint, expired, 3)
    return verdict.outcome if isinstance(verdict, ClaimResult) else verdict


@pytest.mark.parametrize(
    ("state", "record", "expected"),
    [
        (ISSUED, None, "claim"),
        (CLAIMED, None, "claim"),
        (PARKED, None, "claim"),
        (SETTLED, "paid", "redeem"),
        (DELIVERING, "paid", "redeem"),
        (DELIVERED, None, "delivered"),
        (REFUNDED, "paid", "refunded"),
    ],
)
def test_each_state(state: str, record: str | None, expected: str) -> None:
    """Where the table has a step for the rightful credential, it gets it; where not, it is told why."""
    assert expected == outcome(Payment(state=state, record=record))
    if expected in ("claim", "redeem"):
        assert expected in PAYMENT[state]
    else:
        assert not {"claim", "redeem"} & set(PAYMENT[state])


def test_states_are_complete() -> None:
    """Only a state no ledger writes is missing above."""
    assert {ISSUED, CLAIMED, PARKED, SETTLED, DELIVERING, DELIVERED, REFUNDED, EXPIRED} == set(PAYMENT)


@pytest.mark.parametrize("state", [CLAIMED, DELIVERING])
@pytest.mark.parametrize(("left", "expected"), [(0.1, 1), (3.2, 3), (59.0, LONGEST_WAIT_S)])
def test_the_wait_fits_the_lease(state: str, left: float, expected: int) -> None:
    """Whoever is too early is told a wait of at least a second and never a long one."""
    verdict = judge(Payment(state=state, lease_until=100.0 + left), 100.0, "mine", False, 3)
    assert ClaimResult("busy", retry_after_s=expected) == verdict


def test_the_first_that_fits_is_told() -> None:
    """Over before foreign, foreign before refund due, refund due before exhausted."""
    paid = Payment(state=SETTLED, record="paid", deliveries=3, refund_due=True)
    assert outcome(attrs.evolve(paid, keep_until=100.0), fingerprint="other") == "expired"
    assert outcome(paid, fingerprint="other") == "foreign"
    assert outcome(paid) == "undelivered"
    assert outcome(attrs.evolve(paid, deliveries=0)) == "refund_due"
    assert outcome(Payment(state=DELIVERED, keep_until=100.0)) == "expired"
    assert outcome(attrs.evolve(paid, refund_due=False)) == "exhausted"
