"""The paid app of the campaigns: the shipped adapters, gate and ledger, around a provider that keeps a till.

Everything comes from the environment, because servers import their app: ``CAMPAIGN_LEDGER``, ``CAMPAIGN_FOLDER`` (the
pipe ``books`` and the file ``clock``), ``CAMPAIGN_DEADLINE``, ``CAMPAIGN_DELIVER_WITHIN``.
"""

import json
import os
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping
from typing import Any, Final, cast
from urllib.parse import parse_qs
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import anyio.to_thread

import flovia
import flovia_asgi
import flovia_wsgi
from flovia.core.effects import Flow
from flovia.core.http import Headers
from flovia.core.passage import Passage
from flovia.core.webhook import Heard, LatePayment, RefundedPayment
from flovia.ledger.opening import open_ledger
from flovia.providers.base import Paid, Presented, RefundOrder, RefundVerdict, Verdict
from flovia.providers.mock import MockProvider
from tests.campaigns.points import DIE, Books, Points, SharedClock, plan

TEST_SECRET: Final = "a-fixed-test-secret-of-the-campaigns-0001"
REALM: Final = "api.example.com"
CHUNKS: Final = tuple(f"chunk {number} of 5\n".encode() for number in range(1, 6))
DAY_S: Final = 86400
"""Longer than a campaign by its own clock: a challenge that runs out is another story."""
ANSWER: Final = b'{"foo":"bar"}'


class Till(MockProvider):
    """The mock, with a till: it tells the books of every payment that it confirmed and every refund it made."""

    max_webhook = 4096
    books: Books
    points: Points

    def verify(self, presented: Presented) -> Flow[Verdict]:
        """As the mock."""
        self.points.reach("verify.before")
        verdict = yield from super().verify(presented)
        if isinstance(verdict, Paid):
            self.books.write("paid", verdict.reference)
        self.points.reach("verify.after")
        return verdict

    def refund(self, order: RefundOrder) -> Flow[RefundVerdict]:
        """As the mock."""
        verdict = yield from super().refund(order)
        self.books.write("gave-back", order.payment_id, order.nonce)
        self.points.reach("refund.asked")
        return verdict

    def webhook(self, headers: Headers, body: bytes) -> Flow[Heard]:
        """What the harness posts: a late payment, or a refund that was made elsewhere."""
        yield from ()
        told = json.loads(body)
        money: dict[str, Any] = {
            "method": self.method,
            "payment_id": told["payment"],
            "amount": 100,
            "currency": "usd",
        }
        if told["kind"] == "late":
            return Heard(notices=(LatePayment(challenge_id=told["challenge"], **money),))
        return Heard(notices=(RefundedPayment(**money),))


class Shop:
    """What both kinds of app share."""

    def __init__(self) -> None:
        folder = os.environ["CAMPAIGN_FOLDER"]
        self.books = Books(f"{folder}/books")
        self.points = Points(self.books)
        clock = SharedClock(f"{folder}/clock", time.time)
        self.ledger = open_ledger(os.environ["CAMPAIGN_LEDGER"], clock=clock)
        self.points.watch(self.ledger)
        provider = Till(deadline_s=float(os.environ.get("CAMPAIGN_DEADLINE", "10")))
        provider.__dict__.update(books=self.books, points=self.points)
        self.provider = provider
        self.flo = flovia.Flovia(
            provider=provider,
            ledger=self.ledger,
            secret=TEST_SECRET,
            realm=REALM,
            public_origin="https://api.example.com",
            clock=clock,
        )
        self.guards = {path: self._guard(path) for path in ("/paid", "/chunks")}

    def _guard(self, path: str) -> flovia.PaidApi:
        within = float(os.environ.get("CAMPAIGN_DELIVER_WITHIN", "60"))
        guard = self.flo.paid_api(
            price="1.00 USD", name=path, deliver_within=within, max_deliveries=1000, expires_in=DAY_S
        )
        enter, aenter = guard.enter, guard.aenter

        def due(passage: Passage) -> Passage:
            if plan.get().startswith("renew."):
                passage.renew_at = 0.0  # now, and not after half of the lease
            return passage

        async def adue(request: flovia.HttpRequest) -> Passage:
            return due(await aenter(request))

        guard.enter = lambda request: due(enter(request))  # type: ignore[method-assign]
        guard.aenter = adue  # type: ignore[method-assign]
        return guard

    def begin(self, die: str) -> None:
        """A request begins; ``die``: where it is to die."""
        self.books.write("in")
        plan.set(die)
        if die.startswith("outbox."):
            self.points.armed = die

    def end(self) -> None:
        """A request has ended, and its process has nothing to do for it any more."""
        self.books.write("out")

    def chunks(self, payment: flovia.Grant) -> Iterator[bytes]:
        """A streamed answer."""
        for number, chunk in enumerate(CHUNKS, 1):
            if number == 3:
                self.points.reach("body.middle")
            if number == len(CHUNKS):
                self._ending(payment)
            yield chunk

    def handle(self, fail: bool, payment: flovia.Grant | None = None) -> int:
        """The view's status; ``payment``: of an answer that goes out whole."""
        self.points.reach("handler.before")
        if payment is not None and not fail:
            self._ending(payment)
        return 500 if fail else 200

    def _ending(self, payment: flovia.Grant) -> None:
        """The last byte is about to go out: from now on the buyer may have it all, and this process may die."""
        self.books.write("last-byte", f"{REALM}|{payment.challenge_id}")

    def refund(self, query: str) -> tuple[int, bytes]:
        """The merchant gives a payment back."""
        payment = parse_qs(query)["payment"][0]
        try:
            found = self.flo.refund(payment)
        except flovia.RefundError as error:
            return (200 if error.code == "refunded" else 409), error.code.encode()
        except flovia.LedgerError:
            return 503, b"ledger"
        return (200 if found.status == "refunded" else 409), found.status.encode()


class Answered:
    """A body, and what is to be done when the server has closed it."""

    def __init__(self, body: Iterable[bytes], done: Callable[[], None]) -> None:
        self._body = body
        self._done = done

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._body)

    def close(self) -> None:
        """Close the body, then do it."""
        try:
            close = getattr(self._body, "close", None)
            if close is not None:
                close()
        finally:
            self._done()


def wsgi() -> WSGIApplication:
    """The shop as a WSGI app."""
    shop = Shop()

    def paid(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        status = shop.handle("HTTP_CAMPAIGN_FAIL" in environ, environ["flovia.payment"])
        start_response(f"{status} X", [("content-type", "application/json"), ("content-length", str(len(ANSWER)))])
        return [ANSWER]

    def chunked(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        shop.handle(False)
        start_response("200 OK", [("content-type", "text/plain")])
        return shop.chunks(environ["flovia.payment"])

    guarded = {
        "/paid": flovia_wsgi.paid(shop.guards["/paid"], paid),
        "/chunks": flovia_wsgi.paid(shop.guards["/chunks"], chunked),
        "/webhook": flovia_wsgi.webhooks(shop.flo, provider=shop.provider),
    }

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        shop.begin(environ.get("HTTP_CAMPAIGN_DIE", ""))
        try:
            return Answered(route(environ, start_response), shop.end)
        except BaseException:
            shop.end()
            raise

    def route(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path == "/refund":
            status, body = shop.refund(environ["QUERY_STRING"])
            start_response(f"{status} X", [("content-length", str(len(body)))])
            return [body]
        if path in guarded:
            return guarded[path](environ, start_response)
        start_response("200 OK", [("content-length", "0")])
        return [b""]

    return app


Scope = MutableMapping[str, object]
Message = MutableMapping[str, object]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]


def _payment(scope: Scope) -> flovia.Grant:
    return cast("dict[str, flovia.Grant]", scope["state"])["payment"]


def asgi(shop: Shop | None = None) -> AsgiApp:
    """The shop as an ASGI app."""
    shop = shop or Shop()

    async def respond(send: Send, status: int, body: bytes) -> None:
        fields = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": fields})
        await send({"type": "http.response.body", "body": body})

    async def paid(scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers.from_asgi(cast("list[tuple[bytes, bytes]]", scope["headers"]))
        status = shop.handle(headers.get("campaign-fail") is not None, _payment(scope))
        await respond(send, status, ANSWER)

    async def chunked(scope: Scope, receive: Receive, send: Send) -> None:
        shop.handle(False)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
        for chunk in shop.chunks(_payment(scope)):
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body"})

    guarded = {
        "/paid": flovia_asgi.paid(shop.guards["/paid"], paid),
        "/chunks": flovia_asgi.paid(shop.guards["/chunks"], chunked),
        "/webhook": flovia_asgi.webhooks(shop.flo, provider=shop.provider),
    }

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            for _ in range(2):
                message = await receive()
                if message["type"] == "lifespan.shutdown":  # uvicorn ends by a signal, so exit handlers do not run
                    await anyio.to_thread.run_sync(shop.flo.close)
                await send({"type": f"{message['type']}.complete"})
            return
        headers = Headers.from_asgi(cast("list[tuple[bytes, bytes]]", scope["headers"]))
        shop.begin(headers.get(DIE) or "")
        path = cast("str", scope["path"])
        try:
            await (guarded[path](scope, receive, send) if path in guarded else respond(send, 200, b""))
        finally:
            shop.end()
        return

    return app


def watched() -> AsgiApp:
    """The same with the dashboard over its ledger, at ``/dashboard``."""
    from flovia.dashboard import Dashboard

    shop = Shop()
    app, dashboard = asgi(shop), cast("AsgiApp", Dashboard(shop.flo, open=True))

    async def either(scope: Scope, receive: Receive, send: Send) -> None:
        if str(scope.get("path", "")).startswith("/dashboard"):
            await dashboard({**scope, "root_path": "/dashboard"}, receive, send)
        else:
            await app(scope, receive, send)

    return either
