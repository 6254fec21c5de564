"""Trying mutants: each in a child of a process that has everything loaded, with the tests that run its lines.

Inside a function a mutant is planted by giving the function of the collected package another code; elsewhere the
child loads the package and the tests anew, with the module replaced. The first test that fails ends it.
"""

import importlib
import os
import random
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import attrs
import pytest

from tests.mutation.children import Children, Verdict
from tests.mutation.choosing import Chooser
from tests.mutation.mutant import Mutant
from tests.mutation.parts import asked
from tests.mutation.planting import Functions, Import
from tests.mutation.survey import load, passes, survey

OPTIONS: Final = ("-q", "-n0", "-p", "no:cacheprovider", "--capture=sys", "-W", "ignore::pytest.PytestWarning")
HEAVY: Final = ("hypothesis.stateful", "sqlalchemy.dialects.sqlite", "httpx", "anyio.pytest_plugin", "trio", "http_sf")
"""Other people's modules, loaded once for all children. None of them imports flovia."""


@attrs.frozen(kw_only=True)
class Plan:
    """``budget`` is how many seconds of tests a mutant is tried with, 0 for all there are."""

    root: Path
    folder: Path
    modules: tuple[str, ...]
    tests: tuple[str, ...]
    jobs: int = 2
    budget: float = 10.0
    keep: Callable[[str, tuple[str, ...]], bool] = asked


Done = Callable[[Mutant, Verdict], None]


class Collected:
    """A pytest plugin: instead of running the tests, mutants are tried with them."""

    def __init__(self, plan: Plan, mutants: Sequence[Mutant], done: Done) -> None:
        self._plan = plan
        self._mutants = mutants
        self._done = done

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Try all that can be planted here."""
        if session.testsfailed:
            raise session.Interrupted(f"{session.testsfailed} errors during collection")
        session.config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]  # one for all children
        plan = self._plan
        items = {item.nodeid: item for item in session.items if plan.keep(item.nodeid, fixtures(item))}
        found = survey(plan.root, plan.folder / "survey.json", plan.modules, list(items.values()))
        chooser = Chooser(plan.root, plan.modules, found, plan.budget)
        functions = Functions.living(plan.root, plan.modules)
        children = Children(plan.jobs)
        for mutant in self._mutants:
            if (mutant.module, *(mutant.function or ("", 0))) in functions.known:
                tests = chooser.tests(mutant)
                if not tests:
                    continue  # it may run while the module is loaded
                chosen = [items[test] for test in tests]

                def done(verdict: Verdict, mutant: Mutant = mutant) -> None:
                    chooser.told(mutant, verdict)
                    if verdict.outcome != "elsewhere":
                        self._done(mutant, verdict)

                def trial(mutant: Mutant = mutant, chosen: list[pytest.Item] = chosen) -> Verdict:
                    return _here(functions, mutant, chosen)

                children.start(trial, chooser.seconds(tests), done)
        children.finish()
        return True


def fixtures(item: pytest.Item) -> tuple[str, ...]:
    """What it needs, by name."""
    return tuple(item.fixturenames) if isinstance(item, pytest.Function) else ()


def _here(functions: Functions, mutant: Mutant, items: Sequence[pytest.Item]) -> Verdict:
    try:
        if not functions.plant(mutant):
            return Verdict(outcome="elsewhere")
    except SyntaxError:
        return Verdict(outcome="invalid")
    for number, (item, following) in enumerate(zip(items, [*items[1:], None], strict=True), 1):
        if not passes(item, following):
            return Verdict(outcome="killed", by=item.nodeid, tests=number)
    return Verdict(outcome="survived", tests=len(items))


class _Killer:
    def __init__(self) -> None:
        self.by = ""
        self.tests = 0

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.tests += report.when == "call"
        if report.failed and not self.by:
            self.by = report.nodeid


def _anew(plan: Plan, mutant: Mutant, tests: Sequence[str]) -> Verdict:
    try:
        compile(mutant.source, mutant.module, "exec", dont_inherit=True)
    except SyntaxError:
        return Verdict(outcome="invalid")
    sys.meta_path.insert(0, Import(plan.root, mutant))
    killer = _Killer()
    with TemporaryDirectory() as folder:
        status = pytest.main([*OPTIONS, "-x", f"--basetemp={folder}/base", *tests], plugins=[killer])
    if status == 0:
        return Verdict(outcome="survived", tests=killer.tests)
    return Verdict(outcome="killed", by=killer.by or "import", tests=killer.tests)


def try_all(plan: Plan, mutants: Sequence[Mutant], done: Done) -> None:
    """Try the mutants. This process must not have loaded the package: it is what children begin from."""
    plan.folder.mkdir(exist_ok=True)
    os.chdir(plan.root)
    sys.path[:0] = [str(plan.root), str(plan.root / "adapters")]
    os.environ["HYPOTHESIS_PROFILE"] = "mutation"
    for name in HEAVY:
        importlib.import_module(name)
    left = {mutant.id: mutant for mutant in mutants}
    results = plan.folder / "collected.txt"
    results.unlink(missing_ok=True)
    pid = os.fork()
    if pid == 0:
        os._exit(_collected(plan, mutants, done, results))
    _, status = os.waitpid(pid, 0)
    if status:
        raise RuntimeError(f"pytest ended with status {os.waitstatus_to_exitcode(status)}")
    for id_ in results.read_text().split():
        left.pop(id_, None)
    found = load(plan.folder / "survey.json")
    chooser = Chooser(plan.root, plan.modules, found, plan.budget)
    rest = list(left.values())
    for number in range(Chooser.ROUNDS):
        rest = _try_anew(plan, rest, chooser, number, done)
    for mutant in rest:
        done(mutant, Verdict(outcome="survived" if chooser.is_run(mutant) else "uncovered"))


def _try_anew(
    plan: Plan,
    mutants: Sequence[Mutant],
    chooser: Chooser,
    number: int,
    done: Done,
) -> list[Mutant]:
    """Those that are left."""
    left: list[Mutant] = []
    children = Children(plan.jobs)
    for mutant in mutants:
        rounds = chooser.rounds(mutant)

        def told(verdict: Verdict, mutant: Mutant = mutant) -> None:
            chooser.told(mutant, verdict)
            if verdict.outcome == "survived":
                left.append(mutant)
            else:
                done(mutant, verdict)

        if number < len(rounds):
            trial = partial(_anew, plan, mutant, rounds[number])
            children.start(trial, 15 + chooser.seconds(rounds[number]), told)
        else:
            left.append(mutant)
    children.finish()
    return left


def _collected(plan: Plan, mutants: Sequence[Mutant], done: Done, results: Path) -> int:
    with results.open("w") as file, TemporaryDirectory() as folder:

        def both(mutant: Mutant, verdict: Verdict) -> None:
            done(mutant, verdict)
            print(mutant.id, file=file, flush=True)

        plugin = Collected(plan, mutants, both)
        return int(pytest.main([*OPTIONS, f"--basetemp={folder}/base", *plan.tests], plugins=[plugin]))


def sample(mutants: Sequence[Mutant], size: int, seed: int) -> list[Mutant]:
    """So many of them at random, or all if there are no more; the same ones for the same seed."""
    ordered = sorted(mutants, key=lambda mutant: mutant.id)
    return ordered if size >= len(ordered) else random.Random(seed).sample(ordered, size)
