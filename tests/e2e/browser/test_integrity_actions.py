"""An operator works the integrity queue in a browser, and HitPay's sandbox gives the money back."""

import re
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest

import flovia
from flovia.core.challenge import Challenge, parse_challenges
from flovia.core.credential import Credential, format_credential
from flovia.core.events import Event
from flovia.dashboard import Dashboard
from flovia.providers.hitpay import HitPayConfig, HitPayProvider
from flovia.sandbox import Sandbox, serving
from flovia.testing.servers import serve_asgi
from tests.core.world import deliver, request
from tests.e2e.hitpay.conftest import ident

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser


@attrs.frozen(kw_only=True)
class Office:
    """A sandbox, a shop whose handler fails, and its dashboard."""

    sandbox: Sandbox
    flo: flovia.Flovia
    gate: flovia.PaidApi
    url: str

    def sell(self) -> str:
        """A call that is paid by HitPay and not delivered: its payment."""
        response = self.gate.enter(request()).response
        assert response is not None
        found: list[Challenge] = parse_challenges([v for n, v in response.headers if n == "www-authenticate"])
        self.sandbox.pay(ident(found[0]))
        token = format_credential(Credential(found[0], {"challenge_id": ident(found[0])}))
        passage = self.gate.enter(request(token))
        assert passage.grant is not None
        deliver(self.gate, passage, 500)
        self.flo.ledger.flush()
        return passage.grant.payment_id

    def acts(self) -> list[tuple[str, str | None]]:
        """What was done, and by whom."""
        events: list[Event] = [event for _, event in self.flo.ledger.read_events()]
        return [(one.type, one.operator) for one in events if one.operator is not None]

    @property
    def returned(self) -> str:
        """SGD that went back, by the sandbox."""
        found = self.sandbox.money()["sgd"]
        assert isinstance(found, dict)
        return str(found["refunded"])


@pytest.fixture
def office(tmp_path: Path) -> Generator[Office]:
    """One office, with its own login: everybody is Alice."""
    with serving(seed=7) as sandbox:
        config = HitPayConfig(
            api_key=sandbox.api_key,
            webhook_salts=(sandbox.webhook_salt,),
            broker=sandbox.broker_url,
            api=sandbox.api_url,
        )
        flo = flovia.Flovia(
            provider=HitPayProvider(config),
            price="1.00 SGD",
            ledger=f"sqlite:///{tmp_path}/ledger.db",
            secret="test-secret-of-32-characters-000",
        )
        with (
            closing(flo),
            closing(Dashboard(flo, authorize=lambda _: "alice")) as dashboard,
            serve_asgi(dashboard) as url,
        ):
            yield Office(sandbox=sandbox, flo=flo, gate=flo.paid_api(), url=url)


def test_given_back_through_hitpay(page: "Page", office: Office) -> None:
    """From the queue to the finding, one step before it goes back, and what became of it; then the queue is empty."""
    payment = office.sell()
    page.goto(f"{office.url}/integrity")
    page.get_by_role("link", name=re.compile("Work on it")).click()
    page.get_by_label("Why (others see it later)").last.fill("The handler is down")
    page.get_by_role("button", name="Give back …").click()
    page.get_by_role("heading", name="Give back 1.00 SGD?").wait_for()
    assert payment in page.inner_text("main")
    assert "0.00" == office.returned
    page.get_by_role("button", name="Give back 1.00 SGD").click()
    page.get_by_role("heading", name="Given back").wait_for()
    page.reload()
    assert "The handler is down" in page.inner_text("main")
    acts = [("payment.refund_asked", "alice"), ("payment.refunded", "alice")]
    assert ("1.00", acts) == (office.returned, office.acts())
    page.get_by_role("link", name="Integrity").last.click()
    page.get_by_text("Nothing waits for anybody.").wait_for()


def test_an_outcome_that_nobody_knows(page: "Page", office: Office) -> None:
    """HitPay has given back and its answer is lost: that is told, and asking again finds the same refund."""
    office.sell()
    office.sandbox.fault("http", "reset", route="refunds.create", next=1, after_commit=True)
    page.goto(f"{office.url}/integrity")
    page.get_by_role("link", name=re.compile("Work on it")).click()
    page.get_by_role("button", name="Give back …").click()
    page.get_by_role("button", name="Give back 1.00 SGD").click()
    page.get_by_role("heading", name="Nobody knows whether it went back").wait_for()
    page.get_by_role("button", name="Ask for the same again …").click()
    page.get_by_role("button", name="Give back 1.00 SGD").click()
    page.get_by_role("heading", name="Given back").wait_for()
    assert "1.00" == office.returned
    asked = ("payment.refund_asked", "alice")
    assert [asked, ("payment.refund_failed", "alice"), asked, ("payment.refunded", "alice")] == office.acts()


def test_two_tabs(page: "Page", office: Office) -> None:
    """In both the money is about to go back: it goes once, and the second tab is told so."""
    office.sell()
    other = page.context.new_page()
    for tab in (page, other):
        tab.goto(f"{office.url}/integrity")
        tab.get_by_role("link", name=re.compile("Work on it")).click()
        tab.get_by_role("button", name="Give back …").click()
    page.get_by_role("button", name="Give back 1.00 SGD").click()
    page.get_by_role("heading", name="Given back").wait_for()
    with other.expect_response(lambda answer: answer.request.method == "POST") as answered:
        other.get_by_role("button", name="Give back 1.00 SGD").click()
    assert 400 == answered.value.status
    assert "it went back already" in other.inner_text("main")
    assert ("1.00", 2) == (office.returned, len(office.acts()))


def test_explained_and_delivered_again_without_a_script(browser: "Browser", office: Office) -> None:
    """With JavaScript off, by keyboard alone: a note is asked for, and the page says who explained it; then it is due
    again, because somebody lets it be delivered after all.
    """
    office.sell()
    context = browser.new_context(java_script_enabled=False)
    with closing(context):
        page = context.new_page()
        page.goto(f"{office.url}/integrity")
        page.get_by_role("link", name=re.compile("Work on it")).press("Enter")
        page.get_by_role("button", name="Mark as explained").press("Enter")
        assert not page.url.endswith("done=explain"), "a browser asks for the note"
        page.get_by_label("Why nothing is to be done").fill("Sent by mail")
        page.get_by_role("button", name="Mark as explained").press("Enter")
        page.get_by_role("heading", name="Explained").first.wait_for()
        assert "Sent by mail" in page.inner_text("main")
        page.get_by_role("button", name="Make redeemable again").press("Enter")
        page.get_by_role("heading", name="Redeemable again").wait_for()
        page.get_by_text("waits for its agent", exact=True).wait_for()
    assert [("payment.explained", "alice"), ("payment.reopened", "alice")] == office.acts()


def test_given_back_without_a_script(browser: "Browser", office: Office) -> None:
    """With JavaScript off, by keyboard alone; what was typed is kept from step to step, and is in no address."""
    office.sell()
    context = browser.new_context(java_script_enabled=False)
    with closing(context):
        page = context.new_page()
        asked: list[str] = []
        page.on("request", lambda found: asked.append(found.url))
        page.goto(f"{office.url}/integrity")
        page.get_by_role("link", name=re.compile("Work on it")).press("Enter")
        page.get_by_label("Why (others see it later)").last.fill("Bob was told")
        page.get_by_role("button", name="Give back …").press("Enter")
        page.get_by_role("heading", name="Give back 1.00 SGD?").wait_for()
        assert "Bob was told" in page.inner_text("main")
        page.get_by_role("button", name="Give back 1.00 SGD").press("Enter")
        page.get_by_role("heading", name="Given back").wait_for()
        assert "Bob was told" in page.inner_text("main")
        assert [] == [url for url in asked if "Bob" in url]
    acts = [("payment.refund_asked", "alice"), ("payment.refunded", "alice")]
    assert ("1.00", acts) == (office.returned, office.acts())


@pytest.mark.parametrize("width", [360, 1440])
def test_nothing_is_cut_off(page: "Page", office: Office, width: int) -> None:
    """On a phone and on a desk: no page is wider than the window, and every field has a name."""
    office.sell()
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(f"{office.url}/integrity")
    page.get_by_role("link", name=re.compile("Work on it")).click()
    page.wait_for_url("**/integrity/**")
    for _ in range(2):
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        fields = page.locator("main input:not([type=hidden]), main textarea, main button")
        assert all(
            fields.nth(number).evaluate("one => one.labels?.length > 0 || one.innerText")
            for number in range(fields.count())
        )
        if page.get_by_role("button", name="Give back …").count():
            page.get_by_role("button", name="Give back …").click()
