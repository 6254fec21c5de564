"""What spans, metrics and their attributes are called: OpenTelemetry's own names where it has one, else the events'."""

from typing import Final

from flovia.core import events as ev

# Spans. An HTTP call to a payment backend is named after its HTTP method, as OpenTelemetry does.
REQUEST: Final = "flovia.request"
CHALLENGE: Final = "flovia.challenge"
VERIFY: Final = "flovia.verify"
SETTLE: Final = "flovia.settle"
DELIVER: Final = "flovia.deliver"
OBSERVE: Final = "flovia.observe"

# Attributes that OpenTelemetry defines: https://opentelemetry.io/docs/specs/semconv/http/
STATUS: Final = "http.response.status_code"
HTTP_METHOD: Final = "http.request.method"
SERVER: Final = "server.address"
PORT: Final = "server.port"
ERROR: Final = "error.type"

# Attributes of our own: "flovia." and the name of the event's field, as the exporter writes them.
REQUEST_ID: Final = "flovia.request_id"
ENDPOINT: Final = "flovia.endpoint"
PROVIDER: Final = "flovia.provider"
RAIL: Final = "flovia.rail"
AMOUNT: Final = "flovia.amount"
CURRENCY: Final = "flovia.currency"
CHALLENGE_ID: Final = "flovia.challenge_id"
PAYMENT_ID: Final = "flovia.payment_id"
PROBLEM: Final = "flovia.problem"
# And those that are in no event.
VERDICT: Final = "flovia.verdict"
SETTLEMENT: Final = "flovia.settlement"
DELIVERY: Final = "flovia.delivery"
REFUND_DUE: Final = "flovia.refund_due"

DELIVERED: Final = "delivered"
REDELIVERED: Final = "redelivered"
REPLAYED: Final = "replayed"
FAILED: Final = "failed"
DELIVERIES: Final = {
    ev.PAYMENT_DELIVERED: DELIVERED,
    ev.PAYMENT_REDELIVERED: REDELIVERED,
    ev.PAYMENT_REPLAYED: REPLAYED,
    ev.PAYMENT_DELIVERY_FAILED: FAILED,
}
"""The events that end a delivery, and what :data:`DELIVERY` says then."""

CUT_OFF: Final = "cut_off"
"""What :data:`ERROR` says of an answer that was never complete: the client went away, or the answer ended early."""

SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""The buckets that OpenTelemetry asks for in HTTP durations, seconds."""

# Metrics: name, unit, and what it is.
COUNTERS: Final = (
    ("flovia.requests", "{request}", "requests for guarded routes that have ended"),
    ("flovia.challenges", "{challenge}", "challenges issued; a 402 with two offers has two"),
    ("flovia.presentations", "{credential}", "credentials presented that answer a challenge of ours"),
    ("flovia.settlements", "{payment}", "payments settled"),
    ("flovia.deliveries", "{delivery}", "deliveries that have ended"),
)
DURATIONS: Final = (
    ("flovia.verify.duration", "s", "how long a provider took for its verdict"),
    ("flovia.settle.duration", "s", "how long the ledger took to settle a payment"),
    ("http.client.request.duration", "s", "how long HTTP calls to payment backends took"),
)
