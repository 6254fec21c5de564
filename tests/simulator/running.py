"""Many seeds, the first that fails, and that one's story told with as little in it as still fails."""

import logging
import multiprocessing
import time
from collections import Counter
from collections.abc import Iterator
from typing import Final

import attrs

from tests.simulator.plan import Plan, draw, reductions, without
from tests.simulator.story import tell
from tests.simulator.world import World

CHUNK: Final = 200
MAX_LINES: Final = 400


@attrs.frozen(kw_only=True)
class Failure:
    """A seed that broke a promise. ``what``: which; ``words``: what may be left out of it (``--without``)."""

    seed: int
    what: str
    words: tuple[str, ...] = ()
    plan: Plan | None = None
    trace: tuple[str, ...] = ()

    def __str__(self) -> str:
        """The story, and how to tell it again."""
        left_out = f" --without {','.join(self.words)}" if self.words else ""
        lines = [f"seed {self.seed}: {self.what}", "", str(self.plan), "", *self.trace[-MAX_LINES:], "", self.what]
        lines.append(f"again: python -m tests.simulator --seed {self.seed}{left_out} --trace")
        return "\n".join(lines)


def quiet() -> None:
    """What flovia logs about failing stores and banks is the story itself."""
    logging.getLogger("flovia").setLevel(logging.CRITICAL + 1)


def attempt(plan: Plan, *, tracing: bool = False) -> tuple[World | None, str]:
    """Run one plan; the world, and what it broke, or ""."""
    try:
        return tell(plan, tracing=tracing), ""
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        found = getattr(error, "world", None)
        return found, f"{type(error).__name__}: {error}"


def run_some(first: int, count: int) -> tuple[int, Counter[str], Failure | None]:
    """Run seeds in this process until one fails; how many were run, and what was seen."""
    quiet()
    seen: Counter[str] = Counter()
    for seed in range(first, first + count):
        plan = draw(seed)
        world, broken = attempt(plan)
        if broken:
            return seed - first + 1, seen, Failure(seed=seed, what=broken)
        assert world is not None
        seen.update(world.counts)
        seen["steps"] += world.steps
        seen[f"on {plan.ledger}"] += 1
        seen[f"with {plan.provider}"] += 1
        seen["settlements"] += sum(one.settled for one in world.model.accounts.values())
        seen["refunds"] += len(world.model.noted)
        seen["late payments"] += len(world.model.late)
    return count, seen, None


def _chunks(first: int, count: int) -> Iterator[tuple[int, int]]:
    for begin in range(first, first + count, CHUNK):
        yield begin, min(CHUNK, first + count - begin)


def _star(chunk: tuple[int, int]) -> tuple[int, Counter[str], Failure | None]:
    return run_some(*chunk)


def run_many(first: int, count: int, jobs: int) -> Iterator[tuple[int, Counter[str], Failure | None]]:
    """Run seeds in ``jobs`` processes, in order; one result a chunk."""
    if jobs == 1:
        yield from map(_star, _chunks(first, count))
        return
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        yield from pool.imap(_star, _chunks(first, count))


def shrink(seed: int, words: tuple[str, ...] = (), *, budget_s: float = 60.0) -> Failure:
    """The story of a failing seed with everything left out that it does not need; with its trace."""
    quiet()
    whole = draw(seed)
    until = time.monotonic() + budget_s
    kept = list(words)
    for word in reductions(whole):
        if time.monotonic() < until and word not in kept and attempt(without(whole, [*kept, word]))[1]:
            kept.append(word)
    return story(seed, tuple(kept))


def story(seed: int, words: tuple[str, ...] = ()) -> Failure:
    """One seed with its trace; ``what`` is "" if nothing is broken."""
    quiet()
    plan = without(draw(seed), words)
    world, broken = attempt(plan, tracing=True)
    trace = () if world is None else tuple(world.trace)
    return Failure(seed=seed, what=broken, words=words, plan=plan, trace=trace)
