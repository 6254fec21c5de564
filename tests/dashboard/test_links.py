"""Where numbers lead: to as many joined events as the number says, on every page, or else nowhere."""

import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from html import unescape
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

import attrs
import httpx
import pytest

from flovia.core.encoding import JsonValue
from flovia.dashboard.filters import Filters
from flovia.dashboard.linking import Linker
from flovia.ledger.opening import open_ledger
from tests.dashboard.shop import WHOLE, fresh, page, served, story, write

SOME = 3
"""Rows of a table whose links are followed where nobody looks for long."""
OF_ROWS = ("attempts", "payments")
"""Columns that say how many events are behind the name of a row."""


@attrs.frozen
class Link:
    """A link to joined events, what it says, and how many events that must be."""

    href: str
    says: str
    count: int


def text_of(html: str) -> str:
    """What a piece of a page says."""
    return " ".join(unescape(re.sub("<[^>]+>", " ", html)).split())


def linked(text: str) -> Iterator[Link]:
    """The links of a page whose row or text says how many events are behind them."""
    for table in re.findall("<table.*?</table>", text, re.DOTALL):
        names = [text_of(one) for one in re.findall('<th scope="col".*?</th>', table)]
        for row in re.findall('<tr><th scope="row".*?</tr>', table, re.DOTALL):
            cells = dict(zip(names, re.findall("<t[hd].*?</t[hd]>", row, re.DOTALL), strict=True))
            of = next((int(text_of(cells[name]).replace(",", "")) for name in OF_ROWS if name in cells), None)
            for name, cell in cells.items():
                for href, said in links(cell):
                    yield from _of_cell(name, href, said, of)
    outside = re.sub("<table.*?</table>", "", text, flags=re.DOTALL)
    for href, said in links(outside):
        number = re.fullmatch(r"([\d,]+)|The ([\d,]+) attempts? behind this", said)
        if number:
            yield Link(href, said, int((number[1] or number[2]).replace(",", "")))
    for bars in re.findall('<ol class="bars">.*?</ol>', text, re.DOTALL):
        for item in re.findall("<li>.*?</li>", bars, re.DOTALL):
            for href, said in links(item):
                of_challenge = re.search(r"challenge .*? of (\d+)", text_of(item))
                assert of_challenge is not None
                yield Link(href, said, int(of_challenge[1]))


def _of_cell(name: str, href: str, said: str, of: int | None) -> Iterator[Link]:
    last = said.rpartition(" ")[2]
    if said.replace(",", "").isdigit():
        yield Link(href, f"{name}: {said}", int(said.replace(",", "")))
    elif "%" in said and of is not None:
        yield Link(href, f"{name}: {said}", round(float(said.partition(" ")[0]) * of / 100))
    elif name.startswith("not delivered because"):
        yield Link(href, f"{name}: {said}", int(last))
    elif of is not None:
        yield Link(href, f"{name}: {said}", of)


def links(html: str) -> list[tuple[str, str]]:
    """Where its links to joined events lead, and what they say."""
    found = re.findall(r'<a [^>]*href="(/events\?[^"]*)"[^>]*>(.*?)</a>', html, re.DOTALL)
    return [(unescape(href), text_of(said)) for href, said in found]


def count(client: httpx.Client, href: str) -> int:
    """How many joined events a link leads to."""
    total, query = 0, parse_qsl(urlsplit(href).query)
    before = ""
    while True:
        more = [("before", before)] if before else []
        found = client.get(f"/api/events?{urlencode([*query, ('limit', '500'), *more])}").json()
        total += len(found["events"])
        if found["next"] is None:
            return total
        before = found["next"]


def wrong(client: httpx.Client, path: str) -> tuple[list[Link], list[str]]:
    """The links of a page, and those that lead to another number of events than they say."""
    found = list(linked(page(client, path)))
    # Rows of one table differ in what they name alone: where nobody looks for long, the first of them.
    shapes: Counter[str] = Counter()
    asked: dict[str, int] = {}
    for href in dict.fromkeys(one.href for one in found):
        shape = re.sub("=[^&]*", "", href)
        shapes[shape] += 1
        if WHOLE or shapes[shape] <= SOME:
            asked[href] = count(client, href)
    counted = {one.href: asked.get(one.href, one.count) for one in found}
    return found, [
        f"{path}: {one.says} ({one.count}) leads to {counted[one.href]}: {one.href}"
        for one in found
        if counted[one.href] != one.count
    ]


@pytest.mark.parametrize("narrowed", ["", "since=2024-02-01&until=2024-03-01&workflow=nightly-brief"])
@pytest.mark.parametrize(
    ("path", "least"),
    [("/", 20), ("/endpoints", 60), ("/revenue", 5), ("/pricing", 10), ("/latency", 10), ("/integrity", 9)],
)
def test_a_number_leads_to_as_many_events(client: httpx.Client, path: str, least: int, narrowed: str) -> None:
    """Also with a time chosen, and a workflow, which events know and reports do not."""
    found, off = wrong(client, f"{path}?{narrowed}")
    assert [] == off
    assert len(found) >= least // (2 if narrowed else 1)


def test_what_no_filter_can_tell_leads_nowhere(client: httpx.Client) -> None:
    """Cohorts are payers, moves and pairs are parts of sessions, and money without a request has no endpoint."""
    for path in ("/retention", "/retention?by=endpoint"):
        grid = re.search("<table.*?</table>", page(client, path), re.DOTALL)
        assert grid is not None
        assert [] == links(grid[0])
    for table in re.findall("<table.*?</table>", page(client, "/workflows"), re.DOTALL):
        if not re.search("<caption>(Paths|Declared)", table):
            assert [] == links(table)
    assert "(no request)" not in {said for _, said in links(page(client, "/revenue"))}
    row: dict[str, JsonValue] = {"endpoint": "/a", "rail": None, "price": "100", "currency": "sgd"}
    link = Linker(root="", filters=Filters())
    assert "" == link.route(row)
    assert "" == link.route({**row, "rail": "mpp", "currency": None})


def test_a_path_leads_to_the_attempts_of_its_sessions(client: httpx.Client) -> None:
    """All of them, and so at least one for each session."""
    text = page(client, "/workflows")
    items = re.search('<ol class="paths">.*?</ol>', text, re.DOTALL)
    assert items is not None
    for item in re.findall("<li>.*?</li>", items[0], re.DOTALL):
        ((href, said),) = links(item)
        sessions = re.search(r"(\d+) sessions?", text_of(item))
        assert sessions is not None
        assert said.startswith("attempts")
        assert count(client, href) >= int(sessions[1])


def test_what_is_pending_and_what_is_expired(tmp_path: Path) -> None:
    """Both are unpaid, and time tells them apart; who asked with HEAD could not pay, and is neither."""
    url, now = fresh(tmp_path), time.time()
    write(url, story(1), story(2), at=now - 250)  # a story is so many hundred seconds later
    write(url, story(3), story(4), story(5), at=now - 3600)
    with closing(open_ledger(url)) as ledger:
        for number, at in ((6, now - 700), (7, now - 3600)):
            head = [attrs.evolve(one, http_method="HEAD", at=one.at + at) for one in story(number)]
            ledger.append([attrs.evolve(one, provider=one.provider and "hitpay").to_row() for one in head])
    with served(url) as client:
        states = client.get("/api/integrity").json()["states"]
        assert (2, 3) == (states["pending"], states["expired"])
        found, off = wrong(client, "/integrity")
        assert [] == off
        assert "state: expired" in [one.says for one in found]
        assert "state: pending" not in [one.says for one in found]


def test_prices_in_two_currencies(tmp_path: Path) -> None:
    """Each leads to its own attempts, though the route is the same."""
    url = fresh(tmp_path)
    write(url, *(story(number, "settle", "deliver") for number in range(1, 4)), currency="sgd")
    write(url, story(4, "settle", "deliver"), story(5), currency="usd")
    with served(url) as client:
        found, off = wrong(client, "/pricing")
        assert [] == off
        assert {"The 3 attempts behind this", "The 2 attempts behind this"} <= {one.says for one in found}
