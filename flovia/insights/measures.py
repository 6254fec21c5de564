"""Attempts counted: by day, route and price, in a form that adds up.

A :class:`Cell` holds counts, sums of money and durations in buckets. Two cells of different attempts add up to the cell
of all of them, so a year is the sum of its days, and what is to be left out can be taken away again. Every question is
asked of cells; whether they were counted from attempts here, by SQL, or kept by day makes no difference.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final, TypeVar

import attrs

from flovia.insights.attempt import ATTEMPT, EXPLAINED, LAST_DAY, MONEY, OPEN, PROBE, TURNED_AWAY, Attempt, day_of
from flovia.insights.buckets import bucket

T = TypeVar("T")

NO_MONEY: Final = frozenset({"not_paid", "not_accepted", "unknown", "no_payment"})
"""Outcomes in which no money is known to have come."""
OWED: Final = frozenset({"price_risen", "late", "paid_twice", "unpresented", "mismatched", "failed_due"})
"""Outcomes in which all of it is to go back."""
WENT_BACK: Final = frozenset({"refunded", "partly_refunded"})
TIMES: Final = ("pay", "latency", "challenge", "verify", "handler")
"""What is measured in milliseconds: from the 402 to the payment, the request that tells, and its parts."""


@attrs.frozen
class Route:
    """What attempts are counted by. ``day``: since 1970-01-01, UTC. ``price``: base units of ``price_currency``.

    ``currency``: of what was paid, or asked for if nothing was.
    """

    day: int
    endpoint: str
    provider: str | None
    rail: str | None
    price: int | None
    price_currency: str | None
    currency: str | None


ROUTE: Final = tuple(field.name for field in attrs.fields(Route) if field.name != "day")
"""What attempts can be told apart by, but for the day."""
ALL_DAYS: Final = LAST_DAY + 1
"""So many days in one cell are all there are."""


@attrs.frozen
class Pattern:
    """What a count of an attempt depends on; attempts that are alike in this are counted at once.

    ``broken``: the answer was an error of the server's, 500 or above. ``failed``: a delivery of it did. ``said``: an
    explanation holds.
    """

    kind: str
    state: str
    outcome: str
    problem: str | None
    amount: int | None
    refunded: int | None
    presented: bool
    verified: bool
    delivered: bool
    broken: bool
    failed: bool
    said: bool

    @property
    def counts_as(self) -> str:
        """The state, or that it is explained."""
        return EXPLAINED if self.said and self.state in OPEN else self.state


@attrs.frozen
class Sums:
    """Of attempts that are alike: how many, and how often they did what may be done more than once."""

    rows: int
    requests: int
    challenges: int
    presentations: int
    failures: int
    backwards: int
    shown_at: float


@attrs.define
class Cell:
    """Counts of attempts.

    ``attempts``: somebody saw a price or paid. Of these ``presented`` brought a credential, ``verified`` paid,
    ``delivered`` got their answer. ``requests``, ``challenges`` (402s), ``presentations`` and ``failures`` (of
    deliveries) are counted one by one. ``challenge_errors``, ``verify_errors``: attempts whose answer was 500 or
    above before, and after, a credential came; ``handler_errors``: paid, and a delivery failed.

    ``probes`` asked with HEAD; ``turned_away`` were refused before any price. ``payments`` brought ``gross`` base
    units, also those that no request told of; of ``refunds`` of them ``refunded`` went back; ``owed`` is what is
    still to go back, what is explained left out. ``amountless``: payments and refunds of which nobody says how much.
    ``backwards``: durations that a clock going back made negative.

    ``states``: reconciliation states, and how many are explained; ``problems``: what kept attempts, and those turned
    away, from being delivered; the others: durations in buckets (:mod:`flovia.insights.buckets`). ``shown_at``: when a
    price was last shown, Unix seconds, also to those that were taken away.
    """

    attempts: int = 0
    requests: int = 0
    challenges: int = 0
    presentations: int = 0
    presented: int = 0
    verified: int = 0
    delivered: int = 0
    failures: int = 0
    challenge_errors: int = 0
    verify_errors: int = 0
    handler_errors: int = 0
    probes: int = 0
    turned_away: int = 0
    payments: int = 0
    refunds: int = 0
    amountless: int = 0
    backwards: int = 0
    gross: int = 0
    refunded: int = 0
    owed: int = 0
    states: dict[str, int] = attrs.field(factory=dict[str, int])
    problems: dict[str, int] = attrs.field(factory=dict[str, int])
    pay: dict[int, int] = attrs.field(factory=dict[int, int])
    latency: dict[int, int] = attrs.field(factory=dict[int, int])
    challenge: dict[int, int] = attrs.field(factory=dict[int, int])
    verify: dict[int, int] = attrs.field(factory=dict[int, int])
    handler: dict[int, int] = attrs.field(factory=dict[int, int])
    shown_at: float = 0.0

    @property
    def empty(self) -> bool:
        """Whether nothing is counted in it: nothing ever was, or all was taken away."""
        return not self.rows and not self.states

    @property
    def rows(self) -> int:
        """Attempts of every kind, money that no request brought left out."""
        return self.attempts + self.probes + self.turned_away

    def time(self, name: str) -> dict[int, int]:
        """One of :data:`TIMES`."""
        found: dict[int, int] = getattr(self, name)
        return found

    def count(self, pattern: Pattern, sums: Sums) -> None:
        """Count attempts that are alike."""
        rows = sums.rows
        self.requests += sums.requests
        self.challenges += sums.challenges
        self.backwards += sums.backwards
        self.shown_at = max(self.shown_at, sums.shown_at)
        self._count_money(pattern, rows)
        if pattern.kind == PROBE:
            self.probes += rows
            return
        _more(self.states, pattern.counts_as, rows)
        if pattern.kind == MONEY:
            return
        if pattern.problem is not None and not pattern.delivered:
            _more(self.problems, pattern.problem, rows)
        if pattern.kind == TURNED_AWAY:
            self.turned_away += rows
            return
        self.attempts += rows
        self.presentations += sums.presentations
        self.failures += sums.failures
        self.presented += rows * pattern.presented
        self.verified += rows * pattern.verified
        self.delivered += rows * pattern.delivered
        self.challenge_errors += rows * (pattern.broken and not pattern.presented)
        self.verify_errors += rows * (pattern.broken and pattern.presented and not pattern.verified)
        self.handler_errors += rows * pattern.failed

    def _count_money(self, pattern: Pattern, rows: int) -> None:
        if pattern.outcome in NO_MONEY:
            return
        back = pattern.outcome in WENT_BACK
        if pattern.amount is None or (back and pattern.refunded is None):
            self.amountless += rows
            return
        self.payments += rows
        self.gross += rows * pattern.amount
        if back:
            self.refunds += rows
            self.refunded += rows * (pattern.refunded or 0)
        elif pattern.outcome in OWED and not pattern.said:
            self.owed += rows * pattern.amount

    def copy(self) -> "Cell":
        """A cell of its own with the same counts."""
        found = Cell()
        found.add(self)
        return found

    def add(self, other: "Cell", times: int = 1) -> None:
        """Add another cell; with ``times=-1`` take it away again (but for ``shown_at``, which stays)."""
        for name in NUMBERS:
            setattr(self, name, getattr(self, name) + times * getattr(other, name))
        for name in MAPS:
            mine: dict[str | int, int] = getattr(self, name)
            theirs: dict[str | int, int] = getattr(other, name)
            for what, count in theirs.items():
                _more(mine, what, times * count)
        self.shown_at = max(self.shown_at, other.shown_at) if times > 0 else self.shown_at


NUMBERS: Final = tuple(field.name for field in attrs.fields(Cell) if field.type is int)
MAPS: Final = ("states", "problems", *TIMES)
Cells = dict[Route, Cell]


def measure(attempts: Iterable[Attempt]) -> Cells:
    """The cells of attempts."""
    cells: Cells = {}
    for one in attempts:
        cell = cells.setdefault(route_of(one), Cell())
        cell.count(pattern_of(one), sums_of(one))
        if one.kind == ATTEMPT:
            for name in TIMES:
                ms: float | None = getattr(one, f"{name}_ms")
                if ms is not None and ms >= 0:
                    _more(cell.time(name), bucket(ms), 1)
    return cells


def route_of(one: Attempt) -> Route:
    """What the attempt is counted by."""
    return Route(day_of(one.at), one.endpoint, one.provider, one.rail, one.price, one.price_currency, one.currency)


def pattern_of(one: Attempt) -> Pattern:
    """What the count of an attempt depends on."""
    return Pattern(
        kind=one.kind,
        state=one.state,
        outcome=one.outcome,
        problem=one.problem,
        amount=one.amount,
        refunded=one.refunded,
        presented=one.presented_at is not None,
        verified=one.verified_at is not None,
        delivered=one.delivered_at is not None,
        broken=(one.response_status or 0) >= 500,
        failed=one.failures > 0,
        said=one.explained_at is not None,
    )


def sums_of(one: Attempt) -> Sums:
    """The sums of one attempt alone."""
    return Sums(1, one.requests, one.challenges, one.presentations, one.failures, one.backwards, one.shown_at)


def merge(into: Cells, more: Mapping[Route, Cell], times: int = 1) -> Cells:
    """Add cells to others, or take them away. Returns ``into``.

    A cell of which all was taken away stays: its ``shown_at`` says when its price was last shown, whatever days are
    added up to one cell.
    """
    for route, cell in more.items():
        if route not in into:
            into[route] = Cell()
        into[route].add(cell, times)
    return into


def narrowed(cells: Cells, width: int = 1, by: Collection[str] = ROUTE) -> Cells:
    """The same with so many days in one cell, whose day is the first of them: a multiple of the width.

    Args:
        cells: of single days.
        width: days in one cell.
        by: what is told apart, of :data:`ROUTE`; the rest is None, an endpoint "".
    """
    found: Cells = {}
    for route, cell in cells.items():
        endpoint, *others = (getattr(route, name) if name in by else None for name in ROUTE)
        merge(found, {Route(route.day - route.day % width, endpoint or "", *others): cell})
    return found


def grouped_by(
    cells: Mapping[Route, Cell], key: Callable[[Route], tuple[object, ...]]
) -> dict[tuple[object, ...], Cell]:
    """The cells added up under what ``key`` makes of each route; do not change them: one that is alone is no copy."""
    found: dict[tuple[object, ...], Cell] = {}
    sums: set[tuple[object, ...]] = set()
    for route, cell in cells.items():
        group = key(route)
        if group not in found:
            found[group] = cell
            continue
        if group not in sums:
            sums.add(group)
            found[group] = found[group].copy()
        found[group].add(cell)
    return found


def _more(counts: dict[T, int], what: T, count: int) -> None:
    counts[what] = counts.get(what, 0) + count
    if not counts[what]:
        del counts[what]
