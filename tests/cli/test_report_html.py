"""``flovia report … --html``: the numbers of ``--json`` on one page that holds nothing but text and its own style."""

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any, Final

import attrs
import pytest

from flovia.insights.asking import Asked
from flovia.reports.answer import Answer
from flovia.reports.exact import exact_grids
from flovia.reports.html import page
from flovia.reports.parts import Grid, Line, Words
from tests.cli.test_report import (
    NOW,
    _folder,  # noqa: F401 - a fixture
    answer,
    report,
    story,
    write,
)

DAY: Final = 86400.0
REPORTS: Final = ("funnel", "latency", "revenue", "pricing", "integrity", "retention", "workflows")
VOID: Final = {"meta", "path"}
HOSTILE: Final = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'; --&amp;</td></table></style>",
    "\u202egnp.exe\u2066\u0000\x1b[31m\r\n\ud800",
    "\u05d0\u05d1/\u0645\u0631",
    "x" * 4096,
)


class Read(HTMLParser):
    """A page: its tables by their captions, its elements, and whether each that was opened was closed."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.tables: list[tuple[str, list[list[str]]]] = []
        self.text = ""
        self._open: list[str] = []
        self._cell: list[str] | None = None
        self.feed(text)
        self.close()
        assert [] == self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """An element begins."""
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "table":
            self.tables.append(("", []))
        if tag == "tr":
            self.tables[-1][1].append([])
        if tag in ("th", "td", "caption"):
            self._cell = []

    def handle_endtag(self, tag: str) -> None:
        """An element ends: the one that was opened last."""
        if tag in VOID:
            return
        assert tag == self._open.pop()
        if tag in ("th", "td", "caption") and self._cell is not None:
            text = "".join(self._cell)
            if tag == "caption":
                self.tables[-1] = (text, self.tables[-1][1])
            else:
                self.tables[-1][1][-1].append(text)
            self._cell = None

    def handle_data(self, data: str) -> None:
        """Text."""
        self.text += data
        if self._cell is not None and self._open[-1] != "title":
            self._cell.append(data)

    def table(self, caption: str) -> list[list[str]]:
        """The only table with this caption, the names of its columns first."""
        (found,) = [rows for name, rows in self.tables if name == caption]
        return found


def shop() -> None:
    """A ledger with something for every report: prices, failures, refunds, payers that come back."""
    number = 0
    for week in range(3):
        for payer in ("ann", "bob"):
            for steps in (["settle", "deliver"], ["refuse"], [], ["settle", "fail"], ["settle", "deliver", "part"]):
                number += 1
                more = {"payer": payer, "workflow": "nightly" if payer == "bob" else None}
                at = NOW + week * 7 * DAY + number * 60
                write(story(number, *steps), at=at, amount=100 * (1 + week % 2), endpoint=f"/{payer}", **more)
    write(story(99, "settle", "deliver"), payer="cy", currency="jpy", workflow=None)
    write(story(98, "settle", "deliver"), payer="own:me", workflow=None)


def html(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> tuple[str, Read]:
    """The page, and what is in it."""
    lines, _ = report(capsys, *arguments, "--html", status=status)
    text = "\n".join(lines) + "\n"
    return text, Read(text)


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of an answer by its path; an empty object or list is one, and so is a list of no objects."""
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from leaves(inner, f"{path}.{name}" if path else name)
    elif isinstance(value, list) and any(isinstance(one, dict) for one in value):
        for number, inner in enumerate(value):
            yield from leaves(inner, f"{path}.{number}")
    else:
        yield path, value


def exact(found: Read) -> dict[str, str]:
    """The values of the tables with all numbers, by their paths."""
    values = dict(found.table("members")[1:])  # type: ignore[arg-type]  # pairs
    beginning = [name for name, _ in found.tables].index("members")
    for name, (heads, *rows) in found.tables[beginning + 1 :]:
        for number, row in enumerate(rows):
            values |= {f"{name}.{number}.{head}": cell for head, cell in zip(heads, row, strict=True) if cell}
    return values


@pytest.mark.parametrize("name", REPORTS)
def test_all_numbers_are_those_of_json(capsys: pytest.CaptureFixture[str], name: str) -> None:
    """Each value that --json gives is on the page, exactly, and no other."""
    shop()
    arguments = (name, "--own", "own:*", "--until", "2025-08-01", *(("--least", "2") if name == "pricing" else ()))
    found = answer(capsys, *arguments)
    assert found.get("rows") != []
    wanted = {
        path: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for path, value in leaves(found)
        if value != ""
    }
    _, read = html(capsys, *arguments)
    assert wanted == exact(read)


@pytest.mark.parametrize("name", REPORTS)
def test_the_tables_are_those_of_a_terminal(capsys: pytest.CaptureFixture[str], name: str) -> None:
    """What a terminal shows is on the page, cell by cell, and what was left out."""
    shop()
    arguments = (name, "--own", "own:*", "--until", "2025-08-01")
    lines, _ = report(capsys, *arguments)
    _, read = html(capsys, *arguments)
    cells = {cell.strip() for _, rows in read.tables for row in rows for cell in row}
    words = {part for line in lines if "  " in line for part in re.split(r" {2,}", line.strip())}
    if name in ("funnel", "latency", "revenue"):
        heads = set(re.split(r" {2,}", lines[0]))
        assert set() == {word for word in words - heads if word not in cells and not re.search("[▁-█]", word)}
    assert sum(len(rows) for _, rows in read.tables) > 3
    left_out = [line.removeprefix("left out: ") for line in lines if line.startswith("left out: ")]
    assert all(one in read.text for one in left_out)
    assert name == "integrity" or left_out


def test_all_on_one_page(capsys: pytest.CaptureFixture[str]) -> None:
    """Every report in a section of its own that the list at the beginning leads to; as text and JSON, too."""
    shop()
    _, read = html(capsys, "all", "--until", "2025-08-01")
    sections = [found["id"] for tag, found in read.elements if tag == "section"]
    assert sorted(REPORTS) == sorted(map(str, sections))
    assert [f"#{name}" for name in sections] == [found["href"] for tag, found in read.elements if tag == "a"]
    assert len({found["id"] for _, found in read.elements if "id" in found}) == 2 * len(REPORTS)
    every = answer(capsys, "all", "--until", "2025-08-01")
    for one in every["reports"]:
        assert one == answer(capsys, one["report"], "--until", "2025-08-01")
    lines, _ = report(capsys, "all", "--until", "2025-08-01")
    assert all(any(line.startswith(f"{name}  ") for line in lines) for name in REPORTS)
    assert "--csv is for one of them" in report(capsys, "all", "--csv", status=2)[1]


def test_nothing_comes_from_elsewhere(capsys: pytest.CaptureFixture[str]) -> None:
    """No script, no address, no handler, no style but the one that the policy names by its hash; ASCII only."""
    shop()
    text, read = html(capsys, "all")
    assert text.isascii()
    assert not re.search(r"https?:|//|url\(|@import|javascript:", text)
    tags = {tag for tag, _ in read.elements}
    assert not tags & {"script", "link", "img", "iframe", "object", "embed", "form", "base", "image", "use"}
    names = {name for _, found in read.elements for name in found}
    assert not {name for name in names if name.startswith("on") or name in ("style", "src", "xlink:href", "srcset")}
    (policy,) = [found["content"] for _, found in read.elements if found.get("http-equiv") == "Content-Security-Policy"]
    (style,) = re.findall("<style>(.*?)</style>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'" == policy
    assert "prefers-color-scheme:dark" in style
    assert "@media print" in style


def test_tables_can_be_read_aloud(capsys: pytest.CaptureFixture[str]) -> None:
    """Each has a caption, heads that say what they are of, and sparklines have words."""
    shop()
    _, read = html(capsys, "all", "--until", "2025-08-01")
    assert all(caption for caption, _ in read.tables)
    assert len(read.tables) == len([tag for tag, _ in read.elements if tag == "caption"])
    assert {"col", "row"} == {found["scope"] for tag, found in read.elements if tag == "th"}
    assert all(head for _, rows in read.tables for head in rows[0]), "a column without a name"
    drawings = [found for tag, found in read.elements if tag == "svg"]
    assert drawings
    for found in drawings:
        assert "img" == found["role"]
        assert re.fullmatch(r"attempts of each (day|\d+ days) from 2025-06-15: [\d, ]+", found["aria-label"] or "")


@pytest.mark.parametrize("name", HOSTILE)
def test_names_of_strangers(capsys: pytest.CaptureFixture[str], name: str) -> None:
    """Whatever they hold, they are text: no element, no attribute, and no character that nobody sees."""
    plain = Read(page([strange("plain")]))
    read = Read(page([strange(name)]))
    # A long text has a box of its own.
    assert [tag for tag, _ in plain.elements if tag != "span"] == [tag for tag, _ in read.elements if tag != "span"]
    assert {name for _, found in read.elements for name in found} == {
        name for _, found in plain.elements for name in found
    }
    assert not {"\u202e", "\u2066", "\x00", "\x1b", "\ud800"} & set(read.text)
    assert page([strange(name)]).isascii()
    (cell,) = [row[0] for row in read.table("What it is")[1:]]
    assert cell == "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name).strip()


def strange(name: str) -> Answer:
    """An answer with a name wherever one can be."""
    grid = Grid(caption="What it is", names=("endpoint", "by day"), rows=[(name, Line((1, 0, 3), name))], left=1)
    return Answer(
        name="funnel",
        about=name,
        asked=Asked(endpoint=name),
        now=NOW,
        payload={"rows": [{"endpoint": name, name: 1}], name: name},
        rows=(),
        show=lambda: [grid, attrs.evolve(grid, caption=name), Words(lead=name, text=name)],
        left_out=[name],
        some=True,
        nothing=str,
    )


def test_hostile_events(capsys: pytest.CaptureFixture[str]) -> None:
    """From the ledger to the page: endpoint, workflow, payer and problem are anybody's words."""
    for number, name in enumerate(HOSTILE[:3]):
        write(story(number, "settle", "deliver"), endpoint=f"/{name}", workflow=name, payer=name)
    _, read = html(capsys, "all")
    assert not {tag for tag, _ in read.elements} & {"script", "img"}
    assert f"/{HOSTILE[0]}" in read.text


def test_a_time_and_an_endpoint(capsys: pytest.CaptureFixture[str]) -> None:
    """The page says what it is about, and when it was made; and it does not say where the ledger is."""
    shop()
    arguments = ("--since", "2025-06-01", "--until", "2025-07-01", "--endpoint", "/ann", "--test")
    text, read = html(capsys, "funnel", *arguments)
    assert "from 2025-06-01 00:00:00Z until 2025-07-01 00:00:00Z" in read.text
    assert "Only the endpoint/ann" in read.text
    assert "Test moneycounted as well" in read.text
    assert re.search(r"Made\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ, by flovia \d", read.text)
    assert "flovia.db" not in text


def test_nothing_on_a_page(capsys: pytest.CaptureFixture[str]) -> None:
    """It says so, and the exit status does."""
    write()
    _, read = html(capsys, "all", status=1)
    assert read.text.count("There is nothing to report.") == len(REPORTS)


def test_one_form_at_a_time(capsys: pytest.CaptureFixture[str]) -> None:
    """A page, JSON or CSV."""
    write(story(1))
    assert "choose one of" in report(capsys, "funnel", "--html", "--json", status=2)[1]


def test_exact_tables_of_no_rows() -> None:
    """A list that is empty is a member; texts that are not numbers stay as they are."""
    (members,) = exact_grids({"rows": [], "ids": ["a", "b"], "inner": {"none": None}, "empty": {}})
    assert [("rows", "[]"), ("ids", '["a", "b"]'), ("inner.none", "null"), ("empty", "{}")] == list(
        map(tuple, members.rows)
    )


def test_what_decides_comes_first(capsys: pytest.CaptureFixture[str]) -> None:
    """A narrow screen shows it: conversion and money per attempt right after the names, the rest in its order."""
    shop()
    _, read = html(capsys, "funnel")
    heads = ["endpoint", "rail", "price", "conversion", "gave up", "attempts", "presented", "paid", "delivered"]
    assert heads == read.table("From the price to the answer")[0][:9]
    _, read = html(capsys, "pricing")
    assert ["price", "per attempt", "attempts", "paid"] == read.table("/ann  mpp")[0]


def test_a_row_is_a_card_on_a_phone(capsys: pytest.CaptureFixture[str]) -> None:
    """Each cell of a table of more than two columns knows the name of its column, which stands beside it there."""
    shop()
    text, read = html(capsys, "funnel", "--by", "endpoint")
    cells = [found for tag, found in read.elements if tag == "td" and "data-name" in found]
    assert ["conversion", "gave up"] == [found["data-name"] for found in cells[:2]]
    assert "content:attr(data-name)" in text
    _, read = html(capsys, "integrity")
    looks = [found.get("class") for tag, found in read.elements if tag == "table"]
    assert [None, "cards"] == looks[:2]


def test_the_queue_has_room(capsys: pytest.CaptureFixture[str]) -> None:
    """What to do and the ids are below each row and as wide as the page, together with it on paper."""
    shop()
    text, read = html(capsys, "integrity")
    heads, first, below, *_ = read.table("What needs somebody")
    assert ["began", "state", "what happened", "endpoint", "came", "asked"] == heads
    assert len(heads) == len(first)
    (words,) = below
    assert words.startswith("what to do ")
    assert "challenge challenge-" in words
    assert "payment pay-" in words
    spans = {found["colspan"] for tag, found in read.elements if tag == "td" and found.get("class") == "below"}
    assert {"6"} == spans
    assert "tbody:has(.below){break-inside:avoid}" in text


def test_captions_are_never_cut(capsys: pytest.CaptureFixture[str]) -> None:
    """They stay where they are when their table is scrolled, and are no wider than the screen."""
    shop()
    text, read = html(capsys, "all")
    assert "caption span{position:sticky;left:0;" in text
    assert text.count("<caption><span>") == len(read.tables)
