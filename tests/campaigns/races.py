"""One credential, very many requests, many processes: one delivery, one settlement.

::

    python -m tests.campaigns.races --rounds 500 --processes 8 --requests 200
    python -m tests.campaigns.races --rounds 500 --processes 8 --requests 200 --ledger postgresql --restart-store
"""

import argparse
import asyncio
import sys
import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import attrs

from tests.campaigns.accounts import Accounts
from tests.campaigns.buying import LEASES_S, TRIES, Crowd, Purchase
from tests.campaigns.program import add_server, conclude
from tests.campaigns.serving import Server, serving
from tests.campaigns.stores import Store, opened
from tests.campaigns.traffic import shown
from tests.campaigns.wire import Client

NOT_YET = ("in-flight", "ledger-unavailable")
"""Answers that are not final: the delivery, or the news that somebody else had it, comes after them."""


@attrs.frozen(kw_only=True)
class Races:
    """How many rounds, and of what kind."""

    rounds: int
    processes: int
    requests: int
    seed: int = 1
    server: str = "gunicorn"
    restart_store: bool = False


async def _rounds(races: Races, server: Server, store: Store) -> Counter[str]:
    client = Client("127.0.0.1", server.port, connections=races.requests)
    crowd = Crowd(server, client, races.seed)
    found: Counter[str] = Counter()
    pids = set(server.pids())
    for number in range(races.rounds):
        purchase = Purchase(f"ok-race-{races.seed}-{number}")
        await crowd.order(purchase)
        restart = asyncio.create_task(_restart(store, crowd.random.uniform(0.0, 0.1), races.restart_store))
        answers = await asyncio.gather(*(_present(client, purchase) for _ in range(races.requests)))
        await restart
        # Whoever was told "not now" comes again until the answer is final.
        found.update(Counter(f"first {answer}" for answer in answers))
        told = await _to_the_end(client, server, purchase, Counter(answers))
        where = f"seed {races.seed}, round {number}: {dict(told)}"
        assert told == {"200": 1, "invalid-challenge": races.requests - 1}, where
        found.update(told)
        assert await _used(client, purchase) == "invalid-challenge", f"{where}: and then it could be used again"
    assert set(server.pids()) == pids, "a worker died"
    client.close()
    return found


async def _restart(store: Store, after_s: float, wanted: bool) -> None:
    if wanted:
        await asyncio.sleep(after_s)
        await asyncio.to_thread(store.restart)


async def _present(client: Client, purchase: Purchase) -> str:
    return (await client.ask("/paid", [("authorization", purchase.authorization)])).problem


async def _to_the_end(client: Client, server: Server, purchase: Purchase, told: Counter[str]) -> Counter[str]:
    """Everybody whose answer was not final presents the credential again and again."""
    stuck = 0
    while again := sum(told.pop(answer, 0) for answer in NOT_YET):
        if stuck == TRIES:
            # Whoever had the claim was cut off from the store: its lease has to end first.
            await asyncio.to_thread(server.told.rest)
            server.clock.advance(LEASES_S)
            stuck = 0
        answers = Counter(await asyncio.gather(*(_present(client, purchase) for _ in range(again))))
        stuck = stuck + 1 if set(answers) == {"in-flight"} else 0
        told += answers
        await asyncio.sleep(0.1)
    return told


async def _used(client: Client, purchase: Purchase) -> str:
    """What the credential gets once its delivery is on record, which is after its last byte."""
    answer = "in-flight"
    while answer in NOT_YET:
        await asyncio.sleep(0.01)
        answer = await _present(client, purchase)
    return answer


def run(races: Races, ledger: str, folder: Path) -> Counter[str]:
    """Run all rounds on a ledger.

    Raises:
        AssertionError: a round had more or less than one delivery or settlement.
    """
    with (
        opened(ledger, folder) as store,
        serving(store.url, folder, workers=races.processes, kind=races.server) as shop,
    ):
        found = asyncio.run(_rounds(races, shop, store))
        shop.terminate()
        shop.told.catch_up()
        assert shop.told.counts["paid"] >= races.rounds, "the provider was not asked"
        if not races.restart_store:
            assert shop.told.counts["paid"] == races.rounds, f"the provider was asked {shop.told.counts['paid']} times"
        accounts = Accounts.read(store.url)
        for number in range(races.rounds):
            payment = Purchase(f"ok-race-{races.seed}-{number}").payment
            counted = (accounts.proofs[payment], accounts.settled(payment), accounts.delivered(payment))
            assert counted == (1, 1, 1), f"round {number}: proofs, settlements, deliveries: {counted}"
        if not races.restart_store:  # connection pools log what they lose
            assert not shop.errors(), "\n".join(shop.errors())
    return found


def main() -> int:
    """Run it; the last line is ``ok`` or ``FAILED``."""
    parser = argparse.ArgumentParser(description="one credential at once in many processes")
    parser.add_argument("--rounds", type=int, default=500)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--restart-store", action="store_true", help="restart the database in every round")
    add_server(parser, processes=8)
    options = vars(parser.parse_args())
    ledger = options.pop("ledger")
    races = Races(**options)
    print(
        f"races: {races.rounds} rounds of {races.requests} requests on {races.processes} processes, seed {races.seed}"
    )

    def work() -> list[str]:
        began = time.monotonic()
        with TemporaryDirectory(prefix="flovia-races-") as folder:
            found = run(races, ledger, Path(folder))
        return [f"{races.rounds} rounds, {time.monotonic() - began:.0f} s: {shown(found)}"]

    return conclude(work)


if __name__ == "__main__":
    sys.exit(main())
