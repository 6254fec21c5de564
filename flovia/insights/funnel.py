"""The funnel: how many of those who saw a price paid, and got what they paid for; how long it took, and what failed."""

from collections.abc import Collection
from typing import Final

import attrs

from flovia.core.encoding import JsonValue
from flovia.insights.asking import grouping, in_order, members_of
from flovia.insights.buckets import percentile
from flovia.insights.intervals import Share, share
from flovia.insights.measures import Cell, Cells, grouped_by

FUNNEL_BY: Final = ("endpoint", "rail", "price")
LATENCY_BY: Final = ("endpoint",)
PHASES: Final = ("challenge", "verify", "handler")


@attrs.frozen(kw_only=True)
class FunnelRow:
    """One route, by whatever rows are told apart by (``group``).

    ``requests`` and ``challenges`` (402s) are counted one by one; the steps count attempts: ``attempts`` saw a price,
    ``presented`` a credential, ``verified`` paid, ``delivered`` got their answer. ``failed``: paid, and did not (yet).
    ``conversion``: delivered of attempts; ``abandonment``: attempts that never presented anything. ``pay_p50_ms``,
    ``pay_p95_ms``: from the 402 to the payment, within 1 %. ``reasons``: problems of those that were not delivered,
    the most frequent first.
    """

    group: dict[str, JsonValue]
    requests: int
    challenges: int
    attempts: int
    presented: int
    verified: int
    delivered: int
    failed: int
    conversion: Share
    abandonment: Share
    pay_p50_ms: float | None
    pay_p95_ms: float | None
    reasons: tuple[tuple[str, int], ...]

    def to_json(self) -> dict[str, JsonValue]:
        """The row as JSON members, camelCase."""
        return {
            **self.group,
            "requests": self.requests,
            "challenges": self.challenges,
            "attempts": self.attempts,
            "presented": self.presented,
            "verified": self.verified,
            "delivered": self.delivered,
            "failed": self.failed,
            "conversion": self.conversion.to_json(),
            "abandonment": self.abandonment.to_json(),
            "payP50Ms": self.pay_p50_ms,
            "payP95Ms": self.pay_p95_ms,
            "reasons": dict(self.reasons),
        }


def funnel(cells: Cells, by: Collection[str] = FUNNEL_BY) -> list[FunnelRow]:
    """The funnel of each group, those with nobody who saw a price left out.

    Raises:
        CallerError: nothing that rows can be told apart by.
    """
    groups = grouped_by(cells, grouping(by))
    return [_funnel_row(groups[group], members_of(group, by)) for group in in_order(groups) if groups[group].attempts]


def _funnel_row(cell: Cell, group: dict[str, JsonValue]) -> FunnelRow:
    return FunnelRow(
        group=group,
        requests=cell.requests,
        challenges=cell.challenges,
        attempts=cell.attempts,
        presented=cell.presented,
        verified=cell.verified,
        delivered=cell.delivered,
        failed=cell.verified - cell.delivered,
        conversion=share(cell.delivered, cell.attempts),
        abandonment=share(cell.attempts - cell.presented, cell.attempts),
        pay_p50_ms=percentile(cell.pay, 0.5),
        pay_p95_ms=percentile(cell.pay, 0.95),
        reasons=tuple(sorted(cell.problems.items(), key=lambda one: (-one[1], one[0]))),
    )


@attrs.frozen(kw_only=True)
class Phase:
    """One part of the work: how long it took (ms, within 1 %), of how many is known, and how often it failed."""

    count: int
    p50_ms: float | None
    p95_ms: float | None
    errors: Share

    def to_json(self) -> dict[str, JsonValue]:
        """The phase as JSON members."""
        times: dict[str, JsonValue] = {"count": self.count, "p50Ms": self.p50_ms, "p95Ms": self.p95_ms}
        return times | {"errors": self.errors.to_json()}


@attrs.frozen(kw_only=True)
class LatencyRow:
    """How long a route took, and how often it failed.

    ``challenge``: the answer with the 402; its errors are answers of 500 and above to those who had no credential yet.
    ``verify``: from the credential to the verdict; errors are answers of 500 and above without one. ``handler``: from
    there to the last byte; errors are paid attempts of which a delivery failed. ``p50_ms``, ``p95_ms``: the whole
    request that tells.
    """

    group: dict[str, JsonValue]
    attempts: int
    p50_ms: float | None
    p95_ms: float | None
    challenge: Phase
    verify: Phase
    handler: Phase

    def to_json(self) -> dict[str, JsonValue]:
        """The row as JSON members, camelCase."""
        whole: dict[str, JsonValue] = {"attempts": self.attempts, "p50Ms": self.p50_ms, "p95Ms": self.p95_ms}
        return {**self.group, **whole, **{name: getattr(self, name).to_json() for name in PHASES}}


def latency(cells: Cells, by: Collection[str] = LATENCY_BY) -> list[LatencyRow]:
    """How long each group took.

    Raises:
        CallerError: nothing that rows can be told apart by.
    """
    groups = grouped_by(cells, grouping(by))
    return [_latency_row(groups[group], members_of(group, by)) for group in in_order(groups) if groups[group].attempts]


def _latency_row(cell: Cell, group: dict[str, JsonValue]) -> LatencyRow:
    return LatencyRow(
        group=group,
        attempts=cell.attempts,
        p50_ms=percentile(cell.latency, 0.5),
        p95_ms=percentile(cell.latency, 0.95),
        challenge=_phase(cell.challenge, cell.challenge_errors, cell.attempts),
        verify=_phase(cell.verify, cell.verify_errors, cell.presented),
        handler=_phase(cell.handler, cell.handler_errors, cell.verified),
    )


def _phase(times: dict[int, int], errors: int, of: int) -> Phase:
    return Phase(
        count=sum(times.values()),
        p50_ms=percentile(times, 0.5),
        p95_ms=percentile(times, 0.95),
        errors=share(errors, of),
    )
