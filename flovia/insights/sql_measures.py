"""The cells of attempts, counted by the database: what comes back is one row for all that are alike."""

from collections.abc import Collection, Iterator, Sequence
from math import inf
from typing import Final, cast

from sqlalchemy import ColumnElement, Integer, Select, case, func, literal, literal_column, or_, select, union_all

from flovia.insights.attempt import ATTEMPT
from flovia.insights.measures import TIMES, Cell, Cells, Pattern, Route, Sums, merge
from flovia.insights.schema import ATTEMPTS
from flovia.insights.store import Database, Row

SLICE: Final = 20_000
"""Attempts that one statement counts: so few that in a file without WAL a paid request waits only a moment for it."""
PAYERS_AT_ONCE: Final = 50
"""Payers whose attempts one statement counts."""
_KEY: Final = tuple(
    ATTEMPTS.c[name] for name in ("endpoint", "provider", "rail", "price", "price_currency", "currency")
)


def _flag(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return case((condition, 1), else_=0)


_PATTERN: Final = (
    *(ATTEMPTS.c[name] for name in ("kind", "state", "outcome", "problem", "amount", "refunded")),
    _flag(ATTEMPTS.c.presented_at.is_not(None)),
    _flag(ATTEMPTS.c.verified_at.is_not(None)),
    _flag(ATTEMPTS.c.delivered_at.is_not(None)),
    _flag(ATTEMPTS.c.response_status >= 500),
    _flag(ATTEMPTS.c.failures > 0),
)
_SUMS: Final = (
    func.count(),
    *(func.sum(ATTEMPTS.c[name]) for name in ("requests", "challenges", "presentations", "failures", "backwards")),
    func.max(ATTEMPTS.c.last_at),
)


def measure_sql(
    database: Database,
    since: float = -inf,
    until: float = inf,
    *,
    payers: Collection[str] | None = None,
    width: int = 1,
    times: Collection[str] = TIMES,
    slice_rows: int = SLICE,
) -> Cells:
    """The cells of the attempts that began in a time, counted in slices.

    Args:
        database: where they are.
        since: Unix seconds, included.
        until: Unix seconds, not included.
        payers: count only those of these payers, ``name`` or ``beginning*``.
        width: days to add up to one cell, whose day is the first of them: a multiple of the width.
        times: which durations are wanted.
        slice_rows: attempts to count at once.

    Raises:
        LedgerError: the database does not answer.
    """
    cells: Cells = {}
    if payers is not None:
        # By their own index: they are few, however many attempts there are.
        inside = [ATTEMPTS.c.at >= since, ATTEMPTS.c.at < until]
        for part in _named(database, payers):
            merge(cells, _measured(database, [ATTEMPTS.c.payer.in_(part), *inside], width, times))
        return cells
    for start, end in _slices(database, since, until, slice_rows):
        merge(cells, _measured(database, [ATTEMPTS.c.at >= start, ATTEMPTS.c.at < end], width, times))
    return cells


def _named(database: Database, names: Collection[str]) -> Iterator[Sequence[str]]:
    """The payers that there are of these names and beginnings, some at a time."""
    there = select(ATTEMPTS.c.payer).where(of_payers(names)).distinct().order_by(ATTEMPTS.c.payer)
    found = [str(row[0]) for row in database.query(cast("Select[*tuple[object, ...]]", there), {})]
    for start in range(0, len(found), PAYERS_AT_ONCE):
        yield found[start : start + PAYERS_AT_ONCE]


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


def _measured(database: Database, where: list[ColumnElement[bool]], width: int, times: Collection[str]) -> Cells:
    cells: Cells = {}
    # In the statement's text: an expression to group by may hold no parameter.
    day = literal_column(f"(day - day % {width:d})", Integer)
    counted = select(day, *_KEY, *_PATTERN, *_SUMS).where(*where).group_by(day, *_KEY, *_PATTERN)
    for row in database.query(cast("Select[*tuple[object, ...]]", counted), {}):
        cell = cells.setdefault(_route(row), Cell())
        kind, state, outcome, problem, amount, refunded, *flags = row[7:18]
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
            _sums(row[18:]),
        )
    if not times:
        return cells
    timed = [
        select(day, *_KEY, literal(name), column, func.count())
        .where(*where, ATTEMPTS.c.kind == ATTEMPT, column.is_not(None))
        .group_by(day, *_KEY, column)
        for name, column in ((name, ATTEMPTS.c[f"{name}_bucket"]) for name in times)
    ]
    for row in database.query(cast("Select[*tuple[object, ...]]", union_all(*timed)), {}):
        buckets = cells.setdefault(_route(row), Cell()).time(str(row[7]))
        number = int(row[8] or 0)
        buckets[number] = buckets.get(number, 0) + int(row[9] or 0)
    return cells


def _route(row: Row) -> Route:
    day, endpoint, provider, rail, price, price_currency, currency = row[:7]
    return Route(
        int(day or 0),
        str(endpoint),
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
