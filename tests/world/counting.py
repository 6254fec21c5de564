"""What the reports have to say, counted from the truth: plainly, one story after the other, and with nothing of flovia.

The members are those of ``flovia report … --json``, as docs/cli.md and the glossary define them.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import ceil, sqrt
from typing import Final

from tests.world.matching import Near
from tests.world.truth import DAY_MS, Story, Truth

Row = dict[str, object]
Z: Final = 1.959963984540054
"""The normal distribution's quantile for 95 %."""
PERCENTILE: Final = 0.0101
LEAST_MS: Final = 0.001
"""Percentiles are within 1 %, as they are read from buckets, and what takes a microsecond took nothing."""
NO_MONEY: Final = {"not_paid", "not_accepted", "unknown", "turned_away"}
TO_GO_BACK: Final = {"price_risen", "late", "paid_twice", "unpresented", "mismatched", "failed_due"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked about; times in ms since 1970."""

    name: str = "everything"
    since: int | None = None
    until: int | None = None
    endpoint: str | None = None
    own: str | None = "own:"
    test: bool = False

    def is_own(self, story: Story) -> bool:
        """Whether it is one of the shop's own payers."""
        return self.own is not None and story.payer is not None and story.payer.startswith(self.own)

    def near(self, story: Story) -> bool:
        """Whether it is in the time and at the route that is asked about."""
        in_time = (self.since is None or story.at >= self.since) and (self.until is None or story.at < self.until)
        return in_time and self.endpoint in (None, story.endpoint)

    def counts(self, story: Story) -> bool:
        """Whether it counts."""
        return self.near(story) and not self.is_own(story) and (self.test or story.provider != "mock")


def counted(truth: Truth, question: Question) -> list[Story]:
    """The stories that count."""
    return [story for story in truth.stories if question.counts(story)]


def left_out(truth: Truth, question: Question) -> Row:
    """What does not count, and how much of it there is."""
    near = [story for story in truth.stories if question.near(story) and story.kind != "money"]
    test = [story for story in near if story.provider == "mock" and not question.test]
    own = [story for story in near if question.is_own(story) and (question.test or story.provider != "mock")]
    kinds = Counter(story.kind for story in near if question.counts(story))
    return {
        "test": len(test),
        "own": len(own),
        "probes": kinds["probe"],
        "turnedAway": kinds["turned_away"],
        "amountless": 0,
        "backwards": 0,
        "unknownEvents": 0,
        "crowdedEvents": 0,
        "tooOld": 0,
        "prunedEvents": False,
        "ownUnmatched": [],
    }


# --- shares and percentiles ---------------------------------------------------------------------------------------


def share(count: int, of: int) -> Row:
    """A share, and Wilson's interval in its textbook form."""
    if not of:
        return {"count": count, "of": of, "value": None, "low": None, "high": None}
    low, high = wilson(count, of)
    return {"count": count, "of": of, "value": Near(count / of), "low": Near(low), "high": Near(high)}


def wilson(count: int, of: int, z: float = Z) -> tuple[float, float]:
    """Wilson's interval."""
    p = count / of
    middle = (p + z * z / (2 * of)) / (1 + z * z / of)
    half = z / (1 + z * z / of) * sqrt(p * (1 - p) / of + z * z / (4 * of * of))
    return middle - half, middle + half


def nearest_rank(values: Iterable[int | None], part: float) -> float | None:
    """The value that so many of all do not exceed."""
    known = sorted(value for value in values if value is not None)
    return known[max(0, ceil(part * len(known)) - 1)] if known else None


def percentiles(values: Iterable[int | None], names: tuple[str, str] = ("p50Ms", "p95Ms")) -> Row:
    """The median and the 95th percentile, ms."""
    known = [value for value in values if value is not None]
    return {
        name: Near(nearest_rank(known, part), PERCENTILE, LEAST_MS)
        for name, part in zip(names, (0.5, 0.95), strict=True)
    }


# --- groups -------------------------------------------------------------------------------------------------------


def group_of(story: Story, by: Sequence[str]) -> tuple[object, ...]:
    """What tells a story's row apart."""
    values: dict[str, tuple[object, ...]] = {
        "endpoint": (story.endpoint,),
        "provider": (story.provider,),
        "rail": ("mpp",),
        "price": (None if story.price is None else str(story.price), story.currency),
        "day": (datetime.fromtimestamp(story.at // DAY_MS * DAY_MS / 1000, UTC).date().isoformat(),),
    }
    return tuple(value for name in by for value in values[name])


def named(group: tuple[object, ...], by: Sequence[str], currency: str = "currency") -> Row:
    """A group as members."""
    names = [one for name in by for one in (("price", currency) if name == "price" else (name,))]
    return dict(zip(names, group, strict=True))


def groups(
    stories: Iterable[Story], key: Callable[[Story], tuple[object, ...]]
) -> dict[tuple[object, ...], list[Story]]:
    """The stories of each group."""
    found: dict[tuple[object, ...], list[Story]] = {}
    for story in stories:
        found.setdefault(key(story), []).append(story)
    return found


# --- funnel, latency, revenue -------------------------------------------------------------------------------------


def funnel(stories: Iterable[Story], by: Sequence[str]) -> list[Row]:
    """Of those who saw a price, how many paid, and got their answer."""
    rows: list[Row] = []
    for group, found in groups(stories, lambda story: group_of(story, by)).items():
        seen = [story for story in found if story.kind == "attempt"]
        if not seen:
            continue
        brought = [story for story in seen if story.brought_at is not None]
        paid = [story for story in seen if story.paid_at is not None]
        delivered = [story for story in seen if story.delivered_at is not None]
        failed = [story for story in found if story.kind != "probe" and story.delivered_at is None]
        row: Row = {
            "requests": sum(len(story.own) for story in found),
            "challenges": sum(ask.status == 402 for story in found for ask in story.own),
            "attempts": len(seen),
            "presented": len(brought),
            "verified": len(paid),
            "delivered": len(delivered),
            "failed": len(paid) - len(delivered),
            "conversion": share(len(delivered), len(seen)),
            "abandonment": share(len(seen) - len(brought), len(seen)),
            **percentiles((time_to_pay(story) for story in seen), ("payP50Ms", "payP95Ms")),
            "reasons": dict(Counter(story.problem for story in failed if story.problem is not None)),
        }
        rows.append(named(group, by) | row)
    return rows


def time_to_pay(story: Story) -> int | None:
    """From the price to the payment, ms."""
    return None if story.shown_at is None or story.paid_at is None else story.paid_at - story.shown_at


def latency(stories: Iterable[Story], by: Sequence[str]) -> list[Row]:
    """How long each part took, and how often it failed."""
    rows: list[Row] = []
    for group, found in groups(stories, lambda story: group_of(story, by)).items():
        seen = [story for story in found if story.kind == "attempt"]
        if not seen:
            continue
        broken = [story for story in seen if story.telling is not None and story.telling.status >= 500]
        early = [story for story in broken if story.brought_at is None]
        unclear = [story for story in broken if story.brought_at is not None and story.paid_at is None]
        brought = [story for story in seen if story.brought_at is not None]
        paid = [story for story in seen if story.paid_at is not None]
        row: Row = {
            "attempts": len(seen),
            **percentiles(None if story.telling is None else story.telling.ms for story in seen),
            "challenge": _phase([_showing(story) for story in seen], len(early), len(seen)),
            "verify": _phase([story.verdict_ms for story in seen], len(unclear), len(brought)),
            "handler": _phase(
                [story.handler_ms for story in seen], sum(story.failures > 0 for story in seen), len(paid)
            ),
        }
        rows.append(named(group, by) | row)
    return rows


def _showing(story: Story) -> int | None:
    return next((ask.ms for ask in story.asks if ask.shows is story), None)


def _phase(times: Sequence[int | None], errors: int, of: int) -> Row:
    return {"count": sum(ms is not None for ms in times), **percentiles(times), "errors": share(errors, of)}


def revenue(stories: Iterable[Story], by: Sequence[str]) -> list[Row]:
    """What came, what went back, in each currency by itself."""
    paid = [story for story in stories if story.kind in ("attempt", "money") and story.fate not in NO_MONEY]
    rows: list[Row] = []
    for group, found in groups(paid, lambda story: (*group_of(story, by), story.came_in)).items():
        gross = sum(story.came or 0 for story in found)
        back = [story for story in found if story.back is not None]
        refunded = sum(story.back or 0 for story in back)
        row: Row = {
            "currency": group[-1],
            "payments": len(found),
            "gross": str(gross),
            "refunds": len(back),
            "refunded": str(refunded),
            "net": str(gross - refunded),
            "owed": str(sum(story.came or 0 for story in found if story.fate in TO_GO_BACK and not story.explained)),
        }
        rows.append(named(group[:-1], by, "priceCurrency") | row)
    return rows
