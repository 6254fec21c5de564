"""Spans and metrics on the wire, as a collector gets them: OTLP over HTTP, to a receiver on loopback."""

import logging
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

import flovia
from flovia.otel import Otel
from tests.otel.sdk import SECRET, paying, request


class Collector(ThreadingHTTPServer):
    """Keeps what it is sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Receiver)
        self.got: list[tuple[str, str, bytes]] = []
        self.url = f"http://127.0.0.1:{self.server_port}"


class _Receiver(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        """Take it."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append((self.path, self.headers["Content-Type"], body))
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *values: object) -> None:
        """Say nothing."""


@pytest.fixture
def collector() -> Generator[Collector]:
    """It, served."""
    with Collector() as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_collector_gets_both(collector: Collector) -> None:
    """One paid call, exported as a production SDK does it: its spans below the server's, and its counts."""
    tracers = TracerProvider(shutdown_on_exit=False)
    tracers.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{collector.url}/v1/traces")))
    reader = PeriodicExportingMetricReader(OTLPMetricExporter(f"{collector.url}/v1/metrics"), 3_600_000)
    meters = MeterProvider([reader], shutdown_on_exit=False)
    flo = flovia.Flovia(
        provider="mock",
        price="1.00 USD",
        ledger="memory://",
        secret=SECRET,
        public_origin="https://api.example.com",
        otel=Otel(tracer_provider=tracers, meter_provider=meters),
    )
    gate = flo.paid_api()
    with tracers.get_tracer("server").start_as_current_span("GET /paid"):
        unpaid = gate.enter(request()).response
        passage = gate.enter(request(paying(unpaid)))
        passage.start(200, flovia.Headers.of([]))
        gate.leave(passage, completed=True)
    tracers.shutdown()
    meters.shutdown()
    assert {("/v1/traces", "application/x-protobuf"), ("/v1/metrics", "application/x-protobuf")} == {
        (path, kind) for path, kind, _ in collector.got
    }
    traces, metrics = ExportTraceServiceRequest(), ExportMetricsServiceRequest()
    for path, _, body in collector.got:
        (traces if path == "/v1/traces" else metrics).MergeFromString(body)
    logging.getLogger("tests.otel").info("%s %s", traces, metrics)  # to be searched for secrets
    scopes = [scope for resource in traces.resource_spans for scope in resource.scope_spans]
    (server,) = (span for scope in scopes if scope.scope.name == "server" for span in scope.spans)
    ours = [span for scope in scopes if scope.scope.name == "flovia" for span in scope.spans]
    assert {"flovia.challenge", "flovia.verify", "flovia.settle", "flovia.deliver"} == {span.name for span in ours}
    assert {(server.trace_id, server.span_id)} == {(span.trace_id, span.parent_span_id) for span in ours}
    counts = {
        metric.name: sum(point.as_int for point in metric.sum.data_points)
        for resource in metrics.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.HasField("sum")
    }
    assert {
        "flovia.requests": 2,
        "flovia.challenges": 1,
        "flovia.presentations": 1,
        "flovia.settlements": 1,
        "flovia.deliveries": 1,
    } == counts
