"""What ASGI adapters share: a scope as an :class:`HttpRequest`, and the answer on its way to the server.

:class:`AsgiDelivery` is one request of an ASGI server. An adapter asks it for the request, lets a guard decide,
and runs the app over its channels; it buffers no answer, and reports the end of an admitted one once.
"""

import sys
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, MutableMapping, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, cast

import anyio.lowlevel

from flovia.core.answers import AnswerCopy
from flovia.core.errors import CallerError
from flovia.core.http import BODY_TOO_LARGE, Body, BodyMeter, Headers, HttpRequest, HttpResponse
from flovia.core.passage import Passage

if TYPE_CHECKING:
    from flovia.api import PaidApi

AsgiScope = MutableMapping[str, object]
AsgiMessage = MutableMapping[str, object]
AsgiReceive = Callable[[], Awaitable[AsgiMessage]]
AsgiSend = Callable[[AsgiMessage], Awaitable[None]]
AsgiApp = Callable[[AsgiScope, AsgiReceive, AsgiSend], Awaitable[None]]

_BODY: Final = frozenset({"http.response.body", "http.response.pathsend", "http.response.zerocopysend"})
_NOWHERE: Final = ("", None)
_PATIENCE_S: Final = 0.05
"""How long an answer may take before we ask whether there still is a client: asking costs more than most answers."""
_KEPT: Final = 64
"""How many pieces of a request's body are kept as they came. A client can send one byte at a time, and a
message weighs a few hundred, so the pieces after these are joined."""


def asgi_headers(headers: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    """Header fields as ASGI wants them."""
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]


async def asgi_response(response: HttpResponse, send: AsgiSend, *, beside: Sequence[tuple[bytes, bytes]] = ()) -> None:
    """Answer with a response of flovia's own, and with those fields of ``beside`` that it has not got itself."""
    headers = asgi_headers(response.headers)
    if beside:
        own = {name for name, _ in headers}
        headers += [pair for pair in beside if pair[0] not in own]
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body})


async def asgi_pieces(receive: AsgiReceive) -> AsyncGenerator[bytes, None]:
    """The body of a request, in pieces, as the server receives it.

    Raises:
        ConnectionAbortedError: the client went away before it was complete.
    """
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionAbortedError("the client went away before its request was complete")
        more = bool(message.get("more_body", False))
        yield cast("bytes", message.get("body", b""))


class AsgiDelivery:
    """One request of an ASGI server, and the channels to give an app instead of the server's own.

    Until :meth:`admit` everything passes unchanged. Then the passage edits the head of the answer, and is
    left once: when the server took the last byte, or when it is certain that it never will.
    """

    # Defaults live in the class: most requests end at a refusal and never change one.
    broken = False
    """The client went away, or the handler failed: whatever is sent from now on is no delivery."""
    failed = False
    """See :meth:`fail`."""
    _kept: deque[AsgiMessage] | None = None
    _copy: AnswerCopy | None = None
    _admission: "tuple[PaidApi, Passage] | None" = None
    _ended: anyio.Event | None = None
    _started = _streamed = _replaced = _ending = _whole = _headed = False
    _unsent: int | None = None
    _admitted_at = 0.0

    def __init__(self, scope: AsgiScope, receive: AsgiReceive, send: AsgiSend) -> None:
        self.scope = scope
        self.headers = Headers.from_asgi(cast("Sequence[tuple[bytes, bytes]]", scope["headers"]))
        self._receive = receive
        self._send = send
        self.request_complete = not self._may_have_body()
        """Nothing more of the request can arrive."""

    def _may_have_body(self) -> bool:
        """False only for a GET or HEAD of which HTTP/1 says that nothing follows (RFC 9112 section 6.3)."""
        return (
            self.scope["method"] not in ("GET", "HEAD")
            or self.scope.get("http_version", "1.1") not in ("1.1", "1.0")
            or self.headers.get("content-length") is not None
            or self.headers.get("transfer-encoding") is not None
        )

    async def read_body(self, limit: int) -> Body | None:
        """Read the request's body, at most ``limit`` bytes, and keep it for the app.

        None if the client went away meanwhile: then there is nobody to answer.
        """
        announced = self.headers.get("content-length")
        if announced is not None and announced.isdecimal() and len(announced) < 20 and int(announced) > limit:
            return BODY_TOO_LARGE  # without waiting for what would not be read anyway
        meter, kept, rest = BodyMeter(limit), deque[AsgiMessage](), bytearray()
        while not self.request_complete:
            message = await self.receive()
            if self.broken:
                return None
            piece = cast("bytes", message.get("body", b""))
            if not meter.feed(piece):
                return BODY_TOO_LARGE
            if len(kept) < _KEPT:
                kept.append(message)
            else:
                rest += piece
        if kept and kept[-1].get("more_body", False):
            kept.append({"type": "http.request", "body": bytes(rest), "more_body": False})
        self._kept = kept
        return meter.body

    def request(self, body: Body, *, route: str = "") -> HttpRequest:
        """What the core needs to know; ``route`` is the router's pattern, "" if there is none."""
        scope: MutableMapping[str, Any] = self.scope
        path, root = scope["path"], scope.get("root_path")
        if root and not path.startswith(root):
            path = root + path  # an older server: by today's ASGI the path includes root_path
        # An address is (host, port), (path of a unix socket, None) or None.
        client, server = scope.get("client") or _NOWHERE, scope.get("server") or _NOWHERE
        query = scope["query_string"].decode("latin-1")
        return HttpRequest(scope["method"], path, query, self.headers, route, client[0], server[0], body)

    def admit(self, paid: "PaidApi", passage: Passage) -> None:
        """From now on what the app sends is the answer of an admitted request."""
        self._admission = paid, passage
        self._copy = passage.copy()
        self._admitted_at = monotonic()

    def fail(self) -> None:
        """An exception has left the handler, its answer or its stream: no page makes a delivery of that."""
        self.broken = self.failed = True

    async def receive(self) -> AsgiMessage:
        """What the server received, beginning with what was read already."""
        if self._kept:
            return self._kept.popleft()
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self.broken = True
            if self._ending:
                # Servers say so too when the answer is complete. An app that listens would then cancel the
                # send of its last message, just before it is recorded.
                self._ended = self._ended or anyio.Event()
                await self._ended.wait()
        elif not message.get("more_body", False):
            self.request_complete = True
        return message

    async def send(self, message: AsgiMessage) -> None:
        """Pass a message on, changed as the passage wants it.

        Raises:
            OSError: the app streams on although its answer was withheld; so a server says that a client is gone.
        """
        kind, more = message["type"], bool(message.get("more_body", False))
        if self._replaced:
            if more:
                raise OSError("this answer was withheld; stop sending")
        elif self._admission is None:
            await self._send(message)
        elif kind == "http.response.start":
            await self._start(*self._admission, message)
        elif kind not in _BODY:
            await self._send(message)
        elif more:
            paid, passage = self._admission
            self._streamed = True
            if self._copy is not None:
                _tee(self._copy, message)
            if self._unsent is not None:
                # A client that counts may leave as soon as it has them all, before the app says that it is done.
                self._unsent -= len(cast("bytes", message.get("body", b"")))
                if self._unsent == 0 and self.request_complete and not self.broken:
                    await self._look()
            await self._send(message)
            self._whole = self._whole or (self._unsent == 0 and not self.broken)
            if passage.renewal_due():
                await paid.arenew(passage)
        else:
            if self._copy is not None:
                _tee(self._copy, message)
            await self._finish(*self._admission, message)

    async def _start(self, paid: "PaidApi", passage: Passage, message: MutableMapping[str, Any]) -> None:
        headers = [(name.lower(), value) for name, value in message.get("headers", ())]
        if self.failed and message["status"] < 400:
            passage.raised()
        given = Headers.from_asgi(headers)
        start = passage.start(message["status"], given)
        length = given.get("content-length")
        if length is not None and length.isdecimal():
            self._unsent = int(length)
        self._started = True
        if self._copy is not None and message.get("trailers", False):
            self._copy.drop()
        if start.replace is not None:
            self._replaced = True
            await self._leave(paid, passage, completed=True)  # first: the client may come back at once
            await asgi_response(start.replace, self._send)
            return
        if start.drop:
            headers = [pair for pair in headers if pair[0].decode("latin-1") not in start.drop]
        bodiless = message["status"] in (204, 304) or self._unsent == 0  # and HEAD never buys
        if bodiless and self._slow() and self.request_complete and not self.broken:
            await self._look()
        # A copy: an app may send the same dict for every request.
        await self._send({**message, "headers": headers + asgi_headers(start.add)})
        # A client that needs no body may leave with the head, before the app says that it is done.
        self._headed = bodiless and not self.broken

    def _slow(self) -> bool:
        return self._streamed or monotonic() - self._admitted_at > _PATIENCE_S

    async def _finish(self, paid: "PaidApi", passage: Passage, message: AsgiMessage) -> None:
        whole = self._whole or self._headed
        if not whole and self._slow() and self.request_complete and not self.broken:
            await self._look()
        completed = whole or not self.broken
        self._ending = True
        try:
            await self._send(message)
            await self._leave(paid, passage, completed=completed)
        finally:
            self._ending = False
            if self._ended is not None:
                self._ended.set()

    async def _look(self) -> None:
        """Find out whether the client is gone: servers swallow what is sent then, so the app may not know."""
        self._kept = None
        async with anyio.create_task_group() as tasks:
            for _ in range(2):  # an empty request message may come first
                tasks.start_soon(self.receive)
            for _ in range(3):  # long enough for what has arrived already, and no longer
                await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()

    async def _leave(self, paid: "PaidApi", passage: Passage, *, completed: bool) -> None:
        self._admission = None
        await paid.aleave(passage, completed=completed)

    async def run(self, app: AsgiApp, *, answer: bool = True) -> None:
        """Run the app to its end.

        What it raises is raised again: servers log it, and what watches for errors sits outside of us. Before
        that, with ``answer``, a problem is sent if the app had said nothing yet.

        Raises:
            CallerError: the app returned before its answer was complete.
        """
        try:
            await app(self.scope, self.receive, self.send)
            if self._admission is not None and not self.broken:
                raise CallerError("the app returned before its last body message: send that too")
        except Exception as error:
            if self._admission is not None and not self._started:
                paid, passage = self._admission
                problem = passage.raised()
                await self._leave(paid, passage, completed=False)  # first, as above
                if answer:
                    await asgi_response(problem, self._send)
            if not (self._replaced and isinstance(error, OSError)):
                raise
        finally:
            if self._admission is not None:
                paid, passage = self._admission
                whole = self._whole or (self._headed and self.broken and not self.failed)
                if isinstance(sys.exception(), GeneratorExit):
                    paid.leave(passage, completed=whole)  # nobody drives us any more: nothing can be awaited
                else:
                    with anyio.CancelScope(shield=True):
                        await self._leave(paid, passage, completed=whole)


def _tee(copy: AnswerCopy, message: AsgiMessage) -> None:
    """Give the copy what is sent of a body; a file that the server sends by itself is not seen."""
    if message["type"] == "http.response.body":
        copy.feed(cast("bytes", message.get("body", b"")))
        copy.whole = not message.get("more_body", False)
    else:
        copy.drop()
