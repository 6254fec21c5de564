"""Giving money back: once, in full or in part, never guessed, and never together with what it paid for."""

import logging
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import cast

import attrs
import pytest

import flovia
from flovia import CallerError, Price, RefundError, WiringError
from flovia.core.errors import LedgerError
from flovia.core.operator import Operator
from flovia.core.owed import RefundOpening
from flovia.core.provider import Provider
from flovia.core.returned import refusal_of
from flovia.ledger.memory import MemoryLedger
from flovia.providers.base import Flow, Refunded, RefundOrder, RefundVerdict, sleep
from flovia.providers.mock import MockProvider
from tests.core.world import SECRET, Clock, challenges, deliver, pay, problem, request
from tests.hooks.bank import HookBankProvider
from tests.hooks.conftest import Shop, credential_of

AT_ONCE = 50


def code(call: Callable[[], object]) -> str:
    """Why a refund cannot be asked for; the message says what to do."""
    with pytest.raises(RefundError) as caught:
        call()
    assert len(str(caught.value)) > 30
    return caught.value.code


def test_all_of_it(shop: Shop) -> None:
    """A delivered payment is given back: state, event and answer say so."""
    payment, _ = shop.buy()
    result = shop.flo.refund(payment)
    assert ("refunded", payment, 100, "usd") == (result.status, result.payment_id, result.amount, result.currency)
    assert ("refund-1", None) == (result.refund_id, result.reason)
    assert "refunded" == shop.state(payment)
    assert 100 == shop.bank.payments[payment]["returned"]
    (told,) = shop.events("payment.refunded")
    assert (100, "usd", payment) == (told.amount, told.currency, told.payment_id)
    assert (result.challenge_id, "hookbank", "mpp") == (told.challenge_id, told.provider, told.rail)
    assert ("", "") == (told.endpoint, told.http_method)


def test_a_part_of_it(shop: Shop) -> None:
    """A part goes back and the event carries it; more never follows."""
    payment, _ = shop.buy()
    assert 40 == shop.flo.refund(payment, "0.40 USD").amount
    assert [40] == [one.amount for one in shop.events("payment.refunded")]
    assert "refunded" == code(lambda: shop.flo.refund(payment, "0.10 USD"))
    assert "refunded" == code(lambda: shop.flo.refund(payment))
    assert 1 == len(shop.bank.refunds)


def test_a_price_as_the_amount(shop: Shop) -> None:
    """The amount may be a Price."""
    payment, _ = shop.buy()
    assert 1 == shop.flo.refund(payment, Price(amount=1, currency="usd")).amount


async def test_async(shop: Shop) -> None:
    """The same under asyncio and trio."""
    payment, _ = shop.buy()
    shop.bank.faults.append("lost")
    assert "unknown" == (await shop.flo.arefund(payment, "0.40 USD")).status
    assert [40] == [due.ordered for due in await shop.flo.arefunds_due()]
    assert "refunded" == (await shop.flo.arefund(payment, "0.40 USD")).status
    assert [] == await shop.flo.arefunds_due()


def test_it_never_redeems_again(shop: Shop) -> None:
    """Paid, not delivered, given back: the credential buys nothing, and nobody is asked for more in silence."""
    payment, credential = shop.buy(status=500)
    assert "refunded" == shop.flo.refund(payment, "0.01 USD").status
    for _ in range(2):
        response = shop.paid.enter(request(credential)).response
        assert (403, "payment-refunded") == (response.status, problem(response))
        assert not challenges(response)
    assert "refunded" == shop.state(payment)


@pytest.mark.parametrize(
    ("amount", "expected"),
    [("1.01 USD", "too_much"), ("100.00 USD", "too_much"), ("1.00 SGD", "other_currency")],
)
def test_amounts_that_cannot_go_back(shop: Shop, amount: str, expected: str) -> None:
    """More than was paid and another currency are refused before the bank hears of it."""
    payment, _ = shop.buy()
    assert expected == code(lambda: shop.flo.refund(payment, amount))
    assert 0 == shop.bank.calls["POST"]
    assert "delivered" == shop.state(payment)


@pytest.mark.parametrize("amount", ["0.00 USD", "half", "-1.00 USD", ""])
def test_what_is_no_amount(shop: Shop, amount: str) -> None:
    """A CallerError that says so."""
    payment, _ = shop.buy()
    with pytest.raises(CallerError, match="amount to give back"):
        shop.flo.refund(payment, amount)


def test_an_unknown_payment(shop: Shop) -> None:
    """Whoever asks for a payment that is not in the ledger is told where ids are found."""
    with pytest.raises(RefundError, match="flovia events") as caught:
        shop.flo.refund("nobody")
    assert "unknown" == caught.value.code
    parked, credential = shop.credential()
    shop.bank.faults.append("503")
    assert "outcome-unknown" == problem(shop.paid.enter(request(credential)).response)
    assert "unknown" == code(lambda: shop.flo.refund(parked))


class Without:
    """A provider without one of its methods."""

    def __init__(self, inner: HookBankProvider, missing: str) -> None:
        self._inner = inner
        self._missing = missing

    def __getattr__(self, name: str) -> object:
        if name == self._missing:
            raise AttributeError(name)
        return getattr(self._inner, name)


def test_a_provider_that_cannot(shop: Shop) -> None:
    """A provider without refunds is named, and where else to go."""
    payment, _ = shop.buy()
    provider = cast("Provider", Without(shop.provider, "refund"))
    flo = flovia.Flovia(provider=provider, ledger=shop.ledger, secret=SECRET)
    assert "unsupported" == code(lambda: flo.refund(payment))


class Keyless(HookBankProvider):
    """The bank's provider where its key is missing until somebody sets it."""

    lacking: str | None = "BANK_KEY is not set here"

    def refunds_lack(self) -> str | None:
        """The key."""
        return self.lacking


def test_a_missing_setting_is_no_refusal_of_the_provider(shop: Shop) -> None:
    """Nothing is asked for and nothing goes on record; an order of unknown outcome stays the same order."""
    payment, _ = shop.buy()
    provider = Keyless(shop.provider.url)
    flo = flovia.Flovia(provider=provider, ledger=shop.ledger, secret=SECRET)
    by = Operator(name="test-operator")
    before = len(shop.ledger.read_events(limit=1000))
    with pytest.raises(RefundError, match="BANK_KEY is not set here; nothing was asked for"):
        flo.refund(payment, by=by)
    assert ("delivered", 0) == (shop.state(payment), shop.bank.calls["POST"])
    assert before == len(shop.ledger.read_events(limit=1000))
    provider.lacking = None
    shop.bank.faults.append("lost")
    assert "unknown" == flo.refund(payment).status
    provider.lacking = "BANK_KEY is not set here"
    assert "unsupported" == code(lambda: flo.refund(payment))
    provider.lacking = None
    assert "refunded" == flo.refund(payment).status
    assert 1 == len(shop.bank.refunds)


def test_no_provider_at_all(shop: Shop) -> None:
    """A Flovia without providers cannot know who took the payment."""
    with pytest.raises(WiringError, match="provider="):
        flovia.Flovia(ledger=shop.ledger).refund("p1")


def test_the_provider_is_found_by_the_payments_method(shop: Shop) -> None:
    """With several providers the one whose method took the payment is asked."""
    offers = [flovia.Offer(provider=one, price="1.00 USD") for one in (MockProvider(), shop.provider)]
    both = shop.flo.paid_api(offers=offers)
    challenge = next(one for one in challenges(both.enter(request()).response) if one.method == "mock")
    passage = both.enter(request(pay(challenge)))
    deliver(both, passage)
    assert passage.grant is not None
    result = shop.flo.refund(passage.grant.payment_id)
    assert ("refunded", 0) == (result.status, shop.bank.calls["POST"])
    payment, _ = shop.buy()
    assert "refunded" == shop.flo.refund(payment).status
    assert 1 == shop.bank.calls["POST"]


def test_a_provider_by_its_name(shop: Shop) -> None:
    """A provider may be named, in the call too."""
    gate = shop.flo.paid_api(provider="mock", price="1.00 USD")
    (challenge,) = challenges(gate.enter(request()).response)
    passage = gate.enter(request(pay(challenge)))
    deliver(gate, passage)
    assert passage.grant is not None
    assert "refunded" == shop.flo.refund(passage.grant.payment_id, provider="mock").status


def test_one_id_under_two_methods(shop: Shop) -> None:
    """Where two methods have a payment of that id, the caller says which."""

    class Twin(HookBankProvider):
        name = "twin"
        method = "twin"

    twin = Twin(shop.provider.url)
    other = shop.flo.paid_api(provider=twin, price="1.00 USD")
    payment, _ = shop.buy()
    (challenge,) = challenges(other.enter(request()).response)
    deliver(other, other.enter(request(credential_of(challenge, payment))))
    with pytest.raises(RefundError, match="hookbank and of twin"):
        shop.flo.refund(payment)
    assert "refunded" == shop.flo.refund(payment, provider=twin).status
    assert "delivered" == shop.state(payment)


def test_two_providers_of_one_method(shop: Shop) -> None:
    """Two routes may have a provider each that takes the same method: the first of them is asked, once."""
    gate = shop.flo.paid_api(provider=MockProvider(), price="1.00 USD")
    shop.flo.paid_api(provider=MockProvider(recipient="somebody else"), price="1.00 USD")
    (challenge,) = challenges(gate.enter(request()).response)
    passage = gate.enter(request(pay(challenge)))
    deliver(gate, passage)
    assert passage.grant is not None
    assert "refunded" == shop.flo.refund(passage.grant.payment_id).status


def test_forgotten_between_two_questions(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The payment was there when it was looked for, and is gone when its refund is ordered."""
    payment, _ = shop.buy()
    gone = RefundOpening(outcome="unknown")
    monkeypatch.setattr(shop.flo.ledger, "open_refund", lambda *_: gone)
    assert "unknown" == code(lambda: shop.flo.refund(payment))


# --- deliveries -----------------------------------------------------------------------------------------------


def test_while_it_is_delivered(shop: Shop) -> None:
    """A refund does not overtake a running delivery; it says when to come back, and then goes through."""
    payment, credential = shop.credential()
    passage = shop.paid.enter(request(credential))
    with pytest.raises(RefundError, match="being delivered") as caught:
        shop.flo.refund(payment)
    assert ("delivering", 60) == (caught.value.code, caught.value.retry_after_s)
    deliver(shop.paid, passage)
    assert "refunded" == shop.flo.refund(payment).status


def test_after_a_delivery_that_went_silent(shop: Shop) -> None:
    """Once the lease of a killed worker has run out the money can go back, and is not delivered after that."""
    payment, credential = shop.credential()
    shop.paid.enter(request(credential))
    shop.clock.advance(60.0)
    assert "refunded" == shop.flo.refund(payment).status
    assert "payment-refunded" == problem(shop.paid.enter(request(credential)).response)


def test_an_answer_that_outlived_its_lease(shop: Shop) -> None:
    """A refund cannot call it back: the money goes, and what the handler answers then goes out, with its event."""
    payment, credential = shop.credential()
    passage = shop.paid.enter(request(credential))
    shop.clock.advance(60.0)
    assert "refunded" == shop.flo.refund(payment).status
    assert None is deliver(shop.paid, passage).replace
    assert 1 == len(shop.events("payment.delivered"))
    assert "payment-refunded" == problem(shop.paid.enter(request(credential)).response)


# --- the bank's other answers -----------------------------------------------------------------------------------


def test_refused(shop: Shop) -> None:
    """The bank refuses: nothing has changed, the credential works as before, and it can be tried again."""
    payment, credential = shop.buy(status=500)
    shop.bank.faults.append("refuse")
    result = shop.flo.refund(payment)
    assert ("refused", "the bank does not want to", None) == (result.status, result.reason, result.refund_id)
    assert [] == shop.events("payment.refunded")
    deliver(shop.paid, shop.paid.enter(request(credential)))
    assert "refunded" == shop.flo.refund(payment).status
    first, second = shop.bank.keys
    assert first != second, "what was refused is another order than what follows"


@pytest.mark.parametrize("fault", ["lost", "garbage", "503"])
def test_unknown(shop: Shop, fault: str) -> None:
    """Nobody knows: the order stays open, nothing is delivered meanwhile, and the same order is tried again."""
    payment, credential = shop.buy(status=500)
    shop.bank.faults.append(fault)
    result = shop.flo.refund(payment, "0.30 USD")
    assert ("unknown", 30) == (result.status, result.amount)
    assert result.reason is not None
    (due,) = shop.flo.refunds_due()
    assert (payment, 100, 30) == (due.payment_id, due.amount, due.ordered)
    assert (result.challenge_id, "hookbank") == (due.challenge_id, due.method)
    response = shop.paid.enter(request(credential)).response
    assert ("in-flight", []) == (problem(response), challenges(response))
    assert "other_amount" == code(lambda: shop.flo.refund(payment))
    result = shop.flo.refund(payment, "0.30 USD")
    assert ("refunded", 30) == (result.status, result.amount)
    assert 1 == len(shop.bank.refunds)
    assert [] == shop.flo.refunds_due()
    assert 1 == len(shop.events("payment.refunded"))
    if fault != "503":
        assert 1 == len(set(shop.bank.keys)) < len(shop.bank.keys)


def test_refused_after_unknown(shop: Shop) -> None:
    """What was unknown and is refused at last leaves the payment as it was."""
    payment, credential = shop.buy(status=500)
    shop.bank.faults += ["503", "refuse"]
    assert ["unknown", "refused"] == [shop.flo.refund(payment).status for _ in range(2)]
    assert shop.paid.enter(request(credential)).response is None


class Odd(HookBankProvider):
    """Answers what it is told to."""

    says: object = None

    def refund(self, order: RefundOrder) -> Flow[RefundVerdict]:
        """Answer."""
        if isinstance(self.says, BaseException):
            raise self.says
        if self.says == "slow":
            yield from sleep(3600.0)
        yield from ()
        return cast("RefundVerdict", self.says)


@pytest.mark.parametrize(
    "says",
    [
        RuntimeError("test-secret-in-an-exception"),
        None,
        "refunded",
        Refunded(refund_id="r1", amount=101, currency="usd"),
        Refunded(refund_id="r1", amount=0, currency="usd"),
        Refunded(refund_id="r1", amount=100, currency="sgd"),
        Refunded(refund_id=cast("str", 7), amount=100, currency="usd"),
        Refunded(refund_id="r1", amount=cast("int", "100"), currency="usd"),
    ],
)
def test_a_provider_with_a_bug(
    open_shop: Callable[..., Shop], bank_url: str, caplog: pytest.LogCaptureFixture, says: object
) -> None:
    """An exception and what is no sane verdict count as unknown, and the log says so."""
    clock = Clock()
    provider = Odd(bank_url)
    shop = open_shop(MemoryLedger(clock=clock), clock, provider)
    payment, _ = shop.buy()
    provider.says = says
    assert "unknown" == shop.flo.refund(payment).status
    assert "provider hookbank" in caplog.text
    provider.says = Refunded(refund_id="r1", amount=99, currency="USD")
    result = shop.flo.refund(payment)
    assert ("refunded", 99, "usd") == (result.status, result.amount, result.currency)


def test_a_slow_provider(open_shop: Callable[..., Shop], bank_url: str, caplog: pytest.LogCaptureFixture) -> None:
    """After its deadline the outcome is unknown."""
    clock = Clock()
    provider = Odd(bank_url)
    provider.deadline_s = 0.05
    shop = open_shop(MemoryLedger(clock=clock), clock, provider)
    payment, _ = shop.buy()
    provider.says = "slow"
    assert "unknown" == shop.flo.refund(payment).status
    assert "took longer than 0.05 s" in caplog.text


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_stopped_in_the_middle(open_shop: Callable[..., Shop], bank_url: str, kind: type[BaseException]) -> None:
    """A program that is told to stop while the bank is asked leaves an open order that the next one takes up."""
    clock = Clock()
    provider = Odd(bank_url)
    shop = open_shop(MemoryLedger(clock=clock), clock, provider)
    payment, _ = shop.buy()
    provider.says = kind()
    with pytest.raises(kind):
        shop.flo.refund(payment)
    assert [100] == [due.ordered for due in shop.flo.refunds_due()]
    provider.says = Refunded(refund_id="r1", amount=100, currency="usd")
    assert "refunded" == shop.flo.refund(payment).status


class Failing(MemoryLedger):
    """A ledger whose record of a refund fails: before the work, or after it."""

    fault = ""

    def close_refund(self, *arguments: object) -> bool:
        """Fail as told."""
        fault, self.fault = self.fault, ""
        if fault == "down":
            raise LedgerError("down, a test")
        done = MemoryLedger.close_refund(self, *arguments)  # type: ignore[arg-type]  # passed on as they came
        if fault == "lost":
            raise LedgerError("lost, a test")
        return done


@pytest.mark.parametrize("bank_says", ["", "refuse"])
def test_the_record_fails(open_shop: Callable[..., Shop], bank_says: str) -> None:
    """The bank has answered and the ledger cannot take it: unknown, and the next call asks for the same order."""
    clock = Clock()
    ledger = Failing(clock=clock)
    shop = open_shop(ledger, clock)
    payment, _ = shop.buy()
    shop.bank.faults.append(bank_says)
    ledger.fault = "down"
    result = shop.flo.refund(payment)
    assert ("unknown", None) == (result.status, result.refund_id)
    with pytest.raises(RefundError, match="call again in 10 s") as caught:
        shop.flo.refund(payment)
    assert ("busy", 10) == (caught.value.code, caught.value.retry_after_s)
    clock.advance(10.0)
    assert "refunded" == shop.flo.refund(payment).status
    assert 1 == len(set(shop.bank.keys))
    assert 1 == len(shop.bank.refunds) == len(shop.events("payment.refunded"))


def test_the_acknowledgement_is_lost(open_shop: Callable[..., Shop]) -> None:
    """The record was written and nobody heard: the next call is told that it went back already."""
    clock = Clock()
    ledger = Failing(clock=clock)
    shop = open_shop(ledger, clock)
    payment, _ = shop.buy()
    ledger.fault = "lost"
    assert "unknown" == shop.flo.refund(payment).status
    assert "refunded" == code(lambda: shop.flo.refund(payment))
    assert 1 == len(shop.events("payment.refunded"))


# --- at the same time ---------------------------------------------------------------------------------------------


def outcome(call: Callable[[], flovia.RefundResult]) -> str:
    """The status, or the code of the error."""
    try:
        return call().status
    except RefundError as error:
        return error.code


def test_fifty_at_once(shop: Shop) -> None:
    """Fifty refunds of one payment at once are one order at the bank."""
    payment, _ = shop.buy()
    shop.bank.hold = threading.Event()
    barrier = threading.Barrier(AT_ONCE)

    def refund() -> str:
        barrier.wait()
        return outcome(lambda: shop.flo.refund(payment))

    with ThreadPoolExecutor(AT_ONCE) as pool:
        calls = [pool.submit(refund) for _ in range(AT_ONCE)]
        shop.bank.hold.set()
        found = Counter(call.result() for call in calls)
    assert found["refunded"] >= 1
    assert set(found) <= {"busy", "refunded"}
    assert 1 == shop.bank.calls["POST"] == len(shop.bank.refunds)
    assert 1 == len(shop.events("payment.refunded"))


def test_refund_against_redemption(shop: Shop) -> None:
    """Of a refund and a redemption at the same moment one wins: never both."""
    for _ in range(20):
        payment, credential = shop.buy(status=500)
        barrier = threading.Barrier(2)

        def redeem(credential: str = credential, barrier: threading.Barrier = barrier) -> flovia.Passage:
            barrier.wait()
            return shop.paid.enter(request(credential))

        def refund(payment: str = payment, barrier: threading.Barrier = barrier) -> str:
            barrier.wait()
            return outcome(lambda: shop.flo.refund(payment))

        with ThreadPoolExecutor(2) as pool:
            one, other = pool.submit(redeem), pool.submit(refund)
            passage, refunded = one.result(), other.result()
        if passage.response is None:
            assert "delivering" == refunded
            deliver(shop.paid, passage)
        else:
            assert "refunded" == refunded
            assert problem(passage.response) in ("in-flight", "payment-refunded")


def test_the_same_again_is_done(shop: Shop) -> None:
    """The error says which refund was made, if it is the one that is asked for: then nothing is left to do."""
    part, _ = shop.buy()
    made = shop.flo.refund(part, "0.40 USD")
    whole, _ = shop.buy()
    shop.flo.refund(whole)
    told: list[tuple[bool, str]] = []
    for payment, amount in ((part, "0.40 USD"), (part, "0.41 USD"), (part, None), (whole, None), (whole, "1.00 USD")):
        with pytest.raises(RefundError) as caught:
            shop.flo.refund(payment, amount)
        assert "refunded" == caught.value.code
        told.append((caught.value.done is not None, str(caught.value).partition("(")[2].partition(")")[0]))
        if payment == part and amount == "0.40 USD":
            assert attrs.evolve(made, reason="it was given back before") == caught.value.done
    of_it = "0.40 USD of 1.00 USD"
    assert [(True, of_it), (False, of_it), (False, of_it), (True, "1.00 USD"), (True, "1.00 USD")] == told


def test_nothing_secret_is_shown(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    """No nonce, key or answer of the bank stands in a log, a result, an error or an event."""
    caplog.set_level(logging.DEBUG)
    payment, _ = shop.buy()
    shop.bank.faults += ["503", "lost"]
    shown = [repr(shop.flo.refund(payment)) for _ in range(3)]
    with pytest.raises(RefundError) as caught:
        shop.flo.refund(payment)
    shown += [str(caught.value), repr(list(shop.ledger.read_events(limit=100))), repr(shop.flo.refunds_due())]
    text = "".join(shown) + caplog.text
    assert shop.bank.keys
    assert not any(key in text for key in shop.bank.keys)
    assert "test-key-of-the-bank" not in text
    assert "test-error-of-the-bank" not in text


def test_a_proof_of_which_no_money_is_known() -> None:
    """What was used before amounts were kept is refused as used, not as given back."""
    with pytest.raises(StopIteration) as ended:
        next(refusal_of("mock|forgotten", "realm|challenge", MemoryLedger()))
    assert ended.value.value is None
