"""The dashboard in headless Chromium: pages, filters, export, live, without JavaScript, by keyboard, in two tabs."""

import csv
import re
from collections.abc import Generator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import httpx
import pytest

from flovia.dashboard import keeper
from flovia.testing.servers import serve_asgi, serve_wsgi
from tests.dashboard.failing import plant
from tests.dashboard.shop import dashboard, fresh, populate, populate_oddly, story, write
from tests.dashboard.test_pages import MOST_BYTES, PAGES
from tests.e2e.browser.looking import PATIENCE_S, eventually, first_paint

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

# Shifts of what is on the page already, as browsers count them for people's sake.
_SHIFTS = """() => new Promise(done => {
  let sum = 0;
  new PerformanceObserver(list => { for (const one of list.getEntries()) if (!one.hadRecentInput) sum += one.value; })
    .observe({type: 'layout-shift', buffered: true});
  setTimeout(() => done(sum), 300);
})"""
_WIDE = """() => [...document.querySelectorAll('body *')]
  .filter(one => one.getBoundingClientRect().right > innerWidth + 1 && !one.closest('.scroll, pre, nav, .chart'))
  .map(one => one.tagName + '.' + one.className)"""
_UNNAMED = """() => [...document.querySelectorAll('a, button, input, svg[role=img], [role=region]')]
  .filter(one => one.type !== 'hidden' && one.getClientRects().length && !(one.textContent.trim()
    || one.getAttribute('aria-label') || (one.labels && one.labels.length)))
  .map(one => one.outerHTML.slice(0, 120))"""


@contextmanager
def shown(url: str) -> Generator[str]:
    """A dashboard on uvicorn, all of whose first answers are there."""
    with dashboard(url) as app, serve_asgi(app) as base:
        for path in PAGES:
            eventually(
                lambda path=path: httpx.get(base + path, timeout=120), lambda one: "flovia-waiting" not in one.headers
            )  # type: ignore[misc]
        yield base


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    """One over a small world."""
    url = f"sqlite:///{tmp_path_factory.mktemp('dashboard')}/ledger.db"
    populate(url)
    with shown(url) as found:
        yield found


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 768, 1440])
def test_every_page_fits(browser: "Browser", base: str, width: int, scheme: Literal["light", "dark"]) -> None:
    """No page is wider than the window, shifts, complains, asks anybody else, or weighs too much; all is named."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    context.set_default_timeout(PATIENCE_S * 1000)
    for path in PAGES:
        page = context.new_page()
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text))  # noqa: B023 - this page's own
        page.on("pageerror", lambda error: complaints.append(str(error)))  # noqa: B023 - this page's own
        page.on("request", lambda asked: complaints.append(asked.url) if not asked.url.startswith(base) else None)  # noqa: B023 - this page's own
        page.goto(base + path)
        assert (width, []) == (page.evaluate("document.documentElement.scrollWidth"), page.evaluate(_WIDE)), path
        assert page.evaluate(_SHIFTS) < 0.02, path
        assert [] == page.evaluate(_UNNAMED), path
        loaded = "[...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]"
        assert page.evaluate(f"{loaded}.reduce((sum, one) => sum + one.encodedBodySize, 0)") < MOST_BYTES, path
        for drawing in page.locator(".chart").all():
            drawn = drawing.locator("canvas").bounding_box()
            assert drawn is not None
            assert 100 < drawn["width"] <= width, path
        assert [] == complaints, path
        page.close()
    context.close()


@pytest.mark.alone
def test_first_paint(browser: "Browser", base: str, plain: str) -> None:
    """Every page is painted in time, once its answer is kept, on a machine as busy as it is then."""
    for path in PAGES:
        rounds = first_paint(browser, base + path, plain)
        assert rounds[-1].soon, (path, rounds)


def test_filters(page: "Page", base: str) -> None:
    """What is chosen in the form is in the address, on the page, and on the next one."""
    page.goto(f"{base}/endpoints")
    before = page.locator("#funnel tbody tr").count()
    page.get_by_role("combobox", name="Endpoint").fill("/search")
    page.get_by_role("button", name="Apply").click()
    page.wait_for_url("**/endpoints?*endpoint=%2Fsearch*")
    eventually(lambda: page.locator("#funnel tbody tr").count(), lambda count: 0 < count < before)
    assert {"/search"} == set(page.locator("#funnel tbody th").all_inner_texts())
    page.get_by_role("navigation", name="Pages").get_by_role("link", name="Latency").click()
    eventually(lambda: page.locator("#latency tbody th").all_inner_texts(), lambda found: found == ["/search"])
    assert ["/search"] == page.locator("#latency tbody th").all_inner_texts()
    page.get_by_role("link", name="24 hours").click()
    eventually(lambda: page.get_by_text("There is nothing to show yet").count(), bool)
    page.get_by_role("link", name="Clear").click()
    eventually(lambda: page.locator("#latency tbody tr").count(), lambda count: count > 1)
    assert page.url.endswith("/latency")


def test_test_money(page: "Page", base: str) -> None:
    """It counts when it is wanted, and the choice stays."""
    page.goto(f"{base}/")
    without = page.locator(".numbers .card").first.inner_text()
    page.get_by_label("Test money too").check()
    page.get_by_role("button", name="Apply").click()
    page.wait_for_url("**/?*test=1*")
    with_it = eventually(lambda: page.locator(".numbers .card").first.inner_text(), lambda text: text != without)
    assert without != with_it
    assert page.get_by_label("Test money too").is_checked()


def test_export(page: "Page", base: str) -> None:
    """The CSV that is downloaded has the rows of the page."""
    page.goto(f"{base}/endpoints?endpoint=%2Fquotes")
    eventually(lambda: page.locator("#funnel tbody tr").count(), bool)
    rows = page.locator("#funnel tbody tr").count()
    with page.expect_download() as coming:
        page.get_by_role("link", name="CSV").click()
    assert "flovia-funnel.csv" == coming.value.suggested_filename
    table = list(csv.DictReader(StringIO(Path(coming.value.path()).read_text(encoding="utf-8"))))
    assert rows == len(table)
    assert {"/quotes"} == {row["endpoint"] for row in table}


def test_from_a_number_to_an_attempt(page: "Page", base: str) -> None:
    """A number leads to the events behind it, each to its attempt, that to its events, and back."""
    page.goto(f"{base}/endpoints")
    first = page.locator("#funnel tbody tr").first
    delivered = int(first.locator("td[data-name=delivered]").inner_text())
    first.locator("td[data-name=delivered] a").click()
    page.wait_for_url("**/events?*step=delivered*")
    rows = page.locator("#events tbody tr")
    eventually(rows.count, bool)
    assert min(delivered, 50) == rows.count()
    rows.first.get_by_role("link").click()
    page.wait_for_url("**/attempts/*")
    assert '"insight": "payment converted into paid API demand"' in page.locator("pre").inner_text()
    assert page.get_by_text("payment.settled").count() > 0
    page.go_back()
    page.wait_for_url("**/events?*")


@pytest.mark.parametrize("face", ["asgi", "wsgi"])
def test_live(browser: "Browser", tmp_path: Path, face: str) -> None:
    """Two tabs see each attempt as it comes, by stream or by asking; a pause holds it back; a change moves it up."""
    url = fresh(tmp_path)
    write(url, story(1, "settle", "deliver"))
    with dashboard(url) as app, serve_asgi(app) if face == "asgi" else serve_wsgi(app.wsgi, server="waitress") as base:
        context = browser.new_context()
        context.set_default_timeout(PATIENCE_S * 1000)
        errors: list[str] = []
        tabs = [context.new_page() for _ in range(2)]
        for tab in tabs:
            tab.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
            tab.on("pageerror", lambda error: errors.append(str(error)))
            tab.goto(f"{base}/events")
            eventually(lambda tab=tab: tab.locator("#events tbody tr").count(), bool)  # type: ignore[misc]
            eventually(lambda tab=tab: tab.locator("#live-state").inner_text(), lambda text: "Live" in text)  # type: ignore[misc]
        names = [lambda tab=tab: tab.locator("#events tbody td[data-name=what]").all_inner_texts() for tab in tabs]  # type: ignore[misc]
        write(url, story(2), endpoint="/<b>new</b>")
        for look in names:
            assert "GET /<b>new</b>" == eventually(look, lambda found: len(found) == 2)[0]
        first, second = tabs
        first.get_by_role("button", name="Pause").click()
        write(url, story(3), endpoint="/third")
        eventually(names[1], lambda found: len(found) == 3)
        eventually(lambda: first.locator("#live-state").inner_text(), lambda text: "1 attempt waiting" in text)
        assert 2 == len(names[0]())
        first.get_by_role("button", name="Go on").click()
        assert ["GET /third", "GET /<b>new</b>"] == names[0]()[:2]
        for number in (2, 3):  # an attempt that changes is no other one
            write(url, story(number, "settle", "deliver")[2:])
        for tab in tabs:
            told = eventually(
                lambda tab=tab: tab.locator("#events tbody .good").count(),  # type: ignore[misc]
                lambda count: count == 3,
            )
            assert 3 == told
            assert "Live: 2 attempts since this page was opened." == tab.locator("#live-state").inner_text()
            assert "3 events here" in tab.locator("#facts-sample").inner_text()
            assert re.fullmatch(
                r"As of 20\d\d-\d\d-\d\d \d\d:\d\d:\d\dZ, event \d+\.", tab.locator("#facts-as-of").inner_text()
            )
        second.reload()
        assert 3 == len(eventually(names[1], lambda found: len(found) == 3))
        context.close()
        assert [] == errors


def test_live_says_that_the_ledger_does_not_answer(
    browser: "Browser", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Silence would look like no sales. When it answers again what came is there, and after a while by a stream."""
    # Not the window whose page must complain of nothing: the browser itself tells of each answer of 503.
    context = browser.new_context()
    context.set_default_timeout(PATIENCE_S * 1000)
    page = context.new_page()
    failing = plant(monkeypatch)
    monkeypatch.setattr(keeper, "SILENT_S", 0.5)
    url, streams = fresh(tmp_path), list[str]()
    write(url, story(1))
    with shown(url) as base:
        page.goto(f"{base}/events")
        state = page.locator("#live-state")
        eventually(state.inner_text, lambda text: "waiting for what comes" in text)
        failing.now.set()
        assert "does not answer" in eventually(state.inner_text, lambda text: "does not answer" in text)
        page.on("request", lambda request: streams.append(request.url) if "/events/stream" in request.url else None)
        write(url, story(2))
        failing.now.clear()
        assert "1 attempt" in eventually(state.inner_text, lambda text: "1 attempt" in text)
        assert eventually(lambda: (page.wait_for_timeout(100), streams)[1], bool)
        write(url, story(3))
        assert "2 attempts" in eventually(state.inner_text, lambda text: "2 attempts" in text)
        context.close()  # its stream ends before the server does


def test_a_legend_tells_of_the_newest_day(page: "Page", base: str) -> None:
    """Before anybody points at a chart it has numbers, and has them again after the window has changed."""
    page.goto(f"{base}/")
    legend = page.locator(".chart .u-legend").first
    for width in (1200, 700):
        page.set_viewport_size({"width": width, "height": 900})
        said = eventually(legend.inner_text, lambda text: bool(re.search(r"20\d\d-\d\d-\d\d", text)))
        assert re.search(r"day\D*20\d\d-\d\d-\d\d\s*attempts\D*\d", said), said
        page.wait_for_timeout(300)
        assert legend.inner_text() == said or width == 1200


def test_live_rows_leave(page: "Page", tmp_path: Path) -> None:
    """An attempt that is none of those wanted any more leaves the page, at once or when it goes on after a pause."""
    url = fresh(tmp_path)
    whole = {number: story(number, "settle", "deliver") for number in (1, 2)}
    unpaid = {
        number: [one for one in every if one.request_id == every[0].request_id] for number, every in whole.items()
    }
    paid = {number: [one for one in every if one not in unpaid[number]] for number, every in whole.items()}
    write(url, unpaid[1])
    with shown(url) as base:
        page.goto(f"{base}/events?step=abandoned")
        rows = page.locator("#events tbody tr")
        eventually(rows.count, lambda count: count == 1)
        write(url, unpaid[2])
        assert 2 == eventually(rows.count, lambda count: count == 2)
        write(url, paid[1])
        assert 1 == eventually(rows.count, lambda count: count == 1)
        page.get_by_role("button", name="Pause").click()
        write(url, paid[2])
        state = page.locator("#live-state")
        eventually(state.inner_text, lambda text: "0 attempts waiting" in text)
        assert 1 == rows.count()
        page.get_by_role("button", name="Go on").click()
        assert 0 == eventually(rows.count, lambda count: count == 0)
        assert page.locator("#events-none").is_visible()
        page.goto("about:blank")  # its stream ends before the server does


def test_without_javascript(browser: "Browser", base: str) -> None:
    """Every page has its numbers; the live one is reloaded by hand; what takes its time reloads itself."""
    context = browser.new_context(java_script_enabled=False)
    context.set_default_timeout(PATIENCE_S * 1000)
    page = context.new_page()
    for path in PAGES:
        page.goto(base + path)
        assert page.locator("table tbody tr").count() > 0, path
        for drawing in page.locator(".chart").all():
            box, scale = drawing.bounding_box(), drawing.locator(".scale").bounding_box()
            assert box is not None
            assert scale is not None
            assert scale["y"] + scale["height"] <= box["y"] + box["height"] < scale["y"] + scale["height"] + 8, path
        assert page.get_by_text(re.compile("As of 20")).count() > 0, path
    page.goto(f"{base}/events")
    assert page.get_by_role("link", name="Reload").is_visible()
    page.goto(f"{base}/")
    drawn = page.locator("svg.sketch").first.bounding_box()
    assert drawn is not None
    assert drawn["height"] > 100
    page.get_by_text("The same as a table").click()
    assert page.get_by_role("rowheader").first.is_visible()
    context.close()


def test_by_keyboard(page: "Page", base: str) -> None:
    """From the top: skip to the content, choose a time, follow a number, all with keys, and see where one is."""
    page.goto(f"{base}/endpoints")
    page.keyboard.press("Tab")
    assert "Skip to content" == page.evaluate("document.activeElement.textContent")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    for _ in range(40):
        if "Endpoint" in (page.evaluate("document.activeElement.closest('label')?.textContent") or ""):
            break
        page.keyboard.press("Tab")
    page.keyboard.type("/images")
    page.keyboard.press("Escape")
    page.keyboard.press("Enter")
    page.wait_for_url("**/endpoints?*endpoint=%2Fimages*")
    eventually(lambda: page.locator("#funnel tbody tr").count(), bool)
    link = page.locator("#funnel tbody tr").first.locator("td[data-name=attempts] a")
    link.focus()
    assert "solid" == link.evaluate("one => getComputedStyle(one).outlineStyle") or page.keyboard.press("Tab") is None
    link.focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/events?*")


def test_names_that_mean_harm(browser: "Browser", tmp_path: Path) -> None:
    """They are shown as text, run nowhere, turn nothing round, and widen no page."""
    url = fresh(tmp_path)
    populate_oddly(url)
    with shown(url) as base:
        for width in (360, 1440):
            context = browser.new_context(viewport={"width": width, "height": 900})
            page = context.new_page()
            alerts: list[str] = []
            page.on("dialog", lambda dialog: alerts.append(dialog.message))  # noqa: B023 - this page's own
            for path in PAGES:
                page.goto(base + path)
                assert (width, []) == (page.evaluate("document.documentElement.scrollWidth"), page.evaluate(_WIDE)), (
                    path
                )
            page.goto(f"{base}/events")
            eventually(lambda: page.locator("#events tbody tr").count(), bool)  # noqa: B023 - this page's own
            page.locator("#events tbody th a").first.click()
            page.wait_for_url("**/attempts/*")
            assert width == page.evaluate("document.documentElement.scrollWidth")
            assert [] == alerts
            context.close()
