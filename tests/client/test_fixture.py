"""The client against flovia's own gates, on every adapter over a real server."""

import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from flovia.client import (
    Budget,
    BudgetExceeded,
    MockWallet,
    OutcomeUnknown,
    PaymentRefused,
    Policy,
    PolicyViolation,
)
from flovia.testing.fixture import ADAPTERS, WSGI_ADAPTERS, serve
from tests.client.agent import PATIENT_S, Agent, Reply


@pytest.fixture(scope="module", params=ADAPTERS)
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The fixture app on each adapter. (wsgiref speaks HTTP/1.0, where a stream that breaks off looks complete.)"""
    adapter = str(request.param)
    with serve(adapter, server="waitress" if adapter in WSGI_ADAPTERS else None) as url:
        yield url


@pytest.fixture(params=["httpx", "httpx2-trio"])
def agent(request: pytest.FixtureRequest, tmp_path: Path) -> Agent:
    """A blocking and an async agent with dollars to spend."""
    return Agent(str(request.param), tmp_path, budget=Budget("10.00 USD"), policy=Policy(max_tries=1))


def settlements(url: str) -> int:
    """How many payments the server took."""
    return int(httpx.get(f"{url}/__fixture__/counters", trust_env=False, timeout=PATIENT_S).json()["settlements"])


def test_pays_every_kind_of_route(agent: Agent, url: str) -> None:
    """Paths, queries, bodies, several offers, streams and odd descriptions: one payment each, with a receipt."""
    before = settlements(url)
    routes = ["/paid", "/search?q=a%20b", "/items/7", "/two", "/returns-dict", "/unicode-description", "/stream"]
    for route in routes:
        reply = agent.get(url + route)
        assert reply.payment is not None, reply
        assert (200, None) == (reply.status, reply.payment.receipt_problem)
    body = b'{"n": [1, 2]}'
    echoed = agent.send("POST", f"{url}/echo", content=body, headers={"Content-Type": "application/json"})
    assert (200, body) == (echoed.status, echoed.body)
    assert before + 8 == settlements(url)
    assert (8, 800, []) == (agent.payments, agent.budget.spent(), agent.pending.references())


def test_more_than_the_budget_is_not_paid(agent: Agent, url: str) -> None:
    """50.00 of a budget of 10.00: nothing moves on either side."""
    before = settlements(url)
    with pytest.raises(BudgetExceeded):
        agent.get(f"{url}/premium")
    assert (before, 0, 0) == (settlements(url), agent.payments, agent.budget.spent())


def resume_soon(agent: Agent, reference: str) -> Reply:
    """Resume; some servers record a failed delivery just after its last byte, and this agent asks only once (409)."""
    give_up = time.monotonic() + PATIENT_S
    while True:
        try:
            return agent.resume(reference)
        except OutcomeUnknown as error:
            if error.problem != "in-flight" or time.monotonic() > give_up:
                raise
            time.sleep(0.05)


def test_a_view_that_fails_once_is_redeemed(agent: Agent, url: str) -> None:
    """The view raised after payment: the same credential brings the answer, with one payment in all."""
    httpx.post(f"{url}/__fixture__/reset", trust_env=False, timeout=PATIENT_S)
    with pytest.raises(OutcomeUnknown) as caught:
        agent.get(f"{url}/raise-once")
    assert caught.value.reference is not None
    reply = resume_soon(agent, caught.value.reference)
    assert reply.payment is not None
    assert (200, None, True) == (reply.status, reply.payment.receipt_problem, reply.payment.resumed)
    assert (1, 1, []) == (settlements(url), agent.payments, agent.pending.references())
    again = agent.get(f"{url}/paid")
    assert again.payment is not None
    assert reply.payment.receipt != again.payment.receipt


def test_a_stream_that_breaks_is_not_delivered(agent: Agent, url: str) -> None:
    """Half an answer is no answer: the credential is kept, and the next try is the same payment."""
    before = settlements(url)
    with pytest.raises(OutcomeUnknown) as caught:
        agent.get(f"{url}/stream-fails")
    assert caught.value.reference is not None
    with pytest.raises(OutcomeUnknown) as again:
        resume_soon(agent, caught.value.reference)
    assert (None, None) == (again.value.status, again.value.problem), "it broke off, as the first time"
    assert (before + 1, 1) == (settlements(url), agent.payments)


@pytest.mark.parametrize("status", [404, 422])
def test_the_views_own_error_is_handed_on(agent: Agent, url: str, status: int) -> None:
    """An error of the view is for the program; the payment stays redeemable under its reference."""
    reply = agent.get(f"{url}/err/{status}")
    assert reply.payment is not None
    assert (status, [reply.payment.reference]) == (reply.status, agent.pending.references())


def test_a_declined_payment_is_refused(agent: Agent, url: str) -> None:
    """The provider says not paid: PaymentRefused with the problem type."""
    agent.wallet = MockWallet("declined")
    with pytest.raises(PaymentRefused) as caught:
        agent.get(f"{url}/paid")
    assert "verification-failed" == caught.value.problem


@pytest.mark.parametrize(("proof", "status"), [("pending", 402), ("unknown", 503)])
def test_later_is_not_a_refusal(agent: Agent, url: str, proof: str, status: int) -> None:
    """Pending and unknown payments end in an unknown outcome once patience is over, never in another payment."""
    agent.wallet = MockWallet(proof)
    with pytest.raises(OutcomeUnknown) as caught:
        agent.get(f"{url}/paid")
    assert status == caught.value.status
    assert [caught.value.reference] == agent.pending.references()
    assert 1 == agent.payments


def test_the_same_proof_does_not_pay_twice(agent: Agent, url: str) -> None:
    """H02: a wallet that presents an old proof is refused by the server."""
    agent.wallet = MockWallet(payload={"proof": f"ok-test-{uuid4()}"})
    assert 200 == agent.get(f"{url}/paid").status
    with pytest.raises(PaymentRefused):
        agent.get(f"{url}/paid")


def test_authentication_of_the_app_stays_beside_the_payment(agent: Agent, url: str) -> None:
    """C10: the app's login in Authorization, the credential in Payment-Authorization; or the login elsewhere."""
    for login in ({"Authorization": "Bearer good"}, {"X-Api-Key": "good"}):
        reply = agent.get(f"{url}/auth-and-paid", login)
        assert (200, True) == (reply.status, reply.payment is not None)
    with pytest.raises(PolicyViolation) as caught:
        agent.get(f"{url}/paid", {"Authorization": "Bearer good"})
    assert "authorization" == caught.value.rule
    assert 401 == agent.get(f"{url}/auth-and-paid").status
