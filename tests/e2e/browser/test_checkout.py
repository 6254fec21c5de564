"""A person pays, or does not, on the checkout page while an agent's process waits for it."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e.browser.conftest import Market, open_market
from tests.e2e.browser.looking import PATIENCE_S

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser

NOT_PAID = 5
PAID = {"amount": 100, "currency": "sgd"}


def until(holds: Callable[[], bool]) -> None:
    """Wait for what another process has to do first."""
    give_up = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < give_up, "it never came"
        time.sleep(0.05)


def bought(market: Market, status: int, answer: dict[str, object]) -> None:
    """The agent has its goods and a verified receipt, for one charge."""
    paid = answer["paid"]
    assert isinstance(paid, dict)
    assert (0, 200, "goods") == (status, answer["status"], answer["body"])
    assert PAID == {name: paid[name] for name in PAID}
    assert paid["receipt_verified"] is True
    assert 1 == market.charges


def test_a_person_pays(market: Market, page: "Page") -> None:
    """The page shows the amount and a QR; a click on Pay, and the agent has its answer. One charge, one debit."""
    agent = market.agent()
    page.goto(agent.checkout())
    assert "1.00 SGD" in page.inner_text(".sum")
    assert page.is_visible("svg.qr")
    page.click("button:has-text('Pay')")
    page.wait_for_selector("text=Your agent can go on")
    bought(market, *agent.end())
    assert "1.00" == market.paid_in


def test_without_javascript_and_by_keyboard(market: Market, page: "Page") -> None:
    """The page needs no script, and no mouse."""
    agent = market.agent()
    assert page.context.browser is not None
    context = page.context.browser.new_context(java_script_enabled=False)
    plain = context.new_page()
    plain.goto(agent.checkout())
    plain.keyboard.press("Tab")
    plain.keyboard.press("Enter")
    plain.wait_for_selector("text=Your agent can go on")
    context.close()
    bought(market, *agent.end())


def test_declined_and_then_paid(market: Market, page: "Page") -> None:
    """A declined payment is not the end: the same charge is paid after it."""
    agent = market.agent()
    page.goto(agent.checkout())
    page.click("button:has-text('Decline')")
    page.wait_for_selector("text=was declined")
    page.click("button:has-text('Pay')")
    page.wait_for_selector("text=Your agent can go on")
    bought(market, *agent.end())
    assert "1.00" == market.paid_in


def test_cancelled_and_expired(market: Market, page: "Page") -> None:
    """Who leaves without paying costs nobody anything: the agent is told, and nothing came in."""
    agent = market.agent()
    page.goto(agent.checkout())
    page.click("button:has-text('Cancel')")
    page.wait_for_selector("text=You left without paying")
    (charge,) = market.sandbox.charges()
    market.sandbox.expire(str(charge["id"]))
    status, _ = agent.end()
    assert (NOT_PAID, 1, "0.00") == (status, market.charges, market.paid_in)
    page.reload()
    assert "Expired" in page.title()


def test_paid_twice(market: Market, page: "Page") -> None:
    """A QR that is scanned a second time: one delivery, and the second payment is on record for a refund."""
    agent = market.agent()
    page.goto(agent.checkout())
    page.click("button:has-text('Pay')")
    bought(market, *agent.end())
    (charge,) = market.sandbox.charges()
    market.sandbox.pay(str(charge["id"]), again=True)
    until(lambda: len(market.flo.refunds_due()) == 1)
    (due,) = market.flo.refunds_due()
    assert ("2.00", 100) == (market.paid_in, due.amount)
    market.flo.refund(due.payment_id)
    assert [] == market.flo.refunds_due()


def test_another_amount(market: Market, page: "Page") -> None:
    """Less than was asked for opens nothing, and the agent is not sent round in circles."""
    agent = market.agent()
    page.goto(agent.checkout())
    (charge,) = market.sandbox.charges()
    market.sandbox.pay(str(charge["id"]), amount="0.99")
    page.reload()
    page.wait_for_selector("text=Your agent can go on")
    status, _ = agent.end()
    assert status != 0
    types = [event.type for _, event in market.flo.ledger.read_events(0, 1000)]
    assert ("payment.unmatched" in types, "payment.delivered" in types) == (True, False)


@pytest.mark.parametrize(
    ("knob", "value", "scope"),
    [("webhook", "lost", {}), ("jws", "rotate", {"route": "B3", "next": 1})],
    ids=["webhook lost", "key rotated mid-flight"],
)
def test_it_works_all_the_same(market: Market, page: "Page", knob: str, value: str, scope: dict[str, object]) -> None:
    """What goes wrong behind the scenes costs no second charge and no second debit."""
    market.sandbox.fault(knob, value, **scope)
    agent = market.agent()
    page.goto(agent.checkout())
    page.click("button:has-text('Pay')")
    bought(market, *agent.end())
    assert "1.00" == market.paid_in


def test_a_stuck_broker(tmp_path: Path, page: "Page") -> None:
    """The broker never says that it was paid; the shop, which asks HitPay itself, delivers what was paid for."""
    with open_market(tmp_path, core_fallback=True) as market:
        market.sandbox.fault("broker_status_stuck", "verify")
        agent = market.agent()
        page.goto(agent.checkout())
        page.click("button:has-text('Pay')")
        page.wait_for_selector("text=Your agent can go on")
        status, answer = agent.end()
        assert (0, "goods", 1, "1.00") == (status, answer["body"], market.charges, market.paid_in)
