"""The memory ledger's verbs about money that is to go back: late payments and refunds."""

import threading
from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import NamedTuple, Protocol

import attrs

from flovia.core import exchange
from flovia.core.effects import ClaimResult
from flovia.core.events import EventRow
from flovia.core.exchange import PAYMENT, sources, step
from flovia.core.owed import NoteResult, PaidView, RefundDue, RefundEnd, RefundOpening
from flovia.ledger.rules import REFUNDING, TO_GO_BACK, Order, judge_refund, opened

_REFUNDABLE = frozenset(sources(PAYMENT, "refund"))
_LATE = step(PAYMENT, exchange.ISSUED, "late")


class Spent(NamedTuple):
    """What a forgotten payment had paid, base units."""

    amount: int | None
    currency: str | None


class Row(Protocol):
    """What these verbs read and write of a payment."""

    state: str
    fingerprint: str
    lease_until: float
    proof: str | None
    payment_id: str | None
    amount: int | None
    currency: str | None
    record: str | None
    refund_due: bool


class OwedVerbs:
    """Refund orders, by proof, beside the payments of a :class:`~flovia.ledger.memory.MemoryLedger`."""

    _clock: Callable[[], float]
    _lock: threading.Lock
    _proofs: dict[str, str]
    _orders: dict[str, Order]
    _spent: dict[str, Spent]

    @abstractmethod
    def _row(self, key: str) -> Row | None:
        """A payment. Inside the lock, as all that follows."""

    @abstractmethod
    def _rows(self) -> Iterable[tuple[str, Row]]:
        """All of them, oldest first."""

    @abstractmethod
    def _new(self, key: str, fingerprint: str, keep_until: float, lease_until: float) -> int:
        """Add one; its fence."""

    @abstractmethod
    def _write(self, events: Iterable[EventRow]) -> None:
        """Write events."""

    @abstractmethod
    def _refuse_inherited(self) -> None:
        """LedgerError in a process that inherited this ledger."""

    def late(
        self,
        key: str,
        proof: str,
        payment_id: str,
        amount: int,
        currency: str,
        keep_until: float,
        events: tuple[EventRow, ...],
    ) -> bool:
        """See :meth:`flovia.ledger.base.Ledger.late`."""
        with self._lock:
            self._refuse_inherited()
            if proof in self._proofs:
                return False
            self._new(key, "", keep_until, 0.0)
            row = self._row(key)
            assert row is not None  # noqa: S101 - it was just added
            row.state = _LATE
            row.proof = proof
            row.payment_id = payment_id
            row.amount = amount
            row.currency = currency
            row.record = ""
            row.refund_due = True
            self._proofs[proof] = key
            self._write(events)
            return True

    def find_paid(self, proof: str) -> PaidView | None:
        """See :meth:`flovia.ledger.base.Ledger.find_paid`."""
        with self._lock:
            self._refuse_inherited()
            return self._view(proof)

    def open_refund(
        self,
        proof: str,
        amount: int | None,
        currency: str | None,
        nonce: str,
        lease_s: float,
        events: tuple[EventRow, ...] = (),
    ) -> RefundOpening:
        """See :meth:`flovia.ledger.base.Ledger.open_refund`."""
        now = self._clock()
        with self._lock:
            self._refuse_inherited()
            found = self._view(proof)
            if found is None:
                return RefundOpening(outcome="unknown")
            row, order = self._settled_row(found.key, proof), self._orders.get(proof)
            busy_until = row.lease_until if row is not None and row.state == exchange.DELIVERING else 0.0
            opening = judge_refund(found, busy_until, order, now, amount, currency, nonce)
            if opening.outcome == "open":
                was_due = row is not None and row.refund_due
                self._orders[proof] = opened(opening, found.payment_id, order, was_due, now + lease_s)
                if row is not None:
                    row.refund_due = True
                self._write(events)
            return opening

    def close_refund(
        self,
        proof: str,
        fence: int,
        end: RefundEnd,
        amount: int,
        refund_id: str,
        reason: str,
        events: tuple[EventRow, ...],
    ) -> bool:
        """See :meth:`flovia.ledger.base.Ledger.close_refund`."""
        with self._lock:
            self._refuse_inherited()
            order = self._orders.get(proof)
            if order is None or order.state != "open" or (order.fence != fence and end != "refunded"):
                return False
            if end == "refunded":
                self._refund(proof, attrs.evolve(order, amount=amount, refund_id=refund_id), events)
            elif end == "refused":
                self._orders[proof] = attrs.evolve(order, state="refused", reason=reason)
                row = self._settled_row(order.key, proof)
                if row is not None:
                    row.refund_due = order.was_due
                self._write(events)
            else:
                self._orders[proof] = attrs.evolve(order, lease_until=0.0)
                self._write(events)
            return True

    def note_refund(self, key: str, proof: str, amount: int, currency: str, events: tuple[EventRow, ...]) -> NoteResult:
        """See :meth:`flovia.ledger.base.Ledger.note_refund`."""
        with self._lock:
            self._refuse_inherited()
            order = self._orders.get(proof)
            if order is not None and order.state == "refunded":
                return "known"
            if self._proofs.get(proof, "") != key:
                return "moved"
            if order is None:
                payment_id = proof.partition("|")[2]
                order = Order(
                    key=key,
                    payment_id=payment_id,
                    amount=amount,
                    paid=amount,
                    currency=currency,
                    nonce="",
                    state="open",
                    fence=0,
                    lease_until=0.0,
                    was_due=False,
                )
            self._proofs[proof] = key
            self._refund(proof, attrs.evolve(order, amount=amount), events)
            return "noted"

    def find_due(self, limit: int) -> Sequence[RefundDue]:
        """See :meth:`flovia.ledger.base.Ledger.find_due`."""
        with self._lock:
            self._refuse_inherited()
            return list(islice(self._due(), limit))

    # --- inside the lock ----------------------------------------------------------------------------------

    def _told(self, row: Row, verdict: ClaimResult) -> ClaimResult:
        """What a claim is told that was judged so."""
        order = self._orders.get(row.proof or "") if verdict in TO_GO_BACK else None
        return REFUNDING if order is not None and order.state == "open" and not order.was_due else verdict

    def _settled_row(self, key: str, proof: str) -> Row | None:
        """The payment that used a proof, unless it is forgotten; one that has come back has not used it."""
        row = self._row(key)
        return row if row is not None and row.proof == proof else None

    def _view(self, proof: str) -> PaidView | None:
        key = self._proofs.get(proof)
        if key is None:
            return None
        row, order = self._settled_row(key, proof), self._orders.get(proof)
        paid: Row | Spent | None = row if row is not None else self._spent.get(proof)
        gone_back = order is not None and order.state == "refunded"
        return PaidView(
            key=key,
            payment_id=proof.partition("|")[2],
            amount=paid.amount if paid is not None else order.paid if order is not None else None,
            currency=paid.currency if paid is not None else order.currency if order is not None else None,
            # Only what was delivered or went back is forgotten.
            state=row.state if row is not None else exchange.REFUNDED if gone_back else exchange.DELIVERED,
            refund=order.state if order is not None else None,
            refunded=order.amount if order is not None and order.state == "refunded" else None,
        )

    def _refund(self, proof: str, order: Order, events: tuple[EventRow, ...]) -> None:
        self._orders[proof] = attrs.evolve(order, state="refunded")
        row = self._settled_row(order.key, proof)
        if row is not None and row.state in _REFUNDABLE:
            row.state = step(PAYMENT, row.state, "refund")
            # Nobody can redeem it any more, so what a redelivery would need is let go.
            row.record, row.fingerprint, row.refund_due = None, "", False
        self._write(events)

    def _due(self) -> Iterable[RefundDue]:
        for key, row in self._rows():
            proof = row.proof
            if not row.refund_due or proof is None or row.amount is None or row.currency is None:
                continue
            order = self._orders.get(proof)
            method, _, payment_id = proof.partition("|")
            yield RefundDue(
                key=key,
                method=method,
                payment_id=payment_id,
                amount=row.amount,
                currency=row.currency,
                ordered=order.amount if order is not None and order.state == "open" else None,
            )
