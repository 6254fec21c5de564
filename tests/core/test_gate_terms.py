"""Whole stories at the gate, as in ``test_gate_stories``: what a provider adds, credentials of its own, offers."""

import pytest

import flovia
from flovia.core.provider import Look, NotPaid, Paid, Refusal, Unknown
from flovia.providers.mock import MockProvider
from tests.core.test_gate_stories import KEYED, Story, Tell, expected, stumbles, told, write
from tests.core.test_provider_hooks import Native, Toy
from tests.core.world import START, challenges, pay

GRANT = "Payment grant.x"


def unasked(story: Story) -> None:
    """A credential of the provider's own that pays by being presented: held, failed, delivered, with keys or not."""
    toy = Native()
    story.route(provider=toy)
    passage = story.ask(GRANT)
    story.ask(GRANT)
    story.ask(GRANT, **KEYED)
    story.answer(passage, 500)
    story.answer(story.ask(GRANT, **KEYED))
    story.ask(GRANT, **KEYED)
    story.ask(GRANT, path="/other", **KEYED)
    toy.verdict = Paid(reference="toy_2", amount=100, currency="usd")
    story.answer(story.ask(GRANT))
    toy.verdict = NotPaid(retry_after_s=4)
    story.ask(GRANT)
    story.ask(GRANT)
    story.ask(GRANT, **KEYED)
    story.ask(GRANT, headers={"idempotency-key": '"key-2"'})
    story.ask(GRANT, headers={"idempotency-key": '"key-2"'})
    story.ask("Payment refuse.x")
    story.ask("Payment what.ever")


def unasked_and_unknown(story: Story) -> None:
    """Nobody knows what became of it: for a week the same challenge stands for it, whatever key it comes with."""
    toy = Native(verdict=Unknown())
    story.route(provider=toy)
    for days in (0.0, 6.5, 6.5):
        story.shop.clock.advance(days * 86400.0)
        story.ask(GRANT)
        story.ask(GRANT, **KEYED)
    story.shop.clock.advance(7.1 * 86400.0)
    toy.verdict = Paid(reference="toy_1", amount=100, currency="usd")
    story.ask(GRANT)
    story.answer(story.ask(GRANT))


def unasked_and_late(story: Story) -> None:
    """Refused, and presented again after the challenge that was made for it has expired, or when the price is new."""
    clock = story.shop.clock
    story.route(
        provider=Native(verdict=NotPaid()), price=lambda _: "1.00 USD" if clock() < START + 450.0 else "2.00 USD"
    )
    for seconds in (0.0, 100.0, 200.0, 100.0, 100.0):
        clock.advance(seconds)
        story.ask(GRANT)


def by_handle(story: Story) -> None:
    """A name stands for the challenge that was kept under it."""
    toy = Native(terms={"handle": "one", "handle_kept_s": 250.0})
    story.route(provider=toy)
    story.ask("Payment handle.one")
    story.ask()
    story.answer(story.ask("Payment handle.one"))
    story.ask("Payment handle.one")
    story.ask()
    story.shop.clock.advance(251.0)
    story.ask("Payment handle.one")


def terms_of_a_provider(story: Story) -> None:
    """What a provider adds to a challenge and to its 402, and what it is told when it does."""
    own = {"x-own": "1"}
    for terms in (
        {"opaque": {"charge": "c1"}, "headers": (("x-checkout", "c1"),), "body": {"checkout": "c1", "title": "mine"}},
        {"expires_at": START + 100.0},
        {"expires_at": START + 400.0},
        {"expires_at": START + 400.0, "own_expiry": True},
        {"look": Look(headers=tuple(own.items()), body={"pay": "here"}, content_type="application/json")},
        {"look": Look(body={"only": "this"}, whole_body=True), "headers": (("x-more", "2"),)},
    ):
        toy = Toy(terms=terms)
        story.route(provider=toy, description="A report", name="own")
        passage = story.ask(client="127.0.0.9")
        for quote in toy.quotes:
            told = (quote.price, quote.description, quote.realm, quote.request.path, quote.expires_at, quote.client)
            story.lines.append(f"  quoted {told}")
            assert quote.nonce.isdecimal()
        assert passage.response is not None
        story.lines.append(f"  body {story._named(passage.response.body.decode())}")
    for error in (Refusal("body-too-large"), flovia.HttpError("away", sent=True), flovia.LedgerError("down")):
        story.route(provider=Toy(quoting=error))
        story.ask()
        story.ask(http_method="HEAD")


def several_offers(story: Story) -> None:
    """Two currencies and two methods: all are asked for, each pays, and what the client accepts goes first."""
    toy = Toy(
        terms={"body": {"pay": "here"}, "look": Look(whole_body=True)},
        verdict=Paid(reference="toy_1", amount=95, currency="usd"),
    )
    offers = [
        flovia.Offer(provider="mock", price="1.00 USD"),
        flovia.Offer(provider="mock", price="1.30 SGD", description="in Singapore"),
        flovia.Offer(provider=MockProvider(method="alt"), price=lambda _: "0.90 USD"),
        flovia.Offer(provider=toy, price="0.95 USD"),
    ]
    story.route(offers=offers)
    found = challenges(story.ask().response)
    for number, challenge in enumerate(found):
        story.answer(story.ask(pay(challenge, f"ok{number}")))
    story.ask(headers={"accept-payment": "alt/charge, mock/charge;q=0.5"})
    story.ask(headers={"accept-payment": "other/charge"})


def too_many(story: Story) -> None:
    """Limits of each client and of all, for challenges and for credentials."""
    story.route(limit="challenges=2/min,total_challenges=3/min,verifications=1/min,total_verifications=2/min")
    for client in ("127.0.0.1", "127.0.0.1", "127.0.0.1", "127.0.0.2", "127.0.0.3"):
        story.ask(client=client)
    for client in ("127.0.0.1", "127.0.0.1", "127.0.0.2", "127.0.0.3"):
        story.ask("Payment e30", client=client)
    story.stopwatch.advance(30.0)
    story.ask(client="127.0.0.1")
    story.ask("Payment e30", client="127.0.0.1")


def in_its_own_field(story: Story) -> None:
    """Where credentials come in Payment-Authorization, for those who are asked to use it."""
    for choice in (True, lambda asked: asked.path == "/paid"):
        story.route(use_payment_authorization=choice)
        (challenge,) = challenges(story.ask().response)
        story.lines.append(f"  header {challenge.header}")
        story.ask(pay(challenge))
        story.answer(story.ask(pay(challenge, f"ok-{choice is True}"), field="payment-authorization"))
        (challenge,) = challenges(story.ask(path="/other").response)
        story.lines.append(f"  header {challenge.header}")


STORIES: list[Tell] = [
    *(unasked, unasked_and_unknown, unasked_and_late, by_handle, terms_of_a_provider, several_offers, too_many),
    in_its_own_field,
]


@pytest.mark.parametrize("by_driver", [False, True], ids=["at once", "by the driver"])
@pytest.mark.parametrize("tell", STORIES, ids=lambda tell: tell.__name__)
def test_a_story(tell: Tell, by_driver: bool, caplog: pytest.LogCaptureFixture) -> None:
    """Answers and events are those of the file, the same on both kinds of ledger, and the gate stumbles over nothing.

    ``python -m tests.core.test_gate_terms`` writes the file.
    """
    assert expected(__file__)[tell.__name__] == told(tell, by_driver)
    assert [] == stumbles(caplog)


def test_the_file_has_these_stories() -> None:
    """Each is told once, and no other."""
    assert [tell.__name__ for tell in STORIES] == list(expected(__file__))


if __name__ == "__main__":
    write(__file__, STORIES)
