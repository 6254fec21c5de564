"""The shell around the core: plain ASGI, which also waits, hangs and resets connections when told to."""

import logging
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Final, cast

import anyio

from flovia.sandbox.core import MAX_BODY
from flovia.sandbox.engine import Engine
from flovia.sandbox.wire import Call, Side

Message = MutableMapping[str, object]
Scope = MutableMapping[str, object]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

RESET: Final = "flovia.sandbox.reset"
"""The ASGI extension by which the sandbox's own server resets a connection."""

_log: Final = logging.getLogger("flovia.sandbox")


def app(engine: Engine, side: Callable[[Scope], Side]) -> App:
    """The ASGI app of a sandbox; ``side`` tells which of its two origins a connection is for."""

    async def sandbox(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] != "http":
            raise ValueError("the sandbox speaks HTTP only")
        body = await _body(receive)
        raw = scope.get("raw_path")
        path = raw.decode("latin-1") if isinstance(raw, bytes) else str(scope["path"])
        query = scope.get("query_string")
        fields = cast("Iterable[tuple[bytes, bytes]]", scope["headers"])
        call = Call(
            side=side(scope),
            http_method=str(scope["method"]),
            path=path.partition("?")[0],
            query=query.decode("latin-1") if isinstance(query, bytes) else "",
            headers=tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in fields),
            body=body,
        )
        reply = engine.call(call)
        _log.debug("%s %s: %d %s", call.side, call.http_method, reply.status, reply.ending)
        if reply.delay_ms:
            with anyio.move_on_after(reply.delay_ms / 1000):
                await _gone(receive)
        if reply.ending == "reset":
            _reset(scope)
        if reply.ending != "sent":
            await _gone(receive)
            return
        sent = b"" if call.http_method == "HEAD" else reply.body
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in reply.headers]
        if reply.status != 204:
            headers.append((b"content-length", str(len(reply.body)).encode()))
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": sent})

    return sandbox


async def _lifespan(receive: Receive, send: Send) -> None:
    while (message := await receive())["type"] != "lifespan.shutdown":
        await send({"type": f"{message['type']}.complete"})
    await send({"type": "lifespan.shutdown.complete"})


async def _body(receive: Receive) -> bytes:
    """The body, or its first part with one byte too many: the core refuses that."""
    read = bytearray()
    while True:
        message = await receive()
        part = message.get("body", b"")
        if isinstance(part, bytes) and len(read) <= MAX_BODY:
            read += part[: MAX_BODY + 1 - len(read)]
        if not message.get("more_body", False):
            return bytes(read)


async def _gone(receive: Receive) -> None:
    """Wait until the client has given up, or has been reset."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _reset(scope: Scope) -> None:
    extensions = scope.get("extensions")
    if isinstance(extensions, dict) and RESET in extensions:
        cast("Callable[[], None]", extensions[RESET])()
    else:  # no connection to reset: a test that calls the app itself
        raise ConnectionResetError("the sandbox was told to reset this connection")
