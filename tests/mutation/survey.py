"""Which tests run which lines, how long each takes, and which of them pass alone, the fastest first.

Kept in a file: of an unchanged package only test files that changed are surveyed again.
"""

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import attrs
import pytest
from coverage import Coverage

from tests.mutation.children import Children, Verdict


@attrs.define
class Survey:
    """``seconds`` by test; ``lines``: by module and line, the tests that run it. Files by their digest."""

    package: str = ""
    files: dict[str, str] = attrs.Factory(dict)
    seconds: dict[str, float] = attrs.Factory(dict)
    lines: dict[str, dict[str, list[str]]] = attrs.Factory(dict)

    def tests(self, module: str, lines: Sequence[int]) -> list[str]:
        """Those that run one of the lines, or any of the module, the fastest first."""
        known = self.lines.get(module, {})
        wanted = known.values() if not lines else (known.get(str(line), []) for line in lines)
        found = {test for tests in wanted for test in tests if test in self.seconds}
        return sorted(found, key=lambda test: (self.seconds[test], test))


def digest(files: Iterable[Path]) -> str:
    """Of names and contents."""
    sum_ = hashlib.sha256()
    for file in sorted(files):
        sum_.update(str(file).encode() + b"\0" + file.read_bytes())
    return sum_.hexdigest()


def load(path: Path) -> Survey:
    """The one in the file, or an empty one."""
    return Survey(**json.loads(path.read_text())) if path.exists() else Survey()


def survey(root: Path, path: Path, modules: Sequence[str], items: Sequence[pytest.Item]) -> Survey:
    """Bring the survey in the file up to date."""
    shared = (file for file in (root / "tests").rglob("*.py") if not file.name.startswith("test_"))
    inside = (file for file in shared if not file.is_relative_to(root / "tests" / "mutation"))
    package = digest([*(root / "flovia").rglob("*.py"), *inside])
    known = load(path)
    if known.package != package:
        known = Survey(package=package)
    now = {file: digest([root / file]) for file in {item.nodeid.partition("::")[0] for item in items}}
    new = {file for file in now if known.files.get(file) != now[file]}
    if not new and known.files.keys() <= now.keys():
        return known
    gone = new | (known.files.keys() - now.keys())
    kept = {test: s for test, s in known.seconds.items() if test.partition("::")[0] not in gone}
    known = Survey(package=package, files=now, seconds=kept, lines=known.lines)
    for lines in known.lines.values():
        for line, tests in lines.items():
            lines[line] = [test for test in tests if test in kept]
    wanted = [item for item in items if item.nodeid.partition("::")[0] in new]
    print(f"surveying {len(wanted)} tests", flush=True)
    for pass_ in (_trace, _time):
        draft = path.with_suffix(".draft")
        draft.unlink(missing_ok=True)
        ended: list[Verdict] = []
        alone = Children(1)
        alone.start(lambda: pass_(root, modules, wanted, known, draft), 3600, ended.append)  # noqa: B023
        alone.finish()
        if not draft.exists():
            raise RuntimeError(f"the survey failed: {ended}")
        known = load(draft)
        wanted = [item for item in wanted if item.nodeid in known.seconds]
    draft.replace(path)
    return known


def _trace(root: Path, modules: Sequence[str], items: Sequence[pytest.Item], known: Survey, draft: Path) -> Verdict:
    coverage = Coverage(data_file=None, config_file=False, include=[str(root / module) for module in modules])
    coverage.start()
    for item, following in zip(items, [*items[1:], None], strict=True):
        coverage.switch_context(item.nodeid)
        start = _spent()
        if passes(item, following):
            known.seconds[item.nodeid] = round(_spent() - start, 4)
    coverage.stop()
    data = coverage.get_data()
    for module in modules:
        lines: defaultdict[str, list[str]] = defaultdict(list, known.lines.get(module, {}))
        for line, tests in data.contexts_by_lineno(str(root / module)).items():
            lines[str(line)] = lines[str(line)] + [test for test in tests if test]
        known.lines[module] = dict(lines)
    draft.write_text(json.dumps(attrs.asdict(known)))
    return Verdict(outcome="survived")


def _time(root: Path, modules: Sequence[str], items: Sequence[pytest.Item], known: Survey, draft: Path) -> Verdict:
    """In the order of trials, without a tracer: one that fails now would accuse mutants that are innocent."""
    ordered = sorted(items, key=lambda item: known.seconds[item.nodeid])
    for item, following in zip(ordered, [*ordered[1:], None], strict=True):
        start = _spent()
        if passes(item, following):
            known.seconds[item.nodeid] = round(_spent() - start, 4)
        else:
            del known.seconds[item.nodeid]
    draft.write_text(json.dumps(attrs.asdict(known)))
    return Verdict(outcome="survived", tests=len(ordered))


def passes(item: pytest.Item, following: pytest.Item | None) -> bool:
    """Run a test with its fixtures and hooks. A skipped one says nothing, so it does not pass."""
    watcher = _Watcher()
    item.config.pluginmanager.register(watcher)
    try:
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
    finally:
        item.config.pluginmanager.unregister(watcher)
    return watcher.passed and not watcher.failed


class _Watcher:
    def __init__(self) -> None:
        self.passed = self.failed = False

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.failed |= report.failed
        self.passed |= report.passed and report.when == "call"


def _spent() -> float:
    """Processor seconds: a busy machine makes no test slower than another."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
