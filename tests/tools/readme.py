"""Print a command exactly as the README gives it, so that CI runs what people are told to run.

    python -m tests.tools.readme tests      the one that installs flovia and passes the tests
    python -m tests.tools.readme demo       the one that installs flovia and runs the demo

A command is the one shell line in the README that holds the marker below and uses plain venv and pip.
"""

import sys

from tests.tree import ROOT

MARKERS = {"tests": ".venv/bin/pytest", "demo": ".venv/bin/flovia demo"}


def command(name: str, text: str) -> str:
    """The README's command for ``name``; ValueError if the README has none, or several that differ."""
    lines = {
        line.strip().removeprefix("$ ")
        for block in text.split("```")[1::2]
        for line in block.splitlines()[1:]
        if MARKERS[name] in line and "-m venv" in line
    }
    if len(lines) != 1:
        raise ValueError(f"README.md must give one command with {MARKERS[name]!r}, it has {len(lines)}")
    return lines.pop()


def main(arguments: list[str]) -> int:
    """Run as a program."""
    if len(arguments) != 1 or arguments[0] not in MARKERS:
        print(__doc__, file=sys.stderr)
        return 2
    print(command(arguments[0], (ROOT / "README.md").read_text(encoding="utf-8")))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
