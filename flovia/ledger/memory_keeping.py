"""The memory ledger's verbs for when nobody has come with a credential."""

import threading
from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from heapq import nsmallest
from typing import Protocol

from flovia.core.effects import PaymentView, SettleResult
from flovia.core.events import EventRow
from flovia.core.exchange import CLAIMED, PARKED, PAYMENT, step
from flovia.ledger.memory_owed import Spent

_SETTLED = step(PAYMENT, CLAIMED, "settle")


class Row(Protocol):
    """What these verbs read and write of a payment."""

    state: str
    fence: int
    lease_until: float
    keep_until: float
    proof: str | None
    payment_id: str | None
    amount: int | None
    currency: str | None
    record: str | None


class KeepingVerbs:
    """See :mod:`flovia.core.keeping`."""

    _clock: Callable[[], float]
    _lock: threading.Lock
    _proofs: dict[str, str]
    _spent: dict[str, Spent]
    _texts: dict[tuple[str, str], tuple[float, str]]

    @abstractmethod
    def find(self, key: str) -> PaymentView | None:
        """One payment. Outside the lock."""

    @abstractmethod
    def _row(self, key: str) -> Row | None:
        """A payment. Inside the lock, as all that follows."""

    @abstractmethod
    def _rows(self) -> Iterable[tuple[str, Row]]:
        """All of them."""

    @abstractmethod
    def _write(self, events: Iterable[EventRow]) -> None:
        """Write events."""

    @abstractmethod
    def _refuse_inherited(self) -> None:
        """LedgerError in a process that inherited this ledger."""

    def find_unresolved(self, after: str, limit: int) -> Sequence[PaymentView]:
        """See :meth:`flovia.ledger.base.Ledger.find_unresolved`."""
        now = self._clock()
        with self._lock:
            self._refuse_inherited()
            open_keys = (
                key
                for key, row in self._rows()
                if key > after and (row.state == PARKED or (row.state == CLAIMED and row.lease_until <= now))
            )
            keys = nsmallest(limit, open_keys)
        return [view for key in keys if (view := self.find(key)) is not None]

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
        with self._lock:
            row = self._row(key)
            if row is None or row.fence != fence or row.state != CLAIMED:
                return "stale"
            if self._proofs.setdefault(proof, key) != key or proof in self._spent:
                return "proof_used"
            row.state = _SETTLED
            row.proof = proof
            row.payment_id = payment_id
            row.amount = amount
            row.currency = currency
            row.record = record
            row.keep_until = keep_until
            self._write(events)
            return "settled"

    def list_texts(self, namespace: str, after: str, limit: int) -> Sequence[tuple[str, str]]:
        """See :meth:`flovia.ledger.base.Ledger.list_texts`."""
        now = self._clock()
        with self._lock:
            found = (
                (key, text)
                for (space, key), (until, text) in self._texts.items()
                if space == namespace and key > after and until > now
            )
            return nsmallest(limit, found)
