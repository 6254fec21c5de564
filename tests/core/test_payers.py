"""Who paid: the provider's word first, then the credential's source, then what the app says."""

import logging
from collections.abc import Callable

import pytest

import flovia
from flovia.core.effects import Flow
from flovia.core.hiding import PAYER, hider
from flovia.core.provider import Paid, Presented, Verdict
from flovia.insights.attempt import Attempt, attempts
from flovia.providers.mock import MockProvider
from tests.core.world import SECRET, Shop, challenges, deliver, pay, request


class Knowing(MockProvider):
    """A provider that knows who paid."""

    def verify(self, presented: Presented) -> Flow[Verdict]:
        """Name the payer, whoever the credential says it is."""
        verdict = yield from super().verify(presented)
        assert isinstance(verdict, Paid)
        return Paid(reference=verdict.reference, amount=verdict.amount, currency=verdict.currency, payer="acct:real")


def tried(
    payer_of: Callable[[flovia.HttpRequest], str | None] | None,
    source: str | None,
    provider: MockProvider | str = "mock",
) -> tuple[Attempt, list[str | None]]:
    """One paid attempt, and the payers that its events name."""
    shop = Shop()
    gate = shop.open(payer_of=payer_of).paid_api(provider=provider, price="1.00 USD", name="r")
    (challenge,) = challenges(gate.enter(request()).response)
    passage = gate.enter(request(pay(challenge, source=source)))
    deliver(gate, passage)
    events = [event for _, event in shop.ledger.read_events(limit=1000)]
    (found,) = attempts(events)
    return found, [event.payer for event in events]


@pytest.mark.parametrize(
    ("source", "provider", "payer", "known"),
    [
        (None, "mock", "key-7", "declared"),
        ("did:example:agent", "mock", "did:example:agent", "declared"),
        ("did:example:agent", Knowing(), "acct:real", "verified"),
        (None, Knowing(), "acct:real", "verified"),
    ],
)
def test_whose_word_counts(source: str | None, provider: MockProvider | str, payer: str, known: str) -> None:
    """The app's only where nobody else says anything."""
    found, _ = tried(lambda _: "key-7", source, provider)
    assert (payer, known) == (found.payer, found.payer_from)


def test_before_the_payment() -> None:
    """Whoever the app knows is known from the first request on, also if nobody pays."""
    _, named = tried(lambda _: "key-7", "did:example:agent")
    assert named[:3] == ["key-7"] * 3
    assert "did:example:agent" in named
    shop = Shop()
    shop.open(payer_of=lambda _: "key-7").paid_api(provider="mock", price="1.00 USD").enter(request())
    (unpaid,) = attempts(event for _, event in shop.ledger.read_events())
    assert ("key-7", "declared") == (unpaid.payer, unpaid.payer_from)


def test_a_payer_the_app_does_not_know() -> None:
    """None and an empty text say nothing, and a very long name is cut."""
    for says in (None, ""):
        assert [None] * 3 == tried(lambda _, says=says: says, None)[1][:3]  # type: ignore[misc]  # mypy: a default
    assert "x" * 255 == tried(lambda _: "x" * 9000, None)[0].payer


def _raises(_: flovia.HttpRequest) -> str:
    raise LookupError


def _no_name(_: flovia.HttpRequest) -> str:
    return ["key-7"]  # type: ignore[return-value]  # what an app may do


@pytest.mark.parametrize("says", [_raises, _no_name])
def test_an_app_that_fails_to_say_it(
    says: Callable[[flovia.HttpRequest], str], caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged, and nobody is turned away for it, nor is an event that no ledger takes."""
    found, named = tried(says, "did:example:agent")
    assert ("delivered", "did:example:agent") == (found.outcome, found.payer)
    assert None is named[0]
    assert any(record.levelno == logging.ERROR for record in caplog.records)


def test_an_observed_route() -> None:
    """There too, as long as the credential names nobody."""
    shop = Shop()
    seen = shop.open(payer_of=lambda _: "key-7").observe(provider="mock")
    challenge = challenges(shop.flovia.paid_api(provider="mock", price="1.00 USD").enter(request()).response)[0]
    for source in (None, "did:example:agent"):
        deliver(seen, seen.enter(request(pay(challenge, source=source))), status=404)
    payers = [event.payer for _, event in shop.ledger.read_events() if event.type.endswith("attached")]
    assert ["key-7", "did:example:agent"] == payers


def test_a_hider_shows_no_key() -> None:
    """Only what it is for."""
    assert "<Hider of payer>" == repr(hider(SECRET, (PAYER,)))
