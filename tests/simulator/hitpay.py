"""The world of HitPay: the real provider against the real sandbox, which is pure and has no clock of its own."""

import json
from typing import Any, Final

import attrs

from flovia.core.challenge import Challenge
from flovia.core.effects import HttpCall, HttpReply
from flovia.core.encoding import decode_param
from flovia.core.errors import HttpError
from flovia.core.http import Headers
from flovia.core.listening import hear
from flovia.providers.hitpay import HitPayConfig, HitPayProvider, SavedMethods, customer_from_header
from flovia.sandbox import Advance, Answered, Call, Post, Reply, handle, initial
from tests.simulator.exchanges import REALM, Flow
from tests.simulator.plan import Plan
from tests.simulator.scheduler import START_MS
from tests.simulator.workers import Seat
from tests.simulator.world import World

KEY: Final = "test_key_of_the_world"
SALT: Final = "test_salt_of_the_world"
WALLET: Final = (("x-mpp-payment-method", "grabpay_direct"), ("x-user-email", "test@example.com"))
FAULTS: Final[tuple[dict[str, Any], ...]] = (
    {"knob": "webhook", "value": "lost"},
    {"knob": "webhook", "value": "duplicate"},
    {"knob": "webhook", "value": "out_of_order", "hold": 30},
    {"knob": "pr_lag", "value": "seconds", "seconds": 45},
    {"knob": "broker_status_stuck", "value": "verify", "next": 5},
    {"knob": "http", "value": "503", "route": "B3", "next": 2},
    {"knob": "http", "value": "500", "route": "B3", "next": 2, "after_commit": True},
    {"knob": "http", "value": "500", "route": "B7", "next": 1, "after_commit": True},
    {"knob": "http", "value": "reset", "route": "B1", "next": 1, "after_commit": True},
    {"knob": "http", "value": "hang", "route": "B3", "next": 1},
    {"knob": "http", "value": "non_json", "route": "B3", "next": 1},
    {"knob": "jws", "value": "rotate", "next": 1},
    {"knob": "jws", "value": "bad_signature", "next": 1},
    {"knob": "jws", "value": "wrong_charge", "next": 1},
    {"knob": "jwks", "value": "down", "next": 3},
    {"knob": "verify", "value": "pending", "times": 3},
    {"knob": "verify", "value": "single_use"},
)


@attrs.define(kw_only=True, eq=False)
class ChargeMoney:
    """What was paid for one charge, as the agents of the simulator ask for it."""

    world: "HitPayWorld"
    id: str
    challenge: str

    @property
    def first(self) -> Any:
        """The first payment that went through, or None."""
        return next(iter(self.world.payments(self.id)), None)

    @property
    def paid(self) -> bool:
        """Whether any did."""
        return self.first is not None

    @property
    def at(self) -> int:
        """When, ms."""
        return int(self.first.at)

    @property
    def amount(self) -> int:
        """How much."""
        return int(self.first.amount)

    @property
    def late(self) -> bool:
        """Whether the charge had expired."""
        return self.at >= self.world.state.charges[self.id].expires_at

    @property
    def refunded(self) -> int:
        """How much of it went back."""
        return int(self.first.refunded)


class HitPayWorld(World):
    """One story about HitPay."""

    def __init__(self, plan: Plan, *, tracing: bool = False) -> None:
        self.state = initial(seed=plan.seed, now=START_MS)
        self.posts: list[str] = []
        super().__init__(plan, tracing=tracing)
        body = {
            "name": "test",
            "url": "http://127.0.0.1:9/hooks/hitpay",
            "event_types": ["payment_request.completed", "charge.updated"],
            "salt": SALT,
        }
        self.sandbox("api", "POST", "/v1/webhook-events", body, (("x-business-api-key", KEY),))
        faults = self.rng.sample(FAULTS, self.rng.choice((0, 0, 1, 2))) if plan.answer_lost else []
        for fault in faults:
            self.control("PUT", "faults", fault)
            self.note(f"HitPay: {fault}")

    def _seats(self) -> list[Seat]:
        # Made anew: this provider keeps keys in memory.
        config = HitPayConfig(
            api_key=KEY,
            webhook_salts=(SALT,),
            broker=self.state.broker,
            api=self.state.api,
            core_fallback=self.rnd() < 0.5,
        )
        saved = SavedMethods(customer_email=customer_from_header, max_amount_per_charge="10.00")
        return [Seat(HitPayProvider(config, saved=saved), number) for number in range(len(self.plan.skews_ms))]

    # --- the sandbox ------------------------------------------------------------------------------------------

    def step(self, request: Any) -> Reply | None:
        """One step of the sandbox, at this world's time."""
        responses: tuple[Any, ...] = ()
        if self.now > self.state.now:
            self.state, responses = handle(self.state, Advance(ms=self.now - self.state.now))
        if request is not None:
            self.state, more = handle(self.state, request)
            responses += more
        reply = None
        for found in responses:
            if isinstance(found, Post):
                self._send(found)
            else:
                reply = found
        waiting = self.state.waiting
        if waiting:
            self.at(max(min(waiting.values()), self.now + 1), self._tick)
        return reply

    def _tick(self) -> None:
        if self.state.waiting and min(self.state.waiting.values()) <= self.now:
            self.step(None)

    def _send(self, post: Post) -> None:
        """A webhook sets out: to the broker itself, or to one of our workers."""
        if post.url.startswith(self.state.broker):
            path = post.url.removeprefix(self.state.broker)
            call = Call(
                side="broker",
                http_method="POST",
                path=path,
                headers=(("host", "127.0.0.1"), *post.headers),
                body=post.body,
            )
            self.at(self.now + self.rng.choice((0, 0, 200, 3_000)), lambda: self._tell_broker(post, call))
        else:
            self.posts.append(post.delivery)
            self.at(
                self.now + self.rng.choice((0, 0, 200, 40_000)),
                lambda: self.office("webhook", self._heard(post)),
            )

    def _tell_broker(self, post: Post, call: Call) -> None:
        reply = self.step(call)
        self.step(Answered(delivery=post.delivery, status=0 if reply is None else reply.status))

    def _heard(self, post: Post) -> Flow:
        response = yield from hear(self.provider, Headers.of(post.headers), post.body, realm=REALM, rail="mpp")
        lost = self.rnd() < self.odds.client_lost
        self.step(Answered(delivery=post.delivery, status=0 if lost else response.status))

    def sandbox(
        self, side: Any, http_method: str, path: str, body: Any = None, headers: tuple[tuple[str, str], ...] = ()
    ) -> Any:
        """A call of the story's own."""
        raw = b"" if body is None else json.dumps(body).encode()
        fields = (("host", "127.0.0.1"), ("content-type", "application/json"), *headers)
        reply = self.step(Call(side=side, http_method=http_method, path=path, headers=fields, body=raw))
        return None if reply is None or reply.status >= 300 else reply.json()

    def control(self, http_method: str, path: str, body: Any = None) -> Any:
        """The control API; None if what was asked for is not possible (any more)."""
        return self.sandbox("broker", http_method, f"/__emulator/{path}", body)

    def exchange(self, call: HttpCall) -> HttpReply | HttpError:
        """What HitPay does when it is called."""
        side: Any = "broker" if call.url.startswith(self.state.broker) else "api"
        target = call.url.removeprefix(self.state.broker if side == "broker" else self.state.api)
        path, _, query = target.partition("?")
        headers = (("host", "127.0.0.1"), *call.headers)
        reply = self.step(
            Call(side=side, http_method=call.http_method, path=path, query=query, headers=headers, body=call.body)
        )
        assert reply is not None
        if self.tracing:
            self.note(f"HitPay: {call.http_method} {path} -> {reply.status} {reply.ending}")
        if reply.ending != "sent" or reply.delay_ms > call.deadline_s * 1000:
            return HttpError("test: no answer", sent=True)
        return HttpReply(status=reply.status, headers=reply.headers, body=reply.body)

    def calm(self) -> None:
        """HitPay works again and sends every webhook once more."""
        self.control("DELETE", "faults")
        self.resend()

    def resend(self) -> None:
        """Every webhook once more."""
        for delivery in list(self.state.deliveries):
            self.control("POST", f"webhooks/{delivery}/redeliver")

    # --- payers -----------------------------------------------------------------------------------------------

    def money_of(self, challenge: Challenge) -> ChargeMoney:
        """The money for a challenge."""
        ident = str(decode_param(challenge.request)["externalId"])
        return ChargeMoney(world=self, id=ident, challenge=challenge.id)

    def payments(self, charge_id: str) -> list[Any]:
        """What was paid for a charge, in order."""
        charge = self.state.charges.get(charge_id)
        if charge is None:
            return []
        request = self.state.requests[charge.request]
        found = [self.state.payments[ident] for ident in request.payments]
        return [one for one in found if one.status != "failed"]

    def act(self, kind: str, money: ChargeMoney) -> None:
        """What the person at the checkout page does, as far as the page lets them."""
        amount = {"pays less": "0.40", "pays more": "2.00"}.get(kind)
        body: dict[str, Any] = {} if amount is None else {"amount": amount}
        self.control("POST", f"charges/{money.id}/pay", body)
        if kind == "pays twice":
            wait = self.rng.choice((1, 5_000, 700_000))
            self.at(self.now + wait, lambda: self.control("POST", f"charges/{money.id}/pay", {"again": True}))

    def money_moved(self, payment_id: str, amount: int) -> bool:
        """Whether so much was paid: for a charge, by a payment, or silently."""
        payment = self.state.payments.get(payment_id)
        if payment is not None:
            return payment.status != "failed" and int(payment.amount) == amount
        charge = self.state.charges.get(payment_id)
        if charge is not None:
            return any(int(one.amount) == amount for one in self.payments(payment_id))
        return any(one.status != "failed" and int(one.amount) == amount for one in self.silent())

    def silent(self) -> list[Any]:
        """Payments that no checkout page made."""
        return [one for one in self.state.payments.values() if one.owner in self.state.recurring]

    def check_money(self) -> None:
        """Money in = what bought something, and what is to go back or went back."""
        model, method = self.model, self.provider.method
        attacked = {one.reference for one in self.purchases if one.attacked or not one.honest}
        for charge_id in self.state.charges:
            first, *more = self.payments(charge_id) or [None]
            proof = f"{method}|{charge_id}"
            if first is None or charge_id in attacked:
                continue
            if not (proof in model.proofs or proof in model.late or first.refunded):
                raise model.broken(f"{charge_id}: {first.amount} came in, and nobody accounts for it")
            for payment in more:
                if f"{method}|{payment.id}" not in model.late and not payment.refunded:
                    raise model.broken(f"{charge_id}: paid again with {payment.id}, and nobody says so")
        settled = sum(one.settled for one in model.accounts.values() if one.payment_id not in self.state.charges)
        moved = [one for one in self.silent() if one.status != "failed"]
        asked = {one.key for one in self.purchases if one.silent}
        if len(moved) > len(asked) or (settled < len(moved) and not attacked):
            raise model.broken(f"{len(moved)} silent charges for {len(asked)} credentials, {settled} settled")
