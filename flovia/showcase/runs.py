"""Calls of the paid route by an agent in this process: each one a run, kept under an id for whoever looks at it."""

import asyncio
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Final, Literal

import attrs
import httpx

from flovia.client import (
    Budget,
    CannotResume,
    Challenge,
    OutcomeUnknown,
    PaymentDeclined,
    PaymentError,
    PaymentInfo,
    PaymentRefused,
    PendingFiles,
    Policy,
    ReceiptRejected,
)
from flovia.client.hitpay import Checkout, HitPayWallet, Pins
from flovia.client.httpx import AsyncPayingTransport, payment_info
from flovia.core.challenge import parse_challenges, parse_expires
from flovia.core.encoding import JsonValue
from flovia.core.errors import FloviaError, ParseError
from flovia.readable import readable_receipt, readable_signed
from flovia.showcase.exchanges import Exchange, Log, Recorder, WatchedWallet
from flovia.showcase.payments import Payments, look_at_payments
from flovia.showcase.shop import AGENT_FIELD, PRICE, Shop
from flovia.showcase.troubles import Staged, Trouble
from flovia.tls import tls_context

MOST_RUNS: Final = 50
"""Runs that are kept; with one more the oldest goes."""
AT_ONCE: Final = 6
"""Runs that may wait for a payment at the same time; with one more the oldest stops waiting."""
TOO_MANY: Final = f"{AT_ONCE} calls wait for a payment at a time, and others were begun after it"
"""Why a run stops waiting that is one too many."""
LONGEST_S: Final = 1200.0
"""After so many seconds a run ends, whatever it waits for."""
CLOSED_WITHIN_S: Final = 5.0
"""How long what waits may take to end."""
SETTLED_S: Final = 60.0
"""After so many seconds an ended run is looked at less often."""
WATCHED_S: Final = 1.5
"""Between two looks at whether a payment was declined."""

End = Literal["delivered", "answered", "declined", "refused", "unknown", "stopped", "rejected", "failed", "broken"]
_log: Final = logging.getLogger(__name__)


@attrs.frozen(kw_only=True)
class Result:
    """The answer that was paid for. ``ms``: from the paid request to its last byte.

    ``receipt`` and ``signed`` are decoded, with what is secret left out; ``verified``: whether the signature and the
    contents of the receipt were held against the broker's keys and found right, None if nobody could say.
    """

    status: int
    body: str
    ms: float | None
    tries: int
    receipt: dict[str, JsonValue]
    signed: dict[str, JsonValue] | None
    verified: bool | None
    problem: str | None


@attrs.frozen(kw_only=True)
class Ended:
    """How a run ended, and in which words; ``reference``: of a credential that is kept and can be presented again."""

    how: End
    words: str = ""
    reference: str | None = None


class Run:
    """One call of the paid route. Written by its own task only; whoever reads sees each member whole."""

    def __init__(self, ident: str, clock: Callable[[], float], trouble: Trouble | None = None) -> None:
        self.id = ident
        self.trouble = trouble
        """What was to go wrong."""
        self.missed = False
        """Whether it did not, because the run was over first."""
        self.started_at = clock()
        self.version = 0
        self.log = Log(self.touch, clock)
        self.checkout: Checkout | None = None
        self.payments = Payments()
        self.result: Result | None = None
        self.ended: Ended | None = None
        self.ended_at: float | None = None
        self._changed = asyncio.Event()
        self.stopped_for = "it was asked to stop waiting"
        """Why it stops, if it does."""
        self._task: asyncio.Task[None] | None = None

    def touch(self) -> None:
        """Tell whoever waits that something is new."""
        self.version += 1
        self._changed.set()

    async def change(self, within_s: float) -> None:
        """Wait until something is new, but no longer than that."""
        self._changed.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._changed.wait()

    async def shown(self, within_s: float) -> None:
        """Wait until there is a checkout to show, or the end, but no longer than that."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while self.checkout is None and self.ended is None:
                    await self.change(within_s)

    @property
    def asked(self) -> Exchange | None:
        """The agent's first request, with what came back."""
        return next((one for one in self.log.exchanges if one.who == "agent"), None)

    @property
    def presented(self) -> Exchange | None:
        """Its last request with a credential."""
        return next((one for one in reversed(self.log.exchanges) if one.paid), None)

    @property
    def polled(self) -> Exchange | None:
        """The wallet's last question about the charge that was answered."""
        every = (one for one in reversed(self.log.exchanges) if one.who == "wallet" and "/v1/charges/" in one.url)
        return next((one for one in every if one.status == 200), None)

    @property
    def challenge(self) -> Challenge | None:
        """What the 402 asks for."""
        header = self.challenge_header
        found = [] if header is None else parse_challenges([header])
        return found[0] if found else None

    @property
    def expires_at(self) -> float | None:
        """When the time to pay is over, Unix seconds."""
        challenge = self.challenge
        try:
            return None if challenge is None or challenge.expires is None else parse_expires(challenge.expires)
        except ParseError:
            return None

    @property
    def challenge_header(self) -> str | None:
        """The challenge as it came."""
        first = self.asked
        return None if first is None else dict(first.got).get("www-authenticate")

    def stop(self, why: str) -> asyncio.Task[None] | None:
        """Stop waiting. What was asked for can still be paid, so its credential stays. The task that ends, if any."""
        if self._task is None or self._task.done():
            return None
        self.stopped_for = why
        self._task.cancel()
        return self._task

    def go(self, work: Coroutine[object, object, None], over: Callable[[], None]) -> None:
        """Begin; ``over`` is called when it is over, however that came: what is stopped at once has not even begun."""
        self._task = asyncio.create_task(work)
        # One that was begun again meanwhile is not over.
        self._task.add_done_callback(lambda done: over() if self._task is done else None)


class Runs:
    """The runs of one shop. Everything happens in the event loop of the server that serves the shop."""

    def __init__(self, shop: Shop, *, clock: Callable[[], float] = time.time) -> None:
        self._shop = shop
        self._clock = clock
        self._runs: OrderedDict[str, Run] = OrderedDict()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.closed = False
        """Whether the server is about to end: then nobody waits for anything any more."""

    def find(self, ident: str) -> Run | None:
        """The run with this id, if it is still kept."""
        return self._runs.get(ident)

    def start(self, trouble: Trouble | None = None) -> Run:
        """Have an agent call the route, as a visitor's agent would. ``trouble``: what is to go wrong, in a sandbox."""
        self._loop = asyncio.get_running_loop()
        run = Run(secrets.token_urlsafe(12), self._clock, None if self._shop.sandbox is None else trouble)
        self._runs[run.id] = run
        self._begin(run, None, Staged(self._shop, run.id, trouble))
        return run

    def again(self, run: Run) -> bool:
        """Present a kept credential again; False if there is none, or one is on its way."""
        if run.ended is None or run.ended.reference is None:
            return False
        reference, run.ended = run.ended.reference, None
        run.touch()
        # As young as one that has just begun.
        self._runs[run.id] = run
        self._runs.move_to_end(run.id)
        self._begin(run, reference, Staged(self._shop, run.id, None))
        return True

    def _begin(self, run: Run, reference: str | None, staged: Staged) -> None:
        """Set a run going; what is too much besides it stops waiting, the oldest first."""
        while len(self._runs) > MOST_RUNS:
            self._runs.popitem(last=False)[1].stop(TOO_MANY)
        waiting = [one for one in self._runs.values() if one.ended is None]
        for one in waiting[: max(0, len(waiting) - AT_ONCE)]:
            one.stop(TOO_MANY)
        run.go(self._work(run, reference, staged), lambda: self._over(run))

    def _over(self, run: Run) -> None:
        if run.ended is None:
            run.ended, run.ended_at = self._kept(run, "stopped", run.stopped_for), self._clock()
        run.touch()

    def settled(self, run: Run) -> bool:
        """Whether a run ended a while ago, so that little is to be expected of it."""
        return run.ended_at is not None and run.ended is not None and self._clock() - run.ended_at > SETTLED_S

    def close(self) -> None:
        """End what waits; called from another thread than the event loop's."""
        self.closed = True
        if self._loop is not None:
            ending = self._end()
            try:
                asyncio.run_coroutine_threadsafe(ending, self._loop).result(CLOSED_WITHIN_S)
            except RuntimeError:  # the loop has ended already
                ending.close()
            except TimeoutError:
                return

    async def _end(self) -> None:
        """Stop what waits, and wait for that: a loop that ends with calls on their way would leave them half begun."""
        tasks = [run.stop("the server is ending") for run in self._runs.values()]
        if waiting := [task for task in tasks if task is not None]:
            await asyncio.wait(waiting)
        for run in self._runs.values():
            run.touch()

    # --- one run ---------------------------------------------------------------------------------------------

    async def _work(self, run: Run, reference: str | None, staged: Staged) -> None:
        watch = asyncio.create_task(self._watch(run))
        limit = asyncio.timeout(LONGEST_S)
        ended: Ended | None = None
        try:
            staged.begin()
            async with limit:
                ended = await self._call(run, reference, staged)
                if run.checkout is not None and ended.how in ("declined", "refused"):
                    await self._look(run, run.checkout)  # nobody has paid, says the broker: HitPay itself may know more
        except asyncio.CancelledError:
            ended = ended or self._kept(run, "stopped", run.stopped_for)
        except Exception as error:
            if isinstance(error, TimeoutError) and limit.expired():
                ended = ended or self._kept(run, "stopped", "nobody has paid for twenty minutes")
            else:
                _log.exception("a call of the showcase broke off")
                ended = self._kept(run, "broken", type(error).__name__)
        finally:
            run.ended, run.ended_at = ended, self._clock()
            watch.cancel()
            await staged.end(delivered=ended is not None and ended.how == "delivered")
            run.missed = run.missed or staged.missed
            await asyncio.wait([watch])

    def _kept(self, run: Run, how: End, words: str) -> Ended:
        """An end that says nothing about the payment; if one was asked for, its credential is kept."""
        return Ended(how=how, words=words, reference=None if run.checkout is None else run.checkout.reference)

    async def _call(self, run: Run, reference: str | None, staged: Staged) -> Ended:
        transport = self._transport(run, staged)
        try:
            if reference is not None:
                async with transport:
                    response = await transport.resume(reference, headers={AGENT_FIELD: "agent:showcase"})
            else:
                async with httpx.AsyncClient(transport=transport, trust_env=False, timeout=30) as agent:
                    fields = {AGENT_FIELD: "agent:showcase", "flovia-workflow": "showcase-visit"}
                    response = await agent.get(staged.url, headers=fields)
        except PaymentError as error:
            return self._refusal(run, error)
        except (FloviaError, httpx.HTTPError) as error:
            return Ended(how="failed", words=f"{type(error).__name__}: the call failed before anything was paid")
        info = payment_info(response)
        if info is None:
            return Ended(how="answered")
        if not response.is_success:
            return Ended(how="answered", reference=info.reference)
        run.result = self._result(run, response.status_code, response.text, response.headers, info)
        return Ended(how="delivered")

    def _refusal(self, run: Run, error: PaymentError) -> Ended:
        """What became of a call that brought no answer, as the client says it."""
        words = str(error)
        match error:
            case ReceiptRejected(answer=answer):
                fields = httpx.Headers(list(answer.headers))
                body = answer.body.decode("utf-8", "replace")
                run.result = self._result(run, answer.status, body, fields, answer.payment)
                return Ended(how="rejected", words=words)
            case OutcomeUnknown():
                return Ended(how="unknown", words=words, reference=error.reference)
            case PaymentRefused():
                return Ended(how="refused", words=words, reference=error.reference)
            case PaymentDeclined():
                return Ended(how="declined", words=words)
            case CannotResume():
                return Ended(how="failed", words=words)
            case _:
                return Ended(how="failed", words=words, reference=error.reference)

    def _result(self, run: Run, status: int, body: str, fields: httpx.Headers, info: PaymentInfo) -> Result:
        token, signed = fields.get("mpp-receipt"), None
        if token is not None:
            with suppress(ParseError):
                signed = {name: value for name, value in readable_signed(token).items() if name != "verified"}
        last = run.presented
        return Result(
            status=status,
            body=body[:2000],
            ms=None if last is None else last.ms,
            tries=info.tries,
            receipt={} if info.receipt is None else readable_receipt(info.receipt),
            signed=signed,
            verified=info.receipt_verified,
            problem=info.receipt_problem,
        )

    def _transport(self, run: Run, staged: Staged) -> AsyncPayingTransport:
        shop = self._shop

        def show(checkout: Checkout) -> None:
            run.checkout = checkout
            staged.charged(checkout.charge_id)
            run.touch()

        wallet = HitPayWallet(
            pins=Pins(broker=shop.broker), show=show, timeout_s=LONGEST_S, poll_s=1.0 if shop.local else 2.0
        )
        return AsyncPayingTransport(
            WatchedWallet(wallet, run.log),
            # One call, one price, one server: there is nothing else that this agent could pay.
            budget=Budget(PRICE),
            policy=Policy(origins=[shop.url], max_tries=20),
            pending=PendingFiles(shop.folder),
            transport=Recorder(run.log, httpx.AsyncHTTPTransport(verify=tls_context(trust_env=False), trust_env=False)),
        )

    async def _watch(self, run: Run) -> None:
        """A declined payment leaves the charge open, and the broker says nothing of it: HitPay's API does."""
        while True:
            await asyncio.sleep(WATCHED_S)
            if run.checkout is not None:
                await self._look(run, run.checkout)

    async def _look(self, run: Run, checkout: Checkout) -> None:
        found = await look_at_payments(self._shop.provider.config, checkout.url)
        if found is not None and found != run.payments:
            run.payments = found
            run.touch()
