"""The shop: the real Flovia with the world's routes, and the one way into it. What comes back must be what is due."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from hashlib import sha256
from itertools import count
from typing import cast

import flovia
from flovia import Price
from flovia.core.challenge import Challenge, parse_challenges
from flovia.core.credential import Credential, format_credential
from flovia.core.encoding import JsonValue
from flovia.core.http import BODY_TOO_LARGE
from flovia.ledger.base import Ledger
from flovia.ledger.memory import MemoryLedger
from flovia.providers.mock import MockProvider
from tests.world.bank import Bank, Desk, Shaky
from tests.world.clock import Clock
from tests.world.hitpay import Sandboxed, Wire
from tests.world.plan import CHECKOUT, FIXED, MARKETS, PARTNER, PRICE_MS, SANDBOX, Market
from tests.world.truth import Ask, Story, Truth

SECRET = "test-secret-of-the-world-32-bytes!!"
FLUSH_EVERY = 200
"""Requests after which the ledger writes what waits: its buffer for unpaid ones is bounded."""


class SurpriseError(AssertionError):
    """The gate did something else than what was due."""


@dataclass(slots=True)
class Came:
    """What came back: the challenge it showed, if any."""

    challenge: Challenge | None


@dataclass(slots=True)
class Handler:
    """What the handler behind the gate does. ``meanwhile``: what happens while it works."""

    ms: int = 20
    status: int = 200
    raises: bool = False
    whole: bool = True
    meanwhile: "Story | None" = None


class Shop:
    """Routes, prices and what the world does to them."""

    def __init__(self, ledger: Ledger, clock: Clock, truth: Truth, wire: Wire) -> None:
        self.clock, self.truth = clock, truth
        self.ledger = Shaky(ledger)
        self.desk = Desk(clock)
        self.bank = Bank(name="bank", method="bank", desk=self.desk)
        self.surge = 0
        tokens = count(1)
        self.flovia = flovia.Flovia(
            provider=self.bank,
            ledger=cast(Ledger, self.ledger),
            secret=SECRET,
            realm="world.example.com",
            public_origin="https://world.example.com",
            payer_of=lambda request: request.headers.get("x-api-key"),
            clock=clock,
            monotonic=clock.monotonic,
            tokens=lambda: f"{next(tokens):022d}",
        )
        self.routes: dict[str, flovia.PaidApi] = {}
        for market in MARKETS:
            self.routes[market.endpoint] = self.flovia.paid_api(price=self._pricing(market), name=market.endpoint)
        for endpoint, (amount, currency) in FIXED.items():
            policy = flovia.Delivery(on_failure="refund") if endpoint == "/render" else flovia.Delivery()
            price = Price(amount=amount, currency=currency)
            self.routes[endpoint] = self.flovia.paid_api(price=price, name=endpoint, delivery=policy)
        endpoint, amount, currency = SANDBOX
        price = Price(amount=amount, currency=currency)
        self.routes[endpoint] = self.flovia.paid_api(provider=MockProvider(), price=price, name=endpoint)
        self.hitpay = Sandboxed(wire, self.desk)
        endpoint, amount, currency = CHECKOUT
        price = Price(amount=amount, currency=currency)
        self.routes[endpoint] = self.flovia.paid_api(provider=self.hitpay, price=price, name=endpoint, expires_in=600)
        endpoint, amount, currency = PARTNER
        self.routes[endpoint] = self.flovia.observe(provider=self.bank, name=endpoint)
        self._partner = flovia.Flovia(
            provider=self.bank,
            ledger=MemoryLedger(clock=clock),
            secret=f"{SECRET} of the partner",
            realm="partner.example.com",
            public_origin="https://world.example.com",
            clock=clock,
            tokens=lambda: f"{next(tokens):022d}",
        ).paid_api(price=Price(amount=amount, currency=currency), name=endpoint)
        self._sent = 0

    def _pricing(self, market: Market) -> Callable[[flovia.HttpRequest], Price]:
        def price(_: flovia.HttpRequest) -> Price:
            self.clock.pass_by(PRICE_MS)
            return Price(amount=self.price_of(market), currency=market.currency)

        return price

    def price_of(self, market: Market) -> int:
        """What a market's route costs now."""
        return market.price(self.clock.ms) + self.surge

    def send(
        self,
        story: Story,
        status: int,
        problem: str | None = None,
        *,
        verb: str = "GET",
        credential: str | None = None,
        key: str | None = None,
        handler: Handler | None = None,
        too_large: bool = False,
    ) -> tuple[Ask, Came]:
        """Send a request of a story, and check that its answer is the one that is due.

        Args:
            story: what it belongs to.
            status: of the answer that is due.
            problem: its problem type's code, if it is to have one.
            verb: the HTTP method.
            credential: the value of Authorization.
            key: the value of Idempotency-Key.
            handler: what the handler does, if the request is to get so far.
            too_large: the body is larger than the route takes.

        Raises:
            SurpriseError: another answer came.
        """
        ask = self.truth.ask(story, self.clock.ms, verb, status, problem, brings=credential is not None)
        headers = [("host", "world.example.com")]
        headers += [("authorization", credential)] if credential else []
        headers += [("flovia-workflow", story.workflow)] if story.workflow else []
        headers += [("idempotency-key", key)] if key else []
        headers += [("x-api-key", story.caller)] if story.caller else []
        body = BODY_TOO_LARGE if too_large else flovia.NO_BODY
        path = story.endpoint.replace("{id}", str(story.item))
        request = flovia.HttpRequest(
            verb, path, "", flovia.Headers.of(headers), story.endpoint, "192.0.2.1", "192.0.2.2", body, ask.id
        )
        paid = self.routes[story.endpoint]
        passage = paid.enter(request)
        response, no_problem = passage.response, cast("str | None", None)
        if paid.observes:
            came, challenge = self._observe(paid, passage, request)
            found = came, no_problem
        elif response is None:
            came = self._handle(paid, passage, story, credential, handler)
            found = came, no_problem
            challenge = None
        else:
            found = response.status, _problem(response) if response.status >= 400 else None
            challenge = _challenge(response)
        ask.until = self.clock.ms
        due = status, problem if response is not None and verb != "HEAD" else None
        if found != due:
            raise SurpriseError(f"story {story.number} at {story.endpoint}: {found} came, {due} was due")
        self._sent += 1
        if self._sent % FLUSH_EVERY == 0:
            self.ledger.flush()
        return ask, Came(challenge)

    def _handle(
        self,
        paid: flovia.PaidApi,
        passage: flovia.Passage,
        story: Story,
        credential: str | None,
        handler: Handler | None,
    ) -> int:
        """Let the handler answer; the status that the client sees."""
        if handler is None:
            raise SurpriseError(f"story {story.number} was let in, and nothing was paid")
        if handler.meanwhile is not None:
            self.clock.pass_by(1)
            self.send(story, 409, "in-flight", credential=credential)
        self.clock.pass_by(handler.ms)
        if handler.raises:
            status = passage.raised().status
        else:
            status = handler.status
            passage.start(status, flovia.Headers.of(()))
            if (copy := passage.copy()) is not None:
                copy.feed(b"{}")
        paid.leave(passage, completed=handler.whole)
        return status

    def _observe(
        self, paid: flovia.PaidApi, passage: flovia.Passage, request: flovia.HttpRequest
    ) -> tuple[int, Challenge | None]:
        """Let the partner's gate answer, and its handler; the status and the challenge that the client sees."""
        inner = self._partner.enter(request)
        if inner.response is not None:
            passage.start(inner.response.status, flovia.Headers.of(inner.response.headers))
            paid.leave(passage, completed=True)
            return inner.response.status, _challenge(inner.response)
        self.clock.pass_by(30)
        head = inner.start(200, flovia.Headers.of(())).apply([])
        passage.start(200, flovia.Headers.of(head))
        self.desk.said_at = self.clock.ms
        self.clock.pass_by(4)
        self._partner.leave(inner, completed=True)
        paid.leave(passage, completed=True)
        return 200, None

    def flush(self) -> None:
        """Write what waits."""
        self.ledger.flush()


def credential_of(challenge: Challenge, payload: dict[str, JsonValue], payer: str | None) -> str:
    """The value of Authorization that answers a challenge."""
    return format_credential(Credential(challenge=challenge, payload=payload, source=payer))


def bank_reference(proof: str) -> str:
    """What the bank calls the payment of a proof."""
    return "mock_" + sha256(proof.encode()).hexdigest()[:32]


def _challenge(response: flovia.HttpResponse) -> Challenge | None:
    shown = parse_challenges([value for name, value in response.headers if name == "www-authenticate"])
    return shown[0] if shown else None


def _problem(response: flovia.HttpResponse) -> str | None:
    if not response.body:
        return None
    found: Iterable[str] = str(json.loads(response.body).get("type", "")).replace(":", "/").split("/")
    return [*found][-1] or None
