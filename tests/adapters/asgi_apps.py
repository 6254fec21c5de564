"""Apps in bare ASGI for the tests of flovia_asgi."""

from collections.abc import Sequence
from typing import Unpack, cast

import flovia
import flovia_asgi
from flovia import AsgiApp, AsgiReceive, AsgiScope, AsgiSend


def replying(status: int = 200, headers: Sequence[tuple[bytes, bytes]] = (), body: bytes = b"hello") -> AsgiApp:
    """An app with one answer."""

    async def app(scope: AsgiScope, receive: AsgiReceive, send: AsgiSend) -> None:
        await send({"type": "http.response.start", "status": status, "headers": list(headers)})
        await send({"type": "http.response.body", "body": body})

    return app


async def echo(scope: AsgiScope, receive: AsgiReceive, send: AsgiSend) -> None:
    """An app that answers with the request's body, and says in how many messages it came."""
    pieces: list[bytes] = []
    more = True
    while more:
        message = await receive()
        assert message["type"] == "http.request"
        pieces.append(cast("bytes", message.get("body", b"")))
        more = bool(message.get("more_body", False))
    count = (b"x-messages", b"%d" % len(pieces))
    await send({"type": "http.response.start", "status": 200, "headers": [count]})
    await send({"type": "http.response.body", "body": b"".join(pieces)})


def guard(flo: flovia.Flovia, app: AsgiApp, **route: Unpack[flovia.RouteSettings]) -> AsgiApp:
    """The app behind a gate of its own."""
    return flovia_asgi.paid(flo.paid_api(**route), app)
