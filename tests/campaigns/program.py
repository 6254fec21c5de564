"""What every campaign's command does at its end: clean up when it is told to stop, say ``ok`` or ``FAILED``."""

import signal
import sys
import traceback
from collections.abc import Callable, Iterable


def conclude(work: Callable[[], Iterable[str]]) -> int:
    """Run a campaign and print its lines; the last one is ``ok`` or ``FAILED``. Returns the exit status.

    SIGTERM ends it in an orderly way: every process that it has started is ended, too.
    """
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit("told to stop"))
    try:
        lines = list(work())
    except (AssertionError, ExceptionGroup) as error:
        traceback.print_exception(error, file=sys.stdout)
        print("FAILED", flush=True)
        return 1
    print(*lines, "ok", sep="\n", flush=True)
    return 0
