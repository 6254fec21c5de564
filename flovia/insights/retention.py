"""Retention: who comes back, when, and who may have gone; and how much of the revenue hangs on few payers.

A payer comes back with another *paid session* (:mod:`flovia.insights.sessions`): its time is that of the first paid
attempt in it. Everything is worked out from :class:`Facts`; whether these were counted from sessions here, or by SQL
(:mod:`flovia.insights.sql_retention`), makes no difference.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from math import inf
from typing import Final

import attrs

from flovia.core.encoding import JsonValue
from flovia.insights.asking import Asked
from flovia.insights.intervals import Share, share
from flovia.insights.sessions import Session, Step, in_turn, week_of

WEEKS: Final = 12
"""Weeks after the first one that a cohort is followed."""
LEAST_SESSIONS: Final = 3
"""Paid sessions that a payer must have before its silence says anything."""
SILENCE: Final = 3.0
"""Silent for more than so many times its own average pause, a payer may have gone."""
LEAST_SILENCE_S: Final = 86400.0
"""No payer is missed before."""
MOST_NAMED: Final = 20
"""Payers that are listed, of those that may have gone."""
TOP: Final = 10
"""Payers that are listed, and the percentage of all payers, whose part of the revenue is told."""
_MONDAY: Final = datetime(1969, 12, 29, tzinfo=UTC)


@attrs.frozen
class Silent:
    """A payer that may have gone: how often it came, its average pause in seconds, and when it last came."""

    payer: str
    sessions: int
    pause_s: float
    last_at: float

    def to_json(self) -> dict[str, JsonValue]:
        """The payer as JSON members, camelCase."""
        return {"payer": self.payer, "sessions": self.sessions, "pauseS": self.pause_s, "lastAt": self.last_at}


@attrs.frozen(kw_only=True)
class Facts:
    """What is counted of payers.

    ``active``: payers with a paid session in the time that is asked about; ``returned``: of them those with at least
    two until its end, whenever the others were. ``cohorts``: of payers whose first paid session was in that time, by
    the endpoint and the week of that, and how many weeks later: how many had one in that week. ``seconds``: how many of
    these had a second one, and the time to it in seconds, p50 and p95. ``judged``, ``silent``: active payers with
    enough sessions, and those of them that may have gone, ``named`` the most frequent. ``money``: by currency, how many
    payers brought how much in that time (how much, how many), base units, the least first; ``top``: the first of them.

    Not counted: ``own`` payers and ``test`` sessions (paid, in that time), ``ahead``: paid sessions that begin later
    than now; ``nameless``: paid attempts whose payer nobody knows; ``amountless``: paid ones without an amount.
    """

    active: int
    returned: int
    cohorts: Mapping[tuple[str, int, int], int]
    seconds: int
    second_p50_s: float | None
    second_p95_s: float | None
    judged: int
    silent: int
    named: Sequence[Silent]
    money: Mapping[str, Sequence[tuple[int, int]]]
    top: Mapping[str, Sequence[tuple[str, int]]]
    own: int
    test: int
    ahead: int
    nameless: int
    amountless: int


@attrs.frozen(kw_only=True)
class Week:
    """A cohort some weeks later: those who had a paid session in that week.

    ``partial``: the week is not over, or the cohort's first one was cut off by what is asked about.
    """

    number: int
    share: Share
    partial: bool

    def to_json(self) -> dict[str, JsonValue]:
        """The week as JSON members."""
        return {**self.share.to_json(), "partial": self.partial}


@attrs.frozen(kw_only=True)
class Cohort:
    """Payers that came first in one week, or at one endpoint: ``name``. ``weeks``: as far as there are any yet."""

    name: str
    payers: int
    partial: bool
    weeks: tuple[Week, ...]

    def to_json(self) -> dict[str, JsonValue]:
        """The cohort as JSON members."""
        return {
            "cohort": self.name,
            "payers": self.payers,
            "partial": self.partial,
            "weeks": {f"W{week.number}": week.to_json() for week in self.weeks},
        }


@attrs.frozen(kw_only=True)
class Concentration:
    """How much of one currency's revenue (paid, and did not go back) few payers brought.

    ``tenth``: the share of the first tenth of all payers, rounded up; ``gini``: 0 if all brought the same, near 1 if
    one brought everything; both None if nobody brought anything.
    """

    currency: str
    payers: int
    net: int
    tenth: float | None
    gini: float | None
    top: tuple[tuple[str, int], ...]

    def to_json(self) -> dict[str, JsonValue]:
        """The currency as JSON members, amounts as digits in base units."""
        return {
            "currency": self.currency,
            "payers": self.payers,
            "net": str(self.net),
            "topTenthShare": self.tenth,
            "gini": self.gini,
            "top": [
                {"payer": payer, "net": str(net), "share": net / self.net if self.net else None}
                for payer, net in self.top
            ],
        }


@attrs.frozen(kw_only=True)
class Retention:
    """Who comes back. See :class:`Facts` for what is counted."""

    repeat: Share
    new: int
    second: Share
    second_p50_s: float | None
    second_p95_s: float | None
    by_week: tuple[Cohort, ...]
    by_endpoint: tuple[Cohort, ...]
    at_risk: Share
    named: tuple[Silent, ...]
    concentration: tuple[Concentration, ...]

    def to_json(self) -> dict[str, JsonValue]:
        """All but the cohorts as JSON members, camelCase."""
        return {
            "repeat": self.repeat.to_json(),
            "newPayers": self.new,
            "secondSession": {**self.second.to_json(), "p50S": self.second_p50_s, "p95S": self.second_p95_s},
            "churnRisk": {
                **self.at_risk.to_json(),
                "rule": {"pauses": SILENCE, "leastS": LEAST_SILENCE_S, "leastSessions": LEAST_SESSIONS},
                "named": [one.to_json() for one in self.named],
            },
            "concentration": [one.to_json() for one in self.concentration],
        }


def retention(facts: Facts, asked: Asked, now: float) -> Retention:
    """The answer that facts give.

    Args:
        facts: counted by :func:`count` or by SQL, for the same question.
        asked: the question.
        now: Unix seconds.
    """
    this_week = week_of(end_of(asked, now))
    cut = None if asked.since is None or start_of(week_of(asked.since)) == asked.since else week_of(asked.since)
    new = sum(count for (_, _, later), count in facts.cohorts.items() if later == 0)
    return Retention(
        repeat=share(facts.returned, facts.active),
        new=new,
        second=share(facts.seconds, new),
        second_p50_s=facts.second_p50_s,
        second_p95_s=facts.second_p95_s,
        by_week=tuple(_by_week(facts.cohorts, this_week, cut)),
        by_endpoint=tuple(_by_endpoint(facts.cohorts, this_week)),
        at_risk=share(facts.silent, facts.judged),
        named=tuple(facts.named),
        concentration=tuple(
            _concentration(currency, facts.money[currency], facts.top.get(currency, ()))
            for currency in sorted(facts.money)
        ),
    )


def end_of(asked: Asked, now: float) -> float:
    """The time at which what is asked about ends: not later than now."""
    return now if asked.until is None else min(asked.until, now)


def start_of(week: int) -> float:
    """When a week begins, Unix seconds."""
    return (_MONDAY + timedelta(weeks=week)).timestamp()


def date_of(week: int) -> str:
    """The Monday of a week, ``2026-02-02``."""
    return (_MONDAY + timedelta(weeks=week)).date().isoformat()


def rank(percent: int, count: int) -> int:
    """Which of so many sorted values ``percent`` % of all do not exceed (nearest rank), from 1."""
    return max(1, -(-percent * count // 100))


def _by_week(cohorts: Mapping[tuple[str, int, int], int], this_week: int, cut: int | None) -> Iterable[Cohort]:
    found: dict[int, dict[int, int]] = {}
    for (_, first, later), count in cohorts.items():
        mine = found.setdefault(first, {})
        mine[later] = mine.get(later, 0) + count
    for first, counts in sorted(found.items()):
        partial = first in (cut, this_week)
        yield Cohort(
            name=date_of(first),
            payers=counts[0],
            partial=partial,
            weeks=tuple(
                Week(
                    number=later,
                    share=share(counts.get(later, 0), counts[0]),
                    partial=first == cut or first + later == this_week,
                )
                for later in range(min(WEEKS, this_week - first) + 1)
            ),
        )


def _by_endpoint(cohorts: Mapping[tuple[str, int, int], int], this_week: int) -> Iterable[Cohort]:
    """Weeks that are not over do not count here: each share is of those payers for whom that week is over."""
    sizes: dict[str, dict[int, int]] = {}
    hits: dict[str, dict[int, int]] = {}
    for (endpoint, first, later), count in cohorts.items():
        if later == 0:
            sizes.setdefault(endpoint, {})[first] = count
        if first + later < this_week:
            mine = hits.setdefault(endpoint, {})
            mine[later] = mine.get(later, 0) + count
    for endpoint, by_week in sorted(sizes.items(), key=lambda one: (-sum(one[1].values()), one[0])):
        weeks: list[Week] = []
        for later in range(WEEKS + 1):
            sample = sum(count for first, count in by_week.items() if first + later < this_week)
            if sample:
                hit = hits.get(endpoint, {}).get(later, 0)
                weeks.append(Week(number=later, share=share(hit, sample), partial=False))
        yield Cohort(name=endpoint, payers=sum(by_week.values()), partial=False, weeks=tuple(weeks))


def _concentration(currency: str, money: Sequence[tuple[int, int]], top: Sequence[tuple[str, int]]) -> Concentration:
    payers = sum(count for _, count in money)
    net = sum(value * count for value, count in money)
    tenth, left, ranked, before = 0, -(-payers // 10), 0, 0
    for value, count in reversed(money):
        taken = min(left, count)
        tenth, left = tenth + value * taken, left - taken
    for value, count in money:
        ranked += value * (count * before + count * (count + 1) // 2)
        before += count
    return Concentration(
        currency=currency,
        payers=payers,
        net=net,
        tenth=tenth / net if net else None,
        gini=(2 * ranked - (payers + 1) * net) / (payers * net) if net else None,
        top=tuple(top),
    )


# --- counting, of sessions in memory ------------------------------------------------------------------------------


@attrs.frozen
class _Paid:
    """A paid session, or the part of one that is asked about."""

    at: float
    key: str
    endpoint: str
    net: Mapping[str, int]


def count(sessions: Iterable[Session], asked: Asked, now: float, nameless: int = 0) -> Facts:
    """The facts that sessions give.

    Args:
        sessions: all that there are; also those before the time that is asked about say who is new.
        asked: the question.
        now: Unix seconds.
        nameless: paid attempts in that time that are in no session, because nobody knows whose they are.
    """
    end, since = end_of(asked, now), -inf if asked.since is None else asked.since
    own: set[str] = set()
    test = ahead = amountless = 0
    payers: dict[str, list[_Paid]] = {}
    for session in sessions:
        step = _asked_step(session, asked.endpoint)
        if step is None or step.paid_at is None:
            continue
        at = step.paid_at
        inside = since <= at < end
        if session.lane.test and not asked.test:
            test += inside
        elif asked.is_own(session.payer):
            own |= {session.lane.payer} if inside else set()
        elif session.payer is None:
            nameless += inside and (session.paid if asked.endpoint is None else step.paid)
        elif at >= end:
            ahead += asked.until is None
        else:
            net = _net(session.steps if asked.endpoint is None else [step])
            payers.setdefault(session.payer, []).append(_Paid(at, session.key, step.endpoint, net))
            amountless += inside and (session.amountless if asked.endpoint is None else step.amountless)
    for found in payers.values():
        found.sort(key=in_turn)
    named, judged = _silent(payers, since, end)
    new = [found for found in payers.values() if found[0].at >= since]
    seconds = sorted(found[1].at - found[0].at for found in new if len(found) > 1)
    active = [found for found in payers.values() if found[-1].at >= since]
    money, top = _money(payers, since)
    return Facts(
        active=len(active),
        returned=sum(len(found) > 1 for found in active),
        cohorts=_cohorts(new),
        seconds=len(seconds),
        second_p50_s=seconds[rank(50, len(seconds)) - 1] if seconds else None,
        second_p95_s=seconds[rank(95, len(seconds)) - 1] if seconds else None,
        judged=judged,
        silent=len(named),
        named=named[:MOST_NAMED],
        money=money,
        top=top,
        own=len(own),
        test=test,
        ahead=ahead,
        nameless=nameless,
        amountless=amountless,
    )


def _asked_step(session: Session, endpoint: str | None) -> Step | None:
    if endpoint is None:
        return session.first_paid
    return next((step for step in session.steps if step.endpoint == endpoint), None)


def _net(steps: Iterable[Step]) -> dict[str, int]:
    found: dict[str, int] = {}
    for step in steps:
        for currency, net in step.net.items():
            found[currency] = found.get(currency, 0) + net
    return found


def _cohorts(new: Iterable[Sequence[_Paid]]) -> dict[tuple[str, int, int], int]:
    found: dict[tuple[str, int, int], int] = {}
    for paid in new:
        first = week_of(paid[0].at)
        for later in {week_of(one.at) - first for one in paid}:
            if later <= WEEKS:
                key = paid[0].endpoint, first, later
                found[key] = found.get(key, 0) + 1
    return found


def _silent(payers: Mapping[str, Sequence[_Paid]], since: float, end: float) -> tuple[list[Silent], int]:
    found: list[Silent] = []
    judged = 0
    for payer, paid in payers.items():
        last = paid[-1].at
        if len(paid) < LEAST_SESSIONS or last < since:
            continue
        judged += 1
        pause = (last - paid[0].at) / (len(paid) - 1)
        if end - last > max(SILENCE * pause, LEAST_SILENCE_S):
            found.append(Silent(payer, len(paid), pause, last))
    return sorted(found, key=lambda one: (-one.sessions, -one.last_at, one.payer)), judged


def _money(
    payers: Mapping[str, Sequence[_Paid]], since: float
) -> tuple[dict[str, list[tuple[int, int]]], dict[str, list[tuple[str, int]]]]:
    sums: dict[str, dict[str, int]] = {}
    for payer, paid in payers.items():
        for one in paid:
            for currency, net in one.net.items() if one.at >= since else ():
                mine = sums.setdefault(currency, {})
                mine[payer] = mine.get(payer, 0) + net
    money: dict[str, list[tuple[int, int]]] = {}
    for currency, mine in sums.items():
        counts: dict[int, int] = {}
        for net in mine.values():
            counts[net] = counts.get(net, 0) + 1
        money[currency] = sorted(counts.items())
    top = {currency: sorted(mine.items(), key=lambda one: (-one[1], one[0]))[:TOP] for currency, mine in sums.items()}
    return money, top
