"""Every page of the showcase and the dashboard, light and dark, narrow and wide, against what was promised of all.

No violation that axe finds, at most 150 KB transferred, nothing from elsewhere, a policy without ``unsafe-``, no
console error, no layout shift, no page wider than its window, and a first paint within 200 ms on loopback.
``FLOVIA_SEEDED_ATTEMPTS=100000`` does it over a large ledger; ``FLOVIA_PICTURES=FOLDER`` keeps what was seen,
and how soon it was painted.
"""

import os
import re
import time
from collections.abc import Generator
from contextlib import closing
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import httpx
import pytest

from flovia.ledger.opening import open_ledger
from flovia.ledger.sql import SqlLedger
from flovia.reports.reading import catch_up
from flovia.showcase.seeding import PART, Where, seed
from tests.e2e.browser.looking import SCHEMES, WIDTHS, axe, first_paint, screenshot, seen
from tests.showcase.site import served

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.browser

ATTEMPTS: Final = int(os.environ.get("FLOVIA_SEEDED_ATTEMPTS", "2000"))
PICTURES: Final = os.environ.get("FLOVIA_PICTURES")
PAGES: Final = (
    "/showcase",
    "/showcase/hitpay-mpp",
    "/showcase/hitpay-mpp?step=3",
    "/dashboard/",
    "/dashboard/endpoints",
    "/dashboard/revenue",
    "/dashboard/pricing",
    "/dashboard/latency",
    "/dashboard/retention",
    "/dashboard/workflows",
    "/dashboard/integrity",
    "/dashboard/events",
)
MANY: Final = ("an attempt", "a case")
# Each width, and each scheme; for pictures all of both.
LOOKS: Final = [(1440, "light"), (768, "light"), (360, "dark")] if not PICTURES else [*product(WIDTHS, SCHEMES)]


@pytest.fixture(scope="module")
def url(browser: "Browser", tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    """The site over a seeded ledger that reports have read; nothing is made where there is no browser."""
    del browser
    folder = tmp_path_factory.mktemp("pages")
    where = Where(url=f"sqlite:///{folder}/ledger.db", secret=b"test-secret-of-the-seeded-world!", now=time.time())
    made, number = 0, 0
    while made < ATTEMPTS:
        number += 1
        made += seed(where, min(PART, ATTEMPTS - made), number=number)
    with closing(open_ledger(where.url)) as ledger:
        assert isinstance(ledger, SqlLedger)
        catch_up(ledger)
    with served(folder) as found:
        for page in PAGES:
            httpx.get(f"{found}{page}", timeout=60)
        yield found


@pytest.fixture(scope="module")
def one_of(url: str) -> dict[str, str]:
    """Pages of which there are many: the address of one of each."""
    found = {"an attempt": ("events", "attempts"), "a case": ("integrity", "integrity")}
    addresses: dict[str, str] = {}
    for name, (page, below) in found.items():
        links = re.findall(rf'href="(/dashboard/{below}/[^"#?]+)"', httpx.get(f"{url}/dashboard/{page}").text)
        assert links, f"no link leads to {name}"
        addresses[name] = links[0]
    return addresses


def test_every_page_is_looked_at(url: str) -> None:
    """What the pages lead to is in the list above: a page that is added has to be kept to the same."""
    linked: set[str] = set()
    for page in PAGES:
        answer = httpx.get(f"{url}{page}")
        assert 200 == answer.status_code, page
        for address in re.findall(r'<a [^>]*href="(/[^"#?]*)', answer.text):
            if not re.search(r"/(api|static|attempts|integrity|runs)/|\.json$", address) and not address.endswith(
                "/paid"
            ):
                linked.add(address)
    assert set() == linked - {page.partition("?")[0] for page in PAGES} - {"/", "/dashboard"}


@pytest.mark.parametrize(("width", "scheme"), LOOKS)
@pytest.mark.parametrize("path", [*PAGES, *MANY])
def test_a_page(
    browser: "Browser", url: str, one_of: dict[str, str], path: str, width: int, scheme: Literal["light", "dark"]
) -> None:
    """Nothing to complain about."""
    axe()
    with seen(browser, f"{url}{one_of.get(path, path)}", width, scheme) as found:
        assert found.response is not None
        assert 200 == found.response.status
        assert [] == found.look()
    if PICTURES:
        name = re.sub(r"\W+", "-", path).strip("-")
        file = Path(PICTURES) / f"{name}-{width}-{scheme}.png"
        screenshot(browser, found.url, file, width, scheme)


@pytest.mark.alone
@pytest.mark.parametrize("path", [*PAGES, *MANY])
def test_it_is_painted_soon(browser: "Browser", url: str, plain: str, one_of: dict[str, str], path: str) -> None:
    """The budget that is named for first paint, 200 ms over loopback: the best of several loads."""
    rounds = first_paint(browser, f"{url}{one_of.get(path, path)}", plain)
    if PICTURES:
        with (Path(PICTURES) / "paint.txt").open("a", encoding="utf-8") as file:
            print(f"{path}: {rounds[-1].page:.0f} ms; a plain page: {rounds[-1].plain:.0f} ms", file=file)
    assert rounds[-1].soon, f"{path}: {rounds}"
