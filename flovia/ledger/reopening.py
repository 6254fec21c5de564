"""Making a paid and undelivered payment redeemable again: by a person, on record, and never what was delivered."""

from typing import TYPE_CHECKING, Final, Literal

import attrs
from sqlalchemy import bindparam, select, update

from flovia.core.events import EventRow
from flovia.core.exchange import DELIVERING, PAYMENT, SETTLED, step
from flovia.ledger.sql_schema import PAYMENTS

if TYPE_CHECKING:
    from flovia.ledger.sql import SqlLedger

Outcome = Literal["reopened", "delivering", "refund_due", "refused", "changed", "unknown"]
FOR_S: Final = 7 * 86400.0
_LOOK: Final = (
    select(PAYMENTS.c.state, PAYMENTS.c.fence, PAYMENTS.c.lease_until, PAYMENTS.c.keep_until, PAYMENTS.c.refund_due)
    .where(PAYMENTS.c.key == bindparam("of_key"))
    .with_for_update()
)
_SET: Final = update(PAYMENTS).where(
    PAYMENTS.c.key == bindparam("of_key"),
    PAYMENTS.c.fence == bindparam("of_fence"),
    PAYMENTS.c.state == bindparam("of_state"),
)


@attrs.frozen(kw_only=True)
class Reopening:
    """What became of it. ``state`` is the payment's; ``until``: of a delivery that runs, Unix seconds.

    If it is reopened, ``until`` says that a delivery held it, and was ended by force; else it is 0.

    * ``reopened``: its credential redeems it again, for a week at least, with the deliveries counted anew.
    * ``delivering``: a delivery holds it until ``until``; only by force.
    * ``refund_due``: its money is to go back.
    * ``refused``: it was delivered or given back, or nobody has paid.
    * ``changed``: somebody did something about it since it was looked at.
    * ``unknown``: there is no such payment.
    """

    outcome: Outcome
    state: str = ""
    until: float = 0.0


def reopen(
    ledger: "SqlLedger", key: str, events: tuple[EventRow, ...], *, force: bool = False, fence: int | None = None
) -> Reopening:
    """Make a payment redeemable again, with its events in the same transaction.

    ``force`` ends a delivery that still holds its lease: if it is alive after all, what it delivers cannot be recorded,
    and the credential can buy the same again. ``fence``: of the row that was looked at; None for whatever it is now.

    Raises:
        LedgerError: the ledger does not answer.
    """
    return ledger.database.call(lambda: _reopen(ledger, key, events, force, fence))


def _reopen(ledger: "SqlLedger", key: str, events: tuple[EventRow, ...], force: bool, seen: int | None) -> Reopening:
    now = ledger.now()
    with ledger.database.write() as connection:
        found = connection.execute(_LOOK, {"of_key": key}).first()
        if found is None:
            return Reopening(outcome="unknown")
        state, fence, lease_until, keep_until, refund_due = found
        if state not in (SETTLED, DELIVERING):
            return Reopening(outcome="refused", state=state)
        if refund_due:
            return Reopening(outcome="refund_due", state=state)
        until = lease_until if state == DELIVERING and lease_until > now else 0.0
        if until and not force:
            return Reopening(outcome="delivering", state=state, until=until)
        if seen is not None and fence != seen:
            return Reopening(outcome="changed", state=state)
        changes = {
            "state": step(PAYMENT, DELIVERING, "fail"),
            # Whoever may still hold it has the old fence.
            "fence": fence + 1,
            "deliveries": 0,
            "lease_until": 0.0,
            "keep_until": max(keep_until, now + FOR_S),
            "updated_at": now,
        }
        connection.execute(_SET, {"of_key": key, "of_fence": fence, "of_state": state, **changes})
        ledger.insert_events(connection, events)
    return Reopening(outcome="reopened", state=SETTLED, until=until)
