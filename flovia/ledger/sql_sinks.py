"""The SQL ledger's verbs for exporters. One verb is one transaction, and those that only look need none that writes."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, cast

from sqlalchemy import Connection, Select, bindparam, delete, func, select, update

from flovia.ledger.sinks import MAX_PROBLEM, DeadLetter, SinkLease, SinkView, checked_name
from flovia.ledger.sql_schema import DEAD_LETTERS, EVENTS, SINKS

if TYPE_CHECKING:
    from flovia.ledger.sql_database import Database

_LOOK: Final[Select[*tuple[object, ...]]] = select(
    SINKS.c.position, SINKS.c.fence, SINKS.c.holder, SINKS.c.lease_until
).where(SINKS.c.name == bindparam("of_name"))
_LOOK_AND_HOLD: Final = _LOOK.with_for_update()
_HOLD: Final = (
    select(SINKS.c.position)
    .where(SINKS.c.name == bindparam("of_name"), SINKS.c.fence == bindparam("of_fence"))
    .with_for_update()
)
_SET: Final = update(SINKS).where(SINKS.c.name == bindparam("of_name"))
_COUNT_DEAD: Final = (
    select(func.count()).select_from(DEAD_LETTERS).where(DEAD_LETTERS.c.sink == SINKS.c.name).scalar_subquery()
)
_ALL: Final = cast(
    "Select[*tuple[object, ...]]",
    select(
        SINKS.c.name,
        SINKS.c.position,
        SINKS.c.fence,
        SINKS.c.lease_until,
        SINKS.c.problem,
        SINKS.c.updated_at,
        _COUNT_DEAD,
    ).order_by(SINKS.c.name),
)
_COUNT_EVENTS: Final = cast(
    "Select[*tuple[object, ...]]",
    select(func.count()).select_from(
        select(EVENTS.c.position).where(EVENTS.c.position > bindparam("after")).limit(bindparam("at_most")).subquery()
    ),
)
_DEAD: Final[Select[*tuple[object, ...]]] = (
    select(
        DEAD_LETTERS.c.number,
        DEAD_LETTERS.c.position,
        DEAD_LETTERS.c.event_id,
        DEAD_LETTERS.c.body,
        DEAD_LETTERS.c.reason,
        DEAD_LETTERS.c.tries,
        DEAD_LETTERS.c.at,
        DEAD_LETTERS.c.again,
    )
    .where(DEAD_LETTERS.c.sink == bindparam("of_name"), DEAD_LETTERS.c.number > bindparam("after"))
    .order_by(DEAD_LETTERS.c.number)
    .limit(bindparam("at_most"))
)
_DEAD_AGAIN: Final[Select[*tuple[object, ...]]] = _DEAD.where(DEAD_LETTERS.c.again)
_ONE_DEAD: Final = (DEAD_LETTERS.c.sink == bindparam("of_name")) & (DEAD_LETTERS.c.number == bindparam("of_number"))


class SqlSinkVerbs:
    """Cursors and dead letters beside the events of a :class:`~flovia.ledger.sql.SqlLedger`."""

    _database: "Database"
    _clock: Callable[[], float]

    def lease_sink(self, name: str, holder: str, lease_s: float) -> SinkLease:
        """See :meth:`flovia.ledger.sinks.SinkVerbs.lease_sink`."""
        now = self._clock()
        checked_name(name)
        seen = self._database.query(_LOOK, {"of_name": name})
        # Who waits for its turn only looks: a standby must not make the ledger write.
        if seen and (busy := _busy(seen[0], holder, now)) is not None:
            return busy
        with self._database.write() as connection:
            if not seen:
                first = {
                    "name": name,
                    "position": 0,
                    "fence": 0,
                    "holder": "",
                    "lease_until": 0.0,
                    "problem": "",
                    "updated_at": now,
                }
                connection.execute(self._database.upsert(SINKS).on_conflict_do_nothing(), first)
            held = cast("Sequence[object]", connection.execute(_LOOK_AND_HOLD, {"of_name": name}).one())
            if (busy := _busy(held, holder, now)) is not None:
                return busy
            position, fence = cast("tuple[int, int]", held[:2])
            taken = {"fence": fence + 1, "holder": holder, "lease_until": now + lease_s, "updated_at": now}
            _change(connection, name, taken)
        return SinkLease(fence=fence + 1, position=position)

    def advance_sink(
        self,
        name: str,
        fence: int,
        position: int,
        lease_s: float,
        problem: str = "",
        dead: Sequence[DeadLetter] = (),
    ) -> bool:
        """See :meth:`flovia.ledger.sinks.SinkVerbs.advance_sink`."""
        now = self._clock()
        with self._database.write() as connection:
            found = connection.scalar(_HOLD, {"of_name": name, "of_fence": fence})
            if found is None or found > position:
                return False
            changes: dict[str, object] = {
                "position": position,
                "lease_until": now + lease_s,
                "problem": problem[:MAX_PROBLEM],
                "updated_at": now,
            }
            _change(connection, name, changes)
            if dead:
                connection.execute(
                    self._database.upsert(DEAD_LETTERS).on_conflict_do_nothing(),
                    [
                        {
                            "sink": name,
                            "position": letter.position,
                            "event_id": letter.event_id,
                            "body": letter.body,
                            "reason": letter.reason[:MAX_PROBLEM],
                            "tries": letter.tries,
                            "at": now,
                            "again": False,
                        }
                        for letter in dead
                    ],
                )
        return True

    def release_sink(self, name: str, fence: int) -> bool:
        """See :meth:`flovia.ledger.sinks.SinkVerbs.release_sink`."""
        with self._database.write() as connection:
            if not _holds(connection, name, fence):
                return False
            _change(connection, name, {"holder": "", "lease_until": 0.0})
        return True

    def find_sinks(self) -> Sequence[SinkView]:
        """See :meth:`flovia.ledger.sinks.SinkVerbs.find_sinks`."""
        rows = cast("Sequence[tuple[str, int, int, float, str, float, int]]", self._database.query(_ALL, {}))
        return [
            SinkView(
                name=name,
                position=position,
                fence=fence,
                lease_until=lease_until,
                problem=problem,
                updated_at=updated_at,
                dead=dead,
            )
            for name, position, fence, lease_until, problem, updated_at, dead in rows
        ]

    def forget_sink(self, name: str) -> bool:
        """See :meth:`flovia.ledger.sinks.SinkVerbs.forget_sink`."""
        with self._database.write() as connection:
            found = connection.execute(_LOOK_AND_HOLD, {"of_name": name}).first()
            if found is None or cast("float", found[3]) > self._clock():
                return False
            connection.execute(delete(DEAD_LETTERS).where(DEAD_LETTERS.c.sink == name))
            connection.execute(delete(SINKS).where(SINKS.c.name == name))
        return True

    def count_events(self, after: int, at_most: int) -> int:
        """See :meth:`flovia.ledger.sinks.SinkVerbs.count_events`."""
        ((count,),) = self._database.query(_COUNT_EVENTS, {"after": after, "at_most": at_most})
        return int(count or 0)

    def find_dead(self, name: str, after: int = 0, limit: int = 100, *, again: bool = False) -> Sequence[DeadLetter]:
        """See :meth:`flovia.ledger.sinks.SinkVerbs.find_dead`."""
        found = self._database.query(
            _DEAD_AGAIN if again else _DEAD, {"of_name": name, "after": after, "at_most": limit}
        )
        return [
            DeadLetter(
                number=number,
                position=position,
                event_id=event_id,
                body=body,
                reason=reason,
                tries=tries,
                at=at,
                again=bool(marked),
            )
            for number, position, event_id, body, reason, tries, at, marked in cast(
                "Sequence[tuple[int, int, str, str, str, int, float, bool]]", found
            )
        ]

    def revive_dead(self, name: str, numbers: Sequence[int] | None = None) -> int:
        """See :meth:`flovia.ledger.sinks.SinkVerbs.revive_dead`."""
        marking = update(DEAD_LETTERS).where(DEAD_LETTERS.c.sink == name).values(again=True)
        if numbers is not None:
            marking = marking.where(DEAD_LETTERS.c.number.in_(numbers))
        with self._database.write() as connection:
            return len(connection.execute(marking.returning(DEAD_LETTERS.c.number)).all())

    def end_dead(self, name: str, fence: int, number: int, reason: str | None) -> bool:
        """See :meth:`flovia.ledger.sinks.SinkVerbs.end_dead`."""
        one = {"of_name": name, "of_number": number}
        with self._database.write() as connection:
            if not _holds(connection, name, fence):
                return False
            if reason is None:
                connection.execute(delete(DEAD_LETTERS).where(_ONE_DEAD), one)
            else:
                refused = update(DEAD_LETTERS).where(_ONE_DEAD).values(tries=DEAD_LETTERS.c.tries + 1)
                connection.execute(refused, {**one, "reason": reason[:MAX_PROBLEM], "again": False})
        return True


def _busy(row: Sequence[object], holder: str, now: float) -> SinkLease | None:
    """The answer while somebody else holds the lease; None if it can be had. ``row``: see ``_LOOK``."""
    position, _, owner, lease_until = cast("tuple[int, int, str, float]", row)
    if lease_until > now and owner != holder:
        return SinkLease(fence=None, position=position, wait_s=lease_until - now)
    return None


def _holds(connection: Connection, name: str, fence: int) -> bool:
    """Whether the fence is current; it stays so until the transaction ends."""
    return connection.scalar(_HOLD, {"of_name": name, "of_fence": fence}) is not None


def _change(connection: Connection, name: str, changes: Mapping[str, object]) -> None:
    connection.execute(_SET, {"of_name": name, **changes})
