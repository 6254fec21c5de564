"""The promises of a ledger about money that is to go back, one test each; part of the ledgers' contract."""

from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Final

from flovia.core import events as ev
from flovia.core.exchange import CLAIMED, DELIVERED, DELIVERING, REFUNDED, SETTLED
from flovia.core.owed import RefundOpening, late_key
from flovia.ledger.base import Ledger
from flovia.testing.ledger_steps import DAY_S, DELIVER_S, KEY, ManualClock, claim, event_row, settle

PROOF: Final = "mock|pay-1"
LATE_PROOF: Final = "mock|pay-2"
LATE_KEY: Final = late_key("realm.test", "challenge-1", LATE_PROOF)
ORDER_S: Final = 15.0
_AT_ONCE: Final = 16


def open_refund(ledger: Ledger, amount: int | None = None, nonce: str = "nonce-1", proof: str = PROOF) -> RefundOpening:
    """An order with the usual values."""
    return ledger.open_refund(proof, amount, None if amount is None else "usd", nonce, ORDER_S)


def record_late(ledger: Ledger, clock: ManualClock, proof: str = LATE_PROOF, seq: int = 1) -> bool:
    """A late payment with the usual values."""
    events = (event_row(ev.PAYMENT_LATE, "hook-1", seq),)
    key = late_key("realm.test", "challenge-1", proof)
    return ledger.late(key, proof, proof.partition("|")[2], 100, "usd", clock() + 7 * DAY_S, events)


class RefundPromises(ABC):
    """Late payments and refunds; mixed into :class:`flovia.testing.ledgers.LedgerContract`."""

    @abstractmethod
    def fresh(self) -> AbstractContextManager[tuple[Ledger, ManualClock]]:
        """A ledger and its clock."""
        ...

    @abstractmethod
    def settled(self) -> AbstractContextManager[tuple[Ledger, ManualClock, int]]:
        """A ledger with one settled payment in its first delivery, under the fence given."""
        ...

    # --- late payments -------------------------------------------------------------------------------------

    def test_late(self) -> None:
        """Money that came too late has a row of its own, settled, its refund due, with its event; told once."""
        with self.fresh() as (ledger, clock):
            assert record_late(ledger, clock)
            assert not record_late(ledger, clock, seq=2)
            found = ledger.find(LATE_KEY)
            assert found is not None
            assert (found.state, found.refund_due, found.deliveries) == (SETTLED, True, 0)
            assert (found.payment_id, found.amount, found.currency) == ("pay-2", 100, "usd")
            assert [event.type for _, event in ledger.read_events()] == [ev.PAYMENT_LATE]
            (due,) = ledger.find_due(10)
            assert (due.method, due.payment_id, due.challenge_id) == ("mock", "pay-2", "challenge-1")
            assert (due.amount, due.currency, due.ordered) == (100, "usd", None)

    def test_late_leaves_the_challenge_alone(self) -> None:
        """Whatever row the challenge has stays as it is, and its own payment goes on."""
        with self.fresh() as (ledger, clock):
            fence = claim(ledger, clock).fence
            assert record_late(ledger, clock)
            found = ledger.find(KEY)
            assert found is not None
            assert (found.state, found.fence) == (CLAIMED, fence)
            assert settle(ledger, clock, fence) == "settled"
            assert ledger.deliver(KEY, fence, ())
            assert len(ledger.find_due(10)) == 1

    def test_late_is_never_delivered(self) -> None:
        """Its proof is used up: no claim can settle with it."""
        with self.fresh() as (ledger, clock):
            assert record_late(ledger, clock)
            fence = claim(ledger, clock).fence
            assert settle(ledger, clock, fence, proof=LATE_PROOF) == "proof_used"

    def test_what_bought_something_is_not_late(self) -> None:
        """A proof that is settled already is not recorded again."""
        with self.settled() as (ledger, clock, _):
            assert not record_late(ledger, clock, PROOF)
            assert list(ledger.find_due(10)) == []
            assert list(ledger.read_events()) == []

    # --- refund orders --------------------------------------------------------------------------------------

    def test_find_paid(self) -> None:
        """A payment is found by its proof."""
        with self.settled() as (ledger, _, _fence):
            found = ledger.find_paid(PROOF)
            assert found is not None
            assert (found.key, found.payment_id, found.amount, found.currency) == (KEY, "pay-1", 100, "usd")
            assert (found.state, found.refund, found.refunded) == (DELIVERING, None, None)
            assert ledger.find_paid("mock|nobody") is None

    def test_refund(self) -> None:
        """Ordered, then given back, with its event; afterwards neither a claim nor another order gets anywhere."""
        with self.settled() as (ledger, clock, fence):
            ledger.fail(KEY, fence, ())
            opening = open_refund(ledger, 40)
            assert (opening.outcome, opening.amount, opening.paid, opening.nonce) == ("open", 40, 100, "nonce-1")
            assert (opening.key, opening.currency) == (KEY, "usd")
            row = event_row(ev.PAYMENT_REFUNDED, "refund-1")
            assert ledger.close_refund(PROOF, opening.fence, "refunded", 40, "refund-1", "", (row,))
            found = ledger.find_paid(PROOF)
            assert found is not None
            assert (found.state, found.refund, found.refunded) == (REFUNDED, "refunded", 40)
            assert claim(ledger, clock).outcome == "refunded"
            again = open_refund(ledger)
            assert (again.outcome, again.amount) == ("refunded", 40)
            assert not ledger.close_refund(PROOF, opening.fence, "refunded", 40, "refund-1", "", (row,))
            assert [event.type for _, event in ledger.read_events()] == [ev.PAYMENT_REFUNDED]

    def test_who_asked(self) -> None:
        """What is told with an order is there once the provider is to be asked; a refused one tells nothing."""
        with self.settled() as (ledger, _, fence):
            rows = [event_row(ev.PAYMENT_REFUND_ASKED, f"refund-{number}") for number in range(5)]

            def ask(number: int, proof: str = PROOF) -> RefundOpening:
                return ledger.open_refund(proof, None, None, f"nonce-{number}", ORDER_S, (rows[number],))

            assert ask(0).outcome == "delivering"
            ledger.fail(KEY, fence, ())
            assert ask(1, "mock|nobody").outcome == "unknown"
            opening = ask(2)
            assert (opening.outcome, ask(3).outcome) == ("open", "busy")
            assert ledger.close_refund(PROOF, opening.fence, "refunded", 100, "refund-1", "", ())
            assert ask(4).outcome == "refunded"
            told = [(event.type, event.request_id) for _, event in ledger.read_events()]
            assert told == [(ev.PAYMENT_REFUND_ASKED, "refund-2")]

    def test_refund_of_what_was_delivered(self) -> None:
        """A delivery does not keep money from going back."""
        with self.settled() as (ledger, _, fence):
            ledger.deliver(KEY, fence, ())
            opening = open_refund(ledger)
            assert (opening.outcome, opening.amount) == ("open", 100)
            assert ledger.close_refund(PROOF, opening.fence, "refunded", 100, "refund-1", "", ())
            found = ledger.find(KEY)
            assert found is not None
            assert found.state == REFUNDED

    def test_refund_of_a_late_payment(self) -> None:
        """A refund that was due is due no more."""
        with self.fresh() as (ledger, clock):
            record_late(ledger, clock)
            opening = open_refund(ledger, proof=LATE_PROOF)
            assert [due.ordered for due in ledger.find_due(10)] == [100]
            assert ledger.close_refund(LATE_PROOF, opening.fence, "refunded", 100, "refund-1", "", ())
            assert list(ledger.find_due(10)) == []

    def test_refunds_that_cannot_be(self) -> None:
        """Nothing is ordered for an unknown payment, beyond what was paid, or in another currency."""
        with self.settled() as (ledger, _, fence):
            ledger.deliver(KEY, fence, ())
            assert open_refund(ledger, proof="mock|nobody").outcome == "unknown"
            opening = open_refund(ledger, 101)
            assert (opening.outcome, opening.paid, opening.currency) == ("too_much", 100, "usd")
            assert ledger.open_refund(PROOF, 50, "sgd", "nonce-1", ORDER_S).outcome == "other_currency"
            assert list(ledger.find_due(10)) == []

    def test_no_refund_during_a_delivery(self) -> None:
        """While a delivery runs nothing is ordered; once its lease has run out it is."""
        with self.settled() as (ledger, clock, _):
            opening = open_refund(ledger)
            assert (opening.outcome, opening.retry_after_s) == ("delivering", DELIVER_S)
            clock.advance(DELIVER_S)
            assert open_refund(ledger).outcome == "open"

    def test_no_delivery_during_a_refund(self) -> None:
        """While an order is open a claim is told to wait, without a word about paying again."""
        with self.settled() as (ledger, clock, fence):
            ledger.fail(KEY, fence, ())
            open_refund(ledger)
            clock.advance(DAY_S)
            assert claim(ledger, clock, expired=True).outcome == "busy"

    def test_one_call_at_a_time(self) -> None:
        """Who asks while another call asks the provider is told to wait; after its lease the order is taken up."""
        with self.settled() as (ledger, clock, fence):
            ledger.deliver(KEY, fence, ())
            first = open_refund(ledger)
            busy = open_refund(ledger, nonce="nonce-2")
            assert (busy.outcome, busy.retry_after_s) == ("busy", ORDER_S)
            clock.advance(ORDER_S)
            second = open_refund(ledger, nonce="nonce-2")
            assert (second.outcome, second.nonce, second.fence > first.fence) == ("open", "nonce-1", True)
            assert not ledger.close_refund(PROOF, first.fence, "refused", 0, "", "no", ())
            assert not ledger.close_refund(PROOF, first.fence, "unknown", 0, "", "", ())
            assert ledger.close_refund(PROOF, first.fence, "refunded", 100, "refund-1", "", ())
            assert not ledger.close_refund(PROOF, second.fence, "refunded", 100, "refund-1", "", ())

    def test_an_unknown_refund_is_tried_again(self) -> None:
        """It may be taken up at once, for the same amount only, under the same nonce."""
        with self.settled() as (ledger, _, fence):
            ledger.deliver(KEY, fence, ())
            opening = open_refund(ledger, 40)
            assert ledger.close_refund(PROOF, opening.fence, "unknown", 0, "", "", ())
            other = open_refund(ledger)
            assert (other.outcome, other.amount) == ("other_amount", 40)
            again = open_refund(ledger, 40, "nonce-2")
            assert (again.outcome, again.nonce) == ("open", "nonce-1")

    def test_a_refused_refund(self) -> None:
        """The payment is what it was, and a new order has a new nonce; what was due stays due."""
        with self.settled() as (ledger, clock, fence):
            ledger.fail(KEY, fence, ())
            opening = open_refund(ledger)
            assert ledger.close_refund(PROOF, opening.fence, "refused", 0, "", "no", ())
            assert list(ledger.find_due(10)) == []
            assert claim(ledger, clock).outcome == "redeem"
            record_late(ledger, clock)
            opening = open_refund(ledger, proof=LATE_PROOF)
            assert ledger.close_refund(LATE_PROOF, opening.fence, "refused", 0, "", "no", ())
            assert [due.ordered for due in ledger.find_due(10)] == [None]
            again = open_refund(ledger, nonce="nonce-2", proof=LATE_PROOF)
            assert (again.outcome, again.nonce) == ("open", "nonce-2")

    def test_refunds_of_any_size(self) -> None:
        """Amounts are integers without a limit."""
        with self.fresh() as (ledger, clock):
            amount = 123_456_789 * 10**18
            fence = claim(ledger, clock).fence
            settle(ledger, clock, fence, amount=amount)
            ledger.deliver(KEY, fence, ())
            opening = open_refund(ledger, amount - 1)
            assert (opening.amount, opening.paid) == (amount - 1, amount)
            assert [due.ordered for due in ledger.find_due(10)] == [amount - 1]

    def test_the_oldest_due_comes_first(self) -> None:
        """What is due comes in the order it arrived, as many as are asked for."""
        with self.fresh() as (ledger, clock):
            for number in range(5):
                record_late(ledger, clock, f"mock|pay-{9 - number}", number)
                clock.advance(1.0)
            assert [due.payment_id for due in ledger.find_due(3)] == ["pay-9", "pay-8", "pay-7"]

    # --- refunds made elsewhere -----------------------------------------------------------------------------

    def test_noted(self) -> None:
        """A refund that was made elsewhere is recorded once, whatever the state."""
        for state in (SETTLED, DELIVERING, DELIVERED):
            with self.settled() as (ledger, clock, fence):
                if state != DELIVERING:
                    (ledger.deliver if state == DELIVERED else ledger.fail)(KEY, fence, ())
                row = event_row(ev.PAYMENT_REFUNDED, "hook-1")
                assert ledger.note_refund(KEY, PROOF, 60, "usd", (row,)) == "noted"
                assert ledger.note_refund(KEY, PROOF, 70, "usd", (row,)) == "known"
                found = ledger.find_paid(PROOF)
                assert found is not None
                assert (found.state, found.refunded) == (REFUNDED, 60)
                assert claim(ledger, clock).outcome == "refunded"
                assert not ledger.deliver(KEY, fence, ())
                assert len(ledger.read_events()) == 1

    def test_noted_before_it_was_presented(self) -> None:
        """Money that went back before anybody presented it cannot be settled, nor be late."""
        with self.fresh() as (ledger, clock):
            assert ledger.note_refund("", PROOF, 100, "usd", ()) == "noted"
            assert ledger.note_refund("", PROOF, 100, "usd", ()) == "known"
            fence = claim(ledger, clock).fence
            assert settle(ledger, clock, fence) == "proof_used"
            assert not record_late(ledger, clock, PROOF)
            assert open_refund(ledger).outcome == "refunded"
            found = ledger.find_paid(PROOF)
            assert found is not None
            assert (found.state, found.refunded) == (REFUNDED, 100)

    def test_noted_under_another_key(self) -> None:
        """Who knows the payment by a key it has not got is told so, and nothing is written."""
        with self.settled() as (ledger, _, _fence):
            assert ledger.note_refund("", PROOF, 100, "usd", ()) == "moved"
            assert ledger.note_refund("realm.test|another", LATE_PROOF, 100, "usd", ()) == "moved"
            found = ledger.find_paid(PROOF)
            assert found is not None
            assert found.refund is None
            assert ledger.find_paid(LATE_PROOF) is None

    def test_noting_ends_an_open_order(self) -> None:
        """What our order did comes back as the other side's word: it is one refund."""
        with self.settled() as (ledger, _, fence):
            ledger.deliver(KEY, fence, ())
            opening = open_refund(ledger, 40)
            assert ledger.note_refund(KEY, PROOF, 40, "usd", ()) == "noted"
            assert not ledger.close_refund(PROOF, opening.fence, "refunded", 40, "refund-1", "", ())
            assert list(ledger.find_due(10)) == []

    # --- all at once ----------------------------------------------------------------------------------------

    def test_one_order_wins(self) -> None:
        """Of many orders at the same time one asks the provider."""
        with self.settled() as (ledger, _, fence), ThreadPoolExecutor(_AT_ONCE) as pool:
            ledger.deliver(KEY, fence, ())
            calls = [pool.submit(open_refund, ledger, nonce=f"nonce-{number}") for number in range(_AT_ONCE * 4)]
            outcomes = [call.result().outcome for call in calls]
            assert outcomes.count("open") == 1
            assert outcomes.count("busy") == _AT_ONCE * 4 - 1

    def test_one_late_payment_wins(self) -> None:
        """Of many tellings of a late payment one is written; of a refund made elsewhere, too."""
        with self.fresh() as (ledger, clock), ThreadPoolExecutor(_AT_ONCE) as pool:
            late = [pool.submit(record_late, ledger, clock, seq=seq) for seq in range(_AT_ONCE * 4)]
            assert [call.result() for call in late].count(True) == 1
            notes = [pool.submit(ledger.note_refund, LATE_KEY, LATE_PROOF, 9, "usd", ()) for _ in range(_AT_ONCE * 4)]
            assert [call.result() for call in notes].count("noted") == 1
            assert len(ledger.read_events()) == 1

    def test_refund_or_redemption(self) -> None:
        """Of an order and a redemption at the same time exactly one gets the payment."""
        for _ in range(5):
            with self.settled() as (ledger, clock, fence), ThreadPoolExecutor(2) as pool:
                ledger.fail(KEY, fence, ())
                redeeming, ordering = pool.submit(claim, ledger, clock), pool.submit(open_refund, ledger)
                both = (redeeming.result().outcome, ordering.result().outcome)
                assert both in {("redeem", "delivering"), ("busy", "open")}
