"""Fifty tabs that watch the dashboard's live tail, and a hundred paid requests a second: neither hurts the other.

::

    python -m tests.campaigns.showcase --tabs 50 --rate 100 --minutes 2 --warm 6

Windows with and without watching tabs take turns, so that both are measured on the same machine in the same minutes. A
tab is an open stream of server-sent events, as a browser's is. Every order is paid; none may fail. ``--warm`` does the
same for so many minutes before anybody looks: what caches need, they have by then, and no process may grow any more.
"""

import asyncio
import json
import sys
import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import attrs

from tests.campaigns.accounts import close_books
from tests.campaigns.buying import InRealTime, Purchase
from tests.campaigns.program import LEDGERS, Steady, conclude, steady_parser
from tests.campaigns.serving import Server, serving
from tests.campaigns.stores import opened
from tests.campaigns.traffic import Latencies, Watch, percentile, shown, steadily
from tests.campaigns.wire import Client
from tests.patience import PROGRAM_S

CONNECTIONS: Final = 64
GROWN_MIB: Final = 24.0
"""How much a process may grow after its first third. SQLite keeps up to 2 MiB of pages for each of its connections, and
reports have connections of their own: they fill while the file grows, to 36 MiB at most."""
GROWN_WARM_MIB: Final = 4.0
"""How much it may grow once it is warm."""
WINDOW_S: Final = 5.0
TARGET: Final = "/dashboard/events/stream?test=1"
FROM_NOW_ON: Final = "9" * 15
"""Behind an event that no ledger has reached: what was there before a tab was opened is no news to it."""


@attrs.frozen(kw_only=True)
class Tabs(Steady):
    """``tabs`` watch in every other window of ``window_s`` seconds, for ``warm_s`` seconds before anybody looks.
    ``patient``: 503 is no error.
    """

    tabs: int = 50
    window_s: float = WINDOW_S
    warm_s: float = 0.0
    patient: bool = False


@attrs.define
class Tab:
    """One page that watches: how many attempts it was told of, and how long it waited for news at most, seconds."""

    port: int
    told: int = 0
    longest_s: float = 0.0
    open: asyncio.Event = attrs.field(factory=asyncio.Event)
    saw: asyncio.Event = attrs.field(factory=asyncio.Event)

    async def watch(self) -> None:
        """Read one stream after the other until cancelled, as a browser does.

        Raises:
            AssertionError: it is no stream.
        """
        last, number = time.monotonic(), FROM_NOW_ON
        while True:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 20)
            try:
                fields = f"host: api.example.com\r\nlast-event-id: {number}\r\nconnection: close"
                writer.write(f"GET {TARGET} HTTP/1.1\r\n{fields}\r\n\r\n".encode())
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
                assert head.startswith("http/1.1 200"), head
                assert "text/event-stream" in head, head
                self.open.set()
                while line := await reader.readline():
                    if line.startswith(b"id: "):
                        number = line[4:].decode("ascii").strip()
                    if line.startswith(b"data: "):
                        self.saw.set()
                        self.told += len(json.loads(line.removeprefix(b"data: "))["rows"])
                        now = time.monotonic()
                        self.longest_s, last = max(self.longest_s, now - last), now
            finally:
                writer.close()


class Payers(InRealTime):
    """Everybody orders and pays at once."""

    latencies: Latencies
    purchases: list[Purchase]

    async def arrive(self, window: str, patient: bool) -> None:
        """Order, pay, and get the answer."""
        one = Purchase(f"ok-tabs-{len(self.purchases)}")
        self.purchases.append(one)
        await self.order(one)
        began = time.monotonic()
        reply = await (self.insist(one) if patient else self.present(one))
        assert reply is not None, "a connection broke"
        assert reply.status == 200, f"a payment was answered {reply.status}: {reply.body!r}"
        self.latencies.note(window, began)


@attrs.define
class Seen:
    """What the windows with tabs saw."""

    told: list[int] = attrs.field(factory=list[int])
    longest_s: float = 0.0


async def _window(tabs: Tabs, server: Server, payers: Payers, watching: bool, seconds: float) -> tuple[int, list[Tab]]:
    name = "with tabs" if watching else "without"
    opened = [Tab(server.port) for _ in range(tabs.tabs if watching else 0)]
    reading = [asyncio.create_task(tab.watch()) for tab in opened]
    try:
        async with asyncio.timeout(PROGRAM_S):
            for tab in opened:
                await tab.open.wait()
        number = await steadily(tabs.rate, seconds, lambda: payers.arrive(name, tabs.patient), patient=tabs.patient)
        if tabs.patient:  # a busy machine tells them later
            async with asyncio.timeout(PROGRAM_S):
                for tab in opened:
                    await tab.saw.wait()
        for task in reading:
            if task.done():
                task.result()
    finally:
        for task in reading:
            task.cancel()
        await asyncio.gather(*reading, return_exceptions=True)
    return number, opened


async def _run(tabs: Tabs, server: Server) -> tuple[Payers, Watch, Seen, int]:
    client = Client("127.0.0.1", server.port, connections=CONNECTIONS)
    payers = Payers(server, client, tabs.seed)
    payers.latencies, payers.purchases = Latencies(), []
    for window in range(round(tabs.warm_s / tabs.window_s)):
        await _window(tabs, server, payers, window % 2 == 1, tabs.window_s)
    payers.latencies = Latencies()
    watch, seen, number = Watch(server), Seen(), 0
    looking = asyncio.create_task(watch.run())
    try:
        for window in range(max(2, round(tabs.seconds / tabs.window_s))):
            made, opened = await _window(tabs, server, payers, window % 2 == 1, tabs.window_s)
            number += made
            seen.told += [tab.told for tab in opened]
            seen.longest_s = max([seen.longest_s, *(tab.longest_s for tab in opened)])
    finally:
        looking.cancel()
    client.close()
    return payers, watch, seen, number


def run(tabs: Tabs, ledger: str, folder: Path) -> list[str]:
    """Serve so long; what to report.

    Raises:
        AssertionError: a payment failed, a tab saw nothing, a worker died or grew, or the books do not balance.
    """
    with (
        opened(ledger, folder) as store,
        serving(store.url, folder, workers=tabs.processes, kind="uvicorn", app="watched") as server,
    ):
        pids = set(server.pids())
        payers, watch, seen, number = asyncio.run(_run(tabs, server))
        assert set(server.pids()) == pids, "a worker died"
        assert payers.statuses["broken"] == 0, f"{payers.statuses['broken']} connections broke"
        assert seen.told, "no window had tabs"
        assert min(seen.told) > 0, f"a tab saw nothing in {tabs.window_s:g} s: {Counter(seen.told)}"
        assert server.errors() == []
        close_books(store.url, server, payers.purchases)
        watch.check(grown_mib=GROWN_WARM_MIB if tabs.warm_s else GROWN_MIB, connections=CONNECTIONS + tabs.tabs)
    p99 = {name: percentile(found, 0.99) for name, found in payers.latencies.by_window.items()}
    before = f", after {len(payers.purchases) - number} to get warm" if tabs.warm_s else ""
    return [
        f"{number} payments{before}, none failed; answers: {shown(payers.statuses)}",
        str(payers.latencies),
        f"p99 with {tabs.tabs} tabs to p99 without: {p99['with tabs'] / max(p99['without'], 0.001):.2f}",
        f"each tab was told of {min(seen.told)} to {max(seen.told)} attempts in a window of {tabs.window_s:g} s, and"
        f" waited {seen.longest_s:.1f} s for news at most",
        *watch.lines(),
    ]


def main() -> int:
    """Run it; the last line is ``ok`` or ``FAILED``."""
    parser = steady_parser("tabs that watch, and payments", minutes=2.0, rate=100.0, ledger=LEDGERS)
    parser.add_argument("--tabs", type=int, default=50, help="that watch in every other window")
    parser.add_argument("--warm", type=float, default=0.0, help="minutes of the same before anybody looks")
    parser.add_argument("--patient", action="store_true", help="503 is no error, for a machine that is busy")
    options = vars(parser.parse_args())
    ledger = options.pop("ledger")
    tabs = Tabs(seconds=60 * options.pop("minutes"), warm_s=60 * options.pop("warm"), **options)
    print(f"showcase: {tabs.seconds:.0f} s, {tabs.tabs} tabs, {tabs.rate:g} payments a second, seed {tabs.seed}")
    with TemporaryDirectory(prefix="flovia-tabs-") as folder:
        return conclude(lambda: run(tabs, ledger, Path(folder)))


if __name__ == "__main__":
    sys.exit(main())
