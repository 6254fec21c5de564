"""A few threads for what takes a while, that keep no app from ending."""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final, TypeVar

from flovia.core.errors import FloviaError

T = TypeVar("T")
ENDS_S: Final = 10.0
"""How long it is waited for a thread that is told to end."""


class UnavailableError(FloviaError):
    """There is no answer now. Whoever asks again later, or asks the next process, may get one."""


class BusyError(UnavailableError):
    """So much is asked at once that this is not begun."""


class ClosedError(UnavailableError):
    """The dashboard was closed."""

    def __init__(self) -> None:
        super().__init__("the dashboard of this process has been closed; ask again when the app has begun anew")


class Pool:
    """Threads that begin when there is something to do, and stay.

    They are daemons, so an app that ends does not wait for them: they change nothing but what reports keep, and that in
    transactions.

    Args:
        threads: how many at most.
        name: what they are called.
    """

    def __init__(self, threads: int, name: str) -> None:
        self._most = threads
        self._name = name
        self._changed = threading.Condition()
        self._queue: deque[tuple[Callable[[], None], Callable[[BaseException], None]]] = deque()
        self._threads: list[threading.Thread] = []
        self._idle = 0
        self._closed = False

    def submit(self, future: Future[T], work: Callable[[], T]) -> None:
        """Do this as soon as a thread is free; the future gets what becomes of it."""
        with self._changed:
            if not self._closed:
                self._queue.append((lambda: _do(future, work), future.set_exception))
                if self._idle < len(self._queue) and len(self._threads) < self._most:
                    self._threads.append(threading.Thread(target=self._run, name=self._name, daemon=True))
                    self._threads[-1].start()
                self._changed.notify()
                return
        future.set_exception(ClosedError())

    def end(self) -> None:
        """Begin nothing any more; what was not begun fails with :class:`ClosedError`."""
        with self._changed:
            self._closed = True
            left, self._queue = self._queue, deque()
            self._changed.notify_all()
        for _, fail in left:
            fail(ClosedError())

    def join(self) -> None:
        """Wait for the threads, for some time; :meth:`end` comes first."""
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(ENDS_S)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._idle += 1
                while not self._queue and not self._closed:
                    self._changed.wait()
                self._idle -= 1
                if not self._queue:
                    return
                do, _ = self._queue.popleft()
            do()
            del do, _  # what it has found is not kept alive by who waits for more


def _do(future: Future[T], work: Callable[[], T]) -> None:
    try:
        value = work()
    except BaseException as error:
        future.set_exception(error)
    else:
        future.set_result(value)
