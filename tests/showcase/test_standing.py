"""How a run stands whose payment did not simply buy its answer: what is said is true, and what is offered can help."""

import json
import re

import pytest

from flovia.core.operator import Operator
from flovia.core.problems import PROBLEMS
from flovia.insights import join
from flovia.showcase.runs import AT_ONCE, End, Ended, Run
from flovia.showcase.telling import state_of, steps_of
from tests.patience import eventually
from tests.showcase.conftest import Site
from tests.showcase.test_runs import charge_of, joined

AGAIN = "Present the same credential again"


def presented(code: str, status: int, how: End) -> Run:
    """A run that ended with this refusal of its credential; the broker had said that its charge is paid."""
    run = Run("x", lambda: 5.0)
    number = run.log.begin("agent", "GET", "http://a/paid")
    challenge = 'Payment id="i", realm="r", method="hitpay", intent="charge", request="e30"'
    run.log.end(number, 1.0, status=402, got=[("www-authenticate", challenge)])
    run.log.end(run.log.begin("wallet", "GET", "http://b/v1/charges/c"), 1.0, status=200, body='{"status": "paid"}')
    body = json.dumps({"type": PROBLEMS[code].type}) if code else ""
    run.log.end(run.log.begin("agent", "GET", "http://a/paid", paid=True), 1.0, status=status, body=body)
    run.ended = Ended(how=how, reference="r")
    return run


@pytest.mark.parametrize(
    ("code", "how", "name", "again"),
    [
        ("payment-refunded", "answered", "returned", False),
        ("refund-due", "unknown", "returning", False),
        ("delivery-exhausted", "unknown", "exhausted", False),
        ("delivery-failed", "unknown", "owed", True),
        ("delivery-final", "unknown", "final", False),
        ("in-flight", "unknown", "busy", True),
        ("ledger-unavailable", "unknown", "unrecorded", True),
        ("outcome-unknown", "unknown", "kept", True),
        ("payment-insufficient", "refused", "refused", False),
        ("verification-failed", "refused", "refused", False),
        ("invalid-challenge", "refused", "used", False),
        ("payment-expired", "refused", "settling", False),
        ("verification-failed", "unknown", "unpaid", True),
        ("access-denied", "answered", "unanswered", False),
    ],
)
def test_each_refusal_of_a_credential(code: str, how: End, name: str, again: bool) -> None:
    """Its own headline, and the button only where presenting the same again can bring something else."""
    run = presented(code, PROBLEMS[code].status, how)
    state = state_of(run, now=10.0)
    assert (name, again) == (state.name, state.again)
    assert "Outcome still unknown" != state.title or "kept" == name
    if state.paid:
        call, checkout, retry, _ = steps_of(run, state)
        assert ("done", "done", "failed") == (call.progress, checkout.progress, retry.progress)


def test_redeemable_again_is_said_and_offered() -> None:
    """Once somebody made it redeemable again, its agent can come back: not before."""
    run = presented("delivery-exhausted", 500, "unknown")
    assert not state_of(run, joined(join.EXHAUSTED)).again
    assert state_of(run, joined(join.NOT_DELIVERED)).again


@pytest.mark.parametrize("insight", [join.REFUNDED, join.PARTLY_REFUNDED])
def test_what_went_back_is_no_unknown_outcome(insight: str) -> None:
    """Whatever the credential was answered last."""
    for code, how in (("payment-insufficient", "refused"), ("outcome-unknown", "unknown"), ("refund-due", "unknown")):
        run = presented(code, PROBLEMS[code].status, "refused" if how == "refused" else "unknown")
        assert "returned" == state_of(run, joined(insight)).name


def test_another_sum_given_back_and_presented_again(site: Site) -> None:
    """The page says what came, that it went back, and offers nothing that cannot help; a credential says the same."""
    run = site.start("amount")
    site.until(run, "refused")
    page = site.page(run)
    assert "0.99 SGD came, 1.00 SGD asked" in page
    assert AGAIN not in page
    (due,) = site.flo.refunds_due()
    site.flo.refund(due.payment_id, by=Operator(name="kim", note="wrong sum"))
    site.until(run, "returned")
    site.http.post(f"{run}/again", headers={"origin": site.url})
    eventually(lambda: site.page(run), lambda found: "403 payment-refunded" in found)
    site.until(run, "returned")
    page = site.page(run)
    assert AGAIN not in page
    assert "The call failed" not in page
    steps = re.findall(r'<li class="(\w+)"[^>]*><span class="mark"', page)
    assert ["done", "done", "failed", "todo"] == steps


def test_what_happened_while_hitpay_failed(site: Site) -> None:
    """A 200 that took several tries says how many, and that nobody paid twice."""
    run = site.start("unknown")
    site.sandbox.pay(charge_of(site, run))
    site.until(run, "delivered")
    page = site.page(run)
    assert "presented its credential 2 times" in page or "presented its credential 3 times" in page
    assert "nobody paid twice" in page
    usual = site.start()
    site.sandbox.pay(charge_of(site, usual))
    site.until(usual, "delivered")
    assert "nobody paid twice" not in site.page(usual)


def test_the_chosen_trouble_is_shown(site: Site) -> None:
    """In the form and beside the state, after a reload too."""
    run = site.start("amount")
    page = site.page(run)
    assert '<option value="amount" selected>' in page
    assert "Chosen for this call: somebody pays another sum" in page
    assert "leave the checkout page alone" in page
    plain = site.page(site.start())
    assert " selected>" not in plain
    assert "Chosen for this call" not in plain
    assert "leave the checkout page alone" not in plain


def test_expired_and_paid_later(site: Site) -> None:
    """Money that comes after the run has ended: its page says so."""
    run = site.start("expired")
    charge = charge_of(site, run)
    site.until(run, "expired")
    site.sandbox.late_pay(charge)
    site.until(run, "late")
    assert "no payment is known" not in site.page(run)


def test_one_too_many_says_why_and_can_still_be_paid(site: Site) -> None:
    """It stopped waiting: its page says why, the checkout page is a link, and paid there its credential comes in."""
    every = [site.start() for _ in range(AT_ONCE + 1)]
    site.until(every[0], "stopped")
    page = site.page(every[0])
    assert f"{AT_ONCE} calls wait for a payment at a time" in page
    found = re.search(r'id="open-checkout" href="([^"]+)"', page)
    assert found is not None
    assert "Checkout</strong>" in page
    assert "(failed)" not in page
    charge = next(str(one["id"]) for one in site.sandbox.charges() if str(one["id"]) in page)
    site.sandbox.pay(charge)
    site.http.post(f"{every[0]}/again", headers={"origin": site.url})
    site.until(every[0], "delivered")


def test_an_unknown_outcome_is_not_to_be_paid_again() -> None:
    """A run that was stopped while nobody knew the outcome offers no checkout."""
    run = presented("outcome-unknown", 503, "stopped")
    state = state_of(run, now=10.0)
    assert ("stopped", False, True) == (state.name, state.payable, state.again)
