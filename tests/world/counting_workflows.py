"""What is used together, and in which order: workflows, counted from the truth."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations, pairwise
from typing import Final

from tests.world.counting import Question, Row, share
from tests.world.counting_people import Session, sessions
from tests.world.matching import Near
from tests.world.truth import Truth

MOST: Final = 50
"""Rows of a kind that are listed."""
TOGETHER: Final = 5
"""Sessions that must have used two endpoints before anything is said of them together."""


def workflows(truth: Truth, question: Question) -> Row:
    """What sessions are made of."""
    end, since = min(question.until or truth.now, truth.now), question.since or 0
    found: list[Session] = []
    left: Counter[str] = Counter()
    for session in sessions(truth):
        start = session.stories[0].at
        if start < since or question.endpoint not in (None, *session.path):
            continue
        if start >= end:
            continue
        if session.test and not question.test:
            left["test"] += 1
        elif question.own is not None and session.payer.startswith(question.own):
            left["own"] += 1
        else:
            found.append(session)
    attempts = [story for session in found for story in session.stories]
    nobodys = [story for story in truth.attempts() if not story.payer and not story.workflow]
    alone = sum(question.counts(story) and story.at < end for story in nobodys)
    moves = Counter(pair for one in found for pair in pairwise(story.endpoint for story in one.stories))
    leaving: Counter[str] = Counter()
    for (origin, _), times in moves.items():
        leaving[origin] += times
    using = Counter(endpoint for one in found for endpoint in one.path)
    dropped = Counter(one.stories[-1].endpoint for one in found if one.stories[-1].paid_at is None)
    pairs = Counter(pair for one in found for pair in combinations(sorted(one.path), 2))
    pairs = Counter({pair: both for pair, both in pairs.items() if both >= TOGETHER})
    names = _alike([one for one in found if one.workflow], lambda one: one.workflow)
    paths = _alike(found, lambda one: json.dumps(one.path, ensure_ascii=False, separators=(",", ":")))
    in_turn = sorted(moves, key=lambda one: (-moves[one], one))
    return {
        "sessions": len(found),
        "attempts": len(attempts),
        "paid": share(sum(story.paid_at is not None for story in attempts), len(attempts)),
        "declared": sum(bool(one.workflow) for one in found),
        "nameless": sum(not one.payer for one in found),
        "kinds": {
            "workflows": len({one.workflow for one in found if one.workflow}),
            "paths": len({one.path for one in found}),
            "transitions": len(moves),
            "endpoints": len(using),
            "pairs": len(pairs),
        },
        "workflows": names,
        "paths": [row | {"name": " → ".join(json.loads(str(row["name"])))} for row in paths],
        "transitions": [{"from": one[0], "to": one[1], **share(moves[one], leaving[one[0]])} for one in in_turn[:MOST]],
        "steps": [*_steps(found)],
        "endpoints": [
            {"name": one, "dropped": share(dropped[one], using[one])}
            for one in sorted(using, key=lambda name: (-using[name], name))
        ],
        "pairs": [
            {
                "one": one,
                "other": other,
                "sessions": pairs[one, other],
                "lift": Near(pairs[one, other] / len(found) / (using[one] / len(found) * using[other] / len(found))),
            }
            for one, other in sorted(pairs, key=lambda pair: (-pairs[pair], pair))
        ],
        "left out": {"own": left["own"], "test": left["test"], "ahead": 0, "alone": alone},
    }


def _alike(found: Sequence[Session], name_of: Callable[[Session], str]) -> list[Row]:
    groups: dict[str, list[Session]] = {}
    for one in found:
        groups.setdefault(name_of(one), []).append(one)
    rows: list[Row] = []
    for name in sorted(groups, key=lambda one: (-len(groups[one]), one))[:MOST]:
        alike = groups[name]
        payers = Counter(one.payer for one in alike if one.payer)
        rows.append(
            {
                "name": name,
                "sessions": len(alike),
                "paid": share(sum(bool(one.paid) for one in alike), len(alike)),
                "finished": share(sum(one.stories[-1].paid_at is not None for one in alike), len(alike)),
                "returned": share(sum(times > 1 for times in payers.values()), len(payers)),
            }
        )
    return rows


def _steps(found: Sequence[Session]) -> Iterator[Row]:
    for number in range(1, max((len(one.path) for one in found), default=0) + 1):
        reached = [one for one in found if len(one.path) >= number]
        ended = [one for one in reached if len(one.path) == number and one.stories[-1].paid_at is None]
        yield {"name": str(number), "dropped": share(len(ended), len(reached))}
