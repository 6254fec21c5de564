"""The cells of attempts, counted by the database: what comes back is one row for all that are alike."""

from collections.abc import Collection, Iterator, Sequence
from math import inf
from typing import Final, cast

from sqlalchemy import ColumnElement, Integer, Select, case, func, literal, literal_column, or_, select, union_all

from flovia.insights.attempt import ATTEMPT
from flovia.insights.measures import ROUTE, TIMES, Cell, Cells, Pattern, Route, Sums, merge
from flovia.insights.schema import ATTEMPTS
from flovia.insights.store import Database, Row

SLICE: Final = 20_000
"""Attempts that one statement counts: so few that in a file without WAL a paid request waits only a moment for it."""
PAYERS_AT_ONCE: Final = 400
"""Payers whose attempts one statement counts."""


def _flag(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return case((condition, 1), else_=0)


_PATTERN: Final = (
    *(ATTEMPTS.c[name] for name in ("kind", "state", "outcome", "problem", "amount", "refunded")),
    _flag(ATTEMPTS.c.presented_at.is_not(None)),
    _flag(ATTEMPTS.c.verified_at.is_not(None)),
    _flag(ATTEMPTS.c.delivered_at.is_not(None)),
    _flag(ATTEMPTS.c.response_status >= 500),
    _flag(ATTEMPTS.c.failures > 0),
    _flag(ATTEMPTS.c.explained_at.is_not(None)),
)
_SUMS: Final = (
    func.count(),
    *(func.sum(ATTEMPTS.c[name]) for name in ("requests", "challenges", "presentations", "failures", "backwards")),
    func.max(func.coalesce(ATTEMPTS.c.challenged_at, ATTEMPTS.c.at)),
)


def measure_sql(
    database: Database,
    since: float = -inf,
    until: float = inf,
    *,
    payers: Collection[str] | None = None,
    width: int = 1,
    by: Collection[str] = ROUTE,
    times: Collection[str] = TIMES,
    shown_only: bool = False,
    slice_rows: int = SLICE,
) -> Cells:
    """The cells of the attempts that began in a time, counted in slices.

    Args:
        database: where they are.
        since: Unix seconds, included.
        until: Unix seconds, not included.
        payers: count only those of these payers, ``name`` or ``beginning*``.
        width: days to add up to one cell, whose day is the first of them: a multiple of the width.
        by: what is told apart, see :func:`flovia.insights.measures.narrowed`; the less, the faster.
        times: which durations are wanted.
        shown_only: count nothing but those who saw a price (``attempts``), which is faster.
        slice_rows: attempts to count at once.

    Raises:
        LedgerError: the database does not answer.
    """
    cells: Cells = {}
    if payers is not None:
        # By their own index: they are few, however many attempts there are.
        inside = [ATTEMPTS.c.at >= since, ATTEMPTS.c.at < until]
        named = _named(database, payers, slice_rows)
        wheres = ([ATTEMPTS.c.payer.in_(part), *inside] for part in named)
    else:
        slices = _slices(database, since, until, slice_rows)
        wheres = ([ATTEMPTS.c.at >= start, ATTEMPTS.c.at < end] for start, end in slices)
    for where in wheres:
        if shown_only:
            _count_shown(cells, database, where, width, by)
        else:
            merge(cells, _measured(database, where, width, by, times))
    return cells


def _named(database: Database, names: Collection[str], rows: int) -> Iterator[Sequence[str]]:
    """The payers that there are of these names and beginnings, as many at a time as have about so many attempts."""
    payer = ATTEMPTS.c.payer
    there = select(payer, func.count()).where(of_payers(names)).group_by(payer).order_by(payer)
    part: list[str] = []
    together = 0
    for name, count in database.query(cast("Select[*tuple[object, ...]]", there), {}):
        if part and (together + int(count or 0) > rows or len(part) == PAYERS_AT_ONCE):
            yield part
            part, together = [], 0
        part.append(str(name))
        together += int(count or 0)
    if part:
        yield part


def of_payers(names: Collection[str]) -> ColumnElement[bool]:
    """Attempts of these payers, ``name`` or ``beginning*``."""
    beginnings = [name[:-1] for name in names if name.endswith("*")]
    return or_(
        ATTEMPTS.c.payer.in_([name for name in names if not name.endswith("*")]),
        # No LIKE: in SQLite that takes no notice of case.
        *(func.substr(ATTEMPTS.c.payer, 1, len(one)) == one for one in beginnings),
    )


def _slices(database: Database, since: float, until: float, rows: int) -> Iterator[tuple[float, float]]:
    """Times with about so many attempts each."""
    start = since
    while True:
        inside = [ATTEMPTS.c.at < until] if start == -inf else [ATTEMPTS.c.at >= start, ATTEMPTS.c.at < until]
        found = database.query(select(ATTEMPTS.c.at).where(*inside).order_by(ATTEMPTS.c.at).offset(rows).limit(1), {})
        if not found:
            yield start, until
            return
        end = float(found[0][0] or 0)
        if end <= start:  # so many at one moment: they cannot be told apart by time
            later = database.query(select(func.min(ATTEMPTS.c.at)).where(ATTEMPTS.c.at > start), {})
            end = until if later[0][0] is None else min(until, float(later[0][0]))
        yield start, end
        start = end


def has_payer(database: Database, name: str, since: float | None, until: float | None) -> bool:
    """Whether an attempt of a time is of such a payer, ``name`` or ``beginning*``."""
    inside = [of_payers([name])]
    inside += [] if since is None else [ATTEMPTS.c.at >= since]
    inside += [] if until is None else [ATTEMPTS.c.at < until]
    return bool(database.query(select(ATTEMPTS.c.at).where(*inside).limit(1), {}))


def _key(width: int, by: Collection[str]) -> list[ColumnElement[object]]:
    """What attempts are told apart by. In the statement's text: an expression to group by may hold no parameter."""
    day = literal_column(f"(day - day % {width:d})", Integer)
    return [cast("ColumnElement[object]", day), *(ATTEMPTS.c[name] for name in ROUTE if name in by)]


def _count_shown(
    cells: Cells, database: Database, where: list[ColumnElement[bool]], width: int, by: Collection[str]
) -> None:
    key = _key(width, by)
    counted = select(*key, func.count()).where(*where, ATTEMPTS.c.kind == ATTEMPT).group_by(*key)
    for row in database.query(cast("Select[*tuple[object, ...]]", counted), {}):
        merge(cells, {_route(row, by): Cell(attempts=int(row[-1] or 0))})


def _measured(
    database: Database, where: list[ColumnElement[bool]], width: int, by: Collection[str], times: Collection[str]
) -> Cells:
    cells: Cells = {}
    key = _key(width, by)
    first = len(key)
    counted = select(*key, *_PATTERN, *_SUMS).where(*where).group_by(*key, *_PATTERN)
    for row in database.query(cast("Select[*tuple[object, ...]]", counted), {}):
        cell = cells.setdefault(_route(row, by), Cell())
        kind, state, outcome, problem, amount, refunded, *flags = row[first : first + len(_PATTERN)]
        cell.count(
            Pattern(
                str(kind),
                str(state),
                str(outcome),
                None if problem is None else str(problem),
                _whole(amount),
                _whole(refunded),
                *map(bool, flags),
            ),
            _sums(row[first + len(_PATTERN) :]),
        )
    if not times:
        return cells
    timed = [
        select(*key, literal(name), column, func.count())
        .where(*where, ATTEMPTS.c.kind == ATTEMPT, column.is_not(None))
        .group_by(*key, column)
        for name, column in ((name, ATTEMPTS.c[f"{name}_bucket"]) for name in times)
    ]
    for row in database.query(cast("Select[*tuple[object, ...]]", union_all(*timed)), {}):
        name, value, count = row[first:]
        buckets = cells.setdefault(_route(row, by), Cell()).time(str(name))
        number = int(value or 0)
        buckets[number] = buckets.get(number, 0) + int(count or 0)
    return cells


def _route(row: Row, by: Collection[str]) -> Route:
    values = iter(row)
    day = next(values)
    endpoint, provider, rail, price, price_currency, currency = (next(values) if name in by else None for name in ROUTE)
    return Route(
        int(day or 0),
        str(endpoint or ""),
        None if provider is None else str(provider),
        None if rail is None else str(rail),
        _whole(price),
        None if price_currency is None else str(price_currency),
        None if currency is None else str(currency),
    )


def _sums(row: Row) -> Sums:
    rows, requests, challenges, presentations, failures, backwards = (int(value or 0) for value in row[:6])
    return Sums(rows, requests, challenges, presentations, failures, backwards, float(row[6] or 0))


def _whole(value: str | int | float | None) -> int | None:
    return None if value is None else int(value)
