"""Saved wallets (``hitpay-save``): bind one once, then charge it silently under a signed grant.

The grant is checked here first, so that a charge beyond it never leaves; the broker checks everything again and counts.
A silent charge moves money when it is made, so its nonce is kept before the call and every retry repeats it: an answer
that got lost is asked for again, not paid again.
"""

import logging
from collections.abc import Callable
from typing import Final

import attrs

from flovia.core.challenge import format_expires, parse_expires
from flovia.core.effects import Flow, now, recall, remember
from flovia.core.encoding import JsonValue
from flovia.core.errors import WiringError
from flovia.core.http import HttpRequest
from flovia.core.money import Price
from flovia.core.provider import Adopted, NotPaid, Paid, Presented, Quote, Refusal, Terms, Unknown, Verdict
from flovia.providers.hitpay import store, wire
from flovia.providers.hitpay.amounts import to_hitpay
from flovia.providers.hitpay.broker import Broker, Setup, is_id
from flovia.providers.hitpay.calls import NAMESPACE, Answer, HitPayDown
from flovia.providers.hitpay.charges import HASH, same, shown, terms_for
from flovia.providers.hitpay.config import HitPayConfig
from flovia.providers.hitpay.limits import take_creation
from flovia.providers.hitpay.native import grant_in, is_native, peek
from flovia.providers.hitpay.problems import NO_CUSTOMER, WALLET_UNSUPPORTED
from flovia.providers.hitpay.request_hash import query_members, request_hash
from flovia.signed import BadToken, GrantClaims, Jwks, KeysUnavailable

_log = logging.getLogger("flovia")

WALLETS: Final[dict[str, frozenset[str]]] = {
    "grabpay_direct": frozenset({"sgd", "myr"}),
    "shopee_pay": frozenset({"sgd", "myr", "php"}),
    "touch_n_go": frozenset({"myr"}),
}
"""The wallets that can be saved and their currencies (HitPay docs: embedded recurring billing). HitPay's MPP samples
name more currencies; the broker's own list decides about those."""

GRANT: Final = "saved_method_jws"
METHOD_ID: Final = "saved_method_id"
MAX_EMAIL: Final = 254
_FINAL: Final = frozenset({"detached", "revoked", "expired"})


@attrs.frozen(kw_only=True)
class SavedMethods:
    """What customers may bind a wallet for.

    Args:
        customer_email: of the customer who asks; None if the request does not say.
        max_amount_per_charge: ``"10.00"``, in the currency of the price; HitPay's sample takes ten times the price.
        total_amount_cap: of all charges together.
        max_uses: how many charges.
        valid_for_s: how long, seconds.
    """

    customer_email: Callable[[HttpRequest], str | None]
    max_amount_per_charge: str
    total_amount_cap: str | None = None
    max_uses: int | None = None
    valid_for_s: int | None = None

    def check(self, price: Price) -> None:
        """Whether a grant within these limits could pay the price at all.

        Raises:
            WiringError: it could not.
        """
        most = Price.parse(f"{self.max_amount_per_charge} {price.currency}")
        to_hitpay(most)
        if self.total_amount_cap is not None:
            to_hitpay(Price.parse(f"{self.total_amount_cap} {price.currency}"))
        if price.amount > most.amount:
            raise WiringError(f"a saved wallet is charged at most {most} at once, and the price is {price}")


def customer_from_header(request: HttpRequest) -> str | None:
    """The customer's e-mail from ``x-user-email`` (HitPay docs: MPP landing page). Trust it only behind your login."""
    return request.headers.get("x-user-email")


class SavedCharges:
    """The two questions of a provider, for saved wallets."""

    def __init__(self, config: HitPayConfig, broker: Broker, jwks: Jwks, saved: SavedMethods | None) -> None:
        self._config = config
        self._broker = broker
        self._jwks = jwks
        self._saved = saved

    # --- asking -----------------------------------------------------------------------------------------------

    def wallet_asked(self, request: HttpRequest) -> str | None:
        """The wallet that the agent wants to save, by header or query."""
        if self._saved is None:
            return None
        found = request.headers.get(self._config.wallet_header)
        if found is None:
            named = query_members(request.query).get(self._config.wallet_query)
            found = named if isinstance(named, str) else None
        return found.strip() if found else None

    def wallet_again(self, request: HttpRequest, currency: str) -> str | None:
        """The wallet of a grant that is of no use any more, if it can be bound anew; else paying once is offered."""
        claims = peek(grant_in(request))
        hint = claims.get("payment_method", claims.get("paymentMethod"))
        if self._saved is None or not isinstance(hint, str) or currency not in WALLETS.get(hint, ()):
            return None
        return None if self._email(self._saved, request) is None else hint

    def quote(self, quote: Quote, wallet: str) -> Flow[Terms]:
        """A page on which the customer binds the wallet, as a challenge.

        Raises:
            Refusal: a wallet that cannot be saved, no customer, too many setups, or HitPay gives none.
        """
        saved, config = self._saved, self._config
        if saved is None:
            raise Refusal(WALLET_UNSUPPORTED, body={"allowed": []}, open_outcome=False)
        saved.check(quote.price)
        currency = quote.price.currency
        email = self._email(saved, quote.request)
        if email is None:
            raise Refusal(NO_CUSTOMER, open_outcome=False)
        rh = request_hash(quote.request, config)
        try:
            allowed = yield from self._allowed(currency)
            if wallet not in allowed:
                # What the broker says, and nothing of the client's.
                raise Refusal(WALLET_UNSUPPORTED, body={"allowed": list(allowed)}, open_outcome=False)
            if wait := (yield from take_creation(config, quote.client)):
                raise Refusal("rate-limited", retry_after_s=wait)
            nonce = yield from store.nonce_for(config, "setup", quote.nonce)
            setup = yield from self._setup(saved, wallet, email, currency)
            created = yield from self._broker.set_up(setup, nonce=nonce, request_hash=rh)
        except HitPayDown as down:
            _log.warning("no saved method was set up: %s", down)
            raise Refusal("provider-unavailable", retry_after_s=down.retry_after_s) from None
        form = wire.form_of(quote.request, config)
        request = wire.challenge_request(quote.price, created, description=quote.description, form=form, wallet=wallet)
        return terms_for(config, request, created, quote.price, opaque={METHOD_ID: created.id, HASH: rh}, form=form)

    @staticmethod
    def _email(saved: SavedMethods, request: HttpRequest) -> str | None:
        """The customer's address, if the request says one that can be one."""
        found = (saved.customer_email(request) or "").strip()
        return found if found and len(found) <= MAX_EMAIL and "@" in found and found.isprintable() else None

    def adopt(self, grant: str, quote: Quote) -> Adopted | None:
        """A grant that comes without a challenge: it pays today's price for this request."""
        claimed = peek(grant).get("currency")
        if isinstance(claimed, str) and claimed.lower() != quote.price.currency:
            return None  # perhaps another offer of the route
        request = wire.challenge_request(quote.price, None, description=quote.description, wallet="")
        return Adopted(
            payload={GRANT: grant},
            terms=Terms(request=request, opaque={HASH: request_hash(quote.request, self._config)}),
        )

    def _setup(self, saved: SavedMethods, wallet: str, email: str, currency: str) -> Flow[Setup]:
        until = None if saved.valid_for_s is None else format_expires(int((yield from now()) + saved.valid_for_s))
        total = saved.total_amount_cap
        return Setup(
            payment_method=wallet,
            customer_email=email,
            currency=currency,
            max_amount_per_charge=to_hitpay(Price.parse(f"{saved.max_amount_per_charge} {currency}")),
            total_amount_cap=None if total is None else to_hitpay(Price.parse(f"{total} {currency}")),
            valid_until=until,
            max_uses=saved.max_uses,
        )

    def _allowed(self, currency: str) -> Flow[tuple[str, ...]]:
        """The wallets of our table that the broker offers for the currency; its list is kept for a while.

        A wallet that the table does not have for the currency counts if the broker names it: it knows better.
        """
        kept = yield from recall(NAMESPACE, f"wallets {currency}")
        if kept is not None:
            return tuple(kept.split())
        offered = yield from self._broker.options(currency)
        found = tuple(name for name in offered if name in WALLETS)
        yield from remember(NAMESPACE, f"wallets {currency}", " ".join(found), ttl_s=float(self._config.options_kept_s))
        return found

    # --- charging ---------------------------------------------------------------------------------------------

    def verify(self, presented: Presented, asked: wire.Asked) -> Flow[Verdict]:
        """Charge the saved wallet for this request, if the grant allows it."""
        rh = presented.opaque.get(HASH)
        if not isinstance(rh, str) or not same(rh, request_hash(presented.request, self._config)):
            return NotPaid()
        try:
            grant = presented.payload.get(GRANT)
            if grant is None:
                found = yield from self._bound(presented, asked)
                if not isinstance(found, str):
                    return found
                grant = found
            if not isinstance(grant, str):
                return NotPaid(problem="invalid-payload")
            claims = yield from self._checked(grant, asked)
            if not isinstance(claims, GrantClaims):
                return claims
            return (yield from self._charge(presented, asked, claims, grant, rh))
        except HitPayDown as down:
            _log.warning("a silent charge has no known outcome: %s", down)
            return Unknown(retry_after_s=down.retry_after_s)
        except KeysUnavailable as error:
            _log.warning("a grant cannot be verified now: %s", error)
            return Unknown(retry_after_s=error.retry_after_s)

    def _bound(self, presented: Presented, asked: wire.Asked) -> Flow[str | Verdict]:
        """The grant of the wallet that this challenge had bound, once it is active."""
        named = presented.payload.get(METHOD_ID, presented.payload.get("challenge_id"))
        if not isinstance(named, str):
            return NotPaid(problem="invalid-payload")
        bound = presented.opaque.get(METHOD_ID)
        if not isinstance(bound, str) or not same(named, bound) or not same(named, asked.ident):
            return NotPaid()
        found = yield from self._broker.saved_status(named)
        if found is None:
            return NotPaid(problem="invalid-challenge")
        if found.status == "active":
            return found.jws if found.jws is not None else Unknown()
        if found.status in _FINAL:
            return NotPaid(problem="payment-expired")
        if found.status != "pending":
            return Unknown()
        expires = presented.challenge.expires
        if expires is None or parse_expires(expires) <= (yield from now()):
            return NotPaid(problem="payment-expired")
        look = wire.look_again(presented, asked, self._config)
        return NotPaid(retry_after_s=self._config.retry_after_s, same_challenge=True, look=look)

    def _checked(self, grant: str, asked: wire.Asked) -> Flow[GrantClaims | NotPaid]:
        """The grant's claims, if it may pay the price; nothing has been charged yet."""
        try:
            claims = yield from self._jwks.grant(grant, audience=self._config.grant_audience)
        except BadToken as error:
            _log.info("a grant is not accepted (%s)", error.reason)
            return NotPaid(problem="payment-expired" if error.reason == "time" else "verification-failed")
        try:
            claims.check(asked.price)
        except BadToken as error:
            over = error.reason in ("amount", "claims")
            return NotPaid(problem="payment-insufficient" if over else "verification-failed")
        if (yield from store.is_revoked(claims.saved_method_id)):
            return NotPaid(problem="payment-expired")
        return claims

    def _charge(
        self, presented: Presented, asked: wire.Asked, claims: GrantClaims, grant: str, rh: str
    ) -> Flow[Verdict]:
        nonce = yield from store.nonce_for(self._config, "silent", presented.nonce)
        # Whether this very charge was asked for before and nobody knows what became of it.
        again = yield from store.begin_silent(self._config, nonce)
        try:
            answer = yield from self._broker.charge_saved(
                claims.saved_method_id,
                amount=to_hitpay(asked.price),
                currency=asked.price.currency,
                nonce=nonce,
                request_hash=rh,
                grant=grant,
            )
        except HitPayDown as down:
            if not (down.called or again):
                yield from store.end_silent(nonce)
            raise
        if answer.ok:
            return (yield from self._charged(presented, claims, answer, rh, nonce))
        return (yield from self._refused(claims, answer.status, nonce, again))

    def _refused(self, claims: GrantClaims, status: int, nonce: str, again: bool) -> Flow[Verdict]:
        """What a refusal of the broker's means. The wallet's own is about this charge, others about the next one.

        So after a try of unknown outcome they say nothing about that one: it may have gone through before the wallet
        was unbound or its cap reached.
        """
        if status in (403, 404, 410):
            if status == 410:
                yield from store.revoke_grant(self._config, claims.saved_method_id)
            if again:
                _log.error("a silent charge of unknown outcome cannot be repeated: look for it in the dashboard")
                return Unknown(retry_after_s=30)
        match status:
            case 402:
                yield from store.end_silent(nonce)
                return NotPaid()  # the wallet declined
            case 403:
                yield from store.end_silent(nonce)
                return NotPaid(problem="payment-insufficient")
            case 404 | 410:
                yield from store.end_silent(nonce)
                return NotPaid(problem="payment-expired")
            case _:
                # 409 above all: the nonce was used, so a charge was made, and which one cannot be said.
                _log.error("the broker answers %d to a silent charge; its outcome is unknown", status)
                return Unknown(retry_after_s=5)

    def _charged(self, presented: Presented, grant: GrantClaims, answer: Answer, rh: str, nonce: str) -> Flow[Verdict]:
        members = answer.members
        status, jws, charge_id = members.get("status"), members.get("receipt_jws"), members.get("charge_id")
        if status == "failed":
            yield from store.end_silent(nonce)
            return NotPaid()
        if status != "paid" or not isinstance(jws, str) or not isinstance(charge_id, str) or not is_id(charge_id):
            return Unknown()
        try:
            claims = yield from self._jwks.receipt(jws)
        except BadToken as error:
            _log.error("the receipt of silent charge %s is not believed (%s)", shown(charge_id), error.reason)
            return Unknown()
        method_id = claims.saved_method_id
        if not same(claims.request_hash, rh) or (method_id is not None and not same(method_id, grant.saved_method_id)):
            _log.error("the receipt of silent charge %s is for another request or wallet", shown(charge_id))
            return Unknown()
        if claims.charge_id is not None and not same(claims.charge_id, charge_id):
            _log.error("the receipt of silent charge %s names another one", shown(charge_id))
            return Unknown()
        payment_id = claims.payment_id or members.get("payment_id")
        record = store.PaidRecord(payment_id=payment_id if isinstance(payment_id, str) else "")
        yield from store.keep_paid(charge_id, record)
        native = is_native(presented.request, self._config)
        extra, headers, receipt = wire.receipt_parts(claims, jws, native=native, external_id=None)
        data: dict[str, JsonValue] = {METHOD_ID: grant.saved_method_id}
        if record.payment_id:
            data["payment_id"] = record.payment_id
        return Paid(
            reference=charge_id,
            amount=claims.price.amount,
            currency=claims.price.currency,
            receipt_extra=extra,
            receipt_headers=headers,
            receipt=receipt,
            data=data,
        )
