"""Gate and ledger under any sequence of agents, failures and waiting: the promises hold in every one of them.

The model keeps its own books: which proofs are money, what was handed over, what was promised to whom.
"""

from hashlib import sha256

import attrs
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, precondition, rule

from flovia import RefundError
from flovia.core.challenge import Challenge
from flovia.core.errors import LedgerError
from flovia.ledger.memory import MemoryLedger
from flovia.providers.base import Heard, LatePayment, RefundedPayment
from tests.core.world import Clock, Shop, challenges, deliver, pay, problem, request

LEASE_S = 70.0


class Faulty(MemoryLedger):
    """A ledger that fails when told: before the work (``down``) or after it (``lost_ack``)."""

    fault = ""

    def _try(self, verb: str, *arguments: object) -> object:
        if self.fault == "down":
            raise LedgerError("down")
        result = getattr(MemoryLedger, verb)(self, *arguments)
        if self.fault == "lost_ack":
            raise LedgerError("lost")
        return result

    def claim(self, *arguments):
        return self._try("claim", *arguments)

    def settle(self, *arguments):
        return self._try("settle", *arguments)

    def deliver(self, *arguments):
        return self._try("deliver", *arguments)

    def fail(self, *arguments):
        return self._try("fail", *arguments)

    def release(self, *arguments):
        return self._try("release", *arguments)

    def late(self, *arguments):
        return self._try("late", *arguments)

    def open_refund(self, *arguments):
        return self._try("open_refund", *arguments)

    def close_refund(self, *arguments):
        return self._try("close_refund", *arguments)

    def note_refund(self, *arguments):
        return self._try("note_refund", *arguments)


class Teller:
    """Hears webhooks whose body is the notice itself."""

    name = "mock"
    max_webhook = 100
    notice = None

    def webhook(self, headers, body):
        yield from ()
        return Heard(notices=(self.notice,))


@attrs.define
class Credential:
    """A credential and what the model knows about it."""

    header: str
    challenge: Challenge
    proof: str
    issued_at: float
    handed_over: int = 0
    failed: int = 0
    first_presented: float | None = None


def reference(credential):
    """The payment id that the mock gives a credential's proof."""
    return "mock_" + sha256(credential.proof.encode()).hexdigest()[:32]


class GateMachine(RuleBasedStateMachine):
    """Agents ask, pay, replay and vanish; handlers fail; the ledger comes and goes; time passes."""

    asked = Bundle("asked")
    held = Bundle("held")
    running = Bundle("running")

    @initialize()
    def open_shop(self) -> None:
        """One route for a dollar, redeemable for a day, at most three deliveries."""
        self.clock = Clock()
        self.ledger = Faulty(clock=self.clock)
        self.shop = Shop(ledger=self.ledger, clock=self.clock)
        self.paid = self.shop.flovia.paid_api(provider="mock", price="1.00 USD", max_deliveries=3)
        self.credentials: list[Credential] = []
        self.teller = Teller()
        self.hook = self.shop.flovia.webhooks(provider=self.teller)
        self.asked_back: set[str] = set()
        self.gone_back: set[str] = set()
        self.late: set[str] = set()

    @rule(target=asked)
    def ask(self):
        """An unpaid request gets a challenge, or 503 while the ledger is out."""
        response = self.paid.enter(request()).response
        assert response.status == 402
        return challenges(response)[0], self.clock.now

    @rule(
        target=held,
        asked=asked,
        proof=st.sampled_from(["ok", "ok", "pending", "declined", "unknown"]),
        number=st.integers(0, 3),
    )
    def hold(self, asked, proof, number):
        """Make a credential; proofs are reused now and then, under the same and under other challenges."""
        challenge, at = asked
        name = f"{proof}{number}"
        credential = Credential(pay(challenge, name), challenge, name, at)
        self.credentials.append(credential)
        return credential

    @rule(target=running, credential=held)
    def present(self, credential):
        """Present a credential: admitted, or a refusal that fits what happened before."""
        passage = self.paid.enter(request(credential.header))
        if passage.response is None:
            assert credential.proof.startswith("ok"), "only money gets in"
            assert not self._delivered(credential), "a delivered payment does not get in again"
            payment = passage.grant.payment_id
            assert payment not in self.gone_back, "what went back does not get in"
            assert payment not in self.late, "what came too late does not get in"
            return credential, passage
        status, code = passage.response.status, problem(passage.response)
        assert status in (402, 403, 409, 500, 503)
        assert (status == 403) == (code == "payment-refunded")
        assert status != 403 or self._went_back(credential), "only what went back is said to have"
        assert (status == 402) == bool(challenges(passage.response)), "challenges come with 402 and only then"
        if credential.proof.startswith("unknown") and status != 403:
            assert code in (
                "outcome-unknown",
                "ledger-unavailable",
                "in-flight",
                "invalid-challenge",
                "payment-expired",
            )
        if status == 500:
            assert code == "delivery-exhausted"
            assert credential.failed >= 1
        return credential, None

    @rule(
        running=consumes(running),
        status=st.sampled_from([200, 200, 204, 302, 403, 500]),
        completed=st.booleans(),
        raised=st.booleans(),
    )
    def finish(self, running, status, completed, raised):
        """A handler ends, well or not."""
        credential, passage = running
        if passage is None:
            return
        if raised:
            passage.raised()
        start = deliver(self.paid, passage, status, completed)
        good = completed and not raised and status < 400
        assert ("payment-receipt" in dict(start.add)) == (200 <= status < 300 and not raised)
        if good:
            credential.handed_over += 1
        else:
            credential.failed += 1

    @rule(running=consumes(running))
    def vanish(self, running):
        """A worker dies in the middle of a delivery: nobody calls leave()."""
        credential, passage = running
        if passage is not None:
            credential.failed += 1

    @rule(credential=held, amount=st.sampled_from([None, "0.40 USD", "1.00 USD", "1.01 USD"]))
    def give_back(self, credential, amount):
        """The merchant gives a payment back: at most once, and only what was paid."""
        payment = reference(credential)
        try:
            result = self.shop.flovia.refund(payment, amount, provider="mock")
        except LedgerError:
            assert self.ledger.fault
        except RefundError as error:
            if error.code == "refunded" and payment not in self.asked_back:
                raise
        else:
            assert payment not in self.gone_back, "once"
            assert result.status == "refunded" or self.ledger.fault
            self.asked_back.add(payment)
            if result.status == "refunded":
                self.gone_back.add(payment)

    @rule(credential=held, kind=st.sampled_from([LatePayment, RefundedPayment]))
    def hear(self, credential, kind):
        """The provider tells of a payment, true or not, as often as it likes."""
        payment = reference(credential)
        money = {"method": "mock", "payment_id": payment, "amount": 100, "currency": "usd"}
        late = {"challenge_id": credential.challenge.id} if kind is LatePayment else {}
        self.teller.notice = kind(**money, **late)
        known = self.ledger.find_paid(f"mock|{payment}")
        status = self.hook.hear({}, b"").status
        assert status == (503 if self.ledger.fault else 200)
        if self.ledger.fault != "down":
            if kind is RefundedPayment:
                self.asked_back.add(payment)
                self.gone_back.add(payment)
            elif known is None:
                self.late.add(payment)

    @rule(seconds=st.sampled_from([1.0, 20.0, LEASE_S, 301.0]))
    def wait(self, seconds):
        """Time passes."""
        self.clock.advance(seconds)

    @rule(fault=st.sampled_from(["", "", "down", "lost_ack"]))
    def trouble(self, fault):
        """The ledger goes away or comes back."""
        self.ledger.fault = fault

    def _delivered(self, credential: Credential) -> bool:
        view = self.ledger.find(f"api.example.com|{credential.challenge.id}")
        return view is not None and view.state == "delivered"

    def _went_back(self, credential: Credential) -> bool:
        """What this credential paid went back, or what another one paid for the same challenge."""
        same = (one for one in self.credentials if one.challenge.id == credential.challenge.id)
        return any(reference(one) in self.asked_back for one in same)

    @invariant()
    def money_is_taken_once(self):
        """Each challenge and each proof is settled at most once, and events say so exactly."""
        if not hasattr(self, "ledger"):
            return
        # A write whose acknowledgement is lost is told again; a SQL ledger knows the rows, here equal ones are one.
        events = {event for _, event in self.ledger.read_events(limit=100_000)}
        settled = [event for event in events if event.type == "payment.settled"]
        assert len({event.challenge_id for event in settled}) == len(settled)
        assert len({event.payment_id for event in settled}) == len(settled)
        delivered = [e.challenge_id for e in events if e.type in ("payment.delivered", "payment.redelivered")]
        assert set(delivered) <= {event.challenge_id for event in settled}, "nothing is delivered unsettled"
        assert len({event.id for event in events}) == len(events)
        back = [event.payment_id for event in events if event.type == "payment.refunded"]
        assert len(set(back)) == len(back), "one refund for a payment"
        came_late = [event.payment_id for event in events if event.type == "payment.late"]
        assert len(set(came_late)) == len(came_late)
        assert not set(came_late) & {event.payment_id for event in settled}, "late money buys nothing"

    @precondition(lambda self: self.credentials)
    @rule()
    def nobody_is_refused_for_ever(self):
        """Once all is well again, whoever paid and was not served gets in, without paying again."""
        self.ledger.fault = ""
        self.clock.advance(LEASE_S)
        for credential in self.credentials:
            view = self.ledger.find(f"api.example.com|{credential.challenge.id}")
            if view is None or view.state not in ("settled", "delivering") or view.deliveries >= 3 or view.refund_due:
                continue
            mine = [c for c in self.credentials if c.challenge.id == credential.challenge.id]
            entered = [self.paid.enter(request(c.header)) for c in mine]
            let_in = [passage for passage in entered if passage.response is None]
            assert 1 == len({id(passage) for passage in let_in}), "exactly the payer, once at a time"
            deliver(self.paid, let_in[0])
            assert let_in[0].grant.payment_id == view.payment_id
            for c in mine:
                assert self.paid.enter(request(c.header)).response is not None


GateMachine.TestCase.settings = settings(stateful_step_count=40)
TestGateMachine = GateMachine.TestCase
