"""HTTP calls to payment backends for the drivers: one deadline for the whole call, a size cap, no redirects.

The deadline holds from looking for a connection to the last byte of the answer, however slowly it comes; blocking
calls have it from :mod:`flovia.deadline_transport`, which also says what no blocking call can bound.

httpx is imported on the first call. Answers are read raw: a backend that compresses is not asked to and its
bytes are not inflated, so a small answer cannot become a large one. No log line names the address: to whoever
knows it, a backend's address may be worth money.
"""

import atexit
import logging
import os
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

from flovia.core.effects import HttpCall, HttpReply
from flovia.core.errors import HttpError
from flovia.tls import tls_context

if TYPE_CHECKING:
    import httpx

_clients: "dict[str, httpx.Client]" = {}

_BEGUN: Final = "http11.send_request_headers"
"""httpcore's event from which on something may have reached the backend."""

_ours: ContextVar[bool] = ContextVar("flovia_backend_call", default=False)


def _not_ours(record: logging.LogRecord) -> bool:
    return not _ours.get()


@contextmanager
def _unlogged() -> Generator[None]:
    """Keep httpx from logging the address of this call; what else the program sends is logged as ever."""
    log = logging.getLogger("httpx")
    log.addFilter(_not_ours)  # twice is once
    before = _ours.set(True)
    try:
        yield
    finally:
        _ours.reset(before)


# A forked worker must not talk over its parent's connections.
if hasattr(os, "register_at_fork"):  # not on Windows, which cannot fork
    os.register_at_fork(after_in_child=_clients.clear)


def _headers(call: HttpCall) -> list[tuple[str, str]]:
    return [("accept-encoding", "identity"), *call.headers]


def _reply(response: "httpx.Response", body: bytes) -> HttpReply:
    return HttpReply(
        status=response.status_code,
        headers=tuple((name.lower(), value) for name, value in response.headers.multi_items()),
        body=body,
    )


def _failure(error: Exception) -> HttpError:
    import httpx

    # Only a connection that was never made is known to have had no effect.
    sent = not isinstance(
        error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout | httpx.UnsupportedProtocol
    )
    return HttpError(f"the backend gave no answer: {type(error).__name__}", sent=sent)


def _too_large(call: HttpCall) -> HttpError:
    return HttpError(f"the backend's answer is longer than {call.max_bytes} bytes", sent=True)


def send(call: HttpCall) -> HttpReply:
    """Make the call, blocking.

    Raises:
        HttpError: no usable answer within ``deadline_s``; ``sent`` tells whether the outcome is unknown.
    """
    import httpx

    from flovia.deadline_transport import DeadlineTransport, environment_proxies, within

    client = _clients.get("sync")
    if client is None:
        client = httpx.Client(transport=DeadlineTransport(), mounts=environment_proxies(), follow_redirects=False)
        _clients["sync"] = client
        atexit.register(client.close)
    body = bytearray()
    try:
        with (
            _unlogged(),
            client.stream(
                call.http_method,
                call.url,
                headers=_headers(call),
                content=call.body,
                extensions=within(call.deadline_s),
            ) as response,
        ):
            for chunk in response.iter_raw():
                body += chunk
                if len(body) > call.max_bytes:
                    raise _too_large(call)
            return _reply(response, bytes(body))
    except httpx.HTTPError as error:
        raise _failure(error) from None


async def asend(call: HttpCall) -> HttpReply:
    """Make the call under asyncio or trio. Raises as :func:`send` does."""
    import anyio
    import httpx

    body = bytearray()
    begun = False

    async def trace(name: str, _: object) -> None:
        nonlocal begun
        begun = begun or name.startswith(_BEGUN)

    try:
        with _unlogged(), anyio.fail_after(call.deadline_s):
            # A client belongs to one event loop, and there may be several: one a call is the safe choice.
            async with (
                httpx.AsyncClient(verify=tls_context(), follow_redirects=False, timeout=call.deadline_s) as client,
                client.stream(
                    call.http_method,
                    call.url,
                    headers=_headers(call),
                    content=call.body,
                    extensions={"trace": trace},
                ) as response,
            ):
                async for chunk in response.aiter_raw():
                    body += chunk
                    if len(body) > call.max_bytes:
                        raise _too_large(call)
                return _reply(response, bytes(body))
    except TimeoutError:
        raise HttpError("the backend's answer took too long", sent=begun) from None
    except httpx.HTTPError as error:
        raise _failure(error) from None
