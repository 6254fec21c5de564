"""The gate on a ledger that is down, fails at one of its verbs, or is in the wrong process."""

import pytest

import flovia
from flovia.core.encoding import JsonValue
from flovia.ledger.memory import MemoryLedger
from tests.core.world import Clock, Shop, buy, challenges, deliver, header, pay, request


class Failing(MemoryLedger):
    """Raises on the verb the test names."""

    failing = ""

    def __getattribute__(self, name: str) -> object:
        if name == object.__getattribute__(self, "failing"):

            def fail(*_: object) -> object:
                raise flovia.LedgerError("down")

            return fail
        return object.__getattribute__(self, name)


def test_no_challenge_while_the_ledger_is_down() -> None:
    """Whoever paid now could not be let in, so nobody is asked to (S02)."""

    class Down(MemoryLedger):
        available = False

    gate = Shop(ledger=Down()).flovia.paid_api(provider="mock", price="1.00 USD")
    response = gate.enter(request()).response
    assert (503, [], "1") == (response.status, challenges(response), header(response, "retry-after"))


@pytest.mark.parametrize("verb", ["claim", "settle", "find", "release"])
def test_before_delivery_it_is_503(verb: str) -> None:
    """Claim, settle, find or release failing is 503 without a challenge; a failing release leaves a lease."""
    ledger = Failing(clock=Clock())
    shop = Shop(ledger=ledger)
    gate = shop.flovia.paid_api(provider="mock", price="1.00 USD")
    (challenge,) = challenges(gate.enter(request()).response)
    credential = pay(challenge, "declined" if verb == "release" else "ok1")
    if verb == "find":
        gate = shop.open(secret="test-another-secret-of-32-bytes-----").paid_api(provider="mock", price="1.00 USD")
    ledger.failing = verb
    response = gate.enter(request(credential)).response
    assert (503, []) == (response.status, challenges(response))
    ledger.failing = ""


def test_a_claim_that_was_taken_over() -> None:
    """Whoever settles under a stale fence gets 409 and writes nothing: its successor decides, in a second or so."""

    class Stale(MemoryLedger):
        def settle(self, *arguments):
            return "stale"

    shop = Shop(ledger=Stale(clock=Clock()))
    gate = shop.flovia.paid_api(provider="mock", price="1.00 USD")
    response = buy(gate)[1].response
    assert (409, [], "1") == (response.status, challenges(response), header(response, "retry-after"))
    assert "payment.settled" not in shop.events()


@pytest.mark.parametrize(
    ("proof", "more", "unmatched"),
    [
        ("declined", {}, 0),
        ("pending", {}, 0),
        ("ok1", {"paid_amount": "99"}, 1),
        ("ok-used", {}, 0),
    ],
)
def test_not_paid_says_one_who_was_taken_over(proof: str, more: dict[str, JsonValue], unmatched: int) -> None:
    """Whoever slept through its lease knows nothing of now: 409 and no challenge, for the payment may be there."""

    class Overtaken(MemoryLedger):
        overtaken = False

        def release(self, *arguments):
            return not self.overtaken and super().release(*arguments)

    ledger = Overtaken(clock=Clock())
    shop = Shop(ledger=ledger)
    gate = shop.flovia.paid_api(provider="mock", price="1.00 USD")
    assert buy(gate, "ok-used")[1].grant is not None
    (challenge,) = challenges(gate.enter(request()).response)
    ledger.overtaken = True
    response = gate.enter(request(pay(challenge, proof, **more))).response
    assert (409, [], "1") == (response.status, challenges(response), header(response, "retry-after"))
    assert unmatched == shop.events().count("payment.unmatched")
    assert "in-flight" == [event for _, event in ledger.read_events()][-1].problem


@pytest.mark.parametrize("verb", ["deliver", "fail", "renew"])
def test_after_delivery_nobody_is_told(verb: str) -> None:
    """Once the answer is out a failing ledger costs at most a second delivery, and no event."""
    ledger = Failing(clock=Clock())
    shop = Shop(ledger=ledger)
    gate = shop.flovia.paid_api(provider="mock", price="1.00 USD")
    _, passage = buy(gate)
    ledger.failing = verb
    gate.renew(passage)
    deliver(gate, passage, 500 if verb == "fail" else 200)
    ledger.failing = ""
    ending = "payment.delivery_failed" if verb == "fail" else "payment.delivered"
    assert ending in shop.events()


def test_a_memory_ledger_in_a_forked_child(shop: Shop, paid: flovia.PaidApi) -> None:
    """A child redeems nothing that its parent may deliver too."""
    credential, passage = buy(paid)
    deliver(paid, passage, 500)
    shop.ledger.before_fork()
    shop.ledger.after_fork_in_child()
    assert 503 == paid.enter(request(credential)).response.status


def test_memory_ledger_refuses_several_processes(paid: flovia.PaidApi) -> None:
    """A server that says it runs several processes gets 500 on a memory ledger, never a wrong answer."""
    assert 500 == paid.enter(request(multiprocess=True)).response.status
