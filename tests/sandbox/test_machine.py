"""The two state machines: every cell of their tables, and what holds however things interleave."""

import os
from typing import Any, get_args

import hypothesis
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from flovia.core.errors import IllegalTransition
from flovia.sandbox import Answered
from flovia.sandbox.machine import CHARGE, SAVED, step
from flovia.sandbox.records import ChargeState, SavedState
from tests.sandbox.local import KEY, Local, verified

# --- the tables -------------------------------------------------------------------------------------------

CHARGE_VERBS = ("pay", "decline", "expire", "learn", "verify", "refund")
SAVED_VERBS = ("approve", "reject", "expire", "charge", "detach", "revoke")

CHARGE_ROWS = {
    # state: pay, decline, expire, learn, verify, refund
    "pending": ("core_paid", "pending", "expired", None, None, None),
    "core_paid": ("core_paid", None, None, "paid", None, "refunded"),
    "paid": ("paid", None, None, None, "verified", "refunded"),
    "verified": ("verified", None, None, None, "verified", "refunded"),
    "expired": ("expired_paid", None, None, None, None, None),
    "expired_paid": ("expired_paid", None, None, None, None, "refunded"),
    "refunded": ("refunded", None, None, None, None, None),
}
SAVED_ROWS = {
    # state: approve, reject, expire, charge, detach, revoke
    "pending": ("active", "expired", "expired", None, "detached", None),
    "active": (None, None, "expired", "active", "detached", "revoked"),
    "detached": (None,) * 6,
    "revoked": (None,) * 6,
    "expired": (None,) * 6,
}


@pytest.mark.parametrize(
    ("table", "state", "verb", "expected"),
    [
        *(
            (CHARGE, state, verb, to)
            for state, row in CHARGE_ROWS.items()
            for verb, to in zip(CHARGE_VERBS, row, strict=True)
        ),
        *(
            (SAVED, state, verb, to)
            for state, row in SAVED_ROWS.items()
            for verb, to in zip(SAVED_VERBS, row, strict=True)
        ),
    ],
)
def test_cell(table: dict[tuple[str, str], str], state: str, verb: str, expected: str | None) -> None:
    """Every state meets every verb: it moves where the table says, or is refused and says what is possible."""
    if expected is not None:
        assert expected == step("test", table, state, verb)
        return
    with pytest.raises(IllegalTransition) as refused:
        step("test", table, state, verb)
    assert (state, verb) == (refused.value.state, refused.value.verb)


def test_the_tables_know_every_state_and_nothing_else() -> None:
    """The rows above are all states there are, and no cell of the tables is missing from them."""
    assert set(get_args(ChargeState)) == set(CHARGE_ROWS)
    assert set(get_args(SavedState)) == set(SAVED_ROWS)
    for table, rows, verbs in ((CHARGE, CHARGE_ROWS, CHARGE_VERBS), (SAVED, SAVED_ROWS, SAVED_VERBS)):
        cells = sum(cell is not None for row in rows.values() for cell in row)
        assert cells == len(table)
        assert {verb for _, verb in table} == set(verbs)


# --- everything at once ------------------------------------------------------------------------------------

ORDER = {"pending": 0, "core_paid": 1, "expired": 1, "paid": 2, "verified": 3, "expired_paid": 2, "refunded": 4}
SAVED_ORDER = {"pending": 0, "active": 1, "detached": 2, "revoked": 2, "expired": 2}
AMOUNTS = st.sampled_from(["0.30", "1.00", "2.50", "9.99"])
KNOBS = st.sampled_from(
    [
        ("webhook", "lost"),
        ("webhook", "duplicate"),
        ("webhook", "delayed"),
        ("webhook", "out_of_order"),
        ("webhook", "bad_signature"),
        ("webhook", "truncated"),
        ("webhook", "foreign"),
        ("payer", "auto_pay"),
        ("payer", "decline"),
        ("payer", "pay_twice"),
        ("payer", "wrong_amount"),
        ("payer", "late"),
        ("pr_lag", "forever"),
        ("verify", "pending"),
        ("nonce", "race"),
        ("jws", "rotate"),
        ("http", "500"),
        ("http", "reset"),
        ("http", "hang"),
    ]
)


class Sandboxes(RuleBasedStateMachine):
    """Payers, merchants, webhooks, the clock and the operator act in any order, with faults in between.

    The model keeps what must be true at the end: money the test knows to have moved, what was promised.
    """

    charges = Bundle("charges")
    methods = Bundle("methods")

    def __init__(self) -> None:
        super().__init__()
        self.local = Local()
        self.number = 0
        self.states: dict[str, str] = {}
        self.saved_states: dict[str, str] = {}
        self.receipts: dict[str, str] = {}
        self.silent: dict[str, tuple[str, bytes]] = {}

    def nonce(self) -> str:
        """A nonce nobody had before."""
        self.number += 1
        return f"nonce-number-{self.number:06d}"

    @initialize(endpoint=st.booleans())
    def endpoint(self, endpoint: bool) -> None:
        """The merchant may have an endpoint of its own."""
        if endpoint:
            self.local.api(
                "POST /v1/webhook-events",
                {"name": "x", "url": "http://127.0.0.1:9/", "event_types": ["payment_request.completed"]},
            )

    # --- merchant and agent ------------------------------------------------------------------------------

    @rule(target=charges, amount=AMOUNTS, repeat=st.integers(1, 3))
    def create(self, amount: str, repeat: int) -> Any:
        """B1, perhaps repeated: one charge at most."""
        before = len(self.local.state.charges)
        body = self.local.creation(amount=amount, nonce=self.nonce())
        for _ in range(repeat):
            self.local.broker("POST /v1/charges", body)
        made = list(self.local.state.charges)[before:]
        assert len(made) <= 1
        return multiple(*made)

    @rule(charge=charges)
    def poll(self, charge: str) -> None:
        """B2 says paid only where money is."""
        reply = self.local.broker(f"GET /v1/charges/{charge}")
        if reply.ending == "sent" and reply.status == 200 and reply.json()["status"] == "paid":
            assert self.local.state.charges[charge].payment is not None

    @rule(charge=charges, right=st.booleans())
    def verify(self, charge: str, right: bool) -> None:
        """B3 gives a receipt only for money that came in time, for the right request, always the same one."""
        reply = self.local.verify(charge, **({} if right else {"request_hash": "0" * 64}))
        if reply.ending != "sent" or reply.status != 200:
            return
        assert right
        found = self.local.state.charges[charge]
        assert found.payment is not None
        assert found.paid_at is not None
        assert found.paid_at < found.expires_at
        token = str(reply.json()["receipt_jws"])
        _, claims = verified(token, self.keys())
        payment = self.local.state.payments[found.payment]
        assert (charge, payment.id, f"{payment.amount // 100}.{payment.amount % 100:02d}") == (
            claims["charge_id"],
            claims["payment_id"],
            claims["amount"],
        )
        assert self.receipts.setdefault(charge, str(claims["jti"])) == claims["jti"]

    def keys(self) -> dict[str, object]:
        """All keys there ever were."""
        return {"keys": [key.jwk() for key in self.local.state.keys]}

    # --- payer ---------------------------------------------------------------------------------------------

    @rule(charge=charges, verb=st.sampled_from(["pay", "pay", "pay", "decline", "expire", "late_pay"]))
    def act(self, charge: str, verb: str) -> None:
        """Somebody presses a button; it may be too late for it."""
        assert self.local.broker(f"POST /__emulator/charges/{charge}/{verb}").status in (200, 409)

    @rule(charge=charges, button=st.sampled_from(["pay", "decline", "cancel"]))
    def press(self, charge: str, button: str) -> None:
        """The same on the page, which never shows an error for it, unless it is told to."""
        request = self.local.state.charges[charge].request
        reply = self.local.http("api", f"POST /payment-request/@hitpay/{request}/{button}")
        assert reply.ending != "sent" or reply.status in (303, 500)

    @rule(charge=charges, part=st.booleans())
    def refund(self, charge: str, part: bool) -> None:
        """The merchant gives money back, once."""
        found = self.local.state.charges[charge]
        if found.payment is not None:
            payment = self.local.state.payments[found.payment]
            amount = 0.1 if part else payment.amount / 100
            reply = self.local.api("POST /v1/refund", {"payment_id": payment.id, "amount": amount})
            assert reply.ending != "sent" or reply.status in (201, 422, 500)

    # --- saved methods ---------------------------------------------------------------------------------------

    @rule(target=methods, uses=st.sampled_from([None, 1, 3]), total=st.sampled_from([None, "3.00"]))
    def setup(self, uses: int | None, total: str | None) -> Any:
        """B5."""
        before = len(self.local.state.saved)
        self.local.setup(nonce=self.nonce(), max_uses=uses, total_amount_cap=total, max_amount_per_charge="2.50")
        return multiple(*list(self.local.state.saved)[before:])

    @rule(method=methods, verb=st.sampled_from(["approve", "approve", "reject", "detach", "revoke", "expire"]))
    def decide(self, method: str, verb: str) -> None:
        """The payer, or the operator, decides."""
        assert self.local.broker(f"POST /__emulator/saved-methods/{method}/{verb}").status in (200, 409)

    @rule(method=methods, key=st.booleans())
    def look(self, method: str, key: bool) -> None:
        """B6 shows a grant only while it is active."""
        reply = self.local.broker(f"GET /v1/saved-payment-methods/{method}", **({"x_api_key": KEY} if key else {}))
        if reply.ending == "sent" and reply.status == 200:
            assert ("saved_method_jws" in reply.json()) == (reply.json()["status"] == "active")

    @rule(method=methods, amount=AMOUNTS, repeat=st.integers(1, 3))
    def charge(self, method: str, amount: str, repeat: int) -> None:
        """B7, perhaps repeated with the same nonce: one debit at most, and the same answer."""
        before = self.debits()
        nonce = self.nonce()
        answers = [self.local.silent(method, amount=amount, nonce=nonce) for _ in range(repeat)]
        assert self.debits() - before <= 1
        paid = {reply.json()["payment_id"] for reply in answers if reply.ending == "sent" and reply.status == 200}
        assert len(paid) <= self.debits() - before

    def debits(self) -> int:
        """Payments that moved money."""
        return sum(payment.status != "failed" for payment in self.local.state.payments.values())

    # --- the world ---------------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0, 1, 31, 400, 900, 4000]))
    def wait(self, seconds: int) -> None:
        """Time goes by."""
        self.local.advance(seconds)

    @rule(status=st.sampled_from([200, 204, 401, 500, 0]))
    def answer(self, status: int) -> None:
        """The merchant's endpoint answers what it got."""
        posts, self.local.posts = self.local.posts, []
        for post in posts:
            self.local.step(Answered(delivery=post.delivery, status=status))

    @rule(knob=KNOBS, count=st.integers(1, 2))
    def fault(self, knob: tuple[str, str], count: int) -> None:
        """Something goes wrong."""
        self.local.fault(*knob, next=count)

    @rule()
    def heal(self) -> None:
        """Everything works again."""
        self.local.control("DELETE faults")

    @rule(verb=st.sampled_from(["rotate", "retire", "compromise"]))
    def turn_keys(self, verb: str) -> None:
        """Keys change."""
        self.local.control(f"POST keys/{verb}")

    # --- what always holds ---------------------------------------------------------------------------------

    @invariant()
    def forward_only(self) -> None:
        """No state ever goes back."""
        for charge in self.local.state.charges.values():
            before = self.states.get(charge.id, "pending")
            assert ORDER[before] < ORDER[charge.state] or before == charge.state, (before, charge.state)
            self.states[charge.id] = charge.state
        for saved in self.local.state.saved.values():
            before = self.saved_states.get(saved.id, "pending")
            assert SAVED_ORDER[before] < SAVED_ORDER[saved.state] or before == saved.state
            self.saved_states[saved.id] = saved.state

    @invariant()
    def money_in_is_money_recorded(self) -> None:
        """Every payment belongs to one request or recurring billing, and is counted there once."""
        state = self.local.state
        owned = [found for request in state.requests.values() for found in request.payments]
        owned += [found for recurring in state.recurring.values() for found in recurring.payments]
        assert len(owned) == len(set(owned))
        moved = {payment.id for payment in state.payments.values() if payment.status != "failed"}
        assert moved <= set(owned)
        for charge in state.charges.values():
            paid = any(state.payments[found].status != "failed" for found in state.requests[charge.request].payments)
            assert paid == (charge.state not in ("pending", "expired"))
            assert paid == (charge.payment is not None)

    @invariant()
    def refunds_are_single_and_covered(self) -> None:
        """A payment is refunded once, and not for more than it was."""
        refunds = [refund.payment for refund in self.local.state.refunds.values()]
        assert len(refunds) == len(set(refunds))
        for payment in self.local.state.payments.values():
            assert 0 <= payment.refunded <= payment.amount
            assert (payment.refunded > 0) == (payment.id in refunds)

    @invariant()
    def counters_keep_to_the_caps(self) -> None:
        """Silent charges never exceed what the payer allowed, and their counters are the money that moved."""
        state = self.local.state
        for saved in state.saved.values():
            taken = [state.payments[found].amount for found in state.recurring[saved.recurring].payments]
            assert (len(taken), sum(taken)) == (saved.uses, saved.spent)
            assert saved.max_uses is None or saved.uses <= saved.max_uses
            assert saved.total_cap is None or saved.spent <= saved.total_cap
            assert all(amount <= saved.max_per_charge for amount in taken)
            assert saved.grant is None or saved.state != "pending"

    @invariant()
    def one_key_signs(self) -> None:
        """There is always exactly one current key."""
        assert ["current"] == [key.state for key in self.local.state.keys if key.state == "current"]


@pytest.mark.skipif(bool(os.environ.get("FLOVIA_SANDBOX_INTERLEAVINGS")), reason="the long run below does it all")
def test_interleavings() -> None:
    """The invariants hold in every short story that Hypothesis tells."""
    run(hypothesis.settings().max_examples)


def run(examples: int) -> None:
    """So many stories of up to 40 steps."""
    run_state_machine_as_test(
        Sandboxes,
        settings=hypothesis.settings(
            max_examples=examples,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(hypothesis.HealthCheck),
        ),
    )


@pytest.mark.skipif(not os.environ.get("FLOVIA_SANDBOX_INTERLEAVINGS"), reason="set FLOVIA_SANDBOX_INTERLEAVINGS=10000")
@pytest.mark.timeout(3000)
def test_many_interleavings() -> None:
    """The same, at length."""
    run(int(os.environ["FLOVIA_SANDBOX_INTERLEAVINGS"]))
