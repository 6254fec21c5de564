"""The command line; see the package."""

import argparse
import sys
import time
from pathlib import Path

import tests.mutation
from tests.mutation.children import Verdict
from tests.mutation.copying import try_copied
from tests.mutation.mutant import Mutant
from tests.mutation.mutants import mutants
from tests.mutation.page import page
from tests.mutation.parts import PARTS, SLOW, TESTS, is_slow
from tests.mutation.report import Results, report
from tests.mutation.trying import Plan, sample, try_all
from tests.tree import ROOT


def main(arguments: list[str]) -> int:
    """Run as a program."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.mutation",
        description=tests.mutation.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--part", action="append", choices=PARTS)
    parser.add_argument("--only", action="append", metavar="MODULE")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--sample", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--budget", type=float, default=10.0, help="seconds of tests for a mutant; 0: all tests")
    parser.add_argument("--again", action="store_true", help="try those that survived once more")
    parser.add_argument("--slow", action="store_true", help="ask tests with processes and a database server as well")
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--drawn", action="store_true", help="report on what --sample and --seed draw, nothing else")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the survivors with their reasons to a page")
    parser.add_argument("--folder", type=Path, default=ROOT / ".mutation")
    chosen = parser.parse_args(arguments)

    modules = chosen.only or [module for part in chosen.part or PARTS for module in PARTS[part].modules]
    parts: dict[str, list[Mutant]] = {}
    for name, part in PARTS.items():
        if here := [module for module in part.modules if module in modules]:
            parts[name] = [mutant for module in here for mutant in mutants(ROOT, module)]
    drawn = {name: found if chosen.all else sample(found, chosen.sample, chosen.seed) for name, found in parts.items()}
    chosen.folder.mkdir(exist_ok=True)
    results = Results(chosen.folder / "results.jsonl")
    if chosen.page:
        chosen.page.write_text(page(parts, results.read()), encoding="utf-8")
    elif not chosen.report:
        verdicts = results.read()
        left = [
            mutant
            for found in drawn.values()
            for mutant in found
            if mutant.id not in verdicts or (chosen.again and is_alive(verdicts[mutant.id]))
        ]
        print(f"{len(left)} mutants to try", flush=True)
        every = tuple(module for part in PARTS.values() for module in part.modules)
        plan = Plan(root=ROOT, folder=chosen.folder, modules=every, tests=TESTS, jobs=chosen.jobs, budget=chosen.budget)
        begun = time.monotonic()

        def done(mutant: Mutant, verdict: Verdict) -> None:
            results.add(mutant, verdict)
            if verdict.outcome not in ("killed", "invalid"):
                print(f"{time.monotonic() - begun:6.0f}s {verdict.outcome}: {mutant.shown[:200]}", flush=True)

        if left:
            try_all(plan, left, done)
        if chosen.slow:
            verdicts = results.read()
            alive = [
                one for found in drawn.values() for one in found if is_slow(one.module) and is_alive(verdicts[one.id])
            ]
            print(f"{len(alive)} to try slowly", flush=True)
            if alive:
                try_copied(ROOT, chosen.folder / "copy", alive, SLOW, done)
    verdicts = results.read()
    if chosen.drawn:
        asked = {mutant.id for found in drawn.values() for mutant in found}
        verdicts = {id_: verdict for id_, verdict in verdicts.items() if id_ in asked}
    for line in report(parts, verdicts):
        print(line)
    return 0


def is_alive(verdict: Verdict) -> bool:
    """Whether no test noticed it."""
    return verdict.outcome in ("survived", "uncovered")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
