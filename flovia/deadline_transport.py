"""An httpx transport whose requests end: connecting, TLS, request, head and body together, in ``total`` seconds.

httpx's own time-outs are each for one wait on the network, so a server that sends a byte now and then is waited for
without end (https://github.com/encode/httpx/issues/1450). Under asyncio and trio a cancel scope sees to that. Here,
where a call blocks, every single wait on the socket gets what is left: a network backend of httpcore, which is made to
be exchanged. The connections stay pooled, and there is no thread and no signal.

Not bounded: the resolver's search for a host's addresses (the system's own limits hold there), and the inner TLS
connection through a proxy that is itself spoken to by TLS: there only every single wait is.
"""

import socket
import ssl
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from ipaddress import ip_address
from typing import Final, cast
from urllib.request import getproxies

import httpcore
import httpx

from flovia.tls import tls_context

_PIECE: Final = 16 * 1024
"""Bytes written at a time: one TLS record. Within a piece the time that is left is not looked at again."""

# httpx's own limits.
_CONNECTIONS: Final = 100
_IDLE: Final = 20
_IDLE_S: Final = 5.0

_until: ContextVar[float | None] = ContextVar("flovia_deadline", default=None)
"""When the exchange that is at work in this thread has to end; on the clock of ``time.monotonic``."""

_NAMES: Final = (
    "ConnectError",
    "ConnectTimeout",
    "LocalProtocolError",
    "NetworkError",
    "PoolTimeout",
    "ProtocolError",
    "ProxyError",
    "ReadError",
    "ReadTimeout",
    "RemoteProtocolError",
    "TimeoutException",
    "UnsupportedProtocol",
    "WriteError",
    "WriteTimeout",
)
_HTTPX: Final[dict[type[Exception], type[httpx.TransportError]]] = {
    getattr(httpcore, name): getattr(httpx, name) for name in _NAMES
}


def within(total_s: float, *, wait_s: float | None = None) -> dict[str, object]:
    """The request extensions for an exchange of at most ``total_s`` seconds, and ``wait_s`` for each single wait.

    For ``httpx.Client.request(…, extensions=within(4.0))``; only a :class:`DeadlineTransport` heeds ``total``.
    """
    wait = total_s if wait_s is None else wait_s
    return {"timeout": {"connect": wait, "read": wait, "write": wait, "pool": wait, "total": total_s}}


class DeadlineTransport(httpx.BaseTransport):
    """As ``httpx.HTTPTransport()``, over HTTP/1.1; a request ends ``total`` seconds after it began.

    ``total`` is a member of the request's ``timeout`` extension (:func:`within`); ``total_s`` is for requests without
    it, None for no end. Reading the body is part of the exchange. What has to end raises httpx's own time-outs:
    ``ConnectTimeout`` and ``PoolTimeout`` before there is a connection, ``WriteTimeout`` and ``ReadTimeout`` after.

    A name with several addresses: each gets its share of the time, so that a dead one does not use it all up.
    """

    def __init__(self, *, total_s: float | None = None, proxy: httpx.Proxy | None = None) -> None:
        self._total_s = total_s
        self._pool = _pool(proxy, tls_context())

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; called by ``httpx.Client``. Raises httpx's exceptions."""
        extensions = dict(request.extensions)
        limits: dict[str, float | None] = {**extensions.get("timeout", {})}
        total = limits.get("total", self._total_s)
        until = None if total is None else time.monotonic() + total
        pool = limits.get("pool")
        if total is not None:
            limits["pool"] = total if pool is None else min(pool, total)
        with _bounded(until):
            answer = self._pool.handle_request(
                httpcore.Request(
                    request.method,
                    _url(request.url),
                    headers=request.headers.raw,
                    content=cast(httpx.SyncByteStream, request.stream),
                    extensions=extensions | {"timeout": limits},
                )
            )
        return httpx.Response(
            answer.status,
            headers=answer.headers,
            stream=_Body(cast("Iterable[bytes]", answer.stream), until),
            extensions=cast("dict[str, object]", answer.extensions),  # pyright: ignore[reportUnknownMemberType]
        )

    def close(self) -> None:
        """Close the pool and its connections."""
        self._pool.close()


def environment_proxies() -> dict[str, DeadlineTransport | None]:
    """``mounts`` for an ``httpx.Client``: the proxies of HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, less NO_PROXY's hosts.

    As ``httpx.Client()`` reads them by itself while it is given no transport
    (https://www.python-httpx.org/environment_variables/); the tests compare the two.
    """
    found = getproxies()
    mounts: dict[str, DeadlineTransport | None] = {}
    for scheme in ("http", "https", "all"):
        if address := found.get(scheme):
            proxy = httpx.Proxy(address if "://" in address else f"http://{address}")
            mounts[f"{scheme}://"] = DeadlineTransport(proxy=proxy)
    direct = [name for item in found.get("no", "").split(",") if (name := item.strip())]
    if "*" in direct:
        return {}
    return mounts | {_pattern(name): None for name in direct}


def _pattern(name: str) -> str:
    """What httpx calls the hosts that one item of NO_PROXY stands for."""
    if "://" in name:
        return name
    try:
        address = ip_address(name.partition("/")[0])
    except ValueError:
        return f"all://{name}" if name.lower() == "localhost" else f"all://*{name}"
    return f"all://{name}" if address.version == 4 else f"all://[{address}]"


def _url(url: httpx.URL) -> httpcore.URL:
    return httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)


def _pool(proxy: httpx.Proxy | None, context: ssl.SSLContext) -> httpcore.ConnectionPool:
    backend = _Backend()
    if proxy is None:
        return httpcore.ConnectionPool(
            ssl_context=context,
            max_connections=_CONNECTIONS,
            max_keepalive_connections=_IDLE,
            keepalive_expiry=_IDLE_S,
            network_backend=backend,
        )
    if proxy.url.scheme in ("socks5", "socks5h"):
        return httpcore.SOCKSProxy(
            proxy_url=_url(proxy.url),
            proxy_auth=proxy.raw_auth,
            ssl_context=context,
            max_connections=_CONNECTIONS,
            max_keepalive_connections=_IDLE,
            keepalive_expiry=_IDLE_S,
            network_backend=backend,
        )
    return httpcore.HTTPProxy(
        proxy_url=_url(proxy.url),
        proxy_auth=proxy.raw_auth,
        proxy_headers=proxy.headers.raw,
        ssl_context=context,
        proxy_ssl_context=proxy.ssl_context,
        max_connections=_CONNECTIONS,
        max_keepalive_connections=_IDLE,
        keepalive_expiry=_IDLE_S,
        network_backend=backend,
    )


# --- one exchange --------------------------------------------------------------------------------------


@contextmanager
def _bounded(until: float | None) -> Generator[None]:
    """Let what happens in here end by ``until``, and raise httpx's exceptions in place of httpcore's."""
    before = _until.set(until)
    try:
        yield
    except Exception as error:
        if (kind := _HTTPX.get(type(error))) is None:
            raise
        raise kind(str(error)) from error
    finally:
        _until.reset(before)


class _Body(httpx.SyncByteStream):
    """The body as it comes; between two parts the exchange is not at work in the reader's thread."""

    def __init__(self, parts: Iterable[bytes], until: float | None) -> None:
        self._parts = parts
        self._until = until

    def __iter__(self) -> Iterator[bytes]:
        parts = iter(self._parts)
        while True:
            with _bounded(self._until):
                part = next(parts, None)
            if part is None:
                return
            yield part

    def close(self) -> None:
        if callable(close := getattr(self._parts, "close", None)):
            close()


# --- the network ---------------------------------------------------------------------------------------


def _left(timeout: float | None, late: type[httpcore.TimeoutException]) -> float | None:
    """Seconds that a wait may take: ``timeout``, or what is left of the exchange if that is less."""
    until = _until.get()
    if until is None:
        return timeout
    left = until - time.monotonic()
    if left <= 0:
        raise late("the time for the whole exchange is over")
    return left if timeout is None else min(timeout, left)


class _Stream(httpcore.NetworkStream):
    """A connection; whose exchange it serves at the moment, and until when, the thread knows."""

    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _left(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for start in range(0, len(buffer), _PIECE):
            self._stream.write(buffer[start : start + _PIECE], _left(timeout, httpcore.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        left = _left(timeout, httpcore.ConnectTimeout)
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, left))

    def get_extra_info(self, info: str) -> object:
        return self._stream.get_extra_info(info)


class _Backend(httpcore.NetworkBackend):
    """Connections of httpcore's own backend, as :class:`_Stream`."""

    def __init__(self) -> None:
        self._backend = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(str(error)) from error
        failure: Exception | None = None
        for tried, (*_, address) in enumerate(found):
            left = _left(timeout, httpcore.ConnectTimeout)
            share = None if left is None else left / (len(found) - tried)
            try:
                stream = self._backend.connect_tcp(str(address[0]), port, share, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
            else:
                return _Stream(stream)
        raise failure or httpcore.ConnectError("no address")
