"""A whole world: everybody in it lives through fourteen weeks, against the real gate."""

import logging
import random
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from flovia.ledger.base import Ledger
from tests.world.clock import Agenda, Clock
from tests.world.hitpay import Wire
from tests.world.people import Town
from tests.world.plan import FIXED, WEEKS
from tests.world.purchases import Agent
from tests.world.shop import Shop
from tests.world.truth import START_MS, WEEK_MS, Truth

END_MS: Final = START_MS + WEEKS * WEEK_MS


@dataclass
class World:
    """What was lived, and what it was written to."""

    truth: Truth
    shop: Shop


def live(ledger: Ledger, clock: Clock, attempts: int, seed: int) -> World:
    """Let a world live that makes about so many attempts.

    Args:
        ledger: what the gate writes; its clock is ``clock``.
        clock: of this world.
        attempts: to make; it becomes a few more.
        seed: the same one gives the same world.

    Raises:
        SurpriseError: the gate gave an answer that was not due.
    """
    truth = Truth()
    wire = Wire(clock, seed)
    with _quiet():
        shop = Shop(ledger, clock, truth, wire)
    agenda = Agenda(clock)
    town = Town(shop, agenda, wire, seed)
    town.settle(
        shoppers=attempts * 80 // 1000,
        regulars=attempts * 17 // 1000,
        crawlers=attempts * 5 // 1000,
        testers=3,
        visits=max(5, attempts * 30 // 1000),
    )
    agenda.at(END_MS - 200_000, lambda: _look_last(shop))
    with _quiet():
        agenda.run(END_MS)
    clock.ms = truth.now = max(clock.ms, END_MS)
    shop.flush()
    return World(truth, shop)


@contextmanager
def _quiet() -> Generator[None]:
    """The gate tells of each failure in its log; here failures are what is planted."""
    log = logging.getLogger("flovia")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(level)


def _look_last(shop: Shop) -> None:
    """Some who have just seen a price when the world ends, and may yet pay."""
    for name in ("did:last", None):
        buyer = Agent(shop, random.Random(1), name)
        for endpoint in FIXED:
            buyer.look(endpoint)
        for _ in buyer.declined(*buyer.look("/search")):
            pass
