"""Sessions as rows of the ledger's database."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final, cast

import attrs
from sqlalchemy import Table, bindparam, delete, func, insert, select, update

from flovia.insights.schema import ATTEMPTS
from flovia.insights.sessions import Lane, Session, Step, signature_text, week_of
from flovia.insights.sessions_schema import CHILDREN, LIMB, LIMBS, MONEY, MOVES, SESSIONS, STEPS

if TYPE_CHECKING:
    from sqlalchemy import Connection

MANY: Final = 400
Values = dict[str, object]
_JOIN: Final = (
    update(ATTEMPTS)
    .where(ATTEMPTS.c.key == bindparam("of_key"))
    .values(session=bindparam("of_session"), workflow_rule=bindparam("of_rule"))
)


@attrs.define
class Rows:
    """What one transaction writes: sessions that go, sessions that come, and which attempts are in which."""

    gone: set[str] = attrs.field(factory=set[str])
    come: dict[str, Session] = attrs.field(factory=dict[str, Session])
    members: list[Values] = attrs.field(factory=list[Values])

    def join(self, key: str, session: str, rule: str) -> None:
        """An attempt is in a session."""
        self.members.append({"of_key": key, "of_session": session, "of_rule": rule})

    def write(self, connection: "Connection") -> None:
        """Write all of it, in the transaction at hand."""
        remove(connection, self.gone | set(self.come))
        found: dict[Table, list[Values]] = {SESSIONS: [], STEPS: [], MOVES: [], MONEY: []}
        # One pass at a time writes sessions, so nobody else takes these numbers.
        newest = connection.scalar(select(func.max(SESSIONS.c.id))) or 0
        for number, session in enumerate(self.come.values(), newest + 1):
            _tell(number, session, found)
        for table, rows in found.items():
            if rows:
                connection.execute(insert(table), rows)
        if self.members:
            connection.execute(_JOIN, self.members)


def remove(connection: "Connection", keys: Iterable[str]) -> None:
    """Delete sessions and what hangs on them, in the transaction at hand."""
    wanted = sorted(keys)
    for start in range(0, len(wanted), MANY):
        there = select(SESSIONS.c.id).where(SESSIONS.c.key.in_(wanted[start : start + MANY]))
        if ids := list(connection.scalars(there)):
            for table in CHILDREN:
                connection.execute(delete(table).where(table.c.session.in_(ids)))
            connection.execute(delete(SESSIONS).where(SESSIONS.c.id.in_(ids)))


def read_session(connection: "Connection", row: Sequence[object]) -> Session:
    """The session of a row of the table, with its steps and moves."""
    values = dict(zip(SESSIONS.c.keys(), row, strict=True))
    number = values["id"]
    net: dict[int, dict[str, int]] = {}
    for of in connection.execute(select(MONEY).where(MONEY.c.session == number)).mappings():
        amount = sum(cast("int", of[name]) * LIMB**power for power, name in enumerate(LIMBS))
        net.setdefault(of["place"], {})[of["currency"]] = amount
    steps = connection.execute(select(STEPS).where(STEPS.c.session == number).order_by(STEPS.c.place)).mappings()
    moves = connection.execute(select(MOVES.c.origin, MOVES.c.target, MOVES.c.times).where(MOVES.c.session == number))
    return Session(
        started_at=cast("float", values["started_at"]),
        ended_at=cast("float", values["ended_at"]),
        attempts=cast("int", values["attempts"]),
        unnamed=cast("int", values["unnamed"]),
        last_at=cast("float", values["last_at"]),
        last_key=str(values["last_key"]),
        last_endpoint=str(values["last_endpoint"]),
        key=str(values["key"]),
        lane=Lane(str(values["workflow"]), str(values["payer"]), bool(values["test"])),
        last_paid=bool(values["last_paid"]),
        steps=tuple(
            Step(
                endpoint=of["endpoint"],
                attempts=of["attempts"],
                paid=of["paid"],
                delivered=of["delivered"],
                amountless=of["amountless"],
                paid_at=of["paid_at"],
                net=net.get(of["place"], {}),
            )
            for of in steps
        ),
        moves={(origin, target): times for origin, target, times in moves},
    )


def limbs_of(amount: int) -> list[int]:
    """An amount as numbers below :data:`LIMB`, the lowest first."""
    return [amount // LIMB**power % LIMB for power in range(len(LIMBS))]


def _tell(number: int, session: Session, found: dict[Table, list[Values]]) -> None:
    first = session.first_paid
    about: Values = {
        "payer": session.lane.payer,
        "test": int(session.lane.test),
        "started_at": session.started_at,
    }
    counts = ("attempts", "paid", "delivered", "amountless")
    found[SESSIONS].append(
        {
            **about,
            **{name: getattr(session, name) for name in counts},
            "id": number,
            "key": session.key,
            "workflow": session.lane.workflow,
            "ended_at": session.ended_at,
            "last_at": session.last_at,
            "last_key": session.last_key,
            "last_endpoint": session.last_endpoint,
            "last_paid": int(session.last_paid),
            "unnamed": session.unnamed,
            "length": len(session.steps),
            "signature": signature_text(session.signature),
            "paid_at": first and first.paid_at,
            "paid_week": _week(first),
            "endpoint": first and first.endpoint,
        }
    )
    about["session"] = number
    for place, step in enumerate(session.steps, 1):
        here: Values = {**about, "place": place, "endpoint": step.endpoint}
        found[STEPS].append(
            {
                **here,
                **{name: getattr(step, name) for name in counts},
                "key": session.key,
                "paid_at": step.paid_at,
                "paid_week": _week(step),
            }
        )
        for currency, net in step.net.items():
            limbs = dict(zip(LIMBS, limbs_of(net), strict=True))
            when = {"paid_at": first and first.paid_at, "step_paid_at": step.paid_at}
            found[MONEY].append({**here, **when, **limbs, "currency": currency})
    for (origin, target), times in session.moves.items():
        found[MOVES].append({**about, "origin": origin, "target": target, "times": times})


def _week(step: Step | None) -> int | None:
    return None if step is None or step.paid_at is None else week_of(step.paid_at)
