"""Long steady traffic, some of it wrong: no error, and memory and descriptors stay what they are.

::

    python -m tests.campaigns.soak --minutes 10 --rate 200
    python -m tests.campaigns.soak --minutes 10 --rate 200 --ledger postgresql --server uvicorn

One request in ten brings a credential that is none, one in a hundred a used one; the rest order and pay.
"""

import asyncio
import base64
import json
import random
import sys
import time
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import attrs

from tests.campaigns.accounts import close_books
from tests.campaigns.buying import InRealTime, Purchase
from tests.campaigns.program import Steady, conclude, steady_parser
from tests.campaigns.serving import Server, serving
from tests.campaigns.stores import opened
from tests.campaigns.traffic import Latencies, Watch, shown, steadily
from tests.campaigns.wire import Client, Reply

CONNECTIONS = 64
GROWN_MIB = 2.0
"""How much a process may grow while it is watched, after its first third."""
BURSTS = 8
"""Times that all connections buy at once before anybody is watched. A thread of a server takes a third of a MiB when it
first works, and its connection keeps 256 KiB of the ledger's pages: at an easy rate both take minutes to come.
"""


@attrs.frozen(kw_only=True)
class Soak(Steady):
    """``patient``: for a machine that is busy with other things, 503 is no error, nor is a delivery that is not on
    record five seconds later.
    """

    patient: bool = False


class Customers(InRealTime):
    """Those who order, those who pay, and those who try it otherwise."""

    def __init__(self, server: Server, client: Client, soak: Soak) -> None:
        super().__init__(server, client, soak.seed)
        self._patient = soak.patient
        self.ordered: deque[Purchase] = deque()
        self.purchases: list[Purchase] = []
        self.used: deque[str] = deque(maxlen=1000)
        self.latencies = Latencies()
        self.asked: Counter[str] = Counter()
        self._seed = soak.seed

    async def burst(self) -> None:
        """All connections buy at once, so that every thread of the server has worked."""
        async with asyncio.TaskGroup() as group:
            for _ in range(CONNECTIONS):
                group.create_task(self._buy())

    async def _buy(self) -> None:
        await self._pay(await self._order(), patient=True)  # nobody is watched yet, and a file has one writer

    async def arrive(self) -> None:
        """One request."""
        chance = self.random.random()
        if chance < 0.10:
            kind, expected, authorization = "invalid", "402", wrong(self.random)
        elif chance < 0.11 and self.used:
            kind, expected, authorization = "replay", "invalid-challenge", self.random.choice(self.used)
        elif self.ordered:
            return await self._pay(self.ordered.popleft(), patient=self._patient)
        else:
            self.ordered.append(await self._order())
            return None
        self.asked[kind] += 1
        reply = await self._timed([("authorization", authorization)], kind)
        if self._patient and (reply.status == 503 or (kind == "replay" and reply.status == 409)):
            return None
        assert reply.problem == expected or (expected == "402" and reply.status == 402), (
            f"{kind} was answered {reply.status}: {reply.body!r}"
        )
        return None

    async def _order(self) -> Purchase:
        self.asked["order"] += 1
        one = Purchase(f"ok-soak-{self._seed}-{len(self.purchases)}")
        self.purchases.append(one)
        await self.order(one)
        return one

    async def _pay(self, one: Purchase, *, patient: bool) -> None:
        self.asked["pay"] += 1
        began = time.monotonic()
        reply = await (self.insist(one) if patient else self.present(one))
        assert reply is not None, "a connection broke"
        assert reply.status == 200, f"a payment was answered {reply.status}: {reply.body!r}"
        self.latencies.note("paid", began)
        # Its delivery is on record a moment after the last byte; until then it is in flight.
        asyncio.get_running_loop().call_later(5.0, self.used.append, one.authorization)

    async def _timed(self, fields: list[tuple[str, str]], kind: str) -> Reply:
        began = time.monotonic()
        reply = await self.client.ask("/paid", fields)
        self.statuses[reply.problem] += 1
        self.latencies.note(kind, began)
        return reply


def _token(value: object) -> str:
    return "Payment " + base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


WRONG: tuple[Callable[[random.Random], str], ...] = (
    lambda chance: "Payment",
    lambda chance: "Payment " + chance.randbytes(24).hex(),
    lambda chance: _token({}),
    lambda chance: _token({"challenge": {"id": chance.randbytes(16).hex()}, "payload": {"proof": "ok"}}),
    lambda chance: _token([[[]]] * chance.randrange(100)),
    lambda chance: "Payment " + "A" * chance.randrange(1, 4000),
)


def wrong(chance: random.Random) -> str:
    """A credential that is none."""
    return chance.choice(WRONG)(chance)


async def _soak(soak: Soak, server: Server) -> tuple[Customers, Watch, int]:
    client = Client("127.0.0.1", server.port, connections=CONNECTIONS)
    customers = Customers(server, client, soak)
    for _ in range(BURSTS):
        await customers.burst()
    watch = Watch(server)
    watching = asyncio.create_task(watch.run())
    try:
        number = await steadily(soak.rate, soak.seconds, customers.arrive)
    finally:
        watching.cancel()
    # Orders that nobody has paid yet are no purchases.
    for one in customers.ordered:
        customers.purchases.remove(one)
    client.close()
    return customers, watch, number


def run(soak: Soak, ledger: str, folder: Path) -> list[str]:
    """Serve so long; what to report.

    Raises:
        AssertionError: an answer was not the right one, a worker died or grew, or the books do not balance.
    """
    with (
        opened(ledger, folder) as store,
        serving(store.url, folder, workers=soak.processes, kind=soak.server) as server,
    ):
        pids = set(server.pids())
        customers, watch, number = asyncio.run(_soak(soak, server))
        assert set(server.pids()) == pids, "a worker died"
        assert customers.statuses["broken"] == 0, f"{customers.statuses['broken']} connections broke"
        close_books(store.url, server, customers.purchases)
        # In a few seconds a worker may still be filling its caches.
        grown_mib = GROWN_MIB if soak.seconds >= 60 else 4 * GROWN_MIB
        watch.check(grown_mib=grown_mib, connections=CONNECTIONS)
    return [
        f"{number} requests: {shown(customers.asked)}; answers: {shown(customers.statuses)}",
        str(customers.latencies),
        *watch.lines(),
    ]


def main() -> int:
    """Run it; the last line is ``ok`` or ``FAILED``."""
    options = vars(steady_parser("long steady traffic", minutes=10.0, rate=200.0).parse_args())
    ledger = options.pop("ledger")
    soak = Soak(seconds=60 * options.pop("minutes"), **options)
    print(f"soak: {soak.seconds:.0f} s at {soak.rate:g} requests a second, seed {soak.seed}")
    with TemporaryDirectory(prefix="flovia-soak-") as folder:
        return conclude(lambda: run(soak, ledger, Path(folder)))


if __name__ == "__main__":
    sys.exit(main())
