"""What one process has of a dashboard: a reader, answers, and the way to wait for them."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING, Final, TypeVar, cast

import anyio
import attrs

from flovia.dashboard.answers import Answers, Found, Question
from flovia.dashboard.filters import Filters
from flovia.dashboard.keeper import Keeper
from flovia.dashboard.pool import BusyError, ClosedError
from flovia.dashboard.questions import REPORTS, Books, Options
from flovia.ledger.forking import watch
from flovia.ledger.opening import open_ledger
from flovia.ledger.sqlite import SqliteDatabase

if TYPE_CHECKING:
    from flovia.api import Flovia
    from flovia.ledger.sql import SqlLedger

T = TypeVar("T")
PATIENCE_S: Final = 30.0
"""How long one statement may wait: nobody's paid request depends on it."""
JUST_NOW_S: Final = 3.0
"""An answer of so long ago is not worth waiting for a better one, which is being made all the same."""
_POLL_S: Final = 0.005


@attrs.frozen(kw_only=True)
class Desk:
    """A dashboard in one process."""

    keeper: Keeper
    answers: Answers

    async def answer(self, question: Question[T], wait_s: float, *, now: bool = False) -> Found[T] | None:
        """The answer, or None if there is none yet after ``wait_s`` seconds.

        An old answer is better than none. ``now``: the ledger is read to its end first, and no old one is given.
        Where too much is asked for already there is none, either.

        Raises:
            CallerError: the question cannot be meant.
            LedgerError: the ledger does not answer.
            ClosedError: this dashboard makes no answers any more.
        """
        self.keeper.look()
        kept = None if now else self.answers.kept(question)
        if kept is not None and self.answers.is_fresh(kept):
            return kept
        try:
            coming = self.answers.make(question, now=now)
        except BusyError:
            return kept
        if kept is not None and self.answers.age(kept) < JUST_NOW_S:
            return kept
        with anyio.move_on_after(wait_s):
            return await self._made(coming)
        return kept

    async def sure(self, question: Question[T]) -> Found[T]:
        """The answer about the ledger as it is now, however long it takes.

        Raises:
            CallerError: the question cannot be meant.
            LedgerError: the ledger does not answer.
            UnavailableError: too much is asked for already, or this dashboard makes no answers any more.
        """
        self.keeper.look()
        return await self._made(self.answers.make(question, now=True))

    def begin(self, question: Question[T]) -> None:
        """Make an answer for later, if there is room for it."""
        with suppress(BusyError):
            self.answers.make(question)

    async def _made(self, coming: Future[Found[T]]) -> Found[T]:
        while not coming.done():  # noqa: ASYNC110 - a thread makes it, and knows no loop
            await anyio.sleep(_POLL_S)
        return coming.result()

    def close(self) -> None:
        """End its threads."""
        self.keeper.close()
        self.answers.close()


class Desks:
    """One desk in each process: threads do not cross a fork, so a child makes its own.

    Args:
        flovia: whose ledger it is.
        clock: Unix seconds; None for the ledger's own.

    Raises:
        WiringError: the ledger cannot be opened.
    """

    def __init__(self, flovia: "Flovia", clock: Callable[[], float] | None) -> None:
        self._settings = flovia.settings
        self._clock = clock
        self._ledger, self._own = _for_reports(flovia)
        self._lock = threading.Lock()
        self._desk: Desk | None = None
        self._closed = False
        watch(self)

    @property
    def books(self) -> Books:
        """The questions."""
        settings = self._settings
        return Books(self._ledger, own=settings.own_payers, hiding_keys=settings.hiding_keys, clock=self._clock)

    def here(self) -> Desk:
        """The desk of this process, made on first use.

        Raises:
            ClosedError: it was closed in this process.
        """
        if self._closed:
            raise ClosedError
        desk = self._desk
        if desk is not None:
            return desk
        with self._lock:
            if self._closed:
                raise ClosedError
            if self._desk is None:
                keeper = Keeper(self._ledger)
                answers = Answers(keeper, clock=self._clock or time.time)
                self._desk = Desk(keeper=keeper, answers=answers)
                # Whoever opens one page will open others.
                answers.make(self.books.overview(Filters()))
                for name in REPORTS:
                    answers.make(self.books.report(name, Filters(), Options()))
            return self._desk

    def close(self) -> None:
        """End the threads of this process, and let go of the ledger."""
        with self._lock:
            self._closed = True
            desk, self._desk = self._desk, None
        if self._own and isinstance(self._ledger.database, SqliteDatabase):
            self._ledger.database.stop_waiting()  # somebody else may have the file for a long time
        if desk is not None:
            desk.close()
        if self._own:
            self._ledger.close()

    # --- forks -------------------------------------------------------------------------------------------------

    def before_fork(self) -> None:
        """Nothing: the parent goes on as it is."""

    def after_fork_in_parent(self) -> None:
        """Nothing."""

    def after_fork_in_child(self) -> None:
        """Forget the parent's desk, whose threads are not here, and its lock, which one of them may have held.

        Here, before the child has any other thread: two requests that found it out by themselves would both do it.
        """
        self._lock, self._desk, self._closed = threading.Lock(), None, False


def _for_reports(flovia: "Flovia") -> "tuple[SqlLedger, bool]":
    """The ledger, opened so that a report may take its time and keeps no paid request waiting for a connection; whether
    it is one of our own.
    """
    ledger = cast("SqlLedger", flovia.ledger)  # see check_mounting
    url = flovia.ledger_url
    path: object = getattr(ledger.database, "path", None)
    if path is not None:
        url = f"sqlite:///{path}"  # the working directory may be another one by now
    if url is None:
        return ledger, False
    return cast("SqlLedger", open_ledger(url, create=False, patience_s=PATIENCE_S)), True
