"""A :class:`PaidApi` as ``(c, next)`` middleware: what a Hono-like router has to offer for it, and nothing else.

::

    app.get("/paid", flovia.paid_api(provider="mock", rail="mpp", price="1.00 USD"), handler)

Any router whose context and ``next`` have the shape of these protocols will do; ``flovia_hono`` is one.
"""

import logging
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Protocol

from flovia.core.errors import CallerError
from flovia.core.http import UNREAD_BODY, BodyMeter, Headers, HttpRequest, HttpResponse
from flovia.core.passage import Passage

if TYPE_CHECKING:
    from flovia.api import PaidApi

_log = logging.getLogger("flovia")

Chunks = bytes | AsyncIterable[bytes]
"""A body: whole, or in pieces as they come."""

Next = Callable[[], Awaitable[None]]
"""Run what follows in the chain. Its answer is in ``c.res`` then. It may raise what a handler raised; a router
that turns errors into pages itself leaves the error in ``c.error``."""


class Request(Protocol):
    """The request, ``c.req``."""

    @property
    def method(self) -> str:
        """The HTTP method, upper case."""
        ...

    @property
    def path(self) -> str:
        """The whole path, mount prefixes included, decoded as the router decoded it."""
        ...

    @property
    def query_string(self) -> str:
        """The raw query, without ``?``."""
        ...

    @property
    def route_path(self) -> str:
        """The pattern of the route that matched: ``/items/:id``."""
        ...

    @property
    def headers(self) -> Headers:
        """The request's header fields."""
        ...

    @property
    def client(self) -> str:
        """The peer's address, "" where unknown."""
        ...

    @property
    def server(self) -> str:
        """The address the server is bound to, "" where unknown."""
        ...

    def stream(self) -> AsyncGenerator[bytes, None]:
        """The body from its beginning, in pieces. The handler can read again all that was read here."""
        ...


class Response(Protocol):
    """An answer, ``c.res``. It may be used for several requests, so it is never changed, only replaced."""

    @property
    def status(self) -> int:
        """The HTTP status."""
        ...

    @property
    def headers(self) -> Sequence[tuple[str, str]]:
        """Header fields in order."""
        ...

    @property
    def body(self) -> Chunks:
        """The body.

        If it has a method ``aclose``, the router awaits it once it is done with the body, after the last
        byte was handed to the server as well as after a failure, or when the answer was replaced by another.
        """
        ...


class Context(Protocol):
    """What travels along the chain."""

    @property
    def req(self) -> Request:
        """The request."""
        ...

    @property
    def res(self) -> Response | None:
        """The answer so far. What a middleware returns takes its place."""
        ...

    @property
    def error(self) -> Exception | None:
        """The exception that ``res`` is a page for, if it is one."""
        ...

    def body(self, data: Chunks, status: int, headers: Sequence[tuple[str, str]], /) -> Response:
        """Make an answer."""
        ...

    def set(self, key: str, value: object, /) -> None:
        """Keep something for the handlers that follow."""
        ...


async def through(paid: "PaidApi", c: Context, next: Next) -> Response | None:
    """Let one request through a guard; the response to send.

    The handler finds the :class:`~flovia.Grant` as ``c.get("payment")`` (None behind an observer).
    """
    passage = await paid.aenter(await _http_request(paid, c.req))
    if passage.response is not None:
        return _own(c, passage.response)
    c.set("payment", passage.grant)
    delivery = _Delivery(paid, passage)
    try:
        return await _answer(c, next, passage, delivery)
    except BaseException:
        await delivery.aclose()
        raise


async def _http_request(paid: "PaidApi", req: Request) -> HttpRequest:
    body = UNREAD_BODY
    if paid.reads_body:
        meter = BodyMeter(paid.max_body)
        async with aclosing(req.stream()) as pieces:
            async for piece in pieces:
                if not meter.feed(piece):
                    break
        body = meter.body
    return HttpRequest(
        req.method, req.path, req.query_string, req.headers, req.route_path, req.client, req.server, body
    )


def _own(c: Context, response: HttpResponse, body: Chunks | None = None) -> Response:
    return c.body(response.body if body is None else body, response.status, response.headers)


async def _answer(c: Context, next: Next, passage: Passage, delivery: "_Delivery") -> Response:
    try:
        await next()
        if c.res is None:
            raise CallerError("the handler answered nothing: return c.json(…), c.text(…) or c.body(…)")
    except Exception as error:
        problem = passage.raised()
        _log.error("a paid handler raised (%s)", passage.problem, exc_info=error)
        return _own(c, problem, delivery.instead(problem.body))
    if c.error is not None:
        # The router made a page of an exception: whatever its status, this is no delivery.
        passage.raised()
    headers = Headers.of(c.res.headers)
    start = passage.start(c.res.status, headers)
    if start.replace is not None:
        return _own(c, start.replace, delivery.instead(start.replace.body))
    # These have no body, whatever length they name.
    length = None if c.res.status in (204, 304) else headers.get("content-length")
    body = delivery.of(c.res.body, length)
    return c.body(body, c.res.status, start.apply(list(c.res.headers)))


class _Delivery:
    """The body of an admitted answer; closing it is leaving the passage, exactly once."""

    __slots__ = ("_body", "_chunks", "_complete", "_copy", "_left", "_length", "_made", "_paid", "_passage", "_whole")

    def __init__(self, paid: "PaidApi", passage: Passage) -> None:
        self._paid = paid
        self._passage = passage
        self._copy = passage.copy()
        self._whole = b""
        self._body: AsyncIterable[bytes] | None = None
        self._chunks: AsyncIterator[bytes] | None = None
        self._length: str | None = None
        self._made = 0
        # There is no byte to wait for in the answer to HEAD.
        self._complete = passage.request.http_method == "HEAD"
        self._left = False

    def of(self, body: Chunks, length: str | None = None) -> "_Delivery":
        self._length = length
        if isinstance(body, bytes):
            self._whole = body
        else:
            self._body, self._chunks = body, aiter(body)
        return self

    def instead(self, body: bytes) -> "_Delivery":
        """A body of the guard's own, in place of the handler's."""
        self._copy = None  # it has this one already
        return self.of(body)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._made and self._length == str(self._made):
            # The router came back after the last byte. A client that counts may leave now, before the body ends.
            self._complete = True
        if self._chunks is not None:
            chunk = await anext(self._chunks, None)
        else:
            chunk, self._whole = self._whole or None, b""
        if chunk is None:
            # Fewer bytes than were announced are half an answer, and the client can tell.
            short = self._length is not None and self._length.isdecimal() and self._made < int(self._length)
            self._complete = self._complete or not short
            raise StopAsyncIteration
        self._made += len(chunk)
        if self._copy is not None:
            self._copy.feed(chunk)
        if self._passage.renewal_due():
            await self._paid.arenew(self._passage)
        return chunk

    async def aclose(self) -> None:
        if self._left:
            return
        self._left = True
        try:
            for part in (self._chunks, self._body):
                close = getattr(part, "aclose", None)
                if close is not None:
                    await close()
        finally:
            await self._paid.aleave(self._passage, completed=self._complete)
