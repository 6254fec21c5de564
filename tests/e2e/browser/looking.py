"""Looking at one page as a visitor's browser does, and writing down what there is to complain about."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Final, Literal, TypeVar
from urllib.parse import urlsplit

import attrs

from tests import patience
from tests.require import node_module

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Response
    from starlette.types import Receive, Scope, Send

T = TypeVar("T")

PATIENCE_S: Final = 60.0
WIDTHS: Final = (360, 768, 1440)
SCHEMES: Final[tuple[Literal["light", "dark"], ...]] = ("light", "dark")
MOST_BYTES: Final = 150 * 1024
"""What one page may transfer in all, headers included."""
FIRST_PAINT_MS: Final = 200
"""How long after the request for it a page may show nothing."""
QUIET_MS: Final = 100
"""How long :func:`plain_page` takes, at most, on a machine that does nothing else."""
_LOADS: Final = 3
_ROUNDS: Final = 8
_WATCH: Final = """
window.shifts = [];
new PerformanceObserver((list) => {
  for (const one of list.getEntries()) {
    if (!one.hadRecentInput) {
      window.shifts.push([one.value, ...one.sources.map((source) => source.node ? source.node.nodeName : "?")]);
    }
  }
}).observe({type: "layout-shift", buffered: true});
"""
_TRANSFERRED: Final = """
() => [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")]
  .filter((one) => one.initiatorType !== "eventsource")
  .map((one) => [one.name, one.transferSize])
"""
_PAINT: Final = """
() => new Promise((tell) => new PerformanceObserver((list) => {
  for (const one of list.getEntriesByName("first-contentful-paint")) tell(one.startTime);
}).observe({type: "paint", buffered: true}))
"""
_RULES: Final = b"body { font: 16px/1.5 sans-serif } td { padding: 4px 8px; border-bottom: 1px solid #ccc }"
_ROW: Final = "<tr>" + "".join(f"<td>test {number}</td>" for number in range(9)) + "</tr>"
_TABLE: Final = (
    f"<!doctype html><title>test</title><link rel=stylesheet href=look.css><table>{_ROW * 50}</table>".encode()
)
_AXE: Final = """
async () => (await axe.run(document, {resultTypes: ["violations"]})).violations.map(
  (one) => `${one.id}: ${one.help} (${one.nodes.map((node) => node.target.join(" ")).slice(0, 3).join(", ")})`)
"""


@attrs.define
class Seen:
    """A page that is open, and what was noticed while it loaded."""

    page: "Page"
    width: int
    url: str
    complaints: list[str] = attrs.field(factory=list[str])
    response: "Response | None" = None

    def look(self) -> list[str]:
        """Everything there is to complain about."""
        found = [*self.complaints, *self._policy(), *self._weight(), *self._layout()]
        return [*found, *(f"axe: {one}" for one in self._axe())]

    def _policy(self) -> list[str]:
        policy = "" if self.response is None else self.response.headers.get("content-security-policy", "")
        right = "default-src 'self'" in policy and "unsafe-" not in policy and "*" not in policy
        return [] if right else [f"its policy is {policy!r}"]

    def _weight(self) -> list[str]:
        sizes: list[tuple[str, int]] = [(str(name), int(size)) for name, size in self.page.evaluate(_TRANSFERRED)]
        total = sum(size for _, size in sizes)
        if 0 < total <= MOST_BYTES:
            return []
        return [f"{total} bytes were transferred: {sorted(sizes, key=lambda one: -one[1])[:5]}"]

    def _layout(self) -> list[str]:
        shifts: list[object] = self.page.evaluate("window.shifts")
        wide: int = self.page.evaluate("document.documentElement.scrollWidth")
        return [
            *([f"the layout shifted: {shifts}"] if shifts else []),
            *([f"it is {wide} px wide in a window of {self.width}"] if wide > self.width else []),
        ]

    def _axe(self) -> list[str]:
        self.page.evaluate(axe())
        found: list[str] = self.page.evaluate(_AXE)
        return found


@lru_cache(maxsize=1)
def axe() -> str:
    """The source of axe-core. It goes in by the debugger, so that the page's policy stays as it is."""
    return (node_module("axe-core") / "axe.min.js").read_text(encoding="utf-8")


@contextmanager
def seen(browser: "Browser", url: str, width: int, scheme: Literal["light", "dark"]) -> Generator[Seen]:
    """Open a page with an empty cache, scroll to its end and back, and give it a moment."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    context.set_default_timeout(60_000)
    context.add_init_script(_WATCH)
    page = context.new_page()
    found = Seen(page=page, width=width, url=url)
    host = urlsplit(url).netloc
    page.on(
        "console",
        lambda said: found.complaints.append(f"console: {said.text}") if said.type in ("error", "warning") else None,
    )
    page.on("pageerror", lambda error: found.complaints.append(f"error: {error}"))
    page.on(
        "request",
        lambda asked: (
            found.complaints.append(f"asked elsewhere: {asked.url}")
            if urlsplit(asked.url).netloc not in (host, "")
            else None
        ),
    )
    found.response = page.goto(url, wait_until="load")
    page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
    page.wait_for_timeout(400)
    page.evaluate("window.scrollTo(0, 0)")
    page.wait_for_timeout(200)
    yield found
    context.close()


def eventually(look: Callable[[], T], good: Callable[[T], bool]) -> T:
    """What is found on a page once it is ``good``, or what was found last; whatever page comes in the meantime."""
    from playwright.sync_api import Error

    def found() -> T:
        while True:
            try:
                return look()
            except Error as error:
                # Asked of a page that is being left: the next one answers.
                if "Execution context was destroyed" not in error.message:
                    raise

    return patience.eventually(found, good)


async def plain_page(scope: "Scope", receive: "Receive", send: "Send") -> None:
    """A table of fifty rows and a few rules for it: how fast this machine asks, lays out and paints at this moment."""
    if scope["type"] == "http":
        kind, body = (b"text/css", _RULES) if scope["path"] == "/look.css" else (b"text/html", _TABLE)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
        await send({"type": "http.response.body", "body": body})


@attrs.frozen(kw_only=True)
class Painted:
    """When pages first show something, milliseconds: the best of a few loads of the page, which others on the machine
    disturb least, and the median of the other. ``plain``: of :func:`plain_page`, in between.

    That one takes :data:`QUIET_MS` at most where nothing else runs. Where it takes twice as long, everything does, and
    so may the page.
    """

    page: float
    plain: float

    @property
    def soon(self) -> bool:
        """Whether the page is within the budget, on a machine as busy as this one was."""
        return self.page <= FIRST_PAINT_MS * max(1.0, self.plain / QUIET_MS)


def first_paint(browser: "Browser", url: str, plain: str) -> list[Painted]:
    """Several loads from an empty cache, round by round until one is within the budget. ``plain``: where the plain page
    is served.
    """
    rounds: list[Painted] = []
    for _ in range(_ROUNDS):
        pairs = [(_painted(browser, plain), _painted(browser, url)) for _ in range(_LOADS)]
        rounds.append(Painted(plain=median(one for one, _ in pairs), page=min(one for _, one in pairs)))
        if rounds[-1].soon:
            break
    return rounds


def _painted(browser: "Browser", url: str) -> float:
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    page.goto(url, wait_until="load")
    found = float(page.evaluate(_PAINT))
    context.close()
    return found


@contextmanager
def window(browser: "Browser", **options: object) -> "Generator[Page]":
    """A window, with options of its own; what its page complains about fails the test."""
    context = browser.new_context(**options)  # type: ignore[arg-type]  # what new_context takes
    context.set_default_timeout(PATIENCE_S * 1000)
    found = context.new_page()
    errors: list[str] = []
    found.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    found.on("pageerror", lambda error: errors.append(str(error)))
    yield found
    context.close()
    assert [] == errors


def screenshot(browser: "Browser", url: str, file: Path, width: int, scheme: Literal["light", "dark"]) -> None:
    """A picture of a whole page, to look at."""
    with seen(browser, url, width, scheme) as found:
        found.page.screenshot(path=file, full_page=True)
