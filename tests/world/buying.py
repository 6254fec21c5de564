"""What a buyer does: look at a price, pay it, bring the credential, and get it back; each with its truth."""

import random
from typing import Final

from flovia import Price
from flovia.core.challenge import Challenge
from tests.world.clock import Life
from tests.world.plan import BANK_MS, DAY, FIXED, HANDLER_MS, MARKETS, PARTNER, PRICE_MS, SANDBOX
from tests.world.shop import Handler, Shop, SurpriseError, bank_reference, credential_of
from tests.world.truth import Ask, Story

MARKET_AT: Final = {market.endpoint: market for market in MARKETS}
"""Each market by its endpoint."""
_PRICES: Final = {**FIXED, SANDBOX[0]: SANDBOX[1:], PARTNER[0]: PARTNER[1:]}
LEASE_OVER_MS: Final = 95_000
"""By then a claim or a delivery that nobody ends has ended by itself."""


class Buyer:
    """An agent in front of the shop. ``payer``: the name in its credentials; ``caller``: how the shop knows it."""

    def __init__(self, shop: Shop, rng: random.Random, payer: str | None) -> None:
        self.shop, self.rng, self.payer = shop, rng, payer
        self.caller: str | None = None
        self.truth, self.clock = shop.truth, shop.clock

    # --- seeing the price ---------------------------------------------------------------------------------------

    def look(self, endpoint: str, workflow: str | None = None) -> tuple[Story, Challenge]:
        """Ask for a route without a credential."""
        provider = "mock" if endpoint == SANDBOX[0] else "bank"
        story = self.truth.story("attempt", endpoint, provider, self.clock.ms, workflow)
        story.caller = story.payer = self.caller
        self._priced(story, self.clock.ms + PRICE_MS)
        ask, came = self.shop.send(story, 402, "payment-required")
        return story, self._shown(story, ask, came.challenge)

    def probe(self, endpoint: str) -> None:
        """Ask with HEAD, which cannot pay."""
        story = self.truth.story("probe", endpoint, "bank", self.clock.ms)
        self._priced(story, self.clock.ms + PRICE_MS)
        ask, came = self.shop.send(story, 402, "payment-required", verb="HEAD")
        self._shown(story, ask, came.challenge)

    def _priced(self, story: Story, at: int) -> None:
        market = MARKET_AT.get(story.endpoint)
        if market is not None:
            story.price, story.currency = market.price(at) + self.shop.surge, market.currency
        else:
            story.price, story.currency = _PRICES[story.endpoint]

    def _shown(self, story: Story, ask: Ask, challenge: Challenge | None) -> Challenge:
        if challenge is None or str(story.price) != challenge.request_json["amount"]:
            raise SurpriseError(f"story {story.number}: {challenge} does not ask for {story.price}")
        story.challenge_id, story.shown_at = challenge.id, ask.until
        return challenge

    def _follow(self, first: Story, ask: Ask, challenge: Challenge | None) -> tuple[Story, Challenge]:
        """Take up the price that was shown in answer to a credential."""
        story = self.truth.chained(first, ask)
        self._priced(story, ask.until)
        return story, self._shown(story, ask, challenge)

    # --- paying -------------------------------------------------------------------------------------------------

    def _present(
        self,
        story: Story,
        credential: str,
        status: int = 200,
        problem: str | None = None,
        handler: Handler | None = None,
        key: str | None = None,
    ) -> tuple[Ask, Challenge | None]:
        """Bring a credential, and look what comes."""
        desk = self.shop.desk
        desk.takes_ms = self.rng.choice(BANK_MS)
        story.payer = self.payer or story.caller
        if status == 200 and handler is None:
            handler = self._works()
        ask, came = self.shop.send(story, status, problem, credential=credential, handler=handler, key=key)
        return ask, came.challenge

    def _works(self) -> Handler:
        return Handler(ms=self.rng.choice(HANDLER_MS))

    def _paid(self, story: Story, ask: Ask, proof: str) -> None:
        """The bank has the money, and the gate knows."""
        said_at = self.shop.desk.said_at
        story.paid_at, story.verdict_ms = said_at, said_at - ask.at
        story.came, story.came_in, story.payment_id = story.price, story.currency, bank_reference(proof)
        story.fate = "undelivered"

    def _delivered(self, story: Story, ask: Ask, *, again: bool = False) -> None:
        story.delivered_at, story.fate = ask.until, "delivered"
        story.handler_ms = ask.until - (ask.at if again else self.shop.desk.said_at)

    def _credential(self, story: Story, challenge: Challenge, word: str = "ok", **more: str) -> tuple[str, str]:
        """A proof that only this story has, and the credential with it."""
        proof = f"{word}-{story.number}"
        return proof, credential_of(challenge, {"proof": proof, **more}, self.payer)

    def _buy(self, story: Story, challenge: Challenge, key: str | None = None) -> str:
        """Pay, and get the answer at the first try; the credential."""
        proof, credential = self._credential(story, challenge)
        ask, _ = self._present(story, credential, key=key)
        self._paid(story, ask, proof)
        self._delivered(story, ask)
        return credential

    def _wait(self, least_s: float = 1, most_s: float = 40) -> int:
        return round(self.rng.uniform(least_s, most_s) * 1000)

    def at_partner(self, *, pays: bool) -> None:
        """Buy where another gate decides: what it says is all that is known, and a refusal has no problem's name."""
        story, challenge = self.look(PARTNER[0])
        proof, credential = self._credential(story, challenge, "ok" if pays else "declined")
        if not pays:
            story.fate = "not_accepted"
            self._present(story, credential, 402)
            return
        ask, _ = self._present(story, credential)
        self._paid(story, ask, proof)
        story.verdict_ms, story.delivered_at, story.fate = None, ask.until, "delivered"

    # --- giving back --------------------------------------------------------------------------------------------

    def _give_back(self, story: Story, amount: int | None) -> Life:
        yield round(self.rng.uniform(0.1, 3) * DAY)
        story.back = story.came if amount is None else amount
        story.fate = "refunded" if story.back == story.came else "partly_refunded"
        give_back(self.shop, story)


def give_back(shop: Shop, story: Story) -> None:
    """Give a payment back, as its story says how much."""
    amount = None if story.back == story.came else Price(amount=story.back or 0, currency=story.came_in or "")
    result = shop.flovia.refund(story.payment_id or "", amount)
    story.last_at = shop.clock.ms
    if result.status != "refunded":
        raise SurpriseError(f"story {story.number}: its refund is {result}")
