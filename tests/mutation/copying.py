"""Trying a mutant in a copy of the checkout: for tests that start processes of their own, or a database server.

Such a test takes seconds, and what it starts imports the package from its files. So only what no other test noticed
is tried this way, and the mutant stands in a file.
"""

import itertools
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from tests.mutation.children import Verdict
from tests.mutation.mutant import Mutant

LONGEST_S: Final = 300.0
_LEFT_OUT: Final = shutil.ignore_patterns("__pycache__", ".*", "docs", "dist")


class Copy:
    """A copy of a checkout, with one mutant in it at a time."""

    def __init__(self, root: Path, folder: Path) -> None:
        self._root = root
        self._folder = folder
        self._seconds = itertools.count(1_000_000_000)
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(root, folder, ignore=_LEFT_OUT, symlinks=True)

    def run(self, mutant: Mutant, selections: Sequence[Sequence[str]]) -> Verdict:
        """Give each selection to pytest until one fails."""
        started = time.monotonic()
        try:
            compile(mutant.source, mutant.module, "exec", dont_inherit=True)
        except SyntaxError:
            return Verdict(outcome="invalid")
        self._write(mutant.module, mutant.source)
        try:
            for selection in selections:
                outcome = self._pytest(selection)
                if outcome != "survived":
                    took = round(time.monotonic() - started, 2)
                    return Verdict(outcome=outcome, by=" ".join(selection), seconds=took)
        finally:
            self._write(mutant.module, (self._root / mutant.module).read_text(encoding="utf-8"))
        return Verdict(outcome="survived", tests=len(selections), seconds=round(time.monotonic() - started, 2))

    def _write(self, module: str, source: str) -> None:
        file = self._folder / module
        file.write_text(source, encoding="utf-8")
        # Compiled modules are told apart by the second and the size, which two mutants can share.
        second = next(self._seconds)
        os.utime(file, (second, second))

    def _pytest(self, selection: Sequence[str]) -> str:
        path = os.pathsep.join([str(self._folder), str(self._folder / "adapters")])
        environment = os.environ | {"PYTHONPATH": path, "HYPOTHESIS_PROFILE": "mutation", "FLOVIA_TREE": ""}
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-n0", "-p", "no:cacheprovider", *selection]
        try:
            done = subprocess.run(
                command, cwd=self._folder, env=environment, capture_output=True, timeout=LONGEST_S, check=False
            )
        except subprocess.TimeoutExpired:
            return "timeout"
        return "survived" if done.returncode == 0 else "killed"


def try_copied(
    root: Path,
    folder: Path,
    mutants: Sequence[Mutant],
    selections: Sequence[Sequence[str]],
    done: Callable[[Mutant, Verdict], None],
) -> None:
    """Try the mutants, after making sure that the tests pass without any.

    Raises:
        RuntimeError: they do not, so nothing they say of a mutant would mean anything.
    """
    copy = Copy(root, folder)
    untouched = mutants[0].module
    source = (root / untouched).read_text(encoding="utf-8")
    plain = Mutant(id="none", module=untouched, line=1, function=None, lines=(), was="", now="", source=source)
    if (verdict := copy.run(plain, selections)).outcome != "survived":
        raise RuntimeError(f"these tests do not pass without a mutant: {verdict.by}")
    for mutant in mutants:
        done(mutant, copy.run(mutant, selections))
