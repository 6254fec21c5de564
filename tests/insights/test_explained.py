"""What an operator explains: out of the queue, counted as explained, and due again for a new reason alone."""

from random import Random

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flovia.core import events as ev
from flovia.core.errors import CallerError
from flovia.core.events import Event
from flovia.core.operator import Operator
from flovia.insights.asking import Asked
from flovia.insights.attempt import EXPLAINED, Attempt, attempts
from flovia.insights.explaining import explained_event
from flovia.insights.integrity import counted_states, exhausted, queue
from flovia.insights.join import join
from flovia.insights.measures import measure
from flovia.insights.rollup import measure_days, roll_up
from flovia.insights.sealed import carried, stand_ins
from flovia.insights.sql_integrity import count_due_sql, exhausted_sql, queue_sql
from flovia.insights.sql_measures import measure_sql
from tests.insights.folding import Book
from tests.insights.test_attempts import gated, only
from tests.insights.test_join import (
    OUTCOMES,
    event,
    failed,
    late,
    moved,
    overdue,
    redeemed,
    refund,
    refused,
    retry,
    scenario,
    turned_away,
    unpaid,
)

BOTH = pytest.mark.parametrize("both", ["sqlite", "postgresql"], indirect=True)
CHEAP = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
ALICE = Operator(name="alice", note="sent by mail")
ALL = Asked(test=True)
UNKNOWN = [
    *unpaid(),
    event(ev.REQUEST_STARTED, "req-2", 1, at=10.0),
    event(ev.PAYMENT_CONTEXT_ATTACHED, "req-2", 2, at=10.0, challenge="challenge-1"),
    event(ev.PAYMENT_UNKNOWN, "req-2", 3, at=10.5, challenge="challenge-1"),
    event(ev.REQUEST_FAILED, "req-2", 4, at=11.0, challenge="challenge-1", status=503),
]
SECOND = moved(ev.PAYMENT_LATE, "hook-2", 450.0, "challenge-1", "second-1", reason=ev.DUPLICATE)
DUE: list[tuple[str, list[Event]]] = [
    ("undelivered", [*unpaid(), *retry(), *failed()]),
    ("exhausted", [*unpaid(), *retry(), *failed(), *turned_away("delivery-exhausted")]),
    ("late", [*unpaid(), *overdue()]),
    ("paid_twice", [SECOND]),
    ("unpresented", [moved(ev.PAYMENT_LATE, "hook-1", 9.0, None, reason=ev.NOT_PRESENTED)]),
    ("mismatched", [*unpaid(), moved(ev.PAYMENT_UNMATCHED, "x", 9.0, "challenge-1", amount=70)]),
    ("no_payment", [moved(ev.PAYMENT_REOPENED, "x", 9.0, None)]),
    ("unknown", UNKNOWN),
]


def said(one: Attempt, at: float = 1000.0, number: int = 1, by: Operator = ALICE) -> Event:
    """The event of an explanation of this attempt."""
    return explained_event(one, at, f"explain_{number}", by)


@pytest.mark.parametrize(("outcome", "events"), DUE)
def test_whatever_is_due_can_be_explained(outcome: str, events: list[Event]) -> None:
    """It stays what it is, is due no more, and says who said why, and when."""
    before = only(events)
    assert (outcome, True, False) == (before.outcome, before.due, before.explained)
    after = only([*events, said(before)])
    assert (False, True) == (after.due, after.explained)
    known = {"explained_at": 1000.0, "explained_by": "alice", "explanation": "sent by mail", "last_at": 1000.0}
    assert attrs.evolve(before, **known) == after
    assert after.to_json().items() >= {"due": False, "explainedBy": "alice", "explanation": "sent by mail"}.items()


@pytest.mark.parametrize(("outcome", "events"), DUE)
def test_the_row_alone_tells_it(outcome: str, events: list[Event]) -> None:
    """When the events are gone, stand-ins join to the same explained attempt."""
    after = only([*events, said(only(events))])
    assert outcome == after.outcome
    assert after == carried(after, only(stand_ins(after)))


def test_a_new_reason() -> None:
    """Explained as not delivered; then its deliveries are used up: that needs somebody anew."""
    events = [*unpaid(), *retry(), *failed()]
    explained = [*events, said(only(events))]
    later = only([*explained, *turned_away("delivery-exhausted", at=2000.0)])
    assert ("exhausted", True, None) == (later.outcome, later.due, later.explained_at)


def test_the_same_again_is_no_new_reason() -> None:
    """Another try that fails is what was explained."""
    events = [*unpaid(), *retry(), *failed()]
    again = [attrs.evolve(one, at=2000.0) for one in failed("req-9", challenge="challenge-1")]
    assert not only([*events, said(only(events)), *again]).due


def test_made_redeemable_again() -> None:
    """Who lets it be delivered again takes the explanation back, also if it ends as it was."""
    events = [*unpaid(), *retry(), *failed()]
    reopened = moved(ev.PAYMENT_REOPENED, "redeliver_1", 1500.0, "challenge-1")
    assert only([*events, said(only(events)), reopened]).due
    assert not only([*events, attrs.evolve(reopened, at=500.0), said(only(events))]).due
    # Somebody asked for its refund after all, and nobody knows whether it went back.
    asked = attrs.evolve(reopened, type=ev.PAYMENT_REFUND_FAILED, reason="unknown")
    assert only([*events, said(only(events)), asked]).due


def test_delivered_after_all() -> None:
    """What was explained and is delivered later is a sale like any other."""
    events = [*unpaid(), *retry(), *failed()]
    done = only([*events, said(only(events)), *redeemed(at=2000.0)])
    assert ("delivered", False, False, None) == (done.outcome, done.due, done.explained, done.explained_at)
    back = only([*events, said(only(events)), *refund(at=2000.0)])
    assert ("refunded", False, False) == (back.outcome, back.due, back.explained)


def test_the_last_word_counts() -> None:
    """Of two operators at once the later one is shown; a word about another state is not."""
    events = [*unpaid(), *retry(), *failed()]
    first, second = said(only(events)), said(only(events), 1001.0, 2, Operator(name="bob", note="paid in cash"))
    assert ("bob", "paid in cash") == (only([*events, second, first]).explained_by, only([*events, second]).explanation)
    exhausted_now = [*events, *turned_away("delivery-exhausted", at=999.0)]
    assert only([*exhausted_now, said(only(exhausted_now)), attrs.evolve(first, at=1002.0)]).due


def test_a_second_payment_is_explained_alone() -> None:
    """The call that it was made for stays due, and the other way round."""
    events = [*unpaid(), *retry(), *failed(), SECOND]
    call, money = attempts(events)
    assert [True, False] == [one.due for one in attempts([*events, said(money)])]
    assert [False, True] == [one.due for one in attempts([*events, said(call)])]


def test_unknown_outcomes_stay_apart() -> None:
    """Without a payment an explanation belongs to its challenge, and to no other of the same provider."""
    others = [
        attrs.evolve(one, challenge_id=one.challenge_id and "challenge-2", request_id=f"{one.request_id}b")
        for one in UNKNOWN
    ]
    first, _ = attempts([*UNKNOWN, *others])
    after = attempts([*UNKNOWN, *others, said(first)])
    assert [("challenge-1", False), ("challenge-2", True)] == [(one.challenge_id, one.due) for one in after]


@pytest.mark.parametrize("events", [
    [attrs.evolve(said(only(DUE[0][1])), payment_id=None)],
    [said(only(DUE[0][1]))],
    [attrs.evolve(said(only(DUE[3][1])), challenge_id=None)],
    [moved(ev.PAYMENT_REFUND_FAILED, "refund_1", 9.0, "challenge-1")],
])  # fmt: skip
def test_a_note_makes_no_attempt(events: list[Event]) -> None:
    """What somebody did about a payment of which nothing else is known is no attempt, and nothing due."""
    assert [] == join(events)
    assert ["not_paid"] == [one.outcome for one in attempts([*unpaid("req-other", 1.0, "another"), *events])]


def test_a_refund_that_failed_is_no_amount() -> None:
    """A part that was asked for and refused says nothing of what was paid."""
    part = attrs.evolve(moved(ev.PAYMENT_REFUND_FAILED, "refund_1", 900.0, "challenge-1", amount=1), reason="refused")
    events = [*unpaid(), *retry(), *failed()]
    assert attrs.evolve(only(events), last_at=900.0) == only([*events, part])
    (money,) = attempts([part, *refund()])
    assert (None, 100) == (money.amount, money.refunded)


def test_what_cannot_be_said() -> None:
    """Without a reason, and where there is nothing to name."""
    one = only(DUE[0][1])
    with pytest.raises(CallerError, match="the note is empty"):
        said(one, by=Operator(name="alice"))
    with pytest.raises(CallerError, match="neither a challenge nor a payment"):
        said(attrs.evolve(one, challenge_id=None, payment_id=None))


def test_the_report_counts_it() -> None:
    """As explained, in place of its state; and what is explained is not to go back."""
    events = [*unpaid(), *late(), *gated(scenario(2, ["settle", "fail"]))]
    found = attempts(events)
    states = counted_states(measure(found), 0)
    assert (1, 1, 0) == (states["late"], states["paid_not_delivered"], states[EXPLAINED])
    assert 100 == sum(cell.owed for cell in measure(found).values())
    after = attempts([*events, *(said(one) for one in found)])
    counts = counted_states(measure(after), 0)
    assert (0, 0, 2) == (counts["late"], counts["paid_not_delivered"], counts[EXPLAINED])
    assert 0 == sum(cell.owed for cell in measure(after).values())
    assert [] == queue(after, ALL)


@BOTH
def test_in_a_database(both: Book) -> None:
    """Folded, counted by SQL and kept by day it is what it is in memory, in either database."""
    events = [one for number, (steps, _) in enumerate(OUTCOMES) for one in gated(scenario(number, steps))]
    events += [*gated(UNKNOWN), SECOND]
    both.write(events)
    both.fold()
    roll_up(both.ledger.database)
    due = [one for one in attempts(events) if one.due]
    told = [said(one, 5000.0, number) for number, one in enumerate(due) if number % 2]
    both.write(told)
    both.fold()
    roll_up(both.ledger.database)
    found, database = both.attempts(), both.ledger.database
    assert attempts([*events, *told]) == found
    assert len(told) == sum(one.explained for one in found) == len(due) // 2
    assert measure(found) == measure_sql(database, slice_rows=4) == measure_days(database, float("-inf"), float("inf"))
    assert queue(found, ALL) == queue_sql(database, ALL)
    assert len(due) - len(told) == count_due_sql(database, ALL)
    assert exhausted(found, ALL) == exhausted_sql(database, ALL)


@CHEAP
@given(st.lists(st.sampled_from(OUTCOMES), max_size=5), st.randoms(use_true_random=False), st.integers(1, 40))
def test_in_any_order(book: Book, chosen: list[tuple[list[str], str]], random: Random, size: int) -> None:
    """Explanations that come before what they are about, in any pieces: the attempts of all events at once."""
    book.clear()
    events = [one for number, (steps, _) in enumerate(chosen) for one in gated(scenario(number, steps))]
    events += [said(one, 5000.0, number) for number, one in enumerate(attempts(events)) if one.due]
    expected = attempts(events)
    assert not any(one.due for one in expected)
    random.shuffle(events)
    for start in range(0, len(events), size):
        book.write(events[start : start + size])
        book.fold(size)
    assert expected == book.attempts()


@pytest.mark.parametrize(("outcome", "events"), DUE)
def test_explained_after_its_events_were_pruned(book: Book, outcome: str, events: list[Event]) -> None:
    """The row alone is enough to explain, and to be due again."""
    book.clear()
    book.write(gated(events))
    book.fold()
    assert book.prune(before=900.0)
    (before,) = book.attempts()
    book.write([said(before)])
    book.fold()
    (after,) = book.attempts()
    assert (outcome, False, "alice") == (after.outcome, after.due, after.explained_by)
    assert 1 == book.prune(before=1100.0)
    if after.challenge_id is not None:
        book.write([attrs.evolve(SECOND, payment_id="other-1", at=1200.0), *refused("req-8", 1300.0)])
        book.fold()
        # Another 402 says that nobody had paid what was in doubt: nothing is left to explain.
        by = None if outcome == "unknown" else "alice"
        assert {by} == {one.explained_by for one in book.attempts() if one.key == after.key}
