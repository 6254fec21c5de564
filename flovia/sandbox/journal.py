"""The journal: every call and every webhook attempt, with nothing secret in it.

What may be shown is an allow-list; of everything else only that it was there. Two values that must agree can
still be compared: masked texts show the first digits of a hash.
"""

import hashlib
import json
import re
from typing import Final
from urllib.parse import parse_qsl

from flovia.sandbox.records import Delivery, Entry
from flovia.sandbox.state import Draft
from flovia.sandbox.wire import Call, Reply, members

SHOWN: Final = frozenset(
    {
        *("amount", "currency", "status", "challenge_id", "charge_id", "saved_method_id", "payment_id", "id"),
        *("payment_request_id", "recurring_billing_id", "reference_number", "reference", "request_hash", "error"),
        *("payment_method", "payment_methods", "max_amount_per_charge", "total_amount_cap", "max_uses", "valid_until"),
        *("expires_at", "paid_at", "message", "event_types", "amount_refunded", "total_amount", "success"),
        *("event", "failure_reason", "payment_type", "channel", "created_at", "updated_at", "expires_after"),
    }
)
"""Members that are no secret and no personal data."""

_KEY: Final = re.compile(r"test_[^/]*")
# Whoever has the address of a page can pay there, or bind a wallet.
_PAGE: Final = re.compile(r"(?<=/payment-request/)@[^/]+/[^/]+|(?<=/setup/)[^/]+")
_LONGEST: Final = 200


def masked(body: bytes, content_type: str = "application/json") -> tuple[tuple[str, object], ...]:
    """The members of a JSON object or a form, as far as they may be shown."""
    if "x-www-form-urlencoded" in content_type:
        return tuple((name, _masked(name, value)) for name, value in parse_qsl(body.decode("latin-1")))
    try:
        found = members(json.loads(body))
    except (ValueError, RecursionError):
        return ()
    return tuple((name, _masked(name, value)) for name, value in (found or {}).items())


def _masked(name: str, value: object) -> object:
    if name in SHOWN:
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, str) and len(value) <= _LONGEST:
            return value
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return f"(masked, sha256 {hashlib.sha256(text.encode()).hexdigest()[:8]})"


def call_entry(d: Draft, call: Call, route: str, reply: Reply) -> Entry:
    """The line for a call."""
    d.counter += 1
    return Entry(
        number=d.counter,
        at=d.now,
        kind="call",
        where=call.side,
        what=f"{call.http_method} {_PAGE.sub('(masked)', _KEY.sub('(masked)', call.path))}"[:_LONGEST],
        route=route,
        status=0 if reply.ending != "sent" else reply.status,
        sent=masked(call.body, call.header("content-type") or ""),
        got=masked(reply.body) if _is_json(reply) else (),
        faults=tuple(d.applied),
    )


def _is_json(reply: Reply) -> bool:
    return any(name == "content-type" and value == "application/json" for name, value in reply.headers)


def webhook_entry(d: Draft, delivery: Delivery, attempt: int, status: int) -> Entry:
    """The line for an attempt to deliver a webhook; ``status`` 0: no answer."""
    d.counter += 1
    return Entry(
        number=d.counter,
        at=d.now,
        kind="webhook",
        where=delivery.target,
        what=f"{delivery.event} {delivery.about} attempt {attempt}",
        route=delivery.event,
        status=status,
        sent=masked(delivery.body, dict(delivery.headers)["content-type"]),
    )
