"""From the ledger's events to one sink: in order, at least once, from a cursor that the ledger keeps.

The cursor moves when the sink has the events, never before: whatever ends in between, they come again. One exporter
at a time may move it, under a lease with a fence. A sink that is down makes the exporter wait, and nobody else.
"""

import logging
import random
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, Literal

import attrs

from flovia.core.errors import CallerError, FloviaError, LedgerError
from flovia.export.base import Entry, Sink, SinkError, SinkGone, SinkRefused
from flovia.export.envelope import DEFAULT_SOURCE, checked_source, entry, entry_of
from flovia.ledger.sinks import DeadLetter, SinkLedger, checked_name

BATCH: Final = 100
REFUSALS: Final = 5
LEASE_S: Final = 60.0
POLL_S: Final = 1.0
FIRST_WAIT_S: Final = 1.0
LONGEST_WAIT_S: Final = 60.0
LONGEST_RETRY_AFTER_S: Final = 600.0
"""A sink may ask to be left alone for so long, and no longer: what waits has to get on."""

_log: Final = logging.getLogger("flovia.export")


@attrs.frozen(kw_only=True)
class Step:
    """What one step came to, and how long to wait before the next.

    ``idle``: nothing waits. ``standby``: another exporter feeds the sink. ``failed``: ``error`` says why; what
    was not delivered comes again. ``delivered``: events the sink has got by this step.
    """

    state: Literal["moved", "idle", "standby", "failed"]
    wait_s: float = 0.0
    delivered: int = 0
    error: FloviaError | None = None


class Exporter:
    """Feeds one sink. Make one per process and sink; of those with the same name one works, the others stand by.

    Args:
        ledger: where the events are, and the cursor.
        sink: where they go.
        name: the sink's name in the ledger. Another name begins again, with the first event.
        source: the ``source`` of what is sent: a URI that says whose events they are.
        batch: events that are offered at once, at most.
        refusals: how often a sink may refuse an event, offered alone, before it goes to the dead letters.
        lease_s: how long the sink belongs to an exporter of which nothing more is heard, seconds.
        poll_s: how often to look for new events when none wait, seconds.
        wait: waits so many seconds, and tells whether to stop: like ``threading.Event.wait``.
        clock: seconds that never go back.
        chance: a number from 0 up to 1, each time another, for jitter.

    Raises:
        CallerError: a value cannot work.
    """

    def __init__(
        self,
        ledger: SinkLedger,
        sink: Sink,
        name: str,
        *,
        source: str = DEFAULT_SOURCE,
        batch: int = BATCH,
        refusals: int = REFUSALS,
        lease_s: float = LEASE_S,
        poll_s: float = POLL_S,
        wait: Callable[[float], bool] | None = None,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        if batch < 1 or refusals < 1 or not lease_s > 0 or not poll_s > 0:
            raise CallerError("batch and refusals are at least 1, lease_s and poll_s above 0")
        self._ledger = ledger
        self._sink = sink
        self.name = checked_name(name)
        self._source = checked_source(source)
        self._batch = batch
        self._refusals = refusals
        self._lease_s = lease_s
        self._poll_s = poll_s
        self._wait = threading.Event().wait if wait is None else wait
        self._clock = clock
        self._chance = chance
        self._holder = secrets.token_urlsafe(16)
        self._fence: int | None = None
        self._position = 0
        self._renewed_at = 0.0
        self._size = batch
        self._failures = 0
        self._refused = 0
        self._problem = ""

    def __repr__(self) -> str:
        return f"<Exporter {self.name} to {self._sink.label}>"

    def run(self) -> None:
        """Export until ``wait`` says to stop, then give the lease back. The sink stays open.

        Raises:
            SinkGone: the sink is no more.
        """
        try:
            while not self._wait(0.0):
                if self._rest(self.step().wait_s):
                    break
        finally:
            self.release()

    def drain(self) -> int:
        """Export what there is, then give the lease back; returns how many events the sink got.

        Raises:
            SinkError: the sink does not take them now, or another exporter is feeding it.
            LedgerError: the ledger cannot answer.
        """
        total = 0
        try:
            self._ledger.flush()
            while True:
                step = self.step()
                total += step.delivered
                if step.state == "idle":
                    return total
                if step.state == "standby":
                    raise SinkError(f"another exporter feeds {self.name}; its lease ends in {step.wait_s:.0f} s")
                if step.error is not None and not isinstance(step.error, SinkRefused):
                    raise step.error
                if self._rest(step.wait_s):
                    return total
        finally:
            self.release()

    def release(self) -> None:
        """Let another exporter in at once."""
        fence, self._fence = self._fence, None
        if fence is not None:
            with suppress(LedgerError):  # then the lease runs out by itself
                self._ledger.release_sink(self.name, fence)

    # --- one step ---------------------------------------------------------------------------------------

    def step(self) -> Step:
        """Offer one batch to the sink, and record what became of it. Waits for nothing but sink and ledger.

        Raises:
            SinkGone: the sink is no more.
        """
        try:
            return self._step()
        except LedgerError as error:
            self._fence = None  # nobody knows what was recorded: ask again
            _log.warning("%r waits for its ledger: %s", self, error)
            return self._failed(error)

    def _step(self) -> Step:
        if self._fence is None:
            lease = self._ledger.lease_sink(self.name, self._holder, self._lease_s)
            if lease.fence is None:
                return Step(state="standby", wait_s=max(self._poll_s, min(lease.wait_s, self._lease_s / 3)))
            self._fence, self._position = lease.fence, lease.position
            self._renewed_at = self._clock()
            self._size, self._refused = self._batch, 0
        if not self._renew():
            return Step(state="moved")
        for letter in self._ledger.find_dead(self.name, limit=1, again=True):
            return self._revive(letter)
        found = self._ledger.read_events(self._position, self._size)
        if not found:
            return Step(state="idle", wait_s=self._poll_s)
        return self._offer([entry(position, event, self._source) for position, event in found])

    def _offer(self, part: Sequence[Entry]) -> Step:
        error = self._deliver(part)
        if error is None:
            # After a refusal the parts grow again, so that one bad event does not make all that follow slow.
            self._size = min(self._batch, self._size * 2)
            return self._got(part, len(part))
        step = self._got(part, error.delivered, str(error))
        left = part[error.delivered :]
        if not isinstance(error, SinkRefused) or not left or self._fence is None:
            return attrs.evolve(self._failed(error), delivered=step.delivered)
        if len(left) > 1:
            self._size = len(left) // 2
            return Step(state="moved", delivered=step.delivered)
        self._size = 1
        self._refused += 1
        if self._refused < self._refusals:
            return attrs.evolve(self._failed(error), delivered=step.delivered)
        dead = DeadLetter(
            position=left[0].position,
            event_id=left[0].id,
            body=left[0].body.decode(),
            reason=str(error),
            tries=self._refused,
        )
        _log.error(
            "%r: event %s was refused %d times and is a dead letter now: %s", self, dead.event_id, dead.tries, error
        )
        self._advance(dead.position, dead=[dead])
        self._refused = self._failures = 0
        return Step(state="moved", delivered=step.delivered)

    def _revive(self, letter: DeadLetter) -> Step:
        """Offer a dead letter once more, alone."""
        one = entry_of(letter.position, letter.body)
        error = self._deliver([one])
        if error is not None and not isinstance(error, SinkRefused):
            self._advance(self._position, str(error))
            return self._failed(error)
        if self._fence is not None and not self._ledger.end_dead(
            self.name, self._fence, letter.number, None if error is None else str(error)
        ):
            self._lost()
        return Step(state="moved", delivered=int(error is None))

    def _deliver(self, part: Sequence[Entry]) -> SinkError | None:
        """Hand a batch to the sink; returns what is in the way.

        Raises:
            SinkGone: the sink is no more; that is on record.
        """
        try:
            self._sink.deliver(part)
        except SinkGone as error:
            self._got(part, error.delivered, str(error))
            raise
        except SinkError as error:
            return error
        except Exception as error:
            # A mistake in a sink is no reason to lose events or the thread.
            _log.exception("%r: the sink raised what it should not", self)
            return SinkError(f"the sink raised {type(error).__name__}")
        return None

    def _got(self, part: Sequence[Entry], count: int, problem: str = "") -> Step:
        """Record that the sink has the first ``count`` entries."""
        if not problem:
            self._failures = 0
        if count:
            self._refused = 0
        position = part[count - 1].position if count else self._position
        # If the lease was lost, whoever has it now sends them again.
        return Step(state="moved", delivered=count if self._advance(position, problem) else 0)

    # --- the lease ----------------------------------------------------------------------------------------

    def _advance(self, position: int, problem: str = "", dead: Sequence[DeadLetter] = ()) -> bool:
        if self._fence is None:
            return False
        if not self._ledger.advance_sink(self.name, self._fence, position, self._lease_s, problem, dead):
            self._lost()
            return False
        if problem and problem != self._problem:
            _log.warning("%r cannot send its events: %s", self, problem)
        self._position, self._problem, self._renewed_at = position, problem, self._clock()
        return True

    def _lost(self) -> None:
        self._fence = None
        _log.warning("%r: another exporter has taken over", self)

    def _renew(self) -> bool:
        """Renew the lease if it is time. False if it was lost."""
        if self._fence is not None and self._clock() - self._renewed_at >= self._lease_s / 3:
            return self._advance(self._position, self._problem)
        return True

    # --- waiting ------------------------------------------------------------------------------------------

    def _failed(self, error: FloviaError) -> Step:
        """How long to wait after a failure: longer each time, never the same for two, at least as long as asked."""
        wait = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** min(self._failures, 16))
        wait *= 0.5 + self._chance() / 2
        asked = error.retry_after_s if isinstance(error, SinkError) else None
        self._failures += 1
        return Step(state="failed", wait_s=max(wait, min(asked or 0.0, LONGEST_RETRY_AFTER_S)), error=error)

    def _rest(self, seconds: float) -> bool:
        """Wait, and keep the lease meanwhile. True if it is time to stop."""
        while seconds > 0:
            piece = min(seconds, self._lease_s / 3)
            if self._wait(piece):
                return True
            seconds -= piece
            with suppress(LedgerError):  # the next step will meet it too
                self._renew()
        return False
