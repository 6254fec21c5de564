"""The observer: it joins what another gate did, and withholds what no gate guarded."""

import pytest

import flovia
from flovia.core import exchange
from flovia.core.challenge import Challenge, format_challenge
from flovia.core.encoding import encode_param
from flovia.core.receipt import Receipt, format_receipt
from tests.core.world import Shop, challenges, pay, problem, request

RECEIPT = format_receipt(Receipt(method="mock", timestamp="2030-01-01T00:00:00Z", reference="r1"))


@pytest.fixture
def shop() -> Shop:
    """A shop of its own for every test."""
    return Shop()


@pytest.fixture
def seen(shop: Shop) -> flovia.PaidApi:
    """An observer: the line without a price."""
    return shop.flovia.paid_api(provider="hitpay", rail="mpp")


def test_no_price_means_observer(seen: flovia.PaidApi) -> None:
    """Without a price the original line watches, reads no body and needs no secret."""
    assert (True, False, 0) == (seen.observes, seen.reads_body, seen.max_body)
    assert flovia.Flovia(ledger=Shop().ledger).observe(provider="hitpay").observes


@pytest.mark.parametrize("field", ["payment-receipt", "mpp-receipt"])
def test_a_paid_answer_passes(seen: flovia.PaidApi, shop: Shop, field: str) -> None:
    """A 2xx with a receipt in the protocol's or the provider's own field passes as it is."""
    passage = seen.enter(request())
    assert flovia.Start() == passage.start(200, flovia.Headers.of([(field, RECEIPT)]))
    seen.leave(passage, completed=True)
    assert exchange.DELIVERED == passage.state
    assert ["paid_api.request_started", "paid_api.access_granted", "paid_api.request_completed"] == shop.events()
    assert "r1" == shop.ledger.read_events()[1][1].payment_id


def test_an_unguarded_answer_is_withheld(seen: flovia.PaidApi, shop: Shop) -> None:
    """A 2xx without a receipt becomes 500: a route that lost its gate is not free."""
    passage = seen.enter(request())
    replaced = passage.start(200, flovia.Headers.of([])).replace
    assert (500, "internal-payment-error") == (replaced.status, problem(replaced))
    seen.leave(passage, completed=True)
    assert (exchange.WITHHELD, "paid_api.request_failed") == (passage.state, shop.events()[-1])


@pytest.mark.parametrize(
    ("http_method", "status"), [("GET", 302), ("GET", 402), ("GET", 404), ("GET", 500), ("HEAD", 200), ("OPTIONS", 204)]
)
def test_everything_else_passes(seen: flovia.PaidApi, http_method: str, status: int) -> None:
    """Redirects, errors, HEAD and OPTIONS pass as they are."""
    passage = seen.enter(request(http_method=http_method))
    assert passage.start(status, flovia.Headers.of([])).replace is None
    seen.leave(passage, completed=True)


def test_the_join_key_is_read_from_both_sides(seen: flovia.PaidApi, shop: Shop) -> None:
    """The challenge id of the handler's 402 and of the client's credential reach the events."""
    own = Shop().flovia.paid_api(provider="mock", price="1.00 USD")
    response = own.enter(request()).response
    first = seen.enter(request())
    first.start(402, flovia.Headers.of(response.headers))
    seen.leave(first, completed=True)
    (challenge,) = challenges(response)
    second = seen.enter(request(pay(challenge, source="did:x")))
    second.start(200, flovia.Headers.of([("mpp-receipt", "not.a.receipt")]))
    seen.leave(second, completed=True)
    events = [event for _, event in shop.ledger.read_events()]
    assert {challenge.id} == {event.challenge_id for event in events if event.type != "paid_api.request_started"}
    assert "did:x" == events[-1].payer
    (issued,) = (event for event in events if event.type == "paid_api.challenge_issued")
    assert (100, "usd", None) == (issued.amount, issued.currency, issued.recipient)


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        ({"amount": "7", "currency": "sgd", "recipient": "acme"}, (7, "sgd", "acme")),
        ({"amount": "7", "currency": 1, "recipient": 2}, (7, None, None)),
        ({"amount": 7, "currency": "sgd"}, (None, None, None)),
        ({}, (None, None, None)),
    ],
)
def test_what_a_foreign_gate_asks_for(
    seen: flovia.PaidApi, shop: Shop, request_: dict[str, object], expected: tuple[object, ...]
) -> None:
    """Amount, currency and recipient of the handler's challenge reach the event, as far as they are sound."""
    challenge = Challenge(id="c1", realm="r", method="mock", intent="charge", request=encode_param(request_))
    passage = seen.enter(request())
    passage.start(402, flovia.Headers.of([("www-authenticate", format_challenge(challenge))]))
    seen.leave(passage, completed=True)
    event = shop.ledger.read_events()[1][1]
    assert expected == (event.amount, event.currency, event.recipient)


@pytest.mark.parametrize("field", ["Payment !!!", "Payment a, Payment b", 'Payment x="'])
def test_garbage_is_the_handlers_business(seen: flovia.PaidApi, field: str) -> None:
    """A malformed credential or challenge is noted as nothing and passed on."""
    passage = seen.enter(request(field))
    passage.start(402, flovia.Headers.of([("www-authenticate", field)]))
    seen.leave(passage, completed=True)


def test_a_broken_stream_and_a_raising_handler_are_failures(seen: flovia.PaidApi, shop: Shop) -> None:
    """What did not reach the client is recorded as failed."""
    broken = seen.enter(request())
    broken.start(200, flovia.Headers.of([("payment-receipt", RECEIPT)]))
    seen.leave(broken, completed=False)
    raising = seen.enter(request())
    assert 500 == raising.raised().status
    seen.leave(raising, completed=False)
    silent = seen.enter(request())
    seen.renew(silent)
    seen.leave(silent, completed=False)
    assert [exchange.FAILED] * 3 == [broken.state, raising.state, silent.state]
    with pytest.raises(flovia.CallerError):
        seen.leave(silent, completed=False)
