"""Webhooks on their way: queued, signed, spoilt as the knobs say, sent, retried."""

import json
from typing import Final
from urllib.parse import urlencode

import attrs

from flovia.sandbox.events import reshaped
from flovia.sandbox.faults import Fault
from flovia.sandbox.hashing import event_signature, form_signature
from flovia.sandbox.journal import webhook_entry
from flovia.sandbox.records import Delivery, DeliveryStatus, Merchant, Target
from flovia.sandbox.state import Draft
from flovia.sandbox.wire import Json, Post, members

RETRIES_S: Final = (1, 5, 30, 120, 600)
"""When an event that was not answered 2xx is sent again, in seconds after the failed attempt. Our choice, to be
scaled with the limit ``retry_scale``: HitPay documents that it retries, not how often."""

ACCEPTED: Final = range(200, 300)


def queue_event(
    d: Draft, event: str, merchant: Merchant, about: str, body: Json, *, target: Target, url: str, salt: str
) -> None:
    """Queue one event for one receiver, as its knob says."""
    fault = _fault(d, event, about, target)
    value = fault.value if fault else "normal"
    if value in ("flat", "enveloped"):
        body = reshaped(event, body, value)
    if value == "foreign":
        # Another merchant's event came to this endpoint; the own one comes as well.
        foreign = json.dumps(_foreign(d, body), separators=(",", ":")).encode()
        _add(d, event, merchant, about, target, url, _signed(event, foreign, event_signature(foreign, salt)), foreign)
    raw = json.dumps(body, separators=(",", ":")).encode()
    cut = raw[: len(raw) // 2]
    signature = event_signature(raw, salt)
    if value == "truncated":
        signature = event_signature(cut, salt) if fault and fault.flag("signed") else signature
        raw = cut
    elif value == "bad_signature":
        signature = _other_digit(signature)
    elif value == "wrong_salt":
        signature = event_signature(raw, merchant.api_salt)
    elif value == "sha256_prefix":
        signature = f"sha256={signature}"
    elif value == "upper_hex":
        signature = signature.upper()
    _copies(d, fault, event, merchant, about, target, url, _signed(event, raw, signature), raw)


def queue_callback(d: Draft, event: str, merchant: Merchant, about: str, fields: dict[str, str], url: str) -> None:
    """Queue the form callback that a payment request asked for, signed with the API key's salt."""
    fault = _fault(d, event, about, "callback")
    value = fault.value if fault else "normal"
    salt = merchant.salt if value == "wrong_salt" else merchant.api_salt
    fields = fields | ({"payment_request_id": d.new_uuid(), "payment_id": d.new_uuid()} if value == "foreign" else {})
    signature = form_signature(fields, salt)
    if value == "bad_signature":
        signature = _other_digit(signature)
    raw = urlencode({**fields, "hmac": signature}).encode()
    if value == "truncated":
        raw = raw[: len(raw) // 2]
    headers = (("user-agent", "HitPay v1.0"), ("content-type", "application/x-www-form-urlencoded"))
    _copies(d, fault, event, merchant, about, "callback", url, headers, raw)


def _fault(d: Draft, event: str, about: str, target: Target) -> Fault | None:
    for found in reversed(d.faults):
        if found.matches("webhook", (event,), (about,)) and found.text("target", target) == target:
            if found.left is not None:
                d.faults[d.faults.index(found)] = attrs.evolve(found, left=found.left - 1)
            d.applied.append(found.label)
            return found
    return None


def _signed(event: str, raw: bytes, signature: str) -> tuple[tuple[str, str], ...]:
    about, _, kind = event.partition(".")
    return (
        ("user-agent", "HitPay v2.0"),
        ("content-type", "application/json"),
        ("hitpay-event-object", about),
        ("hitpay-event-type", kind),
        ("hitpay-signature", signature),
    )


def _other_digit(signature: str) -> str:
    return ("1" if signature[0] == "0" else "0") + signature[1:]


def _foreign(d: Draft, body: Json) -> Json:
    """The same kind of event about things of another merchant."""
    changed: Json = {}
    for name, value in body.items():
        if name == "reference_number":
            changed[name] = d.new_id("mpp_ch")
        elif name in ("id", "payment_request_id", "recurring_billing_id", "business_id"):
            changed[name] = d.new_uuid()
        elif (inner := members(value)) is not None:
            changed[name] = _foreign(d, inner)
        else:
            changed[name] = value
    return changed


def _copies(
    d: Draft,
    fault: Fault | None,
    event: str,
    merchant: Merchant,
    about: str,
    target: Target,
    url: str,
    headers: tuple[tuple[str, str], ...],
    raw: bytes,
) -> None:
    value = fault.value if fault else "normal"
    times = round(fault.option("times", 2)) if fault and value == "duplicate" else 1
    for _ in range(times):
        _add(d, event, merchant, about, target, url, headers, raw, fault)


def _add(
    d: Draft,
    event: str,
    merchant: Merchant,
    about: str,
    target: Target,
    url: str,
    headers: tuple[tuple[str, str], ...],
    raw: bytes,
    fault: Fault | None = None,
) -> None:
    value = fault.value if fault else "normal"
    due: int | None = d.now
    if fault is not None and value == "delayed":
        due = d.after(fault.option("seconds", 60))
    elif fault is not None and value == "out_of_order":
        due = d.after(fault.option("hold", 60))
    elif value == "lost":
        due = None
    # What an earlier knob held back goes out behind this one.
    for held in [d.deliveries[found] for found in d.waiting if d.deliveries[found].held]:
        if (held.about, held.target, held.url) == (about, target, url) and due is not None and value != "out_of_order":
            d.put_delivery(attrs.evolve(held, held=False, due=due + 1))
    number = d.new_id("whd")
    d.put_delivery(
        Delivery(
            id=number,
            merchant=merchant.id,
            event=event,
            about=about,
            target=target,
            url=url,
            headers=headers,
            body=raw,
            due=due,
            held=value == "out_of_order",
            status="lost" if value == "lost" else "queued",
        )
    )


# --- sending ----------------------------------------------------------------------------------------


def send(d: Draft, delivery: Delivery) -> None:
    """Hand one webhook to the world. The broker's own are received without leaving the sandbox."""
    d.put_delivery(attrs.evolve(delivery, sending=True, held=False))
    d.posts.append(Post(delivery=delivery.id, url=delivery.url, headers=delivery.headers, body=delivery.body))


def answered(d: Draft, delivery_id: str, status: int) -> None:
    """Note the outcome of an attempt, and plan the next one unless it was accepted."""
    found = d.deliveries.get(delivery_id)
    if found is None or not found.sending:
        return  # told twice, or the sandbox was reset in between
    answers = (*found.answers, status)
    accepted = status in ACCEPTED
    again = len(answers) <= len(RETRIES_S) and not accepted
    due = d.after(RETRIES_S[len(answers) - 1] * d.limit("retry_scale")) if again else None
    status_now: DeliveryStatus = "delivered" if accepted else "queued" if again else "failed"
    d.put_delivery(attrs.evolve(found, sending=False, answers=answers, due=due, status=status_now))
    d.entries.append(webhook_entry(d, found, len(answers), status))


def redeliver(d: Draft, delivery_id: str) -> None:
    """Send one again now, whatever became of it before."""
    found = d.deliveries[delivery_id]
    answers = found.answers[: len(RETRIES_S)]
    d.put_delivery(attrs.evolve(found, due=d.now, status="queued", held=False, sending=False, answers=answers))
