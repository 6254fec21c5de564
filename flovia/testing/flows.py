"""Drive a flow by hand: what it asks for is answered by a function or by a list, nothing is performed.

    call = HttpCall(http_method="GET", url="https://bank.example/status")
    reply = drive(http(call), [HttpReply(status=200)])

A provider's ``quote`` and ``verify`` are flows, so one test needs no server, no event loop and no waiting.
:class:`ByHand` answers everything a provider may ask for, with a clock that stands still.
"""

from collections.abc import Callable, Iterable
from itertools import count
from typing import Final, TypeVar, cast

from flovia.core.effects import (
    TIMED_OUT,
    Deadline,
    Effect,
    Flow,
    HttpCall,
    HttpReply,
    Now,
    Recall,
    Remember,
    Sleep,
    Token,
)
from flovia.ledger.memory import MemoryLedger
from flovia.runtime import DeadlineExceeded
from flovia.testing.ledger_steps import ManualClock

T = TypeVar("T")
Answer = Callable[[Effect], object]
MAX_EFFECTS: Final = 1000
"""A flow that asks for more than this has lost its way."""
_NUMBERS: Final = count(1)


def drive(flow: Flow[T], answers: Answer | Iterable[object]) -> T:
    """Drive a flow to its end and return its value.

    ``answers`` is a function from the effect to its result, or the results in order; a result that is an exception
    is thrown into the flow. So is what the function raises, as a driver would do it; but an AssertionError is the
    test's own and comes out of here.

    Raises:
        AssertionError: it is no flow, asks for more than there are answers or for less, or never ends.
    """
    if not hasattr(cast("object", flow), "send"):
        raise AssertionError(f"{type(flow).__name__} is no flow: a function with `yield from ()` in it returns one")
    answer, left = (answers, ()) if callable(answers) else _in_order(answers)
    try:
        effect = flow.send(None)
    except StopIteration as stop:
        value: T = stop.value
    else:
        value = _go_on(flow, effect, answer)
    for unused in left:
        raise AssertionError(f"the flow ended before it asked for what {unused!r} would answer")
    return value


def _go_on(flow: Flow[T], effect: Effect, answer: Answer) -> T:
    try:
        for _ in range(MAX_EFFECTS):
            try:
                result = answer(effect)
            except AssertionError:
                raise
            except Exception as error:
                effect = flow.throw(error)
            else:
                effect = flow.throw(result) if isinstance(result, Exception) else flow.send(result)
    except StopIteration as stop:
        return cast(T, stop.value)
    finally:
        flow.close()
    raise AssertionError(f"the flow goes on after {MAX_EFFECTS} effects: is it waiting for something in a loop?")


def _in_order(answers: Iterable[object]) -> tuple[Answer, Iterable[object]]:
    waiting = iter(answers)

    def answer(effect: Effect) -> object:
        for result in waiting:
            return result
        raise AssertionError(f"the flow asks for {effect!r}, and no answer is left")

    return answer, waiting


class ByHand:
    """Answers what a provider may ask for: HTTP from ``backend``, the rest from a still clock and a memory ledger.

    ``calls`` are the HTTP calls made, in order; ``effects`` counts all that was asked for. Sleeping moves the clock and
    takes no time.
    """

    def __init__(self, backend: Callable[[HttpCall], HttpReply], clock: ManualClock | None = None) -> None:
        self.backend = backend
        self.clock = clock or ManualClock()
        self.ledger = MemoryLedger(clock=self.clock)
        self.calls: list[HttpCall] = []
        self.effects = 0
        self._until = float("inf")

    def token(self) -> str:
        """22 characters, never the same twice in one process."""
        return f"test{next(_NUMBERS):018d}"

    def __call__(self, effect: Effect) -> object:
        """The result of one effect.

        Raises:
            AssertionError: the effect is the gate's affair, not a provider's.
        """
        self.effects += 1
        match effect:
            case HttpCall():
                self.calls.append(effect)
                return self.backend(effect)
            case Now():
                return self.clock()
            case Token():
                return self.token()
            case Sleep(seconds=seconds):
                if self.clock() + seconds >= self._until:
                    self.clock.now = self._until
                    raise DeadlineExceeded
                self.clock.advance(seconds)
                return None
            case Remember():
                return self.ledger.remember(
                    effect.namespace, effect.key, effect.value, effect.ttl_s, effect.if_absent, effect.instead_of
                )
            case Recall():
                return self.ledger.recall(effect.namespace, effect.key)
            case Deadline():
                return self._within(effect)
            case _:
                raise AssertionError(f"{type(effect).__name__} is the gate's to ask for, not a provider's")

    def _within(self, deadline: Deadline) -> object:
        before, self._until = self._until, self.clock() + deadline.seconds
        try:
            return _go_on(deadline.flow, deadline.effect, self)
        except DeadlineExceeded:
            return TIMED_OUT
        finally:
            self._until = before
