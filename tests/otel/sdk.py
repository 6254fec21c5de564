"""An SDK that keeps in memory what it gets, and the span of a server as instrumentations make it."""

import logging
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import attrs
from opentelemetry import context, propagate, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

import flovia
from flovia.core.challenge import parse_challenges
from flovia.core.credential import Credential, format_credential
from flovia.otel import Otel

SECRET = "test-secret-of-the-telemetry-0123456789abcdef"
_log = logging.getLogger("tests.otel")


class Kept:
    """Providers of their own, and what they got."""

    def __init__(self) -> None:
        self._spans, self._reader = InMemorySpanExporter(), InMemoryMetricReader()
        self.tracers = TracerProvider(shutdown_on_exit=False)
        self.tracers.add_span_processor(SimpleSpanProcessor(self._spans))
        self.meters = MeterProvider([self._reader], shutdown_on_exit=False)

    def otel(self, **more: Any) -> Otel:
        """Telemetry that ends here."""
        return Otel(tracer_provider=self.tracers, meter_provider=self.meters, **more)

    def spans(self, name: str = "") -> list[ReadableSpan]:
        """The finished spans in the order of their beginnings; of this name, if there is one."""
        found = sorted(self._spans.get_finished_spans(), key=lambda span: span.start_time or 0)
        return [span for span in found if not name or span.name == name]

    def names(self) -> list[str]:
        """The names of the finished spans, in the order of their beginnings."""
        return [span.name for span in self.spans()]

    def clear(self) -> None:
        """Forget the spans."""
        self._spans.clear()

    def metrics(self) -> dict[str, list[tuple[dict[str, Any], float]]]:
        """By name: attributes, and the count (of a histogram: how many measurements)."""
        data = self._reader.get_metrics_data()
        found: dict[str, list[tuple[dict[str, Any], float]]] = {}
        for scope in (scope for resource in data.resource_metrics for scope in resource.scope_metrics) if data else ():
            # FastAPI has some of its own.
            for metric in scope.metrics if scope.scope.name == "flovia" else ():
                for point in metric.data.data_points:
                    number: float = getattr(point, "value", None) or getattr(point, "count", 0)
                    found.setdefault(metric.name, []).append((dict(point.attributes or {}), number))
        return found

    def show(self) -> None:
        """Log everything, so that it is searched for secrets."""
        for span in self.spans():
            _log.info(span.to_json())
        _log.info(repr(self.metrics()))


def attributes(span: ReadableSpan) -> dict[str, Any]:
    """A span's attributes; with its status as ``failed``."""
    return {**(span.attributes or {}), "failed": span.status.status_code is StatusCode.ERROR}


def parent(span: ReadableSpan) -> int | None:
    """The id of the span that this one is a child of."""
    return span.parent.span_id if span.parent else None


def ident(span: ReadableSpan) -> int:
    """A span's own id."""
    return span.get_span_context().span_id  # type: ignore[union-attr]  # the SDK's always have one


def request(*fields: tuple[str, str], path: str = "/paid", route: str = "/paid", **more: Any) -> flovia.HttpRequest:
    """A request as an adapter would hand it on."""
    headers = flovia.Headers.of([("host", "api.example.com"), *fields])
    return flovia.HttpRequest("GET", path, "", headers, route, **more)


def shop(kept: Kept, **settings: Any) -> flovia.Flovia:
    """A Flovia whose telemetry is kept."""
    given = {"provider": "mock", "price": "1.00 USD", "ledger": "memory://", "otel": kept.otel(), **settings}
    return flovia.Flovia(secret=SECRET, realm="api.example.com", public_origin="https://api.example.com", **given)


def paying(response: flovia.HttpResponse | None, proof: str = "ok-test-telemetry") -> tuple[str, str]:
    """The field that pays the challenge of a 402."""
    assert response is not None
    (challenge, *_) = parse_challenges([value for name, value in response.headers if name == "www-authenticate"])
    return "authorization", format_credential(Credential(challenge, {"proof": proof}, "did:example:test-payer"))


@attrs.frozen
class WsgiServerSpan:
    """What an instrumentation of a WSGI server does: a span from the request to the close of its answer."""

    app: WSGIApplication
    tracers: TracerProvider

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request."""
        headers = {name[5:].lower().replace("_", "-"): value for name, value in environ.items() if name[:5] == "HTTP_"}
        tracer = self.tracers.get_tracer("test.server")
        name = f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}"
        span = tracer.start_span(name, propagate.extract(headers), SpanKind.SERVER)
        token = context.attach(trace.set_span_in_context(span))
        try:
            answer = self.app(environ, start_response)
        finally:
            context.detach(token)
        return _Closing(answer, span)


class _Closing:
    def __init__(self, answer: Iterable[bytes], span: trace.Span) -> None:
        self._answer, self._span = answer, span

    def __iter__(self) -> Iterable[bytes]:  # type: ignore[misc]  # an iterator that is asked once
        return iter(self._answer)

    def close(self) -> None:
        getattr(self._answer, "close", bool)()
        self._span.end()


@attrs.frozen
class AsgiServerSpan:
    """What an instrumentation of an ASGI server does: a span while the app runs."""

    app: Callable[..., Awaitable[None]]
    tracers: TracerProvider

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        tracer = self.tracers.get_tracer("test.server")
        name = f"{scope['method']} {scope['path']}"
        with tracer.start_as_current_span(name, propagate.extract(headers), SpanKind.SERVER):
            return await self.app(scope, receive, send)
