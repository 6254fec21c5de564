"""The live flow over HTTP: every state of a run is what really happened to it."""

import json
import re
from pathlib import Path

import pytest

from tests.patience import eventually
from tests.showcase.conftest import Site, open_site

QUEUED = "The queue of what needs somebody</a> has it."
LABELS = (
    *("Integration", "Live", "Flovia result", "Simulate", "HitPay MPP showcase", "HitPay MPP route"),
    *("With Flovia SDK", "Live flow", "Call the real HitPay MPP endpoint", "Response summary appears here."),
    *("What Flovia joins", "Payment dashboards know who paid. API logs know what was used. Flovia connects them."),
    *("Payment rail", "HitPay / MPP", "checkout URL", "API provider", "Paid API request", "status + latency"),
    *("request id + response", "Flovia join layer", "Joined paid API event", "payment id × request id"),
    *("payer / recipient × endpoint", "amount / status × workflow", "Business output", "Provider decisions"),
    *("which endpoints convert", "which workflows retain", "where to price / upsell"),
)


def test_the_page_before_anything_happened(site: Site) -> None:
    """Everything that is to be seen has its place, and nothing is shown of a call that nobody has made."""
    page = site.http.get("/showcase/hitpay-mpp")
    assert 200 == page.status_code
    assert [] == [label for label in LABELS if label not in page.text]
    assert "data-state-name" not in page.text
    assert [] == site.sandbox.charges()


def test_a_call_that_is_paid(site: Site) -> None:
    """402, pay, 200 with a verified receipt; the ledger joins both requests into one event, which the page shows."""
    run = site.start()
    site.until(run, "pending")
    page = site.page(run)
    assert "mpp_ch_" in page
    assert "<svg viewBox" in page
    assert "opens on this machine" in page
    site.sandbox.pay(site.charge)
    site.until(run, "delivered")
    assert "receipt verified against JWKS" in site.page(run)
    page = eventually(lambda: site.page(run), lambda text: "payment converted into paid API demand" in text)
    assert "payment converted into paid API demand" in page
    paid = [event for _, event in site.flo.ledger.read_events(0, 1000) if event.type == "payment.delivered"]
    assert [site.charge] == [event.payment_id for event in paid]
    assert paid[0].request_id in page
    assert "hidden_" in page


def test_no_secret_is_on_the_page(site: Site, tmp_path: Path) -> None:
    """Neither credential nor receipt token nor key: of each its length."""
    run = site.start()
    site.until(run, "pending")
    (kept,) = (tmp_path / "agent").iterdir()
    credential = json.loads(kept.read_text())["credential"]
    site.sandbox.pay(site.charge)
    site.until(run, "delivered")
    page = site.page(run)
    assert "authorization: Payment (" in page
    assert len(credential) > 200
    assert credential.removeprefix("Payment ") not in page
    assert site.sandbox.api_key not in page
    assert site.sandbox.webhook_salt not in page
    assert None is re.search(r"eyJ[\w-]+\.eyJ[\w-]+\.[\w-]+", page)


def test_declined_and_then_paid(site: Site) -> None:
    """A declined payment is told as such, though the broker has no word for it; the same charge is paid after it."""
    run = site.start()
    site.until(run, "pending")
    site.sandbox.decline(site.charge)
    site.until(run, "declined")
    site.sandbox.pay(site.charge)
    site.until(run, "delivered")
    assert 1 == len(site.sandbox.charges())


def test_expired(site: Site) -> None:
    """The time is over, nobody has paid: no 200, no payment, and the page says so."""
    run = site.start()
    site.until(run, "pending")
    site.sandbox.expire(site.charge)
    site.until(run, "expired")
    assert {} == site.sandbox.money()


def test_paid_twice(site: Site) -> None:
    """A second payment for the charge is on record with its refund due, beside the answer."""
    run = site.start()
    site.until(run, "pending")
    site.sandbox.pay(site.charge)
    site.until(run, "delivered")
    site.sandbox.pay(site.charge, again=True)
    site.until(run, "twice")
    assert "paid twice, refund due" in site.page(run)
    assert 'href="/dashboard/integrity"' in site.page(run)
    assert 200 == site.http.get("/dashboard/integrity").status_code
    (due,) = site.flo.refunds_due()
    assert QUEUED in site.page(run)
    site.flo.refund(due.payment_id)
    page = eventually(lambda: site.page(run), lambda found: "and it went back" in found)
    assert "and it went back" in page
    assert QUEUED not in page


def test_the_provider_is_down(site: Site) -> None:
    """No charge can be made: 503, nobody is asked to pay."""
    site.sandbox.fault("http", 503, route="B1")
    run = site.start()
    site.until(run, "down")
    assert "provider-unavailable" in site.page(run)
    assert [] == site.sandbox.charges()


def test_an_unknown_outcome_is_asked_again(site: Site) -> None:
    """503 to a credential: the same one is presented again, and comes in once HitPay answers. One payment."""
    run = site.start()
    site.until(run, "pending")
    site.sandbox.fault("http", 500, route="B3")
    site.sandbox.pay(site.charge)
    site.until(run, "unknown", "kept")
    assert "nobody is asked to pay twice" in site.page(run)
    site.sandbox.clear()
    found = site.until(run, "delivered", "kept")
    if found == "kept":
        site.http.post(f"{run}/again", headers={"origin": site.url})
        site.until(run, "delivered")
    assert "1.00" == site.sandbox.money()["sgd"]["in"]  # type: ignore[index]


def test_another_amount(site: Site) -> None:
    """Less than was asked for opens nothing."""
    run = site.start()
    site.until(run, "pending")
    site.sandbox.pay(site.charge, amount="0.99")
    site.until(run, "refused")
    assert 1 == len(site.flo.refunds_due())


def test_without_configuration(tmp_path: Path) -> None:
    """503 that names the variables, on the route and on the page; nothing else of the page is missing."""
    with open_site(tmp_path, configured=False) as site:
        answer = site.http.get("/showcase/hitpay-mpp/paid")
        assert 503 == answer.status_code
        assert "hitpay_mpp_not_configured" == answer.json()["error"]
        assert "HITPAY_API_KEY" in answer.json()["detail"]
        run = site.start()
        site.until(run, "unconfigured")
        assert "HITPAY_API_KEY" in site.page(run)


@pytest.mark.parametrize("verb", ["POST", "PUT", "DELETE"])
def test_other_verbs(site: Site, verb: str) -> None:
    """The paid route is for GET alone."""
    answer = site.http.request(verb, "/showcase/hitpay-mpp/paid")
    assert (405, "GET") == (answer.status_code, answer.headers["allow"])
