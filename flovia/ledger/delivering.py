"""Payments whose delivery holds its lease: it runs, or its process has died and the lease has not ended yet."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from sqlalchemy import Select, bindparam, not_, select

from flovia.core.delivery import Undelivered
from flovia.core.exchange import DELIVERING
from flovia.ledger.sql_delivery import UNDELIVERED_COLUMNS, read_undelivered
from flovia.ledger.sql_schema import PAYMENTS

if TYPE_CHECKING:
    from flovia.ledger.sql_database import Database

_RUNNING: Final[Select[*tuple[object, ...]]] = (
    select(*UNDELIVERED_COLUMNS)
    .where(PAYMENTS.c.state == DELIVERING, PAYMENTS.c.lease_until > bindparam("now"), not_(PAYMENTS.c.refund_due))
    .order_by(PAYMENTS.c.lease_until, PAYMENTS.c.key)
    .limit(bindparam("at_most"))
)


def find_delivering(database: "Database", now: float, limit: int) -> Sequence[Undelivered]:
    """Those payments, the one whose lease ends first at the head; what cannot be told is which processes are alive.

    Args:
        database: of the ledger.
        now: Unix seconds by the ledger's clock.
        limit: how many, at most.

    Raises:
        LedgerError: the ledger does not answer.
    """
    return read_undelivered(database.query(_RUNNING, {"now": now, "at_most": limit}))
