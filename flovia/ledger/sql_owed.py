"""The SQL ledger's verbs about money that is to go back: late payments and refunds. One verb is one transaction."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple, cast

import attrs
from sqlalchemy import Connection, Executable, Select, bindparam, or_, select, update

from flovia.core.effects import ClaimResult
from flovia.core.events import EventRow
from flovia.core.exchange import DELIVERED, DELIVERING, ISSUED, PAYMENT, REFUNDED, SETTLED, sources, step
from flovia.core.owed import NoteResult, PaidView, RefundDue, RefundEnd, RefundOpening, RefundState
from flovia.ledger.retrying import retried
from flovia.ledger.rules import REFUNDING, TO_GO_BACK, Order, judge_refund, opened
from flovia.ledger.sql_schema import PAYMENTS, PROOFS, REFUNDS

if TYPE_CHECKING:
    from flovia.ledger.sql_database import Database


class _Found(NamedTuple):
    """What is read of a payment by its proof: the row may have been forgotten."""

    key: str
    proof_amount: str | None
    proof_currency: str | None
    state: str | None
    amount: str | None
    currency: str | None
    lease_until: float | None
    refund_due: bool | None


_ORDER_FIELDS: Final = tuple(str(field.name) for field in attrs.fields(Order))
_FIND: Final = (
    select(
        PROOFS.c.key,
        PROOFS.c.amount,
        PROOFS.c.currency,
        PAYMENTS.c.state,
        PAYMENTS.c.amount,
        PAYMENTS.c.currency,
        PAYMENTS.c.lease_until,
        PAYMENTS.c.refund_due,
    )
    .select_from(PROOFS.outerjoin(PAYMENTS, PROOFS.c.key == PAYMENTS.c.key))
    .where(PROOFS.c.proof == bindparam("of_proof"))
)
# Where rows are locked, all that refunds do with a payment waits here for each other, and locks in one order:
# proof, payment, order.
_HOLD_PROOF: Final = select(PROOFS.c.key).where(PROOFS.c.proof == bindparam("of_proof")).with_for_update()
_HOLD: Final = select(PAYMENTS.c.key).where(PAYMENTS.c.key == bindparam("of_key")).with_for_update()
_ORDER: Final[Select[*tuple[object, ...]]] = select(*(REFUNDS.c[name] for name in _ORDER_FIELDS)).where(
    REFUNDS.c.proof == bindparam("of_proof")
)
_OPEN_ORDER: Final[Select[*tuple[object, ...]]] = _ORDER.where(REFUNDS.c.state == "open")
_SET_ORDER: Final = update(REFUNDS).where(REFUNDS.c.proof == bindparam("of_proof"))
_SET_PAYMENT: Final = update(PAYMENTS).where(PAYMENTS.c.key == bindparam("of_key"))
_GIVE_BACK: Final = _SET_PAYMENT.where(or_(*(PAYMENTS.c.state == state for state in sources(PAYMENT, "refund"))))
# The proof of a payment that a version 1 settled stands in the other table only, and is looked for there.
_FIND_DUE: Final = (
    select(
        PAYMENTS.c.key,
        PAYMENTS.c.proof,
        PAYMENTS.c.amount,
        PAYMENTS.c.currency,
        select(PROOFS.c.proof).where(PROOFS.c.key == PAYMENTS.c.key).limit(1).scalar_subquery(),
    )
    .where(PAYMENTS.c.state == SETTLED, PAYMENTS.c.refund_due)
    .order_by(PAYMENTS.c.created_at, PAYMENTS.c.key)
    .limit(bindparam("at_most"))
)
_FIND_OPEN: Final = (
    select(REFUNDS.c.key, REFUNDS.c.proof, REFUNDS.c.paid, REFUNDS.c.currency, REFUNDS.c.amount)
    .where(REFUNDS.c.state == "open")
    .order_by(REFUNDS.c.created_at, REFUNDS.c.key)
    .limit(bindparam("at_most"))
)


class OwedVerbs:
    """Refund orders beside the payments of a :class:`~flovia.ledger.sql.SqlLedger`."""

    _database: "Database"
    _clock: Callable[[], float]
    _use_proof: Executable

    @abstractmethod
    def _insert_events(self, connection: Connection, events: Sequence[EventRow]) -> None:
        """Write events in the transaction."""

    @retried
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
        now = self._clock()
        row: dict[str, object] = {
            "key": key,
            "state": step(PAYMENT, ISSUED, "late"),
            "fence": 1,
            "fingerprint": "",
            "payment_id": payment_id,
            "amount": str(amount),
            "currency": currency,
            "record": "",
            "deliveries": 0,
            "lease_until": 0.0,
            "keep_until": keep_until,
            "refund_due": True,
            "created_at": now,
            "updated_at": now,
            "proof": proof,
        }
        with self._database.write() as connection:
            if not self._use(connection, proof, key, amount, currency, now):
                return False
            connection.execute(self._database.upsert(PAYMENTS), row)
            self._insert_events(connection, events)
        return True

    @retried
    def find_paid(self, proof: str) -> PaidView | None:
        """See :meth:`flovia.ledger.base.Ledger.find_paid`."""
        found = self._database.query(_FIND, {"of_proof": proof})
        if not found:
            return None
        order = self._database.query(_ORDER, {"of_proof": proof})
        return _view(_Found._make(cast("tuple[str]", found[0])), proof, _order(order[0]) if order else None)

    @retried
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
        with self._database.write() as connection:
            key = _hold_proof(connection, proof)
            if key is None:
                return RefundOpening(outcome="unknown")
            connection.execute(_HOLD, {"of_key": key})
            found = _Found._make(connection.execute(_FIND, {"of_proof": proof}).one())
            order = _find_order(connection, proof)
            view = _view(found, proof, order)
            busy_until = (found.lease_until or 0.0) if found.state == DELIVERING else 0.0
            opening = judge_refund(view, busy_until, order, now, amount, currency, nonce)
            if opening.outcome == "open":
                was_due = bool(found.refund_due)
                _put(connection, proof, opened(opening, view.payment_id, order, was_due, now + lease_s), order, now)
                connection.execute(
                    _SET_PAYMENT, {"of_key": view.key, "refund_due": True, "proof": proof, "updated_at": now}
                )
                self._insert_events(connection, events)
        return opening

    @retried
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
        now = self._clock()
        with self._database.write() as connection:
            if key := _hold_proof(connection, proof):
                connection.execute(_HOLD, {"of_key": key})
            order = _find_order(connection, proof)
            if order is None or order.state != "open" or (order.fence != fence and end != "refunded"):
                return False
            if end == "refunded":
                self._refund(connection, proof, attrs.evolve(order, amount=amount, refund_id=refund_id), order, events)
            elif end == "refused":
                _put(connection, proof, attrs.evolve(order, state="refused", reason=reason), order, now)
                connection.execute(_SET_PAYMENT, {"of_key": order.key, "refund_due": order.was_due, "updated_at": now})
                self._insert_events(connection, events)
            else:
                _put(connection, proof, attrs.evolve(order, lease_until=0.0), order, now)
                self._insert_events(connection, events)
        return True

    @retried
    def note_refund(self, key: str, proof: str, amount: int, currency: str, events: tuple[EventRow, ...]) -> NoteResult:
        """See :meth:`flovia.ledger.base.Ledger.note_refund`."""
        with self._database.write() as connection:
            found = _hold_proof(connection, proof)
            if found is None and key == "":
                self._use(connection, proof, key, amount, currency, self._clock())
                found = _hold_proof(connection, proof)  # ours, or that of who was quicker
            if found:
                connection.execute(_HOLD, {"of_key": found})
            before = _find_order(connection, proof)
            if before is not None and before.state == "refunded":
                return "known"
            if found != key:
                return "moved"
            order = before or Order(
                key=key,
                payment_id=proof.partition("|")[2],
                amount=amount,
                paid=amount,
                currency=currency,
                nonce="",
                state="open",
                fence=0,
                lease_until=0.0,
                was_due=False,
            )
            self._refund(connection, proof, attrs.evolve(order, amount=amount), before, events)
        return "noted"

    @retried
    def find_due(self, limit: int) -> Sequence[RefundDue]:
        """See :meth:`flovia.ledger.base.Ledger.find_due`."""
        due = {
            str(proof or elsewhere): (str(key), str(amount), str(currency))
            for key, proof, amount, currency, elsewhere in self._database.query(_FIND_DUE, {"at_most": limit})
        }
        ordered: dict[str, int] = {}
        for key, proof, paid, currency, amount in self._database.query(_FIND_OPEN, {"at_most": limit}):
            due.setdefault(str(proof), (str(key), str(paid), str(currency)))
            ordered[str(proof)] = int(amount or 0)
        views: list[RefundDue] = []
        for proof, (key, amount, currency) in due.items():
            method, _, payment_id = proof.partition("|")
            views.append(
                RefundDue(
                    key=key,
                    method=method,
                    payment_id=payment_id,
                    amount=int(amount),
                    currency=currency,
                    ordered=ordered.get(proof),
                )
            )
        return views[:limit]

    # --- inside a transaction -----------------------------------------------------------------------------

    def _use(self, connection: Connection, proof: str, key: str, amount: int, currency: str, now: float) -> bool:
        """Use a proof up; False if it was before."""
        values = {"proof": proof, "key": key, "at": now, "amount": str(amount), "currency": currency}
        return connection.execute(self._use_proof, values).first() is not None

    def _told(self, connection: Connection, proof: str | None, verdict: ClaimResult) -> ClaimResult:
        """What a claim is told that was judged so."""
        if verdict not in TO_GO_BACK or proof is None:
            return verdict
        found = connection.execute(_OPEN_ORDER, {"of_proof": proof}).first()
        return REFUNDING if found is not None and not _order(found).was_due else verdict

    def _refund(
        self, connection: Connection, proof: str, order: Order, before: Order | None, events: tuple[EventRow, ...]
    ) -> None:
        now = self._clock()
        _put(connection, proof, attrs.evolve(order, state="refunded"), before, now)
        # Nobody can redeem it any more, so what a redelivery would need is let go.
        gone = {"state": REFUNDED, "record": None, "fingerprint": "", "refund_due": False, "updated_at": now}
        connection.execute(_GIVE_BACK, {"of_key": order.key, **gone})
        self._insert_events(connection, events)


def _hold_proof(connection: Connection, proof: str) -> str | None:
    """The key of the payment that used ``proof``; nobody else's refund of it goes on until we are done."""
    return connection.scalar(_HOLD_PROOF, {"of_proof": proof})


def _find_order(connection: Connection, proof: str) -> Order | None:
    found = connection.execute(_ORDER.with_for_update(), {"of_proof": proof}).first()
    return None if found is None else _order(found)


def _put(connection: Connection, proof: str, order: Order, before: Order | None, now: float) -> None:
    values = {name: getattr(order, name) for name in _ORDER_FIELDS}
    values |= {"amount": str(order.amount), "paid": str(order.paid), "updated_at": now}
    if before is None:
        connection.execute(REFUNDS.insert(), {"proof": proof, "created_at": now, **values})
    else:
        connection.execute(_SET_ORDER, {"of_proof": proof, **values})


def _order(row: Sequence[object]) -> Order:
    fields = dict(zip(_ORDER_FIELDS, row, strict=True))
    return Order(
        key=str(fields["key"]),
        payment_id=str(fields["payment_id"]),
        amount=int(str(fields["amount"])),
        paid=int(str(fields["paid"])),
        currency=str(fields["currency"]),
        nonce=str(fields["nonce"]),
        state=cast("RefundState", fields["state"]),
        fence=cast("int", fields["fence"]),
        lease_until=cast("float", fields["lease_until"]),
        was_due=bool(fields["was_due"]),
        refund_id=cast("str | None", fields["refund_id"]),
        reason=cast("str | None", fields["reason"]),
    )


def _view(found: _Found, proof: str, order: Order | None) -> PaidView:
    amount = found.amount or found.proof_amount
    return PaidView(
        key=found.key,
        payment_id=proof.partition("|")[2],
        amount=None if amount is None else int(amount),
        currency=found.currency or found.proof_currency,
        state=found.state or (DELIVERED if order is None or order.state != "refunded" else REFUNDED),
        refund=None if order is None else order.state,
        refunded=order.amount if order is not None and order.state == "refunded" else None,
    )
