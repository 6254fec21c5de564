"""A client of a few lines that sends exactly the bytes it is told to: no library may tidy them up."""

import http.client
import json
import socket
from collections.abc import Sequence
from contextlib import closing
from typing import cast

import attrs

from flovia.core.encoding import JsonValue
from tests.patience import PATIENT_S


@attrs.frozen(kw_only=True)
class Reply:
    """What came back. ``status`` 0: the server closed the connection without an answer."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    truncated: bool = False

    def all(self, name: str) -> list[str]:
        """Every value of a field; ``name`` in lower case."""
        return [value for found, value in self.headers if found == name]

    def one(self, name: str) -> str | None:
        """The value of a field that must not come twice; None if it is absent."""
        values = self.all(name)
        assert len(values) <= 1, f"{name} came {len(values)} times"
        return values[0] if values else None

    @property
    def json(self) -> dict[str, JsonValue]:
        """The body, a JSON object."""
        return cast("dict[str, JsonValue]", json.loads(self.body))


def head(http_method: str, target: str, headers: Sequence[tuple[str, str]]) -> bytes:
    """The head of a request, with nothing in it that the caller did not ask for."""
    lines = [f"{http_method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def exchange(url: str, data: bytes, http_method: str) -> Reply:
    """Send bytes on a connection of their own and read one answer."""
    host, _, port = url.removeprefix("http://").partition(":")
    with closing(socket.create_connection((host, int(port)), timeout=PATIENT_S)) as connection:
        try:
            connection.sendall(data)
            with closing(http.client.HTTPResponse(connection, method=http_method)) as response:
                response.begin()
                return _read(response)
        except (http.client.RemoteDisconnected, ConnectionError):
            return Reply(status=0)


def _read(response: http.client.HTTPResponse) -> Reply:
    truncated = False
    try:
        body = response.read()
    except http.client.IncompleteRead as error:
        body, truncated = error.partial, True
    except ConnectionError:
        body, truncated = b"", True
    headers = tuple((name.lower(), value) for name, value in response.getheaders())
    return Reply(status=response.status, headers=headers, body=body, truncated=truncated)


def control(url: str, http_method: str, name: str, given: JsonValue = None) -> dict[str, JsonValue]:
    """Use a control endpoint of the fixture; what it answers."""
    body = b"" if given is None else json.dumps(given).encode()
    fields = [("Host", url.removeprefix("http://")), ("Connection", "close"), ("Content-Length", str(len(body)))]
    reply = exchange(url, head(http_method, f"/__fixture__/{name}", fields) + body, http_method)
    assert reply.status == 200, reply.body
    return reply.json
