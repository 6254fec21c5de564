"""Workflows: which endpoints are used together and in which order, what comes back, and where sessions end unpaid.

Counted are sessions (:mod:`flovia.insights.sessions`). The answer is worked out from :class:`Facts`; whether these were
counted from sessions here, or by SQL (:mod:`flovia.insights.sql_workflows`), makes no difference.
"""

from collections.abc import Callable, Iterable, Mapping
from math import inf
from typing import Final, TypeVar

import attrs

from flovia.core.encoding import JsonValue
from flovia.insights.asking import Asked
from flovia.insights.intervals import Share, share
from flovia.insights.retention import end_of
from flovia.insights.sessions import OTHER, Session, signature_text

T = TypeVar("T")
K = TypeVar("K", str, tuple[str, str])

MOST: Final = 50
"""Rows of a kind, at most: the most frequent."""
LEAST_SUPPORT: Final = 5
"""Sessions that must have used two endpoints before anything is said of them together."""


@attrs.frozen
class Counted:
    """Sessions that are alike: how many; how many ``paid`` at least once, and ``finished``: their last attempt was
    paid. ``payers``: whose they are, as far as that is known; ``returned``: of them those with more than one.
    """

    sessions: int
    paid: int
    finished: int
    payers: int
    returned: int


@attrs.frozen(kw_only=True)
class Facts:
    """What is counted of sessions.

    ``sessions``, ``attempts``, ``paid`` (of the attempts); ``declared``: sessions whose workflow the agent named;
    ``nameless``: sessions whose payer nobody knows. ``names``: by declared workflow; ``paths``: by the endpoints in the
    order of their first use; ``moves``: by an endpoint and the next one, and ``leaving``: how many moves begin at an
    endpoint. ``lengths``: sessions by how many endpoints they used, and whether the last attempt was paid.
    ``using``: sessions by endpoint; ``dropping``: by the endpoint of the last attempt, if that was not paid.
    ``together``: sessions that used two endpoints, at least as many as were asked for. Of names, paths, moves, using
    and together only the most frequent :data:`MOST` are here, besides endpoints that pairs need; ``kinds`` says how
    many there are of each.

    Not counted: ``own`` payers' sessions, ``test`` sessions, ``ahead``: those that begin later than now; ``alone``:
    attempts in no session, because neither payer nor workflow is known.
    """

    sessions: int
    attempts: int
    paid: int
    declared: int
    nameless: int
    names: Mapping[str, Counted]
    paths: Mapping[tuple[str, ...], Counted]
    moves: Mapping[tuple[str, str], int]
    leaving: Mapping[str, int]
    lengths: Mapping[tuple[int, bool], int]
    using: Mapping[str, int]
    dropping: Mapping[str, int]
    together: Mapping[tuple[str, str], int]
    kinds: Mapping[str, int]
    own: int
    test: int
    ahead: int
    alone: int


@attrs.frozen(kw_only=True)
class Usage:
    """A declared workflow, or a path: how often, whose, and how it went.

    ``paid``: sessions with a payment, of all; ``finished``: those whose last attempt was paid; ``returned``: payers
    with more than one such session, of all known ones.
    """

    name: str
    sessions: int
    paid: Share
    finished: Share
    returned: Share

    def to_json(self) -> dict[str, JsonValue]:
        """The row as JSON members."""
        return {
            "name": self.name,
            "sessions": self.sessions,
            "paid": self.paid.to_json(),
            "finished": self.finished.to_json(),
            "returned": self.returned.to_json(),
        }


@attrs.frozen(kw_only=True)
class Transition:
    """How often an endpoint was followed by another, or itself, of all that followed it in the same session."""

    origin: str
    target: str
    share: Share

    def to_json(self) -> dict[str, JsonValue]:
        """The row as JSON members."""
        return {"from": self.origin, "to": self.target, **self.share.to_json()}


@attrs.frozen(kw_only=True)
class DropOff:
    """Sessions that came so far, and of them those whose last, unpaid attempt was there.

    ``name``: an endpoint, or the number of a step: of the first endpoint, the second other one, and so on.
    """

    name: str
    dropped: Share

    def to_json(self) -> dict[str, JsonValue]:
        """The row as JSON members."""
        return {"name": self.name, "dropped": self.dropped.to_json()}


@attrs.frozen(kw_only=True)
class Pair:
    """Two endpoints that sessions use together. ``lift``: how many times more often than by chance."""

    one: str
    other: str
    sessions: int
    lift: float

    def to_json(self) -> dict[str, JsonValue]:
        """The row as JSON members."""
        return {"one": self.one, "other": self.other, "sessions": self.sessions, "lift": self.lift}


@attrs.frozen(kw_only=True)
class Workflows:
    """What sessions are made of, each kind of row with the most frequent first."""

    sessions: int
    attempts: int
    paid: Share
    declared: int
    nameless: int
    workflows: tuple[Usage, ...]
    paths: tuple[Usage, ...]
    transitions: tuple[Transition, ...]
    steps: tuple[DropOff, ...]
    endpoints: tuple[DropOff, ...]
    pairs: tuple[Pair, ...]
    kinds: Mapping[str, int]

    def to_json(self) -> dict[str, JsonValue]:
        """The counts of all sessions as JSON members, camelCase."""
        return {
            "sessions": self.sessions,
            "attempts": self.attempts,
            "paid": self.paid.to_json(),
            "declared": self.declared,
            "nameless": self.nameless,
            "kinds": dict(self.kinds),
        }


def workflows(facts: Facts) -> Workflows:
    """The answer that facts give."""
    return Workflows(
        sessions=facts.sessions,
        attempts=facts.attempts,
        paid=share(facts.paid, facts.attempts),
        declared=facts.declared,
        nameless=facts.nameless,
        workflows=tuple(_usage(name, facts.names[name]) for name in facts.names),
        paths=tuple(_usage(" → ".join(path), facts.paths[path]) for path in facts.paths),
        transitions=tuple(
            Transition(origin=origin, target=target, share=share(times, facts.leaving[origin]))
            for (origin, target), times in facts.moves.items()
        ),
        steps=tuple(_steps(facts.lengths)),
        endpoints=tuple(
            DropOff(name=endpoint, dropped=share(facts.dropping.get(endpoint, 0), sessions))
            for endpoint, sessions in facts.using.items()
        ),
        pairs=tuple(
            Pair(
                one=one,
                other=other,
                sessions=both,
                lift=both * facts.sessions / (facts.using[one] * facts.using[other]),
            )
            for (one, other), both in facts.together.items()
        ),
        kinds=facts.kinds,
    )


def _usage(name: str, counted: Counted) -> Usage:
    return Usage(
        name=name,
        sessions=counted.sessions,
        paid=share(counted.paid, counted.sessions),
        finished=share(counted.finished, counted.sessions),
        returned=share(counted.returned, counted.payers),
    )


def _steps(lengths: Mapping[tuple[int, bool], int]) -> Iterable[DropOff]:
    for number in range(1, max((length for length, _ in lengths), default=0) + 1):
        reached = sum(count for (length, _), count in lengths.items() if length >= number)
        yield DropOff(name=str(number), dropped=share(lengths.get((number, False), 0), reached))


# --- counting, of sessions in memory ------------------------------------------------------------------------------


def count(sessions: Iterable[Session], asked: Asked, now: float, alone: int = 0, least: int = LEAST_SUPPORT) -> Facts:
    """The facts that sessions give.

    Args:
        sessions: all that there are. One belongs to the time at which it began.
        asked: the question; of an endpoint: the sessions that use it.
        now: Unix seconds.
        alone: attempts in that time that are in no session.
        least: sessions that must have used two endpoints.
    """
    end, since = end_of(asked, now), -inf if asked.since is None else asked.since
    own = test = ahead = 0
    found: list[Session] = []
    for one in sessions:
        if one.started_at < since or asked.endpoint not in (None, *one.signature):
            continue
        if one.started_at >= end:
            ours = asked.until is None and (asked.test or not one.lane.test) and not asked.is_own(one.payer)
            ahead += ours
        elif one.lane.test and not asked.test:
            test += 1
        elif asked.is_own(one.payer):
            own += 1
        else:
            found.append(one)
    names = _alike([one for one in found if one.lane.workflow], lambda one: one.lane.workflow)
    paths = _alike(found, lambda one: one.signature)
    moves: dict[tuple[str, str], int] = {}
    leaving: dict[str, int] = {}
    lengths: dict[tuple[int, bool], int] = {}
    using: dict[str, int] = {}
    dropping: dict[str, int] = {}
    together: dict[tuple[str, str], int] = {}
    for one in found:
        for (origin, target), times in one.moves.items():
            moves[origin, target] = moves.get((origin, target), 0) + times
            leaving[origin] = leaving.get(origin, 0) + times
        length = len(one.steps), one.last_paid
        lengths[length] = lengths.get(length, 0) + 1
        if not one.last_paid:
            dropping[one.last_endpoint] = dropping.get(one.last_endpoint, 0) + 1
        used = sorted(one.signature)
        for place, endpoint in enumerate(used):
            using[endpoint] = using.get(endpoint, 0) + 1
            for other in used[place + 1 :]:
                if OTHER not in (endpoint, other):
                    together[endpoint, other] = together.get((endpoint, other), 0) + 1
    together = {pair: both for pair, both in together.items() if both >= least}
    kinds = {
        "workflows": len(names),
        "paths": len(paths),
        "transitions": len(moves),
        "endpoints": len(using),
        "pairs": len(together),
    }
    moves, together = _most(moves), _most(together)
    named = {endpoint for pair in together for endpoint in pair}
    using = {endpoint: using[endpoint] for endpoint in in_turn(using) if endpoint in named | set(_most(using))}
    return Facts(
        sessions=len(found),
        attempts=sum(one.attempts for one in found),
        paid=sum(one.paid for one in found),
        declared=sum(bool(one.lane.workflow) for one in found),
        nameless=sum(one.payer is None for one in found),
        names=_most_counted(names, str),
        paths=_most_counted(paths, signature_text),
        moves=moves,
        leaving={origin: leaving[origin] for origin, _ in moves},
        lengths=lengths,
        using=using,
        dropping={endpoint: dropping[endpoint] for endpoint in using if endpoint in dropping},
        together=together,
        kinds=kinds,
        own=own,
        test=test,
        ahead=ahead,
        alone=alone,
    )


def in_turn(counts: Mapping[K, int]) -> list[K]:
    """What is counted, the most frequent first, and else by its text."""
    return sorted(counts, key=lambda one: (-counts[one], one))


def _most(counts: Mapping[K, int]) -> dict[K, int]:
    return {one: counts[one] for one in in_turn(counts)[:MOST]}


def _most_counted(counts: Mapping[T, Counted], text: Callable[[T], str]) -> dict[T, Counted]:
    ordered = sorted(counts, key=lambda one: (-counts[one].sessions, text(one)))
    return {one: counts[one] for one in ordered[:MOST]}


def _alike(sessions: Iterable[Session], key: Callable[[Session], T]) -> dict[T, Counted]:
    groups: dict[T, list[Session]] = {}
    for one in sessions:
        groups.setdefault(key(one), []).append(one)
    found: dict[T, Counted] = {}
    for name, alike in groups.items():
        times: dict[str, int] = {}
        for one in alike:
            if one.payer is not None:
                times[one.payer] = times.get(one.payer, 0) + 1
        found[name] = Counted(
            sessions=len(alike),
            paid=sum(one.paid > 0 for one in alike),
            finished=sum(one.last_paid for one in alike),
            payers=len(times),
            returned=sum(count > 1 for count in times.values()),
        )
    return found
