"""What waits for the store: events of unpaid requests, ends of deliveries, and the thread that writes them.

A request must not wait for events nobody paid for, and a store that is down must not make memory grow.
What is lost is counted: rows that found the buffer full, and rows the store can never take.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Final

from flovia.core.errors import LedgerError
from flovia.core.events import EventRow

CAPACITY: Final = 10_000
BATCH: Final = 500
GATHER_S: Final = 0.25
"""How long rows may gather before they are written, if no batch is full sooner."""
RETRY_S: Final = 1.0
CLOSING_S: Final = 3.0
"""How long :meth:`Outbox.close` tries. Of several workers that end at once, one at a time writes."""
CLOSING_PAUSE_S: Final = 0.1

_log: Final = logging.getLogger(__name__)


class Outbox:
    """Takes rows at once and hands them to ``write`` in batches, in order, from a daemon thread.

    Args:
        write: stores rows in one transaction; LedgerError means "again later", anything else "never".
        capacity: rows that may wait.
    """

    def __init__(self, write: Callable[[Sequence[EventRow]], None], *, capacity: int = CAPACITY) -> None:
        self._write = write
        self._capacity = capacity
        self.dropped = 0
        self.after_fork_in_child()

    def after_fork_in_child(self) -> None:
        """Start empty: what waits in the parent is the parent's to write, and its thread is not here."""
        self._rows: deque[EventRow] = deque()
        self._jobs: deque[Callable[[], None]] = deque()
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._something = threading.Event()
        self._enough = threading.Event()
        self._closing = threading.Event()
        self._look: Callable[[], None] | None = None
        self._thread: threading.Thread | None = None

    def __len__(self) -> int:
        """Rows that wait."""
        return len(self._rows)

    def append(self, rows: Iterable[EventRow]) -> None:
        """Take rows. Never waits, never raises; what finds no room is dropped and counted."""
        with self._lock:
            for row in rows:
                if self._closing.is_set() or len(self._rows) >= self._capacity:
                    self.dropped += 1
                else:
                    self._rows.append(row)
            waiting = len(self._rows)
            if self._thread is None and waiting and not self._closing.is_set():
                self._launch()
        if waiting >= BATCH:
            self._enough.set()
        if waiting and not self._something.is_set():
            self._something.set()

    def defer(self, job: Callable[[], None]) -> None:
        """Have ``job`` done by the thread, again and again while it raises LedgerError. Never waits, never raises."""
        with self._lock:
            if self._closing.is_set() or len(self._jobs) >= self._capacity:
                _log.error("the end of a delivery could not be kept for later; its lease will end by itself")
                return
            self._jobs.append(job)
            if self._thread is None:
                self._launch()
        self._enough.set()
        self._something.set()

    def look(self, work: Callable[[], None]) -> None:
        """Have the thread find out whether the store works: do ``work`` until it raises no LedgerError. Never waits."""
        with self._lock:
            if self._look is not None or self._closing.is_set():
                return
            self._look = work
            if self._thread is None:
                self._launch()
        self._enough.set()
        self._something.set()

    def flush(self) -> None:
        """Write everything that waits, now.

        Raises:
            LedgerError: the store cannot; the rows stay and are tried again.
        """
        with self._writing:
            if self._look is not None and not self._closing.is_set():
                self._look()
                self._look = None
            while self._jobs:
                try:
                    self._jobs[0]()
                except LedgerError:
                    raise
                except Exception:
                    _log.exception("the end of a delivery could not be recorded; its lease will end by itself")
                self._jobs.popleft()
            while batch := self._batch():
                try:
                    self._write(batch)
                except LedgerError:
                    raise
                except Exception:
                    self._write_singly(batch)
                for _ in batch:
                    self._rows.popleft()

    def _write_singly(self, batch: Sequence[EventRow]) -> None:
        """One row that no store can take must neither hold up all that follow nor take its neighbours with it."""
        for row in batch:
            try:
                self._write((row,))  # that some of them may be written again later changes nothing
            except LedgerError:
                raise
            except Exception:
                self.dropped += 1
                _log.exception("an event could not be written and is lost")

    def _batch(self) -> tuple[EventRow, ...]:
        """The rows that waited longest; they stay until they are written."""
        with self._lock:  # a deque that grows while it is read raises
            return tuple(islice(self._rows, BATCH))

    def close(self) -> None:
        """Take no more rows, write what waits if the store lets us within :data:`CLOSING_S`, and end the thread."""
        self._closing.set()
        self._enough.set()
        self._something.set()
        give_up = time.monotonic() + CLOSING_S
        while (error := self._last_flush()) is not None:
            if time.monotonic() >= give_up:
                self._lose(error)
                return
            time.sleep(CLOSING_PAUSE_S)

    def _last_flush(self) -> LedgerError | None:
        try:
            self.flush()
        except LedgerError as error:
            return error
        return None

    def _lose(self, error: LedgerError) -> None:
        with self._writing:  # the thread may be having better luck, and takes away what it has written
            rows, jobs = len(self._rows), len(self._jobs)
            self.dropped += rows
            self._rows.clear()
            self._jobs.clear()
        if rows or jobs:
            _log.error("%d events and %d ends of deliveries are lost: %s", rows, jobs, error)

    def _launch(self) -> None:
        thread = threading.Thread(target=self._run, name="flovia-events", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            return  # no thread to be had (the interpreter is ending): close() writes the rows
        self._thread = thread

    def _run(self) -> None:
        while not self._closing.is_set():
            self._something.wait()
            self._enough.wait(GATHER_S)
            self._something.clear()
            self._enough.clear()
            try:
                self.flush()
            except LedgerError:
                # The one who raised it has said why; rows wait and new ones still find room.
                self._something.set()
                self._closing.wait(RETRY_S)
