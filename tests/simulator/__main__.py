"""``python -m tests.simulator``: many seeds, one seed with its trace, or the hunt for planted bugs."""

import argparse
import json
import re
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import flovia
from tests.simulator.bugs import LIMIT, Bug, Found, PatchError, bugs, hunt
from tests.simulator.running import run_many, run_some, shrink, story


def main() -> int:
    """Run what was asked for; the exit status is 0 if nothing was broken (with ``--bugs``: all was found)."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulator", description=__doc__)
    parser.add_argument("--seeds", type=int, default=2_000, help="how many")
    parser.add_argument("--from", dest="first", type=int, default=0, help="the first of them")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--seed", type=int, help="only this one")
    parser.add_argument("--without", default="", help="leave out: agentN, skew, workers, deaths, store, … (comma)")
    parser.add_argument("--trace", action="store_true", help="with --seed: tell the story")
    parser.add_argument("--bugs", action="store_true", help="plant each bug in a copy of the package and look for it")
    parser.add_argument("--only", default="", help="with --bugs: only those whose name holds this")
    parser.add_argument("--hunt", action="store_true", help="machine-readable: the first seed that fails")
    options = parser.parse_args()
    words = tuple(filter(None, options.without.split(",")))
    if options.hunt:
        return _hunt(options.first, options.seeds)
    if options.bugs:
        return _bugs(options.only, min(options.seeds, LIMIT), options.jobs)
    if options.seed is not None:
        found = story(options.seed, words)
        print(found if options.trace else found.what or "nothing is broken")
        return 1 if found.what else 0
    return _many(options.first, options.seeds, options.jobs)


def _many(first: int, count: int, jobs: int) -> int:
    began, spoken, done = time.monotonic(), time.monotonic(), 0
    seen: Counter[str] = Counter()
    for some, more, failure in run_many(first, count, jobs):
        done += some
        seen.update(more)
        if failure is not None:
            print(f"seed {failure.seed} fails: {failure.what}\nleaving out what it does not need …", flush=True)
            print(shrink(failure.seed))
            return 1
        if time.monotonic() - spoken > 30:
            spoken = time.monotonic()
            print(f"{done:,} seeds, {done / (spoken - began):.0f} a second", flush=True)
    seconds = time.monotonic() - began
    print(f"{done:,} seeds ({first} to {first + done - 1}) in {seconds:.0f} s, {done / seconds:.0f} a second: ok")
    for what, times in sorted(seen.items()):
        print(f"{times:>14,} {what}")
    return 0


def _hunt(first: int, count: int) -> int:
    done, _, failure = run_some(first, count)
    said = {"package": str(Path(flovia.__file__).resolve()), "seeds": done, "seed": None, "what": ""}
    if failure is not None:
        said |= {"seed": failure.seed, "what": failure.what}
    print(json.dumps(said))
    return 0


def _bugs(only: str, limit: int, jobs: int) -> int:
    chosen = [bug for bug in bugs() if only in bug.name]

    def look(bug: Bug) -> Found | PatchError:
        try:
            return hunt(bug, limit=limit)
        except PatchError as error:
            return error

    missed = 0
    print("| planted bug | first seed | what broke |\n| --- | --- | --- |")
    with ThreadPoolExecutor(jobs) as pool:
        for bug, found in zip(chosen, pool.map(look, chosen), strict=True):
            if isinstance(found, PatchError):
                missed += 1
                print(f"| {bug.name} | DOES NOT APPLY | {found} |", flush=True)
                continue
            missed += found.seed is None
            where = f"none of {found.seeds}" if found.seed is None else str(found.seed)
            print(f"| {bug.name}: {bug.says} | {where} | {_brief(found.what)} |", flush=True)
    print(f"{len(chosen) - missed} of {len(chosen)} found")
    return 1 if missed or not chosen else 0


def _brief(what: str) -> str:
    """Without the ids, which say nothing to a reader."""
    what = re.sub(r"^Violation: ([^ ]*\|[^ ]*: )?", "", what)
    return re.sub(r"[\w-]{20,}", "…", what)


if __name__ == "__main__":
    sys.exit(main())
