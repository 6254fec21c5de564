"""Fuzz the parsers and print figures: ``python -m tests.fuzz --count 2000000``."""

import argparse
import resource
import time

from tests.fuzz.wire import TARGETS, run


def main() -> None:
    """Run, and print what was seen. An input that fails ends the run with its text."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--count", type=int, default=200_000, help="how many inputs")
    parser.add_argument("--seed", type=int, default=None, help="the inputs of an earlier run again")
    arguments = parser.parse_args()
    seed = int(time.time()) if arguments.seed is None else arguments.seed
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    figures = run(arguments.count, seed)
    took = time.perf_counter() - start
    print(f"seed {seed}: {arguments.count:,} inputs in {took:.0f} s, every answer a value or our own error")
    print(f"{'parser':<18}{'accepted':>12}{'refused':>12}{'slowest':>12}")
    for name in TARGETS:
        slowest = figures.slowest.get(name, 0.0) * 1e3
        print(f"{name:<18}{figures.accepted[name]:>12,}{figures.refused[name]:>12,}{slowest:>9.2f} ms")
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory
    print(f"memory grew by {grown / 1024:.1f} MiB")


if __name__ == "__main__":
    main()
