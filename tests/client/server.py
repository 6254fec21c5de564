"""A scripted HTTP server on loopback, as hostile as a test wants it.

It answers each request with what a function of the request returns, and remembers every request.
"""

import socket
import struct
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase
from itertools import count
from typing import Final, Literal

import attrs

from flovia.core.challenge import Challenge, format_challenge, format_expires
from flovia.core.credential import Credential, parse_credential
from flovia.core.encoding import JsonObject, JsonValue, encode_param
from flovia.core.fields import format_digest
from flovia.core.receipt import Receipt, format_receipt

FAR: Final = 4102444800
"""2100-01-01, when the challenges of these tests expire."""

_ids = count(1)


@attrs.frozen(kw_only=True)
class Seen:
    """A request as the server saw it; header names in lower case."""

    http_method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        """The first value of a field."""
        return next((value for key, value in self.headers if key == name), None)

    @property
    def credential(self) -> Credential | None:
        """The credential, from whichever of its two fields."""
        for name in ("payment-authorization", "authorization"):
            value = self.header(name)
            if value is not None and value.startswith("Payment "):
                return parse_credential(value)
        return None


@attrs.frozen(kw_only=True)
class Say:
    """An answer. ``write`` takes over the connection after the head, which then has no content-length.

    ``silence``: no answer at all; the connection is closed in order, or reset.
    """

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    write: Callable[[BufferedIOBase], None] | None = None
    silence: Literal["close", "reset"] | None = None


Script = Callable[[Seen], Say]


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients of these tests hang up on purpose."""


class Server:
    """What a test knows of the running server: its address and what it saw."""

    def __init__(self, script: Script) -> None:
        self.seen: list[Seen] = []
        self.http = _Quiet(("127.0.0.1", 0), _handler(script, self.seen))
        self.port = int(self.http.server_address[1])
        self.url = f"http://127.0.0.1:{self.port}"

    @property
    def credentials(self) -> list[Credential]:
        """Every credential that arrived, in order."""
        return [seen.credential for seen in self.seen if seen.credential is not None]


def _handler(script: Script, log: list[Seen]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            seen = Seen(
                http_method=self.command,
                target=self.path,
                headers=[(name.lower(), value) for name, value in self.headers.items()],
                body=self._body(),
            )
            log.append(seen)
            say = script(seen)
            if say.silence is not None:
                self.close_connection = True
                if say.silence == "reset":
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    self.connection.close()
                return
            self.send_response(say.status)
            for name, value in say.headers:
                self.send_header(name, value)
            if say.write is None:
                self.send_header("content-length", str(len(say.body)))
                self.end_headers()
                self.wfile.write(b"" if self.command == "HEAD" else say.body)
                return
            self.close_connection = True
            self.end_headers()
            self.wfile.flush()
            with suppress(OSError):  # the client may have heard enough
                say.write(self.wfile)

        do_GET = do_POST = do_HEAD = answer  # noqa: N815  # http.server looks for these names

        def _body(self) -> bytes:
            if not self.headers.get("transfer-encoding"):
                return self.rfile.read(int(self.headers.get("content-length") or 0))
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing: tests look at what was seen."""

    return Handler


@contextmanager
def serving(script: Script) -> Generator[Server]:
    """A running server until the block ends."""
    server = Server(script)
    thread = threading.Thread(target=server.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.http.shutdown()
        server.http.server_close()
        thread.join()


@contextmanager
def nobody_listens() -> Generator[int]:
    """A port that refuses connections, and that nobody else can get as long as the block lasts."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # and no listen()
        yield int(held.getsockname()[1])


# --- what a server of this protocol says -----------------------------------------------------------------


def challenge(
    *,
    amount: JsonValue = "100",
    currency: JsonValue = "sgd",
    recipient: JsonValue = None,
    method: str = "mock",
    intent: str = "charge",
    expires: str | None = format_expires(FAR),
    body: bytes | None = None,
    header: str | None = None,
    request: JsonObject | None = None,
    realm: str = "api.example.com",
    id: str | None = None,
) -> Challenge:
    """A challenge for 1.00 SGD unless told otherwise, with an id of its own. ``body`` binds its digest."""
    charge: dict[str, JsonValue] = {"amount": amount, "currency": currency}
    if recipient is not None:
        charge["recipient"] = recipient
    return Challenge(
        id=id or f"test-challenge-{next(_ids)}",
        realm=realm,
        method=method,
        intent=intent,
        request=encode_param(charge if request is None else request),
        expires=expires,
        digest=None if body is None else format_digest(sha256(body).digest()),
        header=header,
    )


def unpaid(*challenges: Challenge | str, more: tuple[tuple[str, str], ...] = (), body: bytes = b"{}") -> Say:
    """A 402 with these challenges, each in a field of its own; text goes on the wire as it is."""
    fields = [each if isinstance(each, str) else format_challenge(each) for each in challenges or (challenge(),)]
    return Say(status=402, headers=(*(("WWW-Authenticate", field) for field in fields), *more), body=body)


def receipt(method: str = "mock") -> tuple[str, str]:
    """A receipt field."""
    value = format_receipt(Receipt(method=method, timestamp=format_expires(0), reference="test-payment-1"))
    return "Payment-Receipt", value


def paid(body: bytes = b"goods") -> Say:
    """A 200 with a receipt."""
    return Say(status=200, headers=(receipt(),), body=body)


def sells(*answers: Say, offer: Callable[[], Say] = unpaid) -> Script:
    """A script: ``offer`` without a credential; with one, ``answers`` in turn, the last one for ever."""
    left = list(answers or (paid(),))

    def script(seen: Seen) -> Say:
        if seen.credential is None:
            return offer()
        return left.pop(0) if len(left) > 1 else left[0]

    return script
