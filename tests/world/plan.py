"""What is planted: routes with their prices and demand, and how often things go wrong."""

import random
from dataclasses import dataclass
from typing import Final

from tests.world.truth import START_MS, WEEK_MS

DAY: Final = 86_400_000
"""Milliseconds."""
WEEKS: Final = 14
"""How long the world lasts."""
PRICE_MS: Final = 3
"""How long a price that is worked out takes."""
BANK_MS: Final = (40, 90, 130, 400, 1900)
HANDLER_MS: Final = (5, 20, 80, 250, 700)


@dataclass(frozen=True, slots=True)
class Demand:
    """Who would pay how much: half of those who see ``half`` pay it, and the steeper, the fewer a higher price."""

    half: float
    steep: float

    def share(self, price: int) -> float:
        """The part of those who see a price that pay it."""
        return 1 / (1 + float((price / self.half) ** self.steep))


@dataclass(frozen=True, slots=True)
class Market:
    """A route whose price changes: one price a week, in turn; the last week shows ``last``."""

    endpoint: str
    currency: str
    prices: tuple[int, ...]
    last: int
    demand: Demand

    def price(self, ms: int) -> int:
        """What it costs at a time."""
        week = (ms - START_MS) // WEEK_MS
        return self.last if week >= WEEKS - 1 else self.prices[week % len(self.prices)]

    def brings(self, price: int) -> float:
        """Base units that one attempt at a price brings, accidents counted in."""
        share = self.demand.share(price)
        return price * share * PAID_PER_PURCHASE / (1 - share + share * ATTEMPTS_PER_PURCHASE)

    @property
    def best(self) -> int:
        """The planted best price."""
        return max(self.prices, key=self.brings)


MARKETS: Final = (
    Market("/quotes", "usd", (100, 250, 600), 100, Demand(300, 4)),
    Market("/images", "jpy", (30, 70, 160), 160, Demand(80, 4)),
    Market("/reports", "sgd", (200, 500, 1200), 500, Demand(600, 4)),
)
"""The first is to be raised, the second lowered, the third left as it is."""

FIXED: Final = {"/search": (5, "usd"), "/read/{id}": (20, "usd"), "/summarise": (50, "usd"), "/render": (40, "eur")}
"""Routes with one price. What ``/render`` cannot deliver is to be given back."""
CHECKOUT: Final = ("/checkout", 500, "sgd")
"""The route that people pay for at HitPay's page."""
PARTNER: Final = ("/partner", 30, "usd")
"""The route whose handler has a gate of its own, which is only observed."""
SANDBOX: Final = ("/try", 10, "usd")
"""The route with test money."""

JOBS: Final = {
    "nightly-brief": ("/search", "/read/{id}", "/read/{id}", "/summarise"),
    "price-watch": ("/search", "/search", "/read/{id}"),
    "storyboard": ("/summarise", "/render", "/render"),
    "": ("/search", "/read/{id}"),
}
"""What regulars do, under the name they declare; without a name only the pauses tell."""

PLAIN: Final = "plain"
# Kind: how many of a deck, how many attempts each makes, and how many of these are paid.
PURCHASES: Final[dict[str, tuple[int, int, int]]] = {
    PLAIN: (250, 1, 1),
    "bank stutters": (4, 1, 1),
    "bank pending": (3, 1, 1),
    "bank never says": (2, 1, 0),
    "declined": (4, 1, 0),
    "declined, pays again": (3, 2, 1),
    "too late": (2, 1, 0),
    "too late, pays again": (3, 2, 1),
    "asks twice at once": (3, 1, 1),
    "handler fails once": (4, 1, 1),
    "handler fails, gives up": (2, 1, 1),
    "handler fails for good": (1, 1, 1),
    "client gone": (3, 1, 1),
    "replays": (3, 1, 1),
    "replays with a key": (2, 1, 1),
    "pays too little": (1, 1, 0),
    "pays too much": (1, 1, 0),
    "pays other money": (1, 1, 0),
    "price rises": (2, 1, 1),
    "ledger down at the claim": (2, 1, 1),
    "ledger's answer to the claim lost": (2, 1, 1),
    "ledger down when it settles": (2, 1, 1),
    "ledger's answer to settling lost": (2, 1, 1),
    "ledger down at the end": (2, 1, 1),
    "refunded": (3, 1, 1),
    "refunded in part": (2, 1, 1),
}
_DEALT: Final = sum(count for count, _, _ in PURCHASES.values())
ATTEMPTS_PER_PURCHASE: Final = sum(count * made for count, made, _ in PURCHASES.values()) / _DEALT
PAID_PER_PURCHASE: Final = sum(count * paid for count, _, paid in PURCHASES.values()) / _DEALT

VISITS: Final[dict[str, int]] = {
    "pays": 30,
    "walks off": 14,
    "pays, never comes back": 3,
    "pays, never comes back, refunded": 2,
    "pays, never comes back, refund unclear": 2,
    "pays late": 3,
    "pays late, refunded": 2,
    "pays twice": 3,
    "pays twice, refunded": 2,
    "pays too little": 2,
    "refunded": 2,
    "refunded in part": 2,
    "broker down": 2,
}
"""What people do at the checkout, how many of a deck."""


class Deck:
    """Deals what happens in random order, and each as often as planned: no kind is missing by chance."""

    def __init__(self, kinds: dict[str, int], rng: random.Random) -> None:
        self._all = [kind for kind, count in kinds.items() for _ in range(count)]
        self._rng = rng
        self._left: list[str] = []

    def deal(self) -> str:
        """The next one."""
        if not self._left:
            self._left = self._rng.sample(self._all, len(self._all))
        return self._left.pop()
