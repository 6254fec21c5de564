"""What the campaigns' commands take, and what each does at its end: clean up, say ``ok`` or ``FAILED``."""

import argparse
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from typing import Final

import attrs

LEDGERS: Final = "sqlite, postgresql (one of our own), or a URL"


@attrs.frozen(kw_only=True)
class Steady:
    """Steady traffic on a server for so many seconds. ``rate``: requests a second."""

    seconds: float
    rate: float
    seed: int = 1
    processes: int = 2
    server: str = "gunicorn"


def steady_parser(
    description: str, *, minutes: float, rate: float, ledger: str | None = LEDGERS
) -> argparse.ArgumentParser:
    """The options of a :class:`Steady`, and ``--ledger`` with this help; None: it is not asked for."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--minutes", type=float, default=minutes)
    parser.add_argument("--rate", type=float, default=rate, help="requests a second")
    add_server(parser, processes=2, ledger=ledger)
    return parser


def add_server(parser: argparse.ArgumentParser, *, processes: int, ledger: str | None = LEDGERS) -> None:
    """The options of every campaign on a server of its own."""
    parser.add_argument("--processes", type=int, default=processes, help="of each server")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--server", choices=("gunicorn", "uvicorn"), default="gunicorn")
    if ledger is not None:
        parser.add_argument("--ledger", default="sqlite", help=ledger)


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
