"""The SQL ledger's verbs for when nobody has come with a credential. One verb is one transaction."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, cast

from sqlalchemy import Connection, Select, bindparam, delete, func, or_, select, tuple_, update

from flovia.core.effects import PaymentView, SettleResult
from flovia.core.events import EventRow
from flovia.core.exchange import CLAIMED, DELIVERED, ISSUED, PARKED, PAYMENT, REFUNDED, step
from flovia.core.retention import DAY_S, Retention
from flovia.ledger import fences
from flovia.ledger.attempts import count_attempts, prune_attempts
from flovia.ledger.retention import find_doomed, remove, unpaid_cursor
from flovia.ledger.retrying import retried
from flovia.ledger.sql_delivery import PRUNE_ANSWERS
from flovia.ledger.sql_schema import ANSWERS, PAYMENTS, TEXTS

if TYPE_CHECKING:
    from flovia.ledger.sql_database import Database

PRUNE_BATCH: Final = 512
"""Rows of one kind that one round of forgetting removes: more than can be written between two rounds."""

FORGETTABLE: Final = (ISSUED, DELIVERED, REFUNDED)
"""States that end with ``keep_until``: known not paid, delivered, given back. In all others somebody may be owed."""

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
_IS_DONE: Final = (
    PAYMENTS.c.state.in_(FORGETTABLE),
    PAYMENTS.c.keep_until <= bindparam("now"),
    or_(PAYMENTS.c.state == ISSUED, PAYMENTS.c.updated_at <= bindparam("done_before")),
)
_COUNT: Final = cast(
    "Select[*tuple[object, ...]]",
    select(
        select(func.count()).select_from(PAYMENTS).where(*_IS_DONE).scalar_subquery(),
        select(func.count()).select_from(TEXTS).where(TEXTS.c.until <= bindparam("now")).scalar_subquery(),
        select(func.count()).select_from(ANSWERS).where(ANSWERS.c.until <= bindparam("now")).scalar_subquery(),
    ),
)
# What others hold is left for the next time; a part of the statement of its own, so that it is looked for once.
_DONE_PAYMENTS: Final = (
    select(PAYMENTS.c.key).where(*_IS_DONE).limit(PRUNE_BATCH).with_for_update(skip_locked=True).cte("done")
)
# RETURNING: of a statement that begins with WITH some drivers do not say how many rows it took away.
_PRUNE_PAYMENTS: Final = (
    delete(PAYMENTS).where(PAYMENTS.c.key.in_(select(_DONE_PAYMENTS.c.key))).returning(PAYMENTS.c.fence)
)
_OLD_TEXTS: Final = (
    select(TEXTS.c.namespace, TEXTS.c.key)
    .where(TEXTS.c.until <= bindparam("now"))
    .limit(PRUNE_BATCH)
    .with_for_update(skip_locked=True)
    .cte("old")
)
_PRUNE_TEXTS: Final = (
    delete(TEXTS)
    .where(tuple_(TEXTS.c.namespace, TEXTS.c.key).in_(select(_OLD_TEXTS.c.namespace, _OLD_TEXTS.c.key)))
    .returning(TEXTS.c.key)
)


class KeepingVerbs:
    """See :mod:`flovia.core.keeping`."""

    _database: "Database"
    _clock: Callable[[], float]
    _retention: Retention

    @abstractmethod
    def find(self, key: str) -> PaymentView | None:
        """One payment."""

    @abstractmethod
    def _insert_events(self, connection: Connection, events: Sequence[EventRow]) -> None:
        """Write events in the transaction."""

    @abstractmethod
    def _use(self, connection: Connection, proof: str, key: str, amount: int, currency: str, now: float) -> bool:
        """Use a proof up; False if it was before."""

    @property
    def database(self) -> "Database":
        """Where the tables are, for what keeps house."""
        return self._database

    @property
    def retention(self) -> Retention:
        """How long events and finished payments are kept."""
        return self._retention

    def now(self) -> float:
        """Unix seconds by the ledger's clock."""
        return self._clock()

    def insert_events(self, connection: Connection, events: Sequence[EventRow]) -> None:
        """Write events in a transaction of the ledger's database."""
        self._insert_events(connection, events)

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

    @retried
    def prune(self) -> int:
        """Forget what has ended and is past its time, a bounded number of rows; returns how many.

        Happens by itself every so many writes. Forgotten are payments known not to be paid, delivered ones
        after ``keep_until``, stored answers and short texts past their time, and events past that of the retention.
        Kept for ever are used proofs, payments whose outcome is unknown, and paid ones that were never delivered.

        Raises:
            LedgerError: the store cannot.
        """
        now = self._clock()
        done_before = now - self._retention.delivered_days * DAY_S
        doomed = None
        if not self._retention.for_ever:
            unpaid = unpaid_cursor(self._database)
            doomed = find_doomed(self._database, self._retention, now, unpaid=unpaid, limit=PRUNE_BATCH)
        with self._database.write() as connection:
            pruned = connection.scalars(_PRUNE_PAYMENTS, {"now": now, "done_before": done_before}).all()
            if pruned:
                fences.raise_floor(connection, self._database.upsert, max(pruned))
            gone = len(pruned)
            gone += len(connection.execute(_PRUNE_TEXTS, {"now": now}).all())
            gone += connection.execute(PRUNE_ANSWERS, {"now": now, "at_most": PRUNE_BATCH}).rowcount
            gone += prune_attempts(connection, self._retention, now, PRUNE_BATCH)
            return gone if doomed is None else gone + remove(self._database, connection, doomed)

    def count_forgettable(self) -> dict[str, int]:
        """How many rows, by kind, :meth:`prune` would take away beside events, called until it finds none.

        Raises:
            LedgerError: the store does not answer.
        """
        now = self._clock()
        about = {"now": now, "done_before": now - self._retention.delivered_days * DAY_S}
        payments, texts, answers = self._database.query(_COUNT, about)[0]
        found = {"payments": int(payments or 0), "short texts": int(texts or 0), "stored answers": int(answers or 0)}
        if self._retention.attempts_days is not None:
            found["attempts"] = count_attempts(self._database, self._retention, now)
        return found
