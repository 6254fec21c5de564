"""The SQL ledger's verbs for when nobody has come with a credential. One verb is one transaction."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from sqlalchemy import Connection, bindparam, or_, select, update

from flovia.core.effects import PaymentView, SettleResult
from flovia.core.events import EventRow
from flovia.core.exchange import CLAIMED, PARKED, PAYMENT, step
from flovia.ledger.retrying import retried
from flovia.ledger.sql_schema import PAYMENTS, TEXTS

if TYPE_CHECKING:
    from flovia.ledger.sql import Database

_SETTLED: Final = step(PAYMENT, CLAIMED, "settle")
_UNRESOLVED: Final = (
    select(PAYMENTS.c.key)
    .where(
        or_(
            PAYMENTS.c.state == PARKED,
            (PAYMENTS.c.state == CLAIMED) & (PAYMENTS.c.lease_until <= bindparam("now")),
        ),
        PAYMENTS.c.key > bindparam("after"),
    )
    .order_by(PAYMENTS.c.key)
    .limit(bindparam("at_most"))
)
_CLAIMED: Final = (
    PAYMENTS.c.key == bindparam("of_key"),
    PAYMENTS.c.fence == bindparam("of_fence"),
    PAYMENTS.c.state == CLAIMED,
)
_HOLD: Final = select(PAYMENTS.c.key).where(*_CLAIMED).with_for_update()
_SETTLE: Final = update(PAYMENTS).where(*_CLAIMED)
_TEXTS: Final = (
    select(TEXTS.c.key, TEXTS.c.value)
    .where(
        TEXTS.c.namespace == bindparam("of_namespace"),
        TEXTS.c.key > bindparam("after"),
        TEXTS.c.until > bindparam("now"),
    )
    .order_by(TEXTS.c.key)
    .limit(bindparam("at_most"))
)


class KeepingVerbs:
    """See :mod:`flovia.core.keeping`."""

    _database: "Database"
    _clock: Callable[[], float]

    @abstractmethod
    def find(self, key: str) -> PaymentView | None:
        """One payment."""

    @abstractmethod
    def _insert_events(self, connection: Connection, events: Sequence[EventRow]) -> None:
        """Write events in the transaction."""

    @abstractmethod
    def _use(self, connection: Connection, proof: str, key: str, amount: int, currency: str, now: float) -> bool:
        """Use a proof up; False if it was before."""

    @retried
    def find_unresolved(self, after: str, limit: int) -> Sequence[PaymentView]:
        """See :meth:`flovia.ledger.base.Ledger.find_unresolved`."""
        rows = self._database.query(_UNRESOLVED, {"now": self._clock(), "after": after, "at_most": limit})
        return [view for row in rows if (view := self.find(str(row[0]))) is not None]

    @retried
    def settle_found(
        self,
        key: str,
        fence: int,
        proof: str,
        payment_id: str,
        amount: int,
        currency: str,
        record: str,
        keep_until: float,
        events: tuple[EventRow, ...],
    ) -> SettleResult:
        """See :meth:`flovia.ledger.base.Ledger.settle_found`."""
        now = self._clock()
        settled = {
            "state": _SETTLED,
            "payment_id": payment_id,
            "amount": str(amount),
            "currency": currency,
            "record": record,
            "keep_until": keep_until,
            "updated_at": now,
            "proof": proof,
        }
        with self._database.write() as connection:
            if connection.execute(_HOLD, {"of_key": key, "of_fence": fence}).first() is None:
                return "stale"
            if not self._use(connection, proof, key, amount, currency, now):
                return "proof_used"
            connection.execute(_SETTLE, {"of_key": key, "of_fence": fence, **settled})
            self._insert_events(connection, events)
        return "settled"

    @retried
    def list_texts(self, namespace: str, after: str, limit: int) -> Sequence[tuple[str, str]]:
        """See :meth:`flovia.ledger.base.Ledger.list_texts`."""
        asked = {"of_namespace": namespace, "after": after, "now": self._clock(), "at_most": limit}
        return [(str(key), str(text)) for key, text in self._database.query(_TEXTS, asked)]
