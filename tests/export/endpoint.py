"""An HTTP endpoint that takes webhooks: a real server that can hang, fail, drop, be slow, or be gone."""

import socket
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from flovia.export.signing import verify
from tests.export.world import WEBHOOK_SECRET, parsed
from tests.patience import eventually

Answer = Callable[["Endpoint", BaseHTTPRequestHandler], None]


def status(code: int, **headers: str) -> Answer:
    """Answer with this status and these header fields."""

    def answer(_: "Endpoint", request: BaseHTTPRequestHandler) -> None:
        request.send_response(code)
        for name, value in headers.items():
            request.send_header(name.replace("_", "-"), value)
        request.send_header("content-length", "0")
        request.end_headers()

    return answer


def hang(endpoint: "Endpoint", _: BaseHTTPRequestHandler) -> None:
    """Say nothing until the test is over."""
    endpoint.over.wait()


def drop(_: "Endpoint", request: BaseHTTPRequestHandler) -> None:
    """Close the connection without a word."""
    request.connection.shutdown(socket.SHUT_RDWR)


def garbage(_: "Endpoint", request: BaseHTTPRequestHandler) -> None:
    """Answer in no language."""
    request.wfile.write(b"\0\1\2 no HTTP\r\n\r\n")


def drip_head(endpoint: "Endpoint", request: BaseHTTPRequestHandler) -> None:
    """A head that comes byte by byte, and never ends."""
    request.wfile.write(b"HTTP/1.1 200 OK\r\nx-slow: ")
    while not endpoint.over.wait(0.05):
        request.wfile.write(b"a")


def drip_body(endpoint: "Endpoint", request: BaseHTTPRequestHandler) -> None:
    """200 at once, and a body without an end."""
    request.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n")
    while not endpoint.over.wait(0.05):
        request.wfile.write(b"a")


def flood(endpoint: "Endpoint", request: BaseHTTPRequestHandler) -> None:
    """200 and a huge body, as fast as it goes."""
    request.wfile.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")
    while not endpoint.over.is_set():
        request.wfile.write(b"a" * 65536)


class Endpoint:
    """What came, and what is answered: the next of ``answers``, or 204."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.always: Answer = status(204)
        self.requests: list[dict[str, Any]] = []
        self.ids: list[str] = []
        self.connections: set[object] = set()
        self.over = threading.Event()
        self.url = ""
        self.now: Callable[[], float] = time.time

    def noted(self, expected: Collection[str]) -> list[str]:
        """The ids that came, once they are as many as expected: an answer is out before what it took is noted."""
        return eventually(lambda: list(self.ids), lambda ids: len(ids) >= len(expected))

    def take(self, request: BaseHTTPRequestHandler) -> None:
        """One request: it must be signed."""
        length = int(request.headers["content-length"])
        body = request.rfile.read(length)
        if len(body) < length:
            raise ConnectionError("whoever sent it is gone")
        verify(
            {name.lower(): value for name, value in request.headers.items()},
            body,
            WEBHOOK_SECRET,
            now=self.now(),
        )
        self.connections.add(request.client_address)
        self.requests.append({"headers": dict(request.headers.items()), "body": body})
        answer = self.answers.pop(0) if self.answers else self.always
        answer(self, request)
        if answer is self.always:
            self.ids += [one["id"] for one in parsed(body)]


@contextmanager
def endpoint() -> Iterator[Endpoint]:
    """Up on loopback while the block runs."""
    found = Endpoint()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            try:
                found.take(self)
            except OSError:
                self.close_connection = True  # the exporter has hung up

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            """Say nothing of a connection that its other end has dropped; that is what is tested."""
            if not isinstance(sys.exception(), OSError):
                super().handle_error(request, client_address)

    server = Server(("127.0.0.1", 0), Handler)
    found.url = f"http://127.0.0.1:{server.server_address[1]}/events?key=test-part-of-the-address"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield found
    finally:
        found.over.set()
        server.shutdown()
        server.server_close()
        thread.join()
