"""kill -9 of a worker under load, at named points and at random instants: nothing is lost, nothing is paid for twice.

::

    python -m tests.campaigns.kills --each 500 --random 500 --terms 50 --full-disk 50
    python -m tests.campaigns.kills --each 20 --point settle.commit --point deliver.before

A process dies where a request told it to (``points.py``) while others are served by it; the harness waits for its pid
to be gone. Everybody whose request broke off insists, and in the end the books are held against each other.
"""

import argparse
import asyncio
import json
import os
import resource
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import attrs

from tests.campaigns.accounts import Accounts, check
from tests.campaigns.buying import Crowd, Purchase
from tests.campaigns.points import DIE
from tests.campaigns.program import add_server, conclude
from tests.campaigns.serving import Server, is_dead, serving
from tests.campaigns.shop import REALM
from tests.campaigns.stores import opened
from tests.campaigns.traffic import shown
from tests.campaigns.wire import Client

BATCH: Final = 48
"""Stories that run at once between two checks that every one of them has ended."""
BYSTANDERS: Final = 16

FAIL: Final = ("campaign-fail", "yes")


def _real(name: str) -> str:
    """Redeeming is claiming what is settled already."""
    return name.replace("redeem.", "claim.")


def _points(verb: str) -> tuple[str, str, str]:
    return f"{verb}.before", f"{verb}.commit", f"{verb}.after"


class Stories(Crowd):
    """A story for each kind of point: what leads there, and what must be true when it is over."""

    def __init__(self, server: Server, client: Client, seed: int) -> None:
        super().__init__(server, client, seed)
        self.purchases: list[Purchase] = []
        self.refunded: list[Purchase] = []
        self.late: list[str] = []
        self._count = 0
        self._seed = seed

    def purchase(self, target: str = "/paid") -> Purchase:
        """A new one; half of the ordinary ones are streamed."""
        self._count += 1
        made = Purchase(f"ok-{self._seed}-{self._count}", target)
        self.purchases.append(made)
        return made

    async def bystander(self) -> None:
        """Somebody who is served by a process that may die."""
        await self.buy(self.purchase(self.random.choice(("/paid", "/chunks"))))

    async def until_obeyed(self, name: str, point: str) -> None:
        """The story of a point; again, if somebody else's death came first."""
        for _ in range(20):
            await POINTS[name](self, point)
            if not await self.still_to_die(((DIE, point),)):
                return
        raise AssertionError(f"nobody died at {point}")

    def bystanders(self) -> "asyncio.Task[None]":
        """Many of them at once."""
        return asyncio.create_task(self.all(*(self.bystander() for _ in range(BATCH))))

    async def paying(self, point: str) -> None:
        """Dies while it is paid, on the way out, or (``renew``) in the middle of a long answer."""
        target = "/chunks" if point.startswith(("body", "renew")) else "/paid"
        await self.buy(self.purchase(target), (DIE, point))

    async def failing(self, point: str) -> None:
        """The view fails, and the process dies over the record of that."""
        await self.buy(self.purchase(), (DIE, point), FAIL)

    async def redeeming(self, point: str) -> None:
        """The view failed the first time; the process dies when the credential is redeemed."""
        one = self.purchase()
        await self.order(one)
        assert 500 == (await self.insist(one, FAIL)).status
        reply = await self.insist(one, (DIE, point))
        assert 200 == reply.status, f"paid, and redeeming was answered {reply.status}: {reply.body!r}"
        await self.again(one)

    async def refusing(self, point: str) -> None:
        """Not paid yet, and the process dies over the record of that; then it is paid."""
        one = self.purchase()
        pending = Purchase(f"pending-{one.proof}", one.target)
        await self.order(pending)
        reply = await self.insist(pending, (DIE, point))
        assert "verification-failed" == reply.problem, f"pending was answered {reply.status}: {reply.body!r}"
        await self.buy(one)

    async def gathering(self, point: str) -> None:
        """The thread that writes the events of unpaid requests dies."""
        await self.ask("/paid", (DIE, point))
        await self.buy(self.purchase())

    async def refunding(self, point: str) -> None:
        """A payment is given back, and the process dies over it; somebody asks for the same refund again."""
        one = self.purchase()
        await self.order(one)
        reply = await self.insist(one)
        assert 200 == reply.status
        await self.again(one)  # a delivery that is still running is not given back
        self.refunded.append(one)
        plan: tuple[tuple[str, str], ...] = ((DIE, point),)
        for _ in range(20):
            reply = await self.ask(f"/refund?payment={one.payment}", *plan)
            plan = ()
            if reply.status == 200:
                return
            await self._let_time_pass()
        raise AssertionError(f"{one.proof} was not given back: {reply.body!r}")

    async def hearing(self, point: str) -> None:
        """Money that came too late is told, and the process dies over it; the sender comes again."""
        one = self.purchase()
        self.purchases.remove(one)
        await self.order(one)
        self.late.append(one.payment)
        await self._tell("late", one.payment, one.challenge, point)

    async def noting(self, point: str) -> None:
        """A refund that was made elsewhere is told, and the process dies over it."""
        one = self.purchase()
        await self.buy(one)
        self.refunded.append(one)
        await self._tell("refunded", one.payment, one.challenge, point)

    async def _tell(self, kind: str, payment: str, challenge: str, point: str) -> None:
        body = json.dumps({"kind": kind, "payment": payment, "challenge": challenge}).encode()
        for plan in (((DIE, point),), ()):
            reply = await self.ask("/webhook", *plan, http_method="POST", body=body)
            assert 200 == reply.status, f"a webhook was answered {reply.status}: {reply.body!r}"

    def check(self, url: str, dead: set[int]) -> Counter[str]:
        """Everything that must be true now; see :func:`~tests.campaigns.accounts.check`."""
        found = check(url, self.server.told, self.purchases, REALM, dead)
        assert found["paid"] == len(self.purchases), f"{len(self.purchases) - found['paid']} purchases have no end"
        accounts = Accounts.read(url)
        nonces: dict[str, set[str]] = {}
        for _, words in self.server.told.by_kind["gave-back"]:
            payment, _, nonce = words.partition(" ")
            nonces.setdefault(payment, set()).add(nonce)
        assert all(len(one) == 1 for one in nonces.values()), f"asked for two refunds: {nonces}"
        for one in self.refunded:
            assert accounts.payments[one.payment] == "refunded", f"{one.proof}: {accounts.payments[one.payment]}"
            assert accounts.events["payment.refunded", one.payment] == 1, f"{one.proof}: its refund is not told once"
        for payment in self.late:
            assert accounts.events["payment.late", payment] == 1, f"{payment}: late, and not told once"
            assert accounts.payments[payment] == "settled", f"{payment}: late, and {accounts.payments[payment]}"
        found["refunded"], found["late"] = len(self.refunded), len(self.late)
        return found


Story = Callable[["Stories", str], "asyncio._CoroutineLike[None]"]
POINTS: Final[dict[str, Story]] = {
    **dict.fromkeys((*_points("claim"), "verify.before", "verify.after", *_points("settle")), Stories.paying),
    **dict.fromkeys(("handler.before", "body.middle", *_points("deliver"), *_points("renew")), Stories.paying),
    **dict.fromkeys(_points("fail"), Stories.failing),
    **dict.fromkeys(_points("redeem"), Stories.redeeming),
    **dict.fromkeys(_points("release"), Stories.refusing),
    **dict.fromkeys(_points("outbox"), Stories.gathering),
    **dict.fromkeys((*_points("open_refund"), "refund.asked", *_points("close_refund")), Stories.refunding),
    **dict.fromkeys(_points("late"), Stories.hearing),
    **dict.fromkeys(_points("note_refund"), Stories.noting),
}
"""Every named point and what leads there."""


@attrs.frozen(kw_only=True)
class Kills:
    """How many deaths of each kind. ``points``: the names; empty for all."""

    each: int
    points: tuple[str, ...] = ()
    random: int = 0
    terms: int = 0
    full_disk: int = 0
    processes: int = 4
    seed: int = 1
    server: str = "gunicorn"


async def _gone(pids: set[int]) -> None:
    """Wait until processes have ended: a campaign of kills that kills nobody shows nothing."""
    for _ in range(3000):
        pids = {pid for pid in pids if not is_dead(pid)}
        if not pids:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"these were to die and live: {pids}")


async def _at_points(kills: Kills, stories: Stories, dead: set[int]) -> Counter[str]:
    names = kills.points or tuple(POINTS)
    todo = [name for name in names for _ in range(kills.each)]
    stories.random.shuffle(todo)
    told = stories.server.told
    known = 0
    for first in range(0, len(todo), BATCH):
        batch = todo[first : first + BATCH]
        await stories.all(
            *(stories.until_obeyed(name, f"{_real(name)}#{name}/{first + n}") for n, name in enumerate(batch)),
            *(stories.bystander() for _ in range(BYSTANDERS)),
        )
        await asyncio.to_thread(told.catch_up)
        # The ones of this batch: a number may belong to somebody else later.
        await _gone({pid for pid, _ in told.by_kind["died"][known:]})
        known = len(told.by_kind["died"])
    died = Counter(wanted.partition("#")[2].partition("/")[0] for _, wanted in told.by_kind["died"])
    dead.update(pid for pid, _ in told.by_kind["died"])
    return died


async def _at_random(stories: Stories, times: int, number: int, dead: set[int]) -> int:
    """Signals at random instants, under load, each to a worker that lives."""
    sent = 0
    while sent < times:
        batch = stories.bystanders()
        while not batch.done() and sent < times:
            await asyncio.sleep(stories.random.uniform(0.0, 0.15))
            pids = [pid for pid in stories.server.pids() if not is_dead(pid)]
            if not pids:
                continue
            pid = stories.random.choice(pids)
            os.kill(pid, number)
            sent += 1
            dead.add(pid)
            if number == signal.SIGKILL:
                await _gone({pid})
        await batch
    return sent


async def _full_disk(stories: Stories, times: int) -> int:
    """No file of the workers may grow any more, for a moment, again and again: what a full disk says."""
    server = stories.server
    ledger = server.environment["CAMPAIGN_LEDGER"].removeprefix("sqlite:///")
    refused = 0
    for _ in range(times):
        batch = stories.bystanders()
        await asyncio.sleep(stories.random.uniform(0.0, 0.3))
        before = stories.statuses["ledger-unavailable"]
        _limit(server, stories.random.choice((0, await asyncio.to_thread(os.path.getsize, ledger))))
        await asyncio.sleep(stories.random.uniform(0.1, 0.5))
        _limit(server, resource.RLIM_INFINITY)
        await batch
        refused += stories.statuses["ledger-unavailable"] - before
    assert refused, "the disk was never full when somebody wrote"
    return refused


def _limit(server: Server, size: int) -> None:
    for pid in (server.master, *server.pids()):
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


async def _deaths(kills: Kills, server: Server, seed: int) -> tuple[Stories, Counter[str], set[int]]:
    client = Client("127.0.0.1", server.port, connections=BATCH + BYSTANDERS)
    stories = Stories(server, client, seed)
    dead: set[int] = set()
    found = await _at_points(kills, stories, dead)
    if kills.random:
        found["at random"] = await _at_random(stories, kills.random, signal.SIGKILL, dead)
    if kills.terms:
        found["by SIGTERM"] = await _at_random(stories, kills.terms, signal.SIGTERM, set())
    if kills.full_disk:
        found["503 by a full disk"] = await _full_disk(stories, kills.full_disk)
    client.close()
    return stories, found, dead


def run(kills: Kills, ledger: str, folder: Path) -> tuple[Counter[str], Counter[str]]:
    """Let processes die; returns the deaths by point, and what was counted in the end.

    Raises:
        AssertionError: something was lost, settled twice, delivered twice without a death that explains it, or a
            process did not die where it was to.
    """
    unknown = set(kills.points) - set(POINTS)
    assert not unknown, f"no such points: {unknown}; known: {', '.join(POINTS)}"
    with (
        opened(ledger, folder) as store,
        serving(store.url, folder, workers=kills.processes, kind=kills.server) as server,
    ):
        stories, died, dead = asyncio.run(_deaths(kills, server, kills.seed))
        server.terminate()
        for name in kills.points or POINTS:
            assert died[name] >= kills.each, f"{died[name]} of {kills.each} died at {name}"
        found = stories.check(store.url, dead)
        found["dead processes"] = len(dead)
        found.update({f"answers: {name}": count for name, count in stories.statuses.items()})
        assert not server.errors(), "\n".join(server.errors())
    return died, found


def main() -> int:
    """Run it; the last line is ``ok`` or ``FAILED``."""
    parser = argparse.ArgumentParser(description="kill -9 of server workers under load")
    parser.add_argument("--each", type=int, default=500, help="deaths at each named point")
    parser.add_argument("--point", action="append", default=[], dest="points", help="only these; default: all")
    parser.add_argument("--random", type=int, default=0, help="SIGKILLs at random instants")
    parser.add_argument("--terms", type=int, default=0, help="SIGTERMs at random instants")
    parser.add_argument("--full-disk", type=int, default=0, help="times that the disk is full for a moment (SQLite)")
    add_server(parser, processes=4)
    options = vars(parser.parse_args())
    ledger = options.pop("ledger")
    kills = Kills(**{**options, "points": tuple(options["points"])})
    print(f"kills: {kills.each} at each of {len(kills.points or POINTS)} points, seed {kills.seed}")

    def work() -> list[str]:
        began = time.monotonic()
        with TemporaryDirectory(prefix="flovia-kills-") as folder:
            died, found = run(kills, ledger, Path(folder))
        return [shown(died), shown(found), f"{time.monotonic() - began:.0f} s"]

    return conclude(work)


if __name__ == "__main__":
    sys.exit(main())
