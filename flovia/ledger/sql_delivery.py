"""What a SQL ledger tells of deliveries: payments that wait for theirs, and the answers that were delivered."""

import json
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, cast

from sqlalchemy import Connection, Select, and_, bindparam, delete, insert, not_, or_, select

from flovia.core.answers import StoredAnswer
from flovia.core.delivery import Undelivered
from flovia.core.effects import PaymentView
from flovia.core.events import EventRow
from flovia.core.exchange import DELIVERING, SETTLED
from flovia.ledger.outbox import Outbox
from flovia.ledger.retrying import retried
from flovia.ledger.sql_schema import ANSWERS, PAYMENTS

if TYPE_CHECKING:
    from flovia.ledger.sql_database import Database

UNDELIVERED_COLUMNS: Final = (
    PAYMENTS.c.key,
    PAYMENTS.c.state,
    PAYMENTS.c.payment_id,
    PAYMENTS.c.amount,
    PAYMENTS.c.currency,
    PAYMENTS.c.deliveries,
    PAYMENTS.c.lease_until,
    PAYMENTS.c.keep_until,
)
_UNDELIVERED: Final[Select[*tuple[object, ...]]] = (
    select(*UNDELIVERED_COLUMNS)
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
_KEEP: Final = insert(ANSWERS)
_FIND: Final[Select[*tuple[object, ...]]] = select(
    ANSWERS.c.caller, ANSWERS.c.status, ANSWERS.c.headers, ANSWERS.c.body, ANSWERS.c.until
).where(ANSWERS.c.key == bindparam("of_key"), ANSWERS.c.until > bindparam("now"))
PRUNE_ANSWERS: Final = delete(ANSWERS).where(
    ANSWERS.c.key.in_(select(ANSWERS.c.key).where(ANSWERS.c.until <= bindparam("now")).limit(bindparam("at_most")))
)
"""Forgets ``at_most`` answers whose time is over."""


class DeliveryVerbs:
    """How deliveries end, and what can be read of them; part of :class:`~flovia.ledger.sql.SqlLedger`."""

    _database: "Database"
    _clock: Callable[[], float]
    _outbox: Outbox

    @abstractmethod
    def find(self, key: str) -> PaymentView | None:
        """One payment."""

    @abstractmethod
    def _end(
        self,
        verb: str,
        key: str,
        fence: int,
        events: tuple[EventRow, ...],
        refund_due: bool = False,
        answer: StoredAnswer | None = None,
    ) -> bool:
        """One step of one payment, with its events, in one transaction."""

    def deliver(self, key: str, fence: int, events: tuple[EventRow, ...], answer: StoredAnswer | None = None) -> bool:
        """See :meth:`flovia.ledger.base.Ledger.deliver`."""
        return self._end("deliver", key, fence, events, answer=answer)

    def fail(self, key: str, fence: int, events: tuple[EventRow, ...], refund_due: bool = False) -> bool:
        """See :meth:`flovia.ledger.base.Ledger.fail`."""
        return self._end("fail", key, fence, events, refund_due)

    def end_later(
        self,
        key: str,
        fence: int,
        delivered: bool,
        events: tuple[EventRow, ...],
        refund_due: bool = False,
        answer: StoredAnswer | None = None,
    ) -> None:
        """See :meth:`flovia.ledger.base.Ledger.end_later`."""
        verb = "deliver" if delivered else "fail"

        def end() -> None:
            if not self._end(verb, key, fence, events, refund_due, answer):
                found = self.find(key)
                # With our own fence it was recorded after all, and only the answer to that was lost.
                if found is None or found.fence != fence:
                    self._outbox.append(events)

        self._outbox.defer(end)

    @retried
    def find_undelivered(self, limit: int) -> Sequence[Undelivered]:
        """See :meth:`flovia.ledger.base.Ledger.find_undelivered`."""
        found = self._database.query(_UNDELIVERED, {"now": self._clock(), "at_most": limit})
        return read_undelivered(found)

    @retried
    def find_answer(self, key: str) -> StoredAnswer | None:
        """See :meth:`flovia.ledger.base.Ledger.find_answer`."""
        found = self._database.query(_FIND, {"of_key": key, "now": self._clock()})
        if not found:
            return None
        caller, status, headers, body, until = cast("tuple[str, int, str, bytes, float]", tuple(found[0]))
        pairs = tuple((name, value) for name, value in json.loads(headers))
        return StoredAnswer(caller=caller, status=status, headers=pairs, body=bytes(body), until=until)


def read_undelivered(rows: Sequence[Sequence[str | int | float | None]]) -> list[Undelivered]:
    """Rows of :data:`UNDELIVERED_COLUMNS`."""
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
        for key, state, payment_id, amount, currency, deliveries, lease_until, keep_until in rows
    ]


def keep_answer(connection: Connection, key: str, answer: StoredAnswer) -> None:
    """Write the answer of a payment, in the transaction that records its delivery."""
    headers = json.dumps(answer.headers, separators=(",", ":"))
    row: dict[str, object] = {"key": key, "caller": answer.caller, "status": answer.status, "headers": headers}
    connection.execute(_KEEP, {**row, "body": answer.body, "until": answer.until})
