"""What happened, as plain data: the ``paid_api.*`` events of a request and the ``payment.*`` events of a payment.

On the hot path an event is a plain tuple, an :data:`EventRow`, in the order of :data:`FIELDS`; nothing
else is built until somebody reads it. :class:`Event` is the same with names. No event holds a
credential, a receipt token, a key or a request body.
"""

from typing import Any, Final, cast

import attrs

from flovia.core.http import FieldSet, Headers

REQUEST_STARTED: Final = "paid_api.request_started"
PAYMENT_CONTEXT_ATTACHED: Final = "paid_api.payment_context_attached"
CHALLENGE_ISSUED: Final = "paid_api.challenge_issued"
ACCESS_GRANTED: Final = "paid_api.access_granted"
REQUEST_COMPLETED: Final = "paid_api.request_completed"
REQUEST_FAILED: Final = "paid_api.request_failed"
PAYMENT_SETTLED: Final = "payment.settled"
PAYMENT_DELIVERED: Final = "payment.delivered"
PAYMENT_DELIVERY_FAILED: Final = "payment.delivery_failed"
PAYMENT_REDELIVERED: Final = "payment.redelivered"
PAYMENT_REPLAYED: Final = "payment.replayed"
PAYMENT_UNKNOWN: Final = "payment.unknown"
PAYMENT_NOT_MADE: Final = "payment.not_made"
PAYMENT_REOPENED: Final = "payment.reopened"
PAYMENT_REFUND_ASKED: Final = "payment.refund_asked"
PAYMENT_REFUNDED: Final = "payment.refunded"
PAYMENT_LATE: Final = "payment.late"
PAYMENT_UNMATCHED: Final = "payment.unmatched"
PAYMENT_EXPLAINED: Final = "payment.explained"
PAYMENT_REFUND_FAILED: Final = "payment.refund_failed"

EVENT_TYPES: Final = (
    REQUEST_STARTED,
    PAYMENT_CONTEXT_ATTACHED,
    CHALLENGE_ISSUED,
    ACCESS_GRANTED,
    REQUEST_COMPLETED,
    REQUEST_FAILED,
    PAYMENT_SETTLED,
    PAYMENT_DELIVERED,
    PAYMENT_DELIVERY_FAILED,
    PAYMENT_REDELIVERED,
    PAYMENT_REPLAYED,
    PAYMENT_UNKNOWN,
    PAYMENT_NOT_MADE,
    PAYMENT_REOPENED,
    PAYMENT_REFUND_ASKED,
    PAYMENT_REFUNDED,
    PAYMENT_LATE,
    PAYMENT_UNMATCHED,
    PAYMENT_EXPLAINED,
    PAYMENT_REFUND_FAILED,
)

LATE: Final = "late"
DUPLICATE: Final = "duplicate"
PRICE_RISEN: Final = "price_risen"
NOT_PRESENTED: Final = "not_presented"
REASONS: Final = (LATE, DUPLICATE, PRICE_RISEN, NOT_PRESENTED)
"""Why money buys nothing and is to go back: its challenge had expired, it was paid already, the price has risen, or it
was called back before anybody had presented it."""


@attrs.frozen
class Event:
    """One event with names. The field order is the order of an :data:`EventRow`.

    ``at``: Unix seconds by the gate's clock. ``seq``: position among the events of one request.
    ``endpoint``: the route's name, not the raw path. ``amount``: base units of ``currency``.
    ``payment_id``: the provider's reference of the payment. ``latency_ms``: received to last byte.
    ``problem``: the code of the problem type the client got, if any. ``reason``: in ``payment.late`` one of
    :data:`REASONS`, None in those of an earlier version; in ``payment.explained`` the outcome that was explained; in
    ``payment.refund_failed`` what became of the refund, ``refused`` or ``unknown``. ``operator``: who did it, where a
    person did something about a payment, and ``note`` why.
    """

    type: str
    at: float
    request_id: str
    seq: int
    endpoint: str
    http_method: str
    provider: str | None = None
    rail: str | None = None
    amount: int | None = None
    currency: str | None = None
    challenge_id: str | None = None
    payment_id: str | None = None
    payer: str | None = None
    recipient: str | None = None
    status: int | None = None
    latency_ms: float | None = None
    workflow: str | None = None
    problem: str | None = None
    reason: str | None = None
    operator: str | None = None
    note: str | None = None

    @property
    def id(self) -> str:
        """Stable and unique: the request's id and the position in it."""
        return f"{self.request_id}.{self.seq}"

    @classmethod
    def from_row(cls, row: "EventRow") -> "Event":
        """The event of a row; a shorter row leaves the last fields out."""
        return cls(*cast("tuple[Any, ...]", row))

    def to_row(self) -> "EventRow":
        """The row of this event."""
        return tuple(getattr(self, name) for name in FIELDS)


EventRow = tuple[str | int | float | None, ...]
FIELDS: Final[tuple[str, ...]] = tuple(field.name for field in attrs.fields(Event))

MAX_WORKFLOW: Final = 128
WORKFLOW_FIELDS: Final = ("flovia-workflow", "baggage")
_WORKFLOW_FIELDS: Final = FieldSet(*WORKFLOW_FIELDS)


def declared_workflow(headers: Headers) -> str | None:
    """The workflow an agent declares: ``Flovia-Workflow``, else ``flovia.workflow`` in W3C ``baggage``.

    Kept only if it is 1 to 128 visible ASCII characters; anything else counts as not declared.
    """
    if not headers.has_any(_WORKFLOW_FIELDS):
        return None
    value = headers.get("flovia-workflow")
    if value is None:
        baggage = headers.get("baggage")
        if baggage is None or "flovia.workflow" not in baggage:
            return None
        for member in baggage.split(","):
            name, _, rest = member.partition("=")
            if name.strip() == "flovia.workflow":
                value = rest.partition(";")[0]
                break
        else:
            return None
    value = value.strip()
    if 0 < len(value) <= MAX_WORKFLOW and value.isascii() and value.isprintable():
        return value
    return None
