"""The facts of retention, counted by SQL."""

from collections.abc import Mapping, Sequence
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

Query = Select[*tuple[object, ...]]


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
        self._since = asked.since
        own = is_own(SESSIONS.c.payer, asked.own)
        real: list[ColumnElement[bool]] = [] if asked.test else [SESSIONS.c.test == 0]
        self._named = [*real, SESSIONS.c.payer != "", *([~own] if asked.own else [])]
        self._is_own = [*real, own]
        self._at: ColumnElement[float | None] = SESSIONS.c.paid_at if asked.endpoint is None else STEPS.c.paid_at
        self._inside = [self._at < self._end, *([] if self._since is None else [self._at >= self._since])]
        self._numbered = self._number()
        self._payers = self._by_payer()

    def facts(self) -> Facts:
        """All of them."""
        active, returned, seconds, p50, p95 = self._whole()
        judged, silent, named = self._silences()
        left_out = self._left_out()
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
            **left_out,
        )

    # --- the sessions that are asked about -------------------------------------------------------------------

    def _paid(self, *columns: ColumnElement[Any]) -> "Select[*tuple[Any, ...]]":
        """Paid sessions, or what of them is asked about."""
        if self._asked.endpoint is None:
            return select(*columns).select_from(SESSIONS).where(SESSIONS.c.paid_at.is_not(None))
        joined = STEPS.join(SESSIONS, SESSIONS.c.key == STEPS.c.session)
        of = (STEPS.c.endpoint == self._asked.endpoint, STEPS.c.paid_at.is_not(None))
        return select(*columns).select_from(joined).where(*of)

    def _number(self) -> Subquery:
        """Each payer's paid sessions in their order: its first one, how many weeks and seconds after others it was."""
        whole = self._asked.endpoint is None
        endpoint = SESSIONS.c.paid_endpoint if whole else STEPS.c.endpoint
        week = SESSIONS.c.paid_week if whole else STEPS.c.paid_week
        order = (self._at, by_code(SESSIONS.c.key))

        def of_payer(value: FunctionElement[Any]) -> Over[Any]:
            return value.over(partition_by=SESSIONS.c.payer, order_by=order)

        return (
            self._paid(
                SESSIONS.c.payer.label("payer"),
                self._at.label("at"),
                of_payer(func.row_number()).label("number"),
                of_payer(func.first_value(endpoint)).label("endpoint"),
                of_payer(func.first_value(week)).label("first_week"),
                of_payer(func.first_value(self._at)).label("first_at"),
                week.label("week"),
                (self._at - of_payer(func.lag(self._at))).label("pause"),
            )
            .where(*self._named, self._at < self._end)
            .subquery("numbered")
        )

    def _by_payer(self) -> Subquery:
        of = self._numbered.c
        return (
            select(
                of.payer,
                func.min(of.first_at).label("first_at"),
                func.max(of.at).label("last_at"),
                func.count().label("sessions"),
                func.max(case((of.number == 2, of.pause))).label("second"),
            )
            .group_by(of.payer)
            .subquery("payers")
        )

    def _after(self, at: ColumnElement[Any]) -> list[ColumnElement[bool]]:
        return [] if self._since is None else [at >= self._since]

    # --- the facts -------------------------------------------------------------------------------------------

    def _whole(self) -> tuple[int, int, int, float | None, float | None]:
        of = self._payers.c
        is_active = and_(True, *self._after(of.last_at))
        waited = select(
            of.second.label("second"),
            func.row_number().over(order_by=of.second).label("number"),
            func.count().over().label("count"),
        ).where(of.second.is_not(None), *self._after(of.first_at))
        sorted_ = waited.subquery("waited")
        of_wait = sorted_.c
        # Nearest rank: the least number that is not below the percentage.
        ranks = {percent: (of_wait.count * percent + 99) // 100 for percent in (50, 95)}
        active = select(func.count(), func.sum(case((of.sessions > 1, 1), else_=0))).where(is_active)
        seconds = select(
            func.max(of_wait.count),
            *(func.max(case((of_wait.number == number, of_wait.second))) for number in ranks.values()),
        )
        (counts,), (times,) = self._ask(active), self._ask(seconds)
        return _whole(counts[0]), _whole(counts[1]), _whole(times[0]), _time(times[1]), _time(times[2])

    def _cohorts(self) -> dict[tuple[str, int, int], int]:
        of = self._numbered.c
        later = (of.week - of.first_week).label("later")
        once = select(of.payer, of.endpoint, of.first_week, later).distinct()
        found = once.where(*self._after(of.first_at), of.week - of.first_week <= WEEKS).subquery("once")
        counted = select(found.c.endpoint, found.c.first_week, found.c.later, func.count())
        rows = self._ask(counted.group_by(found.c.endpoint, found.c.first_week, found.c.later))
        return {(str(row[0]), _whole(row[1]), _whole(row[2])): _whole(row[3]) for row in rows}

    def _silences(self) -> tuple[int, int, list[Silent]]:
        of = self._numbered.c
        ranked = (
            select(
                of.payer,
                of.pause,
                func.row_number().over(partition_by=of.payer, order_by=of.pause).label("place"),
                func.count().over(partition_by=of.payer).label("pauses"),
                func.max(of.at).over(partition_by=of.payer).label("last_at"),
            )
            .where(of.pause.is_not(None))
            .subquery("ranked")
        )
        pause = ranked.c
        judged = (
            select(pause.payer, (pause.pauses + 1).label("sessions"), pause.pause, pause.last_at)
            .where(
                pause.place == (pause.pauses + 1) // 2,
                pause.pauses >= LEAST_SESSIONS - 1,
                *self._after(pause.last_at),
            )
            .subquery("judged")
        )
        one = judged.c
        silence = literal(self._end, Double) - one.last_at
        gone = and_(silence > one.pause * SILENCE, silence > LEAST_SILENCE_S)
        counts = self._ask(select(func.count(), func.sum(case((gone, 1), else_=0))))[0]
        named = select(one.payer, one.sessions, one.pause, one.last_at).where(gone)
        order = (one.sessions.desc(), one.last_at.desc(), by_code(one.payer))
        rows = self._ask(named.order_by(*order).limit(MOST_NAMED))
        found = [Silent(str(row[0]), _whole(row[1]), float(row[2] or 0), float(row[3] or 0)) for row in rows]
        return _whole(counts[0]), _whole(counts[1]), found

    def _left_out(self) -> dict[str, int]:
        whole = self._asked.endpoint is None
        paid, amountless = (SESSIONS.c.paid, SESSIONS.c.amountless) if whole else (STEPS.c.paid, STEPS.c.amountless)
        own = self._paid(func.count(SESSIONS.c.payer.distinct())).where(*self._is_own, *self._inside)
        test = self._paid(func.count()).where(SESSIONS.c.test == 1, *self._inside)
        real = [] if self._asked.test else [SESSIONS.c.test == 0]
        ahead = self._paid(func.count()).where(*self._named, self._at >= self._end)
        lost = self._paid(func.sum(paid)).where(SESSIONS.c.payer == "", *real, *self._inside)
        unknown = self._paid(func.sum(amountless)).where(*self._named, *self._inside)
        return {
            "own": self._number_of(own) if self._asked.own else 0,
            "test": 0 if self._asked.test else self._number_of(test),
            "ahead": self._number_of(ahead) if self._asked.until is None else 0,
            "nameless": self._number_of(lost) + self._number_of(self._alone()),
            "amountless": self._number_of(unknown),
        }

    def _alone(self) -> "Select[*tuple[Any, ...]]":
        """Paid attempts that are in no session."""
        alone = [*IS_ALONE, ATTEMPTS.c.verified_at.is_not(None), ATTEMPTS.c.at < self._end]
        alone += self._after(ATTEMPTS.c.at)
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
        on = [MONEY.c.session == SESSIONS.c.key]
        if self._asked.endpoint is not None:
            on.append(MONEY.c.place == STEPS.c.place)
        limbs = [func.sum(MONEY.c[name]).label(name) for name in LIMBS]
        inside = self._paid(SESSIONS.c.payer, MONEY.c.currency, *limbs).where(*on, *self._named, *self._inside)
        return inside.group_by(SESSIONS.c.payer, MONEY.c.currency).subquery("sums")

    def _top(
        self, sums: Subquery, currency: str, counts: Mapping[int, int], limbs: Mapping[int, list[tuple[int, ...]]]
    ) -> list[tuple[str, int]]:
        found: list[tuple[str, int]] = []
        for net in sorted(counts, reverse=True):
            if len(found) >= TOP:
                break
            same = or_(
                *(and_(*(sums.c[name] == limb for name, limb in zip(LIMBS, one, strict=True))) for one in limbs[net])
            )
            rows = select(sums.c.payer).where(sums.c.currency == currency, same)
            of = self._ask(rows.order_by(by_code(sums.c.payer)).limit(TOP - len(found)))
            found += [(str(row[0]), net) for row in of]
        return found

    def _number_of(self, statement: "Select[*tuple[Any, ...]]") -> int:
        return _whole(self._ask(statement)[0][0])

    def _ask(self, statement: "Select[*tuple[Any, ...]]") -> Sequence[Row]:
        return self._database.query(cast("Query", statement), {})


def _amount(limbs: Sequence[int]) -> int:
    return sum(limb * LIMB**power for power, limb in enumerate(limbs))


def _whole(value: str | int | float | None) -> int:
    return int(value or 0)


def _time(value: str | int | float | None) -> float | None:
    return None if value is None else float(value)
