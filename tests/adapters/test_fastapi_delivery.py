"""flovia_fastapi: what counts as a delivery, among the framework's handlers, middleware and tasks."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import cast

import anyio
import pytest
from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException, Request, Response
from fastapi.exceptions import ResponseValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.middleware.gzip import GZipMiddleware
from fastapi.responses import PlainTextResponse, StreamingResponse
from fastapi.sse import EventSourceResponse
from starlette.middleware.base import BaseHTTPMiddleware

import flovia
import flovia_fastapi
from flovia.core.exchange import DELIVERED, SETTLED
from tests.adapters.asgi_harness import (
    Answer,
    Server,
    ask,
    buy,
    event_types,
    make_scope,
    new_flovia,
    paying,
    redeem,
    serve,
    state,
)

Endpoint = Callable[..., object]


class Shop:
    """An app with one paid endpoint, and where its payments stand."""

    def __init__(self, **route: object) -> None:
        self.flo = new_flovia()
        make: Callable[..., flovia.PaidApi] = self.flo.paid_api
        self.paid = flovia_fastapi.paid(make(**route))
        self.app = FastAPI()

    def sell(self, view: Endpoint, path: str = "/paid", **route: object) -> None:
        """Make a view paid, and the app ready."""
        register: Callable[..., Callable[[Endpoint], Endpoint]] = self.app.api_route
        register(path, methods=["GET", "POST"], **route)(self.paid(view))
        flovia_fastapi.install(self.app)

    async def run(self, unpaid: Answer, path: str = "/paid") -> tuple[Answer, BaseException | None]:
        """Pay and ask again; what the server would log comes with the answer."""
        server = Server()
        try:
            await serve(self.app, make_scope(**paying(unpaid, path=path)), server)
        except Exception as error:
            return server.answer, error
        return server.answer, None


# --- exceptions and their pages ----------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 403, 404, 409, 503])
async def test_an_http_exception_after_payment_is_no_delivery(status: int) -> None:
    """A view that refuses after payment: its own status, no receipt, redeemable (S07, S24)."""
    shop = Shop()

    async def view() -> None:
        raise HTTPException(status, "no")

    shop.sell(view)
    unpaid = await ask(shop.app)
    answer, error = await shop.run(unpaid)
    assert (status, b'{"detail":"no"}', None) == (answer.status, answer.body, error)
    assert not answer.all("payment-receipt")
    assert SETTLED == state(shop.flo, unpaid)
    assert [status] == [
        event.status for _, event in shop.flo.ledger.read_events() if event.type == "paid_api.request_failed"
    ]


@pytest.mark.parametrize("error", [ZeroDivisionError, ResponseValidationError, Exception])
async def test_an_error_page_that_says_200_is_no_delivery(error: type[Exception]) -> None:
    """A handler that makes a 200 page of an exception, of the view or of its result's serialisation."""
    shop = Shop()

    async def friendly(request: Request, error: Exception) -> Response:
        return PlainTextResponse("everything is fine")

    async def view() -> int:
        if error is ResponseValidationError:
            return cast("int", "not a number")
        return 1 // 0

    shop.app.add_exception_handler(error, friendly)
    shop.sell(view)
    unpaid = await ask(shop.app)
    answer, _ = await shop.run(unpaid)
    assert (200, b"everything is fine", []) == (answer.status, answer.body, answer.all("payment-receipt"))
    assert SETTLED == state(shop.flo, unpaid)
    assert "paid_api.request_failed" in event_types(shop.flo)


async def test_an_unhandled_exception_is_the_problem_of_every_adapter() -> None:
    """500 delivery-failed instead of the framework's text, and the exception goes on to the server's log."""
    shop = Shop()

    def view() -> None:
        raise ZeroDivisionError("a detail")

    shop.sell(view)
    unpaid = await ask(shop.app)
    answer, error = await shop.run(unpaid)
    assert (500, "delivery-failed") == (answer.status, answer.problem)
    assert isinstance(error, ZeroDivisionError)
    assert b"a detail" not in answer.body
    assert SETTLED == state(shop.flo, unpaid)


@pytest.mark.parametrize("key", [500, Exception, "debug"])
async def test_an_apps_own_page_for_500_stays(key: int | type[Exception] | str) -> None:
    """An app that has a page for unhandled exceptions, or shows tracebacks, keeps it; it is no delivery."""
    shop = Shop()
    if isinstance(key, str):
        shop.app.debug = True
    else:

        @shop.app.exception_handler(key)
        async def own(request: Request, error: Exception) -> Response:
            return PlainTextResponse("our own page", 500)

    async def view() -> None:
        raise ZeroDivisionError("a detail")

    shop.sell(view)
    unpaid = await ask(shop.app)
    answer, error = await shop.run(unpaid)
    assert 500 == answer.status
    assert (b"a detail" if key == "debug" else b"our own page") in answer.body
    assert isinstance(error, ZeroDivisionError)
    assert SETTLED == state(shop.flo, unpaid)


async def test_an_answer_of_402_does_not_ask_twice() -> None:
    """A paid view that answers 402 becomes 500 delivery-failed (S02)."""
    shop = Shop()

    async def view() -> Response:
        return PlainTextResponse("more, please", 402)

    shop.sell(view)
    unpaid = await ask(shop.app)
    answer, _ = await shop.run(unpaid)
    assert (500, "delivery-failed") == (answer.status, answer.problem)
    assert SETTLED == state(shop.flo, unpaid)


async def test_a_teardown_that_fails_after_the_answer_undoes_nothing() -> None:
    """Dependencies are torn down after the last byte: what happens there happens to a delivered answer."""
    shop = Shop()

    async def session(request: Request) -> AsyncIterator[str]:
        yield "open"
        if hasattr(request.state, "payment"):
            raise ZeroDivisionError

    async def view(session: str = Depends(session)) -> str:
        return session

    shop.sell(view)
    unpaid = await ask(shop.app)
    answer, error = await shop.run(unpaid)
    assert (200, b'"open"', True) == (answer.status, answer.body, answer.complete)
    assert isinstance(error, ZeroDivisionError)
    assert DELIVERED == state(shop.flo, unpaid)


async def test_a_background_task_runs_after_a_delivery_and_cannot_undo_it() -> None:
    """Background tasks see the payment delivered; one that fails is logged and changes nothing."""
    shop = Shop()
    seen: list[str | None] = []

    def note() -> None:
        seen.append(state(shop.flo, unpaid))

    def fail() -> None:
        raise ZeroDivisionError

    async def view(tasks: BackgroundTasks) -> str:
        tasks.add_task(note)
        tasks.add_task(fail)
        return "ok"

    shop.sell(view)
    unpaid = await ask(shop.app)
    assert [] == seen
    answer, error = await shop.run(unpaid)
    assert (200, True) == (answer.status, answer.complete)
    assert isinstance(error, ZeroDivisionError)
    assert [DELIVERED] == seen
    assert DELIVERED == state(shop.flo, unpaid)


# --- streams -----------------------------------------------------------------------------------------------


async def broken_pieces() -> AsyncIterator[bytes]:
    """Two pieces, then an exception."""
    yield b"one"
    yield b"two"
    raise ZeroDivisionError


def broken_lines() -> Iterator[int]:
    """The same as a sync generator endpoint."""
    yield 1
    yield 2
    raise ZeroDivisionError


def add_base_middleware(app: FastAPI) -> None:
    """A middleware of the kind that runs the app in a task of its own."""

    async def dispatch(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        response = await call_next(request)
        response.headers["x-seen"] = "1"
        return response

    app.add_middleware(BaseHTTPMiddleware, dispatch=dispatch)


@pytest.mark.parametrize("middleware", ["none", "inside", "outside"])
@pytest.mark.parametrize("kind", ["response", "endpoint", "events"])
async def test_a_stream_that_fails_is_no_delivery(kind: str, middleware: str) -> None:
    """An exception in mid-stream, also where a BaseHTTPMiddleware ends the answer as if all were well."""
    shop = Shop()

    async def view() -> Response:
        return StreamingResponse(broken_pieces())

    if middleware == "inside":
        add_base_middleware(shop.app)
    match kind:
        case "response":
            shop.sell(view)
        case "endpoint":
            shop.sell(broken_lines)
        case _:
            shop.sell(broken_lines, response_class=EventSourceResponse)
    if middleware == "outside":
        add_base_middleware(shop.app)
    unpaid = await ask(shop.app)
    answer, error = await shop.run(unpaid)
    assert 402 == unpaid.status
    assert 200 == answer.status
    assert error is not None
    assert SETTLED == state(shop.flo, unpaid)


@pytest.mark.parametrize("response_class", [StreamingResponse, EventSourceResponse])
async def test_a_generator_endpoint_runs_only_when_paid(response_class: type[Response]) -> None:
    """Its first line is not reached without payment, and when it fails before its first item that is a 500."""
    shop = Shop()
    ran: list[bool] = []

    async def view() -> AsyncIterator[str]:
        ran.append(True)
        if len(ran) == 1:
            raise ZeroDivisionError
        yield "item"

    shop.sell(view, response_class=response_class)
    unpaid = await ask(shop.app)
    assert (402, "payment-required", []) == (unpaid.status, unpaid.problem, ran)
    failed, _ = await shop.run(unpaid)
    assert SETTLED == state(shop.flo, unpaid)
    assert not failed.complete
    paid = await redeem(shop.app, unpaid)
    assert b"item" in paid.body


@pytest.mark.parametrize("kind", ["response", "endpoint"])
async def test_a_client_that_hangs_up_in_mid_stream_can_come_back(kind: str) -> None:
    """A disconnect ends the stream and leaves the payment redeemable, however it is streamed."""
    shop = Shop()
    server = Server()
    endless = anyio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        yield b"one"
        server.hang_up()
        await endless.wait()

    async def view() -> Response:
        return StreamingResponse(pieces())

    shop.sell(pieces if kind == "endpoint" else view, response_class=StreamingResponse)
    unpaid = await ask(shop.app)
    await serve(shop.app, make_scope(**paying(unpaid)), server)
    assert SETTLED == state(shop.flo, unpaid)
    assert "payment.delivery_failed" in event_types(shop.flo)


# --- middleware --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["inside", "outside"])
async def test_middleware_around_is_as_without_flovia(order: str) -> None:
    """BaseHTTPMiddleware, CORS and GZip, added before or after install: 402, 200 and their own fields."""
    shop = Shop()

    def add() -> None:
        add_base_middleware(shop.app)
        shop.app.add_middleware(CORSMiddleware, allow_origins=["https://shop.test"])
        shop.app.add_middleware(GZipMiddleware, minimum_size=10)

    async def view() -> str:
        return "x" * 1000

    async def lines() -> AsyncIterator[str]:
        yield "x"

    if order == "inside":
        add()
    shop.sell(view)
    shop.sell(lines, "/lines")
    if order == "outside":
        add()
    fields = [("origin", "https://shop.test"), ("accept-encoding", "gzip")]
    for path in ("/paid", "/lines"):
        unpaid = await ask(shop.app, path=path, headers=fields)
        paid = await redeem(shop.app, unpaid, path=path, headers=fields)
        assert [402, 200] == [unpaid.status, paid.status]
        for answer in (unpaid, paid):
            assert "https://shop.test" == answer.get("access-control-allow-origin")
            assert "1" == answer.get("x-seen")
        assert "gzip" == paid.get("content-encoding")
        assert paid.get("payment-receipt")
        assert DELIVERED == state(shop.flo, unpaid)


async def test_a_preflight_is_the_middlewares_business() -> None:
    """CORS answers OPTIONS before anybody asks for money."""
    shop = Shop()
    shop.app.add_middleware(CORSMiddleware, allow_origins=["*"])

    async def view() -> str:
        return "ok"

    shop.sell(view)
    fields = [("origin", "https://shop.test"), ("access-control-request-method", "GET")]
    answer = await ask(shop.app, http_method="OPTIONS", headers=fields)
    assert (200, "*") == (answer.status, answer.get("access-control-allow-origin"))


# --- bodies ------------------------------------------------------------------------------------------------


async def test_a_body_nobody_reads_is_bound_all_the_same() -> None:
    """A view without body parameters: another body needs another payment (S15 to S17)."""
    shop = Shop()

    async def view() -> str:
        return "ok"

    shop.sell(view)
    unpaid = await ask(shop.app, http_method="POST", body=[b"one ", b"body"])
    other = await redeem(shop.app, unpaid, http_method="POST", body=[b"another"])
    none = await redeem(shop.app, unpaid, http_method="POST")
    paid = await redeem(shop.app, unpaid, http_method="POST", body=[b"one body"])
    assert [402, 402, 402, 200] == [answer.status for answer in (unpaid, other, none, paid)]


@pytest.mark.parametrize("middleware", [False, True])
async def test_a_body_over_the_limit_is_not_read_to_its_end(middleware: bool) -> None:
    """413, and what is read of a body that the view did not ask for is bounded."""
    shop = Shop(max_body=5000)
    ran: list[bool] = []

    async def view() -> None:
        ran.append(True)

    if middleware:
        add_base_middleware(shop.app)
    shop.sell(view)
    server = Server([b"x" * 100_000] * 100)
    scope = make_scope(http_method="POST", headers=[("transfer-encoding", "chunked")])
    await serve(shop.app, scope, server)
    assert (413, "body-too-large") == (server.answer.status, server.answer.problem)
    assert server.received < 20
    assert [] == ran


async def test_each_gate_has_its_own_limit() -> None:
    """A body that one route of an app accepts is too large for another."""
    shop = Shop(max_body=10)
    larger = flovia_fastapi.paid(shop.flo.paid_api(max_body=1000))

    async def view(request: Request) -> int:
        return len(await request.body())

    async def larger_view(request: Request) -> int:
        return len(await request.body())

    shop.sell(view)
    shop.app.post("/larger")(larger(larger_view))
    body = [b"x" * 500]
    assert 413 == (await ask(shop.app, http_method="POST", body=body)).status
    assert b"500" == (await buy(shop.app, path="/larger", http_method="POST", body=body)).body


async def test_without_digest_nothing_is_read_ahead() -> None:
    """digest=False: the view reads the body as it comes, and any body is accepted."""
    shop = Shop(digest=False)

    async def view(request: Request) -> str:
        return (await request.body()).decode()

    shop.sell(view)
    unpaid = await ask(shop.app, http_method="POST", body=[b"one"])
    server = Server([b"an", b"other"])
    scope = make_scope(**paying(unpaid, http_method="POST"))
    await serve(shop.app, scope, server)
    assert (200, b'"another"') == (server.answer.status, server.answer.body)


async def test_a_client_that_hangs_up_while_it_sends_gets_nothing() -> None:
    """Half a body is no request: nothing is claimed and nothing recorded."""
    shop = Shop()

    async def view() -> str:
        return "ok"

    shop.sell(view)
    server = Server([b"half", b"never"])

    async def receive() -> flovia.AsgiMessage:
        if server.received:
            server.hang_up()
        return await server.receive()

    await shop.app(make_scope(http_method="POST", headers=[("content-length", "9")]), receive, server.send)
    assert [] == server.sent
    assert [] == event_types(shop.flo)


async def test_an_observer_watches_an_endpoint_with_its_own_gate() -> None:
    """Observer in front of an ungated view: withheld; of one that issues receipts itself: as it is."""
    flo = new_flovia()
    app = FastAPI()
    observed = flovia_fastapi.paid(flo.observe(provider="mock"))

    @app.get("/open")
    @observed
    async def ungated() -> str:
        return "for sale"

    @app.get("/gated")
    @observed
    async def gated() -> Response:
        return PlainTextResponse("sold", headers={"payment-receipt": "of the view's own gate"})

    flovia_fastapi.install(app)
    withheld, sold = await ask(app, path="/open"), await ask(app, path="/gated")
    assert (500, "internal-payment-error") == (withheld.status, withheld.problem)
    assert (200, b"sold", "of the view's own gate") == (sold.status, sold.body, sold.get("payment-receipt"))


async def test_free_routes_cost_nothing_and_change_nothing() -> None:
    """What is not marked is served as it was, errors and streams included."""
    shop = Shop()

    async def view() -> str:
        return "ok"

    @shop.app.post("/free")
    async def free(request: Request) -> int:
        return len(await request.body())

    @shop.app.get("/broken")
    async def broken() -> None:
        raise ZeroDivisionError

    shop.sell(view)
    answer = await ask(shop.app, path="/free", http_method="POST", body=[b"x" * 3_000_000])
    assert (200, b"3000000") == (answer.status, answer.body)
    server = Server()
    with pytest.raises(ZeroDivisionError):
        await serve(shop.app, make_scope(path="/broken"), server)
    assert (500, b"Internal Server Error") == (server.answer.status, server.answer.body)
    assert [] == event_types(shop.flo)
    assert 200 == (await buy(shop.app)).status


# --- stored answers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("generator", [False, True])
async def test_s41_middleware_does_not_change_what_comes_again(generator: bool) -> None:
    """An answer comes again as it left the app the first time, whatever middleware would make of it now (S41)."""
    shop = Shop()
    calls: list[int] = []

    async def stream() -> AsyncIterator[bytes]:
        calls.append(1)
        yield b"x" * 600
        yield b"y" * 600

    async def view() -> Response:
        calls.append(1)
        return PlainTextResponse("x" * 1200, headers={"Set-Cookie": "session=test"})

    async def stamp(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        response = await call_next(request)
        response.headers.append("x-stamp", f"{len(calls)}")
        return response

    shop.app.add_middleware(BaseHTTPMiddleware, dispatch=stamp)
    shop.app.add_middleware(GZipMiddleware, minimum_size=100)
    shop.sell(stream if generator else view, **({"response_class": StreamingResponse} if generator else {}))
    fields = [("idempotency-key", "key-1"), ("accept-encoding", "gzip")]
    unpaid = await ask(shop.app, headers=fields)
    sent = await redeem(shop.app, unpaid, headers=fields)
    again = await redeem(shop.app, unpaid, headers=fields)
    assert sent.status == 200
    assert sent.body == again.body
    assert sorted(pair for pair in sent.headers if pair[0] != "set-cookie") == sorted(again.headers)
    assert [1] == calls
