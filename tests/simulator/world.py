"""One story: workers, the network, a bank, and the scheduler that decides who goes on.

A task is a stack of flows, as the drivers of :mod:`flovia.runtime` keep them. It goes on until it asks for an effect;
when that is performed, when its answer comes, and who goes on in between is drawn from the seed. At any effect the
worker may die: its flows are never resumed, and all that was only in its memory is gone.
"""

import base64
import contextlib
import random
import re
from collections import Counter
from collections.abc import Callable, Generator
from heapq import heappop, heappush
from json import loads
from typing import Any, Final

import attrs

import flovia
from flovia.core.challenge import Challenge, read_challenges
from flovia.core.effects import TIMED_OUT, Deadline, HttpCall, HttpReply, Now, Sleep, Token
from flovia.core.errors import HttpError
from flovia.core.gate import Gate
from flovia.core.http import NO_BODY, Body, Headers, HttpRequest
from flovia.core.listening import hear
from flovia.core.provider import Provider
from flovia.core.refunding import RefundError, refund, refunds_due
from flovia.providers.mock import MockProvider
from flovia.runtime import DeadlineExceeded
from flovia.runtime import World as Effects
from tests.simulator import bank as banks
from tests.simulator.model import Model, Violation
from tests.simulator.plan import Plan
from tests.simulator.stores import Handle, Sink, Store

Flow = Generator[Any, Any, Any]
REALM: Final = "api.example.com"
SECRET: Final = "test-secret-test-secret-test-secret"
START_MS: Final = 1_893_456_000_000
ROUTES: Final = {"/paid": 100, "/other": 50, "/order": 100, "/rising": 100}
LEDGER_MS: Final = (0, 0, 0, 0, 1, 1, 2, 5)
ARRIVE_MS: Final = (1, 1, 5, 20)
REPLY_MS: Final = (1, 5, 20, 100, 400, 2_500)
FROZEN_MS: Final = (3_000, 20_000, 70_000, 100_000, 100_000)
MAX_DEATHS: Final = 5
DOWN_MS: Final = (0, 500, 5_000)
_IDS: Final = re.compile(r'[ ,]id="([^"]*)"').findall
PERFORM, RESUME, TIME_OUT, ARRIVE = range(4)


class Cancelled(BaseException):
    """The client is gone, and the server cancels what it did for it."""


@attrs.define(kw_only=True)
class Odds:
    """The rates of the plan, which the calm sets to nothing."""

    store_fails: float = 0.0
    ack_lost: float = 0.0
    store_slow: float = 0.0
    unsent: float = 0.0
    answer_lost: float = 0.0
    broker_slow: float = 0.0
    broker_fails: float = 0.0
    client_lost: float = 0.0
    dies: float = 0.0
    freezes: float = 0.0
    handler_fails: float = 0.0


_RATES: Final = tuple(field.name for field in attrs.fields(Odds))


@attrs.define(eq=False)
class Wait:
    """An agent waits, ms."""

    ms: int


@attrs.define(eq=False)
class Ask:
    """An agent sends a request and waits for its answer, at most ``patience`` ms. The result: an Answer, or None."""

    exchange: "Exchange"
    patience: int = 120_000


@attrs.define(eq=False)
class Answer:
    """What a client got. ``admitted``: it is the handler's. ``fields``: of ``WWW-Authenticate``."""

    status: int
    fields: list[str]
    problem: str = ""
    retry_after: int = 1
    admitted: bool = False

    @property
    def challenge(self) -> Challenge:
        """The challenge in it."""
        [found] = read_challenges(self.fields)
        assert isinstance(found, Challenge)
        return found

    def asks_for(self, challenge: Challenge) -> bool:
        """Whether it is this challenge that it asks for."""
        return f'id="{challenge.id}"' in self.fields[0]


class Exchange:
    """One request of an agent's. ``plain``: an honest presentation of ``purchase`` on its own route."""

    __slots__ = (
        "began",
        "body",
        "forged",
        "gone",
        "headers",
        "http_method",
        "payload",
        "plain",
        "purchase",
        "same",
        "server",
        "target",
        "task",
    )

    def __init__(
        self,
        target: str,
        headers: list[tuple[str, str]],
        *,
        http_method: str = "GET",
        body: Body = NO_BODY,
        purchase: Any = None,
        plain: bool = False,
        payload: str = "",
        forged: bool = False,
    ) -> None:
        self.target, self.headers, self.http_method, self.body = target, headers, http_method, body
        self.purchase, self.plain, self.payload = purchase, plain, payload
        self.forged = forged
        self.gone = self.same = False
        self.began = 0
        self.task: Task | None = None
        self.server: Task | None = None


class Task:
    """What goes on by itself. ``turn`` numbers what it waits for: what comes for an earlier one is ignored."""

    __slots__ = ("cancelled", "exchange", "frames", "generation", "name", "turn", "worker")

    def __init__(self, name: str, flow: Flow, worker: "Worker | None", exchange: Exchange | None) -> None:
        self.name = name
        self.frames: list[tuple[Flow, int | None]] = [(flow, None)]
        self.worker = worker
        self.generation = 0 if worker is None else worker.generation
        self.exchange = exchange
        self.turn = 0
        self.cancelled = False


class Seat:
    """The app of one worker, made once for all stories: what it keeps between requests is caches."""

    def __init__(self, provider: Provider, number: int) -> None:
        self.provider = provider
        self.number = number
        self.worker: Worker | None = None
        self.gates: dict[tuple[str, int, int, float], Gate] = {}
        self.flovia = flovia.Flovia(
            provider=provider,
            ledger=self,  # type: ignore[arg-type]  # whatever is asked of it is asked of the worker's
            secret=SECRET,
            realm=REALM,
            public_origin="https://api.example.com",
            clock=self.clock,
            monotonic=self.monotonic,
            tokens=self.token,
        )

    # What the app sees of the world.

    def clock(self) -> float:
        """Unix seconds by the worker's clock."""
        worker = self.worker
        return 0.0 if worker is None else worker.clock()

    def monotonic(self) -> float:
        """Seconds."""
        worker = self.worker
        return 0.0 if worker is None else worker.world.now / 1000

    def token(self) -> str:
        """22 characters."""
        worker = self.worker
        return "0" * 22 if worker is None else worker.world.token()

    def gate(self, target: str, plan: Plan) -> Gate:
        """The gate of a route."""
        key = (target, plan.expires_in_s, plan.max_deliveries, plan.redeem_for_s)
        found = self.gates.get(key)
        if found is None:
            price = (lambda _: self._price()) if target == "/rising" else f"{ROUTES[target] / 100:.2f} SGD"
            api = self.flovia.paid_api(
                price=price,
                expires_in=plan.expires_in_s,
                max_deliveries=plan.max_deliveries,
                redeem_for=plan.redeem_for_s,
                name=target,
            )
            assert isinstance(api.guard, Gate)
            found = self.gates[key] = api.guard
        return found

    def _price(self) -> str:
        worker = self.worker
        return "1.00 SGD" if worker is None or not worker.world.risen else "1.50 SGD"

    shared = True

    def __getattr__(self, name: str) -> Any:
        """The ledger that the app has now."""
        if name.startswith("_") or self.__dict__.get("worker") is None:
            raise AttributeError(name)
        return getattr(self.worker.handle, name)  # type: ignore[union-attr]  # checked above


class Worker:
    """A process. ``generation`` counts its lives."""

    def __init__(self, world: "World", number: int, skew_ms: int, seat: Seat) -> None:
        self.world, self.number, self.skew_ms, self.seat = world, number, skew_ms, seat
        self.name = f"worker {number}"
        self.generation = 0
        self.down_until = 0
        self.frozen_until = 0
        self.tasks: dict[Task, None] = {}

    def start(self) -> None:
        """Begin with an empty memory."""
        self.handle = Handle(self.world.store, self)
        self.effects = Effects(ledger=self.handle, clock=self.clock, tokens=self.world.token)  # type: ignore[arg-type]  # it has every verb

    def clock(self) -> float:
        """Unix seconds by this machine's clock."""
        return (self.world.now + self.skew_ms) / 1000


_seats: dict[str, list[Seat]] = {}


def seats(kind: str, count: int) -> list[Seat]:
    """The apps of the workers, kept from story to story."""
    made = _seats.setdefault(kind, [])
    while len(made) < count:
        made.append(Seat(MockProvider() if kind == "mock" else banks.BankProvider(kind == "pull"), len(made)))
    return made[:count]


class World:
    """One run of one plan. :meth:`run` goes on until nothing is left to do."""

    def __init__(self, plan: Plan, *, tracing: bool = False) -> None:
        self.plan = plan
        self.rng = random.Random(f"world {plan.seed}")
        self.rnd = self.rng.random
        self.tracing = tracing
        self.trace: list[str] = []
        self.now = self.began = START_MS
        self.steps = 0
        self.queue: list[Any] = []
        self.counts: Counter[str] = Counter()
        self.graves: list[Any] = []
        self.deaths = 0
        self.risen = False
        self.odds = Odds(**{name: getattr(plan, name) for name in _RATES})
        self.outages = plan.outages
        self.model = Model(self)
        self.issued: dict[str, tuple[str, bytes]] = {}
        self.references: set[str] = set()
        self.purchases: list[Any] = []
        self.notices: list[str] = []
        self.bank = banks.Bank(self)
        self.store = Store(self)
        self.workers: list[Worker] = []
        for number, seat in enumerate(self._seats()):
            worker = seat.worker = Worker(self, number, plan.skews_ms[number], seat)
            self.workers.append(worker)
            worker.start()
        self.sink = Sink(self)
        self.provider: Any = self.workers[0].seat.provider
        if plan.rising:
            self.at(self.now + 5_000, self._rise)

    def _seats(self) -> list[Seat]:
        return seats(self.plan.provider, len(self.plan.skews_ms))

    def _rise(self) -> None:
        self.risen = True
        self.note("the price rises")

    # --- time, chance, what is told ---------------------------------------------------------------------------

    def seconds(self) -> float:
        """Unix seconds by the store's clock, and the bank's."""
        return self.now / 1000

    def token(self) -> str:
        """22 characters of base64url from the seed."""
        return base64.urlsafe_b64encode(self.rng.randbytes(17)).decode()[:22]

    def count(self, what: str) -> None:
        """One more of these."""
        self.counts[what] += 1
        if self.tracing and what != "deliveries":
            self.note(what)

    def note(self, what: str) -> None:
        """A line of the trace."""
        if self.tracing:
            self.trace.append(f"{(self.now - self.began) / 1000:9.3f}  {what}")

    # --- the scheduler ----------------------------------------------------------------------------------------

    def at(self, when: int, what: Callable[[], None]) -> None:
        """Let something happen that nobody waits for."""
        heappush(self.queue, (when, self.rnd(), None, 0, what, None))

    def push(self, task: Task, when: int, phase: int, value: Any = None) -> None:
        """What the task waits for now."""
        task.turn += 1
        heappush(self.queue, (when, self.rnd(), task, task.turn, phase, value))

    def spawn(self, name: str, flow: Flow, worker: Worker | None = None, exchange: Exchange | None = None) -> Task:
        """A new task."""
        task = Task(name, flow, worker, exchange)
        if worker is not None:
            worker.tasks[task] = None
        self.push(task, self.now, RESUME)
        return task

    def run(self, most: int = 40_000) -> None:
        """Go on until nothing is left to do."""
        queue = self.queue
        while queue:
            when, _, task, turn, phase, value = heappop(queue)
            if task is None:
                self.now = max(self.now, when)
                phase()
                continue
            if task.turn != turn:
                continue
            self.now = max(self.now, when)
            self.steps += 1
            if self.steps > most:
                raise Violation(f"no end after {most} steps: {task.name}")
            worker = task.worker
            if worker is not None:
                if worker.generation != task.generation:
                    continue  # it has died in the middle of its own step
                if worker.frozen_until > self.now:
                    self.push(task, worker.frozen_until, phase, value)
                    continue
            if phase == RESUME:
                self.resume(task, value)
            elif phase == PERFORM:
                self.perform(task, value)
            elif phase == ARRIVE:
                self.arrive(task, value)
            else:
                self.time_out(task)

    def resume(self, task: Task, answer: Any) -> None:
        """Hand an answer to the innermost flow, and see what it asks for next."""
        frames, worker = task.frames, task.worker
        while True:
            flow = frames[-1][0]
            try:
                effect = flow.throw(answer) if isinstance(answer, BaseException) else flow.send(answer)
            except StopIteration as stop:
                frames.pop()
                answer = stop.value
            except Violation:
                raise
            except (Exception, Cancelled) as error:
                frames.pop()
                if not frames and not (isinstance(error, Cancelled) and task.cancelled):
                    raise
                answer = error
            else:
                kind = type(effect)
                while kind is Deadline:
                    frames.append((effect.flow, self.now + int(effect.seconds * 1000)))
                    effect = effect.effect
                    kind = type(effect)
                if kind is Now:
                    answer = self.seconds() if worker is None else worker.clock()
                elif kind is Token:
                    answer = self.token()
                else:
                    self.schedule(task, effect, kind)
                    return
                continue
            if not frames:
                self.finish(task)
                return

    def schedule(self, task: Task, effect: Any, kind: type) -> None:
        """When what was asked for happens."""
        now = self.now
        if kind is Sleep:
            self.later(task, now + int(effect.seconds * 1000), RESUME, None)
        elif kind is Wait:
            self.push(task, now + effect.ms, RESUME)
        elif kind is Ask:
            self.ask(task, effect)
        elif kind is HttpCall:
            self.later(task, now + ARRIVE_MS[int(self.rnd() * 4)], ARRIVE, effect)
        else:
            wait = LEDGER_MS[int(self.rnd() * 8)]
            if self.odds.store_slow and self.rnd() < self.odds.store_slow:
                wait += self.slow(task)
            self.push(task, now + wait, PERFORM, effect)

    def slow(self, task: Task) -> int:
        """How long a store's answer takes now: longer than any lease at worst."""
        self.count("store slow")
        if task.worker is not None:
            self.model.stalled(task.worker)
        return self.rng.choice((500, 5_000, 25_000))

    def later(self, task: Task, when: int, phase: int, value: Any) -> None:
        """As :meth:`push`, for what a deadline interrupts."""
        until = min((found for _, found in task.frames if found is not None), default=None)
        if until is not None and when > until:
            if phase == ARRIVE:
                self.at(when, lambda: self.exchange(value))  # on its way, whoever still waits
            self.push(task, max(until, self.now), TIME_OUT)
        else:
            self.push(task, when, phase, value)

    def time_out(self, task: Task) -> None:
        """A deadline is over: the flow under it may clean up, and its caller hears of it."""
        while True:
            flow, until = task.frames.pop()
            with contextlib.suppress(DeadlineExceeded, StopIteration):
                flow.throw(DeadlineExceeded())
            flow.close()
            if until is not None:
                break
        self.resume(task, TIMED_OUT)

    def perform(self, task: Task, effect: Any) -> None:
        """One call of a ledger: the worker may die before it or after it."""
        worker = task.worker
        assert worker is not None, f"{task.name} is no worker's, and asks for {effect}"
        if self.doomed(worker):
            return
        try:
            answer = worker.effects.ledger_call(effect)
        except Violation:
            raise
        except Exception as error:
            answer = error
        if self.doomed(worker):
            return
        if task.exchange is not None and task.exchange.gone and self.cancel(task):
            answer = Cancelled()
        if self.rnd() < 0.25:
            self.push(task, self.now + LEDGER_MS[int(self.rnd() * 8)], RESUME, answer)
        else:
            self.resume(task, answer)

    def cancel(self, task: Task) -> bool:
        """Whether a request whose client is gone is cancelled here: once, and never while it is being recorded."""
        if not self.plan.cancels or task.cancelled or task.name == "leave" or self.rnd() < 0.5:
            return False
        task.cancelled = True
        self.count("requests cancelled")
        return True

    def doomed(self, worker: Worker) -> bool:
        """Whether the worker dies here; or only stands still for a while."""
        odds = self.odds
        if odds.dies and self.deaths < MAX_DEATHS and self.rnd() < odds.dies:
            self.die(worker)
            return True
        if odds.freezes and self.rnd() < odds.freezes:
            worker.frozen_until = self.now + self.rng.choice(FROZEN_MS)
            self.count("stalls")
            self.model.stalled(worker)
        return False

    def die(self, worker: Worker) -> None:
        """Nothing that was only in its memory is left; its flows are never resumed, nor even closed."""
        self.deaths += 1
        self.count("deaths")
        self.note(f"{worker.name} dies")
        worker.generation += 1
        for task in list(worker.tasks):
            task.turn += 1
            self.graves.append(task.frames)
            self.hang_up(task)
        worker.tasks.clear()
        worker.down_until = self.now + self.rng.choice(DOWN_MS)
        worker.frozen_until = 0
        worker.start()

    def hang_up(self, task: Task) -> None:
        """The connection of a worker's task is closed."""
        if task.exchange is not None:
            self.reply(task.exchange, None)

    def finish(self, task: Task) -> None:
        """A task has come to its end."""
        if task.worker is not None:
            task.worker.tasks.pop(task, None)
            if task.cancelled:
                self.hang_up(task)

    # --- the bank's wire --------------------------------------------------------------------------------------

    def arrive(self, task: Task, call: HttpCall) -> None:
        """A call has arrived, or not; now or later its answer does."""
        odds, now = self.odds, self.now
        assert task.worker is not None
        if self.doomed(task.worker):
            return
        if task.exchange is not None and task.exchange.gone and self.cancel(task):
            self.exchange(call)
            self.resume(task, Cancelled())
            return
        if odds.unsent and self.rnd() < odds.unsent:
            self.later(task, now, RESUME, HttpError("test: refused", sent=False))
            return
        if odds.broker_slow and self.rnd() < odds.broker_slow:
            self.count("broker slow")
            self.at(now + self.rng.choice((0, 8_000, 30_000)), lambda: self.exchange(call))
            self.later(task, now + int(call.deadline_s * 1000), RESUME, HttpError("test: too slow", sent=True))
            return
        answer = self.exchange(call)
        if odds.answer_lost and self.rnd() < odds.answer_lost:
            self.count("broker's answer lost")
            answer = HttpError("test: no answer", sent=True)
        self.later(task, now + REPLY_MS[int(self.rnd() * 6)], RESUME, answer)

    def exchange(self, call: HttpCall) -> HttpReply | HttpError:
        """What the bank does when it is called."""
        path = call.url.removeprefix(banks.URL)
        if self.odds.broker_fails and self.rnd() < self.odds.broker_fails:
            self.count("broker failed")
            if self.rnd() < 0.5:
                return HttpReply(status=503)
            self.bank.answer(path, call.body)
            return HttpReply(status=500)
        status, said = self.bank.answer(path, call.body)
        if self.tracing:
            self.note(f"bank: {path} {call.body.decode()[:90]} -> {status} {said}")
        return HttpReply(status=status, body=banks.json.dumps(said).encode())

    # --- requests ---------------------------------------------------------------------------------------------

    def ask(self, task: Task, ask: Ask) -> None:
        """An agent's request goes to some worker."""
        exchange, worker = ask.exchange, self.rng.choice(self.workers)
        exchange.task, exchange.began = task, self.now
        if worker.down_until > self.now:
            self.push(task, self.now + 1, RESUME, None)  # connection refused
            return
        exchange.server = self.spawn("enter", self.serve(worker, exchange), worker, exchange)
        task.turn += 1
        self.at(self.now + ask.patience, lambda: self._give_up(exchange))

    def _give_up(self, exchange: Exchange) -> None:
        """The client waits no longer."""
        if exchange.task is not None:
            exchange.gone = True
            self.push(exchange.task, self.now, RESUME, None)
            exchange.task = None

    def reply(self, exchange: Exchange, answer: Answer | None) -> None:
        """What a worker says reaches its client, if the client is still there."""
        task, exchange.task = exchange.task, None
        if task is not None:
            self.push(task, self.now + LEDGER_MS[int(self.rnd() * 8)], RESUME, answer)

    def serve(self, worker: Worker, exchange: Exchange) -> Flow:
        """One request, as an adapter does it: enter, the handler, the last byte, leave."""
        gate = worker.seat.gate(exchange.target, self.plan)
        headers = Headers.of([("host", "api.example.com"), *exchange.headers])
        request = HttpRequest(
            exchange.http_method,
            exchange.target,
            "",
            headers,
            exchange.target,
            "198.51.100.1",
            "192.0.2.1",
            exchange.body,
        )
        passage = yield from gate.enter(request)
        response = passage.response
        if response is not None:
            self._refused(worker, exchange, response)
            return
        self.model.admitted(exchange, passage.key, passage.fence)
        if self.tracing:
            self.note(f"{worker.name}: admitted to {exchange.target} under fence {passage.fence}")
        key, fence, broken = passage.key, passage.fence, False
        status = 200
        try:
            if self.rnd() < self.odds.handler_fails:
                luck = self.rnd()
                status = 500 if luck < 0.6 else 404
                if luck < 0.3:
                    passage.raised()
            elif self.rnd() < 0.05:
                status = 303
            start = passage.start(status, Headers.of(()))
            receipt = any(name == "payment-receipt" for name, _ in start.add)
            if receipt != (200 <= status < 300):
                raise self.model.broken(f"{key}: status {status} and {'a' if receipt else 'no'} receipt")
            for _ in range(self.rng.choice((1, 1, 1, 4))):
                yield Sleep(self.rng.choice((0.0, 0.05, 1.0, 20.0)))
                if passage.renewal_due():
                    yield from gate.renew(passage)
        except Cancelled:
            broken = True
        assert exchange.server is not None
        exchange.server.name = "leave"  # from here on the server shields it
        lost = self.rnd() < self.odds.client_lost
        if broken or exchange.gone or (lost and self.rnd() < 0.5):
            self._gone_by_server(exchange)
            yield from gate.leave(passage, False)
            return
        delivered = status < 400
        if delivered:
            self.model.handed_over(key, fence)
            if self.tracing:
                self.note(f"{worker.name}: the last byte of {exchange.target}, status {status}")
        if lost:
            self._gone_by_server(exchange)  # after the last byte, so the server does not know
        elif not (delivered and self.odds.dies and self.rnd() < 0.05):
            self.reply(exchange, Answer(status, [], admitted=True))
        elif self.deaths < MAX_DEATHS:
            self.count("deaths after the last byte")
            self.die(worker)
            yield Sleep(0.0)
        yield from gate.leave(passage, True)

    def _gone_by_server(self, exchange: Exchange) -> None:
        self.count("clients lost")
        self.reply(exchange, None)

    def _refused(self, worker: Worker, exchange: Exchange, response: Any) -> None:
        status, problem = response.status, ""
        fields = [value for name, value in response.headers if name == "www-authenticate"]
        ids = _IDS(fields[0]) if fields else []
        if response.body:
            said = loads(response.body)
            problem = str(said.get("type", said.get("error"))).replace(":", "/").rpartition("/")[2]
        if self.tracing:
            self.note(f"{worker.name}: {exchange.target} -> {status} {problem}")
        if status >= 500 and status != 503 and problem != "delivery-exhausted":
            raise self.model.broken(f"{exchange.target}: answered {status} {problem}")
        if (status == 402) != bool(ids):
            raise self.model.broken(f"{exchange.target}: {status} {problem} with {len(ids)} challenges")
        if status == 402:
            exchange.same = exchange.purchase is not None and exchange.purchase.challenge.id == ids[0]
            for ident in ids:
                self.issued.setdefault(ident, (exchange.target, exchange.body.sha256))
            # A provider that has to be asked for a challenge takes its time, and the ledger may fail meanwhile.
            known = worker.handle.direct or worker.handle.available or not self.provider.fixed_terms
            self.model.challenged(exchange, known)
        retry = next((int(value) for name, value in response.headers if name == "retry-after"), 1)
        if self.rnd() < self.odds.client_lost:
            self._gone_by_server(exchange)
        else:
            self.reply(exchange, Answer(status, fields, problem, retry))

    # --- the back office --------------------------------------------------------------------------------------

    def office(self, name: str, flow: Flow) -> None:
        """Something that no client asked for, on some worker; if that dies nobody goes on with it."""
        worker = self.rng.choice(self.workers)
        self.spawn(name, flow, worker)

    def give_back(self, payment_id: str, amount: Any = None) -> Flow:
        """Somebody gives a payment back, and asks again while the outcome is unknown."""
        for _ in range(6):
            try:
                result = yield from refund(payment_id, amount, [self.provider], "mpp")
            except RefundError as error:
                if error.retry_after_s is None:
                    return
                yield Sleep(float(error.retry_after_s))
                continue
            except flovia.LedgerError:
                yield Sleep(2.0)
                continue
            if result.status != "unknown":
                return
            yield Sleep(3.0)

    def pay_back_all(self) -> Flow:
        """Everything that is due goes back."""
        due = yield from refunds_due(1000)
        for one in due:
            amount = None if one.ordered is None else flovia.Price(amount=one.ordered, currency=one.currency)
            yield from self.give_back(one.payment_id, amount)

    def notify(self, payment_id: str) -> None:
        """The bank tells a worker that something happened to a payment; it may not get there."""
        self.notices.append(payment_id)
        for _ in range(self.rng.choice((0, 1, 1, 2)) if any(self.odds_now()) else 1):
            self.at(self.now + self.rng.choice((0, 200, 5_000)), lambda: self.hear(payment_id))

    def odds_now(self) -> list[float]:
        """The rates in force."""
        return [getattr(self.odds, name) for name in _RATES]

    def hear(self, payment_id: str) -> None:
        """A webhook arrives."""
        body = banks.json.dumps({"id": payment_id}).encode()
        self.office("webhook", hear(self.provider, Headers.of(()), body, realm=REALM, rail="mpp"))

    # --- where the money is -----------------------------------------------------------------------------------

    def money_moved(self, payment_id: str, amount: int) -> bool:
        """Whether so much was paid under this reference."""
        if self.plan.provider == "mock":
            return payment_id in self.references
        money = self.bank.payments.get(payment_id)
        return money is not None and money.paid and money.amount == amount

    def paid_for(self, purchase: Any, by: int | None = None) -> bool:
        """Whether a purchase was paid, in time and in full, until ``by`` (default: now)."""
        by = self.now if by is None else by
        if self.plan.provider == "pull":
            return self.model.charged_at.get((purchase.challenge.id, purchase.card), by + 1) <= by
        money = purchase.money
        if money is None or not money.paid or money.late or money.at > by:
            return False
        return money.amount == purchase.amount and not money.refunded

    def may_open(self, purchase: Any) -> bool:
        """Whether presenting a purchase could still open anything."""
        account = self.model.accounts.get(purchase.key)
        return self.paid_for(purchase) or (account is not None and account.paid_verdict)

    def stolen(self, purchase: Any) -> bool:
        """Whether the proof of a purchase has bought something else."""
        proof = f"{self.provider.method}|{purchase.reference}"
        found = self.model.proofs.get(proof)
        return (found is not None and found != purchase.key) or proof in self.model.late
