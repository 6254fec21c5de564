"""Webhooks of HitPay. Each is a hint: it is checked, and then HitPay is asked what is true.

No webhook opens anything. What one can bring about: a late or second payment, or one of another sum, is put on record
for a refund, a refund is put on record, a saved method that is gone is refused from now on.
"""

import logging
import re
from hashlib import sha256
from typing import Final, Literal

from flovia.core.challenge import Challenge
from flovia.core.effects import Flow, recall, remember
from flovia.core.encoding import JsonObject, JsonValue, loads_object
from flovia.core.errors import ParseError
from flovia.core.http import Headers
from flovia.core.issued import find_issued
from flovia.core.webhook import Heard, LatePayment, Notice, RefundedPayment, WaitingPayment
from flovia.providers.hitpay import store, wire
from flovia.providers.hitpay.broker import Broker
from flovia.providers.hitpay.calls import NAMESPACE, HitPayDown
from flovia.providers.hitpay.charges import shown
from flovia.providers.hitpay.config import HitPayConfig
from flovia.providers.hitpay.core_api import PAID, CoreApi, Money, PaymentRequest, RefundView
from flovia.providers.hitpay.signatures import check_v1, check_v2, read_form

_log = logging.getLogger("flovia")

SIGNATURE: Final = "hitpay-signature"
_SEEN_S: Final = 7 * 86400.0
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}").fullmatch
_IDENT: Final = re.compile(r"[A-Za-z0-9_-]{1,128}").fullmatch
_OBJECTS: Final = ("payment_request", "charge", "recurring_billing", "data", "object")
_GONE: Final = frozenset({"detached", "revoked", "expired"})


class Webhooks:
    """From the bytes of a webhook to what follows from it."""

    def __init__(self, config: HitPayConfig, broker: Broker, api: CoreApi, method: str) -> None:
        self._config = config
        self._broker = broker
        self._api = api
        self._method = method

    def hear(self, headers: Headers, body: bytes) -> Flow[Heard]:
        """Check one webhook and find out what is true."""
        config = self._config
        if config.api_key is None or not (config.webhook_salts or config.api_salts):
            _log.error("a webhook cannot be checked: set HITPAY_API_KEY and HITPAY_WEBHOOK_SALT")
            return Heard(status=503, code="not-configured")
        if len(body) > config.max_webhook:
            return Heard(status=400, code="malformed")
        signed = headers.get_all(SIGNATURE)
        event: JsonObject | None
        if signed:
            if len(signed) != 1 or not check_v2(body, signed[0], config.webhook_salts):
                return Heard(status=401, code="bad-signature")
            event = _json(body)
        else:
            form = read_form(body)
            if form is None or not check_v1(form, config.api_salts):
                return Heard(status=401, code="bad-signature")
            event = dict[str, JsonValue](form)
        if event is None:
            return Heard(status=400, code="malformed")
        # The whole body: the same event with another word in it is another one, and asking twice does no harm.
        mark = f"heard {sha256(body).hexdigest()}"
        if (yield from recall(NAMESPACE, mark)) is not None:
            return Heard(code="duplicate")
        try:
            notices = yield from self._follow(event)
        except HitPayDown as down:
            _log.warning("a webhook is asked for again: %s", down)
            return Heard(status=503, code="try-again")
        if not notices:
            # What has to be recorded is told again each time: only the ledger knows whether it was.
            yield from remember(NAMESPACE, mark, "1", ttl_s=_SEEN_S)
        return Heard(code="ignored") if notices is None else Heard(notices=notices)

    def _follow(self, event: JsonObject) -> Flow[tuple[Notice, ...] | None]:
        """What is true about the thing an event names; None if it is nothing of ours."""
        inner = _inner(event)
        request_id = yield from self._request_id(event, inner)
        if request_id is not None:
            found = yield from self._api.payment_request(request_id)
            if found is None:
                return None
            if found.state == "open" and inner.get("status") in PAID:
                raise HitPayDown("an event is ahead of HitPay's API, which says that nothing was paid yet")
            return (yield from self._about(found, inner))
        payment_id = inner.get("id")
        if isinstance(payment_id, str) and _UUID(payment_id) and _refund_ids(inner):
            reference = yield from store.reference_of(payment_id)
            if reference is not None:
                return (yield from self._about_silent(reference, payment_id, inner))
        method_id = _saved_id(event, inner)
        if method_id is not None:
            return (yield from self._about_saved(method_id))
        return None

    def _request_id(self, event: JsonObject, inner: JsonObject) -> Flow[str | None]:
        """The payment request to look at. Where the event names a payment only, ours if we know it."""
        for holder in (inner, event):
            for name in ("payment_request_id", "id"):
                value = holder.get(name)
                if isinstance(value, str) and _UUID(value):
                    known = yield from self._request_of_payment(value)
                    if name != "id" or known is not None or _looks_like_request(holder):
                        return known or value
            nested = holder.get("payment_request")
            if isinstance(nested, dict) and isinstance(value := nested.get("id"), str) and _UUID(value):
                return value
        return None

    def _request_of_payment(self, payment_id: str) -> Flow[str | None]:
        reference = yield from store.reference_of(payment_id)
        if reference is None:
            return None
        paid = yield from store.find_paid(reference)
        if paid is not None and paid.request_id:
            return paid.request_id
        charge = yield from store.find_charge(reference)
        return None if charge is None else charge.request_id

    # --- charges ------------------------------------------------------------------------------------------

    def _about(self, found: PaymentRequest, inner: JsonObject) -> Flow[tuple[Notice, ...] | None]:
        """Late, second and refunded payments of one payment request."""
        charge_id = found.reference
        challenge = (yield from find_issued(self._method, charge_id)) if _IDENT(charge_id) else None
        if challenge is None:
            _log.info("a webhook is about a payment that was not asked for here")
            return None
        notices: list[Notice] = []
        first, *others = found.payments or (None,)
        known = yield from store.find_paid(charge_id)
        if known is not None and known.payment_id:
            first = next((money for money in found.payments if money.payment_id == known.payment_id), first)
            others = [money for money in found.payments if money is not first]
        unsold = first is not None and not first.refunded and (known is None or known.late)
        if first is not None and unsold:
            other = not _is_asked(first, challenge)
            lost = other or (yield from self._too_late(charge_id))
            late = self._late(challenge.id, charge_id, first, "unmatched" if other else "late")
            # What its credential would still get buys nothing either, if a saved wallet has paid meanwhile.
            notices.append(late if lost else _waiting(late))
            if lost or known is None:
                paid = store.PaidRecord(payment_id=first.payment_id, request_id=found.id, late=True)
                yield from store.keep_paid(charge_id, paid)
        for money in others:
            if not money.refunded:
                _log.warning("charge %s was paid a second time", shown(charge_id))
                paid = store.PaidRecord(payment_id=money.payment_id, request_id=found.id, late=True)
                yield from store.keep_paid(money.payment_id, paid)
                notices.append(self._late(challenge.id, money.payment_id, money, "duplicate"))
        for money in found.payments:
            if money.refunded:
                reference = charge_id if money is first else money.payment_id
                notice = yield from self._refunded(challenge.id, reference, money, inner)
                notices += [] if notice is None else [notice]
        return tuple(notices)

    def _too_late(self, charge_id: str) -> Flow[bool]:
        """Whether money for this charge can buy nothing any more: the broker has closed it unpaid."""
        status = yield from self._broker.poll(charge_id)
        return status is None or status == "expired"

    def _late(
        self, challenge_id: str, payment_id: str, money: Money, reason: Literal["late", "duplicate", "unmatched"]
    ) -> LatePayment:
        return LatePayment(
            challenge_id=challenge_id,
            method=self._method,
            payment_id=payment_id,
            amount=money.amount,
            currency=money.currency,
            reason=reason,
        )

    def _refunded(
        self, challenge_id: str, reference: str, money: Money, inner: JsonObject
    ) -> Flow[RefundedPayment | None]:
        amount = money.amount
        if money.partly:
            refund = yield from self._refund_of(money.payment_id, inner)
            if refund is None:
                _log.warning("a part of payment %s was refunded, and HitPay does not say how much", shown(reference))
                yield from store.note_part_back(reference)
                return None
            amount = refund.amount
        return RefundedPayment(
            method=self._method,
            payment_id=reference,
            amount=amount,
            currency=money.currency,
            challenge_id=challenge_id,
        )

    def _about_silent(self, reference: str, payment_id: str, inner: JsonObject) -> Flow[tuple[Notice, ...] | None]:
        """A payment of a saved wallet, which has no payment request: its refund is looked up by its own id."""
        refund = yield from self._refund_of(payment_id, inner)
        if refund is None:
            return None
        return (
            RefundedPayment(method=self._method, payment_id=reference, amount=refund.amount, currency=refund.currency),
        )

    def _refund_of(self, payment_id: str, inner: JsonObject) -> Flow[RefundView | None]:
        """The refund of a payment that an event names, as HitPay's API has it."""
        for ident in _refund_ids(inner):
            found = yield from self._api.refund_view(ident)
            if found is not None and found.payment_id == payment_id:
                return found
        return None

    # --- saved methods ------------------------------------------------------------------------------------

    def _about_saved(self, method_id: str) -> Flow[tuple[Notice, ...] | None]:
        found = yield from self._broker.saved_status(method_id)
        if found is None:
            return None
        if found.status in _GONE:
            yield from store.revoke_grant(self._config, method_id)
        return ()


def _waiting(late: LatePayment) -> WaitingPayment:
    return WaitingPayment(
        challenge_id=late.challenge_id,
        method=late.method,
        payment_id=late.payment_id,
        amount=late.amount,
        currency=late.currency,
    )


def _json(body: bytes) -> JsonObject | None:
    try:
        return loads_object(body)
    except ParseError:
        return None


def _inner(event: JsonObject) -> JsonObject:
    """The thing an event is about: in an envelope, or the event itself."""
    for name in _OBJECTS:
        found = event.get(name)
        if isinstance(found, dict) and ("id" in found or "reference" in found):
            return found
    return event


def _is_asked(money: Money, challenge: Challenge) -> bool:
    """Whether this is the money that the challenge asks; what cannot be read (of an older version) is not doubted."""
    asked = wire.read_asked(challenge.request_json)
    return asked is None or (money.amount, money.currency.lower()) == (asked.price.amount, asked.price.currency.lower())


def _looks_like_request(holder: JsonObject) -> bool:
    """Whether an object is a payment request rather than a payment: it has a reference number, and no channel."""
    return "reference_number" in holder and "channel" not in holder


def _saved_id(event: JsonObject, inner: JsonObject) -> str | None:
    for holder in (inner, event):
        for name in ("reference", "saved_method_id", "affected_method_id"):
            value = holder.get(name)
            if isinstance(value, str) and value.startswith("mpp_spm_") and _IDENT(value):
                return value
    return None


def _refund_ids(inner: JsonObject) -> list[str]:
    found: list[str] = []
    refunds = inner.get("refunds")
    for item in refunds if isinstance(refunds, list) else []:
        if isinstance(item, dict) and isinstance(ident := item.get("id"), str):
            found.append(ident)
    if isinstance(ident := inner.get("refund_id"), str):
        found.append(ident)
    return [ident for ident in found if _IDENT(ident)][:5]
