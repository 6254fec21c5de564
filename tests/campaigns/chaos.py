"""A database and a sink that fail all the time, under steady traffic: nothing is free, and nobody is asked twice.

::

    python -m tests.campaigns.chaos --minutes 10 --rate 200
    python -m tests.campaigns.chaos --minutes 10 --rate 200 --ledger postgresql

Windows of quiet, of a sink that hangs and of one database fault after another take turns. Every buyer insists until
the answer is a delivery. What is compared are answers to payments in quiet windows and in those with a blocked sink.
"""

import asyncio
import os
import resource
import sqlite3
import sys
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, cast

import attrs

from flovia.export.envelope import event_id
from flovia.ledger.opening import open_ledger
from tests.campaigns.accounts import close_books
from tests.campaigns.buying import InRealTime, Purchase
from tests.campaigns.exporting import Endpoint, exporting
from tests.campaigns.program import Steady, conclude, steady_parser
from tests.campaigns.serving import Server, serving
from tests.campaigns.stores import Postgres, Store, opened
from tests.campaigns.traffic import Latencies, percentile, shown, steadily
from tests.campaigns.wire import Client, Reply
from tests.patience import PROGRAM_S

if TYPE_CHECKING:
    import psycopg

QUIET, SINK = "quiet", "sink blocked"
LONGEST_PAUSE_S = 3.0


@attrs.frozen(kw_only=True)
class Chaos(Steady):
    """``rate``: requests a second when nothing fails; a purchase is two. ``window``: seconds."""

    window: float = 5.0


class Buyers(InRealTime):
    """Buyers who wait in real time, longer each time."""

    def __init__(self, server: Server, client: Client, seed: int) -> None:
        super().__init__(server, client, seed)
        self.purchases: list[Purchase] = []
        self.latencies = Latencies()
        self.window = QUIET
        self._seed = seed

    async def pause(self, tries: int) -> None:
        """Between two tries."""
        await asyncio.sleep(min(LONGEST_PAUSE_S, 0.2 * 1.5**tries) * self.random.uniform(0.5, 1.0))

    async def arrive(self) -> None:
        """Order, pay, insist."""
        one = Purchase(f"ok-chaos-{self._seed}-{len(self.purchases)}")
        self.purchases.append(one)
        await self.order(one)
        reply = await self.insist(one)
        assert 200 == reply.status, f"paid, and answered {reply.status} after {dict(one.answers)}: {reply.body!r}"

    async def present(self, purchase: Purchase, *fields: tuple[str, str]) -> Reply | None:
        """Note how long it took, by window and, apart from that, for refusals."""
        began, window = time.monotonic(), self.window
        reply = await super().present(purchase, *fields)
        if reply is not None:
            kind = "paid" if reply.status == 200 else "refused"
            self.latencies.note(f"{kind}, {window}", began)
        return reply


Fault = Callable[[], AbstractAsyncContextManager[None]]


def sqlite_faults(server: Server, path: Path) -> dict[str, Fault]:
    """What can happen to a file."""

    @asynccontextmanager
    async def locked() -> AsyncGenerator[None]:
        with closing(sqlite3.connect(path, timeout=PROGRAM_S, isolation_level=None)) as connection:
            connection.execute("BEGIN EXCLUSIVE")
            yield
            connection.execute("ROLLBACK")

    @asynccontextmanager
    async def full() -> AsyncGenerator[None]:
        _limit(server, 0)
        try:
            yield
        finally:
            _limit(server, resource.RLIM_INFINITY)

    @asynccontextmanager
    async def moved() -> AsyncGenerator[None]:
        away = path.with_suffix(".away")
        os.rename(path, away)
        try:
            yield
        finally:
            os.rename(away, path)

    return {"file locked": locked, "disk full": full, "file moved": moved}


def _limit(server: Server, size: int) -> None:
    for pid in (server.master, *server.pids()):
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def postgres_faults(store: Postgres) -> dict[str, Fault]:
    """What can happen to a server."""
    server = store.server
    database = store.url.rpartition("/")[2]

    def run(statement: str) -> None:
        with server.connect() as connection:
            connection.execute(cast("psycopg.abc.Query", statement))

    cut = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'"  # noqa: S608  # our own name

    @asynccontextmanager
    async def frozen() -> AsyncGenerator[None]:
        with server.frozen():
            yield

    @asynccontextmanager
    async def restarted() -> AsyncGenerator[None]:
        await asyncio.to_thread(store.restart)
        yield

    @asynccontextmanager
    async def connections_cut() -> AsyncGenerator[None]:
        ending = asyncio.create_task(_again_and_again(lambda: run(cut)))
        try:
            yield
        finally:
            ending.cancel()

    @asynccontextmanager
    async def locked() -> AsyncGenerator[None]:
        with server.connect(database) as connection, connection.transaction():
            await asyncio.to_thread(connection.execute, "LOCK TABLE flovia_payments IN ACCESS EXCLUSIVE MODE")
            yield

    @asynccontextmanager
    async def read_only() -> AsyncGenerator[None]:
        run(f"ALTER DATABASE {database} SET default_transaction_read_only = on")
        run(cut)
        try:
            yield
        finally:
            run(f"ALTER DATABASE {database} RESET default_transaction_read_only")
            run(cut)

    return {
        "server hangs": frozen,
        "server restarted": restarted,
        "connections cut": connections_cut,
        "table locked": locked,
        "read-only": read_only,
    }


async def _again_and_again(work: Callable[[], None]) -> None:
    while True:
        await asyncio.to_thread(work)
        await asyncio.sleep(0.3)


@asynccontextmanager
async def _hanging(endpoint: Endpoint) -> AsyncGenerator[None]:
    endpoint.hangs = True
    try:
        yield
    finally:
        endpoint.hangs = False


async def _windows(chaos: Chaos, buyers: Buyers, endpoint: Endpoint, faults: dict[str, Fault]) -> None:
    """Quiet, blocked sink, quiet, a fault, and again with the next fault; quiet at the end."""
    end = time.monotonic() + chaos.seconds
    for name, fault in cycle(faults.items()):
        for window, trouble in ((QUIET, None), (SINK, _hanging(endpoint)), (QUIET, None), (name, fault())):
            if time.monotonic() + 2 * chaos.window > end:
                buyers.window = QUIET
                return
            if trouble is None:
                buyers.window = window
                await asyncio.sleep(chaos.window)
                continue
            async with trouble:
                buyers.window = window
                await asyncio.sleep(chaos.window)
                if window == SINK:
                    # On a busy machine the exporter may not have got to it yet.
                    await _until_hung(endpoint)
            if window != SINK:
                buyers.window = "after a fault"
                await asyncio.sleep(chaos.window / 2)


async def _until_hung(endpoint: Endpoint) -> None:
    for _ in range(int(10 * PROGRAM_S)):
        if endpoint.hung:
            return
        await asyncio.sleep(0.1)


async def _chaos(chaos: Chaos, server: Server, store: Store) -> tuple[Buyers, Endpoint]:
    client = Client("127.0.0.1", server.port, connections=400)
    buyers = Buyers(server, client, chaos.seed)
    if isinstance(store, Postgres):
        faults = postgres_faults(store)
    else:
        assert store.url.startswith("sqlite:///"), "chaos needs --ledger sqlite or postgresql: a database of its own"
        faults = sqlite_faults(server, Path(store.url.removeprefix("sqlite:///")))
    async with exporting(store.url, server.environment) as endpoint, asyncio.TaskGroup() as group:
        group.create_task(_windows(chaos, buyers, endpoint, faults))
        await steadily(chaos.rate / 2, chaos.seconds, buyers.arrive, patient=True)
        await _exported(store.url, endpoint)
    client.close()
    return buyers, endpoint


async def _exported(url: str, endpoint: Endpoint) -> None:
    """Wait until the endpoint has every event that is in the stream."""
    give_up = time.monotonic() + PROGRAM_S
    wanted = await asyncio.to_thread(_ids, url)
    while missing := sum(id_ not in endpoint.taken for id_ in wanted):
        assert time.monotonic() < give_up, f"{missing} of {len(wanted)} events never came out"
        await asyncio.sleep(0.5)


def _ids(url: str) -> list[str]:
    found: list[str] = []
    with closing(open_ledger(url, create=False, patience_s=PROGRAM_S)) as ledger:
        position = 0
        while batch := ledger.read_events(position):
            found += [event_id(event) for _, event in batch]
            position = batch[-1][0]
    return found


def run(chaos: Chaos, ledger: str, folder: Path) -> list[str]:
    """Let everything fail for so long; what to report.

    Raises:
        AssertionError: something was free, somebody who had paid was asked again, an event was lost.
    """
    with (
        opened(ledger, folder) as store,
        serving(
            store.url, folder, workers=chaos.processes, kind=chaos.server, environment={"CAMPAIGN_DEADLINE": "1"}
        ) as server,
    ):
        pids = set(server.pids())
        buyers, endpoint = asyncio.run(_chaos(chaos, server, store))
        assert set(server.pids()) == pids, "a worker died"
        found = close_books(store.url, server, buyers.purchases)
        assert endpoint.hung, "the sink never hung when it was wanted"
        quiet, blocked = (buyers.latencies.by_window[f"paid, {window}"] for window in (QUIET, SINK))
        ratio = percentile(blocked, 0.99) / max(0.001, percentile(quiet, 0.99))
        refused = [ms for name, all_ms in buyers.latencies.by_window.items() if "refused" in name for ms in all_ms]
    times = sum(endpoint.taken.values())
    return [
        f"{2 * len(buyers.purchases) / chaos.seconds:.0f} requests a second arrived",
        f"{len(buyers.purchases)} purchases: {shown(found)}; answers: {shown(buyers.statuses)}",
        f"{len(endpoint.taken)} events exported, {times} times; the sink hung {endpoint.hung} times",
        *str(buyers.latencies).split("; "),
        f"p99 of paid answers with a blocked sink / without: {ratio:.2f}",
        f"longest refusal: {max(refused, default=0.0):.0f} ms",
    ]


def main() -> int:
    """Run it; the last line is ``ok`` or ``FAILED``."""
    own = "sqlite or postgresql, either the campaign's own"
    parser = steady_parser("steady traffic on a database and a sink that fail", minutes=10.0, rate=200.0, ledger=own)
    parser.add_argument("--window", type=float, default=5.0, help="seconds of quiet and of each fault")
    options = vars(parser.parse_args())
    ledger = options.pop("ledger")
    chaos = Chaos(seconds=60 * options.pop("minutes"), **options)
    print(f"chaos: {chaos.seconds:.0f} s at {chaos.rate:g} requests a second, seed {chaos.seed}")
    with TemporaryDirectory(prefix="flovia-chaos-") as folder:
        return conclude(lambda: run(chaos, ledger, Path(folder)))


if __name__ == "__main__":
    sys.exit(main())
