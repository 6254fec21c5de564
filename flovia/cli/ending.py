"""Programs that stay up until Ctrl-C or SIGTERM, and end in an orderly way at the first of them."""

import signal
import time
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
