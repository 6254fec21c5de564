"""The promises of a ledger to exporters, one test each: subclass :class:`SinkContract` as the ledgers' own contract."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final

from flovia.ledger.sinks import MAX_PROBLEM, DeadLetter, SinkLedger, backlog
from flovia.testing.ledger_steps import ManualClock, event_row

SINK_LEASE_S: Final = 60.0
_AT_ONCE: Final = 16


def dead_letter(event_id: str = "evt_1", position: int = 1, reason: str = "422") -> DeadLetter:
    """One that is to be written."""
    return DeadLetter(position=position, event_id=event_id, body='{"id":"evt_1"}', reason=reason, tries=3)


def lease(ledger: SinkLedger, holder: str = "one", name: str = "warehouse") -> int:
    """The lease, which must be free; returns its fence."""
    found = ledger.lease_sink(name, holder, SINK_LEASE_S)
    assert found.fence is not None
    return found.fence


class SinkContract(ABC):
    """Every promise of :class:`flovia.ledger.sinks.SinkVerbs`."""

    @abstractmethod
    def open(self, clock: Callable[[], float]) -> SinkLedger:
        """A fresh, empty ledger that uses ``clock``."""
        ...

    @contextmanager
    def fresh_sinks(self) -> Generator[tuple[SinkLedger, ManualClock]]:
        """A ledger and its clock, closed at the end."""
        clock = ManualClock()
        ledger = self.open(clock)
        try:
            yield ledger, clock
        finally:
            ledger.close()

    def test_a_sink_begins_before_the_first_event(self) -> None:
        """Who takes the lease of a new name gets every event there is."""
        with self.fresh_sinks() as (ledger, clock):
            assert list(ledger.find_sinks()) == []
            found = ledger.lease_sink("warehouse", "one", SINK_LEASE_S)
            assert (found.fence, found.position) == (1, 0)
            (view,) = ledger.find_sinks()
            assert (view.name, view.position, view.fence, view.dead) == ("warehouse", 0, 1, 0)
            assert (view.lease_until, view.problem) == (clock() + SINK_LEASE_S, "")

    def test_one_exporter_at_a_time(self) -> None:
        """While one holds the lease another one is told for how long; sinks of other names go on."""
        with self.fresh_sinks() as (ledger, clock):
            fence = lease(ledger)
            clock.advance(20.0)
            other = ledger.lease_sink("warehouse", "two", SINK_LEASE_S)
            assert (other.fence, other.wait_s) == (None, SINK_LEASE_S - 20.0)
            assert lease(ledger, "two", "lake") == 1
            assert ledger.advance_sink("warehouse", fence, 1, SINK_LEASE_S)

    def test_a_lapsed_lease_is_taken_over(self) -> None:
        """Whoever had it can no longer move the cursor, renew, release, or touch dead letters."""
        with self.fresh_sinks() as (ledger, clock):
            old = lease(ledger)
            assert ledger.advance_sink("warehouse", old, 5, SINK_LEASE_S, dead=[dead_letter()])
            clock.advance(SINK_LEASE_S)
            new = ledger.lease_sink("warehouse", "two", SINK_LEASE_S)
            assert (new.fence, new.position) == (old + 1, 5)
            assert not ledger.advance_sink("warehouse", old, 9, SINK_LEASE_S, dead=[dead_letter("evt_2")])
            assert not ledger.release_sink("warehouse", old)
            assert not ledger.end_dead("warehouse", old, 1, None)
            (view,) = ledger.find_sinks()
            assert (view.position, view.dead) == (5, 1)

    def test_a_slow_holder_goes_on_if_nobody_came(self) -> None:
        """A lease that ran out is still its holder's as long as nobody has taken over."""
        with self.fresh_sinks() as (ledger, clock):
            fence = lease(ledger)
            clock.advance(SINK_LEASE_S * 3)
            assert ledger.advance_sink("warehouse", fence, 1, SINK_LEASE_S)
            assert ledger.lease_sink("warehouse", "two", SINK_LEASE_S).fence is None

    def test_the_holder_may_take_it_again(self) -> None:
        """After an answer that got lost the holder asks anew, and learns how far it is."""
        with self.fresh_sinks() as (ledger, _):
            first = lease(ledger)
            ledger.advance_sink("warehouse", first, 7, SINK_LEASE_S)
            again = ledger.lease_sink("warehouse", "one", SINK_LEASE_S)
            assert (again.fence, again.position) == (first + 1, 7)
            assert not ledger.advance_sink("warehouse", first, 8, SINK_LEASE_S)

    def test_released(self) -> None:
        """A lease that was given back can be had at once."""
        with self.fresh_sinks() as (ledger, _):
            fence = lease(ledger)
            assert ledger.release_sink("warehouse", fence)
            assert lease(ledger, "two") == fence + 1
            assert not ledger.release_sink("unknown", 1)

    def test_the_cursor_only_moves_forward(self) -> None:
        """An older position changes nothing; the cursor's own one renews the lease."""
        with self.fresh_sinks() as (ledger, clock):
            fence = lease(ledger)
            assert ledger.advance_sink("warehouse", fence, 5, SINK_LEASE_S)
            assert not ledger.advance_sink("warehouse", fence, 4, SINK_LEASE_S)
            clock.advance(30.0)
            assert ledger.advance_sink("warehouse", fence, 5, SINK_LEASE_S, "503")
            (view,) = ledger.find_sinks()
            assert (view.position, view.problem, view.lease_until) == (5, "503", clock() + SINK_LEASE_S)
            assert ledger.advance_sink("warehouse", fence, 6, SINK_LEASE_S)
            assert [view.problem for view in ledger.find_sinks()] == [""]
            assert not ledger.advance_sink("unknown", 1, 1, SINK_LEASE_S)

    def test_dead_letters(self) -> None:
        """They are written with the step of the cursor, once per event, and stay until they were delivered."""
        with self.fresh_sinks() as (ledger, clock):
            fence = lease(ledger)
            letters = [dead_letter("evt_1", 1), dead_letter("evt_2", 2)]
            assert ledger.advance_sink("warehouse", fence, 2, SINK_LEASE_S, dead=letters)
            assert ledger.advance_sink("warehouse", fence, 3, SINK_LEASE_S, dead=[dead_letter("evt_2", 2)])
            one, two = ledger.find_dead("warehouse")
            assert (one.event_id, one.position, one.reason, one.tries) == ("evt_1", 1, "422", 3)
            assert (one.body, one.at, one.again) == ('{"id":"evt_1"}', clock(), False)
            assert [found.event_id for found in ledger.find_dead("warehouse", one.number)] == ["evt_2"]
            assert [found.event_id for found in ledger.find_dead("warehouse", limit=1)] == ["evt_1"]
            assert list(ledger.find_dead("lake")) == []
            assert ledger.end_dead("warehouse", fence, two.number, None)
            assert [found.event_id for found in ledger.find_dead("warehouse")] == ["evt_1"]

    def test_a_dead_letter_is_revived(self) -> None:
        """Marked, it is found by the exporter; refused once more, it is dead again, with the newest reason."""
        with self.fresh_sinks() as (ledger, _):
            fence = lease(ledger)
            letters = [dead_letter(f"evt_{number}", number) for number in range(1, 4)]
            ledger.advance_sink("warehouse", fence, 3, SINK_LEASE_S, dead=letters)
            assert list(ledger.find_dead("warehouse", again=True)) == []
            second = ledger.find_dead("warehouse")[1].number
            assert ledger.revive_dead("warehouse", [second]) == 1
            assert ledger.revive_dead("lake", [second]) == 0
            assert [found.number for found in ledger.find_dead("warehouse", again=True)] == [second]
            assert ledger.end_dead("warehouse", fence, second, "400")
            (refused,) = [found for found in ledger.find_dead("warehouse") if found.number == second]
            assert (refused.reason, refused.tries, refused.again) == ("400", 4, False)
            assert ledger.revive_dead("warehouse") == 3
            assert len(ledger.find_dead("warehouse", again=True)) == 3
            assert ledger.end_dead("warehouse", fence, 999, None)

    def test_reasons_are_cut(self) -> None:
        """A sink that has a lot to say does not fill the ledger."""
        with self.fresh_sinks() as (ledger, _):
            fence = lease(ledger)
            ledger.advance_sink("warehouse", fence, 1, SINK_LEASE_S, "x" * 9999, [dead_letter(reason="y" * 9999)])
            assert [len(view.problem) for view in ledger.find_sinks()] == [MAX_PROBLEM]
            (letter,) = ledger.find_dead("warehouse")
            assert len(letter.reason) == MAX_PROBLEM
            ledger.end_dead("warehouse", fence, letter.number, "z" * 9999)
            assert [len(found.reason) for found in ledger.find_dead("warehouse")] == [MAX_PROBLEM]

    def test_forgotten(self) -> None:
        """A sink that is no more goes with its dead letters, unless somebody feeds it."""
        with self.fresh_sinks() as (ledger, clock):
            ledger.advance_sink("warehouse", lease(ledger), 2, SINK_LEASE_S, dead=[dead_letter()])
            ledger.advance_sink("lake", lease(ledger, name="lake"), 1, SINK_LEASE_S, dead=[dead_letter()])
            assert not ledger.forget_sink("warehouse")
            assert not ledger.forget_sink("unknown")
            clock.advance(SINK_LEASE_S)
            assert ledger.forget_sink("warehouse")
            assert [(view.name, view.dead) for view in ledger.find_sinks()] == [("lake", 1)]
            assert ledger.lease_sink("warehouse", "one", SINK_LEASE_S).position == 0

    def test_backlog(self) -> None:
        """How many events wait, since when, and what stands in the way."""
        with self.fresh_sinks() as (ledger, clock):
            assert backlog(ledger, "warehouse", clock()) is None
            ledger.append(event_row(seq=seq) for seq in range(5))
            ledger.flush()
            second = ledger.read_events()[1][0]
            fence = lease(ledger)
            assert ledger.count_events(0, 100) == 5
            assert ledger.count_events(0, 3) == 3
            ledger.advance_sink("warehouse", fence, second, SINK_LEASE_S, "503", [dead_letter()])
            found = backlog(ledger, "warehouse", clock())
            assert found is not None
            assert (found.events, found.oldest_at, found.dead) == (3, 1_700_000_000.25, 1)
            assert (found.problem, found.fed, found.age_s(1_700_000_010.25)) == ("503", True, 10.0)
            ledger.advance_sink("warehouse", fence, ledger.read_events()[-1][0], SINK_LEASE_S)
            found = backlog(ledger, "warehouse", clock() + SINK_LEASE_S)
            assert found is not None
            assert (found.events, found.oldest_at, found.fed, found.age_s(0.0)) == (0, None, False, 0.0)

    def test_one_of_many_gets_the_lease(self) -> None:
        """Of many exporters that start at the same time one is let in."""
        with self.fresh_sinks() as (ledger, _), ThreadPoolExecutor(_AT_ONCE) as pool:
            calls = [
                pool.submit(ledger.lease_sink, "warehouse", f"holder-{number}", SINK_LEASE_S)
                for number in range(_AT_ONCE * 4)
            ]
            assert [call.result().fence for call in calls if call.result().fence is not None] == [1]
