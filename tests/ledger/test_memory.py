"""What the memory ledger does beyond the contract: it forgets, it is bounded, and it does not cross a fork."""

import pytest

from flovia.core.answers import StoredAnswer
from flovia.core.errors import LedgerError
from flovia.core.exchange import DELIVERED, PARKED
from flovia.ledger import memory_answers
from flovia.ledger.memory import UNKNOWN_KEPT_S, MemoryLedger
from flovia.ledger.opening import open_ledger
from flovia.testing.ledger_answers import answer
from flovia.testing.ledger_steps import DAY_S, ManualClock, claim, event_row, settle


@pytest.fixture
def clock() -> ManualClock:
    """The ledger's clock."""
    return ManualClock()


@pytest.fixture
def ledger(clock: ManualClock) -> MemoryLedger:
    """An empty ledger."""
    return MemoryLedger(clock=clock)


def test_what_was_not_paid_is_forgotten_with_its_challenge(ledger: MemoryLedger, clock: ManualClock) -> None:
    """A released claim goes when its keep_until has passed, whenever the next claim looks."""
    released = claim(ledger, clock, "a")
    assert ledger.release("a", released.fence, False, ())
    clock.advance(361)
    claim(ledger, clock, "b")
    assert len(ledger) == 1
    assert ledger.find("a") is None


def test_what_was_delivered_is_kept_as_long_as_it_was_promised(ledger: MemoryLedger, clock: ManualClock) -> None:
    """A settled payment outlives its challenge; then it is forgotten, and of it only the proof is known."""
    claimed = claim(ledger, clock, "a")
    settle(ledger, clock, claimed.fence, "a")
    assert ledger.deliver("a", claimed.fence, ())
    clock.advance(361)
    claim(ledger, clock, "b")
    found = ledger.find("a")
    assert found is not None
    assert found.state == DELIVERED
    clock.advance(7 * DAY_S)
    claim(ledger, clock, "c")
    assert ledger.find("a") is None
    again = claim(ledger, clock, "d")
    assert settle(ledger, clock, again.fence, "d") == "proof_used"
    found_paid = ledger.find_paid("mock|pay-1")
    assert found_paid is not None
    assert (found_paid.key, found_paid.state, found_paid.amount) == ("a", DELIVERED, 100)


def test_what_was_paid_and_not_delivered_is_kept(ledger: MemoryLedger, clock: ManualClock) -> None:
    """However long ago: somebody is owed it, and it is on the list of what was not delivered."""
    settle(ledger, clock, claim(ledger, clock, "a").fence, "a")
    for _ in range(3):
        clock.advance(30 * DAY_S)
        claim(ledger, clock, "b")
    assert [found.key for found in ledger.find_undelivered(10)] == ["a"]


def test_a_claim_whose_holder_vanished_is_parked_not_forgotten(ledger: MemoryLedger, clock: ManualClock) -> None:
    """Nobody knows whether money moved, so it waits for its credential a week longer."""
    claim(ledger, clock, "a")
    clock.advance(361)
    claim(ledger, clock, "b")
    found = ledger.find("a")
    assert found is not None
    assert found.state == PARKED
    assert claim(ledger, clock, "a", expired=True).outcome == "claimed"
    ledger.release("a", 2, True, ())
    clock.advance(UNKNOWN_KEPT_S + 1)
    claim(ledger, clock, "c")
    assert ledger.find("a") is None


def test_it_refuses_rather_than_forgets_when_full(clock: ManualClock) -> None:
    """At its bound a new claim is a LedgerError; what is known goes on."""
    ledger = MemoryLedger(clock=clock, max_payments=1)
    first = claim(ledger, clock, "a")
    with pytest.raises(LedgerError, match="full"):
        claim(ledger, clock, "b")
    assert settle(ledger, clock, first.fence, "a") == "settled"


def test_used_proofs_count(clock: ManualClock) -> None:
    """They are kept when their payments are forgotten, so they count towards the bound."""
    ledger = MemoryLedger(clock=clock, max_payments=1)
    claimed = claim(ledger, clock, "a")
    settle(ledger, clock, claimed.fence, "a")
    ledger.deliver("a", claimed.fence, ())
    clock.advance(8 * DAY_S)
    with pytest.raises(LedgerError, match="full"):
        claim(ledger, clock, "b")
    assert len(ledger) == 0


def test_events_that_fell_out_do_not_wait(clock: ManualClock) -> None:
    """Nobody is told that an exporter has more to do than it can still read."""
    ledger = MemoryLedger(clock=clock, max_events=3)
    ledger.append([event_row(seq=seq) for seq in range(5)])
    assert (3, 3, 1, 0) == tuple(ledger.count_events(after, 100) for after in (0, 2, 4, 5))
    assert 3 == len(ledger.read_events())


def test_payers_are_hidden(clock: ManualClock) -> None:
    """With ``hide`` no event names a payer or a workflow, whichever verb wrote it; a short row stays short."""
    ledger = open_ledger("memory://", clock=clock, hide=lambda name: f"not {name}")
    claimed = claim(ledger, clock, "a")
    settle(ledger, clock, claimed.fence, "a", events=(event_row(request_id="r1"),))
    ledger.deliver("a", claimed.fence, (event_row(request_id="r2"),))
    ledger.append([event_row(request_id="r3"), event_row(request_id="r4")[:12]])
    ledger.late("b", "m|p", "p", 100, "usd", clock() + 60, (event_row(request_id="r5"),))
    names = [(event.request_id, event.payer, event.workflow) for _, event in ledger.read_events()]
    hidden = ("not did:example:payer", "not nightly")
    assert [("r1", *hidden), ("r2", *hidden), ("r3", *hidden), ("r4", None, None), ("r5", *hidden)] == names


def test_short_texts_are_swept(ledger: MemoryLedger, clock: ManualClock) -> None:
    """Ten thousand texts later those past their time are gone; the others stay."""
    for number in range(10_000):
        ledger.remember("old", str(number), "v", 1.0, False)
    clock.advance(2)
    ledger.remember("new", "k", "v", 10.0, True)
    assert len(ledger._texts) == 1
    assert ledger.recall("new", "k") == "v"


def test_an_end_told_late(ledger: MemoryLedger, clock: ManualClock) -> None:
    """An end is recorded at once if it can be; a stale one leaves its events and nothing else."""
    claimed = claim(ledger, clock, "a")
    settle(ledger, clock, claimed.fence, "a")
    ledger.end_later("a", claimed.fence, False, (event_row(request_id="r1"),))
    redeemed = claim(ledger, clock, "a")
    assert redeemed.outcome == "redeem"
    ledger.end_later("a", claimed.fence, True, (event_row(request_id="r2"),))
    ledger.end_later("a", redeemed.fence, True, (event_row(request_id="r3"),))
    ledger.end_later("a", redeemed.fence, True, (event_row(request_id="r3"),))
    found = ledger.find("a")
    assert found is not None
    assert found.state == DELIVERED
    assert [event.request_id for _, event in ledger.read_events()] == ["r1", "r2", "r3"]


def test_forks(ledger: MemoryLedger, clock: ManualClock) -> None:
    """The parent goes on; a child refuses to claim and to redeem, for it would not see the others' deliveries."""
    claimed = claim(ledger, clock, "a")
    settle(ledger, clock, claimed.fence, "a")
    ledger.fail("a", claimed.fence, ())
    ledger.before_fork()
    ledger.after_fork_in_parent()
    assert claim(ledger, clock, "b").outcome == "claimed"
    ledger.before_fork()
    ledger.after_fork_in_child()
    for key in ("a", "c"):
        with pytest.raises(LedgerError, match="another process"):
            claim(ledger, clock, key)
    for verb, arguments in {
        "late": ("a|p", "p", "p", 100, "usd", clock() + 60, ()),
        "find_paid": ("mock|pay-1",),
        "open_refund": ("mock|pay-1", None, None, "nonce", 15.0),
        "close_refund": ("mock|pay-1", 1, "refunded", 100, "id", "", ()),
        "note_refund": ("a", "mock|pay-1", 100, "usd", ()),
        "find_due": (9,),
        "find_unresolved": ("", 9),
        "lease_sink": ("s", "one", 15.0),
        "advance_sink": ("s", 1, 0, 15.0),
    }.items():
        with pytest.raises(LedgerError, match="another process"):
            getattr(ledger, verb)(*arguments)


def deliver_with(ledger: MemoryLedger, clock: ManualClock, key: str, stored: StoredAnswer) -> None:
    """A payment, delivered, its answer kept."""
    fence = claim(ledger, clock, key).fence
    settle(ledger, clock, fence, key, proof=f"mock|{key}")
    assert ledger.deliver(key, fence, (), stored)


def test_answers_are_bounded(clock: ManualClock) -> None:
    """Above the limit the oldest answers are forgotten; one that is larger than all of it is not kept at all."""
    ledger = MemoryLedger(clock=clock, max_answer_bytes=10_000)
    for number in range(5):
        deliver_with(ledger, clock, f"{number}", answer(clock() + DAY_S, b"x" * 3000))
    assert [False, False, False, True, True] == [ledger.find_answer(f"{number}") is not None for number in range(5)]
    deliver_with(ledger, clock, "large", answer(clock() + DAY_S, b"x" * 10_000))
    assert ledger.find_answer("large") is None


def test_answers_fill_what_there_is_for_them(clock: ManualClock) -> None:
    """To the last byte; one byte less, and the oldest goes."""
    stored = answer(clock() + DAY_S)
    room = 2 * memory_answers._size(stored)
    for less, kept in ((0, True), (1, False)):
        ledger = MemoryLedger(clock=clock, max_answer_bytes=room - less)
        deliver_with(ledger, clock, "a", stored)
        deliver_with(ledger, clock, "b", stored)
        assert kept == (ledger.find_answer("a") is not None)
        assert stored == ledger.find_answer("b")


def test_answers_whose_time_is_over_make_room(clock: ManualClock) -> None:
    """The next one that is kept lets go of them."""
    ledger = MemoryLedger(clock=clock)
    deliver_with(ledger, clock, "a", answer(clock() + 60.0))
    clock.advance(60.0)
    deliver_with(ledger, clock, "b", answer(clock() + 60.0))
    assert ["b"] == list(ledger.answers)
