"""Agents and payers: what they do is drawn from the seed, and what an honest one must never meet is checked."""

import json
from hashlib import sha256
from typing import Any, Final

import attrs

from flovia.core.challenge import Challenge, parse_expires
from flovia.core.credential import Credential, format_credential
from flovia.core.encoding import decode_param, encode_param
from flovia.core.http import NO_BODY, BodyMeter
from tests.simulator.bank import Money
from tests.simulator.exchanges import REALM, Answer, Ask, Exchange, Flow
from tests.simulator.hitpay import WALLET, HitPayWorld
from tests.simulator.plan import AgentKind
from tests.simulator.scheduler import Wait
from tests.simulator.workers import ROUTES
from tests.simulator.world import World

PAYERS: Final = (*("pays",) * 8, "pays less", "pays late", "pays twice", "never")
MOCK_PROOFS: Final = (*("ok",) * 8, "pending", "declined", "unknown", "slow")
ENDS: Final = frozenset({"delivery-exhausted", "delivery-final", "payment-refunded", "refund-due"})
"""What is said, without a challenge, about a payment that buys nothing any more."""
AFTER: Final = frozenset({200, 303})
PAUSES_MS: Final = (0, 0, 50, 1_000, 7_000, 40_000)


def body_of(text: str) -> Any:
    """A request's body as an adapter has read it."""
    meter = BodyMeter(1000)
    meter.feed(text.encode())
    return meter.body


@attrs.define(eq=False, kw_only=True)
class Purchase:
    """One challenge and how somebody means to pay it. ``ending``: "" while that is not known.

    ``key``: the ledger's. ``attacked``: a thief was at it, so what its owner meets is no fault of ours.
    """

    challenge: Challenge
    target: str
    payload: dict[str, Any]
    amount: int
    body: Any = NO_BODY
    honest: bool = True
    attacked: bool = False
    money: Any = None
    silent: bool = False
    reference: str = ""
    card: str = ""
    ending: str = ""
    authorization: str = ""
    shown: str = ""
    key: str = ""

    def __attrs_post_init__(self) -> None:
        self.key = f"{REALM}|{self.challenge.id}"
        self.shown = json.dumps(self.payload, sort_keys=True)
        self.authorization = format_credential(Credential(self.challenge, self.payload))


class Agent:
    """One agent."""

    def __init__(self, world: World, number: int, kind: AgentKind) -> None:
        self.world, self.number, self.kind = world, number, kind
        self.rng = world.rng
        self.name = f"agent {number} ({kind})"
        self.mine: list[Purchase] = []
        world.spawn(self.name, self.live())

    # --- one request ------------------------------------------------------------------------------------------

    def exchange(self, purchase: Purchase, **changed: Any) -> Exchange:
        """A request with a credential; with ``changed``, not the one it was issued for."""
        settings: dict[str, Any] = {
            "target": purchase.target,
            "headers": [("authorization", purchase.authorization)],
            "body": purchase.body,
            "http_method": "POST" if purchase.target == "/order" else "GET",
            "purchase": purchase,
            "plain": True,
            "payload": purchase.shown,
            **changed,
        }
        return Exchange(**settings)

    def send(self, exchange: Exchange, patience: int = 120_000) -> Flow:
        """Send it; the answer, or None."""
        answer: Answer | None = yield Ask(exchange, patience)
        if self.world.tracing:
            self.world.note(f"{self.name}: {'nothing' if answer is None else f'{answer.status} {answer.problem}'}")
        return answer

    def fetch(self, target: str, body: Any = NO_BODY) -> Flow:
        """A challenge for a route, or None if there is none to be had."""
        wallet = list(WALLET) if self.world.plan.provider == "hitpay" and self.rng.random() < 0.3 else []
        for _ in range(8):
            method = "POST" if target == "/order" else "GET"
            answer = yield from self.send(Exchange(target, wallet, http_method=method, body=body))
            if answer is not None and answer.status == 402:
                return answer.challenge
            yield Wait(self.rng.choice((200, 1_000, 6_000)))
        return None

    # --- a purchase -------------------------------------------------------------------------------------------

    def buy(self) -> Flow:
        """Get a challenge and let somebody pay; the purchase, or None."""
        world, rng = self.world, self.rng
        target = rng.choice(("/paid", "/paid", "/other", "/order"))
        if world.plan.rising:
            target = rng.choice((target, "/rising"))
        body = body_of("two of these") if target == "/order" else NO_BODY
        challenge = yield from self.fetch(target, body)
        if challenge is None:
            return None
        amount = int(str(decode_param(challenge.request)["amount"]))
        purchase = self.pay(challenge, target, amount, body)
        self.mine.append(purchase)
        world.purchases.append(purchase)
        return purchase

    def pay(self, challenge: Challenge, target: str, amount: int, body: Any) -> Purchase:
        """Decide how it is paid; where the payer has to act, somebody does later."""
        world, rng = self.world, self.rng
        common: dict[str, Any] = {
            "challenge": challenge,
            "target": target,
            "amount": amount,
            "body": body,
            "honest": self.kind != "greedy",
        }
        number = len(world.purchases)
        if world.plan.provider == "mock":
            proof = f"{rng.choice(MOCK_PROOFS)} {number}"
            reference = mock_reference(proof)
            if proof.startswith("ok"):
                world.references.add(reference)
            return Purchase(payload={"proof": proof}, reference=reference, **common)
        if world.plan.provider == "pull":
            card = f"{rng.choice(('good', 'good', 'good', 'good', 'declined'))} {number}"
            return Purchase(payload={"card": card}, card=card, **common)
        kind = rng.choice(PAYERS)
        if isinstance(world, HitPayWorld):
            return self._at_hitpay(world, kind, common)
        until = float(parse_expires(challenge.expires or ""))
        money = world.bank.open(challenge.id, amount - (kind == "pays less"), until)
        purchase = Purchase(payload={"proof": money.id}, money=money, reference=money.id, **common)
        world.note(f"{self.name}: {kind} {money.id} for {challenge.id[-8:]}")
        if kind == "pays late":
            world.at(max(world.now, int(until * 1000)) + rng.choice((0, 1, 60_000)), lambda: self._act(money))
        elif kind != "never":
            delay = rng.choice((0, 0, 500, 10_000))
            world.at(world.now + delay, lambda: self._act(money))
            if kind == "pays twice":
                again = world.bank.open(challenge.id, amount, until)
                world.at(world.now + delay + rng.choice((1, 5_000, 400_000)), lambda: self._act(again))
        return purchase

    def _at_hitpay(self, world: HitPayWorld, kind: str, common: dict[str, Any]) -> Purchase:
        """Somebody pays at HitPay's page, or has bound a wallet there."""
        challenge: Challenge = common["challenge"]
        details: Any = decode_param(challenge.request)["methodDetails"]
        if "saved_method_id" in details:
            ident = details["saved_method_id"]
            world.at(
                world.now + self.rng.choice((0, 5_000)), lambda: world.control("POST", f"saved-methods/{ident}/approve")
            )
            return Purchase(payload={"saved_method_id": ident}, silent=True, **common)
        money = world.money_of(challenge)
        purchase = Purchase(payload={"challenge_id": money.id}, money=money, reference=money.id, **common)
        world.note(f"{self.name}: {kind} {money.id} for {challenge.id[-8:]}")
        until = parse_expires(challenge.expires or "") * 1000
        if kind == "pays late":
            world.at(max(world.now, int(until)) + self.rng.choice((0, 1, 60_000)), lambda: world.act(kind, money))
        elif kind != "never":
            world.at(world.now + self.rng.choice((0, 0, 500, 10_000)), lambda: world.act(kind, money))
        return purchase

    def _act(self, money: Money) -> None:
        self.world.bank.pay(money)
        self.world.notify(money.id)

    def judge(self, purchase: Purchase, answer: Answer | None) -> bool:
        """What one answer means; True if there is no point in asking again."""
        if answer is None:
            return False
        if answer.admitted:
            if answer.status in AFTER:
                purchase.ending = "delivered"
                return True
            return False
        if answer.status == 402:
            if answer.asks_for(purchase.challenge):
                return False
            purchase.ending = purchase.ending or answer.problem
            return True
        if answer.problem in ENDS:
            purchase.ending = answer.problem
            return True
        if answer.status not in (409, 429, 503):
            raise self.world.model.broken(f"{purchase.key}: an honest credential was answered {answer.status}")
        return False

    def present(self, purchase: Purchase, tries: int, patience: int = 120_000) -> Flow:
        """Present one credential, again and again, as one should."""
        for _ in range(tries):
            answer = yield from self.send(self.exchange(purchase), patience)
            if self.judge(purchase, answer):
                return
            wait = 1000 * answer.retry_after if answer is not None else self.rng.choice((100, 2_000))
            yield Wait(wait)

    def insist(self, purchase: Purchase) -> Flow:
        """When everything works again: present it until it comes to an end."""
        for tries in range(40):
            answer = yield from self.send(self.exchange(purchase))
            if self.judge(purchase, answer):
                return
            # Busy is no answer yet, and money of another amount is only noticed when it is looked at.
            told = answer is None or answer.status == 402
            if tries > 1 and told and not self.world.may_open(purchase):
                return
            yield Wait(5_000 if tries < 4 else 20_000)

    # --- lives ------------------------------------------------------------------------------------------------

    def live(self) -> Flow:
        """Buy once or twice, each in its way."""
        for _ in range(self.rng.choice((1, 1, 2))):
            purchase = yield from self.buy()
            if purchase is None:
                continue
            if self.kind == "honest":
                yield Wait(self.rng.choice(PAUSES_MS))
                yield from self.present(purchase, self.rng.choice((1, 3, 6)), self.rng.choice((10_000, 120_000)))
            elif self.kind == "impatient":
                yield from self._impatient(purchase)
            else:
                yield from self._greedy(purchase)

    def _impatient(self, purchase: Purchase) -> Flow:
        """The same credential from several connections at once, some of them dropped."""
        for number in range(self.rng.choice((2, 3, 4))):
            patience = self.rng.choice((30, 800, 120_000))
            self.world.spawn(f"{self.name} {number}", self.present(purchase, self.rng.choice((1, 2)), patience))
            if self.rng.random() < 0.5:
                yield Wait(self.rng.choice((0, 1, 30)))
        yield Wait(self.rng.choice(PAUSES_MS))
        yield from self.present(purchase, 2)

    def _greedy(self, purchase: Purchase) -> Flow:
        """Whatever might give more than was paid for."""
        tricks = (
            self._replay,
            self._elsewhere,
            self._twice_the_proof,
            self._other_proof,
            self._steal,
            self._tamper,
            self._odd,
            self._look_over_a_shoulder,
        )
        if self.rng.random() < 0.5:
            yield from self.present(purchase, 2)
        for trick in self.rng.sample(tricks, self.rng.choice((2, 3, 4))):
            yield from trick(purchase)
            yield Wait(self.rng.choice((0, 0, 500, 20_000)))

    def _replay(self, purchase: Purchase) -> Flow:
        for _ in range(3):
            self.world.spawn(f"{self.name} replays", self.send(self.exchange(purchase, plain=False)))
        yield Wait(self.rng.choice((0, 300)))

    def _elsewhere(self, purchase: Purchase) -> Flow:
        target = self.rng.choice([route for route in ROUTES if route != purchase.target])
        method = "POST" if target == "/order" else "GET"
        yield from self.send(self.exchange(purchase, target=target, http_method=method, plain=False))
        if purchase.target == "/order":
            yield from self.send(self.exchange(purchase, body=body_of("nine of these"), plain=False))

    def _again(self, purchase: Purchase, payload: dict[str, Any], reference: str, money: Money | None) -> Flow:
        """A fresh challenge of the same route, paid with a proof that exists already."""
        challenge = yield from self.fetch(purchase.target, purchase.body)
        if challenge is not None:
            second = Purchase(
                challenge=challenge,
                target=purchase.target,
                payload=payload,
                amount=purchase.amount,
                body=purchase.body,
                honest=False,
                attacked=True,
                money=money,
                reference=reference,
                card=purchase.card,
            )
            yield from self.present(second, 3)

    def _twice_the_proof(self, purchase: Purchase) -> Flow:
        if self.world.plan.provider == "pull":
            return
        purchase.attacked = True
        first = self.present(purchase, 2)
        self.world.spawn(f"{self.name} at the same time", first)
        yield from self._again(purchase, purchase.payload, purchase.reference, purchase.money)

    def _steal(self, purchase: Purchase) -> Flow:
        """Somebody else's proof with an own challenge."""
        others = [one for one in self.world.purchases if one not in self.mine and one.reference]
        if others:
            other = self.rng.choice(others)
            other.attacked = True
            yield from self._again(purchase, other.payload, other.reference, other.money)

    def _other_proof(self, purchase: Purchase) -> Flow:
        """Two proofs for one challenge."""
        purchase.attacked = True
        payload = {name: f"{value} b" for name, value in purchase.payload.items()}
        if self.world.plan.provider == "mock" and str(payload.get("proof")).startswith("ok"):
            self.world.references.add(mock_reference(payload["proof"]))
        other = attrs.evolve(purchase, payload=payload, card=payload.get("card", ""), authorization="")
        yield from self.send(self.exchange(other, plain=False))
        yield from self.send(self.exchange(purchase, plain=False))

    def _look_over_a_shoulder(self, purchase: Purchase) -> Flow:
        """Somebody else's challenge, which is paid, with a proof that is made up."""
        for other in self.world.purchases:
            account = self.world.model.accounts.get(other.key)
            if account is not None and account.settled:
                payload = dict.fromkeys(other.payload, "declined anyway")
                made_up = attrs.evolve(other, payload=payload, authorization="")
                yield from self.send(self.exchange(made_up, plain=False))

    def _tamper(self, purchase: Purchase) -> Flow:
        """A challenge with another word in it."""
        echo = purchase.challenge
        request = dict(decode_param(echo.request))
        request["amount"] = "1"
        changes: tuple[dict[str, Any], ...] = (
            {"request": encode_param(request)},
            {"expires": "2039-01-01T00:00:00Z"},
            {"id": "A" + echo.id[1:] if echo.id[0] != "A" else "B" + echo.id[1:]},
            {"opaque": "eyJuIjoi" + "A" * 20 + (echo.opaque or "")[28:]},
            {"realm": "evil.example.com"},
        )
        changed = attrs.evolve(echo, **self.rng.choice(changes))
        value = format_credential(Credential(changed, purchase.payload))
        purchase.attacked = True  # by its own owner: what the altered one does, the true one has to bear
        headers = [("authorization", value)]
        yield from self.send(self.exchange(purchase, headers=headers, plain=False, forged=True))

    def _odd(self, purchase: Purchase) -> Flow:
        """HEAD, OPTIONS, the credential twice."""
        method = self.rng.choice(("HEAD", "OPTIONS", "GET"))
        headers = [("authorization", purchase.authorization)] * (2 if method == "GET" else 1)
        yield from self.send(self.exchange(purchase, http_method=method, headers=headers, plain=False))


def mock_reference(proof: str) -> str:
    """The mock's name of a payment."""
    return "mock_" + sha256(proof.encode()).hexdigest()[:32]
