"""What must be true, whatever happens: checked at every step that a worker takes and once more at the end.

The model sees what the ledgers did (not what callers were told), what left a worker for a client, and where the money
is. Anything it does not like is a :class:`Violation`.
"""

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import attrs

from flovia.core import events as ev
from tests.simulator.plan import MAX_SKEW_MS

if TYPE_CHECKING:
    from tests.simulator.exchanges import Exchange
    from tests.simulator.workers import Worker
    from tests.simulator.world import World

PAID_EVENTS: Final = (ev.PAYMENT_SETTLED, ev.PAYMENT_DELIVERED, ev.PAYMENT_REDELIVERED, ev.PAYMENT_REFUNDED)


class Violation(BaseException):
    """A promise was broken. Not an Exception, so that no flow takes it for a failure of its ledger."""


@attrs.define(kw_only=True)
class Delivery:
    """One delivery that was begun, under one fence. ``excuse``: why its end may be missing from the ledger."""

    worker: "Worker"
    generation: int
    fence: int
    until: int
    handed_over: bool = False
    recorded: bool = False
    excuse: str = ""


@attrs.define(kw_only=True)
class Account:
    """What is known of one payment's key."""

    fence: int = 0
    claimed_until: int | None = None
    settled: int = 0
    claimed_at: int = 0
    redeemable_until: int = 0
    proof: str = ""
    payment_id: str = ""
    amount: int = 0
    refund_due: bool = False
    refund_open: bool = False
    refunded: bool = False
    paid_verdict: bool = False
    forget_at: float | None = None
    payload: str | None = None
    deliveries: list[Delivery] = attrs.field(factory=list[Delivery])

    @property
    def over(self) -> bool:
        """Whether the client has what it paid for, or its money back."""
        return self.refunded or self.refund_open or self.refund_due or any(one.handed_over for one in self.deliveries)


class Model:
    """Keeps the books of one story."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self.accounts: dict[str, Account] = {}
        self.proofs: dict[str, str] = {}
        self.late: dict[str, int] = {}
        self.noted: set[str] = set()
        self.charges: Counter[tuple[str, str]] = Counter()
        self.charged_at: dict[tuple[str, str], int] = {}
        self.pending: dict[tuple[Worker, int, str, int], bool] = {}
        self.lost_events = 0

    def broken(self, what: str) -> Violation:
        """A promise was broken."""
        return Violation(what)

    def account(self, key: str) -> Account:
        """The account of a key."""
        found = self.accounts.get(key)
        if found is None:
            found = self.accounts[key] = Account()
        return found

    # --- what ledgers did -------------------------------------------------------------------------------------

    def try_(self, worker: "Worker", verb: str, args: tuple[Any, ...]) -> None:
        """A verb is about to be called, and may not arrive."""
        if verb == "settle":
            self.account(args[0]).paid_verdict = True

    def failed(self, verb: str, args: tuple[Any, ...]) -> None:
        """A verb was called, and the store failed."""
        if verb == "renew":
            found = self._delivery(args[0], args[1])
            if found is not None:
                found.excuse = found.excuse or "a renewal failed"

    def observe(self, worker: "Worker", verb: str, args: tuple[Any, ...], result: Any) -> None:
        """A ledger has done something, and said so."""
        world = self.world
        if world.tracing and verb not in ("recall", "remember", "read_events"):
            world.note(f"{worker.name}: {verb} {_short(args)} -> {_told(result)}")
        watch = _WATCHED.get(verb)
        if watch is not None:
            watch(self, worker, args, result)

    def _claim(self, worker: "Worker", args: tuple[Any, ...], result: Any) -> None:
        key, now, slack = args[0], self.world.now, self.world.plan.tolerance_ms
        if result.outcome not in ("claimed", "redeem"):
            return
        account = self.account(key)
        if result.fence <= account.fence:
            raise self.broken(f"{key}: fence {result.fence} was given before")
        first = result.outcome == "claimed" and result.attempt == 1
        if first and account.fence and not self._forgotten(account):
            raise self.broken(f"{key}: claimed as if for the first time, and it was claimed before")
        account.fence = result.fence
        running = account.deliveries[-1] if account.deliveries else None
        if result.outcome == "claimed":
            if account.settled and not self.lapsed(account):
                raise self.broken(f"{key}: claimed for a verification, and settled long ago")
            if account.claimed_until is not None and account.claimed_until - slack > now:
                raise self.broken(f"{key}: claimed twice at once")
            account.claimed_at, account.claimed_until = now, now + int(args[3] * 1000)
            if first:
                account.forget_at = args[5]
            return
        if not account.settled:
            raise self.broken(f"{key}: redeemed, and never settled")
        if account.refunded or account.refund_open or account.refund_due:
            raise self.broken(f"{key}: redeemed, and the money goes back")
        if running is not None and running.until - slack > now and not running.recorded:
            raise self.broken(f"{key}: redeemed while it is being delivered")
        for before in account.deliveries:
            if before.handed_over:
                self._second(key, before)
        if len(account.deliveries) >= args[6]:
            raise self.broken(f"{key}: delivery {len(account.deliveries) + 1} of at most {args[6]}")
        self._begin(worker, account, result.fence, args[4])

    def lapsed(self, account: Account) -> bool:
        """Whether what was paid can be redeemed no more: it was paid too long ago."""
        return account.settled > 0 and self.world.now + 3 * MAX_SKEW_MS >= account.redeemable_until

    def _forgotten(self, account: Account) -> bool:
        """Whether a ledger may have let go of a claim that was given back, or of a payment: then it begins anew."""
        return self.lapsed(account) or (
            account.claimed_until is None
            and account.forget_at is not None
            and account.forget_at * 1000 <= self.world.now + self.world.plan.tolerance_ms
        )

    def _begin(self, worker: "Worker", account: Account, fence: int, lease_s: float) -> None:
        until = self.world.now + int(lease_s * 1000)
        delivery = Delivery(worker=worker, generation=worker.generation, fence=fence, until=until)
        if worker.frozen_until > self.world.now:
            delivery.excuse = "stalled"
        account.deliveries.append(delivery)

    def _second(self, key: str, before: Delivery) -> None:
        """What was handed over may be bought again only if its worker could not put the end on record."""
        if before.recorded:
            raise self.broken(f"{key}: delivered, on record, and redeemed again")
        if before.worker.generation != before.generation:
            self.world.count("redelivered after a death")
        elif before.excuse:
            self.world.count("redelivered after a stall or an outage")
        else:
            raise self.broken(f"{key}: delivered, and redeemed again without a reason")

    def _settle(self, worker: "Worker", args: tuple[Any, ...], result: Any) -> None:
        key, fence, proof, payment_id, amount, _, _, deliver_s, keep_until, refund_due, events = args
        account = self.account(key)
        account.paid_verdict = True
        if result != "settled":
            return
        if account.settled:
            raise self.broken(f"{key}: settled twice")
        if fence != account.fence:
            raise self.broken(f"{key}: settled under fence {fence}, and {account.fence} is the holder's")
        if self.proofs.setdefault(proof, key) != key or proof in self.late:
            raise self.broken(f"{proof}: used for a second payment")
        if not self.world.money_moved(payment_id, amount):
            raise self.broken(f"{key}: settled, and nobody paid {amount} with {payment_id}")
        if ev.PAYMENT_SETTLED not in {row[0] for row in events}:
            raise self.broken(f"{key}: settled without its event")
        account.settled, account.proof, account.payment_id, account.amount = 1, proof, payment_id, amount
        # Counted from the verdict: a worker may stand still before it can write it down.
        account.redeemable_until = int(keep_until * 1000)
        if account.redeemable_until + MAX_SKEW_MS < account.claimed_at + int(self.world.plan.redeem_for_s * 1000):
            raise self.broken(f"{key}: settled, and redeemable for less than it should be")
        account.refund_due, account.claimed_until = refund_due, None
        if not refund_due:
            self._begin(worker, account, fence, deliver_s)

    def _release(self, worker: "Worker", args: tuple[Any, ...], result: Any) -> None:
        if result:
            account = self.account(args[0])
            if args[1] != account.fence:
                raise self.broken(f"{args[0]}: released under a stale fence")
            account.claimed_until = None

    def _deliver(self, worker: "Worker", args: tuple[Any, ...], result: Any) -> None:
        key, fence = args[0], args[1]
        if result:
            self._recorded(key, fence)
            return
        account, found = self.account(key), self._delivery(key, fence)
        if fence == account.fence and found is not None and not (found.recorded or account.refunded):
            raise self.broken(f"{key}: its holder could not put its delivery on record")

    def _recorded(self, key: str, fence: int) -> None:
        found = self._delivery(key, fence)
        if found is None or fence != self.account(key).fence:
            raise self.broken(f"{key}: recorded as delivered under fence {fence}, which is not the holder's")
        if not found.handed_over:
            raise self.broken(f"{key}: recorded as delivered, and the last byte never left")
        found.recorded = True

    def _fail(self, worker: "Worker", args: tuple[Any, ...], result: Any) -> None:
        if not result:
            return
        found = self._delivery(args[0], args[1])
        if found is None or args[1] != self.account(args[0]).fence:
            raise self.broken(f"{args[0]}: recorded as failed under a stale fence")
        if found.handed_over:
            raise self.broken(f"{args[0]}: recorded as failed, and delivered")
        found.until = self.world.now

    def _renew(self, worker: "Worker", args: tuple[Any, ...], result: Any) -> None:
        if result:
            found = self._delivery(args[0], args[1])
            if found is None or args[1] != self.account(args[0]).fence:
                raise self.broken(f"{args[0]}: renewed under a stale fence")
            found.until = self.world.now + int(args[2] * 1000)
            # It may have begun to stand still in the very moment in which the renewal was written.
            found.excuse = "stalled" if worker.frozen_until > self.world.now else ""

    def _late(self, worker: "Worker", args: tuple[Any, ...], result: Any) -> None:
        if result:
            if args[1] in self.late or args[1] in self.proofs:
                raise self.broken(f"{args[1]}: late, and used before")
            if not self.world.money_moved(args[2], args[3]):
                raise self.broken(f"{args[1]}: on record as late, and nobody paid that")
            self.late[args[1]] = args[3]
            self.account(args[0]).proof = args[1]

    def _open_refund(self, worker: "Worker", args: tuple[Any, ...], result: Any) -> None:
        if result.outcome != "open":
            return
        account = self.account(self.key_of(args[0]))
        if account.refunded:
            raise self.broken(f"{args[0]}: a refund is opened, and it was refunded")
        running = account.deliveries[-1] if account.deliveries else None
        if running is not None and not running.recorded and not account.refund_open:
            if running.until - self.world.plan.tolerance_ms > self.world.now:
                raise self.broken(f"{args[0]}: a refund is opened while it is being delivered")
            running.excuse = running.excuse or "given back"
        account.refund_open = True

    def _close_refund(self, worker: "Worker", args: tuple[Any, ...], result: Any) -> None:
        if result and args[2] != "unknown":
            account = self.account(self.key_of(args[0]))
            account.refund_open = False
            if args[2] == "refunded":
                if account.refunded:
                    raise self.broken(f"{args[0]}: refunded twice")
                account.refunded = True
                self.noted.add(args[0])

    def _note_refund(self, worker: "Worker", args: tuple[Any, ...], result: Any) -> None:
        if result == "noted":
            if args[1] in self.noted:
                raise self.broken(f"{args[1]}: refunded twice")
            self.noted.add(args[1])
            account = self.account(self.key_of(args[1]))
            account.refunded, account.refund_open = True, False

    def key_of(self, proof: str) -> str:
        """The key of a payment by its proof."""
        found = self.proofs.get(proof)
        return found if found is not None else f"late {proof}"

    def _delivery(self, key: str, fence: int) -> Delivery | None:
        return next((one for one in self.account(key).deliveries if one.fence == fence), None)

    def deferred(self, worker: "Worker", key: str, fence: int, delivered: bool, events: int) -> None:
        """The end of a delivery waits for the store, in a worker's memory."""
        found = self._delivery(key, fence)
        if found is not None:
            found.excuse = "deferred"
            self.pending[worker, worker.generation, key, fence] = delivered

    def look(self, worker: "Worker", core: Any) -> None:
        """What waited may be on record now (SQL, whose deferred work does not pass the handle)."""
        for pending in [one for one in self.pending if one[0] is worker]:
            _, _, key, fence = pending
            found = core.find(key)
            delivery = self._delivery(key, fence)
            if found is None or delivery is None or found.fence != fence:
                del self.pending[pending]
            elif found.state == "delivered":
                self._recorded(key, fence)
                del self.pending[pending]
            elif found.state == "settled":
                delivery.until = self.world.now
                del self.pending[pending]

    # --- what clients saw -------------------------------------------------------------------------------------

    def admitted(self, exchange: "Exchange", key: str, fence: int) -> None:
        """A handler is about to run."""
        account, challenge = self.accounts.get(key), key.partition("|")[2]
        if account is None or not account.settled:
            raise self.broken(f"{key}: the handler runs, and nothing is settled")
        if self._delivery(key, fence) is None:
            raise self.broken(f"{key}: the handler runs under a fence that delivers nothing")
        if account.refund_due:
            raise self.broken(f"{key}: the handler runs, and a refund is due")
        if exchange.forged:
            raise self.broken(f"{key}: altered, and opens {exchange.target}")
        if self.world.issued.get(challenge) != (exchange.target, exchange.body.sha256):
            raise self.broken(f"{key}: issued for another route or body than {exchange.target}")
        if account.payload is None:
            account.payload = exchange.payload
        elif account.payload != exchange.payload:
            raise self.broken(f"{key}: paid with one proof, redeemed with another")

    def handed_over(self, key: str, fence: int) -> None:
        """The last byte of a paid answer is with the client."""
        found = self._delivery(key, fence)
        if found is None:
            raise self.broken(f"{key}: handed over, and never begun")
        found.handed_over = True
        self.world.count("deliveries")

    def stalled(self, worker: "Worker") -> None:
        """A worker stands still: leases of its deliveries may end meanwhile."""
        for account in self.accounts.values():
            for one in account.deliveries:
                if one.worker is worker and one.generation == worker.generation and not one.recorded:
                    one.excuse = one.excuse or "stalled"

    def challenged(self, exchange: "Exchange", available: bool) -> None:
        """A 402 leaves a worker."""
        purchase = exchange.purchase
        if not available:
            raise self.broken(f"{exchange.target}: a challenge, while the ledger is known to fail")
        if purchase is None or not exchange.plain:
            return
        account = self.accounts.get(purchase.key)
        if account is not None and (account.over or self.lapsed(account)):
            return
        if exchange.same:
            return
        if purchase.attacked or self.world.stolen(purchase):
            return
        # Who has hung up is asked for nothing: the answer of a worker that stood still comes to nobody.
        if account is not None and account.paid_verdict and not exchange.gone:
            raise self.broken(f"{purchase.key}: known to be paid, and another payment is asked for")
        # What was paid only after it was asked for may have come too late for this answer.
        if self.world.paid_for(purchase, exchange.began):
            raise self.broken(f"{purchase.key}: paid in time and in full, and another payment is asked for")

    # --- what a bank did --------------------------------------------------------------------------------------

    def charged(self, challenge: str, card: str) -> None:
        """A card was charged."""
        self.charges[challenge, card] += 1
        self.charged_at.setdefault((challenge, card), self.world.now)
        if self.charges[challenge, card] > 1:
            raise self.broken(f"{challenge}: one credential, and its card was charged twice")

    def given_back(self, payment_id: str, times: int, total: int, paid: int) -> None:
        """A bank has given money back."""
        if times > 1 or total > paid:
            raise self.broken(f"{payment_id}: refunded {times} times, {total} of {paid}")

    # --- the end ----------------------------------------------------------------------------------------------

    def check_events(self) -> None:
        """Every paid event has reached the sink, once."""
        sink = self.world.sink
        sink.read()
        events = sink.events
        # A memory ledger alone never loses an acknowledgement, so it need not know an event that comes again.
        kept = events if self.world.plan.ledger == "sql" else [one for one in events if one.type in PAID_EVENTS]
        twice = [ident for ident, times in Counter(event.id for event in kept).items() if times > 1]
        if twice:
            raise self.broken(f"events written twice: {twice[:3]}")
        seen = Counter((event.type, event.payment_id) for event in events if event.type.startswith("payment."))
        for key, account in self.accounts.items():
            if account.settled and seen[ev.PAYMENT_SETTLED, account.payment_id] != 1:
                raise self.broken(f"{key}: settled, and {seen[ev.PAYMENT_SETTLED, account.payment_id]} events say so")
            recorded = sum(one.recorded for one in account.deliveries)
            told = seen[ev.PAYMENT_DELIVERED, account.payment_id] + seen[ev.PAYMENT_REDELIVERED, account.payment_id]
            if account.settled and recorded > 1:
                raise self.broken(f"{key}: recorded as delivered {recorded} times")
            if account.settled and told < recorded:
                raise self.broken(f"{key}: {recorded} deliveries on record, and {told} events say so")
        settled = sum(account.settled for account in self.accounts.values())
        told = sum(times for (type_, _), times in seen.items() if type_ == ev.PAYMENT_SETTLED)
        if settled != told:
            raise self.broken(f"{settled} settlements, and {told} events say so")
        refunds = sum(times for (type_, _), times in seen.items() if type_ == ev.PAYMENT_REFUNDED)
        if refunds != len(self.noted):
            raise self.broken(f"{len(self.noted)} refunds on record, and {refunds} events say so")
        late = sum(
            times for (type_, _), times in seen.items() if type_ in (ev.PAYMENT_LATE, ev.PAYMENT_UNMATCHED)
        ) - sum(account.settled and account.refund_due for account in self.accounts.values())
        if late < len(self.late):
            raise self.broken(f"{len(self.late)} late payments on record, and {late} events say so")


_WATCHED: Final[dict[str, Any]] = {
    "claim": Model._claim,
    "settle": Model._settle,
    "release": Model._release,
    "deliver": Model._deliver,
    "fail": Model._fail,
    "renew": Model._renew,
    "late": Model._late,
    "open_refund": Model._open_refund,
    "close_refund": Model._close_refund,
    "note_refund": Model._note_refund,
}


def _short(args: tuple[Any, ...]) -> str:
    return " ".join(str(one)[-12:] for one in args[:3])


def _told(result: Any) -> str:
    outcome = getattr(result, "outcome", None)
    if outcome is not None:
        return f"{outcome} fence={getattr(result, 'fence', '')}"
    return str(result)[:60]
