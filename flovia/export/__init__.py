"""Every event to a place of the operator's own: a file, a webhook, OpenTelemetry, NATS. At least once, in order.

``start`` runs an exporter in the app's process, ``flovia events export`` in one of its own. See ``docs/exporting.md``.
"""

from typing import TYPE_CHECKING, Final

from flovia.export.base import Entry, Sink, SinkError, SinkGone, SinkRefused
from flovia.export.envelope import event_id, schema
from flovia.export.exporter import Exporter
from flovia.export.file import FileSink
from flovia.export.opening import open_sink
from flovia.export.running import Running, start
from flovia.export.signing import BadSignature, verify
from flovia.export.webhook import WebhookSink

if TYPE_CHECKING:
    from flovia.export.nats import NatsSink
    from flovia.export.otel import OtelSink

__all__ = [
    "BadSignature",
    "Entry",
    "Exporter",
    "FileSink",
    "NatsSink",
    "OtelSink",
    "Running",
    "Sink",
    "SinkError",
    "SinkGone",
    "SinkRefused",
    "WebhookSink",
    "event_id",
    "open_sink",
    "schema",
    "start",
    "verify",
]

_LATER: Final = {"NatsSink": "flovia.export.nats", "OtelSink": "flovia.export.otel"}
"""Loaded when they are first used: a name that is not, needs no package."""


def __getattr__(name: str) -> object:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_LATER[name]), name)
