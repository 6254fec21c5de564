"""Make the README's two pictures from the real pages, in headless Chromium.

    python -m tests.tools.pictures

A demo starts on loopback with a seeded ledger; its showcase and its dashboard are photographed into ``docs/pictures``.
It needs Chromium and Playwright, as the browser tests do.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import httpx

from tests.patience import PROGRAM_S
from tests.ports import chosen_port
from tests.require import chromium
from tests.tree import ROOT

FOLDER: Final = ROOT / "docs" / "pictures"
MOST_BYTES: Final = 200 * 1024
SIZE: Final = {"width": 1280, "height": 960}
ATTEMPTS: Final = 2000
ENOUGH: Final = 1800
"""Attempts on the picture: those of the demo come while it runs, and are a few more or less."""
_WAITING: Final = 'http-equiv="refresh"|Newer numbers are on their way'


def main() -> int:
    """Run as a program; the names and sizes of what was made."""
    FOLDER.mkdir(exist_ok=True)
    port = chosen_port()
    with tempfile.TemporaryDirectory(prefix="flovia-pictures-") as folder, demo(port, Path(folder)) as url:
        photograph(url)
    for file in sorted(FOLDER.glob("*.png")):
        size = file.stat().st_size
        print(f"{file.relative_to(ROOT)}: {size:,} bytes")
        if size > MOST_BYTES:
            print(f"that is more than {MOST_BYTES:,}")
            return 1
    return 0


@contextlib.contextmanager
def demo(port: int, folder: Path) -> "contextlib.Iterator[str]":
    """A demo with a seeded ledger, until the block ends."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("FLOVIA_", "HITPAY_"))}
    arguments = ["--no-browser", "--port", str(port), "--seed-attempts", str(ATTEMPTS)]
    ledger = f"sqlite:///{folder / 'demo.db'}"
    process = subprocess.Popen(
        [sys.executable, "-m", "flovia.cli", "demo", *arguments, "--ledger", ledger],
        env=clean | {"TMPDIR": str(folder)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait(url, "/showcase/hitpay-mpp")
        _wait(url, "/dashboard/")
        _wait_for_past(url)
        _wait(url, "/dashboard/")
        yield url
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(PROGRAM_S)


def _wait(url: str, path: str) -> None:
    """Until a page is there and has counted."""
    give_up = time.monotonic() + PROGRAM_S
    while time.monotonic() < give_up:
        with contextlib.suppress(httpx.TransportError):
            answer = httpx.get(f"{url}{path}", timeout=PROGRAM_S)
            if answer.status_code == 200 and not re.search(_WAITING, answer.text):
                return
        time.sleep(0.2)
    raise TimeoutError(f"{path} did not come")


def _wait_for_past(url: str) -> None:
    """Until enough of the made-up attempts are there."""
    give_up = time.monotonic() + PROGRAM_S
    while time.monotonic() < give_up:
        rows = httpx.get(f"{url}/dashboard/api/funnel", timeout=PROGRAM_S).json()["rows"]
        if sum(row["attempts"] for row in rows) >= ENOUGH:
            return
        time.sleep(0.2)
    raise TimeoutError("the made-up attempts did not come")


def photograph(url: str) -> None:
    """Both pages."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox", "--disable-gpu"])
        context = browser.new_context(viewport=SIZE, color_scheme="light", reduced_motion="reduce")  # type: ignore[arg-type]
        context.set_default_timeout(PROGRAM_S * 1000)
        page = context.new_page()
        page.goto(f"{url}/showcase/hitpay-mpp", wait_until="load")
        page.wait_for_timeout(500)
        page.screenshot(path=FOLDER / "showcase.png")
        page.goto(f"{url}/dashboard/", wait_until="load")
        page.wait_for_timeout(500)
        page.screenshot(path=FOLDER / "dashboard.png")
        browser.close()


if __name__ == "__main__":
    sys.exit(main())
