"""Planted bugs: patches to files of the package, each applied to a copy of it that the simulator then runs against.

A simulator that finds nothing may be one that sees nothing. The patches are unified diffs in ``bugs/``; the text
before the first ``---`` says what is broken. They are applied strictly: what a patch takes away or stands beside has
to be in the file word for word, in one place only.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import attrs

import flovia

FOLDER: Final = Path(__file__).parent / "bugs"
PACKAGE: Final = Path(flovia.__file__).parent
LIMIT: Final = 2000


class PatchError(Exception):
    """A patch that does not apply."""


@attrs.frozen(kw_only=True)
class Bug:
    """One patch."""

    name: str
    says: str
    text: str


@attrs.frozen(kw_only=True)
class Found:
    """What the simulator found. ``seed`` None: nothing within the limit; ``seeds``: how many were run."""

    bug: Bug
    seed: int | None
    what: str
    seeds: int


def bugs() -> list[Bug]:
    """Every planted bug, by name."""
    found: list[Bug] = []
    for path in sorted(FOLDER.glob("*.patch")):
        text = path.read_text(encoding="utf-8")
        found.append(Bug(name=path.stem, says=text.partition("\n--- ")[0].strip(), text=text))
    return found


def apply(patch: str, root: Path) -> None:
    """Apply a unified diff to files below ``root``.

    Raises:
        PatchError: it does not fit.
    """
    for part in ("\n" + patch).split("\n--- ")[1:]:
        head, *lines = part.split("\n")
        target, lines = lines[0], lines[1:]
        if not target.startswith("+++ b/") or head.removeprefix("a/") != target.removeprefix("+++ b/"):
            raise PatchError(f"no file in {head!r}")
        path = root / target.removeprefix("+++ b/")
        if not path.is_file():
            raise PatchError(f"{path.name} is not there")
        text = path.read_text(encoding="utf-8")
        for before, after in _hunks(lines):
            if text.count(before) != 1:
                raise PatchError(f"{target}: {text.count(before)} places look like\n{before}")
            text = text.replace(before, after)
        path.write_text(text, encoding="utf-8")


def _hunks(lines: list[str]) -> list[tuple[str, str]]:
    """Each hunk's text before and after."""
    hunks: list[tuple[list[str], list[str]]] = []
    for line in lines:
        if line.startswith("@@"):
            hunks.append(([], []))
        elif not hunks:
            continue
        elif line[:1] in (" ", "-", "+"):
            if line[0] != "+":
                hunks[-1][0].append(line[1:])
            if line[0] != "-":
                hunks[-1][1].append(line[1:])
        elif line:
            raise PatchError(f"not a line of a diff: {line!r}")
    if not hunks:
        raise PatchError("a file without a hunk")
    return [("\n".join(before) + "\n", "\n".join(after) + "\n") for before, after in hunks]


def copy_to(root: Path) -> None:
    """The package and the simulator, as they are."""
    # With their compiled files, whose time stamps stay true: only what a patch changes is compiled again.
    shutil.copytree(PACKAGE, root / "flovia")
    here = Path(__file__).parent
    shutil.copytree(here, root / "tests" / "simulator")
    shutil.copy2(here.parent / "__init__.py", root / "tests" / "__init__.py")


def hunt(bug: Bug, *, limit: int = LIMIT, first: int = 0) -> Found:
    """Run the simulator against a copy of the package that has this bug, until a seed finds it.

    Raises:
        PatchError: the patch does not apply, or the copy does not run.
    """
    with tempfile.TemporaryDirectory(prefix="flovia-bug-") as name:
        root = Path(name)
        copy_to(root)
        apply(bug.text, root)
        command = [sys.executable, "-m", "tests.simulator", "--hunt", "--seeds", str(limit), "--from", str(first)]
        # Without what measures the suite's coverage: it would count a copy that is gone when it reports.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
        environment |= {"PYTHONPATH": str(root), "PYTHONHASHSEED": "0"}
        done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
        try:
            said = json.loads(done.stdout)
        except ValueError:
            raise PatchError(f"{bug.name}: the simulator did not run: {done.stderr[-2000:]}") from None
        if not Path(said["package"]).is_relative_to(root.resolve()):
            raise PatchError(f"{bug.name}: the simulator ran against {said['package']}, not against the copy")
        return Found(bug=bug, seed=said["seed"], what=said["what"], seeds=said["seeds"])
