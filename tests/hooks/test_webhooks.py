"""Webhooks: checked by the provider, written once, answered with fixed texts; none of them unlocks anything."""

import json
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, cast

import attrs
import pytest

import flovia
from flovia import Headers, HttpResponse, WiringError
from flovia.core import listening
from flovia.core.errors import LedgerError
from flovia.core.listening import TEXTS
from flovia.insights.join import join
from flovia.ledger.memory import MemoryLedger
from flovia.providers.base import (
    Flow,
    Heard,
    LatePayment,
    Notice,
    RefundedPayment,
    WaitingPayment,
    WebhookProvider,
    sleep,
)
from flovia.providers.mock import MockProvider
from tests.core.world import SECRET, Clock, challenges, deliver, problem, request
from tests.hooks.bank import HookBankProvider, event, sign
from tests.hooks.conftest import Shop, credential_of


def told(response: HttpResponse) -> tuple[int, str]:
    """Status and code of an answer, which is JSON with the code's fixed text."""
    body = json.loads(response.body)
    assert {"code", "detail"} == set(body)
    assert TEXTS[body["code"]] == body["detail"]
    fields = dict(response.headers)
    assert ("application/json", str(len(response.body))) == (fields["content-type"], fields["content-length"])
    assert "no-store" == fields["cache-control"]
    assert ("retry-after" in fields) == (response.status == 503)
    return response.status, body["code"]


# --- late payments ----------------------------------------------------------------------------------------------


def test_a_late_payment(shop: Shop) -> None:
    """Money for an expired challenge is on record with its refund due; it opens nothing, and can be given back."""
    challenge = shop.challenge()
    payment = shop.bank.pay("late1", challenge, 100, state="late")
    assert (200, "accepted") == told(shop.hook(payment))
    (one,) = shop.events("payment.late")
    assert (challenge, payment, 100, "usd") == (one.challenge_id, one.payment_id, one.amount, one.currency)
    assert "late" == one.reason
    assert ("hookbank", "", "") == (one.provider, one.endpoint, one.http_method)
    (due,) = shop.flo.refunds_due()
    assert (payment, challenge, 100, "usd", None) == (
        due.payment_id,
        due.challenge_id,
        due.amount,
        due.currency,
        due.ordered,
    )
    assert "refunded" == shop.flo.refund(payment).status
    assert [] == shop.flo.refunds_due()
    assert "refunded" == shop.state(payment)


def test_a_late_payment_buys_nothing(shop: Shop) -> None:
    """Its credential is answered as any that expired, and even a bank that calls it paid does not change that."""
    (challenge,) = challenges(shop.paid.enter(request()).response)
    payment = shop.bank.pay("late2", challenge.id, 100, state="late")
    credential = credential_of(challenge, payment)
    shop.hook(payment)
    shop.bank.payments[payment]["state"] = "paid"
    assert "verification-failed" == problem(shop.paid.enter(request(credential)).response)
    shop.clock.advance(301.0)
    assert "payment-expired" == problem(shop.paid.enter(request(credential)).response)
    assert [payment] == [due.payment_id for due in shop.flo.refunds_due()]
    assert [] == shop.events("payment.settled")


def attempts(shop: Shop) -> list[tuple[str, str | None, int | None]]:
    """What the events say when they are joined: insight, payment and status of each attempt."""
    shop.ledger.flush()
    joined = join(event for _, event in shop.ledger.read_events(limit=10_000))
    return [(one.insight, one.payment_id, one.response_status) for one in joined]


def test_paid_twice(shop: Shop) -> None:
    """A second payment for a challenge is due, the first one's delivery and refund are not touched."""
    (challenge,) = challenges(shop.paid.enter(request()).response)
    first = shop.bank.pay("first", challenge.id)
    second = shop.bank.pay("second", challenge.id, state="duplicate")
    shop.hook(second)
    assert [("price shown, not paid", None, 402), ("paid twice, refund due", second, None)] == attempts(shop)
    passage = shop.paid.enter(request(credential_of(challenge, first)))
    deliver(shop.paid, passage)
    (told,) = shop.events("payment.late")
    assert "duplicate" == told.reason
    expected = [("payment converted into paid API demand", first, 200), ("paid twice, refund due", second, None)]
    assert expected == attempts(shop)
    assert ("delivered", "settled") == (shop.state(first), shop.state(second))
    assert "refunded" == shop.flo.refund(second).status
    assert ("delivered", "refunded") == (shop.state(first), shop.state(second))
    assert [challenge.id] == [one.challenge_id for one in shop.events("payment.refunded")]


def test_money_that_has_bought_something_is_not_late(shop: Shop) -> None:
    """The bank's word comes after the delivery of the very same payment: nothing changes."""
    payment, _ = shop.buy()
    shop.bank.payments[payment]["state"] = "late"
    assert (200, "accepted") == told(shop.hook(payment))
    assert [] == shop.events("payment.late")
    assert [] == shop.flo.refunds_due()
    assert "delivered" == shop.state(payment)


def test_told_many_times_at_once(shop: Shop) -> None:
    """Duplicates, in parallel, are all answered 200 and change the state once."""
    late = shop.bank.pay("late3", shop.challenge(), state="late")
    back, _ = shop.buy()
    shop.bank.payments[back]["returned"] = 60
    for payment, type_ in ((late, "payment.late"), (back, "payment.refunded")):
        with ThreadPoolExecutor(16) as pool:
            answers = [pool.submit(shop.hook, payment) for _ in range(32)]
            assert {(200, "accepted")} == {told(one.result()) for one in answers}
        assert 1 == len(shop.events(type_))
    assert 1 == len(shop.flo.refunds_due())


# --- refunds that were made elsewhere -------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 500])
def test_refunded_in_the_dashboard(shop: Shop, status: int) -> None:
    """A refund made elsewhere is recorded once, with its amount; the payment buys nothing any more."""
    payment, credential = shop.buy(status=status)
    shop.bank.payments[payment]["returned"] = 60
    for _ in range(3):
        assert (200, "accepted") == told(shop.hook(payment))
    (one,) = shop.events("payment.refunded")
    assert (60, payment) == (one.amount, one.payment_id)
    assert one.challenge_id
    assert "refunded" == shop.state(payment)
    assert "payment-refunded" == problem(shop.paid.enter(request(credential)).response)
    with pytest.raises(flovia.RefundError, match=r"0\.60 USD"):
        shop.flo.refund(payment)


def test_refunded_while_it_is_delivered(shop: Shop) -> None:
    """It is too late to stop that delivery; its end is told, and the payment stays refunded."""
    payment, credential = shop.credential()
    passage = shop.paid.enter(request(credential))
    shop.bank.payments[payment]["returned"] = 100
    shop.hook(payment)
    deliver(shop.paid, passage)
    assert "refunded" == shop.state(payment)
    assert 1 == len(shop.events("payment.delivered"))


def test_refunded_before_it_was_presented(shop: Shop) -> None:
    """A payment that nobody presented yet and that went back opens nothing afterwards."""
    payment, credential = shop.credential()
    shop.bank.payments[payment]["returned"] = 100
    shop.hook(payment)
    shop.bank.payments[payment]["returned"] = 0  # the bank's books lie about it
    response = shop.paid.enter(request(credential)).response
    assert (403, "payment-refunded", []) == (response.status, problem(response), challenges(response))
    (one,) = shop.events("payment.refunded")
    assert (payment, None) == (one.payment_id, one.challenge_id)
    assert "refunded" == shop.state(payment)
    assert [("payment refunded", payment, 403)] == attempts(shop)


def test_refunded_before_it_was_presented_and_the_challenge_is_known(shop: Shop) -> None:
    """A notice that names the challenge puts it into the event, and so the refund stands with its 402."""
    (challenge,) = challenges(shop.paid.enter(request()).response)
    notice = RefundedPayment(**MONEY, payment_id="p-told", challenge_id=challenge.id)
    provider = cast("WebhookProvider", Scripted(notice))
    assert 200 == shop.flo.webhooks(provider=provider).hear({}, b"").status
    (one,) = shop.events("payment.refunded")
    assert ("p-told", challenge.id) == (one.payment_id, one.challenge_id)
    assert [("payment refunded", "p-told", 402)] == attempts(shop)


def test_refunded_and_no_webhook_came(shop: Shop) -> None:
    """The bank says so when it is asked about the credential: refused without a challenge, on record, once."""
    payment, credential = shop.credential()
    shop.bank.payments[payment]["returned"] = 60
    for _ in range(3):
        response = shop.paid.enter(request(credential)).response
        assert (403, "payment-refunded", []) == (response.status, problem(response), challenges(response))
    shop.hook(payment)
    (one,) = shop.events("payment.refunded")
    assert (60, "usd", payment) == (one.amount, one.currency, one.payment_id)
    assert one.challenge_id
    assert one.http_method
    found = shop.ledger.find_paid(f"hookbank|{payment}")
    assert found is not None
    assert ("refunded", 60) == (found.refund, found.refunded)
    assert [("payment refunded in part", payment, 403)] == attempts(shop)
    with pytest.raises(flovia.RefundError, match=r"given back already \(0\.60 USD\)") as caught:
        shop.flo.refund(payment)
    assert caught.value.done is None  # who knows what was paid
    with pytest.raises(flovia.RefundError) as caught:
        shop.flo.refund(payment, "0.60 USD")
    assert caught.value.done is not None
    assert ("", 60) == (caught.value.done.challenge_id, caught.value.done.amount)


def test_our_own_refund_comes_back_as_a_webhook(shop: Shop) -> None:
    """The webhook about our order is the same refund, whether it comes after the answer or in its place."""
    payment, _ = shop.buy()
    shop.flo.refund(payment)
    shop.hook(payment)
    other, credential = shop.buy(status=500)
    shop.bank.faults.append("lost")
    assert "unknown" == shop.flo.refund(other).status
    shop.hook(other)
    assert [payment, other] == [one.payment_id for one in shop.events("payment.refunded")]
    assert [] == shop.flo.refunds_due()
    assert "payment-refunded" == problem(shop.paid.enter(request(credential)).response)
    with pytest.raises(flovia.RefundError, match="given back already") as caught:
        shop.flo.refund(other)
    assert caught.value.done is not None
    assert ("refunded", other) == (caught.value.done.status, caught.value.done.payment_id)


# --- what is answered ----------------------------------------------------------------------------------------------


def test_what_changes_nothing(shop: Shop) -> None:
    """Unknown events, unknown payments, and a payment that is simply paid are fine."""
    payment = shop.bank.pay("p", shop.challenge())
    assert (200, "accepted") == told(shop.hook(payment))
    assert (200, "ignored") == told(shop.hook("nobody"))
    assert (200, "ignored") == told(shop.hook(payment, "weather"))
    assert [] == shop.events("payment.late") + shop.events("payment.refunded")


@pytest.mark.parametrize("signature", ["", "no", "é", sign(event("late4")).upper(), sign(event("late4"), b"other")])
def test_a_bad_signature(shop: Shop, signature: str) -> None:
    """401, whatever it looks like, and the bank is not even asked."""
    shop.bank.pay("late4", shop.challenge(), state="late")
    body = event("late4")
    assert (401, "bad-signature") == told(shop.flo.webhook([("bank-signature", signature)], body))
    assert (401, "bad-signature") == told(shop.flo.webhook(Headers.of([]), body))
    assert (401, "bad-signature") == told(shop.flo.webhook({"bank-signature": sign(body)}, body + b" "))
    assert 0 == shop.bank.calls["GET"]
    assert [] == shop.flo.refunds_due()


def test_a_bad_signature_is_a_warning_once_a_minute(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever mistyped a secret sees it without any set-up of logging; whoever sends junk does not fill the log."""

    def warnings() -> list[str]:
        found = [one.message for one in caplog.records if one.name == "flovia" and one.levelno == logging.WARNING]
        caplog.clear()
        return found

    body, wrong = event("any"), sign(event("any"), b"other")
    for _ in range(40):
        shop.flo.webhook({"bank-signature": wrong}, body)
    (line,) = warnings()
    assert "webhooks of hookbank refused because no signature fits: 1 since the last such line" in line
    assert "the secret (or salt) that is set here is not that of its webhook endpoint" in line
    shop.clock.now += 59
    shop.flo.webhook({}, body)
    assert [] == warnings()
    shop.clock.now += 1
    shop.flo.webhook({}, body)
    (line,) = warnings()
    assert "41 since the last" in line
    assert wrong not in line
    shop.clock.now -= 3600  # a clock that was set back silences nothing
    shop.flo.webhook({}, body)
    assert 1 == len(warnings())


def test_no_event(shop: Shop) -> None:
    """Signed, but no JSON: 400."""
    assert (400, "malformed") == told(shop.flo.webhook({"bank-signature": sign(b"\xff")}, b"\xff"))


def test_the_bank_is_down(shop: Shop) -> None:
    """The truth cannot be asked for: 503, to be sent again, and then it is taken."""
    payment = shop.bank.pay("late5", shop.challenge(), state="late")
    shop.bank.faults.append("503")
    assert (503, "try-again") == told(shop.hook(payment))
    assert [] == shop.flo.refunds_due()
    assert (200, "accepted") == told(shop.hook(payment))
    assert [payment] == [due.payment_id for due in shop.flo.refunds_due()]


async def test_async(shop: Shop) -> None:
    """The same under asyncio and trio."""
    payment = shop.bank.pay("late6", shop.challenge(), state="late")
    body = event(payment)
    assert (200, "accepted") == told(await shop.flo.awebhook({"bank-signature": sign(body)}, body))
    assert (401, "bad-signature") == told(await shop.flo.awebhook({}, body))
    assert [payment] == [due.payment_id for due in await shop.flo.arefunds_due()]


class Down(MemoryLedger):
    """A ledger that takes neither late payments nor refunds; ``moving``: keys that change all the time."""

    moving = False

    def late(self, *arguments: object) -> bool:
        """Fail."""
        raise LedgerError("down, a test")

    def note_refund(self, *arguments: object) -> str:  # type: ignore[override]  # it never gets that far
        """Fail, or never be done."""
        if self.moving:
            return "moved"
        raise LedgerError("down, a test")


@pytest.mark.parametrize("moving", [False, True])
@pytest.mark.parametrize("state", ["late", "back"])
def test_the_ledger_is_down(open_shop: Callable[..., Shop], state: str, *, moving: bool) -> None:
    """What cannot be recorded is to be sent again."""
    ledger = Down(clock=Clock())
    ledger.moving = moving
    shop = open_shop(ledger, Clock())
    payment = shop.bank.pay("p", shop.challenge(), state=state)
    shop.bank.payments[payment]["returned"] = 50 if state == "back" else 0
    assert (503, "try-again") == told(shop.hook(payment))


def test_a_payment_that_settles_between(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key of a refunded payment is asked for again if the payment has settled meanwhile."""
    payment, credential = shop.credential()
    find, seen = shop.ledger.find_paid, list[object]()

    def find_paid(proof: str) -> object:
        found = find(proof)
        if not seen:
            deliver(shop.paid, shop.paid.enter(request(credential)))
            shop.bank.payments[payment]["returned"] = 100
        seen.append(found)
        return found

    monkeypatch.setattr(shop.ledger, "find_paid", find_paid)
    provider = cast("WebhookProvider", Scripted(RefundedPayment(**MONEY, payment_id=payment)))
    assert (200, "accepted") == told(shop.flo.webhook({}, b"", provider=provider))
    assert [None] == seen[:1]
    assert 2 == len(seen)
    assert "refunded" == shop.state(payment)
    assert 1 == len({one.challenge_id for one in shop.events("payment.refunded")} - {None})


def test_money_whose_credential_would_be_taken(shop: Shop) -> None:
    """Its credential can still come, so nothing is written; then another payment buys, and this one is a second."""
    (challenge,) = challenges(shop.paid.enter(request()).response)
    arrived = WaitingPayment(**MONEY, challenge_id=challenge.id, payment_id="own", payer="did:x")
    provider = cast("WebhookProvider", Scripted(arrived))
    assert (200, "accepted") == told(shop.flo.webhook({}, b"", provider=provider))
    assert [] == shop.events("payment.late")
    first = shop.bank.pay("first", challenge.id)
    deliver(shop.paid, shop.paid.enter(request(credential_of(challenge, first))))
    for _ in range(2):
        assert (200, "accepted") == told(shop.flo.webhook({}, b"", provider=provider))
    (late,) = shop.events("payment.late")
    assert ("duplicate", "own", challenge.id, "did:x") == (late.reason, late.payment_id, late.challenge_id, late.payer)
    assert ("delivered", "settled") == (shop.state(first), shop.state("own"))
    itself = cast("WebhookProvider", Scripted(attrs.evolve(arrived, payment_id=first)))
    assert (200, "accepted") == told(shop.flo.webhook({}, b"", provider=itself))
    assert 1 == len(shop.events("payment.late"))


def test_late_for_what_another_payment_bought(shop: Shop) -> None:
    """Late money for a challenge that was settled otherwise is a second payment, whatever the provider calls it."""
    (challenge,) = challenges(shop.paid.enter(request()).response)
    first = shop.bank.pay("first", challenge.id)
    deliver(shop.paid, shop.paid.enter(request(credential_of(challenge, first))))
    late = LatePayment(**MONEY, challenge_id=challenge.id, payment_id="own")
    assert (200, "accepted") == told(shop.flo.webhook({}, b"", provider=cast("WebhookProvider", Scripted(late))))
    assert ["duplicate"] == [one.reason for one in shop.events("payment.late")]


# --- providers with a bug --------------------------------------------------------------------------------------

MONEY = {"method": "hookbank", "amount": 100, "currency": "usd"}
LATE = LatePayment(challenge_id="c", method="hookbank", payment_id="p", amount=100, currency="USD", payer="did:x")


class Scripted:
    """Answers each webhook with the same."""

    name = "scripted"
    max_webhook = 10

    def __init__(self, *notices: Notice, status: int = 200, code: str = "accepted", says: object = None) -> None:
        self.says = says or Heard(status=status, code=code, notices=notices)

    def webhook(self, headers: Headers, body: bytes) -> Flow[Heard]:
        """Answer."""
        if isinstance(self.says, Exception):
            raise self.says
        if self.says == "slow":
            yield from sleep(3600.0)
        yield from ()
        return cast("Heard", self.says)


@pytest.mark.parametrize(
    "says",
    [
        RuntimeError("test-secret-in-an-exception"),
        "accepted",
        {"status": 200},
        Heard(status=302),
        Heard(code="test-secret-of-the-sender"),
        *(
            Heard(notices=(one,))
            for one in (
                attrs.evolve(LATE, challenge_id=""),
                attrs.evolve(LATE, challenge_id="a|b"),
                attrs.evolve(LATE, method="a|b"),
                attrs.evolve(LATE, payment_id="a\nb"),
                attrs.evolve(LATE, payment_id="p" * 256),
                attrs.evolve(LATE, amount=0),
                attrs.evolve(LATE, amount=cast("int", 1.0)),
                attrs.evolve(LATE, reason=cast("Literal['late']", "price_risen")),
                WaitingPayment(challenge_id="c", method="m", payment_id="p", amount=0, currency="usd"),
                RefundedPayment(method="m", payment_id="p", amount=-1, currency="usd"),
                RefundedPayment(method="m", payment_id="p", amount=1, currency="usd", challenge_id="a|b"),
            )
        ),
    ],
)
def test_a_provider_with_a_bug(shop: Shop, caplog: pytest.LogCaptureFixture, says: object) -> None:
    """503, so that it comes again when the bug is gone; nothing is written; the log names the provider."""
    assert (503, "try-again") == told(shop.flo.webhook({}, b"x", provider=Scripted(says=says)))
    assert "scripted" in caplog.text
    assert [] == shop.events("payment.late") + shop.events("payment.refunded")


def test_a_slow_provider(shop: Shop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Senders do not wait for ever, so a provider that does is cut off."""
    monkeypatch.setattr(listening, "WITHIN_S", 0.05)
    assert (503, "try-again") == told(shop.flo.webhook({}, b"x", provider=Scripted(says="slow")))
    assert "took longer than 0.05 s" in caplog.text


def test_notices_beside_a_refusal(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    """What comes with a bad signature is not written; what comes with "again later" is."""
    assert (401, "bad-signature") == told(
        shop.flo.webhook({}, b"x", provider=Scripted(LATE, status=401, code="bad-signature"))
    )
    assert "none is written" in caplog.text
    assert [] == shop.events("payment.late")
    assert (503, "try-again") == told(shop.flo.webhook({}, b"x", provider=Scripted(LATE, status=503, code="try-again")))
    (one,) = shop.events("payment.late")
    assert ("usd", "did:x") == (one.currency, one.payer)


def test_another_sum(shop: Shop) -> None:
    """Its event is that of money that does not match, as a credential would have brought it; its refund is due."""
    one = attrs.evolve(LATE, amount=99, reason="unmatched")
    assert (200, "accepted") == told(shop.flo.webhook({}, b"x", provider=Scripted(one)))
    assert [] == shop.events("payment.late")
    (event,) = shop.events("payment.unmatched")
    assert ("p", 99, None) == (event.payment_id, event.amount, event.reason)
    assert [("p", 99)] == [(due.payment_id, due.amount) for due in shop.flo.refunds_due()]


def test_several_notices(shop: Shop) -> None:
    """One webhook may tell of several payments; their events have one request id."""
    both = Scripted(LATE, attrs.evolve(LATE, payment_id="q"), RefundedPayment(**MONEY, payment_id="r"))
    assert (200, "accepted") == told(shop.flo.webhook({}, b"x", provider=both))
    found = [*shop.events("payment.late"), *shop.events("payment.refunded")]
    assert ["p", "q", "r"] == [one.payment_id for one in found]
    assert 3 == len({one.id for one in found})
    assert 1 == len({one.request_id for one in found})


@pytest.mark.parametrize("code", ["duplicate", "not-configured"])
def test_other_answers(shop: Shop, code: str) -> None:
    """A provider may say that it knows the event, or that it lacks a setting."""
    status = 503 if code == "not-configured" else 200
    assert (status, code) == told(shop.flo.webhook({}, b"x", provider=Scripted(status=status, code=code)))


# --- wiring ----------------------------------------------------------------------------------------------------------


def test_a_provider_without_webhooks() -> None:
    """Refused where the receiver is made, not when the first webhook comes."""
    flo = flovia.Flovia(provider="mock", ledger="memory://", secret=SECRET)
    for provider in (None, "mock", MockProvider()):
        with pytest.raises(WiringError, match="'mock' has no webhooks"):
            flo.webhooks(provider=cast("WebhookProvider", provider))
    with pytest.raises(WiringError, match="say whose webhooks"):
        flovia.Flovia(ledger="memory://", secret=SECRET).webhooks()
    with pytest.raises(WiringError, match="no provider 'nobody'"):
        flo.webhooks(provider="nobody")


def test_the_receiver_names_its_provider(shop: Shop) -> None:
    """In its repr, and without a secret."""
    receiver = shop.flo.webhooks()
    assert "<WebhookReceiver of hookbank>" == repr(receiver)
    assert HookBankProvider.max_webhook == receiver.max_body


def test_nothing_secret_is_shown(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    """No body, signature, salt or key stands in a log, an answer or an event."""
    caplog.set_level(logging.DEBUG)
    payment = shop.bank.pay("late7", shop.challenge(), state="late")
    shop.bank.faults.append("503")
    body = event(payment)
    shown = [repr(shop.hook(payment)) for _ in range(2)]
    shown += [repr(shop.hook(payment, signature="test-signature")), repr(list(shop.ledger.read_events(limit=100)))]
    text = "".join(shown) + caplog.text
    for secret in (body.decode(), sign(body), "test-signature", "test-salt-of-the-bank", "test-key-of-the-bank"):
        assert secret not in text
    assert "webhook of hookbank: 200 accepted" in caplog.text


def test_what_another_http_method_gets() -> None:
    """It is told the right one."""
    response = listening.answer(405, "method-not-allowed")
    assert (405, "POST") == (response.status, dict(response.headers)["allow"])
