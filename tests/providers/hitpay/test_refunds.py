"""Refunds: one per payment, in full or in part, and never twice because an answer got lost."""

import pytest

from flovia.core.effects import Effect, HttpCall, HttpReply, Recall, Remember
from flovia.core.encoding import loads_object
from flovia.core.errors import HttpError, LedgerError
from flovia.core.refund import NotRefunded, Refunded, RefundingProvider, RefundOrder, RefundUnknown, RefundVerdict
from flovia.providers.hitpay import HitPayProvider
from flovia.providers.hitpay.calls import NAMESPACE
from flovia.testing.flows import drive
from tests.providers.hitpay.fake import SAVED, World, charge_id, config, credential, reply, request


def paid(world: World) -> str:
    """A delivered payment; its id."""
    challenge = world.challenge()
    world.hitpay.pay(charge_id(challenge))
    world.deliver(world.enter(request(credential(challenge))))
    return charge_id(challenge)


def order(payment_id: str, amount: int = 100, nonce: str = "test-nonce-1") -> RefundOrder:
    """An order for a payment of one dollar."""
    return RefundOrder(
        method="hitpay",
        payment_id=payment_id,
        challenge_id="test",
        amount=amount,
        paid=100,
        currency="sgd",
        nonce=nonce,
    )


def refund(world: World, order: RefundOrder) -> RefundVerdict:
    """The verdict."""
    return drive(world.provider.refund(order), world.hand)


def test_protocol() -> None:
    """The provider is one that gives money back."""
    assert isinstance(HitPayProvider(config()), RefundingProvider)


@pytest.mark.parametrize(("amount", "text"), [(100, "1.00"), (40, "0.40")])
def test_refunded(amount: int, text: str) -> None:
    """In full or in part, under HitPay's name of the payment; the same order again says the same and does nothing."""
    world = World()
    ident = paid(world)
    expected = Refunded(refund_id=f"ref_pay_{ident}", amount=amount, currency="sgd")
    assert expected == refund(world, order(ident, amount))
    assert expected == refund(world, order(ident, amount))
    (call,) = world.hitpay.called("refund")
    assert {"payment_id": f"pay_{ident}", "amount": text} == loads_object(call.body)
    assert "test_key_of_a_merchant" == dict(call.headers)["x-business-api-key"]


def test_one_per_payment() -> None:
    """A second order for the same payment is refused here."""
    world = World()
    ident = paid(world)
    refund(world, order(ident, 40))
    assert isinstance(refund(world, order(ident, 60, "test-nonce-2")), NotRefunded)
    assert 1 == len(world.hitpay.called("refund"))


@pytest.mark.parametrize(
    "given", [HttpError("time-out", sent=True), reply(502), reply(200, {}), reply(409, {})], ids=str
)
def test_lost_answer(given: HttpReply | Exception) -> None:
    """The refund went through and nobody heard: the next try finds out and gives nothing back twice."""
    world = World()
    ident = paid(world)

    def lost(call: HttpCall) -> HttpReply:
        world.hitpay._refund(loads_object(call.body))
        if isinstance(given, Exception):
            raise given
        return given

    world.hitpay.given["refund"] = [lost]
    assert RefundUnknown() == refund(world, order(ident))
    assert Refunded(refund_id=f"of_pay_{ident}", amount=100, currency="sgd") == refund(world, order(ident))
    assert 1 == len(world.hitpay.called("refund"))


def test_lost_order() -> None:
    """The refund never arrived: after looking, it is tried again."""
    world = World()
    ident = paid(world)
    world.hitpay.given["refund"] = [HttpError("refused", sent=False)]
    assert RefundUnknown() == refund(world, order(ident))
    assert isinstance(refund(world, order(ident)), Refunded)
    assert 2 == len(world.hitpay.called("refund"))


@pytest.mark.parametrize("given", [reply(500), reply(404, {}), reply(200, {}), HttpError("x", sent=True)], ids=str)
def test_nobody_can_look(given: HttpReply | Exception) -> None:
    """While the payment cannot be looked at, nothing is tried again."""
    world = World()
    ident = paid(world)
    world.hitpay.given["refund"] = [HttpError("time-out", sent=True)]
    assert RefundUnknown() == refund(world, order(ident))
    world.hitpay.given["request"] = [given]
    assert RefundUnknown() == refund(world, order(ident))
    assert 1 == len(world.hitpay.called("refund"))


@pytest.mark.parametrize(
    ("given", "word"),
    [
        (reply(422, {"message": "secret"}), "refuses"),
        (reply(400, {}), "refuses"),
    ],
    ids=str,
)
def test_refused(given: HttpReply, word: str) -> None:
    """HitPay refuses: nothing moved, it says what to do in our words, and another order may try."""
    world = World()
    ident = paid(world)
    world.hitpay.given["refund"] = [given]
    verdict = refund(world, order(ident))
    assert isinstance(verdict, NotRefunded)
    assert word in verdict.reason
    assert "secret" not in verdict.reason
    world.hand.clock.advance(1)
    assert isinstance(refund(world, order(ident, 100, "test-nonce-2")), Refunded)


def test_refused_after_a_lost_try() -> None:
    """A refusal after a try of unknown outcome is looked into: it may be refused because it had gone through."""
    world = World()
    ident = paid(world)
    (payment,) = world.hitpay.requests[world.hitpay.charges[ident]["uuid"]]["payments"]  # type: ignore[misc]
    world.hitpay.given["refund"] = [
        HttpError("time-out", sent=True),
        lambda call: (payment.update(status="refunded"), reply(422, {}))[1],  # type: ignore[attr-defined]
    ]
    assert RefundUnknown() == refund(world, order(ident))
    assert isinstance(refund(world, order(ident)), Refunded)


@pytest.mark.parametrize(
    ("status", "expected"), [("refunded", "Refunded"), ("partially_refunded", "already"), ("succeeded", "once")]
)
def test_refunded_in_the_dashboard_and_no_webhook_came(status: str, expected: str) -> None:
    """HitPay refuses, and says why where it is asked: what went back in full is told, so that the books are right."""
    world = World()
    ident = paid(world)
    (payment,) = world.hitpay.requests[world.hitpay.charges[ident]["uuid"]]["payments"]  # type: ignore[misc]
    payment["status"] = status  # type: ignore[index]
    world.hitpay.given["refund"] = [reply(422, {})]
    verdict = refund(world, order(ident, 40))
    if isinstance(verdict, Refunded):
        assert ("Refunded", 100, "sgd") == (expected, verdict.amount, verdict.currency)
    else:
        assert isinstance(verdict, NotRefunded)
        assert expected in verdict.reason


def test_another_currency_or_payment_in_the_answer() -> None:
    """An answer about something else is no answer."""
    for change in ({"currency": "myr"}, {"payment_id": "pay_other"}, {"status": "failed"}, {"amount_refunded": "x"}):
        world = World()
        ident = paid(world)
        good = {"id": "r", "payment_id": f"pay_{ident}", "amount_refunded": "1.00", "currency": "SGD", "status": None}
        world.hitpay.given["refund"] = [reply(200, {**good, **change})]
        assert RefundUnknown() == refund(world, order(ident))


def test_a_known_refund_that_is_gone() -> None:
    """A refund that HitPay does not know any more is open again."""
    world = World()
    ident = paid(world)
    refund(world, order(ident))
    world.hitpay.given["refunded"] = [reply(404, {}), reply(500)]
    assert [RefundUnknown()] * 2 == [refund(world, order(ident)) for _ in range(2)]


def test_the_payment_is_looked_up() -> None:
    """Where the receipt named no payment, the payment request does, if it has only one."""
    world = World()
    world.hitpay.claims = {"payment_id": None}
    ident = paid(world)
    assert isinstance(refund(world, order(ident)), Refunded)
    ident = paid(world)
    world.hitpay.pay_at_core(ident)
    verdict = refund(world, order(ident))
    assert isinstance(verdict, NotRefunded)
    assert "dashboard" in verdict.reason


def test_unknown_payments() -> None:
    """A payment of another time, and a route without a key."""
    assert isinstance(refund(World(), order("mpp_ch_never")), NotRefunded)
    verdict = refund(World(api_key=None), order("mpp_ch_never"))
    assert isinstance(verdict, NotRefunded)
    assert "HITPAY_API_KEY" in verdict.reason


def test_silent_charges() -> None:
    """A silent charge is refunded under its own payment; where its outcome is lost nobody can look."""
    world = World(saved=SAVED)
    grant = world.hitpay.grant()
    world.deliver(world.enter(request(grant)))
    world.hitpay.requests["x"] = {
        "payments": [{"id": "pay_ch_000000", "status": "succeeded", "amount": "1.00", "currency": "sgd"}]
    }
    world.hitpay.given["refund"] = [HttpError("time-out", sent=True)]
    assert RefundUnknown() == refund(world, order("ch_000000"))
    assert RefundUnknown() == refund(world, order("ch_000000"))


def test_a_silent_charge_of_which_nothing_was_asked() -> None:
    """While HitPay is left alone nothing is sent: that is no try, and the refund goes through once it is back."""
    world = World(saved=SAVED, breaker_failures=1)
    grant = world.hitpay.grant()
    world.deliver(world.enter(request(grant)))
    world.hitpay.requests["x"] = {
        "payments": [{"id": "pay_ch_000000", "status": "succeeded", "amount": "1.00", "currency": "sgd"}]
    }
    origin = world.provider.config.api_endpoint.origin
    world.hand.ledger.remember(NAMESPACE, f"breaker {origin}", f"9 {world.hand.clock() + 5}", 60.0, False)
    assert RefundUnknown() == refund(world, order("ch_000000"))
    assert [] == world.hitpay.called("refund")
    world.hand.clock.advance(10)
    assert isinstance(refund(world, order("ch_000000")), Refunded)


@pytest.mark.parametrize("spoilt", ["note", "breaker"])
def test_a_ledger_that_failed_before_anything_was_asked(spoilt: str) -> None:
    """The note of a try that was not made is taken back, also where it is not known to have been written."""
    world = World(saved=SAVED)
    grant = world.hitpay.grant()
    world.deliver(world.enter(request(grant)))
    world.hitpay.requests["x"] = {
        "payments": [{"id": "pay_ch_000000", "status": "succeeded", "amount": "1.00", "currency": "sgd"}]
    }
    left = [True]

    def hand(effect: Effect) -> object:
        result = world.hand(effect)
        kind, key = (Remember, "refund ") if spoilt == "note" else (Recall, "breaker ")
        if isinstance(effect, kind) and effect.key.startswith(key) and left:
            left.pop()
            raise LedgerError("test: the acknowledgement was lost")
        return result

    with pytest.raises(LedgerError):
        drive(world.provider.refund(order("ch_000000")), hand)
    assert [] == world.hitpay.called("refund")
    world.hand.clock.advance(1)
    assert isinstance(refund(world, order("ch_000000")), Refunded)


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_that_may_not(status: int) -> None:
    """The key is refused: the order stays open, and goes through once it is set right."""
    world = World()
    ident = paid(world)
    world.hitpay.given["refund"] = [reply(status, {})]
    assert RefundUnknown() == refund(world, order(ident))
    assert isinstance(refund(world, order(ident)), Refunded)
