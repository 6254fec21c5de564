"""The promises of a ledger about events, one test each; part of the ledgers' contract."""

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager

from flovia.core import events as ev
from flovia.core.events import Event
from flovia.ledger.base import Ledger
from flovia.testing.ledger_steps import KEY, ManualClock, claim, event_row, settle


class EventPromises(ABC):
    """What becomes of events; mixed into :class:`flovia.testing.ledgers.LedgerContract`."""

    @abstractmethod
    def fresh(self) -> AbstractContextManager[tuple[Ledger, ManualClock]]:
        """A ledger and its clock."""
        ...

    @abstractmethod
    def settled(self) -> AbstractContextManager[tuple[Ledger, ManualClock, int]]:
        """A ledger with one settled payment in its first delivery, under the fence given."""
        ...

    def test_events_come_with_their_step(self) -> None:
        """Each step writes its events, complete and in order."""
        with self.fresh() as (ledger, clock):
            rows = [event_row(ev.EVENT_TYPES[i], seq=i + 1) for i in range(5)]
            fence = claim(ledger, clock).fence
            assert ledger.release(KEY, fence, True, (rows[0],))
            fence = claim(ledger, clock).fence
            assert settle(ledger, clock, fence, events=(rows[1], rows[2])) == "settled"
            assert ledger.fail(KEY, fence, (rows[3],))
            assert ledger.deliver(KEY, claim(ledger, clock).fence, (rows[4],))
            assert [Event.from_row(row) for row in rows] == [event for _, event in ledger.read_events()]

    def test_reading_on(self) -> None:
        """Positions grow, and reading goes on after any of them, in pieces."""
        with self.fresh() as (ledger, _):
            ledger.append([event_row(seq=i) for i in range(1, 8)])
            ledger.flush()
            first = ledger.read_events(limit=3)
            rest = ledger.read_events(after=first[-1][0])
            assert [event.seq for _, event in first] == [1, 2, 3]
            assert [event.seq for _, event in rest] == [4, 5, 6, 7]
            positions = [position for position, _ in [*first, *rest]]
            assert sorted(set(positions)) == positions
            assert list(ledger.read_events(after=positions[-1])) == []

    def test_short_rows(self) -> None:
        """A row may leave its last fields out."""
        with self.fresh() as (ledger, _):
            ledger.append([event_row()[:6]])
            ledger.flush()
            expected = Event(
                type=ev.REQUEST_STARTED,
                at=1_700_000_000.25,
                request_id="req-1",
                seq=1,
                endpoint="/reports/{id}",
                http_method="GET",
            )
            assert [expected] == [event for _, event in ledger.read_events()]

    def test_any_text(self) -> None:
        """Names in any script come back as they were."""
        with self.fresh() as (ledger, _):
            row = list(event_row())
            row[4] = "/отчёт/日本/😀"
            ledger.append([tuple(row)])
            ledger.flush()
            assert [event.endpoint for _, event in ledger.read_events()] == ["/отчёт/日本/😀"]

    def test_text_that_no_database_takes(self) -> None:
        """A NUL or half a surrogate pair of a stranger's costs no payment, and no event of anybody's (S43)."""
        with self.fresh() as (ledger, clock):
            nasty = "api.example.com|a\0b"
            fence = claim(ledger, clock, nasty).fence
            row = list(event_row())
            row[4] = "/x\0y\ud83d"
            assert settle(ledger, clock, fence, nasty, proof="mock|a\0b", events=(tuple(row),)) == "settled"
            assert ledger.deliver(nasty, fence, ())
            other = list(event_row())
            other[2:4] = "another-request", 7
            row[3] = 8
            ledger.append([tuple(row), tuple(other)])
            ledger.flush()
            events = [event for _, event in ledger.read_events()]
            assert len(events) == 3
            assert ledger.dropped_events == 0
            claimed = claim(ledger, clock, "api.example.com|another").fence
            again = settle(ledger, clock, claimed, "api.example.com|another", proof="mock|a\0b")
            assert again == "proof_used"

    def test_no_event_is_lost_quietly(self) -> None:
        """What is appended is written or counted."""
        with self.fresh() as (ledger, _):
            for start in range(0, 20_000, 100):
                ledger.append([event_row(seq=i) for i in range(start, start + 100)])
            ledger.flush()
            seen = 0
            position = 0
            while batch := ledger.read_events(after=position, limit=5000):
                seen += len(batch)
                position = batch[-1][0]
            assert seen + ledger.dropped_events == 20_000
