"""The memory ledger's verbs for exporters."""

import threading
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Sequence

import attrs

from flovia.core.events import EventRow
from flovia.ledger.sinks import MAX_PROBLEM, DeadLetter, SinkLease, SinkView, checked_name


@attrs.define(kw_only=True)
class MemorySink:
    """One cursor with its lease."""

    position: int = 0
    fence: int = 0
    holder: str = ""
    lease_until: float = 0.0
    problem: str = ""
    updated_at: float = 0.0


class MemorySinkVerbs:
    """Cursors and dead letters beside the events of a :class:`~flovia.ledger.memory.MemoryLedger`."""

    _clock: Callable[[], float]
    _lock: threading.Lock
    _events: deque[EventRow]
    _written: int
    _sinks: dict[str, MemorySink]
    _dead: dict[int, tuple[str, DeadLetter]]
    _dead_so_far: int

    @abstractmethod
    def _refuse_inherited(self) -> None:
        """Raise LedgerError in a forked child."""

    def lease_sink(self, name: str, holder: str, lease_s: float) -> SinkLease:
        """See :meth:`flovia.ledger.sinks.SinkVerbs.lease_sink`."""
        now = self._clock()
        checked_name(name)
        with self._lock:
            self._refuse_inherited()
            sink = self._sinks.setdefault(name, MemorySink())
            if sink.lease_until > now and sink.holder != holder:
                return SinkLease(fence=None, position=sink.position, wait_s=sink.lease_until - now)
            sink.fence += 1
            sink.holder, sink.lease_until, sink.updated_at = holder, now + lease_s, now
            return SinkLease(fence=sink.fence, position=sink.position)

    def advance_sink(
        self,
        name: str,
        fence: int,
        position: int,
        lease_s: float,
        problem: str = "",
        dead: Sequence[DeadLetter] = (),
    ) -> bool:
        """See :meth:`flovia.ledger.sinks.SinkVerbs.advance_sink`."""
        now = self._clock()
        with self._lock:
            sink = self._held(name, fence)
            if sink is None or sink.position > position:
                return False
            sink.position, sink.lease_until, sink.updated_at = position, now + lease_s, now
            sink.problem = problem[:MAX_PROBLEM]
            known = {letter.event_id for of, letter in self._dead.values() if of == name}
            for letter in dead:
                if letter.event_id not in known:
                    self._dead_so_far += 1
                    number = self._dead_so_far
                    reason = letter.reason[:MAX_PROBLEM]
                    self._dead[number] = name, attrs.evolve(letter, number=number, reason=reason, at=now, again=False)
            return True

    def release_sink(self, name: str, fence: int) -> bool:
        """See :meth:`flovia.ledger.sinks.SinkVerbs.release_sink`."""
        with self._lock:
            sink = self._held(name, fence)
            if sink is not None:
                sink.holder, sink.lease_until = "", 0.0
            return sink is not None

    def find_sinks(self) -> Sequence[SinkView]:
        """See :meth:`flovia.ledger.sinks.SinkVerbs.find_sinks`."""
        with self._lock:
            return [
                SinkView(
                    name=name,
                    position=sink.position,
                    fence=sink.fence,
                    lease_until=sink.lease_until,
                    problem=sink.problem,
                    updated_at=sink.updated_at,
                    dead=sum(of == name for of, _ in self._dead.values()),
                )
                for name, sink in sorted(self._sinks.items())
            ]

    def forget_sink(self, name: str) -> bool:
        """See :meth:`flovia.ledger.sinks.SinkVerbs.forget_sink`."""
        with self._lock:
            sink = self._sinks.get(name)
            if sink is None or sink.lease_until > self._clock():
                return False
            del self._sinks[name]
            self._dead = {number: kept for number, kept in self._dead.items() if kept[0] != name}
            return True

    def count_events(self, after: int, at_most: int) -> int:
        """See :meth:`flovia.ledger.sinks.SinkVerbs.count_events`."""
        with self._lock:
            return min(at_most, len(self._events), max(0, self._written - after))

    def find_dead(self, name: str, after: int = 0, limit: int = 100, *, again: bool = False) -> Sequence[DeadLetter]:
        """See :meth:`flovia.ledger.sinks.SinkVerbs.find_dead`."""
        with self._lock:
            found = [
                letter
                for number, (of, letter) in self._dead.items()
                if of == name and number > after and (letter.again or not again)
            ]
        return found[:limit]

    def revive_dead(self, name: str, numbers: Sequence[int] | None = None) -> int:
        """See :meth:`flovia.ledger.sinks.SinkVerbs.revive_dead`."""
        with self._lock:
            mine = [number for number, (of, _) in self._dead.items() if of == name]
            meant = [number for number in mine if numbers is None or number in numbers]
            for number in meant:
                self._dead[number] = name, attrs.evolve(self._dead[number][1], again=True)
            return len(meant)

    def end_dead(self, name: str, fence: int, number: int, reason: str | None) -> bool:
        """See :meth:`flovia.ledger.sinks.SinkVerbs.end_dead`."""
        with self._lock:
            if self._held(name, fence) is None:
                return False
            of, letter = self._dead.get(number, ("", None))
            if letter is not None and of == name:
                if reason is None:
                    del self._dead[number]
                else:
                    self._dead[number] = (
                        name,
                        attrs.evolve(letter, again=False, reason=reason[:MAX_PROBLEM], tries=letter.tries + 1),
                    )
            return True

    def _held(self, name: str, fence: int) -> MemorySink | None:
        """The sink, if the fence is current. Inside the lock."""
        self._refuse_inherited()
        sink = self._sinks.get(name)
        return sink if sink is not None and sink.fence == fence else None
