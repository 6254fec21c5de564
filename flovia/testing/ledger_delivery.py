"""The promises of a ledger about what was paid and not delivered, one test each; part of the ledgers' contract."""

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager

from flovia.core.exchange import DELIVERING, SETTLED
from flovia.ledger.base import Ledger
from flovia.testing.ledger_steps import DAY_S, DELIVER_S, KEY, ManualClock, claim, settle


class DeliveryPromises(ABC):
    """Paid and not delivered; mixed into :class:`flovia.testing.ledgers.LedgerContract`."""

    @abstractmethod
    def fresh(self) -> AbstractContextManager[tuple[Ledger, ManualClock]]:
        """A ledger and its clock."""
        ...

    @abstractmethod
    def settled(self) -> AbstractContextManager[tuple[Ledger, ManualClock, int]]:
        """A ledger with one settled payment in its first delivery, under the fence given."""
        ...

    def test_undelivered(self) -> None:
        """What was taken is listed once its delivery failed, and no more once it is delivered."""
        with self.settled() as (ledger, clock, fence):
            assert list(ledger.find_undelivered(10)) == []
            ledger.fail(KEY, fence, ())
            (found,) = ledger.find_undelivered(10)
            assert (found.key, found.challenge_id, found.state) == (KEY, "challenge-1", SETTLED)
            assert (found.payment_id, found.amount, found.currency) == ("pay-1", 100, "usd")
            assert (found.deliveries, found.lease_until) == (1, clock() + DELIVER_S)
            assert found.keep_until == clock() + 7 * DAY_S
            again = claim(ledger, clock)
            assert list(ledger.find_undelivered(10)) == []
            assert ledger.deliver(KEY, again.fence, ())
            assert list(ledger.find_undelivered(10)) == []

    def test_undelivered_when_a_worker_died(self) -> None:
        """A delivery that did not end within its lease counts as not delivered, from that instant on."""
        with self.settled() as (ledger, clock, _):
            clock.advance(DELIVER_S - 1)
            assert list(ledger.find_undelivered(10)) == []
            clock.advance(1)
            (found,) = ledger.find_undelivered(10)
            assert (found.state, found.deliveries, found.lease_until) == (DELIVERING, 1, clock())

    def test_undelivered_is_not_what_goes_back(self) -> None:
        """Neither what is not settled nor what is to be given back is waiting for its delivery."""
        with self.fresh() as (ledger, clock):
            claim(ledger, clock, "realm.test|claimed")
            fence = claim(ledger, clock, "realm.test|due").fence
            settle(ledger, clock, fence, "realm.test|due", refund_due=True)
            fence = claim(ledger, clock).fence
            settle(ledger, clock, fence, proof="mock|pay-2")
            ledger.fail(KEY, fence, ())
            assert [found.key for found in ledger.find_undelivered(10)] == [KEY]
            ledger.open_refund("mock|pay-2", None, None, "nonce-1", 15.0)
            assert list(ledger.find_undelivered(10)) == []

    def test_the_oldest_undelivered_comes_first(self) -> None:
        """And no more of them than were asked for."""
        with self.fresh() as (ledger, clock):
            keys = [f"realm.test|{name}" for name in ("c", "a", "b")]
            for key in keys:
                fence = claim(ledger, clock, key).fence
                settle(ledger, clock, fence, key, proof=f"mock|{key}")
                ledger.fail(key, fence, ())
                clock.advance(1)
            assert [found.key for found in ledger.find_undelivered(2)] == keys[:2]
            assert len(ledger.find_undelivered(10)) == 3
