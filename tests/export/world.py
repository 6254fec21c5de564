"""What the tests of exporters share: ledgers with events, a sink that does as it is told, a clock."""

import json
from collections.abc import Callable, Sequence
from typing import Any

from flovia.core import events as ev
from flovia.core.events import Event, EventRow
from flovia.export.base import Entry
from flovia.export.envelope import event_id
from flovia.export.exporter import Exporter
from flovia.ledger.base import Ledger
from flovia.ledger.memory import MemoryLedger
from flovia.ledger.sinks import SinkLedger
from flovia.testing.ledger_steps import ManualClock, event_row

WEBHOOK_SECRET = "whsec_testtesttesttesttesttesttesttesttesttest"


def rows(count: int, start: int = 0) -> list[EventRow]:
    """Events that differ by their number."""
    return [event_row(ev.EVENT_TYPES[seq % 14], f"req-{seq}", seq) for seq in range(start, start + count)]


def filled(count: int, clock: Callable[[], float] | None = None) -> MemoryLedger:
    """A memory ledger with so many events."""
    ledger = MemoryLedger(clock=clock or ManualClock())
    ledger.append(rows(count))
    return ledger


def ids(ledger: Ledger) -> list[str]:
    """The ids of all events of a ledger, in order."""
    return [event_id(event) for _, event in ledger.read_events(0, 1_000_000)]


def parsed(body: bytes | str) -> Any:
    """JSON."""
    return json.loads(body)


class ListSink:
    """Keeps what it gets, unless it is told what to raise next. ``poison``: ids it refuses, whatever is with them."""

    label = "list"

    def __init__(self) -> None:
        self.batches: list[list[Entry]] = []
        self.offered: list[int] = []
        self.errors: list[Exception] = []
        self.poison: set[str] = set()
        self.refusal: Callable[[], Exception] = lambda: Exception("refuse")
        self.closed = False

    def deliver(self, batch: Sequence[Entry]) -> None:
        """Take a batch."""
        self.offered.append(len(batch))
        if self.errors:
            raise self.errors.pop(0)
        if any(one.id in self.poison for one in batch):
            raise self.refusal()
        self.batches.append(list(batch))

    def close(self) -> None:
        """Remember that it was closed."""
        self.closed = True

    @property
    def ids(self) -> list[str]:
        """The ids of everything it has, in the order it came."""
        return [one.id for batch in self.batches for one in batch]


class Waiting:
    """Waiting that only moves a clock. ``until``: stop after so many waits that were not for nothing."""

    def __init__(self, *clocks: ManualClock, until: int = 10**9) -> None:
        self.clocks = clocks
        self.waits: list[float] = []
        self.until = until

    def __call__(self, seconds: float) -> bool:
        """Let the time pass; tells whether to stop."""
        if seconds > 0:
            self.waits.append(seconds)
            for clock in self.clocks:
                clock.advance(seconds)
        return len(self.waits) >= self.until


def exporter(ledger: SinkLedger, sink: ListSink, name: str = "warehouse", **options: Any) -> Exporter:
    """An exporter whose time stands still, and whose jitter is none."""
    return Exporter(ledger, sink, name, **{"clock": ManualClock(), "chance": lambda: 1.0, "wait": Waiting(), **options})


def event(**changes: Any) -> Event:
    """An event with recognisable values, and these."""
    fields = dict(zip(ev.FIELDS, event_row(), strict=True)) | changes
    return Event(**fields)
