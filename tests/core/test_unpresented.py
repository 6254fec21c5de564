"""Refunds by hand of money that is paid and that nobody has presented: the backend's word first, then one end."""

import pytest

import flovia
from flovia.core import events as ev
from flovia.core.effects import Flow
from flovia.core.provider import Paid
from flovia.core.reconcile import ChargeUnknown
from flovia.core.refund import NotRefunded, Refunded, RefundOrder, RefundVerdict
from flovia.insights.join import join
from flovia.ledger.memory import MemoryLedger
from flovia.testing.ledger_steps import ManualClock
from tests.core.test_reconciling import DAY_S, Shop, Till, moved, state
from tests.core.world import SECRET, problem


class Safe(Till):
    """The till, which also gives money back; ``orders`` are what it was asked for."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.orders: list[RefundOrder] = []
        self.refuses = False

    def refund(self, order: RefundOrder) -> Flow[RefundVerdict]:
        """Give it back, or not today."""
        yield from ()
        self.orders.append(order)
        if self.refuses:
            return NotRefunded(reason="not today")
        return Refunded(refund_id="back-1", amount=order.amount, currency=order.currency)


@pytest.fixture
def shop() -> Shop:
    """A shop whose provider can be asked, and gives back."""
    clock = ManualClock()
    till, ledger = Safe(clock), MemoryLedger(clock=clock)
    flo = flovia.Flovia(provider=till, ledger=ledger, secret=SECRET, clock=clock)
    return Shop(clock, till, ledger, flo, flo.paid_api(price="1.00 USD", redeem_for=DAY_S))


def orders(shop: Shop) -> list[tuple[str, int, str]]:
    """What the provider was asked to give back."""
    assert isinstance(shop.till, Safe)
    return [(order.payment_id, order.amount, order.challenge_id) for order in shop.till.orders]


def test_paid_and_never_presented(shop: Shop) -> None:
    """It goes back at once, before its credential has expired; that buys nothing more, and nobody is asked again."""
    handle, challenge = shop.challenge()
    shop.till.charges[handle] = state(moved(handle))
    result = shop.flo.refund(handle)
    assert ("refunded", 100, challenge.id) == (result.status, result.amount, result.challenge_id)
    assert [(handle, 100, challenge.id)] == orders(shop)
    shop.till.verdict = Paid(reference=handle, amount=100, currency="usd")
    assert "payment-refunded" == problem(shop.present(challenge).response)
    assert [] == shop.flo.refunds_due()
    assert [] == shop.after(2 * DAY_S, everything=True)
    events = [event for _, event in shop.ledger.read_events()]
    assert [ev.NOT_PRESENTED] == [event.reason for event in events if event.type == ev.PAYMENT_LATE]
    assert "payment refunded" == join(events)[0].insight
    with pytest.raises(flovia.RefundError) as caught:
        shop.flo.refund(handle)
    assert "refunded" == caught.value.code


def test_refused_after_all(shop: Shop) -> None:
    """Called back is called back: its refund stays due, its credential asks nobody for more money."""
    handle, challenge = shop.challenge()
    shop.till.charges[handle] = state(moved(handle))
    assert isinstance(shop.till, Safe)
    shop.till.refuses = True
    assert "refused" == shop.flo.refund(handle).status
    shop.till.verdict = Paid(reference=handle, amount=100, currency="usd")
    assert "refund-due" == problem(shop.present(challenge).response)
    assert [handle] == [due.payment_id for due in shop.flo.refunds_due()]
    shop.till.refuses = False
    assert "refunded" == shop.flo.refund(handle).status


def test_a_part(shop: Shop) -> None:
    """As with any other payment; what cannot go back is refused, and its agent may still come."""
    handle, _ = shop.challenge()
    shop.till.charges[handle] = state(moved(handle))
    for wrong, code in (("2.00 USD", "too_much"), ("1.00 SGD", "other_currency")):
        with pytest.raises(flovia.RefundError) as caught:
            shop.flo.refund(handle, wrong)
        assert (code, []) == (caught.value.code, shop.flo.refunds_due())
    assert 40 == shop.flo.refund(handle, "0.40 USD").amount


def test_other_money(shop: Shop) -> None:
    """What reconciling would put on record is put there, and goes back as it came."""
    handle, _ = shop.challenge()
    shop.till.charges[handle] = state(moved(handle, 99))
    assert 99 == shop.flo.refund(handle).amount


def test_an_unknown_outcome(shop: Shop) -> None:
    """It was paid, says the backend: settled, and given back."""
    handle, _, key = shop.parked()
    shop.till.charges[handle] = state(moved(handle))
    assert "refunded" == shop.flo.refund(handle).status
    assert "refunded" == shop.state_of(key)


@pytest.mark.parametrize(
    ("said", "code", "message"),
    [
        (state(), "unknown", "nobody has paid charge-0, says till"),
        (None, "unknown", "nobody has paid charge-0, says till"),
        (ChargeUnknown(reason="the line is dead"), "unknown", "the line is dead"),
        (state(moved("charge-0", given_back=100)), "refunded", "was given back already"),
        (state(moved("charge-0", partly=True)), "refunded", "does not say how much"),
    ],
)
def test_what_cannot_go_back(shop: Shop, said: object, code: str, message: str) -> None:
    """The reason is the backend's, and nothing is ordered."""
    shop.challenge()
    shop.till.charges["charge-0"] = said
    with pytest.raises(flovia.RefundError, match=message) as caught:
        shop.flo.refund("charge-0")
    assert (code, None, []) == (caught.value.code, caught.value.done, orders(shop))


def test_its_credential_has_to_come(shop: Shop) -> None:
    """Where only the credential can settle what is paid, that is said."""
    handle, _, _ = shop.parked()
    shop.till.charges[handle] = state(moved(handle), with_paid=False)
    with pytest.raises(flovia.RefundError, match=f"{handle} is paid, and only its own credential") as caught:
        shop.flo.refund(handle)
    assert "unknown" == caught.value.code


def test_a_request_is_at_it(shop: Shop) -> None:
    """While a request verifies it, nothing is called back: call again."""
    handle, challenge = shop.challenge()
    shop.till.charges[handle] = state(moved(handle))
    shop.ledger.claim(f"{challenge.realm}|{challenge.id}", b"test", False, 15.0, 60.0, shop.clock() + DAY_S, 5)
    with pytest.raises(flovia.RefundError, match=f"delivering {handle} at this moment; call again") as caught:
        shop.flo.refund(handle)
    assert ("busy", 5) == (caught.value.code, caught.value.retry_after_s)


def test_nothing_has_this_id(shop: Shop) -> None:
    """What no charge is called is unknown, as ever, and the backend is not asked."""
    with pytest.raises(flovia.RefundError, match="no payment 'nobody' is in this ledger"):
        shop.flo.refund("nobody")
    assert [] == shop.till.kept
    with pytest.raises(flovia.RefundError, match="no payment 'nobody' is in this ledger"):
        flovia.Flovia(provider="mock", ledger=shop.ledger, secret=SECRET).refund("nobody")
