"""The benchmark of reports measures what it says, on a small ledger."""

from pathlib import Path

import pytest

from flovia.core import events as ev
from flovia.insights.attempt import attempts
from flovia.insights.funnel import FunnelRow, funnel
from flovia.insights.measures import measure
from tests.bench import insights_bench
from tests.bench.insights_bench import STORIES, measured, stories, story

OUTCOMES = {
    "unpaid": "not_paid",
    "refused": "not_accepted",
    "paid": "delivered",
    "redelivered": "delivered",
    "failed": "undelivered",
    "refunded": "refunded",
    "late": "late",
}


@pytest.mark.parametrize("kind", STORIES)
def test_every_story_is_one_attempt(kind: str) -> None:
    """Its events join to what its name says."""
    (found,) = attempts(story(7, kind, 1.7e9, 3, 200, "agent-1"))
    assert (OUTCOMES[kind], 200) == (found.outcome, found.price)


def test_stories_are_as_many_as_asked_for() -> None:
    """Over the year, at every price."""
    told = list(stories(300))
    assert 300 == len(told)
    assert {100, 200, 300} == {row.group["price"] and int(str(row.group["price"])) for row in _rows()}
    assert all(events[0].type == ev.REQUEST_STARTED for events in told)


def _rows() -> list[FunnelRow]:
    return funnel(measure(attempts(event for events in stories(300) for event in events)))


def test_it_measures(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Fills, folds, counts, runs a report as a program, and finds the same numbers both ways."""
    monkeypatch.setattr(insights_bench, "REPORTS", (("funnel",),))
    measured(f"sqlite:///{tmp_path}/ledger.db", 200, 20)
    told = capsys.readouterr().out
    assert "fold: " in told
    assert "200 attempts: " in told
    assert "sessions of 5000 payers made in" in told
    assert "without days: the same" in told
    assert told.splitlines()[-1].startswith("funnel ")
