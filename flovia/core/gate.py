"""The gate: who may pass, and what is recorded when they leave. As flows over effects.

A Gate guards one route. ``enter`` answers a request that may not pass (402 and so on) or admits it with a
settled payment; ``leave`` records how the delivery ended. Nothing is free by accident: whatever fails on the
way ends in a refusal, and an unknown outcome never becomes an invitation to pay again.

It is built in layers, a file each: :mod:`~flovia.core.issuing` makes challenges, :mod:`~flovia.core.redeeming`
turns a credential into a settled payment, :mod:`~flovia.core.adopting` does so for one in a provider's own form, and
here is what adapters call.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Final

from flovia.core import events as ev
from flovia.core.adopting import Adopter
from flovia.core.answers import StoredAnswer, read_key
from flovia.core.candidate import Candidate
from flovia.core.delivery import MAX_DELIVERIES, Delivery
from flovia.core.effects import Deliver, Fail, Flow, Renew
from flovia.core.errors import CallerError, LedgerError, ParseError
from flovia.core.exchange import ADMITTED, EXCHANGE, RECEIVED, step
from flovia.core.guard import DAY_S, Services
from flovia.core.http import NO_BODY, BodyState, HttpRequest, HttpResponse
from flovia.core.offers import Offer
from flovia.core.passage import Passage, Trace
from flovia.core.provider import Refusal
from flovia.core.redeeming import Outcome

_log = logging.getLogger("flovia")

# The steps a gate takes, looked up in the table once.
_PASSED: Final = step(EXCHANGE, RECEIVED, "pass")
_CHALLENGED: Final = step(EXCHANGE, RECEIVED, "challenge")
_REFUSED: Final = step(EXCHANGE, RECEIVED, "refuse")
_DELIVERED: Final = step(EXCHANGE, ADMITTED, "deliver")
_FAILED: Final = step(EXCHANGE, ADMITTED, "fail")
_USUAL: Final = Delivery()


class Gate(Adopter):
    """Guards one route: nobody gets in without a settled payment, and each payment gets one delivery.

    Args:
        offers: at least one; at most one per payment method and currency.
        ttl_s: life of a challenge, seconds.
        redeem_for_s: how long a paid but undelivered credential can be redeemed, seconds.
        deliver_within_s: how long a delivery may take before the credential can be redeemed again, seconds;
            renewed while an answer streams.
        max_deliveries: deliveries that may be begun for one payment.
        delivery: what counts as delivered, and what becomes of what does not.
        bind_body: put the digest of the request's body into the challenge and check it.
        max_body: bytes of body that are read for the digest; above that, 413.
        use_payment_authorization: whether credentials travel in ``Payment-Authorization``, leaving
            ``Authorization`` to the app's own login; a function decides per request.
    """

    def __init__(
        self,
        services: Services,
        *,
        offers: Sequence[Offer],
        rail: str = "mpp",
        name: str | None = None,
        ttl_s: int = 300,
        redeem_for_s: float = 7 * DAY_S,
        deliver_within_s: float = 60.0,
        max_deliveries: int = MAX_DELIVERIES,
        delivery: Delivery = _USUAL,
        bind_body: bool = True,
        max_body: int = 1 << 20,
        use_payment_authorization: Callable[[HttpRequest], bool] | bool = False,
    ) -> None:
        super().__init__(
            services,
            offers=offers,
            rail=rail,
            name=name,
            ttl_s=ttl_s,
            redeem_for_s=redeem_for_s,
            deliver_within_s=deliver_within_s,
            max_deliveries=max_deliveries,
            delivery=delivery,
            use_payment_authorization=use_payment_authorization,
        )
        self.bind_body = bind_body
        self.max_body = max_body

    # --- entering -------------------------------------------------------------------------------------------

    def enter(self, request: HttpRequest) -> Flow[Passage]:
        """Decide about one request: a passage with a response to send, or with a grant for the handler."""
        trace = self._trace(request)
        if request.http_method == "OPTIONS":
            # A preflight asks what is allowed, not for what is paid for.
            allow = HttpResponse(204, (("cache-control", "no-store"),))
            return Passage(request, _PASSED, trace, allow)
        now = self._clock()
        trace.note(ev.REQUEST_STARTED, now)
        outcome: Outcome
        try:
            found = self._examine(request, trace)
            if isinstance(found, Candidate):
                outcome = yield from self._redeem(request, trace, found, now)
                if isinstance(outcome, Passage):
                    return outcome
            elif isinstance(found, str):
                outcome = yield from self._without_candidate(request, trace, found)
                if isinstance(outcome, Passage):
                    return outcome
            else:
                outcome = found
        except LedgerError as error:
            _log.warning("the ledger does not answer (%s); %s refused with 503", error, trace.endpoint)
            outcome = self._refuse(request, trace, "ledger-unavailable", 1)
        except Refusal as refusal:
            outcome = self._refused(request, trace, refusal)
        except Exception:
            # A bug of a ledger, of the app's own functions, or ours: it opens nothing and asks for no money.
            _log.exception("%s refused with 500: the request could not be processed", trace.endpoint)
            outcome = self._refuse(request, trace, "internal-payment-error")
        return Passage(request, _CHALLENGED if outcome.status == 402 else _REFUSED, trace, outcome)

    def _examine(self, request: HttpRequest, trace: Trace) -> Candidate | HttpResponse | str:
        """A credential worth taking to the ledger; else the refusal, or the problem of the 402 to answer with."""
        if not self._anywhere or request.multiprocess or request.body is not NO_BODY:
            refusal = self._blocked(request, trace)
            if refusal is not None:
                return refusal
        if trace.idempotency:
            # Before anybody pays for a request that would be refused afterwards.
            refusal = self._read_key(request, trace)
            if refusal is not None:
                return refusal
        field = self._field(request)
        values = request.headers.get_all(field)
        if not values or request.http_method == "HEAD":
            return "payment-required"
        return self._read(request, trace, field, values)

    def _read_key(self, request: HttpRequest, trace: Trace) -> HttpResponse | None:
        if not self._delivery.idempotency_ttl:
            trace.idempotency = ()
            return None
        try:
            trace.idempotency = (read_key(trace.idempotency),)
        except ParseError:
            return self._refuse(request, trace, "idempotency-key-invalid")
        return None

    def _blocked(self, request: HttpRequest, trace: Trace) -> HttpResponse | None:
        """What is refused before anybody asks about money."""
        if not self._anywhere and self._stranger(request):
            _log.error(
                "refused a request that did not come to this machine's own name: set FLOVIA_PUBLIC_ORIGIN to the"
                " https:// origin that clients use"
            )
            return self._refuse(request, trace, "bad-request")
        if request.multiprocess and not self.services.ledger.shared:
            _log.error("several workers cannot share a memory ledger: set FLOVIA_LEDGER=sqlite:///… (or one worker)")
            return self._refuse(request, trace, "internal-payment-error")
        if self.bind_body:
            state = request.body.state
            if state is BodyState.TOO_LARGE:
                return self._refuse(request, trace, "body-too-large")
            if state is BodyState.UNTERMINATED:
                return self._refuse(request, trace, "length-required")
        return None

    # --- leaving -------------------------------------------------------------------------------------------------

    def leave(self, passage: Passage, completed: bool) -> Flow[None]:
        """Record the end of an admitted request. ``completed``: the last byte was handed to the server.

        A failing ledger is not the client's business any more: the lease runs out by itself and the events
        are kept for the next flush.

        Raises:
            CallerError: the passage was refused or has been left before.
        """
        trace, status = passage.trace, passage.status
        if passage.state != ADMITTED:
            raise CallerError("leave() belongs to an admitted passage and is called once")
        policy = passage.policy or self._delivery
        # What the policy's table says of nearly every answer, without asking it.
        whole = completed and passage.problem is None and status in policy.statuses
        end = "delivered" if whole else policy.end(status, passage.problem, completed)
        delivered, refund_due = end == "delivered", end == "refund due"
        passage.state = _DELIVERED if delivered else _FAILED
        now = self._clock()
        latency = self._latency_ms(trace)
        type_ = ev.PAYMENT_REDELIVERED if passage.redelivery else ev.PAYMENT_DELIVERED
        if whole:
            trace.note(type_, now, status)
            trace.note(ev.REQUEST_COMPLETED, now, status, latency)
        else:
            status = 500 if passage.problem else status
            problem = policy.failure if delivered or refund_due else passage.problem
            trace.note(type_ if delivered else ev.PAYMENT_DELIVERY_FAILED, now, status, None, problem)
            trace.note(ev.REQUEST_FAILED, now, status, latency, problem)
        rows = trace.take()
        answer = None if passage.answer is None or not delivered else self._to_keep(passage, now, completed)
        ledger, key, fence = self._ledger, passage.key, passage.fence
        try:
            if ledger.direct:
                if delivered:
                    done = ledger.deliver(key, fence, rows, answer)
                else:
                    done = ledger.fail(key, fence, rows, refund_due)
            else:
                done = yield Deliver(key, fence, rows, answer) if delivered else Fail(key, fence, rows, refund_due)
        except Exception as error:
            bug = not isinstance(error, LedgerError)
            _log.warning("the ledger does not answer (%s); a delivery is recorded later", error, exc_info=bug)
            ledger.end_later(key, fence, delivered, rows, refund_due, answer)
        else:
            if not done:
                ledger.append(rows)

    def _to_keep(self, passage: Passage, now: float, completed: bool) -> StoredAnswer | None:
        """The answer of a delivered request that came with an Idempotency-Key."""
        copy = passage.answer
        answer = copy.stored(now + self._delivery.idempotency_ttl) if copy and (completed or copy.whole) else None
        if answer is None:
            # Told here, as nobody else will: whoever repeats the request is refused, not served again.
            _log.info("an answer of %s was delivered and not kept for its Idempotency-Key", passage.trace.endpoint)
        return answer

    def renew(self, passage: Passage) -> Flow[None]:
        """Extend the lease of a delivery that is still streaming."""
        passage.renew_at = self._clock() + self._deliver_within_s / 2
        renew = (passage.key, passage.fence, self._deliver_within_s)
        ledger = self._ledger
        try:
            if ledger.direct:
                ledger.renew(*renew)
            else:
                yield Renew(*renew)
        except Exception as error:
            bug = not isinstance(error, LedgerError)
            _log.warning("the ledger does not answer (%s); a delivery's lease was not renewed", error, exc_info=bug)
