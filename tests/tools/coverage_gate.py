"""Fail unless the measured branch coverage is what we promise.

    coverage json -o coverage.json && python -m tests.tools.coverage_gate coverage.json

The core and the ledger every other one is measured by: every line and branch. All the rest: 95 % together.
"""

import json
import sys
from pathlib import Path
from typing import TypedDict, cast

COMPLETE = ("flovia/core/", "flovia/ledger/base.py", "flovia/ledger/memory.py")
OVERALL = 95.0


class Summary(TypedDict):
    """Figures of one file, or of all."""

    percent_covered: float


class File(TypedDict):
    """One measured file."""

    summary: Summary
    missing_lines: list[int]
    missing_branches: list[list[int]]


class Report(TypedDict):
    """What ``coverage json`` writes, as far as it is read here."""

    files: dict[str, File]
    totals: Summary


def shortfalls(report: Report) -> list[str]:
    """One sentence for every promise the report breaks."""
    found: list[str] = []
    complete = {short: data for name, data in report["files"].items() if (short := _short(name)).startswith(COMPLETE)}
    if not complete:
        found.append("no file of flovia/core was measured: was coverage run on the right package?")
    for name, data in sorted(complete.items()):
        if data["summary"]["percent_covered"] < 100:
            lines, branches = data["missing_lines"], data["missing_branches"]
            found.append(f"{name} is not fully covered: lines {lines}, branches {branches}")
    overall = report["totals"]["percent_covered"]
    if overall < OVERALL:
        found.append(f"overall branch coverage is {overall:.2f} %, not {OVERALL} %")
    return found


def _short(name: str) -> str:
    """A file's path from its top-level package on, without the environment it was installed in."""
    return name.replace("\\", "/").rpartition("site-packages/")[2]


def main(arguments: list[str]) -> int:
    """Run as a program."""
    report = cast(Report, json.loads(Path(arguments[0]).read_text(encoding="utf-8")))
    found = shortfalls(report)
    print(f"branch coverage: {report['totals']['percent_covered']:.2f} % over {len(report['files'])} files")
    for line in found:
        print(f"  {line}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
