"""``flovia sandbox`` as a process of its own."""

import os
import re
import selectors
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager

import attrs

from tests.patience import PROGRAM_S

UP = "Control: "


@attrs.frozen(kw_only=True)
class Running:
    """A sandbox in a process of its own, and what it printed until it was up."""

    process: subprocess.Popen[str]
    printed: str

    @property
    def environment(self) -> dict[str, str]:
        """What it said to set."""
        return dict(re.findall(r"^export (\w+)=(\S+)$", self.printed, re.MULTILINE))


@contextmanager
def sandbox(*arguments: str) -> Generator[Running]:
    """Start a sandbox on free ports and wait until it is up; end it, and only it, afterwards."""
    process = subprocess.Popen(
        [sys.executable, "-m", "flovia.cli", "sandbox", "--broker-port", "0", "--api-port", "0", *arguments],
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield Running(process=process, printed=_printed(process))
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def _printed(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    text, give_up = "", time.monotonic() + PROGRAM_S
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while UP not in text:
            left = give_up - time.monotonic()
            assert left > 0, text
            if selector.select(left):
                piece = os.read(process.stdout.fileno(), 65536).decode()
                assert piece, f"the sandbox ended: {text}"
                text += piece
    return text
