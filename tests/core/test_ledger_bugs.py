"""A ledger that raises what no ledger should: closed, recorded where possible, and nothing secret said."""

import pytest

import flovia
from flovia.core.answers import StoredAnswer
from flovia.core.challenge import parse_challenge
from flovia.core.credential import Credential, format_credential
from flovia.core.effects import ClaimResult
from flovia.core.events import EventRow
from flovia.core.http import Headers, HttpRequest
from flovia.core.passage import Passage
from flovia.ledger.memory import MemoryLedger


class Broken(MemoryLedger):
    """Raises RuntimeError from the methods that are switched off."""

    broken: tuple[str, ...] = ()

    def _check(self, name: str) -> None:
        if name in self.broken:
            raise RuntimeError(f"{name} has a bug")

    def claim(
        self,
        key: str,
        fingerprint: str,
        expired: bool,
        lease_s: float,
        deliver_s: float,
        keep_until: float,
        max_deliveries: int,
    ) -> ClaimResult:
        """Claim, or raise."""
        self._check("claim")
        return super().claim(key, fingerprint, expired, lease_s, deliver_s, keep_until, max_deliveries)

    def deliver(self, key: str, fence: int, events: tuple[EventRow, ...], answer: StoredAnswer | None = None) -> bool:
        """Deliver, or raise."""
        self._check("deliver")
        return super().deliver(key, fence, events, answer)

    def release(self, key: str, fence: int, park: bool, events: tuple[EventRow, ...]) -> bool:
        """Release, or raise."""
        self._check("release")
        return super().release(key, fence, park, events)

    def renew(self, key: str, fence: int, deliver_s: float) -> bool:
        """Renew, or raise."""
        self._check("renew")
        return super().renew(key, fence, deliver_s)


class Till:
    """A gate over a ledger with bugs."""

    def __init__(self) -> None:
        self.ledger = Broken()
        flo = flovia.Flovia(provider="mock", ledger=self.ledger, secret="a-test-secret-that-is-long-enough-01")
        self.gate = flo.paid_api(price="1.00 USD")

    def ask(self, *headers: tuple[str, str]) -> Passage:
        """One request."""
        return self.gate.enter(HttpRequest("GET", "/paid", "", Headers.of([("host", "localhost"), *headers])))

    def pay(self, proof: str) -> Passage:
        """A paid request."""
        unpaid = self.ask().response
        assert unpaid is not None
        challenge = parse_challenge(dict(unpaid.headers)["www-authenticate"])
        credential = Credential(challenge=challenge, payload={"proof": proof})
        return self.ask(("authorization", format_credential(credential)))

    def types(self) -> list[str]:
        """The types of the events so far."""
        return [event.type for _, event in self.ledger.read_events()]


@pytest.fixture
def till() -> Till:
    """A fresh one."""
    return Till()


def test_a_claim_that_raises_lets_nobody_in(till: Till) -> None:
    """S02: 500 without a challenge, nothing granted; with the bug gone the next payment works."""
    till.ledger.broken = ("claim",)
    response = till.pay("ok-1").response
    assert response is not None
    assert 500 == response.status
    assert "www-authenticate" not in dict(response.headers)
    till.ledger.broken = ()
    assert till.pay("ok-1").response is None


def test_a_delivery_that_cannot_be_recorded_ends_quietly(till: Till) -> None:
    """The client has its answer: leave() does not raise, and the events are kept."""
    passage = till.pay("ok-1")
    passage.start(200, Headers.of(()))
    till.ledger.broken = ("deliver", "renew")
    till.gate.renew(passage)
    till.gate.leave(passage, completed=True)
    assert "payment.delivered" in till.types()


def test_a_claim_that_cannot_be_given_back_is_left_to_its_lease(till: Till) -> None:
    """Whether the claim was still ours nobody knows then: 409, and no challenge."""
    till.ledger.broken = ("release",)
    response = till.pay("declined").response
    assert response is not None
    assert 409 == response.status
    assert "www-authenticate" not in dict(response.headers)
