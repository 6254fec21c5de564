"""Days: the cells of each day, kept, so that a report over a year reads days and not attempts.

A day is counted from its attempts, whole, whenever one of them has changed since. So what is kept is what counting
would give, and nothing has to be corrected step by step.
"""

import json
from collections.abc import Collection, Sequence
from math import ceil, floor, inf
from typing import Final, cast

import attrs
from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    Select,
    bindparam,
    delete,
    func,
    insert,
    literal_column,
    select,
    update,
)

from flovia.insights.attempt import DAY_S, LAST_DAY, day_of
from flovia.insights.measures import MAPS, ROUTE, TIMES, Cell, Cells, Route, merge
from flovia.insights.schema import COUNTS, DAYS, MONEY, STALE_DAYS, STATE
from flovia.insights.sql_measures import SLICE, measure_sql
from flovia.insights.store import Database, Row

DAYS_AT_ONCE: Final = 100
"""Days that one statement reads."""
_KEY: Final = ("day", "endpoint", "provider", "rail", "price", "price_currency", "currency")


def roll_up(database: Database, *, slice_rows: int = SLICE) -> int:
    """Count every day that has changed since it was counted, once; how many stand still.

    A day that changes while it is counted stays to be counted. What is kept of it holds all that was folded before.

    Raises:
        LedgerError: the database does not answer; run it again.
    """
    done, after = 0, -1
    while stale := database.query(cast("Select[*tuple[object, ...]]", _STALE), {"after": after}):
        for day, mark in stale:
            after = int(day or 0)
            cells = measure_day(database, after, slice_rows=slice_rows)
            done += database.call(lambda: _keep(database, after, int(mark or 0), cells))  # noqa: B023 - called here
    return done


_STALE: Final = (
    select(STALE_DAYS.c.day, STALE_DAYS.c.mark)
    .where(STALE_DAYS.c.day > bindparam("after"))
    .order_by(STALE_DAYS.c.day)
    .limit(100)
)


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
    by: Collection[str] = ROUTE,
    times: Collection[str] = TIMES,
    shown_only: bool = False,
    slice_rows: int = SLICE,
) -> Cells:
    """The cells of the attempts that began in a time: whole days as they are kept, the rest from the attempts.

    Args:
        database: where they are, with no day that waits to be counted.
        since: Unix seconds, included.
        until: Unix seconds, not included.
        width: days to add up to one cell, whose day is the first of them: a multiple of the width.
        by: what is told apart, see :func:`flovia.insights.measures.narrowed`; the less, the faster.
        times: which durations are wanted; the others are left out, which is faster.
        shown_only: count nothing but those who saw a price (``attempts``), which is faster.
        slice_rows: attempts to count at once.

    Raises:
        LedgerError: the database does not answer.
    """
    first = 0 if since <= 0 else ceil(min(since / DAY_S, LAST_DAY + 1))
    # The last day has no end, so it is whole only if the time has none.
    end = LAST_DAY + 1 if until == inf else max(0, min(floor(until / DAY_S), LAST_DAY))
    if since > -inf and since <= 0:
        first = 1  # day 0 has no beginning either

    def edge(start: float, stop: float) -> Cells:
        return measure_sql(
            database, start, stop, width=width, by=by, times=times, shown_only=shown_only, slice_rows=slice_rows
        )

    if end <= first:
        return edge(since, until)
    everything = _Columns(by, COUNTS, (*MONEY, *(name for name in MAPS if name not in TIMES or name in times)))
    columns = _Columns(by, ("attempts",), (), shown_at=False) if shown_only else everything
    cells = _kept(database, range(first, end), width, columns)
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
    """Write a day; False if it has changed while it was counted.

    Then it stays stale, and what was counted is written all the same: of a day that changes all the time nothing else
    would be to be had. But never in the place of what another process has counted later.
    """
    with database.write() as connection:
        fresh = delete(STALE_DAYS).where(STALE_DAYS.c.day == day, STALE_DAYS.c.mark == mark)
        is_fresh = connection.execute(fresh).rowcount == 1
        if not is_fresh:
            lock = update(STALE_DAYS).where(STALE_DAYS.c.day == day).values(mark=STALE_DAYS.c.mark)
            if connection.execute(lock).rowcount != 1 or _counted(connection, day) > mark:
                return False
        connection.execute(delete(DAYS).where(DAYS.c.day == day))
        if cells:
            connection.execute(insert(DAYS), [_values(route, cell) for route, cell in cells.items()])
        put = database.upsert(STATE).values(name=_COUNTED, value=f"{day}:{mark}")
        connection.execute(put.on_conflict_do_update(index_elements=["name"], set_={"value": put.excluded.value}))
    return is_fresh


def _counted(connection: Connection, day: int) -> int:
    """By which mark this day was counted, if it is the one that was counted last; else -1."""
    last, _, mark = str(connection.scalar(select(STATE.c.value).where(STATE.c.name == _COUNTED)) or "").partition(":")
    return int(mark) if last == str(day) else -1


_COUNTED: Final = "counted"


def _values(route: Route, cell: Cell) -> dict[str, object]:
    values: dict[str, object] = {name: getattr(route, name) for name in _KEY}
    values = {name: "" if value is None else value if name == "day" else str(value) for name, value in values.items()}
    values |= {name: getattr(cell, name) for name in COUNTS}
    values |= {name: str(getattr(cell, name)) for name in MONEY}
    values |= {name: json.dumps(getattr(cell, name), separators=(",", ":")) for name in MAPS}
    return values | {"shown_at": cell.shown_at}


@attrs.frozen
class _Columns:
    """What is read of the days: what they are told apart by, what the database adds up, and what it puts together."""

    by: Collection[str]
    counts: Sequence[str]
    texts: Sequence[str]
    shown_at: bool = True


def _kept(database: Database, days: range, width: int, columns: _Columns) -> Cells:
    """The cells of whole days, added up by the database as far as numbers can be, and otherwise in long texts."""
    cells: Cells = {}
    # In the statement's text: an expression to group by may hold no parameter.
    start = cast("ColumnElement[object]", literal_column(f"(day - day % {width:d})", Integer))
    by: list[ColumnElement[object]] = [start, *(DAYS.c[name] for name in ROUTE if name in columns.by)]
    summed = select(
        *by,
        func.max(DAYS.c.shown_at),
        *(func.sum(DAYS.c[name]) for name in columns.counts),
        *(func.aggregate_strings(DAYS.c[name], ",") for name in columns.texts),
    ).group_by(*by)
    start_at = days.start
    # From one day that is there to the next: a clock that was beside itself leaves thousands of years between.
    while start_at < days.stop and (ends := days_between(database, start_at * DAY_S, (days.stop - 1) * DAY_S)):
        inside = (DAYS.c.day >= ends[0], DAYS.c.day < min(ends[0] + DAYS_AT_ONCE, days.stop))
        start_at = ends[0] + DAYS_AT_ONCE
        for row in database.query(cast("Select[*tuple[object, ...]]", summed.where(*inside)), {}):
            route, cell = _read(row, columns)
            if route in cells:
                cells[route].add(cell)
            else:
                cells[route] = cell
    return cells


def _read(row: Row, columns: _Columns) -> tuple[Route, Cell]:
    values = iter(row)
    day = next(values)
    endpoint, provider, rail, price, price_currency, currency = (
        str(next(values)) or None if name in columns.by else None for name in ROUTE
    )
    whole = None if price is None else int(price)
    route = Route(int(day or 0), endpoint or "", provider, rail, whole, price_currency, currency)
    shown_at = float(next(values) or 0)
    cell = Cell(shown_at=shown_at if columns.shown_at else 0.0)
    for name in columns.counts:
        setattr(cell, name, int(next(values) or 0))
    for name in columns.texts:
        text = str(next(values))
        if name in MONEY:
            setattr(cell, name, sum(map(int, text.split(","))))
        elif name in TIMES:
            _add_times(cell.time(name), json.loads(f"[{text}]"))
        else:
            _add(getattr(cell, name), json.loads(f"[{text}]"))
    return route, cell


def _add(total: dict[str, int], more: list[dict[str, int]]) -> None:
    for one in more:
        for what, count in one.items():
            total[what] = total.get(what, 0) + count


def _add_times(total: dict[int, int], more: list[dict[str, int]]) -> None:
    found: dict[str, int] = {}
    _add(found, more)
    total.update((int(what), count) for what, count in found.items())
