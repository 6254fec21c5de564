"""A small world of which every report is true; ``python -m tests.world --attempts 100000`` is a whole one."""

import ast
import json
import os
import tempfile
from collections import Counter
from collections.abc import Generator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from flovia.cli.app import run
from flovia.core.events import Event
from flovia.ledger.sql import SqlLedger
from tests.postgres.server import Server
from tests.world import counting, counting_money, counting_people, counting_workflows
from tests.world.__main__ import RAM, opened, show
from tests.world.clock import Clock
from tests.world.comparing import FUNNELS, REVENUES, compare
from tests.world.explaining import explain_some
from tests.world.matching import Tally
from tests.world.reports import ByHand, BySql
from tests.world.truth import WEEK_MS, Truth
from tests.world.world import END_MS, World, live

END = datetime.fromtimestamp(END_MS / 1000, UTC).isoformat()
FOLDER = Path(__file__).parent
ATTEMPTS = 5000 if os.environ.get("CI") else 1500
WORLD = ("truth", "clock", "plan", "bank", "hitpay", "shop", "buying", "purchases", "visiting", "people", "world")
"""What makes a world: none of it knows of tests, or of the insights."""
PLAIN = ("truth", "counting", "counting_money", "counting_people", "counting_workflows", "matching")
"""What knows and counts the truth: none of it knows of flovia."""


def small(url: str, attempts: int, seed: int) -> tuple[World, list[Event], list[Tally]]:
    """A world on a ledger, its events (of one in memory), and what its reports say: by SQL, or of these events."""
    clock = Clock()
    with closing(opened(url, clock)) as ledger:
        world = live(ledger, clock, attempts, seed)
        explain_some(ledger, world.truth)
        if isinstance(ledger, SqlLedger):
            return world, [], compare(world.truth, BySql(ledger))
        events = [event for _, event in ledger.read_events(limit=1_000_000)]
        return world, events, compare(world.truth, ByHand(events))


@pytest.fixture(scope="module")
def folder() -> Generator[Path]:
    """A folder in memory, where there is one."""
    with tempfile.TemporaryDirectory(dir=RAM if RAM.is_dir() else None) as found:
        yield Path(found)


@pytest.fixture(scope="module")
def lived(folder: Path) -> tuple[World, list[Event], list[Tally]]:
    """Some thousand attempts, in a SQLite file."""
    return small(f"sqlite:///{folder}/ledger.db", ATTEMPTS, 1)


def test_every_number_is_right(
    lived: tuple[World, list[Event], list[Tally]], capsys: pytest.CaptureFixture[str]
) -> None:
    """What is answered to five questions is what the truth counts, and the planted best prices are found."""
    world, _, tallies = lived
    assert ATTEMPTS <= sum(1 for _ in world.truth.attempts())
    assert 0 == show(tallies)
    assert capsys.readouterr().out.endswith(" 0 differ\nok\n")


def test_everything_planted_is_found(lived: tuple[World, list[Event], list[Tally]]) -> None:
    """Each state of integrity is there, and each way in which something can need somebody."""
    truth = lived[0].truth
    states = counting_money.states(truth, counting.Question())
    assert [] == [state for state, count in states.items() if not count]
    assert set(counting_money.STATES) | {"not_paid", "not_accepted", "mismatched"} == {
        story.fate for story in truth.stories
    }


def test_the_command_line(
    lived: tuple[World, list[Event], list[Tally]], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """``flovia report`` prints these numbers."""
    truth, everything = lived[0].truth, counting.Question()
    stories = counting.counted(truth, everything)
    tally = Tally("command line")
    for name, all_by, due in (("funnel", FUNNELS, counting.funnel), ("revenue", REVENUES, counting.revenue)):
        by = all_by[0]
        found = asked(folder, capsys, name)["rows"]
        tally.rows(name, due(stories, by), found, ["endpoint", "price", "currency"])
    report = asked(folder, capsys, "integrity", "--limit", "1000")
    tally.rows("queue", counting_money.queue(truth, everything), report["rows"], ["challengeId", "paymentId"])
    report = asked(folder, capsys, "pricing")
    tally.compare("left out", counting.left_out(truth, everything), report["leftOut"])
    tally.rows("pricing", counting_money.pricing(truth, everything), report["rows"], ["endpoint", "currency"])
    weeks = counting.Question(until=END_MS)
    row, by_week, _, _ = counting_people.retention(truth, weeks)
    report = asked(folder, capsys, "retention", "--until", END)
    tally.compare("retention", row | {"rows": by_week}, {name: report[name] for name in [*row, "rows"]})
    due = counting_workflows.workflows(truth, weeks)
    left_out = due.pop("left out")
    report = asked(folder, capsys, "workflows", "--until", END)
    tally.compare("workflows", due, {name: report[name] for name in due})
    assert left_out == {name: report["leftOut"][name] for name in left_out}
    assert ([], True) == (tally.differing, tally.compared > 1000)


def asked(folder: Path, capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    """What a report prints as JSON."""
    ledger = f"sqlite:///{folder}/ledger.db"
    assert 0 == run(["report", *words, "--own", "own:*", "--json", "--ledger", ledger])
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_in_memory() -> None:
    """The same of a memory ledger; and the same seed makes the same world."""
    world, events, tallies = small("memory://", 200, 7)
    assert [] == [line for tally in tallies for line in tally.differing]
    again, same, _ = small("memory://", 200, 7)
    assert events == same
    assert len(world.truth.stories) == len(again.truth.stories)
    other, _, _ = small("memory://", 200, 8)
    assert Counter(one.at for one in world.truth.stories) != Counter(one.at for one in other.truth.stories)


def test_at_another_time() -> None:
    """For a demo the same world can be lived at another time: every event is so much later, and nothing else is."""
    shift_ms = 100 * WEEK_MS
    found: list[list[Event]] = []
    for clock in (Clock(), Clock(shift_ms)):
        ledger = opened("memory://", clock)
        live(ledger, clock, 200, 7)
        found.append([event for _, event in ledger.read_events(limit=1_000_000)])
    here, there = found
    assert [(one.type, one.request_id, round(one.at * 1000) + shift_ms) for one in here] == [
        (one.type, one.request_id, round(one.at * 1000)) for one in there
    ]


def test_on_postgresql(postgres: Server, ledger_template: str) -> None:
    """The same of a PostgreSQL ledger."""
    _, _, tallies = small(postgres.url(postgres.database(ledger_template)), 100, 3)
    assert [] == [line for tally in tallies for line in tally.differing]


def test_a_wrong_number_is_told() -> None:
    """A report that left out one attempt, one cent or one incident would not pass."""
    world, events, _ = small("memory://", 300, 5)
    truth, answers = world.truth, ByHand(events)

    def reports() -> set[str]:
        return {line.partition(" (")[0] for tally in compare(truth, answers) for line in tally.differing}

    assert set() == reports()
    paid = next(one for one in truth.stories if one.fate == "delivered" and one.payer and one.provider == "bank")
    paid.came = (paid.came or 0) + 1
    assert {"revenue", "retention"} <= reports()
    paid.came -= 1
    due = next(one for one in truth.stories if one.fate == "undelivered")
    due.fate = "delivered"
    assert {"integrity"} == reports()
    due.fate = "undelivered"
    gone = truth.stories.pop(next(i for i, one in enumerate(truth.stories) if one.kind == "attempt"))
    assert {"funnel", "latency", "pricing", "integrity"} <= reports()
    truth.stories.insert(0, gone)
    assert set() == reports()


def imported(name: str) -> set[str]:
    """The modules that a file of this folder imports."""
    tree = ast.parse((FOLDER / f"{name}.py").read_text())
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
    return found


@pytest.mark.parametrize("name", WORLD)
def test_the_world_stands_alone(name: str) -> None:
    """What makes a world imports neither the insights, nor pytest, nor what compares: it can be a demo's, too."""
    beyond = {one for one in imported(name) if one.startswith("tests.") and one.split(".")[2] not in WORLD}
    assert set() == beyond - {"tests.world"}
    assert set() == {one for one in imported(name) if one.startswith(("flovia.insights", "flovia.cli", "pytest"))}


@pytest.mark.parametrize("name", PLAIN)
def test_the_truth_knows_nothing_of_flovia(name: str) -> None:
    """The truth, and what counts it, are independent of what they are held against."""
    assert set() == {one for one in imported(name) if one.split(".")[0] == "flovia"}
    near = {one.split(".")[2] for one in imported(name) if one.startswith("tests.world.")}
    assert set() == near - {*PLAIN, "plan"}


def test_the_lists_are_whole() -> None:
    """Every module of the world is held to one of these rules, or is what asks and compares."""
    files = {path.stem for path in FOLDER.glob("*.py")}
    assert {*WORLD, *PLAIN, "reports", "comparing", "explaining", "__main__", "__init__", "test_world"} == files


def test_an_empty_truth_is_no_report() -> None:
    """Of a ledger in which nothing happened nothing is reported, and nothing fails."""
    truth = Truth()
    assert [] == [line for tally in compare(truth, ByHand([])) for line in tally.differing]
