"""The questions: funnel, latency, revenue, pricing, integrity, each number by hand."""

import json
from math import isfinite
from random import Random

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flovia.core import events as ev
from flovia.core.encoding import JsonValue
from flovia.core.errors import CallerError
from flovia.core.events import Event
from flovia.insights.asking import Asked, LeftOut, chosen
from flovia.insights.attempt import DAY_S, Attempt, attempts
from flovia.insights.funnel import funnel, latency
from flovia.insights.integrity import count_pending, counted_states, finding, queue
from flovia.insights.intervals import difference, share
from flovia.insights.measures import Cell, Cells, Route, measure
from flovia.insights.pricing import PricingRow, pricing
from flovia.insights.revenue import revenue
from tests.insights.test_attempts import gated, only
from tests.insights.test_join import ANY_EVENTS, delivered, event, failed, late, moved, other, retry, scenario, unpaid


def told(*steps: list[str], **more: object) -> list[Attempt]:
    """Attempts by their steps, the events changed."""
    events = [one for number, names in enumerate(steps) for one in gated(scenario(number, names))]
    return attempts([attrs.evolve(one, **more) for one in events])


# --- the funnel ------------------------------------------------------------------------------------------------------


def test_the_funnel() -> None:
    """Four saw the price, three presented something, two paid, one was delivered."""
    cells = measure(told([], ["refuse"], ["settle", "fail"], ["settle", "deliver"]))
    (row,) = funnel(cells)
    assert {"endpoint": "/reports/{id}", "rail": "mpp", "price": "100", "currency": "usd"} == row.group
    steps = (row.requests, row.challenges, row.attempts, row.presented, row.verified, row.delivered, row.failed)
    assert (7, 5, 4, 3, 2, 1, 1) == steps
    assert (0.25, 1, 4) == (row.conversion.value, row.conversion.count, row.conversion.of)
    assert (0.25, 1) == (row.abandonment.value, row.abandonment.count)


def test_time_to_pay() -> None:
    """From the 402 to the payment, half of all and nearly all, within one per cent."""
    found: list[Attempt] = []
    for number in range(100):
        events = gated([*unpaid(at=0.0), *retry(at=1.0 + number), *delivered(at=200.0)])
        found += [attrs.evolve(one, key=f"{number}") for one in attempts(events)]
    (row,) = funnel(measure(found))
    assert row.pay_p50_ms == pytest.approx(50_000, rel=0.01)
    assert row.pay_p95_ms == pytest.approx(95_000, rel=0.01)


def test_reasons() -> None:
    """Why attempts were not delivered, the most frequent first; what was delivered in the end has none."""
    declined = told(["refuse"], ["refuse"])
    declined = [attrs.evolve(one, problem="verification-failed") for one in declined]
    broken = [attrs.evolve(one, problem="delivery-failed") for one in told(["settle", "fail"])]
    fine = [attrs.evolve(one, problem="in-flight") for one in told(["settle", "deliver"])]
    (row,) = funnel(measure([*declined, *broken, *fine]))
    assert (("verification-failed", 2), ("delivery-failed", 1)) == row.reasons


def test_told_apart() -> None:
    """By whatever is asked for, in an order of its own."""
    cells = measure([*told(["settle", "deliver"]), *told([], at=3 * DAY_S, endpoint="/b")])
    assert ["/b", "/reports/{id}"] == [row.group["endpoint"] for row in funnel(cells, ["endpoint"])]
    assert ["1970-01-01", "1970-01-04"] == [row.group["day"] for row in funnel(cells, ["day"])]
    assert [{"provider": "mock"}] == [row.group for row in funnel(cells, ["provider"])]
    (everything,) = funnel(cells, [])
    assert (2, {}) == (everything.attempts, everything.group)
    with pytest.raises(CallerError, match=r"'colour' is nothing .* endpoint, provider, rail, price, day"):
        funnel(cells, ["colour"])


def test_probes_are_no_attempts() -> None:
    """Whoever asks with HEAD cannot pay, so it is not counted as somebody who did not."""
    probes = attempts([attrs.evolve(one, http_method="HEAD") for one in unpaid()])
    cells, left_out = chosen(measure([*probes, *told(["settle", "deliver"])]), {}, Asked(test=True))
    (row,) = funnel(cells)
    assert (1, 1.0, 1) == (row.attempts, row.conversion.value, left_out.probes)


def test_an_observed_route_without_challenges() -> None:
    """What another gate took is an attempt, also where it told no challenge's id."""
    seen = [
        event(ev.REQUEST_STARTED, "r", 1),
        attrs.evolve(event(ev.ACCESS_GRANTED, "r", 2), payment_id="pay"),
        event(ev.REQUEST_COMPLETED, "r", 3, status=200),
    ]
    (row,) = funnel(measure(attempts(seen)))
    assert (1, 1, 1) == (row.attempts, row.verified, row.delivered)


# --- latency ---------------------------------------------------------------------------------------------------------


def test_latency() -> None:
    """Each part by itself, with how often it failed."""
    good = told(["settle", "deliver"])
    bad = told(["settle", "fail"])
    (row,) = latency(measure([*good, *bad]))
    assert (2, {"endpoint": "/reports/{id}"}) == (row.attempts, row.group)
    assert (2, 2, 1) == (row.challenge.count, row.verify.count, row.handler.count)
    assert row.p50_ms == pytest.approx(12.5, rel=0.01)
    assert row.handler.p95_ms == pytest.approx(1000.0, rel=0.01)
    assert (0.0, 0.0, 0.5) == (row.challenge.errors.value, row.verify.errors.value, row.handler.errors.value)
    assert {"count", "p50Ms", "p95Ms", "errors"} == set(dict(row.to_json()["handler"]))  # type: ignore[arg-type]


# --- revenue ---------------------------------------------------------------------------------------------------------


def test_revenue() -> None:
    """What came, what went back, and what is owed: in each currency by itself."""
    usd = told(["settle", "deliver"], ["settle", "deliver", "part"], ["settle", "fail", "refund"], ["late"], [])
    (row,) = revenue(measure(usd))
    assert ("usd", 4, 400, 2, 140, 260, 100) == attrs.astuple(row)[1:]
    late_money = revenue(measure(attempts([*unpaid(), *late()])))
    assert (100, 100) == (late_money[0].gross, late_money[0].owed)
    sgd = told(["settle", "deliver"], currency="sgd", amount=10**30 + 1)
    found = revenue(measure([*usd, *sgd]), [])
    assert [("sgd", 10**30 + 1), ("usd", 260)] == [(one.currency, one.net) for one in found]
    assert str(10**30 + 1) == found[0].to_json()["net"]


def test_revenue_by_price() -> None:
    """A price has a currency, and so has what was paid: they need not be the same."""
    paid = [attrs.evolve(one, currency="sgd") for one in other()]
    (row,) = revenue(measure(attempts([*unpaid(), *paid])), ["price"])
    assert ({"price": "100", "priceCurrency": "usd"}, "sgd", 70, 70) == (row.group, row.currency, row.gross, row.owed)


def test_money_without_an_amount() -> None:
    """It is left out, and counted."""
    nameless = told(["settle", "deliver"], amount=None)
    cells, left_out = chosen(measure(nameless), {}, Asked(test=True))
    assert ([], 1) == (revenue(cells), left_out.amountless)
    unclear = [attrs.evolve(one, refunded=None) for one in told(["settle", "deliver", "refund"])]
    assert 1 == sum(cell.amountless for cell in measure(unclear).values())


# --- pricing ---------------------------------------------------------------------------------------------------------


def shown(*prices: tuple[int, int, int], currency: str = "usd") -> PricingRow:
    """Prices with how many saw and paid each; the last one was shown last."""
    cells: Cells = {}
    for number, (price, seen, paid) in enumerate(prices):
        cells[Route(number, "/r", "hitpay", "mpp", price, currency, currency)] = Cell(
            attempts=seen, verified=paid, shown_at=float(number)
        )
    (row,) = pricing(cells)
    return row


def test_too_small_a_sample() -> None:
    """Nothing is said of a price that few have seen."""
    row = shown((100, 99, 50))
    assert (None, "too few have seen 1.00 USD: 99 of 100") == (row.advice, row.reason)
    row = shown((200, 5000, 10), (100, 3, 3))
    assert (None, None) == (row.advice, row.to)


def test_one_price_alone() -> None:
    """It compares to nothing: try another one."""
    row = shown((100, 500, 250))
    assert "test" == row.advice
    assert "no other price was ever shown" in row.reason
    few = shown((200, 7, 7), (100, 500, 250))
    assert ("test", None) == (few.advice, few.to)
    assert "no other price has been seen by 100 (at most 7)" in few.reason


def test_raise_and_lower() -> None:
    """A price that brought more, beyond what chance explains, is to be had."""
    row = shown((300, 1000, 400), (100, 1000, 500))
    assert ("raise", 300, 100) == (row.advice, row.to, row.current)
    assert row.gain == pytest.approx(70.0)
    assert 0 < (row.gain_low or 0) < 70.0 < (row.gain_high or 0)
    assert "an attempt at 3.00 USD brought 0.700 USD more than one at 1.00 USD" in row.reason
    row = shown((100, 1000, 500), (300, 1000, 50))
    assert ("lower", 100) == (row.advice, row.to)


def test_leave() -> None:
    """If every other price brought less, this is the one."""
    row = shown((100, 1000, 500), (300, 1000, 300), (200, 1000, 700))
    assert ("leave", None) == (row.advice, row.to)
    assert (row.gain_high or 0) < 0


def test_not_sure() -> None:
    """If the intervals leave it open, more have to see the price that may be better."""
    row = shown((200, 120, 30), (100, 120, 58))
    assert ("test", 200) == (row.advice, row.to)
    assert "may bring more" in row.reason


def test_a_currency_of_its_own() -> None:
    """Of a token the base units are shown."""
    assert "100 0xtoken" in shown((100, 50, 10), currency="0xtoken").reason


def test_advice_is_right_as_often_as_it_says() -> None:
    """Of two prices that bring the same, hardly one time in twenty a change is advised."""
    random = Random(5)
    wrong = 0
    for _ in range(200):
        cheap = sum(random.random() < 0.4 for _ in range(300))
        dear = sum(random.random() < 0.2 for _ in range(300))
        wrong += shown((200, 300, dear), (100, 300, cheap)).advice in ("raise", "lower")
    assert wrong <= 12


# --- integrity -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("events", "state", "remedy"),
    [
        ([*unpaid(), *retry(), *failed()], "paid_not_delivered", "flovia ledger redeliver pay-1"),
        ([*unpaid(), *late()], "late", "give it back: flovia refund pay-1"),
        ([*unpaid(), *other()], "underpaid", "flovia refund pay-1"),
        ([moved(ev.PAYMENT_SETTLED, "reconcile_1", 1.0, None)], "unmatched_payment", "flovia ledger show pay-1"),
        ([*unpaid(), *retry()[:2], event(ev.PAYMENT_UNKNOWN, "req-2", 3, at=10.0, challenge="challenge-1")],
         "pending", "flovia ledger reconcile --provider mock"),
        ([moved(ev.PAYMENT_LATE, "x", 1.0, "c d", "", reason=ev.DUPLICATE)], "duplicate", "flovia ledger show 'c d'"),
    ],
)  # fmt: skip
def test_the_queue_says_what_to_do(events: list[Event], state: str, remedy: str) -> None:
    """Each row has its state, its ids and the command."""
    (row,) = queue(attempts(events), Asked(test=True))
    assert state == row.state
    assert remedy in row.remedy
    assert row.payment_id in (None, "", "pay-1")
    told_ids = row.to_json()
    assert {"challengeId", "paymentId", "requestIds", "remedy", "state"} <= set(told_ids)


def test_a_credential_that_was_exhausted() -> None:
    """See to the handler first."""
    ended = attrs.evolve(event(ev.REQUEST_COMPLETED, "req-3", 3, at=30.0, challenge="challenge-1", status=409))
    again = [*retry("req-3", 20.0)[:2], attrs.evolve(ended, problem="delivery-exhausted")]
    one = only([*unpaid(), *retry(), *failed(), *again])
    assert "see why the handler fails" in finding(one).remedy


def test_nothing_to_do() -> None:
    """What is delivered, refunded or was never paid waits for nobody."""
    fine = told(["settle", "deliver"], ["settle", "fail", "refund"], [])
    assert [] == queue(fine, Asked(test=True))


def test_pending_and_expired() -> None:
    """An unpaid attempt is pending as long as its challenge is good."""
    found = attempts([*unpaid("r1", 1000.0, "c1"), *unpaid("r2", 2000.0, "c2")])
    pending = count_pending(found, Asked(test=True), 2100.0)
    states = counted_states(measure(found), pending)
    assert (1, 1) == (states["pending"], states["expired"])


# --- anything --------------------------------------------------------------------------------------------------------


@given(ANY_EVENTS, st.sampled_from([[], ["endpoint"], ["endpoint", "provider", "rail", "price", "day"]]))
def test_no_question_fails(events: list[Event], by: list[str]) -> None:
    """Whatever the events, every answer is JSON without NaN, and every number is finite."""
    found = attempts(events)
    cells, left_out = chosen(measure(found), measure(()), Asked())
    answers: list[dict[str, JsonValue]] = [
        *(row.to_json() for row in funnel(cells, by)),
        *(row.to_json() for row in latency(cells, by)),
        *(row.to_json() for row in revenue(cells, by)),
        *(row.to_json() for row in pricing(cells, 1)),
        *(row.to_json() for row in queue(found, Asked())),
        left_out.to_json(),
    ]
    json.dumps(answers, allow_nan=False)
    for row in funnel(cells, by):
        assert 0 <= (row.conversion.low or 0) <= (row.conversion.value or 0) <= (row.conversion.high or 0) <= 1
        assert row.delivered <= row.verified <= row.attempts


def test_left_out_in_json() -> None:
    """Every answer says it, zeros too."""
    assert {"test", "own", "probes", "turnedAway", "amountless", "backwards"} < set(LeftOut().to_json())


@pytest.mark.parametrize(
    ("count", "of", "low", "high"),
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605)],
)
def test_wilson(count: int, of: int, low: float, high: float) -> None:
    """The examples of Newcombe (1998), table I, method 3."""
    found = share(count, of)
    assert (found.low, found.high) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


def test_no_sample() -> None:
    """Of nobody there is no share, and nothing to compare."""
    assert share(0, 0).value is None
    with pytest.raises(ValueError):
        difference(share(0, 0), share(1, 2), 1, 1)


def test_newcombes_difference() -> None:
    """56 of 70 against 48 of 80: the example of Newcombe (1998) for two shares, method 10."""
    found, low, high = difference(share(56, 70), share(48, 80), 1, 1)
    assert (0.2, 0.0524, 0.3339) == tuple(pytest.approx(one, abs=1e-4) for one in (found, low, high))
    assert isfinite(low)
