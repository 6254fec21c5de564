"""The simulated flow in a browser: forward, back, play, by keyboard, and without JavaScript."""

from collections.abc import Generator
from typing import TYPE_CHECKING

import pytest

from tests.showcase.site import served

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    """The page of a served showcase."""
    with served(tmp_path_factory.mktemp("simulated")) as found:
        yield f"{found}/showcase/hitpay-mpp"


def now(page: "Page") -> str:
    """What a screen reader is told."""
    return page.locator("#simulate [aria-live=polite]").inner_text()


def current(page: "Page") -> list[str]:
    """The steps that are marked as the current one."""
    return [one.get_attribute("data-number") or "" for one in page.locator("#simulate [aria-current=step]").all()]


def lit(page: "Page") -> list[str]:
    """Steps of the facts in the lanes that are not yet true."""
    return sorted({one.get_attribute("data-number") or "" for one in page.locator(".simulated-lane .later").all()})


def test_forward_and_back(page: "Page", url: str) -> None:
    """Each button moves one step, the live region says which, the lanes follow, and so does the address."""
    page.goto(f"{url}?step=1")
    story = page.locator("#simulate")
    assert "Step 1 of 5: Agent calls paid API" == now(page)
    assert story.get_by_role("button", name="Back").is_disabled()
    story.get_by_role("button", name="Next step").click()
    story.get_by_role("button", name="Next step").click()
    assert "Step 3 of 5: Payment completes" == now(page)
    assert (["3"], ["4", "5"]) == (current(page), lit(page))
    assert page.url.endswith("?step=3")
    story.get_by_role("button", name="Back").click()
    assert (["2"], ["3", "4", "5"]) == (current(page), lit(page))
    story.get_by_role("link", name="Flovia joins event").click()
    assert (["5"], []) == (current(page), lit(page))
    story.get_by_role("button", name="From the start").click()
    assert ["1"] == current(page)


def test_play_and_pause(page: "Page", url: str) -> None:
    """Play goes on by itself from the start to the end and stops there; pause stops it where it is."""
    page.clock.install()
    page.goto(url)
    play = page.locator("#simulate [data-do=play]")
    play.click()
    assert ["1"] == current(page)
    assert "Pause" == play.inner_text()
    page.clock.run_for(2300)
    assert ["2"] == current(page)
    play.click()
    page.clock.run_for(60_000)
    assert (["2"], "Play") == (current(page), play.inner_text())
    play.click()
    page.clock.run_for(60_000)
    assert (["5"], "Play") == (current(page), play.inner_text())


def test_by_keyboard(page: "Page", url: str) -> None:
    """Every control is reached by Tab, seen when it is, and worked by Enter and Space; focus stays where it was."""
    page.goto(f"{url}?step=2")
    page.locator("#simulate [data-do=back]").focus()
    page.keyboard.press("Tab")
    assert "Next step" == page.evaluate("document.activeElement.textContent")
    assert "3px" == page.evaluate("getComputedStyle(document.activeElement).outlineWidth")
    page.keyboard.press("Enter")
    page.keyboard.press("Space")
    assert ["4"] == current(page)
    assert "Next step" == page.evaluate("document.activeElement.textContent")


def test_without_javascript(browser: "Browser", url: str) -> None:
    """The same buttons work, every step is there to read, and what cannot work is not shown."""
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(url)
    story = page.locator("#simulate")
    assert 5 == story.locator("ol > li").count()
    assert all(
        one.is_visible()
        for one in story.locator("ol > li p").all()
        if "eyebrow" not in (one.get_attribute("class") or "")
    )
    assert not story.locator("[data-do=play]").is_visible()
    story.get_by_role("button", name="From the start").click()
    assert "Step 1 of 5: Agent calls paid API" == now(page)
    story.get_by_role("button", name="Next step").click()
    story.get_by_role("button", name="Next step").click()
    story.get_by_role("button", name="Back").click()
    assert (["2"], True) == (current(page), page.url.endswith("?step=2#simulate"))
    context.close()


def test_whoever_wants_no_motion_gets_none(browser: "Browser", url: str) -> None:
    """With prefers-reduced-motion nothing is animated; without, what changes fades."""
    for motion, duration in (("reduce", "0s"), ("no-preference", "0.2s")):
        context = browser.new_context(reduced_motion=motion)  # type: ignore[arg-type]
        page = context.new_page()
        page.goto(url)
        found = page.locator(".simulated-lane li").first.evaluate("one => getComputedStyle(one).transitionDuration")
        assert duration == found.split(",")[0]
        context.close()
