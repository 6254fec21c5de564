"""One-time charges: create one for an unpaid request, verify it when its credential comes."""

import logging
from hmac import compare_digest
from typing import Final

from flovia.core.challenge import format_expires, parse_expires
from flovia.core.effects import Flow, now, recall, remember, sleep, token
from flovia.core.encoding import JsonObject, JsonValue
from flovia.core.money import Price
from flovia.core.provider import NotPaid, Paid, PaidBack, Presented, Quote, Refusal, Terms, Unknown, Verdict
from flovia.providers.hitpay import store, wire
from flovia.providers.hitpay.amounts import to_hitpay
from flovia.providers.hitpay.broker import Broker, Created
from flovia.providers.hitpay.calls import NAMESPACE, Answer, HitPayDown
from flovia.providers.hitpay.config import HitPayConfig
from flovia.providers.hitpay.core_api import CoreApi, PaymentRequest, request_id_of
from flovia.providers.hitpay.limits import take_creation
from flovia.providers.hitpay.names import OF_VERIFY, first
from flovia.providers.hitpay.native import is_native
from flovia.providers.hitpay.request_hash import request_hash
from flovia.signed import BadToken, Jwks, KeysUnavailable

_log = logging.getLogger("flovia")

CHALLENGE_ID: Final = "challenge_id"
HASH: Final = "rh"
_OPEN_LEFT_S: Final = 60.0
"""A charge is only handed out again while there is this much time left to pay it."""
_WAITS: Final = 10
_WAIT_S: Final = 0.2


def shown(ident: str) -> str:
    """As much of an id as a log may hold."""
    prefix, mark, rest = ident.rpartition("_")
    return f"{prefix}{mark}…{rest[-4:]}"


class Charges:
    """The two questions of a provider, for ``hitpay`` charges."""

    def __init__(self, config: HitPayConfig, broker: Broker, api: CoreApi, jwks: Jwks) -> None:
        self._config = config
        self._broker = broker
        self._api = api
        self._jwks = jwks

    # --- asking -----------------------------------------------------------------------------------------------

    def quote(self, quote: Quote) -> Flow[Terms]:
        """A charge at the broker, and the challenge that leads a payer to it.

        Raises:
            Refusal: too many were created, or HitPay gives none.
        """
        config = self._config
        rh = request_hash(quote.request, config)
        caller = None if config.caller_of is None else config.caller_of(quote.request)
        if caller is None:
            created = yield from self._create(quote, rh)
        else:
            created = yield from self._shared(quote, rh, caller)
        form = wire.form_of(quote.request, config)
        request = wire.challenge_request(quote.price, created, description=quote.description, form=form)
        return terms_for(config, request, created, quote.price, opaque={CHALLENGE_ID: created.id, HASH: rh}, form=form)

    def _create(self, quote: Quote, rh: str) -> Flow[Created]:
        config = self._config
        if wait := (yield from take_creation(config, quote.client)):
            raise Refusal("rate-limited", retry_after_s=wait)
        # Kept before it is used, under the challenge's nonce; under the charge once that has a name.
        nonce = yield from store.nonce_for(config, "charge", quote.nonce)
        try:
            created = yield from self._broker.create_charge(
                amount=to_hitpay(quote.price),
                currency=quote.price.currency,
                description=quote.description,
                nonce=nonce,
                request_hash=rh,
            )
        except HitPayDown as down:
            _log.warning("no charge was created: %s", down)
            raise Refusal("provider-unavailable", retry_after_s=down.retry_after_s) from None
        record = store.ChargeRecord(nonce=nonce, request_id=request_id_of(created.checkout_url))
        yield from store.keep_charge(config, created.id, record)
        return created

    def _shared(self, quote: Quote, rh: str, caller: str) -> Flow[Created]:
        """The open charge of the same authenticated caller for the same request and price, or a new one.

        Callers that come at once wait for the one that creates it. Never for anonymous ones: whoever pays a charge
        may use it, and two strangers must not be shown the same.
        """
        price = quote.price
        key = store.hashed(caller, rh, str(price.amount), price.currency, quote.description or "")
        own = yield from token()
        for _ in range(_WAITS):
            found = store.read_created((yield from recall(NAMESPACE, f"open {key}")))
            if found is not None and found.expires_at - _OPEN_LEFT_S > (yield from now()):
                return found
            lock_s = 2 * self._config.call_s + 1.0
            if own == (yield from remember(NAMESPACE, f"opening {key}", own, ttl_s=lock_s, if_absent=True)):
                break
            yield from sleep(_WAIT_S)
        else:
            raise Refusal("provider-unavailable", retry_after_s=1)
        try:
            created = yield from self._create(quote, rh)
        except BaseException:
            yield from remember(NAMESPACE, f"opening {key}", "", ttl_s=0.001)
            raise
        left = created.expires_at - (yield from now())
        yield from remember(NAMESPACE, f"open {key}", store.write_created(created), ttl_s=max(left, 0.001))
        yield from remember(NAMESPACE, f"opening {key}", "", ttl_s=0.001)
        return created

    # --- verifying --------------------------------------------------------------------------------------------

    def verify(self, presented: Presented, asked: wire.Asked) -> Flow[Verdict]:
        """Whether the charge of this challenge was paid for this request."""
        named = first(presented.payload, self._config.names.payload_charge)
        rh = presented.opaque.get(HASH)
        if not isinstance(named, str):
            return NotPaid(problem="invalid-payload")
        bound = presented.opaque.get(CHALLENGE_ID)
        if not isinstance(bound, str) or not same(named, bound) or not same(named, asked.ident):
            return NotPaid()
        # The request's own hash, now: not what somebody says it was.
        if not isinstance(rh, str) or not same(rh, request_hash(presented.request, self._config)):
            return NotPaid()
        record = yield from store.find_charge(named)
        nonce = record.nonce if record is not None else (yield from store.kept_nonce("charge", presented.nonce))
        try:
            answer = yield from self._broker.verify(named, request_hash=rh, nonce=nonce)
            return (yield from self._judge(presented, asked, answer, rh))
        except HitPayDown as down:
            _log.warning("charge %s cannot be verified now: %s", shown(named), down)
            return Unknown(retry_after_s=down.retry_after_s)
        except KeysUnavailable as error:
            _log.warning("charge %s cannot be verified now: %s", shown(named), error)
            return Unknown(retry_after_s=error.retry_after_s)

    def _judge(self, presented: Presented, asked: wire.Asked, answer: Answer, rh: str) -> Flow[Verdict]:
        if answer.ok:
            return (yield from self._paid(presented, asked, answer, rh))
        match self._config.refusals.meaning(answer.status, answer.code, OF_VERIFY):
            case "not_paid":
                return (yield from self._not_paid(presented, asked))
            case "already_verified":
                # It was verified before and the answer was lost: paid for sure, and nobody is asked again.
                return (yield from self._by_core(asked, anyway=True)) or Unknown()
            case "refunded":
                return (yield from self._paid_back(asked))
            case "expired":
                return NotPaid(problem="payment-expired")
            case "unknown_charge":
                return NotPaid(problem="invalid-challenge")
            case "hash_mismatch":
                _log.error("the broker refuses the request hash of charge %s", asked_id(asked))
                return NotPaid()
            case _:
                # 400, 401, 403 and whatever comes next say something about our call and nothing about the money.
                _log.error(
                    "the broker answers %d to a verification: check HITPAY_API_KEY and the endpoint", answer.status
                )
                return Unknown(retry_after_s=5)

    def _not_paid(self, presented: Presented, asked: wire.Asked) -> Flow[Verdict]:
        """The broker says that it has not been paid. So it has not, unless its status got stuck."""
        expires = presented.challenge.expires
        over = expires is None or parse_expires(expires) <= (yield from now())
        # Before anybody is asked to pay a second time HitPay itself is asked, whatever the settings say.
        found = yield from self._by_core(asked, anyway=over)
        if found is not None:
            return found
        if over:
            return NotPaid(problem="payment-expired")
        look = wire.look_again(presented, asked, self._config)
        return NotPaid(retry_after_s=self._config.retry_after_s, same_challenge=True, look=look)

    def _paid(self, presented: Presented, asked: wire.Asked, answer: Answer, rh: str) -> Flow[Verdict]:
        """A receipt: believed if the broker signed it for this very charge and request."""
        jws = answer.members.get("receipt_jws")
        if not isinstance(jws, str):
            return Unknown()
        try:
            claims = yield from self._jwks.receipt(jws, from_issuer=True)
        except BadToken as error:
            # The broker says paid and cannot prove it: asking for the money again would be wrong, and so letting in.
            _log.error("the receipt of charge %s is not believed (%s): %s", asked_id(asked), error.reason, error)
            return Unknown()
        if not same(claims.challenge_id, asked.ident) or not same(claims.request_hash, rh):
            _log.error("the receipt of charge %s is for another charge or request", asked_id(asked))
            return Unknown()
        if (yield from store.is_part_back(asked.ident)):
            # Heard of before, and a receipt of the broker's says nothing of it: even a cent that went back is one.
            return PaidBack(reference=asked.ident, amount=None, currency=asked.price.currency)
        if claims.price != asked.price:
            return (yield from self._other_money(asked))
        record = store.PaidRecord(
            payment_id=claims.payment_id or "",
            request_id=claims.payment_request_id or request_id_of(asked.checkout_url) or "",
        )
        yield from store.keep_paid(asked.ident, record)
        native = is_native(presented.request, self._config)
        extra, headers, receipt = wire.receipt_parts(claims, jws, native=native, external_id=asked.ident)
        return Paid(
            # Not what the receipt calls it: one charge has one name, also where there is no receipt.
            reference=asked.ident,
            amount=claims.price.amount,
            currency=claims.price.currency,
            receipt_extra=extra,
            receipt_headers=headers,
            receipt=receipt,
            data=_data(record),
        )

    def _other_money(self, asked: wire.Asked) -> Flow[Verdict]:
        """The broker signs other money than it was told to ask for: what was really taken, HitPay's API knows.

        That is what the refund is due of, and not what the receipt claims. If the money is all right there, the receipt
        is wrong, which says nothing; reconciling finds out, or the API's word counts where that is set.
        """
        found = yield from self._by_core(asked, anyway=True)
        right = isinstance(found, Paid) and (found.amount, found.currency) == (asked.price.amount, asked.price.currency)
        if found is None or (right and not self._config.core_fallback):
            _log.error("the receipt of charge %s is for other money than HitPay's API shows", asked_id(asked))
            return Unknown(retry_after_s=5)
        return found

    def _by_core(self, asked: wire.Asked, *, anyway: bool = False) -> Flow[Verdict | None]:
        """What the core API says about a charge, where that may be asked: paid, paid and given back, or nothing."""
        if not (self._config.core_fallback or anyway):
            return None
        found = yield from self._request(asked)
        if found is None:
            return None
        back = _back(asked, found)
        return back if back is not None or found.state != "paid" else (yield from self._paid_at_core(asked, found))

    def _paid_back(self, asked: wire.Asked) -> Flow[Verdict]:
        """The broker says that it was given back; how much, and in which of the payments, the core API knows."""
        found = yield from self._request(asked)
        unknown = PaidBack(reference=asked.ident, amount=None, currency=asked.price.currency)
        return unknown if found is None else _back(asked, found) or unknown

    def _request(self, asked: wire.Asked) -> Flow[PaymentRequest | None]:
        """The payment request behind a charge; None if there is none that names it."""
        request_id = request_id_of(asked.checkout_url)
        found = None if request_id is None else (yield from self._api.payment_request(request_id))
        return found if found is not None and same(found.reference, asked.ident) else None

    def _paid_at_core(self, asked: wire.Asked, found: PaymentRequest) -> Flow[Verdict]:
        first = next((money for money in found.payments if not money.refunded), None)
        record = store.PaidRecord(payment_id="" if first is None else first.payment_id, request_id=found.id)
        yield from store.keep_paid(asked.ident, record)
        inner: dict[str, JsonValue] = {"payment_id": record.payment_id} if record.payment_id else {}
        return Paid(
            reference=asked.ident,
            amount=found.amount if first is None else first.amount,
            currency=found.currency if first is None else first.currency,
            receipt_extra={"externalId": asked.ident, **({"extra": inner} if inner else {})},
            data=_data(record),
        )


def terms_for(
    config: HitPayConfig,
    request: JsonObject,
    created: Created,
    price: Price,
    *,
    opaque: dict[str, str],
    form: wire.Form,
) -> Terms:
    """The terms of a challenge that leads to a page of HitPay's."""
    expires_at = created.expires_at
    asked = wire.read_asked(request)
    look = None if asked is None else wire.look_of(asked, format_expires(int(expires_at)), form)
    if config.header_amount == "decimal":
        request = {**request, "amount": to_hitpay(price)}
    return Terms(
        request=request,
        opaque=opaque,
        expires_at=expires_at,
        own_expiry=True,
        look=look,
        handle=created.id,
        handle_kept_s=float(config.nonce_kept_s),
    )


def asked_id(asked: wire.Asked) -> str:
    """What a log may hold of what was asked."""
    return shown(asked.ident)


def same(one: str | None, other: str | None) -> bool:
    """Whether two texts are equal, in constant time for texts of one length."""
    if one is None or other is None:
        return False
    return compare_digest(one.encode("utf-8", "surrogatepass"), other.encode("utf-8", "surrogatepass"))


def _back(asked: wire.Asked, found: PaymentRequest) -> PaidBack | None:
    """All that was paid for this charge went back, in full or in part; None if that is not so."""
    if not found.payments or not all(money.refunded for money in found.payments):
        return None
    first = found.payments[0]
    # How much a part was does not stand here.
    amount = None if first.partly else first.amount
    return PaidBack(reference=asked.ident, amount=amount, currency=first.currency)


def _data(record: store.PaidRecord) -> JsonObject:
    members: dict[str, JsonValue] = {}
    if record.payment_id:
        members["payment_id"] = record.payment_id
    if record.request_id:
        members["payment_request_id"] = record.request_id
    return members
