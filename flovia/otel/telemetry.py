"""Where spans and metrics go, and the spans of calls to payment backends."""

import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Final, cast
from urllib.parse import urlsplit

from opentelemetry import context, metrics, trace
from opentelemetry.context import Context
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import Span, SpanKind, StatusCode, TracerProvider

from flovia.core.effects import HttpCall, HttpReply
from flovia.otel import names

Attributes = dict[str, str | int | bool]

_SCOPE: Final = "flovia"
_PORTS: Final = {"https": 443, "http": 80}


def _quiet_keys() -> tuple[str, ...]:
    """What keeps instrumentations of HTTP clients from making spans; their own home for it is this private name."""
    names_ = ("_SUPPRESS_HTTP_INSTRUMENTATION_KEY",)
    return tuple(cast("str", getattr(context, name)) for name in names_ if hasattr(context, name))


class Otel:
    """The spans and metrics of one :class:`flovia.Flovia`.

    Args:
        tracer_provider: None for the global one, also if it is set later.
        meter_provider: the same for metrics.
        monotonic: seconds, for durations.
    """

    def __init__(
        self,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        monotonic: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.monotonic = monotonic
        self.tracer = trace.get_tracer(_SCOPE, tracer_provider=tracer_provider)
        meter = metrics.get_meter(_SCOPE, meter_provider=meter_provider)
        self.requests, self.challenges, self.presentations, self.settlements, self.deliveries = (
            meter.create_counter(name, unit, text) for name, unit, text in names.COUNTERS
        )
        self.verify_duration, self.settle_duration, self.call_duration = (
            meter.create_histogram(name, unit, text, explicit_bucket_boundaries_advisory=names.SECONDS)
            for name, unit, text in names.DURATIONS
        )
        self._quiet = _quiet_keys()

    def __repr__(self) -> str:
        return "<Otel>"

    def start(self, name: str, attributes: Mapping[str, str | int | bool], kind: SpanKind = SpanKind.INTERNAL) -> Span:
        """A span below the current one."""
        return self.tracer.start_span(name, kind=kind, attributes=attributes)

    def open(self, name: str, attributes: Mapping[str, str | int | bool]) -> "Open":
        """A span below the current one that is the current one until it is closed."""
        return Open(self.start(name, attributes), self.monotonic)

    @contextmanager
    def call(self, call: HttpCall) -> Generator[Callable[[HttpReply], None]]:
        """Watch one call to a payment backend. Its address may be worth money, so only the host is told.

        Instrumentations of HTTP clients are kept quiet meanwhile: they would tell all of it.
        """
        told: Attributes = {names.HTTP_METHOD: call.http_method, **_server(call.url)}
        span = self.start(call.http_method, told, SpanKind.CLIENT)
        ours = trace.set_span_in_context(span)
        for key in self._quiet:
            ours = context.set_value(key, True, ours)
        opened = Open(span, self.monotonic, ours)

        def answered(reply: HttpReply) -> None:
            told[names.STATUS] = reply.status
            if reply.status >= 400:
                told[names.ERROR] = str(reply.status)

        error: BaseException | None = None
        try:
            yield answered
        except BaseException as raised:
            error = raised
            told[names.ERROR] = error_type(raised)
            raise
        finally:
            self.call_duration.record(opened.close(told, error), told)


def _server(url: str) -> Attributes:
    try:
        found = urlsplit(url)
        port = found.port or _PORTS.get(found.scheme, 0)
    except ValueError:  # for whoever sends it to refuse
        return {names.SERVER: ""}
    return {names.SERVER: found.hostname or "", names.PORT: port}


class Open:
    """A span that is the current one until it is closed."""

    __slots__ = ("_began", "_monotonic", "_token", "span")

    def __init__(self, span: Span, monotonic: Callable[[], float], ours: Context | None = None) -> None:
        self.span = span
        self._monotonic = monotonic
        self._token = context.attach(trace.set_span_in_context(span) if ours is None else ours)
        self._began = monotonic()

    def close(self, attributes: Mapping[str, str | int | bool], error: BaseException | None = None) -> float:
        """End it; returns how long it took, seconds. ``error`` is what left the block, if anything did."""
        took = self._monotonic() - self._began
        if not isinstance(error, GeneratorExit):
            # Whoever gives a flow up closes it from anywhere, perhaps where our context has never been.
            context.detach(self._token)
        end(self.span, attributes)
        return took


def end(span: Span, attributes: Mapping[str, str | int | bool]) -> None:
    """End a span; with :data:`~flovia.otel.names.ERROR` among the attributes it has failed.

    No exception is recorded: what its message and its frames hold is nobody's to tell.
    """
    if span.is_recording():
        span.set_attributes(attributes)
        if names.ERROR in attributes:
            span.set_status(StatusCode.ERROR)
    span.end()


def error_type(error: BaseException) -> str:
    """What kind of exception it is, without a word of what it says."""
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
