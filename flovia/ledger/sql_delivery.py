"""What a SQL ledger tells of payments that were taken and not delivered."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, cast

from sqlalchemy import Select, and_, bindparam, not_, or_, select

from flovia.core.delivery import Undelivered
from flovia.core.exchange import DELIVERING, SETTLED
from flovia.ledger.sql_schema import PAYMENTS

if TYPE_CHECKING:
    from flovia.ledger.sql import Database

_UNDELIVERED: Final[Select[*tuple[object, ...]]] = (
    select(
        PAYMENTS.c.key,
        PAYMENTS.c.state,
        PAYMENTS.c.payment_id,
        PAYMENTS.c.amount,
        PAYMENTS.c.currency,
        PAYMENTS.c.deliveries,
        PAYMENTS.c.lease_until,
        PAYMENTS.c.keep_until,
    )
    .where(
        or_(
            PAYMENTS.c.state == SETTLED,
            and_(PAYMENTS.c.state == DELIVERING, PAYMENTS.c.lease_until <= bindparam("now")),
        ),
        not_(PAYMENTS.c.refund_due),
    )
    .order_by(PAYMENTS.c.created_at, PAYMENTS.c.key)
    .limit(bindparam("at_most"))
)


def undelivered(database: "Database", now: float, limit: int) -> Sequence[Undelivered]:
    """See :meth:`flovia.ledger.base.Ledger.find_undelivered`."""
    found = database.query(_UNDELIVERED, {"now": now, "at_most": limit})
    return [
        Undelivered(
            key=str(key),
            state=str(state),
            payment_id=str(payment_id or ""),
            amount=None if amount is None else int(amount),
            currency=None if currency is None else str(currency),
            deliveries=cast("int", deliveries),
            lease_until=cast("float", lease_until),
            keep_until=cast("float", keep_until),
        )
        for key, state, payment_id, amount, currency, deliveries, lease_until, keep_until in found
    ]
