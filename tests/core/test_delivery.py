"""What counts as delivered, and what becomes of a payment that does not: the policy, and the gate that keeps it."""

from pathlib import Path

import pytest

import flovia
from flovia.core import exchange
from flovia.core.delivery import DECISIONS, FAILURES, Delivery
from flovia.core.effects import Flow
from flovia.core.errors import WiringError
from flovia.core.provider import Presented, Verdict
from flovia.ledger.sql import SqlLedger
from flovia.ledger.sqlite import SqliteDatabase
from flovia.providers.mock import MockProvider
from tests.core.world import Clock, Shop, buy, deliver, header, problem, request


class Sealed:
    """A provider that cannot give money back."""

    def __init__(self) -> None:
        inner = MockProvider()
        self.name, self.rail, self.method, self.intent = inner.name, inner.rail, inner.method, inner.intent
        self.live, self.fixed_terms, self.deadline_s = inner.live, inner.fixed_terms, inner.deadline_s
        self.quote = inner.quote
        self._verify = inner.verify

    def verify(self, presented: Presented) -> Flow[Verdict]:
        """As the mock."""
        return self._verify(presented)


def till(shop: Shop, **settings: object) -> flovia.PaidApi:
    """A route with a policy."""
    policy = Delivery(**settings)  # type: ignore[arg-type]  # what is refused is tested too
    return shop.flovia.paid_api(provider="mock", price="1.00 USD", delivery=policy)


def event_problems(shop: Shop) -> list[tuple[str, int | None, str | None]]:
    """What the last two events of a request say."""
    return [(event.type, event.status, event.problem) for _, event in shop.ledger.read_events(limit=1000)][-2:]


class TestSettings:
    """What can be said, and what cannot."""

    def test_statuses(self) -> None:
        """By default every 2xx and 3xx delivers; classes and numbers say something else; 402 never does."""
        assert frozenset(range(200, 400)) == Delivery().statuses
        assert {200, 204, 404} == Delivery(delivers=[200, 204, 404]).statuses
        wide = Delivery(delivers=("2XX", "4xx")).statuses
        assert {200, 299, 400, 404, 499} < wide
        assert wide.isdisjoint({300, 402, 412, 500})

    @pytest.mark.parametrize(
        ("settings", "why"),
        [
            ({"delivers": "2xx"}, "a list"),
            ({"delivers": 404}, "a list"),
            ({"delivers": None}, "a list"),
            ({"delivers": []}, "2xx"),
            ({"delivers": ["3xx", 404]}, "2xx"),
            ({"delivers": ["2xx", 402]}, "402"),
            ({"delivers": ["2xx", 412]}, "412"),
            ({"delivers": ["2xx", 500]}, "keep"),
            ({"delivers": ["2xx", "5xx"]}, "no status"),
            ({"delivers": ["2xx", 199]}, "no status"),
            ({"delivers": ["2xx", True]}, "no status"),
            ({"delivers": ["2xx", "404"]}, "no status"),
            ({"delivers": ["2xx", 404], "on_failure": "keep"}, "already"),
            ({"on_failure": "charge"}, "'redeem', 'refund' or 'keep'"),
            ({"idempotency_ttl": -1}, "seconds"),
            ({"idempotency_ttl": float("inf")}, "seconds"),
            ({"idempotency_ttl": float("nan")}, "seconds"),
            ({"idempotency_ttl": True}, "seconds"),
            ({"idempotency_ttl": "1 day"}, "seconds"),
            ({"idempotency_max_bytes": -1}, "bytes"),
            ({"idempotency_max_bytes": 1.5}, "bytes"),
        ],
    )
    def test_refused(self, settings: dict[str, object], why: str) -> None:
        """What contradicts itself, or cannot work, is refused where it is written, with the remedy."""
        with pytest.raises(WiringError, match=why):
            Delivery(**settings)  # type: ignore[arg-type]  # that is the point

    def test_statuses_are_said_in_one_way(self) -> None:
        """What delivers is said, and checked, as ``delivers``: nobody slips in a 500 as one of the statuses."""
        with pytest.raises(TypeError, match="statuses"):
            Delivery(statuses=frozenset({500}))  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]

    def test_a_provider_that_cannot_refund(self) -> None:
        """Nobody promises a refund that no provider can make."""
        flo = Shop().flovia
        with pytest.raises(WiringError, match="cannot give money back"):
            flo.paid_api(provider=Sealed(), price="1.00 USD", delivery=Delivery(on_failure="refund"))
        assert flo.paid_api(provider=Sealed(), price="1.00 USD", delivery=Delivery(on_failure="keep"))

    def test_not_for_observers(self) -> None:
        """An observer delivers nothing, so it has no policy; and a policy is a Delivery."""
        flo = Shop().flovia
        with pytest.raises(WiringError, match="observer"):
            flo.paid_api(provider="mock", delivery=Delivery())
        with pytest.raises(WiringError, match="delivery="):
            flo.paid_api(provider="mock", price="1.00 USD", delivery="refund")  # type: ignore[arg-type]


class TestDecisions:
    """The table."""

    def test_every_policy_is_decided(self) -> None:
        """For each way to be answered and each policy there is one end; only failures tell policies apart."""
        for answered, ends in DECISIONS.items():
            assert set(FAILURES) == set(ends)
            assert (len(set(ends.values())) == 1) == (answered != "failed")

    @pytest.mark.parametrize(
        ("status", "told", "completed", "answered"),
        [
            (200, None, True, "whole"),
            (302, None, True, "whole"),
            (200, None, False, "cut off"),
            (None, None, False, "cut off"),
            (None, None, True, "cut off"),
            (404, None, True, "failed"),
            (412, None, True, "cut off"),
            (412, "refund-due", True, "cut off"),
            (503, None, False, "failed"),
            (200, "delivery-failed", True, "failed"),
            (None, "delivery-failed", False, "failed"),
        ],
    )
    def test_answered(self, status: int | None, told: str | None, completed: bool, answered: str) -> None:
        """A status that delivers is whole or cut off; everything else has failed, however much of it went out."""
        assert answered == Delivery().answered(status, told, completed)


class TestGate:
    """The gate keeps the policy."""

    @pytest.mark.parametrize("completed", [True, False])
    def test_refund(self, completed: bool) -> None:
        """A failure makes the refund due in the step that records it; the credential is told, never asked to pay."""
        shop = Shop()
        paid = till(shop, on_failure="refund")
        credential, passage = buy(paid)
        start = deliver(paid, passage, 503, completed)
        assert "payment-receipt" not in dict(start.add)
        assert exchange.FAILED == passage.state
        assert [
            ("payment.delivery_failed", 503, "refund-due"),
            ("paid_api.request_failed", 503, "refund-due"),
        ] == event_problems(shop)
        (due,) = shop.flovia.refunds_due()
        assert passage.grant is not None
        assert passage.grant.payment_id == due.payment_id
        response = paid.enter(request(credential)).response
        assert (500, "refund-due", None) == (
            response.status if response else None,
            problem(response),
            header(response, "www-authenticate"),
        )
        assert "refunded" == shop.flovia.refund(due.payment_id).status
        assert [] == shop.flovia.refunds_due()
        assert "payment-refunded" == problem(paid.enter(request(credential)).response)

    def test_refund_of_what_raised(self) -> None:
        """A handler that raises is a failure like any other; the payer is told that the money goes back."""
        shop = Shop()
        paid = till(shop, on_failure="refund")
        _, passage = buy(paid)
        assert "refund-due" == problem(passage.raised())
        paid.leave(passage, completed=False)
        assert 1 == len(shop.flovia.refunds_due())

    @pytest.mark.parametrize("on_failure", ["redeem", "refund", "keep"])
    def test_cut_off(self, on_failure: str) -> None:
        """Whoever leaves before the last byte may come back, and gets neither refund nor a free answer."""
        shop = Shop()
        paid = till(shop, on_failure=on_failure)
        credential, passage = buy(paid)
        deliver(paid, passage, 200, completed=False)
        assert [] == shop.flovia.refunds_due()
        again = paid.enter(request(credential))
        assert again.grant is not None
        assert again.grant.redelivery

    def test_no_refund_after_a_redelivery(self) -> None:
        """Of the first answer all but the last byte may have arrived, so a second that fails gives no money back."""
        shop = Shop()
        paid = till(shop, on_failure="refund")
        credential, passage = buy(paid)
        deliver(paid, passage, 200, completed=False)
        again = paid.enter(request(credential))
        assert "delivery-failed" == problem(again.raised())
        paid.leave(again, completed=False)
        assert [] == shop.flovia.refunds_due()
        deliver(paid, paid.enter(request(credential)), 503)
        assert [] == shop.flovia.refunds_due()
        deliver(paid, paid.enter(request(credential)))
        assert "invalid-challenge" == problem(paid.enter(request(credential)).response)

    @pytest.mark.parametrize("ledger", ["memory", "sqlite"])
    def test_no_refund_while_an_earlier_delivery_may_still_answer(self, ledger: str, tmp_path: Path) -> None:
        """A handler that outlives its lease answers later; whoever fails meanwhile on purpose has no money back."""
        clock = Clock()
        shop = Shop(None if ledger == "memory" else SqlLedger(SqliteDatabase(tmp_path / "test.db"), clock=clock), clock)
        try:
            paid = till(shop, on_failure="refund")
            credential, slow = buy(paid)
            clock.advance(61)
            deliver(paid, paid.enter(request(credential)), 416)
            assert [] == shop.flovia.refunds_due()
            assert None is deliver(paid, slow).replace
            shop.ledger.flush()
            assert [] == shop.flovia.refunds_due()
            assert paid.enter(request(credential)).grant is not None
        finally:
            shop.ledger.close()

    def test_a_refund_of_a_first_delivery_that_outlived_its_lease(self) -> None:
        """Nobody else was let in meanwhile, so its failure is the payment's only answer."""
        shop = Shop()
        paid = till(shop, on_failure="refund")
        _, passage = buy(paid)
        shop.clock.advance(61)
        deliver(paid, passage, 503)
        assert 1 == len(shop.flovia.refunds_due())

    @pytest.mark.parametrize("completed", [True, False])
    def test_keep(self, completed: bool) -> None:
        """A failed answer is the delivery, without a receipt."""
        shop = Shop()
        paid = till(shop, on_failure="keep")
        credential, passage = buy(paid)
        start = deliver(paid, passage, 503, completed)
        assert "payment-receipt" not in dict(start.add)
        assert exchange.DELIVERED == passage.state
        assert [
            ("payment.delivered", 503, "delivery-final"),
            ("paid_api.request_failed", 503, "delivery-final"),
        ] == event_problems(shop)
        assert "invalid-challenge" == problem(paid.enter(request(credential)).response)

    def test_a_402_of_the_handler(self) -> None:
        """It is replaced, and what replaces it says what the policy does."""
        for on_failure, code in FAILURES.items():
            paid = till(Shop(), on_failure=on_failure)
            _, passage = buy(paid)
            assert code == problem(deliver(paid, passage, 402).replace)

    @pytest.mark.parametrize("on_failure", ["redeem", "refund", "keep"])
    @pytest.mark.parametrize("raised", [True, False])
    def test_a_412_of_the_handler(self, on_failure: str, raised: bool) -> None:
        """Its body never goes out, no policy refunds or delivers it, and the credential gets the answer later."""
        shop = Shop()
        paid = till(shop, on_failure=on_failure)
        credential, passage = buy(paid)
        if raised:
            passage.raised()
        replaced = deliver(paid, passage, 412).replace
        assert replaced is not None
        assert (412, "precondition-failed") == (replaced.status, problem(replaced))
        assert ("payment.delivery_failed", 412, None) == event_problems(shop)[0]
        assert [] == shop.flovia.refunds_due()
        deliver(paid, paid.enter(request(credential)))
        assert "invalid-challenge" == problem(paid.enter(request(credential)).response)

    def test_other_statuses(self) -> None:
        """404 delivers where the route says so, without a receipt; what does not deliver has none either."""
        shop = Shop()
        paid = till(shop, delivers=[200, 404])
        credential, passage = buy(paid)
        assert "payment-receipt" not in dict(deliver(paid, passage, 404).add)
        assert exchange.DELIVERED == passage.state
        assert "invalid-challenge" == problem(paid.enter(request(credential)).response)
        credential, passage = buy(paid, "ok2")
        assert "payment-receipt" not in dict(deliver(paid, passage, 201).add)
        assert paid.enter(request(credential)).grant is not None


def test_the_table_of_ends() -> None:
    """What becomes of a payment, by how its request was answered and by the policy."""
    assert {
        "whole": {"redeem": "delivered", "refund": "delivered", "keep": "delivered"},
        "cut off": {"redeem": "redeemable", "refund": "redeemable", "keep": "redeemable"},
        "failed": {"redeem": "redeemable", "refund": "refund due", "keep": "delivered"},
    } == {answered: dict(ends) for answered, ends in DECISIONS.items()}
