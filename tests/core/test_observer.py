"""The observer: it joins what another gate did, and withholds what no gate guarded."""

from collections.abc import Mapping

import pytest

import flovia
from flovia.core import exchange
from flovia.core.challenge import Challenge, format_challenge
from flovia.core.encoding import encode_param
from flovia.core.events import Event
from flovia.core.http import Headers
from flovia.core.observed import NOTHING, Seen
from flovia.core.observer import Observer
from flovia.core.receipt import Receipt, format_receipt
from flovia.testing.flows import drive
from tests.core.world import Shop, challenges, pay, problem, request

RECEIPT = format_receipt(Receipt(method="mock", timestamp="2030-01-01T00:00:00Z", reference="r1"))


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


def test_a_credential_that_cannot_be_read(seen: flovia.PaidApi, shop: Shop) -> None:
    """What a client sends is the handler's business: here it names no challenge, and the answer is judged as ever."""
    passage = seen.enter(request("Payment"))
    passage.start(200, flovia.Headers.of([("payment-receipt", RECEIPT)]))
    seen.leave(passage, completed=True)
    assert [None] * 3 == [event.challenge_id for _, event in shop.ledger.read_events()]


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


class _Reading:
    """A provider's own forms: everything stands for the charge ``c1``."""

    @staticmethod
    def challenge(params: Mapping[str, str]) -> Seen:
        """As in WWW-Authenticate."""
        return Seen(challenge_id="c1", amount=100, currency="sgd") if params.get("request") == "good" else NOTHING

    @staticmethod
    def credential(token: str) -> Seen:
        """The token."""
        return Seen(challenge_id="c1") if token == "good" else NOTHING

    @staticmethod
    def receipt(value: str) -> Seen:
        """The receipt."""
        return Seen(challenge_id="c1", payment_id="p1", amount=100, currency="sgd") if value == "good" else NOTHING


def _seen(status: int, headers: list[tuple[str, str]], token: str = "good") -> list[Event]:
    shop = Shop()
    guard = Observer(shop.flovia.observe(provider="mock").guard.services, provider="toy", reading=_Reading())
    passage = drive(guard.enter(request(f"Payment {token}")), [])
    passage.start(status, Headers.of(headers))
    drive(guard.leave(passage, True), [])
    return [event for _, event in shop.ledger.read_events(limit=100)]


def test_other_forms() -> None:
    """What a provider's own SDK writes joins the calls as well."""
    events = _seen(200, [("payment-receipt", "good")])
    assert ("c1", "p1", 100, "sgd") == _who(events, "paid_api.access_granted")
    events = _seen(402, [("www-authenticate", 'Payment method="toy", request="good"')], "bad")
    assert ("c1", None, 100, "sgd") == _who(events, "paid_api.challenge_issued")


def test_forms_that_nobody_can_read() -> None:
    """They name nothing, and the answer passes as it is."""
    events = _seen(200, [("payment-receipt", "bad")], "bad")
    assert (None, None, None, None) == _who(events, "paid_api.access_granted")
    for value in ('Payment method="toy", request="bad"', "Payment x"):
        assert "paid_api.challenge_issued" not in [
            event.type for event in _seen(402, [("www-authenticate", value)], "bad")
        ]


def _who(events: list[Event], type_: str) -> tuple[str | None, str | None, int | None, str | None]:
    (event,) = [event for event in events if event.type == type_]
    return event.challenge_id, event.payment_id, event.amount, event.currency
