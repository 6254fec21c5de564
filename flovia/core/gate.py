"""The gate: challenge, authenticate, claim, verify, settle, admit, deliver. As flows over effects.

A Gate guards one route. ``enter`` answers a request that may not pass (402 and so on) or admits it with a
settled payment; ``leave`` records how the delivery ended. The order of the checks on a presented credential
is fixed: size, parse, MAC, header and digest and scope, ledger state, expiry, claim, the provider's verdict,
amount and currency and recipient, settle. Nothing is free by accident: whatever fails on the way ends in a
refusal, and an unknown outcome never becomes an invitation to pay again.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Final, cast

from flovia.core import events as ev
from flovia.core.binding import slots
from flovia.core.challenge import Challenge, format_expires, parse_expires
from flovia.core.credential import MAX_TOKEN, Credential, read_token
from flovia.core.effects import (
    TIMED_OUT,
    Claim,
    ClaimResult,
    Deadline,
    Deliver,
    Fail,
    Find,
    Flow,
    PaymentView,
    Release,
    Renew,
    Settle,
    SettleResult,
)
from flovia.core.encoding import JsonObject, decode_param
from flovia.core.errors import CallerError, LedgerError, ParseError
from flovia.core.exchange import ADMITTED, CHALLENGED, DELIVERING, EXCHANGE, PASSED, RECEIVED, REFUSED, SETTLED, step
from flovia.core.fields import digest_matches, payment_credentials
from flovia.core.fingerprint import fingerprint_of
from flovia.core.guard import DAY_S, Services
from flovia.core.http import BodyState, Headers, HttpRequest, HttpResponse
from flovia.core.issuing import Issuer
from flovia.core.offers import HEADER_FIELD, Offer, OfferPlan, amount_and_currency
from flovia.core.passage import (
    DROP,
    DROP_RECEIPT,
    PRIVATE,
    Grant,
    Passage,
    Start,
    Trace,
    private_cache_control,
    problem_response,
)
from flovia.core.provider import NotPaid, Paid, Presented, Unknown, Verdict
from flovia.core.receipt import Receipt, format_receipt
from flovia.core.scope import read_opaque
from flovia.core.settlement import Settlement, read_record, write_record

_log = logging.getLogger("flovia")

CLAIM_MARGIN_S: Final = 5.0
"""A claim's lease outlives the provider's deadline by this much, seconds."""
CLOCK_SKEW_S: Final = 60.0
"""How long a claim outlives its challenge in the ledger, so that a skewed clock finds no gap, seconds."""

Outcome = HttpResponse | Passage


class Gate(Issuer):
    """Guards one route: nobody gets in without a settled payment, and each payment gets one delivery.

    Args:
        offers: at least one; at most one per payment method and currency.
        ttl_s: life of a challenge, seconds.
        redeem_for_s: how long a paid but undelivered credential can be redeemed, seconds.
        deliver_within_s: how long a delivery may take before the credential can be redeemed again, seconds;
            renewed while an answer streams.
        max_deliveries: deliveries that may be begun for one payment.
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
        max_deliveries: int = 5,
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
            use_payment_authorization=use_payment_authorization,
        )
        self._redeem_for_s = redeem_for_s
        self._deliver_within_s = deliver_within_s
        self._max_deliveries = max_deliveries
        self.bind_body = bind_body
        self.max_body = max_body
        self._by_method: dict[str, list[OfferPlan]] = {}
        for plan in self.plans:
            self._by_method.setdefault(plan.method, []).append(plan)
        self._charges: dict[str, JsonObject] = {
            plan.fixed_request: decode_param(plan.fixed_request) for plan in self.plans if plan.fixed_request
        }

    # --- entering -------------------------------------------------------------------------------------------

    def enter(self, request: HttpRequest) -> Flow[Passage]:
        """Decide about one request: a passage with a response to send, or with a grant for the handler."""
        if request.http_method == "OPTIONS":
            # A preflight asks what is allowed, not for what is paid for.
            allow = HttpResponse(204, (("cache-control", "no-store"),))
            return Passage(request=request, state=step(EXCHANGE, RECEIVED, "pass"), response=allow)
        trace = self._trace(request)
        trace.note(ev.REQUEST_STARTED, self._clock())
        outcome = self._blocked(request, trace)
        if outcome is None:
            if request.http_method == "HEAD":
                outcome = yield from self._unpaid(request, trace)
            else:
                field = self._field(request)
                values = request.headers.get_all(field)
                outcome = yield from (self._present(request, trace, field, values) if values else self._unpaid(request, trace))
        if isinstance(outcome, Passage):
            return outcome
        verb = "challenge" if outcome.status == 402 else "refuse"
        return Passage(request=request, state=step(EXCHANGE, RECEIVED, verb), trace=trace, response=outcome)

    def _field(self, request: HttpRequest) -> str:
        return "payment-authorization" if self._select is not False and self._wants_header(request) else "authorization"

    def _blocked(self, request: HttpRequest, trace: Trace) -> HttpResponse | None:
        """What is refused before anybody asks about money."""
        if self._stranger(request):
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

    def _unpaid(self, request: HttpRequest, trace: Trace) -> Flow[HttpResponse]:
        limiter = self.services.limiter
        if limiter is not None and (wait := limiter.challenge(self._client(request), self._monotonic())):
            return self._refuse(request, trace, "rate-limited", wait)
        return (yield from self._challenge(request, trace))

    # --- a credential -------------------------------------------------------------------------------------

    def _present(self, request: HttpRequest, trace: Trace, field: str, values: list[str]) -> Flow[Outcome]:
        limiter = self.services.limiter
        try:
            tokens = payment_credentials(values)
            if not tokens:
                return (yield from self._unpaid(request, trace))
            if limiter is not None and (wait := limiter.verification(self._client(request), self._monotonic())):
                return self._refuse(request, trace, "rate-limited", wait)
            if len(tokens) > 1:
                return self._refuse(request, trace, "bad-request")
            credential = read_token(tokens[0])
        except ParseError:
            return (yield from self._challenge(request, trace, "malformed-credential"))
        echo = credential.challenge
        plans = self._by_method.get(echo.method)
        if plans is None:
            if echo.method in self.services.known_methods:
                return (yield from self._challenge(request, trace, "invalid-challenge"))
            return self._refuse(request, trace, "method-unsupported")
        message = slots(
            echo.realm, echo.method, echo.intent, echo.request, echo.expires, echo.digest, echo.opaque, echo.header
        )
        key = f"{self._realm}|{echo.id}"
        fingerprint = fingerprint_of(message, credential.payload)
        try:
            authentic = (self._keyring.verify(message, echo.id) and echo.realm == self._realm) or (
                # The secret it was signed with is gone, but the payment is on record: what was verified then
                # is in the fingerprint, all of it.
                yield from self._on_record(key, fingerprint)
            )
            if not (authentic and self._belongs(request, field, echo)):
                return (yield from self._challenge(request, trace, "invalid-challenge"))
            return (yield from self._redeem(request, trace, credential, plans, key, fingerprint))
        except LedgerError as error:
            _log.warning("the ledger does not answer (%s); %s refused with 503", error, trace.endpoint)
            return self._refuse(request, trace, "ledger-unavailable", 1)

    def _on_record(self, key: str, fingerprint: str) -> Flow[bool]:
        ledger = self._ledger
        found = ledger.find(key) if ledger.direct else cast("PaymentView | None", (yield Find(key)))
        return found is not None and found.fingerprint == fingerprint and found.state in (SETTLED, DELIVERING)

    def _belongs(self, request: HttpRequest, field: str, echo: Challenge) -> bool:
        """Whether an authentic challenge was issued for this very request and field."""
        if echo.header != (HEADER_FIELD if field == "payment-authorization" else None):
            return False
        body = request.body
        if body.state is BodyState.READ:
            if echo.digest is None or not digest_matches(echo.digest, body.sha256):
                return False
        elif echo.digest is not None and body.state is not BodyState.UNREAD:
            return False
        if echo.expires is None or echo.opaque is None or echo.intent != self.plans[0].intent:
            return False
        try:
            _, scope, _ = read_opaque(echo.opaque)
        except ParseError:
            return False
        return scope == self._scopes.of(request)

    def _redeem(
        self,
        request: HttpRequest,
        trace: Trace,
        credential: Credential,
        plans: list[OfferPlan],
        key: str,
        fingerprint: str,
    ) -> Flow[Outcome]:
        echo = credential.challenge
        charge = self._charges.get(echo.request) or decode_param(echo.request)
        amount, currency = amount_and_currency(charge)
        plan = next((p for p in plans if p.price is None or p.price.currency == currency), plans[0])
        provider = plan.provider
        trace.provider = provider.name
        trace.offer_amount = amount
        trace.offer_currency = currency
        trace.challenge_id = echo.id
        trace.payer = credential.source
        trace.note(ev.PAYMENT_CONTEXT_ATTACHED, self._clock())

        ledger = self._ledger
        now = self._clock()
        expired = self._has_expired(echo.expires, now)
        claim = (
            key,
            fingerprint,
            expired,
            provider.deadline_s + CLAIM_MARGIN_S,
            self._deliver_within_s,
            (parse_expires(echo.expires or "") if not expired else now) + CLOCK_SKEW_S,
            self._max_deliveries,
        )
        claimed = ledger.claim(*claim) if ledger.direct else cast(ClaimResult, (yield Claim(*claim)))
        if claimed.outcome == "redeem":
            settlement = read_record(claimed.record)
            return self._admit(request, trace, key, claimed.fence, settlement, claimed.payment_id, echo, redelivery=True)
        if claimed.outcome != "claimed":
            return (yield from self._not_claimed(request, trace, claimed))
        return (yield from self._verify(request, trace, credential, plan, charge, key, claimed))

    def _has_expired(self, expires: str | None, now: float) -> bool:
        # We issued it, so it is a whole second in our own format and texts compare like times.
        return expires is None or expires <= format_expires(int(now))

    def _not_claimed(self, request: HttpRequest, trace: Trace, claimed: ClaimResult) -> Flow[HttpResponse]:
        match claimed.outcome:
            case "busy":
                return self._refuse(request, trace, "in-flight", claimed.retry_after_s)
            case "exhausted":
                # Paid for, and the handler failed every time: asking for more money would be wrong.
                return self._refuse(request, trace, "delivery-failed")
            case "expired":
                return (yield from self._challenge(request, trace, "payment-expired"))
            case "refund_due":
                return (yield from self._challenge(request, trace, "payment-insufficient"))
            case _:
                return (yield from self._challenge(request, trace, "invalid-challenge"))

    # --- the provider's word ----------------------------------------------------------------------------------

    def _verify(
        self,
        request: HttpRequest,
        trace: Trace,
        credential: Credential,
        plan: OfferPlan,
        charge: JsonObject,
        key: str,
        claimed: ClaimResult,
    ) -> Flow[Outcome]:
        echo = credential.challenge
        try:
            too_low = self._too_low(plan, request, charge)
        except Exception:
            _log.exception("the price function of %s raised for a presented credential", trace.endpoint)
            yield from self._release(key, claimed.fence, park=True, trace=trace)
            return self._refuse(request, trace, "internal-payment-error")
        try:
            verdict = yield from self._ask(plan, request, credential, charge, claimed.attempt)
        except GeneratorExit:
            # Nobody drives this flow any more: the lease ends by itself, and then the claim counts as parked.
            raise
        except BaseException:
            # Cancelled while the provider was asked: what it did is unknown.
            yield from self._release(key, claimed.fence, park=True, trace=trace)
            raise
        if isinstance(verdict, Unknown):
            trace.note(ev.PAYMENT_UNKNOWN, self._clock())
            yield from self._release(key, claimed.fence, park=True, trace=trace)
            return self._refuse(request, trace, "outcome-unknown", verdict.retry_after_s)
        if isinstance(verdict, NotPaid):
            yield from self._release(key, claimed.fence, park=False, trace=trace)
            same = echo if verdict.same_challenge else None
            return (yield from self._challenge(request, trace, verdict.problem, verdict.retry_after_s, same))

        amount, currency = amount_and_currency(charge)
        trace.payment_id = verdict.reference
        trace.payer = verdict.payer or credential.source
        trace.recipient = verdict.recipient
        if problem := _mismatch(verdict, charge, amount, currency):
            # Money moved, but not the money that was asked for. It stays on record as unmatched.
            trace.note(ev.PAYMENT_UNMATCHED, self._clock(), problem=problem)
            yield from self._release(key, claimed.fence, park=False, trace=trace)
            return (yield from self._challenge(request, trace, problem))
        return (yield from self._settle(request, trace, echo, verdict, key, claimed.fence, amount, currency, too_low))

    def _too_low(self, plan: OfferPlan, request: HttpRequest, charge: JsonObject) -> bool:
        """Whether the price has risen since the challenge, on a route whose price is computed per request."""
        if plan.price is not None:
            return False
        today = plan.price_for(request)
        amount, currency = amount_and_currency(charge)
        return currency != today.currency or amount < today.amount

    def _ask(
        self, plan: OfferPlan, request: HttpRequest, credential: Credential, charge: JsonObject, attempt: int
    ) -> Flow[Verdict]:
        nonce, _, opaque = read_opaque(credential.challenge.opaque or "")
        provider = plan.provider
        flow = provider.verify(
            Presented(
                challenge=credential.challenge,
                charge=charge,
                payload=credential.payload,
                source=credential.source,
                opaque=opaque,
                nonce=nonce,
                attempt=attempt,
                request=request,
            )
        )
        try:
            effect = flow.send(None)
        except StopIteration as stop:
            return cast(Verdict, stop.value)
        except Exception:
            _log.exception("provider %s raised while verifying; the outcome counts as unknown", provider.name)
            return Unknown()
        try:
            verdict = yield Deadline(flow=flow, effect=effect, seconds=provider.deadline_s)
        except Exception:
            _log.exception("provider %s raised while verifying; the outcome counts as unknown", provider.name)
            return Unknown()
        if verdict is TIMED_OUT:
            _log.warning("provider %s took longer than %s s; the outcome is unknown", provider.name, provider.deadline_s)
            return Unknown()
        return cast(Verdict, verdict)

    def _release(self, key: str, fence: int, *, park: bool, trace: Trace) -> Flow[None]:
        rows = trace.take()
        release = (key, fence, park, rows)
        ledger = self._ledger
        try:
            done = ledger.release(*release) if ledger.direct else cast(bool, (yield Release(*release)))
        except LedgerError as error:
            # The lease ends by itself, and then the claim counts as parked.
            _log.warning("the ledger does not answer (%s); a claim is left to its lease", error)
            done = False
        if not done:
            ledger.append(rows)

    def _settle(
        self,
        request: HttpRequest,
        trace: Trace,
        echo: Challenge,
        paid: Paid,
        key: str,
        fence: int,
        amount: int,
        currency: str,
        too_low: bool,
    ) -> Flow[Outcome]:
        now = self._clock()
        receipt = Receipt(
            method=echo.method, reference=paid.reference, timestamp=format_expires(int(now)), extra=paid.receipt_extra
        )
        settlement = Settlement(
            receipt=format_receipt(receipt),
            headers=paid.receipt_headers,
            payer=trace.payer,
            recipient=paid.recipient,
            amount=amount,
            currency=currency,
        )
        trace.note(ev.PAYMENT_SETTLED, now)
        trace.note(ev.PAYMENT_LATE if too_low else ev.ACCESS_GRANTED, now)
        rows = trace.take()
        settle = (
            key,
            fence,
            f"{echo.method}|{paid.reference}",
            paid.reference,
            amount,
            currency,
            write_record(settlement),
            self._deliver_within_s,
            now + self._redeem_for_s,
            too_low,
            rows,
        )
        ledger = self._ledger
        result = ledger.settle(*settle) if ledger.direct else cast(SettleResult, (yield Settle(*settle)))
        if result == "settled":
            if too_low:
                return (yield from self._challenge(request, trace, "payment-insufficient"))
            return self._admit(request, trace, key, fence, settlement, paid.reference, echo, redelivery=False)
        # Nothing was settled, so nothing of it may stand in the stream.
        trace.rows.extend(rows[:-2])
        if result == "proof_used":
            yield from self._release(key, fence, park=False, trace=trace)
            return (yield from self._challenge(request, trace, "verification-failed"))
        return self._refuse(request, trace, "in-flight", 1)

    def _admit(
        self,
        request: HttpRequest,
        trace: Trace,
        key: str,
        fence: int,
        settlement: Settlement,
        payment_id: str,
        echo: Challenge,
        *,
        redelivery: bool,
    ) -> Passage:
        if redelivery:
            trace.payment_id = payment_id
            trace.payer = settlement.payer
            trace.recipient = settlement.recipient
            trace.note(ev.ACCESS_GRANTED, self._clock())
        return Passage(
            request=request,
            state=step(EXCHANGE, RECEIVED, "admit"),
            trace=trace,
            grant=Grant(
                request_id=trace.request_id,
                challenge_id=echo.id,
                payment_id=payment_id,
                method=echo.method,
                amount=settlement.amount,
                currency=settlement.currency,
                payer=settlement.payer,
                recipient=settlement.recipient,
                redelivery=redelivery,
            ),
            on_start=_start,
            clock=self._clock,
            key=key,
            fence=fence,
            receipt=settlement.receipt,
            headers=settlement.headers,
            renew_at=self._clock() + self._deliver_within_s / 2,
        )

    # --- leaving -------------------------------------------------------------------------------------------------

    def leave(self, passage: Passage, completed: bool) -> Flow[None]:
        """Record the end of an admitted request. ``completed``: the last byte was handed to the server.

        A failing ledger is not the client's business any more: the lease runs out by itself and the events
        are kept for the next flush.

        Raises:
            CallerError: the passage was refused or has been left before.
        """
        trace, grant, status = passage.trace, passage.grant, passage.status
        if passage.state != ADMITTED or trace is None or grant is None:
            raise CallerError("leave() belongs to an admitted passage and is called once")
        delivered = completed and passage.problem is None and status is not None and 200 <= status < 400
        passage.state = step(EXCHANGE, ADMITTED, "deliver" if delivered else "fail")
        now = self._clock()
        latency = self._latency_ms(trace)
        if delivered:
            trace.note(ev.PAYMENT_REDELIVERED if grant.redelivery else ev.PAYMENT_DELIVERED, now, status)
            trace.note(ev.REQUEST_COMPLETED, now, status, latency)
        else:
            status = 500 if passage.problem else status
            trace.note(ev.PAYMENT_DELIVERY_FAILED, now, status, None, passage.problem)
            trace.note(ev.REQUEST_FAILED, now, status, latency, passage.problem)
        rows = trace.take()
        ledger = self._ledger
        end = (passage.key, passage.fence, rows)
        try:
            if ledger.direct:
                done = ledger.deliver(*end) if delivered else ledger.fail(*end)
            else:
                done = cast(bool, (yield Deliver(*end) if delivered else Fail(*end)))
        except LedgerError as error:
            _log.warning("the ledger does not answer (%s); a delivery is left to its lease", error)
            done = False
        if not done:
            ledger.append(rows)

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
        except LedgerError as error:
            _log.warning("the ledger does not answer (%s); a delivery's lease was not renewed", error)


def _start(passage: Passage, status: int, headers: Headers) -> Start:
    """The head of an admitted request's response: the receipt on 2xx only, never a shared cache."""
    if status == 402:
        # A 402 without a challenge must not leave us, and one with a challenge would ask twice.
        passage.problem = "delivery-failed"
        challenge_id = passage.grant.challenge_id if passage.grant else None
        return Start(problem_response("delivery-failed", challenge_id=challenge_id))
    cache_control = headers.get("cache-control")
    private = PRIVATE if cache_control is None else ("cache-control", private_cache_control(cache_control))
    if 200 <= status < 300:
        return Start(None, DROP, (("payment-receipt", passage.receipt), private, *passage.headers))
    return Start(None, DROP, (private,))


def _mismatch(paid: Paid, charge: JsonObject, amount: int, currency: str) -> str | None:
    """The problem with a payment that is not exactly what was asked for (charge draft: all or nothing)."""
    if paid.currency.lower() != currency or charge.get("recipient", paid.recipient) != paid.recipient:
        return "verification-failed"
    if paid.amount < amount:
        return "payment-insufficient"
    return None if paid.amount == amount else "verification-failed"
