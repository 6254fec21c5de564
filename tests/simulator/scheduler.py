"""Who goes on, and when: tasks, what each of them waits for, and a clock that only the queue moves.

A task is a stack of flows, as the drivers of :mod:`flovia.runtime` keep them. It goes on until it asks for an effect;
when that is performed, when its answer comes, and who goes on in between is drawn from the seed. What comes of an
effect is for the :class:`~tests.simulator.world.World` to say, which is a scheduler.
"""

import base64
import contextlib
import random
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any, Final

import attrs

from flovia.core.effects import TIMED_OUT, Deadline, HttpCall, HttpReply, Now, Sleep, Token
from flovia.core.errors import HttpError
from flovia.runtime import DeadlineExceeded
from tests.simulator.exchanges import Ask, Exchange, Flow
from tests.simulator.model import Violation
from tests.simulator.workers import Worker

START_MS: Final = 1_893_456_000_000
LEDGER_MS: Final = (0, 0, 0, 0, 1, 1, 2, 5)
ARRIVE_MS: Final = (1, 1, 5, 20)
PERFORM, RESUME, TIME_OUT, ARRIVE = range(4)


class Cancelled(BaseException):
    """The client is gone, and the server cancels what it did for it."""


@attrs.define(eq=False)
class Wait:
    """An agent waits, ms."""

    ms: int


class Task:
    """What goes on by itself. ``turn`` numbers what it waits for: what comes for an earlier one is ignored."""

    __slots__ = ("cancelled", "exchange", "frames", "generation", "name", "turn", "worker")

    def __init__(self, name: str, flow: Flow, worker: Worker | None, exchange: Exchange | None) -> None:
        self.name = name
        self.frames: list[tuple[Flow, int | None]] = [(flow, None)]
        self.worker = worker
        self.generation = 0 if worker is None else worker.generation
        self.exchange = exchange
        self.turn = 0
        self.cancelled = False


class Scheduler(ABC):
    """The queue. :meth:`run` goes on until nothing is left to do."""

    def __init__(self, seed: int, *, tracing: bool) -> None:
        self.rng = random.Random(f"world {seed}")
        self.rnd = self.rng.random
        self.tracing = tracing
        self.trace: list[str] = []
        self.now = self.began = START_MS
        self.steps = 0
        self.queue: list[Any] = []
        self.counts: Counter[str] = Counter()

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

    # --- tasks ------------------------------------------------------------------------------------------------

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
            self.push(task, now + LEDGER_MS[int(self.rnd() * 8)] + self.slow(task), PERFORM, effect)

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

    # --- what comes of an effect ------------------------------------------------------------------------------

    @abstractmethod
    def ask(self, task: Task, ask: Ask) -> None:
        """An agent's request sets out."""

    @abstractmethod
    def slow(self, task: Task) -> int:
        """How much longer than usual the store takes now, ms."""

    @abstractmethod
    def perform(self, task: Task, effect: Any) -> None:
        """A call has reached the ledger."""

    @abstractmethod
    def arrive(self, task: Task, call: HttpCall) -> None:
        """A call has reached its host, or was lost on the way."""

    @abstractmethod
    def exchange(self, call: HttpCall) -> HttpReply | HttpError:
        """What the host of a call does and says."""

    @abstractmethod
    def finish(self, task: Task) -> None:
        """A task has come to its end."""
