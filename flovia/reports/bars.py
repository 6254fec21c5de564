"""The bars of the funnel: how many attempts each day, or each so many days, had."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from flovia.insights.asking import grouping, in_order
from flovia.insights.measures import grouped_by
from flovia.reports.parts import Line
from flovia.reports.reading import Reading

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def lines(found: Reading, by: Sequence[str]) -> list[Line | None]:
    """Attempts by day of each row of the funnel, in its order; None for all if a row is a day itself."""
    key = grouping(by)
    groups = grouped_by(found.cells, key)
    rows = [group for group in in_order(groups) if groups[group].attempts]
    days = _days(found)
    if not days or min(days) == max(days):
        return [None] * len(rows)
    series: dict[tuple[object, ...], dict[int, int]] = {}
    for route, cell in found.shown.items():
        mine = series.setdefault(key(route), {})
        day = route.day // found.width
        mine[day] = mine.get(day, 0) + cell.attempts
    about = f"attempts of each {_each(found)} from {_date(min(days) * found.width)}"
    return [
        Line(tuple(series.get(group, {}).get(day, 0) for day in range(min(days), max(days) + 1)), about)
        for group in rows
    ]


def _days(found: Reading) -> list[int]:
    return [route.day // found.width for route, cell in found.shown.items() if cell.attempts]


def _each(found: Reading) -> str:
    return "day" if found.width == 1 else f"{found.width} days"


def bars(found: Reading) -> str:
    """What a bar of the funnel is."""
    days = _days(found)
    return (
        f"each bar is {'a day' if found.width == 1 else _each(found)}, the first from {_date(min(days) * found.width)}"
    )


def _date(day: int) -> str:
    return (_EPOCH + timedelta(days=day)).date().isoformat()
