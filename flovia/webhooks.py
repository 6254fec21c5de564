"""What an adapter mounts for webhooks: it hands over the raw request and sends what comes back."""

import logging
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Final, cast

from flovia import runtime
from flovia.core.effects import Flow
from flovia.core.http import BODY_TOO_LARGE, BODY_UNTERMINATED, NO_BODY, Body, Headers, HttpResponse
from flovia.core.listening import Seldom, answer, hear
from flovia.core.webhook import WebhookProvider

if TYPE_CHECKING:
    from flovia.middleware import Context, Response

_log = logging.getLogger("flovia")
_LENGTH_DIGITS: Final = 18

HeadersLike = Headers | Mapping[str, str] | Iterable[tuple[str, str]]
"""Header fields: flovia's own, a mapping, or pairs."""


class WebhookReceiver:
    """Receives the webhooks of one provider; made by :meth:`flovia.Flovia.webhooks`.

    The body is read as it came, byte for byte, up to :attr:`max_body`, and nobody parses it before the provider
    has checked its signature.
    """

    def __init__(
        self, provider: WebhookProvider, world: runtime.World, *, realm: str, rail: str, seldom: Seldom | None = None
    ) -> None:
        self.provider = provider
        self._world = world
        self._realm = realm
        self._rail = rail
        self._seldom = seldom or Seldom()

    def __repr__(self) -> str:
        return f"<WebhookReceiver of {self.provider.name}>"

    @property
    def max_body(self) -> int:
        """Bytes of body that are read; above that, 413."""
        return self.provider.max_webhook

    def hear(self, headers: HeadersLike, body: bytes) -> HttpResponse:
        """Answer a POST whose body is at hand, blocking. Never raises for anything that is sent."""
        return runtime.run(self._flow(headers, body), self._world)

    async def ahear(self, headers: HeadersLike, body: bytes) -> HttpResponse:
        """As :meth:`hear`, under asyncio or trio."""
        return await runtime.arun(self._flow(headers, body), self._world)

    def receive(
        self, http_method: str, headers: HeadersLike, read: Callable[[], Body], data: Callable[[], bytes]
    ) -> HttpResponse:
        """Answer a request, blocking.

        Args:
            http_method: anything but POST is answered 405.
            headers: the request's fields.
            read: reads the body, at most :attr:`max_body` bytes of it, and keeps it.
            data: what was kept; called only if there is a body and all of it was read.
        """
        fields = _fields(headers)
        refusal = self._refusal(http_method, fields)
        if refusal is not None:
            return refusal
        announced = fields.get("content-length")  # before reading, which may put another value there
        body = read()
        if body is BODY_UNTERMINATED:
            return answer(411, "length-required")
        if body is BODY_TOO_LARGE:
            return answer(413, "body-too-large")
        if announced and not (announced.isdecimal() and int(announced) == body.size):
            return answer(400, "malformed")  # cut off: the client is gone, and some servers do not say so
        return self.hear(fields, b"" if body is NO_BODY else data())

    async def areceive(
        self, http_method: str, headers: HeadersLike, pieces: AsyncGenerator[bytes, None]
    ) -> HttpResponse:
        """Answer a request whose body comes in pieces, under asyncio or trio."""
        fields = _fields(headers)
        refusal = self._refusal(http_method, fields)
        if refusal is not None:
            return refusal
        body = bytearray()
        try:
            async with aclosing(pieces):
                async for piece in pieces:
                    body += piece
                    if len(body) > self.max_body:
                        return answer(413, "body-too-large")
        except Exception as error:
            # The client went away, so this answer is for nobody; each framework has an exception of its own for it.
            _log.info("the body of a webhook could not be read (%s)", type(error).__name__)
            return answer(400, "malformed")
        return await self.ahear(fields, bytes(body))

    async def handle(self, c: "Context") -> "Response":
        """The handler for a Hono-like router: ``app.post("/hooks/bank", flo.webhooks().handle)``."""
        found = await self.areceive(c.req.method, c.req.headers, c.req.stream())
        return c.body(found.body, found.status, found.headers)

    def _flow(self, headers: HeadersLike, body: bytes) -> Flow[HttpResponse]:
        fields = _fields(headers)
        return hear(self.provider, fields, body, realm=self._realm, rail=self._rail, seldom=self._seldom)

    def _refusal(self, http_method: str, headers: Headers) -> HttpResponse | None:
        """What is refused before a byte of the body is read."""
        if http_method != "POST":
            return answer(405, "method-not-allowed")
        length = headers.get("content-length") or ""
        if length.isdecimal() and length.isascii() and (len(length) > _LENGTH_DIGITS or int(length) > self.max_body):
            return answer(413, "body-too-large")
        return None


def _fields(headers: HeadersLike) -> Headers:
    if isinstance(headers, Headers):
        return headers
    if isinstance(headers, Mapping):
        return Headers.of(cast("Mapping[str, str]", headers).items())
    return Headers.of(headers)
