"""The warehouse's page: its SQL runs on DuckDB as it stands, and answers what the reports answer."""

import json
import re
import tempfile
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from flovia.cli.app import run
from flovia.cli.parquet import columns
from flovia.insights.buckets import ERROR, LEAST_MS
from flovia.insights.intervals import difference, share
from tests.docs.snippets import blocks, pages
from tests.insights.test_joined import strict
from tests.tree import ROOT
from tests.world.__main__ import RAM, opened
from tests.world.clock import Clock
from tests.world.explaining import explain_some
from tests.world.world import live

duckdb = pytest.importorskip("duckdb", reason="needs DuckDB: the extra warehouse, which dev brings")

PAGE = Path("docs/guides/warehouse.md")
ATTEMPTS = 1200
Row = Mapping[str, Any]


class Warehouse:
    """A ledger that a small world has written, its export in DuckDB, and what its page's SQL answers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"sqlite:///{folder}/ledger.db"
        clock = Clock()
        with closing(opened(self.url, clock)) as ledger:
            explain_some(ledger, live(ledger, clock, ATTEMPTS, 5).truth)
        for name in ("attempts.parquet", "attempts.ndjson"):
            assert 0 == run(["events", "export", "--joined", str(folder / name), "--ledger", self.url])
        self.connection = duckdb.connect()
        self.connection.execute("SET file_search_path = ?", [str(folder)])
        self.answers: dict[str, list[Row]] = {}
        for block in blocks(PAGE, (ROOT / PAGE).read_text(encoding="utf-8")):
            if block.language == "sql":
                result = self.connection.execute(block.text)
                named = re.match(r"-- (.+)\n", block.text)
                if named:
                    names = [column[0] for column in result.description]
                    self.answers[named[1]] = [dict(zip(names, row, strict=True)) for row in result.fetchall()]


@pytest.fixture(scope="module")
def warehouse() -> Generator[Warehouse]:
    """One for all tests of this page."""
    with tempfile.TemporaryDirectory(dir=RAM if RAM.is_dir() else None) as folder:
        found = Warehouse(Path(folder))
        with closing(found.connection):
            yield found


@pytest.fixture
def report(warehouse: Warehouse, capsys: pytest.CaptureFixture[str]) -> Any:
    """Asks a report, as the page counts: neither test money nor the shop's own payers."""

    def ask(*words: str) -> dict[str, Any]:
        capsys.readouterr()
        assert 0 == run(["report", *words, "--own", "own:*", "--json", "--ledger", warehouse.url])
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        return found

    return ask


def about(wanted: float | None, within: float = 1e-9) -> Any:
    """A number that is not more than so much of itself away, or None."""
    return None if wanted is None else pytest.approx(wanted, rel=within, abs=LEAST_MS if within == ERROR else 1e-12)


def by(rows: Sequence[Row], *names: str) -> dict[tuple[Any, ...], Row]:
    """The rows, by what tells them apart; numbers of any kind alike."""
    return {tuple(str(row[name]) for name in names): row for row in rows}


def test_every_block_has_an_answer(warehouse: Warehouse) -> None:
    """Each question is asked, and no answer is empty; no other page holds SQL that nobody runs."""
    assert [
        *("funnel", "reasons", "latency", "revenue", "pricing", "states", "queue", "second sessions", "cohorts")
    ] == list(warehouse.answers)
    assert [] == [name for name, rows in warehouse.answers.items() if not rows]
    others = [page for page in pages() if page != PAGE]
    assert [] == [
        page for page in others for one in blocks(page, (ROOT / page).read_text("utf-8")) if one.language == "sql"
    ]


def test_every_row_is_valid(warehouse: Warehouse) -> None:
    """Each line of the NDJSON file is a joined event as the schema has it, and no member is unknown."""
    validator = jsonschema.Draft202012Validator(strict())
    lines = (warehouse.folder / "attempts.ndjson").read_text(encoding="utf-8").splitlines()
    assert ATTEMPTS < len(lines)
    for line in lines:
        validator.validate(json.loads(line))


def test_both_files_say_the_same(warehouse: Warehouse) -> None:
    """Parquet has the columns of the page's table, in their order, and the rows of the NDJSON file in theirs."""
    ddl = warehouse.connection.execute("DESCRIBE attempts").fetchall()
    file = warehouse.connection.execute("DESCRIBE SELECT * FROM 'attempts.parquet'").fetchall()
    assert [column[:2] for column in ddl] == [column[:2] for column in file]
    assert list(columns()) == [column[0] for column in file]
    rows = warehouse.connection.execute("SELECT * FROM 'attempts.parquet'").fetchall()
    lines = (warehouse.folder / "attempts.ndjson").read_text(encoding="utf-8").splitlines()
    names = [column[0] for column in file]
    for row, line in zip(rows, lines, strict=True):
        wanted = json.loads(line)
        wanted["provenance"] = dict.fromkeys(("payment", "price", "payer", "workflow")) | wanted["provenance"]
        assert wanted == {
            name: str(value) if isinstance(value, Decimal) else value for name, value in zip(names, row, strict=True)
        }


def test_the_funnel(warehouse: Warehouse, report: Any) -> None:
    """Counts are equal, shares and their intervals too, percentiles within the reports' 1 %."""
    keys = ("endpoint", "rail", "price", "currency")
    found = by(warehouse.answers["funnel"], *keys)
    reasons = warehouse.answers["reasons"]
    wanted = by(report("funnel")["rows"], *keys)
    assert set(wanted) == set(found)
    for key, row in wanted.items():
        mine = found[key]
        counts = ("requests", "challenges", "attempts", "presented", "verified", "delivered", "failed")
        assert [row[name] for name in counts] == [mine[name] for name in counts], key
        part = row["conversion"]
        assert (about(part["value"]), about(part["low"]), about(part["high"])) == (
            mine["conversion"],
            mine["low"],
            mine["high"],
        )
        assert about(row["abandonment"]["value"]) == mine["abandonment"]
        assert (about(row["payP50Ms"], ERROR), about(row["payP95Ms"], ERROR)) == (mine["payP50Ms"], mine["payP95Ms"])
        mine_too = {one["problem"]: one["times"] for one in reasons if key == tuple(str(one[name]) for name in keys)}
        assert row["reasons"] == mine_too


def test_latency(warehouse: Warehouse, report: Any) -> None:
    """How long each part took, and how often it failed."""
    found = by(warehouse.answers["latency"], "endpoint")
    wanted = by(report("latency")["rows"], "endpoint")
    assert set(wanted) == set(found)
    for key, row in wanted.items():
        mine = found[key]
        assert row["attempts"] == mine["attempts"]
        assert (about(row["p50Ms"], ERROR), about(row["p95Ms"], ERROR)) == (mine["p50Ms"], mine["p95Ms"])
        for phase in ("challenge", "verify", "handler"):
            assert about(row[phase]["p95Ms"], ERROR) == mine[f"{phase}P95Ms"]
            assert row[phase]["errors"]["count"] == mine[f"{phase}Errors"]


def test_revenue(warehouse: Warehouse, report: Any) -> None:
    """To the last base unit."""
    keys = ("endpoint", "currency")
    found = by(warehouse.answers["revenue"], *keys)
    wanted = by(report("revenue")["rows"], *keys)
    assert set(wanted) == set(found)
    for key, row in wanted.items():
        names = ("payments", "gross", "refunds", "refunded", "net", "owed")
        assert [str(row[name]) for name in names] == [str(found[key][name]) for name in names], key


def test_pricing(warehouse: Warehouse, report: Any) -> None:
    """What each price brought, which one is current, and what another one would gain."""
    keys = ("endpoint", "rail", "currency", "price")
    found = by(warehouse.answers["pricing"], *keys)
    rows = report("pricing")["rows"]
    assert sum(len(row["prices"]) for row in rows) == len(found)
    for row in rows:
        (current,) = (price for price in row["prices"] if price["price"] == row["current"])
        now = share(current["paid"]["count"], current["attempts"])
        for price in row["prices"]:
            mine = found[tuple(str({**row, **price}[name]) for name in keys)]
            assert (price["attempts"], price["paid"]["count"]) == (mine["attempts"], mine["paid"])
            assert [about(price[name]) for name in ("revenuePerAttempt", "low", "high")] == [
                mine[name] for name in ("revenuePerAttempt", "low", "high")
            ]
            assert (price["price"] == row["current"]) == mine["isCurrent"]
            gain = difference(share(mine["paid"], mine["attempts"]), now, int(price["price"]), int(row["current"]))
            assert [about(one) for one in gain] == [mine[name] for name in ("gain", "gainLow", "gainHigh")]


def test_integrity(warehouse: Warehouse, report: Any) -> None:
    """The states, and the queue in its order."""
    wanted = report("integrity", "--limit", "10000")
    found = {row["state"]: row["attempts"] for row in warehouse.answers["states"]}
    assert {state: count for state, count in wanted["states"].items() if count} == found
    names = ("state", "insight", "endpoint", "challengeId", "paymentId", "requestIds", "currency")
    assert [[row[name] for name in names] for row in wanted["rows"]] == [
        [row[name] for name in names] for row in warehouse.answers["queue"]
    ]
    first = warehouse.answers["queue"][0]["began"]
    assert abs(datetime.fromtimestamp(wanted["rows"][0]["at"], UTC) - first.replace(tzinfo=UTC)) < timedelta(seconds=1)


def test_who_comes_back(warehouse: Warehouse, report: Any) -> None:
    """How many, how soon, and each week's cohort in each week after it."""
    wanted = report("retention")
    (found,) = warehouse.answers["second sessions"]
    second = wanted["secondSession"]
    assert (second["of"], second["count"]) == (found["payers"], found["cameBack"])
    assert wanted["repeat"] == {name: value for name, value in second.items() if name in wanted["repeat"]}
    for theirs, mine in (("value", "share"), ("low", "low"), ("high", "high"), ("p50S", "p50S"), ("p95S", "p95S")):
        assert about(second[theirs]) == found[mine]
    cohorts = {
        (date.fromisoformat(row["cohort"]), int(week[1:])): part["count"]
        for row in wanted["rows"]
        for week, part in row["weeks"].items()
        if part["count"]
    }
    assert cohorts == {(row["cohort"], row["weeksLater"]): row["payers"] for row in warehouse.answers["cohorts"]}
