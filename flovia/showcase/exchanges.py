"""What an agent said and heard, as a log: every HTTP exchange, with what is secret masked before it is kept."""

import json
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Literal, TypeVar, cast

import attrs
import httpx

from flovia.client import Challenge, Flow, HttpCall, HttpReply, Payment, PaymentContext, WalletVerdict
from flovia.client.hitpay import HitPayWallet
from flovia.client.wallet import PaidAnswer, ReceiptVerdict
from flovia.words import counted

T = TypeVar("T")
Who = Literal["agent", "wallet"]

MAX_BODY: Final = 4000
"""Most characters of a body that are kept."""
NOT_SHOWN: Final = frozenset({"authorization", "payment-authorization", "payment-receipt", "mpp-receipt", "cookie"})
"""Header fields that hold a credential or a token; their length stands in their place."""
SLOW_S: Final = 2.0
"""A question that was asked before is shown on its way when it has been there for so long."""
BROKER_SAYS: Final = ("challenge_id", "status", "amount", "currency", "expires_at")
"""What is shown of the broker's answer about a charge."""


@attrs.frozen(kw_only=True)
class Exchange:
    """One request and its answer. Times in Unix seconds and milliseconds.

    ``who``: the agent asks the paid route, its wallet asks HitPay. ``status``: None while there is no answer; then
    ``failed`` says why there will be none. ``times``: how often in a row the same was asked and answered, the last time
    at ``last_at``. ``sent``, ``got`` and ``body`` hold no secret.
    """

    number: int
    who: Who
    at: float
    http_method: str
    url: str = attrs.field(repr=False)
    sent: tuple[tuple[str, str], ...] = attrs.field(default=(), repr=False)
    paid: bool = False
    status: int | None = None
    failed: str | None = None
    got: tuple[tuple[str, str], ...] = attrs.field(default=(), repr=False)
    body: str = attrs.field(default="", repr=False)
    ms: float | None = None
    times: int = 1
    last_at: float

    @property
    def open(self) -> bool:
        """Whether the answer is still on its way."""
        return self.status is None and self.failed is None

    @property
    def target(self) -> str:
        """The path and query of the URL."""
        return httpx.URL(self.url).raw_path.decode("ascii")

    @property
    def problem(self) -> Mapping[str, object]:
        """The members of a refusal's body; none if it is something else."""
        try:
            found: object = json.loads(self.body)
        except ValueError:
            return {}
        return cast("Mapping[str, object]", found) if isinstance(found, dict) else {}

    @property
    def code(self) -> str:
        """The code of the refusal's problem type, ``outcome-unknown`` say."""
        kind = self.problem.get("type")
        return kind.rpartition("/")[2].rpartition(":")[2] if isinstance(kind, str) else ""


def masked(fields: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Header fields in lower case, with the length of a secret one in its place."""
    return tuple((name.lower(), _shown(name.lower(), value)) for name, value in fields)


def _shown(name: str, value: str) -> str:
    if name not in NOT_SHOWN:
        return value
    scheme = "Payment " if value.startswith("Payment ") else ""
    return f"{scheme}({counted(len(value) - len(scheme), 'character')}, not shown)"


class Log:
    """The exchanges of one run, in order. ``changed`` is told when something is new: not whenever a wallet that waits
    has asked the same once more and heard the same.
    """

    def __init__(self, changed: Callable[[], None], clock: Callable[[], float] = time.time) -> None:
        self.exchanges: tuple[Exchange, ...] = ()
        self._changed = changed
        self._clock = clock

    @property
    def repeated(self) -> int | None:
        """The number of the question that is being asked again and again, so that its count goes on; None if none."""
        every = self.exchanges
        last = every[-2:-1] if self._again else every[-1:]
        return last[0].number if last and last[0].who == "wallet" and last[0].times > 1 else None

    def shown(self, now: float) -> tuple[Exchange, ...]:
        """The exchanges without a question that has just been asked once more, as long as its answer is not late."""
        quiet = self._again and now - self.exchanges[-1].at < SLOW_S
        return self.exchanges[:-1] if quiet else self.exchanges

    @property
    def _again(self) -> bool:
        """Whether the last one is on its way, and asks what the one before asked."""
        if len(self.exchanges) < 2:
            return False
        before, last = self.exchanges[-2:]
        return last.open and last.who == "wallet" and (before.who, before.url) == (last.who, last.url)

    def begin(
        self, who: Who, http_method: str, url: str, sent: Iterable[tuple[str, str]] = (), *, paid: bool = False
    ) -> int:
        """Note a request; the number by which its answer is noted."""
        number, now = len(self.exchanges), self._clock()
        fields = masked(sent)
        one = Exchange(
            number=number, who=who, at=now, last_at=now, http_method=http_method, url=url, sent=fields, paid=paid
        )
        self.exchanges = (*self.exchanges, one)
        if not self._again:
            self._changed()
        return number

    def end(
        self,
        number: int,
        ms: float,
        *,
        status: int | None = None,
        got: Iterable[tuple[str, str]] = (),
        body: str = "",
        failed: str | None = None,
    ) -> None:
        """Note its answer, or why there is none. One that says what the last one said is counted with it."""
        every = list(self.exchanges)
        done = attrs.evolve(every[number], status=status, got=masked(got), body=body[:MAX_BODY], failed=failed, ms=ms)
        every[number] = done
        before = every[number - 1] if number == len(every) - 1 and number > 0 else None
        if done.who == "wallet" and before is not None and _alike(before, done):
            every[number - 1 :] = [attrs.evolve(before, times=before.times + 1, last_at=done.at, ms=ms)]
            known = before.times > 1 and self._clock() - done.at < SLOW_S
        else:
            known = False
        self.exchanges = tuple(every)
        if not known:
            self._changed()


def _alike(one: Exchange, other: Exchange) -> bool:
    return (one.who, one.url, one.status, one.body, one.failed) == (
        other.who,
        other.url,
        other.status,
        other.body,
        other.failed,
    )


class Recorder(httpx.AsyncBaseTransport):
    """Does the agent's HTTP to the paid route, below the paying transport, and notes it."""

    def __init__(self, log: Log, transport: httpx.AsyncBaseTransport) -> None:
        self._log = log
        self._transport = transport

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request and keep what came back, without what is secret in it."""
        sent = [(name, value) for name, value in request.headers.items() if name != "host"]
        paid = any(name in request.headers for name in ("authorization", "payment-authorization"))
        number = self._log.begin("agent", request.method, str(request.url), sent, paid=paid)
        started = time.perf_counter()
        try:
            response = await self._transport.handle_async_request(request)
            body = await response.aread()
        except BaseException as error:
            self._log.end(number, _ms(started), failed=type(error).__name__)
            raise
        self._log.end(
            number,
            _ms(started),
            status=response.status_code,
            got=response.headers.items(),
            body=body.decode("utf-8", "replace"),
        )
        return httpx.Response(
            response.status_code, headers=response.headers, content=body, extensions=response.extensions
        )

    async def aclose(self) -> None:
        """Close the transport below."""
        await self._transport.aclose()


class WatchedWallet:
    """A HitPay wallet whose questions to the broker are noted; it pays what the other one pays."""

    def __init__(self, wallet: HitPayWallet, log: Log) -> None:
        self._wallet = wallet
        self._log = log

    @property
    def methods(self) -> tuple[str, ...]:
        """As of the wallet."""
        return self._wallet.methods

    def can_pay(self, challenge: Challenge) -> bool:
        """As of the wallet."""
        return self._wallet.can_pay(challenge)

    def foresee(self, challenge: Challenge, context: PaymentContext) -> Payment | None:
        """As of the wallet."""
        return self._wallet.foresee(challenge, context)

    def pay(self, challenge: Challenge, context: PaymentContext) -> Flow[WalletVerdict]:
        """As of the wallet; what it asks is noted."""
        return self._noted(self._wallet.pay(challenge, context))

    def verify_receipt(self, answer: PaidAnswer) -> Flow[ReceiptVerdict]:
        """As of the wallet; what it asks is noted."""
        return self._noted(self._wallet.verify_receipt(answer))

    def _noted(self, flow: Flow[T]) -> Flow[T]:
        try:
            effect = flow.send(None)
            while True:
                if not isinstance(effect, HttpCall):
                    try:
                        result: object = yield effect
                    except BaseException as error:
                        effect = flow.throw(error)
                    else:
                        effect = flow.send(result)
                    continue
                number, started = self._log.begin("wallet", effect.http_method, effect.url), time.perf_counter()
                try:
                    reply: HttpReply = yield effect
                except BaseException as error:
                    self._log.end(number, _ms(started), failed=type(error).__name__)
                    effect = flow.throw(error)
                else:
                    self._log.end(number, _ms(started), status=reply.status, body=_said(reply.body))
                    effect = flow.send(reply)
        except StopIteration as stop:
            return cast("T", stop.value)


def _said(body: bytes) -> str:
    """What may be shown of an answer of HitPay's: of a charge how it stands, of a key set which keys there are."""
    try:
        found: object = json.loads(body)
    except ValueError:
        return ""
    if not isinstance(found, dict):
        return ""
    members = cast("dict[str, object]", found)
    keys = members.get("keys")
    if isinstance(keys, list):
        ids = [str(cast("dict[str, object]", key).get("kid")) for key in cast("list[object]", keys)[:10]]
        return json.dumps({"keys": ids})
    return json.dumps({name: members[name] for name in BROKER_SAYS if name in members})


def _ms(started: float) -> float:
    return (time.perf_counter() - started) * 1000
