"""Paying transports for httpx2: ``httpx2.Client(transport=PayingTransport(wallet, budget=…))``.

A transport and not an ``Auth``: an Auth object cannot see redirects, and httpx2 carries a
``Payment-Authorization`` field to another host. Here the credential is only ever on the copy of the request
that goes to the server that asked for it.

This file has a twin that differs in the library's name alone; ``tests/client/test_twins.py`` keeps it so.
"""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Final, Self, cast

import anyio
import attrs
from anyio import to_thread

try:
    import httpx2
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("flovia.client.httpx2 needs httpx2: pip install httpx2", name=error.name) from error

from flovia.client.budget import Budget
from flovia.client.drive import (
    Services,
    abookkeeping,
    adrive,
    aread_bounded,
    drive,
    inflate,
    interrupted,
    patient,
    read_bounded,
)
from flovia.client.flow import paying, resuming
from flovia.client.pending import Pending, PendingFiles
from flovia.client.policy import Ask, Policy, origin_of
from flovia.client.steps import Answer, ConnectionLost, Forget, Head, PaymentInfo, ReadBody, Send, Steps
from flovia.client.wallet import ReceiptVerifier, Wallet
from flovia.core.errors import FloviaError, HttpError
from flovia.core.http import Headers

__all__ = ["EXTENSION", "AsyncPayingTransport", "PayingTransport", "payment_info"]

EXTENSION: Final = "flovia"
"""``response.extensions["flovia"]`` is the :class:`~flovia.client.steps.PaymentInfo` of a paid response."""

_ORIGIN: Final = "flovia.origin"
_REFERENCE: Final = "flovia.reference"
# httpx2 hands a request's extensions on to the requests it makes of it (redirects, authentication).

_UNSENT: Final = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.UnsupportedProtocol)
_BROKEN: Final = (httpx2.NetworkError, httpx2.RemoteProtocolError)
_BODY_FIELDS: Final = (b"content-encoding", b"content-length", b"transfer-encoding")


def payment_info(response: httpx2.Response) -> PaymentInfo | None:
    """What was paid for a response; None if nothing was."""
    info = response.extensions.get(EXTENSION)
    return info if isinstance(info, PaymentInfo) else None


class PayingTransport(httpx2.BaseTransport):
    """A transport that pays what servers ask, within ``budget`` and ``policy``, once per call.

    ``transport`` does the actual HTTP (an ``httpx2.HTTPTransport()`` by default). ``pending`` is where
    credentials are kept until their answers are complete. ``verifier`` looks at receipts; a wallet that can, HitPay's
    say, does so without being named here. A call can raise every
    :class:`~flovia.client.errors.PaymentError`.
    """

    def __init__(
        self,
        wallet: Wallet,
        *,
        budget: Budget,
        policy: Policy | None = None,
        pending: PendingFiles | None = None,
        verifier: ReceiptVerifier | None = None,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        self._services = Services.of(wallet, budget, policy, pending, verifier)
        self._transport = transport or httpx2.HTTPTransport()

    def __enter__(self) -> Self:
        self._transport.__enter__()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        self._transport.__exit__(exc_type, exc_value, traceback)

    def close(self) -> None:
        """Close the transport underneath."""
        self._transport.close()

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request; called by ``httpx2.Client``."""
        services = self._services
        steps = paying(
            _ask(request),
            wallet=services.wallet,
            budget=services.budget,
            policy=services.policy,
            checks=services.checks,
        )
        return self._go(steps, request)

    def resume(
        self,
        reference: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        read: bool = True,
    ) -> httpx2.Response:
        """Present the credential kept as ``reference`` again, for the same request.

        ``headers``: fields that are not kept because they may be secrets (cookies, API keys). ``content``:
        the request's body, if it was too long to keep. ``read``: the whole answer is read; without it the caller reads
        it, and closes it.

        Raises:
            CannotResume: nothing is kept under this reference, or the body differs; nothing was sent.
            PaymentRefused, RedirectAfterPayment, OutcomeUnknown: as for the call itself.
        """
        services = self._services
        pending = services.pending.load(reference)
        request = _resumed_request(pending, services.policy, headers, content)
        ask = _resumed_ask(request, pending, content)
        response = self._go(resuming(ask, pending, policy=services.policy, checks=services.checks), request)
        response.request = request
        if not read:
            return response
        try:
            response.read()
        except BaseException:
            response.close()
            raise
        return response

    def _go(self, steps: Steps[Answer], request: httpx2.Request) -> httpx2.Response:
        exchange = _Exchange(self._transport, request, self._services)
        try:
            answer = drive(steps, exchange, self._services)
        except BaseException:
            exchange.close()
            raise
        return exchange.finish(answer)


class AsyncPayingTransport(httpx2.AsyncBaseTransport):
    """:class:`PayingTransport` for ``httpx2.AsyncClient``, under asyncio and trio."""

    def __init__(
        self,
        wallet: Wallet,
        *,
        budget: Budget,
        policy: Policy | None = None,
        pending: PendingFiles | None = None,
        verifier: ReceiptVerifier | None = None,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self._services = Services.of(wallet, budget, policy, pending, verifier)
        self._transport = transport or httpx2.AsyncHTTPTransport()

    async def __aenter__(self) -> Self:
        await self._transport.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self._transport.__aexit__(exc_type, exc_value, traceback)

    async def aclose(self) -> None:
        """Close the transport underneath."""
        await self._transport.aclose()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request; called by ``httpx2.AsyncClient``."""
        services = self._services
        steps = paying(
            _ask(request),
            wallet=services.wallet,
            budget=services.budget,
            policy=services.policy,
            checks=services.checks,
        )
        return await self._go(steps, request)

    async def resume(
        self,
        reference: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        read: bool = True,
    ) -> httpx2.Response:
        """Present a kept credential again; see :meth:`PayingTransport.resume`."""
        services = self._services
        pending = await to_thread.run_sync(services.pending.load, reference)
        request = _resumed_request(pending, services.policy, headers, content)
        ask = _resumed_ask(request, pending, content)
        response = await self._go(resuming(ask, pending, policy=services.policy, checks=services.checks), request)
        response.request = request
        if not read:
            return response
        try:
            await response.aread()
        except BaseException:
            with anyio.CancelScope(shield=True):
                await response.aclose()
            raise
        return response

    async def _go(self, steps: Steps[Answer], request: httpx2.Request) -> httpx2.Response:
        exchange = _AsyncExchange(self._transport, request, self._services)
        try:
            answer = await adrive(steps, exchange, self._services)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await exchange.aclose()
            raise
        return exchange.finish(answer)


# --- one call ------------------------------------------------------------------------------------------


class _Call:
    """What the blocking and the async exchange share: the program's request and the response that waits."""

    def __init__(self, request: httpx2.Request, services: Services) -> None:
        self._request = request
        self._services = services
        self._response: httpx2.Response | None = None

    def mark(self, reference: str) -> None:
        self._request.extensions[_REFERENCE] = reference

    def _copy(self, step: Send) -> httpx2.Request:
        """The request to send: the program's own is not changed, so no redirect of it carries a credential."""
        request = self._request
        headers = request.headers.copy()
        for name, value in step.add:
            headers[name] = value
        extensions = dict(request.extensions)
        timeout = extensions.get("timeout")
        if step.paid and isinstance(timeout, dict):
            limits = cast("dict[str, float | None]", timeout)
            extensions["timeout"] = patient(limits, self._services.policy.paid_timeout_s)
        return httpx2.Request(
            request.method, request.url, headers=headers, stream=request.stream, extensions=extensions
        )

    def _head(self, response: httpx2.Response) -> Head:
        self._response = response
        return Head(status=response.status_code, headers=_headers(response.headers))

    def _waiting(self) -> httpx2.Response:
        return cast(httpx2.Response, self._response)

    def _with_body(self, body: bytes) -> httpx2.Response:
        """The response with the body that was read of it, no longer encoded."""
        response = self._waiting()
        fields = [pair for pair in response.headers.raw if pair[0].lower() not in _BODY_FIELDS]
        return httpx2.Response(response.status_code, headers=fields, content=body, extensions=dict(response.extensions))

    def _with_info(self, info: PaymentInfo) -> httpx2.Response:
        response = self._waiting()
        response.extensions = {**response.extensions, EXTENSION: info}
        return response


class _Exchange(_Call):
    def __init__(self, transport: httpx2.BaseTransport, request: httpx2.Request, services: Services) -> None:
        super().__init__(request, services)
        self._transport = transport

    def send(self, step: Send) -> Head:
        request = self._copy(step)
        if not step.paid:
            return self._head(self._transport.handle_request(request))
        try:
            return self._head(self._transport.handle_request(request))
        except Exception as error:
            failure = _failure(error)
        raise failure  # without its cause, whose traceback holds the request with the credential

    def read_body(self, step: ReadBody) -> bytes:
        response = self._waiting()
        raw = b""
        try:
            with suppress(httpx2.TransportError):  # what a broken error body says matters to nobody
                raw = read_bounded(cast(httpx2.SyncByteStream, response.stream), step)
        finally:
            response.close()
        return inflate(raw, response.headers.get("content-encoding", ""), step)

    def close(self) -> None:
        if self._response is not None:
            self._response.close()

    def finish(self, answer: Answer) -> httpx2.Response:
        if answer.body is not None:
            return self._with_body(answer.body)
        if answer.payment is None:
            return self._waiting()
        response = self._with_info(answer.payment)
        if answer.complete:
            stream = cast(httpx2.SyncByteStream, response.stream)
            response.stream = _PaidStream(stream, answer.payment.reference, self._services)
        return response


class _AsyncExchange(_Call):
    def __init__(self, transport: httpx2.AsyncBaseTransport, request: httpx2.Request, services: Services) -> None:
        super().__init__(request, services)
        self._transport = transport

    async def send(self, step: Send) -> Head:
        request = self._copy(step)
        if not step.paid:
            return self._head(await self._transport.handle_async_request(request))
        try:
            return self._head(await self._transport.handle_async_request(request))
        except Exception as error:
            failure = _failure(error)
        raise failure  # without its cause, whose traceback holds the request with the credential

    async def read_body(self, step: ReadBody) -> bytes:
        response = self._waiting()
        raw = b""
        try:
            with suppress(httpx2.TransportError):  # what a broken error body says matters to nobody
                raw = await aread_bounded(cast(httpx2.AsyncByteStream, response.stream), step)
        finally:
            with anyio.CancelScope(shield=True):
                await response.aclose()
        return inflate(raw, response.headers.get("content-encoding", ""), step)

    async def aclose(self) -> None:
        if self._response is not None:
            await self._response.aclose()

    def finish(self, answer: Answer) -> httpx2.Response:
        if answer.body is not None:
            return self._with_body(answer.body)
        if answer.payment is None:
            return self._waiting()
        response = self._with_info(answer.payment)
        if answer.complete:
            stream = cast(httpx2.AsyncByteStream, response.stream)
            response.stream = _AsyncPaidStream(stream, answer.payment.reference, self._services)
        return response


class _PaidStream(httpx2.SyncByteStream):
    """The body of a paid answer as it comes; once it was read to its end, the credential's file goes."""

    def __init__(self, stream: httpx2.SyncByteStream, reference: str, services: Services) -> None:
        self._stream = stream
        self._reference = reference
        self._services = services

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._stream
        except Exception as error:
            raise interrupted(self._reference, error) from error
        with suppress(FloviaError):  # a file that stays is removed when it is old
            self._services.bookkeeping(Forget(self._reference))

    def close(self) -> None:
        self._stream.close()


class _AsyncPaidStream(httpx2.AsyncByteStream):
    """As :class:`_PaidStream`."""

    def __init__(self, stream: httpx2.AsyncByteStream, reference: str, services: Services) -> None:
        self._stream = stream
        self._reference = reference
        self._services = services

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._stream:
                yield chunk
        except Exception as error:
            raise interrupted(self._reference, error) from error
        with suppress(FloviaError):  # a file that stays is removed when it is old
            await abookkeeping(Forget(self._reference), self._services)

    async def aclose(self) -> None:
        await self._stream.aclose()


# --- httpx2 to plain records ----------------------------------------------------------------------------


def _headers(headers: httpx2.Headers) -> Headers:
    return Headers.of((name.decode("latin-1"), value.decode("latin-1")) for name, value in headers.raw)


def _failure(error: Exception) -> HttpError:
    # The type alone: nobody vouches for the text.
    kind = ConnectionLost if isinstance(error, _BROKEN) else HttpError
    return kind(type(error).__name__, sent=not isinstance(error, _UNSENT))


def _ask(request: httpx2.Request) -> Ask:
    url = request.url
    host = url.raw_host.decode("ascii").lower()
    origin = origin_of(url.scheme, host, url.port)
    first = request.extensions.setdefault(_ORIGIN, origin)
    reference = request.extensions.get(_REFERENCE)
    return Ask(
        http_method=request.method,
        origin=origin,
        host=host,
        target=url.raw_path.decode("ascii"),
        headers=_headers(request.headers),
        body=b"".join(request.stream) if isinstance(request.stream, httpx2.ByteStream) else None,
        first_origin=str(first),
        paid_reference=None if reference is None else str(reference),
    )


def _resumed_request(
    pending: Pending, policy: Policy, headers: Mapping[str, str] | None, content: bytes | None
) -> httpx2.Request:
    return httpx2.Request(
        pending.http_method,
        httpx2.URL(pending.origin).copy_with(raw_path=pending.target.encode("ascii")),
        headers={**dict(pending.headers), **(headers or {})},
        content=pending.body if content is None else content,
        extensions={"timeout": httpx2.Timeout(policy.paid_timeout_s).as_dict()},
    )


def _resumed_ask(request: httpx2.Request, pending: Pending, content: bytes | None) -> Ask:
    """What is about to be sent; its body is unknown where it was neither kept nor given."""
    ask = _ask(request)
    known = content is not None or pending.body is not None
    return ask if known else attrs.evolve(ask, body=None)
