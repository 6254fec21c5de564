"""flovia_asgi: what it does to an app's messages, on asyncio and on trio, with a server played by the test."""

import logging
from typing import cast

import pytest

import flovia
import flovia_asgi
from flovia import AsgiApp, AsgiMessage, AsgiReceive, AsgiScope, AsgiSend
from flovia.core.exchange import DELIVERED, SETTLED
from tests.adapters.asgi_apps import guard, replying
from tests.adapters.asgi_harness import (
    Request,
    Server,
    ask,
    buy,
    credential_for,
    event_types,
    new_flovia,
    redeem,
    state,
)

# --- the exchange ------------------------------------------------------------------------------------------


async def test_one_payment_buys_one_answer() -> None:
    """Unpaid: 402 with a challenge (S01). Paid: the app's answer with a receipt. Again: refused (S04, S42)."""
    flo = new_flovia()
    app = guard(flo, replying(headers=[(b"content-type", b"text/plain")]))
    unpaid = await ask(app)
    authorization = ("authorization", credential_for(unpaid))
    paid = await ask(app, headers=[authorization])
    again = await ask(app, headers=[authorization])

    assert (402, "payment-required", "no-store") == (unpaid.status, unpaid.problem, unpaid.get("cache-control"))
    assert (200, b"hello", "private") == (paid.status, paid.body, paid.get("cache-control"))
    assert paid.get("payment-receipt")
    assert "text/plain" == paid.get("content-type")
    assert (402, "invalid-challenge") == (again.status, again.problem)
    assert DELIVERED == state(flo, unpaid)


async def test_the_grant_is_in_the_state_of_the_scope() -> None:
    """The handler reads who paid what from scope["state"]["payment"]; what else is in the state stays."""
    seen: list[object] = []

    async def app(scope: AsgiScope, receive: AsgiReceive, send: AsgiSend) -> None:
        seen.append(scope["state"])
        await replying()(scope, receive, send)

    paid = await buy(guard(new_flovia(), app), scope={"state": {"pool": "a pool"}})
    (found,) = cast("list[dict[str, object]]", seen)
    grant = found["payment"]
    assert 200 == paid.status
    assert isinstance(grant, flovia.Grant)
    assert ("mock", 100, "usd", False) == (grant.method, grant.amount, grant.currency, grant.redelivery)
    assert "a pool" == found["pool"]


async def test_an_app_cannot_forge_a_receipt_nor_make_the_answer_public() -> None:
    """The app's own Payment-Receipt is replaced (S23), its public Cache-Control made private (S27)."""
    fields = [(b"Payment-Receipt", b"forged"), (b"Cache-Control", b"public, max-age=60"), (b"X-Own", b"1")]
    paid = await buy(guard(new_flovia(), replying(headers=fields)))
    assert "forged" != paid.get("payment-receipt")
    assert "private, max-age=60" == paid.get("cache-control")
    assert "1" == paid.get("x-own")


async def test_a_message_that_an_app_sends_every_time_is_not_changed() -> None:
    """An app may keep its response start for all requests: no receipt of one buyer gets into it."""
    start: AsgiMessage = {"type": "http.response.start", "status": 200, "headers": [(b"x-own", b"1")]}

    async def app(scope: AsgiScope, receive: AsgiReceive, send: AsgiSend) -> None:
        await send(start)
        await send({"type": "http.response.body", "body": b"hello"})

    guarded = guard(new_flovia(), app)
    first, second = await buy(guarded), await buy(guarded)
    assert [(b"x-own", b"1")] == start["headers"]
    assert first.get("payment-receipt") != second.get("payment-receipt")


@pytest.mark.parametrize(
    ("status", "receipt", "left"),
    [(200, True, DELIVERED), (204, True, DELIVERED), (303, False, DELIVERED)]
    + [(code, False, SETTLED) for code in (400, 403, 404, 500)],
)
async def test_the_final_status_decides(status: int, receipt: bool, left: str) -> None:
    """2xx: receipt and delivered. 3xx: delivered. From 400 on: no receipt, redeemable (S07, S24, S25)."""
    flo = new_flovia()
    app = guard(flo, replying(status))
    unpaid = await ask(app)
    paid = await redeem(app, unpaid)
    assert status == paid.status
    assert receipt == (paid.get("payment-receipt") is not None)
    assert not paid.all("www-authenticate")
    assert left == state(flo, unpaid)


async def test_a_failed_delivery_is_redeemed_with_the_same_credential() -> None:
    """The credential of an answer that failed buys the next one; the grant says that it is a redelivery."""
    answers = iter([500, 200])
    redeliveries: list[bool] = []

    async def app(scope: AsgiScope, receive: AsgiReceive, send: AsgiSend) -> None:
        redeliveries.append(cast("dict[str, flovia.Grant]", scope["state"])["payment"].redelivery)
        await replying(next(answers))(scope, receive, send)

    guarded = guard(new_flovia(), app)
    authorization = ("authorization", credential_for(await ask(guarded)))
    statuses = [(await ask(guarded, headers=[authorization])).status for _ in range(3)]
    assert [500, 200, 402] == statuses
    assert [False, True] == redeliveries


async def test_an_app_that_answers_402_itself_does_not_ask_twice() -> None:
    """A 402 after payment becomes 500 delivery-failed, never a second bill (S02); its body is discarded."""
    flo = new_flovia()
    app = guard(flo, replying(402, body=b"pay me again"))
    unpaid = await ask(app)
    paid = await redeem(app, unpaid)
    assert (500, "delivery-failed") == (paid.status, paid.problem)
    assert b"pay me again" not in paid.body
    assert SETTLED == state(flo, unpaid)


async def test_head_is_challenged_without_a_body_and_never_redeems() -> None:
    """HEAD gets the 402 of GET without its body, and a credential on HEAD is not used up."""
    flo = new_flovia()
    app = guard(flo, replying())
    unpaid = await ask(app)
    credential = credential_for(unpaid)
    head = await ask(app, http_method="HEAD", headers=[("authorization", credential)])
    paid = await ask(app, headers=[("authorization", credential)])
    assert (402, b"") == (head.status, head.body)
    assert head.all("www-authenticate")
    assert 200 == paid.status


async def test_options_does_not_reach_the_app() -> None:
    """A preflight is answered with 204 and costs nothing; the app is not asked."""

    async def app(scope: AsgiScope, receive: AsgiReceive, send: AsgiSend) -> None:
        raise AssertionError("the app ran")

    answer = await ask(guard(new_flovia(), app), http_method="OPTIONS")
    assert (204, b"") == (answer.status, answer.body)


async def test_a_login_beside_the_payment_reaches_the_app() -> None:
    """Several Authorization fields: the one Payment credential counts, two of them are an error (S48)."""
    app = guard(new_flovia(), replying())
    one = ("authorization", credential_for(await ask(app)))
    two = ("authorization", credential_for(await ask(app)))
    both = await ask(app, headers=[one, two])
    joined = await ask(app, headers=[("authorization", f"{one[1]}, {two[1]}")])
    beside = await ask(app, headers=[("authorization", "Bearer test-token"), one])
    assert [400, 400, 200] == [both.status, joined.status, beside.status]
    assert "bad-request" == both.problem


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, 200),
        ({"query": "a=2"}, 402),
        ({"path": "/other"}, 402),
        ({"http_method": "DELETE"}, 402),
        ({"scope": {"root_path": "/v1"}}, 402),
    ],
)
async def test_a_credential_is_good_for_one_request_only(change: Request, expected: int) -> None:
    """Method, whole path and query are bound: a credential for one is refused for another (S04)."""
    app = guard(new_flovia(), replying())
    unpaid = await ask(app, path="/paid", query="a=1")
    other: Request = {"path": "/paid", "query": "a=1", **change}
    assert expected == (await redeem(app, unpaid, **other)).status


async def test_the_whole_path_is_bound_whoever_strips_the_mount_prefix() -> None:
    """A server that leaves root_path out of the path binds the same path as one that includes it."""
    app = guard(new_flovia(), replying())
    unpaid = await ask(app, path="/v1/paid", scope={"root_path": "/v1"})
    assert 200 == (await redeem(app, unpaid, path="/paid", scope={"root_path": "/v1"})).status


@pytest.mark.parametrize("server", [None, ("/run/app.sock", None)])
async def test_a_scope_without_addresses_is_understood(server: object) -> None:
    """ASGI lets client and server be absent, or name a unix socket; only a known stranger is refused."""
    app = guard(new_flovia(public_origin="https://api.test"), replying())
    answer = await ask(app, scope={"client": None, "server": server})
    assert 402 == answer.status


# --- observers, scopes, settings ---------------------------------------------------------------------------


async def test_an_observer_withholds_an_answer_without_a_receipt() -> None:
    """Before an ungated app: 500 internal-payment-error; an endless stream is told to stop."""
    flo = new_flovia()
    endless = 0

    async def app(scope: AsgiScope, receive: AsgiReceive, send: AsgiSend) -> None:
        nonlocal endless
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            endless += 1
            await send({"type": "http.response.body", "body": b"for sale", "more_body": True})

    observed = flovia_asgi.paid(flo.observe(), app)
    streamed = await ask(observed)
    plain = await ask(flovia_asgi.paid(flo.observe(), replying()))
    assert (500, "internal-payment-error") == (streamed.status, streamed.problem)
    assert (500, "internal-payment-error") == (plain.status, plain.problem)
    assert b"for sale" not in streamed.body
    assert 1 == endless
    assert "paid_api.request_failed" in event_types(flo)


async def test_an_observer_lets_a_gated_app_be() -> None:
    """Before an app with its own gate nothing changes, and both requests become one attempt's events."""
    seen = new_flovia(price="2.00 USD")
    inner = guard(new_flovia(), replying())
    observed = flovia_asgi.paid(seen.observe(), inner)
    paid = await buy(observed)
    assert (200, b"hello") == (paid.status, paid.body)
    assert paid.get("payment-receipt")
    assert ["paid_api.request_completed"] * 2 == [
        kind for kind in event_types(seen) if kind.startswith("paid_api.request_c")
    ]


async def test_lifespan_reaches_the_app_as_it_is() -> None:
    """Lifespan scopes are handed on with the server's own channels."""
    seen: list[object] = []

    async def app(scope: AsgiScope, receive: AsgiReceive, send: AsgiSend) -> None:
        seen.extend([scope, receive, send])

    server = Server()
    scope: AsgiScope = {"type": "lifespan"}
    given = [scope, server.receive, server.send]
    await guard(new_flovia(), app)(scope, server.receive, server.send)
    assert given == seen


async def test_a_websocket_is_no_way_around_the_gate() -> None:
    """A websocket is closed before it is accepted, and the app never hears of it."""
    sent: list[AsgiMessage] = []

    async def app(scope: AsgiScope, receive: AsgiReceive, send: AsgiSend) -> None:
        raise AssertionError("the app was reached")

    async def receive() -> AsgiMessage:
        return {"type": "websocket.connect"}

    async def send(message: AsgiMessage) -> None:
        sent.append(message)

    await guard(new_flovia(), app)({"type": "websocket"}, receive, send)
    assert [("websocket.close", 1008)] == [(message["type"], message["code"]) for message in sent]


async def test_paid_takes_a_gate_or_its_settings(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """paid(gate, app) and paid(app, provider=…, price=…) are the same; anything else says what it should be."""
    monkeypatch.setattr("flovia.api._default", new_flovia())
    app = replying()
    with caplog.at_level(logging.CRITICAL):
        by_settings = flovia_asgi.paid(app, provider="mock", rail="mpp", price="3.00 USD")
    assert 402 == (await ask(by_settings)).status
    gate = new_flovia().paid_api()
    with pytest.raises(flovia.CallerError, match="nothing to guard"):
        flovia_asgi.paid(cast("AsgiApp", gate), price="3.00 USD", provider="mock")
    with pytest.raises(flovia.CallerError, match="nothing to guard"):
        flovia_asgi.paid(gate, cast("AsgiApp", "app"))
    with pytest.raises(flovia.WiringError, match="not a guard"):
        flovia_asgi.paid(cast("flovia.PaidApi", app), app)
