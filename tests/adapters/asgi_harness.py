"""An ASGI server in a function: one request at a time, on the event loop of the test, under full control.

:func:`ask` plays the server of one request, :func:`buy` asks, pays the mock provider and asks again.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypedDict, Unpack, cast

import anyio
import attrs

import flovia
from flovia import AsgiApp, AsgiMessage, AsgiScope
from flovia.core.challenge import parse_challenge
from flovia.core.credential import Credential, format_credential

SECRET = "test-secret-of-the-asgi-adapters-0123456789"


def new_flovia(
    *,
    price: str = "1.00 USD",
    public_origin: str | None = None,
    clock: Callable[[], float] = time.time,
    ledger: str = "memory://",
) -> flovia.Flovia:
    """Shared settings of a test: the mock provider, and a ledger of its own."""
    return flovia.Flovia(
        provider="mock",
        price=price,
        ledger=ledger,
        secret=SECRET,
        public_origin=public_origin,
        clock=clock,
    )


@attrs.frozen
class Answer:
    """What a client saw. ``complete`` is False if the answer was cut off."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""
    complete: bool = True

    def all(self, name: str) -> list[str]:
        """Every value of a header field."""
        return [value for key, value in self.headers if key.lower() == name]

    def get(self, name: str) -> str | None:
        """A header field that stands there at most once; None if it is absent."""
        values = self.all(name)
        assert len(values) <= 1, f"{name} stands there {len(values)} times"
        return values[0] if values else None

    @property
    def problem(self) -> str:
        """The last part of the problem's type, "" if this is no problem document."""
        if self.get("content-type") != "application/problem+json":
            return ""
        return self.body.decode().split('"type":"')[1].split('"')[0].replace("/", ":").rpartition(":")[2]

    @property
    def challenge_id(self) -> str:
        """The id of the only challenge."""
        return parse_challenge(self.all("www-authenticate")[0]).id


def credential_for(answer: Answer) -> str:
    """The Authorization value that pays the challenge of a 402; for the same challenge it is the same one."""
    (value,) = answer.all("www-authenticate")
    challenge = parse_challenge(value)
    return format_credential(Credential(challenge=challenge, payload={"proof": f"ok-test-{challenge.id}"}))


class Server:
    """The server's side of one request: ``receive`` and ``send``, and what was sent.

    ``body``: the pieces of the request's body. After them ``receive`` waits until the answer is complete or
    :meth:`hang_up` was called. What an app sends after a hang-up is swallowed, as uvicorn does it.
    """

    def __init__(self, body: Sequence[bytes] = (b"",)) -> None:
        self.sent: list[AsgiMessage] = []
        self.received = 0
        self._pieces = list(body)
        self._over = anyio.Event()
        self.gone = False

    def hang_up(self) -> None:
        """The client goes away."""
        self.gone = True
        self._over.set()

    async def receive(self) -> AsgiMessage:
        """The next piece of the request."""
        if self.received < len(self._pieces) and not self.gone:
            self.received += 1
            more = self.received < len(self._pieces)
            return {"type": "http.request", "body": self._pieces[self.received - 1], "more_body": more}
        if not self.gone:
            await self._over.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: AsgiMessage) -> None:
        """Take a piece of the answer."""
        if self.gone:
            return
        self.sent.append(dict(message))
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self._over.set()

    @property
    def answer(self) -> Answer:
        """What arrived at the client."""
        starts = [message for message in self.sent if message["type"] == "http.response.start"]
        assert len(starts) == 1, self.sent
        bodies = [message for message in self.sent if message["type"] == "http.response.body"]
        headers = cast("list[tuple[bytes, bytes]]", starts[0]["headers"])
        return Answer(
            cast("int", starts[0]["status"]),
            tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in headers),
            b"".join(piece for message in bodies if isinstance(piece := message.get("body", b""), bytes)),
            bool(bodies) and not bodies[-1].get("more_body", False),
        )


class Request(TypedDict, total=False):
    """What :func:`make_scope`, :func:`ask` and :func:`buy` know of a request; ``body``: in pieces, chunked."""

    path: str
    http_method: str
    query: str
    headers: Sequence[tuple[str, str]]
    body: Sequence[bytes]
    scope: Mapping[str, object]


def make_scope(**request: Unpack[Request]) -> AsgiScope:
    """An HTTP scope of a client and a server on this machine; GET /paid, if nothing else is said."""
    path, body = request.get("path", "/paid"), request.get("body", ())
    fields = [("host", "127.0.0.1"), *request.get("headers", ())]
    if body:
        fields.append(("transfer-encoding", "chunked"))
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": request.get("http_method", "GET"),
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": request.get("query", "").encode(),
        "root_path": "",
        "headers": [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in fields],
        "client": ("127.0.0.1", 40000),
        "server": ("127.0.0.1", 8000),
        **request.get("scope", {}),
    }


async def serve(app: AsgiApp, scope: AsgiScope, server: Server) -> None:
    """Run one request through an app."""
    await app(scope, server.receive, server.send)


async def ask(app: AsgiApp, **request: Unpack[Request]) -> Answer:
    """AsgiSend one request and wait for the answer."""
    server = Server(request.get("body") or (b"",))
    await serve(app, make_scope(**request), server)
    return server.answer


def paying(unpaid: Answer, **request: Unpack[Request]) -> Request:
    """The same request with a credential that pays the challenge of an answer."""
    request["headers"] = [*request.get("headers", ()), ("authorization", credential_for(unpaid))]
    return request


async def redeem(app: AsgiApp, unpaid: Answer, **request: Unpack[Request]) -> Answer:
    """Pay the challenge of an answer and ask again."""
    return await ask(app, **paying(unpaid, **request))


async def buy(app: AsgiApp, **request: Unpack[Request]) -> Answer:
    """Ask, pay, and ask again: the paid answer."""
    unpaid = await ask(app, **request)
    assert unpaid.status == 402, unpaid
    return await redeem(app, unpaid, **request)


def state(flo: flovia.Flovia, answer: Answer) -> str | None:
    """Where the payment of a challenge stands in the ledger; None if nobody has presented it."""
    found = flo.ledger.find(f"{flo.settings.realm}|{answer.challenge_id}")
    return found.state if found is not None else None


def event_types(flo: flovia.Flovia) -> list[str]:
    """The events so far, oldest first."""
    flo.ledger.flush()
    return [event.type for _, event in flo.ledger.read_events()]
