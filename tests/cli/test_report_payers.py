"""``flovia report retention`` and ``workflows``: sessions of what is new are made, and what is left out is said."""

import csv
from io import StringIO

import pytest

from flovia.reports.payers_parts import duration
from tests.cli.test_report import (
    NOW,
    _folder,  # noqa: F401 - a fixture
    _moment,
    answer,
    report,
    story,
    write,
)

DAY = 86400.0
WEEK = ("--until", _moment(NOW + 40 * DAY))


def sell(number: int, day: float, payer: str = "ann", endpoint: str = "/find", **more: object) -> None:
    """A paid attempt."""
    write(story(number, "settle", "deliver"), at=NOW + day * DAY, payer=payer, endpoint=endpoint, workflow=None, **more)  # type: ignore[arg-type]


def sales() -> None:
    """Two payers that come back, and one that does not."""
    for number, (day, payer, endpoint) in enumerate(
        [(0, "ann", "/find"), (0.01, "ann", "/read"), (7, "ann", "/find"), (14, "ann", "/find"), (0, "bob", "/read")]
    ):
        sell(number, day, payer, endpoint)
    sell(9, 8, "bob", "/read", currency="jpy")
    sell(10, 9, "cy")


def test_retention_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    """Who came back, cohorts with their weeks, money by currency, who may have gone."""
    sales()
    lines, complaint = report(capsys, "retention", *WEEK)
    assert "came back with another paid session  2 of 3  66.7 % (20.8–93.9)" == lines[1].rstrip()
    assert lines[2].endswith("2 of 3  66.7 % (20.8–93.9)    after 16.1 min (p50), 8.0 d (p95)")
    assert lines[3].startswith(
        "may have gone                        1 of 1  100.0 % (20.7–100.0)  silent for over 3 of"
    )
    assert [
        "first week  payers     W0    W1     W2   W3    W4   W5    W6",
        "2025-06-09       2  100 %  50 %  100 %  0 %   0 %  0 %  0 %*",
        "2025-06-23       1  100 %   0 %    0 %  0 %  0 %*",
        "* a week that is not over, or was not asked about as a whole",
    ] == lines[5:9]
    assert "USD            3             6.00 USD       66.7 %  0.33" in lines
    assert ["ann", "4", "4.7", "d"] == lines[-1].split()[:4]
    assert "" == complaint


def test_retention_as_json_and_csv(capsys: pytest.CaptureFixture[str]) -> None:
    """The same numbers, with intervals and samples, and what is left out."""
    sales()
    sell(11, 3, "me")
    sell(12, 3, "dan", provider="mock")
    found = answer(capsys, "retention", *WEEK, "--by", "endpoint", "--own", "m*")
    assert ("retention", "endpoint", {"count": 2, "of": 3}) == (
        found["report"],
        found["by"],
        {name: found["repeat"][name] for name in ("count", "of")},
    )
    assert {"own": 1, "test": 1, "nameless": 0} == {
        name: found["leftOut"][name] for name in ("own", "test", "nameless")
    }
    assert ["/find", "/read"] == [row["cohort"] for row in found["rows"]]
    assert [("jpy", "100"), ("usd", "600")] == [(one["currency"], one["net"]) for one in found["concentration"]]
    lines, complaint = report(capsys, "retention", *WEEK, "--csv", "--own", "me")
    rows = list(csv.DictReader(StringIO("\n".join(lines))))
    assert ("2025-06-09", "0.5", "1") == (rows[0]["cohort"], rows[0]["weeks.W1.value"], rows[0]["weeks.W1.count"])
    assert "left out: 1 of your own payers; 1 paid session with the mock provider" in complaint


def test_a_late_event_changes_the_sessions(capsys: pytest.CaptureFixture[str]) -> None:
    """What comes between two sessions within the pause makes one of them; another pause is remembered."""
    sell(1, 0)
    sell(2, 500 / DAY)
    assert 1 == answer(capsys, "retention", *WEEK)["repeat"]["count"]
    sell(3, 100 / DAY)
    assert 0 == answer(capsys, "retention", *WEEK)["repeat"]["count"]
    assert 1 == answer(capsys, "retention", *WEEK, "--gap", "60")["repeat"]["count"]
    assert 1 == answer(capsys, "retention", *WEEK)["repeat"]["count"]
    assert "write seconds" in report(capsys, "retention", "--gap", "90000", status=1)[1]


def test_workflows_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    """Sessions, paths, transitions, where sessions end unpaid, and what is used together."""
    for number in range(6):
        sell(10 * number, number, f"p{number % 3}", "/find")
        sell(10 * number + 1, number + 100 / DAY, f"p{number % 3}", "/read")
    write(story(99), endpoint="/find", workflow=None)
    lines, _ = report(capsys, "workflows", *WEEK, "--limit", "1")
    assert "6 sessions with 12 attempts, paid: 100.0 % (75.8–100.0); 0 sessions under a declared name" in lines[0]
    assert "/find → /read         6  100.0 % (61.0–100.0)  100.0 % (61.0–100.0)                3 of 3" in lines
    assert "/find  /read  6 of 6  100.0 % (61.0–100.0)" in lines
    assert "/find          /read         6  1.00" in lines
    assert "… and 1 more" in lines
    assert "left out: 1 attempt whose payer nobody knows" == lines[-1]


def test_a_declared_workflow(capsys: pytest.CaptureFixture[str]) -> None:
    """An unpaid attempt that names it is in a session, even though nobody knows its payer."""
    write(story(1), story(2, "settle", "deliver"))
    found = answer(capsys, "workflows", *WEEK)
    assert (1, 2, 1) == (found["sessions"], found["attempts"], found["declared"])
    assert ["nightly"] == [row["name"] for row in found["workflows"]]
    lines, _ = report(capsys, "workflows", *WEEK, "--csv", "--by", "workflow")
    assert lines[1].startswith("nightly,1,1,1,1.0")
    assert 1 == len(report(capsys, "workflows", *WEEK, "--csv", "--by", "pair")[0])


def test_nothing_but_one_session(capsys: pytest.CaptureFixture[str]) -> None:
    """Of one session there are no transitions, and of too few there are no pairs."""
    sell(1, 0)
    lines, _ = report(capsys, "workflows", *WEEK)
    assert not any(line.startswith(("from", "used together", "no two")) for line in lines)
    lines, _ = report(capsys, "retention", "--until", _moment(NOW + DAY))
    assert not any(line.startswith("may have gone  paid") for line in lines)
    sell(2, 0, endpoint="/read")
    lines, _ = report(capsys, "workflows", *WEEK, "--least", "2")
    assert "no two endpoints are used together in 2 sessions or more" in lines
    late, _ = report(capsys, "retention", "--until", _moment(NOW + 200 * DAY), "--since", "2025-06-09")
    assert not any(line.startswith("*") for line in late)


def test_nothing_to_report(capsys: pytest.CaptureFixture[str]) -> None:
    """An empty ledger, or one of which nothing is asked about, is told apart from one without known payers."""
    write()
    assert "no session in sqlite:///flovia.db" in report(capsys, "workflows", status=1)[1]
    sell(1, 0, payer=None)  # type: ignore[arg-type]
    _, complaint = report(capsys, "retention", *WEEK, status=1)
    assert "left out: 1 paid attempt whose payer nobody knows" in complaint
    sell(2, 0)
    assert None is answer(capsys, "retention", *WEEK, "--endpoint", "/other", status=1)["repeat"]["value"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, ""), (0.0, "0 s"), (119.0, "119 s"), (150.0, "2.5 min"), (9000.0, "2.5 h"), (1e6, "11.6 d")],
)
def test_durations(seconds: float | None, text: str) -> None:
    """As people say them."""
    assert text == duration(seconds)
