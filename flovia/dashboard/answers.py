"""Answers that are kept: by what was asked and how far the ledger was read, made anew in the background."""

import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Final, Generic, TypeVar

import attrs

from flovia.dashboard.pool import BusyError, ClosedError, Pool

if TYPE_CHECKING:
    from flovia.dashboard.keeper import Keeper, Known

T = TypeVar("T")
KEPT: Final = 128
"""Answers that are kept at most; the one that nobody asked for longest goes first."""
KEPT_ROWS: Final = 100_000
"""Rows of all answers that are kept, a few hundred MB at most. The newest answer is kept, however many it has."""
AT_ONCE: Final = 2
"""Answers that are made at the same time."""
WAITING: Final = 64
"""Answers of a kind that are asked for at most and not yet there; whoever asks for more is told to come again."""
OLD_S: Final = 60.0
"""After this long an answer is made anew though nothing has come: what is pending expires, "7 days" move on."""
REST: Final = 5.0
"""An answer is kept for so many times as long as it took to make, though more has come: one that is expensive must not
be made all the time."""


@attrs.frozen(kw_only=True)
class Found(Generic[T]):
    """An answer.

    ``position``: of the ledger that it is about; ``epoch``: of which of its files, as :class:`Known` has it. ``made``:
    when, Unix seconds, and ``at`` by the monotonic clock; ``took``: seconds. ``rows``: how large it is.
    """

    value: T
    position: int
    epoch: int
    made: float
    at: float
    took: float
    rows: int = 1


@attrs.frozen
class Question(Generic[T]):
    """What is asked.

    ``key``: the same for the same question. ``make``: answers it, for a ledger read so far. ``heavy``: it may take
    long, and must not keep the others waiting. ``rows``: how large an answer is.
    """

    key: tuple[object, ...]
    make: "Callable[[Known], T]" = attrs.field(eq=False)
    heavy: bool = False
    rows: Callable[[T], int] = attrs.field(default=lambda _: 1, eq=False)


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
        self._rows = 0
        self._making: dict[tuple[object, ...], Future[Found[object]]] = {}
        self._waiting = Counter[tuple[bool, bool]]()
        self._now: list[tuple[Question[object], Future[Found[object]]]] = []
        self._reading = False
        self._pool = Pool(AT_ONCE, "flovia-dashboard-answers")
        self._heavy = Pool(1, "flovia-dashboard-sessions")
        self._ahead = Pool(1, "flovia-dashboard-ahead")

    def kept(self, question: Question[T]) -> Found[T] | None:
        """The answer that is there, however old; none about a ledger that is not there any more."""
        with self._lock:
            found = self._kept.get(question.key)
            if found is not None and found.epoch != self._keeper.epoch:
                self._drop(question.key)
                found = None
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
        """Begin to answer, or join who does already. ``now``: read the ledger to its end first.

        Raises:
            BusyError: too much is asked for already.
        """
        key, kind = (question.key, now), (question.heavy, now)
        with self._lock:
            running = self._making.get(key)
            if running is None:
                if self._waiting[kind] >= WAITING:
                    raise BusyError("more answers are asked for than can be made at once; ask again in a moment")
                running = self._making[key] = Future()
                self._waiting[kind] += 1
                running.add_done_callback(lambda _: self._done(key, kind))
                if now:
                    self._ask_now(question, running)  # type: ignore[arg-type] # any answer is an object
                else:
                    future = running
                    self._pool_of(question).submit(future, lambda: self._make(question, self._keeper.first()))
        return running  # type: ignore[return-value] # a key's answers are of one type

    def close(self) -> None:
        """Make no more: what was not begun fails with :class:`~flovia.dashboard.pool.ClosedError`."""
        pools = (self._ahead, self._pool, self._heavy)
        for pool in pools:
            pool.end()
        for pool in pools:
            pool.join()

    def _pool_of(self, question: Question[T]) -> Pool:
        return self._heavy if question.heavy else self._pool

    def _done(self, key: tuple[object, ...], kind: tuple[bool, bool]) -> None:
        with self._lock:
            self._making.pop(key, None)
            self._waiting[kind] -= 1

    def _ask_now(self, question: Question[object], future: "Future[Found[object]]") -> None:
        """Answer when the ledger was read to its end: by a thread of its own, for that may take minutes, and whoever
        is content with what is known must not wait for it.
        """
        self._now.append((question, future))
        if not self._reading:
            self._reading = True
            reading = Future[None]()
            reading.add_done_callback(self._read)
            self._ahead.submit(reading, self._read_ahead)

    def _read_ahead(self) -> None:
        while True:
            with self._lock:
                asking, self._now = self._now, []
                if not asking:
                    self._reading = False
                    return
            try:
                known = self._keeper.catch_up()
            except BaseException as error:
                for _, future in asking:
                    future.set_exception(error)
                continue
            for question, future in asking:
                self._pool_of(question).submit(future, partial(self._make_now, question, known))

    def _read(self, reading: "Future[None]") -> None:
        """Whoever waits for what is not read any more is told so."""
        if reading.exception() is None:
            return
        with self._lock:
            asking, self._now, self._reading = self._now, [], False
        for _, future in asking:
            future.set_exception(ClosedError())

    def _make_now(self, question: Question[T], known: "Known") -> Found[object]:
        kept = self.kept(question)
        if kept is not None and kept.position == known.position and self._monotonic() - kept.at < OLD_S:
            return kept  # type: ignore[return-value] # any answer is an object
        return self._make(question, known)

    def _make(self, question: Question[T], known: "Known") -> Found[object]:
        began = self._monotonic()
        value = question.make(known)
        ended = self._monotonic()
        found = Found[object](
            value=value,
            position=known.position,
            epoch=known.epoch,
            made=self._clock(),
            at=ended,
            took=ended - began,
            rows=max(1, question.rows(value)),
        )
        with self._lock:
            self._drop(question.key)
            self._kept[question.key] = found
            self._rows += found.rows
            while len(self._kept) > 1 and (len(self._kept) > KEPT or self._rows > KEPT_ROWS):
                self._drop(next(iter(self._kept)))
        return found

    def _drop(self, key: tuple[object, ...]) -> None:
        old = self._kept.pop(key, None)
        self._rows -= 0 if old is None else old.rows
