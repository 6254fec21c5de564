"""HTTP calls to payment backends for the drivers: one deadline for the whole call, a size cap, no redirects.

httpx is imported on the first call. Answers are read raw: a backend that compresses is not asked to and its
bytes are not inflated, so a small answer cannot become a large one. No log line names the address: to whoever
knows it, a backend's address may be worth money.
"""

import atexit
import logging
import os
import time
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from flovia.core.effects import HttpCall, HttpReply
from flovia.core.errors import HttpError

if TYPE_CHECKING:
    import httpx

_clients: "dict[str, httpx.Client]" = {}
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

    client = _clients.get("sync")
    if client is None:
        client = _clients["sync"] = httpx.Client(follow_redirects=False)
        atexit.register(client.close)
    until = time.monotonic() + call.deadline_s
    body = bytearray()
    try:
        with (
            _unlogged(),
            client.stream(
                call.http_method, call.url, headers=_headers(call), content=call.body, timeout=call.deadline_s
            ) as response,
        ):
            for chunk in response.iter_raw():
                body += chunk
                if len(body) > call.max_bytes:
                    raise _too_large(call)
                if time.monotonic() > until:
                    raise HttpError("the backend's answer took too long", sent=True)
            return _reply(response, bytes(body))
    except httpx.HTTPError as error:
        raise _failure(error) from None


async def asend(call: HttpCall) -> HttpReply:
    """Make the call under asyncio or trio. Raises as :func:`send` does."""
    import anyio
    import httpx

    body = bytearray()
    try:
        with _unlogged(), anyio.fail_after(call.deadline_s):
            # A client belongs to one event loop, and there may be several: one a call is the safe choice.
            async with (
                httpx.AsyncClient(follow_redirects=False, timeout=call.deadline_s) as client,
                client.stream(call.http_method, call.url, headers=_headers(call), content=call.body) as response,
            ):
                async for chunk in response.aiter_raw():
                    body += chunk
                    if len(body) > call.max_bytes:
                        raise _too_large(call)
                return _reply(response, bytes(body))
    except TimeoutError:
        raise HttpError("the backend's answer took too long", sent=True) from None
    except httpx.HTTPError as error:
        raise _failure(error) from None
