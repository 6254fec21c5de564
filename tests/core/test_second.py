"""A challenge that was settled with another proof than its own charge: that charge's money is a second payment."""

from typing import Any

import pytest

import flovia
from flovia.core import events as ev
from flovia.core.encoding import JsonObject
from flovia.core.exchange import DELIVERED, SETTLED
from flovia.core.provider import Paid
from flovia.core.reconcile import ChargeUnknown, OwnCharge
from flovia.insights.join import join
from flovia.ledger.memory import MemoryLedger
from flovia.testing.ledger_steps import ManualClock
from tests.core.test_reconciling import CHECKS_S, DAY_S, LIFE_S, Shop, moved, state
from tests.core.test_unpresented import Safe
from tests.core.world import SECRET, challenges, deliver, pay, problem, request

WALLET = "wallet-1"


class Both(Safe):
    """Its challenges can be paid with their charge, or with a saved wallet."""

    def own_charge(self, charge: JsonObject, payload: JsonObject) -> str | None:
        """The charge, unless it is the wallet that pays."""
        return str(charge["externalId"]) if payload.get("proof") == "own" else None


def open_shop(till: type[Safe] = Both) -> Shop:
    """A shop whose provider takes both."""
    clock = ManualClock()
    ledger, provider = MemoryLedger(clock=clock), till(clock)
    flo = flovia.Flovia(provider=provider, ledger=ledger, secret=SECRET, clock=clock)
    return Shop(clock, provider, ledger, flo, flo.paid_api(price="1.00 USD", redeem_for=DAY_S))


@pytest.fixture
def shop() -> Shop:
    """That shop."""
    return open_shop()


class Sale:
    """A challenge that the wallet has paid, delivered with ``status``."""

    def __init__(self, shop: Shop, status: int = 200, payment: str = WALLET) -> None:
        self.shop = shop
        self.handle, self.challenge = shop.challenge()
        self.key = f"{self.challenge.realm}|{self.challenge.id}"
        shop.till.verdict = Paid(reference=payment, amount=100, currency="usd")
        deliver(shop.gate, self.present("wallet"), status)

    def present(self, proof: str) -> flovia.Passage:
        """A credential for the challenge."""
        return self.shop.gate.enter(request(authorization=pay(self.challenge, proof)))

    def told(self, proof: str = "own") -> tuple[str, int]:
        """The refusal of a credential, and how many challenges are in it."""
        response = self.present(proof).response
        return problem(response), len(challenges(response))

    def paid_too(self, **more: Any) -> None:
        """The backend has money for the charge."""
        self.shop.till.charges[self.handle] = state(moved(self.handle, **more))

    def reasons(self) -> list[tuple[str | None, str | None, str | None]]:
        """Reason, payment and challenge of each late payment."""
        found = [event for _, event in self.shop.ledger.read_events() if event.type == ev.PAYMENT_LATE]
        return [(event.reason, event.payment_id, event.challenge_id) for event in found]

    def due(self) -> list[tuple[str, int]]:
        """What is to go back."""
        return [(one.payment_id, one.amount) for one in self.shop.flo.refunds_due()]

    def check(self) -> None:
        """The charge's money is on record once, goes back by its own id, and the sale stands."""
        assert [(self.handle, 100)] == self.due()
        assert [("duplicate", self.handle, self.challenge.id)] == self.reasons()
        assert ("refund-due", 0) == self.told()
        assert [] == self.shop.after(0.0, everything=True)
        before = self.shop.state_of(self.key)
        result = self.shop.flo.refund(self.handle)
        assert ("refunded", self.handle, self.challenge.id) == (result.status, result.payment_id, result.challenge_id)
        assert (("payment-refunded", 0), []) == (self.told(), self.due())
        assert before == self.shop.state_of(self.key)
        assert 1 == len(self.reasons())
        joined = join(event for _, event in self.shop.ledger.read_events())
        assert {WALLET, self.handle} <= {one.payment_id for one in joined}


def test_protocol() -> None:
    """What such a provider has."""
    assert isinstance(Both(ManualClock()), OwnCharge)
    assert not isinstance(Safe(ManualClock()), OwnCharge)


@pytest.mark.parametrize("status", [200, 500])
def test_its_credential_comes(shop: Shop, status: int) -> None:
    """Delivered or not yet: nobody is asked to pay again, and the money is due at once."""
    sale = Sale(shop, status)
    sale.paid_too()
    assert ("refund-due", 0) == sale.told()
    sale.check()
    assert (DELIVERED if status == 200 else SETTLED) == shop.state_of(sale.key)


def test_long_after(shop: Shop) -> None:
    """When the sale cannot be redeemed any more, too, as long as the ledger has it."""
    shop.clock.advance(0.5)
    sale = Sale(shop)
    sale.paid_too()
    shop.clock.advance(DAY_S - 10)
    assert ("invalid-challenge", 1) == sale.told("wallet")
    shop.clock.advance(10.2)
    assert ("refund-due", 0) == sale.told()
    assert [(sale.handle, 100)] == sale.due()


def test_the_other_payment_went_back(shop: Shop) -> None:
    """The wallet's money went back: that says nothing about this one."""
    sale = Sale(shop)
    assert "refunded" == shop.flo.refund(WALLET).status
    sale.paid_too()
    assert ("refund-due", 0) == sale.told()
    sale.check()


@pytest.mark.parametrize("status", [200, 500])
def test_reconciling_finds_it(shop: Shop, status: int) -> None:
    """It waits for nobody: the first look puts it among what is due; a dry run says the same."""
    sale = Sale(shop, status)
    sale.paid_too()
    assert [("second", sale.handle)] == shop.after(LIFE_S + CHECKS_S[0], dry_run=True)
    assert [] == sale.due()
    assert [("second", sale.handle)] == shop.after(0.0)
    sale.check()


def test_while_it_is_delivered(shop: Shop) -> None:
    """Settled is settled: reconciling need not await the end of the delivery."""
    handle, challenge = shop.challenge()
    shop.till.verdict = Paid(reference=WALLET, amount=100, currency="usd")
    assert shop.gate.enter(request(authorization=pay(challenge, "wallet"))).response is None
    shop.till.charges[handle] = state(moved(handle))
    assert [("second", handle)] == shop.after(0.0, everything=True)


def test_another_amount(shop: Shop) -> None:
    """Money of another amount goes back as it came."""
    sale = Sale(shop)
    sale.paid_too(amount=99)
    assert ("refund-due", 0) == sale.told()
    assert [(sale.handle, 99)] == sale.due()


def test_refunded_before_anybody_knew(shop: Shop) -> None:
    """By its own id; the payment that bought is left alone."""
    sale = Sale(shop)
    sale.paid_too()
    assert "refunded" == shop.flo.refund(sale.handle).status
    assert [("duplicate", sale.handle, sale.challenge.id)] == sale.reasons()
    assert ("payment-refunded", 0) == sale.told()
    assert DELIVERED == shop.state_of(sale.key)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (state(), ("invalid-challenge", 1)),
        (None, ("invalid-challenge", 1)),
        (state(moved("charge-0", 0)), ("invalid-challenge", 1)),
        (ChargeUnknown(reason="the line is dead"), ("outcome-unknown", 0)),
        ("raise", ("outcome-unknown", 0)),
        (state(moved("charge-0", given_back=100)), ("payment-refunded", 0)),
        (state(moved("charge-0", partly=True)), ("payment-refunded", 0)),
    ],
    ids=["unpaid", "no charge", "nothing", "unknown", "raises", "given back", "given back in part"],
)
def test_what_the_backend_may_say(shop: Shop, said: object, expected: tuple[str, int]) -> None:
    """Nothing was paid: as any used challenge. Nobody knows: later. It went back: told so. Nothing is due."""
    sale = Sale(shop)
    shop.till.charges[sale.handle] = said
    assert expected == sale.told()
    assert [] == sale.due()
    assert DELIVERED == shop.state_of(sale.key)


def test_its_own_money_under_another_credential(shop: Shop) -> None:
    """The money that settled it is the charge's: the credential that has it goes first, and nobody pays again."""
    sale = Sale(shop, 500, payment="charge-0")
    asked = len(shop.till.kept)
    assert ("in-flight", 0) == sale.told()
    deliver(shop.gate, sale.present("wallet"))
    assert ("invalid-challenge", 1) == sale.told()
    assert (asked, []) == (len(shop.till.kept), sale.due())


def test_its_money_has_bought_something_else(shop: Shop) -> None:
    """A proof that another challenge used is not owed to anybody."""
    sale = Sale(shop)
    _, other = shop.challenge()
    shop.till.verdict = Paid(reference=sale.handle, amount=100, currency="usd")
    deliver(shop.gate, shop.gate.enter(request(authorization=pay(other, "wallet"))))
    assert (("invalid-challenge", 1), []) == (sale.told(), sale.due())


def test_the_wallets_credential_again(shop: Shop) -> None:
    """What was settled is used up, and the backend is not asked about anything."""
    sale = Sale(shop)
    sale.paid_too()
    assert ("invalid-challenge", 1) == sale.told("wallet")
    assert [] == shop.till.kept


def test_a_provider_without_own_charges() -> None:
    """A used challenge is a used challenge."""
    shop = open_shop(Safe)
    sale = Sale(shop)
    sale.paid_too()
    assert ("invalid-challenge", 1) == sale.told()
    assert [] == shop.till.kept
