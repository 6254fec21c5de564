"""The drivers of the payment flow: where its steps are performed, blocking or under asyncio and trio.

What talks HTTP is an exchange, one per call, made by :mod:`flovia.client.httpx` and
:mod:`flovia.client.httpx2`; everything else is here. The wallet's own flow runs on the drivers of
:mod:`flovia.runtime`.
"""

import secrets
import threading
import time
import zlib
from collections.abc import AsyncIterable, Callable, Iterable
from contextlib import suppress
from typing import Any, Final, NoReturn, Protocol, TypeVar, cast

import attrs

from flovia.client.budget import Budget
from flovia.client.errors import OutcomeUnknown
from flovia.client.pending import PendingFiles
from flovia.client.policy import Policy
from flovia.client.steps import (
    Bookkeeping,
    CheckReceipt,
    Commit,
    Forget,
    Head,
    Keep,
    Pay,
    ReadBody,
    Refund,
    Reserve,
    Send,
    Step,
    Steps,
)
from flovia.client.wallet import ReceiptVerdict, ReceiptVerifier, Wallet
from flovia.core.effects import Flow, Now, Sleep, Token
from flovia.core.errors import CallerError, WiringError
from flovia.runtime import World, arun, run

T = TypeVar("T")

MAX_ERROR_BODY: Final = 64 * 1024
"""Most bytes of a 402, or of an error after paying, that are read (and that it may inflate to)."""

ERROR_BODY_S: Final = 5.0
"""Seconds after which no further part of such a body is waited for."""

MAX_NOTES: Final = 1000
"""Most texts a process remembers for its wallets."""


READ_BODY: Final = ReadBody()


def _token() -> str:
    return secrets.token_urlsafe(16)


class Notes:
    """What wallets remember (an issuer's keys, say) for as long as the process lives: this side has no ledger."""

    direct = True

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._texts: dict[tuple[str, str], tuple[float, str]] = {}
        self._lock = threading.Lock()

    def remember(
        self, namespace: str, key: str, value: str, ttl_s: float, if_absent: bool, instead_of: str | None = None
    ) -> str:
        """See :class:`flovia.core.effects.Remember`. With too many texts, those that end first go."""
        now, name = self._clock(), (namespace, key)
        with self._lock:
            found = self._texts.get(name)
            if found is not None and found[0] > now and (if_absent or instead_of not in (None, found[1])):
                return found[1]
            self._texts[name] = (now + ttl_s, value)
            if len(self._texts) > MAX_NOTES:
                del self._texts[min(self._texts, key=lambda each: (each == name, self._texts[each][0]))]
            return value

    def recall(self, namespace: str, key: str) -> str | None:
        """What was remembered and has not expired, or None."""
        found = self._texts.get((namespace, key))
        return found[1] if found is not None and found[0] > self._clock() else None

    def __getattr__(self, name: str) -> NoReturn:
        raise CallerError(f"a wallet may ask for HTTP calls, notes, time and sleep, not for a ledger's {name!r}")


@attrs.frozen(kw_only=True)
class Services:
    """What a call is made with. ``clock`` gives Unix seconds, ``tokens`` 22 characters of base64url."""

    wallet: Wallet
    budget: Budget
    policy: Policy
    pending: PendingFiles
    clock: Callable[[], float] = time.time
    tokens: Callable[[], str] = _token
    verifier: ReceiptVerifier | None = None
    notes: Notes = attrs.field(factory=Notes)

    @classmethod
    def of(
        cls,
        wallet: Wallet,
        budget: Budget,
        policy: Policy | None,
        pending: PendingFiles | None,
        verifier: ReceiptVerifier | None,
    ) -> "Services":
        """With the defaults of the transports. A wallet that can verify receipts does so."""
        if verifier is None and isinstance(wallet, ReceiptVerifier):
            verifier = wallet
        return cls(
            wallet=wallet,
            budget=budget,
            policy=policy or Policy(),
            pending=pending or PendingFiles(),
            verifier=verifier,
        )

    @property
    def checks(self) -> bool:
        """Whether somebody looks at receipts."""
        return self.verifier is not None

    def __attrs_post_init__(self) -> None:
        if not isinstance(self.budget, Budget):  # pyright: ignore[reportUnnecessaryIsInstance]  # untyped programs
            raise WiringError("a paying transport needs a budget: budget=Budget('5.00 SGD') is the most it may spend")

    def world(self) -> World:
        """The world of the wallet's flow."""
        return World(ledger=cast(Any, self.notes), clock=self.clock, tokens=self.tokens)

    def check(self, step: CheckReceipt) -> Flow[ReceiptVerdict]:
        """The flow of the receipt verifier."""
        return cast(ReceiptVerifier, self.verifier).verify_receipt(step.answer)

    def bookkeeping(self, step: Bookkeeping) -> None:
        """Perform a step on the budget or on the files; blocks."""
        match step:
            case Reserve():
                self.budget.reserve(step.reference, step.host, step.price)
            case Commit():
                self.budget.commit(step.reference)
            case Refund():
                self.budget.refund(step.reference)
            case Keep():
                self.pending.keep(step.pending)
            case _:
                self.pending.forget(step.reference)


class Exchange(Protocol):
    """The HTTP side of one call, blocking."""

    def send(self, step: Send) -> Head:
        """Send the request; the body of the answer waits."""
        ...

    def read_body(self, step: ReadBody) -> bytes:
        """Read the waiting body with :func:`read_bounded` and end the response."""
        ...

    def mark(self, reference: str) -> None:
        """Note on the program's request that it is being paid for."""
        ...


class AsyncExchange(Protocol):
    """The HTTP side of one call, for asyncio and trio."""

    async def send(self, step: Send) -> Head:
        """Send the request; the body of the answer waits."""
        ...

    async def read_body(self, step: ReadBody) -> bytes:
        """Read the waiting body with :func:`aread_bounded` and end the response."""
        ...

    def mark(self, reference: str) -> None:
        """Note on the program's request that it is being paid for."""
        ...


def drive(steps: Steps[T], exchange: Exchange, services: Services) -> T:
    """Go through the steps, blocking."""
    # Never in a variable of its own: an error page may echo the credential, and local variables end up in logs.
    results: list[object] = []
    try:
        step = steps.send(None)
        while True:
            try:
                results.append(_perform(step, exchange, services))
            except BaseException as error:
                step = steps.throw(error)
            else:
                step = steps.send(results.pop())
    except StopIteration as stop:
        return cast(T, stop.value)
    finally:
        steps.close()


def _perform(step: Step, exchange: Exchange, services: Services) -> object:
    match step:
        case Send():
            return exchange.send(step)
        case ReadBody():
            return exchange.read_body(step)
        case Pay():
            return run(services.wallet.pay(step.challenge, step.context), services.world())
        case CheckReceipt():
            return run(services.check(step), services.world())
        case Now():
            return services.clock()
        case Token():
            return services.tokens()
        case Sleep():
            time.sleep(step.seconds)
        case _:
            if isinstance(step, Keep):
                exchange.mark(step.pending.reference)
            services.bookkeeping(step)
    return None


async def adrive(steps: Steps[T], exchange: AsyncExchange, services: Services) -> T:
    """Go through the steps under asyncio or trio."""
    # As in drive().
    results: list[object] = []
    try:
        step = steps.send(None)
        while True:
            try:
                results.append(await _aperform(step, exchange, services))
            except BaseException as error:
                step = steps.throw(error)
            else:
                step = steps.send(results.pop())
    except StopIteration as stop:
        return cast(T, stop.value)
    finally:
        steps.close()


async def _aperform(step: Step, exchange: AsyncExchange, services: Services) -> object:
    import anyio

    match step:
        case Send():
            return await exchange.send(step)
        case ReadBody():
            return await exchange.read_body(step)
        case Pay():
            return await arun(services.wallet.pay(step.challenge, step.context), services.world())
        case CheckReceipt():
            return await arun(services.check(step), services.world())
        case Now():
            return services.clock()
        case Token():
            return services.tokens()
        case Sleep():
            await anyio.sleep(step.seconds)
        case _:
            if isinstance(step, Keep):
                exchange.mark(step.pending.reference)
            await abookkeeping(step, services)
    return None


async def abookkeeping(step: Bookkeeping, services: Services) -> None:
    """Bookkeeping that a cancelled call still completes: what was paid must be on the disk."""
    import anyio
    from anyio import to_thread

    if not isinstance(step, Keep | Forget) and not services.budget.blocking:
        services.bookkeeping(step)
        return
    with anyio.CancelScope(shield=True):
        await to_thread.run_sync(services.bookkeeping, step)


# --- reading what a server nobody vouched for sends ---------------------------------------------------


def read_bounded(
    chunks: Iterable[bytes], step: ReadBody = READ_BODY, monotonic: Callable[[], float] = time.monotonic
) -> bytes:
    """The first ``step.limit`` bytes, or what arrived when ``step.seconds`` are over."""
    body = bytearray()
    limit = step.limit or MAX_ERROR_BODY
    until = monotonic() + (step.seconds or ERROR_BODY_S)
    for chunk in chunks:
        body += chunk
        if len(body) >= limit or monotonic() > until:
            break
    return bytes(body[:limit])


async def aread_bounded(chunks: AsyncIterable[bytes], step: ReadBody = READ_BODY) -> bytes:
    """As :func:`read_bounded`.

    Enough is enough by cancellation: it ends the generators inside the HTTP client in order, where leaving the
    loop would leave them to the garbage collector.
    """
    import anyio

    body = bytearray()
    limit = step.limit or MAX_ERROR_BODY
    with anyio.move_on_after(step.seconds or ERROR_BODY_S) as scope:
        async for chunk in chunks:
            body += chunk
            if len(body) >= limit:
                scope.cancel()
    return bytes(body[:limit])


def inflate(body: bytes, encoding: str, step: ReadBody = READ_BODY) -> bytes:
    """Undo gzip or deflate up to ``step.limit`` bytes; for every other coding but identity see :class:`ReadBody`."""
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return body
    if encoding in ("gzip", "x-gzip", "deflate"):
        with suppress(zlib.error):
            # 32: gzip or zlib by their own header.
            return zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(body, step.limit or MAX_ERROR_BODY)
    return body if step.keep else b""


def patient(timeout: dict[str, float | None], read_s: float) -> dict[str, float | None]:
    """httpx's time-outs, by name in seconds, with at least ``read_s`` for reading.

    ``total``, which :mod:`flovia.deadline_transport` knows and httpx does not, likewise.
    """
    limits = {name: limit for name in ("read", "total") if (limit := timeout.get(name)) is not None}
    return {**timeout, **{name: max(limit, read_s) for name, limit in limits.items()}}


def interrupted(reference: str, error: Exception) -> OutcomeUnknown:
    """What a program gets when a paid answer breaks off."""
    return OutcomeUnknown(
        f"the paid answer broke off ({type(error).__name__}): the server may count it as delivered or not."
        f" Do not pay again: the credential is kept as {reference}, resume(reference) sends the same one",
        reference=reference,
    )
