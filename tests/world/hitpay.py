"""HitPay in this world: the real provider, whose calls go to the sandbox in this process, and its webhooks."""

import json
import random
from typing import TYPE_CHECKING, Final, TypeVar

from flovia.core.effects import Flow, HttpCall, HttpReply, Sleep
from flovia.core.errors import HttpError
from flovia.core.http import Headers
from flovia.core.provider import Presented, Quote, Terms, Verdict
from flovia.core.reconcile import Charge, ChargeState, ChargeUnknown
from flovia.core.refund import RefundOrder, RefundVerdict
from flovia.core.webhook import Heard
from flovia.providers.hitpay import HitPayConfig, HitPayProvider
from flovia.sandbox import Advance, Answered, Call, Post, Reply, handle, initial
from flovia.sandbox.wire import Side
from tests.world.bank import Desk
from tests.world.clock import Clock

if TYPE_CHECKING:
    from tests.world.shop import Shop

T = TypeVar("T")
KEY: Final = "test_key_of_the_world"
SALT: Final = "test_salt_of_the_world"
HOOK: Final = "http://127.0.0.1:9/hooks/hitpay"
CALL_MS: Final = (15, 40, 120, 300)
EVENTS: Final = ("payment_request.completed", "payment_request.failed", "charge.created", "charge.updated")


class Wire:
    """The sandbox, by the world's clock. ``down``: paths whose calls do not get through, "" for all."""

    def __init__(self, clock: Clock, seed: int) -> None:
        self.clock = clock
        self.state = initial(seed=seed, now=clock.seen, limits={"charge_ttl": 600})
        self.posts: list[Post] = []
        self.down: str | None = None
        self._rng = random.Random(f"{seed} wire")
        body: dict[str, object] = {"name": "test", "url": HOOK, "event_types": [*EVENTS], "salt": SALT}
        self.call("api", "POST", "/v1/webhook-events", body, (("x-business-api-key", KEY),))

    def step(self, request: Call | Advance | Answered) -> Reply | None:
        """One step of the sandbox."""
        self.state, responses = handle(self.state, request)
        reply = None
        for found in responses:
            if isinstance(found, Post):
                self.posts.append(found)
            else:
                reply = found
        return reply

    def call(
        self,
        side: Side,
        http_method: str,
        path: str,
        body: dict[str, object] | None = None,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> dict[str, object]:
        """A call of the world's own, which has to work."""
        self._catch_up()
        fields = (("host", "127.0.0.1"), ("content-type", "application/json"), *headers)
        raw = b"" if body is None else json.dumps(body).encode()
        reply = self.step(Call(side=side, http_method=http_method, path=path, headers=fields, body=raw))
        if reply is None or not 200 <= reply.status < 300:
            raise AssertionError(f"the sandbox answers {http_method} {path} with {reply}")
        return reply.json()

    def pay(self, charge_id: str, **how: object) -> str:
        """Somebody pays a charge; the payment's id."""
        self.call("broker", "POST", f"/__emulator/charges/{charge_id}/pay", dict(how))
        return self.state.requests[self.state.charges[charge_id].request].payments[-1]

    def deliver(self, shop: "Shop") -> list[int]:
        """Send the webhooks that are due; when each of ours was heard, ms since 1970."""
        heard: list[int] = []
        while self.posts:
            post = self.posts.pop(0)
            if post.url.startswith(self.state.broker):
                path = post.url.removeprefix(self.state.broker)
                headers = (("host", "127.0.0.1"), *post.headers)
                reply = self.step(Call(side="broker", http_method="POST", path=path, headers=headers, body=post.body))
                status = 0 if reply is None else reply.status
            else:
                status = shop.flovia.webhook(Headers.of(post.headers), post.body, provider=shop.hitpay).status
                heard.append(self.clock.ms)
            if status != 200:
                raise AssertionError(f"a webhook to {post.url} was answered {status}")
            self.step(Answered(delivery=post.delivery, status=status))
        return heard

    def through(self, flow: Flow[T]) -> Flow[T]:
        """A flow whose calls go to the sandbox; every other effect is for whoever drives it."""
        answer: object = None
        try:
            while True:
                try:
                    effect = flow.throw(answer) if isinstance(answer, BaseException) else flow.send(answer)
                except StopIteration as stop:
                    value: T = stop.value
                    return value
                if isinstance(effect, HttpCall):
                    answer = self._exchange(effect)
                elif isinstance(effect, Sleep):
                    self.clock.pass_by(round(effect.seconds * 1000))
                    answer = None
                else:
                    try:
                        answer = yield effect
                    except GeneratorExit:
                        raise
                    except BaseException as error:
                        answer = error
        finally:
            flow.close()

    def _exchange(self, call: HttpCall) -> HttpReply | HttpError:
        self.clock.pass_by(self._rng.choice(CALL_MS))
        side: Side = "broker" if call.url.startswith(self.state.broker) else "api"
        target = call.url.removeprefix(self.state.broker if side == "broker" else self.state.api)
        if self.down is not None and target.startswith(self.down):
            return HttpError("test: no answer", sent=bool(self.down))
        self._catch_up()
        path, _, query = target.partition("?")
        headers = (("host", "127.0.0.1"), *call.headers)
        sent = Call(side=side, http_method=call.http_method, path=path, query=query, headers=headers, body=call.body)
        reply = self.step(sent)
        if reply is None:
            return HttpError("test: no answer", sent=True)
        return HttpReply(status=reply.status, headers=reply.headers, body=reply.body)

    def _catch_up(self) -> None:
        if self.clock.seen > self.state.now:
            self.step(Advance(ms=self.clock.seen - self.state.now))


class Sandboxed(HitPayProvider):
    """HitPay's provider, whose calls go to a sandbox in this process."""

    def __init__(self, wire: Wire, desk: Desk) -> None:
        super().__init__(HitPayConfig(api_key=KEY, webhook_salts=(SALT,), broker=wire.state.broker, api=wire.state.api))
        self._wire, self._desk = wire, desk

    def quote(self, quote: Quote) -> Flow[Terms]:
        """As the provider does."""
        return (yield from self._wire.through(super().quote(quote)))

    def verify(self, presented: Presented) -> Flow[Verdict]:
        """As the provider does; when it was said is noted."""
        verdict = yield from self._wire.through(super().verify(presented))
        self._desk.said_at = self._wire.clock.ms
        return verdict

    def webhook(self, headers: Headers, body: bytes) -> Flow[Heard]:
        """As the provider does."""
        return (yield from self._wire.through(super().webhook(headers, body)))

    def refund(self, order: RefundOrder) -> Flow[RefundVerdict]:
        """As the provider does."""
        return (yield from self._wire.through(super().refund(order)))

    def reconcile(self, charge: Charge, *, keep: bool) -> Flow[ChargeState | ChargeUnknown | None]:
        """As the provider does."""
        return (yield from self._wire.through(super().reconcile(charge, keep=keep)))
