"""The one reader of a process: it folds what is new while somebody looks, and tells all who watch.

However many pages are open, the ledger is asked once a second, by one thread; it ends when nobody has looked for a
while, and begins again with the next page.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, cast

import attrs

from flovia.core.errors import FloviaError, LedgerError
from flovia.dashboard.pool import ClosedError
from flovia.ledger.sqlite import LostFileError, SqliteDatabase
from flovia.reports.reading import fold_new, fold_on, known_of

if TYPE_CHECKING:
    from flovia.insights.asking import LeftOut
    from flovia.insights.joined import Kept
    from flovia.ledger.sql import SqlLedger

POLL_S: Final = 1.0
"""How often it is looked for what is new."""
SLICE_S: Final = 2.0
"""How long is folded before the days are counted, so that a ledger with much that is new has answers on the way."""
COUNTED_AT_ONCE: Final = 5_000
"""Attempts that one statement counts: without WAL a paid request waits for it, and this is done again and again."""
REST: Final = 4.0
"""So many times as long as a look took it is until the next one, and until days are counted again: payments use the
same processor and the same file.
"""
MOST_REST_S: Final = 5.0
"""After a look, at most: it may have taken long because somebody else had the file."""
MOST_COUNT_REST_S: Final = 60.0
"""The same after days were counted."""
IDLE_S: Final = 120.0
"""How long after the last look the thread ends."""
SILENT_S: Final = 5.0
"""How long the ledger may fail to answer before those who watch are told: somebody else may have it for a moment."""
NEWEST: Final = 300
"""Attempts that are kept for those who watch."""
_log: Final = logging.getLogger("flovia")


@attrs.frozen(kw_only=True)
class Known:
    """How far the ledger is read.

    ``position``: all events up to it are folded, and the days that they changed are counted; ``behind``: whether there
    were more to fold. ``epoch``: of which of the files that were there one after the other. ``left_out``, ``floor``:
    see :func:`flovia.reports.reading.known_of`.
    """

    position: int
    behind: bool
    epoch: int
    left_out: "LeftOut"
    floor: float | None


@attrs.frozen(kw_only=True)
class Seen:
    """An attempt that is new or has changed; its ``position`` says by which event.

    ``texts``: what is sent of it, by where the dashboard is mounted: written once for all who watch.
    """

    kept: "Kept"
    texts: dict[str, str] = attrs.field(factory=dict[str, str], eq=False, repr=False)


@attrs.frozen(kw_only=True)
class Told:
    """What those who watch are told, all of it at once: two attempts may share their newest event.

    ``seen``: each attempt that changed behind event ``since``, up to event ``position``, as it was then, in the order
    of these events; of more than :data:`NEWEST` the last ones.
    """

    since: int
    position: int
    seen: Sequence[Seen] = ()


class Keeper:
    """Folds a ledger in the background, in a thread of its own.

    Args:
        ledger: whose events they are; opened for reports.
        monotonic: seconds that never go back.
        poll_s: how often it is looked for what is new.
        idle_s: how long after the last look the thread ends.
    """

    def __init__(
        self,
        ledger: "SqlLedger",
        *,
        monotonic: Callable[[], float] = time.monotonic,
        poll_s: float = POLL_S,
        idle_s: float = IDLE_S,
    ) -> None:
        self._ledger = ledger
        self._monotonic = monotonic
        self._poll_s = poll_s
        self._idle_s = idle_s
        self._folding = threading.Lock()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()
        self._closed = False
        self._looked = monotonic()
        self._prepared = False
        self._failing_at: float | None = None
        self._count_at = monotonic()
        self.told: Told | None = None
        """None until the ledger was read for the first time."""
        self.known: Known | None = None
        """None until the ledger was read for the first time."""
        self.rounds = 0
        """How often the ledger was asked for what is new."""
        self.epoch = 0
        """How often the ledger was lost: what was known of it before says nothing any more."""
        self._file = self._identity()
        self._lost = False

    @property
    def running(self) -> bool:
        """Whether the thread is there."""
        thread = self._thread
        return thread is not None and thread.is_alive()

    @property
    def failing(self) -> bool:
        """Whether the ledger has not answered for so long that who watches has to know."""
        since, database = self._failing_at, cast(object, self._ledger.database)
        if isinstance(database, SqliteDatabase) and database.waited_s >= SILENT_S:
            return True
        return since is not None and self._monotonic() - since >= SILENT_S

    def look(self) -> None:
        """Somebody looks: from now on, and for some time, what is new is folded."""
        self._looked = self._monotonic()
        if self._identity() != self._file:
            self._forget()
        if self.running or self._closed:
            return
        with self._starting:
            if not self.running:
                self._failing_at = None  # that was long ago
                self._thread = threading.Thread(target=self._run, name="flovia-dashboard", daemon=True)
                self._thread.start()

    def _identity(self) -> object:
        """Which database it is, where another one can take its place: a file."""
        database: object = self._ledger.database
        return database.identity() if isinstance(database, SqliteDatabase) else None

    def _forget(self) -> None:
        """The ledger is not the one that it was: deleted, replaced, or nothing that could be read as one."""
        self.epoch += 1
        self._file = self._identity()
        self.known = self.told = None
        self._lost = True

    def check(self) -> None:
        """See that the ledger was not lost and answers, as far as it is known.

        Raises:
            LedgerError: it is gone, or another one that was not read yet; or it has not answered for a while.
        """
        if self._lost:
            raise LostFileError("the ledger's file is gone, or was replaced; it is looked for")
        if self.failing:
            raise LedgerError("the ledger does not answer; it is asked again")

    def at_hand(self, position: int) -> tuple[int, Sequence[Seen]] | None:
        """The same as :meth:`since` where this process knows it; None if the ledger has to be asked."""
        told = self.told
        if told is None:
            return position, []
        if position > told.position or (position < told.since and len(told.seen) < NEWEST):
            return None
        return told.position, [one for one in told.seen if one.kept.position > position]

    def since(self, position: int) -> tuple[int, Sequence[Seen]]:
        """What changed behind this event, :data:`NEWEST` attempts at most, and the event to ask with next.

        The ledger is asked where this process does not know: what came before it began to read, or what another
        process has told that is ahead of it. So whoever asks one process after another misses nothing, and sees
        nothing twice.

        Raises:
            LedgerError: the ledger does not answer.
        """
        from flovia.insights.fold import position_of
        from flovia.insights.sql_joined import last_changed
        from flovia.insights.store import read_state

        found, told = self.at_hand(position), self.told
        if found is not None:
            return found
        if told is None:
            return position, []
        if position > told.position:
            # Another process may be ahead of this one, but nobody is ahead of the ledger: then the number is of one
            # that it was put in the place of, and this one is followed from where it is.
            here = position_of(read_state(self._ledger.database)["cursor"])
            return min(position, here), []
        changed = last_changed(self._ledger.database, position, told.position, NEWEST)
        return told.position, [Seen(kept=one) for one in changed]

    def catch_up(self) -> Known:
        """Fold all that is new, now, in this thread.

        Raises:
            LedgerError: the ledger does not answer.
            ClosedError: it was closed before it was there.
        """
        while (found := self.read_on(count=True)).behind:
            if self._closed:
                raise ClosedError
        return found

    @property
    def closed(self) -> bool:
        """Whether it reads no more."""
        return self._closed

    def close(self) -> None:
        """End the thread."""
        self._closed = True
        self._wake.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(10)

    def _run(self) -> None:
        while not self._closed and self._monotonic() - self._looked < self._idle_s:
            behind, began = False, self._monotonic()
            try:
                behind = self.read_on().behind
                self._failing_at = None
            except FloviaError as error:
                if self._failing_at is None:
                    _log.warning("the dashboard cannot read the ledger: %s; it is tried again", error)
                    self._failing_at = began  # it may have waited for all its patience
            self._wake.wait(0.01 if behind else max(self._poll_s, self._rest(began, MOST_REST_S)))

    def read_on(self, *, count: bool = False) -> Known:
        """Fold what is new, for some time at most; all that is asked of the ledger again and again.

        Args:
            count: count the days that have changed, also where that was done a moment ago.

        Raises:
            LedgerError: the ledger does not answer.
        """
        with self._folding:
            return self._read_on(count)

    def first(self) -> Known:
        """What is known; before anything is, some of the ledger is read first, by one of those who ask.

        Raises:
            LedgerError: the ledger does not answer.
        """
        while (known := self.known) is None:
            # Whoever reads the ledger to its end takes the lock again and again, and nobody must wait for that.
            if self._folding.acquire(timeout=0.05):
                try:
                    return self.known or self._read_on(count=False)
                finally:
                    self._folding.release()
        return known

    def _read_on(self, count: bool) -> Known:
        self.rounds += 1
        epoch = self.epoch
        try:
            return self._fold(epoch, count)
        except LostFileError:
            if epoch == self.epoch:
                self._forget()
            raise

    def _fold(self, epoch: int, count: bool) -> Known:
        ends = self._monotonic() + SLICE_S
        ledger = self._ledger

        def enough() -> bool:
            return self._closed or self._monotonic() > ends

        ready, self._prepared = self._prepared, False  # after a failure the tables are looked for again
        position = fold_on(ledger, enough) if ready else fold_new(ledger, enough)
        self._prepared = True
        known, told = self.known, self.told
        moved = known is None or position != known.position
        behind = (moved or known is None or known.behind) and bool(ledger.count_events(position, 1))
        if known is None or count or self._monotonic() >= self._count_at:
            counted = self._count()
            if known is None or moved or counted:
                left_out, floor = known_of(ledger)
                known = Known(position=position, behind=behind, epoch=epoch, left_out=left_out, floor=floor)
        known = attrs.evolve(known, behind=behind)
        if told is None or position != told.position:
            told = self._news(position)
        if epoch != self.epoch or self._identity() != self._file:
            raise LostFileError("the ledger was replaced while it was read")
        self.known, self.told, self._lost = known, told, False
        return known

    def _count(self) -> int:
        """Count the days that have changed. A busy day costs the more the later it is, so it is done the less often."""
        from flovia.insights.rollup import roll_up

        began = self._monotonic()
        done = roll_up(self._ledger.database, slice_rows=COUNTED_AT_ONCE)
        self._count_at = self._monotonic() + self._rest(began, MOST_COUNT_REST_S)
        return done

    def _rest(self, began: float, most: float) -> float:
        return min(REST * (self._monotonic() - began), most)

    def _news(self, position: int) -> Told:
        """What those who watch are told now; of very much only the end."""
        from flovia.insights.attempt import superseded
        from flovia.insights.sql_joined import last_changed

        told = self.told
        if told is None or position < told.position:
            # What was there before anybody looked is no news. And a ledger that is less far than it was is another
            # one, that was put in its place.
            return Told(since=position, position=position)
        seen = {one.kept.attempt.key: one for one in told.seen}
        for one in last_changed(self._ledger.database, told.position, position, NEWEST):
            for key in (one.attempt.key, *superseded(one.attempt)):
                seen.pop(key, None)  # it moves to the end
            seen[one.attempt.key] = Seen(kept=one)
        return Told(since=told.since, position=position, seen=tuple(seen.values())[-NEWEST:])
