"""The queue of what needs somebody, read by an index of just these."""

from collections.abc import Sequence
from typing import cast

from sqlalchemy import ColumnElement, Select, func, or_, select

from flovia.insights.asking import TEST_PROVIDERS, Asked
from flovia.insights.attempt import UNPAID
from flovia.insights.integrity import EXHAUSTED, PENDING_S, Finding, finding
from flovia.insights.schema import ATTEMPTS, IS_DUE
from flovia.insights.sql_measures import of_payers
from flovia.insights.store import COLUMNS, Database, read_attempt


def queue_sql(database: Database, asked: Asked, limit: int | None = None) -> list[Finding]:
    """See :func:`flovia.insights.integrity.queue`.

    Raises:
        LedgerError: the database does not answer.
    """
    rows = (
        select(*(ATTEMPTS.c[name] for name in COLUMNS))
        .where(IS_DUE, *asked_for(asked))
        .order_by(ATTEMPTS.c.at, ATTEMPTS.c.key)
    )
    return [finding(read_attempt(row)) for row in database.query(rows.limit(limit), {})]


def count_due_sql(database: Database, asked: Asked) -> int:
    """How long the whole queue is."""
    return _count(database, IS_DUE, *asked_for(asked))


def exhausted_sql(database: Database, asked: Asked) -> dict[str | None, tuple[int, int]]:
    """See :func:`flovia.insights.integrity.exhausted`."""
    key = (ATTEMPTS.c.currency, ATTEMPTS.c.amount)
    counted = (
        select(*key, func.count())
        .where(IS_DUE, ATTEMPTS.c.outcome == EXHAUSTED, ATTEMPTS.c.amount.is_not(None), *asked_for(asked))
        .group_by(*key)
    )
    found: dict[str | None, tuple[int, int]] = {}
    for currency, amount, count in database.query(cast("Select[*tuple[object, ...]]", counted), {}):
        code = None if currency is None else str(currency)
        payments, total = found.get(code, (0, 0))
        found[code] = payments + int(count or 0), total + int(count or 0) * int(amount or 0)
    return found


def count_pending_sql(database: Database, asked: Asked, now: float, pending_s: float = PENDING_S) -> int:
    """See :func:`flovia.insights.integrity.count_pending`."""
    young = (ATTEMPTS.c.at >= now - pending_s, ATTEMPTS.c.state == UNPAID, ATTEMPTS.c.kind != "probe")
    return _count(database, *young, *asked_for(asked))


def _count(database: Database, *where: ColumnElement[bool]) -> int:
    counted = select(func.count()).select_from(ATTEMPTS).where(*where)
    return int(database.query(cast("Select[*tuple[object, ...]]", counted), {})[0][0] or 0)


def asked_for(asked: Asked) -> Sequence[ColumnElement[bool]]:
    """The attempts that are asked about: see :func:`flovia.insights.integrity.is_asked`."""
    found: list[ColumnElement[bool]] = []
    if asked.since is not None:
        found.append(ATTEMPTS.c.at >= asked.since)
    if asked.until is not None:
        found.append(ATTEMPTS.c.at < asked.until)
    if asked.endpoint is not None:
        found.append(ATTEMPTS.c.endpoint == asked.endpoint)
    if not asked.test:
        found.append(or_(ATTEMPTS.c.provider.is_(None), ATTEMPTS.c.provider.not_in(TEST_PROVIDERS)))
    if asked.own:
        found.append(or_(ATTEMPTS.c.payer.is_(None), ~of_payers(asked.own)))
    return found
