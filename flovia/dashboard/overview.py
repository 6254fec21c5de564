"""The first page: the numbers that matter, and how they went by day."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import attrs

from flovia.core.encoding import JsonValue
from flovia.insights.buckets import percentile
from flovia.insights.funnel import FunnelRow, funnel
from flovia.insights.intervals import Share, share
from flovia.insights.measures import Cell
from flovia.insights.pricing import PricingRow, pricing
from flovia.insights.revenue import RevenueRow, revenue
from flovia.insights.sql_integrity import count_due_sql
from flovia.reports.tables import left_out_words

if TYPE_CHECKING:
    from flovia.insights.asking import LeftOut
    from flovia.ledger.sql import SqlLedger
    from flovia.reports.reading import Reading

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@attrs.frozen(kw_only=True)
class Day:
    """Attempts that began on one day, UTC, and what they brought: base units by currency."""

    date: str
    at: int
    attempts: int
    paid: int
    delivered: int
    gross: Mapping[str, int]

    def to_json(self) -> dict[str, JsonValue]:
        """The day as JSON members; amounts are texts of digits."""
        return {
            "date": self.date,
            "attempts": self.attempts,
            "paid": self.paid,
            "delivered": self.delivered,
            "gross": {currency: str(amount) for currency, amount in self.gross.items()},
        }


@attrs.frozen(kw_only=True)
class Overview:
    """Everything at a glance.

    ``conversion``: delivered of attempts; ``paid``: of attempts. ``pay_p50_ms``, ``pay_p95_ms``: from the 402 to the
    payment, of ``timed``. ``revenue``: each currency by itself, the one with the most payments first. ``waiting``:
    attempts that need somebody. ``days``: with those on which nothing came, the oldest first. ``busiest``: endpoints
    with the most attempts, of ``endpoints``.
    """

    attempts: int
    presented: int
    paid: Share
    conversion: Share
    timed: int
    pay_p50_ms: float | None
    pay_p95_ms: float | None
    revenue: Sequence[RevenueRow]
    waiting: int
    days: Sequence[Day]
    busiest: Sequence[FunnelRow]
    endpoints: int
    advice: Sequence[PricingRow]
    left_out: "LeftOut"
    now: float

    @property
    def told(self) -> list[str]:
        """What is not counted, in words."""
        return left_out_words(self.left_out)

    def to_json(self) -> dict[str, JsonValue]:
        """All of it as JSON members, camelCase."""
        return {
            "report": "overview",
            "attempts": self.attempts,
            "presented": self.presented,
            "paid": self.paid.to_json(),
            "conversion": self.conversion.to_json(),
            "timed": self.timed,
            "payP50Ms": self.pay_p50_ms,
            "payP95Ms": self.pay_p95_ms,
            "revenue": [one.to_json() for one in self.revenue],
            "waiting": self.waiting,
            "days": [one.to_json() for one in self.days],
            "endpoints": self.endpoints,
            "busiest": [one.to_json() for one in self.busiest],
            "advice": [one.to_json() for one in self.advice],
            "leftOut": self.left_out.to_json(),
        }


BUSIEST: Final = 8
ADVICE: Final = 6
MOST_DAYS: Final = 3700
"""Days with nothing are filled in up to so many; a clock that was beside itself must not make a million."""


def overview(ledger: "SqlLedger", by_day: "Reading", by_route: "Reading") -> Overview:
    """The first page, from what was counted by day and currency, and by route and price."""
    whole = Cell()
    for cell in by_day.cells.values():
        whole.add(cell)
    endpoints = funnel(by_route.cells, ("endpoint",))
    advised = [one for one in pricing(by_route.cells) if one.advice is not None]
    advised.sort(key=lambda one: (("raise", "lower", "test", "leave").index(one.advice or "leave"), one.endpoint))
    return Overview(
        attempts=whole.attempts,
        presented=whole.presented,
        paid=share(whole.verified, whole.attempts),
        conversion=share(whole.delivered, whole.attempts),
        timed=sum(whole.pay.values()),
        pay_p50_ms=percentile(whole.pay, 0.5),
        pay_p95_ms=percentile(whole.pay, 0.95),
        revenue=sorted(revenue(by_day.cells, ()), key=lambda one: -one.payments),
        waiting=count_due_sql(ledger.database, by_day.asked),
        days=_days(by_day),
        busiest=sorted(endpoints, key=lambda one: -one.attempts)[:BUSIEST],
        endpoints=len(endpoints),
        advice=advised[:ADVICE],
        left_out=by_day.left_out,
        now=by_day.now,
    )


def _days(found: "Reading") -> list[Day]:
    cells: dict[int, list[tuple[str | None, Cell]]] = {}
    for route, cell in found.cells.items():
        if cell.attempts or cell.payments:
            cells.setdefault(route.day, []).append((route.currency, cell))
    if not cells:
        return []
    first, last = min(cells), max(cells)
    days = range(first, last + 1) if last - first < MOST_DAYS else sorted(cells)
    return [_day(day, cells.get(day, ())) for day in days]


def _day(day: int, cells: Sequence[tuple[str | None, Cell]]) -> Day:
    gross: dict[str, int] = {}
    for currency, cell in cells:
        if currency is not None and cell.payments:
            gross[currency] = gross.get(currency, 0) + cell.gross
    return Day(
        date=(_EPOCH + timedelta(days=day)).date().isoformat(),
        at=day * 86400,
        attempts=sum(cell.attempts for _, cell in cells),
        paid=sum(cell.verified for _, cell in cells),
        delivered=sum(cell.delivered for _, cell in cells),
        gross=gross,
    )
