"""HitPay's core API, as far as a paid route needs it: payment requests, refunds, and the status lag rule.

A payment can have succeeded while the payment request above it still says ``pending`` (HitPay's MPP sample 06), so
both are looked at.
"""

import re
from typing import Final, Literal

import attrs

from flovia.core.effects import Flow
from flovia.core.encoding import JsonObject, JsonValue
from flovia.core.errors import ParseError
from flovia.providers.hitpay.amounts import from_hitpay
from flovia.providers.hitpay.calls import Answer, HitPayDown, call, segment
from flovia.providers.hitpay.config import HitPayConfig

State = Literal["paid", "open", "dead"]

PAID: Final = frozenset({"completed", "paid", "succeeded"})
"""The statuses by which a payment request says that it was paid."""
_DEAD: Final = frozenset({"expired", "cancelled", "canceled", "failed"})
_UUID: Final = r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}"
_IN_URL: Final = re.compile(rf"/payment-request/@[^/]+/({_UUID})(?:/|$)").search
_IDENT: Final = re.compile(r"[A-Za-z0-9_-]{1,128}").fullmatch


@attrs.frozen(kw_only=True)
class Money:
    """One payment of a payment request that succeeded. ``amount`` in base units of ``currency``.

    ``refunded``: it was given back, in full or, with ``partly``, in part.
    """

    payment_id: str
    amount: int
    currency: str
    refunded: bool = False
    partly: bool = False


@attrs.frozen(kw_only=True)
class PaymentRequest:
    """A payment request as HitPay has it. ``payments``: those that succeeded, in HitPay's order."""

    id: str
    state: State
    reference: str
    amount: int
    currency: str
    payments: tuple[Money, ...]


@attrs.frozen(kw_only=True)
class RefundView:
    """A refund as HitPay has it. ``amount`` in base units."""

    id: str
    payment_id: str
    amount: int
    currency: str


def request_id_of(checkout_url: str) -> str | None:
    """The payment request's id, dug out of the address of its checkout page; None if it is not there."""
    found = _IN_URL(checkout_url.partition("?")[0])
    return found[1] if found else None


class CoreApi:
    """The calls, with the merchant's key on each."""

    def __init__(self, config: HitPayConfig) -> None:
        self._config = config
        self._origin = config.api_endpoint.origin

    def _call(self, http_method: str, path: str, body: dict[str, JsonValue] | None = None) -> Flow[Answer]:
        headers = (("x-business-api-key", self._config.api_key or ""), ("x-requested-with", "XMLHttpRequest"))
        return call(self._config, http_method, self._origin, path, body=body, headers=headers)

    def payment_request(self, request_id: str) -> Flow[PaymentRequest | None]:
        """One payment request; None if HitPay has none of this id.

        Raises:
            HitPayDown: no usable answer.
        """
        answer = yield from self._call("GET", f"/v1/payment-requests/{segment(request_id)}")
        if answer.status == 404:
            return None
        if not answer.ok:
            raise HitPayDown(f"HitPay refuses to show a payment request (status {answer.status}): check the key")
        try:
            return self._read(answer.members, request_id)
        except ParseError:
            raise HitPayDown("HitPay's payment request cannot be read: try again") from None

    def refund(self, payment_id: str, amount: str) -> Flow[Answer]:
        """Give back, in full or in part. HitPay knows no idempotency key: look before a second try.

        Raises:
            HitPayDown: the outcome is unknown.
        """
        return (yield from self._call("POST", "/v1/refund", {"payment_id": payment_id, "amount": amount}))

    def refund_view(self, refund_id: str) -> Flow[RefundView | None]:
        """One refund; None if HitPay has none of this id.

        Raises:
            HitPayDown: no usable answer.
        """
        answer = yield from self._call("GET", f"/v1/refund/{segment(refund_id)}")
        if answer.status == 404:
            return None
        found = None if not answer.ok else read_refund(answer.members)
        if found is None:
            raise HitPayDown("HitPay's refund cannot be read: try again")
        return found

    def _read(self, members: JsonObject, request_id: str) -> PaymentRequest:
        ident, status, reference = members.get("id"), members.get("status"), members.get("reference_number")
        currency = _currency(members.get("currency"))
        if not isinstance(ident, str) or ident.lower() != request_id.lower() or not isinstance(status, str):
            raise ParseError("a payment request of another id, or without a status")
        listed = members.get("payments")
        payments = tuple(
            money
            for item in (listed if isinstance(listed, list) else [])
            if isinstance(item, dict) and (money := self._money(item, currency)) is not None
        )
        state: State = "dead" if status in _DEAD else "open"
        if status in PAID or any(not money.refunded for money in payments):
            state = "paid"
        return PaymentRequest(
            id=ident,
            state=state,
            reference=reference if isinstance(reference, str) else "",
            amount=from_hitpay(members.get("amount"), currency),
            currency=currency,
            payments=payments,
        )

    def _money(self, item: JsonObject, currency: str) -> Money | None:
        status, ident = item.get("status"), item.get("id")
        good = {"succeeded", "refunded", "partially_refunded"}
        if self._config.manual_counts:
            good.add("succeeded_manually")
        if not isinstance(status, str) or status not in good:
            return None
        if not isinstance(ident, str) or not _IDENT(ident):
            raise ParseError("a payment without an id")
        own = _currency(item.get("currency", currency))
        amount = from_hitpay(item.get("amount"), own)
        partly = status == "partially_refunded"
        return Money(
            payment_id=ident, amount=amount, currency=own, refunded=partly or status == "refunded", partly=partly
        )


def read_refund(members: JsonObject) -> RefundView | None:
    """The refund in an answer; None if there is none that can be read, or it has not succeeded.

    ``status`` is ``succeeded`` or null where it has (HitPay docs: refund).
    """
    ident, payment_id = members.get("id"), members.get("payment_id")
    if not isinstance(ident, str) or not ident or not isinstance(payment_id, str):
        return None
    if members.get("status") not in ("succeeded", "completed", None):
        return None
    try:
        currency = _currency(members.get("currency"))
        amount = from_hitpay(members.get("amount_refunded"), currency)
    except ParseError:
        return None
    return RefundView(id=ident, payment_id=payment_id, amount=amount, currency=currency)


def _currency(value: JsonValue) -> str:
    if isinstance(value, str) and len(value) == 3 and value.isascii() and value.isalpha():
        return value.lower()
    raise ParseError("an amount without its currency")
