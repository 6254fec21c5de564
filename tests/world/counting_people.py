"""Who comes back: sessions and retention, counted from the truth."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from math import ceil
from typing import Final

from tests.world.counting import Question, Row, share
from tests.world.matching import Near
from tests.world.truth import START_MS, WEEK_MS, Story, Truth

GAP_MS: Final = 300_000
LONGEST_MS: Final = 3_600_000
MONDAY: Final = datetime(2024, 1, 1, tzinfo=UTC)
FOLLOWED: Final = 12


@dataclass(slots=True, eq=False)
class Session:
    """Attempts of one payer or workflow without a long pause, oldest first."""

    workflow: str
    payer: str
    test: bool
    stories: list[Story] = field(default_factory=list)
    ended_at: int = 0

    def take(self, story: Story) -> None:
        """The next attempt."""
        self.stories.append(story)
        times = (story.at, story.brought_at, story.paid_at, story.delivered_at)
        over = max(time for time in times if time is not None)
        self.ended_at = max(self.ended_at, min(over, story.at + LONGEST_MS))

    @property
    def paid(self) -> list[Story]:
        """Those that were paid."""
        return [story for story in self.stories if story.paid_at is not None]

    @property
    def path(self) -> tuple[str, ...]:
        """The endpoints in the order of their first use."""
        return tuple(dict.fromkeys(story.endpoint for story in self.stories))


def sessions(truth: Truth) -> list[Session]:
    """Everybody's sessions."""
    mine = [story for story in truth.attempts() if story.payer or story.workflow]
    payers: dict[str, set[str]] = {}
    for story in mine:
        if story.workflow and story.payer:
            payers.setdefault(story.workflow, set()).add(story.payer)
    found: list[Session] = []
    open_: dict[tuple[str, str, bool], Session] = {}
    for story in sorted(mine, key=lambda one: (one.at, one.number)):
        known = payers.get(story.workflow or "", set())
        payer = story.payer or (next(iter(known)) if len(known) == 1 else "")
        lane = story.workflow or "", payer, story.provider == "mock"
        session = open_.get(lane)
        if session is None or story.at - session.ended_at > GAP_MS:
            session = open_[lane] = Session(*lane)
            found.append(session)
        session.take(story)
    return found


# --- retention ----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Visit:
    """A paid session as retention sees it."""

    at: int
    endpoint: str
    net: Counter[str]


def _visits(truth: Truth, question: Question, end: int, left: Counter[str], own: set[str]) -> dict[str, list[Visit]]:
    found: dict[str, list[Visit]] = {}
    since = question.since or 0
    for session in sessions(truth):
        paid = [story for story in session.paid if question.endpoint in (None, story.endpoint)]
        if not paid:
            continue
        at = min(story.at for story in paid)
        inside = since <= at < end
        if session.test and not question.test:
            left["test"] += inside
        elif question.own is not None and session.payer.startswith(question.own):
            own |= {session.payer} if inside else set()
        elif not session.payer:
            left["nameless"] += len(paid) if inside else 0
        elif at < end:
            net: Counter[str] = Counter()
            for story in paid:
                net[story.came_in or ""] += (story.came or 0) - (story.back or 0)
            found.setdefault(session.payer, []).append(Visit(at, paid[0].endpoint, net))
        else:
            left["ahead"] += question.until is None
    alone = [story for story in truth.attempts() if not story.payer and not story.workflow]
    near = [story for story in alone if question.counts(story) and story.at < end]
    left["nameless"] += sum(story.paid_at is not None for story in near)
    return found


def retention(truth: Truth, question: Question) -> tuple[Row, list[Row], list[Row], Row]:
    """All but the cohorts, these by week and by endpoint, and what was left out."""
    end, since = min(question.until or truth.now, truth.now), question.since or 0
    left: Counter[str] = Counter()
    own: set[str] = set()
    payers = _visits(truth, question, end, left, own)
    active = {payer: visits for payer, visits in payers.items() if visits[-1].at >= since}
    new = [visits for visits in payers.values() if visits[0].at >= since]
    seconds = sorted((visits[1].at - visits[0].at) / 1000 for visits in new if len(visits) > 1)
    silent, judged = _silent(active, end)
    row: Row = {
        "repeat": share(sum(len(visits) > 1 for visits in active.values()), len(active)),
        "newPayers": len(new),
        "secondSession": {
            **share(len(seconds), len(new)),
            "p50S": Near(_rank(seconds, 0.5), least=1e-6),
            "p95S": Near(_rank(seconds, 0.95), least=1e-6),
        },
        "churnRisk": {
            **share(len(silent), judged),
            "rule": {"pauses": 3.0, "leastS": 86400.0, "leastSessions": 3},
            "named": silent[:20],
        },
        "concentration": [*_concentration(payers, since)],
    }
    left_out: Row = {
        "own": len(own),
        "test": left["test"],
        "ahead": left["ahead"],
        "nameless": left["nameless"],
        "amountless": 0,
    }
    return row, [*_by_week(new, question, end)], [*_by_endpoint(new, end)], left_out


def _rank(values: Sequence[float], part: float) -> float | None:
    return values[max(0, ceil(part * len(values)) - 1)] if values else None


def _silent(active: dict[str, list[Visit]], end: int) -> tuple[list[Row], int]:
    found: list[tuple[tuple[int, int, str], Row]] = []
    often = {payer: visits for payer, visits in active.items() if len(visits) >= 3}
    for payer, visits in often.items():
        pauses = [other.at - one.at for one, other in pairwise(visits)]
        pause, last = sum(pauses) / len(pauses), visits[-1].at
        if end - last > max(3 * pause, 86_400_000):
            row: Row = {"payer": payer, "sessions": len(visits), "pauseS": Near(pause / 1000, least=1e-6)}
            found.append(((-len(visits), -last, payer), row | {"lastAt": last / 1000}))
    return [row for _, row in sorted(found, key=lambda one: one[0])], len(often)


def _concentration(payers: dict[str, list[Visit]], since: int) -> Iterator[Row]:
    sums: dict[str, Counter[str]] = {}
    for payer, visits in payers.items():
        for visit in visits:
            for currency, net in visit.net.items() if visit.at >= since else ():
                sums.setdefault(currency, Counter())[payer] += net
    for currency, by_payer in sorted(sums.items()):
        ranked = sorted(by_payer.items(), key=lambda one: (-one[1], one[0]))
        total = sum(by_payer.values())
        tenth = sum(net for _, net in ranked[: ceil(len(ranked) / 10)])
        yield {
            "currency": currency,
            "payers": len(ranked),
            "net": str(total),
            "topTenthShare": Near(tenth / total) if total else None,
            "gini": Near(_gini([net for _, net in ranked]), least=1e-7) if total else None,
            "top": [
                {"payer": payer, "net": str(net), "share": Near(net / total) if total else None}
                for payer, net in ranked[:10]
            ],
        }


def _gini(values: Iterable[int]) -> float:
    """Twice the area between the Lorenz curve and the diagonal."""
    ordered = sorted(values)
    total, before, area = sum(ordered), 0, 0.0
    for value in ordered:
        area += (before + before + value) / (2 * total * len(ordered))
        before += value
    return 1 - 2 * area


def _week(ms: int) -> int:
    return (ms - START_MS) // WEEK_MS


def _monday(week: int) -> str:
    return (MONDAY + timedelta(weeks=week)).date().isoformat()


def _later(visits: Sequence[Visit]) -> set[int]:
    return {_week(visit.at) - _week(visits[0].at) for visit in visits} & set(range(FOLLOWED + 1))


def _by_week(new: Sequence[Sequence[Visit]], question: Question, end: int) -> Iterator[Row]:
    cut = None
    if question.since is not None and (question.since - START_MS) % WEEK_MS:
        cut = _week(question.since)
    for first in sorted({_week(visits[0].at) for visits in new}):
        cohort = [visits for visits in new if _week(visits[0].at) == first]
        weeks: Row = {}
        for later in range(min(FOLLOWED, _week(end) - first) + 1):
            there = sum(later in _later(visits) for visits in cohort)
            partial = first == cut or first + later == _week(end)
            weeks[f"W{later}"] = {**share(there, len(cohort)), "partial": partial}
        partial = first in (cut, _week(end))
        yield {"cohort": _monday(first), "payers": len(cohort), "partial": partial, "weeks": weeks}


def _by_endpoint(new: Sequence[Sequence[Visit]], end: int) -> Iterator[Row]:
    for endpoint in {visits[0].endpoint for visits in new}:
        cohort = [visits for visits in new if visits[0].endpoint == endpoint]
        weeks: Row = {}
        for later in range(FOLLOWED + 1):
            over = [visits for visits in cohort if _week(visits[0].at) + later < _week(end)]
            if over:
                there = sum(later in _later(visits) for visits in over)
                weeks[f"W{later}"] = {**share(there, len(over)), "partial": False}
        yield {"cohort": endpoint, "payers": len(cohort), "partial": False, "weeks": weeks}
