"""Programs that stay up until Ctrl-C or SIGTERM, and end in an orderly way at the first of them."""

import select
import signal
import socket
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType
from typing import Final

_LISTENS_EVERY_S: Final = 0.5


class Ending:
    """From now on Ctrl-C and SIGTERM raise KeyboardInterrupt, and :meth:`wait` hears of them in any case."""

    def __init__(self) -> None:
        self._asked: list[int] = []
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        # Remembered as well as raised: an exception gets lost if a finalizer happens to be running, and a wait
        # without an end does not hear of a signal that came just before it.
        self._asked.append(number)
        raise KeyboardInterrupt

    def wait(self) -> None:
        """Return when somebody has asked for the end.

        Raises:
            KeyboardInterrupt: somebody asks meanwhile.
        """
        while not self._asked:
            time.sleep(_LISTENS_EVERY_S)


@contextmanager
def until_told() -> Generator[Callable[[float], bool]]:
    """What waits so many seconds, and says whether SIGTERM or Ctrl-C came: then what is at hand is finished first."""
    # A socket and not an Event: its lock could be held by the very wait that a signal interrupts.
    told, tell = socket.socketpair()

    def stop(number: int, _frame: object) -> None:
        tell.send(b".")
        signal.signal(number, signal.SIG_DFL)  # the second one ends it at once

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield lambda seconds: bool(select.select([told], [], [], seconds)[0])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        told.close()
        tell.close()


@contextmanager
def interruptible() -> Generator[None]:
    """SIGTERM raises KeyboardInterrupt, as Ctrl-C does, so that what was begun is cleared away."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
