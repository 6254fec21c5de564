"""The page about bad input says what happens today."""

import pytest

from tests.tools import bad_input


def test_the_page_is_up_to_date(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Making the forty mistakes again gives the page that is there, line by line."""
    monkeypatch.setattr("sys.argv", ["bad_input", "--check"])
    assert 0 == bad_input.main(), capsys.readouterr().out


def test_there_are_forty() -> None:
    """Forty mistakes, no two with the same words."""
    about = [text for text, _ in bad_input.AGENTS] + [text for text, _ in bad_input.AUTHORS]
    assert 40 == len(about) == len(set(about))
