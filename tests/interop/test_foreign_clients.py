"""pympp's httpx client and mppx's fetch, which have never heard of flovia, buy from every adapter."""

import json
from hashlib import sha256
from typing import cast

import pytest

from flovia.core.credential import parse_credential
from flovia.core.fields import digest_matches
from flovia.core.receipt import parse_receipt
from tests.interop.agents import Agent, Answer, Interlude
from tests.interop.storefront import Storefront

FOO = {"foo": "bar"}


def assert_bought(answer: Answer) -> None:
    """The last credential was taken, and its receipt says so, to the client's parser as to ours (S23, S25, S27)."""
    assert 200 == answer.status, answer.body
    receipt = parse_receipt(answer.headers["payment-receipt"])
    credential = parse_credential(answer.credentials[-1])
    proof = cast(str, credential.payload["proof"])
    assert "mock_" + sha256(proof.encode()).hexdigest()[:32] == receipt.reference
    assert answer.receipt is not None
    for member in ("status", "method", "timestamp", "reference"):
        assert getattr(receipt, member) == answer.receipt[member]
    assert "private" in answer.headers["cache-control"]


def test_buys_once(storefront: Storefront, agent: Agent) -> None:
    """402, payment, answer with a receipt: one settlement and one delivery (S01, S23, S42)."""
    answer = agent.fetch(f"{storefront.url}/paid")
    assert_bought(answer)
    assert FOO == json.loads(answer.body)
    assert 1 == len(answer.credentials)
    assert (1, 1, 1) == storefront.counters()


def test_the_same_credential_never_buys_twice(storefront: Storefront, agent: Agent) -> None:
    """After the delivery the credential is worth nothing: 402 ``invalid-challenge``, view not called (S04, S44)."""
    bought = agent.fetch(f"{storefront.url}/paid")
    storefront.at_rest()
    again = storefront.get("/paid", authorization=bought.credentials[0])
    assert 402 == again.status_code
    assert again.json()["type"].endswith("/invalid-challenge")
    assert (1, 1, 1) == storefront.counters()


def test_path_and_query_arrive(storefront: Storefront, agent: Agent) -> None:
    """What is part of the scope reaches the view: a path parameter, and a query outside ASCII (C03)."""
    item = agent.fetch(f"{storefront.url}/items/7")
    assert_bought(item)
    assert b"7" in item.body
    search = agent.fetch(f"{storefront.url}/search?q=K%C3%A4se%20%F0%9F%A7%80&n=1")
    assert_bought(search)
    assert "Käse 🧀" == json.loads(search.body)["q"]


def test_a_posted_body_is_bound_and_arrives(storefront: Storefront, agent: Agent) -> None:
    """The challenge carries the body's digest, the client sends the same body again, the view gets it (S15, C05)."""
    body = "äpfel 🍎" * 1000
    answer = agent.fetch(f"{storefront.url}/echo", http_method="POST", body=body)
    assert_bought(answer)
    assert body.encode() == answer.body
    assert digest_matches(cast(str, answer.challenges[0]["digest"]), sha256(body.encode()).digest())


def test_a_posted_order_is_placed_once(storefront: Storefront, agent: Agent) -> None:
    """One side effect for one payment (S40)."""
    assert_bought(agent.fetch(f"{storefront.url}/order", http_method="POST", body="{}"))
    assert (1, 1, 1) == storefront.counters()


@pytest.mark.parametrize("method", ["mock", "alt"])
def test_one_of_two_offers(storefront: Storefront, agent: Agent, method: str) -> None:
    """A client with a wallet for one of two offers sees and pays that one (S32, C08)."""
    answer = agent.fetch(f"{storefront.url}/two", methods=[method])
    assert_bought(answer)
    assert answer.receipt is not None
    assert method == answer.receipt["method"]
    assert [method] == [challenge["method"] for challenge in answer.challenges]


def test_two_offers_and_two_wallets(storefront: Storefront, agent: Agent) -> None:
    """With wallets for both, equally liked, the server's first offer is paid, once (S33, C08)."""
    answer = agent.fetch(f"{storefront.url}/two", methods=["alt", "mock"])
    assert_bought(answer)
    assert ["mock"] == [challenge["method"] for challenge in answer.challenges]
    assert 1 == storefront.counters()[0]


@pytest.mark.parametrize("path", ["/unicode-description", "/long-description"])
def test_descriptions(storefront: Storefront, agent: Agent, path: str) -> None:
    """Descriptions outside ASCII, with quotes, and very long ones neither break the 402 nor the echo (S34)."""
    answer = agent.fetch(f"{storefront.url}{path}")
    assert_bought(answer)
    assert cast(str, answer.challenges[0]["description"]).isascii()


def test_a_failed_delivery_is_redeemed(storefront: Storefront, agent: Agent) -> None:
    """The view fails after the payment; the same credential then gets the answer, and nothing is paid twice."""
    failed = agent.fetch(f"{storefront.url}/raise-once")
    assert 500 == failed.status
    assert failed.receipt is None
    assert 1 == len(failed.credentials)
    storefront.at_rest()
    redeemed = agent.fetch(f"{storefront.url}/raise-once", headers={"Authorization": failed.credentials[0]})
    assert (200, FOO) == (redeemed.status, json.loads(redeemed.body))
    assert redeemed.receipt is not None
    assert [] == redeemed.credentials
    assert (1, 1, 2) == storefront.counters()


def test_an_expired_challenge_is_answered_with_a_fresh_one(storefront: Storefront, agent: Agent) -> None:
    """The challenge expires between 402 and credential: the client gets a fresh one, pays it, and is served (S05)."""
    interlude = Interlude(url=f"{storefront.url}/__fixture__/clock", body='{"advance_s": 300}')
    answer = agent.fetch(f"{storefront.url}/paid", interlude=interlude)
    assert_bought(answer)
    assert 2 == len(answer.credentials)
    assert 2 == len(set(answer.challenge_ids))
    assert (1, 1, 1) == storefront.counters()


def test_an_expired_credential_that_was_paid_is_still_redeemed(storefront: Storefront, agent: Agent) -> None:
    """Expiry gates the payment, not the delivery: a paid credential gets its answer after the challenge's time."""
    failed = agent.fetch(f"{storefront.url}/raise-once")
    storefront.at_rest()
    storefront.control("POST", "clock", {"advance_s": 3600})
    redeemed = agent.fetch(f"{storefront.url}/raise-once", headers={"Authorization": failed.credentials[0]})
    assert (200, []) == (redeemed.status, redeemed.credentials)


def test_a_credential_that_was_not_presented_in_time(storefront: Storefront, agent: Agent) -> None:
    """A client that kept an unpaid credential too long and sends it again pays a fresh challenge instead (S05)."""
    unpaid = agent.fetch(f"{storefront.url}/paid", proof="declined")
    assert 402 == unpaid.status
    storefront.control("POST", "clock", {"advance_s": 300})
    answer = agent.fetch(f"{storefront.url}/paid", headers={"Authorization": unpaid.credentials[0]})
    if answer.status == 402:
        # pympp leaves a request alone that comes with a credential; the caller asks again without.
        assert json.loads(answer.body)["type"].endswith("/payment-expired")
        answer = agent.fetch(f"{storefront.url}/paid")
    assert_bought(answer)


def test_a_declined_proof_is_never_served(storefront: Storefront, agent: Agent) -> None:
    """However often the client tries: 402, fresh challenges, nothing settled, view not called (S06)."""
    answer = agent.fetch(f"{storefront.url}/paid", proof="declined")
    assert 402 == answer.status
    assert json.loads(answer.body)["type"].endswith("/verification-failed")
    assert len(answer.challenges) == len(set(answer.challenge_ids))
    assert (0, 0, 0) == storefront.counters()


def test_an_unknown_outcome_asks_for_no_second_payment(storefront: Storefront, agent: Agent) -> None:
    """503 without a challenge stops both clients after one credential (S31)."""
    answer = agent.fetch(f"{storefront.url}/paid", proof="unknown")
    assert 503 == answer.status
    assert "www-authenticate" not in answer.headers
    assert 1 == len(answer.credentials)


def test_the_apps_own_login(storefront: Storefront, agent: Agent) -> None:
    """Where the app's login is in ``Authorization``, both clients put the credential beside it (S21, S22)."""
    answer = agent.fetch(f"{storefront.url}/auth-and-paid", headers={"Authorization": "Bearer good"})
    assert_bought(answer)
    assert "Payment-Authorization" == answer.challenges[0]["header"]


def test_a_stream_arrives_whole(storefront: Storefront, agent: Agent) -> None:
    """A streamed answer is bought like any other."""
    answer = agent.fetch(f"{storefront.url}/stream")
    assert_bought(answer)
    assert 5 == answer.body.count(b"chunk")


@pytest.mark.parametrize(("path", "status"), [("/deny", 403), ("/err/404", 404), ("/status/301", 301)])
def test_other_answers_have_no_receipt(storefront: Storefront, agent: Agent, path: str, status: int) -> None:
    """A view that refuses, or redirects, after the payment is passed on without a receipt or challenge (S07, S24)."""
    answer = agent.fetch(f"{storefront.url}{path}")
    assert status == answer.status
    assert answer.receipt is None
    assert "www-authenticate" not in answer.headers
    assert 1 == len(answer.credentials)


def test_an_observed_route_sells(storefront: Storefront, agent: Agent) -> None:
    """A route with a gate of its own behind an observer sells as if nobody watched."""
    assert_bought(agent.fetch(f"{storefront.url}/observed"))
    assert 500 == agent.fetch(f"{storefront.url}/observed-open").status
