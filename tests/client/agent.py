"""The six ways to make a paying call: httpx and httpx2, each blocking, under asyncio and under trio."""

import os
import ssl
from collections.abc import AsyncIterable, Iterable, Mapping
from pathlib import Path
from typing import Final

import anyio
import attrs
import httpx
import httpx2

import flovia.client.httpx
import flovia.client.httpx2
from flovia.client import Budget, MockWallet, OutcomeUnknown, PaymentInfo, PendingFiles, Policy, Wallet
from flovia.client.flow import CREDENTIAL_FIELDS

ALL_WAYS: Final = ("httpx", "httpx-asyncio", "httpx-trio", "httpx2", "httpx2-asyncio", "httpx2-trio")
# Elsewhere half of them: the two libraries' faces are kept equal by tests/client/test_twins.py.
WAYS: Final = ALL_WAYS if os.environ.get("CI") else ("httpx", "httpx-trio", "httpx2-asyncio")

PATIENT_S: Final = 60.0
"""Every time limit of a client, unless the limit is what a test is about: a slow machine is not a wrong answer."""

NO_TLS: Final = ssl.create_default_context()
"""Made once: a context for each of thousands of plain loopback calls would take most of the time."""


@attrs.frozen(kw_only=True)
class Reply:
    """An answer as the program got it, whichever library brought it."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    payment: PaymentInfo | None


def _reply(response: httpx.Response | httpx2.Response) -> Reply:
    info = response.extensions.get("flovia")
    assert info is None or isinstance(info, PaymentInfo)
    return Reply(status=response.status_code, headers=dict(response.headers), body=response.content, payment=info)


class Agent:
    """A program with a wallet and a budget. Every call makes a client of its own and closes it."""

    def __init__(
        self,
        way: str,
        folder: Path,
        *,
        wallet: Wallet | None = None,
        budget: Budget | None = None,
        policy: Policy | None = None,
    ) -> None:
        self.library, _, self.backend = way.partition("-")
        self.wallet = wallet or MockWallet()
        self.budget = budget or Budget("5.00 SGD")
        self.policy = policy or Policy()
        self.pending = PendingFiles(folder)

    @property
    def payments(self) -> int:
        """How often the mock wallet was asked to pay."""
        assert isinstance(self.wallet, MockWallet)
        return self.wallet.payments

    def get(self, url: str, headers: Mapping[str, str] | None = None, *, follow: bool = False) -> Reply:
        """GET, reading the whole answer."""
        return self.send("GET", url, headers=headers, follow=follow)

    def send(
        self,
        http_method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        chunks: list[bytes] | None = None,
        follow: bool = False,
        timeout: float = PATIENT_S,
    ) -> Reply:
        """Any request, reading the whole answer. ``chunks`` makes the body a stream.

        ``timeout``: seconds, the program's own. A shorter one than the default is given to every request, but takes
        effect only on the reading of paid answers (see ``_only_when_paid``).
        """
        if self.library == "httpx2":
            return self._send2(http_method, url, headers, content, chunks, follow, timeout)
        if not self.backend:
            inner = Hurried(httpx.HTTPTransport(verify=NO_TLS))
            transport = self.transport(inner)
            with httpx.Client(transport=transport, timeout=timeout, follow_redirects=follow) as client:
                body = content if chunks is None else _each(chunks)
                return _reply(client.request(http_method, url, headers=headers, content=body))

        async def call() -> Reply:
            transport = self.async_transport(AsyncHurried(httpx.AsyncHTTPTransport(verify=NO_TLS)))
            async with httpx.AsyncClient(transport=transport, timeout=timeout, follow_redirects=follow) as client:
                body = content if chunks is None else _aeach(chunks)
                return _reply(await client.request(http_method, url, headers=headers, content=body))

        return anyio.run(call, backend=self.backend)

    def _send2(
        self,
        http_method: str,
        url: str,
        headers: Mapping[str, str] | None,
        content: bytes | None,
        chunks: list[bytes] | None,
        follow: bool,
        timeout: float,
    ) -> Reply:
        if not self.backend:
            transport = self.transport2(Hurried2(httpx2.HTTPTransport(verify=NO_TLS)))
            with httpx2.Client(transport=transport, timeout=timeout, follow_redirects=follow) as client:
                body = content if chunks is None else _each(chunks)
                return _reply(client.request(http_method, url, headers=headers, content=body))

        async def call() -> Reply:
            transport = self.async_transport2(AsyncHurried2(httpx2.AsyncHTTPTransport(verify=NO_TLS)))
            async with httpx2.AsyncClient(transport=transport, timeout=timeout, follow_redirects=follow) as client:
                body = content if chunks is None else _aeach(chunks)
                return _reply(await client.request(http_method, url, headers=headers, content=body))

        return anyio.run(call, backend=self.backend)

    def resume(
        self, reference: str, *, headers: Mapping[str, str] | None = None, content: bytes | None = None
    ) -> Reply:
        """Present a kept credential again."""
        if not self.backend:
            with self.transport() if self.library == "httpx" else self.transport2() as transport:
                return _reply(transport.resume(reference, headers=headers, content=content))

        async def call() -> Reply:
            async with self.async_transport() if self.library == "httpx" else self.async_transport2() as transport:
                return _reply(await transport.resume(reference, headers=headers, content=content))

        return anyio.run(call, backend=self.backend)

    def pursue(self, url: str) -> tuple[OutcomeUnknown | None, Reply]:
        """GET; if the outcome is unknown, resume at once over the same transport, with the connections in its pool."""
        if self.backend:
            return anyio.run(self._apursue, url, backend=self.backend)
        if self.library == "httpx":
            transport = self.transport()
            with httpx.Client(transport=transport, timeout=PATIENT_S) as client:
                try:
                    return None, _reply(client.get(url))
                except OutcomeUnknown as error:
                    return error, _reply(transport.resume(error.reference or ""))
        transport2 = self.transport2()
        with httpx2.Client(transport=transport2, timeout=PATIENT_S) as client2:
            try:
                return None, _reply(client2.get(url))
            except OutcomeUnknown as error:
                return error, _reply(transport2.resume(error.reference or ""))

    async def _apursue(self, url: str) -> tuple[OutcomeUnknown | None, Reply]:
        if self.library == "httpx":
            transport = self.async_transport()
            async with httpx.AsyncClient(transport=transport, timeout=PATIENT_S) as client:
                try:
                    return None, _reply(await client.get(url))
                except OutcomeUnknown as error:
                    return error, _reply(await transport.resume(error.reference or ""))
        transport2 = self.async_transport2()
        async with httpx2.AsyncClient(transport=transport2, timeout=PATIENT_S) as client2:
            try:
                return None, _reply(await client2.get(url))
            except OutcomeUnknown as error:
                return error, _reply(await transport2.resume(error.reference or ""))

    def transport(self, inner: httpx.BaseTransport | None = None) -> flovia.client.httpx.PayingTransport:
        """A blocking transport for httpx."""
        return flovia.client.httpx.PayingTransport(
            self.wallet,
            budget=self.budget,
            policy=self.policy,
            pending=self.pending,
            transport=inner or httpx.HTTPTransport(verify=NO_TLS),
        )

    def async_transport(
        self, inner: httpx.AsyncBaseTransport | None = None
    ) -> flovia.client.httpx.AsyncPayingTransport:
        """An async transport for httpx."""
        return flovia.client.httpx.AsyncPayingTransport(
            self.wallet,
            budget=self.budget,
            policy=self.policy,
            pending=self.pending,
            transport=inner or httpx.AsyncHTTPTransport(verify=NO_TLS),
        )

    def transport2(self, inner: httpx2.BaseTransport | None = None) -> flovia.client.httpx2.PayingTransport:
        """A blocking transport for httpx2."""
        return flovia.client.httpx2.PayingTransport(
            self.wallet,
            budget=self.budget,
            policy=self.policy,
            pending=self.pending,
            transport=inner or httpx2.HTTPTransport(verify=NO_TLS),
        )

    def async_transport2(
        self, inner: httpx2.AsyncBaseTransport | None = None
    ) -> flovia.client.httpx2.AsyncPayingTransport:
        """An async transport for httpx2."""
        return flovia.client.httpx2.AsyncPayingTransport(
            self.wallet,
            budget=self.budget,
            policy=self.policy,
            pending=self.pending,
            transport=inner or httpx2.AsyncHTTPTransport(verify=NO_TLS),
        )


# --- who is in a hurry ---------------------------------------------------------------------------------


def _only_when_paid(request: httpx.Request | httpx2.Request) -> None:
    """Leave of a request's time limits the one for reading a paid answer, as the paying transport has set it.

    A limit short enough for a test to wait for is too short to connect and be answered in on a busy machine. So it
    may end only what the test's server is certain to be silent about.
    """
    limits: dict[str, float | None] = request.extensions.get("timeout") or {}
    paid = any(request.headers.get(name, "").startswith("Payment ") for name in CREDENTIAL_FIELDS)
    kept = ("read",) if paid else ()
    request.extensions["timeout"] = {
        name: value if value is None or name in kept else max(value, PATIENT_S) for name, value in limits.items()
    }


class Hurried(httpx.BaseTransport):
    """Under the paying transport of a program with short time limits."""

    def __init__(self, inner: httpx.BaseTransport) -> None:
        self._inner = inner

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send with the limits that cannot hit an honest answer."""
        _only_when_paid(request)
        return self._inner.handle_request(request)

    def close(self) -> None:
        """Close the transport underneath."""
        self._inner.close()


class AsyncHurried(httpx.AsyncBaseTransport):
    """As :class:`Hurried`."""

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self._inner = inner

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send with the limits that cannot hit an honest answer."""
        _only_when_paid(request)
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        """Close the transport underneath."""
        await self._inner.aclose()


class Hurried2(httpx2.BaseTransport):
    """As :class:`Hurried`, for httpx2."""

    def __init__(self, inner: httpx2.BaseTransport) -> None:
        self._inner = inner

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send with the limits that cannot hit an honest answer."""
        _only_when_paid(request)
        return self._inner.handle_request(request)

    def close(self) -> None:
        """Close the transport underneath."""
        self._inner.close()


class AsyncHurried2(httpx2.AsyncBaseTransport):
    """As :class:`Hurried`, for httpx2."""

    def __init__(self, inner: httpx2.AsyncBaseTransport) -> None:
        self._inner = inner

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send with the limits that cannot hit an honest answer."""
        _only_when_paid(request)
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        """Close the transport underneath."""
        await self._inner.aclose()


def _each(chunks: list[bytes]) -> Iterable[bytes]:
    yield from chunks


async def _aeach(chunks: list[bytes]) -> AsyncIterable[bytes]:
    for chunk in chunks:
        yield chunk
