"""Whatever is asked of them, in whatever order, the memory ledger and the SQLite ledger give the same answers."""

import tempfile

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from flovia.core.events import EventRow
from flovia.core.exchange import PAYMENT
from flovia.core.owed import RefundEnd, late_key
from flovia.ledger.base import Ledger
from flovia.ledger.memory import MemoryLedger
from flovia.ledger.opening import open_ledger
from flovia.testing.ledger_answers import answer
from flovia.testing.ledger_steps import DAY_S, DELIVER_S, LEASE_S, ManualClock, event_row

KEYS = st.sampled_from(["r|a", "r|b", "r|c"])
FINGERPRINTS = st.sampled_from(["f1", "f2"])
PROOFS = st.sampled_from(["mock|1", "mock|2"])
TTL_S = 300.0


class Agreement(RuleBasedStateMachine):
    """Two ledgers, one clock, the same calls."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.clock = ManualClock()
        self.begun = self.clock()
        self.ledgers: tuple[Ledger, Ledger] = (
            MemoryLedger(clock=self.clock),
            open_ledger(f"sqlite:///{self.folder.name}/ledger.db", clock=self.clock),
        )
        self.fences = {"r|a": 0, "r|b": 0, "r|c": 0}
        self.settled: set[str] = set()
        self.delivered: set[str] = set()
        self.used: set[str] = set()
        self.refunded: set[str] = set()
        self.orders: dict[str, int] = {}
        self.seq = 0

    def row(self) -> tuple[EventRow, ...]:
        self.seq += 1
        return (event_row(seq=self.seq),)

    def fence(self, key: str, stale: bool) -> int:
        return self.fences[key] - stale

    @rule(key=KEYS, fingerprint=FINGERPRINTS)
    def claim(self, key: str, fingerprint: str) -> None:
        """Both decide alike, and the SQL ledger's view follows the memory's."""
        expires = self.begun + TTL_S
        expired = self.clock() >= expires
        first, second = (
            ledger.claim(key, fingerprint, expired, LEASE_S, DELIVER_S, self.begun + DAY_S, 3)
            for ledger in self.ledgers
        )
        assert first == second
        if first.fence:
            assert first.fence > self.fences[key]
            self.fences[key] = first.fence
            assert key not in self.delivered
            assert (first.outcome == "redeem") == (key in self.settled)
            held = self.ledgers[0].find(key)
            assert held is not None
            assert not held.refund_due, "what goes back is not delivered"

    @rule(key=KEYS, proof=PROOFS, refund_due=st.booleans(), stale=st.booleans())
    def settle(self, key: str, proof: str, refund_due: bool, stale: bool) -> None:
        """At most one settlement for a key."""
        events = self.row()
        until = self.clock() + 7 * DAY_S
        fence = self.fence(key, stale)
        first, second = (
            ledger.settle(key, fence, proof, proof, 100, "usd", "{}", DELIVER_S, until, refund_due, events)
            for ledger in self.ledgers
        )
        assert first == second
        if first == "settled":
            assert key not in self.settled
            assert proof not in self.used
            self.settled.add(key)
            self.used.add(proof)

    @rule(key=KEYS, delivered=st.booleans(), kept=st.booleans(), refund_due=st.booleans(), stale=st.booleans())
    def end(self, key: str, delivered: bool, kept: bool, refund_due: bool, stale: bool) -> None:
        """At most one delivery, and never of what is not settled; the answer kept is that delivery's."""
        events = self.row()
        fence = self.fence(key, stale)
        stored = answer(self.clock() + 90.0, str(self.seq).encode()) if kept else None
        first, second = (
            ledger.deliver(key, fence, events, stored) if delivered else ledger.fail(key, fence, events, refund_due)
            for ledger in self.ledgers
        )
        assert first == second
        if first and delivered:
            assert stored == self.ledgers[0].find_answer(key)
        if first and delivered:
            assert key in self.settled - self.delivered
            self.delivered.add(key)

    @rule(key=KEYS, park=st.booleans(), stale=st.booleans())
    def release(self, key: str, park: bool, stale: bool) -> None:
        """Both let go, or neither."""
        events = self.row()
        fence = self.fence(key, stale)
        first, second = (ledger.release(key, fence, park, events) for ledger in self.ledgers)
        assert first == second

    @rule(key=KEYS, stale=st.booleans())
    def renew(self, key: str, stale: bool) -> None:
        """Both extend, or neither."""
        fence = self.fence(key, stale)
        first, second = (ledger.renew(key, fence, DELIVER_S) for ledger in self.ledgers)
        assert first == second

    @rule(proof=PROOFS)
    def late(self, proof: str) -> None:
        """Late money is never what a settlement uses, and the other way round."""
        events = self.row()
        key = late_key("r", "a", proof)
        until = self.clock() + 7 * DAY_S
        first, second = (
            ledger.late(key, proof, proof.partition("|")[2], 100, "usd", until, events) for ledger in self.ledgers
        )
        assert first == second
        assert first == (proof not in self.used)
        self.used.add(proof)

    @rule(proof=PROOFS, amount=st.sampled_from([None, 40, 100, 101]), currency=st.sampled_from([None, "usd", "sgd"]))
    def open_refund(self, proof: str, amount: int | None, currency: str | None) -> None:
        """Both let it be ordered, or neither, with the same nonce."""
        self.seq += 1
        first, second = (
            ledger.open_refund(proof, amount, currency, f"nonce-{self.seq}", LEASE_S) for ledger in self.ledgers
        )
        assert first == second
        if first.outcome == "open":
            assert proof in self.used - self.refunded
            assert first.amount <= 100
            self.orders[proof] = first.fence

    @rule(proof=PROOFS, end=st.sampled_from(["refunded", "refused", "unknown"]), stale=st.booleans())
    def close_refund(self, proof: str, end: RefundEnd, stale: bool) -> None:
        """At most one refund for a payment."""
        events = self.row()
        fence = self.orders.get(proof, 0) - stale
        first, second = (ledger.close_refund(proof, fence, end, 40, "refund", "no", events) for ledger in self.ledgers)
        assert first == second
        if first and end == "refunded":
            assert proof in self.used - self.refunded
            self.refunded.add(proof)

    @rule(proof=PROOFS, key=st.sampled_from(["", "r|a", "r|b", "as found"]))
    def note_refund(self, proof: str, key: str) -> None:
        """Both record it once, under the key the payment has."""
        events = self.row()
        found = self.ledgers[0].find_paid(proof)
        if key == "as found":
            key = found.key if found is not None else ""
        first, second = (ledger.note_refund(key, proof, 30, "usd", events) for ledger in self.ledgers)
        assert first == second
        assert (first == "known") == (proof in self.refunded)
        if first == "noted":
            self.used.add(proof)
            self.refunded.add(proof)

    @rule(seconds=st.sampled_from([1.0, LEASE_S, DELIVER_S, 120.0]))
    def wait(self, seconds: float) -> None:
        """Time passes for both, past any lease and past the expiry, but not past what is kept."""
        self.clock.advance(seconds)

    @rule(text=st.sampled_from("abc"), if_absent=st.booleans(), instead_of=st.sampled_from([None, *"abc"]))
    def remember(self, text: str, if_absent: bool, instead_of: str | None) -> None:
        """Both remember the same, for as long."""
        before = None if if_absent else instead_of
        first, second = (ledger.remember("n", "k", text, 30.0, if_absent, before) for ledger in self.ledgers)
        assert first == second

    @invariant()
    def same_to_look_at(self) -> None:
        """What can be read is the same."""
        memory, sql = self.ledgers
        for key in self.fences:
            assert memory.find_answer(key) == sql.find_answer(key)
            first, second = memory.find(key), sql.find(key)
            assert (first is None) == (second is None)
            if first is not None and second is not None:
                assert first.state == second.state
                assert first.state in PAYMENT
                assert (first.fence, first.fingerprint) == (second.fence, second.fingerprint)
                assert (first.deliveries, first.record, first.amount) == (
                    second.deliveries,
                    second.record,
                    second.amount,
                )
                assert first.refund_due == second.refund_due
        for proof in ("mock|1", "mock|2"):
            assert memory.find_paid(proof) == sql.find_paid(proof)
        assert sorted(memory.find_due(9), key=repr) == sorted(sql.find_due(9), key=repr)
        assert sorted(memory.find_undelivered(9), key=repr) == sorted(sql.find_undelivered(9), key=repr)
        assert memory.recall("n", "k") == sql.recall("n", "k")

    def teardown(self) -> None:
        """The same events were written, in the same order."""
        memory, sql = self.ledgers
        assert list(memory.read_events()) == list(sql.read_events())
        sql.close()
        self.folder.cleanup()


TestAgreement = Agreement.TestCase
TestAgreement.settings = settings(max_examples=30, stateful_step_count=40, deadline=None)
