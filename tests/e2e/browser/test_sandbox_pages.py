"""The sandbox's pages in headless Chromium, on a phone's screen, with JavaScript switched off."""

from collections.abc import Generator
from typing import TYPE_CHECKING

import httpx
import pytest

from flovia.sandbox import Sandbox, serving

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

WAIT_S = 60.0
PHONE = {"width": 375, "height": 667}


@pytest.fixture(scope="module")
def sandbox() -> Generator[Sandbox]:
    """A local HitPay."""
    with serving(seed=1) as found:
        yield found


@pytest.fixture(params=["light", "dark"])
def phone(browser: "Browser", request: pytest.FixtureRequest) -> "Generator[Page]":
    """A phone's screen; whatever the page complains about, or asks of another host, fails the test."""
    context = browser.new_context(viewport=PHONE, color_scheme=request.param, java_script_enabled=False)
    context.set_default_timeout(WAIT_S * 1000)
    found = context.new_page()
    complaints: list[str] = []
    found.on("console", lambda message: complaints.append(message.text))
    found.on(
        "request",
        lambda asked: complaints.append(asked.url) if "//127.0.0.1:" not in asked.url else None,
    )
    yield found
    context.close()
    assert [] == complaints


def make(sandbox: Sandbox, path: str, **members: object) -> dict[str, str]:
    """A charge or a setup."""
    body = {
        "api_key": sandbox.api_key,
        "currency": "sgd",
        "nonce": f"nonce-number-{len(sandbox.state.nonces):04d}",
        "request_hash": "0" * 64,
        **members,
    }
    with httpx.Client(trust_env=False, timeout=WAIT_S) as http:
        reply = http.post(f"{sandbox.broker_url}/v1/{path}", json=body)
    assert 201 == reply.status_code, reply.text
    found: dict[str, str] = reply.json()
    return found


def fits(phone: "Page") -> None:
    """Nothing is wider than the screen, and the style of the page was not refused by its own policy."""
    box = phone.locator("main").bounding_box()
    assert box is not None
    assert box["width"] <= PHONE["width"]
    for element in phone.locator("main *").all():
        found = element.bounding_box()
        if found is not None:
            assert found["x"] >= 0
            assert found["x"] + found["width"] <= PHONE["width"] + 1
    button = phone.get_by_role("button").first
    if button.count():
        height = (button.bounding_box() or {"height": 0})["height"]
        assert height >= 44, "too small for a finger: the style did not apply"


def test_declined_then_paid(phone: "Page", sandbox: Sandbox) -> None:
    """A person declines, tries again, pays; the broker knows, and the page has no button left."""
    charge = make(sandbox, "charges", amount="12.50", description="A forecast for the whole of tomorrow")
    phone.goto(charge["checkout_url"])
    fits(phone)
    assert phone.locator("svg.qr").is_visible()
    phone.get_by_role("button", name="Decline").click()
    phone.get_by_text("The payment was declined. You can try again.").wait_for()
    phone.get_by_role("button", name="Cancel").click()
    phone.get_by_text("You left without paying.").wait_for()
    phone.get_by_role("button", name="Pay 12.50 SGD").click()
    phone.get_by_text("Paid.").wait_for()
    fits(phone)
    assert 0 == phone.get_by_role("button").count()
    assert "paid" == sandbox.state.charges[charge["challenge_id"]].state


def test_a_setup_is_approved(phone: "Page", sandbox: Sandbox) -> None:
    """A person reads what an agent may take, and allows it."""
    setup = make(
        sandbox,
        "saved-payment-methods",
        payment_method="grabpay_direct",
        customer_email="payer@example.test",
        max_amount_per_charge="10.00",
        total_amount_cap="50.00",
    )
    phone.goto(setup["setup_checkout_url"])
    fits(phone)
    phone.get_by_text("50.00 SGD").wait_for()
    phone.get_by_role("button", name="Approve").click()
    phone.get_by_text("Allowed.").wait_for()
    assert "active" == sandbox.state.saved[setup["saved_method_id"]].state
