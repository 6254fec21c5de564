"""What a real gate writes joins to what happened, from the memory ledger and from a SQLite file."""

from collections.abc import Generator
from contextlib import closing
from pathlib import Path

import attrs
import pytest

from flovia import Offer
from flovia.core.http import Headers
from flovia.insights.attempt import attempts
from flovia.insights.join import (
    CONVERTED,
    MISMATCHED,
    NOT_ACCEPTED,
    NOT_DELIVERED,
    NOT_PAID,
    UNKNOWN,
    JoinedEvent,
    join,
)
from flovia.ledger.opening import open_ledger
from flovia.providers.mock import MockProvider
from tests.core.test_observer import RECEIPT
from tests.core.world import Clock, Shop, buy, challenges, deliver, pay, request


@pytest.fixture(params=["memory", "sqlite"])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Generator[Shop]:
    """An app on each ledger."""
    clock = Clock()
    url = "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/ledger.db"
    with closing(open_ledger(url, clock=clock)) as ledger:
        yield Shop(ledger, clock)


def joined(shop: Shop) -> list[JoinedEvent]:
    """Everything in the ledger, joined."""
    shop.ledger.flush()
    return join(event for _, event in shop.ledger.read_events(limit=100_000))


def test_a_paid_call(shop: Shop) -> None:
    """Ask, pay, come back, get the answer: one event with both requests, the payment and the payer."""
    paid = shop.flovia.paid_api(provider="mock", price="1.00 SGD", name="reports")
    (challenge,) = challenges(paid.enter(request()).response)
    deliver(paid, paid.enter(request(pay(challenge, "ok-1", "mock:agent"), headers={"flovia-workflow": "nightly"})))
    (found,) = joined(shop)
    assert (found.challenge_id, len(found.request_ids), found.request_ids[1]) == (challenge.id, 2, found.request_id)
    assert (found.provider, found.rail, found.endpoint) == ("mock", "mpp", "reports")
    assert (found.amount, found.currency, (found.payment_id or "")[:5]) == (100, "sgd", "mock_")
    assert (found.payer, found.workflow, found.response_status) == ("mock:agent", "nightly", 200)
    assert found.latency_ms is not None
    assert found.insight == CONVERTED


def test_an_unpaid_call(shop: Shop) -> None:
    """A 402 that nobody answers."""
    paid = shop.flovia.paid_api(provider="mock", price="1.00 SGD")
    paid.enter(request())
    (found,) = joined(shop)
    assert (found.response_status, found.insight) == (402, NOT_PAID)


def test_two_offers(shop: Shop) -> None:
    """One 402 with two offers is one attempt, under the offer that was paid."""
    second = attrs.evolve(MockProvider(), name="second", method="second")
    paid = shop.flovia.paid_api(
        offers=[Offer(provider="mock", price="1.00 SGD"), Offer(provider=second, price="0.80 USD")]
    )
    _, chosen = challenges(paid.enter(request()).response)
    deliver(paid, paid.enter(request(pay(chosen, "ok-1"))))
    (found,) = joined(shop)
    assert (found.challenge_id, found.provider, found.amount, found.currency) == (chosen.id, "second", 80, "usd")
    assert (len(found.request_ids), found.insight) == (2, CONVERTED)


@pytest.mark.parametrize(
    ("proof", "more", "status", "expected"),
    [
        ("declined", {}, 402, NOT_ACCEPTED),
        ("pending", {}, 402, NOT_ACCEPTED),
        ("unknown", {}, 503, UNKNOWN),
        ("ok-short", {"paid_amount": "99"}, 402, MISMATCHED),
    ],
)
def test_payments_that_did_not_work(shop: Shop, proof: str, more: dict[str, str], status: int, expected: str) -> None:
    """The provider's word becomes the insight."""
    paid = shop.flovia.paid_api(provider="mock", price="1.00 SGD")
    (challenge,) = challenges(paid.enter(request()).response)
    paid.enter(request(pay(challenge, proof, None, **more)))
    found = next(one for one in joined(shop) if one.challenge_id == challenge.id)
    assert (found.response_status, found.insight) == (status, expected)


def test_a_failure_and_a_redelivery(shop: Shop) -> None:
    """Paid, failed, redeemed: first told as not delivered, then as converted, always as one event."""
    paid = shop.flovia.paid_api(provider="mock", price="1.00 SGD")
    credential, passage = buy(paid)
    deliver(paid, passage, status=500)
    (found,) = joined(shop)
    assert (found.response_status, found.insight) == (500, NOT_DELIVERED)
    deliver(paid, paid.enter(request(credential)))
    (found,) = joined(shop)
    assert (found.response_status, found.insight, len(found.request_ids)) == (200, CONVERTED, 3)
    paid.enter(request(credential))
    (found,) = joined(shop)
    assert (found.response_status, found.insight, len(found.request_ids)) == (200, CONVERTED, 4)


def test_the_attempt_of_a_paid_call(shop: Shop) -> None:
    """What a gate knows of it is verified, each step has its time, and the parts of the work theirs."""
    paid = shop.flovia.paid_api(provider="mock", price="1.00 SGD", name="reports")
    (challenge,) = challenges(paid.enter(request()).response)
    shop.clock.advance(30)
    passage = paid.enter(request(pay(challenge, "ok-1", "mock:agent"), headers={"flovia-workflow": "nightly"}))
    shop.clock.advance(2)
    deliver(paid, passage)
    shop.ledger.flush()
    (found,) = attempts(event for _, event in shop.ledger.read_events(limit=100))
    assert ("delivered", "attempt", "paid_and_delivered") == (found.outcome, found.kind, found.state)
    assert (30_000.0, 0.0, 2000.0) == (found.pay_ms, found.verify_ms, found.handler_ms)
    assert (2, 1, 1, 100, ()) == (found.requests, found.challenges, found.presentations, found.price, found.problems)
    known = {"payment": "verified", "price": "verified", "payer": "declared", "workflow": "declared"}
    assert known == found.provenance


def test_the_attempt_of_an_observed_call(shop: Shop) -> None:
    """What another gate asked and took is read from its answers."""
    seen = shop.flovia.observe(provider="mock")
    asked = Shop().flovia.paid_api(provider="mock", price="1.00 SGD").enter(request()).response
    assert asked is not None
    (challenge,) = challenges(asked)
    unpaid = seen.enter(request())
    unpaid.start(402, Headers.of(asked.headers))
    seen.leave(unpaid, completed=True)
    passage = seen.enter(request(pay(challenge, "ok-1", "mock:agent")))
    passage.start(200, Headers.of([("payment-receipt", RECEIPT)]))
    seen.leave(passage, completed=True)
    shop.ledger.flush()
    (found,) = attempts(event for _, event in shop.ledger.read_events(limit=100))
    assert ("delivered", 100, "r1") == (found.outcome, found.price, found.payment_id)
    assert {"payment": "observed", "price": "observed", "payer": "declared"} == found.provenance
    assert found.verify_ms is None
