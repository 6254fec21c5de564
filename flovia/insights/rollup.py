"""Days: the cells of each day, kept, so that a report over a year reads days and not attempts.

A day is counted from its attempts, whole, whenever one of them has changed since. So what is kept is what counting
would give, and nothing has to be corrected step by step.
"""

import json
from collections.abc import Collection, Sequence
from math import ceil, floor, inf
from typing import Final, cast

from sqlalchemy import Integer, Select, delete, func, insert, literal_column, select

from flovia.insights.attempt import DAY_S, LAST_DAY, day_of
from flovia.insights.measures import MAPS, TIMES, Cell, Cells, Route, merge
from flovia.insights.schema import COUNTS, DAYS, MONEY, STALE_DAYS
from flovia.insights.sql_measures import SLICE, measure_sql
from flovia.insights.store import Database, Row

DAYS_AT_ONCE: Final = 100
"""Days that one statement reads."""
_KEY: Final = ("day", "endpoint", "provider", "rail", "price", "price_currency", "currency")


def roll_up(database: Database, *, slice_rows: int = SLICE) -> int:
    """Count every day that has changed since it was counted; how many.

    Raises:
        LedgerError: the database does not answer; run it again.
    """
    done = 0
    while stale := database.query(cast("Select[*tuple[object, ...]]", _STALE), {}):
        for day, mark in stale:
            cells = measure_day(database, int(day or 0), slice_rows=slice_rows)
            done += database.call(lambda: _keep(database, int(day or 0), int(mark or 0), cells))  # noqa: B023 - called here
    return done


_STALE: Final = select(STALE_DAYS.c.day, STALE_DAYS.c.mark).order_by(STALE_DAYS.c.day).limit(100)


def measure_day(
    database: Database, day: int, *, payers: Collection[str] | None = None, slice_rows: int = SLICE
) -> Cells:
    """The cells of one day, from its attempts."""
    since = -inf if day == 0 else float(day * DAY_S)
    until = inf if day == LAST_DAY else float((day + 1) * DAY_S)
    return measure_sql(database, since, until, payers=payers, slice_rows=slice_rows)


def measure_days(
    database: Database,
    since: float,
    until: float,
    *,
    width: int = 1,
    times: Collection[str] = TIMES,
    slice_rows: int = SLICE,
) -> Cells:
    """The cells of the attempts that began in a time: whole days as they are kept, the rest from the attempts.

    Args:
        database: where they are, with no day that waits to be counted.
        since: Unix seconds, included.
        until: Unix seconds, not included.
        width: days to add up to one cell, whose day is the first of them: a multiple of the width.
        times: which durations are wanted; the others are left out, which is faster.
        slice_rows: attempts to count at once.

    Raises:
        LedgerError: the database does not answer.
    """
    first = 0 if since <= 0 else ceil(min(since / DAY_S, LAST_DAY + 1))
    # The last day has no end, so it is whole only if the time has none.
    end = LAST_DAY + 1 if until == inf else max(0, min(floor(until / DAY_S), LAST_DAY))
    if since > -inf and since <= 0:
        first = 1  # day 0 has no beginning either
    if end <= first:
        return measure_sql(database, since, until, width=width, times=times, slice_rows=slice_rows)

    def edge(start: float, stop: float) -> Cells:
        return measure_sql(database, start, stop, width=width, times=times, slice_rows=slice_rows)

    cells = _kept(database, first, end, width, times)
    if first > 0 and since < first * DAY_S:
        merge(cells, edge(since, float(first * DAY_S)))
    if until < inf and end * DAY_S < until:
        merge(cells, edge(float(end * DAY_S), until))
    return cells


def days_between(database: Database, since: float, until: float) -> tuple[int, int] | None:
    """The first and the last day with attempts in a time; None if there are none.

    Raises:
        LedgerError: the database does not answer.
    """
    inside = (DAYS.c.day >= day_of(max(since, 0.0)), DAYS.c.day <= day_of(min(until, LAST_DAY * DAY_S)))
    ends = select(func.min(DAYS.c.day), func.max(DAYS.c.day)).where(*inside)
    ((first, last),) = database.query(cast("Select[*tuple[object, ...]]", ends), {})
    return None if first is None or last is None else (int(first), int(last))


def _keep(database: Database, day: int, mark: int, cells: Cells) -> bool:
    """Write a day; False, and it stays stale, if it has changed while it was counted."""
    with database.write() as connection:
        fresh = delete(STALE_DAYS).where(STALE_DAYS.c.day == day, STALE_DAYS.c.mark == mark)
        if connection.execute(fresh).rowcount != 1:
            return False
        connection.execute(delete(DAYS).where(DAYS.c.day == day))
        if cells:
            connection.execute(insert(DAYS), [_values(route, cell) for route, cell in cells.items()])
    return True


def _values(route: Route, cell: Cell) -> dict[str, object]:
    values: dict[str, object] = {name: getattr(route, name) for name in _KEY}
    values = {name: "" if value is None else value if name == "day" else str(value) for name, value in values.items()}
    values |= {name: getattr(cell, name) for name in COUNTS}
    values |= {name: str(getattr(cell, name)) for name in MONEY}
    values |= {name: json.dumps(getattr(cell, name), separators=(",", ":")) for name in MAPS}
    return values | {"last_at": cell.last_at}


def _kept(database: Database, first: int, end: int, width: int, times: Collection[str]) -> Cells:
    """The cells of whole days, added up by the database as far as numbers can be, and otherwise in long texts."""
    ends = days_between(database, first * DAY_S, (end - 1) * DAY_S)
    cells: Cells = {}
    if ends is None:
        return cells
    maps = [name for name in MAPS if name not in TIMES or name in times]
    # In the statement's text: an expression to group by may hold no parameter.
    start = literal_column(f"(day - day % {width:d})", Integer)
    by = (start, *(DAYS.c[name] for name in _KEY[1:]))
    summed = select(
        *by,
        func.max(DAYS.c.last_at),
        *(func.sum(DAYS.c[name]) for name in COUNTS),
        *(func.aggregate_strings(DAYS.c[name], ",") for name in (*MONEY, *maps)),
    ).group_by(*by)
    step = ceil(DAYS_AT_ONCE / width) * width
    for day in range(ends[0] - ends[0] % width, ends[1] + 1, step):
        inside = (DAYS.c.day >= max(day, first), DAYS.c.day < min(day + step, end))
        for row in database.query(cast("Select[*tuple[object, ...]]", summed.where(*inside)), {}):
            route, cell = _read(row, maps)
            if route in cells:
                cells[route].add(cell)
            else:
                cells[route] = cell
    return cells


def _read(row: Row, maps: Sequence[str]) -> tuple[Route, Cell]:
    day, endpoint, *texts = row[: len(_KEY)]
    provider, rail, price, price_currency, currency = (str(value) or None for value in texts)
    route = Route(
        int(day or 0), str(endpoint), provider, rail, None if price is None else int(price), price_currency, currency
    )
    values = iter(row[len(_KEY) :])
    cell = Cell(last_at=float(next(values) or 0))
    for name in COUNTS:
        setattr(cell, name, int(next(values) or 0))
    for name in MONEY:
        setattr(cell, name, sum(map(int, str(next(values)).split(","))))
    for name in maps:
        parts: list[dict[str, int]] = json.loads(f"[{next(values)}]")
        if name in TIMES:
            _add_times(cell.time(name), parts)
        else:
            _add(getattr(cell, name), parts)
    return route, cell


def _add(total: dict[str, int], more: list[dict[str, int]]) -> None:
    for one in more:
        for what, count in one.items():
            total[what] = total.get(what, 0) + count


def _add_times(total: dict[int, int], more: list[dict[str, int]]) -> None:
    found: dict[str, int] = {}
    _add(found, more)
    total.update((int(what), count) for what, count in found.items())
