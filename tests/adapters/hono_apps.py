"""A Hono-like app with every kind of handler and middleware."""

from collections.abc import AsyncIterator

import anyio

import flovia
from flovia_hono import Context, Hono, Next, Response, paid
from tests.adapters.buyer import new_flovia

KEPT = Response(b"kept", 200, (("content-type", "text/plain"), ("content-length", "4")))
"""One answer for every request of a handler."""


class Handled(Exception):
    """What the app makes a friendly page of."""


def make_app(settings: flovia.Flovia | None = None) -> Hono:
    """The app, with a second one mounted below ``/inner``."""
    app = Hono()
    flo = settings or new_flovia()
    gate = flo.paid_api(max_body=1000)

    async def outer(c: Context, next: Next) -> None:
        c.header("x-before", "1")
        await next()
        c.header("x-after", "1")

    app.use("*", outer)

    @app.on_error
    async def friendly(error: Exception, c: Context) -> Response:
        if isinstance(error, Handled):
            return c.text("all is well", 200, {"payment-receipt": "forged"})
        raise error

    app.not_found(lambda c: c.json({"missing": c.req.path}, 404))

    async def plain(c: Context) -> Response:
        return c.text("whole", 200, {"Cache-Control": "public, s-maxage=60", "Payment-Receipt": "forged"})

    async def forging(c: Context) -> Response:
        c.header("Payment-Receipt", "forged")
        c.header("Cache-Control", "public")
        return KEPT

    async def publishing(c: Context, next: Next) -> None:
        await next()
        c.header("Payment-Receipt", "forged")
        c.header("Cache-Control", "public")

    async def as_dict(c: Context) -> dict[str, object]:
        grant = c.get("payment")
        assert isinstance(grant, flovia.Grant)
        return {"amount": grant.amount, "payer": grant.payer}

    async def pieces() -> AsyncIterator[bytes]:
        yield b"wh"
        yield b"ole"
        # A client that counts bytes has left by now.
        await anyio.sleep(0.05)

    async def breaking() -> AsyncIterator[bytes]:
        yield b"part"
        raise RuntimeError("raised in the middle")

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 65536

    async def echo(c: Context) -> Response:
        data = await c.req.body()
        assert data == await c.req.body()
        return c.body(data, 200, [("content-type", c.req.header("Content-Type") or "")])

    async def double(c: Context) -> object:
        number = await c.req.json()
        assert isinstance(number, int)
        return {"double": number * 2, "text": await c.req.text()}

    async def request(c: Context) -> dict[str, object]:
        return {"url": c.req.url, "path": c.req.path, "q": c.req.query("q"), "none": c.req.query("none")}

    def raising(c: Context) -> object:
        raise RuntimeError("raised in the handler")

    def handled(c: Context) -> object:
        raise Handled

    async def replacing(c: Context, next: Next) -> Response:
        await next()
        assert c.res is not None
        return c.res if c.res.status == 402 else c.text("another answer", 503)

    app.get("/plain", gate, plain)
    app.post("/plain", gate, plain)
    app.get("/keyword", paid(gate), plain)
    app.get("/forging", gate, forging)
    app.get("/publishing", gate, publishing, plain)
    app.get("/dict", gate, as_dict)
    app.get("/list", gate, lambda c: ["a", "list"])
    app.get("/text", gate, lambda c: "whole")
    app.get("/bytes", gate, lambda c: b"whole")
    app.get("/tuple", gate, lambda c: ({"made": True}, 201))
    app.get("/empty", gate, lambda c: c.body(b"", 204))
    app.get("/kept", gate, lambda c: KEPT)
    app.get("/kept-free", lambda c: KEPT)
    app.get("/stream", gate, lambda c: pieces())
    app.get("/counted", gate, lambda c: c.body(pieces(), 200, {"content-length": "5"}))
    app.get("/breaks", gate, lambda c: c.body(breaking(), 200, {"content-length": "1000"}))
    app.get("/short", gate, lambda c: c.body(pieces(), 200, {"content-length": "9"}))
    app.get("/endless", gate, lambda c: c.body(endless()))
    app.get("/items/:number/of/:shop", gate, lambda c: [c.req.param("number"), c.req.param("shop")])
    app.get("/files/*", gate, lambda c: c.req.path)
    app.get("/request", gate, request)
    app.post("/echo", gate, echo)
    app.put("/double", gate, double)
    app.delete("/item", gate, lambda c: "deleted")
    app.all("/any", gate, lambda c: c.req.method)
    app.get("/status/:code", gate, lambda c: c.body(b"", int(c.req.param("code")), {"location": "/plain"}))
    app.get("/raising", gate, raising)
    app.get("/handled", gate, handled)
    app.get("/nothing", gate, lambda c: None)
    app.get("/replaced", replacing, gate, lambda c: pieces())
    app.get("/observed", flo.observe(), lambda c: "free lunch")
    app.get("/observed-stream", flo.observe(), lambda c: pieces())
    app.get("/free", lambda c: "free")

    inner = Hono()
    inner.on_error(lambda error, c: c.text("inner page", 500))
    inner.get("/plain", gate, plain)
    inner.get("/raising", gate, raising)
    inner.get("/", gate, plain)
    app.route("/inner", inner)
    return app
