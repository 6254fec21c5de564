"""The page of ``flovia report all --html`` in headless Chromium: wide and narrow, light and dark, from a file."""

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from flovia.ledger.opening import open_ledger
from tests.insights.test_attempts import gated
from tests.insights.test_join import scenario
from tests.patience import PROGRAM_S

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.browser

NAMES = ("/reports/{id}", "/<script>document.title='gone'</script>", f"/{'x' * 4096}", "/\u05d0\u05d1\u05d2/\u202egnp")
NOW = 1_750_000_000.0
DAY = 86400.0


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a ledger with names of all kinds, as the command writes it."""
    import attrs

    folder = tmp_path_factory.mktemp("report")
    url = f"sqlite:///{folder}/ledger.db"
    ledger = open_ledger(url)
    for number in range(24):
        steps = (["settle", "deliver"], ["settle", "fail"], ["refuse"], [])[number % 4]
        for one in gated(scenario(number, steps)):
            at = one.at + NOW + number * DAY
            provider = one.provider and "hitpay"
            changed = attrs.evolve(
                one, at=at, provider=provider, endpoint=NAMES[number // 6], payer=f"did:{number % 5}"
            )
            ledger.append([changed.to_row()])
    ledger.close()
    command = [sys.executable, "-m", "flovia.cli", "report", "all", "--html", "--ledger", url]
    done = subprocess.run(command, capture_output=True, timeout=PROGRAM_S, check=True)
    found = folder / "report.html"
    found.write_bytes(done.stdout)
    return found


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_the_page_in_a_browser(browser: "Browser", file: Path, width: int, scheme: str) -> None:
    """The style is let in by its policy, nothing is asked of anybody, nothing complains, and no row widens the page."""
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)  # type: ignore[arg-type]
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda asked: complaints.append(asked.url) if asked.url != file.as_uri() else None)
    page.goto(file.as_uri())
    assert "flovia report" == page.title()
    assert width == page.evaluate("document.documentElement.scrollWidth")
    for details in page.locator("summary").all():
        details.click()
    assert width == page.evaluate("document.documentElement.scrollWidth"), "with all numbers shown"
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert {"light": "rgb(238, 241, 245)", "dark": "rgb(16, 22, 31)"}[scheme] == paper
    number = page.locator("td.n").first
    assert "right" == number.evaluate("one => getComputedStyle(one).textAlign")
    assert "tabular-nums" == number.evaluate("one => getComputedStyle(one).fontVariantNumeric")
    (drawing, *_) = page.get_by_role("img").all()
    box = drawing.bounding_box()
    assert box is not None
    assert box["width"] > 50
    # On a phone a row is a card, and the row of names is not shown: a cell is what a name may fill.
    boxes = [cell.bounding_box() for cell in page.locator("#funnel table").first.locator("th, td").all()]
    assert max(box["height"] for box in boxes if box is not None) < 200, "a name of 4 KB fills the screen"
    context.close()
    assert [] == complaints


def test_on_paper(browser: "Browser", file: Path) -> None:
    """Tables are whole, and black on white whatever the screen is."""
    context = browser.new_context(color_scheme="dark")
    page = context.new_page()
    page.goto(file.as_uri())
    page.emulate_media(media="print")
    assert "rgb(255, 255, 255)" == page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert "rgb(0, 0, 0)" == page.evaluate("getComputedStyle(document.body).color")
    assert "visible" == page.locator(".scroll").first.evaluate("one => getComputedStyle(one).overflowX")
    context.close()
