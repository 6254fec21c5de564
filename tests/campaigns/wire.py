"""A light HTTP/1.1 client on asyncio streams: connections are kept, and an answer that breaks off says so."""

import asyncio
import time
from collections.abc import Iterable
from typing import Final

import attrs

LIMIT_S: Final = 60.0
"""Longest wait for one answer: a server that hangs is a finding."""
IDLE_S: Final = 20.0
"""How long an idle connection is kept. The campaigns' servers keep one for a minute; who asks just as it is closed has
a broken connection that is nobody's mistake.
"""


class Broken(Exception):
    """The connection ended before the answer did. ``status``: of an answer that had begun, else 0."""

    def __init__(self, status: int = 0) -> None:
        super().__init__(f"the connection broke (status {status})")
        self.status = status


@attrs.frozen
class Reply:
    """A whole answer; field names in lower case, with the values of a field that came twice joined by a line end."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def problem(self) -> str:
        """The last word of the problem's type, or the status."""
        marker = b'"type":"'
        at = self.body.find(marker)
        if self.status < 400 or at < 0:
            return str(self.status)
        return self.body[at + len(marker) :].partition(b'"')[0].replace(b":", b"/").rpartition(b"/")[2].decode()


_Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Client:
    """Connections to one server. ``connections``: how many requests may be on their way at once."""

    def __init__(self, host: str, port: int, *, connections: int = 64) -> None:
        self._host = host
        self._port = port
        self._idle: list[tuple[float, _Connection]] = []
        self._places = asyncio.Semaphore(connections)

    async def ask(
        self,
        target: str,
        fields: Iterable[tuple[str, str]] = (),
        *,
        http_method: str = "GET",
        body: bytes = b"",
    ) -> Reply:
        """Send one request and read its answer.

        Raises:
            Broken: there is no server, or it went away in the middle.
        """
        lines = [f"{http_method} {target} HTTP/1.1", "host: api.example.com"]
        lines += [f"{name}: {value}" for name, value in fields]
        if body:
            lines.append(f"content-length: {len(body)}")
        data = "\r\n".join([*lines, "", ""]).encode("latin-1") + body
        async with self._places:
            connection: _Connection | None = None
            try:
                async with asyncio.timeout(LIMIT_S):
                    connection = await self._connect()
                    reply, kept = await _exchange(connection, data)
            except (OSError, asyncio.IncompleteReadError) as error:
                if connection is not None:
                    connection[1].close()
                if isinstance(error, TimeoutError):
                    raise AssertionError(f"{target} was not answered within {LIMIT_S} s") from None
                raise Broken(getattr(error, "status", 0)) from None
            if kept:
                self._idle.append((time.monotonic(), connection))
            else:
                connection[1].close()
            return reply

    async def _connect(self) -> _Connection:
        while self._idle:
            since, (reader, writer) = self._idle.pop()
            fresh = time.monotonic() - since < IDLE_S
            if fresh and not reader.at_eof() and not writer.is_closing() and reader.exception() is None:
                return reader, writer
            writer.close()
        return await asyncio.open_connection(self._host, self._port)

    def close(self) -> None:
        """Let go of every connection."""
        for _, (_, writer) in self._idle:
            writer.close()
        self._idle.clear()


async def _exchange(connection: _Connection, data: bytes) -> tuple[Reply, bool]:
    reader, writer = connection
    writer.write(data)
    await writer.drain()
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    status = int(head[0].split(" ", 2)[1])
    headers: dict[str, str] = {}
    for line in head[1:-2]:
        name, _, value = line.partition(":")
        name, value = name.strip().lower(), value.strip()
        headers[name] = f"{headers[name]}\n{value}" if name in headers else value
    try:
        body = await _body(reader, status, headers)
    except (OSError, asyncio.IncompleteReadError) as error:
        error.status = status  # type: ignore[union-attr]
        raise
    return Reply(status, headers, body), headers.get("connection", "").lower() != "close"


async def _body(reader: asyncio.StreamReader, status: int, headers: dict[str, str]) -> bytes:
    if status in (204, 304):
        return b""
    if "chunked" in headers.get("transfer-encoding", ""):
        body = b""
        while size := int(await reader.readuntil(b"\r\n"), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readexactly(2)
        return body
    return await reader.readexactly(int(headers["content-length"]))
