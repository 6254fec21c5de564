"""The sandbox on the network: two loopback ports, one thread, one uvicorn."""

import asyncio
import contextlib
import socket
import struct
import threading
import time
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Final, cast

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from flovia.core.errors import WiringError
from flovia.sandbox.asgi import RESET, App, Receive, Scope, Send, app
from flovia.sandbox.running import Sandbox
from flovia.sandbox.wire import LOOPBACK

HOST: Final = "127.0.0.1"
_STARTED_WITHIN_S: Final = 30.0
_RESET_NOT_FIN: Final = struct.pack("ii", 1, 0)
"""SO_LINGER of zero seconds: closing sends RST."""


@contextmanager
def serving(
    *,
    broker_port: int = 0,
    api_port: int = 0,
    host: str = HOST,
    seed: int | None = None,
    manual: bool = False,
    now_ms: int | None = None,
    limits: Mapping[str, float] | None = None,
    webhook: str | None = None,
) -> Generator[Sandbox]:
    """Serve a sandbox on two loopback ports (0: any free one) until the block ends.

    ``seed``, ``manual``, ``now_ms``, ``limits``, ``webhook``: as for :class:`flovia.sandbox.Engine`. Without ``limits``
    no rate is limited.

    Raises:
        WiringError: ``host`` or ``webhook`` is not loopback, a port is taken, or the server did not start.
    """
    with ExitStack() as stack:
        sockets = [stack.enter_context(_listen(host, port)) for port in (broker_port, api_port)]
        shown = f"[{host}]" if ":" in host else host
        broker, api = (f"http://{shown}:{found.getsockname()[1]}" for found in sockets)
        sandbox = stack.enter_context(
            Sandbox(
                broker=broker,
                api=api,
                seed=seed,
                manual=manual,
                now_ms=now_ms,
                limits=limits,
                webhook=webhook,
            )
        )
        api_port = sockets[1].getsockname()[1]
        sides = app(sandbox, lambda scope: "api" if _port(scope, "server") == api_port else "broker")
        stack.enter_context(_server(sides, sockets))
        yield sandbox


def _port(scope: Scope, name: str) -> int:
    found = scope.get(name)
    return cast("int", found[1]) if isinstance(found, tuple) else 0


def _listen(host: str, port: int) -> socket.socket:
    if host not in LOOPBACK or host == "localhost":
        raise WiringError(
            f"the sandbox listens on this machine only: {HOST}, not {host!r}. It takes no real payment, and whoever"
            " can reach it can pay with it"
        )
    if not 0 <= port <= 65535:
        raise WiringError(f"{port} is no port; choose one from 1 to 65535")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        raise WiringError(f"cannot listen on port {port}: {error.strerror}; choose another") from error


class _Connections:
    """The open connections by the client's address, so that one can be reset."""

    def __init__(self) -> None:
        self.open: dict[object, asyncio.Transport] = {}
        self.loop: asyncio.AbstractEventLoop | None = None

    def protocol(self) -> type[asyncio.Protocol]:
        """uvicorn's HTTP protocol, which also keeps account of connections."""
        connections = self

        class Protocol(H11Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                found = cast("asyncio.Transport", transport)
                connections.loop = asyncio.get_running_loop()
                connections.open[found.get_extra_info("peername")[:2]] = found
                super().connection_made(found)

            def connection_lost(self, exc: Exception | None) -> None:
                connections.open.pop(self.client, None)
                super().connection_lost(exc)

        return Protocol

    def reset(self, client: object) -> None:
        """Send RST to a client."""
        transport = self.open.get(client)
        if transport is not None:
            found = cast("socket.socket", transport.get_extra_info("socket"))
            with contextlib.suppress(OSError):  # the client was quicker
                found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_NOT_FIN)
            transport.abort()

    def abort(self) -> None:
        """Drop every connection: nothing that still hangs keeps the server from ending."""

        def all_of_them() -> None:
            for transport in list(self.open.values()):
                transport.abort()

        if self.loop is not None and not self.loop.is_closed():
            self.loop.call_soon_threadsafe(all_of_them)


@contextmanager
def _server(sides: App, sockets: list[socket.socket]) -> Generator[None]:
    connections = _Connections()

    async def with_reset(scope: Scope, receive: Receive, send: Send) -> None:
        client = scope.get("client")
        scope["extensions"] = {RESET: lambda: connections.reset(client)}
        await sides(scope, receive, send)

    config = uvicorn.Config(
        with_reset,
        http=connections.protocol(),
        ws="none",
        lifespan="off",
        loop="asyncio",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=2,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=(sockets,), name="flovia-sandbox", daemon=True)
    thread.start()
    try:
        give_up = time.monotonic() + _STARTED_WITHIN_S
        while not server.started:
            if not thread.is_alive() or time.monotonic() > give_up:
                raise WiringError("the sandbox's server did not start; what it logged says why")
            time.sleep(0.005)
        yield
    finally:
        server.should_exit = True
        connections.abort()
        thread.join(_STARTED_WITHIN_S)
