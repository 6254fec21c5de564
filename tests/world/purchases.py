"""How agents buy at the bank's routes: one function for each thing that can happen, with what has to come of it."""

from collections.abc import Callable
from typing import Final

from flovia.core.challenge import Challenge
from tests.world.buying import LEASE_OVER_MS, MARKET_AT, Buyer
from tests.world.clock import Life
from tests.world.plan import HANDLER_MS, PLAIN
from tests.world.shop import Handler, SurpriseError, bank_reference
from tests.world.truth import Ask, Story


class Agent(Buyer):
    """Buys in every way that a purchase can go."""

    def purchase(self, kind: str, endpoint: str, workflow: str | None = None) -> Life:
        """See the price and pay it, in one of the ways of :data:`tests.world.plan.PURCHASES`."""
        story, challenge = self.look(endpoint, workflow)
        yield self._wait()
        yield from _WAYS[kind](self, story, challenge)

    def plain(self, story: Story, challenge: Challenge) -> Life:
        """Everything works."""
        self._buy(story, challenge)
        yield 0

    def test(self, story: Story, challenge: Challenge) -> Life:
        """Pay with test money: the mock itself gives its verdict at once."""
        self.shop.desk.said_at = self.clock.ms
        self._buy(story, challenge)
        yield 0

    # --- the bank -----------------------------------------------------------------------------------------------

    def _unknown(self, story: Story, credential: str) -> None:
        self.shop.desk.down = True
        self._present(story, credential, 503, "outcome-unknown")
        self.shop.desk.down = False
        story.fate = "unknown"

    def stutters(self, story: Story, challenge: Challenge) -> Life:
        """The bank does not know at first."""
        _, credential = self._credential(story, challenge)
        self._unknown(story, credential)
        yield self._wait()
        self._buy(story, challenge)

    def never_says(self, story: Story, challenge: Challenge) -> Life:
        """The bank does not know, and the agent gives up."""
        _, credential = self._credential(story, challenge)
        for _ in range(2):
            self._unknown(story, credential)
            yield self._wait()

    def pending(self, story: Story, challenge: Challenge) -> Life:
        """The money is not there yet."""
        _, credential = self._credential(story, challenge, "pending")
        _, same = self._present(story, credential, 402, "verification-failed")
        if same is None or same.id != challenge.id:
            raise SurpriseError(f"story {story.number}: pending, and another challenge came")
        yield self._wait()
        self._buy(story, challenge)

    def declined(self, story: Story, challenge: Challenge) -> Life:
        """The bank declines, and that was it."""
        self._decline(story, challenge)
        yield 0

    def _decline(self, story: Story, challenge: Challenge) -> tuple[Ask, Challenge | None]:
        _, credential = self._credential(story, challenge, "declined")
        story.fate = "not_accepted"
        return self._present(story, credential, 402, "verification-failed")

    def declined_again(self, story: Story, challenge: Challenge) -> Life:
        """The bank declines; the fresh challenge is paid."""
        fresh = self._follow(story, *self._decline(story, challenge))
        yield self._wait()
        self._buy(*fresh)

    def late(self, story: Story, challenge: Challenge) -> Life:
        """The agent comes when the challenge has expired."""
        yield self._wait(301, 4000)
        self._come_late(story, challenge)

    def _come_late(self, story: Story, challenge: Challenge) -> tuple[Ask, Challenge | None]:
        _, credential = self._credential(story, challenge)
        story.fate = "not_accepted"
        return self._present(story, credential, 402, "payment-expired")

    def late_again(self, story: Story, challenge: Challenge) -> Life:
        """Then it pays the fresh one."""
        yield self._wait(301, 4000)
        fresh = self._follow(story, *self._come_late(story, challenge))
        yield self._wait()
        self._buy(*fresh)

    def mismatched(self, story: Story, challenge: Challenge, problem: str, **more: str) -> Life:
        """Other money came than was asked for."""
        proof, credential = self._credential(story, challenge, **more)
        story.came = int(str(more.get("paid_amount", story.price)))
        story.came_in = str(more.get("paid_currency", story.currency))
        story.payment_id, story.fate = bank_reference(proof), "mismatched"
        self._present(story, credential, 402, problem)
        yield 0

    def too_little(self, story: Story, challenge: Challenge) -> Life:
        """One less than was asked for."""
        return self.mismatched(story, challenge, "payment-insufficient", paid_amount=str((story.price or 0) - 1))

    def too_much(self, story: Story, challenge: Challenge) -> Life:
        """Seven more than was asked for."""
        return self.mismatched(story, challenge, "verification-failed", paid_amount=str((story.price or 0) + 7))

    def other_money(self, story: Story, challenge: Challenge) -> Life:
        """The right number of another currency."""
        return self.mismatched(story, challenge, "verification-failed", paid_currency="nzd")

    def price_rises(self, story: Story, challenge: Challenge) -> Life:
        """The price rises before the credential comes; only where it is worked out."""
        if story.endpoint not in MARKET_AT:
            yield from self.plain(story, challenge)
            return
        proof, credential = self._credential(story, challenge)
        self.shop.surge = 1 + (story.price or 0) // 3
        ask, _ = self._present(story, credential, 402, "payment-insufficient")
        self.shop.surge = 0
        self._paid(story, ask, proof)
        story.fate = "price_risen"
        yield 0

    # --- retries ------------------------------------------------------------------------------------------------

    def twice_at_once(self, story: Story, challenge: Challenge) -> Life:
        """The same credential comes again while the handler works."""
        proof, credential = self._credential(story, challenge)
        ask, _ = self._present(story, credential, handler=Handler(ms=700, meanwhile=story))
        self._paid(story, ask, proof)
        self._delivered(story, ask)
        yield 0

    def replays(self, story: Story, challenge: Challenge) -> Life:
        """A delivered credential comes again."""
        credential = self._buy(story, challenge)
        yield self._wait()
        self._present(story, credential, 402, "invalid-challenge")

    def replays_with_key(self, story: Story, challenge: Challenge) -> Life:
        """The same with an Idempotency-Key: the answer comes again."""
        key = f"key-{story.number}"
        credential = self._buy(story, challenge, key)
        yield self._wait()
        self._present(story, credential, 200, key=key)

    # --- the handler --------------------------------------------------------------------------------------------

    def _fail(self, story: Story, credential: str, handler: Handler, problem: str | None = None) -> Ask:
        due = 500 if handler.raises else handler.status
        if story.endpoint == "/render" and handler.whole:
            problem = "refund-due"
        ask, _ = self._present(story, credential, due, problem, handler)
        story.failures += 1
        return ask

    def _broken(self) -> tuple[Handler, str | None]:
        ms = self.rng.choice(HANDLER_MS)
        return self.rng.choice(((Handler(ms=ms, raises=True), "delivery-failed"), (Handler(ms=ms, status=502), None)))

    def _fails_first(self, story: Story, challenge: Challenge, broken: tuple[Handler, str | None]) -> str:
        proof, credential = self._credential(story, challenge)
        self._paid(story, self._fail(story, credential, *broken), proof)
        if story.endpoint == "/render" and broken[0].whole:
            story.fate = "failed_due"
        return credential

    def fails_once(self, story: Story, challenge: Challenge) -> Life:
        """The handler fails, the same credential gets the answer later; or its money back, where that is the rule."""
        credential = self._fails_first(story, challenge, self._broken())
        yield self._wait()
        if story.endpoint == "/render":
            yield from self._give_back(story, None)
            return
        ask, _ = self._present(story, credential)
        self._delivered(story, ask, again=True)

    def gives_up(self, story: Story, challenge: Challenge) -> Life:
        """The handler fails, and nobody comes again."""
        self._fails_first(story, challenge, self._broken())
        yield 0

    def fails_for_good(self, story: Story, challenge: Challenge) -> Life:
        """The handler fails as often as it may."""
        credential = self._fails_first(story, challenge, self._broken())
        if story.endpoint == "/render":
            return
        for _ in range(4):
            yield self._wait()
            self._fail(story, credential, *self._broken())
        yield self._wait()
        self._present(story, credential, 500, "delivery-exhausted")
        story.fate = "exhausted"

    def client_gone(self, story: Story, challenge: Challenge) -> Life:
        """The client is gone before the last byte, and comes again."""
        cut = Handler(ms=self.rng.choice(HANDLER_MS), whole=False)
        credential = self._fails_first(story, challenge, (cut, None))
        yield self._wait()
        ask, _ = self._present(story, credential)
        self._delivered(story, ask, again=True)

    # --- the ledger ---------------------------------------------------------------------------------------------

    def _ledger_fails(self, story: Story, credential: str, verb: str, *, arrives: bool) -> Ask:
        self.shop.ledger.plant(verb, arrives=arrives)
        ask, _ = self._present(story, credential, 503, "ledger-unavailable")
        return ask

    def claim_fails(self, story: Story, challenge: Challenge) -> Life:
        """The ledger is down when the credential comes."""
        _, credential = self._credential(story, challenge)
        story.fate = "not_accepted"
        self._ledger_fails(story, credential, "claim", arrives=False)
        yield self._wait()
        self._buy(story, challenge)

    def claim_lost(self, story: Story, challenge: Challenge) -> Life:
        """The ledger has taken the claim, and nobody hears of it: in flight until its lease ends."""
        _, credential = self._credential(story, challenge)
        story.fate = "not_accepted"
        self._ledger_fails(story, credential, "claim", arrives=True)
        yield 2000
        self._present(story, credential, 409, "in-flight")
        yield LEASE_OVER_MS
        self._buy(story, challenge)

    def settle_fails(self, story: Story, challenge: Challenge) -> Life:
        """The bank has the money, and the ledger is down."""
        _, credential = self._credential(story, challenge)
        story.fate = "not_accepted"
        self._ledger_fails(story, credential, "settle", arrives=False)
        yield LEASE_OVER_MS
        self._buy(story, challenge)

    def settle_lost(self, story: Story, challenge: Challenge) -> Life:
        """It is settled on disk, and nobody hears of it."""
        proof, credential = self._credential(story, challenge)
        self._paid(story, self._ledger_fails(story, credential, "settle", arrives=True), proof)
        yield 2000
        self._present(story, credential, 409, "in-flight")
        yield LEASE_OVER_MS
        ask, _ = self._present(story, credential)
        self._delivered(story, ask, again=True)

    def end_fails(self, story: Story, challenge: Challenge) -> Life:
        """The answer is delivered while the ledger is down; it learns of it later."""
        self.shop.ledger.plant("deliver")
        self._buy(story, challenge)
        self.shop.flush()
        yield 0

    # --- giving back --------------------------------------------------------------------------------------------

    def refunded(self, story: Story, challenge: Challenge) -> Life:
        """Delivered, and given back days later."""
        self._buy(story, challenge)
        yield from self._give_back(story, None)

    def partly_refunded(self, story: Story, challenge: Challenge) -> Life:
        """Delivered, and a third given back days later."""
        self._buy(story, challenge)
        yield from self._give_back(story, 1 + (story.came or 0) // 3)


_WAYS: Final[dict[str, Callable[[Agent, Story, Challenge], Life]]] = {
    PLAIN: Agent.plain,
    "bank stutters": Agent.stutters,
    "bank pending": Agent.pending,
    "bank never says": Agent.never_says,
    "declined": Agent.declined,
    "declined, pays again": Agent.declined_again,
    "too late": Agent.late,
    "too late, pays again": Agent.late_again,
    "asks twice at once": Agent.twice_at_once,
    "handler fails once": Agent.fails_once,
    "handler fails, gives up": Agent.gives_up,
    "handler fails for good": Agent.fails_for_good,
    "client gone": Agent.client_gone,
    "replays": Agent.replays,
    "replays with a key": Agent.replays_with_key,
    "pays too little": Agent.too_little,
    "pays too much": Agent.too_much,
    "pays other money": Agent.other_money,
    "price rises": Agent.price_rises,
    "ledger down at the claim": Agent.claim_fails,
    "ledger's answer to the claim lost": Agent.claim_lost,
    "ledger down when it settles": Agent.settle_fails,
    "ledger's answer to settling lost": Agent.settle_lost,
    "ledger down at the end": Agent.end_fails,
    "refunded": Agent.refunded,
    "refunded in part": Agent.partly_refunded,
}
