"""Silent charges of a saved wallet, under the grant that an agent presents.

The grant is checked here first, so that a charge beyond it never leaves; the broker checks everything again and counts.
A silent charge moves money when it is made, so its nonce is kept before the call and every retry repeats it: an answer
that got lost is asked for again, not paid again.
"""

import logging
from typing import Final

from flovia.core.challenge import parse_expires
from flovia.core.effects import Flow, now
from flovia.core.encoding import JsonObject, JsonValue
from flovia.core.errors import ParseError
from flovia.core.money import Price
from flovia.core.provider import NotPaid, Paid, Presented, Refusal, Unknown, Verdict
from flovia.providers.hitpay import store, wire
from flovia.providers.hitpay.amounts import from_hitpay, to_hitpay
from flovia.providers.hitpay.broker import Broker, is_id
from flovia.providers.hitpay.calls import Answer, HitPayDown
from flovia.providers.hitpay.charges import HASH, same, shown
from flovia.providers.hitpay.config import HitPayConfig
from flovia.providers.hitpay.names import OF_SILENT, first
from flovia.providers.hitpay.native import is_native
from flovia.providers.hitpay.request_hash import request_hash
from flovia.providers.hitpay.saved import METHOD_ID
from flovia.signed import BadToken, GrantClaims, Jwks, KeysUnavailable, ReceiptClaims

_log = logging.getLogger("flovia")

_FINAL: Final = frozenset({"detached", "revoked", "expired"})


class SilentCharges:
    """Verifies a credential by charging the wallet it is for."""

    def __init__(self, config: HitPayConfig, broker: Broker, jwks: Jwks) -> None:
        self._config = config
        self._broker = broker
        self._jwks = jwks

    def verify(self, presented: Presented, asked: wire.Asked) -> Flow[Verdict]:
        """Charge the saved wallet for this request, if the grant allows it."""
        rh = presented.opaque.get(HASH)
        if not isinstance(rh, str) or not same(rh, request_hash(presented.request, self._config)):
            return NotPaid()
        try:
            grant = first(presented.payload, self._config.names.payload_grant)
            brought = grant is not None
            if not brought:
                found = yield from self._bound(presented, asked)
                if not isinstance(found, str):
                    return found
                grant = found
            if not isinstance(grant, str):
                return NotPaid(problem="invalid-payload")
            claims = yield from self._checked(grant, asked.price, from_issuer=not brought)
            if not isinstance(claims, GrantClaims):
                # What it may pay no more it may have paid before.
                return claims if not (yield from store.silent_begun(presented.nonce)) else _cannot_be_repeated()
            return (yield from self._charge(presented, asked, claims, grant, rh))
        except HitPayDown as down:
            _log.warning("a silent charge has no known outcome: %s", down)
            return Unknown(retry_after_s=down.retry_after_s)
        except KeysUnavailable as error:
            _log.warning("a grant cannot be verified now: %s", error)
            if (yield from store.silent_begun(presented.nonce)):
                return Unknown(retry_after_s=error.retry_after_s)
            # Certainly nothing was charged. Anybody can make up a grant of a key that nobody has: it must not leave an
            # outcome that somebody has to look into.
            raise _unchecked(error) from None

    def check(self, grant: str, price: Price) -> Flow[NotPaid | None]:
        """Why a grant may not pay the price; None if it may, as far as we can say. Nothing is charged.

        Raises:
            Refusal: its key cannot be looked up now.
        """
        try:
            claims = yield from self._checked(grant, price)
        except KeysUnavailable as error:
            _log.warning("a grant cannot be verified now: %s", error)
            raise _unchecked(error) from None
        return None if isinstance(claims, GrantClaims) else claims

    def _bound(self, presented: Presented, asked: wire.Asked) -> Flow[str | Verdict]:
        """The grant of the wallet that this challenge had bound, once it is active."""
        names = self._config.names
        named = first(presented.payload, (*names.payload_setup, *names.payload_charge))
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

    def _checked(self, grant: str, price: Price, *, from_issuer: bool = False) -> Flow[GrantClaims | NotPaid]:
        """The grant's claims, if it may pay the price; nothing has been charged yet."""
        try:
            audience = self._config.grant_audience
            claims = yield from self._jwks.grant(grant, audience=audience, from_issuer=from_issuer)
        except BadToken as error:
            _log.info("a grant is not accepted (%s)", error.reason)
            return NotPaid(problem="payment-expired" if error.reason == "time" else "verification-failed")
        try:
            claims.check(price)
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
                yield from store.end_silent(presented.nonce, nonce)
            raise
        if answer.ok:
            return (yield from self._charged(presented, asked, claims, answer, rh, nonce))
        return (yield from self._refused(presented, claims, answer, nonce, again))

    def _refused(
        self, presented: Presented, claims: GrantClaims, answer: Answer, nonce: str, again: bool
    ) -> Flow[Verdict]:
        """What a refusal of the broker's means. The wallet's own is about this charge, others about the next one.

        So after a try of unknown outcome they say nothing about that one: it may have gone through before the wallet
        was unbound or its cap reached.
        """
        meaning = self._config.refusals.meaning(answer.status, answer.code, OF_SILENT)
        if meaning in ("scope_exceeded", "unknown_method", "method_inactive"):
            if meaning == "method_inactive":
                yield from store.revoke_grant(self._config, claims.saved_method_id)
            if again:
                return _cannot_be_repeated()
        match meaning:
            case "charge_failed":
                yield from store.end_silent(presented.nonce, nonce)
                return NotPaid()  # the wallet declined
            case "scope_exceeded":
                yield from store.end_silent(presented.nonce, nonce)
                return NotPaid(problem="payment-insufficient")
            case "unknown_method" | "method_inactive":
                yield from store.end_silent(presented.nonce, nonce)
                return NotPaid(problem="payment-expired")
            case _:
                # nonce_reused above all: so a charge was made, and which one cannot be said.
                _log.error("the broker answers %d to a silent charge; its outcome is unknown", answer.status)
                return Unknown(retry_after_s=5)

    def _charged(
        self, presented: Presented, asked: wire.Asked, grant: GrantClaims, answer: Answer, rh: str, nonce: str
    ) -> Flow[Verdict]:
        members = answer.members
        status, jws, charge_id = members.get("status"), members.get("receipt_jws"), members.get("charge_id")
        if status == "failed":
            yield from store.end_silent(presented.nonce, nonce)
            return NotPaid()
        if status != "paid" or not isinstance(jws, str) or not isinstance(charge_id, str) or not is_id(charge_id):
            return Unknown()
        try:
            claims = yield from self._jwks.receipt(jws, from_issuer=True)
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
        if claims.price != asked.price and not _says(answer.members, claims):
            # Nobody else can be asked what was taken, so that neither of its two statements is put on record.
            _log.error("the receipt of silent charge %s is for other money than its answer says", shown(charge_id))
            return Unknown(retry_after_s=5)
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


def _says(members: JsonObject, claims: ReceiptClaims) -> bool:
    """Whether the broker's answer names the money of its receipt."""
    currency = members.get("currency")
    if not isinstance(currency, str) or currency.lower() != claims.price.currency:
        return False
    try:
        return from_hitpay(members.get("amount"), claims.price.currency) == claims.price.amount
    except ParseError:
        return False


def _unchecked(error: KeysUnavailable) -> Refusal:
    return Refusal("provider-unavailable", retry_after_s=error.retry_after_s, open_outcome=False)


def _cannot_be_repeated() -> Unknown:
    _log.error("a silent charge of unknown outcome cannot be repeated: look for it in the dashboard")
    return Unknown(retry_after_s=30)
