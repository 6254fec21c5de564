"""Refunds through HitPay's core API: one per payment, in full or in part.

HitPay documents no idempotency key for them. So a try is noted before it is made, and after one whose outcome nobody
knows the payment itself is looked at, before it is tried again.
"""

import logging
from contextlib import suppress
from typing import Final

from flovia.core.effects import Flow, recall, remember
from flovia.core.errors import LedgerError
from flovia.core.money import Price
from flovia.core.refund import NotRefunded, Refunded, RefundOrder, RefundUnknown, RefundVerdict
from flovia.providers.hitpay import store
from flovia.providers.hitpay.amounts import to_hitpay
from flovia.providers.hitpay.calls import NAMESPACE, HitPayDown, NotCalled
from flovia.providers.hitpay.charges import shown
from flovia.providers.hitpay.config import HitPayConfig
from flovia.providers.hitpay.core_api import CoreApi, Money, PaymentRequest, read_refund

_log = logging.getLogger("flovia")

NO_KEY: Final = "HITPAY_API_KEY is not set here: set it as the app has it and try again"
NO_PAYMENT: Final = "HitPay's own payment behind this one is not known: refund it in the dashboard"
REFUSED: Final = "HitPay refuses this refund: a payment can be refunded once, and not for longer than its method allows"
ANOTHER: Final = "this payment has been refunded already, with another amount or order"


class Refunds:
    """Gives money back."""

    def __init__(self, config: HitPayConfig, api: CoreApi) -> None:
        self._config = config
        self._api = api

    def refund(self, order: RefundOrder) -> Flow[RefundVerdict]:
        """Carry out one order; the same order again finds out what became of the first try."""
        if self._config.api_key is None:
            return NotRefunded(reason=NO_KEY)
        try:
            request, payment_id = yield from self._payment(order)
            if payment_id is None:
                return NotRefunded(reason=NO_PAYMENT)
            return (yield from self._give_back(order, request, payment_id))
        except HitPayDown as down:
            _log.warning("the refund of %s has no known outcome: %s", shown(order.payment_id), down)
            return RefundUnknown()

    def _give_back(self, order: RefundOrder, request_id: str | None, payment_id: str) -> Flow[RefundVerdict]:
        amount = to_hitpay(Price(amount=order.amount, currency=order.currency))
        own = f"{order.nonce} {order.amount}"
        mark = f"refund {payment_id}"
        noted = yield from recall(NAMESPACE, mark)
        if noted is not None:
            tried, _, refund_id = noted.partition("|")
            if tried != own:
                return NotRefunded(reason=ANOTHER)
            if refund_id:
                return (yield from self._known(order, payment_id, refund_id))
            earlier = yield from self._reconciled(order, request_id, payment_id)
            if earlier is not None:
                return earlier
        # One order for one payment, whoever comes at the same time.
        try:
            held = yield from remember(NAMESPACE, mark, own + "|", ttl_s=store.PAID_KEPT_S, if_absent=True)
        except LedgerError:
            if noted is None:
                yield from _forget(mark)  # perhaps it was written all the same
            raise
        if held.partition("|")[0] != own:
            return NotRefunded(reason=ANOTHER)
        try:
            answer = yield from self._api.refund(payment_id, amount)
        except (HitPayDown, NotCalled) as error:
            if noted is None and not error.called:
                yield from _forget(mark)
            raise
        if answer.ok:
            found = read_refund(answer.members)
            if found is None or found.payment_id != payment_id or found.currency != order.currency:
                return RefundUnknown()
            if found.amount != order.amount:
                _log.error("HitPay refunded another amount of %s than was ordered", shown(order.payment_id))
            yield from remember(NAMESPACE, mark, f"{own}|{found.id}", ttl_s=store.PAID_KEPT_S)
            return Refunded(refund_id=found.id, amount=found.amount, currency=found.currency)
        if answer.status in (401, 403):
            # About the key and not about the money: the order stays open until somebody has set it right.
            _log.error("HitPay does not accept the API key for refunds: check HITPAY_API_KEY and its permissions")
            return RefundUnknown()
        if answer.status in (400, 404, 422):
            # Refused is certain only if no earlier try of this order can have gone through.
            if noted is not None and (earlier := (yield from self._reconciled(order, request_id, payment_id))):
                return earlier
            yield from remember(NAMESPACE, mark, own + "|", ttl_s=0.001)
            elsewhere = yield from self._elsewhere(request_id, payment_id)
            return NotRefunded(reason=REFUSED) if elsewhere is None else elsewhere
        return RefundUnknown()

    def _known(self, order: RefundOrder, payment_id: str, refund_id: str) -> Flow[RefundVerdict]:
        found = yield from self._api.refund_view(refund_id)
        if found is None or found.payment_id != payment_id:
            return RefundUnknown()
        return Refunded(refund_id=found.id, amount=found.amount, currency=found.currency)

    def _reconciled(self, order: RefundOrder, request_id: str | None, payment_id: str) -> Flow[RefundVerdict | None]:
        """What became of an earlier try; None if it certainly did nothing."""
        if request_id is None:
            return RefundUnknown()
        request = yield from self._api.payment_request(request_id)
        money = None if request is None else _payment_in(request, payment_id)
        if money is None:
            return RefundUnknown()
        if not money.refunded:
            return None
        # HitPay takes one refund of a payment, and this order's is the one that was tried.
        return Refunded(refund_id=f"of_{payment_id}", amount=order.amount, currency=order.currency)

    def _elsewhere(self, request_id: str | None, payment_id: str) -> Flow[RefundVerdict | None]:
        """What somebody gave back in the dashboard, and no webhook told of; None if nobody did."""
        request = None if request_id is None else (yield from self._api.payment_request(request_id))
        money = None if request is None else _payment_in(request, payment_id)
        if money is None or not money.refunded:
            return None
        if money.partly:  # how much does not stand there
            return NotRefunded(reason=ANOTHER)
        return Refunded(refund_id=f"of_{payment_id}", amount=money.amount, currency=money.currency)

    def _payment(self, order: RefundOrder) -> Flow[tuple[str | None, str | None]]:
        """The payment request and the payment behind our reference; either may be unknown."""
        paid = yield from store.find_paid(order.payment_id)
        request_id, payment_id = (paid.request_id or None, paid.payment_id or None) if paid else (None, None)
        if request_id is None:
            charge = yield from store.find_charge(order.payment_id)
            request_id = None if charge is None else charge.request_id
        if payment_id is None and request_id is not None:
            request = yield from self._api.payment_request(request_id)
            listed = () if request is None else request.payments
            payment_id = listed[0].payment_id if len(listed) == 1 else None
        return request_id, payment_id


def _forget(mark: str) -> Flow[None]:
    """Take back the note of a try that was certainly not made, or nobody could tell afterwards that it was not."""
    with suppress(LedgerError):
        yield from remember(NAMESPACE, mark, "", ttl_s=0.001)


def _payment_in(request: PaymentRequest, payment_id: str) -> Money | None:
    return next((money for money in request.payments if money.payment_id == payment_id), None)
