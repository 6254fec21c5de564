"""The memory ledger: for one process, for tests and for trying things out.

It forgets everything when the process ends, so a paid but undelivered credential is lost with it. It is
never a default and refuses to work where it can know that several processes serve the same route.

**What is forgotten, and what never.** A payment that is known not to be paid is forgotten with its challenge, a
delivered one and one that was given back when ``keep_until`` has passed, one with an unknown outcome a week later.
A used proof is known as long as the process lives, like in a database: nobody but its provider knows how long a
credential with it would verify, and for a proof that is on a chain, or in a provider's books, that is for ever. So
is what was paid with it, and its refund. Used proofs count towards ``max_payments``.
"""

import heapq
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Final

from flovia.core import exchange
from flovia.core.answers import StoredAnswer
from flovia.core.delivery import Undelivered
from flovia.core.effects import ClaimResult, PaymentView, SettleResult
from flovia.core.errors import LedgerError
from flovia.core.events import Event, EventRow
from flovia.core.exchange import PAYMENT, step
from flovia.ledger.forking import watch
from flovia.ledger.hiding import hidden
from flovia.ledger.memory_answers import Answers
from flovia.ledger.memory_keeping import KeepingVerbs
from flovia.ledger.memory_owed import OwedVerbs, Spent
from flovia.ledger.memory_sinks import MemorySink, MemorySinkVerbs
from flovia.ledger.rules import OVER, Order, judge
from flovia.ledger.sinks import DeadLetter

# Steps from a state that was just compared, so looked up in the table once.
_CLAIMED_FIRST: Final = ClaimResult("claimed", 1, attempt=1)
_FIRST_CLAIM: Final = step(PAYMENT, exchange.ISSUED, "claim")
_SETTLED: Final = step(PAYMENT, exchange.CLAIMED, "settle")
_DELIVERING: Final = step(PAYMENT, _SETTLED, "redeem")
_DELIVERED: Final = step(PAYMENT, _DELIVERING, "deliver")
_FAILED: Final = step(PAYMENT, _DELIVERING, "fail")
_PARKED: Final = step(PAYMENT, exchange.CLAIMED, "park")
_RELEASED: Final = step(PAYMENT, exchange.CLAIMED, "release")

_INHERITED: Final = (
    "the memory ledger was created in another process and cannot be shared between workers;"
    " set FLOVIA_LEDGER=sqlite:///… or create the app inside the worker"
)
UNKNOWN_KEPT_S: Final = 7 * 86400.0
"""How long a payment with an unknown outcome waits for its credential, seconds."""
_OWED: Final = (exchange.SETTLED, exchange.DELIVERING)


class _Payment:
    """One row. ``lease_until`` belongs to claimed and delivering; ``first_fence`` is that of its first claim."""

    __slots__ = (
        "amount",
        "currency",
        "deliveries",
        "fence",
        "fingerprint",
        "first_fence",
        "keep_until",
        "lease_until",
        "payment_id",
        "proof",
        "record",
        "refund_due",
        "state",
    )

    def __init__(self, fence: int, fingerprint: str, keep_until: float, lease_until: float) -> None:
        """A payment appears with its first claim."""
        self.state = _FIRST_CLAIM
        self.fence = self.first_fence = fence
        self.fingerprint = fingerprint
        self.keep_until = keep_until
        self.lease_until = lease_until
        self.deliveries = 0
        self.proof: str | None = None
        self.payment_id: str | None = None
        self.amount: int | None = None
        self.currency: str | None = None
        self.record: str | None = None
        self.refund_due = False


class MemoryLedger(OwedVerbs, KeepingVerbs, MemorySinkVerbs):
    """A :class:`~flovia.ledger.base.Ledger` in this process's memory.

    Args:
        clock: Unix seconds, for leases and for forgetting.
        max_payments: above that many payments and used proofs, new claims are refused with LedgerError (503) rather
            than old ones forgotten.
        hide: what is written of a payer and of a workflow in place of their names, in events.
        max_answer_bytes: stored answers above that are forgotten, the oldest first.
        max_events: the newest events kept; older ones are dropped and not counted as lost, nobody awaits them.
    """

    direct = True
    shared = False
    available = True
    dropped_events = 0

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.time,
        max_payments: int = 1_000_000,
        max_events: int = 20_000,
        max_answer_bytes: int = 1 << 26,
        hide: Callable[[str], str] | None = None,
    ) -> None:
        self._clock = clock
        self._hide = hide
        self._max_payments = max_payments
        self._payments: dict[str, _Payment] = {}
        self._proofs: dict[str, str] = {}
        self._orders: dict[str, Order] = {}
        # By proof, what was paid with it by payments that are forgotten.
        self._spent: dict[str, Spent] = {}
        # No forgotten payment had a fence above this: one with the same key begins behind it.
        self._fences = 0
        # Who may be forgotten, a list a second: appending touches nothing old, which a heap of payments would.
        self._ends: dict[int, list[str]] = {}
        self._seconds: list[int] = []
        self._events: deque[EventRow] = deque(maxlen=max_events)
        self._written = 0
        self._sinks: dict[str, MemorySink] = {}
        self._dead: dict[int, tuple[str, DeadLetter]] = {}
        self._dead_so_far = 0
        self.answers = Answers(max_answer_bytes)
        self._texts: dict[tuple[str, str], tuple[float, str]] = {}
        self._lock = threading.Lock()
        self._inherited = False
        watch(self)

    # --- payments --------------------------------------------------------------------------------------

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
        with self._lock:
            if self._seconds and self._seconds[0] <= now:
                self._forget(now)
            payment = self._payments.get(key)
            if payment is None:
                if expired:
                    return OVER
                fence = self._new(key, fingerprint, keep_until, now + lease_s)
                return _CLAIMED_FIRST if fence == 1 else ClaimResult("claimed", fence, attempt=1)
            if self._inherited:
                raise LedgerError(_INHERITED)
            verdict = judge(payment, now, fingerprint, expired, max_deliveries)
            if isinstance(verdict, ClaimResult):
                return self._told(payment, verdict)
            payment.state = step(PAYMENT, payment.state, verdict)
            payment.fence += 1
            if verdict == "claim":
                payment.fingerprint = fingerprint
                payment.lease_until = now + lease_s
                return ClaimResult("claimed", payment.fence, attempt=payment.fence - payment.first_fence + 1)
            payment.deliveries += 1
            payment.lease_until = now + deliver_s
            return ClaimResult(
                "redeem", payment.fence, payment.record or "", payment.payment_id or "", payment.deliveries
            )

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
        if self._hide is not None:
            events = tuple(hidden(row, self._hide) for row in events)
        with self._lock:
            payment = self._payments.get(key)
            if payment is None or payment.fence != fence or payment.state != exchange.CLAIMED:
                return "stale"
            if self._proofs.setdefault(proof, key) != key or proof in self._spent:
                return "proof_used"
            payment.state = _SETTLED
            payment.proof = proof
            payment.payment_id = payment_id
            payment.amount = amount
            payment.currency = currency
            payment.record = record
            payment.refund_due = refund_due
            payment.keep_until = keep_until
            if not refund_due:
                payment.state = _DELIVERING
                payment.deliveries = 1
                payment.lease_until = self._clock() + deliver_s
            self._events.extend(events)
            self._written += len(events)
            return "settled"

    def deliver(self, key: str, fence: int, events: tuple[EventRow, ...], answer: StoredAnswer | None = None) -> bool:
        """See :meth:`flovia.ledger.base.Ledger.deliver`."""
        return self._end(key, fence, exchange.DELIVERING, _DELIVERED, events, answer=answer)

    def fail(self, key: str, fence: int, events: tuple[EventRow, ...], refund_due: bool = False) -> bool:
        """See :meth:`flovia.ledger.base.Ledger.fail`."""
        return self._end(key, fence, exchange.DELIVERING, _FAILED, events, refund_due)

    def end_later(
        self,
        key: str,
        fence: int,
        delivered: bool,
        events: tuple[EventRow, ...],
        refund_due: bool = False,
        answer: StoredAnswer | None = None,
    ) -> None:
        """See :meth:`flovia.ledger.base.Ledger.end_later`; memory always answers, so at once."""
        end = _DELIVERED if delivered else _FAILED
        done = self._end(key, fence, exchange.DELIVERING, end, events, refund_due, answer)
        payment = self._payments.get(key)
        if not done and (payment is None or payment.fence != fence):
            self.append(events)

    def release(self, key: str, fence: int, park: bool, events: tuple[EventRow, ...]) -> bool:
        """See :meth:`flovia.ledger.base.Ledger.release`."""
        return self._end(key, fence, exchange.CLAIMED, _PARKED if park else _RELEASED, events)

    def find_answer(self, key: str) -> StoredAnswer | None:
        """See :meth:`flovia.ledger.base.Ledger.find_answer`."""
        with self._lock:
            return self.answers.find(key, self._clock())

    def _end(
        self,
        key: str,
        fence: int,
        state: str,
        end: str,
        events: tuple[EventRow, ...],
        refund_due: bool = False,
        answer: StoredAnswer | None = None,
    ) -> bool:
        if self._hide is not None:
            events = tuple(hidden(row, self._hide) for row in events)
        with self._lock:
            payment = self._payments.get(key)
            if payment is None or payment.fence != fence or payment.state != state:
                return False
            payment.state = end
            if end == _DELIVERED:
                # Nobody can redeem it any more, so what a redelivery would need is let go.
                payment.record, payment.fingerprint = None, ""
                if answer is not None:
                    self.answers.keep(key, answer, self._clock())
            elif refund_due:
                payment.refund_due = True
            elif end == _PARKED:
                payment.keep_until = max(payment.keep_until, self._clock() + UNKNOWN_KEPT_S)
            self._events.extend(events)
            self._written += len(events)
            return True

    def renew(self, key: str, fence: int, deliver_s: float) -> bool:
        """See :meth:`flovia.ledger.base.Ledger.renew`."""
        with self._lock:
            payment = self._payments.get(key)
            if payment is None or payment.fence != fence or payment.state != exchange.DELIVERING:
                return False
            payment.lease_until = self._clock() + deliver_s
            return True

    def find(self, key: str) -> PaymentView | None:
        """See :meth:`flovia.ledger.base.Ledger.find`."""
        with self._lock:
            payment = self._payments.get(key)
            if payment is None:
                return None
            return PaymentView(
                key=key,
                state=payment.state,
                fence=payment.fence,
                fingerprint=payment.fingerprint,
                payment_id=payment.payment_id,
                amount=payment.amount,
                currency=payment.currency,
                record=payment.record,
                deliveries=payment.deliveries,
                lease_until=payment.lease_until or None,
                keep_until=payment.keep_until,
                refund_due=payment.refund_due,
            )

    def find_undelivered(self, limit: int) -> Sequence[Undelivered]:
        """See :meth:`flovia.ledger.base.Ledger.find_undelivered`."""
        now = self._clock()
        with self._lock:
            return list(islice(self._undelivered(now), limit))

    def _undelivered(self, now: float) -> Iterable[Undelivered]:
        for key, payment in self._payments.items():
            lapsed = payment.state == exchange.DELIVERING and payment.lease_until <= now
            if (lapsed or payment.state == exchange.SETTLED) and not payment.refund_due:
                yield Undelivered(
                    key=key,
                    state=payment.state,
                    payment_id=payment.payment_id or "",
                    amount=payment.amount,
                    currency=payment.currency,
                    deliveries=payment.deliveries,
                    lease_until=payment.lease_until,
                    keep_until=payment.keep_until,
                )

    def __len__(self) -> int:
        """Payments kept at the moment."""
        return len(self._payments)

    # --- events and short texts -------------------------------------------------------------------------

    def append(self, events: Iterable[EventRow]) -> None:
        """See :meth:`flovia.ledger.base.Ledger.append`."""
        with self._lock:
            self._write(events)

    def flush(self) -> None:
        """Nothing waits here: every event is readable at once."""

    def read_events(self, after: int = 0, limit: int = 1000) -> Sequence[tuple[int, Event]]:
        """See :meth:`flovia.ledger.base.Ledger.read_events`."""
        with self._lock:
            first = self._written - len(self._events)
            skip = max(0, after - first)
            rows = list(islice(self._events, skip, skip + limit))
        return [(first + skip + i, Event.from_row(row)) for i, row in enumerate(rows, 1)]

    def remember(
        self, namespace: str, key: str, value: str, ttl_s: float, if_absent: bool, instead_of: str | None = None
    ) -> str:
        """See :meth:`flovia.ledger.base.Ledger.remember`."""
        now = self._clock()
        with self._lock:
            if len(self._texts) >= 10_000:
                self._texts = {k: v for k, v in self._texts.items() if v[0] > now}
            found = self._texts.get((namespace, key))
            if found is not None and found[0] > now and (if_absent or instead_of not in (None, found[1])):
                return found[1]
            self._texts[namespace, key] = (now + ttl_s, value)
            return value

    def recall(self, namespace: str, key: str) -> str | None:
        """See :meth:`flovia.ledger.base.Ledger.recall`."""
        found = self._texts.get((namespace, key))
        return found[1] if found is not None and found[0] > self._clock() else None

    def close(self) -> None:
        """Nothing to let go of."""

    # --- inside the lock ----------------------------------------------------------------------------------

    def _row(self, key: str) -> _Payment | None:
        return self._payments.get(key)

    def _rows(self) -> Iterable[tuple[str, _Payment]]:
        return self._payments.items()

    def _refuse_inherited(self) -> None:
        if self._inherited:
            raise LedgerError(_INHERITED)

    def _new(self, key: str, fingerprint: str, keep_until: float, lease_until: float) -> int:
        if self._inherited:
            raise LedgerError(_INHERITED)
        if len(self._payments) + len(self._spent) >= self._max_payments:
            raise LedgerError(f"the memory ledger is full ({self._max_payments} payments); use a SQL ledger")
        fence = self._fences + 1
        self._payments[key] = _Payment(fence, fingerprint, keep_until, lease_until)
        self._schedule(keep_until, key)
        return fence

    def _write(self, events: Iterable[EventRow]) -> None:
        rows = tuple(events) if self._hide is None else tuple(hidden(row, self._hide) for row in events)
        self._events.extend(rows)
        self._written += len(rows)

    def _forget(self, now: float) -> None:
        """Drop what may be forgotten, oldest first; settling moves ``keep_until``, so look again before dropping."""
        while self._seconds and self._seconds[0] <= now:
            for key in self._ends.pop(heapq.heappop(self._seconds)):
                payment = self._payments[key]
                if payment.keep_until > now:
                    self._schedule(payment.keep_until, key)
                elif payment.state == exchange.CLAIMED and payment.lease_until > now:
                    # Its holder was late to claim, and is still at it.
                    self._schedule(payment.lease_until, key)
                elif payment.state == exchange.CLAIMED:
                    # Its holder never came back, so nobody knows whether money moved.
                    payment.state = step(PAYMENT, payment.state, "park")
                    payment.keep_until = now + UNKNOWN_KEPT_S
                    self._schedule(payment.keep_until, key)
                elif payment.refund_due or payment.state in _OWED:
                    # Somebody is owed this, however long ago it was.
                    self._schedule(now + UNKNOWN_KEPT_S, key)
                else:
                    del self._payments[key]
                    self._fences = max(self._fences, payment.fence)
                    if payment.proof is not None:
                        # With a fresh challenge its proof would buy the same again.
                        self._spent[payment.proof] = Spent(payment.amount, payment.currency)

    def _schedule(self, keep_until: float, key: str) -> None:
        second = math.ceil(keep_until)
        keys = self._ends.get(second)
        if keys is None:
            keys = self._ends[second] = []
            heapq.heappush(self._seconds, second)
        keys.append(key)

    # --- forks ----------------------------------------------------------------------------------------------

    def before_fork(self) -> None:
        """Let no other thread be in the middle of something."""
        self._lock.acquire()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self._lock.release()

    def after_fork_in_child(self) -> None:
        """Refuse from now on: what the parent's other workers do would not be seen here."""
        self._lock = threading.Lock()
        self._inherited = True
