"""A world of its own for HitPay: the real gate, provider and ledger, and the real sandbox, under one seeded scheduler.

Everything that can happen at the same time is a task: an agent, a webhook on its way. A task runs until it asks
for something (an effect), and which task goes on is drawn from the seed, as is what goes wrong: a call that never
left, an answer that was lost after it took effect, a deadline, a crash between two steps. Time moves only here.
"""

import base64
import contextlib
import json
import random
from collections import Counter
from collections.abc import Generator
from typing import Any, Final

import attrs

import flovia
from flovia.core.effects import TIMED_OUT, Deadline, HttpCall, HttpReply, Now, Sleep, Token
from flovia.core.events import Event
from flovia.core.gate import Gate
from flovia.core.http import Headers
from flovia.core.listening import hear
from flovia.ledger.memory import MemoryLedger
from flovia.providers.hitpay import HitPayConfig, HitPayProvider
from flovia.runtime import DeadlineExceeded, World
from flovia.sandbox import Advance, Answered, Call, Post, Reply, handle, initial
from flovia.sandbox.wire import Json

REALM: Final = "api.example.com"
SECRET: Final = "test-secret-test-secret-test-secret"
KEY: Final = "test_key_of_the_world"
SALT: Final = "test_salt_of_the_world"
HOOK: Final = "http://127.0.0.1:9/hooks/hitpay"
Flow = Generator[Any, Any, Any]
Pairs = tuple[tuple[str, str], ...]


class Gone(Exception):
    """The process that worked on a request died; whoever sent it sees a closed connection."""


@attrs.frozen
class Serve:
    """Ask another process to run a flow: it may die at any step. The result is the flow's, or Gone is raised."""

    flow: Flow


@attrs.define
class Frame:
    """A flow that waits for the one above it. ``until``: its deadline, ms. ``server``: it can die by itself."""

    flow: Flow
    until: int | None = None
    server: bool = False


class Task:
    """What goes on by itself: a stack of flows. ``ready`` is when it may go on, ms."""

    def __init__(self, name: str, flow: Flow, ready: int) -> None:
        self.name = name
        self.frames = [Frame(flow)]
        self.ready = ready
        self.effect: object = None
        self.answer: object = None
        self.began = False
        self.asked = False


@attrs.define
class Odds:
    """How often something goes wrong, in 1."""

    unsent: float = 0.0
    lost: float = 0.0
    slow: float = 0.0
    crash: float = 0.0


class HitPayWorld:
    """One run of one seed. Agents are added with :meth:`spawn`; :meth:`run` goes on until nothing is left to do."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.state = initial(seed=seed)
        self.tasks: list[Task] = []
        self.odds = Odds()
        self.trace: list[str] = []
        self.graves: list[Flow] = []
        self.handed_over: Counter[str] = Counter()
        self.fallback = self.random.random() < 0.5
        config = HitPayConfig(
            api_key=KEY,
            webhook_salts=(SALT,),
            broker=self.state.broker,
            api=self.state.api,
            core_fallback=self.fallback,
        )
        self.provider = HitPayProvider(config)
        self.ledger = MemoryLedger(clock=self.seconds, max_events=1_000_000)
        self.flo = flovia.Flovia(
            provider=self.provider,
            price="1.00 SGD",
            ledger=self.ledger,
            secret=SECRET,
            realm=REALM,
            public_origin="https://api.example.com",
            clock=self.seconds,
            monotonic=self.seconds,
            tokens=self.token,
        )
        guard = self.flo.paid_api(max_deliveries=1000, expires_in=600).guard
        assert isinstance(guard, Gate)
        self.gate = guard
        self.world = World(ledger=self.ledger, clock=self.seconds, monotonic=self.seconds, tokens=self.token)
        body = {"name": "test", "url": HOOK, "event_types": [*EVENTS], "salt": SALT}
        self.sandbox("api", "POST", "/v1/webhook-events", body, (("x-business-api-key", KEY),))

    # --- time and chance ------------------------------------------------------------------------------------

    def seconds(self) -> float:
        """The time, for everybody: Unix seconds."""
        return self.state.now / 1000

    def token(self) -> str:
        """22 characters of base64url from the seed."""
        return base64.urlsafe_b64encode(self.random.randbytes(17)).decode()[:22]

    def chance(self, odds: float) -> bool:
        """Whether something with these odds happens now."""
        return self.random.random() < odds

    # --- the sandbox ----------------------------------------------------------------------------------------

    def step(self, request: Call | Advance | Answered) -> Reply | None:
        """One step of the sandbox; webhooks it sends become tasks."""
        self.state, responses = handle(self.state, request)
        reply = None
        for found in responses:
            if isinstance(found, Post):
                self.spawn(f"webhook {found.delivery}", self.webhook(found))
            else:
                reply = found
        return reply

    def sandbox(
        self,
        side: Any,
        http_method: str,
        path: str,
        body: Json | None = None,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> Json:
        """A call that must work: the world's own, not the app's."""
        reply = self.step(call_of(side, http_method, path, body, headers))
        assert reply is not None
        assert 200 <= reply.status < 300, reply
        return reply.json()

    def control(self, http_method: str, path: str, body: Json | None = None) -> Json:
        """A call to the control API."""
        return self.sandbox("broker", http_method, f"/__emulator/{path}", body)

    def webhook(self, post: Post) -> Flow:
        """A webhook on its way: to the broker itself, or to us. Its answer may get lost."""
        yield Sleep(self.random.choice((0.0, 0.0, 0.2, 3.0, 40.0)))
        status = 0
        if post.url.startswith(self.state.broker):
            path = post.url.removeprefix(self.state.broker)
            headers = (("host", "127.0.0.1"), *post.headers)
            reply = self.step(Call(side="broker", http_method="POST", path=path, headers=headers, body=post.body))
            status = 0 if reply is None else reply.status
        else:
            try:
                flow = hear(self.provider, Headers.of(post.headers), post.body, realm=REALM, rail="mpp")
                status = (yield Serve(flow)).status
            except Gone:
                pass
        self.step(Answered(delivery=post.delivery, status=0 if self.chance(self.odds.lost) else status))

    # --- the scheduler --------------------------------------------------------------------------------------

    def spawn(self, name: str, flow: Flow) -> Task:
        """Add a task."""
        task = Task(name, flow, self.state.now)
        self.tasks.append(task)
        return task

    def run(self, most: int = 20_000) -> None:
        """Go on until every task has ended and no webhook is due."""
        for _ in range(most):
            ready = [task for task in self.tasks if task.ready <= self.state.now]
            if ready:
                self.go_on(self.random.choice(ready))
                continue
            due = [task.ready for task in self.tasks]
            if self.state.next_due is not None and any(found.due is not None for found in self.waiting()):
                due.append(self.state.next_due)
            if not due:
                return
            self.step(Advance(ms=max(1, min(due) - self.state.now)))
        raise AssertionError(f"no end after {most} steps: {[task.name for task in self.tasks]}")

    def waiting(self) -> list[Any]:
        """Webhooks that have yet to be sent."""
        return [found for found in self.state.deliveries.values() if not found.sending]

    def go_on(self, task: Task) -> None:
        """One step of one task: perform what it asked for, or hand it the answer."""
        if not task.began:
            task.began = True
            self.resume(task, None)
            return
        if any(frame.server for frame in task.frames) and self.chance(self.odds.crash):
            self.crash(task)
        elif any(frame.until is not None and self.state.now > frame.until for frame in task.frames):
            self.time_out(task)
        elif isinstance(task.effect, HttpCall) and not task.asked:
            # It takes effect now; the answer comes later, and the others may do something in between.
            task.answer, task.asked = self.exchange(task.effect), True
            wait = self.random.choice((0, 10, 300, 2500)) if not self.chance(self.odds.slow) else 20_000
            task.ready = self.state.now + wait
        elif isinstance(task.effect, HttpCall):
            task.asked = False
            self.resume(task, task.answer)
        else:
            try:
                answer = self.perform(task, task.effect)
            except Exception as error:  # the ledger's, for the flow to handle
                answer = error
            if answer is not WAITING:
                self.resume(task, answer)

    def exchange(self, call: HttpCall) -> object:
        """What became of one HTTP call of the app: a reply or an error."""
        if self.chance(self.odds.unsent):
            return flovia.HttpError("test: refused", sent=False)
        side = "broker" if call.url.startswith(self.state.broker) else "api"
        target = call.url.removeprefix(self.state.broker if side == "broker" else self.state.api)
        path, _, query = target.partition("?")
        headers = (("host", "127.0.0.1"), *call.headers)
        reply = self.step(
            Call(side=side, http_method=call.http_method, path=path, query=query, headers=headers, body=call.body)
        )
        assert reply is not None
        self.trace.append(f"{self.seconds():.1f} {call.http_method} {path} {reply.status} {reply.ending}")
        if reply.ending != "sent" or reply.delay_ms > call.deadline_s * 1000 or self.chance(self.odds.lost):
            return flovia.HttpError("test: no answer", sent=True)
        return HttpReply(status=reply.status, headers=reply.headers, body=reply.body)

    def perform(self, task: Task, effect: object) -> object:
        """Any other effect."""
        match effect:
            case Now():
                return self.seconds()
            case Token():
                return self.token()
            case Sleep(seconds=seconds):
                task.effect = None
                task.ready = self.state.now + round(seconds * 1000)
                return WAITING if seconds else None
            case Deadline(flow=flow, effect=first, seconds=seconds):
                task.frames.append(Frame(flow, until=self.state.now + round(seconds * 1000)))
                task.effect = first
                return WAITING
            case Serve(flow=flow):
                task.frames.append(Frame(flow, server=True))
                return None
            case None:
                return None
            case _:
                return self.world.ledger_call(effect)  # type: ignore[arg-type]  # one of the ledger's verbs

    def time_out(self, task: Task) -> None:
        """A deadline is over: the flow under it may clean up, and its caller hears of it."""
        while True:
            frame = task.frames.pop()
            with contextlib.suppress(DeadlineExceeded, StopIteration):
                frame.flow.throw(DeadlineExceeded())
            frame.flow.close()
            if frame.until is not None:
                break
        task.asked = False
        self.resume(task, TIMED_OUT)

    def crash(self, task: Task) -> None:
        """The process dies: no flow of it is resumed, nor even closed."""
        while True:
            frame = task.frames.pop()
            self.graves.append(frame.flow)
            if frame.server:
                break
        task.asked = False
        self.resume(task, Gone())

    def resume(self, task: Task, answer: object) -> None:
        """Hand an answer to the innermost flow and keep what it asks for next."""
        while True:
            flow = task.frames[-1].flow
            try:
                task.effect = flow.throw(answer) if isinstance(answer, Exception) else flow.send(answer)
                return
            except StopIteration as stop:
                task.frames.pop()
                answer = stop.value
            except Exception as error:
                task.frames.pop()
                answer = error
                if not task.frames:
                    raise  # an agent or the world itself is wrong
            if not task.frames:
                self.tasks.remove(task)
                return

    # --- what came of it ------------------------------------------------------------------------------------

    def events(self) -> list[Event]:
        """Every event so far."""
        return [event for _, event in self.ledger.read_events(0, 10_000_000)]

    def payments(self, charge_id: str) -> list[Any]:
        """The money that moved for a charge, in order."""
        request = self.state.requests[self.state.charges[charge_id].request]
        found = [self.state.payments[ident] for ident in request.payments]
        return [payment for payment in found if payment.status != "failed"]


WAITING: Final = object()
EVENTS: Final = ("payment_request.completed", "payment_request.failed", "charge.created", "charge.updated")


def call_of(side: Any, http_method: str, path: str, body: Json | None, headers: Pairs) -> Call:
    """A JSON call to the sandbox."""
    raw = b"" if body is None else json.dumps(body).encode()
    path, _, query = path.partition("?")
    fields = (("host", "127.0.0.1"), ("content-type", "application/json"), *headers)
    return Call(side=side, http_method=http_method, path=path, query=query, headers=fields, body=raw)
