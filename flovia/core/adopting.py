"""Credentials in a provider's own form, turned into the protocol's: an echo of a challenge of ours, and a proof.

Which challenge it stands for the provider says, by the name under which the gate kept it, or by terms to make one
from. Then it is a credential like any other: written out in the protocol's form and checked as if it had come so, MAC,
scope, expiry and single use included.

**One that was never asked for** may move money by being presented, so whoever brings it twice must come to the same
challenge: a claim of that is what lets one of them through. Which it is, the ledger decides in one step. A made
challenge is replaced when its payment is over, or when it has expired unclaimed: neither can be claimed any more.
It is also replaced by another key when its payment was refused, and then somebody who came to it before might still
claim it. So whoever has claimed one looks whether it still stands, and whoever has replaced one looks whether it was
claimed: one of the two sees the other, and lets go.
"""

from typing import Final, Literal

from flovia.core import events as ev
from flovia.core.candidate import Candidate
from flovia.core.challenge import Challenge
from flovia.core.credential import Credential, format_credential
from flovia.core.effects import Find, Flow, PaymentView
from flovia.core.encoding import encode_param
from flovia.core.exchange import CLAIMED, DELIVERING, ISSUED, PARKED, SETTLED
from flovia.core.fields import format_digest, payment_credentials
from flovia.core.guard import DAY_S
from flovia.core.http import BodyState, HttpRequest, HttpResponse
from flovia.core.issued import Made, drop_made, find_issued, find_made, keep_made, made_name
from flovia.core.money import Price
from flovia.core.offers import OfferPlan
from flovia.core.passage import Trace
from flovia.core.provider import Adopted, AdoptingProvider, Refusal, Terms
from flovia.core.redeeming import Outcome, Redeemer

_SCHEME: Final = len("Payment ")
# A payment that is under way, or made and not delivered: the same credential comes for that one, not for another.
_OPEN: Final = frozenset({CLAIMED, PARKED, SETTLED, DELIVERING})
_LEASED: Final = frozenset({CLAIMED, DELIVERING})
_NO_KEY: Final = "-"
_UNKNOWN_S: Final = 7 * DAY_S
"""How long a ledger keeps a payment whose outcome nobody knows, at least."""

Standing = Literal["made", "held", "refused", "open", "ended", "gone"]
"""What has become of a made challenge: nobody has claimed it yet; somebody is at it; its payment was refused, and
nothing moved; its outcome is unknown, or it is paid and not delivered; it is over; it can be claimed no more, or has
other terms than today's."""


class Adopter(Redeemer):
    """What a gate does with a credential that is not in the protocol's form."""

    def _without_candidate(self, request: HttpRequest, trace: Trace, problem: str) -> Flow[Outcome]:
        """What to answer where there is no credential in the protocol's form: the 402, unless a provider knows it."""
        found: Candidate | HttpResponse | str = problem
        if problem == "malformed-credential":
            found = yield from self._adopt(request, trace)
        elif problem == "invalid-challenge" and trace.idempotency:
            refusal = yield from self._reused(request, trace)
            if refusal is not None:
                return refusal
        if isinstance(found, HttpResponse):
            return found
        if isinstance(found, Candidate):
            return (yield from self._redeem(request, trace, found, self._clock()))
        return (yield from self._challenge(request, trace, found))

    def _adopt(self, request: HttpRequest, trace: Trace) -> Flow[Candidate | HttpResponse | str]:
        """The candidate that the credential stands for; else the refusal, or the problem of the 402 to answer with."""
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
                made = yield from self._made(request, trace, plan, adopted, adopted.terms, price, nonce)
                if not isinstance(made, Challenge):
                    return made
                written = self._written(request, made, adopted)
                if isinstance(written, Candidate):
                    # It is paid by being presented, so there is none that was paid in time and comes late.
                    written.late_s = 0.0
                    if not trace.idempotency:  # a key finds what was made under it, whatever stands here
                        written.made_as = self._name(request, plan, adopted)
                return written
            challenge = yield from find_issued(plan.method, adopted.handle or "")
            return "invalid-challenge" if challenge is None else self._written(request, challenge, adopted)
        return "malformed-credential"

    def _written(self, request: HttpRequest, challenge: Challenge, adopted: Adopted) -> Candidate | str:
        """The credential in the protocol's form, checked as if it had come so."""
        written = format_credential(Credential(challenge, adopted.payload))
        return self._checker.check(request, self._field(request), written[_SCHEME:])

    # --- what was never asked for -----------------------------------------------------------------------------

    def _made(
        self,
        request: HttpRequest,
        trace: Trace,
        plan: OfferPlan,
        adopted: Adopted,
        terms: Terms,
        price: Price,
        nonce: str,
    ) -> Flow[Challenge | HttpResponse | str]:
        """The challenge for a credential that was never challenged; else as :meth:`_adopt`.

        * Under one Idempotency-Key it is always the same, delivered or not.
        * Under another key or none it is the one of the same request that is not delivered, once nobody is at it any
          more. After that it is a new one.
        """
        scope, digest = self._scopes.of(request), _digest(request)
        owner, mine = _NO_KEY, None
        if trace.idempotency:
            owner = made_name(plan.method, adopted.payload, "key", trace.idempotency[0])
            mine = yield from find_made(owner)
            if mine is not None and mine.challenge is not None and (yield from self._standing(mine, terms)) != "gone":
                if isinstance(self._written(request, mine.challenge, adopted), str):
                    return self._for_another(request, trace, plan, mine.challenge)
                yield from self._keep(owner, mine)
                return mine.challenge

        name = self._name(request, plan, adopted)
        made = yield from find_made(name)
        standing: Standing = "gone" if made is None else (yield from self._standing(made, terms))
        if made is not None and made.owner != owner and standing in ("made", "held"):
            # Somebody is about to claim it or has, and it may yet be refused: the answer belongs to that one's key.
            raise Refusal("in-flight", retry_after_s=1)
        if made is None or standing in ("ended", "gone") or (standing == "refused" and made.owner != owner):
            if made is not None and standing == "ended" and (yield from self._bought(request, trace, made, adopted)):
                return made.challenge or "invalid-challenge"
            if adopted.check is not None and (refused := (yield from adopted.check())) is not None:
                return refused.problem
            header = self._select is not False and self._wants_header(request)
            field = self._render(plan, terms, price, nonce, digest, scope, header).field
            kept = yield from keep_made(name, owner, field, self._made_for_s, made)
            if kept.field != field:
                # Somebody else was faster; what stands there now is looked at like anything that stood there before.
                return (yield from self._made(request, trace, plan, adopted, terms, price, nonce))
            if made is not None and standing == "refused":
                yield from self._stand_back(name, made, kept, terms)
            made = kept
        elif standing in ("held", "open"):
            yield from self._keep(name, made)
        if owner != _NO_KEY:
            # Before anybody claims it, so that no second one is claimed under this key.
            kept = yield from keep_made(owner, owner, made.field, self._made_for_s, mine)
            if kept.field != made.field:
                if standing not in ("held", "open"):
                    yield from drop_made(name, made)
                return (yield from self._made(request, trace, plan, adopted, terms, price, nonce))
        return made.challenge or "invalid-challenge"

    def _name(self, request: HttpRequest, plan: OfferPlan, adopted: Adopted) -> str:
        """Under which name the challenge of a credential stands, whoever brings it for this request."""
        return made_name(plan.method, adopted.payload, "request", self._scopes.of(request), _digest(request) or "")

    def _stand_back(self, name: str, before: Made, kept: Made, terms: Terms) -> Flow[None]:
        """Put a refused challenge back where somebody has claimed it again before it was replaced.

        Raises:
            Refusal: somebody has.
        """
        if (yield from self._standing(before, terms)) in ("held", "open"):
            yield from keep_made(name, before.owner, before.field, self._made_for_s, kept)
            raise Refusal("in-flight", retry_after_s=1)

    @property
    def _made_for_s(self) -> float:
        """Longer than the ledger knows the payment, counted from when its credential last came."""
        return max(self._redeem_for_s, _UNKNOWN_S) + DAY_S

    def _standing(self, made: Made, terms: Terms) -> Flow[Standing]:
        challenge = made.challenge
        if challenge is None:
            return "gone"
        # The time first: what has expired by then and is found unclaimed after that will never be claimed.
        at, ledger, key = self._clock(), self._ledger, f"{self._realm}|{challenge.id}"
        found: PaymentView | None = ledger.find(key) if ledger.direct else (yield Find(key))
        if found is not None and found.state != ISSUED:
            if found.state not in _OPEN:
                return "ended"
            return "held" if (found.lease_until or 0.0) > at and found.state in _LEASED else "open"
        if challenge.expires is None or challenge.expires <= self._time(at).now:
            return "gone"
        if found is None:
            return "made"
        return "refused" if challenge.request == encode_param(terms.request) else "gone"

    def _keep(self, name: str, made: Made) -> Flow[None]:
        """Keep the same one for as long again."""
        yield from keep_made(name, made.owner, made.field, self._made_for_s, made)

    def _bought(self, request: HttpRequest, trace: Trace, made: Made, adopted: Adopted) -> Flow[bool]:
        """Whether the payment of another key was delivered to this one, and its answer is kept."""
        if not trace.idempotency or made.challenge is None:
            return False
        found = self._written(request, made.challenge, adopted)
        return isinstance(found, Candidate) and (yield from self._answer(trace, found)) is not None

    def _for_another(self, request: HttpRequest, trace: Trace, plan: OfferPlan, challenge: Challenge) -> HttpResponse:
        """The refusal of a key that this credential has bought something else under."""
        trace.challenge_id, trace.provider = challenge.id, plan.provider.name
        trace.note(ev.PAYMENT_CONTEXT_ATTACHED, self._clock())
        return self._refuse(request, trace, "idempotency-key-reused")


def _digest(request: HttpRequest) -> str | None:
    body = request.body
    return format_digest(body.sha256) if body.state is BodyState.READ else None
