"""A past for the demo: some weeks of a made-up world, lived through the real gate in a second, up to this moment.

No row is inserted: every attempt asks, is refused with a 402, pays or does not, and is answered, through the same code
as any other, by a clock of the world's own. All of it is with the provider ``demo``, which moves no money.
"""

import heapq
import logging
import threading
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

from flovia.core.errors import FloviaError
from flovia.ledger.opening import open_ledger
from flovia.showcase.seed_world import (
    DAY_MS,
    HOUR_MS,
    JOBS,
    NAMES,
    PRODUCTS,
    WEEK_MS,
    WEEKS,
    Buyer,
    Clock,
    Life,
    Shop,
    dealt,
    dice,
)

if TYPE_CHECKING:
    from flovia.ledger.base import Ledger
    from flovia.showcase.seed_ledger import Batched

FIRST: Final = 2000
"""Attempts before the first page of the dashboard."""
MOST: Final = 100_000
PART: Final = 4000
"""Attempts of one part of what is seeded in the background: each is a world of its own, over the same weeks."""
SLICE_S: Final = 0.04
"""How long the background writes before others get their turn."""
REST_S: Final = 0.04
_FLUSH_EVERY: Final = 100
_SQLITE: Final = "sqlite:///"
_log: Final = logging.getLogger(__name__)


@attrs.frozen(kw_only=True)
class Where:
    """What is seeded: the ledger's URL, and what signs and names the challenges of the shop.

    ``now``: the end of the weeks, Unix seconds.
    """

    url: str
    secret: bytes = attrs.field(repr=False)
    realm: str = "flovia demo"
    origin: str = "https://api.example"
    now: float


def seed(
    where: Where,
    attempts: int,
    *,
    number: int = 1,
    between: Callable[[], bool] | None = None,
    slice_s: float = SLICE_S,
) -> int:
    """Let a world live that makes about so many attempts; how many it made.

    Args:
        where: it writes to.
        attempts: to make; it becomes a few more or less.
        number: of the world: the same one does the same.
        between: called now and then, when the file is free for others; False ends the world early.
        slice_s: how long the file is not free, about.

    Raises:
        LedgerError: the ledger does not answer.
    """
    end_ms = round(where.now * 1000)
    clock = Clock(end_ms - WEEKS * WEEK_MS)
    with _quiet(), _ledger(where.url, clock) as (ledger, batched):
        shop = Shop(ledger, clock, str(number), secret=where.secret, realm=where.realm, origin=where.origin)
        agenda = Agenda(clock)
        Town(shop, agenda, number, end_ms).settle(attempts)
        for steps in count(1):
            if not agenda.step(end_ms):
                break
            if steps % _FLUSH_EVERY:
                continue
            ledger.flush()
            if between is None or (batched is not None and batched.open_s < slice_s):
                continue
            if batched is not None:
                batched.commit()
            if not between():
                break
        ledger.flush()
        return shop.attempts


class Background:
    """Seeds on while the demo runs.

    Args:
        where: it writes to.
        attempts: to make besides those that are there.
    """

    def __init__(self, where: Where, attempts: int) -> None:
        self._where, self._wanted = where, attempts
        self._stop = threading.Event()
        self.made = 0
        """Attempts made so far, whole worlds only."""
        self._thread = threading.Thread(target=self._run, name="flovia-seeding", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End it, and wait until it has let go of the ledger."""
        self._stop.set()
        self._thread.join()

    def join(self) -> None:
        """Wait until all is made."""
        self._thread.join()

    def _run(self) -> None:
        number = 1
        try:
            while self.made < self._wanted and not self._stop.is_set():
                number += 1
                part = min(PART, self._wanted - self.made)
                self.made += seed(self._where, part, number=number, between=self._rest)
        except FloviaError as error:
            _log.error("no more is seeded: %s", error)

    def _rest(self) -> bool:
        return not self._stop.wait(REST_S)


@contextmanager
def _ledger(url: str, clock: Clock) -> "Generator[tuple[Ledger, Batched | None]]":
    """The ledger by the world's clock; a SQLite file in batches, any other as it comes."""
    if not url.startswith(_SQLITE):
        with closing(open_ledger(url, clock=clock)) as found:
            yield found, None
        return
    from flovia.ledger.sql import SqlLedger
    from flovia.showcase.seed_ledger import Batched

    batched = Batched(Path(url.removeprefix(_SQLITE)))
    with closing(SqlLedger(batched, clock=clock)) as ledger:
        yield ledger, batched


@contextmanager
def _quiet() -> Generator[None]:
    """What goes wrong in the world is meant to, and is no news for whoever started the demo."""

    def is_other(record: logging.LogRecord) -> bool:
        return record.threadName != name

    name, log = threading.current_thread().name, logging.getLogger("flovia")
    log.addFilter(is_other)
    try:
        yield
    finally:
        log.removeFilter(is_other)


class Agenda:
    """What is to happen, in its order."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._next: list[tuple[int, int, Life]] = []
        self._numbers = count()

    def live(self, life: Life, since: int) -> None:
        """Let somebody begin at a time, ms since 1970."""
        heapq.heappush(self._next, (since, next(self._numbers), life))

    def step(self, until: int) -> bool:
        """Let whoever is next take one step; False if nobody has anything to do before a time."""
        if not self._next or self._next[0][0] >= until:
            return False
        ms, _, life = heapq.heappop(self._next)
        # One after the other, so that nobody has to say which of two came first.
        self._clock.ms = max(self._clock.ms + 1, ms)
        wait = next(life, None)
        if wait is not None:
            self.live(life, self._clock.ms + wait)
        return True


class Town:
    """Who comes, and when."""

    def __init__(self, shop: Shop, agenda: Agenda, number: int, end_ms: int) -> None:
        self._shop, self._agenda, self._number, self._end_ms = shop, agenda, number, end_ms
        self._rng = dice(f"{number} town")
        self._jobs = dealt(JOBS, dice(f"{number} jobs"))

    def settle(self, attempts: int) -> None:
        """Agents, shoppers and crawlers for about so many attempts."""
        agents, crawlers = attempts * 0.5, attempts * 0.1
        planned = 0.0
        for number in count():
            if planned >= agents:
                break
            planned += self._agent(number)
        for number in range(round(crawlers / 2)):
            self._agenda.live(self._crawl(self._buyer("crawler", number)), self._sometime())
        for number in range(round((attempts - planned - crawlers) / 1.05)):
            self._agenda.live(self._shop_around(self._buyer("visitor", number)), self._sometime())

    def _buyer(self, name: str, number: int, workflow: str | None = None) -> Buyer:
        whole = f"did:demo:{name}-{self._number}-{number}"
        return Buyer(self._shop, dice(f"{self._number} {whole}"), whole, workflow)

    def _sometime(self) -> int:
        """A moment in the weeks: more by day than at night, and more of them later, as the shop becomes known."""
        rng, shop = self._rng, self._shop
        day = int(WEEKS * 7 * max(rng.random(), rng.random()) ** 0.7)
        hour = min(max(rng.gauss(14, 4.5), 0), 23.9)
        return shop.start + day * DAY_MS + round(hour * HOUR_MS)

    # --- agents -------------------------------------------------------------------------------------------------

    def _agent(self, number: int) -> float:
        """Somebody with a job, who comes for weeks; about how many attempts that makes."""
        job = next(self._jobs)
        buyer = self._buyer(NAMES[number % len(NAMES)], number, job.workflow)
        visits = self._visits(job.leaves)
        for at in visits:
            self._agenda.live(self._work(buyer, job.steps), at)
        return len(visits) * len(job.steps) * 0.93

    def _visits(self, leaves: float) -> list[int]:
        """When an agent comes: some days of each week at about the same hour, from some week on, until it leaves."""
        rng, found = self._rng, list[int]()
        days = sorted(rng.sample(range(7), rng.randint(1, 4)))
        hour = rng.randrange(24)
        for week in range(rng.choice((0, 0, 0, 1, 1, 2, 3, 4, 5)), WEEKS):
            for day in days:
                if rng.random() < 0.9:
                    found.append(
                        self._shop.start + week * WEEK_MS + day * DAY_MS + hour * HOUR_MS + rng.randrange(HOUR_MS)
                    )
            if rng.random() < leaves:
                break
        return [at for at in found if at < self._end_ms]

    def _work(self, buyer: Buyer, steps: tuple[int, ...]) -> Life:
        """The job, step by step, as far as nothing on the way is too dear."""
        for product in steps:
            if buyer.rng.random() > _share(product, self._shop.week) ** 0.5:
                buyer.look(product)
                return
            yield from buyer.buy(product)
            yield round(buyer.rng.uniform(2, 50) * 1000)

    # --- others -------------------------------------------------------------------------------------------------

    def _shop_around(self, buyer: Buyer) -> Life:
        """Look at what one thing costs, and buy what is not too dear."""
        product = buyer.rng.choices(range(len(PRODUCTS)), (2, 2, 5, 4, 4, 2))[0]
        if buyer.rng.random() < _share(product, self._shop.week):
            yield from buyer.buy(product)
        else:
            buyer.look(product)
        yield 0

    def _crawl(self, buyer: Buyer) -> Life:
        """Ask for prices and never pay."""
        for _ in range(2):
            buyer.look(buyer.rng.randrange(len(PRODUCTS)))
            yield 1500


def _share(product: int, week: int) -> float:
    """The part of those who see a price that pays it."""
    sold = PRODUCTS[product]
    return 1 / (1 + float((sold.price(week) / sold.half) ** 3))
