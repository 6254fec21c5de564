"""Every requirement of the protocol is shown by a test, and the page that says so is right."""

import pytest

from tests.tools import requirements


def test_every_requirement_is_shown() -> None:
    """Each has a row or a test; what has none is listed as deferred, with the reason."""
    shown = {one for one, _ in requirements.rows()} | {one for one, _ in requirements.functions()}
    assert set() == set(requirements.REQUIREMENTS) - shown - set(requirements.DEFERRED)
    assert set() == {one for one, _ in requirements.rows()} - set(requirements.REQUIREMENTS)


def test_the_page_is_up_to_date(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The page lists the tests that are there."""
    monkeypatch.setattr("sys.argv", ["requirements", "--check"])
    assert 0 == requirements.main(), capsys.readouterr().out


def test_ranges_are_written_out() -> None:
    """A text may name a range of requirements; numbers that are none are left out."""
    assert ["S43", "S44", "S47", "C05"] == list(requirements.named("shows S43 to S47, and C05; not AS05 or S4"))
