"""The facts of retention, counted by SQL."""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, cast

from sqlalchemy import (
    ColumnElement,
    Double,
    FunctionElement,
    Over,
    Select,
    Subquery,
    Text,
    and_,
    case,
    func,
    literal,
    or_,
    select,
)
from sqlalchemy import cast as sql_cast

from flovia.insights.asking import TEST_PROVIDERS, Asked
from flovia.insights.retention import (
    LEAST_SESSIONS,
    LEAST_SILENCE_S,
    MOST_NAMED,
    SILENCE,
    TOP,
    WEEKS,
    Facts,
    Silent,
    end_of,
)
from flovia.insights.schema import ATTEMPTS, IS_ALONE
from flovia.insights.sessions_schema import LIMB, LIMBS, MONEY, SESSIONS, STEPS
from flovia.insights.sql_text import by_code
from flovia.insights.store import Database, Row

Wanted = Select[*tuple[Any, ...]]


def count_sql(database: Database, asked: Asked, now: float) -> Facts:
    """See :func:`flovia.insights.retention.count`; the sessions are those that are kept.

    Raises:
        LedgerError: the database does not answer.
    """
    return _Counting(database, asked, now).facts()


def is_own(payer: ColumnElement[str], own: Sequence[str]) -> ColumnElement[bool]:
    """Whether a payer is one of ``name`` or ``beginning*``."""
    beginnings = [name[:-1] for name in own if name.endswith("*")]
    return or_(
        payer.in_([name for name in own if not name.endswith("*")]),
        # No LIKE: in SQLite that takes no notice of case. And nobody's name begins with nothing.
        *(and_(payer != "", func.substr(payer, 1, len(one)) == one) for one in beginnings),
    )


class _Counting:
    def __init__(self, database: Database, asked: Asked, now: float) -> None:
        self._database = database
        self._asked = asked
        self._end = end_of(asked, now)
        self._table = SESSIONS if asked.endpoint is None else STEPS
        of = self._table.c
        self._paid = [of.paid_at.is_not(None), *([] if asked.endpoint is None else [of.endpoint == asked.endpoint])]
        self._real: list[ColumnElement[bool]] = [] if asked.test else [of.test == 0]
        self._own = is_own(of.payer, asked.own)
        self._named = [*self._paid, *self._real, of.payer != "", *([~self._own] if asked.own else [])]
        self._payers = self._by_payer()

    def facts(self) -> Facts:
        """All of them."""
        active, returned = self._active()
        seconds, p50, p95 = self._seconds()
        judged, silent, named = self._silences()
        money, top = self._money()
        return Facts(
            active=active,
            returned=returned,
            cohorts=self._cohorts(),
            seconds=seconds,
            second_p50_s=p50,
            second_p95_s=p95,
            judged=judged,
            silent=silent,
            named=named,
            money=money,
            top=top,
            **self._left_out(),
        )

    def _by_payer(self) -> Subquery:
        of = self._table.c
        return (
            select(
                of.payer,
                func.min(of.paid_at).label("first_at"),
                func.max(of.paid_at).label("last_at"),
                func.count().label("sessions"),
            )
            .where(*self._named, of.paid_at < self._end)
            .group_by(of.payer)
            .subquery("payers")
        )

    def _in_order(self, value: FunctionElement[Any]) -> Over[Any]:
        """What a function makes of each payer's paid sessions in their order."""
        of = self._table.c
        # As the index has them.
        return value.over(partition_by=of.payer, order_by=(of.paid_week, of.paid_at, by_code(of.key)))

    def _after(self, at: ColumnElement[Any]) -> list[ColumnElement[bool]]:
        return [] if self._asked.since is None else [at >= self._asked.since]

    def _inside(self, at: ColumnElement[Any]) -> list[ColumnElement[bool]]:
        return [at < self._end, *self._after(at)]

    # --- the facts -------------------------------------------------------------------------------------------

    def _active(self) -> tuple[int, int]:
        of = self._payers.c
        counts = select(func.count(), _sum(of.sessions > 1)).select_from(self._payers)
        row = self._ask(counts.where(*self._after(of.last_at)))[0]
        return _whole(row[0]), _whole(row[1])

    def _seconds(self) -> tuple[int, float | None, float | None]:
        theirs = self._table.c
        number, before = self._in_order(func.row_number()), self._in_order(func.lag(theirs.paid_at))
        visits = select(theirs.paid_at, number.label("number"), before.label("before"))
        of = visits.where(*self._named, theirs.paid_at < self._end).subquery("visits").c
        waits = select((of.paid_at - of.before).label("wait")).where(of.number == 2, *self._after(of.before))
        wait = waits.subquery("waits").c.wait
        numbered = select(
            wait, func.row_number().over(order_by=wait).label("number"), func.count().over().label("count")
        ).subquery("numbered")
        one = numbered.c
        # Nearest rank: the least number that is not below the percentage.
        ranks = [(one.count * percent + 99) // 100 for percent in (50, 95)]
        found = select(func.max(one.count), *(func.max(case((one.number == rank, one.wait))) for rank in ranks))
        row = self._ask(found)[0]
        return _whole(row[0]), _time(row[1]), _time(row[2])

    def _cohorts(self) -> dict[tuple[str, int, int], int]:
        theirs = self._table.c
        firsts = {name: self._in_order(func.first_value(theirs[name])) for name in ("endpoint", "paid_week", "paid_at")}
        visits = select(
            theirs.payer, theirs.paid_week, *(value.label(f"first_{name}") for name, value in firsts.items())
        )
        of = visits.where(*self._named, theirs.paid_at < self._end).subquery("visits").c
        # Not joined to each payer's first: a database that knows nothing of either would compare all with all.
        once = select(
            of.payer, of.first_endpoint, of.first_paid_week, (of.paid_week - of.first_paid_week).label("later")
        )
        within = [*self._after(of.first_paid_at), of.paid_week <= of.first_paid_week + WEEKS]
        one = once.where(*within).distinct().subquery("once").c
        key = (one.first_endpoint, one.first_paid_week, one.later)
        rows = self._ask(select(*key, func.count()).group_by(*key))
        return {(str(row[0]), _whole(row[1]), _whole(row[2])): _whole(row[3]) for row in rows}

    def _silences(self) -> tuple[int, int, list[Silent]]:
        of = self._payers.c
        pause = (of.last_at - of.first_at) / (of.sessions - 1)
        silence = literal(self._end, Double) - of.last_at
        gone = and_(silence > pause * SILENCE, silence > LEAST_SILENCE_S)
        judged = [of.sessions >= LEAST_SESSIONS, *self._after(of.last_at)]
        counts = self._ask(select(func.count(), _sum(gone)).where(*judged))[0]
        named = select(of.payer, of.sessions, pause, of.last_at).where(*judged, gone)
        order = (of.sessions.desc(), of.last_at.desc(), by_code(of.payer))
        rows = self._ask(named.order_by(*order).limit(MOST_NAMED))
        found = [Silent(str(row[0]), _whole(row[1]), float(row[2] or 0), float(row[3] or 0)) for row in rows]
        return _whole(counts[0]), _whole(counts[1]), found

    def _left_out(self) -> dict[str, int]:
        of = self._table.c
        inside = and_(True, *self._inside(of.paid_at))
        real, ours = and_(True, *self._real), and_(of.payer != "", ~self._own)
        counts = select(
            _sum(and_(inside, of.test == 1)),
            _sum(and_(real, ours, of.paid_at >= self._end)),
            func.sum(case((and_(real, inside, of.payer == ""), of.paid), else_=0)),
            func.sum(case((and_(real, inside, ours), of.amountless), else_=0)),
        ).where(*self._paid)
        test, ahead, lost, amountless = (_whole(value) for value in self._ask(counts)[0])
        own = select(func.count(of.payer.distinct())).where(*self._paid, *self._real, self._own, inside)
        return {
            "own": self._number_of(own) if self._asked.own else 0,
            "test": 0 if self._asked.test else test,
            "ahead": ahead if self._asked.until is None else 0,
            "nameless": lost + self._number_of(self._alone()),
            "amountless": amountless,
        }

    def _alone(self) -> Wanted:
        """Paid attempts that are in no session."""
        alone = [*IS_ALONE, ATTEMPTS.c.verified_at.is_not(None), *self._inside(ATTEMPTS.c.at)]
        if self._asked.endpoint is not None:
            alone.append(ATTEMPTS.c.endpoint == self._asked.endpoint)
        if not self._asked.test:
            alone.append(or_(ATTEMPTS.c.provider.is_(None), ATTEMPTS.c.provider.not_in(TEST_PROVIDERS)))
        return select(func.count()).select_from(ATTEMPTS).where(*alone)

    def _money(self) -> tuple[dict[str, list[tuple[int, int]]], dict[str, list[tuple[str, int]]]]:
        sums = self._sums()
        values = [sums.c[name] for name in LIMBS]
        texts = [sql_cast(value, Text) for value in values]
        found: dict[str, dict[int, int]] = {}
        limbs: dict[str, dict[int, list[tuple[int, ...]]]] = {}
        for row in self._ask(select(sums.c.currency, func.count(), *texts).group_by(sums.c.currency, *values)):
            currency, these = str(row[0]), tuple(map(_whole, row[2:]))
            net = _amount(these)
            mine = found.setdefault(currency, {})
            mine[net] = mine.get(net, 0) + _whole(row[1])
            limbs.setdefault(currency, {}).setdefault(net, []).append(these)
        top = {currency: self._top(sums, currency, counts, limbs[currency]) for currency, counts in found.items()}
        return {currency: sorted(counts.items()) for currency, counts in found.items()}, top

    def _sums(self) -> Subquery:
        """What each payer brought, by currency, in numbers that fit."""
        of, endpoint = MONEY.c, self._asked.endpoint
        at = of.paid_at if endpoint is None else of.step_paid_at
        about = [*self._inside(at), of.payer != "", *([] if endpoint is None else [of.endpoint == endpoint])]
        about += [*([] if self._asked.test else [of.test == 0])]
        about += [*([~is_own(of.payer, self._asked.own)] if self._asked.own else [])]
        limbs = [func.sum(of[name]).label(name) for name in LIMBS]
        return select(of.payer, of.currency, *limbs).where(*about).group_by(of.currency, of.payer).subquery("sums")

    def _top(
        self, sums: Subquery, currency: str, counts: Mapping[int, int], limbs: Mapping[int, list[tuple[int, ...]]]
    ) -> list[tuple[str, int]]:
        """The payers that brought most: those of the largest sums, until there are enough."""
        before = accumulate((counts[net] for net in sorted(counts, reverse=True)), initial=0)
        wanted = [net for net, payers in zip(sorted(counts, reverse=True), before, strict=False) if payers < TOP]
        last = wanted[-1]
        is_last = _is_one(sums, limbs[last])
        is_more = or_(False, *(_is_one(sums, limbs[net]) for net in wanted[:-1]))
        rows = self._ask(
            select(sums.c.payer, *(sql_cast(sums.c[name], Text) for name in LIMBS))
            .where(sums.c.currency == currency, or_(is_last, is_more))
            # Of those with the least sum there may be very many.
            .order_by(case((is_more, 0), else_=1), by_code(sums.c.payer))
            .limit(TOP)
        )
        found = [(str(row[0]), _amount(tuple(map(_whole, row[1:])))) for row in rows]
        return sorted(found, key=lambda one: (-one[1], one[0]))

    def _number_of(self, statement: Wanted) -> int:
        return _whole(self._ask(statement)[0][0])

    def _ask(self, statement: Wanted) -> Sequence[Row]:
        return self._database.query(cast("Select[*tuple[object, ...]]", statement), {})


def _is_one(sums: Subquery, limbs: Sequence[tuple[int, ...]]) -> ColumnElement[bool]:
    """Whether a sum is one of these."""
    return or_(*(and_(*(sums.c[name] == limb for name, limb in zip(LIMBS, one, strict=True))) for one in limbs))


def _sum(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.sum(case((condition, 1), else_=0))


def _amount(limbs: Sequence[int]) -> int:
    return sum(limb * LIMB**power for power, limb in enumerate(limbs))


def _whole(value: str | int | float | None) -> int:
    return int(value or 0)


def _time(value: str | int | float | None) -> float | None:
    return None if value is None else float(value)
