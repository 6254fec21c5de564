"""The facts of workflows, counted by SQL."""

import json
from collections.abc import Collection, Sequence
from typing import Any, cast

import attrs
from sqlalchemy import ColumnElement, FromClause, Select, and_, case, false, func, or_, select

from flovia.insights.asking import TEST_PROVIDERS, Asked
from flovia.insights.retention import end_of
from flovia.insights.schema import ATTEMPTS, IS_ALONE
from flovia.insights.sessions import OTHER
from flovia.insights.sessions_schema import ENDED_UNPAID, MOVES, SESSIONS, STEPS
from flovia.insights.sql_retention import is_own
from flovia.insights.sql_text import by_code
from flovia.insights.store import Database, Row
from flovia.insights.workflows import LEAST_SUPPORT, MOST, Counted, Facts, in_turn

Wanted = Select[*tuple[Any, ...]]


def count_sql(database: Database, asked: Asked, now: float, least: int = LEAST_SUPPORT) -> Facts:
    """See :func:`flovia.insights.workflows.count`; the sessions are those that are kept.

    Raises:
        LedgerError: the database does not answer.
    """
    return _Counting(database, asked, now).facts(least)


def _sum(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.sum(case((condition, 1), else_=0))


@attrs.define
class _Whole:
    """``sums``: sessions, their attempts, the paid ones; sessions with a declared workflow, and without a payer."""

    lengths: dict[tuple[int, bool], int] = attrs.field(factory=dict[tuple[int, bool], int])
    sums: list[int] = attrs.field(factory=lambda: [0] * 5)
    others: dict[str, int] = attrs.field(factory=dict[str, int])


class _Counting:
    def __init__(self, database: Database, asked: Asked, now: float) -> None:
        self._database = database
        self._asked = asked
        self._end = end_of(asked, now)

    def facts(self, least: int) -> Facts:
        """All of them."""
        whole = self._whole()
        sessions, attempts, paid, declared, nameless = whole.sums
        names, name_kinds = self._alike(SESSIONS.c.workflow, SESSIONS.c.workflow != "")
        paths, path_kinds = self._alike(SESSIONS.c.signature)
        moves, leaving, move_kinds = self._moves()
        together, pair_kinds = self._together(least)
        using, endpoint_kinds = self._using({endpoint for pair in together for endpoint in pair})
        return Facts(
            sessions=sessions,
            attempts=attempts,
            paid=paid,
            declared=declared,
            nameless=nameless,
            names=names,
            paths={tuple(json.loads(path)): counted for path, counted in paths.items()},
            moves=moves,
            leaving=leaving,
            lengths=whole.lengths,
            using=using,
            dropping=self._dropping(using),
            together=together,
            kinds={
                "workflows": name_kinds,
                "paths": path_kinds,
                "transitions": move_kinds,
                "endpoints": endpoint_kinds,
                "pairs": pair_kinds,
            },
            own=whole.others.get("own", 0),
            test=whole.others.get("test", 0),
            ahead=whole.others.get("ahead", 0) if self._asked.until is None else 0,
            alone=self._alone(),
        )

    def _about(self, of: FromClause) -> list[ColumnElement[bool]]:
        """Sessions that began after that time, and use that endpoint, whosever they are."""
        found: list[ColumnElement[bool]] = []
        if self._asked.since is not None:
            found.append(of.c.started_at >= self._asked.since)
        if self._asked.endpoint is not None:
            number = of.c.id if of is SESSIONS else of.c.session
            found.append(number.in_(select(STEPS.c.session).where(STEPS.c.endpoint == self._asked.endpoint)))
        return found

    def _counted(self, of: FromClause) -> list[ColumnElement[bool]]:
        """Those that count, by the columns that every table has."""
        real = [] if self._asked.test else [of.c.test == 0]
        foreign = [~is_own(of.c.payer, self._asked.own)] if self._asked.own else []
        return [*self._about(of), of.c.started_at < self._end, *real, *foreign]

    def _whole(self) -> _Whole:
        """One reading of all sessions: those that count, and those that do not."""
        of = SESSIONS.c
        test = false() if self._asked.test else of.test == 1
        own = is_own(of.payer, self._asked.own)
        kind = case(
            (and_(of.started_at >= self._end, or_(test, own)), "none"),
            (of.started_at >= self._end, "ahead"),
            (test, "test"),
            (own, "own"),
            else_="counted",
        )
        sums = (func.sum(of.attempts), func.sum(of.paid), _sum(of.workflow != ""), _sum(of.payer == ""))
        keys = (kind, of.length, of.last_paid)
        counted = select(*keys, func.count(), *sums).where(*self._about(SESSIONS)).group_by(*keys)
        found = _Whole()
        for row in self._ask(counted):
            if row[0] != "counted":
                found.others[str(row[0])] = found.others.get(str(row[0]), 0) + _whole(row[3])
                continue
            found.lengths[_whole(row[1]), bool(row[2])] = _whole(row[3])
            found.sums = [had + _whole(more) for had, more in zip(found.sums, row[3:], strict=True)]
        return found

    def _alike(self, key: ColumnElement[str], *where: ColumnElement[bool]) -> tuple[dict[str, Counted], int]:
        """Sessions with the same key, of each payer and then of all."""
        of = SESSIONS.c
        each = (
            select(
                key.label("key"),
                of.payer,
                func.count().label("sessions"),
                _sum(of.paid > 0).label("paid"),
                func.sum(of.last_paid).label("finished"),
            )
            .where(*self._counted(SESSIONS), *where)
            .group_by(key, of.payer)
            .subquery("each")
        )
        one = each.c
        known = one.payer != ""
        sums = (func.sum(one.sessions), func.sum(one.paid), func.sum(one.finished))
        counted = select(one.key, *sums, _sum(known), _sum(known & (one.sessions > 1)), func.count().over())
        order = (func.sum(one.sessions).desc(), by_code(one.key))
        rows = self._ask(counted.group_by(one.key).order_by(*order).limit(MOST))
        found = {str(row[0]): Counted(*map(_whole, row[1:6])) for row in rows}
        return found, _whole(rows[0][6]) if rows else 0

    def _moves(self) -> tuple[dict[tuple[str, str], int], dict[str, int], int]:
        of = MOVES.c
        times = func.sum(of.times)
        # The totals of each origin and the number of all come with the rows: one reading is enough.
        leaving = func.sum(times).over(partition_by=of.origin)
        found = select(of.origin, of.target, times, leaving, func.count().over()).where(*self._counted(MOVES))
        order = (times.desc(), by_code(of.origin), by_code(of.target))
        rows = self._ask(found.group_by(of.origin, of.target).order_by(*order).limit(MOST))
        moves = {(str(row[0]), str(row[1])): _whole(row[2]) for row in rows}
        return moves, {str(row[0]): _whole(row[3]) for row in rows}, _whole(rows[0][4]) if rows else 0

    def _using(self, named: Collection[str]) -> tuple[dict[str, int], int]:
        of = STEPS.c
        used = select(of.endpoint, func.count(), func.count().over()).where(*self._counted(STEPS))
        used = used.group_by(of.endpoint)
        rows = self._ask(used.order_by(func.count().desc(), by_code(of.endpoint)).limit(MOST))
        found = {str(row[0]): _whole(row[1]) for row in rows}
        if more := set(named) - set(found):
            found |= {str(row[0]): _whole(row[1]) for row in self._ask(used.where(of.endpoint.in_(more)))}
        return {endpoint: found[endpoint] for endpoint in in_turn(found)}, _whole(rows[0][2]) if rows else 0

    def _dropping(self, using: Collection[str]) -> dict[str, int]:
        of = SESSIONS.c
        dropped = select(of.last_endpoint, func.count()).where(
            *self._counted(SESSIONS), ENDED_UNPAID, of.last_endpoint.in_(list(using))
        )
        return {str(row[0]): _whole(row[1]) for row in self._ask(dropped.group_by(of.last_endpoint))}

    def _together(self, least: int) -> tuple[dict[tuple[str, str], int], int]:
        one, other = STEPS.alias("one"), STEPS.alias("other")
        first = by_code(one.c.endpoint) < by_code(other.c.endpoint)
        same = (other.c.session == one.c.session) & (other.c.place > one.c.place)
        known = (one.c.endpoint != OTHER, other.c.endpoint != OTHER)
        pairs = (
            select(
                case((first, one.c.endpoint), else_=other.c.endpoint).label("a"),
                case((first, other.c.endpoint), else_=one.c.endpoint).label("b"),
            )
            .select_from(one.join(other, same))
            .where(*self._counted(one), *known)
            .subquery("pairs")
        )
        both = func.count()
        of = pairs.c
        found = select(of.a, of.b, both, func.count().over()).group_by(of.a, of.b).having(both >= least)
        rows = self._ask(found.order_by(both.desc(), by_code(of.a), by_code(of.b)).limit(MOST))
        together = {(str(row[0]), str(row[1])): _whole(row[2]) for row in rows}
        return together, _whole(rows[0][3]) if rows else 0

    def _alone(self) -> int:
        """Attempts that are in no session."""
        alone = [*IS_ALONE, ATTEMPTS.c.at < self._end]
        if self._asked.since is not None:
            alone.append(ATTEMPTS.c.at >= self._asked.since)
        if self._asked.endpoint is not None:
            alone.append(ATTEMPTS.c.endpoint == self._asked.endpoint)
        if not self._asked.test:
            alone.append(or_(ATTEMPTS.c.provider.is_(None), ATTEMPTS.c.provider.not_in(TEST_PROVIDERS)))
        return _whole(self._ask(select(func.count()).select_from(ATTEMPTS).where(*alone))[0][0])

    def _ask(self, statement: Wanted) -> Sequence[Row]:
        return self._database.query(cast("Select[*tuple[object, ...]]", statement), {})


def _whole(value: str | int | float | None) -> int:
    return int(value or 0)
