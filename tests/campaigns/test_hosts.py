"""A small run of the campaign on two hosts; docs/reliability.md has the whole one."""

import os
import subprocess
import sys

import pytest

from tests.campaigns.network import why_not
from tests.patience import PROGRAM_S
from tests.require import postgres


@pytest.mark.skipif(not os.environ.get("CI"), reason="takes most of a minute; CI runs it")
def test_two_hosts() -> None:
    """Whichever host is cut off from the store, nothing is free, nothing is lost, and the other goes on."""
    postgres()
    if reason := why_not():
        pytest.skip(reason)
    command = [sys.executable, "-m", "tests.campaigns.hosts", "--minutes", "0.4", "--rate", "20", "--window", "3"]
    ended = subprocess.run(
        [*command, "--seed", "1"], capture_output=True, text=True, timeout=2 * PROGRAM_S, check=False
    )
    assert ended.stdout.endswith("\nok\n"), ended.stdout + ended.stderr
