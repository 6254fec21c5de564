"""Who gives money back is on record, with what became of it, in the event of that."""

from collections.abc import Callable

import pytest

import flovia
from flovia.core.events import Event
from tests.hooks.conftest import Shop

ALICE = flovia.Operator(name="alice", note="the customer asked")


def told(event: Event) -> tuple[object, ...]:
    """What is on record of who did what, and with what result."""
    return event.type, event.operator, event.note, event.reason, event.amount, event.currency


def test_given_back(shop: Shop) -> None:
    """The event of the refund names who wanted it, and why; nobody does where nobody said so."""
    payment, _ = shop.buy()
    other, _ = shop.buy()
    assert "refunded" == shop.flo.refund(payment, "0.40 USD", by=ALICE).status
    assert "refunded" == shop.flo.refund(other).status
    first, second = shop.events("payment.refunded")
    assert ("payment.refunded", "alice", "the customer asked", None, 40, "usd") == told(first)
    assert ("payment.refunded", None, None, None, 100, "usd") == told(second)


@pytest.mark.parametrize(("fault", "status"), [("refuse", "refused"), ("lost", "unknown")])
def test_not_given_back(shop: Shop, fault: str, status: str) -> None:
    """What the provider refused, or did not answer, is on record too, if somebody is named; then it is tried again."""
    payment, _ = shop.buy()
    shop.bank.faults.append(fault)
    assert status == shop.flo.refund(payment, by=flovia.Operator(name="bob")).status
    (event,) = shop.events("payment.refund_failed")
    assert ("payment.refund_failed", "bob", None, status, 100, "usd") == told(event)
    assert (payment, "", "") == (event.payment_id, event.endpoint, event.http_method)
    assert "refunded" == shop.flo.refund(payment, by=ALICE).status
    assert ["alice"] == [one.operator for one in shop.events("payment.refunded")]
    assert 1 == len(shop.bank.refunds)


def test_nobody_said_so(shop: Shop) -> None:
    """A program that gives money back without a name leaves the events it always did."""
    payment, _ = shop.buy()
    shop.bank.faults.append("refuse")
    assert "refused" == shop.flo.refund(payment).status
    assert [] == shop.events("payment.refund_failed")


async def test_async(shop: Shop) -> None:
    """The same under asyncio and trio."""
    payment, _ = shop.buy()
    await shop.flo.arefund(payment, by=ALICE)
    assert ["alice"] == [one.operator for one in shop.events("payment.refunded")]


def test_what_cannot_be_asked_for_is_no_event(shop: Shop) -> None:
    """The second of two operators changes nothing, and is told so."""
    payment, _ = shop.buy()
    calls: list[Callable[[], object]] = [lambda: shop.flo.refund(payment, by=ALICE)] * 2
    calls[0]()
    before = len(shop.events("payment.refund_failed"))
    with pytest.raises(flovia.RefundError) as caught:
        calls[1]()
    assert ("refunded", before) == (caught.value.code, len(shop.events("payment.refund_failed")))
    assert 1 == len(shop.bank.refunds)
