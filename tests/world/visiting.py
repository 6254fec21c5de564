"""People at the checkout: they see the price, wander off, pay, pay late, twice or too little, and want money back."""

import random
from collections.abc import Callable, Generator
from typing import Final

from flovia.core.challenge import Challenge
from tests.world.buying import LEASE_OVER_MS, Buyer, give_back
from tests.world.clock import Life
from tests.world.hitpay import Wire
from tests.world.plan import CHECKOUT, DAY
from tests.world.shop import Shop, SurpriseError, credential_of
from tests.world.truth import Ask, Story

EXPIRED_MS: Final = 601_000


class Visitor(Buyer):
    """A person, and the agent that asks for them."""

    def __init__(self, shop: Shop, rng: random.Random, payer: str | None, wire: Wire) -> None:
        super().__init__(shop, rng, payer)
        self.wire = wire

    def visit(self, kind: str) -> Life:
        """See the price, and go on in one of the ways of :data:`tests.world.plan.VISITS`."""
        if kind == "broker down":
            self.turned_away()
            yield 60_000
        endpoint, price, currency = CHECKOUT
        story = self.truth.story("attempt", endpoint, "hitpay", self.clock.ms)
        story.price, story.currency = price, currency
        ask, came = self.shop.send(story, 402, "payment-required")
        challenge = came.challenge
        if challenge is None or challenge.request_json["amount"] != str(price):
            raise SurpriseError(f"story {story.number}: {challenge} does not ask for {price}")
        story.challenge_id, story.shown_at = challenge.id, ask.until
        yield self._wait(5, 120)
        yield from _WAYS[kind](self, story, challenge)

    def turned_away(self) -> None:
        """HitPay does not answer, so nothing can be sold."""
        story = self.truth.story("turned_away", CHECKOUT[0], None, self.clock.ms)
        self.wire.down = ""
        self.shop.send(story, 503, "provider-unavailable")
        self.wire.down = None

    # --- money --------------------------------------------------------------------------------------------------

    def _pays(self, challenge: Challenge, **how: object) -> tuple[str, list[int]]:
        """The person pays; the payment's id at HitPay, and when the webhooks of it were heard."""
        payment_id = self.wire.pay(_charge(challenge), **how)
        return payment_id, self.wire.deliver(self.shop)

    def _came(self, story: Story, challenge: Challenge, fate: str, amount: int | None = None) -> None:
        """Money that is on record."""
        story.came, story.came_in = story.price if amount is None else amount, story.currency
        story.payment_id, story.fate = _charge(challenge), fate

    def _fetch(self, story: Story, challenge: Challenge) -> Ask:
        """The agent comes with what was paid, and gets the answer."""
        ask, _ = self._present(story, self._pass(challenge))
        said_at = self.shop.desk.said_at
        story.paid_at, story.verdict_ms = said_at, said_at - ask.at
        self._came(story, challenge, "undelivered")
        self._delivered(story, ask)
        return ask

    def _pass(self, challenge: Challenge) -> str:
        return credential_of(challenge, {"challenge_id": _charge(challenge)}, self.payer)

    def _poll(self, story: Story, challenge: Challenge) -> None:
        """The agent looks whether the person has paid; not yet."""
        story.fate = "not_accepted"
        _, same = self._present(story, self._pass(challenge), 402, "verification-failed")
        if same is None or same.id != challenge.id:
            raise SurpriseError(f"story {story.number}: not paid yet, and another challenge came")

    # --- what people do -----------------------------------------------------------------------------------------

    def pays(self, story: Story, challenge: Challenge) -> Life:
        """Pay; the agent has looked once or twice by then."""
        for _ in range(self.rng.randrange(3)):
            self._poll(story, challenge)
            yield self._wait(2, 60)
        self._pays(challenge)
        yield self._wait(1, 20)
        self._fetch(story, challenge)

    def walks_off(self, story: Story, challenge: Challenge) -> Life:
        """See the checkout and leave."""
        if self.rng.random() < 0.5:
            self._poll(story, challenge)
        yield 0

    def never_back(self, story: Story, challenge: Challenge) -> Life:
        """Pay, and no agent comes for it. The gate has nothing to write down: the money waits for its credential."""
        self._pays(challenge)
        yield 0

    def never_back_refunded(self, story: Story, challenge: Challenge) -> Life:
        """The same; the shop looks, and gives it back."""
        self._pays(challenge)
        yield round(self.rng.uniform(0.1, 2) * DAY)
        self._came(story, challenge, "refunded")
        story.back = story.came
        give_back(self.shop, story)
        self.wire.deliver(self.shop)

    def never_back_unclear(self, story: Story, challenge: Challenge) -> Life:
        """The same, and nobody knows whether it went back."""
        self._pays(challenge)
        yield round(self.rng.uniform(0.1, 0.9) * DAY)  # later than a day after its expiry it would be late money
        self._came(story, challenge, "unpresented")
        story.last_at = self.clock.ms  # the money is on record before anybody is asked to give it back
        self.wire.down = "/v1/refund"
        result = self.shop.flovia.refund(_charge(challenge))
        self.wire.down = None
        if result.status != "unknown":
            raise SurpriseError(f"story {story.number}: its refund is {result}")

    def pays_late(self, story: Story, challenge: Challenge) -> Life:
        """Pay when the charge has expired."""
        yield EXPIRED_MS
        self._came(story, challenge, "late")
        _, heard = self._pays(challenge)
        story.last_at = heard[0]

    def pays_late_refunded(self, story: Story, challenge: Challenge) -> Life:
        """The same, and it goes back."""
        yield from self.pays_late(story, challenge)
        yield from self._back(story, None)

    def pays_twice(self, story: Story, challenge: Challenge) -> Life:
        """Pay, have the answer, and pay once more."""
        yield from self._twice(story, challenge)

    def _twice(self, story: Story, challenge: Challenge) -> Generator[int, None, Story]:
        self._pays(challenge)
        yield self._wait(1, 20)
        self._fetch(story, challenge)
        yield self._wait(5, 3000)
        payment_id, heard = self._pays(challenge, again=True)
        second = self.truth.money(story, payment_id, story.price or 0, story.currency or "", heard[0])
        second.fate = "paid_twice"
        return second

    def pays_twice_refunded(self, story: Story, challenge: Challenge) -> Life:
        """The same, and the second payment goes back."""
        second = yield from self._twice(story, challenge)
        yield from self._back(second, None)

    def too_little(self, story: Story, challenge: Challenge) -> Life:
        """Pay a little less than was asked for."""
        self._came(story, challenge, "mismatched", 450)
        self._pays(challenge, amount="4.50")
        yield self._wait(1, 20)
        self._present(story, self._pass(challenge), 402, "payment-insufficient")

    def refunded(self, story: Story, challenge: Challenge) -> Life:
        """Paid, delivered, and given back."""
        yield from self.pays(story, challenge)
        yield from self._back(story, None)

    def partly_refunded(self, story: Story, challenge: Challenge) -> Life:
        """Paid, delivered, and two of five given back."""
        yield from self.pays(story, challenge)
        yield from self._back(story, 200)

    def broker_down(self, story: Story, challenge: Challenge) -> Life:
        """HitPay cannot be asked when the agent comes; later it can."""
        self._pays(challenge)
        self.wire.down = ""
        self._present(story, self._pass(challenge), 503, "outcome-unknown")
        self.wire.down = None
        story.fate = "unknown"
        yield LEASE_OVER_MS
        self._fetch(story, challenge)

    def _back(self, story: Story, amount: int | None) -> Life:
        yield from self._give_back(story, amount)
        self.wire.deliver(self.shop)


def _charge(challenge: Challenge) -> str:
    return str(challenge.request_json["externalId"])


_WAYS: Final[dict[str, Callable[[Visitor, Story, Challenge], Life]]] = {
    "pays": Visitor.pays,
    "walks off": Visitor.walks_off,
    "pays, never comes back": Visitor.never_back,
    "pays, never comes back, refunded": Visitor.never_back_refunded,
    "pays, never comes back, refund unclear": Visitor.never_back_unclear,
    "pays late": Visitor.pays_late,
    "pays late, refunded": Visitor.pays_late_refunded,
    "pays twice": Visitor.pays_twice,
    "pays twice, refunded": Visitor.pays_twice_refunded,
    "pays too little": Visitor.too_little,
    "refunded": Visitor.refunded,
    "refunded in part": Visitor.partly_refunded,
    "broker down": Visitor.broker_down,
}
