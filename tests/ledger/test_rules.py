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
from flovia.core.owed import PaidView, RefundOpening
from flovia.ledger.memory import MemoryLedger
from flovia.ledger.rules import LONGEST_WAIT_S, Order, judge, judge_refund, opened
from flovia.testing.ledger_steps import DELIVER_S, ManualClock, claim, settle


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


def test_whoever_has_to_wait_for_others_is_told_how_long() -> None:
    """2 s where another proof of the same payment is in doubt, 5 s while it may go back."""
    parked = Payment(state=PARKED, fingerprint="other")
    assert ClaimResult("busy", retry_after_s=2) == judge(parked, 100.0, "mine", False, 3)
    clock = ManualClock()
    ledger = MemoryLedger(clock=clock)
    assert "settled" == settle(ledger, clock, claim(ledger, clock).fence)
    clock.advance(DELIVER_S)
    assert "open" == ledger.open_refund("mock|pay-1", None, None, "nonce-1", 15.0).outcome
    assert ClaimResult("busy", retry_after_s=5) == claim(ledger, clock)


PAID = PaidView(key="realm.test|c1", payment_id="p1", amount=100, currency="sgd", state=SETTLED)
ORDERED = Order(
    key="realm.test|c1",
    payment_id="p1",
    amount=40,
    paid=100,
    currency="sgd",
    nonce="nonce-of-the-order",
    state="open",
    fence=7,
    lease_until=100.0,
    was_due=True,
)


def asked(
    found: PaidView = PAID,
    *,
    busy_until: float = 0.0,
    order: Order | None = None,
    amount: int | None = None,
    currency: str | None = None,
) -> RefundOpening:
    """What becomes of a refund asked for at second 100 under a new nonce."""
    return judge_refund(found, busy_until, order, 100.0, amount, currency, "new-nonce")


def test_a_new_refund_order() -> None:
    """It is for all that was paid, or for what was asked, under fence 1 and the caller's nonce."""
    whole = RefundOpening(
        outcome="open", fence=1, key="realm.test|c1", amount=100, paid=100, currency="sgd", nonce="new-nonce"
    )
    assert whole == asked()
    assert whole == asked(currency="sgd", amount=100)
    assert attrs.evolve(whole, amount=1) == asked(amount=1)
    order = opened(whole, "p1", None, True, 115.0)
    assert attrs.evolve(ORDERED, amount=100, nonce="new-nonce", fence=1, lease_until=115.0) == order
    assert (None, None) == (order.refund_id, order.reason)


def test_a_refund_whose_id_nobody_knows() -> None:
    """Of money that went back elsewhere there may be no id: then none is told, and none is invented."""
    for known, told in (("refund-1", "refund-1"), (None, "")):
        again = asked(order=attrs.evolve(ORDERED, state="refunded", refund_id=known))
        assert ("refunded", 40, told) == (again.outcome, again.amount, again.refund_id)


def test_an_order_does_not_show_its_nonce() -> None:
    """Whoever knows it could ask a provider for the refund."""
    assert "nonce-of-the-order" not in repr(ORDERED)
    assert "fence=7" in repr(ORDERED)


def test_an_order_whose_outcome_is_unknown_is_taken_up() -> None:
    """Its nonce stays, so that nothing is given back twice; its fence and lease are new."""
    opening = asked(order=ORDERED, amount=40)
    assert ("open", 8, 40, 100, "sgd", "nonce-of-the-order", "realm.test|c1") == (
        *(opening.outcome, opening.fence, opening.amount, opening.paid, opening.currency, opening.nonce),
        opening.key,
    )
    assert attrs.evolve(ORDERED, fence=8, lease_until=115.0) == opened(opening, "p1", ORDERED, False, 115.0)


def test_a_refused_order_is_begun_anew() -> None:
    """Nothing moved under the old nonce: the new one counts, and what is due by now."""
    refused = attrs.evolve(ORDERED, state="refused", refund_id="r1", reason="no")
    opening = asked(order=refused)
    assert ("open", 8, 100, "new-nonce") == (opening.outcome, opening.fence, opening.amount, opening.nonce)
    order = opened(opening, "p1", refused, False, 115.0)
    assert (100, 8, 115.0, False, None, "open") == (
        *(order.amount, order.fence, order.lease_until, order.was_due, order.refund_id, order.state),
    )


@pytest.mark.parametrize("unknown", [{"amount": None}, {"currency": None}])
def test_what_is_not_known_any_more_is_not_guessed(unknown: dict[str, None]) -> None:
    """Without the amount or the currency on record there is no refund."""
    assert RefundOpening(outcome="no_amount") == asked(attrs.evolve(PAID, **unknown))


def test_why_a_refund_is_refused() -> None:
    """With the figures that say what is possible."""
    done = attrs.evolve(ORDERED, state="refunded", refund_id="refund-1")
    back = RefundOpening(
        outcome="refunded", key="realm.test|c1", amount=40, paid=100, currency="sgd", refund_id="refund-1"
    )
    assert back == asked(order=done, amount=99)
    assert back == asked(attrs.evolve(PAID, amount=None), order=done)
    assert attrs.evolve(back, key="", paid=0) == asked(attrs.evolve(PAID, key=""), order=done)
    assert RefundOpening(outcome="other_currency", paid=100, currency="sgd") == asked(currency="usd")
    assert RefundOpening(outcome="too_much", paid=100, currency="sgd") == asked(amount=101)
    other = RefundOpening(outcome="other_amount", amount=40, paid=100, currency="sgd")
    assert other == asked(order=ORDERED, amount=41)
    assert other == asked(order=ORDERED)


@pytest.mark.parametrize(("left", "wait"), [(0.2, 1), (3.2, 3), (59.0, 59)])
def test_how_long_a_refund_has_to_wait(left: float, wait: int) -> None:
    """While what was paid for is delivered, or another call asks: at least a second, till the lease has run out."""
    assert RefundOpening(outcome="delivering", retry_after_s=wait) == asked(busy_until=100.0 + left)
    held = attrs.evolve(ORDERED, lease_until=100.0 + left)
    assert RefundOpening(outcome="busy", retry_after_s=wait) == asked(order=held, amount=40)
    # The lease is over at its end, and an order that is open goes before a delivery.
    assert "open" == asked(busy_until=100.0).outcome
    assert "open" == asked(order=ORDERED, busy_until=200.0, amount=40).outcome
