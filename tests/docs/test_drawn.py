"""What the documentation draws from the code is what the code says."""

import re
from pathlib import Path

import pytest

from tests.tools import diagrams
from tests.tree import ROOT


@pytest.mark.parametrize("page", diagrams.pages(), ids=str)
def test_drawn_parts_are_up_to_date(page: Path) -> None:
    """A table or diagram equals what ``python -m tests.tools.diagrams`` would write now."""
    text = (ROOT / page).read_text(encoding="utf-8")
    assert diagrams.drawn(text) == text, "run: python -m tests.tools.diagrams"


def test_everything_that_can_be_drawn_is_shown() -> None:
    """Each diagram and table has a place on some page."""
    shown = {
        name
        for page in diagrams.pages()
        for name in re.findall(r"<!-- drawn: ([\w-]+) -->", (ROOT / page).read_text(encoding="utf-8"))
    }
    assert set(diagrams.DRAWN) == shown


def test_the_settings_name_every_variable_they_read() -> None:
    """The table of variables misses none that the code reads."""
    source = (ROOT / "flovia" / "settings.py").read_text(encoding="utf-8")
    read = set(re.findall(r'"((?:FLOVIA|WEB)_[A-Z_]+)"', source)) - {"WEB_CONCURRENCY"}
    assert read == set(re.findall(r"`(FLOVIA_[A-Z_]+)` \|", diagrams.variables()))
