"""A whole world, and every number of the reports against its truth: ``python -m tests.world --attempts 100000``."""

import argparse
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

from flovia.ledger.base import Ledger
from flovia.ledger.memory import MemoryLedger
from flovia.ledger.opening import open_ledger
from flovia.ledger.sql import SqlLedger
from tests.world.clock import Clock
from tests.world.comparing import compare
from tests.world.explaining import explain_some
from tests.world.matching import Tally
from tests.world.reports import ByHand, BySql
from tests.world.world import World, live

RAM = Path("/dev/shm")
"""A folder in memory, where there is one: what is lived here need not outlive the power."""


def main() -> int:
    """Live, ask, compare; 0 if every number is right."""
    parser = argparse.ArgumentParser(prog="python -m tests.world", description=__doc__)
    parser.add_argument("--attempts", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--ledger", help="the URL of an empty one; left out, a SQLite file in memory that is gone afterwards"
    )
    parser.add_argument("--python", action="store_true", help="join all events in memory, too")
    parser.add_argument("--explain", action="store_true", help="an operator explains a third of what needs somebody")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=RAM if RAM.is_dir() else None) as folder:
        clock = Clock()
        url = options.ledger or f"sqlite:///{folder}/ledger.db"
        with closing(opened(url, clock)) as ledger:
            return _run(ledger, clock, options.attempts, options.seed, by_hand=options.python, explains=options.explain)


def opened(url: str, clock: Clock) -> Ledger:
    """A ledger by the world's clock; one in memory forgets nothing."""
    if url == "memory://":
        return MemoryLedger(clock=clock, max_events=10_000_000)
    return open_ledger(url, clock=clock, patience_s=60)


def _run(ledger: Ledger, clock: Clock, attempts: int, seed: int, *, by_hand: bool, explains: bool) -> int:
    if ledger.read_events(limit=1):
        print("there are events in this ledger already, of which the world knows nothing: name an empty one")
        return 2
    started = time.monotonic()
    world = live(ledger, clock, attempts, seed)
    _tell(world)
    if explains:
        print(f"{explain_some(ledger, world.truth):,} explained by an operator")
    started = _took(f"{sum(1 for _ in world.truth.attempts()):,} attempts lived through", started)
    tallies: list[Tally] = []
    if isinstance(ledger, SqlLedger):
        answers = BySql(ledger)
        started = _took("events folded, days and sessions kept", started)
        tallies += compare(world.truth, answers)
    if by_hand or not isinstance(ledger, SqlLedger):
        tallies += compare(world.truth, ByHand([event for _, event in ledger.read_events(limit=100_000_000)]))
    _took("every number compared", started)
    return show(tallies)


def _tell(world: World) -> None:
    stories = world.truth.stories
    kinds = Counter(story.kind for story in stories)
    fates = Counter(story.fate for story in stories if story.kind in ("attempt", "money"))
    print(f"{world.truth.asks:,} requests: " + ", ".join(f"{name} {count:,}" for name, count in kinds.most_common()))
    print(", ".join(f"{name} {count:,}" for name, count in fates.most_common()))


def _took(what: str, since: float) -> float:
    now = time.monotonic()
    print(f"{now - since:8.1f} s  {what}", flush=True)
    return now


def show(tallies: list[Tally]) -> int:
    """Print the comparison; 0 if nothing differs."""
    print(f"\n{'report':<60} {'compared':>9} {'differing':>9}")
    for tally in tallies:
        print(f"{tally.name:<60} {tally.compared:>9,} {len(tally.differing):>9,}")
    differing = [line for tally in tallies for line in tally.differing]
    for line in differing[:50]:
        print(line)
    total = sum(tally.compared for tally in tallies)
    print(f"{total:,} numbers compared, {len(differing)} differ")
    print("FAILED" if differing else "ok")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
