"""The tools CI trusts do what CI trusts them to do."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.require import required, skip_or_fail
from tests.tools import coverage_gate, readme, stage
from tests.tree import ROOT, files


def test_the_readme_gives_both_commands() -> None:
    """The README has one install-and-test line and one install-and-run line, both with plain venv and pip."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert readme.command("tests", text).startswith("python3 -m venv .venv && ")
    assert readme.command("demo", text).startswith("python3 -m venv .venv && ")


def test_a_readme_with_two_different_test_commands_is_refused() -> None:
    """CI never guesses which of two commands a reader would take."""
    line = "python3 -m venv .venv && .venv/bin/pytest"
    text = f"```sh\n{line}\n{line} -x\n```\n"
    with pytest.raises(ValueError, match="it has 2"):
        readme.command("tests", text)


def test_staging_without_packages_leaves_nothing_to_import(tmp_path: Path) -> None:
    """The copy that tests the wheel holds the tests and documents, and neither flovia nor an adapter."""
    stage.stage(tmp_path / "copy", packages=False)
    copied = {path.name for path in (tmp_path / "copy").iterdir()}
    assert {"tests", "docs", "pyproject.toml", "README.md"} <= copied
    assert set() == copied & {"flovia", "adapters"}


def test_staging_copies_what_a_clone_would_hold(tmp_path: Path) -> None:
    """The full copy is the list of tracked files, byte for byte."""
    stage.stage(tmp_path / "copy")
    copied = sorted(path for path in (tmp_path / "copy").rglob("*") if path.is_file())
    assert files() == [path.relative_to(tmp_path / "copy") for path in copied]
    assert (ROOT / "pyproject.toml").read_bytes() == (tmp_path / "copy" / "pyproject.toml").read_bytes()


def report(percent: float, *, overall: float = 99.0, name: str = "flovia/core/money.py") -> coverage_gate.Report:
    """A coverage report of one file."""
    summary: coverage_gate.Summary = {"percent_covered": percent}
    file: coverage_gate.File = {"summary": summary, "missing_lines": [7], "missing_branches": [[7, 9]]}
    return {"files": {name: file}, "totals": {"percent_covered": overall}}


def test_the_coverage_gate_passes_what_we_promise() -> None:
    """A fully covered core and 95 % overall pass, wherever flovia was installed."""
    assert [] == coverage_gate.shortfalls(report(100.0, overall=95.0))
    assert [] == coverage_gate.shortfalls(report(100.0, name="lib/site-packages/flovia/core/money.py"))


def test_the_coverage_gate_names_what_is_missing() -> None:
    """One missed branch of the core, or an overall figure just below 95 %, fails with the place."""
    (line,) = coverage_gate.shortfalls(report(99.9))
    assert "flovia/core/money.py" in line
    assert "[[7, 9]]" in line
    assert ["overall branch coverage is 94.99 %, not 95.0 %"] == coverage_gate.shortfalls(report(100.0, overall=94.99))


def test_the_coverage_gate_fails_when_the_core_was_not_measured() -> None:
    """Measuring the wrong package is a failure, not full marks."""
    assert 1 == len(coverage_gate.shortfalls(report(100.0, name="flovia/api.py")))


def test_a_missing_need_skips_unless_it_is_required(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a developer's machine a missing need skips the test; where CI lists it, the test fails."""
    monkeypatch.setenv("FLOVIA_REQUIRE", "vectors,node")
    assert {"vectors", "node"} == required()
    with pytest.raises(pytest.fail.Exception, match="requires 'node'"):
        skip_or_fail("node", "no Node here")
    monkeypatch.setenv("FLOVIA_REQUIRE", "")
    with pytest.raises(pytest.skip.Exception, match="no Node here"):
        skip_or_fail("node", "no Node here")


def test_a_run_that_must_test_the_wheel_refuses_the_tree() -> None:
    """FLOVIA_TEST_INSTALLED=1 stops a run that would silently import the checkout."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-n0", "--collect-only", "-q", "tests/test_docs.py"],
        cwd=ROOT,
        env={**os.environ, "FLOVIA_TEST_INSTALLED": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert pytest.ExitCode.USAGE_ERROR == done.returncode
    assert "FLOVIA_TEST_INSTALLED=1, but flovia is imported from" in done.stderr
