"""The one form in which events leave: CloudEvents 1.0 in JSON, published as a JSON Schema.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md
"""

import json
import math
import re
from base64 import urlsafe_b64encode
from datetime import UTC, datetime
from hashlib import sha256
from importlib.resources import files
from typing import Final, cast

from flovia.core.encoding import JsonObject, JsonValue, canonical
from flovia.core.errors import CallerError
from flovia.core.events import FIELDS, Event
from flovia.export.base import Entry

SCHEMA: Final = "urn:flovia:schema:event:1"
"""Names the form of ``data``, as ``dataschema``. A member that is added keeps the number; any other change does not."""
DEFAULT_SOURCE: Final = "urn:flovia"
SEQUENCE_DIGITS: Final = 19
"""Enough for every position, so that the order of the texts is the order of the events."""


def _camel(name: str) -> str:
    return re.sub(r"_(\w)", lambda match: match[1].upper(), name)


NAMES: Final = {field: _camel(field) for field in FIELDS if field != "type"}
"""The members of ``data``: the fields of an event, by the event's own names."""


_SOURCE: Final = re.compile(r"(?:[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+", re.ASCII)


def checked_source(source: str) -> str:
    """The same text, if it can be the ``source`` of an envelope: a URI or a relative reference (RFC 3986), not empty.

    Raises:
        CallerError: it cannot.
    """
    if _SOURCE.fullmatch(source) is None:
        raise CallerError(f"{source!r} is no source: it is a URI, like https://api.example.com or urn:example:shop")
    return source


def event_id(event: Event) -> str:
    """``evt_`` and 32 characters that follow from what makes an event unique: request id, seq, at, type.

    The request id alone would not do: a client may send the same one with two requests.
    """
    identity: list[JsonValue] = [_text(event.request_id), event.seq, event.at, _text(event.type)]
    return "evt_" + urlsafe_b64encode(sha256(canonical(identity)).digest()[:24]).decode("ascii")


def entry(position: int, event: Event, source: str = DEFAULT_SOURCE) -> Entry:
    """The event as it is sent."""
    ident, data = event_id(event), _data(event)
    envelope: dict[str, JsonValue] = {
        "specversion": "1.0",
        "id": ident,
        "source": source,
        "type": event.type,
        "datacontenttype": "application/json",
        "dataschema": SCHEMA,
        "sequence": f"{position:0{SEQUENCE_DIGITS}d}",
        "data": data,
    }
    if (time := _time(event.at)) is not None:
        envelope["time"] = time
    body = json.dumps(envelope, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    return Entry(position=position, id=ident, type=event.type, at=event.at, data=data, body=body)


def entry_of(position: int, body: str) -> Entry:
    """An entry from its body, as a dead letter keeps it."""
    envelope = cast("dict[str, JsonValue]", json.loads(body))
    data = cast("JsonObject", envelope["data"])
    return Entry(
        position=position,
        id=str(envelope["id"]),
        type=str(envelope["type"]),
        at=float(cast("float", data["at"])),
        data=data,
        body=body.encode(),
    )


def schema() -> JsonObject:
    """The JSON Schema (2020-12) of what is sent."""
    text = files("flovia.export").joinpath("event-1.schema.json").read_text(encoding="utf-8")
    return cast("JsonObject", json.loads(text))


def _data(event: Event) -> dict[str, JsonValue]:
    """What is known of the event. An amount is a text of digits, as on the wire: it may be beyond 2**53."""
    data: dict[str, JsonValue] = {}
    for field, name in NAMES.items():
        value: str | int | float | None = getattr(event, field)
        if value is None or (isinstance(value, float) and not math.isfinite(value)):
            continue
        data[name] = str(value) if field == "amount" else _text(value) if isinstance(value, str) else value
    return data


def _text(value: str) -> str:
    """Half a surrogate pair is nothing that JSON readers agree on; a SQL ledger has replaced it already."""
    return value if value.isascii() else value.encode("utf-8", "replace").decode()


def _time(at: float) -> str | None:
    """RFC 3339 in UTC, or None for a clock that was beside itself."""
    try:
        return datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return None
