"""Every number of the reports against the truth."""

from collections.abc import Sequence
from math import comb
from typing import Final

from flovia.insights.measures import Cells
from tests.world import counting, counting_money, counting_people, counting_workflows, reports
from tests.world.counting import Question
from tests.world.matching import Tally
from tests.world.plan import WEEKS
from tests.world.truth import START_MS, WEEK_MS, Truth

ENOUGH: Final = 4000
"""Stories from which on the planted demand has to be found."""
QUESTIONS: Final = (
    Question(),
    Question(name="with test money and the shop's own", own=None, test=True),
    Question(name="a time that cuts days", since=START_MS + 2 * WEEK_MS + 12_345_678, until=START_MS + 9 * WEEK_MS + 1),
    Question(name="one route", endpoint="/read/{id}"),
    Question(name="the last weeks", since=START_MS + (WEEKS - 3) * WEEK_MS),
)

FUNNELS: Final = (("endpoint", "rail", "price"), (), ("endpoint",), ("day",), ("provider", "day"))
LATENCIES: Final = (("endpoint",), ("provider",), ("price",))
REVENUES: Final = (("endpoint",), (), ("price",), ("endpoint", "day"))
"""What rows are told apart by: all of it for the first question, the first two for the others."""


def compare(truth: Truth, answers: reports.Answers) -> list[Tally]:
    """Ask everything, and compare each answer."""
    tallies: list[Tally] = []
    for question in QUESTIONS:
        tallies += _compare(truth, answers, question)
    return tallies


def _compare(truth: Truth, answers: reports.Answers, question: Question) -> list[Tally]:
    cells, left_out = answers.cells(reports.asked_of(question))
    stories = counting.counted(truth, question)
    about = f"({question.name}, by {answers.name})"
    left = Tally(f"left out {about}")
    left.compare("", counting.left_out(truth, question), left_out.to_json())
    tallies = [left]
    for name, theirs, ours, all_by in (
        ("funnel", reports.funnels, counting.funnel, FUNNELS),
        ("latency", reports.latencies, counting.latency, LATENCIES),
        ("revenue", reports.revenues, counting.revenue, REVENUES),
    ):
        tally = Tally(f"{name} {about}")
        for by in all_by if question == QUESTIONS[0] else all_by[:2]:
            keys = [one for part in by for one in _members(part)] + (["currency"] if name == "revenue" else [])
            tally.rows(f"by {', '.join(by) or 'nothing'}", ours(stories, by), theirs(cells, by), keys)
        tallies.append(tally)
    tallies += [_pricing(truth, cells, question, about), _integrity(truth, answers, question, about)]
    return [*tallies, _retention(truth, answers, question, about), _workflows(truth, answers, question, about)]


def _pricing(truth: Truth, cells: Cells, question: Question, about: str) -> Tally:
    tally = Tally(f"pricing {about}")
    rows = reports.prices(cells)
    tally.rows("", counting_money.pricing(truth, question), rows, ["endpoint", "currency"])
    if question.since is None and question.endpoint is None and ENOUGH <= len(truth.stories):
        advised, held = counting_money.planted(rows)
        for what, fits in advised:
            tally.check(what, fits)
        missed = [what for what, fits in held if not fits]
        tally.check(f"planted values inside their intervals, but for {missed}", len(missed) <= may_miss(len(held)))
    return tally


def may_miss(intervals: int) -> int:
    """How many of so many intervals with 95 % confidence may miss before it is no accident (1 in 1000)."""
    missed, left = 0, 1 - 0.95**intervals
    while left > 0.001:
        missed += 1
        left -= comb(intervals, missed) * 0.05**missed * 0.95 ** (intervals - missed)
    return missed


def _integrity(truth: Truth, answers: reports.Answers, question: Question, about: str) -> Tally:
    tally = Tally(f"integrity {about}")
    asked = reports.asked_of(question)
    cells, _ = answers.cells(asked)
    states, rows, waiting = answers.integrity(asked, cells, truth.now / 1000)
    due = counting_money.queue(truth, question)
    tally.compare("states", counting_money.states(truth, question), states)
    tally.compare("waiting", len(due), waiting)
    tally.rows("queue", due, rows, ["challengeId", "paymentId"])
    times = [float(str(row["at"])) for row in rows]
    tally.check("the oldest come first", times == sorted(times))
    return tally


def _retention(truth: Truth, answers: reports.Answers, question: Question, about: str) -> Tally:
    tally = Tally(f"retention {about}")
    asked, now = reports.asked_of(question), truth.now / 1000
    facts = answers.retention(asked, now)
    row, by_week, by_endpoint = reports.returning(facts, asked, now)
    due, due_by_week, due_by_endpoint, left_out = counting_people.retention(truth, question)
    tally.compare("", due, row)
    tally.compare("cohorts", due_by_week, list(by_week))
    tally.rows("cohorts", due_by_endpoint, by_endpoint, ["cohort"])
    tally.compare("left out", left_out, {name: getattr(facts, name) for name in left_out})
    return tally


def _workflows(truth: Truth, answers: reports.Answers, question: Question, about: str) -> Tally:
    tally = Tally(f"workflows {about}")
    facts = answers.workflows(reports.asked_of(question), truth.now / 1000)
    due = counting_workflows.workflows(truth, question)
    left_out = due.pop("left out")
    tally.compare("", due, reports.together(facts))
    assert isinstance(left_out, dict)
    tally.compare("left out", left_out, {name: getattr(facts, name) for name in left_out})
    return tally


def _members(part: str) -> Sequence[str]:
    return ("price", "currency", "priceCurrency") if part == "price" else (part,)
