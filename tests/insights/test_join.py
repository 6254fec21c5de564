"""The join: unpaid and paid requests of one challenge become one event, whatever order they are read in."""

import json
from collections.abc import Sequence
from random import Random

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flovia.core import events as ev
from flovia.core.events import EVENT_TYPES, Event
from flovia.insights import join as module
from flovia.insights.join import INSIGHTS, JoinedEvent, join


def event(
    type_: str,
    request_id: str,
    seq: int,
    *,
    at: float | None = None,
    challenge: str | None = None,
    paid: bool = False,
    status: int | None = None,
    amount: int | None = 100,
    provider: str | None = "mock",
) -> Event:
    """One event of a request; ``paid`` adds what only a settled payment knows."""
    return Event(
        type=type_,
        at=float(seq) if at is None else at,
        request_id=request_id,
        seq=seq,
        endpoint="/reports/{id}",
        http_method="GET",
        provider=provider,
        rail="mpp",
        amount=amount if challenge else None,
        currency="usd" if challenge else None,
        challenge_id=challenge,
        payment_id="pay-1" if paid else None,
        payer="did:example:payer" if paid else None,
        recipient="acct-1" if paid else None,
        status=status,
        latency_ms=None if status is None else 12.5,
        workflow="nightly",
    )


def unpaid(request_id: str = "req-1", at: float = 1.0, *challenges: str) -> list[Event]:
    """A request that was answered with a 402 and these challenges."""
    issued = challenges or ("challenge-1",)
    return [
        event(ev.REQUEST_STARTED, request_id, 1, at=at),
        *(event(ev.CHALLENGE_ISSUED, request_id, 2 + i, at=at, challenge=c) for i, c in enumerate(issued)),
        event(ev.REQUEST_COMPLETED, request_id, 9, at=at, challenge=issued[-1], status=402),
    ]


def retry(request_id: str = "req-2", at: float = 10.0, challenge: str = "challenge-1") -> list[Event]:
    """A request that presented a credential, up to its settlement."""
    return [
        event(ev.REQUEST_STARTED, request_id, 1, at=at),
        event(ev.PAYMENT_CONTEXT_ATTACHED, request_id, 2, at=at, challenge=challenge),
        event(ev.PAYMENT_SETTLED, request_id, 3, at=at, challenge=challenge, paid=True),
        event(ev.ACCESS_GRANTED, request_id, 4, at=at, challenge=challenge, paid=True),
    ]


def delivered(request_id: str = "req-2", at: float = 11.0, challenge: str = "challenge-1") -> list[Event]:
    """The end of a delivery."""
    return [
        event(ev.PAYMENT_DELIVERED, request_id, 5, at=at, challenge=challenge, paid=True, status=200),
        event(ev.REQUEST_COMPLETED, request_id, 6, at=at, challenge=challenge, paid=True, status=200),
    ]


def failed(request_id: str = "req-2", at: float = 11.0, challenge: str = "challenge-1") -> list[Event]:
    """The end of a delivery that did not complete."""
    return [
        event(ev.PAYMENT_DELIVERY_FAILED, request_id, 5, at=at, challenge=challenge, paid=True, status=500),
        event(ev.REQUEST_FAILED, request_id, 6, at=at, challenge=challenge, paid=True, status=500),
    ]


def redeemed(request_id: str = "req-3", at: float = 20.0, challenge: str = "challenge-1") -> list[Event]:
    """A request that redelivered."""
    return [
        event(ev.REQUEST_STARTED, request_id, 1, at=at),
        event(ev.PAYMENT_CONTEXT_ATTACHED, request_id, 2, at=at, challenge=challenge),
        event(ev.ACCESS_GRANTED, request_id, 3, at=at, challenge=challenge, paid=True),
        event(ev.PAYMENT_REDELIVERED, request_id, 4, at=at, challenge=challenge, paid=True, status=200),
        event(ev.REQUEST_COMPLETED, request_id, 5, at=at, challenge=challenge, paid=True, status=200),
    ]


def moved(
    type_: str,
    id_: str,
    at: float,
    challenge: str | None,
    payment: str = "pay-1",
    amount: int = 100,
    reason: str | None = None,
) -> Event:
    """Money that moved outside of any request: a refund, a notice of a webhook."""
    return Event(
        type=type_,
        at=at,
        request_id=id_,
        seq=1,
        endpoint="",
        http_method="",
        provider="mock",
        rail="mpp",
        amount=amount,
        currency="usd",
        challenge_id=challenge,
        payment_id=payment,
        reason=reason,
    )


def late(id_: str = "hook-1", at: float = 400.0, challenge: str = "challenge-1") -> list[Event]:
    """Money that came too late, as an earlier version told it: without a reason."""
    return [moved(ev.PAYMENT_LATE, f"late-{id_}", at, challenge)]


def overdue(id_: str = "hook-1", at: float = 400.0, challenge: str = "challenge-1") -> list[Event]:
    """Money that came too late."""
    return [moved(ev.PAYMENT_LATE, f"late-{id_}", at, challenge, reason=ev.LATE)]


def other(id_: str = "hook-1", at: float = 400.0, challenge: str = "challenge-1") -> list[Event]:
    """Another amount than was asked for, found by reconciling."""
    return [moved(ev.PAYMENT_UNMATCHED, f"other-{id_}", at, challenge, amount=70)]


def refund(id_: str = "1", at: float = 500.0, challenge: str = "challenge-1") -> list[Event]:
    """All of it went back."""
    return [moved(ev.PAYMENT_REFUNDED, f"refund-{id_}", at, challenge)]


def part(id_: str = "1", at: float = 500.0, challenge: str = "challenge-1") -> list[Event]:
    """A part of it went back."""
    return [moved(ev.PAYMENT_REFUNDED, f"refund-{id_}", at, challenge, amount=40)]


def refused(
    request_id: str = "req-2", at: float = 10.0, challenge: str = "challenge-1", fresh: str = "challenge-9"
) -> list[Event]:
    """A request whose credential was not accepted: a 402 with a fresh challenge."""
    return [
        event(ev.REQUEST_STARTED, request_id, 1, at=at),
        event(ev.PAYMENT_CONTEXT_ATTACHED, request_id, 2, at=at, challenge=challenge),
        event(ev.CHALLENGE_ISSUED, request_id, 3, at=at, challenge=fresh, amount=200, provider="other"),
        event(ev.REQUEST_COMPLETED, request_id, 4, at=at, challenge=fresh, status=402, amount=200),
    ]


def turned_away(problem: str, request_id: str = "req-3", at: float = 20.0) -> list[Event]:
    """A request whose credential was good, and that got a problem without a challenge."""
    end = event(ev.REQUEST_FAILED, request_id, 3, at=at, challenge="challenge-1", status=500)
    return [
        event(ev.REQUEST_STARTED, request_id, 1, at=at),
        event(ev.PAYMENT_CONTEXT_ATTACHED, request_id, 2, at=at, challenge="challenge-1"),
        attrs.evolve(end, problem=problem),
    ]


def only(events: Sequence[Event]) -> JoinedEvent:
    """The one attempt that these events make."""
    (found,) = join(events)
    return found


def test_a_paid_call() -> None:
    """The 402 and the paid retry are one event, with who paid, what was used, and how it went."""
    found = only([*unpaid(), *retry(), *delivered()])
    assert found.to_json() == {
        "requestId": "req-2",
        "requestIds": ["req-1", "req-2"],
        "at": 1.0,
        "provider": "mock",
        "rail": "mpp",
        "endpoint": "/reports/{id}",
        "httpMethod": "GET",
        "challengeId": "challenge-1",
        "paymentId": "pay-1",
        "amount": "100",
        "currency": "usd",
        "refunded": None,
        "payer": "did:example:payer",
        "recipient": "acct-1",
        "workflow": "nightly",
        "responseStatus": 200,
        "latencyMs": 12.5,
        "insight": "payment converted into paid API demand",
    }
    json.dumps(found.to_json())


def test_no_events() -> None:
    """Nothing joins to nothing."""
    assert join([]) == []


def test_an_unpaid_call() -> None:
    """A 402 that nobody answers is an attempt too."""
    found = only(unpaid())
    assert (found.request_id, found.challenge_id, found.response_status) == ("req-1", "challenge-1", 402)
    assert (found.amount, found.payment_id, found.insight) == (100, None, "price shown, not paid")


def test_several_offers_are_one_attempt() -> None:
    """Unpaid offers of one 402 do not count twice; the first one names the attempt."""
    assert only(unpaid("req-1", 1.0, "challenge-1", "challenge-2")).challenge_id == "challenge-1"


def test_the_paid_offer_wins() -> None:
    """If one of the offers is paid, the attempt is that one's, with the same unpaid request."""
    found = only([*unpaid("req-1", 1.0, "a", "b"), *retry(challenge="b"), *delivered(challenge="b")])
    assert (found.challenge_id, found.request_ids) == ("b", ("req-1", "req-2"))


def test_a_delivery_that_failed() -> None:
    """Paid and not delivered is said as such, with the status the client saw."""
    found = only([*unpaid(), *retry(), *failed()])
    assert (found.response_status, found.insight) == (500, "paid, not delivered yet")


def test_a_delivery_that_nobody_finished() -> None:
    """After a crash there is no status; the payment is on record."""
    found = only([*unpaid(), *retry()])
    assert (found.response_status, found.latency_ms, found.payment_id) == (None, None, "pay-1")
    assert found.insight == "paid, not delivered yet"


def test_a_redelivery() -> None:
    """The request that delivered at last is the one that counts, and all of them are named."""
    found = only([*unpaid(), *retry(), *failed(), *redeemed()])
    assert (found.request_id, found.request_ids) == ("req-3", ("req-1", "req-2", "req-3"))
    assert (found.response_status, found.insight) == (200, "payment converted into paid API demand")


def test_a_second_use_does_not_become_the_call() -> None:
    """A replay after the delivery is part of the attempt, and not its result."""
    replay = refused("req-3", 30.0)
    found = only([*unpaid(), *retry(), *delivered(), *replay])
    assert (found.request_id, found.response_status, found.amount) == ("req-2", 200, 100)
    assert found.request_ids == ("req-1", "req-2", "req-3")


def test_a_credential_that_was_not_accepted() -> None:
    """The refused credential is an attempt; the fresh challenge beside it is not another one."""
    found = only([*unpaid(), *refused()])
    assert (found.challenge_id, found.provider, found.amount) == ("challenge-1", "mock", 100)
    assert (found.request_id, found.response_status, found.insight) == ("req-2", 402, "payment not accepted")


def test_the_fresh_challenge_is_paid() -> None:
    """If the fresh challenge is paid, that is a second attempt, which begins with the refusal."""
    events = [*unpaid(), *refused(), *retry("req-3", 20.0, "challenge-9"), *delivered("req-3", 21.0, "challenge-9")]
    first, second = join(events)
    assert (first.challenge_id, first.insight) == ("challenge-1", "payment not accepted")
    assert (second.challenge_id, second.request_ids) == ("challenge-9", ("req-2", "req-3"))
    assert second.insight == "payment converted into paid API demand"


@pytest.mark.parametrize(
    ("type_", "expected"),
    [
        (ev.PAYMENT_UNKNOWN, "payment outcome unknown"),
        (ev.PAYMENT_UNMATCHED, "payment did not match the price, refund due"),
        (ev.PAYMENT_LATE, "payment came after the price had risen, refund due"),
        (ev.PAYMENT_REFUNDED, "payment refunded"),
    ],
)
def test_other_outcomes(type_: str, expected: str) -> None:
    """Each thing that can happen to the money has its sentence."""
    told = event(type_, "req-2", 3, at=10.5, challenge="challenge-1", paid=True)
    found = only([*unpaid(), *refused(), told])
    assert (found.insight, found.payment_id) == (expected, "pay-1")


def test_the_more_telling_wins() -> None:
    """Unknown, then settled; delivered, then refunded: what came of it is what is said."""
    unknown = event(ev.PAYMENT_UNKNOWN, "req-0", 3, at=5.0, challenge="challenge-1")
    assert only([*unpaid(), unknown, *retry(), *delivered()]).insight == module.CONVERTED
    refund = event(ev.PAYMENT_REFUNDED, "refund-1", 1, at=50.0, challenge="challenge-1", paid=True)
    found = only([*unpaid(), *retry(), *delivered(), refund])
    assert (found.insight, found.request_id) == ("payment refunded", "req-2")


def test_a_refund() -> None:
    """What went back is told with the call it paid for, which stays the call it was."""
    found = only([*unpaid(), *retry(), *delivered(), *part()])
    assert (found.insight, found.refunded, found.amount) == ("payment refunded in part", 40, 100)
    assert (found.request_id, found.request_ids, found.endpoint) == ("req-2", ("req-1", "req-2"), "/reports/{id}")
    assert (found.response_status, found.to_json()["refunded"]) == (200, "40")
    assert only([*unpaid(), *retry(), *failed(), *refund()]).insight == "payment refunded"


def test_a_late_payment() -> None:
    """It belongs to the request that showed the price; what came is what counts, not what was asked."""
    found = only([*unpaid(), moved(ev.PAYMENT_LATE, "hook-1", 400.0, "challenge-1", "pay-9", 70)])
    assert (found.insight, found.amount, found.payment_id) == ("payment came too late, refund due", 70, "pay-9")
    assert (found.request_ids, found.endpoint, found.response_status) == (("req-1",), "/reports/{id}", 402)


def test_a_late_payment_of_the_second_offer() -> None:
    """The offer that was paid names the attempt, even too late."""
    found = only([*unpaid("req-1", 1.0, "a", "b"), *late(challenge="b")])
    assert (found.challenge_id, found.request_ids) == ("b", ("req-1",))


def test_other_money_than_was_asked_for() -> None:
    """What reconciling found, of no request: it belongs to the request that showed the price, and what came counts."""
    other = moved(ev.PAYMENT_UNMATCHED, "reconcile-1", 400.0, "challenge-1", "pay-9", 70)
    for requests in (unpaid(), [*unpaid(), *refused()]):
        found = only([*requests, other])
        assert (found.insight, found.amount) == ("payment did not match the price, refund due", 70)
        assert (found.payment_id, found.endpoint) == ("pay-9", "/reports/{id}")
        back = only([*requests, other, moved(ev.PAYMENT_REFUNDED, "refund-1", 500.0, "challenge-1", "pay-9", 70)])
        assert (back.insight, back.refunded, back.amount) == ("payment refunded", 70, 70)
        some = only([*requests, other, moved(ev.PAYMENT_REFUNDED, "refund-1", 500.0, "challenge-1", "pay-9", 30)])
        assert some.insight == "payment refunded in part"


def test_other_money_that_a_request_brought() -> None:
    """A credential presented once more says what was asked for; what came counts all the same."""
    other = event(ev.PAYMENT_UNMATCHED, "req-2", 3, at=10.5, challenge="challenge-1", paid=True, amount=70)
    back = moved(ev.PAYMENT_REFUNDED, "refund-1", 500.0, "challenge-1", "pay-1", 70)
    found = only([*unpaid(), *refused(), other, *refused("req-3", 20.0), back])
    assert (found.insight, found.amount, found.refunded) == ("payment refunded", 70, 70)


def test_the_right_money_after_the_wrong() -> None:
    """What bought the call is what the call paid; what went back of the other payment stands for itself."""
    other = event(ev.PAYMENT_UNMATCHED, "req-2", 3, at=10.5, challenge="challenge-1", amount=70)
    other = attrs.evolve(other, payment_id="pay-0")
    back = moved(ev.PAYMENT_REFUNDED, "refund-1", 500.0, "challenge-1", "pay-0", 70)
    call, extra = join([*unpaid(), *refused(), other, *retry("req-3", 20.0), *delivered("req-3", 21.0), back])
    assert (call.insight, call.payment_id, call.amount, call.refunded) == (module.CONVERTED, "pay-1", 100, None)
    assert (extra.insight, extra.payment_id, extra.refunded) == ("payment refunded", "pay-0", 70)


def test_called_back_before_anybody_presented_it() -> None:
    """Its own sentence, as it came in time; once it went back, that is what is said."""
    called = moved(ev.PAYMENT_LATE, "withdraw-1", 5.0, "challenge-1", reason=ev.NOT_PRESENTED)
    assert only([*unpaid(), called]).insight == "paid and not presented, refund due"
    assert only([*unpaid(), called, *refund()]).insight == "payment refunded"


def test_a_failure_that_makes_the_refund_due() -> None:
    """With on_failure="refund" nothing is to be delivered any more, and the sentence says so; a refund ends it."""
    failure = [attrs.evolve(one, problem="refund-due") for one in failed()]
    for more in ([], turned_away("refund-due")):
        assert only([*unpaid(), *retry(), *failure, *more]).insight == "paid, delivery failed, refund due"
    assert only([*unpaid(), *retry(), *failure, *refund()]).insight == "payment refunded"


def test_every_delivery_failed() -> None:
    """After the last try it is no longer "not yet"; made redeemable again, it is, until that is used up as well."""
    over = turned_away("delivery-exhausted")
    assert only([*unpaid(), *retry(), *failed(), *over]).insight == "paid, every delivery failed"
    reopened = moved(ev.PAYMENT_REOPENED, "redeliver-1", 30.0, "challenge-1")
    events = [*unpaid(), *retry(), *failed(), *over, reopened]
    assert only(events).insight == "paid, not delivered yet"
    assert only([*events, *redeemed("req-4", 40.0)]).insight == module.CONVERTED
    again = turned_away("delivery-exhausted", "req-4", 40.0)
    assert only([*events, *again]).insight == "paid, every delivery failed"
    assert only([*unpaid(), *retry(), *failed(), *over, *refund()]).insight == "payment refunded"


def test_a_key_that_was_used_for_another_request() -> None:
    """It is part of the attempt whose credential it brought, and neither its result nor its endpoint."""
    reused = turned_away("idempotency-key-reused")
    reused = [attrs.evolve(one, endpoint="/other", http_method="POST") for one in reused]
    found = only([*unpaid(), *retry(), *reused])
    assert (found.request_id, found.endpoint, found.insight) == ("req-2", "/reports/{id}", "paid, not delivered yet")
    assert found.request_ids == ("req-1", "req-2", "req-3")
    alone = only(reused)
    assert (alone.challenge_id, alone.insight) == ("challenge-1", "payment not accepted")


def test_paid_twice() -> None:
    """The second payment of a challenge, and its refund, are an event of their own; the call stays paid."""
    second = [
        moved(ev.PAYMENT_LATE, "hook-1", 400.0, "challenge-1", "pay-2", reason=ev.DUPLICATE),
        moved(ev.PAYMENT_REFUNDED, "refund-1", 500.0, "challenge-1", "pay-2"),
    ]
    call, extra = join([*unpaid(), *retry(), *delivered(), second[0]])
    assert (call.insight, extra.insight) == (module.CONVERTED, "paid twice, refund due")
    call, extra = join([*unpaid(), *retry(), *delivered(), *second])
    assert (call.insight, call.payment_id, call.refunded) == (module.CONVERTED, "pay-1", None)
    assert (extra.insight, extra.payment_id, extra.refunded) == ("payment refunded", "pay-2", 100)
    assert (extra.request_id, extra.request_ids, extra.challenge_id) == ("hook-1", ("hook-1",), "challenge-1")
    assert (extra.endpoint, extra.http_method, extra.response_status) == ("", "", None)


def test_paid_twice_before_the_first_was_presented() -> None:
    """The second payment is never taken for the one that the requests are about, even while that is unknown."""
    second = moved(ev.PAYMENT_LATE, "hook-1", 5.0, "challenge-1", "pay-2", reason=ev.DUPLICATE)
    shown, extra = join([*unpaid(), second])
    assert (shown.insight, shown.payment_id) == ("price shown, not paid", None)
    assert (extra.insight, extra.payment_id) == ("paid twice, refund due", "pay-2")
    call, extra = join([*unpaid(), second, *retry(), *delivered()])
    assert (call.insight, call.payment_id, extra.insight) == (module.CONVERTED, "pay-1", "paid twice, refund due")


def test_a_late_payment_and_a_second_one() -> None:
    """Both too late: the first belongs to the request, whichever was heard of first."""
    second = moved(ev.PAYMENT_LATE, "hook-1", 400.0, "challenge-1", "pay-2", reason=ev.DUPLICATE)
    first = moved(ev.PAYMENT_LATE, "hook-2", 401.0, "challenge-1", "pay-1", reason=ev.LATE)
    call, extra = join([*unpaid(), second, first])
    assert (call.insight, call.payment_id) == ("payment came too late, refund due", "pay-1")
    assert (extra.insight, extra.payment_id) == ("paid twice, refund due", "pay-2")


def test_refunded_before_it_was_presented() -> None:
    """A refund that does not know its challenge stands with the request that presented the payment."""
    back = moved(ev.PAYMENT_REFUNDED, "refund-1", 5.0, None)
    refused_ = [
        event(ev.REQUEST_STARTED, "req-2", 1, at=10.0),
        event(ev.PAYMENT_CONTEXT_ATTACHED, "req-2", 2, at=10.0, challenge="challenge-1"),
        event(ev.REQUEST_COMPLETED, "req-2", 3, at=10.0, challenge="challenge-1", paid=True, status=403),
    ]
    found = only([*unpaid(), back, *refused_])
    assert (found.insight, found.refunded, found.request_ids) == ("payment refunded", 100, ("req-1", "req-2"))
    assert (found.payment_id, found.response_status) == ("pay-1", 403)


def test_two_late_payments() -> None:
    """The first one belongs to the request that showed the price, the second stands for itself."""
    both = [moved(ev.PAYMENT_LATE, f"hook-{n}", 400.0 + n, "challenge-1", f"pay-{n}") for n in (1, 2)]
    first, second = join([*unpaid(), *both])
    assert (first.request_ids, first.payment_id) == (("req-1",), "pay-1")
    assert (second.request_ids, second.payment_id) == (("hook-2",), "pay-2")
    assert first.insight == second.insight == "payment came too late, refund due"


@pytest.mark.parametrize("challenge", ["challenge-1", None])
def test_money_without_its_requests(challenge: str | None) -> None:
    """A refund whose requests are not among the events, or that nobody presented here, is told all the same."""
    found = only([moved(ev.PAYMENT_REFUNDED, "refund-1", 500.0, challenge, amount=40)])
    assert (found.insight, found.refunded, found.amount) == ("payment refunded", 40, None)
    assert (found.request_id, found.challenge_id, found.currency) == ("refund-1", challenge, "usd")


def test_an_observed_route() -> None:
    """A handler with its own gate writes no payment events; a granted, completed request was paid for."""
    observed = [
        event(ev.REQUEST_STARTED, "req-2", 1, at=10.0),
        event(ev.PAYMENT_CONTEXT_ATTACHED, "req-2", 2, at=10.0, challenge="challenge-1"),
        event(ev.ACCESS_GRANTED, "req-2", 3, at=11.0, challenge="challenge-1", paid=True),
        event(ev.REQUEST_COMPLETED, "req-2", 4, at=12.0, challenge="challenge-1", paid=True, status=200),
    ]
    found = only([*unpaid(), *observed])
    assert (found.payment_id, found.insight) == ("pay-1", module.CONVERTED)


def test_a_request_without_a_challenge() -> None:
    """What is refused before any challenge stands for itself."""
    events = [
        event(ev.REQUEST_STARTED, "req-1", 1),
        event(ev.REQUEST_FAILED, "req-1", 2, status=503),
    ]
    found = only(events)
    assert (found.challenge_id, found.response_status, found.insight) == (None, 503, "request without a payment")
    assert found.provider == "mock"


def test_one_request_id_for_both() -> None:
    """A client that sends its own id with both requests still makes one attempt, ended by the second."""
    found = only([*unpaid("same"), *retry("same"), *delivered("same")])
    assert (found.request_ids, found.response_status) == (("same",), 200)
    assert found.insight == module.CONVERTED


def test_oldest_first() -> None:
    """Attempts come in the order they began."""
    events = [*unpaid("req-b", 2.0, "b"), *unpaid("req-a", 1.0, "a"), *unpaid("req-c", 3.0, "c")]
    assert [found.challenge_id for found in join(events)] == ["a", "b", "c"]


def test_insights_are_a_fixed_vocabulary() -> None:
    """Fifteen sentences, so that reports can group by them."""
    assert len(set(INSIGHTS)) == len(INSIGHTS) == 15


IDS = st.sampled_from(["1", "2", "3"])
ANY_EVENTS = st.lists(
    st.builds(
        Event,
        type=st.sampled_from(EVENT_TYPES),
        at=st.floats(0, 5),
        request_id=IDS,
        seq=st.integers(1, 4),
        endpoint=st.sampled_from(["/a", "/b"]),
        http_method=st.sampled_from(["GET", "GET", ""]),
        provider=st.sampled_from([None, "mock", "other"]),
        amount=st.none() | st.integers(1, 10**20),
        challenge_id=st.none() | IDS,
        payment_id=st.none() | IDS,
        status=st.sampled_from([None, 200, 402, 500]),
        workflow=st.none() | IDS,
        reason=st.sampled_from([None, *ev.REASONS, "undelivered", "exhausted", "unknown", "mismatched"]),
        operator=st.sampled_from([None, "alice"]),
        note=st.sampled_from([None, "known"]),
    ),
    max_size=20,
)


@given(st.data(), ANY_EVENTS)
def test_order_and_repetition_make_no_difference(data: st.DataObject, events: list[Event]) -> None:
    """Any permutation of any events, each any number of times, joins to the same."""
    again = data.draw(st.lists(st.sampled_from(events), max_size=10)) if events else []
    shuffled = data.draw(st.permutations(events + again))
    assert join(events) == join(shuffled)


@given(ANY_EVENTS)
def test_every_request_is_told_of(events: list[Event]) -> None:
    """No request is missing, none is told of as the result of something it had no part in, no challenge twice."""
    joined = join(events)
    told = {one for found in joined for one in found.request_ids}
    assert {event.request_id for event in events if event.http_method} <= told
    assert told <= {event.request_id for event in events}
    for found in joined:
        assert found.request_id in found.request_ids
        assert found.insight in INSIGHTS
    settled = {one.challenge_id for one in events if one.type == ev.PAYMENT_SETTLED and one.http_method} - {None}
    for challenge_id in settled:
        assert len([found for found in joined if found.challenge_id == challenge_id and found.http_method]) == 1


def scenario(number: int, steps: list[str]) -> list[Event]:
    """A whole attempt of its own, by what happened after the 402."""
    challenge = f"challenge-{number}"
    makers = {"settle": retry, "deliver": delivered, "fail": failed, "redeem": redeemed, "refuse": refused}
    makers |= {"late": late, "overdue": overdue, "refund": refund, "part": part, "other": other}
    events = unpaid(f"req-{number}-0", 100.0 * number, challenge)
    for i, name in enumerate(steps):
        # settling and its end are one request
        request = f"req-{number}-{i if name not in ('deliver', 'fail') else i - 1}"
        events += makers[name](f"{request}-paid", 100.0 * number + 10 + i, challenge)
    # each payment has a name of its own
    return [attrs.evolve(one, payment_id=one.payment_id and f"{one.payment_id}-{number}") for one in events]


OUTCOMES: list[tuple[list[str], str]] = [
    ([], "price shown, not paid"),
    (["refuse"], "payment not accepted"),
    (["settle", "deliver"], module.CONVERTED),
    (["refuse", "settle", "deliver"], module.CONVERTED),
    (["settle", "fail"], "paid, not delivered yet"),
    (["settle", "fail", "redeem"], module.CONVERTED),
    (["late"], "payment came too late, refund due"),
    (["overdue"], "payment came too late, refund due"),
    (["refuse", "late"], "payment came too late, refund due"),
    (["late", "refund"], "payment refunded"),
    (["late", "part"], "payment refunded in part"),
    (["settle", "deliver", "refund"], "payment refunded"),
    (["settle", "fail", "part"], "payment refunded in part"),
    (["other"], "payment did not match the price, refund due"),
    (["refuse", "other"], "payment did not match the price, refund due"),
]


@given(st.lists(st.sampled_from(OUTCOMES), max_size=6), st.randoms(use_true_random=False))
def test_second_payments_stand_for_themselves(chosen: list[tuple[list[str], str]], random: Random) -> None:
    """Whatever became of an attempt, a second payment changes nothing about it, whenever it came."""
    events = [one for number, (steps, _) in enumerate(chosen) for one in scenario(number, steps)]
    for number in range(len(chosen)):
        at = 100.0 * number + random.uniform(0, 50)
        challenge, payment = f"challenge-{number}", f"second-{number}"
        events.append(moved(ev.PAYMENT_LATE, f"hook-{number}", at, challenge, payment, reason=ev.DUPLICATE))
    random.shuffle(events)
    found = join(events)
    calls = {one.challenge_id: one.insight for one in found if one.http_method}
    assert {f"challenge-{number}": insight for number, (_, insight) in enumerate(chosen)} == calls
    extra = {one.payment_id: (one.challenge_id, one.insight) for one in found if not one.http_method}
    twice = "paid twice, refund due"
    assert {f"second-{number}": (f"challenge-{number}", twice) for number in range(len(chosen))} == extra


@given(st.lists(st.sampled_from(OUTCOMES), max_size=6), st.randoms(use_true_random=False))
def test_many_attempts_do_not_mix(chosen: list[tuple[list[str], str]], random: Random) -> None:
    """Attempts that overlap in time stay apart: one joined event each, with its own outcome."""
    events = [one for number, (steps, _) in enumerate(chosen) for one in scenario(number, steps)]
    random.shuffle(events)
    found = {one.challenge_id: one.insight for one in join(events)}
    assert {f"challenge-{number}": insight for number, (_, insight) in enumerate(chosen)} == found
