"""The drivers: the only place where effects are performed.

``run`` drives a flow synchronously, ``arun`` under anyio (asyncio and trio). Both give an effect's exception
back to the flow with ``throw``, so a flow can clean up, and ``arun`` shields the ledger's writes: a client that
goes away cannot interrupt the recording of a payment that was taken.
"""

import time
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Final, TypeVar, cast

import attrs

from flovia import entropy
from flovia.core.effects import (
    TIMED_OUT,
    Claim,
    Deadline,
    Deliver,
    Effect,
    Fail,
    Find,
    FindAnswer,
    Flow,
    HttpCall,
    HttpReply,
    Now,
    Recall,
    Release,
    Remember,
    Renew,
    Settle,
    Sleep,
    Token,
)
from flovia.core.keeping import FindUnresolved, ListTexts, SettleFound
from flovia.core.owed import CloseRefund, FindDue, FindPaid, Late, NoteRefund, OpenRefund

if TYPE_CHECKING:
    import asyncio

    from anyio import CapacityLimiter
    from anyio.lowlevel import RunVar

    from flovia.ledger.base import Ledger

T = TypeVar("T")
LEDGER_THREADS: Final = 16
_LEDGER_EFFECTS: Final = (Claim, Settle, Deliver, Fail, Release, Renew, Find, FindAnswer, Remember, Recall)


CallWatch = Callable[[HttpCall], AbstractContextManager[Callable[[HttpReply], None]]]
"""Told of each call to a payment backend: entered when it begins, given the answer, left when it ends."""


class DeadlineExceeded(Exception):
    """Thrown into a flow whose time is up, so that its ``finally`` blocks run."""


@attrs.define(kw_only=True)
class World:
    """What effects are performed on: a ledger, the two clocks (seconds) and a source of tokens.

    ``watch``, if there is one, is told of every call to a payment backend.
    """

    ledger: "Ledger"
    clock: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    tokens: Callable[[], str] = entropy.token
    watch: CallWatch | None = None

    def ledger_call(self, effect: Effect) -> object:
        """Perform one of the ledger's verbs; blocks."""
        ledger = self.ledger
        match effect:
            case Claim():
                return ledger.claim(
                    effect.key,
                    effect.fingerprint,
                    effect.expired,
                    effect.lease_s,
                    effect.deliver_s,
                    effect.keep_until,
                    effect.max_deliveries,
                )
            case Settle():
                return ledger.settle(
                    effect.key,
                    effect.fence,
                    effect.proof,
                    effect.payment_id,
                    effect.amount,
                    effect.currency,
                    effect.record,
                    effect.deliver_s,
                    effect.keep_until,
                    effect.refund_due,
                    effect.events,
                )
            case Deliver():
                return ledger.deliver(effect.key, effect.fence, effect.events, effect.answer)
            case Fail():
                return ledger.fail(effect.key, effect.fence, effect.events, effect.refund_due)
            case Release():
                return ledger.release(effect.key, effect.fence, effect.park, effect.events)
            case Renew():
                return ledger.renew(effect.key, effect.fence, effect.deliver_s)
            case Find():
                return ledger.find(effect.key)
            case FindAnswer():
                return ledger.find_answer(effect.key)
            case Remember():
                return ledger.remember(
                    effect.namespace, effect.key, effect.value, effect.ttl_s, effect.if_absent, effect.instead_of
                )
            case Recall():
                return ledger.recall(effect.namespace, effect.key)
            case _:
                return self._owed_call(effect)

    def _owed_call(self, effect: Effect) -> object:
        """Perform one of the verbs about money that is to go back; blocks."""
        ledger = self.ledger
        match effect:
            case Late():
                return ledger.late(
                    effect.key,
                    effect.proof,
                    effect.payment_id,
                    effect.amount,
                    effect.currency,
                    effect.keep_until,
                    effect.events,
                )
            case FindPaid():
                return ledger.find_paid(effect.proof)
            case OpenRefund():
                return ledger.open_refund(
                    effect.proof,
                    effect.amount,
                    effect.currency,
                    effect.nonce,
                    effect.lease_s,
                    effect.events,
                )
            case CloseRefund():
                return ledger.close_refund(
                    effect.proof,
                    effect.fence,
                    effect.end,
                    effect.amount,
                    effect.refund_id,
                    effect.reason,
                    effect.events,
                )
            case NoteRefund():
                return ledger.note_refund(effect.key, effect.proof, effect.amount, effect.currency, effect.events)
            case FindDue():
                return ledger.find_due(effect.limit)
            case _:
                return self._keeping_call(effect)

    def _keeping_call(self, effect: Effect) -> object:
        """Perform one of the verbs for when nobody has come with a credential; blocks."""
        ledger = self.ledger
        match effect:
            case ListTexts():
                return ledger.list_texts(effect.namespace, effect.after, effect.limit)
            case FindUnresolved():
                return ledger.find_unresolved(effect.after, effect.limit)
            case SettleFound():
                return ledger.settle_found(
                    effect.key,
                    effect.fence,
                    effect.proof,
                    effect.payment_id,
                    effect.amount,
                    effect.currency,
                    effect.record,
                    effect.keep_until,
                    effect.events,
                )
            case _:
                raise TypeError(f"{type(effect).__name__} is not an effect a ledger can perform")


def run(flow: Flow[T], world: World) -> T:
    """Drive a flow to its end, blocking."""
    try:
        effect = flow.send(None)
    except StopIteration as stop:
        value: T = stop.value
        return value
    return _run(flow, effect, world, None)


def _run(flow: Flow[T], effect: Effect, world: World, until: float | None) -> T:
    """Go on with a started flow that asked for ``effect``; past ``until`` (monotonic) it gets DeadlineExceeded."""
    try:
        while True:
            try:
                result = _perform(effect, world, until)
            except BaseException as error:
                effect = flow.throw(error)
            else:
                effect = flow.send(result)
    except StopIteration as stop:
        return cast(T, stop.value)
    finally:
        flow.close()


def _perform(effect: Effect, world: World, until: float | None) -> object:
    left = None if until is None else until - world.monotonic()
    if left is not None and left <= 0:
        raise DeadlineExceeded
    match effect:
        case Now():
            return world.clock()
        case Token():
            return world.tokens()
        case Sleep(seconds=seconds):
            time.sleep(seconds if left is None else min(seconds, left))
            if left is not None and seconds >= left:
                raise DeadlineExceeded
            return None
        case HttpCall():
            from flovia.backend_http import send

            call = effect if left is None else attrs.evolve(effect, deadline_s=min(effect.deadline_s, left))
            if world.watch is None:
                return send(call)
            with world.watch(call) as answered:
                reply = send(call)
                answered(reply)
            return reply
        case Deadline(flow=flow, effect=first, seconds=seconds):
            try:
                return _run(flow, first, world, world.monotonic() + seconds)
            except DeadlineExceeded:
                return TIMED_OUT
        case _:
            return world.ledger_call(effect)


async def arun(flow: Flow[T], world: World) -> T:
    """Drive a flow to its end under asyncio or trio."""
    try:
        effect = flow.send(None)
    except StopIteration as stop:
        value: T = stop.value
        return value
    return await _arun(flow, effect, world)


async def _arun(flow: Flow[T], effect: Effect, world: World) -> T:
    try:
        while True:
            try:
                result = await _aperform(effect, world)
            except BaseException as error:
                # Cancellation too: the flow may still record what it knows, and ledger writes are shielded.
                effect = flow.throw(error)
            else:
                effect = flow.send(result)
    except StopIteration as stop:
        return cast(T, stop.value)
    finally:
        flow.close()


async def _aperform(effect: Effect, world: World) -> object:
    import anyio

    match effect:
        case Now():
            return world.clock()
        case Token():
            return world.tokens()
        case Sleep(seconds=seconds):
            await anyio.sleep(seconds)
            return None
        case HttpCall():
            from flovia.backend_http import asend

            if world.watch is None:
                return await asend(effect)
            with world.watch(effect) as answered:
                reply = await asend(effect)
                answered(reply)
            return reply
        case Deadline(flow=flow, effect=first, seconds=seconds):
            result: object = TIMED_OUT
            with anyio.move_on_after(seconds):
                result = await _arun(flow, first, world)
            return result  # noqa: RET504  # behind the block, which may swallow a cancellation
        case _:
            if world.ledger.direct:
                return world.ledger_call(effect)
            # Not abandoned on cancellation: a write whose result nobody sees would hold the row until its lease ends.
            answer: object = None
            with anyio.CancelScope(shield=True):
                answer = await _unstopped(_ledger_answer(effect, world))
            return answer  # noqa: RET504  # as above


async def _ledger_answer(effect: Effect, world: World) -> object:
    from anyio import to_thread

    return await to_thread.run_sync(world.ledger_call, effect, limiter=_ledger_threads())


_unwatched: "set[asyncio.Future[object]]" = set()


async def _unstopped(call: Coroutine[object, object, object]) -> object:
    """Wait for a call that goes on whatever happens to who waits.

    ``Task.cancel()``, as ``asyncio.timeout`` and some servers use it, takes no notice of anyio's shields, and
    a call that still waits for a thread would never be made. Trio has no such thing.
    """
    import asyncio

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return await call
    task = asyncio.ensure_future(call)
    _unwatched.add(task)  # the loop itself holds a task weakly
    task.add_done_callback(_end_quietly)
    return await asyncio.shield(task)


def _end_quietly(task: "asyncio.Future[object]") -> None:
    _unwatched.discard(task)
    if not task.cancelled():
        task.exception()  # whoever still waits gets it; nobody else is to be told


_threads: "RunVar[CapacityLimiter] | None" = None


def _ledger_threads() -> "CapacityLimiter":
    """One limiter an event loop: ledger calls must not take all the worker threads an app has."""
    global _threads
    from anyio import CapacityLimiter
    from anyio.lowlevel import RunVar

    if _threads is None:
        _threads = RunVar("flovia_ledger_threads")
    try:
        return _threads.get()
    except LookupError:
        limiter = CapacityLimiter(LEDGER_THREADS)
        _threads.set(limiter)
        return limiter
