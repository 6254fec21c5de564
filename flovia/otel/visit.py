"""One request as telemetry sees it: what its spans and counts have in common."""

from typing import cast

from opentelemetry import trace
from opentelemetry.trace import Span

from flovia.core import events as ev
from flovia.core.passage import Trace
from flovia.otel import names
from flovia.otel.telemetry import Attributes, Open, Otel, end


class Visit(Trace):
    """A trace that counts the events it notes, and holds the spans that have begun.

    ``labels`` go on metrics, so each has few values; ``around`` is the span it came in, the server's own as a rule.
    """

    __slots__ = ("around", "granted", "labels", "otel", "problem", "root", "running", "status", "verifying")

    def __init__(self, plain: Trace, otel: Otel, endpoint: str) -> None:
        super().__init__(plain.request_id, plain.endpoint, plain.http_method, plain.rail, plain.started, plain.workflow)
        self.idempotency = plain.idempotency
        self.otel = otel
        self.labels: Attributes = {names.RAIL: plain.rail}
        if endpoint:
            self.labels[names.ENDPOINT] = endpoint
        self.around: Span = trace.get_current_span()
        self.root: Span | None = None
        self.running: Span | None = None
        self.verifying: Open | None = None
        self.problem: str | None = None
        self.status: int | None = None
        self.granted = False

    def note(
        self,
        type_: str,
        at: float,
        status: int | None = None,
        latency_ms: float | None = None,
        problem: str | None = None,
    ) -> None:
        """Remember one event, and count it."""
        super().note(type_, at, status, latency_ms, problem)
        otel = self.otel
        if type_ in (ev.REQUEST_COMPLETED, ev.REQUEST_FAILED):
            self.status, self.problem = status, problem
            otel.requests.add(1, self.counted(self.ended()))
        elif type_ == ev.CHALLENGE_ISSUED:
            otel.challenges.add(1, self.counted())
        elif type_ == ev.PAYMENT_CONTEXT_ATTACHED:
            otel.presentations.add(1, self.counted())
        elif type_ == ev.ACCESS_GRANTED:
            self.granted = True
        elif type_ in names.DELIVERIES:
            otel.deliveries.add(1, self.counted({names.DELIVERY: names.DELIVERIES[type_]}))

    def counted(self, more: Attributes | None = None) -> Attributes:
        """The attributes of a metric: never an amount, a payer, or anything else that has no end of values."""
        found = {**self.labels, **(more or {})}
        if self.provider is not None:
            found[names.PROVIDER] = self.provider
        return found

    def told(self) -> Attributes:
        """The attributes of a span. No credential, receipt, address or payer is among them."""
        found: Attributes = {
            names.REQUEST_ID: self.request_id,
            names.ENDPOINT: self.endpoint,
            names.RAIL: self.rail,
        }
        if self.provider is not None:
            found[names.PROVIDER] = self.provider
        if self.challenge_id is not None:
            found[names.CHALLENGE_ID] = self.challenge_id
        if self.payment_id is not None:
            found[names.PAYMENT_ID] = self.payment_id
        if self.offer_amount is not None and self.offer_currency is not None:
            # A text, as in the exporter's records: it may be beyond the 64 bits that an attribute holds.
            found[names.AMOUNT], found[names.CURRENCY] = str(self.offer_amount), self.offer_currency
        return found

    def ended(self) -> Attributes:
        """How the request ended, as far as it has."""
        found: Attributes = {}
        if self.status is not None:
            found[names.STATUS] = self.status
        if self.problem is not None:
            found[names.PROBLEM] = self.problem
        if self.status is not None and self.status >= 500:
            found[names.ERROR] = self.problem or str(self.status)
        return found

    def tell(self, told: Attributes, *, ended: bool) -> None:
        """Tell the span that the request came in; if the request has ended, so does a span of our own."""
        root = self.root
        if root is not None:
            if ended:
                self.root = None
                end(root, told)
            else:
                root.set_attributes(told)
        elif self.around.is_recording():
            # Whether the server's own span has failed is for the server to say.
            self.around.set_attributes({name: value for name, value in told.items() if name.startswith("flovia.")})


def visit_of(trace_: Trace) -> Visit:
    """The visit that a traced guard made."""
    return cast("Visit", trace_)
