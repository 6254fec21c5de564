"""flovia_asgi: failures, streams, disconnects and request bodies, with a server played by the test."""

from collections.abc import Coroutine, Generator
from contextlib import nullcontext
from pathlib import Path
from typing import cast

import anyio
import anyio.lowlevel
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import flovia
from flovia import AsgiMessage, AsgiReceive, AsgiScope, AsgiSend
from flovia.core.exchange import DELIVERED, DELIVERING, SETTLED
from tests.adapters.asgi_apps import echo, guard, replying
from tests.adapters.asgi_harness import (
    Answer,
    Server,
    ask,
    buy,
    credential_for,
    event_types,
    make_scope,
    new_flovia,
    paying,
    redeem,
    serve,
    state,
)
from tests.patience import PATIENT_S

# --- failures ----------------------------------------------------------------------------------------------


async def test_an_app_that_raises_says_nothing_about_itself() -> None:
    """An exception before the answer: 500 delivery-failed, the payment stays redeemable, the error goes on."""
    flo = new_flovia()

    async def app(scope: AsgiScope, receive: AsgiReceive, send: AsgiSend) -> None:
        raise ZeroDivisionError("a detail")

    guarded = guard(flo, app)
    unpaid = await ask(guarded)
    server = Server()
    with pytest.raises(ZeroDivisionError):
        await serve(guarded, make_scope(**paying(unpaid)), server)
    answer = server.answer
    assert (500, "delivery-failed") == (answer.status, answer.problem)
    assert b"a detail" not in answer.body
    assert not answer.all("payment-receipt")
    assert SETTLED == state(flo, unpaid)


async def test_an_app_that_fails_in_the_middle_is_cut_off() -> None:
    """An exception after the first byte is raised again, so that the server breaks the answer off."""
    flo = new_flovia()

    async def app(scope: AsgiScope, receive: AsgiReceive, send: AsgiSend) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise ZeroDivisionError

    guarded = guard(flo, app)
    unpaid = await ask(guarded)
    server = Server()
    with pytest.raises(ZeroDivisionError):
        await serve(guarded, make_scope(**paying(unpaid)), server)
    assert (200, b"half", False) == (server.answer.status, server.answer.body, server.answer.complete)
    assert SETTLED == state(flo, unpaid)
    assert "payment.delivery_failed" in event_types(flo)


@pytest.mark.parametrize("begun", [False, True])
async def test_an_app_that_just_returns_has_not_delivered(begun: bool) -> None:
    """Returning without a complete answer is a mistake of the app, named as such; nothing is used up."""
    flo = new_flovia()

    async def app(scope: AsgiScope, receive: AsgiReceive, send: AsgiSend) -> None:
        if begun:
            await send({"type": "http.response.start", "status": 200, "headers": []})

    guarded = guard(flo, app)
    unpaid = await ask(guarded)
    server = Server()
    with pytest.raises(flovia.CallerError, match="last body message"):
        await serve(guarded, make_scope(**paying(unpaid)), server)
    assert (200 if begun else 500) == server.answer.status
    assert SETTLED == state(flo, unpaid)


async def test_a_server_that_cannot_send_has_not_delivered() -> None:
    """By ASGI 2.4 a server raises OSError when the client is gone: that is no delivery, and it is not hidden."""
    flo = new_flovia()
    guarded = guard(flo, replying())
    unpaid = await ask(guarded)

    async def send(message: AsgiMessage) -> None:
        raise OSError("the client is gone")

    with pytest.raises(OSError, match="the client is gone"):
        await guarded(make_scope(**paying(unpaid)), Server().receive, send)
    assert SETTLED == state(flo, unpaid)


@pytest.fixture(params=["memory", "sqlite"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A ledger that answers at once, and one in a worker thread, where cancellation can come in between."""
    return "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/test.db"


async def test_cancelling_a_request_gives_the_payment_back(ledger: str) -> None:
    """A request that is cancelled while the app works is recorded as not delivered, in spite of it (shielded)."""
    flo = new_flovia(ledger=ledger)
    started = anyio.Event()

    async def app(scope: AsgiScope, receive: AsgiReceive, send: AsgiSend) -> None:
        started.set()
        await anyio.sleep_forever()

    guarded = guard(flo, app)
    unpaid = await ask(guarded)
    server = Server()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(serve, guarded, make_scope(**paying(unpaid)), server)
        await started.wait()
        tasks.cancel_scope.cancel()
    assert [] == server.sent
    assert SETTLED == state(flo, unpaid)
    flo.close()


class Suspended:
    """Something to wait for that never comes."""

    def __await__(self) -> Generator[None]:
        yield


def test_a_request_that_nobody_drives_any_more_gives_the_payment_back() -> None:
    """A coroutine that is closed, as at the end of an event loop, still leaves its passage."""
    flo = new_flovia()
    sent: list[AsgiMessage] = []

    async def app(scope: AsgiScope, receive: AsgiReceive, send: AsgiSend) -> None:
        await Suspended()

    async def send(message: AsgiMessage) -> None:
        sent.append(message)

    def begin(scope: AsgiScope) -> Coroutine[None, None, None]:
        running = cast("Coroutine[None, None, None]", guarded(scope, Server().receive, send))
        running.send(None)
        return running

    guarded = guard(flo, app)
    with pytest.raises(StopIteration):
        running = begin(make_scope())
    fields = cast("list[tuple[bytes, bytes]]", sent[0]["headers"])
    unpaid = Answer(402, tuple((name.decode(), value.decode()) for name, value in fields))
    running = begin(make_scope(**paying(unpaid)))
    assert DELIVERING == state(flo, unpaid)
    running.close()
    assert SETTLED == state(flo, unpaid)


# --- streams and disconnects -------------------------------------------------------------------------------


async def test_a_stream_is_handed_over_piece_by_piece() -> None:
    """Every piece is with the server before the app makes the next; delivered only after the last one."""
    flo = new_flovia()
    server = Server()
    seen: list[tuple[int, str | None]] = []

    async def app(scope: AsgiScope, receive: AsgiReceive, send: AsgiSend) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(3):
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
            seen.append((len(server.sent), state(flo, unpaid)))
        await send({"type": "http.response.body"})
        seen.append((len(server.sent), state(flo, unpaid)))

    guarded = guard(flo, app)
    unpaid = await ask(guarded)
    await serve(guarded, make_scope(**paying(unpaid)), server)
    assert [(2, DELIVERING), (3, DELIVERING), (4, DELIVERING), (5, DELIVERED)] == seen
    assert (b"xxx", True) == (server.answer.body, server.answer.complete)


@pytest.mark.parametrize("looking", [True, False])
@pytest.mark.parametrize("http_method", ["GET", "POST"])
async def test_a_client_that_hangs_up_has_not_got_its_answer(looking: bool, http_method: str) -> None:
    """A disconnect in mid-stream is no delivery, whether the app asks for it or streams on to the end."""
    flo = new_flovia()
    server = Server()

    async def app(scope: AsgiScope, receive: AsgiReceive, send: AsgiSend) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
        server.hang_up()
        if looking:
            while (await receive())["type"] != "http.disconnect":
                pass
            return
        await send({"type": "http.response.body", "body": b"y", "more_body": True})
        await send({"type": "http.response.body", "body": b"z"})

    guarded = guard(flo, app)
    unpaid = await ask(guarded, http_method=http_method)
    await serve(guarded, make_scope(**paying(unpaid, http_method=http_method)), server)
    assert not server.answer.complete
    assert SETTLED == state(flo, unpaid)


@pytest.mark.parametrize("cancelled", [True, False], ids=["cancelled", "to the end"])
@pytest.mark.parametrize(("status", "headers"), [(204, []), (304, []), (200, [(b"content-length", b"0")])])
async def test_an_answer_without_a_body_is_whole_with_its_head(
    status: int, headers: list[tuple[bytes, bytes]], cancelled: bool
) -> None:
    """A client that needs no body may hang up when it has the head: it was served, however slow the app is to end."""
    flo = new_flovia()
    server = Server()

    async def app(scope: AsgiScope, receive: AsgiReceive, send: AsgiSend) -> None:
        await anyio.sleep(0.1)  # long enough that the client is looked for
        await send({"type": "http.response.start", "status": status, "headers": headers})
        server.hang_up()
        if cancelled:
            while (await receive())["type"] != "http.disconnect":
                pass
            return
        await send({"type": "http.response.body"})

    guarded = guard(flo, app)
    unpaid = await ask(guarded)
    await serve(guarded, make_scope(**paying(unpaid)), server)
    assert DELIVERED == state(flo, unpaid)


@pytest.mark.parametrize("raises", [True, False])
async def test_a_head_that_came_too_late_is_no_delivery(raises: bool) -> None:
    """A client that was gone before the head, and an app that fails after it, have no delivery."""
    flo = new_flovia()
    server = Server()

    async def app(scope: AsgiScope, receive: AsgiReceive, send: AsgiSend) -> None:
        if not raises:
            await anyio.sleep(0.1)
            server.hang_up()
        await send({"type": "http.response.start", "status": 204, "headers": []})
        if raises:
            raise ZeroDivisionError
        await send({"type": "http.response.body"})

    guarded = guard(flo, app)
    unpaid = await ask(guarded)
    with pytest.raises(ZeroDivisionError) if raises else nullcontext():
        await serve(guarded, make_scope(**paying(unpaid)), server)
    assert SETTLED == state(flo, unpaid)


async def test_the_disconnect_after_the_last_byte_interrupts_nothing(ledger: str) -> None:
    """A server says http.disconnect once the answer is complete; an app that listens and then cancels its own
    sending, as Starlette's streams do, has delivered all the same.
    """
    flo = new_flovia(ledger=ledger)

    class Prompt(Server):
        async def send(self, message: AsgiMessage) -> None:
            await super().send(message)
            for _ in range(5):
                await anyio.lowlevel.checkpoint()

    async def app(scope: AsgiScope, receive: AsgiReceive, send: AsgiSend) -> None:
        async def listen() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            tasks.cancel_scope.cancel()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listen)
            tasks.start_soon(listen)
            await replying()(scope, receive, send)

    guarded = guard(flo, app)
    unpaid = await ask(guarded)
    server = Prompt()
    await serve(guarded, make_scope(**paying(unpaid)), server)
    assert (200, b"hello", True) == (server.answer.status, server.answer.body, server.answer.complete)
    assert DELIVERED == state(flo, unpaid)
    flo.close()


async def test_a_slow_stream_keeps_its_lease() -> None:
    """While an answer streams its delivery is renewed: a second use is 409 after twice the lease's time."""
    now = [1_800_000_000.0]
    flo = new_flovia(clock=lambda: now[0])
    meanwhile: list[Answer] = []

    async def app(scope: AsgiScope, receive: AsgiReceive, send: AsgiSend) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(4):
            now[0] += 40
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
        meanwhile.append(await ask(guarded, headers=[authorization]))
        await send({"type": "http.response.body"})

    guarded = guard(flo, app, deliver_within=60.0)
    authorization = ("authorization", credential_for(await ask(guarded)))
    assert 200 == (await ask(guarded, headers=[authorization])).status
    assert [(409, "in-flight")] == [(answer.status, answer.problem) for answer in meanwhile]


@pytest.mark.parametrize(
    "last",
    [
        [{"type": "http.response.pathsend", "path": "/srv/file"}],
        [
            {"type": "http.response.zerocopysend", "file": 3, "more_body": True},
            {"type": "http.response.zerocopysend", "file": 3},
        ],
    ],
)
async def test_files_that_a_server_sends_by_itself_count_as_bodies(last: list[AsgiMessage]) -> None:
    """http.response.pathsend ends an answer; zerocopysend does unless more follows."""
    flo = new_flovia()
    server = Server()

    async def app(scope: AsgiScope, receive: AsgiReceive, send: AsgiSend) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for message in last:
            assert DELIVERING == state(flo, unpaid)
            await send(message)

    guarded = guard(flo, app)
    unpaid = await ask(guarded)
    await serve(guarded, make_scope(**paying(unpaid)), server)
    assert last == server.sent[1:]
    assert DELIVERED == state(flo, unpaid)


async def test_other_messages_pass_untouched() -> None:
    """Early hints before the head and trailers after the body are the app's own business."""
    server = Server()
    messages: list[AsgiMessage] = [
        {"type": "http.response.early_hint", "links": [b"</style.css>"]},
        {"type": "http.response.start", "status": 200, "headers": [], "trailers": True},
        {"type": "http.response.body", "body": b"x"},
        {"type": "http.response.trailers", "headers": [(b"x-sum", b"1")], "more_trailers": False},
    ]

    async def app(scope: AsgiScope, receive: AsgiReceive, send: AsgiSend) -> None:
        for message in messages:
            await send(message)

    guarded = guard(new_flovia(), app)
    await serve(guarded, make_scope(**paying(await ask(guarded))), server)
    assert [messages[0], *messages[2:]] == [server.sent[0], *server.sent[2:]]
    assert server.sent[1]["trailers"] is True


# --- request bodies ----------------------------------------------------------------------------------------


async def test_a_body_is_bound_and_reaches_the_app_as_it_came() -> None:
    """The challenge binds the body (S15): the same pieces arrive at the app, another body is refused (S16, S17)."""
    app = guard(new_flovia(), echo)
    pieces = [b"one, ", b"", b"two"]
    unpaid = await ask(app, http_method="POST", body=pieces)
    authorization = ("authorization", credential_for(unpaid))
    other = await ask(app, http_method="POST", body=[b"one, three"], headers=[authorization])
    none = await ask(app, http_method="POST", headers=[authorization])
    paid = await ask(app, http_method="POST", body=pieces, headers=[authorization])
    assert [402, 402, 200] == [other.status, none.status, paid.status]
    assert "invalid-challenge" == other.problem
    assert (b"one, two", "3") == (paid.body, paid.get("x-messages"))


@settings(max_examples=25)
@example(pieces=[b"x"] * 200)
@given(pieces=st.lists(st.binary(max_size=40), min_size=1, max_size=200))
async def test_however_a_body_is_cut_it_is_one_body(pieces: list[bytes]) -> None:
    """The digest and what the app reads depend on the bytes alone; what is kept stays a bounded number of pieces."""
    app = guard(new_flovia(), echo)
    whole = b"".join(pieces)
    unpaid = await ask(app, http_method="POST", body=pieces)
    authorization = ("authorization", credential_for(unpaid))
    paid = await ask(app, http_method="POST", body=[whole], headers=[authorization])
    assert (200, whole) == (paid.status, paid.body)

    cut = await buy(app, http_method="POST", body=pieces)
    assert (200, whole) == (cut.status, cut.body)
    assert min(len(pieces), 65) == int(cut.get("x-messages") or 0)


async def test_after_the_body_the_app_waits_for_the_server() -> None:
    """What is read twice is only the body: the next receive() is the server's own, here its disconnect."""
    kinds: list[object] = []
    server = Server([b"a", b"b"])

    async def app(scope: AsgiScope, receive: AsgiReceive, send: AsgiSend) -> None:
        kinds.extend([(await receive())["type"] for _ in range(2)])
        server.hang_up()
        kinds.append((await receive())["type"])

    guarded = guard(new_flovia(), app)
    unpaid = await ask(guarded, http_method="POST", body=[b"a", b"b"])
    await serve(guarded, make_scope(**paying(unpaid, http_method="POST", body=[b"a", b"b"])), server)
    assert ["http.request", "http.request", "http.disconnect"] == kinds


async def test_a_body_over_the_limit_is_refused_before_it_is_read_to_its_end() -> None:
    """Above max_body: 413, without having read more than the limit and one piece; at the limit: a challenge."""
    flo = new_flovia()
    guarded = guard(flo, echo, max_body=10)
    at_limit = await ask(guarded, http_method="POST", body=[b"x" * 10])
    server = Server([b"x" * 6] * 100)
    scope = make_scope(http_method="POST", headers=[("transfer-encoding", "chunked")])
    await serve(guarded, scope, server)
    assert 402 == at_limit.status
    assert (413, "body-too-large") == (server.answer.status, server.answer.problem)
    assert 2 == server.received


async def test_without_digest_the_app_reads_the_body_itself() -> None:
    """digest=False: nothing is read before the app does, and any body is accepted."""
    server = Server([b"later"])
    guarded = guard(new_flovia(), echo, digest=False)
    unpaid = await ask(guarded, http_method="POST", body=[b"a"])
    assert 402 == unpaid.status
    await serve(guarded, make_scope(**paying(unpaid, http_method="POST")), server)
    assert (200, b"later") == (server.answer.status, server.answer.body)


async def test_a_get_without_a_body_is_not_waited_for() -> None:
    """HTTP/1 says in the head whether a body follows: a GET without one is answered before anything is read."""
    server = Server()
    await serve(guard(new_flovia(), replying()), make_scope(), server)
    assert (402, 0) == (server.answer.status, server.received)


async def test_a_body_without_a_length_is_seen_on_http2() -> None:
    """HTTP/2 has bodies without Content-Length, so there even a GET's body is read and bound."""
    app = guard(new_flovia(), echo)
    over = {"http_version": "2"}
    first = Server([b"body"])
    await serve(app, make_scope(scope=over), first)
    second = Server([b"other"])
    await serve(app, make_scope(**paying(first.answer, scope=over)), second)
    third = Server([b"bo", b"dy"])
    await serve(app, make_scope(**paying(first.answer, scope=over)), third)
    assert [402, 402, 200] == [server.answer.status for server in (first, second, third)]
    assert "invalid-challenge" == second.answer.problem
    assert b"body" == third.answer.body


async def test_a_client_that_hangs_up_while_it_sends_gets_nothing() -> None:
    """Without its whole body a request is no request: no answer, no event, no claim."""
    flo = new_flovia()

    async def hanging_up() -> AsgiMessage:
        return {"type": "http.disconnect"}

    server = Server()
    await guard(flo, echo)(make_scope(http_method="POST"), hanging_up, server.send)
    assert [] == server.sent
    assert [] == event_types(flo)


@pytest.mark.parametrize(("length", "end"), [(4, DELIVERED), (5, SETTLED)])
async def test_a_client_that_counts_may_leave_after_the_last_byte(length: int, end: str) -> None:
    """With all the bytes of its Content-Length a client is served, though the app only then says that it is done."""
    flo = new_flovia()
    gone = anyio.Event()

    async def app(scope: AsgiScope, receive: AsgiReceive, send: AsgiSend) -> None:
        head = [(b"content-length", str(length).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        for piece in (b"he", b"re"):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        server.hang_up()
        gone.set()
        await anyio.lowlevel.checkpoint()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    guarded = guard(flo, app)
    unpaid = await ask(guarded)
    server = Server()
    await serve(guarded, make_scope(**paying(unpaid)), server)
    assert gone.is_set()
    assert end == state(flo, unpaid)


@pytest.mark.parametrize("gone", [True, False])
async def test_a_client_that_left_a_slow_handler_is_not_served(gone: bool) -> None:
    """An answer in one piece to a client that went away meanwhile is no delivery: it can be redeemed."""
    flo = new_flovia()

    async def app(scope: AsgiScope, receive: AsgiReceive, send: AsgiSend) -> None:
        if gone:
            server.hang_up()
        await anyio.sleep(0.1)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"whole"})

    guarded = guard(flo, app)
    unpaid = await ask(guarded)
    server = Server()
    await serve(guarded, make_scope(**paying(unpaid)), server)
    assert (SETTLED if gone else DELIVERED) == state(flo, unpaid)


async def test_a_body_announced_too_large_is_not_waited_for() -> None:
    """A Content-Length over the limit is 413 at once, though not a byte of it came."""
    flo = new_flovia()
    guarded = guard(flo, replying())
    server = Server(body=())
    scope = make_scope(http_method="POST", headers=[("content-length", "2000000")])
    with anyio.fail_after(PATIENT_S):
        await serve(guarded, scope, server)
    assert 413 == server.answer.status


# --- stored answers ----------------------------------------------------------------------------------------

KEY = ("idempotency-key", "key-1")


async def test_s41_an_answer_comes_again() -> None:
    """Whatever pieces it was sent in, and though the app changes its mind about it: as it went out (S41)."""
    flo = new_flovia()
    calls: list[int] = []

    async def app(scope: AsgiScope, receive: AsgiReceive, send: AsgiSend) -> None:
        calls.append(1)
        fields = [(b"X-Call", b"%d" % len(calls)), (b"set-cookie", b"session=test")]
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        for piece in (b"one", b"", b"two"):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body"})

    guarded = guard(flo, app)
    unpaid = await ask(guarded, headers=[KEY])
    sent = await redeem(guarded, unpaid, headers=[KEY])
    again = await redeem(guarded, unpaid, headers=[KEY])
    assert b"onetwo" == sent.body == again.body
    assert [pair for pair in sent.headers if pair[0] != "set-cookie"] == list(again.headers)
    assert [1] == calls
    assert 1 == event_types(flo).count("payment.delivered")
    assert 1 == event_types(flo).count("payment.replayed")


@pytest.mark.parametrize("kind", ["http.response.pathsend", "http.response.zerocopysend", "trailers"])
async def test_what_is_not_seen_is_not_kept(kind: str) -> None:
    """A file that the server sends by itself, and an answer with trailers, pass and are not kept."""
    flo = new_flovia()

    async def app(scope: AsgiScope, receive: AsgiReceive, send: AsgiSend) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [], "trailers": kind == "trailers"})
        if kind != "trailers":
            await send({"type": kind, "path": "/a/file"})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    guarded = guard(flo, app)
    unpaid = await ask(guarded, headers=[KEY])
    assert 200 == (await redeem(guarded, unpaid, headers=[KEY])).status
    assert "invalid-challenge" == (await redeem(guarded, unpaid, headers=[KEY])).problem


async def test_an_answer_that_was_cut_off_is_not_kept() -> None:
    """Half an answer is no answer: the handler runs again, and what it delivers then is kept."""
    flo = new_flovia()
    fails = [True, False]

    async def app(scope: AsgiScope, receive: AsgiReceive, send: AsgiSend) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        if fails.pop(0):
            raise ZeroDivisionError
        await send({"type": "http.response.body", "body": b" and half"})

    guarded = guard(flo, app)
    unpaid = await ask(guarded, headers=[KEY])
    with pytest.raises(ZeroDivisionError):
        await serve(guarded, make_scope(**paying(unpaid, headers=[KEY])), Server())
    bodies = [(await redeem(guarded, unpaid, headers=[KEY])).body for _ in range(2)]
    assert [b"half and half"] * 2 == bodies
