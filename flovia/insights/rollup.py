"""Days: the cells of each day, kept, so that a report over a year reads days and not attempts.

A day is counted from its attempts, whole, whenever one of them has changed since. So what is kept is what counting
would give, and nothing has to be corrected step by step.
"""

import json
from collections.abc import Collection
from math import ceil, floor, inf
from typing import Final, cast

from sqlalchemy import Select, delete, insert, select

from flovia.insights.attempt import DAY_S, LAST_DAY
from flovia.insights.measures import MAPS, TIMES, Cell, Cells, Route, merge
from flovia.insights.schema import COUNTS, DAYS, MONEY, STALE_DAYS
from flovia.insights.sql_measures import SLICE, measure_sql
from flovia.insights.store import Database, Row

DAYS_AT_ONCE: Final = 62
"""Days that one statement reads."""
_KEY: Final = ("day", "endpoint", "provider", "rail", "price", "price_currency", "currency")
_COLUMNS: Final = (*_KEY, *COUNTS, *MONEY, *MAPS, "last_at")


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


def measure_days(database: Database, since: float, until: float, *, slice_rows: int = SLICE) -> Cells:
    """The cells of the attempts that began in a time: whole days as they are kept, the rest from the attempts.

    Args:
        database: where they are, with no day that waits to be counted.
        since: Unix seconds, included.
        until: Unix seconds, not included.
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
        return measure_sql(database, since, until, slice_rows=slice_rows)
    cells = _kept(database, first, end)
    if first > 0 and since < first * DAY_S:
        merge(cells, measure_sql(database, since, float(first * DAY_S), slice_rows=slice_rows))
    if until < inf and end * DAY_S < until:
        merge(cells, measure_sql(database, float(end * DAY_S), until, slice_rows=slice_rows))
    return cells


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


def _kept(database: Database, first: int, end: int) -> Cells:
    cells: Cells = {}
    columns = cast("Select[*tuple[object, ...]]", select(*(DAYS.c[name] for name in _COLUMNS)))
    days = database.query(
        cast("Select[*tuple[object, ...]]", select(DAYS.c.day).where(DAYS.c.day >= first, DAYS.c.day < end).distinct()),
        {},
    )
    wanted = sorted(int(row[0] or 0) for row in days)
    for start in range(0, len(wanted), DAYS_AT_ONCE):
        part = wanted[start : start + DAYS_AT_ONCE]
        inside = (DAYS.c.day >= part[0], DAYS.c.day <= part[-1])
        merge(cells, dict(_read(row) for row in database.query(columns.where(*inside), {})))
    return cells


def _read(row: Row) -> tuple[Route, Cell]:
    day, endpoint, *texts = row[: len(_KEY)]
    provider, rail, price, price_currency, currency = (str(value) or None for value in texts)
    route = Route(
        int(day or 0), str(endpoint), provider, rail, None if price is None else int(price), price_currency, currency
    )
    cell = Cell()
    for name, value in zip(_COLUMNS[len(_KEY) :], row[len(_KEY) :], strict=True):
        if name in MAPS:
            counts: dict[str, int] = json.loads(str(value))
            setattr(cell, name, {int(what): n for what, n in counts.items()} if name in TIMES else counts)
        else:
            setattr(cell, name, float(value or 0) if name == "last_at" else int(value or 0))
    return route, cell
