"""Routes with several ways to pay, and the terms that a provider makes for each."""

import json

import pytest

import flovia
from flovia.core.challenge import parse_expires
from flovia.core.effects import Flow
from flovia.core.provider import Paid, Presented, Quote, Terms, Verdict, charge_request
from flovia.providers.mock import MockProvider
from tests.core.world import Shop, challenges, deliver, header, pay, problem, request


@pytest.fixture
def two(shop: Shop) -> flovia.PaidApi:
    """The mock under two methods, and in two currencies under the first."""
    return shop.flovia.paid_api(
        offers=[
            flovia.Offer(provider="mock", price="1.00 USD"),
            flovia.Offer(provider="mock", price="1.30 SGD"),
            flovia.Offer(provider=MockProvider(method="alt"), price="1.00 USD"),
        ]
    )


def test_every_offer_is_a_challenge(two: flovia.PaidApi) -> None:
    """Without Accept-Payment all offers are shown, in the route's order, each payable."""
    found = challenges(two.enter(request()).response)
    assert ["mock", "mock", "alt"] == [challenge.method for challenge in found]
    assert ["usd", "sgd", "usd"] == [challenge.request_json["currency"] for challenge in found]
    for number, challenge in enumerate(found):
        assert deliver(two, two.enter(request(pay(challenge, f"ok{number}")))).add


def test_s32_accept_payment(two: flovia.PaidApi) -> None:
    """Accept-Payment filters and orders; one that matches nothing shows everything (S32, S33)."""
    asked = {"accept-payment": "alt/charge, mock/charge;q=0.5"}
    assert "alt" == challenges(two.enter(request(headers=asked)).response)[0].method
    none = {"accept-payment": "card/charge"}
    assert 3 == len(challenges(two.enter(request(headers=none)).response))


def test_terms_of_a_live_quote(shop: Shop) -> None:
    """A provider that makes terms per request can shorten the expiry, add opaque members, headers and body."""

    class Quoting(MockProvider):
        def quote(self, quote: Quote) -> Flow[Terms]:
            yield from ()
            return Terms(
                request=charge_request(quote.price),
                opaque={"charge": "c1"},
                expires_at=quote.expires_at - 100,
                headers=(("x-checkout", "c1"),),
                body={"checkout": "c1", "title": "mine"},
            )

        def verify(self, presented: Presented) -> Flow[Verdict]:
            yield from ()
            assert {"charge": "c1"} == dict(presented.opaque)
            return Paid(
                reference="r-" + presented.nonce,
                amount=100,
                currency="usd",
                payer="p",
                receipt_extra={"jws": "test"},
                receipt_headers=(("mpp-receipt", "test"),),
            )

    gate = shop.flovia.paid_api(provider=Quoting(fixed_terms=False), price="1.00 USD")
    response = gate.enter(request()).response
    (challenge,) = challenges(response)
    assert shop.clock.now + 200 == parse_expires(challenge.expires or "")
    assert "c1" == header(response, "x-checkout")
    assert ("c1", "Payment required") == (
        json.loads(response.body)["checkout"],
        json.loads(response.body)["title"].replace("Required", "required"),
    )
    credential = pay(challenge)
    passage = gate.enter(request(credential))
    deliver(gate, passage, 500)
    again = gate.enter(request(credential))
    assert ("mpp-receipt", "test") in deliver(gate, again).add
    assert "p" == again.grant.payer


def test_terms_cannot_lengthen_the_life(shop: Shop) -> None:
    """A provider that wants a later expiry gets the gate's own."""

    class Long(MockProvider):
        def quote(self, quote: Quote) -> Flow[Terms]:
            yield from ()
            return Terms(request=charge_request(quote.price), expires_at=quote.expires_at + 1000)

    gate = shop.flovia.paid_api(provider=Long(fixed_terms=False), price="1.00 USD")
    (challenge,) = challenges(gate.enter(request()).response)
    assert shop.clock.now + 300 == parse_expires(challenge.expires or "")


def test_a_provider_that_lies_about_fixed_terms(shop: Shop) -> None:
    """fixed_terms with an effect in quote() is refused at start."""

    class Lying(MockProvider):
        def quote(self, quote: Quote) -> Flow[Terms]:
            from flovia.core.effects import token

            yield from token()
            return Terms(request=charge_request(quote.price))

    with pytest.raises(flovia.WiringError, match="fixed_terms"):
        shop.flovia.paid_api(provider=Lying(), price="1.00 USD")


def test_a_provider_that_is_down_when_asked_for_terms(shop: Shop) -> None:
    """No terms, no challenge: 503, never a 402 (S02)."""

    class Down(MockProvider):
        def quote(self, quote: Quote) -> Flow[Terms]:
            yield from ()
            raise flovia.HttpError("refused", sent=False)

    gate = shop.flovia.paid_api(provider=Down(fixed_terms=False), price="1.00 USD")
    response = gate.enter(request()).response
    assert (503, "provider-unavailable", []) == (response.status, problem(response), challenges(response))


@pytest.mark.parametrize("first", [True, False])
def test_a_price_that_rose_beside_a_fixed_one(shop: Shop, first: bool) -> None:
    """The currency says which offer was paid: a computed price is refused below today's, a fixed one is not."""
    price = {"now": "1.30 SGD"}
    offers = [
        flovia.Offer(provider="mock", price=lambda _: price["now"]),
        flovia.Offer(provider="mock", price="1.00 USD"),
    ]
    gate = shop.flovia.paid_api(offers=offers if first else offers[::-1])
    found = {challenge.request_json["currency"]: challenge for challenge in challenges(gate.enter(request()).response)}
    price["now"] = "2.00 SGD"
    assert "payment-insufficient" == problem(gate.enter(request(pay(found["sgd"], "ok-computed"))).response)
    assert gate.enter(request(pay(found["usd"], "ok-fixed"))).grant is not None
