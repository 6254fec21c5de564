"""OpenTelemetry: events through its API, kept by whatever SDK the app has set up."""

import subprocess
import sys

import pytest
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor

from flovia.core.errors import WiringError
from flovia.core.events import Event
from flovia.export.base import SinkError
from flovia.export.envelope import entry
from flovia.export.otel import OtelSink
from tests.export.test_file import entries
from tests.export.world import exporter, filled, ids


def provider(kept: InMemoryLogRecordExporter) -> LoggerProvider:
    """An SDK that keeps what it gets."""
    made = LoggerProvider(shutdown_on_exit=False)
    made.add_log_record_processor(SimpleLogRecordProcessor(kept))
    return made


def test_events_arrive_as_events() -> None:
    """With their name, their time, their id, and every field under flovia's own names; in order."""
    kept = InMemoryLogRecordExporter()
    ledger = filled(250)
    sink = OtelSink(provider(kept))
    assert 250 == exporter(ledger, sink).drain()  # type: ignore[arg-type]  # any sink
    sink.close()
    records = [one.log_record for one in kept.get_finished_logs()]
    assert ids(ledger) == [(one.attributes or {})["cloudevents.event_id"] for one in records]
    first = records[0]
    assert ("paid_api.request_started", 1_700_000_000_250_000_000) == (first.event_name, first.timestamp)
    attributes = dict(first.attributes or {})
    assert ("req-0", "GET", "100", 12.5) == tuple(
        attributes[f"flovia.{name}"] for name in ("request_id", "http_method", "amount", "latency_ms")
    )
    assert not first.trace_id


def test_an_event_is_found_from_its_trace() -> None:
    """A request id that holds a trace and a span names them in the record; any other does not."""
    kept = InMemoryLogRecordExporter()
    ids = ("4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-token", f"{'0' * 32}-00f067aa0ba902b7-token", "req_1")
    events = [Event("paid_api.request_started", 1.0, ident, 1, "/paid", "GET") for ident in ids]
    OtelSink(provider(kept)).deliver([entry(number, event) for number, event in enumerate(events, 1)])
    first, *others = [one.log_record for one in kept.get_finished_logs()]
    assert (0x4BF92F3577B34DA6A3CE929D0E0E4736, 0x00F067AA0BA902B7) == (first.trace_id, first.span_id)
    assert [0, 0] == [one.trace_id for one in others]


def test_an_sdk_that_does_not_flush_keeps_the_cursor() -> None:
    """What the SDK has not let go of comes again."""

    class Stuck(LoggerProvider):
        def force_flush(self, timeout_millis: int = 30000) -> bool:
            """Never."""
            return False

    with pytest.raises(SinkError, match="did not flush"):
        OtelSink(Stuck(shutdown_on_exit=False)).deliver(entries(1))


def test_without_an_sdk_nothing_is_taken() -> None:
    """The API alone would take every event and keep none."""
    code = """
from tests.export.test_file import entries
from flovia.export import OtelSink, SinkError
try:
    OtelSink().deliver(entries(1))
except SinkError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "no OpenTelemetry SDK is set up for logs in this process" == done.stdout.strip()


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who forgot the extra reads which line installs it."""
    for name in [name for name in sys.modules if name.startswith("opentelemetry")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(WiringError, match=r"pip install 'flovia\[otel\]'"):
        OtelSink()
