"""What travels along a route's chain: ``c``, with the request ``c.req`` and the answer ``c.res``."""

import json
from collections.abc import AsyncGenerator, AsyncIterable, Sequence
from typing import cast
from urllib.parse import parse_qs

import attrs

from flovia import AsgiReceive, AsgiScope, Headers

Chunks = bytes | AsyncIterable[bytes]
Fields = dict[str, str] | Sequence[tuple[str, str]]


class Disconnected(Exception):
    """The client went away before its request was complete."""


class Request:
    """The request. ``path`` includes the mount prefix, ``route_path`` is the pattern that matched."""

    def __init__(self, scope: AsgiScope, receive: AsgiReceive) -> None:
        root, path = cast("str", scope.get("root_path", "")), cast("str", scope["path"])
        self.local_path = path.removeprefix(root) or "/"
        self.path = root + self.local_path  # older servers leave the prefix out of the path
        self.method = cast("str", scope["method"])
        self.query_string = cast("bytes", scope["query_string"]).decode("latin-1")
        self.headers = Headers.from_asgi(cast("list[tuple[bytes, bytes]]", scope["headers"]))
        self.client, self.server = (cast("list[str]", scope.get(end) or ("",))[0] for end in ("client", "server"))
        self.url = f"{scope['scheme']}://{self.header('host')}{self.path}?{self.query_string}".removesuffix("?")
        self.route_path, self.params = "", dict[str, str]()
        self._receive, self._body, self._complete = receive, bytearray(), False

    def param(self, name: str) -> str:
        """A parameter of the path, as in ``/items/:id``."""
        return self.params[name]

    def query(self, name: str) -> str | None:
        """The first value of a query parameter; None if it is absent."""
        return parse_qs(self.query_string, keep_blank_values=True).get(name, [None])[0]

    def header(self, name: str) -> str | None:
        """A header field; None if it is absent."""
        return self.headers.get(name.lower())

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """The body from its beginning, in pieces, as often as you like."""
        if self._body:
            yield bytes(self._body)
        while not self._complete:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise Disconnected
            self._complete = not message.get("more_body", False)
            self._body += (piece := cast("bytes", message.get("body", b"")))
            yield piece

    async def body(self) -> bytes:
        """The whole body."""
        return b"".join([piece async for piece in self.stream()])

    async def text(self) -> str:
        """The body as UTF-8 text."""
        return (await self.body()).decode()

    async def json(self) -> object:
        """The body as JSON."""
        return json.loads(await self.body())


@attrs.frozen
class Response:
    """An answer; never changed once it is made, so a handler may keep one and return it again."""

    body: Chunks
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()


class Context:
    """One request on its way through the chain, and its answer on the way back."""

    def __init__(self, req: Request) -> None:
        self.req, self.pending, self._kept = req, list[tuple[str, str]](), dict[str, object]()
        self.res: Response | None = None
        self.error: Exception | None = None

    def header(self, name: str, value: str) -> None:
        """Add a field to the answer; in a handler before it returns, in middleware at any time."""
        self.pending.append((name, value))

    def set(self, key: str, value: object) -> None:
        """Keep something for the handlers that follow."""
        self._kept[key] = value

    def get(self, key: str) -> object:
        """What a middleware kept; None if nothing."""
        return self._kept.get(key)

    def body(self, data: Chunks, status: int = 200, headers: Fields = (), kind: str = "") -> Response:
        """An answer of bytes, or of an async iterable that is sent piece by piece as it comes."""
        fields = list(headers.items() if isinstance(headers, dict) else headers)
        given = {name.lower() for name, _ in fields}
        length = str(len(data)) if isinstance(data, bytes) and status not in (204, 304) else ""
        ours = (("content-type", kind), ("content-length", length))
        return Response(data, status, (*fields, *(pair for pair in ours if pair[1] and pair[0] not in given)))

    def text(self, text: str, status: int = 200, headers: Fields = ()) -> Response:
        """A plain-text answer."""
        return self.body(text.encode(), status, headers, "text/plain; charset=utf-8")

    def json(self, value: object, status: int = 200, headers: Fields = ()) -> Response:
        """A JSON answer."""
        return self.body(json.dumps(value).encode(), status, headers, "application/json")

    def answer(self, given: object) -> Response:
        """What a handler returned, as an answer: text, bytes, a stream, (value, status), else JSON."""
        if isinstance(given, tuple):
            value, status = cast("tuple[object, int]", given)
            return attrs.evolve(self.answer(value), status=status)
        if isinstance(given, bytes | AsyncIterable):
            given = self.body(cast("Chunks", given))
        elif not isinstance(given, Response):
            given = self.text(given) if isinstance(given, str) else self.json(given)
        fields, self.pending = (*given.headers, *self.pending), []
        return attrs.evolve(given, headers=fields)
