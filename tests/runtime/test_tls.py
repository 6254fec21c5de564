"""Certificates are read once, and what the environment says of them is heeded. asyncio and trio."""

import ssl
from functools import partial

import anyio
import httpx
import pytest

from flovia import backend_http, tls
from flovia.core.effects import HttpCall
from flovia.core.errors import HttpError
from flovia.tls import tls_context
from tests.runtime.dripping import Peer, serving

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """One entry for each time that certificates are read."""
    found: list[bool] = []
    real = ssl.create_default_context

    def counted(*how: object, **more: object) -> ssl.SSLContext:
        found.append(True)
        return real(*how, **more)  # type: ignore[arg-type] # as it was called

    monkeypatch.setattr(tls, "_contexts", {})
    monkeypatch.setattr(ssl, "create_default_context", counted)
    return found


def talk(peer: Peer) -> None:
    """An answer to each request."""
    while peer.request():
        peer.say(ANSWER)


async def test_once_for_all_calls(read: list[bool]) -> None:
    """While certificates are read the event loop stands still: the first call does that, and no other one."""
    with serving(talk) as server:
        call = HttpCall(http_method="GET", url=f"http://127.0.0.1:{server.port}/")
        for _ in range(3):
            assert b"ok" == (await backend_http.asend(call)).body
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(partial(backend_http.asend, call))
    assert 1 == len(read)


async def test_the_environment_is_heeded(
    certificate: ssl.SSLContext, read: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever names other certificates, also while the process runs, is followed; unknown ones are refused."""
    with serving(talk, context=certificate) as server:
        call = HttpCall(http_method="GET", url=f"https://127.0.0.1:{server.port}/")
        assert b"ok" == (await backend_http.asend(call)).body
        assert tls_context() is tls_context()
        assert tls_context() is not tls_context(trust_env=False)
        monkeypatch.delenv("SSL_CERT_FILE")
        with pytest.raises(HttpError) as caught:
            await backend_http.asend(call)
        assert not caught.value.sent
        with pytest.raises(httpx.ConnectError):
            async with httpx.AsyncClient(verify=tls_context(trust_env=False), trust_env=False) as client:
                await client.get(call.url)
    assert 2 == len({id(tls_context()), id(tls_context(trust_env=False))})
