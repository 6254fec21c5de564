"""Spans and metrics of paid requests, for OpenTelemetry: ``Flovia(otel=True)`` or ``FLOVIA_OTEL=true``.

Through the API only, the app brings the SDK. Events go there by :class:`flovia.export.OtelSink`.
"""

try:
    from flovia.otel.telemetry import Otel
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "opentelemetry":
        raise
    raise ModuleNotFoundError("OpenTelemetry needs its API: pip install 'flovia[otel]'", name=error.name) from None

__all__ = ["Otel"]
