"""Requests at a steady rate, whatever the server does: an arrival that is due is not put off by a slow answer."""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Final

import attrs

from tests.campaigns.serving import Server, is_dead

AT_ONCE: Final = 2000
"""Arrivals that may be on their way; more would measure this program and not the server."""


async def steadily(
    rate: float,
    seconds: float,
    arrive: Callable[[], Coroutine[Any, Any, None]],
    *,
    first: float = 0.0,
    patient: bool = False,
) -> int:
    """Start ``rate`` stories a second for so many seconds, and wait for the last one to end. Returns how many.

    ``patient``: on a machine that is too slow fewer arrive; else that is an error, because what is measured would be
    this program.

    Raises:
        ExceptionGroup: what a story found.
    """
    began = time.monotonic() - first
    number = 0
    running: set[asyncio.Task[None]] = set()
    async with asyncio.TaskGroup() as group:
        while (due := began + number / rate) < began + seconds:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            if patient and len(running) >= AT_ONCE:
                await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                late = max(0.0, time.monotonic() - due)
                began, seconds = began + late, seconds - late  # those who did not come in time do not come
            assert len(running) < AT_ONCE, f"{AT_ONCE} stories wait: the server cannot keep up with {rate} a second"
            task = group.create_task(arrive())
            running.add(task)
            task.add_done_callback(running.discard)
            number += 1
    return number


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest-rank percentile; 0 of nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


@attrs.define
class Latencies:
    """Milliseconds of whole answers, by the window in which they were asked for."""

    by_window: defaultdict[str, list[float]] = attrs.field(factory=lambda: defaultdict(list))

    def note(self, window: str, began: float) -> None:
        """An answer has come."""
        self.by_window[window].append(1000 * (time.monotonic() - began))

    def __str__(self) -> str:
        return "; ".join(
            f"{name or 'all'}: {len(values)} answers, median {percentile(values, 0.5):.0f} ms,"
            f" p99 {percentile(values, 0.99):.0f} ms"
            for name, values in sorted(self.by_window.items())
        )


@attrs.define
class Watch:
    """Memory and descriptors of every process of a server, once a second. See :meth:`lines`."""

    server: Server
    samples: defaultdict[int, list[tuple[float, float, int]]] = attrs.field(factory=lambda: defaultdict(list))
    """By pid: seconds, resident MiB, descriptors."""

    async def run(self) -> None:
        """Look until cancelled."""
        began = time.monotonic()
        while True:
            for pid in (self.server.master, *self.server.pids()):
                if not is_dead(pid):
                    self.samples[pid].append((time.monotonic() - began, *_look(pid)))
            await asyncio.sleep(1.0)

    def settled(self) -> dict[int, list[tuple[float, float, int]]]:
        """Without the first third, in which caches and pools fill."""
        return {pid: found[len(found) // 3 :] for pid, found in self.samples.items() if len(found) >= 6}

    def lines(self) -> list[str]:
        """What to report: the slope of memory in MiB an hour, and the lowest and highest number of descriptors."""
        told: list[str] = []
        for pid, found in self.settled().items():
            files = [number for _, _, number in found]
            told.append(
                f"pid {pid}: {found[-1][1]:.1f} MiB, {slope([(at, size) for at, size, _ in found]) * 3600:+.1f} MiB/h,"
                f" {_growth(found):+.2f} MiB from the first to the last fifth; descriptors {min(files)} to {max(files)}"
            )
        return told

    def check(self, *, grown_mib: float, connections: int) -> None:
        """Memory and descriptors are flat.

        Raises:
            AssertionError: a process grew by more, or holds more descriptors than connections can explain.
        """
        assert self.settled(), "nobody was watched for long enough"
        for pid, found in self.settled().items():
            assert _growth(found) <= grown_mib, f"pid {pid} grew by {_growth(found):.2f} MiB"
            fifth = max(1, len(found) // 5)
            early, late = (max(number for _, _, number in part) for part in (found[:fifth], found[-fifth:]))
            assert late <= early + connections, f"pid {pid} went from {early} to {late} descriptors"


def _growth(found: list[tuple[float, float, int]]) -> float:
    """Medians of the first and the last fifth: a garbage collection that comes late is no leak."""
    fifth = max(1, len(found) // 5)
    return percentile([size for _, size, _ in found[-fifth:]], 0.5) - percentile(
        [size for _, size, _ in found[:fifth]], 0.5
    )


def _look(pid: int) -> tuple[float, int]:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return pages * 4096 / 2**20, sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return 0.0, 0


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Least squares, by the unit of the first coordinate."""
    if len(points) < 2:
        return 0.0
    middle_x = sum(x for x, _ in points) / len(points)
    middle_y = sum(y for _, y in points) / len(points)
    width = sum((x - middle_x) ** 2 for x, _ in points)
    return sum((x - middle_x) * (y - middle_y) for x, y in points) / width if width else 0.0


def shown(counted: Counter[str]) -> str:
    """A counter as a line."""
    return ", ".join(f"{name}: {number}" for name, number in sorted(counted.items()))
