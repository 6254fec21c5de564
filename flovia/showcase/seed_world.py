"""The made-up world: a shop with its prices and its bad day, and agents, shoppers and crawlers who come to it.

Everybody is a generator that yields how many milliseconds pass until the next step. What they do goes through the real
gate; what comes of it is the gate's business.
"""

import random
from base64 import urlsafe_b64encode
from collections.abc import Callable, Generator, Iterator, Sequence
from hashlib import sha256
from itertools import count
from typing import TYPE_CHECKING, Final, Literal, TypeVar

import attrs

from flovia.api import PaidApi
from flovia.core.binding import Keyring
from flovia.core.challenge import Challenge, parse_challenges
from flovia.core.credential import Credential, format_credential
from flovia.core.delivery import Delivery
from flovia.core.effects import Flow
from flovia.core.encoding import JsonValue
from flovia.core.errors import FloviaError
from flovia.core.gate import Gate
from flovia.core.guard import Services
from flovia.core.http import Headers, HttpRequest
from flovia.core.listening import hear
from flovia.core.money import Price
from flovia.core.offers import Offer
from flovia.core.origin import Origin
from flovia.core.provider import Presented, Unknown, Verdict
from flovia.core.refunding import refund
from flovia.core.webhook import Heard, LatePayment
from flovia.providers.mock import MockProvider
from flovia.runtime import World, run

if TYPE_CHECKING:
    from flovia.ledger.base import Ledger

PROVIDER: Final = "demo"
"""The name by which seeded attempts are known, everywhere: no payment of anybody's has it."""
DAY_MS: Final = 86_400_000
HOUR_MS: Final = 3_600_000
WEEK_MS: Final = 7 * DAY_MS
WEEKS: Final = 6
BAD_DAY: Final = 17
"""So many days after the beginning transcripts fail."""
Life = Generator[int]
T = TypeVar("T")


def dice(name: str) -> random.Random:
    """Chance that is the same each time, for one who is named so."""
    return random.Random(name)  # noqa: S311 - a world is made up here, and no secret


def dealt(counts: Sequence[tuple[T, int]], rng: random.Random) -> Iterator[T]:
    """Things in random order, each as often as it is meant to come: none is missing by chance."""
    deck = [one for one, times in counts for _ in range(times)]
    while True:
        yield from rng.sample(deck, len(deck))


class Clock:
    """Whole milliseconds since 1970 that pass only where the world says so; as a function Unix seconds."""

    def __init__(self, ms: int) -> None:
        self.ms = self._start = ms
        self._rng = dice(f"{ms} work")
        self._worked = 0.0

    def __call__(self) -> float:
        """Unix seconds."""
        return self.ms / 1000

    def monotonic(self) -> float:
        """Seconds since the start, and what the work between two looks took: no answer is there in no time."""
        self._worked += self._rng.lognormvariate(-7.6, 0.6)  # about half a millisecond
        return (self.ms - self._start) / 1000 + self._worked


@attrs.frozen(kw_only=True)
class DemoProvider(MockProvider):
    """The mock provider under a name of its own, which takes its time and hears of money that came too late.

    Args:
        clock: of the world; None for a provider that only gives back.
    """

    name: str = PROVIDER
    method: str = PROVIDER
    clock: Clock | None = None
    rng: random.Random = attrs.field(factory=lambda: dice("nobody"), repr=False)
    notices: list[LatePayment] = attrs.field(factory=list[LatePayment], repr=False)
    max_webhook: int = 0

    def verify(self, presented: Presented) -> Flow[Verdict]:
        """As the mock does, after a while; nobody knows for a proof that says so."""
        if self.clock is not None:
            self.clock.ms += round(self.rng.lognormvariate(4.4, 0.5))
        if str(presented.payload.get("proof", "")).startswith("lost"):
            return Unknown()
        return (yield from MockProvider.verify(self, presented))

    def webhook(self, headers: Headers, body: bytes) -> Flow[Heard]:
        """What the world has planted."""
        yield from ()
        found = tuple(self.notices)
        self.notices.clear()
        return Heard(notices=found)


@attrs.frozen(kw_only=True)
class Product:
    """A route. With several ``prices`` one a week, in turn. ``half``: the price that half of the shoppers would pay.

    ``handler_ms``: the median of what its handler takes.
    """

    endpoint: str
    currency: str
    prices: tuple[int, ...]
    half: int
    handler_ms: int
    http_method: str = "GET"
    on_failure: str = "redeem"

    def price(self, week: int) -> int:
        """What it costs in a week, base units."""
        return self.prices[week % len(self.prices)]


# None in the currency of what a visitor pays (shop.PRICE): made-up money is in no sum with money from a provider.
PRODUCTS: Final = (
    Product(endpoint="/v1/search", currency="usd", prices=(2,), half=4, handler_ms=40),
    Product(endpoint="/v1/documents/{id}", currency="usd", prices=(5,), half=9, handler_ms=70),
    Product(endpoint="/v1/summaries", currency="usd", prices=(20, 35, 50), half=31, handler_ms=900, http_method="POST"),
    Product(endpoint="/v1/images", currency="aud", prices=(80, 150), half=95, handler_ms=2100, http_method="POST"),
    Product(endpoint="/v1/forecasts/{city}", currency="eur", prices=(25, 40), half=32, handler_ms=180),
    Product(
        endpoint="/v1/transcripts",
        currency="aud",
        prices=(200,),
        half=260,
        handler_ms=3200,
        http_method="POST",
        on_failure="refund",
    ),
)
SEARCH, DOCUMENT, SUMMARY, IMAGE, FORECAST, TRANSCRIPT = range(len(PRODUCTS))


@attrs.frozen(kw_only=True)
class Job:
    """What agents do: the workflow they declare, its routes in order, and what part of them leaves each week."""

    workflow: str | None
    steps: tuple[int, ...]
    leaves: float


JOBS: Final = (
    (Job(workflow="nightly-brief", steps=(SEARCH, DOCUMENT, DOCUMENT, SUMMARY), leaves=0.04), 6),
    (Job(workflow="price-watch", steps=(SEARCH, SEARCH, DOCUMENT), leaves=0.09), 4),
    (Job(workflow="storyboard", steps=(SUMMARY, IMAGE, IMAGE), leaves=0.2), 2),
    (Job(workflow="trip-planner", steps=(FORECAST, SEARCH, DOCUMENT), leaves=0.13), 3),
    (Job(workflow="meeting-notes", steps=(TRANSCRIPT, SUMMARY), leaves=0.1), 2),
    (Job(workflow=None, steps=(SEARCH, DOCUMENT), leaves=0.25), 3),
)
"""Each with how many of twenty agents do it."""
NAMES: Final = (
    "atlas",
    "borealis",
    "cinder",
    "delta",
    "ember",
    "fjord",
    "gale",
    "harbor",
    "iris",
    "juniper",
    "kestrel",
)
WAYS: Final[dict[str, int]] = {
    "plain": 885,
    "pending": 18,
    "declined": 16,
    "declined, pays again": 14,
    "too late": 10,
    "too late, pays again": 8,
    "handler fails once": 12,
    "handler fails, gives up": 2,
    "client gone": 3,
    "replays": 7,
    "refunded": 9,
    "refunded in part": 4,
    "pays too little": 2,
    "pays late": 4,
    "pays twice": 3,
    "nobody knows": 3,
}
"""How a purchase goes, of a thousand."""


class SurpriseError(FloviaError):
    """The gate answered what the world did not expect."""


class Shop:
    """The routes behind real gates, and the one way into them.

    Args:
        ledger: where it is all kept; its clock is ``clock``.
        secret: signs the challenges, 32 bytes at least.
    """

    def __init__(self, ledger: "Ledger", clock: Clock, seed: str, *, secret: bytes, realm: str, origin: str) -> None:
        self.ledger, self.clock, self.start = ledger, clock, clock.ms
        self.rng = dice(f"{seed} shop")
        self.ways = dealt([*WAYS.items()], dice(f"{seed} ways"))
        self.attempts = 0
        self.realm = realm
        self.provider = DemoProvider(clock=clock, rng=dice(f"{seed} bank"))
        ids = dice(f"{seed} ids")
        self.token: Callable[[], str] = lambda: urlsafe_b64encode(ids.randbytes(16)).decode().rstrip("=")
        self.world = World(ledger=ledger, clock=clock, monotonic=clock.monotonic, tokens=self.token)
        services = Services(
            ledger=ledger,
            clock=clock,
            monotonic=clock.monotonic,
            tokens=self.token,
            realm=realm,
            keyring=Keyring([secret]),
            origin=Origin.parse(origin),
            payer_of=lambda request: request.headers.get("x-agent"),
        )
        self._host = origin.partition("//")[2]
        self.gates = [PaidApi(self._gate(services, one), self.world) for one in PRODUCTS]
        self._proofs = count(1)
        self._seed = seed

    def _gate(self, services: Services, product: Product) -> Gate:
        def price(_: HttpRequest) -> Price:
            return Price(amount=product.price(self.week), currency=product.currency)

        fixed = Price(amount=product.prices[0], currency=product.currency)
        offer = Offer(provider=self.provider, price=fixed if len(product.prices) == 1 else price)
        policy = Delivery(on_failure="refund") if product.on_failure == "refund" else Delivery()
        return Gate(services, offers=[offer], rail="mpp", name=product.endpoint, delivery=policy)

    @property
    def week(self) -> int:
        """Whole weeks since the beginning."""
        return (self.clock.ms - self.start) // WEEK_MS

    def proof(self, word: str = "ok") -> str:
        """A proof that nobody else has; the mock goes by what it begins with."""
        return f"{word}-demo-{self._seed}-{next(self._proofs)}"

    def ask(
        self,
        product: int,
        who: str,
        workflow: str | None,
        authorization: str | None = None,
        handler: str = "works",
    ) -> tuple[int, Challenge | None]:
        """One request: its status, and the challenge that came with it, if one did.

        ``handler``: ``works``, ``fails``, or ``is left`` by the client before the last byte.
        """
        sold, paid = PRODUCTS[product], self.gates[product]
        fields = [("host", self._host), ("x-agent", who)]
        fields += [("flovia-workflow", workflow)] if workflow else []
        fields += [("authorization", authorization)] if authorization else []
        path = sold.endpoint.replace("{id}", "8731").replace("{city}", "singapore")
        ident = f"req_{self.token()}"
        request = HttpRequest(sold.http_method, path, "", Headers.of(fields), sold.endpoint, request_id=ident)
        passage = paid.enter(request)
        self.clock.ms += self.rng.randrange(1, 4)
        if passage.response is not None:
            shown = [value for name, value in passage.response.headers if name == "www-authenticate"]
            return passage.response.status, parse_challenges(shown)[0] if shown else None
        self.clock.ms += round(sold.handler_ms * self.rng.lognormvariate(0, 0.45))
        status = 502 if handler == "fails" else 200
        passage.start(status, Headers.of(()))
        paid.leave(passage, completed=handler != "is left")
        return status, None

    def late(self, challenge: Challenge, reason: Literal["late", "duplicate"], amount: int, currency: str) -> None:
        """Money arrives that can buy nothing any more."""
        self.provider.notices.append(
            LatePayment(
                challenge_id=challenge.id,
                method=PROVIDER,
                payment_id=self.proof("late"),
                amount=amount,
                currency=currency,
                reason=reason,
            )
        )
        run(hear(self.provider, Headers.of(()), b"", realm=self.realm, rail="mpp"), self.world)

    def give_back(self, reference: str, amount: Price | None) -> None:
        """Refund a payment."""
        run(refund(reference, amount, [self.provider], "mpp"), self.world)

    @property
    def broken(self) -> bool:
        """Whether it is the bad day."""
        return (self.clock.ms - self.start) // DAY_MS == BAD_DAY


@attrs.define
class Buyer:
    """Somebody who asks, and perhaps pays."""

    shop: Shop
    rng: random.Random
    name: str
    workflow: str | None = None

    def look(self, product: int) -> Challenge:
        """Ask for the price."""
        self.shop.attempts += 1
        _, challenge = self.shop.ask(product, self.name, self.workflow)
        if challenge is None:
            raise SurpriseError(f"{PRODUCTS[product].endpoint} was asked for and no price came")
        return challenge

    def buy(self, product: int) -> Life:
        """See the price and go on in one of :data:`WAYS`."""
        challenge = self.look(product)
        yield self._wait(1, 25)
        way = next(self.shop.ways)
        if product == TRANSCRIPT and self.shop.broken and self.rng.random() < 0.6:
            way = "handler fails once"
        yield from self._go(product, challenge, way)

    def _go(self, product: int, challenge: Challenge, way: str) -> Life:
        amount, currency = int(str(challenge.request_json["amount"])), str(challenge.request_json["currency"])
        proof = self.shop.proof()
        match way:
            case "pending":
                self._bring(product, challenge, self.shop.proof("pending"))
                yield self._wait(2, 30)
            case "declined" | "declined, pays again":
                _, fresh = self._bring(product, challenge, self.shop.proof("declined"))
                if way == "declined" or fresh is None:
                    return
                self.shop.attempts += 1
                challenge = fresh
                yield self._wait(5, 90)
            case "too late" | "too late, pays again":
                yield self._wait(320, 2400)
                _, fresh = self._bring(product, challenge, proof)
                if way == "too late" or fresh is None:
                    return
                self.shop.attempts += 1
                challenge, proof = fresh, self.shop.proof()
                yield self._wait(2, 20)
            case "handler fails once" | "handler fails, gives up":
                self._bring(product, challenge, proof, handler="fails")
                if way == "handler fails, gives up" or PRODUCTS[product].on_failure == "refund":
                    if PRODUCTS[product].on_failure == "refund" and self.rng.random() < 0.8:
                        yield self._wait(3600, 90_000)
                        self.shop.give_back(_reference(proof), None)
                    return
                yield self._wait(3, 60)
            case "client gone":
                self._bring(product, challenge, proof, handler="is left")
                if self.rng.random() < 0.5:
                    return
                yield self._wait(3, 60)
            case "pays too little":
                self._bring(product, challenge, proof, paid_amount=str(max(amount - 1, 1)))
                return
            case "pays late":
                yield self._wait(400, 4000)
                self.shop.late(challenge, "late", amount, currency)
                return
            case "nobody knows":
                self._bring(product, challenge, self.shop.proof("lost"))
                return
            case _:
                pass
        self._bring(product, challenge, proof)
        if way == "replays":
            yield self._wait(1, 30)
            self._bring(product, challenge, proof)
        elif way == "pays twice":
            yield self._wait(20, 900)
            self.shop.late(challenge, "duplicate", amount, currency)
        elif way == "refunded":
            yield self._wait(7200, 260_000)
            self.shop.give_back(_reference(proof), None)
        elif way == "refunded in part" and amount > 2:
            yield self._wait(7200, 260_000)
            self.shop.give_back(_reference(proof), Price(amount=amount // 2, currency=currency))

    def _bring(
        self, product: int, challenge: Challenge, proof: str, handler: str = "works", **more: str
    ) -> tuple[int, Challenge | None]:
        payload: dict[str, JsonValue] = {"proof": proof, **more}
        credential = Credential(challenge=challenge, payload=payload, source=self.name)
        return self.shop.ask(product, self.name, self.workflow, format_credential(credential), handler)

    def _wait(self, least_s: float, most_s: float) -> int:
        return round(self.rng.uniform(least_s, most_s) * 1000)


def _reference(proof: str) -> str:
    """What the mock calls the payment of a proof."""
    return "mock_" + sha256(proof.encode()).hexdigest()[:32]
