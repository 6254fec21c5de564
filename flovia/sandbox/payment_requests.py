"""HitPay's own API: payment requests and refunds (HitPay docs: payment requests, refunds)."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final, cast

import attrs

from flovia.sandbox import machine
from flovia.sandbox.events import payment_json
from flovia.sandbox.fields import api_merchant, api_problem, flag, read_body, text
from flovia.sandbox.money import CURRENCIES, LEAST, MOST, api_amount, read_amount
from flovia.sandbox.payer import plan_payer
from flovia.sandbox.records import PaymentRequest, Refund
from flovia.sandbox.state import Draft, iso
from flovia.sandbox.targets import check_target
from flovia.sandbox.wire import Call, Json, Reply, api_error, json_reply

_AFTER: Final = re.compile(r"([1-9][0-9]{0,3}) (minute|min|hour|day)s?").fullmatch
_AFTER_MS: Final = {"minute": 60_000, "min": 60_000, "hour": 3_600_000, "day": 86_400_000}
_SHOWING: Final = ("payment_requests.create", "payment_requests.list", "payment_requests.read")
_SINGAPORE: Final = timedelta(hours=8)
"""``expiry_date`` is Singapore time."""


def checkout_url(d: Draft, request_id: str) -> str:
    """Where the payer goes; the path is the one HitPay's samples take apart."""
    return f"{d.origin('api')}/payment-request/@hitpay/{request_id}/checkout"


def create(d: Draft, call: Call) -> Reply:
    """``POST /v1/payment-requests``."""
    merchant = api_merchant(d, call, creates=True)
    body = read_body(call)
    currency = text(body, "currency", api_problem, required=True).lower()
    if currency not in CURRENCIES:
        raise api_problem("currency", "The selected currency is invalid.")
    amount = read_amount(body.get("amount"), currency)
    if amount is None or not LEAST <= amount <= MOST:
        raise api_problem("amount", "The amount must be between 0.3 and 999999999.99.")
    qr, direct = flag(body, "generate_qr"), flag(body, "generate_direct_link")
    if qr and direct:
        raise api_problem("generate_qr", "generate_qr and generate_direct_link exclude each other.")
    webhook = text(body, "webhook", api_problem)
    if webhook:
        check_target(webhook, "webhook")
    request = PaymentRequest(
        id=d.new_uuid(),
        merchant=merchant.id,
        amount=amount,
        currency=currency,
        reference=text(body, "reference_number", api_problem),
        purpose=text(body, "purpose", api_problem),
        email=text(body, "email", api_problem),
        name=text(body, "name", api_problem),
        phone=text(body, "phone", api_problem),
        methods=methods(body) or (CURRENCIES[currency].rail,),
        redirect_url=text(body, "redirect_url", api_problem, most=2000),
        webhook=webhook,
        repeated=flag(body, "allow_repeated_payments"),
        qr=qr,
        metadata=_metadata(body),
        expires_at=_expiry(d, body),
        created_at=d.now,
        updated_at=d.now,
    )
    d.requests[request.id] = request
    if request.expires_at is not None:
        d.at(request.expires_at, "expire_request", request.id)
    plan_payer(d, "payment_requests.create", request)
    return json_reply(201, _json(d, request))


def methods(body: Json) -> tuple[str, ...]:
    """``payment_methods``, a list of texts.

    Raises:
        Refused: 422.
    """
    found = body.get("payment_methods")
    if found is None:
        return ()
    listed = cast("list[object]", found) if isinstance(found, list) else [None]
    if not all(isinstance(item, str) and item for item in listed):
        raise api_problem("payment_methods", "The payment methods must be an array of codes.")
    return tuple(str(item) for item in listed)


def _metadata(body: Json) -> tuple[tuple[str, str], ...]:
    found = body.get("metadata")
    if found is None:
        return ()
    pairs = cast("dict[object, object]", found) if isinstance(found, dict) else {None: None}
    if len(pairs) > 50 or not all(isinstance(value, str) and len(value) <= 500 for value in pairs.values()):
        raise api_problem("metadata", "The metadata may have at most 50 texts of at most 500 characters.")
    return tuple((str(name), str(value)) for name, value in pairs.items())


def _expiry(d: Draft, body: Json) -> int | None:
    after = text(body, "expires_after", api_problem)
    if after:
        if (found := _AFTER(after)) is None:
            raise api_problem("expires_after", "Write for example 5 minutes, 30 mins, 2 hours or 7 days.")
        return d.now + int(found[1]) * _AFTER_MS[found[2]]
    date = text(body, "expiry_date", api_problem)
    if not date:
        return None
    try:
        when = datetime.strptime(date, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC) - _SINGAPORE
    except ValueError:
        raise api_problem("expiry_date", "The expiry date does not match the format Y-m-d H:i:s.") from None
    ms = round(when.timestamp() * 1000)
    if ms <= d.now:
        raise api_problem("expiry_date", "The expiry date must be a date in the future.")
    return ms


def _of(d: Draft, call: Call, request_id: str) -> PaymentRequest:
    merchant = api_merchant(d, call)
    found = d.requests.get(request_id)
    if found is None or found.merchant != merchant.id:
        raise api_error(404, f"No query results for model [PaymentRequest] {request_id}")
    return found


def read(d: Draft, call: Call, request_id: str) -> Reply:
    """``GET /v1/payment-requests/{id}``: with its payments, which may be ahead of its status."""
    request = _of(d, call, request_id)
    payments: list[Json] = []
    for found in request.payments:
        payments.append({**payment_json(d.payments[found]), "amount": _amount(d, d.payments[found].amount, request)})
    return json_reply(200, {**_json(d, request), "payments": payments})


def listed(d: Draft, call: Call) -> Reply:
    """``GET /v1/payment-requests``: the merchant's, newest first, without their payments."""
    merchant = api_merchant(d, call)
    found = [_json(d, request) for request in reversed(d.requests.values()) if request.merchant == merchant.id]
    return json_reply(200, {"data": found[:100], "meta": {"total": len(found)}})


def cancel(d: Draft, call: Call, request_id: str) -> Reply:
    """``DELETE /v1/payment-requests/{id}``: unless it is completed."""
    request = _of(d, call, request_id)
    if request.status != "pending" or any(d.payments[found].status != "failed" for found in request.payments):
        raise api_error(422, "Only a pending payment request can be deleted.")
    d.requests[request.id] = attrs.evolve(request, status="canceled", updated_at=d.now)
    return json_reply(200, {"success": True})


def _amount(d: Draft, amount: int, request: PaymentRequest) -> str:
    commas = d.is_set("amounts", "commas", _SHOWING, (request.id, request.charge or ""))
    return api_amount(amount, request.currency, commas=commas)


def _json(d: Draft, request: PaymentRequest) -> Json:
    ends = None
    if request.expires_at is not None:
        local = datetime.fromtimestamp(request.expires_at // 1000, tz=UTC) + _SINGAPORE
        ends = local.strftime("%Y-%m-%d %H:%M:%S")
    url = checkout_url(d, request.id)
    body: Json = {
        "id": request.id,
        "name": request.name or None,
        "email": request.email or None,
        "phone": request.phone or None,
        "amount": _amount(d, request.amount, request),
        "currency": request.currency,
        "status": request.status,
        "purpose": request.purpose or None,
        "reference_number": request.reference or None,
        "payment_methods": list(request.methods),
        "url": url,
        "redirect_url": request.redirect_url or None,
        "webhook": request.webhook or None,
        "allow_repeated_payments": request.repeated,
        "expiry_date": ends,
        "metadata": dict(request.metadata),
        "created_at": iso(request.created_at),
        "updated_at": iso(request.updated_at),
    }
    if request.qr:
        expiry = iso(request.expires_at) if request.expires_at is not None else None
        as_text = d.is_set("qr", "string", _SHOWING, (request.id, request.charge or ""))
        body["qr_code_data"] = url if as_text else {"qr_code": url, "qr_code_expiry": expiry}
    return body


# --- refunds --------------------------------------------------------------------------------------------


def create_refund(d: Draft, call: Call) -> Reply:
    """``POST /v1/refund``: a payment (not its request) once, in full or in part."""
    merchant = api_merchant(d, call)
    body = read_body(call)
    payment_id = text(body, "payment_id", api_problem, required=True)
    payment = d.payments.get(payment_id)
    if payment is None or payment.merchant != merchant.id:
        raise api_error(404, "No query results for model [Charge].")
    amount = read_amount(body.get("amount"), payment.currency)
    if payment.status == "failed":
        raise api_problem("payment_id", "Only a succeeded payment can be refunded.")
    if payment.refunded:
        raise api_problem("payment_id", "This payment has been refunded already.")
    if amount is None or not 0 < amount <= payment.amount:
        raise api_problem("amount", "The amount must be more than 0 and at most what was paid.")
    return json_reply(201, _refund_json(d, machine.refund(d, payment, amount)))


def read_refund(d: Draft, call: Call, refund_id: str) -> Reply:
    """``GET /v1/refund/{id}``."""
    merchant = api_merchant(d, call)
    found = d.refunds.get(refund_id)
    if found is None or d.payments[found.payment].merchant != merchant.id:
        raise api_error(404, f"No query results for model [Refund] {refund_id}")
    return json_reply(200, _refund_json(d, found))


def _refund_json(d: Draft, refund: Refund) -> Json:
    payment = d.payments[refund.payment]
    return {
        "id": refund.id,
        "payment_id": payment.id,
        "amount_refunded": api_amount(refund.amount, payment.currency),
        "total_amount": api_amount(payment.amount, payment.currency),
        "currency": payment.currency,
        "status": "succeeded",
        "payment_method": payment.rail,
        "refunded_at": iso(refund.at),
        "created_at": iso(refund.at),
    }
