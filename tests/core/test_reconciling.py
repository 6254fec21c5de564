"""Reconciling: what a provider says about charges nobody presented, and what becomes of it."""

from collections.abc import Callable
from typing import Any

import attrs
import pytest

import flovia
from flovia.core import awaited, reconciling
from flovia.core import events as ev
from flovia.core.awaited import AWAITED, WAITING, Awaited, keep_awaited
from flovia.core.challenge import Challenge, parse_challenges
from flovia.core.effects import ClaimResult, Flow, sleep
from flovia.core.exchange import DELIVERING, ISSUED, PARKED, SETTLED
from flovia.core.keeping import SettleFound
from flovia.core.provider import Paid, Presented, Quote, Terms, Unknown, Verdict, charge_request
from flovia.core.reconcile import Charge, ChargeState, ChargeUnknown, Moved, ReconcilingProvider
from flovia.core.reconciling import CHECKS_S, Reconciliation
from flovia.ledger.memory import MemoryLedger
from flovia.runtime import World, run
from flovia.testing.ledger_steps import ManualClock
from tests.core.world import SECRET, header, pay, request

LIFE_S = 900.0
LATE_S = 3600.0
DAY_S = 86400.0


class Till:
    """A provider whose backend is a dict: by charge, what it says about it."""

    name, rail, method, intent, live, fixed_terms = "till", "mpp", "till", "charge", False, False
    deadline_s, receipt_header, redeem_late_s = 10.0, "payment-receipt", LATE_S

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.charges: dict[str, object] = {}
        self.verdict: Verdict = Unknown()
        self.kept: list[bool] = []
        self.reconcile_pause_s = 0.0

    def quote(self, quote: Quote) -> Flow[Terms]:
        """A charge with a number."""
        yield from ()
        handle = f"charge-{len(self.charges)}"
        self.charges[handle] = ChargeState(asked=quote.price.amount, currency=quote.price.currency)
        return Terms(
            request=charge_request(quote.price, external_id=handle),
            expires_at=self.clock() + LIFE_S,
            own_expiry=True,
            handle=handle,
            handle_kept_s=30 * DAY_S,
        )

    def verify(self, presented: Presented) -> Flow[Verdict]:
        """Whatever it is told to say."""
        yield from ()
        return self.verdict

    def reconcile(self, charge: Charge, *, keep: bool) -> Flow[Any]:
        """What the backend says, after a pause so that it is a flow; or at once."""
        self.kept.append(keep)
        state = self.charges[charge.handle]
        if isinstance(state, Exception):
            raise state
        if state == "at once":
            return ChargeState(asked=100, currency="usd")
        yield from sleep(0.0)
        if state == "raise":
            raise RuntimeError("test: the backend went away")
        return state


def moved(handle: str, amount: int = 100, **more: Any) -> Moved:
    """One payment."""
    return Moved(reference=handle, amount=amount, currency="USD", **more)


def state(*payments: Moved, redeemable: bool = True, over: bool = False, with_paid: bool = True) -> ChargeState:
    """What the backend says of a charge over one dollar."""
    paid = Paid(reference=payments[0].reference, amount=payments[0].amount, currency="usd") if payments else None
    return ChargeState(
        asked=100,
        currency="usd",
        payments=payments,
        redeemable=redeemable,
        over=over,
        paid=paid if with_paid else None,
    )


@attrs.define
class Shop:
    """A route whose provider can be asked."""

    clock: ManualClock
    till: Till
    ledger: MemoryLedger
    flo: flovia.Flovia
    gate: flovia.PaidApi

    def challenge(self) -> tuple[str, Challenge]:
        """A fresh charge: its name and its challenge."""
        passage = self.gate.enter(request())
        (found,) = parse_challenges([header(passage.response, "www-authenticate") or ""])
        return f"charge-{len(self.till.charges) - 1}", found

    def present(self, challenge: Challenge) -> flovia.Passage:
        """The credential comes."""
        return self.gate.enter(request(authorization=pay(challenge)))

    def parked(self) -> tuple[str, Challenge, str]:
        """A charge whose outcome is unknown; with its key."""
        handle, challenge = self.challenge()
        self.till.verdict = Unknown()
        self.present(challenge)
        key = f"{challenge.realm}|{challenge.id}"
        assert PARKED == self.state_of(key)
        return handle, challenge, key

    def state_of(self, key: str) -> str | None:
        """Of a payment."""
        view = self.ledger.find(key)
        return None if view is None else view.state

    def after(self, seconds: float, **options: Any) -> list[tuple[str, str]]:
        """What a run finds so long from now."""
        self.clock.advance(seconds)
        return told(self.flo.reconcile(**options))

    def index(self) -> list[str]:
        """The charges on the index."""
        rows = [*self.ledger.list_texts(AWAITED, "", 99), *self.ledger.list_texts(WAITING, "", 99)]
        return sorted(key.rpartition("|")[2] for key, _ in rows)

    def types(self) -> list[str]:
        """Events of reconciling."""
        return [e.type for _, e in self.ledger.read_events() if e.request_id.startswith("reconcile_")]


def told(found: Reconciliation) -> list[tuple[str, str]]:
    """Status and charge of each finding."""
    return [(finding.status, finding.charge) for finding in found.findings]


def open_shop(ledger: Callable[[Callable[[], float]], MemoryLedger] = lambda clock: MemoryLedger(clock=clock)) -> Shop:
    """A shop with a clock of its own."""
    clock = ManualClock()
    till = Till(clock)
    opened = ledger(clock)
    flo = flovia.Flovia(provider=till, ledger=opened, secret=SECRET, clock=clock)
    return Shop(clock, till, opened, flo, flo.paid_api(price="1.00 USD", redeem_for=DAY_S))


@pytest.fixture
def shop() -> Shop:
    """A shop."""
    return open_shop()


def test_protocol() -> None:
    """What such a provider has."""
    assert isinstance(Till(ManualClock()), ReconcilingProvider)


def test_unpaid(shop: Shop) -> None:
    """An unpaid charge is looked at when it expired, when nothing can land any more, and at its end; then no more."""
    handle, _ = shop.challenge()
    assert [] == shop.after(LIFE_S)
    assert 0 == len(shop.till.kept)
    for wait in (CHECKS_S[0], CHECKS_S[1], LATE_S):
        assert [] == shop.after(wait)
    assert 3 == len(shop.till.kept)
    assert [] == shop.index()
    shop.till.charges[handle] = "at once"
    assert [] == shop.after(0.0, everything=True)
    assert [] == shop.index()


def test_waiting_then_late(shop: Shop) -> None:
    """Paid in time: it waits as long as its credential is taken, and is late then, with its event and refund due."""
    handle, challenge = shop.challenge()
    shop.till.charges[handle] = state(moved(handle))
    assert [("waiting", handle)] == shop.after(LIFE_S + CHECKS_S[0])
    assert [("waiting", handle)] == shop.after(1.0, dry_run=True)
    assert [handle] == shop.index()
    assert [("late", handle)] == shop.after(LATE_S, dry_run=True)
    assert [] == shop.flo.refunds_due()
    assert [("late", handle)] == shop.after(0.0)
    assert [] == shop.after(0.0, everything=True)
    (due,) = shop.flo.refunds_due()
    assert (handle, 100, "usd", challenge.id) == (due.payment_id, due.amount, due.currency, due.challenge_id)
    assert [ev.PAYMENT_LATE] == shop.types()
    assert [False, False] == shop.till.kept[1:3]
    for wait in (DAY_S, 7 * DAY_S):
        assert [] == shop.after(wait)
    assert [handle] == shop.index()
    assert [] == shop.after(21 * DAY_S)
    assert [] == shop.index()


@pytest.mark.parametrize(
    ("found", "status", "type_"),
    [
        (state(moved("charge-0"), redeemable=False), "late", ev.PAYMENT_LATE),
        (state(moved("charge-0", 99)), "unmatched", ev.PAYMENT_UNMATCHED),
        (state(moved("charge-0", given_back=100)), "refunded", ev.PAYMENT_REFUNDED),
    ],
    ids=["late", "unmatched", "refunded"],
)
def test_at_once(shop: Shop, found: ChargeState, status: str, type_: str) -> None:
    """Money that can buy nothing is on record at the first look, once; a dry run only says so."""
    handle, _ = shop.challenge()
    shop.till.charges[handle] = found
    assert [(status, handle)] == shop.after(LIFE_S + CHECKS_S[0], dry_run=True)
    assert [] == shop.types()
    assert [(status, handle)] == shop.after(0.0)
    assert [] == shop.after(0.0, everything=True)
    assert [type_] == shop.types()


def test_other_payments(shop: Shop) -> None:
    """Second payments go back, also those somebody has given back already; nothing is no payment."""
    handle, challenge = shop.challenge()
    second, third = moved("two"), moved("three", given_back=100)
    shop.till.charges[handle] = state(moved(handle), second, third, moved("four", 0), moved("five", partly=True))
    expected = ["second", "refunded", "refunded_in_part", "waiting"]
    assert expected == [status for status, _ in shop.after(LIFE_S + CHECKS_S[0])]
    assert ["refunded_in_part", "waiting"] == [status for status, _ in shop.after(1.0)]
    assert ["two"] == [due.payment_id for due in shop.flo.refunds_due()]
    events = [event for _, event in shop.flo.ledger.read_events()]
    assert ["duplicate"] == [event.reason for event in events if event.type == "payment.late"]
    shop.till.verdict = Paid(reference=handle, amount=100, currency="usd")
    passage = shop.present(challenge)
    assert passage.response is None


def test_given_back_in_part(shop: Shop) -> None:
    """A part that went back is told as long as nobody knows how much it was."""
    handle, _ = shop.challenge()
    shop.till.charges[handle] = state(moved(handle, partly=True))
    assert [("refunded_in_part", handle)] == shop.after(LIFE_S + CHECKS_S[0])


def test_settled_at_the_same_moment() -> None:
    """Whoever settles or tells first wins; the other one's word is not told."""

    class Beaten(MemoryLedger):
        def late(self, *_: object) -> bool:
            return False

        def note_refund(self, *_: object) -> Any:
            return "moved"

    shop = open_shop(lambda clock: Beaten(clock=clock))
    one, two = shop.challenge()[0], shop.challenge()[0]
    shop.till.charges |= {one: state(moved(one), redeemable=False), two: state(moved(two, given_back=1))}
    assert [] == shop.after(LIFE_S + CHECKS_S[0])


def test_s37_what_is_recorded_is_not_shown() -> None:
    """A traceback that shows what was about to be recorded gives away neither the proof nor the receipt."""
    settle = SettleFound("r|c", 1, "mock|test-proof", "pay-1", 100, "usd", '["test-receipt"]', 0.0, ())
    assert "r|c" in repr(settle)
    assert [] == [text for text in ("test-proof", "test-receipt") if text in repr(settle)]


def test_resolved(shop: Shop) -> None:
    """Unknown and paid: settled with no delivery begun, and its own credential redeems it."""
    handle, challenge, key = shop.parked()
    shop.till.charges[handle] = state(moved(handle))
    assert [("resolved", handle)] == shop.after(0.0, dry_run=True)
    assert PARKED == shop.state_of(key)
    assert [("resolved", handle)] == shop.after(0.0)
    assert [] == shop.after(0.0, everything=True)
    view = shop.ledger.find(key)
    assert view is not None
    assert (SETTLED, 0, handle) == (view.state, view.deliveries, view.payment_id)
    assert [ev.PAYMENT_SETTLED] == shop.types()
    passage = shop.present(challenge)
    assert passage.response is None
    assert passage.grant is not None
    assert handle == passage.grant.payment_id
    assert DELIVERING == shop.state_of(key)


def test_unknown_without_what_a_receipt_needs(shop: Shop) -> None:
    """A provider that cannot say what verify would say leaves it to the credential."""
    handle, _, key = shop.parked()
    shop.till.charges[handle] = state(moved(handle), with_paid=False)
    assert [("unknown", handle)] == shop.after(0.0)
    assert PARKED == shop.state_of(key)


def test_unknown_and_unpaid(shop: Shop) -> None:
    """It stays unknown while it could still be paid, and is known not paid then."""
    handle, _, key = shop.parked()
    assert [("unknown", handle)] == shop.after(0.0)
    shop.till.charges[handle] = state(over=True)
    assert [("unknown", handle)] == shop.after(LIFE_S + CHECKS_S[0])
    assert [("not_paid", handle)] == shop.after(CHECKS_S[1], dry_run=True)
    assert PARKED == shop.state_of(key)
    assert [("not_paid", handle)] == shop.after(0.0)
    assert ISSUED == shop.state_of(key)
    (told,) = [one for _, one in shop.ledger.read_events(limit=1000) if one.type == ev.PAYMENT_NOT_MADE]
    assert (key.partition("|")[2], None, "") == (told.challenge_id, told.payment_id, told.http_method)
    other, _, key = shop.parked()
    assert [("not_paid", other)] == shop.after(LIFE_S + LATE_S + 2 * CHECKS_S[0])
    assert ISSUED == shop.state_of(key)


def test_in_use(shop: Shop) -> None:
    """While a request verifies or delivers, nothing is decided."""
    handle, challenge = shop.challenge()
    key = f"{challenge.realm}|{challenge.id}"
    fingerprint = "test"
    shop.clock.advance(LIFE_S + CHECKS_S[1] + 1)
    claim = shop.ledger.claim(key, fingerprint, False, 15.0, 60.0, shop.clock() + DAY_S, 5)
    assert [] == shop.after(0.0)
    shop.till.charges[handle] = state(moved(handle))
    assert [("busy", handle)] == shop.after(0.0, everything=True)
    # Its lease runs out: nobody knows, until the backend is asked.
    assert [("resolved", handle)] == shop.after(15.0)
    assert 1 == claim.fence


def test_taken_at_the_same_moment() -> None:
    """A claim that somebody else gets first, and a proof that somebody else uses first, change nothing."""
    answers: list[str] = []

    class Busy(MemoryLedger):
        def claim(self, *claim: Any) -> ClaimResult:
            return ClaimResult("busy") if answers and answers.pop() == "busy" else super().claim(*claim)

        def settle_found(self, *found: Any) -> Any:
            answer = answers.pop() if answers else None
            return answer or super().settle_found(*found)

    shop = open_shop(lambda clock: Busy(clock=clock))
    handle, _, key = shop.parked()
    shop.till.charges[handle] = state(moved(handle))
    answers[:] = ["busy"]
    assert [("busy", handle)] == shop.after(0.0)
    answers[:] = ["stale", ""]
    assert [("busy", handle)] == shop.after(0.0)
    assert "claimed" == shop.state_of(key)
    shop.clock.advance(60.0)
    answers[:] = ["proof_used", ""]
    assert [("busy", handle)] == shop.after(0.0)
    assert ISSUED == shop.state_of(key)
    handle, _, key = shop.parked()
    answers[:] = ["busy"]
    assert [] == [found for found in shop.after(2 * LATE_S) if found == ("not_paid", handle)]
    assert PARKED == shop.state_of(key)


@pytest.mark.parametrize("answer", ["raise", RuntimeError("test: a bug"), "no state", ChargeUnknown(reason="down")])
def test_no_answer(shop: Shop, answer: object) -> None:
    """Whatever is no answer counts as unknown, is asked again, and three in a row end the run."""
    handles = [shop.challenge()[0] for _ in range(5)]
    shop.till.charges.update(dict.fromkeys(handles, answer))
    shop.clock.advance(LIFE_S + CHECKS_S[0])
    run = shop.flo.reconcile()
    assert (3, False) == (run.asked, run.complete)
    assert {"unknown"} == {finding.status for finding in run.findings}
    assert 5 == len(shop.index())
    assert [] == [status for status, _ in shop.after(0.0, limit=0)]


@pytest.mark.parametrize("dry_run", [False, True])
def test_no_answer_about_any(shop: Shop, dry_run: bool) -> None:
    """A provider that cannot be asked at all says so once; no charge is put off for that, and no payment is named."""
    _, _, key = shop.parked()
    handles = [shop.challenge()[0] for _ in range(4)]
    shop.till.charges.update(dict.fromkeys(shop.till.charges, ChargeUnknown(reason="no key", for_all=True)))
    shop.clock.advance(LIFE_S + CHECKS_S[0])
    run = shop.flo.reconcile(dry_run=dry_run)
    assert [("unknown", "till", "", "", "no key")] == [
        (one.status, one.method, one.charge, one.challenge_id, one.reason) for one in run.findings
    ]
    assert (0, 0, False, 1) == (run.asked, run.in_order, run.complete, len(shop.till.kept))
    assert (5, PARKED) == (len(shop.index()), shop.state_of(key))
    shop.till.charges.update({handle: state(moved(handle)) for handle in ["charge-0", *handles]})
    assert ["resolved", *["waiting"] * 4] == sorted(status for status, _ in shop.after(0.0))


def test_too_slow(shop: Shop) -> None:
    """A provider that exceeds its deadline has said nothing."""
    handle, _ = shop.challenge()
    shop.till.deadline_s = 0.0  # type: ignore[misc]  # this test's own
    shop.till.charges[handle] = state(moved(handle))
    assert [("unknown", handle)] == shop.after(LIFE_S + CHECKS_S[0])


def test_no_charge(shop: Shop) -> None:
    """What is no charge, or was never shown to anybody, is taken off the index."""
    handle, _ = shop.challenge()
    shop.till.charges[handle] = None
    stray = Awaited(method="till", handle="stray", challenge_id="none", due=shop.clock())
    run(keep_awaited(stray), World(ledger=shop.ledger, clock=shop.clock))
    assert [] == shop.after(LIFE_S + CHECKS_S[0])
    assert [] == shop.index()


def test_since_and_limit(shop: Shop) -> None:
    """Older charges are left alone, and no more are asked about than allowed."""
    for _ in range(3):
        shop.challenge()
    shop.clock.advance(LIFE_S + CHECKS_S[0])
    assert 0 == shop.flo.reconcile(since=shop.clock()).asked
    first = shop.flo.reconcile(limit=2)
    assert (2, 2, False) == (first.asked, first.in_order, first.complete)
    second = shop.flo.reconcile(limit=2)
    assert (1, 1, True) == (second.asked, second.in_order, second.complete)


def test_pages(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are, each is looked at once, in the order in which they are due."""
    monkeypatch.setattr(awaited, "PAGE", 2)
    monkeypatch.setattr(reconciling, "PAGE", 2)
    handles = [shop.challenge()[0] for _ in range(5)]
    for handle in handles:
        shop.till.charges[handle] = state(moved(handle))
    parked = [shop.parked()[0] for _ in range(5)]
    shop.clock.advance(LIFE_S + CHECKS_S[0])
    found = shop.after(0.0)
    assert sorted(("waiting", handle) for handle in handles) == sorted(found[:5])
    assert sorted(handle for _, handle in found[5:]) == parked
    assert 5 == len([status for status, _ in shop.after(0.0) if status == "waiting"])
    assert 10 == shop.flo.reconcile(everything=True, limit=100).asked
    assert not shop.flo.reconcile(everything=True, limit=3).complete
    assert not shop.flo.reconcile(limit=3).complete


def test_a_pause_between_charges(shop: Shop) -> None:
    """The backend's rate is left to those who pay."""
    shop.till.reconcile_pause_s = 0.001
    for _ in range(2):
        shop.challenge()
    shop.clock.advance(LIFE_S + CHECKS_S[0])
    assert 2 == shop.flo.reconcile().asked


def test_another_host_is_at_it(shop: Shop) -> None:
    """Two hosts do not ask about the same charge at the same time."""
    handle, _ = shop.challenge()
    shop.clock.advance(LIFE_S + CHECKS_S[0])
    shop.ledger.remember("reconciling", f"till|{handle}", "another", 60.0, True)
    assert 0 == shop.flo.reconcile().asked
    assert [handle] == shop.index()


def test_nobody_to_ask(shop: Shop) -> None:
    """A payment of a provider that cannot be asked stays unknown, and is told."""
    _, challenge, _ = shop.parked()
    found = shop.flo.reconcile(provider="mock").findings
    assert [("unknown", challenge.id)] == [(one.status, one.challenge_id) for one in found]
    assert "no backend" in found[0].reason


@pytest.mark.anyio
async def test_async(shop: Shop) -> None:
    """The same under asyncio and trio."""
    handle, _ = shop.challenge()
    shop.till.charges[handle] = state(moved(handle), redeemable=False)
    shop.clock.advance(LIFE_S + CHECKS_S[0])
    assert [("late", handle)] == told(await shop.flo.areconcile())
