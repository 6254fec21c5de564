"""The site of the demo: a paid route of the mock provider beside the showcase, and a server on loopback."""

import errno
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import Final

from flovia.api import Flovia
from flovia.asgi import AsgiReceive, AsgiScope, AsgiSend
from flovia.cli.misuse import Misused
from flovia.core.errors import WiringError

AsgiApplication = Callable[..., Awaitable[None]]

PORT: Final = 8402
"""Where the demo listens if nobody says and the port is free."""

HOST: Final = "127.0.0.1"
PRICE: Final = "1.00 USD"
_STARTED_WITHIN_S: Final = 30.0
_ENDED_WITHIN_S: Final = 5
"""How long a request that is on its way may take once the demo is to end."""


def mock_route(flovia: Flovia) -> AsgiApplication:
    """An app with one route, ``GET /paid``, taken by the mock provider."""
    from flovia_hono import Context, Hono

    app = Hono()

    def handler(c: Context) -> object:
        return c.json({"foo": "bar"})

    app.get("/paid", flovia.paid_api(provider="mock", rail="mpp", price=PRICE), handler)
    return app


def site(mock: AsgiApplication, showcase: AsgiApplication) -> AsgiApplication:
    """The demo's app: ``/paid`` of the mock provider, and everything else from the showcase."""

    async def app(scope: AsgiScope, receive: AsgiReceive, send: AsgiSend) -> None:
        await (mock if scope.get("path") == "/paid" else showcase)(scope, receive, send)

    return app


def listen(port: int | None) -> socket.socket:
    """A listening socket on loopback: ``port``, else :data:`PORT`, else any free one.

    Raises:
        Misused: it is no port.
        WiringError: it cannot be had.
    """
    if port is not None and not 0 <= port <= 65535:
        raise Misused(f"{port} is no port; choose one from 1 to 65535 with --port")
    try:
        return socket.create_server((HOST, PORT if port is None else port))
    except OSError as error:
        if port is None and error.errno == errno.EADDRINUSE:
            return socket.create_server((HOST, 0))
        raise WiringError(f"cannot listen on port {port}: {error.strerror}; choose another with --port") from error


@contextmanager
def serving(app: AsgiApplication, listener: socket.socket) -> Generator[None]:
    """Serve an app in the background until the block ends.

    Raises:
        WiringError: the server did not start.
    """
    import uvicorn

    config = uvicorn.Config(
        app,
        http="h11",
        ws="none",
        lifespan="off",
        loop="asyncio",
        log_level="warning",
        timeout_graceful_shutdown=_ENDED_WITHIN_S,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],), name="flovia-demo", daemon=True)
    thread.start()
    try:
        give_up = time.monotonic() + _STARTED_WITHIN_S
        while not server.started:
            if not thread.is_alive() or time.monotonic() > give_up:
                raise WiringError("the demo's server did not start; what it printed says why")
            time.sleep(0.01)
        yield
    finally:
        server.should_exit = True
        thread.join(_STARTED_WITHIN_S)
