"""The promises of a ledger about stored answers, one test each; part of the ledgers' contract."""

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from typing import Final

from flovia.core import events as ev
from flovia.core.answers import StoredAnswer
from flovia.core.exchange import SETTLED
from flovia.ledger.base import Ledger
from flovia.testing.ledger_steps import DAY_S, DELIVER_S, KEY, ManualClock, claim, event_row, settle

_ANY_BYTES: Final = bytes(range(256))


def answer(until: float, body: bytes = b"hello") -> StoredAnswer:
    """An answer with recognisable values; every byte a header field may have is in one."""
    latin_1 = "".join(map(chr, (*range(0x20, 0x7F), *range(0xA0, 0x100))))
    headers = (("content-type", "text/plain"), ("x-twice", "1"), ("x-twice", "2"), ("x-any", latin_1))
    return StoredAnswer(caller="caller-1", status=203, headers=headers, body=body, until=until)


class AnswerPromises(ABC):
    """Stored answers; mixed into :class:`flovia.testing.ledgers.LedgerContract`."""

    @abstractmethod
    def fresh(self) -> AbstractContextManager[tuple[Ledger, ManualClock]]:
        """A ledger and its clock."""
        ...

    @abstractmethod
    def settled(self) -> AbstractContextManager[tuple[Ledger, ManualClock, int]]:
        """A ledger with one settled payment in its first delivery, under the fence given."""
        ...

    def test_an_answer_is_kept(self) -> None:
        """It is written with the delivery, and read as it was: status, fields in order, every byte of the body."""
        with self.settled() as (ledger, clock, fence):
            kept = answer(clock() + DAY_S, _ANY_BYTES * 1024)
            assert ledger.find_answer(KEY) is None
            assert ledger.deliver(KEY, fence, (), kept)
            assert ledger.find_answer(KEY) == kept
            assert ledger.find_answer("realm.test|another") is None

    def test_an_empty_answer_is_kept(self) -> None:
        """No body and no field is an answer too."""
        with self.settled() as (ledger, clock, fence):
            kept = StoredAnswer(caller="caller-1", status=204, headers=(), body=b"", until=clock() + DAY_S)
            assert ledger.deliver(KEY, fence, (), kept)
            assert ledger.find_answer(KEY) == kept

    def test_an_answer_ends_at_its_instant(self) -> None:
        """It is there until its time is over, and not any longer."""
        with self.settled() as (ledger, clock, fence):
            assert ledger.deliver(KEY, fence, (), answer(clock() + 60.0))
            clock.advance(59.0)
            assert ledger.find_answer(KEY) is not None
            clock.advance(1.0)
            assert ledger.find_answer(KEY) is None

    def test_nothing_is_kept_without_an_answer(self) -> None:
        """A delivery without one leaves none."""
        with self.settled() as (ledger, _, fence):
            assert ledger.deliver(KEY, fence, ())
            assert ledger.find_answer(KEY) is None

    def test_a_stale_delivery_keeps_nothing(self) -> None:
        """Whoever lost the fence leaves no answer: the next delivery may give another one, and that one is kept."""
        with self.settled() as (ledger, clock, stale):
            clock.advance(DELIVER_S)
            fence = claim(ledger, clock).fence
            assert not ledger.deliver(KEY, stale, (), answer(clock() + DAY_S, b"stale"))
            assert ledger.find_answer(KEY) is None
            assert ledger.deliver(KEY, fence, (), answer(clock() + DAY_S, b"current"))
            assert not ledger.deliver(KEY, fence, (), answer(clock() + DAY_S, b"again"))
            found = ledger.find_answer(KEY)
            assert found is not None
            assert found.body == b"current"

    def test_an_answer_for_later_is_kept(self) -> None:
        """An end that is recorded later brings its answer with it."""
        with self.settled() as (ledger, clock, fence):
            kept = answer(clock() + DAY_S)
            ledger.end_later(KEY, fence, True, (event_row(ev.PAYMENT_DELIVERED),), False, kept)
            ledger.flush()
            assert ledger.find_answer(KEY) == kept
            assert claim(ledger, clock).outcome == "delivered"

    # --- failures whose refund is due -------------------------------------------------------------------------

    def test_a_failure_with_its_refund_due(self) -> None:
        """It is settled, cannot be redeemed any more, and waits to be given back; nobody counts it as undelivered."""
        with self.settled() as (ledger, clock, fence):
            row = event_row(ev.PAYMENT_DELIVERY_FAILED, "req-2")
            assert ledger.fail(KEY, fence, (row,), True)
            found = ledger.find(KEY)
            assert found is not None
            assert (found.state, found.refund_due) == (SETTLED, True)
            assert claim(ledger, clock).outcome == "undelivered"
            assert [due.key for due in ledger.find_due(10)] == [KEY]
            assert list(ledger.find_undelivered(10)) == []
            assert [event.request_id for _, event in ledger.read_events()] == ["req-2"]

    def test_a_failure_for_later_with_its_refund_due(self) -> None:
        """The same when it is recorded later."""
        with self.settled() as (ledger, clock, fence):
            ledger.end_later(KEY, fence, False, (event_row(ev.PAYMENT_DELIVERY_FAILED),), True)
            ledger.flush()
            assert claim(ledger, clock).outcome == "undelivered"
            assert [due.key for due in ledger.find_due(10)] == [KEY]

    def test_a_stale_failure_makes_no_refund_due(self) -> None:
        """Whoever lost the fence changes nothing."""
        with self.settled() as (ledger, clock, stale):
            clock.advance(DELIVER_S)
            fence = claim(ledger, clock).fence
            assert not ledger.fail(KEY, stale, (), True)
            assert list(ledger.find_due(10)) == []
            assert ledger.deliver(KEY, fence, ())

    def test_a_failure_is_given_back_once(self) -> None:
        """A refund that is refused leaves it due; one that is made ends it."""
        with self.settled() as (ledger, clock, fence):
            ledger.fail(KEY, fence, (), True)
            opening = ledger.open_refund("mock|pay-1", None, None, "nonce-1", 15.0)
            assert (opening.outcome, opening.amount) == ("open", 100)
            assert claim(ledger, clock).outcome == "undelivered"
            assert ledger.close_refund("mock|pay-1", opening.fence, "refused", 100, "", "closed", ())
            assert [due.key for due in ledger.find_due(10)] == [KEY]
            opening = ledger.open_refund("mock|pay-1", None, None, "nonce-2", 15.0)
            assert ledger.close_refund("mock|pay-1", opening.fence, "refunded", 100, "refund-1", "", ())
            assert list(ledger.find_due(10)) == []
            assert claim(ledger, clock).outcome == "refunded"

    def test_what_was_never_to_be_delivered(self) -> None:
        """Is told apart from what failed: nothing was begun for it."""
        with self.fresh() as (ledger, clock):
            fence = claim(ledger, clock).fence
            settle(ledger, clock, fence, refund_due=True)
            assert claim(ledger, clock).outcome == "refund_due"
