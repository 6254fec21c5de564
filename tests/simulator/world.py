"""One story: workers, the network, a bank and its office.

The world is the scheduler, and says what comes of an effect. Anything can fail here, and at any effect the worker may
die: its flows are never resumed, and all that was only in its memory is gone.
"""

from typing import Any, Final

import attrs

import flovia
from flovia.core.effects import HttpCall, HttpReply, Sleep
from flovia.core.errors import HttpError
from flovia.core.http import Headers
from flovia.core.listening import hear
from flovia.core.refunding import RefundError, refund, refunds_due
from tests.simulator import bank as banks
from tests.simulator.exchanges import REALM, Answer, Ask, Exchange, Flow
from tests.simulator.model import Model, Violation
from tests.simulator.plan import Plan
from tests.simulator.scheduler import LEDGER_MS, RESUME, Cancelled, Scheduler, Task
from tests.simulator.serving import serve
from tests.simulator.stores import Sink, Store
from tests.simulator.workers import MAX_DEATHS, Seat, Worker, seats

REPLY_MS: Final = (1, 5, 20, 100, 400, 2_500)
FROZEN_MS: Final = (3_000, 20_000, 70_000, 100_000, 100_000)
DOWN_MS: Final = (0, 500, 5_000)


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


class World(Scheduler):
    """One run of one plan."""

    def __init__(self, plan: Plan, *, tracing: bool = False) -> None:
        super().__init__(plan.seed, tracing=tracing)
        self.plan = plan
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

    # --- a call of a ledger, and what may happen to a worker --------------------------------------------------

    def slow(self, task: Task) -> int:
        """How much longer a store's answer takes now: longer than any lease at worst."""
        if not self.odds.store_slow or self.rnd() >= self.odds.store_slow:
            return 0
        self.count("store slow")
        if task.worker is not None:
            self.model.stalled(task.worker)
        return self.rng.choice((500, 5_000, 25_000))

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
        exchange.server = self.spawn("enter", serve(self, worker, exchange), worker, exchange)
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
