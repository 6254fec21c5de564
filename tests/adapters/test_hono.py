"""The Hono-like router and a PaidApi as its middleware, over every ASGI server we name."""

import json
import socket
from collections.abc import AsyncIterator, Iterator
from urllib.parse import urlsplit

import anyio
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

import flovia
from flovia import middleware
from flovia.testing.servers import ASGI_SERVERS, AsgiServer, serve_asgi
from flovia_hono import Context, Hono, Next, Request, Response, paid
from tests.adapters.asgi_harness import Server, ask, buy, make_scope, paying, serve
from tests.adapters.buyer import Buyer, event_types, new_flovia, payment
from tests.adapters.hono_apps import make_app
from tests.patience import PATIENT_S


@pytest.fixture(scope="module", params=ASGI_SERVERS)
def server(request: pytest.FixtureRequest) -> AsgiServer:
    """The server's name."""
    name: AsgiServer = request.param
    return name


@pytest.fixture(scope="module")
def buyer(server: AsgiServer) -> Iterator[Buyer]:
    """A client of the app on one server."""
    with serve_asgi("tests.adapters.hono_apps:make_app()", server=server) as url:
        yield Buyer(url)


ANSWERS = {
    "/plain": b"whole",
    "/keyword": b"whole",
    "/forging": b"kept",
    "/publishing": b"whole",
    "/dict": b'{"amount": 100, "payer": null}',
    "/list": b'["a", "list"]',
    "/text": b"whole",
    "/bytes": b"whole",
    "/tuple": b'{"made": true}',
    "/empty": b"",
    "/kept": b"kept",
    "/stream": b"whole",
    "/counted": b"whole",
    "/items/7/of/a%20b": b'["7", "a b"]',
    "/files/a/b": b"/files/a/b",
    "/inner": b"whole",
    "/inner/plain": b"whole",
}


@pytest.mark.parametrize("path", ANSWERS)
def test_one_payment_buys_one_answer(buyer: Buyer, path: str) -> None:
    """Whatever a handler returns: 402, then the answer with a receipt, private, then 402 again (S01 S04 S23-S27)."""
    unpaid = buyer.ask(path)
    assert (402, "payment-required", "no-store") == (unpaid.status, unpaid.problem, unpaid.get("cache-control"))
    credential = payment(unpaid)
    paid_answer = buyer.ask(path, [credential])
    status = {"/tuple": 201, "/empty": 204}.get(path, 200)
    assert (status, ANSWERS[path], True) == (paid_answer.status, paid_answer.body, paid_answer.complete)
    assert paid_answer.receipt is not None
    assert "private" == paid_answer.get("cache-control")
    assert (402, "invalid-challenge") == ((used := buyer.again(path, credential)).status, used.problem)


def test_middleware_runs_around_both_answers(buyer: Buyer) -> None:
    """What stands before the guard works on the 402 as on the paid answer, before and after ``await next()``."""
    for answer in (buyer.ask("/plain"), buyer.buy("/plain")[1]):
        assert ("1", "1") == (answer.get("x-before"), answer.get("x-after"))


def test_the_router_comes_first(buyer: Buyer) -> None:
    """404 and 405 before anybody is asked for money (S08); OPTIONS says what is allowed."""
    assert (404, b'{"missing": "/missing"}') == ((lost := buyer.ask("/missing")).status, lost.body)
    assert [404, 404] == [buyer.ask(path).status for path in ("/items/7/of/", "/inner/missing")]
    refused = buyer.ask("/plain", method="DELETE")
    assert (405, "GET, POST") == (refused.status, refused.get("allow"))
    allowed = buyer.ask("/plain", method="OPTIONS")
    assert (204, "GET, POST") == (allowed.status, allowed.get("allow"))
    assert (204, b"") == ((any_verb := buyer.ask("/any", method="OPTIONS")).status, any_verb.body)


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE", "PUT"])
def test_a_route_for_every_method(buyer: Buyer, method: str) -> None:
    """``app.all``: each method is paid for by itself."""
    credential, answer = buyer.buy("/any", method=method)
    assert method.encode() == answer.body
    assert "invalid-challenge" == buyer.ask("/any", [credential], method="POST").problem


def test_head_never_redeems(buyer: Buyer) -> None:
    """HEAD runs the route of GET, gets its 402 without a body, and leaves the credential good for a GET."""
    unpaid = buyer.ask("/plain", method="HEAD")
    assert (402, b"") == (unpaid.status, unpaid.body)
    credential = payment(unpaid)
    assert 402 == buyer.ask("/plain", [credential], method="HEAD").status
    assert 200 == buyer.ask("/plain", [credential]).status
    free = buyer.ask("/free", method="HEAD")
    assert (200, b"", "4") == (free.status, free.body, free.get("content-length"))


def test_a_payment_is_good_for_one_resource(buyer: Buyer) -> None:
    """Another route, parameter, query or mount refuses it."""
    credential = payment(buyer.ask("/items/7/of/a"))
    for path in ("/items/8/of/a", "/items/7/of/a?q=1", "/plain", "/inner/plain"):
        assert (402, "invalid-challenge") == ((other := buyer.ask(path, [credential])).status, other.problem)
    assert 200 == buyer.ask("/items/7/of/a", [credential]).status


@pytest.mark.parametrize(
    ("path", "status"),
    [("/status/404", 404), ("/status/503", 503), ("/handled", 200), ("/inner/raising", 500), ("/replaced", 503)],
)
def test_an_error_page_is_no_delivery(buyer: Buyer, path: str, status: int) -> None:
    """A status of 400 or more, an exception behind any page, and an answer replaced on its way: redeemable (S24)."""
    credential, answer = buyer.buy(path)
    assert (status, None) == (answer.status, answer.get("payment-receipt"))
    assert not answer.all("www-authenticate")
    assert status == buyer.again(path, credential).status


@pytest.mark.parametrize("path", ["/raising", "/nothing"])
def test_an_exception_nobody_handles(buyer: Buyer, path: str) -> None:
    """Our 500 says that the payment stands (S24)."""
    credential, answer = buyer.buy(path)
    for found in (answer, buyer.again(path, credential)):
        assert (500, "delivery-failed", None) == (found.status, found.problem, found.get("payment-receipt"))
        assert b"raised" not in found.body
        assert "1" == found.get("x-after")


def test_a_redirect_is_a_delivery_without_a_receipt(buyer: Buyer) -> None:
    """3xx is what was bought, but has no receipt (S25)."""
    credential, answer = buyer.buy("/status/303")
    assert (303, None, "/plain") == (answer.status, answer.get("payment-receipt"), answer.get("location"))
    assert "invalid-challenge" == buyer.again("/status/303", credential).problem


def test_the_body_is_bound_and_reaches_the_handler(buyer: Buyer) -> None:
    """In one piece or in chunks; another body is refused (S15 S17)."""
    unpaid = buyer.ask("/echo", method="POST", body=[b"first ", b"words"])
    assert 'digest="sha-256=:' in unpaid.all("www-authenticate")[0]
    credential = payment(unpaid)
    refused = buyer.ask("/echo", [credential], method="POST", body=b"other words")
    assert (402, "invalid-challenge") == (refused.status, refused.problem)
    answer = buyer.ask("/echo", [credential], method="POST", body=b"first words")
    assert (200, b"first words") == (answer.status, answer.body)
    _, doubled = buyer.buy("/double", method="PUT", body=b"21")
    assert {"double": 42, "text": "21"} == json.loads(doubled.body)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_over_the_limit(buyer: Buyer, chunked: bool) -> None:
    """One byte more than ``max_body`` is 413."""
    over = b"x" * 1001
    answer = buyer.ask("/echo", method="POST", body=[over] if chunked else over)
    assert (413, "body-too-large") == (answer.status, answer.problem)
    assert 402 == buyer.ask("/echo", method="POST", body=over[1:]).status


def test_several_authorization_fields(buyer: Buyer) -> None:
    """Two fields, or one with a comma: one Payment among others works, two are 400 (S48)."""
    credential = payment(buyer.ask("/plain"))
    other = payment(buyer.ask("/plain"))
    joined = ("Authorization", f"{credential[1]}, {other[1]}")
    for fields in ([credential, other], [joined]):
        assert (400, "bad-request") == ((two := buyer.ask("/plain", fields)).status, two.problem)
    assert 200 == buyer.ask("/plain", [("Authorization", "Bearer test-token"), credential]).status


@pytest.mark.parametrize(
    "field",
    [
        b"Authorization: Payment\r\n e30",
        b"Authorization: Payment e\x0030",
        b"Authorization: Payment \x0be30\x7f",
        b"Authorization: Payment \xc3\xa9\xff",
        b"Authorization: Payment",
        b"Authorization: Payment " + b"A" * 60_000,
        b"Content-Length: 12abc",
        b"Transfer-Encoding: chunked\r\nContent-Length: 3",
    ],
    ids=["folded", "nul", "control", "not-ascii", "nothing", "huge", "no-number", "two-lengths"],
)
def test_bytes_no_honest_client_sends(buyer: Buyer, field: bytes) -> None:
    """Folded lines, control characters and absurd lengths are refused, by the server or by us; never a 5xx."""
    host = urlsplit(buyer.url)
    with socket.create_connection((host.hostname or "", host.port or 0), timeout=PATIENT_S) as wire:
        wire.sendall(b"GET /plain HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" + field + b"\r\n\r\n")
        wire.shutdown(socket.SHUT_WR)
        first = wire.recv(65536).split(b" ", 2)
    assert len(first) < 2 or first[1][:1] == b"4"


def test_an_answer_that_breaks_off_is_no_delivery(buyer: Buyer) -> None:
    """A stream that fails after its first piece or is shorter than announced, and a client that leaves: redeemable."""
    credential, answer = buyer.buy("/breaks")
    assert (200, b"part", False) == (answer.status, answer.body, answer.complete)
    assert 200 == buyer.again("/breaks", credential).status

    credential, answer = buyer.buy("/short")
    assert (200, False) == (answer.status, answer.complete)
    assert 200 == buyer.again("/short", credential).status

    credential = payment(buyer.ask("/endless"))
    for _ in range(2):
        while True:
            connection = buyer.connection()
            connection.request("GET", "/endless", headers=dict([credential]))
            response = connection.getresponse()
            first = response.read(1)
            response.close()
            connection.close()
            if response.status != 409:
                break
        assert (200, b"x") == (response.status, first)


def test_an_answer_used_again(buyer: Buyer) -> None:
    """A handler may return one object for ever: receipts never stick to it."""
    _, first = buyer.buy("/kept")
    _, second = buyer.buy("/kept")
    assert first.receipt != second.receipt
    free = buyer.ask("/kept-free")
    assert (b"kept", [], []) == (free.body, free.all("payment-receipt"), free.all("cache-control"))


def test_an_observer(buyer: Buyer) -> None:
    """A success that nobody paid for is withheld, streamed or not; HEAD passes."""
    for path in ("/observed", "/observed-stream"):
        withheld = buyer.ask(path)
        assert (500, "internal-payment-error") == (withheld.status, withheld.problem)
        assert b"lunch" not in withheld.body
        assert b"wh" != withheld.body[:2]
        assert 200 == buyer.ask(path, method="HEAD").status


def test_what_a_handler_knows_of_its_request(buyer: Buyer) -> None:
    """URL, path and query, as the client wrote them."""
    _, answer = buyer.buy("/request?q=a%20b&q=c&none")
    netloc = urlsplit(buyer.url).netloc
    expected = {"url": f"http://{netloc}/request?q=a%20b&q=c&none", "path": "/request", "q": "a b", "none": ""}
    assert expected == json.loads(answer.body)


# --- one request at a time, on asyncio and trio ------------------------------------------------------------------


@pytest.mark.anyio
async def test_the_line_as_it_was_first_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """``app.get("/paid", flovia.paid_api(provider=…, rail=…, price=…), handler)`` and nothing else."""
    monkeypatch.setenv("FLOVIA_LEDGER", "memory://")
    monkeypatch.setattr("flovia.api._default", None)

    async def handler(c: Context) -> Response:
        return c.json({"foo": "bar"})

    app = Hono()
    app.get("/paid", flovia.paid_api(provider="mock", rail="mpp", price="1.00 USD"), handler)
    app.get("/too", paid(provider="mock", price="2.00 USD"), handler)
    for path in ("/paid", "/too"):
        assert (200, b'{"foo": "bar"}') == ((answer := await buy(app, path=path)).status, answer.body)


@pytest.mark.anyio
async def test_nothing_is_buffered() -> None:
    """Each piece is sent before the next is made, and the delivery noted after the last message."""
    settings = new_flovia()
    wire = Server()
    seen: list[int] = []

    async def pieces() -> AsyncIterator[bytes]:
        for number in range(3):
            seen.append(len(wire.sent))
            yield b"%d" % number
        seen.append(len(wire.sent))
        assert "payment.delivered" not in event_types(settings)

    app = Hono()
    app.get("/paid", settings.paid_api(), lambda c: pieces())
    await serve(app, make_scope(**paying(await ask(app))), wire)
    # The start, then one message a piece.
    assert [1, 2, 3, 4] == seen
    assert (b"012", True) == (wire.answer.body, wire.answer.complete)
    assert 1 == event_types(settings).count("payment.delivered")


@pytest.mark.anyio
async def test_a_client_that_leaves_stops_the_stream() -> None:
    """The handler's generator is closed at once, even while it waits, and the payment can be redeemed."""
    settings = new_flovia()
    closed: list[bool] = []
    wire = Server()

    async def pieces() -> AsyncIterator[bytes]:
        try:
            yield b"one"
            wire.hang_up()
            await anyio.sleep_forever()
        finally:
            closed.append(True)

    app = Hono()
    app.get("/paid", settings.paid_api(), lambda c: pieces())
    request = paying(await ask(app))
    await serve(app, make_scope(**request), wire)
    assert [True] == closed
    assert 1 == event_types(settings).count("payment.delivery_failed")
    assert "payment.delivered" not in event_types(settings)


@pytest.mark.anyio
async def test_a_cancelled_request_is_no_delivery() -> None:
    """The server gives up while the handler works: noted once, in spite of the cancellation."""
    settings = new_flovia()
    working = anyio.Event()

    async def waiting(c: Context) -> object:
        working.set()
        await anyio.sleep_forever()
        return "never"

    app = Hono()
    app.get("/paid", settings.paid_api(), waiting)
    request = paying(await ask(app))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(serve, app, make_scope(**request), Server())
        await working.wait()
        tasks.cancel_scope.cancel()
    assert 1 == event_types(settings).count("payment.delivery_failed")


@pytest.mark.anyio
async def test_a_client_that_leaves_while_sending() -> None:
    """Nobody is left to answer: no challenge is made, nothing is sent, nothing is raised."""
    settings = new_flovia()
    app = Hono()
    app.post("/paid", settings.paid_api(), lambda c: "never")
    wire = Server([b"one", b"two"])
    wire.hang_up()
    await serve(app, make_scope(http_method="POST", body=[b"one", b"two"]), wire)
    assert [] == wire.sent
    assert [] == event_types(settings)


@pytest.mark.anyio
async def test_a_long_stream_keeps_its_lease() -> None:
    """While pieces flow the lease is renewed: after more than its length nobody else may redeem."""
    now = [1_700_000_000.0]
    settings = flovia.Flovia(
        provider="mock", price="1.00 USD", ledger="memory://", secret="test-secret-" * 4, clock=lambda: now[0]
    )
    meanwhile: list[int] = []

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"piece"
            now[0] += 40
            meanwhile.append((await ask(app, **request)).status)

    app = Hono()
    app.get("/paid", settings.paid_api(deliver_within=60), lambda c: pieces())
    request = paying(await ask(app))
    assert 200 == (await ask(app, **request)).status
    assert [409, 409, 409] == meanwhile


@pytest.mark.anyio
async def test_a_mounted_router_binds_the_whole_path() -> None:
    """Below a mount of another framework the path includes the prefix, also where a server leaves it out."""
    app = Hono()
    app.get("/paid", new_flovia().paid_api(), lambda c: f"{c.req.path} {c.req.route_path}")
    outside = Starlette(routes=[Mount("/a", app), Mount("/b", app)])
    request = paying(await ask(outside, path="/a/paid"), path="/a/paid")
    assert b"/a/paid /paid" == (await ask(outside, **request)).body
    stolen = paying(await ask(outside, path="/a/paid"), path="/b/paid")
    assert 402 == (await ask(outside, **stolen)).status
    older = await buy(app, path="/paid", scope={"root_path": "/old"})
    assert b"/old/paid /paid" == older.body


@pytest.mark.anyio
async def test_without_on_error_the_server_answers() -> None:
    """An exception of a free route is raised to the server, which logs it; behind a guard it is a problem."""
    app = Hono()

    def raising(c: Context) -> object:
        raise RuntimeError("for the server")

    async def forgetful(c: Context, next: Next) -> None:
        """Neither answers nor goes on."""

    app.get("/free", raising)
    app.get("/paid", new_flovia().paid_api(), raising)
    app.get("/forgetful", forgetful, raising)
    with pytest.raises(RuntimeError, match="for the server"):
        await ask(app, path="/free")
    with pytest.raises(flovia.CallerError, match="no answer"):
        await ask(app, path="/forgetful")
    assert "delivery-failed" == (await buy(app, path="/paid")).problem
    assert 404 == (await ask(app, path="/missing")).status


@pytest.mark.anyio
async def test_a_failing_close_is_still_the_end() -> None:
    """A body whose aclose() raises: the passage is left all the same, once."""
    settings = new_flovia()

    class Stubborn:
        """One piece, and a close that fails."""

        def __aiter__(self) -> AsyncIterator[bytes]:
            return self._pieces()

        async def _pieces(self) -> AsyncIterator[bytes]:
            yield b"one"

        async def aclose(self) -> None:
            """Fail."""
            raise RuntimeError("will not close")

    app = Hono()
    app.get("/paid", settings.paid_api(), lambda c: Stubborn())
    request = paying(await ask(app))
    with pytest.raises(RuntimeError, match="will not close"):
        await ask(app, **request)
    assert 1 == event_types(settings).count("payment.delivered")


@pytest.mark.anyio
async def test_a_second_leave_is_not_possible() -> None:
    """However often a router closes a body, the end is noted once."""
    settings = new_flovia()
    kept: list[Response] = []

    async def watching(c: Context, next: Next) -> None:
        await next()
        assert c.res is not None
        kept.append(c.res)

    app = Hono()
    app.get("/paid", watching, settings.paid_api(), lambda c: "whole")
    request = paying(await ask(app))
    await ask(app, **request)
    for _ in range(2):
        await kept[-1].body.aclose()  # type: ignore[union-attr]  # a body that is no bytes here
    assert 1 == event_types(settings).count("payment.delivered")


@pytest.mark.anyio
async def test_only_http_and_the_lifespan_are_served() -> None:
    """A websocket is left to the server to refuse."""
    wire = Server()
    await serve(make_app(), {**make_scope(), "type": "websocket"}, wire)
    assert [] == wire.sent


def test_the_router_keeps_to_the_protocols() -> None:
    """flovia_hono is an example of what flovia.middleware asks of any router; type checkers look at this."""
    context: type[middleware.Context] = Context
    request: type[middleware.Request] = Request
    response: type[middleware.Response] = Response
    assert [Context, Request, Response] == [context, request, response]
