"""The promises of a ledger for when nobody has come with a credential, one test each; part of the ledgers' contract."""

from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager

from flovia.core import events as ev
from flovia.core.effects import SettleResult
from flovia.core.events import EventRow
from flovia.core.exchange import SETTLED
from flovia.ledger.base import Ledger
from flovia.testing.ledger_steps import DAY_S, KEY, LEASE_S, ManualClock, claim, event_row, settle

RECORD = '["2026-01-01T00:00:00Z",null,null,[],{}]'


def settle_found(
    ledger: Ledger,
    clock: ManualClock,
    fence: int,
    key: str = KEY,
    *,
    proof: str = "mock|pay-1",
    events: tuple[EventRow, ...] = (),
) -> SettleResult:
    """A settlement without a delivery, with the usual values."""
    return ledger.settle_found(key, fence, proof, "pay-1", 100, "usd", RECORD, clock() + 7 * DAY_S, events)


class KeepingPromises(ABC):
    """What is open and what became of it; mixed into :class:`flovia.testing.ledgers.LedgerContract`."""

    @abstractmethod
    def fresh(self) -> AbstractContextManager[tuple[Ledger, ManualClock]]:
        """A ledger and its clock."""
        ...

    @abstractmethod
    def settled(self) -> AbstractContextManager[tuple[Ledger, ManualClock, int]]:
        """A ledger with one settled payment in its first delivery, under the fence given."""
        ...

    def test_unresolved(self) -> None:
        """Parked payments and claims whose lease ran out are unresolved, whatever is known is not; in pages by key."""
        with self.fresh() as (ledger, clock):
            parked = claim(ledger, clock, "realm.test|b").fence
            ledger.release("realm.test|b", parked, True, ())
            released = claim(ledger, clock, "realm.test|c").fence
            ledger.release("realm.test|c", released, False, ())
            settle(ledger, clock, claim(ledger, clock, "realm.test|d").fence, "realm.test|d")
            claim(ledger, clock, "realm.test|a")
            assert [view.key for view in ledger.find_unresolved("", 10)] == ["realm.test|b"]
            clock.advance(LEASE_S)
            assert [view.key for view in ledger.find_unresolved("", 10)] == ["realm.test|a", "realm.test|b"]
            assert [view.key for view in ledger.find_unresolved("", 1)] == ["realm.test|a"]
            assert [view.key for view in ledger.find_unresolved("realm.test|a", 10)] == ["realm.test|b"]

    def test_settle_found(self) -> None:
        """It is settled with its events and not delivered, and its own credential redeems it."""
        with self.fresh() as (ledger, clock):
            fence = claim(ledger, clock).fence
            row = event_row(ev.PAYMENT_SETTLED, "found-1")
            assert settle_found(ledger, clock, fence, events=(row,)) == "settled"
            view = ledger.find(KEY)
            assert view is not None
            assert (view.state, view.deliveries, view.amount, view.currency) == (SETTLED, 0, 100, "usd")
            assert [event.type for _, event in ledger.read_events()] == [ev.PAYMENT_SETTLED]
            assert [found.key for found in ledger.find_undelivered(10)] == [KEY]
            assert claim(ledger, clock, fingerprint="another", expired=True).outcome == "foreign"
            redeemed = claim(ledger, clock, expired=True)
            assert (redeemed.outcome, redeemed.record, redeemed.attempt) == ("redeem", RECORD, 1)
            assert ledger.deliver(KEY, redeemed.fence, ())

    def test_settle_found_stale_or_used(self) -> None:
        """Only the holder of the fence settles, and a proof that was used settles nothing."""
        with self.settled() as (ledger, clock, fence):
            row = event_row(ev.PAYMENT_SETTLED, "found-1")
            assert settle_found(ledger, clock, fence, events=(row,)) == "stale"
            assert settle_found(ledger, clock, 1, "realm.test|nobody", events=(row,)) == "stale"
            other = claim(ledger, clock, "realm.test|other").fence
            assert settle_found(ledger, clock, other, "realm.test|other", events=(row,)) == "proof_used"
            assert settle_found(ledger, clock, other + 1, "realm.test|other", proof="mock|pay-2") == "stale"
            assert list(ledger.read_events()) == []

    def test_settle_found_wins_once(self) -> None:
        """Of many who found the same money at once one settles it."""
        with self.fresh() as (ledger, clock), ThreadPoolExecutor(8) as pool:
            fence = claim(ledger, clock).fence
            calls = [pool.submit(settle_found, ledger, clock, fence) for _ in range(16)]
            assert [call.result() for call in calls].count("settled") == 1

    # --- when a payment is forgotten --------------------------------------------------------------------------

    def tidy(self, ledger: Ledger) -> None:
        """Let the ledger forget what it may: override it if that is neither ``prune()`` nor done by a claim."""
        prune = getattr(ledger, "prune", None)
        if prune is not None:
            prune()
        ledger.claim("realm.test|tidy", "fingerprint-1", False, LEASE_S, LEASE_S, 1e12, 1)

    def test_a_fence_is_not_given_again(self) -> None:
        """Who stood still holds nothing, even if its payment was forgotten meanwhile and has come back."""
        with self.fresh() as (ledger, clock):
            first = claim(ledger, clock).fence
            clock.advance(LEASE_S)
            second = claim(ledger, clock).fence
            assert ledger.release(KEY, second, False, ())
            clock.advance(DAY_S)
            self.tidy(ledger)
            forgotten = ledger.find(KEY) is None
            back = claim(ledger, clock)
            assert (back.outcome, back.fence > second > first) == ("claimed", True)
            assert back.attempt == (1 if forgotten else 3)
            for stale in (first, second):
                assert settle(ledger, clock, stale) == "stale"
                assert not ledger.release(KEY, stale, False, ())
            clock.advance(LEASE_S)
            again = claim(ledger, clock)
            assert (again.fence > back.fence, again.attempt) == (True, back.attempt + 1)
            assert settle(ledger, clock, back.fence) == "stale"
            assert settle(ledger, clock, again.fence) == "settled"

    def test_a_proof_is_used_for_ever(self) -> None:
        """Long after its payment was forgotten it buys nothing, under whatever key, and can still be given back."""
        with self.settled() as (ledger, clock, fence):
            assert ledger.deliver(KEY, fence, ())
            clock.advance(400 * DAY_S)
            self.tidy(ledger)
            for key in (KEY, "realm.test|another"):
                back = claim(ledger, clock, key)
                if back.outcome == "claimed":
                    assert back.fence > fence or key != KEY
                    assert settle(ledger, clock, back.fence, key) == "proof_used"
                    assert settle_found(ledger, clock, back.fence, key) == "proof_used"
                    assert ledger.release(key, back.fence, False, ())
            assert not ledger.late("realm.test|c|mock|pay-1", "mock|pay-1", "pay-1", 100, "usd", clock() + DAY_S, ())
            found = ledger.find_paid("mock|pay-1")
            assert found is not None
            assert (found.amount, found.currency, found.refund) == (100, "usd", None)
            opening = ledger.open_refund("mock|pay-1", None, None, "nonce-1", LEASE_S)
            assert (opening.outcome, opening.amount) == ("open", 100)
            assert ledger.close_refund("mock|pay-1", opening.fence, "refused", 100, "", "closed", ())
            opening = ledger.open_refund("mock|pay-1", None, None, "nonce-2", LEASE_S)
            assert ledger.close_refund("mock|pay-1", opening.fence, "refunded", 100, "refund-1", "", ())

    # --- short texts ------------------------------------------------------------------------------------------

    def test_texts(self) -> None:
        """Short texts are listed by namespace, in the order of their keys, in pages, without those past their time."""
        with self.fresh() as (ledger, clock):
            for key, ttl_s in (("000000000300|m|c", 100.0), ("000000000100|m|a", 10.0), ("000000000200|m|b", 100.0)):
                ledger.remember("namespace", key, f"text of {key}", ttl_s, False)
            ledger.remember("another", "000000000100|m|a", "text", 100.0, False)
            pairs = [
                (f"000000000{n}00|m|{c}", f"text of 000000000{n}00|m|{c}") for n, c in ((1, "a"), (2, "b"), (3, "c"))
            ]
            assert list(ledger.list_texts("namespace", "", 10)) == pairs
            assert list(ledger.list_texts("namespace", "", 2)) == pairs[:2]
            assert list(ledger.list_texts("namespace", "000000000100|m|a", 10)) == pairs[1:]
            clock.advance(10.0)
            assert list(ledger.list_texts("namespace", "", 10)) == pairs[1:]
            assert list(ledger.list_texts("nothing", "", 10)) == []
