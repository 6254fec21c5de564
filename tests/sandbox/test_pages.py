"""The payer's pages: forms only, no script, nothing from elsewhere, and each button does what it says."""

import re
from html.parser import HTMLParser

import pytest

from flovia.sandbox import Reply
from tests.sandbox.local import KEY, Local


class Page(HTMLParser):
    """What a page holds."""

    def __init__(self, reply: Reply) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.html = reply.body.decode()
        self.feed(self.html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep every element."""
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        """Keep the text."""
        self.text += data

    def actions(self) -> list[str]:
        """Where the forms lead, by their last part."""
        return [str(attrs["action"]).rpartition("/")[2] for tag, attrs in self.tags if tag == "form"]


def checkout(local: Local, charge_id: str, query: str = "") -> Page:
    """The checkout page of a charge."""
    request = local.state.charges[charge_id].request
    reply = local.http("api", f"GET /payment-request/@hitpay/{request}/checkout{query}")
    assert 200 == reply.status
    return Page(reply)


def press(local: Local, charge_id: str, button: str) -> str:
    """Press a button; returns where it leads."""
    request = local.state.charges[charge_id].request
    reply = local.http("api", f"POST /payment-request/@hitpay/{request}/{button}")
    assert 303 == reply.status
    return dict(reply.headers)["location"]


def test_the_page_says_what_it_is() -> None:
    """Price, purpose, QR, three buttons; that it is a sandbox; a title; a viewport for phones; a language."""
    local = Local()
    page = checkout(local, local.charge(amount="1234.50"))
    assert ["pay", "decline", "cancel"] == page.actions()
    for part in ("1234.50 SGD", "Forecast", "nothing here moves real money", "paynow_online", "2030-01-01T00:15:00Z"):
        assert part in page.text
    tags = [tag for tag, _ in page.tags]
    assert tags.count("svg") == tags.count("h1") == tags.count("title") - 1 == 1  # the QR has a title too
    assert ("html", {"lang": "en"}) in page.tags
    assert any(attrs.get("name") == "viewport" for tag, attrs in page.tags if tag == "meta")


def test_nothing_runs_and_nothing_is_fetched() -> None:
    """No script, no address of another place, a policy that allows neither, no frame, no cache."""
    local = Local()
    charge_id = local.charge()
    request = local.state.charges[charge_id].request
    reply = local.http("api", f"GET /payment-request/@hitpay/{request}/checkout")
    fields = dict(reply.headers)
    policy = fields["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert ("no-store", "nosniff") == (fields["cache-control"], fields["x-content-type-options"])
    page = Page(reply)
    assert set() == {tag for tag, _ in page.tags} & {"script", "link", "img", "iframe", "object", "base"}
    assert set() == {name for _, attrs in page.tags for name in attrs} & {"src", "style", "onclick"}
    assert [] == re.findall(r"https?://(?!127\.0\.0\.1)[^\s\"<]+", page.html.replace("http://www.w3.org/2000/svg", ""))


def test_what_others_wrote_is_text() -> None:
    """A description cannot become markup, nor a redirect a script."""
    local = Local()
    charge_id = local.charge(description='<script>alert(1)</script>"&')
    page = checkout(local, charge_id)
    assert "<script" not in page.html
    assert '<script>alert(1)</script>"&' in page.text
    made = local.api(
        "POST /v1/payment-requests", {"amount": 1, "currency": "sgd", "redirect_url": "javascript:alert(1)"}
    )
    request_id = made.json()["id"]
    assert b"javascript:" not in local.http("api", f"GET /payment-request/@hitpay/{request_id}/checkout").body


def test_paying() -> None:
    """Pay, and the page says so; pressed again, nothing more is paid."""
    local = Local()
    charge_id = local.charge()
    where = press(local, charge_id, "pay")
    assert where.endswith("/checkout")
    assert "paid" == local.status(charge_id)
    page = checkout(local, charge_id)
    assert [] == page.actions()
    assert "Paid." in page.text
    press(local, charge_id, "pay")
    press(local, charge_id, "decline")
    assert 1 == len(local.state.payments)


def test_declined_elsewhere() -> None:
    """By the payer's bank, say: the page tells it as if it was declined there, until it is paid."""
    local = Local()
    charge_id = local.charge()
    assert "declined" not in checkout(local, charge_id).text
    press(local, charge_id, "decline")
    assert "declined. You can try again" in checkout(local, charge_id).text
    press(local, charge_id, "pay")
    assert "declined" not in checkout(local, charge_id).text


def test_declining_and_leaving() -> None:
    """Both leave the charge to be paid, and the page says what happened."""
    local = Local()
    charge_id = local.charge()
    where = press(local, charge_id, "decline")
    assert "declined. You can try again" in checkout(local, charge_id, f"?{where.partition('?')[2]}").text
    where = press(local, charge_id, "cancel")
    assert "You left without paying" in checkout(local, charge_id, f"?{where.partition('?')[2]}").text
    assert "pending" == local.status(charge_id)
    assert ["pay", "decline", "cancel"] == checkout(local, charge_id, "?note=unknown").actions()


def test_a_late_payer_can_still_pay() -> None:
    """A QR once shown can be paid after its time; the page says that it is late."""
    local = Local()
    charge_id = local.charge()
    local.advance(900)
    page = checkout(local, charge_id)
    assert ["pay"] == page.actions()
    assert "Pay 1.00 SGD late" in page.text
    press(local, charge_id, "pay")
    assert "expired_paid" == local.state.charges[charge_id].state
    after = checkout(local, charge_id)
    assert "Paid, too late." in after.text
    assert "can go on" not in after.text
    local.api("POST /v1/refund", {"payment_id": local.state.charges[charge_id].payment, "amount": "1.00"}, key=KEY)
    assert "Given back." in checkout(local, charge_id).text


def test_an_ended_request_cannot_be_paid() -> None:
    """A canceled one says so."""
    local = Local()
    charge_id = local.charge()
    request = local.state.charges[charge_id].request
    local.api(f"DELETE /v1/payment-requests/{request}", key=KEY)
    page = checkout(local, charge_id)
    assert [] == page.actions()
    assert "This payment request is canceled" in page.text
    press(local, charge_id, "pay")
    assert {} == local.state.payments


@pytest.mark.parametrize(
    ("redirect", "location"),
    [
        ("http://127.0.0.1:8000/back?a=1", "http://127.0.0.1:8000/back?a=1&reference={id}&status=completed"),
        ("http://localhost:8000/", "http://localhost:8000/?reference={id}&status=completed"),
        ("http://127.0.0.1:8000/\u00e9\r\nx", "http://127.0.0.1:8000/%C3%A9x?reference={id}&status=completed"),
        ("https://shop.example.test/back", "/payment-request/@hitpay/{id}/checkout"),
    ],
)
def test_the_way_back(redirect: str, location: str) -> None:
    """To the merchant with reference and status: by itself on this machine, by a link to anywhere else."""
    local = Local()
    body = {"amount": 1, "currency": "sgd", "redirect_url": redirect}
    request_id = local.api("POST /v1/payment-requests", body).json()["id"]
    reply = local.http("api", f"POST /payment-request/@hitpay/{request_id}/pay")
    assert location.format(id=request_id) == dict(reply.headers)["location"]
    page = Page(local.http("api", f"GET /payment-request/@hitpay/{request_id}/checkout"))
    shown = redirect.replace("\r\n", "")
    assert [f"{shown}{'&' if '?' in redirect else '?'}reference={request_id}&status=completed"] == [
        attrs["href"] for tag, attrs in page.tags if tag == "a"
    ]


@pytest.mark.parametrize(
    "line", ["GET /payment-request/@hitpay/none/checkout", "GET /setup/none", "POST /setup/none/approve"]
)
def test_what_is_not_there(line: str) -> None:
    """A page that says so."""
    reply = Local().http("api", line)
    assert 404 == reply.status
    assert "There is no such" in Page(reply).text


def test_unknown_buttons() -> None:
    """Only the buttons there are."""
    local = Local()
    charge_id = local.charge()
    request = local.state.charges[charge_id].request
    assert 404 == local.http("api", f"POST /payment-request/@hitpay/{request}/fly").status
    saved_id = local.setup(nonce="another-nonce-1").json()["saved_method_id"]
    assert 404 == local.http("api", f"POST /setup/{saved_id}/fly").status


def test_the_setup_page() -> None:
    """It says what the payer allows, and who decides decides once."""
    local = Local()
    saved_id = str(local.setup().json()["saved_method_id"])

    def page(query: str = "") -> Page:
        return Page(local.http("api", f"GET /setup/{saved_id}{query}"))

    for part in ("GrabPay", "10.00 SGD", "25.00 SGD", "4 charges", "2030-04-01T00:00:00Z"):
        assert part in page().text
    assert ["approve", "reject", "cancel"] == page().actions()
    where = dict(local.http("api", f"POST /setup/{saved_id}/cancel").headers)["location"]
    assert "You left without deciding" in page(f"?{where.partition('?')[2]}").text
    local.http("api", f"POST /setup/{saved_id}/approve")
    assert "active" == local.state.saved[saved_id].state
    assert ("Allowed." in page().text, []) == (True, page().actions())
    assert 303 == local.http("api", f"POST /setup/{saved_id}/reject").status
    local.control(f"POST saved-methods/{saved_id}/detach")
    assert "This setup has ended" in page().text


def test_the_setup_page_of_a_recurring_billing() -> None:
    """One that was made through the API has a page as well; no cap is shown that there is not."""
    local = Local()
    body = {
        "customer_email": "payer@example.test",
        "amount": "5.00",
        "currency": "myr",
        "payment_methods": ["touch_n_go"],
        "save_payment_method": True,
        "generate_direct_link": True,
        "redirect_url": "http://127.0.0.1:9/done",
    }
    recurring_id = local.api("POST /v1/recurring-billing", body).json()["id"]
    page = Page(local.http("api", f"GET /setup/{recurring_id}"))
    assert "Touch 'n Go" in page.text
    assert "5.00 MYR" in page.text
    assert "At most" not in page.text
    local.http("api", f"POST /setup/{recurring_id}/reject")
    assert "canceled" == local.state.recurring[str(recurring_id)].status


def test_rejecting_a_setup() -> None:
    """It ends, and the broker knows at once."""
    local = Local()
    saved_id = str(local.setup(max_uses=None, total_amount_cap=None).json()["saved_method_id"])
    local.http("api", f"POST /setup/{saved_id}/reject")
    assert "expired" == local.state.saved[saved_id].state
    assert 303 == local.http("api", f"POST /setup/{saved_id}/approve").status
    assert "expired" == local.state.saved[saved_id].state


def test_a_setup_in_time_only() -> None:
    """After its end the page has no buttons."""
    local = Local()
    saved_id = str(local.setup().json()["saved_method_id"])
    local.advance(900)
    assert [] == Page(local.http("api", f"GET /setup/{saved_id}")).actions()
