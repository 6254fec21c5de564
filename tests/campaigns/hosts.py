"""Two hosts, one PostgreSQL, and a line between a host and the store that is cut without a word.

::

    python -m tests.campaigns.hosts --minutes 5 --rate 40

The hosts are network namespaces (tests/campaigns/network.py). Buyers reach both all the time and take the one or the
other for each request, as behind a load balancer; every credential is presented to both at once. Windows in which all
is well and windows in which one host cannot reach the store, or the other, or none, take turns.
"""

import asyncio
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory

import attrs

from tests.campaigns.accounts import check
from tests.campaigns.buying import Purchase
from tests.campaigns.chaos import QUIET, Buyers
from tests.campaigns.network import Host, hosts, inside, why_not
from tests.campaigns.program import Steady, conclude, steady_parser
from tests.campaigns.serving import Server
from tests.campaigns.shop import REALM
from tests.campaigns.traffic import shown, steadily
from tests.campaigns.wire import Client, Reply
from tests.postgres import server as postgres

INSIDE = "FLOVIA_CAMPAIGN_INSIDE"
PORT = 8402


@attrs.frozen(kw_only=True)
class Hosts(Steady):
    """``rate``: purchases a second are a quarter of it, for each asks twice at least. ``window``: seconds."""

    window: float = 5.0


class Both(Client):
    """Both hosts, by turns of chance."""

    def __init__(self, buyers_seed: int, clients: dict[str, Client]) -> None:
        self.clients = clients
        self.answers: Counter[str] = Counter()
        self._random = random.Random(buyers_seed)

    async def ask(
        self, target: str, fields: Iterable[tuple[str, str]] = (), *, http_method: str = "GET", body: bytes = b""
    ) -> Reply:
        """One request, to one of them."""
        name = self._random.choice(sorted(self.clients))
        reply = await self.clients[name].ask(target, fields, http_method=http_method, body=body)
        self.answers[f"{name} {reply.problem}"] += 1
        return reply

    def close(self) -> None:
        """Let go of every connection."""
        for client in self.clients.values():
            client.close()


class Travellers(Buyers):
    """Buyers who present every credential twice at once, and insist until it is delivered."""

    async def arrive(self) -> None:
        """Order here or there, pay, present here and there."""
        one = Purchase(f"ok-hosts-{self._seed}-{len(self.purchases)}")
        self.purchases.append(one)
        await self.order(one)
        await asyncio.gather(self.present(one), self.present(one))
        if one.delivered == 0:
            reply = await self.insist(one)
            assert reply.status in (200, 402), f"paid, and answered {reply.status}: {dict(one.answers)}: {reply.body!r}"
        # A credential that broke off may have been delivered to nobody: only then may it end as used.
        assert one.delivered or one.broken, f"paid, and refused: {dict(one.answers)}"


async def _windows(campaign: Hosts, buyers: Travellers, places: list[Host], refused: Counter[str]) -> None:
    """All well, one cut off, all well, the other, all well, both."""
    end = time.monotonic() + campaign.seconds
    first, second = places
    for cut in cycle(((first,), (second,), (first, second))):
        if time.monotonic() + 2 * campaign.window > end:
            return
        await asyncio.sleep(campaign.window)
        with ExitStack() as stack:
            for host in cut:
                stack.enter_context(host.cut_off())
            names = " and ".join(host.name for host in cut)
            buyers.window = f"{names} cut off"
            refused[buyers.window] += 1
            await asyncio.sleep(campaign.window)
        buyers.window = "after a cut"
        await asyncio.sleep(campaign.window / 2)
        buyers.window = QUIET


async def _trade(campaign: Hosts, servers: dict[str, Server], places: list[Host]) -> tuple[Travellers, Both]:
    clients = {place.name: Client(place.public.there, PORT, connections=200) for place in places}
    both = Both(campaign.seed, clients)
    buyers = Travellers(next(iter(servers.values())), both, campaign.seed)
    cuts: Counter[str] = Counter()
    async with asyncio.TaskGroup() as group:
        group.create_task(_windows(campaign, buyers, places, cuts))
        await steadily(campaign.rate / 4, campaign.seconds, buyers.arrive)
    both.close()
    assert cuts, "nothing was ever cut off: the run is too short for its windows"
    return buyers, both


def run(campaign: Hosts, folder: Path) -> list[str]:
    """Trade on two hosts for so long; what to report. Only in a namespace of our own.

    Raises:
        AssertionError: something was free, or somebody paid twice or for nothing.
    """
    from tests.postgres.programs import required

    with ExitStack() as stack:
        places = stack.enter_context(hosts("east", "west"))
        store = postgres.Server(required(), max_connections="200", listen_addresses="*")
        stack.callback(store.close)
        store.make()
        rules = store.data / "pg_hba.conf"
        rules.write_text(rules.read_text() + "host all all 10.203.0.0/16 trust\n")
        with store.connect() as connection:
            connection.execute("SELECT pg_reload_conf()")
        url = store.url(store.database())
        servers = _serve(campaign, places, url, folder, stack)
        told = servers["east"].told
        pids = {pid for server in servers.values() for pid in server.pids()}
        buyers, both = asyncio.run(_trade(campaign, servers, places))
        assert {pid for server in servers.values() for pid in server.pids()} == pids, "a worker died"
        for server in servers.values():
            server.terminate()
        counted = check(url, told, buyers.purchases, REALM, ())
        assert counted["second deliveries"] == 0, "delivered twice, and nobody died"
        for server in servers.values():
            assert not server.errors(), "\n".join(server.errors())
        away = sum(number for name, number in both.answers.items() if name.endswith("ledger-unavailable"))
        assert away, "no host was ever without its store"
        refused = [ms for name, all_ms in buyers.latencies.by_window.items() if "refused" in name for ms in all_ms]
        slow = max(refused, default=0.0)
    return [
        f"{len(buyers.purchases)} purchases: {shown(counted)}",
        f"answers: {shown(both.answers)}; broken: {buyers.statuses['broken']}",
        *str(buyers.latencies).split("; "),
        f"longest refusal: {slow:.0f} ms",
    ]


def _serve(campaign: Hosts, places: list[Host], url: str, folder: Path, stack: ExitStack) -> dict[str, Server]:
    """The shop on every host; they share the books and the clock, which no network carries."""
    servers: dict[str, Server] = {}
    for place in places:
        ledger = url.replace("127.0.0.1", place.store.here)
        server = Server(
            folder,
            ledger,
            workers=campaign.processes,
            kind=campaign.server,
            address=place.public.there,
            port=PORT,
            prefix=place.prefix,
            environment={"CAMPAIGN_DEADLINE": "1", "CAMPAIGN_DELIVER_WITHIN": "10"},
            told=servers["east"].told if servers else None,
        )
        servers[place.name] = server
        stack.callback(server.close)
        server.start()
    told = servers["east"].told
    told.lives = lambda pid: any(server.lives(pid) for server in servers.values())
    stack.callback(told.close)
    return servers


def main() -> int:
    """Run it; the last line is ``ok`` or ``FAILED``."""
    parser = steady_parser("two hosts, one of them cut off from the store", minutes=5.0, rate=40.0, ledger=None)
    parser.add_argument("--window", type=float, default=5.0, help="seconds of quiet and of each cut")
    options = vars(parser.parse_args())
    if INSIDE not in os.environ:
        if reason := why_not():
            print(f"there can be no two hosts here: {reason}")
            return 2
        arguments = [*sys.argv[1:], "--seed", str(options["seed"])]
        command = inside([sys.executable, "-m", "tests.campaigns.hosts", *arguments])
        return subprocess.run(command, env={**os.environ, INSIDE: "1"}, check=False).returncode
    campaign = Hosts(seconds=60 * options.pop("minutes"), **options)
    print(f"hosts: {campaign.seconds:.0f} s at {campaign.rate:g} requests a second, seed {campaign.seed}", flush=True)
    with TemporaryDirectory(prefix="flovia-hosts-") as folder:
        return conclude(lambda: run(campaign, Path(folder)))


if __name__ == "__main__":
    sys.exit(main())
