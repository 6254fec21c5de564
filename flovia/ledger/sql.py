"""The durable ledger: the contract of :mod:`flovia.ledger.base` as SQL transactions.

One verb is one transaction. The condition of every UPDATE is compiled from
:data:`flovia.core.exchange.PAYMENT`, so the database refuses what the table does not allow. Paid events go
into the same transaction as the step they report.
"""

import atexit
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Final, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Update,
    bindparam,
    or_,
    select,
    update,
)

from flovia.core.answers import StoredAnswer
from flovia.core.effects import ClaimResult, PaymentView, SettleResult
from flovia.core.errors import LedgerError
from flovia.core.events import FIELDS, Event, EventRow
from flovia.core.exchange import PAYMENT, sources, step
from flovia.core.retention import FOR_EVER, Retention
from flovia.ledger import fences
from flovia.ledger.forking import watch
from flovia.ledger.outbox import Outbox
from flovia.ledger.retrying import retried
from flovia.ledger.rules import OVER, judge
from flovia.ledger.sql_database import Database
from flovia.ledger.sql_delivery import DeliveryVerbs, keep_answer
from flovia.ledger.sql_events import event_values, read_event
from flovia.ledger.sql_keeping import KeepingVerbs
from flovia.ledger.sql_owed import OwedVerbs
from flovia.ledger.sql_schema import EVENTS, META, PAYMENTS, PROOFS, TEXTS
from flovia.ledger.sql_sinks import SqlSinkVerbs

PRUNE_EVERY: Final = 256
"""Rows written between two batches of pruning; a batch takes up to twice as many away."""


class _Row(NamedTuple):
    """What is read of a payment."""

    state: str
    fence: int
    fingerprint: str
    payment_id: str | None
    amount: str | None
    currency: str | None
    record: str | None
    deliveries: int
    lease_until: float
    keep_until: float
    refund_due: bool
    proof: str | None
    first_fence: int | None


def _target(verb: str) -> str:
    """Where a verb leads that leads to one state only."""
    (target,) = {step(PAYMENT, state, verb) for state in sources(PAYMENT, verb)}
    return target


def _can(verb: str) -> ColumnElement[bool]:
    # Not IN: SQLAlchemy writes such a list anew for every call.
    return or_(*(PAYMENTS.c.state == state for state in sources(PAYMENT, verb)))


def _where(verb: str) -> Update:
    """The UPDATE of one step: finds a row for the holder of the fence only, in a state with that verb."""
    return update(PAYMENTS).where(
        PAYMENTS.c.key == bindparam("of_key"),
        PAYMENTS.c.fence == bindparam("of_fence"),
        _can(verb),
    )


_CLAIMED: Final = _target("claim")
_DELIVERING: Final = _target("redeem")
_STEPS: Final = {verb: _where(verb) for verb in ("claim", "redeem", "settle", "deliver", "fail", "release", "park")}
_RENEW: Final = update(PAYMENTS).where(
    PAYMENTS.c.key == bindparam("of_key"),
    PAYMENTS.c.fence == bindparam("of_fence"),
    PAYMENTS.c.state == _DELIVERING,
)
_LOOK: Final = select(*(PAYMENTS.c[name] for name in _Row._fields)).where(PAYMENTS.c.key == bindparam("of_key"))
_LOOK_AND_HOLD: Final = _LOOK.with_for_update()
_HOLD_TO_SETTLE: Final = (
    select(PAYMENTS.c.key)
    .where(
        PAYMENTS.c.key == bindparam("of_key"),
        PAYMENTS.c.fence == bindparam("of_fence"),
        _can("settle"),
    )
    .with_for_update()
)
_NOTHING: Final = update(META).values(value=META.c.value)
"""A write that changes nothing, and is one all the same."""
_READ_EVENTS: Final = (
    select(EVENTS.c.position, *(EVENTS.c[name] for name in FIELDS))
    .where(EVENTS.c.position > bindparam("after"), EVENTS.c.position <= bindparam("up_to"))
    .order_by(EVENTS.c.position)
    .limit(bindparam("at_most"))
)
_RECALL: Final = select(TEXTS.c.value).where(
    TEXTS.c.namespace == bindparam("of_namespace"),
    TEXTS.c.key == bindparam("of_key"),
    TEXTS.c.until > bindparam("now"),
)


class SqlLedger(OwedVerbs, DeliveryVerbs, KeepingVerbs, SqlSinkVerbs):
    """A :class:`~flovia.ledger.base.Ledger` in a SQL database, opened by :func:`flovia.ledger.opening.open_ledger`.

    Safe to call from any number of threads; several processes may use the same database. Close it, or
    let the interpreter's end do it: then the events that wait are written.

    Args:
        database: where the tables are.
        clock: Unix seconds, for leases and for forgetting; None for the database's own.
        retention: how long events and finished payments are kept; None for ever.
        hide: what is written of a payer and of a workflow in place of their names, in events.
    """

    direct = False
    shared = True

    def __init__(
        self,
        database: Database,
        *,
        clock: Callable[[], float] | None = None,
        retention: Retention | None = None,
        hide: Callable[[str], str] | None = None,
    ) -> None:
        self._database = database
        self._retention = retention or FOR_EVER
        self._hide = hide
        self._clock = database.clock if clock is None else clock
        self._unpruned = 0
        self._outbox = Outbox(self._write_events)
        upsert = database.upsert
        claims = upsert(PAYMENTS).values(fences.FIRST_VALUES)
        self._first_claim = claims.on_conflict_do_nothing().returning(PAYMENTS.c.fence)
        self._use_proof = upsert(PROOFS).on_conflict_do_nothing().returning(PROOFS.c.proof)
        self._add_event = upsert(EVENTS).on_conflict_do_nothing()
        text = upsert(TEXTS)
        replace: dict[str, object] = {"value": text.excluded.value, "until": text.excluded.until}
        identity = [TEXTS.c.namespace, TEXTS.c.key]
        self._replace_text = text.on_conflict_do_update(index_elements=identity, set_=replace).returning(TEXTS.c.value)
        over = TEXTS.c.until <= bindparam("now")
        self._offer_text = text.on_conflict_do_update(index_elements=identity, set_=replace, where=over).returning(
            TEXTS.c.value
        )
        self._exchange_text = text.on_conflict_do_update(
            index_elements=identity, set_=replace, where=or_(over, TEXTS.c.value == bindparam("instead_of"))
        ).returning(TEXTS.c.value)
        watch(self)
        atexit.register(self.close)

    @property
    def available(self) -> bool:
        """See :attr:`flovia.ledger.base.Ledger.available`."""
        available = self._database.available
        if not available:
            # Payments come with what is bought, and nothing may be bought: somebody has to find out that it is over.
            self._outbox.look(self._write_nothing)
        return available

    @retried
    def _write_nothing(self) -> None:
        with self._database.write() as connection:
            connection.execute(_NOTHING)

    # --- payments --------------------------------------------------------------------------------------

    @retried
    def claim(
        self,
        key: str,
        fingerprint: str,
        expired: bool,
        lease_s: float,
        deliver_s: float,
        keep_until: float,
        max_deliveries: int,
    ) -> ClaimResult:
        """See :meth:`flovia.ledger.base.Ledger.claim`."""
        now = self._clock()
        with self._database.write() as connection:
            first = None if expired else self._claim_first(connection, key, fingerprint, now, lease_s, keep_until)
            if first is not None:
                result = ClaimResult("claimed", first, attempt=1)
            else:
                found = connection.execute(_LOOK_AND_HOLD, {"of_key": key}).first()
                if found is None:
                    return OVER
                held = _Row._make(found)
                verdict = judge(held, now, fingerprint, expired, max_deliveries)
                if isinstance(verdict, ClaimResult):
                    return self._told(connection, held.proof, verdict)
                fence = held.fence + 1
                changes: dict[str, object] = {"fence": fence, "updated_at": now}
                if verdict == "claim":
                    changes |= {"state": _CLAIMED, "fingerprint": fingerprint, "lease_until": now + lease_s}
                    result = ClaimResult("claimed", fence, attempt=fence - (held.first_fence or 1) + 1)
                else:
                    deliveries = held.deliveries + 1
                    changes |= {
                        "state": _DELIVERING,
                        "deliveries": deliveries,
                        "lease_until": now + deliver_s,
                    }
                    result = ClaimResult("redeem", fence, held.record or "", held.payment_id or "", deliveries)
                _take(connection, verdict, key, held.fence, changes)
        self._take_turn(1)
        return result

    def _claim_first(
        self,
        connection: Connection,
        key: str,
        fingerprint: str,
        now: float,
        lease_s: float,
        keep_until: float,
    ) -> int | None:
        """Claim what was never presented before, or is forgotten; its fence."""
        fence: int | None = connection.scalar(
            self._first_claim,
            {
                "key": key,
                "state": _CLAIMED,
                "fingerprint": fingerprint,
                "deliveries": 0,
                "lease_until": now + lease_s,
                "keep_until": keep_until,
                "refund_due": False,
                "created_at": now,
                "updated_at": now,
            },
        )
        if fence is None or self._database.one_writer:
            return fence
        return fences.checked(connection, key, fence)

    @retried
    def settle(
        self,
        key: str,
        fence: int,
        proof: str,
        payment_id: str,
        amount: int,
        currency: str,
        record: str,
        deliver_s: float,
        keep_until: float,
        refund_due: bool,
        events: tuple[EventRow, ...],
    ) -> SettleResult:
        """See :meth:`flovia.ledger.base.Ledger.settle`."""
        now = self._clock()
        settled: dict[str, object] = {
            "state": _target("settle"),
            "payment_id": payment_id,
            "amount": str(amount),
            "currency": currency,
            "record": record,
            "keep_until": keep_until,
            "refund_due": refund_due,
            "updated_at": now,
            "proof": proof,
        }
        if not refund_due:
            # Settling begins the first delivery: both steps at once.
            settled |= {
                "state": step(PAYMENT, _target("settle"), "redeem"),
                "deliveries": 1,
                "lease_until": now + deliver_s,
            }
        with self._database.write() as connection:
            if connection.execute(_HOLD_TO_SETTLE, {"of_key": key, "of_fence": fence}).first() is None:
                return "stale"
            if not self._use(connection, proof, key, amount, currency, now):
                return "proof_used"
            _take(connection, "settle", key, fence, settled)
            self._insert_events(connection, events)
        self._count_events(len(events))
        return "settled"

    def release(self, key: str, fence: int, park: bool, events: tuple[EventRow, ...]) -> bool:
        """See :meth:`flovia.ledger.base.Ledger.release`."""
        return self._end("park" if park else "release", key, fence, events)

    @retried
    def _end(
        self,
        verb: str,
        key: str,
        fence: int,
        events: tuple[EventRow, ...],
        refund_due: bool = False,
        answer: StoredAnswer | None = None,
    ) -> bool:
        with self._database.write() as connection:
            changes: dict[str, object] = {"state": _target(verb), "updated_at": self._clock()}
            if verb == "deliver":
                # Nobody can redeem it any more, so what a redelivery would need is let go.
                changes |= {"record": None, "fingerprint": ""}
            if refund_due:
                changes["refund_due"] = True
            if not _take(connection, verb, key, fence, changes):
                return False
            if answer is not None:
                keep_answer(connection, key, answer)
            self._insert_events(connection, events)
        self._count_events(len(events))
        return True

    @retried
    def renew(self, key: str, fence: int, deliver_s: float) -> bool:
        """See :meth:`flovia.ledger.base.Ledger.renew`."""
        now = self._clock()
        with self._database.write() as connection:
            renewed = connection.execute(
                _RENEW, {"of_key": key, "of_fence": fence, "lease_until": now + deliver_s, "updated_at": now}
            )
        return renewed.rowcount == 1

    def find(self, key: str) -> PaymentView | None:
        """See :meth:`flovia.ledger.base.Ledger.find`."""
        found = self._database.query(_LOOK, {"of_key": key})
        if not found:
            return None
        row = _Row._make(found[0])
        return PaymentView(
            key=key,
            state=row.state,
            fence=row.fence,
            fingerprint=row.fingerprint,
            payment_id=row.payment_id,
            amount=None if row.amount is None else int(row.amount),
            currency=row.currency,
            record=row.record,
            deliveries=row.deliveries,
            lease_until=row.lease_until,
            keep_until=row.keep_until,
            refund_due=row.refund_due,
        )

    # --- events ----------------------------------------------------------------------------------------

    def append(self, events: Iterable[EventRow]) -> None:
        """See :meth:`flovia.ledger.base.Ledger.append`."""
        self._outbox.append(events)

    @property
    def dropped_events(self) -> int:
        """See :attr:`flovia.ledger.base.Ledger.dropped_events`."""
        return self._outbox.dropped

    def flush(self) -> None:
        """See :meth:`flovia.ledger.base.Ledger.flush`.

        Raises:
            LedgerError: the store cannot; the events stay and are tried again.
        """
        self._outbox.flush()

    @retried
    def read_events(self, after: int = 0, limit: int = 1000) -> Sequence[tuple[int, Event]]:
        """See :meth:`flovia.ledger.base.Ledger.read_events`."""
        up_to = self._database.horizon()
        if up_to <= after:
            return []
        rows = self._database.query(_READ_EVENTS, {"after": after, "up_to": up_to, "at_most": limit})
        return [read_event(row) for row in rows]

    @retried
    def _write_events(self, rows: Sequence[EventRow]) -> None:
        values = [event_values(row, self._hide) for row in rows]
        with self._database.write() as connection:
            self._database.before_events(connection)
            connection.execute(self._add_event, values)
        self._count_events(len(values))

    def _insert_events(self, connection: Connection, events: Sequence[EventRow]) -> None:
        if events:
            self._database.before_events(connection)
            connection.execute(self._add_event, [event_values(row, self._hide) for row in events])

    # --- short texts -------------------------------------------------------------------------------------

    @retried
    def remember(
        self, namespace: str, key: str, value: str, ttl_s: float, if_absent: bool, instead_of: str | None = None
    ) -> str:
        """See :meth:`flovia.ledger.base.Ledger.remember`."""
        now = self._clock()
        values: dict[str, object] = {"namespace": namespace, "key": key, "value": value, "until": now + ttl_s}
        with self._database.write() as connection:
            if if_absent or instead_of is not None:
                if if_absent:
                    stands = connection.scalar(self._offer_text, values | {"now": now})
                else:
                    stands = connection.scalar(self._exchange_text, values | {"now": now, "instead_of": instead_of})
                if stands is None:
                    stands = connection.scalar(_RECALL, {"of_namespace": namespace, "of_key": key, "now": now})
            else:
                stands = connection.scalar(self._replace_text, values)
        self._take_turn(1)
        return str(stands)

    def recall(self, namespace: str, key: str) -> str | None:
        """See :meth:`flovia.ledger.base.Ledger.recall`."""
        found = self._database.query(_RECALL, {"of_namespace": namespace, "of_key": key, "now": self._clock()})
        return str(found[0][0]) if found else None

    # --- keeping house -----------------------------------------------------------------------------------

    def _take_turn(self, rows: int) -> None:
        # Two threads at once may lose some rows here: pruning takes twice as many as come, so it catches up.
        self._unpruned += rows
        while self._unpruned >= PRUNE_EVERY:
            self._unpruned -= PRUNE_EVERY
            # The caller's own write is done; a store that fails now will say so to the next one.
            with suppress(LedgerError):
                self.prune()

    def _count_events(self, events: int) -> None:
        if not self._retention.for_ever:
            self._take_turn(events)

    def close(self) -> None:
        """See :meth:`flovia.ledger.base.Ledger.close`."""
        atexit.unregister(self.close)
        self._outbox.close()
        self._database.close()

    def before_fork(self) -> None:
        """Close what a child must not inherit."""
        self._database.before_fork()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self._database.after_fork_in_parent()

    def after_fork_in_child(self) -> None:
        """Start afresh; events that wait in the parent are the parent's to write."""
        self._database.after_fork_in_child()
        self._outbox.after_fork_in_child()


def _take(connection: Connection, verb: str, key: str, fence: int, changes: Mapping[str, object]) -> bool:
    """One step of one payment. False if the fence is stale or the table has no such step from its state."""
    return connection.execute(_STEPS[verb], {"of_key": key, "of_fence": fence, **changes}).rowcount == 1
