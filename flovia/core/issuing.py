"""The 402: which offers, which challenges, which problem."""

import logging
from collections.abc import Callable, Sequence
from typing import Final

import attrs

from flovia.core import events as ev
from flovia.core.awaited import await_charge
from flovia.core.binding import Keyring
from flovia.core.challenge import Challenge, format_challenge, format_expires
from flovia.core.effects import Flow
from flovia.core.encoding import JsonObject, JsonValue, canonical, encode_param
from flovia.core.errors import HttpError, LedgerError, WiringError
from flovia.core.fields import format_digest
from flovia.core.guard import Guard, Services
from flovia.core.http import BodyState, HttpRequest, HttpResponse
from flovia.core.issued import keep_issued
from flovia.core.money import Price
from flovia.core.negotiation import rank
from flovia.core.offers import MAX_CHALLENGE, Issued, Offer, OfferPlan
from flovia.core.origin import from_this_machine
from flovia.core.passage import Trace, problem_response, with_members
from flovia.core.problems import PROBLEMS, ProblemType, problem_body
from flovia.core.provider import Look, Quote, Refusal, Terms
from flovia.core.reconcile import ReconcilingProvider
from flovia.core.scope import Scopes, opaque_param

_log = logging.getLogger("flovia")

CLOCK_SKEW_S: Final = 60.0
"""How long a claim outlives its challenge in the ledger, so that a skewed clock finds no gap, seconds."""
_PROBLEM_JSON: Final = "application/problem+json"
_NO_STORE: Final = ("cache-control", "no-store")


@attrs.frozen
class Times:
    """A second, Unix time, as text; the expiry of a challenge made in it; and until when a claim made in it is kept."""

    second: int
    now: str
    expires: str
    keep_until: float


class Issuer(Guard):
    """Makes challenges for one route. The Gate builds on it."""

    def __init__(
        self,
        services: Services,
        *,
        offers: Sequence[Offer],
        rail: str,
        name: str | None,
        ttl_s: int,
        use_payment_authorization: Callable[[HttpRequest], bool] | bool,
    ) -> None:
        super().__init__(services, rail=rail, name=name)
        if services.keyring is None:
            raise WiringError("a gate needs a secret; set FLOVIA_SECRET")
        self._keyring: Keyring = services.keyring
        self._realm = services.realm
        self.plans = tuple(OfferPlan(offer, realm=services.realm, keyring=services.keyring) for offer in offers)
        self._names = [plan.name for plan in self.plans]
        self._only = self.plans[0] if len(self.plans) == 1 else None
        self._ttl_s = ttl_s
        self._select = use_payment_authorization
        self._scopes = Scopes(name or "")
        self._times = Times(0, "", "", 0.0)
        origin = services.origin
        self._anywhere = origin is not None and origin.public
        services.known_methods.update(plan.method for plan in self.plans)

    # --- who may be asked -----------------------------------------------------------------------------

    def _stranger(self, request: HttpRequest) -> bool:
        """Whether a request for this machine alone came to another name, or over a wire we must not use."""
        return not from_this_machine(request)

    def _wants_header(self, request: HttpRequest) -> bool:
        select = self._select
        return select if isinstance(select, bool) else select(request)

    def _field(self, request: HttpRequest) -> str:
        return "payment-authorization" if self._select is not False and self._wants_header(request) else "authorization"

    def _time(self, now: float) -> Times:
        """The second of a moment (Unix time), written out once for all its requests."""
        second = int(now)
        times = self._times
        if times.second != second:
            # One object, replaced whole: another thread never sees half of it.
            expires = second + self._ttl_s
            times = Times(second, format_expires(second), format_expires(expires), expires + CLOCK_SKEW_S)
            self._times = times
        return times

    # --- the challenge ----------------------------------------------------------------------------------

    def _issue(self, request: HttpRequest, trace: Trace) -> Flow[list[Issued]]:
        """A fresh challenge for every offer that the client accepts."""
        expires = self._time(self._clock()).expires
        body = request.body
        digest = format_digest(body.sha256) if body.state is BodyState.READ else None
        scope = self._scopes.of(request)
        header = self._select is not False and self._wants_header(request)
        plan = self._only
        if plan is not None and plan.fixed_request is not None and plan.price is not None:
            opaque = opaque_param(self._tokens(), scope, {})
            issued = [plan.render(plan.fixed_request, plan.price, expires, digest, opaque, header)]
        else:
            issued = list[Issued]()
            for chosen in self._chosen(request):
                issued.append((yield from self._issue_one(chosen, request, digest, scope, header)))
        for one in issued:
            if len(one.field) > MAX_CHALLENGE:
                raise WiringError(
                    f"the challenge of {one.offer.name} has {len(one.field)} characters, more than {MAX_CHALLENGE};"
                    " shorten what the provider adds to it, or the description"
                )
            self._note_issued(trace, one)
        return issued

    def _chosen(self, request: HttpRequest) -> Sequence[OfferPlan]:
        if self._only is not None:
            return self.plans
        order = rank(request.headers.get("accept-payment"), self._names)
        return [self.plans[i] for i in order] or self.plans

    def _issue_one(
        self, plan: OfferPlan, request: HttpRequest, digest: str | None, scope: str, header: bool
    ) -> Flow[Issued]:
        price = plan.price_for(request)
        nonce = self._tokens()
        if plan.provider.fixed_terms:
            opaque = opaque_param(nonce, scope, {})
            return plan.render(plan.encoded(price), price, self._time(self._clock()).expires, digest, opaque, header)
        terms = yield from plan.provider.quote(self._quote(plan, request, price, nonce))
        issued = self._render(plan, terms, price, nonce, digest, scope, header)
        if terms.handle is not None:
            yield from keep_issued(plan.method, terms.handle, issued.field, terms.handle_kept_s)
            if isinstance(plan.provider, ReconcilingProvider):
                expires = terms.expires_at or float(self._time(self._clock()).second + self._ttl_s)
                yield from await_charge(plan.method, terms.handle, issued.id, expires)
        return issued

    def _quote(self, plan: OfferPlan, request: HttpRequest, price: Price, nonce: str) -> Quote:
        return Quote(
            price=price,
            description=plan.offer.description,
            realm=self._realm,
            request=request,
            nonce=nonce,
            expires_at=float(self._time(self._clock()).second + self._ttl_s),
            client=self._client(request),
        )

    def _render(
        self, plan: OfferPlan, terms: Terms, price: Price, nonce: str, digest: str | None, scope: str, header: bool
    ) -> Issued:
        """The challenge of a provider's terms."""
        times = self._time(self._clock())
        expires, own = times.expires, terms.expires_at
        if own is not None and (terms.own_expiry or own < times.second + self._ttl_s):
            expires = format_expires(int(own))
        opaque = opaque_param(nonce, scope, terms.opaque)
        issued = plan.render(encode_param(terms.request), price, expires, digest, opaque, header)
        return Issued(issued.id, issued.field, price, plan, terms)

    def _note_issued(self, trace: Trace, issued: Issued) -> None:
        trace.provider = issued.offer.provider.name
        trace.offer_amount = issued.price.amount
        trace.offer_currency = issued.price.currency
        trace.challenge_id = issued.id
        # Of a fresh challenge nobody has paid anything yet, whatever became of the one before.
        trace.payment_id = trace.recipient = None
        trace.payer = trace.declared
        trace.note(ev.CHALLENGE_ISSUED, self._clock())

    # --- the response -----------------------------------------------------------------------------------

    def _challenge(
        self,
        request: HttpRequest,
        trace: Trace,
        problem: str = "payment-required",
        retry_after_s: int | None = None,
        same: Challenge | None = None,
        look: Look | None = None,
    ) -> Flow[HttpResponse]:
        """The 402 with this problem and a fresh challenge, or with the ``same`` one again and the ``look`` it had.

        Whatever keeps a challenge from being made ends without one, and so without a 402.
        """
        if not self._ledger.available:
            # Whoever pays now could not be let in.
            return self._refuse(request, trace, "ledger-unavailable", 1)
        limiter = self.services.limiter if same is None else None
        # Here, so that a credential made of junk gets no challenge past the limit either.
        if limiter is not None and (wait := limiter.challenge(self._client(request), self._monotonic())):
            return self._refuse(request, trace, "rate-limited", wait)
        looks: list[Look] = [] if look is None else [look]
        if same is not None:
            fields, first_id = [format_challenge(same)], same.id
        else:
            try:
                issued = yield from self._issue(request, trace)
            except Refusal as refusal:
                return self._refused(request, trace, refusal)
            except HttpError as error:
                _log.warning("no challenge for %s: the provider does not answer (%s)", trace.endpoint, error)
                return self._refuse(request, trace, "provider-unavailable", 2)
            except LedgerError as error:
                _log.warning("no challenge for %s: the ledger does not answer (%s)", trace.endpoint, error)
                return self._refuse(request, trace, "ledger-unavailable", 1)
            except Exception:
                _log.exception("no challenge for %s: a price function or provider raised", trace.endpoint)
                return self._refuse(request, trace, "internal-payment-error")
            fields = [one.field for one in issued]
            first_id = issued[0].id
            looks = [found for one in issued if one.terms for found in _looks(one.terms)]
        body, content_type = problem_body(problem, first_id), _PROBLEM_JSON
        extra: tuple[tuple[str, str], ...] = ()
        if looks:
            extra = tuple(pair for found in looks for pair in found.headers)
            members: dict[str, JsonValue] = {name: value for found in looks for name, value in found.body.items()}
            content_type = next((found.content_type for found in looks if found.content_type), content_type)
            # All of the body only where one offer speaks: of several, the problem says which response this is.
            alone = len(fields) == 1 and any(found.whole_body for found in looks)
            body = canonical(members) if alone else with_members(body, members)
        headers = [("www-authenticate", field) for field in fields]
        headers += (("content-type", content_type), ("content-length", str(len(body))), _NO_STORE)
        if retry_after_s is not None:
            headers.append(("retry-after", str(retry_after_s)))
        status = PROBLEMS[problem].status
        trace.note(ev.REQUEST_COMPLETED, self._clock(), status, self._latency_ms(trace), problem)
        self._ledger.append(trace.take())
        if request.http_method == "HEAD":
            body = b""
        return HttpResponse(status, (*headers, *extra), body)

    def _refused(self, request: HttpRequest, trace: Trace, refusal: Refusal) -> HttpResponse:
        """A provider's own refusal. A 402 without a challenge must not leave us, so that one counts as a bug."""
        problem = PROBLEMS.get(refusal.problem) if isinstance(refusal.problem, str) else refusal.problem
        if problem is None or problem.status == 402:
            _log.error("a provider refused with %r, which is no problem type without a challenge", refusal.problem)
            return self._refuse(request, trace, "internal-payment-error")
        return self._refuse(request, trace, problem, refusal.retry_after_s, refusal.body)

    def _refuse(
        self,
        request: HttpRequest,
        trace: Trace,
        problem: str | ProblemType,
        retry_after_s: int | None = None,
        members: JsonObject | None = None,
    ) -> HttpResponse:
        """A refusal without a challenge."""
        response = problem_response(
            problem,
            challenge_id=trace.challenge_id,
            head=request.http_method == "HEAD",
            retry_after_s=retry_after_s,
            members=members,
        )
        type_ = ev.REQUEST_FAILED if response.status >= 500 else ev.REQUEST_COMPLETED
        code = problem if isinstance(problem, str) else problem.code
        trace.note(type_, self._clock(), response.status, self._latency_ms(trace), code)
        self._ledger.append(trace.take())
        return response


def _looks(terms: Terms) -> list[Look]:
    """What a 402 says besides, in both of the ways that terms can say it."""
    looks = [Look(headers=terms.headers, body=terms.body)] if terms.headers or terms.body else []
    return looks if terms.look is None else [*looks, terms.look]
