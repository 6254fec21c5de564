"""A Hono-like app: middleware, parameters, a stream, and a paid route written in one line.

    uvicorn --app-dir examples hono_app:app --port 8402

serves http://127.0.0.1:8402/ with the mock provider; payments are kept in flovia.db.
"""

from collections.abc import AsyncIterator
from typing import cast

import flovia
from flovia_hono import Context, Hono, Next, Response

app = Hono()


async def version(c: Context, next: Next) -> None:
    """Runs around everything, the 402s included."""
    await next()
    c.header("x-version", "1")


async def handler(c: Context) -> Response:
    """What is for sale."""
    grant = cast("flovia.Grant", c.get("payment"))
    return c.json({"foo": "bar", "paid_with": grant.payment_id})


async def ticker(c: Context) -> Response:
    """Streamed: each piece is sent as it is made."""

    async def pieces() -> AsyncIterator[bytes]:
        for price in ("41.98", "42.00"):
            yield f"{c.req.param('symbol')} {price}\n".encode()

    return c.body(pieces(), 200, {"content-type": "text/plain"})


app.use("*", version)
app.get("/", lambda c: c.text("try /paid and /ticker/abc"))
app.get("/paid", flovia.paid_api(provider="mock", rail="mpp", price="1.00 USD"), handler)
app.get("/ticker/:symbol", flovia.paid_api(provider="mock", rail="mpp", price="0.01 USD"), ticker)
