"""One paid call as it goes, without a wallet, a checkout or a network: the real gate, the real HitPay provider, the
real join. Only HitPay's own answers are scripted, and the clock stands still between them.
"""

import json
from collections.abc import Mapping
from itertools import count
from typing import Final, TypeVar

import attrs

from flovia.api import PaidApi
from flovia.core.binding import Keyring
from flovia.core.challenge import Challenge, format_expires, parse_challenges
from flovia.core.credential import Credential, format_credential
from flovia.core.effects import Flow, HttpCall, HttpReply
from flovia.core.encoding import JsonValue
from flovia.core.errors import FloviaError
from flovia.core.events import REQUEST_STARTED, Event
from flovia.core.gate import Gate
from flovia.core.guard import Services
from flovia.core.http import Headers, HttpRequest, HttpResponse
from flovia.core.money import Price
from flovia.core.offers import Offer
from flovia.core.origin import Origin
from flovia.core.provider import Presented, Quote, Terms, Verdict
from flovia.insights.attempt import Attempt, attempts
from flovia.ledger.memory import MemoryLedger
from flovia.providers.hitpay import HitPayConfig, HitPayProvider
from flovia.runtime import World
from flovia.sandbox.signing import RECEIPT, new_key, sign

ENDPOINT: Final = "/showcase/hitpay-mpp/paid"
PRICE: Final = Price(amount=100, currency="sgd")
CHARGE: Final = "hitpay_demo_charge_001"
CHECKOUT: Final = f"https://checkout.example/{CHARGE}"
BROKER: Final = "https://sandbox.mpp.hitpay.dev"
"""The provider takes no made-up address for its broker. Nothing is sent there."""
ORIGIN: Final = "https://api.example"
ASKED: Final = "req_demo_000"
"""The id of the request that is refused."""
PAID: Final = "req_demo_001"
"""The id of the request that brings the credential."""
BODY: Final = b'{ "foo": "bar" }'
START_MS: Final = 1_767_603_600_000
"""5 January 2026, 09:00 UTC, milliseconds since 1970: the same for everybody who looks."""
_CREATE_MS: Final = 38
_PAY_MS: Final = 9_000
_VERIFY_MS: Final = 21
_KEYS_MS: Final = 9
_HANDLER_MS: Final = 17
_CHARGE_LIFETIME_S: Final = 900
_SECRET: Final = b"signs challenges that nobody can pay"
T = TypeVar("T")


class OffScriptError(FloviaError):
    """The core did something that the script has no line for."""


class Clock:
    """Whole milliseconds that pass only where the script says so. Called, it gives Unix seconds."""

    def __init__(self) -> None:
        self.ms = START_MS

    def __call__(self) -> float:
        """Unix seconds."""
        return self.ms / 1000

    def monotonic(self) -> float:
        """Seconds since the start."""
        return (self.ms - START_MS) / 1000

    def pass_by(self, ms: int) -> None:
        """Let time go by."""
        self.ms += ms


class ScriptedHitPay:
    """What HitPay answers in this story, and how long each answer takes."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._key = new_key(b"the showcase's simulation", 1)
        self._bound: dict[str, JsonValue] = {}
        self.paid = False

    def answer(self, call: HttpCall) -> HttpReply:
        """The answer to one call of the provider's.

        Raises:
            OffScriptError: no such call is in the script.
        """
        match call.http_method, call.url.removeprefix(BROKER):
            case "POST", "/v1/charges":
                return self._create(json.loads(call.body))
            case "POST", path if path == f"/v1/charges/{CHARGE}/verify" and self.paid:
                return self._reply(_VERIFY_MS, {"receipt_jws": self._receipt()})
            case "GET", "/.well-known/jwks.json":
                return self._reply(_KEYS_MS, {"keys": [self._key.jwk()]})
            case other:
                raise OffScriptError(f"nobody told the simulated HitPay what to answer to {' '.join(other)}")

    def status(self) -> Mapping[str, JsonValue]:
        """What an agent would read at the polling address."""
        return {"challenge_id": CHARGE, "status": "paid" if self.paid else "pending"}

    def _create(self, body: dict[str, JsonValue]) -> HttpReply:
        self._bound = {name: body[name] for name in ("request_hash", "nonce", "amount", "currency")}
        reply: dict[str, JsonValue] = {
            "challenge_id": CHARGE,
            "checkout_url": CHECKOUT,
            "polling_url": f"{BROKER}/v1/charges/{CHARGE}",
            "expires_at": format_expires(self._clock.ms // 1000 + _CHARGE_LIFETIME_S),
            "status": "pending",
        }
        return self._reply(_CREATE_MS, reply)

    def _receipt(self) -> str:
        claims = {
            "iss": BROKER,
            "iat": self._clock.ms // 1000,
            "challenge_id": CHARGE,
            "status": "paid",
            **self._bound,
        }
        return sign(self._key, RECEIPT, claims)

    def _reply(self, ms: int, members: Mapping[str, object]) -> HttpReply:
        self._clock.pass_by(ms)
        return HttpReply(status=200, headers=(("content-type", "application/json"),), body=json.dumps(members).encode())


class SimulatedProvider(HitPayProvider):
    """HitPay's provider as it is; its calls go to the script."""

    def __init__(self, hitpay: ScriptedHitPay) -> None:
        super().__init__(HitPayConfig(api_key="test_of_the_simulation", broker=BROKER))
        self._hitpay = hitpay

    def quote(self, quote: Quote) -> Flow[Terms]:
        """As the provider does."""
        return (yield from self._scripted(super().quote(quote)))

    def verify(self, presented: Presented) -> Flow[Verdict]:
        """As the provider does."""
        return (yield from self._scripted(super().verify(presented)))

    def _scripted(self, flow: Flow[T]) -> Flow[T]:
        """A flow whose calls are answered by the script; every other effect is for whoever drives it."""
        answer: object = None
        while True:
            try:
                effect = flow.send(answer)
            except StopIteration as stop:
                value: T = stop.value
                return value
            answer = self._hitpay.answer(effect) if isinstance(effect, HttpCall) else (yield effect)


@attrs.frozen(kw_only=True)
class Run:
    """What one simulated call left behind.

    ``events``: those that the ledger holds after each of the five steps. ``attempts``: what the join makes of them.
    """

    asked: HttpRequest
    refused: HttpResponse
    challenge: Challenge
    status: Mapping[str, JsonValue]
    retry: HttpRequest
    answer: tuple[int, tuple[tuple[str, str], ...], bytes]
    events: tuple[tuple[Event, ...], ...]
    attempts: tuple[Attempt, ...]


def run() -> Run:
    """Play the call from the first request to the joined event.

    Raises:
        OffScriptError: the core did something that is not in the script.
    """
    clock = Clock()
    hitpay = ScriptedHitPay(clock)
    ledger = MemoryLedger(clock=clock)
    paid = _route(ledger, clock, hitpay)

    asked = _request(ASKED)
    refused = paid.enter(asked).response
    if refused is None or refused.status != 402:
        raise OffScriptError("the first request was not refused with a 402")
    (challenge,) = parse_challenges([value for name, value in refused.headers if name == "www-authenticate"])
    after_refusal = _events(ledger)
    started = tuple(event for event in after_refusal if event.type == REQUEST_STARTED)

    clock.pass_by(_PAY_MS)
    hitpay.paid = True
    status = hitpay.status()

    credential = Credential(challenge=challenge, payload={"challenge_id": CHARGE}, source=None)
    retry = _request(PAID, ("authorization", format_credential(credential)))
    passage = paid.enter(retry)
    if passage.response is not None:
        raise OffScriptError(f"the paid request was refused with {passage.response.status}")
    clock.pass_by(_HANDLER_MS)
    head = [("content-type", "application/json")]
    fields = passage.start(200, Headers.of(head)).apply(head)
    paid.leave(passage, completed=True)
    after_delivery = _events(ledger)
    seen = (started, after_refusal, after_refusal, after_delivery, after_delivery)
    return Run(
        asked=asked,
        refused=refused,
        challenge=challenge,
        status=status,
        retry=retry,
        answer=(200, tuple(fields), BODY),
        events=seen,
        attempts=tuple(_only(attempts(found)) for found in seen),
    )


def _route(ledger: MemoryLedger, clock: Clock, hitpay: ScriptedHitPay) -> PaidApi:
    # Not by Flovia(…), which reads this process's environment: the story is the same everywhere.
    numbers = count(1)

    def tokens() -> str:
        return f"demo{next(numbers):017d}A"

    services = Services(
        ledger=ledger,
        clock=clock,
        monotonic=clock.monotonic,
        tokens=tokens,
        realm="flovia demo",
        keyring=Keyring([_SECRET]),
        origin=Origin.parse(ORIGIN),
    )
    offer = Offer(provider=SimulatedProvider(hitpay), price=PRICE)
    gate = Gate(services, offers=[offer], rail="mpp", name=ENDPOINT)
    return PaidApi(gate, World(ledger=ledger, clock=clock, monotonic=clock.monotonic, tokens=tokens))


def _request(request_id: str, *more: tuple[str, str]) -> HttpRequest:
    fields = (("host", ORIGIN.removeprefix("https://")), ("flovia-workflow", "demo"), *more)
    return HttpRequest("GET", ENDPOINT, "", Headers.of(fields), ENDPOINT, request_id=request_id)


def _events(ledger: MemoryLedger) -> tuple[Event, ...]:
    ledger.flush()
    return tuple(event for _, event in ledger.read_events())


def _only(found: list[Attempt]) -> Attempt:
    if len(found) != 1:
        raise OffScriptError(f"one call became {len(found)} attempts")
    return found[0]
