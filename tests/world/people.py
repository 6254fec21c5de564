"""Who lives in the world: regulars with jobs and budgets, shoppers who look at prices, crawlers, and the shop's own."""

import random
from collections.abc import Callable
from typing import Final

from tests.world.clock import Agenda, Life
from tests.world.hitpay import Wire
from tests.world.plan import DAY, FIXED, JOBS, MARKETS, PARTNER, PURCHASES, SANDBOX, VISITS, WEEKS, Deck
from tests.world.purchases import Agent
from tests.world.shop import Shop
from tests.world.truth import START_MS, WEEK_MS
from tests.world.visiting import Visitor

HOUR: Final = 3_600_000
CHURN: Final = 0.1
"""Of those who came this week, how many will never come again."""
NO_SHOW: Final = 0.12
"""Of the times somebody means to come, how often nothing comes of it."""


class Town:
    """Lets everybody live. ``deal`` says how the next purchase goes."""

    def __init__(self, shop: Shop, agenda: Agenda, wire: Wire, seed: int) -> None:
        self.shop, self.agenda, self.wire, self.seed = shop, agenda, wire, seed
        deck = Deck({kind: count for kind, (count, _, _) in PURCHASES.items()}, random.Random(f"{seed} purchases"))
        self.deal: Callable[[], str] = deck.deal

    def settle(self, shoppers: int, regulars: int, crawlers: int, testers: int, visits: int) -> None:
        """So many of each come to live here."""
        for number in range(shoppers):
            self._live(f"did:shopper:{number}", self._shop_around)
        for number in range(regulars):
            self._live(f"did:agent:{number}", self._work)
        for number in range(crawlers):
            self._live(f"crawler {number}", self._crawl)
        for number in range(testers):
            self._live(f"own:qa-{number}", self._test)
        rng = random.Random(f"{self.seed} visits")
        deck = Deck(VISITS, rng)
        for number in range(visits):
            payer = rng.choice((None, f"did:person:{rng.randrange(1 + visits // 3)}"))
            visitor = Visitor(self.shop, random.Random(f"{self.seed} visit {number}"), payer, self.wire)
            at = START_MS + rng.randrange(WEEKS * WEEK_MS - DAY)
            self.agenda.live(visitor.visit(deck.deal()), at)

    def _live(self, name: str, life: Callable[[Agent, "Habit"], Life]) -> None:
        rng = random.Random(f"{self.seed} {name}")
        buyer = Agent(self.shop, rng, name)
        habit = Habit(rng)
        self.agenda.live(life(buyer, habit), habit.first)

    def _until(self, ms: int) -> int:
        return max(0, ms - self.shop.clock.ms)

    # --- shoppers -----------------------------------------------------------------------------------------------

    def _shop_around(self, buyer: Agent, habit: "Habit") -> Life:
        """Look at what is for sale, and buy what is not too dear."""
        for at in habit.visits(most_days=2):
            yield self._until(at)
            market = buyer.rng.choice(MARKETS)
            if buyer.rng.random() < market.demand.share(self.shop.price_of(market)):
                yield from buyer.purchase(self.deal(), market.endpoint)
            else:
                buyer.look(market.endpoint)

    # --- regulars -----------------------------------------------------------------------------------------------

    def _work(self, buyer: Agent, habit: "Habit") -> Life:
        """Do the same job each time, step by step, as long as the week's budget lasts."""
        rng = buyer.rng
        job = rng.choice([*JOBS])
        declared = rng.choice((None, job, f"{job} of {buyer.payer}")) if job else None
        if rng.random() < 0.3:
            buyer.caller, buyer.payer = rng.choice((None, f"key of {buyer.payer}")), None
        budget, spent, week = rng.choice((60, 150, 400, 1000)), 0, 0
        for at in habit.visits(most_days=3):
            yield self._until(at)
            if (at - START_MS) // WEEK_MS != week:
                spent, week = 0, (at - START_MS) // WEEK_MS
            if rng.random() < 0.1:
                buyer.at_partner(pays=rng.random() < 0.8)
            for step in JOBS[job]:
                price = FIXED[step][0]
                if spent + price > budget or rng.random() < 0.05:
                    buyer.look(step, declared)
                    break
                spent += price
                yield from buyer.purchase(self.deal(), step, declared)
                yield round(rng.uniform(2, 60) * 1000) if rng.random() < 0.93 else round(rng.uniform(290, 900) * 1000)

    # --- those who do not pay -----------------------------------------------------------------------------------

    def _crawl(self, buyer: Agent, habit: "Habit") -> Life:
        """Ask for prices without ever paying, now and then for what cannot be sold."""
        routes = [*FIXED, *(market.endpoint for market in MARKETS)]
        for at in habit.visits(most_days=5):
            yield self._until(at)
            endpoint = buyer.rng.choice(routes)
            match buyer.rng.randrange(8):
                case 0 | 1 | 2:
                    buyer.probe(endpoint)
                case 3:
                    self._turned_away(endpoint, 413, "body-too-large")
                case 4:
                    self.shop.ledger.available = False
                    self._turned_away(endpoint, 503, "ledger-unavailable")
                    self.shop.ledger.available = True
                case _:
                    for _ in range(buyer.rng.choice((1, 3))):
                        if endpoint in FIXED:
                            buyer.look(endpoint)
                            yield 1000
                    buyer.look(PARTNER[0])

    def _turned_away(self, endpoint: str, status: int, problem: str) -> None:
        shop = self.shop
        story = shop.truth.story("turned_away", endpoint, None, shop.clock.ms)
        shop.send(story, status, problem, too_large=status == 413)

    # --- the shop's own -----------------------------------------------------------------------------------------

    def _test(self, buyer: Agent, habit: "Habit") -> Life:
        """Try the routes out, with money of the shop's own, and with test money."""
        for at in habit.visits(most_days=3):
            yield self._until(at)
            kind = self.deal()
            yield from buyer.purchase(kind, buyer.rng.choice(["/search", "/read/{id}"]))
            story, challenge = buyer.look(SANDBOX[0])
            if buyer.rng.random() < 0.7:
                yield from buyer.test(story, challenge)


class Habit:
    """When somebody comes: on some days of the week, at about the same hour, from some week on, until they leave."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._week = rng.randrange(WEEKS - 2)
        self._hour = rng.randrange(22)  # at midnight prices change, and nobody is in the middle of a purchase
        self.first = START_MS + self._week * WEEK_MS

    def visits(self, most_days: int) -> "list[int]":
        """The times, ms since 1970."""
        rng = self._rng
        days = sorted(rng.sample(range(7), rng.randint(1, most_days)))
        found: list[int] = []
        for week in range(self._week, WEEKS):
            for day in days:
                if not found or rng.random() >= NO_SHOW:
                    at = START_MS + week * WEEK_MS + day * DAY + self._hour * HOUR
                    found.append(at + rng.randrange(HOUR))
            if rng.random() < CHURN:
                break
        return found
