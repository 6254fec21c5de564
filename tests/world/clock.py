"""Time that passes only when the world says so, and what is to happen at which time."""

import heapq
from collections.abc import Callable, Generator
from itertools import count

from tests.world.truth import START_MS

Life = Generator[int]
"""What somebody does: yields the ms until the next step."""


class Clock:
    """Whole milliseconds since 1970; as a function Unix seconds, for the gate.

    With ``shift_ms`` all but the world itself sees another time, so much later: for a demo, whose weeks end today.
    """

    def __init__(self, shift_ms: int = 0) -> None:
        self.ms = START_MS
        self._shift_ms = shift_ms

    def __call__(self) -> float:
        return self.seen / 1000

    @property
    def seen(self) -> int:
        """What all others see, ms since 1970."""
        return self.ms + self._shift_ms

    def monotonic(self) -> float:
        """Seconds since the start, for durations: small, so that nothing of them is lost in a float."""
        return (self.ms - START_MS) / 1000

    def pass_by(self, ms: int) -> None:
        """Let time go by."""
        self.ms += ms


class Agenda:
    """What is to happen, in its order."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._next: list[tuple[int, int, Callable[[], None]]] = []
        self._numbers = count()

    def at(self, ms: int, what: Callable[[], None]) -> None:
        """Do something at a time, ms since 1970; or at once if that is over."""
        heapq.heappush(self._next, (ms, next(self._numbers), what))

    def live(self, life: Life, since: int) -> None:
        """Let somebody begin to live at a time."""
        self.at(since, lambda: self._go_on(life))

    def _go_on(self, life: Life) -> None:
        try:
            wait = next(life)
        except StopIteration:
            return
        self.at(self._clock.ms + wait, lambda: self._go_on(life))

    def run(self, until: int) -> None:
        """Go on until nothing is left to do before a time."""
        while self._next and self._next[0][0] < until:
            ms, _, what = heapq.heappop(self._next)
            # One after the other, so that nobody has to say which of two came first.
            self._clock.ms = max(self._clock.ms + 1, ms)
            what()
