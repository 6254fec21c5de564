"""Redeeming a credential: from the header field's value to a settled payment, or to the right refusal.

The order of the checks is fixed: size, parse, MAC, header and digest and scope, ledger state, expiry, claim,
the provider's verdict, amount and currency and recipient, settle.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Final

import attrs

from flovia.core import events as ev
from flovia.core.answers import AnswerCopy, StoredAnswer, caller_of
from flovia.core.candidate import Candidate, Checker, mismatch
from flovia.core.challenge import format_expires
from flovia.core.delivery import Delivery
from flovia.core.effects import (
    TIMED_OUT,
    Claim,
    ClaimResult,
    Deadline,
    Effect,
    Find,
    FindAnswer,
    Flow,
    PaymentView,
    Release,
    Settle,
    SettleResult,
)
from flovia.core.errors import LedgerError, ParseError
from flovia.core.exchange import CLAIMED, DELIVERING, EXCHANGE, PARKED, RECEIVED, SETTLED, step
from flovia.core.fields import payment_credentials
from flovia.core.guard import Services, as_payer
from flovia.core.http import HttpRequest, HttpResponse
from flovia.core.issued import find_made
from flovia.core.issuing import Issuer
from flovia.core.offers import Offer
from flovia.core.owed import Late
from flovia.core.passage import Passage, Settled, Trace
from flovia.core.problems import PROBLEMS
from flovia.core.provider import NotPaid, Paid, PaidBack, Presented, Refusal, Unknown, Verdict
from flovia.core.receipt import receipt_text
from flovia.core.response_head import response_head
from flovia.core.returned import note_returned, refusal_of
from flovia.core.second import second_payment
from flovia.core.settlement import read_record, write_record

_log = logging.getLogger("flovia")

Outcome = HttpResponse | Passage
# What a claim once verified, and what money may depend on. A fingerprint on record was authentic when it was claimed.
_ON_RECORD: Final = frozenset({CLAIMED, PARKED, SETTLED, DELIVERING})
# A provider's refusal is raised, but by then it is a value like the others.
VERDICTS: Final = (Paid, NotPaid, Unknown, PaidBack, Refusal)
_ADMITTED: Final = step(EXCHANGE, RECEIVED, "admit")
_REPLAYED: Final = step(EXCHANGE, RECEIVED, "replay")


class Redeemer(Issuer):
    """What a gate does with a presented credential."""

    def __init__(
        self,
        services: Services,
        *,
        offers: Sequence[Offer],
        rail: str,
        name: str | None,
        ttl_s: int,
        redeem_for_s: float,
        deliver_within_s: float,
        max_deliveries: int,
        delivery: Delivery,
        use_payment_authorization: Callable[[HttpRequest], bool] | bool,
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
        self._delivery = delivery
        self._delivery_again = delivery.again()
        self._checker = Checker(
            self.plans,
            realm=self._realm,
            keyring=self._keyring,
            scopes=self._scopes,
            known_methods=services.known_methods,
        )

    def _read(
        self, request: HttpRequest, trace: Trace, field: str, values: list[str]
    ) -> Candidate | HttpResponse | str:
        """What stands in the credential's field: a candidate, a refusal, or the problem of the 402 to answer with."""
        try:
            tokens = payment_credentials(values)
        except ParseError:
            return "malformed-credential"
        if not tokens:
            return "payment-required"
        limiter = self.services.limiter
        if limiter is not None and (wait := limiter.verification(self._client(request), self._monotonic())):
            return self._refuse(request, trace, "rate-limited", wait)
        if len(tokens) > 1:
            return self._refuse(request, trace, "bad-request")
        found = self._checker.check(request, field, tokens[0])
        if isinstance(found, str) and found == "method-unsupported":
            return self._refuse(request, trace, found)
        return found

    def _on_record(self, candidate: Candidate) -> Flow[bool]:
        """Whether the secret is gone but the payment is there: its fingerprint holds all that was verified then."""
        ledger, key = self._ledger, candidate.key
        found: PaymentView | None = ledger.find(key) if ledger.direct else (yield Find(key))
        return found is not None and found.fingerprint == candidate.fingerprint and found.state in _ON_RECORD

    # --- claim, verdict, settle -------------------------------------------------------------------------------

    def _redeem(self, request: HttpRequest, trace: Trace, candidate: Candidate, now: float) -> Flow[Outcome]:
        if not (candidate.authentic or (yield from self._on_record(candidate))):
            return (yield from self._challenge(request, trace, "invalid-challenge"))
        echo = candidate.credential.challenge
        provider = candidate.plan.provider
        trace.provider = provider.name
        trace.offer_amount = candidate.amount
        trace.offer_currency = candidate.currency
        trace.challenge_id = echo.id
        trace.payer = as_payer(candidate.credential.source) or trace.declared
        trace.note(ev.PAYMENT_CONTEXT_ATTACHED, now)

        ledger, key, times = self._ledger, candidate.key, self._time(now)
        # We issued it, so it is a whole second in our own format, and texts compare like times.
        expired = echo.expires is None or echo.expires <= times.now
        if expired and echo.expires is not None and candidate.late_s:
            # Perhaps it was paid in time; the provider says so, or else that a fresh one has to be paid.
            expired = echo.expires <= format_expires(int(times.second - candidate.late_s))
        claim = (
            key,
            candidate.fingerprint,
            expired,
            candidate.plan.lease_s,
            self._deliver_within_s,
            # As long as it could be verified afresh: a ledger that forgot it sooner would let it be paid with again.
            times.keep_until + candidate.late_s,
            self._max_deliveries,
        )
        claimed: ClaimResult = ledger.claim(*claim) if ledger.direct else (yield Claim(*claim))
        if claimed.outcome == "redeem":
            settled = read_record(claimed.record, echo.method, claimed.payment_id)
            trace.payment_id = claimed.payment_id
            trace.payer = settled.payer
            trace.recipient = settled.recipient
            trace.note(ev.ACCESS_GRANTED, now)
            return self._admit(request, trace, candidate, now, claimed.fence, settled, redelivery=True)
        if claimed.outcome != "claimed":
            return (yield from self._not_claimed(request, trace, candidate, claimed))

        fence = claimed.fence
        if candidate.made_as and not (yield from self._stands(candidate)):
            yield from self._release(trace, key, fence, park=False)
            return self._refuse(request, trace, "in-flight", 1)
        try:
            too_low = candidate.plan.price is None and self._too_low(request, candidate)
        except Exception:
            _log.exception("the price function of %s raised for a presented credential", trace.endpoint)
            yield from self._release(trace, key, fence, park=True)
            return self._refuse(request, trace, "internal-payment-error")
        try:
            flow = provider.verify(self._presented(request, candidate, claimed.attempt))
            verdict = self._begin(flow, trace)
            if not isinstance(verdict, VERDICTS):
                verdict = yield from self._go_on(flow, verdict, provider.deadline_s, trace)
        except GeneratorExit:
            # Nobody drives this flow any more: the lease ends by itself, and then the claim counts as parked.
            raise
        except BaseException:
            # Cancelled while the provider was asked: what it did is unknown.
            yield from self._release(trace, key, fence, park=True)
            raise
        if isinstance(verdict, Unknown):
            trace.note(ev.PAYMENT_UNKNOWN, self._clock())
            yield from self._release(trace, key, fence, park=True)
            return self._refuse(request, trace, "outcome-unknown", verdict.retry_after_s)
        if not isinstance(verdict, Paid):
            if isinstance(verdict, PaidBack):
                yield from note_returned(trace, self._clock(), echo.method, verdict, ledger)
                yield from self._release(trace, key, fence, park=False)
                return self._refuse(request, trace, "payment-refunded")
            if isinstance(verdict, Refusal):
                if verdict.open_outcome:
                    trace.note(ev.PAYMENT_UNKNOWN, self._clock())
                yield from self._release(trace, key, fence, park=verdict.open_outcome)
                return self._refused(request, trace, verdict)
            problem_type = PROBLEMS.get(verdict.problem)
            if problem_type is None or problem_type.status != 402:
                _log.error("provider %s said NotPaid with %r, no 402 problem type", provider.name, verdict.problem)
                yield from self._release(trace, key, fence, park=True)
                return self._refuse(request, trace, "internal-payment-error")
            if not (yield from self._release(trace, key, fence, park=False)):
                return self._refuse(request, trace, "in-flight", 1)
            same = None
            if verdict.same_challenge and echo.expires is not None and echo.expires > self._time(self._clock()).now:
                # The description is not under the MAC, so it is our own that is sent again.
                same = attrs.evolve(echo, description=candidate.plan.description)
            look = None if same is None else verdict.look
            return (yield from self._challenge(request, trace, verdict.problem, verdict.retry_after_s, same, look))

        trace.payment_id = verdict.reference
        if verdict.payer:
            trace.payer = as_payer(verdict.payer)
        trace.recipient = verdict.recipient
        try:
            problem = mismatch(verdict, candidate)
            settled = Settled(
                # Made in any case, so that what makes no receipt is found out before anything is settled.
                receipt_text(echo.method, verdict.reference, times.now, verdict.receipt_extra),
                verdict.receipt_headers,
                trace.payer,
                verdict.recipient,
            )
            record = write_record(verdict, trace.payer, times.now)
            if verdict.receipt is not None:
                settled.receipt = verdict.receipt
        except Exception:
            _log.exception("provider %s returned a Paid that makes no receipt", provider.name)
            yield from self._release(trace, key, fence, park=True)
            return self._refuse(request, trace, "internal-payment-error")
        if problem is not None:
            yield from self._owe(trace, candidate, verdict, problem)
            return (yield from self._of_no_use(request, trace, candidate, fence, verdict, problem))

        now = self._clock()
        trace.note(ev.PAYMENT_SETTLED, now)
        if too_low:
            trace.note(ev.PAYMENT_LATE, now)
            trace.add_reason(ev.PRICE_RISEN)
        else:
            trace.note(ev.ACCESS_GRANTED, now)
        rows = trace.take()
        settle = (
            key,
            fence,
            f"{echo.method}|{verdict.reference}",
            verdict.reference,
            candidate.amount,
            candidate.currency,
            record,
            self._deliver_within_s,
            now + self._redeem_for_s,
            too_low,
            rows,
        )
        try:
            result: SettleResult = ledger.settle(*settle) if ledger.direct else (yield Settle(*settle))
        except LedgerError:
            # Not known to be settled, so not told; the rest of the request is.
            trace.rows.extend(rows[:-2])
            raise
        if result == "settled":
            if too_low:
                return (yield from self._challenge(request, trace, "payment-insufficient"))
            return self._admit(request, trace, candidate, now, fence, settled, redelivery=False)
        # Nothing was settled, so nothing of it may stand in the stream.
        trace.rows.extend(rows[:-2])
        if result == "proof_used":
            return (yield from self._of_no_use(request, trace, candidate, fence, verdict, "verification-failed"))
        return self._refuse(request, trace, "in-flight", 1)

    def _stands(self, candidate: Candidate) -> Flow[bool]:
        """Whether the challenge that was made for a credential is still the one that whoever brings it comes to."""
        made = yield from find_made(candidate.made_as)
        return made is not None and made.challenge == candidate.credential.challenge

    def _of_no_use(
        self, request: HttpRequest, trace: Trace, candidate: Candidate, fence: int, paid: Paid, problem: str
    ) -> Flow[Outcome]:
        """The answer to money that cannot buy this: another amount, or it has bought something already."""
        if not (yield from self._release(trace, candidate.key, fence, park=False)):
            return self._refuse(request, trace, "in-flight", 1)
        # On its way back since it was told of, or there: nobody is asked in silence to pay once more.
        if refused := (yield from refusal_of(f"{candidate.plan.method}|{paid.reference}", candidate.key, self._ledger)):
            return self._refuse(request, trace, refused)
        return (yield from self._challenge(request, trace, problem))

    def _owe(self, trace: Trace, candidate: Candidate, paid: Paid, problem: str) -> Flow[None]:
        """Put money on record that moved and is not the money that was asked for: it has to go back."""
        now = self._clock()
        asked = trace.offer_amount, trace.offer_currency
        trace.offer_amount, trace.offer_currency = paid.amount, paid.currency.lower()
        trace.note(ev.PAYMENT_UNMATCHED, now, problem=problem)
        trace.offer_amount, trace.offer_currency = asked
        if paid.amount <= 0:
            return  # nothing that could go back
        *before, unmatched = trace.take()
        proof = f"{candidate.plan.method}|{paid.reference}"
        keep_until = now + self._redeem_for_s
        late = (f"{candidate.key}|{proof}", proof, paid.reference, paid.amount, paid.currency.lower(), keep_until)
        ledger = self._ledger
        if ledger.direct:
            ledger.late(*late, (unmatched,))
        else:
            yield Late(*late, (unmatched,))
        # Told before, it is not told again; the rest of this request is.
        trace.rows.extend(before)

    def _not_claimed(
        self, request: HttpRequest, trace: Trace, candidate: Candidate, claimed: ClaimResult
    ) -> Flow[Outcome]:
        if refused := (yield from second_payment(candidate, claimed.outcome, self.rail, self._ledger)):
            return self._refuse(request, trace, *refused)
        match claimed.outcome:
            case "delivered" if trace.idempotency:
                answer = yield from self._answer(trace, candidate)
                if answer is not None:
                    return self._replay(request, trace, answer)
                return (yield from self._challenge(request, trace, "invalid-challenge"))
            case "undelivered":
                return self._refuse(request, trace, "refund-due")
            case "busy":
                return self._refuse(request, trace, "in-flight", claimed.retry_after_s)
            case "exhausted":
                # Paid for, and the handler failed every time: asking for more money would be wrong.
                return self._refuse(request, trace, "delivery-exhausted")
            case "expired":
                return (yield from self._challenge(request, trace, "payment-expired"))
            case "refunded":
                # Not with a challenge: whoever wants to pay once more does so knowing what became of the first time.
                return self._refuse(request, trace, "payment-refunded")
            case "refund_due":
                return (yield from self._challenge(request, trace, "payment-insufficient"))
            case _:
                return (yield from self._challenge(request, trace, "invalid-challenge"))

    # --- stored answers ---------------------------------------------------------------------------------------

    def _answer(self, trace: Trace, candidate: Candidate) -> Flow[StoredAnswer | None]:
        """What was delivered for this credential under this Idempotency-Key, if it was kept."""
        ledger, key = self._ledger, candidate.key
        found: StoredAnswer | None = ledger.find_answer(key) if ledger.direct else (yield FindAnswer(key))
        mine = found is not None and found.caller == caller_of(trace.idempotency[0], candidate.fingerprint)
        return found if mine else None

    def _replay(self, request: HttpRequest, trace: Trace, answer: StoredAnswer) -> Passage:
        """Send a stored answer again: nothing is claimed, counted or run."""
        now = self._clock()
        trace.note(ev.PAYMENT_REPLAYED, now, answer.status)
        type_ = ev.REQUEST_FAILED if answer.status >= 500 else ev.REQUEST_COMPLETED
        trace.note(type_, now, answer.status, self._latency_ms(trace))
        self._ledger.append(trace.take())
        return Passage(request, _REPLAYED, trace, answer.response)

    def _reused(self, request: HttpRequest, trace: Trace) -> Flow[HttpResponse | None]:
        """The refusal of a credential that came for another request before; None if it did not.

        With a new challenge a client that mixed its requests up would be asked to pay for one of them twice.
        """
        field = self._field(request)
        tokens = payment_credentials(request.headers.get_all(field))
        candidate = self._checker.check(request, field, tokens[0], anywhere=True)
        if isinstance(candidate, str):
            return None
        if (yield from self._on_record(candidate)) or (yield from self._answer(trace, candidate)) is not None:
            trace.challenge_id, trace.provider = candidate.credential.challenge.id, candidate.plan.provider.name
            trace.offer_amount, trace.offer_currency = candidate.amount, candidate.currency
            trace.note(ev.PAYMENT_CONTEXT_ATTACHED, self._clock())
            return self._refuse(request, trace, "idempotency-key-reused")
        return None

    # --- what it costs ----------------------------------------------------------------------------------------

    def _too_low(self, request: HttpRequest, candidate: Candidate) -> bool:
        """Whether the price has risen since the challenge, on a route whose price is computed per request."""
        today = candidate.plan.price_for(request)
        return candidate.currency != today.currency or candidate.amount < today.amount

    # --- the provider's word ----------------------------------------------------------------------------------

    def _presented(self, request: HttpRequest, candidate: Candidate, attempt: int) -> Presented:
        credential = candidate.credential
        # Positional, as keywords would double the cost of making it.
        return Presented(
            credential.challenge,
            candidate.charge,
            credential.payload,
            credential.source,
            candidate.extra,
            None,
            attempt,
            request,
        )

    def _begin(self, flow: Flow[Verdict], trace: Trace) -> Verdict | Refusal | Effect:
        """The verdict of a provider that needs nothing to know it, or the first effect it asks for."""
        try:
            return flow.send(None)
        except StopIteration as stop:
            verdict: Verdict = stop.value
            return verdict
        except Refusal as refusal:
            return refusal
        except Exception:
            _log.exception("provider %s raised while verifying; the outcome counts as unknown", trace.provider)
            return Unknown()

    def _go_on(self, flow: Flow[Verdict], effect: Effect, seconds: float, trace: Trace) -> Flow[Verdict | Refusal]:
        try:
            verdict = yield Deadline(flow=flow, effect=effect, seconds=seconds)
        except Refusal as refusal:
            return refusal
        except Exception:
            _log.exception("provider %s raised while verifying; the outcome counts as unknown", trace.provider)
            return Unknown()
        if isinstance(verdict, VERDICTS):
            return verdict
        if verdict is TIMED_OUT:
            _log.warning("provider %s took longer than %s s; the outcome is unknown", trace.provider, seconds)
        else:
            _log.error("provider %s returned %s instead of a verdict", trace.provider, type(verdict).__name__)
        return Unknown()

    def _release(self, trace: Trace, key: str, fence: int, *, park: bool) -> Flow[bool]:
        """Let the claim go; False if somebody else took it over meanwhile.

        This request slept through its lease then, and it may be paid by now: nobody is asked for money. Nor is
        anybody while the ledger does not answer, which is raised unless the claim was to be parked.
        """
        rows = trace.take()
        release = (key, fence, park, rows)
        ledger = self._ledger
        try:
            done: bool = ledger.release(*release) if ledger.direct else (yield Release(*release))
        except Exception as error:
            # The lease ends by itself, and then the claim counts as parked.
            bug = not isinstance(error, LedgerError)
            _log.warning("the ledger does not answer (%s); a claim is left to its lease", error, exc_info=bug)
            ledger.append(rows)
            if bug or park:
                return False
            raise
        if not done:
            ledger.append(rows)
        return done

    def _admit(
        self,
        request: HttpRequest,
        trace: Trace,
        candidate: Candidate,
        now: float,
        fence: int,
        settled: Settled,
        *,
        redelivery: bool,
    ) -> Passage:
        # Positional, as keywords would double the cost of making it.
        return Passage(
            request,
            _ADMITTED,
            trace,
            None,
            response_head,
            self._clock,
            candidate.key,
            fence,
            settled,
            candidate.plan.method,
            redelivery,
            now + self._deliver_within_s / 2,
            self._delivery_again if redelivery else self._delivery,
            self._copy(trace.idempotency[0], candidate.fingerprint) if trace.idempotency else None,
        )

    def _copy(self, key: str, fingerprint: str) -> AnswerCopy:
        return AnswerCopy(caller_of(key, fingerprint), self._delivery.idempotency_max_bytes)
