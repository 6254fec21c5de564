"""A ledger whose events are folded, for tests: opened once, emptied between examples."""

from collections.abc import Iterable, Sequence

import attrs
from sqlalchemy import delete, select, update

from flovia.core.events import Event
from flovia.insights.attempt import Attempt
from flovia.insights.fold import Folded, fold_batch
from flovia.insights.gathering import MOST_RELATED
from flovia.insights.join import chronology
from flovia.insights.schema import ATTEMPTS, DAYS, LINKS, STALE_DAYS, STATE
from flovia.insights.store import COLUMNS, prepare, read_attempt
from flovia.ledger.opening import open_ledger
from flovia.ledger.related import RelatedEvents
from flovia.ledger.sql import SqlLedger
from flovia.ledger.sql_schema import EVENTS


@attrs.frozen
class Book:
    """A ledger with the tables of the insights."""

    url: str
    ledger: SqlLedger
    source: RelatedEvents

    @classmethod
    def open(cls, url: str) -> "Book":
        """Open it and make the tables ready. The caller closes the ledger."""
        ledger = open_ledger(url, patience_s=60)
        assert isinstance(ledger, SqlLedger)
        prepare(ledger.database)
        return cls(url, ledger, RelatedEvents(ledger))

    def clear(self) -> None:
        """Forget everything."""
        with self.ledger.database.write() as connection:
            for table in (EVENTS, ATTEMPTS, LINKS, DAYS, STALE_DAYS):
                connection.execute(delete(table))
            connection.execute(delete(STATE).where(STATE.c.name.not_in(["version", "cursor"])))
            connection.execute(update(STATE).where(STATE.c.name == "cursor").values(value="0"))

    def write(self, events: Iterable[Event]) -> None:
        """Add events, in this order."""
        self.ledger.append([event.to_row() for event in events])
        self.ledger.flush()

    def events(self) -> list[Event]:
        """All events that are there."""
        return [event for _, event in self.ledger.read_events(limit=100_000)]

    def fold(self, limit: int = 500, most: int = MOST_RELATED) -> list[Folded]:
        """Fold all that is new, in batches of ``limit``."""
        done: list[Folded] = []
        while batch := fold_batch(self.source, self.ledger.database, limit=limit, most=most):
            done.append(batch)
        return done

    def attempts(self) -> list[Attempt]:
        """The attempts that were folded."""
        rows = self.ledger.database.query(select(*(ATTEMPTS.c[name] for name in COLUMNS)), {})
        return sorted((read_attempt(row) for row in rows), key=chronology)

    def prune(self, before: float) -> int:
        """Take away the events that are older."""
        with self.ledger.database.write() as connection:
            return connection.execute(delete(EVENTS).where(EVENTS.c.at < before)).rowcount


def pieces(events: Sequence[Event], sizes: Iterable[int]) -> Iterable[Sequence[Event]]:
    """The events in pieces of these sizes, the rest as one."""
    start = 0
    for size in sizes:
        yield events[start : start + size]
        start += size
    yield events[start:]
