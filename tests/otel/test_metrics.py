"""What is counted and measured, and that no label has values without end."""

import itertools
from typing import Any

import flovia
from flovia.core.problems import PROBLEMS
from tests.otel.sdk import Kept, paying, request, shop

LABELS = {
    "flovia.requests": {"http.response.status_code", "flovia.problem", "error.type"},
    "flovia.challenges": set[str](),
    "flovia.presentations": set[str](),
    "flovia.settlements": {"flovia.refund_due"},
    "flovia.deliveries": {"flovia.delivery"},
    "flovia.verify.duration": {"flovia.verdict"},
    "flovia.settle.duration": {"flovia.settlement", "error.type"},
}
"""Every metric but the one that OpenTelemetry defines, with the labels it has besides the common ones."""
COMMON = {"flovia.endpoint", "flovia.provider", "flovia.rail"}


def counted(kept: Kept, metric: str, label: str = "") -> dict[Any, float]:
    """How often, by the value of a label."""
    found: dict[Any, float] = {}
    for labels, number in kept.metrics().get(metric, []):
        found[labels.get(label)] = found.get(labels.get(label), 0) + number
    return found


def test_a_day_at_a_shop() -> None:
    """Four agents ask, three pay, one is delivered, one gets its answer cut off and comes again, one is not paid."""
    kept, proofs = Kept(), itertools.count()
    gate = shop(kept).paid_api(name="report")

    def ask(*fields: tuple[str, str]) -> flovia.Passage:
        return gate.enter(request(*fields))

    def finish(passage: flovia.Passage, *, completed: bool = True) -> None:
        passage.start(200, flovia.Headers.of([]))
        gate.leave(passage, completed=completed)

    first, second, third, _ = (ask().response for _ in range(4))
    finish(ask(paying(first, f"ok-test-{next(proofs)}")))
    again = paying(second, f"ok-test-{next(proofs)}")
    finish(ask(again), completed=False)
    finish(ask(again))
    ask(paying(third, "no-test"))
    assert {"payment-required": 4, None: 3, "verification-failed": 1} == counted(
        kept, "flovia.requests", "flovia.problem"
    )
    assert {402: 5, 200: 3} == counted(kept, "flovia.requests", "http.response.status_code")
    assert {"report": 5} == counted(kept, "flovia.challenges", "flovia.endpoint")
    assert {"mock": 4} == counted(kept, "flovia.presentations", "flovia.provider")
    assert {False: 2} == counted(kept, "flovia.settlements", "flovia.refund_due")
    assert {"delivered": 1, "failed": 1, "redelivered": 1} == counted(kept, "flovia.deliveries", "flovia.delivery")
    assert {"paid": 2, "not_paid": 1} == counted(kept, "flovia.verify.duration", "flovia.verdict")
    assert {"settled": 2} == counted(kept, "flovia.settle.duration", "flovia.settlement")
    assert set(LABELS) == set(kept.metrics())
    for metric, points in kept.metrics().items():
        for labels, _ in points:
            assert set() == labels.keys() - COMMON - LABELS[metric]
            assert labels.get("flovia.problem", "payment-required") in PROBLEMS


def test_a_price_that_has_risen() -> None:
    """Money that buys nothing any more is settled with its refund due, and does not count as a sale."""
    kept, prices = Kept(), iter(["1.00 USD", "2.00 USD", "2.00 USD"])
    gate = shop(kept).paid_api(price=lambda asked: next(prices))
    response = gate.enter(request(paying(gate.enter(request()).response))).response
    assert 402 == (response and response.status)
    assert {True: 1} == counted(kept, "flovia.settlements", "flovia.refund_due")


def test_durations_are_seconds_of_the_clock_that_was_given() -> None:
    """A verdict that took one tick of the clock is in the right bucket, of those that OpenTelemetry asks for."""
    kept, ticks = Kept(), itertools.count(0, 2)
    gate = shop(kept, otel=kept.otel(monotonic=lambda: float(next(ticks)))).paid_api()
    gate.enter(request(paying(gate.enter(request()).response)))
    data = kept._reader.get_metrics_data()
    assert data is not None
    (metrics,) = (scope.metrics for resource in data.resource_metrics for scope in resource.scope_metrics)
    (verify,) = (metric for metric in metrics if metric.name == "flovia.verify.duration")
    (point,) = verify.data.data_points
    assert ("s", 2.0, 0.005) == (verify.unit, point.sum, point.explicit_bounds[0])  # type: ignore[union-attr]


def test_paths_of_strangers_are_no_labels() -> None:
    """Behind an adapter that knows no pattern a gate without a name has no endpoint on metrics: paths have no end."""
    kept = Kept()
    gate = shop(kept).paid_api()
    for number in range(50):
        gate.enter(request(path=f"/paid/{number}", route=""))
    assert {None: 50} == counted(kept, "flovia.requests", "flovia.endpoint")
    assert 1 == len(kept.metrics()["flovia.requests"])
    assert "/paid/49" == (kept.spans()[-1].attributes or {})["flovia.endpoint"]


def test_several_offers() -> None:
    """A 402 with two offers is one request and two challenges, each of its provider."""
    kept = Kept()
    alternative = flovia.Offer(provider=_other(), price="2.00 USD")
    flo = shop(kept)
    flo.paid_api(offers=[flovia.Offer(provider="mock", price="1.00 USD"), alternative]).enter(request())
    assert {"mock": 1, "other": 1} == counted(kept, "flovia.challenges", "flovia.provider")
    assert {402: 1} == counted(kept, "flovia.requests", "http.response.status_code")


def _other() -> flovia.Provider:
    from flovia.providers.mock import MockProvider

    return MockProvider(name="other", method="other")


def test_an_observed_route_is_counted() -> None:
    """What a handler with its own gate delivers for a receipt is a delivery; its 402 a challenge."""
    kept = Kept()
    unpaid = shop(Kept()).paid_api().enter(request()).response
    seen = shop(kept).observe(provider="mock", name="theirs")
    assert unpaid is not None
    for status, fields, completed in ((402, unpaid.headers, True), (200, [("payment-receipt", "e30")], True)):
        passage = seen.enter(request())
        passage.start(status, flovia.Headers.of(fields))
        seen.leave(passage, completed=completed)
    assert {"theirs": 1} == counted(kept, "flovia.challenges", "flovia.endpoint")
    assert {402: 1, 200: 1} == counted(kept, "flovia.requests", "http.response.status_code")
    assert {"delivered": 1} == counted(kept, "flovia.deliveries", "flovia.delivery")
