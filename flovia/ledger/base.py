"""The ledger: one credential, one delivery.

A ledger keeps the :data:`~flovia.core.exchange.PAYMENT` state of every challenge that was presented, makes
each proof usable once, and takes the events of a paid call in the same step as the state they report.
Single use is the gate's property through this protocol, never the provider's.
"""

from collections.abc import Iterable, Sequence
from typing import Protocol

from flovia.core.answers import StoredAnswer
from flovia.core.delivery import Undelivered
from flovia.core.effects import ClaimResult, PaymentView, SettleResult
from flovia.core.events import Event, EventRow
from flovia.core.owed import NoteResult, PaidView, RefundDue, RefundEnd, RefundOpening


class Ledger(Protocol):
    """What the gate needs of a store. Every method is atomic, across threads and (where it can) processes.

    **Rules for an implementation.** States and steps come from :data:`flovia.core.exchange.PAYMENT`. Every
    successful ``claim`` gives a fence larger than any before for that key, that of a row which was forgotten
    too; a write with another fence than the current one changes nothing and says so. Leases use the ledger's
    own clock. A store that fails, in whatever way, raises :class:`~flovia.core.errors.LedgerError`, within
    2 seconds, and the caller treats the outcome of that call as unknown. ``tests`` for authors:
    ``flovia.testing.ledgers``.
    """

    @property
    def direct(self) -> bool:
        """True if no method ever waits (memory). Then the gate calls it on the spot, without a driver."""
        ...

    @property
    def shared(self) -> bool:
        """True if several processes may use the same store."""
        ...

    @property
    def available(self) -> bool:
        """False while the store is known to be failing. Never waits. No challenge is issued meanwhile."""
        ...

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
        """Take the right to verify one credential, or to redeem it if it is already settled.

        Args:
            key: ``realm|challenge id``.
            fingerprint: of the credential's payload; whoever comes later must bring the same one.
            expired: the challenge's expiry has passed. It keeps a fresh claim out (``expired``) and nothing
                else: parked, lapsed and settled payments stay reachable.
            lease_s: how long a verification may take, seconds.
            deliver_s: how long a delivery may take before another may be tried, seconds.
            keep_until: Unix seconds until which an unsettled row must be kept.
            max_deliveries: deliveries that may be begun for one payment.
        """
        ...

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
        """Record the payment as taken and begin its first delivery; durable when it returns.

        ``proof`` (``method|reference``) is unique for ever among settled payments, those that are forgotten too:
        ``proof_used`` leaves the claim as it was. With ``refund_due`` the payment is settled but is not to be
        delivered. ``stale``: the fence is no longer current. Only ``settled`` writes ``events``.
        """
        ...

    def deliver(self, key: str, fence: int, events: tuple[EventRow, ...], answer: StoredAnswer | None = None) -> bool:
        """``delivering -> delivered``, with its events, and with the answer for :meth:`find_answer` in the same step.

        False if the fence is stale; then nothing is kept either.
        """
        ...

    def fail(self, key: str, fence: int, events: tuple[EventRow, ...], refund_due: bool = False) -> bool:
        """``delivering -> settled``, with its events. False if the fence is stale.

        It can be redeemed again; with ``refund_due`` it cannot, and is one of :meth:`find_due` instead.
        """
        ...

    def find_answer(self, key: str) -> StoredAnswer | None:
        """The answer that was delivered for a payment, until its time is over; None if none was kept. Reads only.

        A store may bound what it keeps and forget the oldest sooner, but never gives another one than the last
        delivery's.
        """
        ...

    def end_later(
        self,
        key: str,
        fence: int,
        delivered: bool,
        events: tuple[EventRow, ...],
        refund_due: bool = False,
        answer: StoredAnswer | None = None,
    ) -> None:
        """Do ``deliver`` or ``fail`` as soon as the store answers again. Never waits, never raises.

        For an end that could not be recorded although the answer is out: without it the credential could buy the
        same again when the lease has run out. Tried until it is done, the fence is stale, or the process ends.
        """
        ...

    def release(self, key: str, fence: int, park: bool, events: tuple[EventRow, ...]) -> bool:
        """``claimed -> issued`` (known not paid) or ``claimed -> parked`` (unknown). False if stale.

        A row that became known not paid may be forgotten once its ``keep_until`` has passed; a parked one is
        kept, because money may have moved.
        """
        ...

    def renew(self, key: str, fence: int, deliver_s: float) -> bool:
        """Extend the lease of a running delivery by ``deliver_s`` seconds from now. False if stale."""
        ...

    def find(self, key: str) -> PaymentView | None:
        """One payment, or None. Reads only."""
        ...

    def find_undelivered(self, limit: int) -> Sequence[Undelivered]:
        """The payments that were taken and are not delivered, nor being delivered now, oldest first. Reads only.

        Those whose refund is due are not among them: see :meth:`find_due`.
        """
        ...

    # --- money that is to go back; see flovia.core.owed for the results -----------------------------------

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
        """Record money that can buy nothing: a row of its own, settled, its refund due, never to be delivered.

        ``key`` is the challenge's with ``|proof`` behind it, so whatever row the challenge has stays as it is.
        False, and nothing is written, if the proof is known: the money has bought something, or this was told
        before.
        """
        ...

    def find_paid(self, proof: str) -> PaidView | None:
        """The payment that used ``proof`` (``method|reference``), or None. Reads only."""
        ...

    def open_refund(
        self,
        proof: str,
        amount: int | None,
        currency: str | None,
        nonce: str,
        lease_s: float,
        events: tuple[EventRow, ...] = (),
    ) -> RefundOpening:
        """Open a refund order, durable when it returns; or take up the open one, with its own nonce.

        While it is open the payment is not delivered: a claim is told ``busy``. One call at a time asks the
        provider, for at most ``lease_s`` seconds. ``amount`` None means all that was paid. An order that was
        refused may be opened again, with the new nonce; one that was refunded never. ``events`` are written in the
        same step where the provider is to be asked, and only there.
        """
        ...

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
        """Record the end of an order, with its ``events``, in the same step.

        ``refunded``: ``amount`` went back, the payment's state is ``refunded``. ``refused``: nothing moved, the
        payment is what it was before. ``unknown``: the order stays open and may be taken up at once. False, and
        nothing is written, if it is open no more, or if another call has taken it up and this one does not say
        ``refunded``, which is true whoever says it.
        """
        ...

    def note_refund(self, key: str, proof: str, amount: int, currency: str, events: tuple[EventRow, ...]) -> NoteResult:
        """Record a refund that was made elsewhere, once, with its events; an open order of ours ends with it.

        ``key`` is the payment's, from :meth:`find_paid`, or "" for one that nobody presented: its proof is used up
        with this. ``known``: it was refunded already. ``moved``: the payment has another key by now, ask again.
        """
        ...

    def find_due(self, limit: int) -> Sequence[RefundDue]:
        """The payments whose refund is due or ordered and not made yet, oldest first. Reads only."""
        ...

    # --- when nobody has come with a credential; see flovia.core.keeping -----------------------------------

    def find_unresolved(self, after: str, limit: int) -> Sequence[PaymentView]:
        """The payments whose outcome nobody knows, in the order of their keys, behind ``after``. Reads only.

        Parked ones, and claimed ones whose lease has run out.
        """
        ...

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
        """As :meth:`settle`, but no delivery begins: the credential that claimed it last can redeem it."""
        ...

    def list_texts(self, namespace: str, after: str, limit: int) -> Sequence[tuple[str, str]]:
        """What is remembered in one namespace: keys and texts, in the order of the keys, behind ``after``."""
        ...

    def append(self, events: Iterable[EventRow]) -> None:
        """Take events that belong to no payment (unpaid requests). Never waits, never raises.

        Kept in a bounded buffer and written in the background; what a full buffer drops is counted in
        :attr:`dropped_events`.
        """
        ...

    @property
    def dropped_events(self) -> int:
        """Unpaid events lost since start because the buffer was full."""
        ...

    def flush(self) -> None:
        """Write what ``append`` buffered, now.

        Raises:
            LedgerError: the store failed; what was buffered stays buffered.
        """
        ...

    def read_events(self, after: int = 0, limit: int = 1000) -> Sequence[tuple[int, Event]]:
        """Events in the order they were written, with their positions, after position ``after``."""
        ...

    def remember(
        self, namespace: str, key: str, value: str, ttl_s: float, if_absent: bool, instead_of: str | None = None
    ) -> str:
        """Keep a short text; see :class:`flovia.core.effects.Remember`."""
        ...

    def recall(self, namespace: str, key: str) -> str | None:
        """What was remembered and has not expired, or None."""
        ...

    def close(self) -> None:
        """Flush and let go of the store. Closing twice is fine."""
        ...
