"""Sessions: attempts of one payer, or under one declared workflow, with no long pause between them.

A workflow that the agent declares comes first. What is declared by nobody is inferred: attempts of one payer make a
session until nothing came for some minutes, and the endpoints in the order of their first use say what it was for.
Pure: the same attempts make the same sessions, in whatever order they are given.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, Protocol

import attrs

from flovia.insights.asking import TEST_PROVIDERS
from flovia.insights.attempt import ATTEMPT, RULE_DECLARED, Attempt, day_of

GAP_S: Final = 300.0
"""Nothing for so long ends a session."""
LONGEST_S: Final = 3600.0
"""An attempt is under way until its answer, and at most so long: a person may take minutes to pay."""
RULE_GAP: Final = "gap"
"""The workflow is inferred: attempts of one payer until a pause."""
MOST_STEPS: Final = 20
"""Endpoints that a session tells apart; what comes after them is counted under :data:`OTHER`."""
OTHER: Final = "…"


@attrs.frozen
class Lane:
    """Whose attempts follow each other: of one workflow and one payer. ``payer``, ``workflow``: "" for none.

    ``test``: those of providers of test money keep to themselves.
    """

    workflow: str
    payer: str
    test: bool

    @property
    def rule(self) -> str:
        """What found the workflow."""
        return RULE_DECLARED if self.workflow else RULE_GAP


@attrs.frozen(kw_only=True)
class Visit:
    """What a session needs of an attempt. ``until``: when it was over, Unix seconds. ``net``: base units of
    ``currency`` that were paid and did not go back, None if nothing was paid or nobody says how much.
    """

    at: float
    key: str
    until: float
    endpoint: str
    payer: str
    workflow: str
    test: bool
    paid: bool
    delivered: bool
    currency: str | None
    net: int | None


@attrs.frozen(kw_only=True)
class Step:
    """One endpoint of a session. ``paid_at``: when its first paid attempt began, Unix seconds, None if none was paid.

    ``amountless``: paid, and nobody says how much. ``net``: by currency, base units.
    """

    endpoint: str
    attempts: int
    paid: int
    delivered: int
    amountless: int
    paid_at: float | None
    net: Mapping[str, int]


@attrs.frozen(kw_only=True)
class Session:
    """Attempts that belong together. ``key``: that of the first of them.

    ``started_at`` the first one's beginning, ``ended_at`` when the last was over, Unix seconds. ``unnamed``: attempts
    without a payer that are counted here because the workflow's name is known of one payer only. ``steps``: the
    endpoints in the order of their first use. ``moves``: how often an attempt at one endpoint was followed by one at
    another, or at the same. ``last_*``: of the last attempt.
    """

    key: str
    lane: Lane
    started_at: float
    ended_at: float
    attempts: int
    unnamed: int
    last_at: float
    last_key: str
    last_endpoint: str
    last_paid: bool
    steps: tuple[Step, ...]
    moves: Mapping[tuple[str, str], int]

    @property
    def payer(self) -> str | None:
        """Whose it is; None if nobody knows."""
        return self.lane.payer or None

    @property
    def rule(self) -> str:
        """What found the workflow: ``declared`` or ``gap``."""
        return self.lane.rule

    @property
    def signature(self) -> tuple[str, ...]:
        """The endpoints, in the order of their first use."""
        return tuple(step.endpoint for step in self.steps)

    @property
    def paid(self) -> int:
        """How many of its attempts were paid."""
        return sum(step.paid for step in self.steps)

    @property
    def delivered(self) -> int:
        """How many of its attempts got their answer."""
        return sum(step.delivered for step in self.steps)

    @property
    def amountless(self) -> int:
        """How many of its paid attempts nobody knows the amount of."""
        return sum(step.amountless for step in self.steps)

    @property
    def first_paid(self) -> Step | None:
        """The endpoint that was paid first."""
        paid = [step for step in self.steps if step.paid_at is not None]
        return min(paid, key=lambda step: step.paid_at or 0.0, default=None)


@attrs.define
class _Step:
    attempts: int = 0
    paid: int = 0
    delivered: int = 0
    amountless: int = 0
    paid_at: float | None = None
    net: dict[str, int] = attrs.field(factory=dict[str, int])

    @classmethod
    def of(cls, step: Step) -> "_Step":
        return cls(step.attempts, step.paid, step.delivered, step.amountless, step.paid_at, dict(step.net))


@attrs.define(kw_only=True)
class Run:
    """A session under way. Visits are added in their order: :func:`in_turn`."""

    lane: Lane
    key: str
    started_at: float
    ended_at: float
    attempts: int = 0
    unnamed: int = 0
    last: tuple[float, str]
    last_endpoint: str | None = None
    last_paid: bool = False
    steps: dict[str, _Step] = attrs.field(factory=dict[str, _Step])
    moves: dict[tuple[str, str], int] = attrs.field(factory=dict[tuple[str, str], int])

    @classmethod
    def begun(cls, lane: Lane, first: Visit) -> "Run":
        """A session with one visit."""
        run = cls(lane=lane, key=first.key, started_at=first.at, ended_at=first.until, last=in_turn(first))
        run.add(first)
        return run

    @classmethod
    def resumed(cls, session: Session) -> "Run":
        """Go on where a session was left."""
        return cls(
            lane=session.lane,
            key=session.key,
            started_at=session.started_at,
            ended_at=session.ended_at,
            attempts=session.attempts,
            unnamed=session.unnamed,
            last=(session.last_at, session.last_key),
            last_endpoint=session.last_endpoint,
            last_paid=session.last_paid,
            steps={step.endpoint: _Step.of(step) for step in session.steps},
            moves=dict(session.moves),
        )

    def takes(self, visit: Visit, gap_s: float) -> bool:
        """Whether the visit comes before the pause that ends the session."""
        return visit.at - self.ended_at <= gap_s

    def add(self, visit: Visit) -> None:
        """Take the next visit."""
        known = visit.endpoint in self.steps or len(self.steps) < MOST_STEPS
        endpoint = visit.endpoint if known else OTHER
        if self.last_endpoint is not None:
            move = self.last_endpoint, endpoint
            self.moves[move] = self.moves.get(move, 0) + 1
        step = self.steps.setdefault(endpoint, _Step())
        step.attempts += 1
        step.paid += visit.paid
        step.delivered += visit.delivered
        step.amountless += visit.paid and visit.net is None
        if visit.paid and step.paid_at is None:
            step.paid_at = visit.at
        if visit.net is not None and visit.currency is not None:
            step.net[visit.currency] = step.net.get(visit.currency, 0) + visit.net
        self.attempts += 1
        self.unnamed += bool(self.lane.payer) and not visit.payer
        self.ended_at = max(self.ended_at, visit.until)
        self.last = visit.at, visit.key
        self.last_endpoint, self.last_paid = endpoint, visit.paid

    def session(self) -> Session:
        """The session as it is now."""
        return Session(
            key=self.key,
            lane=self.lane,
            started_at=self.started_at,
            ended_at=self.ended_at,
            attempts=self.attempts,
            unnamed=self.unnamed,
            last_at=self.last[0],
            last_key=self.last[1],
            last_endpoint=self.last_endpoint or "",
            last_paid=self.last_paid,
            steps=tuple(Step(endpoint=endpoint, **attrs.asdict(step)) for endpoint, step in self.steps.items()),
            moves=dict(self.moves),
        )


def sessions(attempts: Iterable[Attempt], gap_s: float = GAP_S) -> list[Session]:
    """The sessions that attempts make, oldest first.

    Args:
        attempts: in any order.
        gap_s: seconds without anything that end a session.
    """
    found = [_of(lane, run) for lane, run in _runs(attempts, gap_s)]
    return sorted(found, key=lambda one: (one.started_at, one.key))


def memberships(attempts: Iterable[Attempt], gap_s: float = GAP_S) -> dict[str, str]:
    """The key of the session that each attempt is in, by the attempt's key."""
    return {visit.key: run[0].key for _, run in _runs(attempts, gap_s) for visit in run}


def visit_of(attempt: Attempt) -> Visit | None:
    """What a session needs of an attempt; None for what is in no session.

    That is who only asked with HEAD, was refused before any price, money of no request, and an attempt of which neither
    payer nor workflow is known: it may be anybody's.
    """
    if attempt.kind != ATTEMPT or not (attempt.payer or attempt.workflow):
        return None
    times = (attempt.presented_at, attempt.verified_at, attempt.delivered_at)
    return visit(
        at=attempt.at,
        key=attempt.key,
        times=times,
        endpoint=attempt.endpoint,
        payer=attempt.payer,
        workflow=attempt.workflow,
        provider=attempt.provider,
        amount=attempt.amount,
        currency=attempt.currency,
        refunded=attempt.refunded,
    )


def visit(
    *,
    at: float,
    key: str,
    times: tuple[float | None, float | None, float | None],
    endpoint: str,
    payer: str | None,
    workflow: str | None,
    provider: str | None,
    amount: int | None,
    currency: str | None,
    refunded: int | None,
) -> Visit:
    """A visit from the facts of its attempt. ``times``: presented, verified, delivered."""
    paid = times[1] is not None
    ended = max([at, *(time for time in times if time is not None)])
    return Visit(
        at=at,
        key=key,
        until=min(ended, at + LONGEST_S),
        endpoint=endpoint,
        payer=payer or "",
        workflow=workflow or "",
        test=provider in TEST_PROVIDERS,
        paid=paid,
        delivered=times[2] is not None,
        currency=currency,
        net=max(0, amount - (refunded or 0)) if paid and amount is not None and currency is not None else None,
    )


def owner_of(payers: Iterable[str]) -> str:
    """Whose the attempts are that name a workflow and no payer: the only payer's that is known of it, or nobody's.

    ``payers``: of a declared workflow, none of them "".
    """
    found = set(payers)
    return found.pop() if len(found) == 1 else ""


class Timed(Protocol):
    """What has a time and a key."""

    @property
    def at(self) -> float:
        """Unix seconds."""
        ...

    @property
    def key(self) -> str:
        """What tells it from others of the same time."""
        ...


def in_turn(one: Timed) -> tuple[float, str]:
    """What visits, and what comes after each other as they do, are sorted by."""
    return one.at, one.key


def week_of(at: float) -> int:
    """The week that a time in Unix seconds is in: weeks since Monday, 29 December 1969, UTC."""
    return (day_of(at) + 3) // 7


def signature_text(signature: Sequence[str]) -> str:
    """A path as it is kept."""
    return json.dumps(signature, ensure_ascii=False, separators=(",", ":"))


def _runs(attempts: Iterable[Attempt], gap_s: float) -> Iterator[tuple[Lane, list[Visit]]]:
    visits = [found for one in attempts if (found := visit_of(one)) is not None]
    payers: dict[str, set[str]] = {}
    for one in visits:
        if one.workflow and one.payer:
            payers.setdefault(one.workflow, set()).add(one.payer)
    lanes: dict[Lane, list[Visit]] = {}
    for one in visits:
        payer = one.payer or owner_of(payers.get(one.workflow, ()))
        lanes.setdefault(Lane(one.workflow, payer, one.test), []).append(one)
    for lane, theirs in lanes.items():
        for run in split(sorted(theirs, key=in_turn), gap_s):
            yield lane, run


def split(visits: Iterable[Visit], gap_s: float) -> Iterator[list[Visit]]:
    """Visits of one lane, in their order, cut where a pause is."""
    run: list[Visit] = []
    ended = 0.0
    for one in visits:
        if run and one.at - ended > gap_s:
            yield run
            run = []
        ended = max(ended, one.until) if run else one.until
        run.append(one)
    if run:
        yield run


def _of(lane: Lane, visits: list[Visit]) -> Session:
    run = Run.begun(lane, visits[0])
    for one in visits[1:]:
        run.add(one)
    return run.session()
