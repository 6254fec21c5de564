"""flovia_asgi and flovia_fastapi behind real servers: uvicorn (httptools, h11) and hypercorn (asyncio, trio)."""

import socket
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Literal

import anyio
import anyio.to_thread
import attrs
import httpx
import pytest
from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse

import flovia
import flovia_asgi
import flovia_fastapi
from flovia import AsgiApp, AsgiReceive, AsgiScope, AsgiSend
from flovia.core.exchange import DELIVERED, DELIVERING, SETTLED
from flovia.testing.servers import ASGI_SERVERS, AsgiServer, serve_asgi
from tests.adapters.asgi_harness import Answer, credential_for, new_flovia, state
from tests.patience import PATIENT_S, eventually

PIECE = b"x" * 4096
PIECES = 120
go_on = threading.Event()
"""Lets the streams go on: each waits for it after its first piece, so that the client can do something meanwhile."""


async def pieces() -> AsyncIterator[bytes]:
    """The stream. Afterwards it takes a while: a server learns between two pieces that the client is gone."""
    yield PIECE
    await anyio.to_thread.run_sync(go_on.wait, PATIENT_S)
    for _ in range(PIECES - 1):
        await anyio.sleep(0.002)
        yield PIECE


async def bare(scope: AsgiScope, receive: AsgiReceive, send: AsgiSend) -> None:
    """Echoes, streams without looking for a disconnect, or raises."""
    if scope["type"] == "lifespan":
        while True:
            kind = str((await receive())["type"])
            await send({"type": f"{kind}.complete"})
            if kind == "lifespan.shutdown":
                return
    if scope["path"] == "/raise":
        raise ZeroDivisionError("a bug of the app")
    body, more = b"", True
    while more:
        message = await receive()
        piece, more = message.get("body", b""), bool(message.get("more_body", False))
        assert isinstance(piece, bytes)
        body += piece
    await send({"type": "http.response.start", "status": 200, "headers": []})
    if scope["path"] == "/stream":
        async for piece in pieces():
            await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": body})


def fastapi(gate: flovia.PaidApi) -> AsgiApp:
    """The same with FastAPI."""
    app = FastAPI()

    @app.get("/raise")
    @flovia_fastapi.paid(gate)
    async def raises() -> None:
        raise ZeroDivisionError("a bug of the app")

    @app.get("/stream")
    @flovia_fastapi.paid(gate)
    async def stream() -> StreamingResponse:
        return StreamingResponse(pieces())

    @app.api_route("/echo", methods=["GET", "POST"])
    @flovia_fastapi.paid(gate)
    async def echo(request: Request) -> Response:
        return Response(await request.body())

    flovia_fastapi.install(app)
    return app


@attrs.frozen
class Running:
    """An app that a real server serves in this process."""

    kind: Literal["asgi", "fastapi"]
    server: AsgiServer
    url: str
    flo: flovia.Flovia
    client: httpx.Client

    def ask(
        self,
        path: str,
        unpaid: Answer | None = None,
        *,
        http_method: str = "GET",
        content: bytes | Iterator[bytes] | None = None,
    ) -> Answer:
        """One request; it pays the challenge of ``unpaid``. An iterator as ``content`` is sent chunked."""
        headers = {} if unpaid is None else {"authorization": credential_for(unpaid)}
        got = self.client.request(http_method, self.url + path, content=content, headers=headers)
        return Answer(got.status_code, tuple(got.headers.multi_items()), got.content)

    def talk(self, request: bytes) -> socket.socket:
        """AsgiSend bytes as they are."""
        host, _, port = self.url.removeprefix("http://").partition(":")
        connection = socket.create_connection((host, int(port)), timeout=PATIENT_S)
        connection.sendall(request)
        return connection


@pytest.fixture(
    scope="module", params=[(kind, server) for kind in ("asgi", "fastapi") for server in ASGI_SERVERS], ids="-".join
)
def running(request: pytest.FixtureRequest) -> Iterator[Running]:
    """Both adapters behind every server."""
    kind, server = request.param
    flo = new_flovia()
    gate = flo.paid_api(max_body=100_000)
    app = flovia_asgi.paid(gate, bare) if kind == "asgi" else fastapi(gate)
    # A connection is used once: after an error a server closes it, and does not say so.
    fresh = httpx.Limits(max_keepalive_connections=0)
    with httpx.Client(timeout=PATIENT_S, limits=fresh) as client, serve_asgi(app, server=server) as url:
        yield Running(kind, server, url, flo, client)


def test_a_payment_buys_one_answer(running: Running) -> None:
    """402, then 200 with a receipt, then 402: over real HTTP (S01, S04, S23, S26, S27)."""
    unpaid = running.ask("/echo?q=%C3%BC")
    credential = {"authorization": credential_for(unpaid)}

    def use() -> httpx.Response:
        return running.client.get(f"{running.url}/echo?q=%C3%BC", headers=credential)

    paid, again = use(), eventually(use, lambda response: response.status_code != 409)
    assert [402, 200, 402] == [unpaid.status, paid.status_code, again.status_code]
    assert "private" == paid.headers["cache-control"]
    assert "payment-receipt" in paid.headers
    assert ["no-store"] * 2 == [unpaid.get("cache-control"), again.headers["cache-control"]]
    assert DELIVERED == ended(running, unpaid)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_is_bound_however_it_travels(running: Running, chunked: bool) -> None:
    """The same bytes, with a length or chunked, are the same body; others are refused (S15 to S17)."""
    body = bytes(range(256)) * 100

    def content() -> bytes | Iterator[bytes]:
        return iter([body[:7], body[7:20_000], body[20_000:]]) if chunked else body

    unpaid = running.ask("/echo", http_method="POST", content=content())
    other = running.ask("/echo", unpaid, http_method="POST", content=b"another body")
    paid = running.ask("/echo", unpaid, http_method="POST", content=content())
    assert [402, 402, 200] == [unpaid.status, other.status, paid.status]
    assert body == paid.body


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_over_the_limit_is_413(running: Running, chunked: bool) -> None:
    """Nobody is asked to pay for a body that cannot be bound."""
    content = iter([b"x" * 60_000, b"x" * 60_000]) if chunked else b"x" * 120_000
    answer = running.ask("/echo", http_method="POST", content=content)
    assert (413, "body-too-large") == (answer.status, answer.problem)


def test_a_bug_of_the_app_is_a_500_that_leaves_the_payment_redeemable(running: Running) -> None:
    """An exception after payment: 500 delivery-failed, no receipt, and the same problem on every server."""
    unpaid = running.ask("/raise")
    paid = running.ask("/raise", unpaid)
    assert (500, "delivery-failed", []) == (paid.status, paid.problem, paid.all("payment-receipt"))
    assert b"a bug of the app" not in paid.body
    assert SETTLED == ended(running, unpaid)


def test_a_stream_is_delivered_whole(running: Running) -> None:
    """A streamed answer arrives piece by piece, and counts once it was sent to its end."""
    go_on.clear()
    unpaid = running.ask("/stream")
    with running.client.stream(
        "GET", f"{running.url}/stream", headers={"authorization": credential_for(unpaid)}
    ) as got:
        parts = iter(got.iter_raw())
        first = next(parts)
        meanwhile = state(running.flo, unpaid)
        go_on.set()
        rest = sum(map(len, parts))
    assert DELIVERING == meanwhile
    assert len(PIECE) * PIECES == len(first) + rest
    assert DELIVERED == ended(running, unpaid)


def ended(running: Running, unpaid: Answer) -> str | None:
    """Where a payment stands once its delivery has ended."""
    return eventually(lambda: state(running.flo, unpaid), lambda state: state != DELIVERING)


def test_a_client_that_hangs_up_can_come_back(running: Running) -> None:
    """A disconnect in the middle of a stream is no delivery: the same credential gets the answer again."""
    go_on.clear()
    unpaid = running.ask("/stream")
    credential = credential_for(unpaid)
    request = f"GET /stream HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {credential}\r\n\r\n".encode()
    connection = running.talk(request)
    first = connection.recv(1000)
    connection.close()
    go_on.set()
    assert first.startswith(b"HTTP/1.1 200")
    assert SETTLED == ended(running, unpaid)
    again = running.client.get(f"{running.url}/stream", headers={"authorization": credential})
    assert (200, len(PIECE) * PIECES) == (again.status_code, len(again.content))


def test_a_client_that_hangs_up_while_sending_costs_nothing(running: Running) -> None:
    """Half a body is no request: the server goes on serving others."""
    connection = running.talk(b"POST /echo HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\nhalf")
    connection.close()
    assert 402 == running.ask("/echo").status


def test_two_authorization_fields(running: Running) -> None:
    """A login in a field of its own is no payment; two payments in two fields are 400 (S48)."""
    one, two = (credential_for(running.ask("/echo")) for _ in range(2))
    statuses: list[bytes] = []
    for fields in (["Bearer test-token", one], [one, two], ["Bearer test-token"]):
        lines = ["GET /echo HTTP/1.1", "Host: 127.0.0.1", *(f"Authorization: {field}" for field in fields)]
        connection = running.talk("\r\n".join([*lines, "Connection: close", "", ""]).encode())
        with connection, connection.makefile("rb") as answer:
            statuses.append(answer.readline().split()[1])
            answer.read()
    assert [b"200", b"400", b"402"] == statuses


def test_head_and_options(running: Running) -> None:
    """HEAD: the 402 without its body in bare ASGI, FastAPI's own 405; OPTIONS: 204 and FastAPI's 405."""
    head = running.ask("/echo", http_method="HEAD")
    options = running.ask("/echo", http_method="OPTIONS")
    assert ((402, 204) if running.kind == "asgi" else (405, 405)) == (head.status, options.status)
    assert b"" == head.body
