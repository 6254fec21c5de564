"""Events as OpenTelemetry events: log records with a name, through the API; the app brings the SDK and its exporter."""

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, cast

from flovia.core.encoding import JsonObject
from flovia.core.errors import WiringError
from flovia.core.trace_context import trace_of
from flovia.export.base import Entry, SinkError

if TYPE_CHECKING:
    from opentelemetry._logs import LoggerProvider
    from opentelemetry.context import Context

FLUSH_MS: Final = 10_000


class OtelSink:
    """Hands every event to the logger provider and asks it to flush.

    What the SDK does then is its own: as a rule it drops what its exporter cannot send. At least once ends here.

    Args:
        provider: None for the global one, as it is at the first delivery.

    Raises:
        WiringError: the package is not there.
    """

    label = "otel"

    def __init__(self, provider: "LoggerProvider | None" = None) -> None:
        try:
            import opentelemetry._logs
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] != "opentelemetry":
                raise
            raise WiringError("OpenTelemetry needs its API: pip install 'flovia[otel]'") from None
        self._api = opentelemetry._logs
        self._given = provider

    def __repr__(self) -> str:
        return "<OtelSink>"

    def deliver(self, batch: Sequence[Entry]) -> None:
        """See :meth:`flovia.export.base.Sink.deliver`."""
        provider = self._given or self._api.get_logger_provider()
        if type(provider).__module__.startswith("opentelemetry._logs"):
            # The API's own providers take everything and keep nothing.
            raise SinkError("no OpenTelemetry SDK is set up for logs in this process")
        logger = provider.get_logger("flovia")
        severity = self._api.SeverityNumber.INFO
        for one in batch:
            logger.emit(
                timestamp=round(one.at * 1e6) * 1000,  # a float holds microseconds, no less
                context=_context(one.data),
                severity_number=severity,
                severity_text="INFO",
                event_name=one.type,
                attributes=_attributes(one.id, one.data),
            )
        flush = cast("Callable[[int], object] | None", getattr(provider, "force_flush", None))
        if flush is not None and flush(FLUSH_MS) is False:
            raise SinkError(f"the OpenTelemetry SDK did not flush within {FLUSH_MS // 1000} s")

    def close(self) -> None:
        """The provider is the app's, and stays."""


def _context(data: JsonObject) -> "Context":
    """The trace that the event's request was seen in, as its id says; never that of whoever exports."""
    from opentelemetry.context import Context
    from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

    request_id = data.get("requestId")
    found = trace_of(request_id) if isinstance(request_id, str) else None
    if found is None:
        return Context()
    # Whether that trace is kept nobody knows here; an event is, so it must not be dropped with a trace that is not.
    flags = TraceFlags(TraceFlags.SAMPLED)
    return set_span_in_context(NonRecordingSpan(SpanContext(*found, is_remote=True, trace_flags=flags)), Context())


def _attributes(ident: str, data: JsonObject) -> dict[str, str | int | float | bool]:
    """``flovia.`` and the names of the event's fields; the id where OpenTelemetry has a name for it."""
    found: dict[str, str | int | float | bool] = {"cloudevents.event_id": ident}
    for name, value in data.items():
        if isinstance(value, str | int | float):
            found["flovia." + re.sub(r"([A-Z])", lambda match: "_" + match[1].lower(), name)] = value
    return found
