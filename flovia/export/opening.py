"""From the address of a sink to the sink, and what the environment says about exporters.

==========================  ================================================================================
``FLOVIA_EXPORT_TO``        where events go, as ``flovia events export --to``
``FLOVIA_EXPORT_NAME``      the sink's name in the ledger, as ``--name``
``FLOVIA_EXPORT_SECRET``    signs webhooks: ``whsec_…``; while it is changed several, with commas
``FLOVIA_EXPORT_SOURCE``    the ``source`` of what is sent, a URI; default: ``urn:flovia``
==========================  ================================================================================
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit, urlunsplit

from flovia.core.errors import WiringError
from flovia.export.base import Sink

KINDS: Final = "file:///var/lib/app/events.ndjson, https://collector.example.com/events, nats://host:4222 or otel:"


def open_sink(to: str, *, secret: str | Sequence[str] | None = None) -> Sink:
    """Open the sink that ``to`` names.

    * ``file:///var/lib/app/events.ndjson``: a file, by its absolute path. ``?rotate_bytes=N`` sets it aside before it
      grows beyond N bytes (0: never; without it 100 MiB), ``?rotate=daily`` when a day has ended as well;
    * ``https://…`` (or http on this machine): a webhook, signed with ``secret``;
    * ``nats://host:4222`` or ``tls://host:4222``: JetStream. ``?subject=flovia`` is what subjects begin with,
      ``?credentials=/path/to.creds`` a file of credentials;
    * ``otel:``: the OpenTelemetry SDK that this process has set up.

    Raises:
        WiringError: it names none, or the sink cannot work; the message says what to do, and not the address.
    """
    scheme = to.partition(":")[0].lower()
    if scheme == "file":
        return _file(to)
    if scheme in ("https", "http"):
        from flovia.export.webhook import WebhookSink

        if secret is None:
            raise WiringError("a webhook is signed: set FLOVIA_EXPORT_SECRET to a secret that begins with whsec_")
        return WebhookSink(to, secret)
    if scheme in ("nats", "tls"):
        from flovia.export.nats import SUBJECT, NatsSink

        bare, options = _options(to, {"subject", "credentials"})
        return NatsSink(bare, subject=options.get("subject", SUBJECT), credentials=options.get("credentials"))
    if to == "otel:":
        from flovia.export.otel import OtelSink

        return OtelSink()
    raise WiringError(f"that is no kind of sink; events go to {KINDS}")


def _file(to: str) -> Sink:
    from flovia.export.file import MAX_BYTES, FileSink

    bare, options = _options(to, {"rotate", "rotate_bytes"})
    parts = urlsplit(bare)
    path = unquote(parts.path)
    if parts.netloc not in ("", "localhost") or not path.startswith("/") or "\0" in path:
        raise WiringError("a file of events is named by its absolute path: file:///var/lib/app/events.ndjson")
    rotate, size = options.get("rotate", ""), options.get("rotate_bytes", str(MAX_BYTES))
    if rotate not in ("", "daily"):
        raise WiringError("a file of events is rotated daily or not by time: ?rotate=daily")
    if not (size.isascii() and size.isdecimal()):
        raise WiringError("a file of events is rotated by a number of bytes: ?rotate_bytes=104857600")
    return FileSink(Path(path), max_bytes=int(size) or None, daily=rotate == "daily")


def _options(to: str, known: set[str]) -> tuple[str, dict[str, str]]:
    parts = urlsplit(to)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if strange := sorted(set(options) - known):
        raise WiringError(f"{parts.scheme}: knows no {', '.join(strange)}; known: {', '.join(sorted(known))}")
    return urlunsplit(parts._replace(query="")), options
