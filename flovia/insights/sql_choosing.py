"""Some attempts as a database keeps them, the newest first, and one by whatever names it."""

from collections.abc import Callable, Sequence
from typing import Final, cast

import attrs
from sqlalchemy import ColumnElement, Select, and_, func, literal, or_, select

from flovia.core.errors import CallerError
from flovia.insights.asking import Asked
from flovia.insights.attempt import ATTEMPT, EXPLAINED, OPEN, Attempt
from flovia.insights.joined import Kept
from flovia.insights.measures import NO_MONEY
from flovia.insights.schema import ATTEMPTS
from flovia.insights.sessions_schema import SESSIONS
from flovia.insights.sql_integrity import asked_for
from flovia.insights.sql_joined import KEPT, read_kept
from flovia.insights.sql_text import by_code
from flovia.insights.store import Database

_OF: Final = ATTEMPTS.c
_SHOWN: Final = _OF.kind == ATTEMPT
STEPS: Final[dict[str, tuple[ColumnElement[bool], ...]]] = {
    "shown": (_SHOWN,),
    "presented": (_SHOWN, _OF.presented_at.is_not(None)),
    "abandoned": (_SHOWN, _OF.presented_at.is_(None)),
    "paid": (_SHOWN, _OF.verified_at.is_not(None)),
    "delivered": (_SHOWN, _OF.delivered_at.is_not(None)),
    "failed": (_SHOWN, _OF.verified_at.is_not(None), _OF.delivered_at.is_(None)),
    "undelivered": (_SHOWN, _OF.delivered_at.is_(None)),
    "money": (_OF.outcome.not_in(sorted(NO_MONEY)), _OF.amount.is_not(None)),
    "due": (_OF.due == 1,),
}
"""How far attempts came, as the funnel counts it; with ``money`` all that brought some; ``due``: needs somebody."""

_CAME: Final[dict[str, Callable[[Attempt], bool]]] = {
    "shown": lambda one: one.kind == ATTEMPT,
    "presented": lambda one: one.kind == ATTEMPT and one.presented_at is not None,
    "abandoned": lambda one: one.kind == ATTEMPT and one.presented_at is None,
    "paid": lambda one: one.kind == ATTEMPT and one.verified_at is not None,
    "delivered": lambda one: one.kind == ATTEMPT and one.delivered_at is not None,
    "failed": lambda one: one.kind == ATTEMPT and one.verified_at is not None and one.delivered_at is None,
    "undelivered": lambda one: one.kind == ATTEMPT and one.delivered_at is None,
    "money": lambda one: one.outcome not in NO_MONEY and one.amount is not None,
    "due": lambda one: one.due,
}
"""The same of an attempt at hand."""
_SAME: Final = ("workflow", "payer", "provider", "rail", "price_currency", "currency", "problem")


@attrs.frozen(kw_only=True)
class Chosen:
    """Which attempts, besides what is asked about; "" for all.

    ``price``: base units of ``price_currency``; ``currency``: of what was paid. ``path``: the signature of their
    session, as JSON. ``state``: as reports count it, so that what is explained is in no other one. ``step``: one of
    :data:`STEPS`.
    """

    workflow: str = ""
    payer: str = ""
    provider: str = ""
    rail: str = ""
    price: str = ""
    price_currency: str = ""
    currency: str = ""
    state: str = ""
    problem: str = ""
    path: str = ""
    step: str = ""

    def where(self) -> list[ColumnElement[bool]]:
        """The condition."""
        found = list(STEPS.get(self.step, ()))
        if self.state in (EXPLAINED, *OPEN):  # as reports count them
            said = self.state == EXPLAINED
            found.append(_OF.explained_at.is_not(None) if said else _OF.explained_at.is_(None))
            found.append(_OF.state.in_(sorted(OPEN)) if said else _OF.state == self.state)
        elif self.state:
            found.append(_OF.state == self.state)
        for name in (*_SAME, "price"):
            value: str = getattr(self, name)
            if value:
                found.append(_OF[name] == value)
        if self.path:
            found.append(_OF.session.in_(select(SESSIONS.c.key).where(SESSIONS.c.signature == self.path)))
        return found

    def takes(self, one: Attempt) -> bool:
        """Whether an attempt at hand is one of them: the same as :meth:`where` says of its row.

        Raises:
            CallerError: a path was chosen. Only sessions know it, and those of an attempt that has just changed are
                yet to be made again.
        """
        if self.path:
            raise CallerError("an attempt at hand does not say which path its session took; leave path out")
        return (
            (not self.step or _CAME[self.step](one))
            and self.state in ("", one.counts_as)
            and (not self.price or (one.price is not None and str(one.price) == self.price))
            and all(getattr(one, name) == value for name in _SAME if (value := getattr(self, name)))
        )


def newest(
    database: Database, asked: Asked, chosen: Chosen, limit: int, before: tuple[float, str] | None = None
) -> Sequence[Kept]:
    """Attempts that began last, the newest first.

    Args:
        database: where they are.
        asked: the time, the endpoint, whose.
        chosen: which of them.
        limit: how many at most.
        before: the time (Unix seconds) and key of the last one that was read, to go on behind it.

    Raises:
        LedgerError: the database does not answer.
    """
    where = [*asked_for(asked), *chosen.where()]
    if before is not None:
        at, key = before
        where += [_OF.at <= at, or_(_OF.at < at, and_(_OF.at == at, by_code(_OF.key) < key))]
    return read_kept(database, KEPT.where(*where).order_by(_OF.at.desc(), by_code(_OF.key).desc()).limit(limit))


def count_of(database: Database, asked: Asked, chosen: Chosen, most: int) -> int:
    """How many there are, ``most`` for so many or more: counting all of very many takes a while.

    Raises:
        LedgerError: the database does not answer.
    """
    some = select(_OF.key).where(*asked_for(asked), *chosen.where()).limit(most).subquery()
    counted = cast("Select[*tuple[object, ...]]", select(func.count()).select_from(some))
    return int(database.query(counted, {})[0][0] or 0)


def containing(database: Database, text: str, limit: int) -> list[str]:
    """Names of endpoints in which this is, the shortest first.

    Raises:
        LedgerError: the database does not answer.
    """
    from flovia.insights.schema import DAYS

    name = DAYS.c.endpoint
    # PostgreSQL wants what it sorts by among what is distinct.
    sized = select(name, func.length(name).label("size")).where(name.icontains(text, autoescape=True)).distinct()
    rows = database.query(cast("Select[*tuple[object, ...]]", sized.order_by("size", name).limit(limit)), {})
    return [str(row[0]) for row in rows]


def has_endpoint(database: Database, name: str) -> bool:
    """Whether an attempt of any day is of this endpoint.

    Raises:
        LedgerError: the database does not answer.
    """
    found = select(literal(1)).where(_OF.endpoint == name).limit(1)
    return bool(database.query(cast("Select[*tuple[object, ...]]", found), {}))


def find(database: Database, ident: str, limit: int = 20) -> Sequence[Kept]:
    """The attempts of this key, challenge or payment, the oldest first.

    Raises:
        LedgerError: the database does not answer.
    """
    named = or_(_OF.key == ident, _OF.challenge_id == ident, _OF.payment_id == ident)
    return read_kept(database, KEPT.where(named).order_by(_OF.at, by_code(_OF.key)).limit(limit))


def endpoints(database: Database, limit: int) -> list[str]:
    """Names of endpoints, in order, of which there may be more.

    Raises:
        LedgerError: the database does not answer.
    """
    from flovia.insights.schema import DAYS

    names = select(DAYS.c.endpoint).where(DAYS.c.endpoint != "").distinct().order_by(DAYS.c.endpoint).limit(limit)
    return [str(row[0]) for row in database.query(cast("Select[*tuple[object, ...]]", names), {})]
