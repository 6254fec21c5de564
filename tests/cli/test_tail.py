"""``flovia events tail``: joined events as they come, and each again when something comes for it."""

import json
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import IO, Any

import attrs
import jsonschema
import pytest

from flovia.cli.app import run
from flovia.cli.tail import POLL_S, follow
from flovia.core.events import Event
from flovia.ledger.opening import open_ledger
from flovia.ledger.sql import SqlLedger
from tests.insights.test_attempts import gated
from tests.insights.test_join import scenario
from tests.insights.test_joined import strict
from tests.patience import PROGRAM_S, eventually
from tests.postgres.server import Server

URL = "sqlite:///flovia.db"
NOW = 1_750_000_000.0
VALIDATOR = jsonschema.Draft202012Validator(strict())


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("FLOVIA_LEDGER", "FLOVIA_SECRET"):
        monkeypatch.delenv(name, raising=False)


def story(number: int, *steps: str, endpoint: str = "/reports/{id}") -> list[Event]:
    """A whole attempt, as a gate writes it."""
    found = gated(scenario(number, list(steps)))
    return [attrs.evolve(one, at=one.at + NOW, endpoint=one.endpoint and endpoint) for one in found]


def write(url: str, *stories: Sequence[Event]) -> None:
    """Put events into the ledger, as an app does meanwhile."""
    with closing(open_ledger(url, patience_s=60)) as ledger:
        for events in stories:
            ledger.append([one.to_row() for one in events])


class Told:
    """What is printed, and what happens between two looks: one step before each, and then the end."""

    def __init__(self, *steps: Callable[[], None]) -> None:
        self.steps = list(steps)
        self.seen: list[tuple[str, str]] = []
        self.largest = 0

    def show(self, page: Sequence[Any]) -> None:
        """Take a page."""
        self.largest = max(self.largest, len(page))
        self.seen += [(one.attempt.key, one.attempt.outcome) for one in page]

    def wait(self, seconds: float) -> bool:
        """Take the next step instead of waiting."""
        if seconds == 0.0:
            return False
        assert seconds == POLL_S
        if not self.steps:
            return True
        self.steps.pop(0)()
        return False

    def follow(self, url: str, since: float | None = None, endpoint: str | None = None) -> list[tuple[str, str]]:
        """What was printed until the steps were done."""
        with closing(open_ledger(url, create=False, patience_s=60)) as ledger:
            assert isinstance(ledger, SqlLedger)
            follow(ledger, since, endpoint, self.show, self.wait, "the ledger")
        return self.seen


def test_what_comes_from_now_on(capsys: pytest.CaptureFixture[str]) -> None:
    """What was there is not printed; what comes is, once, and again with what comes for it later."""
    first, second = story(1, "settle", "deliver", "refund"), story(2, "settle", "deliver")
    write(URL, first[:-1], second[:4])
    told = Told(lambda: write(URL, second[4:]), lambda: None, lambda: write(URL, first[-1:], story(3)))
    assert [
        ("c|challenge-2", "delivered"),
        ("c|challenge-1", "refunded"),
        ("r|req-3-0", "not_paid"),
    ] == told.follow(URL)
    assert "" == capsys.readouterr().err  # nobody sits at a terminal


def test_from_a_time_on() -> None:
    """First those that began then, the oldest first, then what comes; only one endpoint if that is wished."""
    write(URL, story(1, "settle", "deliver"), story(2), story(3, endpoint="/b"))
    assert ["r|req-2-0", "r|req-3-0"] == [key for key, _ in Told().follow(URL, NOW + 150)]
    told = Told(lambda: write(URL, story(4), story(5, endpoint="/b")))
    assert ["r|req-3-0", "r|req-5-0"] == [key for key, _ in told.follow(URL, NOW, "/b")]


def test_pages_are_small() -> None:
    """However much comes at once, it is not held at once."""
    write(URL, story(0))
    told = Told(lambda: write(URL, *(story(number) for number in range(1, 602))))
    assert 601 == len(told.follow(URL))
    assert 500 == told.largest


def test_another_one_reads_the_ledger_too() -> None:
    """A report may fold what is new first: it is printed all the same."""
    write(URL, story(1))

    def report() -> None:
        write(URL, story(2, "settle", "deliver"))
        assert 0 == run(["events", "export", "--joined", "all.ndjson"])

    assert [("c|challenge-2", "delivered")] == Told(report, lambda: None).follow(URL)


def test_a_ledger_that_does_not_answer(capsys: pytest.CaptureFixture[str]) -> None:
    """It is said once, tried again, and nothing is missing afterwards."""
    write(URL, story(1))

    def rename(old: str, new: str) -> None:
        with closing(sqlite3.connect("flovia.db")) as raw:
            raw.execute(f"ALTER TABLE {old} RENAME TO {new}")

    def gone() -> None:
        write(URL, story(2))
        rename("flovia_events", "elsewhere")

    told = Told(gone, lambda: None, lambda: rename("elsewhere", "flovia_events"), lambda: None)
    assert [("r|req-2-0", "not_paid")] == told.follow(URL)
    assert 1 == capsys.readouterr().err.count("it is tried again")


def test_told_to_end_in_the_middle() -> None:
    """A long reading does not keep it from ending."""
    write(URL, *(story(number) for number in range(600)))
    told = Told()
    told.wait = lambda seconds: bool(told.seen) or seconds > 0.0  # type: ignore[method-assign]  # told after a page
    assert 500 == len(told.follow(URL, NOW - 1))


def started(*words: str, url: str = URL) -> "subprocess.Popen[str]":
    """The command as a process of its own."""
    command = [sys.executable, "-m", "flovia.cli", "events", "tail", "--ledger", url, *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def line_of(stream: IO[str] | None) -> str:
    """The next line, as long as it may take."""
    assert stream is not None
    return stream.readline()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_as_a_process(number: signal.Signals) -> None:
    """A line as soon as it is there, valid by the schema, and status 0 when it is told to end."""
    whole = story(1, "settle", "deliver", "refund")
    write(URL, story(0))
    process = started("--json", "--since", "2020-01-01")
    with process:
        assert "not_paid" == json.loads(line_of(process.stdout))["outcome"]
        write(URL, whole[:-1])
        paid = json.loads(line_of(process.stdout))
        write(URL, whole[-1:])
        refunded = json.loads(line_of(process.stdout))
        process.send_signal(number)
        rest, complaint = process.communicate(timeout=PROGRAM_S)
    assert (0, "", "") == (process.returncode, rest, complaint)
    for event in (paid, refunded):
        VALIDATOR.validate(event)
    assert paid["attemptId"] == refunded["attemptId"]
    assert ("delivered", "refunded", "100") == (paid["outcome"], refunded["outcome"], refunded["refunded"])


def test_a_reader_that_goes_away() -> None:
    """``flovia events tail | head -n 1``: the end, and no complaint."""
    write(URL, story(0))
    process = started("--since", "2020-01-01")
    with process:
        assert "2025-06-15 15:06:40Z  GET /reports/{id}  402  1.00 USD  12.5 ms  price shown, not paid\n" == line_of(
            process.stdout
        )
        assert process.stdout is not None
        process.stdout.close()
        numbers = count(1)
        eventually(lambda: (write(URL, story(next(numbers))), process.poll())[1], lambda status: status is not None)
        assert process.stderr is not None
        assert (0, "") == (process.wait(PROGRAM_S), process.stderr.read())


def test_a_reader_that_goes_away_while_nothing_comes() -> None:
    """``flovia events tail | head -n 0``: it does not wait for a line that nobody reads."""
    write(URL)
    process = started()
    with process:
        assert process.stdout is not None
        process.stdout.close()
        eventually(process.poll, lambda status: status is not None)
        assert process.stderr is not None
        assert (0, "") == (process.wait(PROGRAM_S), process.stderr.read())


def test_after_a_report_it_tells_sessions(capsys: pytest.CaptureFixture[str]) -> None:
    """A report makes them; what the tail prints of those attempts has them."""
    write(URL, story(1, "settle", "deliver"))
    assert 0 == run(["report", "workflows", "--test", "--ledger", URL])
    capsys.readouterr()
    process = started("--json", "--since", "2020-01-01")
    with process:
        found = json.loads(line_of(process.stdout))
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PROGRAM_S)
    assert found["session"] == found["attemptId"]


def test_on_postgres(postgres: Server, ledger_template: str) -> None:
    """The same where the ledger is there, while an app writes."""
    url = postgres.url(postgres.database(ledger_template))
    process = started("--json", "--since", "2020-01-01", url=url)
    with process:
        write(url, story(1, "settle", "deliver"))
        found = json.loads(line_of(process.stdout))
        process.send_signal(signal.SIGINT)
        _, complaint = process.communicate(timeout=PROGRAM_S)
    assert (0, "") == (process.returncode, complaint)
    assert ("c|challenge-1", "delivered") == (found["attemptId"], found["outcome"])


def test_misused(capsys: pytest.CaptureFixture[str]) -> None:
    """Each says what to do, and no ledger is made."""
    for words, said, status in (
        (["--since", "yesterday"], "is no time; write 2026-01-31", 2),
        (["--since", "-1h"], "or 1h for so long ago", 2),
        (["--ledger", "memory://"], "a memory ledger is gone", 1),
        (["--ledger", "sqlite:///other.db"], "there is no ledger at", 1),
    ):
        write(URL)
        assert status == run(["events", "tail", *words])
        assert said in capsys.readouterr().err
    assert not Path("other.db").exists()
