"""The six ways to make a paying call: httpx and httpx2, each blocking, under asyncio and under trio."""

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
from flovia.client import Budget, MockWallet, PaymentInfo, PendingFiles, Policy, Wallet

WAYS: Final = ("httpx", "httpx-asyncio", "httpx-trio", "httpx2", "httpx2-asyncio", "httpx2-trio")

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
    return Reply(
        status=response.status_code, headers=dict(response.headers), body=response.content, payment=info
    )


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
        timeout: float = 5.0,
    ) -> Reply:
        """Any request, reading the whole answer. ``chunks`` makes the body a stream."""
        if self.library == "httpx":
            if not self.backend:
                body = content if chunks is None else _each(chunks)
                with httpx.Client(transport=self.transport(), timeout=timeout) as client:
                    return _reply(
                        client.request(http_method, url, headers=headers, content=body, follow_redirects=follow)
                    )

            async def call() -> Reply:
                body = content if chunks is None else _aeach(chunks)
                async with httpx.AsyncClient(transport=self.async_transport(), timeout=timeout) as client:
                    return _reply(
                        await client.request(
                            http_method, url, headers=headers, content=body, follow_redirects=follow
                        )
                    )

            return anyio.run(call, backend=self.backend)
        if not self.backend:
            body = content if chunks is None else _each(chunks)
            with httpx2.Client(transport=self.transport2(), timeout=timeout) as client:
                return _reply(
                    client.request(http_method, url, headers=headers, content=body, follow_redirects=follow)
                )

        async def call2() -> Reply:
            body = content if chunks is None else _aeach(chunks)
            async with httpx2.AsyncClient(transport=self.async_transport2(), timeout=timeout) as client:
                return _reply(
                    await client.request(http_method, url, headers=headers, content=body, follow_redirects=follow)
                )

        return anyio.run(call2, backend=self.backend)

    def resume(
        self, reference: str, *, headers: Mapping[str, str] | None = None, content: bytes | None = None
    ) -> Reply:
        """Present a kept credential again."""
        if self.library == "httpx":
            if not self.backend:
                with self.transport() as transport:
                    return _reply(transport.resume(reference, headers=headers, content=content))

            async def call() -> Reply:
                async with self.async_transport() as transport:
                    return _reply(await transport.resume(reference, headers=headers, content=content))

            return anyio.run(call, backend=self.backend)
        if not self.backend:
            with self.transport2() as transport:
                return _reply(transport.resume(reference, headers=headers, content=content))

        async def call2() -> Reply:
            async with self.async_transport2() as transport:
                return _reply(await transport.resume(reference, headers=headers, content=content))

        return anyio.run(call2, backend=self.backend)

    def transport(self, inner: httpx.BaseTransport | None = None) -> flovia.client.httpx.PayingTransport:
        """A blocking transport for httpx."""
        return flovia.client.httpx.PayingTransport(
            self.wallet,
            budget=self.budget,
            policy=self.policy,
            pending=self.pending,
            transport=inner or httpx.HTTPTransport(verify=NO_TLS),
        )

    def async_transport(self) -> flovia.client.httpx.AsyncPayingTransport:
        """An async transport for httpx."""
        return flovia.client.httpx.AsyncPayingTransport(
            self.wallet,
            budget=self.budget,
            policy=self.policy,
            pending=self.pending,
            transport=httpx.AsyncHTTPTransport(verify=NO_TLS),
        )

    def transport2(self) -> flovia.client.httpx2.PayingTransport:
        """A blocking transport for httpx2."""
        return flovia.client.httpx2.PayingTransport(
            self.wallet,
            budget=self.budget,
            policy=self.policy,
            pending=self.pending,
            transport=httpx2.HTTPTransport(verify=NO_TLS),
        )

    def async_transport2(self) -> flovia.client.httpx2.AsyncPayingTransport:
        """An async transport for httpx2."""
        return flovia.client.httpx2.AsyncPayingTransport(
            self.wallet,
            budget=self.budget,
            policy=self.policy,
            pending=self.pending,
            transport=httpx2.AsyncHTTPTransport(verify=NO_TLS),
        )


def _each(chunks: list[bytes]) -> Iterable[bytes]:
    yield from chunks


async def _aeach(chunks: list[bytes]) -> AsyncIterable[bytes]:
    for chunk in chunks:
        yield chunk
