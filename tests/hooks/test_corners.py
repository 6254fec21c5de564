"""What rarely happens: bodies that somebody read before, currencies of a method's own, overtaken calls."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import flask
import pytest

import flovia_asgi
import flovia_flask
from flovia import CallerError, RefundError
from flovia.core.effects import Deadline
from flovia.core.owed import FindPaid, OpenRefund, late_key
from flovia.core.refunding import refund
from flovia.testing.servers import serve_wsgi
from tests.adapters.behaviour.wire import exchange, head
from tests.hooks.bank import event, sign
from tests.hooks.conftest import Shop


def flask_app(shop: Shop, before: Callable[[], object]) -> flask.Flask:
    """The receiver in an app that looks at each request first."""
    app = flask.Flask("corners")
    app.post("/hooks/bank")(flovia_flask.webhooks(shop.flo))

    @app.before_request
    def look() -> None:
        before()

    return app


@pytest.mark.parametrize("kind", ["application/json", "text/plain"])
def test_a_body_that_flask_has_read(shop: Shop, kind: str) -> None:
    """What a before_request function read is there for the receiver, byte for byte."""
    payment = shop.bank.pay("late-read", shop.challenge(), state="late")
    body = event(payment)
    client = flask_app(shop, lambda: flask.request.get_data()).test_client()
    answer = client.post("/hooks/bank", data=body, content_type=kind, headers={"Bank-Signature": sign(body)})
    assert (200, "accepted") == (answer.status_code, answer.get_json()["code"])
    assert [payment] == [due.payment_id for due in shop.flo.refunds_due()]


def test_a_body_that_flask_has_used_up(shop: Shop) -> None:
    """A form that was parsed has no bytes any more: said in the log, and never taken for an empty webhook."""
    app = flask_app(shop, lambda: flask.request.form)
    app.testing = True
    with pytest.raises(CallerError, match=r"request\.get_data\(\)"):
        app.test_client().post("/hooks/bank", data={"a": "b"}, headers={"Bank-Signature": sign(b"")})


def test_lengths_of_any_shape(shop: Shop) -> None:
    """A length that is no number is refused on the laxest server there is."""
    app = flask_app(shop, lambda: flask.request.get_data())
    with serve_wsgi(app, server="wsgiref") as url:
        for length in ("abc", "-1", "1e3"):
            fields = [("Host", url.removeprefix("http://")), ("Connection", "close"), ("Content-Length", length)]
            reply = exchange(url, head("POST", "/hooks/bank", [*fields, ("Bank-Signature", sign(b"x"))]) + b"x", "POST")
            assert reply.status in (0, 400, 401, 411, 413), (length, reply)


def test_a_currency_of_the_methods_own(shop: Shop) -> None:
    """Amounts in it are told as they are."""
    proof = "hookbank|points1"
    shop.ledger.late(late_key("r", "c", proof), proof, "points1", 7, "points", 1e12, ())
    with pytest.raises(RefundError, match="7 points"):
        shop.flo.refund("points1", "1.00 USD")
    shop.bank.pay("points1", "c", 7, "points")
    assert (7, "points") == ((result := shop.flo.refund("points1")).amount, result.currency)


def test_overtaken(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    """A call that waited longer than its lease tells the truth, though another one has recorded it."""
    caplog.set_level("INFO")
    payment, _ = shop.buy()
    shop.bank.hold = hold = threading.Event()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(shop.flo.refund, payment)
        while shop.bank.held < 1:
            hold.wait(0.01)
        shop.clock.advance(10.0)
        second = pool.submit(shop.flo.refund, payment)
        while shop.bank.held < 2:
            hold.wait(0.01)
        hold.set()
        assert ["refunded", "refunded"] == [first.result().status, second.result().status]
    assert 1 == len(shop.bank.refunds) == len(shop.events("payment.refunded"))
    assert "was recorded by another call" in caplog.text


def test_a_flow_that_nobody_drives_on(shop: Shop) -> None:
    """Dropped in the middle, a refund leaves its order to its lease."""
    payment, _ = shop.buy()
    flow = refund(payment, None, [shop.provider], "mpp")
    effect = flow.send(None)
    while not isinstance(effect, Deadline):
        match effect:
            case FindPaid(proof=proof):
                effect = flow.send(shop.ledger.find_paid(proof))
            case OpenRefund():
                opening = shop.ledger.open_refund(effect.proof, None, None, effect.nonce, effect.lease_s)
                effect = flow.send(opening)
            case _:
                effect = flow.send("test-nonce")
    flow.close()
    with pytest.raises(RefundError, match="another call"):
        shop.flo.refund(payment)


async def test_webhooks_do_not_come_over_a_websocket(shop: Shop) -> None:
    """The ASGI receiver says what is wrong with where it was mounted."""

    async def nothing(*_: object) -> dict[str, object]:
        return {}

    with pytest.raises(CallerError, match="over http, not websocket"):
        await flovia_asgi.webhooks(shop.flo)({"type": "websocket"}, nothing, nothing)  # type: ignore[arg-type]  # never used
