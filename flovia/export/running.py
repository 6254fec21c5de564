"""An exporter in the app's own process: a thread that starts with the app and ends with it."""

import logging
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Final, Protocol

from flovia.core.errors import FloviaError
from flovia.export.base import Sink
from flovia.export.envelope import DEFAULT_SOURCE
from flovia.export.exporter import BATCH, LEASE_S, POLL_S, REFUSALS, Exporter
from flovia.ledger.base import Ledger
from flovia.ledger.sinks import with_sinks

STOP_S: Final = 15.0
_log: Final = logging.getLogger("flovia.export")


class HasLedger(Protocol):
    """A :class:`flovia.Flovia`, as far as an exporter needs one."""

    @property
    def ledger(self) -> Ledger:
        """Where the events are."""
        ...


class Running:
    """An exporter at work in a thread. Stop it, or leave its ``with`` block, when the app ends.

    A process that ends without that loses nothing: what was not recorded as delivered comes again, once the lease has
    run out. In a forked child nothing runs; there start one of its own.
    """

    def __init__(self, make: Callable[[Callable[[float], bool]], Exporter], sink: Sink) -> None:
        self._stop = threading.Event()
        self._sink = sink
        self._exporter = make(self._stop.wait)
        self.error: FloviaError | None = None
        """Why it ended by itself: the sink is gone."""
        self._thread = threading.Thread(target=self._run, name=f"flovia-export-{self._exporter.name}", daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        return f"<Running {self._exporter!r}{'' if self.alive else ', ended'}>"

    @property
    def alive(self) -> bool:
        """Whether it is still at work."""
        return self._thread.is_alive()

    def stop(self, timeout_s: float = STOP_S) -> bool:
        """Finish the batch at hand, give the lease back, and close the sink. False if that takes too long.

        Stopping twice is fine. The thread never keeps a process from ending.
        """
        self._stop.set()
        self._thread.join(timeout_s)
        return not self.alive

    def __enter__(self) -> "Running":
        """The exporter is at work already."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it."""
        self.stop()

    def _run(self) -> None:
        try:
            self._exporter.run()
        except FloviaError as error:
            self.error = error
            _log.error("%r has ended: %s", self._exporter, error)
        finally:
            self._sink.close()


def start(
    flo: HasLedger,
    sink: Sink,
    *,
    name: str,
    source: str = DEFAULT_SOURCE,
    batch: int = BATCH,
    refusals: int = REFUSALS,
    lease_s: float = LEASE_S,
    poll_s: float = POLL_S,
) -> Running:
    """Export the events of an app from a thread of its own process; see :class:`~flovia.export.exporter.Exporter`.

    Every worker may start one: with the same name one works, and the others take over when it ends.

    Raises:
        WiringError: the ledger keeps no cursors.
        CallerError: a value cannot work.
    """
    ledger = with_sinks(flo.ledger)

    def make(wait: Callable[[float], bool]) -> Exporter:
        return Exporter(
            ledger,
            sink,
            name,
            source=source,
            batch=batch,
            refusals=refusals,
            lease_s=lease_s,
            poll_s=poll_s,
            wait=wait,
        )

    return Running(make, sink)
