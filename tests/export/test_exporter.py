"""From cursor to sink: in order, at least once, no further than the sink says."""

import logging
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from flovia.core.errors import CallerError, LedgerError
from flovia.export.base import SinkError, SinkGone, SinkRefused
from flovia.export.exporter import LONGEST_RETRY_AFTER_S, LONGEST_WAIT_S, Exporter
from flovia.ledger.memory import MemoryLedger
from flovia.ledger.opening import open_ledger
from flovia.ledger.sinks import SinkLedger, backlog, with_sinks
from flovia.testing.ledger_steps import ManualClock
from tests.export.world import ListSink, Waiting, exporter, filled, ids, rows


@pytest.fixture(params=["memory", "sqlite"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SinkLedger]:
    """A ledger with 250 events."""
    url = "memory://" if request.param == "memory" else f"sqlite:///{tmp_path / 'ledger.db'}"
    with closing(with_sinks(open_ledger(url, clock=ManualClock()))) as opened:
        opened.append(rows(250))
        opened.flush()
        yield opened


def test_everything_in_order(ledger: SinkLedger) -> None:
    """Every event once, in the order of the ledger, in batches; then the lease is free."""
    sink = ListSink()
    assert 250 == exporter(ledger, sink).drain()
    assert ids(ledger) == sink.ids
    assert [100, 100, 50] == [len(batch) for batch in sink.batches]
    assert 0 == exporter(ledger, sink).drain()
    ledger.append(rows(3, 250))
    ledger.flush()
    assert 3 == exporter(ledger, sink).drain()
    assert ids(ledger) == sink.ids


def test_each_name_has_a_cursor_of_its_own(ledger: SinkLedger) -> None:
    """A new name begins with the first event."""
    for name in ("warehouse", "lake"):
        sink = ListSink()
        exporter(ledger, sink, name).drain()
        assert ids(ledger) == sink.ids


def test_a_crash_before_the_record_repeats(ledger: SinkLedger) -> None:
    """What the sink has and nobody recorded comes again, with the same ids; nothing is left out."""
    sink = ListSink()
    first = exporter(ledger, sink, clock=ManualClock())

    class Crash(BaseException):
        pass

    def die(*_: Any, **__: Any) -> bool:
        raise Crash

    first.step()
    advance, ledger.advance_sink = ledger.advance_sink, die  # type: ignore[method-assign]  # the process dies here
    with pytest.raises(Crash):
        first.step()
    ledger.advance_sink = advance  # type: ignore[method-assign]  # another process has it whole
    first.release()
    exporter(ledger, sink).drain()
    assert ids(ledger)[:200] + ids(ledger)[100:] == sink.ids


def test_a_sink_that_is_down_makes_it_wait(ledger: SinkLedger) -> None:
    """Longer each time up to a minute, with what is in the way on record; then it goes on where it was."""
    sink = ListSink()
    sink.errors = [SinkError("no answer") for _ in range(9)]
    work = exporter(ledger, sink)
    waits = [work.step().wait_s for _ in range(9)]
    assert [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0] == waits
    found = backlog(ledger, "warehouse", ManualClock()())
    assert found is not None
    assert (250, "no answer", 0) == (found.events, found.problem, found.dead)
    assert 100 == work.step().delivered
    assert [""] == [view.problem for view in ledger.find_sinks()]
    sink.errors = [SinkError("no answer")]
    assert 1.0 == work.step().wait_s
    work.drain()
    assert ids(ledger) == sink.ids


def test_jitter() -> None:
    """No two exporters come back at the same moment: half of the wait is left to chance."""
    sink = ListSink()
    sink.errors = [SinkError("no answer")]
    assert 0.5 == exporter(filled(1), sink, chance=lambda: 0.0).step().wait_s


@pytest.mark.parametrize(("asked", "wait_s"), [(0.0, 1.0), (30.0, 30.0), (1e9, LONGEST_RETRY_AFTER_S), (None, 1.0)])
def test_retry_after(asked: float | None, wait_s: float) -> None:
    """The sink is left alone as long as it asks, but not for ever."""
    sink = ListSink()
    sink.errors = [SinkError("503", retry_after_s=asked)]
    assert wait_s == exporter(filled(1), sink).step().wait_s


def test_a_part_is_not_sent_again(ledger: SinkLedger) -> None:
    """What the sink has of a batch that failed is recorded."""
    sink = ListSink()
    sink.errors = [SinkError("reset", delivered=60)]
    step = exporter(ledger, sink).step()
    assert ("failed", 60) == (step.state, step.delivered)
    work = exporter(ledger, sink)
    assert "standby" == work.step().state
    (view,) = ledger.find_sinks()
    assert ledger.read_events()[59][0] == view.position


@pytest.mark.parametrize("position", [0, 77, 249])
def test_a_poison_event_is_put_aside(ledger: SinkLedger, position: int) -> None:
    """Whatever its place: all others arrive once, in order, and it is kept whole with the sink's words."""
    sink = ListSink()
    bad = ids(ledger)[position]
    sink.poison, sink.refusal = {bad}, lambda: SinkRefused("the endpoint answered 422")
    assert 249 == exporter(ledger, sink, refusals=3).drain()
    assert [one for one in ids(ledger) if one != bad] == sink.ids
    (letter,) = ledger.find_dead("warehouse")
    assert (bad, "the endpoint answered 422", 3) == (letter.event_id, letter.reason, letter.tries)
    assert bad in letter.body
    assert max(sink.offered) == 100


def test_a_dead_letter_is_sent_again(ledger: SinkLedger) -> None:
    """Asked for, the exporter sends it with its old id, also if its event has been deleted since."""
    sink = ListSink()
    bad = ids(ledger)[7]
    sink.poison, sink.refusal = {bad}, lambda: SinkRefused("422")
    work = exporter(ledger, sink, refusals=1)
    work.drain()
    assert 1 == ledger.revive_dead("warehouse")
    assert 0 == work.drain()
    assert [2] == [letter.tries for letter in ledger.find_dead("warehouse")]
    ledger.revive_dead("warehouse")
    sink.errors = [SinkError("no answer")]
    with pytest.raises(SinkError, match="no answer"):
        work.drain()
    assert [True] == [letter.again for letter in ledger.find_dead("warehouse")]
    sink.poison = set()
    assert 1 == work.drain()
    assert (bad, []) == (sink.ids[-1], list(ledger.find_dead("warehouse")))


def test_a_sink_that_refuses_everything_loses_nothing(ledger: SinkLedger) -> None:
    """Every event is a dead letter then, and can be had again."""
    sink = ListSink()
    sink.poison, sink.refusal = set(ids(ledger)[:20]), lambda: SinkRefused("400")
    exporter(ledger, sink, refusals=2).drain()
    assert ids(ledger)[:20] == [letter.event_id for letter in ledger.find_dead("warehouse")]
    sink.poison = set()
    assert 20 == ledger.revive_dead("warehouse")
    exporter(ledger, sink).drain()
    assert set(ids(ledger)) == set(sink.ids)


def test_a_sink_that_is_gone_ends_it(ledger: SinkLedger) -> None:
    """With what it had, and its last word on record; the lease is free."""
    sink = ListSink()
    sink.errors = [SinkGone("410 Gone", delivered=10)]
    with pytest.raises(SinkGone):
        exporter(ledger, sink).run()
    (view,) = ledger.find_sinks()
    assert ("410 Gone", 0.0) == (view.problem, view.lease_until)
    assert ledger.read_events()[9][0] == view.position


def test_a_mistake_in_a_sink_loses_nothing(ledger: SinkLedger, caplog: pytest.LogCaptureFixture) -> None:
    """An exception that no sink should raise is logged and means: not delivered."""
    sink = ListSink()
    sink.errors = [KeyError("the sink's own")]
    with pytest.raises(SinkError, match="KeyError"):
        exporter(ledger, sink).drain()
    assert "raised what it should not" in caplog.text
    exporter(ledger, sink).drain()
    assert ids(ledger) == sink.ids


# --- the lease --------------------------------------------------------------------------------------------


def test_one_works_and_the_others_stand_by() -> None:
    """While one has the lease another one delivers nothing; when it is over it takes over where the first one was."""
    clock = ManualClock()
    ledger = filled(250, clock)
    sink, other = ListSink(), ListSink()
    first, second = exporter(ledger, sink), exporter(ledger, other)
    assert 100 == first.step().delivered
    assert ("standby", 20.0) == (second.step().state, second.step().wait_s)
    with pytest.raises(SinkError, match="another exporter feeds warehouse"):
        second.drain()
    clock.advance(60.0)
    assert 100 == second.step().delivered
    # The first one was only slow: what it sends now it cannot record, and it finds out.
    assert 0 == first.step().delivered
    assert "standby" == first.step().state
    second.drain()
    assert ids(ledger) == [*sink.ids[:100], *other.ids]


def test_waiting_keeps_the_lease() -> None:
    """However long a sink is down, its exporter stays the one."""
    clock, monotonic = ManualClock(), ManualClock()
    ledger, sink = filled(1, clock), ListSink()
    sink.errors = [SinkError("503", retry_after_s=500.0)]
    exporter(ledger, sink, wait=Waiting(clock, monotonic, until=20), clock=monotonic).run()
    assert [1] == [view.fence for view in ledger.find_sinks()]
    work = exporter(ledger, ListSink(), wait=Waiting(clock, monotonic, until=40), clock=monotonic)
    work.step()
    work._rest(100.0)
    assert clock() + 40.0 <= ledger.find_sinks()[0].lease_until
    ledger.lease_sink("warehouse", work._holder, 1.0)
    clock.advance(50.0)
    monotonic.advance(50.0)
    assert "moved" == work.step().state  # the renewal finds the fence stale: it asks anew
    assert "idle" == work.step().state


def test_idle_exporters_write_little() -> None:
    """Looking for new events reads only; the lease is renewed three times in its life."""
    clock, monotonic = ManualClock(), ManualClock()
    ledger = filled(0, clock)
    written: list[int] = []
    advance = ledger.advance_sink
    ledger.advance_sink = lambda *a, **k: (written.append(1), advance(*a, **k))[1]  # type: ignore[method-assign]  # counts
    waiting = Waiting(clock, monotonic, until=120)
    exporter(ledger, ListSink(), wait=waiting, clock=monotonic).run()
    assert [1.0] * 120 == waiting.waits
    assert len(written) in (5, 6)


def test_stopping() -> None:
    """Told to stop in the middle of a wait it ends with what it has, and lets others in at once."""
    ledger, sink = filled(5), ListSink()
    sink.errors = [SinkError("503")]
    exporter(ledger, sink, wait=Waiting(until=1)).run()
    assert 5 == exporter(ledger, sink).drain()
    sink.poison, sink.refusal = {*ids(ledger)}, lambda: SinkRefused("422")
    assert 0 == exporter(ledger, sink, "lake", wait=Waiting(until=1)).drain()


# --- the ledger -------------------------------------------------------------------------------------------


class Failing(MemoryLedger):
    """A ledger whose verbs for exporters fail so many times."""

    failures = 0

    def _fail(self) -> None:
        if self.failures:
            self.failures -= 1
            raise LedgerError("test: the disk is gone")

    def lease_sink(self, *arguments: Any) -> Any:
        """Or LedgerError."""
        self._fail()
        return super().lease_sink(*arguments)

    def advance_sink(self, *arguments: Any) -> Any:
        """Records it, and fails only then: nobody knows."""
        done = super().advance_sink(*arguments)
        self._fail()
        return done

    def release_sink(self, *arguments: Any) -> Any:
        """Or LedgerError."""
        self._fail()
        return super().release_sink(*arguments)


def test_a_ledger_that_fails() -> None:
    """It waits, asks anew how far it is, and goes on: nothing is left out."""
    ledger, sink = Failing(), ListSink()
    ledger.append(rows(250))
    work = exporter(ledger, sink)
    ledger.failures = 1
    assert "failed" == work.step().state
    assert 100 == work.step().delivered
    ledger.failures = 1
    assert "failed" == work.step().state
    assert 150 > work.drain()
    assert ids(ledger) == sink.ids
    ledger.failures = 1
    with pytest.raises(LedgerError):
        work.drain()
    work.step()
    ledger.failures = 1
    work.release()
    monotonic = ManualClock()
    other = exporter(ledger, sink, "lake", clock=monotonic, wait=Waiting(monotonic))
    other.step()
    ledger.failures = 1
    assert not other._rest(25.0)  # a renewal that fails is the next step's business
    ledger.failures = 0
    assert 150 == other.drain()


def test_a_lost_lease_during_a_dead_letter() -> None:
    """Its new holder will send it; the old one asks anew."""
    ledger, sink = filled(1), ListSink()
    sink.poison, sink.refusal = {*ids(ledger)}, lambda: SinkRefused("422")
    work = exporter(ledger, sink, refusals=1)
    work.step()
    ledger.revive_dead("warehouse")
    ledger.lease_sink("warehouse", work._holder, 60.0)
    assert "moved" == work.step().state
    assert [True] == [letter.again for letter in ledger.find_dead("warehouse")]
    assert "moved" == work.step().state


def test_settings_that_cannot_work() -> None:
    """Are refused when it is made."""
    for wrong in (
        {"batch": 0},
        {"refusals": 0},
        {"lease_s": 0.0},
        {"poll_s": 0.0},
        {"source": ""},
        {"source": "not a uri"},
        {"name": "a b"},
    ):
        with pytest.raises(CallerError):
            Exporter(filled(0), ListSink(), **{"name": "warehouse", **wrong})  # type: ignore[arg-type]  # on purpose


def test_what_it_says(caplog: pytest.LogCaptureFixture) -> None:
    """One line when it stops getting on, not one for every try; it names the sink's kind and name only."""
    sink = ListSink()
    sink.errors = [SinkError("no answer") for _ in range(5)]
    work = exporter(filled(1), sink)
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            work.step()
    assert ["<Exporter warehouse to list> cannot send its events: no answer"] == [
        one.getMessage() for one in caplog.records
    ]
    assert LONGEST_WAIT_S == 60.0
