"""What became of a charge, whoever has told or not told of it: a lost webhook, an agent that died after paying.

HitPay's core API is asked, because it knows payments, amounts and refunds; the broker only whether it would still take
the charge's credential, or where the core API knows nothing.
"""

import logging
from typing import Final

from flovia.core.effects import Flow
from flovia.core.encoding import JsonValue
from flovia.core.provider import Paid
from flovia.core.reconcile import Charge, ChargeState, ChargeUnknown, Moved
from flovia.providers.hitpay import store, wire
from flovia.providers.hitpay.broker import Broker
from flovia.providers.hitpay.calls import HitPayDown
from flovia.providers.hitpay.charges import same, shown
from flovia.providers.hitpay.config import HitPayConfig
from flovia.providers.hitpay.core_api import CoreApi, Money, PaymentRequest, request_id_of

_log = logging.getLogger("flovia")

NO_KEY: Final = "HITPAY_API_KEY is not set here: set it and run this again"
DOWN: Final = "HitPay gives no answer that says anything; it is asked again"
FOREIGN: Final = "HitPay shows another charge's payment request for it; look for it in the dashboard"
NO_AMOUNT: Final = "the broker says that it is paid and HitPay's API does not know it; look for it in the dashboard"


class Reconciler:
    """Looks at one charge."""

    def __init__(self, config: HitPayConfig, broker: Broker, api: CoreApi) -> None:
        self._config = config
        self._broker = broker
        self._api = api

    def reconcile(self, charge: Charge, *, keep: bool) -> Flow[ChargeState | ChargeUnknown | None]:
        """What HitPay knows about a charge; None for the binding of a wallet, which is no charge."""
        asked = wire.read_asked(charge.challenge.request_json)
        if asked is None or asked.mode or not same(asked.ident, charge.handle):
            return None
        if self._config.api_key is None:
            return ChargeUnknown(reason=NO_KEY, for_all=True)
        request_id = request_id_of(asked.checkout_url)
        try:
            found = None if request_id is None else (yield from self._api.payment_request(request_id))
            if found is None:
                return (yield from self._by_broker(asked))
            if not same(found.reference, asked.ident):
                _log.error("the payment request of charge %s is for another one", shown(asked.ident))
                return ChargeUnknown(reason=FOREIGN)
            return (yield from self._state(asked, found, keep=keep))
        except HitPayDown as down:
            _log.warning("charge %s cannot be looked at now: %s", shown(asked.ident), down)
            return ChargeUnknown(reason=DOWN)

    def _by_broker(self, asked: wire.Asked) -> Flow[ChargeState | ChargeUnknown]:
        """The broker's word where there is no other; it says whether, and not how much."""
        status = yield from self._broker.poll(asked.ident)
        if status in (None, "expired"):
            return ChargeState(asked=asked.price.amount, currency=asked.price.currency, over=True)
        if status == "pending":
            return ChargeState(asked=asked.price.amount, currency=asked.price.currency)
        return ChargeUnknown(reason=NO_AMOUNT)

    def _state(self, asked: wire.Asked, found: PaymentRequest, *, keep: bool) -> Flow[ChargeState]:
        price = asked.price
        known = yield from store.find_paid(asked.ident)
        payments = list(found.payments)
        if known is not None and known.payment_id:
            # The one that has bought something counts as the first, in whatever order HitPay lists them.
            payments.sort(key=lambda money: money.payment_id != known.payment_id)
        moved = [
            _moved(money, asked.ident if number == 0 else money.payment_id) for number, money in enumerate(payments)
        ]
        if found.state == "paid" and not payments:
            moved = [Moved(reference=asked.ident, amount=found.amount, currency=found.currency)]
        if not moved:
            return ChargeState(asked=price.amount, currency=price.currency, over=found.state == "dead")
        redeemable = False
        if known is None or known.late:
            status = yield from self._broker.poll(asked.ident)
            redeemable = status not in (None, "expired")
        if keep:
            yield from self._keep(asked.ident, found, payments, known)
        return ChargeState(
            asked=price.amount,
            currency=price.currency,
            payments=tuple(moved),
            redeemable=redeemable,
            paid=None
            if moved[0].given_back is not None or moved[0].partly
            else _paid(asked, found, moved[0], payments),
        )

    def _keep(
        self, ident: str, found: PaymentRequest, payments: list[Money], known: store.PaidRecord | None
    ) -> Flow[None]:
        """What a refund needs to find each payment. ``late``: as far as we know it has bought nothing.

        A part of the first that went back is remembered too: the broker may go on calling it paid.
        """
        if payments and payments[0].partly:
            yield from store.note_part_back(ident)
        for number, money in enumerate(payments):
            if number or known is None:
                record = store.PaidRecord(payment_id=money.payment_id, request_id=found.id, late=True)
                yield from store.keep_paid(money.payment_id if number else ident, record)


def _moved(money: Money, reference: str) -> Moved:
    given_back = money.amount if money.refunded and not money.partly else None
    return Moved(
        reference=reference,
        amount=money.amount,
        currency=money.currency,
        given_back=given_back,
        partly=money.partly,
    )


def _paid(asked: wire.Asked, found: PaymentRequest, moved: Moved, payments: list[Money]) -> Paid:
    """As a verification by HitPay's API says it: there is no receipt of the broker's."""
    payment_id = payments[0].payment_id if payments else ""
    inner: dict[str, JsonValue] = {"payment_id": payment_id} if payment_id else {}
    return Paid(
        reference=moved.reference,
        amount=moved.amount,
        currency=moved.currency,
        receipt_extra={"externalId": asked.ident, **({"extra": inner} if inner else {})},
        data={"payment_request_id": found.id, **inner},
    )
