"""A small run of the tabs that watch; docs/development.md has the whole one and what it found."""

import os
import sys
from pathlib import Path

import pytest

from tests.campaigns import showcase

CI = bool(os.environ.get("CI"))

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="this campaign reads /proc")


@pytest.mark.skipif(not CI, reason="takes a quarter of a minute; CI runs it")
def test_tabs_that_watch_and_payments(tmp_path: Path) -> None:
    """Fifty tabs see what is paid while it is paid, no payment fails for them, and no process grows."""
    small = showcase.Tabs(seconds=15, window_s=3.75, rate=100, patient=True)
    lines = showcase.run(small, "sqlite", tmp_path)
    assert "none failed" in lines[0]
    assert lines[2].startswith("p99 with 50 tabs")
