"""The installed middleware, and what it and the paid endpoint of one request tell each other."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Final, cast

from fastapi import FastAPI, routing

import flovia

KEY: Final = "flovia.exchange"
VIEW: Final = "__flovia_view__"  # the attribute of a paid endpoint that holds the view behind it
_TEXT: Final = {"type": "string"}
_PROBLEM: Final = {"type": "object", "properties": {"type": _TEXT, "title": _TEXT, "detail": _TEXT}}
_402: Final[dict[str, object]] = {
    "description": "Payment required: pay one of the challenges, then repeat the request with the credential.",
    "headers": {"WWW-Authenticate": {"description": "`Payment` challenges", "schema": _TEXT}},
    "content": {"application/problem+json": {"schema": _PROBLEM}},
}


class Exchange(flovia.AsgiDelivery):
    """A delivery that measures the request's body as the framework reads it; one per request, at ``KEY``."""

    largest = 0  # the largest max_body of all gates here, in bytes: hashing more would serve nobody
    views: Final[dict[int, object]] = {}  # every view that was made paid, by its id

    def __init__(self, scope: flovia.AsgiScope, receive: flovia.AsgiReceive, send: flovia.AsgiSend) -> None:
        super().__init__(scope, receive, send)
        self.meter, self.reading_ahead = flovia.BodyMeter(self.largest), False
        self.stored: flovia.HttpResponse | None = None  # sent again as it was, whatever middleware makes of it
        self.decide: Callable[[], Awaitable[flovia.HttpResponse | None]] | None = None  # asks for a generator

    async def receive(self) -> flovia.AsgiMessage:
        """As from the server; while the adapter reads ahead, only until it knows that it has to refuse."""
        message = await super().receive()
        fits = self.meter.feed(cast("bytes", message.get("body", b"")))
        return {"type": "http.request"} if self.reading_ahead and (self.broken or not fits) else message

    async def send(self, message: flovia.AsgiMessage) -> None:
        """Pass a message on. WiringError for the answer of a view that is paid, but was registered free."""
        if message["type"] == "http.response.start" and not (self.failed or self._replaced):
            if id(self.scope.get("endpoint")) in self.views:
                raise flovia.WiringError("@flovia_fastapi.paid belongs below @app.get: here it has no effect")
            refusal = await self.decide() if self.decide is not None else self.stored
            if refusal is not None:
                self._replaced = True
                # What middleware put here stays: without CORS fields a browser could not read a refusal.
                beside = cast("list[tuple[bytes, bytes]]", [] if self.stored else message["headers"])
                return await flovia.asgi_response(refusal, self._send, beside=beside)
        return await super().send(message)


def _installed(app: flovia.AsgiApp) -> flovia.AsgiApp:
    async def middleware(scope: flovia.AsgiScope, receive: flovia.AsgiReceive, send: flovia.AsgiSend) -> None:
        if scope["type"] != "http" or KEY in scope:  # in a mounted app, the outer one does it
            return await app(scope, receive, send)
        exchange = scope[KEY] = Exchange(scope, receive, send)
        owner = cast("FastAPI", scope["app"])
        return await exchange.run(app, answer=not (owner.debug or {500, Exception} & owner.exception_handlers.keys()))

    return middleware


def install(app: FastAPI) -> None:
    """Prepare an app for paid endpoints, and show their 402 in its OpenAPI document.

    Call it once, after ``add_middleware``, so that it sees the answers as they leave the app. It covers mounted
    apps too, except for their OpenAPI documents: those take an ``install`` of their own.
    """
    app.add_middleware(_installed)
    describe = app.openapi
    # Newer versions of FastAPI keep an included router as a tree of its own; this lists the leaves.
    leaves = getattr(routing, "iter_route_contexts", iter)

    def openapi() -> dict[str, object]:
        document = describe()
        for route in cast("Iterable[routing.APIRoute]", leaves(app.routes)):
            if hasattr(getattr(route, "endpoint", None), VIEW):
                operations = document["paths"].get(route.path_format, {})
                for method in operations.keys() & {method.lower() for method in route.methods or ()}:
                    operations[method]["responses"].setdefault("402", _402)
        return document

    vars(app)["openapi"] = openapi
