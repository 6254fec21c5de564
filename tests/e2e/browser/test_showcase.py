"""The showcase's live flow in headless Chromium: a visitor calls, pays on the checkout page, sees what became of it."""

from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

from tests.e2e.browser.looking import PATIENCE_S, SCHEMES, WIDTHS, axe, seen, window
from tests.showcase.conftest import Site, open_site

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

CALL = "Call the real HitPay MPP endpoint"


@pytest.fixture
def site(tmp_path: Path) -> Generator[Site]:
    """A showcase with a sandbox of its own."""
    with open_site(tmp_path) as found:
        yield found


def open_page(page: "Page", site: Site) -> None:
    """Visit the page."""
    page.goto(f"{site.url}/showcase/hitpay-mpp")


def call(page: "Page", site: Site, trouble: str = "") -> None:
    """Press the button of the live section."""
    open_page(page, site)
    if trouble:
        page.select_option("#live select", trouble)
    page.click(f"#live button:has-text('{CALL}')")
    page.wait_for_selector("[data-state-name]")


def until(page: "Page", state: str) -> None:
    """Wait until the page says so."""
    page.wait_for_selector(f"[data-state-name='{state}']")


def pay(page: "Page", button: str = "Pay") -> None:
    """Open the checkout page in a tab of its own, press a button there, and close it."""
    with page.context.expect_page() as opened:
        page.click("#open-checkout")
    opened.value.click(f"button:has-text('{button}')")
    opened.value.wait_for_selector("[role=status]")
    opened.value.close()


def test_a_visitor_pays(page: "Page", site: Site) -> None:
    """Button, 402 with challenge and QR, checkout page, 200 with a verified receipt, the joined event: no reload."""
    page.set_viewport_size({"width": 1440, "height": 900})
    open_page(page, site)
    button = page.get_by_role("button", name=CALL).first.bounding_box()
    line = page.locator(".oneline").bounding_box()
    assert button is not None
    assert line is not None
    assert 900 > max(button["y"] + button["height"], line["y"] + line["height"])
    page.get_by_role("button", name=CALL).first.click()
    until(page, "pending")
    loads: list[str] = []
    page.on("load", lambda found: loads.append(found.url))
    assert page.locator("#checkout svg.qr").is_visible()
    assert "opens on this machine" in page.inner_text("#checkout")
    assert "www-authenticate: Payment " in page.inner_text("#challenge")
    assert site.charge in page.inner_text("#challenge")
    left = page.inner_text("[data-until]")
    page.wait_for_function("before => document.querySelector('[data-until]').textContent !== before", arg=left)
    pay(page)
    until(page, "delivered")
    assert "receipt verified against JWKS" in page.inner_text("#answer")
    assert '"foo": "bar"' in page.inner_text("#answer")
    page.wait_for_selector("#joins >> text=payment converted into paid API demand")
    assert site.charge in page.inner_text(".layer")
    page.wait_for_selector("#joins >> text=1 of 1 attempts became a paid answer")
    assert [] == loads
    assert "1.00" == site.sandbox.money()["sgd"]["in"]  # type: ignore[index]


def test_declined_on_the_checkout_page_and_then_paid(page: "Page", site: Site) -> None:
    """Decline shows on this page, and so does the payment after it."""
    call(page, site)
    until(page, "pending")
    pay(page, "Decline")
    until(page, "declined")
    pay(page)
    until(page, "delivered")
    assert 1 == len(site.sandbox.charges())


@pytest.mark.parametrize(
    ("trouble", "state"),
    [("down", "down"), ("declined", "declined"), ("twice", "twice"), ("amount", "refused"), ("expired", "expired")],
)
def test_what_goes_wrong(page: "Page", site: Site, trouble: str, state: str) -> None:
    """Each trouble that can be asked for happens, and is told as what it is, on a page as wide as its window."""
    call(page, site, trouble)
    until(page, state)
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        assert width == page.evaluate("document.documentElement.scrollWidth")


def test_an_unknown_outcome_that_becomes_known(page: "Page", site: Site) -> None:
    """Asked for, it shows for as long as HitPay fails; the agent presents the same credential until it comes in."""
    call(page, site, "unknown")
    until(page, "pending")
    pay(page)
    until(page, "unknown")
    until(page, "delivered")
    assert "1.00" == site.sandbox.money()["sgd"]["in"]  # type: ignore[index]


def test_an_unknown_outcome(page: "Page", site: Site) -> None:
    """503 without a challenge, told as unknown, with what flovia does; then the same credential comes in."""
    site.sandbox.fault("http", 500, route="B3")
    call(page, site)
    until(page, "pending")
    pay(page)
    page.wait_for_selector("[data-state-name='unknown'], [data-state-name='kept']")
    assert "nobody is asked to pay twice" in page.inner_text("#summary") or page.locator("text=stays parked").count()
    site.sandbox.clear()
    page.wait_for_selector("[data-state-name='delivered'], [data-state-name='kept']")
    if page.locator("[data-state-name='kept']").count():
        page.click("text=Present the same credential again")
    until(page, "delivered")
    assert "1.00" == site.sandbox.money()["sgd"]["in"]  # type: ignore[index]


def test_a_reload_and_a_second_tab(page: "Page", site: Site) -> None:
    """A run is in its address: reloaded in the middle and opened twice it is one call, one charge."""
    call(page, site)
    until(page, "pending")
    page.reload()
    until(page, "pending")
    second = page.context.new_page()
    second.goto(page.url)
    until(second, "pending")
    pay(page)
    until(page, "delivered")
    until(second, "delivered")
    assert 1 == len(site.sandbox.charges())


def test_without_javascript(browser: "Browser", site: Site) -> None:
    """A form starts the call, the page loads itself again until there is nothing to wait for."""
    with window(browser, java_script_enabled=False) as page:
        call(page, site)
        until(page, "pending")
        pay(page)
        until(page, "delivered")
        assert page.locator("text=receipt verified against JWKS").is_visible()
        page.click("label[for=tab-2]")
        assert page.locator(".panel-2").is_visible()
        assert not page.locator(".panel-1").is_visible()


def test_by_keyboard(page: "Page", site: Site) -> None:
    """Tab and Enter lead from the top of the page to the checkout page, and the arrows through the frameworks."""
    open_page(page, site)
    for _ in range(20):
        page.keyboard.press("Tab")
        if CALL in str(page.evaluate("document.activeElement.textContent")):
            break
    page.keyboard.press("Enter")
    page.wait_for_selector("#open-checkout")
    page.focus("#tab-1")
    page.keyboard.press("ArrowRight")
    assert page.locator(".panel-2").is_visible()
    page.focus("#open-checkout")
    with page.context.expect_page() as opened:
        page.keyboard.press("Enter")
    checkout = opened.value
    checkout.get_by_role("button").first.wait_for()
    for _ in range(10):
        checkout.keyboard.press("Tab")
        if str(checkout.evaluate("document.activeElement.textContent")).strip().startswith("Pay"):
            break
    checkout.keyboard.press("Enter")
    until(page, "delivered")


def test_where_nothing_streams_it_polls(browser: "Browser", site: Site) -> None:
    """A proxy that lets no stream through costs liveliness and nothing else."""
    context = browser.new_context()
    context.set_default_timeout(PATIENCE_S * 1000)
    page = context.new_page()
    page.route("**/events", lambda route: route.fulfill(status=503, body="no stream"))
    call(page, site)
    until(page, "pending")
    pay(page)
    until(page, "delivered")
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_every_screen(browser: "Browser", site: Site, scheme: str) -> None:
    """With a paid run on it no page is wider than its window, and nothing is refused by its own policy."""
    run = site.start()
    site.until(run, "pending")
    site.sandbox.pay(site.charge)
    site.until(run, "delivered")
    for width in WIDTHS:
        with window(browser, viewport={"width": width, "height": 900}, color_scheme=scheme) as page:
            for path in (run, "/showcase", "/showcase/hitpay-mpp"):
                page.goto(f"{site.url}{path}")
                page.wait_for_load_state("load")
                assert width == page.evaluate("document.documentElement.scrollWidth")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_run_is_looked_at(browser: "Browser", site: Site, scheme: Literal["light", "dark"]) -> None:
    """While it waits and when it is paid its page keeps what is promised of all: axe, weight, policy, no shift."""
    axe()
    run = site.start()
    site.until(run, "pending")
    found: list[str] = []
    for state in ("pending", "delivered"):
        if state == "delivered":
            site.sandbox.pay(site.charge)
            site.until(run, state)
        for width in WIDTHS:
            with seen(browser, f"{site.url}{run}", width, scheme) as page:
                found += [f"{state} {width}: {one}" for one in page.look()]
    assert [] == found


def test_what_can_be_copied(browser: "Browser", site: Site) -> None:
    """A button copies the call as curl, the very text that stands there."""
    with window(browser, permissions=["clipboard-read", "clipboard-write"]) as page:
        open_page(page, site)
        page.click("#copy summary")
        page.click("[aria-label='Copy as curl']")
        page.wait_for_selector("text=Copied")
        assert f"curl -i {site.url}/showcase/hitpay-mpp/paid" == page.evaluate("navigator.clipboard.readText()")
