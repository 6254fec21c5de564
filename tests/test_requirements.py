"""Every requirement of the protocol and all that HitPay documents is shown by a test, and the page says so rightly."""

import ast

import pytest

from tests.e2e.hitpay.rows.table import ELSEWHERE, ROWS
from tests.tools import requirements
from tests.tree import ROOT


def test_every_requirement_is_shown() -> None:
    """Each has a row or a test; what has none is listed as deferred, with the reason."""
    shown = {one for one, _ in requirements.rows()} | {one for one, _ in requirements.functions()}
    assert set() == set(requirements.REQUIREMENTS) - shown - set(requirements.DEFERRED)
    assert set() == {one for one, _ in requirements.rows()} - set(requirements.REQUIREMENTS)


def test_everything_that_hitpay_documents_is_played_between_processes() -> None:
    """Each row has a test among app, sandbox and agent as processes, and names other tests that there are."""
    assert list(ROWS) == sorted({row for row, _ in requirements.played()}, key=list(ROWS).index)
    assert set() == ELSEWHERE.keys() - ROWS.keys()
    for file, _, name in (test.partition("::") for tests in ELSEWHERE.values() for test in tests):
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}, f"{file}::{name}"


def test_the_page_is_up_to_date(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The page lists the tests that are there."""
    monkeypatch.setattr("sys.argv", ["requirements", "--check"])
    assert 0 == requirements.main(), capsys.readouterr().out


def test_ranges_are_written_out() -> None:
    """A text may name a range of requirements; numbers that are none are left out."""
    assert ["S43", "S44", "S47", "C05"] == list(requirements.named("shows S43 to S47, and C05; not AS05 or S4"))
