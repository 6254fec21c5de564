"""Reading events by what they belong to: their challenge, their request, their position. Each by an index."""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Final

from sqlalchemy import ColumnElement, or_, select

from flovia.core.events import FIELDS, PAYMENT_EXPLAINED, Event
from flovia.ledger.retention import events_floor, unpaid_cursor
from flovia.ledger.sql_events import read_event
from flovia.ledger.sql_schema import EVENTS

if TYPE_CHECKING:
    from flovia.ledger.sql import SqlLedger

MANY: Final = 400
"""Ids in one statement: every SQLite takes so many."""
_COLUMNS: Final = select(EVENTS.c.position, *(EVENTS.c[name] for name in FIELDS))


class RelatedEvents:
    """The events of a ledger in a database, for who joins them piece by piece.

    Args:
        ledger: whose events they are.
    """

    def __init__(self, ledger: "SqlLedger") -> None:
        self._ledger = ledger

    def read(self, after: int, limit: int) -> Sequence[tuple[int, Event]]:
        """See :meth:`flovia.ledger.base.Ledger.read_events`."""
        return self._ledger.read_events(after, limit)

    def of_challenges(self, ids: Collection[str], at_most: int, known: range) -> Sequence[tuple[int, Event]]:
        """The events that mention these challenges, with their positions; more than ``at_most`` say: too many.

        Those at ``known`` positions are left out.
        """
        return self._of(EVENTS.c.challenge_id, ids, at_most, known)

    def of_requests(self, ids: Collection[str], at_most: int, known: range) -> Sequence[tuple[int, Event]]:
        """The events of these requests, in the same way."""
        return self._of(EVENTS.c.request_id, ids, at_most, known)

    def pruned_after(self, position: int) -> bool:
        """Whether events behind this position are surely gone."""
        database = self._ledger.database
        if unpaid_cursor(database) > position:
            return True
        oldest = database.query(select(EVENTS.c.position).order_by(EVENTS.c.position).limit(1), {})
        return bool(oldest) and events_floor(database) > 0 and int(oldest[0][0] or 0) > position + 1

    def present(self, positions: Collection[int]) -> set[int]:
        """Which of these events are still there."""
        found: set[int] = set()
        wanted = sorted(positions)
        for start in range(0, len(wanted), MANY):
            statement = select(EVENTS.c.position).where(EVENTS.c.position.in_(wanted[start : start + MANY]))
            found |= {int(row[0] or 0) for row in self._ledger.database.query(statement, {})}
        return found

    def _of(
        self, column: ColumnElement[str | None], ids: Collection[str], at_most: int, known: range
    ) -> Sequence[tuple[int, Event]]:
        found: list[tuple[int, Event]] = []
        wanted = sorted(ids)
        new = or_(EVENTS.c.position < known.start, EVENTS.c.position >= known.stop)
        for start in range(0, len(wanted), MANY):
            if len(found) > at_most:
                break
            statement = _COLUMNS.where(column.in_(wanted[start : start + MANY]), new).limit(at_most + 1 - len(found))
            found += [read_event(row) for row in self._ledger.database.query(statement, {})]
        return found


def explained_challenges(ledger: "SqlLedger", challenges: Collection[str]) -> set[str]:
    """Of these challenges those about which somebody ever explained something."""
    found: set[str] = set()
    wanted = sorted(challenges)
    for start in range(0, len(wanted), MANY):
        of = EVENTS.c.challenge_id.in_(wanted[start : start + MANY])
        statement = select(EVENTS.c.challenge_id).where(of, EVENTS.c.type == PAYMENT_EXPLAINED).distinct()
        found |= {str(row[0]) for row in ledger.database.query(statement, {})}
    return found
