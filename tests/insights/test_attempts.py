"""Attempts: what the questions need to know of each, beyond the joined event."""

from math import inf, isfinite, nan

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flovia.core import events as ev
from flovia.core.events import Event
from flovia.insights.attempt import (
    ATTEMPT,
    INSIGHT_OF,
    KINDS,
    LAST_DAY,
    MONEY,
    OPEN,
    OUTCOMES,
    PROBE,
    PROVENANCES,
    STATES,
    TURNED_AWAY,
    Attempt,
    attempts,
    day_of,
)
from flovia.insights.join import INSIGHTS, JoinedEvent, join
from flovia.insights.measures import measure
from tests.insights.test_join import (
    ANY_EVENTS,
    delivered,
    event,
    failed,
    late,
    moved,
    other,
    part,
    redeemed,
    refund,
    refused,
    retry,
    unpaid,
)


def only(events: list[Event]) -> Attempt:
    """The one attempt that these events make."""
    (found,) = attempts(events)
    return found


def gated(events: list[Event]) -> list[Event]:
    """As a gate writes them: it does not know the provider of a request that has just come."""
    return [attrs.evolve(one, provider=None) if one.type == ev.REQUEST_STARTED else one for one in events]


def test_when_each_step_was() -> None:
    """The 402, the credential, the payment, the answer, the refund: each has its time."""
    found = only([*unpaid(at=1.0), *retry(at=10.0), *delivered(at=11.5), *refund(at=500.0)])
    steps = (found.challenged_at, found.presented_at, found.verified_at, found.delivered_at, found.refunded_at)
    assert (1.0, 10.0, 10.0, 11.5, 500.0) == steps
    assert (1.0, 500.0, 9000.0) == (found.at, found.last_at, found.pay_ms)


def test_how_often() -> None:
    """Requests, 402s, presentations and failed deliveries are counted."""
    found = only([*unpaid(), *refused(), *retry("req-3", 15.0), *failed("req-3", 16.0), *redeemed("req-4", 20.0)])
    assert (4, 2, 3, 1) == (found.requests, found.challenges, found.presentations, found.failures)


def test_a_request_counts_once() -> None:
    """One that was refused and given a fresh challenge, which was paid, counts where its credential belongs."""
    events = [*unpaid(), *refused(), *retry("req-3", 20.0, "challenge-9"), *delivered("req-3", 21.0, "challenge-9")]
    first, second = attempts(events)
    assert (("req-1", "req-2"), ("req-2", "req-3")) == (first.request_ids, second.request_ids)
    assert (2, 1) == (first.requests, second.requests)


def test_how_long() -> None:
    """The answer with the 402, the verdict and the handler are told apart."""
    verdict = [attrs.evolve(one, at=10.25) if one.type in _VERDICT else one for one in retry(at=10.0)]
    found = only(gated([*unpaid(), *verdict, *delivered(at=11.0)]))
    assert (12.5, 250.0, 750.0, 12.5) == (found.challenge_ms, found.verify_ms, found.handler_ms, found.latency_ms)


_VERDICT = (ev.PAYMENT_SETTLED, ev.ACCESS_GRANTED)


def test_a_clock_that_goes_back() -> None:
    """A duration below zero is left out, and counted."""
    found = only(gated([*unpaid(at=20.0), *retry(at=10.0), *delivered(at=9.0)]))
    assert (None, 0.0, None, 2) == (found.pay_ms, found.verify_ms, found.handler_ms, found.backwards)


@pytest.mark.parametrize(("at", "day"), [(inf, LAST_DAY), (1e300, LAST_DAY), (-inf, 0), (nan, 0), (86400.0, 1)])
def test_a_clock_that_is_beside_itself(at: float, day: int) -> None:
    """Its time is at an end of all days, and an attempt with it is counted."""
    assert day == day_of(at)
    found = only([attrs.evolve(one, at=at) for one in gated(unpaid())])
    assert isfinite(found.at)
    assert [day] == [route.day for route in measure([found])]


def test_an_observed_route() -> None:
    """What another gate did is observed: its verdict is not seen, so neither is how long it took."""
    events = [
        event(ev.REQUEST_STARTED, "r", 1, at=1.0),
        event(ev.PAYMENT_CONTEXT_ATTACHED, "r", 2, at=1.0, challenge="c"),
        event(ev.ACCESS_GRANTED, "r", 3, at=2.0, challenge="c", paid=True),
        event(ev.REQUEST_COMPLETED, "r", 4, at=3.0, challenge="c", paid=True, status=200),
    ]
    found = only(events)
    assert ("delivered", 2.0, 3.0, None) == (found.outcome, found.verified_at, found.delivered_at, found.verify_ms)
    assert {"payment": "observed", "price": "observed", "payer": "declared", "workflow": "declared"} == found.provenance


def test_what_a_gate_knows_is_verified() -> None:
    """The price it issued and the payment its provider vouches for; a payer that was named with the verdict too."""
    found = only(gated([*unpaid(), *retry(), *delivered()]))
    verified = {"payment": "verified", "price": "verified", "payer": "verified"}
    assert verified | {"workflow": "declared"} == found.provenance


def test_a_payer_that_only_the_credential_names_is_declared() -> None:
    """Anybody can write a source into a credential."""
    events = [attrs.evolve(one, payer="did:example:payer") for one in gated([*retry(), *delivered()])]
    assert "declared" == only(events).payer_from


def test_the_price_is_what_was_asked() -> None:
    """Also where another amount came."""
    found = only([*unpaid(), *other()])
    assert (100, "usd", 70, "underpaid") == (found.price, found.price_currency, found.amount, found.state)
    more = [attrs.evolve(one, amount=170) for one in other()]
    assert "overpaid" == only([*unpaid(), *more]).state
    elsewhere = [attrs.evolve(one, currency="sgd") for one in other()]
    assert "unmatched_payment" == only([*unpaid(), *elsewhere]).state


def test_what_counts_as_an_attempt() -> None:
    """Not a HEAD, not a request that was refused before any price, not money that no request brought."""
    head = [attrs.evolve(one, http_method="HEAD") for one in unpaid()]
    limited = [attrs.evolve(event(ev.REQUEST_COMPLETED, "r", 1, status=429), problem="rate-limited")]
    kinds = [only(events).kind for events in (unpaid(), head, limited, late())]
    assert [ATTEMPT, PROBE, TURNED_AWAY, MONEY] == kinds == list(KINDS)
    assert ("rate-limited", ("rate-limited",)) == (only(limited).problem, only(limited).problems)


def test_a_402_is_no_problem() -> None:
    """That a price is asked is no failure of anything."""
    asked = [attrs.evolve(one, problem="payment-required") if one.status else one for one in unpaid()]
    assert (None, ()) == (only(asked).problem, only(asked).problems)


@pytest.mark.parametrize(
    ("events", "state"),
    [
        (unpaid(), "unpaid"),
        ([*unpaid(), *retry(), *delivered()], "paid_and_delivered"),
        ([*unpaid(), *retry(), *failed()], "paid_not_delivered"),
        ([*unpaid(), *retry(), *delivered(), *part()], "refunded"),
        ([*unpaid(), *late()], "late"),
        ([moved(ev.PAYMENT_LATE, "x", 1.0, None, reason=ev.DUPLICATE)], "duplicate"),
        ([moved(ev.PAYMENT_SETTLED, "x", 1.0, None)], "unmatched_payment"),
        ([event(ev.REQUEST_COMPLETED, "r", 1, status=503)], "request_without_payment"),
    ],
)
def test_states(events: list[Event], state: str) -> None:
    """How payment and request agree, in the words of a reconciliation."""
    assert state == only(events).state


def test_the_vocabulary_is_whole() -> None:
    """Every insight has a code, every code a state."""
    assert set(INSIGHTS) == set(OUTCOMES)
    assert set(STATES) == set(INSIGHT_OF)
    assert set(STATES.values()) | {"underpaid", "overpaid"} >= OPEN


@given(ANY_EVENTS)
def test_an_attempt_is_the_joined_event_and_more(events: list[Event]) -> None:
    """Whatever the events: the same joined events, each under a key of its own, every request counted once."""
    found = attempts(events)
    names = [field.name for field in attrs.fields(JoinedEvent)]
    assert join(events) == [JoinedEvent(**{name: getattr(one, name) for name in names}) for one in found]
    assert len(found) == len({one.key for one in found})
    assert len({one.request_id for one in events if one.http_method}) == sum(one.requests for one in found)
    for one in found:
        assert one.verified_at is not None or one.delivered_at is None
        assert set(one.provenance.values()) <= set(PROVENANCES)
        assert one.kind in KINDS
        assert one.state in {*STATES.values(), "underpaid", "overpaid"}


@given(st.data(), ANY_EVENTS)
def test_order_and_repetition_make_no_difference(data: st.DataObject, events: list[Event]) -> None:
    """Any permutation of any events, each any number of times, gives the same attempts."""
    again = data.draw(st.lists(st.sampled_from(events), max_size=10)) if events else []
    assert attempts(events) == attempts(data.draw(st.permutations(events + again)))
