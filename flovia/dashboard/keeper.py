"""The one reader of a process: it folds what is new while somebody looks, and tells all who watch.

However many pages are open, the ledger is asked once a second, by one thread; it ends when nobody has looked for a
while, and begins again with the next page.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import attrs

from flovia.core.errors import FloviaError
from flovia.reports.reading import fold_new, fold_on, known_of

if TYPE_CHECKING:
    from flovia.insights.asking import LeftOut
    from flovia.insights.joined import Kept
    from flovia.ledger.sql import SqlLedger

POLL_S: Final = 1.0
"""How often it is looked for what is new."""
SLICE_S: Final = 2.0
"""How long is folded before the days are counted, so that a ledger with much that is new has answers on the way."""
IDLE_S: Final = 120.0
"""How long after the last look the thread ends."""
NEWEST: Final = 300
"""Attempts that are kept for those who watch."""
_log: Final = logging.getLogger("flovia")


@attrs.frozen(kw_only=True)
class Known:
    """How far the ledger is read.

    ``position``: all events up to it are folded; ``behind``: whether more were there. ``left_out``, ``floor``: see
    :func:`flovia.reports.reading.known_of`.
    """

    position: int
    behind: bool
    left_out: "LeftOut"
    floor: float | None


@attrs.frozen(kw_only=True)
class Seen:
    """An attempt that is new or has changed. ``number`` grows by one with each.

    ``texts``: what is sent of it, by where the dashboard is mounted: written once for all who watch.
    """

    number: int
    kept: "Kept"
    texts: dict[str, str] = attrs.field(factory=dict[str, str], eq=False, repr=False)


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
        self._told = -1
        self._failing = False
        self._seen: deque[Seen] = deque(maxlen=NEWEST)
        self.known: Known | None = None
        """None until the ledger was read for the first time."""
        self.rounds = 0
        """How often the ledger was asked for what is new."""

    @property
    def newest(self) -> int:
        """The number of the newest attempt that was seen; 0 before the first."""
        seen = self._seen
        return seen[-1].number if seen else 0

    @property
    def running(self) -> bool:
        """Whether the thread is there."""
        thread = self._thread
        return thread is not None and thread.is_alive()

    def look(self) -> None:
        """Somebody looks: from now on, and for some time, what is new is folded."""
        self._looked = self._monotonic()
        if self.running or self._closed:
            return
        with self._starting:
            if not self.running:
                self._thread = threading.Thread(target=self._run, name="flovia-dashboard", daemon=True)
                self._thread.start()

    def since(self, number: int) -> Sequence[Seen]:
        """What was seen after this one, the oldest first, as far as it is kept."""
        return [one for one in tuple(self._seen) if one.number > number]

    def catch_up(self) -> Known:
        """Fold all that is new, now, in this thread.

        Raises:
            LedgerError: the ledger does not answer.
        """
        while True:
            found = self.read_on()
            if not found.behind or self._closed:
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
            behind = False
            try:
                behind = self.read_on().behind
                self._failing = False
            except FloviaError as error:
                if not self._failing:
                    _log.warning("the dashboard cannot read the ledger: %s; it is tried again", error)
                self._failing = True
            self._wake.wait(0.01 if behind else self._poll_s)

    def read_on(self) -> Known:
        """Fold what is new, for some time at most; all that is asked of the ledger again and again.

        Raises:
            LedgerError: the ledger does not answer.
        """
        from flovia.insights.rollup import roll_up

        with self._folding:
            self.rounds += 1
            ends = self._monotonic() + SLICE_S
            ledger = self._ledger

            def enough() -> bool:
                return self._closed or self._monotonic() > ends

            position = fold_on(ledger, enough) if self._prepared else fold_new(ledger, enough)
            self._prepared = True
            moved = self.known is None or position != self.known.position
            counted = roll_up(ledger.database)
            if moved or counted or self.known is None:
                left_out, floor = known_of(ledger)
                behind = bool(ledger.count_events(position, 1))
                self.known = Known(position=position, behind=behind, left_out=left_out, floor=floor)
                self._tell(position)
            elif self.known.behind:
                self.known = attrs.evolve(self.known, behind=bool(ledger.count_events(position, 1)))
            return self.known

    def _tell(self, position: int) -> None:
        """Show those who watch what has changed; of very much only the end."""
        from flovia.insights.sql_joined import changed

        if self._told < 0:
            self._told = position  # what was there before anybody looked is no news
        for page in changed(self._ledger.database, max(self._told, position - 20 * NEWEST), position):
            for one in page:
                self._seen.append(Seen(number=self.newest + 1, kept=one))
        self._told = position
