"""One answer on its way from an app to the server, with what a passage changes in it."""

import sys
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, MutableMapping, Sequence
from typing import Any, Final, cast

import anyio.lowlevel

import flovia

Scope = MutableMapping[str, object]
Message = MutableMapping[str, object]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]
RawHeaders = Sequence[tuple[bytes, bytes]]

_BODY: Final = frozenset({"http.response.body", "http.response.pathsend", "http.response.zerocopysend"})
_NOWHERE: Final = ("", None)
_KEPT: Final = 64
# A client can send a byte at a time, and a message weighs hundreds: the pieces of a body after these are joined.


def http_request(scope: Scope, headers: flovia.Headers, route: str, body: flovia.Body) -> flovia.HttpRequest:
    """What the core needs to know of an HTTP scope; ``route``: the router's pattern, "" if there is none."""
    given: MutableMapping[str, Any] = scope
    path, root = given["path"], given.get("root_path")
    if root and not path.startswith(root):
        path = root + path  # an older server: by today's ASGI the path includes root_path
    # An address is (host, port), (path of a unix socket, None) or None.
    client, server = given.get("client") or _NOWHERE, given.get("server") or _NOWHERE
    query = given["query_string"].decode("latin-1")
    return flovia.HttpRequest(given["method"], path, query, headers, route, client[0], server[0], body)


def may_have_body(scope: Scope, headers: flovia.Headers) -> bool:
    """False only for a GET or HEAD of which HTTP/1 says that nothing follows (RFC 9112 section 6.3)."""
    return (
        scope["method"] not in ("GET", "HEAD")
        or scope.get("http_version", "1.1") not in ("1.1", "1.0")
        or headers.get("content-length") is not None
        or headers.get("transfer-encoding") is not None
    )


def raw(headers: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    """Header fields as ASGI wants them."""
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]


async def respond(send: Send, response: flovia.HttpResponse, beside: RawHeaders = ()) -> None:
    """Send a whole response, with those fields of ``beside`` that it has not got itself."""
    head = raw(response.headers)
    head += [pair for pair in beside if pair[0] not in dict(head)]
    await send({"type": "http.response.start", "status": response.status, "headers": head})
    await send({"type": "http.response.body", "body": response.body})


class Delivery:
    """The channels to give an app instead of the server's own.

    Until :meth:`admit` everything passes unchanged. Then the passage edits the head of the answer, and is
    left once: when the server took the last byte, or when it is certain that it never will.
    """

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        self._kept: deque[Message] | None = None
        self._admission: tuple[flovia.PaidApi, flovia.Passage] | None = None
        self._started = self._streamed = self._replaced = False
        self.broken = False
        """The client went away or the app failed: whatever is sent from now on is no delivery."""
        self.request_complete = False
        """Nothing more of the request can arrive."""

    def admit(self, paid: flovia.PaidApi, passage: flovia.Passage) -> None:
        """From now on what the app sends is the answer of an admitted request."""
        self._admission = paid, passage

    async def read_body(self, scope: Scope, headers: flovia.Headers, limit: int) -> flovia.Body | None:
        """Read the request's body and keep it for the app; None if the client went away meanwhile."""
        if not may_have_body(scope, headers):
            self.request_complete = True
            return flovia.NO_BODY
        meter, kept, rest = flovia.BodyMeter(limit), deque[Message](), bytearray()
        while not self.request_complete:
            message = await self.receive()
            piece = cast("bytes", message.get("body", b""))
            if self.broken:
                return None
            if not meter.feed(piece):
                return flovia.BODY_TOO_LARGE
            if len(kept) < _KEPT:
                kept.append(message)
            else:
                rest += piece
        if kept[-1].get("more_body", False):
            kept.append({"type": "http.request", "body": bytes(rest), "more_body": False})
        self._kept = kept
        return meter.body

    async def receive(self) -> Message:
        """What the server received, beginning with what was read already."""
        if self._kept:
            return self._kept.popleft()
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self.broken = True
        elif not message.get("more_body", False):
            self.request_complete = True
        return message

    async def send(self, message: Message) -> None:
        """Pass a message on, changed as the passage wants it; OSError for more of an answer that was withheld."""
        kind, more = message["type"], bool(message.get("more_body", False))
        if self._replaced:
            if more:
                raise OSError("this answer was withheld; stop sending")  # so a server says that a client is gone
        elif self._admission is None:
            await self._send(message)
        elif kind == "http.response.start":
            await self._start(self._admission[1], message)
        elif kind not in _BODY:
            await self._send(message)
        elif more:
            paid, passage = self._admission
            self._streamed = True
            await self._send(message)
            if passage.renewal_due():
                await paid.arenew(passage)
        else:
            if self._streamed and self.request_complete and not self.broken:
                await self._look()
            completed = not self.broken  # a server may report a disconnect because the answer is complete
            await self._send(message)
            await self._leave(completed=completed)

    async def _start(self, passage: flovia.Passage, message: Message) -> None:
        given: MutableMapping[str, Any] = message
        headers = [(name.lower(), value) for name, value in given.get("headers", ())]
        start = passage.start(given["status"], flovia.Headers.from_asgi(headers))
        self._started = True
        if start.replace is not None:
            self._replaced = True
            await respond(self._send, start.replace)
            return await self._leave(completed=True)
        if start.drop:
            headers = [pair for pair in headers if pair[0].decode("latin-1") not in start.drop]
        # A copy: an app may send the same dict for every request.
        return await self._send({**message, "headers": headers + raw(start.add)})

    async def _look(self) -> None:
        """Find out whether the client is gone: servers swallow what is sent then, so the app may not know."""
        self._kept = None
        async with anyio.create_task_group() as tasks:
            for _ in range(2):  # an empty request message may come first
                tasks.start_soon(self.receive)
            for _ in range(3):  # long enough for what has arrived already, and no longer
                await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()

    async def _leave(self, *, completed: bool) -> None:
        if self._admission is not None:
            (paid, passage), self._admission = self._admission, None
            await paid.aleave(passage, completed=completed)

    async def run(self, app: ASGIApp, scope: Scope, *, answer: bool = True) -> None:
        """Run the app to its end; with ``answer``, one that fails silently gets a problem sent.

        What the app raises is raised again: servers log it, and what watches for errors sits outside of us.
        """
        try:
            await app(scope, self.receive, self.send)
            if self._admission is not None and not self.broken:
                raise flovia.CallerError("the app returned before its last body message: send that too")
        except Exception as error:
            if self._admission is not None and not self._started:
                problem = self._admission[1].raised()
                await self._leave(completed=False)  # first, as the client may repeat its request at once
                if answer:
                    await respond(self._send, problem)
            if not (self._replaced and isinstance(error, OSError)):
                raise
        finally:
            if self._admission is not None and isinstance(sys.exception(), GeneratorExit):
                self._admission[0].leave(self._admission[1], completed=False)  # nothing can be awaited any more
            elif self._admission is not None:
                with anyio.CancelScope(shield=True):
                    await self._leave(completed=False)
