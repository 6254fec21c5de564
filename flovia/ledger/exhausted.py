"""Which of the paid and undelivered payments nobody can redeem any more: their time is over, or their deliveries are.

How many deliveries a payment has is said by its route, and routes are not in the ledger. So it is certain only once the
credential was told; before that, a count that is the default of every route is all there is to go by.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Literal

from sqlalchemy import or_, select

from flovia.core import events as ev
from flovia.core.delivery import MAX_DELIVERIES, Undelivered
from flovia.ledger.sql_schema import EVENTS

if TYPE_CHECKING:
    from flovia.ledger.sql_database import Database

Standing = Literal["redeemable", "over", "exhausted", "perhaps_exhausted"]
EXHAUSTED: Final = "delivery-exhausted"
"""The code of the problem that a credential gets once the deliveries are used up."""
_AT_ONCE: Final = 500


def standings(database: "Database", found: Sequence[Undelivered], now: float) -> list[Standing]:
    """How each of the payments stands.

    * ``redeemable``: its credential redeems, unless its route allows fewer deliveries than the default and nobody has
      been told.
    * ``over``: ``keep_until`` has passed.
    * ``exhausted``: its credential was told that the deliveries are used up, and nothing was begun since.
    * ``perhaps_exhausted``: as many were begun as a route allows by default, so its own would have to allow more.

    Args:
        database: of the ledger.
        found: by :meth:`~flovia.ledger.base.Ledger.find_undelivered`.
        now: Unix seconds by the ledger's clock.

    Raises:
        LedgerError: the ledger does not answer.
    """
    told = _told(database, [one.challenge_id for one in found])
    return [_standing(one, one.challenge_id in told, now) for one in found]


def _standing(one: Undelivered, told: bool, now: float) -> Standing:
    if one.keep_until <= now:
        return "over"
    if told and one.deliveries:  # none: it was made redeemable again, and the event of the refusal came later
        return "exhausted"
    return "perhaps_exhausted" if one.deliveries == MAX_DELIVERIES else "redeemable"


def _told(database: "Database", challenge_ids: Sequence[str]) -> set[str]:
    """The challenges whose last word to an agent was that the deliveries are used up."""
    last: dict[str, bool] = {}
    for start in range(0, len(challenge_ids), _AT_ONCE):
        events = (
            select(EVENTS.c.challenge_id, EVENTS.c.problem)
            .where(
                EVENTS.c.challenge_id.in_(challenge_ids[start : start + _AT_ONCE]),
                or_(EVENTS.c.type.in_((ev.ACCESS_GRANTED, ev.PAYMENT_REOPENED)), EVENTS.c.problem == EXHAUSTED),
            )
            .order_by(EVENTS.c.position)
        )
        last |= {str(row[0]): row[1] == EXHAUSTED for row in database.query(events, {})}
    return {challenge_id for challenge_id, exhausted in last.items() if exhausted}
