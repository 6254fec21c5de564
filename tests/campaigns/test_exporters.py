"""A small run of the exporters' campaign; ``python -m tests.campaigns.exporters --kills 200`` is the whole one."""

from pathlib import Path

import pytest

from tests.campaigns.exporters import SINKS, campaign


@pytest.mark.parametrize("sink", SINKS)
def test_killed_exporters_leave_nothing_out(sink: str, tmp_path: Path) -> None:
    """Killed at any instant, over and over: every event arrives, and in order; doubles have the same id."""
    told = campaign(sink, 12 if sink != "nats" else 6, 7, tmp_path)
    assert told.events == 40 * (12 if sink != "nats" else 6)
