"""A small run of the tabs that watch; docs/development.md has the whole one and what it found."""

import os
import sys
from pathlib import Path

import pytest

from tests.campaigns import showcase

CI = bool(os.environ.get("CI"))

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="this campaign reads /proc")


def test_tabs_that_watch_and_payments(tmp_path: Path) -> None:
    """Fifty tabs see what is paid while it is paid, no payment fails for them, and no process grows."""
    seconds = 15 if CI else 12
    small = showcase.Tabs(seconds=seconds, window_s=seconds / 4, rate=100 if CI else 20, patient=True)
    lines = showcase.run(small, "sqlite", tmp_path)
    assert "none failed" in lines[0]
    assert lines[2].startswith("p99 with 50 tabs")
