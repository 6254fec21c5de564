"""One request's way through a guard, as an adapter sees it.

An adapter calls ``enter``, sends :attr:`Passage.response` if there is one, else runs the handler, asks
:meth:`Passage.start` for what to change in the response's head, and reports the end with ``leave``.
"""

from collections.abc import Callable
from typing import Final

import attrs

from flovia.core.answers import AnswerCopy
from flovia.core.delivery import Delivery
from flovia.core.encoding import JsonObject, canonical, loads_object
from flovia.core.errors import CallerError
from flovia.core.events import EventRow
from flovia.core.exchange import REPLAYED
from flovia.core.http import Headers, HttpRequest, HttpResponse
from flovia.core.problems import PROBLEMS, ProblemType, problem_body


@attrs.frozen(kw_only=True)
class Grant:
    """What a handler may know about the payment that let the request in.

    ``amount`` in base units of ``currency``. ``redelivery`` is True if an earlier delivery of the same
    payment did not complete: a handler with side effects can use ``payment_id`` to do them once.
    """

    request_id: str
    challenge_id: str
    payment_id: str
    method: str
    amount: int
    currency: str
    payer: str | None
    recipient: str | None
    redelivery: bool


@attrs.define
class Start:
    """How to change a response's head: send ``replace`` instead, or drop and add header fields.

    Read-only by agreement: one is made for every paid request, and freezing costs as much as making it.
    """

    replace: HttpResponse | None = None
    drop: frozenset[str] = frozenset()
    add: tuple[tuple[str, str], ...] = ()

    def apply(self, headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """The handler's header fields with this change made."""
        return [pair for pair in headers if pair[0].lower() not in self.drop] + list(self.add)


AS_IS: Final = Start()
# What a handler must not say about a paid answer: a receipt of its own, or (RFC 9213 and what came before it)
# that some shared cache may keep it in spite of Cache-Control.
DROP: Final = frozenset(
    {
        "payment-receipt",
        "cache-control",
        "cdn-cache-control",
        "surrogate-control",
        "akamai-cache-control",
        "cloudflare-cdn-cache-control",
        "fastly-cdn-cache-control",
        "netlify-cdn-cache-control",
        "vercel-cdn-cache-control",
    }
)
DROP_CHALLENGES: Final = DROP | {"www-authenticate"}
PRIVATE: Final = ("cache-control", "private")


def private_cache_control(value: str) -> str:
    """A Cache-Control with which no shared cache keeps the answer: ``public`` and ``s-maxage`` out, ``private`` in."""
    if '"' in value:
        return "private"  # a list of field names; what else it says is not worth a parser
    kept: list[str] = []
    for directive in value.split(","):
        directive = directive.strip()
        name = directive.partition("=")[0].strip().lower()
        if directive and name not in ("public", "s-maxage", "private"):
            kept.append(directive)
    if any(directive.lower() == "no-store" for directive in kept):
        return ", ".join(kept)
    return ", ".join(["private", *kept])


def with_members(body: bytes, members: JsonObject) -> bytes:
    """A problem's JSON with further members; the problem's own win where both have one."""
    return canonical({**members, **loads_object(body)})


def problem_response(
    problem: str | ProblemType,
    *,
    challenge_id: str | None = None,
    head: bool = False,
    retry_after_s: int | None = None,
    members: JsonObject | None = None,
) -> HttpResponse:
    """The response that states one problem type, a code or a provider's own, and no challenge."""
    body = problem_body(problem, challenge_id)
    if members:
        body = with_members(body, members)
    headers = [
        ("content-type", "application/problem+json"),
        ("content-length", str(len(body))),
        ("cache-control", "no-store"),
    ]
    if retry_after_s is not None:
        headers.append(("retry-after", str(retry_after_s)))
    status = (PROBLEMS[problem] if isinstance(problem, str) else problem).status
    return HttpResponse(status, tuple(headers), b"" if head else body)


class Trace:
    """What the events of one request have in common, and the events not yet written."""

    __slots__ = (
        "challenge_id",
        "declared",
        "endpoint",
        "http_method",
        "idempotency",
        "offer_amount",
        "offer_currency",
        "payer",
        "payment_id",
        "provider",
        "rail",
        "recipient",
        "request_id",
        "rows",
        "seq",
        "started",
        "workflow",
    )

    def __init__(
        self,
        request_id: str,
        endpoint: str,
        http_method: str,
        rail: str,
        started: float,
        workflow: str | None,
    ) -> None:
        self.request_id = request_id
        self.endpoint = endpoint
        self.http_method = http_method
        self.rail = rail
        self.started = started
        self.workflow = workflow
        self.provider: str | None = None
        self.offer_amount: int | None = None
        self.offer_currency: str | None = None
        self.challenge_id: str | None = None
        self.payment_id: str | None = None
        self.declared: str | None = None
        """Who the app says is asking."""
        self.payer: str | None = None
        self.recipient: str | None = None
        self.seq = 0
        self.rows: list[EventRow] = []
        self.idempotency: tuple[str, ...] = ()
        """The values of Idempotency-Key; once they are read, the key."""

    def note(
        self,
        type_: str,
        at: float,
        status: int | None = None,
        latency_ms: float | None = None,
        problem: str | None = None,
    ) -> None:
        """Remember one event."""
        self.seq += 1
        self.rows.append(
            (
                type_,
                at,
                self.request_id,
                self.seq,
                self.endpoint,
                self.http_method,
                self.provider,
                self.rail,
                self.offer_amount,
                self.offer_currency,
                self.challenge_id,
                self.payment_id,
                self.payer,
                self.recipient,
                status,
                latency_ms,
                self.workflow,
                problem,
            )
        )

    def add_reason(self, reason: str) -> None:
        """Say why, of the event noted last: few events have one, so it is no part of every row."""
        self.rows[-1] = (*self.rows[-1], reason)

    def take(self) -> tuple[EventRow, ...]:
        """The events noted since the last call."""
        rows = tuple(self.rows)
        self.rows.clear()
        return rows


@attrs.define
class Settled:
    """What a settled payment adds to the answer: the receipt as it goes on the wire, more fields, who paid whom.

    Not frozen, because one is made for every paid request and freezing costs as much as making it.
    """

    receipt: str = attrs.field(repr=False)
    headers: tuple[tuple[str, str], ...] = attrs.field(repr=False)
    payer: str | None
    recipient: str | None


class Passage:
    """One request's way through a guard. Made by ``enter``; see the module's text for its life."""

    __slots__ = (
        "_clock",
        "_method",
        "_on_start",
        "answer",
        "fence",
        "key",
        "policy",
        "problem",
        "redelivery",
        "renew_at",
        "request",
        "response",
        "settled",
        "state",
        "status",
        "trace",
    )

    def __init__(
        self,
        request: HttpRequest,
        state: str,
        trace: Trace,
        response: HttpResponse | None = None,
        on_start: Callable[["Passage", int, Headers], Start] | None = None,
        clock: Callable[[], float] | None = None,
        key: str = "",
        fence: int = 0,
        settled: Settled | None = None,
        method: str = "",
        redelivery: bool = False,
        renew_at: float = 0.0,
        policy: Delivery | None = None,
        answer: AnswerCopy | None = None,
    ) -> None:
        self.request = request
        self.state = state
        """The exchange's state, one of :data:`flovia.core.exchange.EXCHANGE`."""
        self.trace = trace
        self.response = response
        self._on_start = on_start
        self._clock = clock
        self.key = key
        self.fence = fence
        self.settled = settled
        self._method = method
        self.redelivery = redelivery
        self.renew_at = renew_at
        self.policy = policy
        self.answer = answer
        """What is kept of the answer, where the request came with an Idempotency-Key."""
        self.status: int | None = None
        self.problem: str | None = None

    @property
    def replayed(self) -> bool:
        """The response is one that was delivered before: send it as it is, with no field added or taken away."""
        return self.state == REPLAYED

    @property
    def grant(self) -> Grant | None:
        """The payment that let this request in; None if there is none (refused, passed on or observed)."""
        settled, trace = self.settled, self.trace
        if settled is None:
            return None
        return Grant(
            request_id=trace.request_id,
            challenge_id=trace.challenge_id or "",
            payment_id=trace.payment_id or "",
            method=self._method,
            amount=trace.offer_amount or 0,
            currency=trace.offer_currency or "",
            payer=settled.payer,
            recipient=settled.recipient,
            redelivery=self.redelivery,
        )

    def __repr__(self) -> str:
        return f"<Passage {self.state} {self.request.http_method} {self.request.route or self.request.path}>"

    def copy(self) -> AnswerCopy | None:
        """Where every byte of the answer's body has to go besides, None if nowhere; ask once, before the first byte.

        Of an adapter that does not ask no answer is kept.
        """
        if self.answer is not None:
            self.answer.asked_for = True
        return self.answer

    def start(self, status: int, headers: Headers) -> Start:
        """Decide the head of the handler's response: exactly once, before its first byte is sent.

        Raises:
            CallerError: the guard answered itself, or the response has already started.
        """
        if self._on_start is None:
            raise CallerError("this passage has a response of its own; send passage.response and stop")
        if self.status is not None:
            raise CallerError("the response has already started; call start() once")
        self.status = status
        start = self._on_start(self, status, headers)
        if self.answer is not None:
            if start.replace is None:
                self.answer.begin(status, start.apply(list(headers.items())))
            else:
                self.answer.take(start.replace)
        return start

    def raised(self) -> HttpResponse:
        """Report that the handler raised before its response started; returns the 500 to send if nobody else answers.

        The delivery counts as failed even if an error page says otherwise.
        """
        policy = self.policy
        self.problem = "internal-payment-error" if policy is None else policy.failure
        challenge_id = None if policy is None else self.trace.challenge_id
        response = problem_response(self.problem, challenge_id=challenge_id, head=self.request.http_method == "HEAD")
        if self.answer is not None:
            self.answer.take(response)
        return response

    def unfulfilled(self) -> HttpResponse:
        """The 412 to send in place of the handler's: its body may be all that was to be paid for.

        The payment stays redeemable, whatever the policy.
        """
        self.problem = None
        return problem_response("precondition-failed", challenge_id=self.trace.challenge_id)

    def renewal_due(self) -> bool:
        """Whether half of the delivery's lease has passed. Ask at every chunk of a streamed answer."""
        return self._clock is not None and self._clock() >= self.renew_at
