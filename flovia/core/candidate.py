"""A presented credential, checked as far as that needs no ledger and no provider. Plain functions, no flows."""

from collections.abc import Sequence
from types import MappingProxyType
from typing import Final

from flovia.core.binding import Keyring, Prefix, bound_rest, slots
from flovia.core.challenge import Challenge
from flovia.core.credential import Credential, parse_token
from flovia.core.encoding import JsonObject, decode_param
from flovia.core.errors import ParseError
from flovia.core.fields import digest_matches
from flovia.core.fingerprint import Fingerprints
from flovia.core.http import BodyState, HttpRequest
from flovia.core.money import check_amount
from flovia.core.offers import HEADER_FIELD, OfferPlan
from flovia.core.provider import Paid
from flovia.core.scope import Scopes

_NOTHING: Final[JsonObject] = MappingProxyType({})


class Candidate:
    """A credential that has the right form for a route, with what the checks found out about it.

    ``authentic``: one of our secrets signed the challenge. If it is False, only a payment that is on record
    under the same ``fingerprint`` can still be redeemed. ``amount`` is in base units. ``late_s``: for how long
    after its expiry the challenge is still verified, seconds. ``made_as``: the name under which its challenge has to
    stand once it is claimed (:mod:`flovia.core.adopting`); "" where it need not.
    """

    __slots__ = (
        "amount",
        "authentic",
        "charge",
        "credential",
        "currency",
        "extra",
        "fingerprint",
        "key",
        "late_s",
        "made_as",
        "plan",
    )

    def __init__(
        self,
        credential: Credential,
        plan: OfferPlan,
        charge: JsonObject,
        amount: int,
        currency: str,
        extra: JsonObject,
        key: str,
        fingerprint: str,
        authentic: bool,
    ) -> None:
        self.credential = credential
        self.plan = plan
        self.late_s = plan.late_s
        self.made_as = ""
        self.charge = charge
        self.amount = amount
        self.currency = currency
        self.extra = extra
        self.key = key
        self.fingerprint = fingerprint
        self.authentic = authentic


class _Asked:
    """What is the same for all who pay one ``request``: what it asks for, and its share of MAC and fingerprint."""

    __slots__ = ("amount", "charge", "currency", "fingerprints", "prefix")

    def __init__(self, keyring: Keyring, realm: str, plan: OfferPlan, request: str) -> None:
        self.charge, self.amount, self.currency = _charge(request, plan)
        beginning = slots(realm, plan.method, plan.intent, request, None, None, None, None)[: -len("||")]
        self.prefix = Prefix(keyring, beginning)
        self.fingerprints = Fingerprints(beginning)


class Checker:
    """The checks on a credential that are the same for every request of a route."""

    def __init__(
        self, plans: Sequence[OfferPlan], *, realm: str, keyring: Keyring, scopes: Scopes, known_methods: set[str]
    ) -> None:
        self._realm = realm
        self._prefix = realm + "|"
        self._keyring = keyring
        self._scopes = scopes
        self._known_methods = known_methods
        self._by_method: dict[str, list[OfferPlan]] = {}
        for plan in plans:
            self._by_method.setdefault(plan.method, []).append(plan)
        # What a fixed price asks for needs no decoding when it comes back, and little hashing.
        self._fixed: dict[tuple[str, str], _Asked] = {
            (plan.method, plan.fixed_request): _Asked(keyring, realm, plan, plan.fixed_request)
            for plan in plans
            if plan.fixed_request
        }

    def check(self, request: HttpRequest, field: str, token: str, anywhere: bool = False) -> Candidate | str:
        """The candidate, or the code of the problem with this token. ``anywhere``: of another request too."""
        try:
            credential = parse_token(token)
        except ParseError:
            return "malformed-credential"
        echo = credential.challenge
        plans = self._by_method.get(echo.method)
        if plans is None:
            return "invalid-challenge" if echo.method in self._known_methods else "method-unsupported"
        rest = bound_rest(echo)
        plan = plans[0]
        if rest is None or echo.realm != self._realm or echo.intent != plan.intent:
            return "invalid-challenge"
        try:
            asked = self._fixed.get((plan.method, echo.request))
            if asked is None:
                asked = _Asked(self._keyring, self._realm, plan, echo.request)
            # From here on the echo is ours, or a payment on record will have to vouch for it.
            authentic = asked.prefix.verify(rest, echo.id)
            extra: JsonObject | None = _NOTHING if anywhere else None
            if not anywhere and self._belongs(request, field, echo):
                extra = self._scopes.read(echo.opaque or "", request)
        except ParseError:
            return "invalid-challenge"
        if extra is None:
            return "invalid-challenge"
        if len(plans) > 1:
            # One whose price is computed may be in any currency.
            computed = next((p for p in plans if p.price is None), plan)
            plan = next((p for p in plans if p.price is not None and p.price.currency == asked.currency), computed)
        return Candidate(
            credential,
            plan,
            asked.charge,
            asked.amount,
            asked.currency,
            extra,
            self._prefix + echo.id,
            asked.fingerprints.of(rest, credential.payload),
            authentic,
        )

    def _belongs(self, request: HttpRequest, field: str, echo: Challenge) -> bool:
        """Whether a challenge was issued for this field and body, as far as its own words go."""
        if echo.header != (HEADER_FIELD if field == "payment-authorization" else None):
            return False
        body = request.body
        if body.state is BodyState.READ:
            if echo.digest is None or not digest_matches(echo.digest, body.sha256):
                return False
        elif echo.digest is not None and body.state is not BodyState.UNREAD:
            return False
        return echo.expires is not None


def _charge(request: str, plan: OfferPlan) -> tuple[JsonObject, int, str]:
    """The decoded request of a challenge with its amount (base units) and currency."""
    charge = decode_param(request)
    currency = charge.get("currency")
    if not isinstance(currency, str):
        raise ParseError("request without a currency")
    amount = check_amount(charge.get("amount")) if plan.amount_asked is None else plan.amount_asked(charge)
    return charge, amount, currency


def mismatch(paid: Paid, candidate: Candidate) -> str | None:
    """The problem with a payment that is not exactly what was asked for (charge draft: all or nothing)."""
    asked = candidate.charge.get("recipient", paid.recipient)
    same = paid.currency == candidate.currency or paid.currency.lower() == candidate.currency.lower()
    if not same or asked != paid.recipient:
        return "verification-failed"
    if paid.amount < candidate.amount:
        return "payment-insufficient"
    return None if paid.amount == candidate.amount else "verification-failed"
