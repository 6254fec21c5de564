"""The gate before anybody pays: who is asked for money, and how much."""

import logging

import pytest

import flovia
from flovia.core import exchange
from flovia.core.challenge import parse_expires
from flovia.providers.mock import MockProvider
from tests.core.world import Shop, challenges, header, pay, problem, request


def test_s01_every_402_has_a_fresh_challenge(paid: flovia.PaidApi) -> None:
    """Two unpaid requests get 402 with two different challenge ids and no-store (S01, S26)."""
    first, second = paid.enter(request()).response, paid.enter(request()).response
    assert {402} == {first.status, second.status}
    assert challenges(first)[0].id != challenges(second)[0].id
    assert "no-store" == header(first, "cache-control")
    assert "payment-required" == problem(first)


def test_challenge_says_what_to_pay(paid: flovia.PaidApi, shop: Shop) -> None:
    """The challenge carries realm, method, intent, base units, and an expiry 300 s away."""
    (challenge,) = challenges(paid.enter(request()).response)
    assert ("api.example.com", "mock", "charge") == (challenge.realm, challenge.method, challenge.intent)
    assert {"amount": "100", "currency": "usd"} == challenge.request_json
    assert shop.clock.now + 300 == parse_expires(challenge.expires or "")


def test_other_schemes_are_not_credentials(paid: flovia.PaidApi) -> None:
    """A Bearer token in Authorization leaves the request unpaid."""
    assert "payment-required" == problem(paid.enter(request("Bearer abc")).response)


def test_head_gets_what_get_would(paid: flovia.PaidApi) -> None:
    """HEAD gets the 402 without a body, and its challenge pays a GET; a credential on HEAD is not redeemed."""
    response = paid.enter(request(http_method="HEAD")).response
    assert (402, b"") == (response.status, response.body)
    credential = pay(challenges(response)[0])
    assert 402 == paid.enter(request(credential, http_method="HEAD")).response.status
    assert paid.enter(request(credential)).grant is not None


def test_options_passes_with_204(paid: flovia.PaidApi, shop: Shop) -> None:
    """OPTIONS is answered 204, without a challenge and without an event."""
    passage = paid.enter(request(http_method="OPTIONS"))
    assert (204, exchange.PASSED) == (passage.response.status, passage.state)
    assert [] == shop.events()


def test_s40_unpaid_requests_leave_no_payment(paid: flovia.PaidApi, shop: Shop) -> None:
    """A thousand unpaid requests store no payment (S40)."""
    for _ in range(1000):
        paid.enter(request())
    assert 0 == len(shop.ledger)


@pytest.mark.parametrize(
    ("about", "why"),
    [
        ({"headers": {"host": "api.example.com"}}, "Host"),
        ({"headers": {"host": "localhost.evil.example"}}, "Host"),
        ({"headers": {"x-forwarded-host": "localhost"}}, "proxy"),
        ({"headers": {"forwarded": "for=1.2.3.4"}}, "proxy"),
        ({"client": "10.0.0.7"}, "peer"),
        ({"server": "192.0.2.1"}, "bind"),
    ],
)
def test_s36_strangers_get_no_challenge(paid: flovia.PaidApi, about: dict[str, object], why: str) -> None:
    """Without a public origin whoever is not on this machine gets 400 and no challenge (S36)."""
    response = paid.enter(request(**about)).response
    assert (400, []) == (response.status, challenges(response)), why


def test_public_origin_serves_everybody(shop: Shop) -> None:
    """With an https origin any Host is served, and the realm is not taken from it (S12)."""
    gate = shop.open(public_origin="https://shop.example").paid_api(provider="mock", price="1.00 USD")
    response = gate.enter(request(headers={"host": "evil.example"}, client="203.0.113.9")).response
    assert "api.example.com" == challenges(response)[0].realm


def test_a_failing_price_function_is_not_free(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    """A price function that raises or returns None ends in 500 without a challenge, and is logged."""

    def raises(_: flovia.HttpRequest) -> str:
        raise RuntimeError("database")

    for price in (raises, lambda _: None, lambda _: "free", lambda _: 7):
        response = shop.open().paid_api(provider="mock", price=price).enter(request()).response
        assert (500, []) == (response.status, challenges(response))
    assert "internal-payment-error" == problem(response)
    assert any(record.levelno == logging.ERROR for record in caplog.records)


def test_the_apps_own_functions_may_fail(shop: Shop) -> None:
    """client_of and use_payment_authorization that raise end in 500 without a challenge, never in an exception."""

    def raises(_: flovia.HttpRequest) -> bool:
        raise LookupError

    limited = shop.open(limit="challenges=9/s", client_of=raises).paid_api(provider="mock", price="1.00 USD")
    selecting = shop.flovia.paid_api(provider="mock", price="1.00 USD", use_payment_authorization=raises)
    for gate in (limited, selecting):
        response = gate.enter(request()).response
        assert (500, []) == (response.status, challenges(response))


def test_too_long_a_challenge_is_refused(shop: Shop) -> None:
    """A challenge over 4 KB is not sent (S34)."""
    gate = shop.flovia.paid_api(provider=MockProvider(recipient="x" * 4000), price="1.00 USD")
    assert 500 == gate.enter(request()).response.status


def test_a_mebibyte_of_body_is_read(paid: flovia.PaidApi) -> None:
    """Unless the route says otherwise, which is what an adapter goes by."""
    assert (True, 1048576) == (paid.reads_body, paid.max_body)


def test_limits_answer_429(shop: Shop) -> None:
    """Over the limit a client waits; another one does not (S47)."""
    gate = shop.open(limit=flovia.Limit(challenges="2/min")).paid_api(provider="mock", price="1.00 USD")
    statuses = [gate.enter(request()).response.status for _ in range(3)]
    assert [402, 402, 429] == statuses
    assert 402 == gate.enter(request(client="127.0.0.2")).response.status


def test_limits_verifications_too(shop: Shop) -> None:
    """Presenting credentials is limited before anything is parsed (S47)."""
    gate = shop.open(limit=flovia.Limit(verifications="1/min")).paid_api(provider="mock", price="1.00 USD")
    assert 402 == gate.enter(request("Payment abcd")).response.status
    response = gate.enter(request("Payment abcd")).response
    assert (429, "60") == (response.status, header(response, "retry-after"))
