"""The observer: the handler has its own payment gate, and flovia joins what it sees.

Nothing is issued or verified here, so no secret is needed. One promise is kept all the same: a successful
answer without any sign of a payment is withheld, so a route that lost its own gate does not become free.
"""

import logging
from typing import Final

from flovia.core import events as ev
from flovia.core.challenge import Challenge, parse_challenges
from flovia.core.credential import parse_token
from flovia.core.effects import Flow
from flovia.core.errors import CallerError, ParseError
from flovia.core.exchange import EXCHANGE, OBSERVED, RECEIVED, step
from flovia.core.fields import payment_challenges, payment_credentials
from flovia.core.guard import Guard, Services, as_payer
from flovia.core.http import Headers, HttpRequest
from flovia.core.money import check_amount
from flovia.core.observed import NOTHING, Reading
from flovia.core.passage import AS_IS, Passage, Start, Trace, problem_response
from flovia.core.receipt import parse_receipt

_log = logging.getLogger("flovia")
RECEIPT: Final = "payment-receipt"
_UNPAID_VERBS: Final = frozenset({"HEAD", "OPTIONS"})


class Observer(Guard):
    """Watches one route whose handler answers 402 and takes payments itself.

    Args:
        provider: the provider's name, for the events.
        receipt_header: the field, in lower case, by which that provider's own SDK marks a paid answer;
            ``Payment-Receipt`` counts always.
        reading: how that SDK writes what is not in the protocol's own form, if it does.
    """

    bind_body = False
    max_body = 0

    def __init__(
        self,
        services: Services,
        *,
        provider: str,
        receipt_header: str = RECEIPT,
        reading: Reading | None = None,
        rail: str = "mpp",
        name: str | None = None,
    ) -> None:
        super().__init__(services, rail=rail, name=name)
        self.provider = provider
        self._reading = reading
        self._receipt_fields = tuple(dict.fromkeys((RECEIPT, receipt_header)))

    def enter(self, request: HttpRequest) -> Flow[Passage]:
        """Let the handler have the request, and remember what it says about a payment."""
        yield from ()
        trace = self._trace(request)
        trace.provider = self.provider
        now = self._clock()
        trace.note(ev.REQUEST_STARTED, now)
        self._read_credential(request, trace, now)
        return Passage(request=request, state=step(EXCHANGE, RECEIVED, "observe"), trace=trace, on_start=self._start)

    def _read_credential(self, request: HttpRequest, trace: Trace, now: float) -> None:
        """The challenge id of a credential, as the client tells it; the handler's own gate decides about it."""
        values = request.headers.get_all("authorization") + request.headers.get_all("payment-authorization")
        try:
            tokens = payment_credentials(values) if values else []
        except ParseError:
            return
        if len(tokens) != 1:
            return
        try:
            credential = parse_token(tokens[0])
        except ParseError:
            seen = NOTHING if self._reading is None else self._reading.credential(tokens[0])
            if seen is NOTHING:
                return
            trace.challenge_id = seen.challenge_id
        else:
            trace.challenge_id = credential.challenge.id
            trace.payer = as_payer(credential.source) or trace.declared
        trace.note(ev.PAYMENT_CONTEXT_ATTACHED, now)

    def _start(self, passage: Passage, status: int, headers: Headers) -> Start:
        trace = passage.trace
        if status == 402:
            self._read_challenges(headers, trace)
        elif 200 <= status < 300 and passage.request.http_method not in _UNPAID_VERBS:
            receipt = next((value for name in self._receipt_fields if (value := headers.get(name))), None)
            if receipt is None:
                _log.error(
                    "withheld an answer of %s: it was successful but carries no payment receipt. Gate the handler,"
                    " or give paid_api() a price so that flovia does",
                    trace.endpoint,
                )
                passage.problem = "internal-payment-error"
                return Start(problem_response("internal-payment-error"))
            self._read_receipt(receipt, trace)
            trace.note(ev.ACCESS_GRANTED, self._clock())
        return AS_IS

    def _read_challenges(self, headers: Headers, trace: Trace) -> None:
        values = headers.get_all("www-authenticate")
        found = parse_challenges(values)
        for challenge in found:
            trace.challenge_id = challenge.id
            self._read_terms(challenge, trace)
            trace.note(ev.CHALLENGE_ISSUED, self._clock(), 402)
        if found or self._reading is None:
            return
        for params in payment_challenges(values):
            seen = NOTHING if isinstance(params, ParseError) else self._reading.challenge(params)
            if seen.challenge_id is not None:
                trace.challenge_id = seen.challenge_id
                trace.offer_amount, trace.offer_currency = seen.amount, seen.currency
                trace.note(ev.CHALLENGE_ISSUED, self._clock(), 402)

    def _read_receipt(self, receipt: str, trace: Trace) -> None:
        """Which payment the handler's gate took, as its receipt says."""
        try:
            trace.payment_id = parse_receipt(receipt).reference
        except ParseError:
            seen = NOTHING if self._reading is None else self._reading.receipt(receipt)
            trace.payment_id = seen.payment_id
            trace.challenge_id = trace.challenge_id or seen.challenge_id
            if seen.amount is not None:
                trace.offer_amount, trace.offer_currency = seen.amount, seen.currency

    def _read_terms(self, challenge: Challenge, trace: Trace) -> None:
        """What the handler asks for, where it says so in the charge intent's own words; never from a credential."""
        try:
            charge = challenge.request_json
            trace.offer_amount = check_amount(charge.get("amount"))
        except ParseError:
            return
        currency, recipient = charge.get("currency"), charge.get("recipient")
        trace.offer_currency = currency if isinstance(currency, str) else None
        trace.recipient = recipient if isinstance(recipient, str) else None

    def leave(self, passage: Passage, completed: bool) -> Flow[None]:
        """Record the end of an observed request.

        Raises:
            CallerError: it has been left before.
        """
        trace = passage.trace
        if passage.state != OBSERVED:
            raise CallerError("leave() is called once for a passage")
        status = passage.status
        if status is None and passage.problem is None:
            passage.problem = "internal-payment-error"
        if passage.problem is not None:
            verb, status = "withhold" if status is not None else "fail", 500
        else:
            verb = "deliver" if completed else "fail"
        passage.state = step(EXCHANGE, OBSERVED, verb)
        type_ = ev.REQUEST_COMPLETED if verb == "deliver" else ev.REQUEST_FAILED
        trace.note(type_, self._clock(), status, self._latency_ms(trace), passage.problem)
        self._ledger.append(trace.take())
        yield from ()

    def renew(self, passage: Passage) -> Flow[None]:
        """An observed passage holds no lease."""
        yield from ()
