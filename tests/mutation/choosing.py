"""Which tests a mutant is tried with, in which order, and how many of them.

A mutant in a function is tried with the tests that run its lines. What takes effect while a module is loaded (its
tables and constants, and functions that only those call) runs in no test: those that name the module in their file
are asked, then those that run any line of it, or, if it has none but such, of the modules that import it.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Final

from tests.mutation.children import Verdict
from tests.mutation.mutant import Mutant
from tests.mutation.survey import Survey

STARTING_S: Final = 0.002
"""What a test costs besides what it runs, seconds."""


class Chooser:
    """For one survey. ``modules`` are all that are surveyed; ``budget``: seconds of tests for a mutant, 0: all."""

    ROUNDS: Final = 3

    def __init__(self, root: Path, modules: Sequence[str], found: Survey, budget: float) -> None:
        self._root = root
        self._modules = modules
        self._survey = found
        self._budget = budget or float("inf")
        self._killers: defaultdict[object, list[str]] = defaultdict(list)

    def tests(self, mutant: Mutant) -> list[str]:
        """Of those that run its lines: that killed its neighbours, of files that name the module, the others."""
        tests = self._survey.tests(mutant.module, mutant.lines) if mutant.function else []
        naming = set(self._naming(mutant.module))
        about = [test for test in tests if _file(test) in naming]
        return self._within(self._neighbours(mutant, tests), about, tests)

    def rounds(self, mutant: Mutant) -> list[list[str]]:
        """All there are for it in the order of what a round costs, which is most of all the files to load.

        The file that is called like its module, the files that name the module (or the two that have most tests of
        it), the rest.
        """
        tests = self._all(mutant)
        files = Counter(_file(test) for test in tests)
        naming = set(self._naming(mutant.module)) & files.keys()
        called = f"/test_{mutant.module.rpartition('/')[2]}"
        own = {file for file in naming if file.endswith(called)}
        near = set(sorted(naming, key=lambda file: -files[file])[:4] or [file for file, _ in files.most_common(2)])
        rounds = [own, near - own, files.keys() - near - own]
        chosen = [[test for test in tests if _file(test) in these] for these in rounds]
        return [self._within(self._neighbours(mutant, tests), tests) for tests in chosen if tests]

    def is_run(self, mutant: Mutant) -> bool:
        """Whether any test runs its lines, or could run into what it changes while the module is loaded."""
        if mutant.function is None:
            return bool(self._all(mutant))
        return bool(self._survey.tests(mutant.module, mutant.lines))

    def seconds(self, tests: Sequence[str]) -> float:
        """How long they take."""
        return sum(self._survey.seconds[test] for test in tests)

    def told(self, mutant: Mutant, verdict: Verdict) -> None:
        """Remember who killed it."""
        if verdict.by in self._survey.seconds:
            killers = self._killers[mutant.module, mutant.function]
            if verdict.by in killers:
                killers.remove(verdict.by)
            killers.append(verdict.by)

    def _all(self, mutant: Mutant) -> list[str]:
        if mutant.function and (tests := self._survey.tests(mutant.module, mutant.lines)):
            return tests
        naming = set(self._naming(mutant.module))
        own = [test for test in self._survey.seconds if _file(test) in naming]
        return list(dict.fromkeys([*self._fastest(own), *self._fastest(self._running(mutant.module))]))

    def _running(self, module: str) -> set[str]:
        """The tests that run any line of the module, or else of those that import it."""
        for level in self._levels(module):
            if tests := {test for one in level for test in self._survey.tests(one, ())}:
                return tests
        return set()

    def _naming(self, module: str) -> list[str]:
        """The test files that import the module, or else those that import it."""
        for level in self._levels(module):
            if files := [file for file in self._survey.files if any(_names(self._root, file, one) for one in level)]:
                return files
        return []

    def _levels(self, module: str) -> Iterator[list[str]]:
        """The module, those that import it, those that import them, and so on."""
        seen, level = {module}, [module]
        while level:
            yield level
            level = [one for one in self._modules if one not in seen and any(_names(self._root, one, m) for m in level)]
            seen.update(level)

    def _neighbours(self, mutant: Mutant, tests: Iterable[str]) -> list[str]:
        known = set(tests)
        return [test for test in self._killers[mutant.module, mutant.function] if test in known][-3:]

    def _fastest(self, tests: Iterable[str]) -> list[str]:
        return sorted(tests, key=lambda test: (self._survey.seconds[test], test))

    def _within(self, *tests: Sequence[str]) -> list[str]:
        chosen: list[str] = []
        left = self._budget
        for test in dict.fromkeys(test for some in tests for test in some):
            left -= self._survey.seconds[test] + STARTING_S
            if left < 0 and chosen:
                break
            chosen.append(test)
        return chosen


def _file(test: str) -> str:
    return test.partition("::")[0]


@cache
def _names(root: Path, file: str, module: str) -> bool:
    """Whether the text of a file imports a module."""
    package, _, name = module.removesuffix(".py").replace("/", ".").rpartition(".")
    text = (root / file).read_text(encoding="utf-8")
    direct = re.escape(f"{package}.{name}") + r"\b"
    inside = rf"from {re.escape(package)} import (?:\([^)]*|.*)\b{name}\b"
    return bool(re.search(f"{direct}|{inside}", text))
