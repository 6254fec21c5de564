"""Credentials in a provider's own form, turned into the protocol's: an echo of a challenge of ours, and a proof.

Which challenge it stands for the provider says, by the name under which the gate kept it, or by terms to make one
from. Then it is a credential like any other: written out in the protocol's form and checked as if it had come so, MAC,
scope, expiry and single use included.
"""

from typing import Final

from flovia.core.candidate import Candidate
from flovia.core.challenge import Challenge, parse_challenge
from flovia.core.credential import Credential, format_credential
from flovia.core.effects import Find, Flow, PaymentView
from flovia.core.exchange import CLAIMED, DELIVERING, PARKED, SETTLED
from flovia.core.fields import format_digest, payment_credentials
from flovia.core.http import BodyState, HttpRequest
from flovia.core.issued import find_issued, find_made, keep_made
from flovia.core.money import Price
from flovia.core.offers import OfferPlan
from flovia.core.passage import Trace
from flovia.core.provider import Adopted, AdoptingProvider
from flovia.core.redeeming import Outcome, Redeemer

_SCHEME: Final = len("Payment ")
# A payment that is under way, or made and not delivered: the same credential comes for that one, not for another.
_OPEN: Final = frozenset({CLAIMED, PARKED, SETTLED, DELIVERING})


class Adopter(Redeemer):
    """What a gate does with a credential that is not in the protocol's form."""

    def _without_candidate(self, request: HttpRequest, trace: Trace, problem: str) -> Flow[Outcome]:
        """What to answer where there is no credential in the protocol's form: the 402, unless a provider knows it."""
        found: Candidate | str = problem
        if problem == "malformed-credential":
            found = yield from self._adopt(request, trace)
        elif problem == "invalid-challenge" and trace.idempotency:
            refusal = yield from self._reused(request, trace)
            if refusal is not None:
                return refusal
        if isinstance(found, Candidate):
            return (yield from self._redeem(request, trace, found, self._clock()))
        return (yield from self._challenge(request, trace, found))

    def _adopt(self, request: HttpRequest, trace: Trace) -> Flow[Candidate | str]:
        """The candidate that the credential stands for, or the problem of the 402 to answer with."""
        field = self._field(request)
        try:
            (token,) = payment_credentials(request.headers.get_all(field))
        except ValueError:  # a ParseError is one
            return "malformed-credential"
        for plan in self.plans:
            provider = plan.provider
            if not isinstance(provider, AdoptingProvider):
                continue
            price, nonce = plan.price_for(request), self._tokens()
            adopted = yield from provider.adopt(token, self._quote(plan, request, price, nonce))
            if adopted is None:
                continue
            if adopted.terms is not None:
                challenge = yield from self._made(request, trace, plan, token, adopted, price, nonce)
            else:
                challenge = yield from find_issued(plan.method, adopted.handle or "")
            if challenge is None:
                return "invalid-challenge"
            return self._written(request, challenge, adopted)
        return "malformed-credential"

    def _written(self, request: HttpRequest, challenge: Challenge, adopted: Adopted) -> Candidate | str:
        """The credential in the protocol's form, checked as if it had come so."""
        written = format_credential(Credential(challenge, adopted.payload))
        return self._checker.check(request, self._field(request), written[_SCHEME:])

    def _made(
        self,
        request: HttpRequest,
        trace: Trace,
        plan: OfferPlan,
        token: str,
        adopted: Adopted,
        price: Price,
        nonce: str,
    ) -> Flow[Challenge | None]:
        """The challenge for a credential that was never challenged: a claim needs one.

        The one made last time, while its payment is not delivered: an answer that got lost must not cost twice. Once
        it is delivered, only if that answer is kept for the same Idempotency-Key; else this is another payment.
        """
        assert adopted.terms is not None  # noqa: S101 - the caller looked
        scope = self._scopes.of(request)
        last = yield from find_made(plan.method, token, scope)
        if last is not None:
            if (yield from self._is_open(last)):
                return last
            bought = self._written(request, last, adopted) if trace.idempotency else None
            if isinstance(bought, Candidate) and (yield from self._answer(trace, bought)) is not None:
                return last
        body = request.body
        digest = format_digest(body.sha256) if body.state is BodyState.READ else None
        header = self._select is not False and self._wants_header(request)
        issued = self._render(plan, adopted.terms, price, nonce, digest, scope, header)
        yield from keep_made(plan.method, token, scope, issued.field, self._redeem_for_s)
        return parse_challenge(issued.field)

    def _is_open(self, challenge: Challenge) -> Flow[bool]:
        ledger, key = self._ledger, f"{self._realm}|{challenge.id}"
        found: PaymentView | None = ledger.find(key) if ledger.direct else (yield Find(key))
        return found is not None and found.state in _OPEN
