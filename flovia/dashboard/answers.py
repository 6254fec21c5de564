"""Answers that are kept: by what was asked and how far the ledger was read, made anew in the background."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, Generic, TypeVar

import attrs

if TYPE_CHECKING:
    from flovia.dashboard.keeper import Keeper, Known

T = TypeVar("T")
KEPT: Final = 128
"""Answers that are kept at most; the one that nobody asked for longest goes first."""
AT_ONCE: Final = 2
"""Answers that are made at the same time."""
OLD_S: Final = 60.0
"""After this long an answer is made anew though nothing has come: what is pending expires, "7 days" move on."""
REST: Final = 5.0
"""An answer is kept for so many times as long as it took to make, though more has come: one that is expensive must not
be made all the time."""


@attrs.frozen(kw_only=True)
class Found(Generic[T]):
    """An answer.

    ``position``: of the ledger that it is about; ``made``: when, Unix seconds, and ``at`` by the monotonic clock;
    ``took``: seconds.
    """

    value: T
    position: int
    made: float
    at: float
    took: float


@attrs.frozen
class Question(Generic[T]):
    """What is asked.

    ``key``: the same for the same question. ``make``: answers it, for a ledger read so far. ``heavy``: it may take
    long, and must not keep the others waiting.
    """

    key: tuple[object, ...]
    make: "Callable[[Known], T]" = attrs.field(eq=False)
    heavy: bool = False


class Answers:
    """Answers to questions about a ledger.

    Args:
        keeper: reads the ledger.
        monotonic: seconds that never go back.
        clock: Unix seconds.
    """

    def __init__(
        self,
        keeper: "Keeper",
        *,
        monotonic: Callable[[], float] = time.monotonic,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._keeper = keeper
        self._clock = clock
        self._monotonic = monotonic
        self._lock = threading.RLock()  # a future that is done at once calls back in the same thread
        self._kept: OrderedDict[tuple[object, ...], Found[object]] = OrderedDict()
        self._making: dict[tuple[object, ...], Future[Found[object]]] = {}
        self._pool = ThreadPoolExecutor(AT_ONCE, "flovia-dashboard-answers")
        self._heavy = ThreadPoolExecutor(1, "flovia-dashboard-sessions")

    def kept(self, question: Question[T]) -> Found[T] | None:
        """The answer that is there, however old."""
        with self._lock:
            found = self._kept.get(question.key)
            if found is not None:
                self._kept.move_to_end(question.key)
        return found  # type: ignore[return-value] # a key's answers are of one type

    def is_fresh(self, found: Found[T]) -> bool:
        """Whether nothing better is to be had yet."""
        age = self.age(found)
        known = self._keeper.known
        if known is not None and known.position == found.position:
            return age < OLD_S
        return age < REST * found.took

    def age(self, found: Found[T]) -> float:
        """How long ago it was made, seconds."""
        return self._monotonic() - found.at

    def make(self, question: Question[T], *, now: bool = False) -> "Future[Found[T]]":
        """Begin to answer, or join who does already. ``now``: read the ledger to its end first."""
        key = (question.key, now)
        with self._lock:
            running = self._making.get(key)
            if running is None:
                pool = self._heavy if question.heavy else self._pool
                running = pool.submit(self._make, question, now)
                self._making[key] = running
                running.add_done_callback(lambda _: self._done(key))
        return running  # type: ignore[return-value] # a key's answers are of one type

    def close(self) -> None:
        """Make no more."""
        for pool in (self._pool, self._heavy):
            pool.shutdown(wait=True, cancel_futures=True)

    def _done(self, key: tuple[object, ...]) -> None:
        with self._lock:
            self._making.pop(key, None)

    def _make(self, question: Question[T], now: bool) -> Found[object]:
        known = self._keeper.known or self._keeper.read_on()
        if now:
            known = self._keeper.catch_up()
            kept = self.kept(question)
            if kept is not None and kept.position == known.position and self._monotonic() - kept.at < OLD_S:
                return kept  # type: ignore[return-value] # any answer is an object
        began = self._monotonic()
        value = question.make(known)
        ended = self._monotonic()
        found = Found[object](value=value, position=known.position, made=self._clock(), at=ended, took=ended - began)
        with self._lock:
            self._kept[question.key] = found
            self._kept.move_to_end(question.key)
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return found
