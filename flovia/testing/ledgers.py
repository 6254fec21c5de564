"""The contract of a ledger as tests: whoever writes one runs them all.

Subclass :class:`LedgerContract` in a test module and say how to open a fresh, empty ledger::

    class TestMyLedger(LedgerContract):
        def open(self, clock):
            return MyLedger("a fresh place", clock=clock)

Nothing here needs pytest; any runner that calls the ``test_`` methods will do.
"""

from abc import abstractmethod
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final

from flovia.core.events import FIELDS
from flovia.core.exchange import CLAIMED, DELIVERED, DELIVERING, ISSUED, PARKED, SETTLED
from flovia.ledger.base import Ledger
from flovia.testing.ledger_answers import AnswerPromises
from flovia.testing.ledger_delivery import DeliveryPromises
from flovia.testing.ledger_events import EventPromises
from flovia.testing.ledger_keeping import KeepingPromises
from flovia.testing.ledger_refunds import RefundPromises
from flovia.testing.ledger_steps import (
    DAY_S,
    DELIVER_S,
    KEY,
    LEASE_S,
    MAX_DELIVERIES,
    ManualClock,
    claim,
    event_row,
    settle,
)

THREADS: Final = 16


class LedgerContract(RefundPromises, DeliveryPromises, AnswerPromises, EventPromises, KeepingPromises):
    """Every promise of :class:`flovia.ledger.base.Ledger`, one test each."""

    @abstractmethod
    def open(self, clock: Callable[[], float]) -> Ledger:
        """A fresh, empty ledger that uses ``clock``."""
        ...

    @contextmanager
    def fresh(self) -> Generator[tuple[Ledger, ManualClock]]:
        """A ledger and its clock, closed at the end."""
        clock = ManualClock()
        ledger = self.open(clock)
        try:
            yield ledger, clock
        finally:
            ledger.close()

    @contextmanager
    def settled(self) -> Generator[tuple[Ledger, ManualClock, int]]:
        """A ledger with one settled payment in its first delivery, under the fence given."""
        with self.fresh() as (ledger, clock):
            fence = claim(ledger, clock).fence
            assert settle(ledger, clock, fence) == "settled"
            yield ledger, clock, fence

    # --- claiming --------------------------------------------------------------------------------------

    def test_first_claim(self) -> None:
        """Whoever presents a credential first gets the right to verify it."""
        with self.fresh() as (ledger, clock):
            assert ledger.find(KEY) is None
            result = claim(ledger, clock)
            assert (result.outcome, result.attempt) == ("claimed", 1)
            found = ledger.find(KEY)
            assert found is not None
            assert (found.state, found.fence, found.fingerprint) == (CLAIMED, result.fence, "fingerprint-1")
            assert (found.record, found.payment_id, found.amount, found.deliveries) == (None, None, None, 0)

    def test_busy_while_leased(self) -> None:
        """During a lease nobody else gets in, with whatever credential; the wait is short and stated (S42)."""
        with self.fresh() as (ledger, clock):
            claim(ledger, clock)
            clock.advance(LEASE_S - 0.5)
            for fingerprint in ("fingerprint-1", "fingerprint-2"):
                again = claim(ledger, clock, fingerprint=fingerprint)
                assert again.outcome == "busy"
                assert 1 <= again.retry_after_s <= DELIVER_S

    def test_a_lease_ends_at_its_instant(self) -> None:
        """At the very end of its lease a claim can be taken over, by the same credential, under a new fence."""
        with self.fresh() as (ledger, clock):
            first = claim(ledger, clock)
            clock.advance(LEASE_S)
            second = claim(ledger, clock)
            assert (second.outcome, second.attempt) == ("claimed", 2)
            assert second.fence > first.fence

    def test_a_lost_fence_writes_nothing(self) -> None:
        """Who was overtaken can neither settle nor release, and says so by its answer."""
        with self.fresh() as (ledger, clock):
            first = claim(ledger, clock)
            clock.advance(LEASE_S)
            second = claim(ledger, clock)
            row = (event_row(),)
            assert settle(ledger, clock, first.fence, events=row) == "stale"
            assert not ledger.release(KEY, first.fence, False, row)
            assert not ledger.release(KEY, first.fence, True, row)
            assert settle(ledger, clock, second.fence) == "settled"
            assert not ledger.deliver(KEY, first.fence, row)
            assert not ledger.fail(KEY, first.fence, row)
            assert not ledger.renew(KEY, first.fence, DELIVER_S)
            assert list(ledger.read_events()) == []

    def test_a_lapsed_claim_waits_for_its_own_credential(self) -> None:
        """Money may be moving for the first proof, so another one does not get past it."""
        with self.fresh() as (ledger, clock):
            claim(ledger, clock)
            clock.advance(LEASE_S)
            assert claim(ledger, clock, fingerprint="fingerprint-2").outcome == "busy"
            assert claim(ledger, clock).outcome == "claimed"

    def test_parked(self) -> None:
        """After an unknown outcome the same credential re-enters at once; another one has to wait."""
        with self.fresh() as (ledger, clock):
            first = claim(ledger, clock)
            assert ledger.release(KEY, first.fence, True, ())
            found = ledger.find(KEY)
            assert found is not None
            assert found.state == PARKED
            assert claim(ledger, clock, fingerprint="fingerprint-2").outcome == "busy"
            second = claim(ledger, clock)
            assert (second.outcome, second.attempt) == ("claimed", 2)
            assert second.fence > first.fence

    def test_released(self) -> None:
        """Known not paid: the challenge is as good as new, for any credential."""
        with self.fresh() as (ledger, clock):
            first = claim(ledger, clock)
            assert ledger.release(KEY, first.fence, False, ())
            found = ledger.find(KEY)
            assert found is not None
            assert found.state == ISSUED
            second = claim(ledger, clock, fingerprint="fingerprint-2")
            assert second.outcome == "claimed"
            assert second.fence > first.fence
            found = ledger.find(KEY)
            assert found is not None
            assert found.fingerprint == "fingerprint-2"

    def test_releasing_twice(self) -> None:
        """A release is one step; the second finds nothing to release."""
        with self.fresh() as (ledger, clock):
            fence = claim(ledger, clock).fence
            assert ledger.release(KEY, fence, True, ())
            assert not ledger.release(KEY, fence, True, ())
            assert not ledger.release(KEY, fence, False, ())

    # --- expiry ----------------------------------------------------------------------------------------

    def test_expired_before_it_was_presented(self) -> None:
        """An expired challenge cannot be claimed for the first time, and leaves no trace (S05)."""
        with self.fresh() as (ledger, clock):
            assert claim(ledger, clock, expired=True).outcome == "expired"
            assert ledger.find(KEY) is None

    def test_expired_after_a_release(self) -> None:
        """Nor can one that is known not to be paid (S05)."""
        with self.fresh() as (ledger, clock):
            ledger.release(KEY, claim(ledger, clock).fence, False, ())
            assert claim(ledger, clock, expired=True).outcome == "expired"

    def test_expiry_spares_who_may_have_paid(self) -> None:
        """Parked, lapsed and settled payments stay reachable for their payer after expiry."""
        with self.fresh() as (ledger, clock):
            fence = claim(ledger, clock).fence
            ledger.release(KEY, fence, True, ())
            assert claim(ledger, clock, expired=True).outcome == "claimed"
            clock.advance(LEASE_S)
            fence = claim(ledger, clock, expired=True).fence
            assert settle(ledger, clock, fence) == "settled"
            assert ledger.fail(KEY, fence, ())
            clock.advance(6 * DAY_S)
            assert claim(ledger, clock, expired=True).outcome == "redeem"

    def test_the_unknown_is_kept(self) -> None:
        """A payment with an unknown outcome outlives its keep_until: money may have moved."""
        with self.fresh() as (ledger, clock):
            ledger.release(KEY, claim(ledger, clock).fence, True, ())
            clock.advance(DAY_S)
            claim(ledger, clock, "realm.test|another")
            assert claim(ledger, clock, expired=True).outcome == "claimed"

    # --- settling --------------------------------------------------------------------------------------

    def test_settle(self) -> None:
        """Settling records the payment and begins its first delivery, in one step."""
        with self.settled() as (ledger, clock, fence):
            found = ledger.find(KEY)
            assert found is not None
            assert (found.state, found.fence, found.deliveries) == (DELIVERING, fence, 1)
            assert (found.payment_id, found.amount, found.currency) == ("pay-1", 100, "usd")
            assert (found.record, found.refund_due) == ('{"receipt":"test"}', False)
            assert claim(ledger, clock).outcome == "busy"

    def test_settle_after_the_lease(self) -> None:
        """A slow verification may still settle, as long as nobody has taken over."""
        with self.fresh() as (ledger, clock):
            fence = claim(ledger, clock).fence
            clock.advance(LEASE_S * 10)
            assert settle(ledger, clock, fence) == "settled"

    def test_settle_once(self) -> None:
        """A payment settles once (S42)."""
        with self.settled() as (ledger, clock, fence):
            assert settle(ledger, clock, fence) == "stale"
            assert settle(ledger, clock, fence, proof="mock|pay-2") == "stale"

    def test_settle_what_is_not_claimed(self) -> None:
        """Nobody settles what he does not hold."""
        with self.fresh() as (ledger, clock):
            assert settle(ledger, clock, 1) == "stale"
            fence = claim(ledger, clock).fence
            ledger.release(KEY, fence, False, ())
            assert settle(ledger, clock, fence) == "stale"

    def test_a_proof_works_once(self) -> None:
        """The same proof under another challenge is refused, and that claim stays as it was (S44)."""
        with self.settled() as (ledger, clock, _):
            other = "realm.test|challenge-2"
            second = claim(ledger, clock, other)
            row = (event_row(),)
            assert settle(ledger, clock, second.fence, other, events=row) == "proof_used"
            found = ledger.find(other)
            assert found is not None
            assert (found.state, found.fence, found.record) == (CLAIMED, second.fence, None)
            assert list(ledger.read_events()) == []
            assert settle(ledger, clock, second.fence, other, proof="mock|pay-2") == "settled"

    def test_a_stale_settlement_uses_no_proof(self) -> None:
        """Who lost the fence does not burn the proof."""
        with self.fresh() as (ledger, clock):
            first = claim(ledger, clock)
            clock.advance(LEASE_S)
            second = claim(ledger, clock)
            assert settle(ledger, clock, first.fence) == "stale"
            assert settle(ledger, clock, second.fence) == "settled"

    def test_refund_due(self) -> None:
        """A payment that is to be refunded is on record, and is never delivered."""
        with self.fresh() as (ledger, clock):
            fence = claim(ledger, clock).fence
            assert settle(ledger, clock, fence, refund_due=True) == "settled"
            found = ledger.find(KEY)
            assert found is not None
            assert (found.state, found.refund_due, found.deliveries) == (SETTLED, True, 0)
            assert not ledger.deliver(KEY, fence, ())
            assert claim(ledger, clock).outcome == "refund_due"

    def test_money_of_any_size(self) -> None:
        """Amounts are integers without a limit: base units of an 18-decimal token pass 64 bits."""
        with self.fresh() as (ledger, clock):
            fence = claim(ledger, clock).fence
            amount = 123_456_789 * 10**18
            row = tuple(amount if name == "amount" else value for name, value in zip(FIELDS, event_row(), strict=True))
            assert settle(ledger, clock, fence, amount=amount, events=(row,)) == "settled"
            found = ledger.find(KEY)
            assert found is not None
            assert amount == found.amount
            assert [amount] == [event.amount for _, event in ledger.read_events()]

    # --- delivering ------------------------------------------------------------------------------------

    def test_delivered_is_the_end(self) -> None:
        """After a delivery the credential is used up (S04, S43)."""
        with self.settled() as (ledger, clock, fence):
            assert ledger.deliver(KEY, fence, ())
            found = ledger.find(KEY)
            assert found is not None
            assert found.state == DELIVERED
            assert claim(ledger, clock).outcome == "delivered"
            assert claim(ledger, clock, fingerprint="fingerprint-2").outcome == "delivered"
            assert not ledger.deliver(KEY, fence, ())
            assert not ledger.fail(KEY, fence, ())
            assert not ledger.renew(KEY, fence, DELIVER_S)

    def test_redeem_after_a_failure(self) -> None:
        """A failed delivery can be tried again with what was settled, one at a time."""
        with self.settled() as (ledger, clock, fence):
            assert ledger.fail(KEY, fence, ())
            again = claim(ledger, clock)
            assert (again.outcome, again.record, again.payment_id) == ("redeem", '{"receipt":"test"}', "pay-1")
            assert (again.attempt, again.fence > fence) == (2, True)
            assert claim(ledger, clock).outcome == "busy"
            assert ledger.deliver(KEY, again.fence, ())
            assert claim(ledger, clock).outcome == "delivered"

    def test_redeem_after_a_crash(self) -> None:
        """A delivery whose lease ran out can be tried again; the one that went silent has lost its fence."""
        with self.settled() as (ledger, clock, fence):
            clock.advance(DELIVER_S)
            again = claim(ledger, clock)
            assert again.outcome == "redeem"
            assert not ledger.deliver(KEY, fence, ())
            assert not ledger.fail(KEY, fence, ())
            assert ledger.deliver(KEY, again.fence, ())

    def test_a_late_delivery_still_counts(self) -> None:
        """A delivery that outlives its lease is a delivery, as long as nobody has taken over."""
        with self.settled() as (ledger, clock, fence):
            clock.advance(DELIVER_S * 10)
            assert ledger.deliver(KEY, fence, ())

    def test_exhausted(self) -> None:
        """Deliveries are begun a limited number of times."""
        with self.settled() as (ledger, clock, fence):
            for deliveries in range(2, MAX_DELIVERIES + 1):
                assert ledger.fail(KEY, fence, ())
                again = claim(ledger, clock)
                assert (again.outcome, again.attempt) == ("redeem", deliveries)
                fence = again.fence
            assert ledger.fail(KEY, fence, ())
            assert claim(ledger, clock).outcome == "exhausted"

    def test_foreign(self) -> None:
        """What one credential settled, another one for the same challenge cannot redeem."""
        with self.settled() as (ledger, clock, fence):
            ledger.fail(KEY, fence, ())
            assert claim(ledger, clock, fingerprint="fingerprint-2").outcome == "foreign"
            assert claim(ledger, clock).outcome == "redeem"

    def test_renew(self) -> None:
        """A delivery that still streams keeps its lease, counted from the renewal."""
        with self.settled() as (ledger, clock, fence):
            clock.advance(DELIVER_S - 1)
            assert ledger.renew(KEY, fence, DELIVER_S)
            clock.advance(DELIVER_S - 1)
            assert claim(ledger, clock).outcome == "busy"
            clock.advance(1)
            assert claim(ledger, clock).outcome == "redeem"

    def test_redeemable_until(self) -> None:
        """A paid credential can be redeemed until the time its settlement named, and not at it."""
        with self.settled() as (ledger, clock, fence):
            ledger.fail(KEY, fence, ())
            clock.advance(7 * DAY_S)
            assert claim(ledger, clock, expired=True).outcome == "expired"

    # --- short texts -----------------------------------------------------------------------------------

    def test_remember(self) -> None:
        """A text is there until its time is over, and the last one wins."""
        with self.fresh() as (ledger, clock):
            assert ledger.recall("nonces", "a") is None
            assert ledger.remember("nonces", "a", "one", 10.0, False) == "one"
            assert ledger.remember("nonces", "a", "two", 10.0, False) == "two"
            assert ledger.recall("nonces", "a") == "two"
            assert ledger.recall("breakers", "a") is None
            clock.advance(10.0)
            assert ledger.recall("nonces", "a") is None

    def test_remember_if_absent(self) -> None:
        """The first one stays, and everybody is told which it is, until its time is over."""
        with self.fresh() as (ledger, clock):
            assert ledger.remember("nonces", "a", "one", 10.0, True) == "one"
            assert ledger.remember("nonces", "a", "two", 10.0, True) == "one"
            clock.advance(10.0)
            assert ledger.remember("nonces", "a", "three", 10.0, True) == "three"

    def test_remember_instead_of(self) -> None:
        """One text takes another's place, and only that one's; where none stands it is taken."""
        with self.fresh() as (ledger, clock):
            assert ledger.remember("made", "a", "one", 10.0, False, "zero") == "one"
            assert ledger.remember("made", "a", "two", 10.0, False, "zero") == "one"
            assert ledger.remember("made", "a", "two", 20.0, False, "one") == "two"
            assert ledger.remember("made", "b", "two", 10.0, False, "one") == "two"
            clock.advance(10.0)
            assert ledger.recall("made", "a") == "two"
            clock.advance(10.0)
            assert ledger.remember("made", "a", "three", 10.0, False, "one") == "three"

    # --- all at once -----------------------------------------------------------------------------------

    def test_one_takes_the_place(self) -> None:
        """Of many texts that would take another's place at the same time one does, and all are told which."""
        with self.fresh() as (ledger, _), ThreadPoolExecutor(THREADS) as pool:
            ledger.remember("made", "a", "before", 100.0, False)
            calls = [
                pool.submit(ledger.remember, "made", "a", f"text {number}", 100.0, False, "before")
                for number in range(THREADS * 4)
            ]
            told = {call.result() for call in calls}
            assert {ledger.recall("made", "a")} == told

    def test_one_claim_wins(self) -> None:
        """Of many claims at the same time one gets in and the others are told to wait (S42)."""
        with self.fresh() as (ledger, clock), ThreadPoolExecutor(THREADS) as pool:
            calls = [pool.submit(claim, ledger, clock) for _ in range(THREADS * 4)]
            outcomes = [call.result().outcome for call in calls]
            assert outcomes.count("claimed") == 1
            assert outcomes.count("busy") == THREADS * 4 - 1

    def test_one_proof_wins(self) -> None:
        """Of many challenges that bring the same proof at the same time one is settled (S44)."""
        with self.fresh() as (ledger, clock), ThreadPoolExecutor(THREADS) as pool:

            def use(number: int) -> str:
                key = f"realm.test|challenge-{number}"
                return settle(ledger, clock, claim(ledger, clock, key).fence, key)

            results = list(pool.map(use, range(THREADS * 4)))
            assert results.count("settled") == 1
            assert results.count("proof_used") == THREADS * 4 - 1

    def test_one_redemption_wins(self) -> None:
        """Of many redemptions at the same time one delivers (S43)."""
        with self.settled() as (ledger, clock, fence), ThreadPoolExecutor(THREADS) as pool:
            ledger.fail(KEY, fence, ())
            calls = [pool.submit(claim, ledger, clock) for _ in range(THREADS * 4)]
            outcomes = [call.result().outcome for call in calls]
            assert outcomes.count("redeem") == 1
            assert outcomes.count("busy") == THREADS * 4 - 1

    # --- the store -------------------------------------------------------------------------------------

    def test_available(self) -> None:
        """A healthy ledger says so, has lost nothing, and can be closed twice."""
        with self.fresh() as (ledger, _):
            assert ledger.available
            assert ledger.dropped_events == 0
            ledger.close()
