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
from flovia.core.exchange import CLAIMED, DELIVERED, DELIVERING, PARKED, SETTLED
from flovia.core.fields import format_digest, payment_credentials
from flovia.core.http import BodyState, HttpRequest
from flovia.core.issued import find_issued, find_made, keep_made
from flovia.core.money import Price
from flovia.core.offers import OfferPlan
from flovia.core.passage import Trace
from flovia.core.provider import AdoptingProvider, Terms
from flovia.core.redeeming import Outcome, Redeemer

_SCHEME: Final = len("Payment ")
# A payment that is under way, or made and not delivered: the same credential comes for that one, not for another.
_OPEN: Final = frozenset({CLAIMED, PARKED, SETTLED, DELIVERING})
_KNOWN: Final = _OPEN | {DELIVERED}


class Adopter(Redeemer):
    """What a gate does with a credential that is not in the protocol's form."""

    def _without_candidate(self, request: HttpRequest, trace: Trace, problem: str) -> Flow[Outcome]:
        """What to answer where there is no credential in the protocol's form: the 402, unless a provider knows it."""
        found: Candidate | str = problem
        if problem == "malformed-credential":
            found = yield from self._adopt(request, bool(trace.idempotency))
        elif problem == "invalid-challenge" and trace.idempotency:
            refusal = yield from self._reused(request, trace)
            if refusal is not None:
                return refusal
        if isinstance(found, Candidate):
            return (yield from self._redeem(request, trace, found, self._clock()))
        return (yield from self._challenge(request, trace, found))

    def _adopt(self, request: HttpRequest, repeated: bool) -> Flow[Candidate | str]:
        """The candidate that the credential stands for, or the problem of the 402 to answer with.

        ``repeated``: what it bought before may be what it comes for.
        """
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
                challenge = yield from self._made(request, plan, token, adopted.terms, price, nonce, repeated)
            else:
                challenge = yield from find_issued(plan.method, adopted.handle or "")
            if challenge is None:
                return "invalid-challenge"
            written = format_credential(Credential(challenge, adopted.payload))
            return self._checker.check(request, field, written[_SCHEME:])
        return "malformed-credential"

    def _made(
        self,
        request: HttpRequest,
        plan: OfferPlan,
        token: str,
        terms: Terms,
        price: Price,
        nonce: str,
        repeated: bool,
    ) -> Flow[Challenge | None]:
        """The challenge for a credential that was never challenged: a claim needs one.

        The one made last time, while its payment is not delivered: an answer that got lost must not cost twice.
        """
        scope = self._scopes.of(request)
        last = yield from find_made(plan.method, token, scope)
        if last is not None and (yield from self._is_in(last, _KNOWN if repeated else _OPEN)):
            return last
        body = request.body
        digest = format_digest(body.sha256) if body.state is BodyState.READ else None
        header = self._select is not False and self._wants_header(request)
        issued = self._render(plan, terms, price, nonce, digest, scope, header)
        yield from keep_made(plan.method, token, scope, issued.field, self._redeem_for_s)
        return parse_challenge(issued.field)

    def _is_in(self, challenge: Challenge, states: frozenset[str]) -> Flow[bool]:
        ledger, key = self._ledger, f"{self._realm}|{challenge.id}"
        found: PaymentView | None = ledger.find(key) if ledger.direct else (yield Find(key))
        return found is not None and found.state in states
