"""Joined events as a database keeps them, some at a time: by when they began, or by what changed.

Each page is a statement of its own, so that no reader is in the way of a paid request, and continues where the last one
ended. An attempt that changes meanwhile is there in its old or its new form.
"""

from collections.abc import Iterator, Sequence
from typing import Final, cast

from sqlalchemy import ColumnElement, Select, and_, or_, select

from flovia.insights.joined import Kept
from flovia.insights.schema import ATTEMPTS
from flovia.insights.sql_text import by_code
from flovia.insights.store import COLUMNS, Database, Row, read_attempt

PAGE: Final = 500
"""Attempts that one statement reads."""
KEPT: Final = select(*(ATTEMPTS.c[name] for name in COLUMNS), ATTEMPTS.c.session, ATTEMPTS.c.last_position)
"""What is read of each."""


def began(
    database: Database,
    since: float | None = None,
    until: float | None = None,
    *,
    endpoint: str | None = None,
    position: int | None = None,
    page: int = PAGE,
) -> Iterator[Sequence[Kept]]:
    """The attempts that began in a time, the oldest first.

    Args:
        database: where they are.
        since: Unix seconds, included; None for the beginning.
        until: Unix seconds, not included; None for no end.
        endpoint: only this one.
        position: only those without an event behind this one.
        page: how many at a time.

    Raises:
        LedgerError: the database does not answer.
    """
    of = ATTEMPTS.c
    bounds = [
        None if since is None else of.at >= since,
        None if until is None else of.at < until,
        None if endpoint is None else of.endpoint == endpoint,
        None if position is None else of.last_position <= position,
    ]
    where = [one for one in bounds if one is not None]
    order = KEPT.order_by(of.at, by_code(of.key)).limit(page)
    after: list[ColumnElement[bool]] = []
    while found := read_kept(database, order.where(*where, *after)):
        yield found
        last = found[-1].attempt
        after = [of.at >= last.at, or_(of.at > last.at, by_code(of.key) > last.key)]


def changed(
    database: Database, after: int, until: int, *, endpoint: str | None = None, page: int = PAGE
) -> Iterator[Sequence[Kept]]:
    """The attempts whose newest event is behind one position and not behind another, in the order of these events.

    Args:
        database: where they are.
        after: not included.
        until: included. Up to here all events must have been folded: what is behind may have been read already, and
            changes again when the fold comes there.
        endpoint: only this one.
        page: how many at a time.

    Raises:
        LedgerError: the database does not answer.
    """
    of = ATTEMPTS.c
    where = [of.last_position <= until, *([] if endpoint is None else [of.endpoint == endpoint])]
    order = KEPT.order_by(of.last_position, by_code(of.key)).limit(page)
    start: ColumnElement[bool] = of.last_position > after
    while found := read_kept(database, order.where(*where, start)):
        yield found
        last = found[-1]
        # Two attempts may share their newest event: a request that was refused one challenge and given another.
        same = and_(of.last_position == last.position, by_code(of.key) > last.attempt.key)
        start = and_(of.last_position >= last.position, or_(of.last_position > last.position, same))


def last_changed(database: Database, after: int, until: int, limit: int) -> Sequence[Kept]:
    """Of the attempts that :func:`changed` gives the last ones, in the same order, by one statement.

    Args:
        database: where they are.
        after: not included.
        until: included, and as there.
        limit: how many at most.

    Raises:
        LedgerError: the database does not answer.
    """
    of = ATTEMPTS.c
    order = KEPT.order_by(of.last_position.desc(), by_code(of.key).desc()).limit(limit)
    return read_kept(database, order.where(of.last_position > after, of.last_position <= until))[::-1]


def read_kept(database: Database, statement: Select[*tuple[object, ...]]) -> Sequence[Kept]:
    """The attempts of rows as :data:`KEPT` reads them."""
    rows: Sequence[Row] = database.query(statement, {})
    return [
        Kept(
            attempt=read_attempt(row[:-2]),
            session=None if row[-2] is None else str(row[-2]),
            position=int(cast("int", row[-1])),
        )
        for row in rows
    ]
