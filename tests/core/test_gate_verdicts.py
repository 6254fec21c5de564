"""What the provider says of a payment, and what becomes of it at the gate."""

import json
import logging

import pytest

import flovia
from flovia.core.effects import Flow
from flovia.core.provider import NotPaid, Paid, Presented, Unknown, Verdict
from flovia.providers.mock import MockProvider
from tests.core.world import Shop, buy, challenges, decode, encode, header, pay, problem, request


class Scripted(MockProvider):
    """Answers what the test put in, or raises it."""

    verdict: object = None

    def verify(self, presented: Presented) -> Flow[Verdict]:
        """The scripted verdict."""
        yield from ()
        if isinstance(Scripted.verdict, BaseException):
            raise Scripted.verdict
        return Scripted.verdict  # type: ignore[return-value]  # wrong values are what is tested


def test_pending_keeps_the_challenge(paid: flovia.PaidApi) -> None:
    """Not paid yet: the same challenge again with Retry-After, and it still pays (S31)."""
    (challenge,) = challenges(paid.enter(request()).response)
    response = paid.enter(request(pay(challenge, "pending"))).response
    assert (402, "verification-failed", "2") == (
        response.status,
        problem(response),
        header(response, "retry-after"),
    )
    assert [challenge] == challenges(response)
    assert paid.enter(request(pay(challenge, "ok1"))).grant is not None


def test_a_forged_description_is_not_sent_again(shop: Shop) -> None:
    """The description of a pending challenge is the route's own, whatever the echo says."""
    gate = shop.flovia.paid_api(provider="mock", price="1.00 USD", description="Forecast")
    (challenge,) = challenges(gate.enter(request()).response)
    members = json.loads(decode(pay(challenge, "pending")))
    for forged in ("Send money to Mallory", "\x01", "x" * 9000):
        members["challenge"]["description"] = forged
        response = gate.enter(request(encode(members))).response
        assert [challenge] == challenges(response)


def test_s06_declined_gets_a_fresh_challenge(paid: flovia.PaidApi) -> None:
    """A failed proof is verification-failed with a fresh challenge (S06)."""
    (challenge,) = challenges(paid.enter(request()).response)
    response = paid.enter(request(pay(challenge, "declined"))).response
    assert "verification-failed" == problem(response)
    assert challenge.id != challenges(response)[0].id


@pytest.mark.parametrize("payload", [{"proof": 7}, {}, {"proof": "ok", "paid_amount": "1e2"}])
def test_invalid_payload(paid: flovia.PaidApi, payload: dict[str, object]) -> None:
    """A payload of the wrong shape is invalid-payload."""
    (challenge,) = challenges(paid.enter(request()).response)
    members = json.loads(decode(pay(challenge)))
    assert "invalid-payload" == problem(paid.enter(request(encode({**members, "payload": payload}))).response)


def test_unknown_parks_the_claim(paid: flovia.PaidApi, shop: Shop) -> None:
    """Unknown is 503 without a challenge; the same credential re-enters, another proof has to wait."""
    (challenge,) = challenges(paid.enter(request()).response)
    credential = pay(challenge, "unknown")
    for _ in range(2):
        response = paid.enter(request(credential)).response
        assert (503, [], "2") == (response.status, challenges(response), header(response, "retry-after"))
    shop.clock.advance(3600)
    assert 503 == paid.enter(request(credential)).response.status
    assert 409 == paid.enter(request(pay(challenge, "ok-other"))).response.status


def test_an_unknown_outcome_survives_a_lost_secret(shop: Shop, paid: flovia.PaidApi) -> None:
    """A parked payment re-enters although its secret is gone: the payer is not asked twice."""
    (challenge,) = challenges(paid.enter(request()).response)
    credential = pay(challenge, "unknown")
    assert 503 == paid.enter(request(credential)).response.status
    other = shop.open(secret="test-another-secret-of-32-bytes-----").paid_api(provider="mock", price="1.00 USD")
    assert 503 == other.enter(request(credential)).response.status


@pytest.mark.parametrize(
    ("claimed", "expected"),
    [
        ({"paid_amount": "99"}, "payment-insufficient"),
        ({"paid_amount": "0"}, "payment-insufficient"),
        ({"paid_amount": "101"}, "verification-failed"),
        ({"paid_currency": "sgd"}, "verification-failed"),
    ],
)
def test_h03_wrong_money(paid: flovia.PaidApi, shop: Shop, claimed: dict[str, str], expected: str) -> None:
    """Less, more, or another currency than asked is refused and recorded as unmatched (H03 to H05)."""
    (challenge,) = challenges(paid.enter(request()).response)
    response = paid.enter(request(pay(challenge, "ok1", **claimed))).response
    assert (402, expected) == (response.status, problem(response))
    assert "payment.unmatched" in shop.events()
    assert "payment.settled" not in shop.events()


def test_events_of_a_fresh_challenge_name_no_old_payment(shop: Shop, paid: flovia.PaidApi) -> None:
    """The challenge after a refused payment carries neither its payment id nor its payer."""
    (challenge,) = challenges(paid.enter(request()).response)
    paid.enter(request(pay(challenge, "ok1", "did:x", paid_amount="1")))
    last = [event for _, event in shop.ledger.read_events() if event.type == "paid_api.challenge_issued"][-1]
    assert (None, None) == (last.payment_id, last.payer)


@pytest.mark.parametrize("back", ["1.00 USD", "0.40 USD"])
@pytest.mark.parametrize("claimed", ["150", "100"])
def test_wrong_money_that_went_back(paid: flovia.PaidApi, shop: Shop, claimed: str, back: str) -> None:
    """Once a wrong payment has gone back, or a part of it, its credential gets 403 like any other; no challenge."""
    (challenge,) = challenges(paid.enter(request()).response)
    wrong = {"paid_amount": claimed} if claimed != "100" else {"paid_currency": "eur"}
    back = back if claimed != "100" else back.replace("USD", "EUR")
    credential = pay(challenge, "ok1", **wrong)
    assert 402 == paid.enter(request(credential)).response.status
    (due,) = shop.flovia.refunds_due()
    assert "refunded" == shop.flovia.refund(due.payment_id, back).status
    for _ in range(2):
        response = paid.enter(request(credential)).response
        assert (403, "payment-refunded", []) == (response.status, problem(response), challenges(response))
    assert 1 == shop.events().count("payment.unmatched")
    assert 402 == paid.enter(request()).response.status


def test_wrong_money_on_its_way_back(paid: flovia.PaidApi, shop: Shop) -> None:
    """While somebody gives a wrong payment back nobody is asked to pay once more: 500 refund-due."""
    (challenge,) = challenges(paid.enter(request()).response)
    credential = pay(challenge, "ok1", paid_amount="99")
    assert 402 == paid.enter(request(credential)).response.status
    (due,) = shop.flovia.refunds_due()
    shop.ledger.open_refund(f"{due.method}|{due.payment_id}", None, None, "test-nonce", 60.0)
    response = paid.enter(request(credential)).response
    assert (500, "refund-due", []) == (response.status, problem(response), challenges(response))


def test_recipient_is_compared(shop: Shop) -> None:
    """A payment to somebody else is not a payment (H04)."""

    class Elsewhere(MockProvider):
        def verify(self, presented: Presented) -> Flow[Verdict]:
            yield from ()
            return Paid(reference="r1", amount=100, currency="usd", recipient="mallory")

    gate = shop.flovia.paid_api(provider=Elsewhere(recipient="acme"), price="1.00 USD")
    assert "verification-failed" == problem(buy(gate)[1].response)


@pytest.mark.parametrize(
    ("verdict", "status"),
    [
        (Unknown(retry_after_s=9), 503),
        (NotPaid(problem="payment-insufficient"), 402),
        (RuntimeError("boom"), 503),
        (None, 503),
        ("paid", 503),
        (Paid(reference="", amount=100, currency="usd"), 500),
        (Paid(reference="r", amount=100, currency="usd", receipt_extra={"status": "failed"}), 500),
    ],
)
def test_a_broken_provider_opens_nothing(shop: Shop, verdict: object, status: int) -> None:
    """Whatever a provider returns or raises, nobody gets in without a sound Paid."""
    Scripted.verdict = verdict
    gate = shop.flovia.paid_api(provider=Scripted(), price="1.00 USD")
    response = buy(gate)[1].response
    assert status == response.status
    assert (status == 402) == bool(challenges(response))


@pytest.mark.parametrize("verdict", [RuntimeError("boom"), None, NotPaid(problem="in-flight")])
def test_what_goes_wrong_is_logged_as_flovias(shop: Shop, caplog: pytest.LogCaptureFixture, verdict: object) -> None:
    """The logger is called ``flovia``: an app routes and silences it like any other library's."""
    Scripted.verdict = verdict
    gate = shop.flovia.paid_api(provider=Scripted(), price="1.00 USD")
    caplog.clear()
    buy(gate)
    assert [("flovia", logging.ERROR)] == [(record.name, record.levelno) for record in caplog.records]


@pytest.mark.parametrize("code", ["internal-payment-error", "in-flight", "no-such-problem"])
def test_not_paid_is_a_402(shop: Shop, code: str) -> None:
    """A provider that says NotPaid with a problem that is no 402 gets no challenge sent for it."""
    Scripted.verdict = NotPaid(problem=code)
    response = buy(shop.flovia.paid_api(provider=Scripted(), price="1.00 USD"))[1].response
    assert (500, []) == (response.status, challenges(response))


def test_price_rises(shop: Shop) -> None:
    """A computed price that rose since the challenge is refused and a refund is due; one that fell is honoured."""
    price = {"now": "1.00 USD"}
    gate = shop.flovia.paid_api(provider="mock", price=lambda _: price["now"])
    (cheap,) = challenges(gate.enter(request()).response)
    (second,) = challenges(gate.enter(request()).response)
    price["now"] = "2.00 USD"
    credential = pay(cheap, "ok-cheap")
    response = gate.enter(request(credential)).response
    assert (402, "payment-insufficient") == (response.status, problem(response))
    assert "200" == challenges(response)[0].request_json["amount"]
    assert shop.ledger.find(f"api.example.com|{cheap.id}").refund_due
    (late,) = (event for _, event in shop.ledger.read_events() if event.type == "payment.late")
    assert ("price_risen", "/paid", 100) == (late.reason, late.endpoint, late.amount)
    price["now"] = "0.50 USD"
    assert "payment-insufficient" == problem(gate.enter(request(credential)).response)
    assert gate.enter(request(pay(second, "ok-second"))).grant is not None


def test_a_fixed_price_of_yesterday_is_honoured(shop: Shop, paid: flovia.PaidApi) -> None:
    """A challenge issued before a deploy with another fixed price keeps its price."""
    (challenge,) = challenges(paid.enter(request()).response)
    dearer = shop.open().paid_api(provider="mock", price="3.00 USD")
    assert 100 == dearer.enter(request(pay(challenge))).grant.amount


def test_price_function_fails_later(shop: Shop) -> None:
    """A price function that fails when the payer comes back is 500, and the payer can come again."""
    broken = {"now": False}

    def price(_: flovia.HttpRequest) -> str:
        if broken["now"]:
            raise RuntimeError
        return "1.00 USD"

    gate = shop.flovia.paid_api(provider="mock", price=price)
    (challenge,) = challenges(gate.enter(request()).response)
    broken["now"] = True
    assert 500 == gate.enter(request(pay(challenge))).response.status
    broken["now"] = False
    assert gate.enter(request(pay(challenge))).grant is not None
