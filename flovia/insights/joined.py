"""The joined event as data: the form in which attempts leave, published as a JSON Schema, and its CloudEvents envelope.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md
"""

import json
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from importlib.resources import files
from math import isfinite
from typing import TYPE_CHECKING, Final, cast

import attrs

from flovia.core.encoding import JsonObject, JsonValue, canonical
from flovia.insights.join import JoinedEvent

if TYPE_CHECKING:
    from flovia.insights.attempt import Attempt

SCHEMA: Final = "urn:flovia:schema:joined-event:1"
"""Names the form of a joined event, as ``dataschema``. A member that is added keeps the number; any other change does
not."""
TYPE: Final = "paid_api.attempt_joined"
"""The ``type`` of a joined event in an envelope."""
SEQUENCE_DIGITS: Final = 19
"""Enough for every position, so that the order of the texts is the order of the events."""
LATEST: Final = 253_402_300_799.0
"""The last second of the year 9999, Unix seconds: what is beyond is no time."""
_TIMES: Final = (
    "challenged_at",
    "presented_at",
    "verified_at",
    "delivered_at",
    "refunded_at",
    "last_at",
    "explained_at",
)
_DURATIONS: Final = ("pay_ms", "challenge_ms", "verify_ms", "handler_ms")
_COUNTS: Final = ("requests", "challenges", "presentations", "failures")


@attrs.frozen(kw_only=True)
class Kept:
    """An attempt as a ledger's database keeps it.

    ``session``: the key of the session it is in, None if none was made or nobody knows whose it is. ``position``: of
    the newest event that it was made from.
    """

    attempt: "Attempt"
    session: str | None
    position: int

    def to_json(self) -> dict[str, JsonValue]:
        """The joined event, with its session."""
        return joined_event(self.attempt, self.session)


def joined_event(attempt: "Attempt", session: str | None = None) -> dict[str, JsonValue]:
    """An attempt as JSON members, camelCase, valid by :func:`schema`. What is not known is null.

    Amounts are texts of digits in base units, times Unix seconds, durations milliseconds.

    Args:
        attempt: whose event it is.
        session: the key of the session it is in.
    """
    found: dict[str, JsonValue] = {
        "attemptId": attempt.key,
        **JoinedEvent.to_json(attempt),
        "outcome": attempt.outcome,
        "kind": attempt.kind,
        "state": attempt.state,
        "due": attempt.due,
        "price": None if attempt.price is None else str(attempt.price),
        "priceCurrency": attempt.price_currency,
        **{_camel(name): getattr(attempt, name) for name in (*_TIMES, *_COUNTS, *_DURATIONS)},
        "problem": attempt.problem,
        "problems": list(attempt.problems),
        "workflowRule": attempt.workflow_rule,
        "session": session,
        "explainedBy": attempt.explained_by,
        "explanation": attempt.explanation,
        "provenance": attempt.provenance,
    }
    found |= {name: _time(found[name]) for name in ("at", *map(_camel, _TIMES))}
    return {name: _plain(value) for name, value in found.items()}


def schema() -> JsonObject:
    """The JSON Schema (2020-12) of a joined event."""
    text = files("flovia.insights").joinpath("joined-event-1.schema.json").read_text(encoding="utf-8")
    return cast("JsonObject", json.loads(text))


def envelope(event: Mapping[str, JsonValue], position: int, source: str) -> dict[str, JsonValue]:
    """A joined event in a CloudEvents 1.0 envelope.

    The ``subject`` is the attempt, and stays the same. The ``id`` is that of what is known of it: who has seen the id
    has seen this event as it is, and when something comes for the attempt (a refund), it is sent again with another id
    and a larger ``sequence``.

    Args:
        event: of :func:`joined_event`.
        position: of the newest event that it was made from.
        source: a URI reference that says whose events they are.
    """
    identity: list[JsonValue] = [event["attemptId"], position, event]
    found: dict[str, JsonValue] = {
        "specversion": "1.0",
        "id": "att_" + urlsafe_b64encode(sha256(canonical(identity)).digest()[:24]).decode("ascii"),
        "source": source,
        "type": TYPE,
        "subject": event["attemptId"],
        "datacontenttype": "application/json",
        "dataschema": SCHEMA,
        "sequence": f"{position:0{SEQUENCE_DIGITS}d}",
        "data": event,
    }
    at = event["lastAt"]
    if isinstance(at, int | float):
        moment = datetime.fromtimestamp(at, UTC)
        found["time"] = moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
    return found


def line(event: Mapping[str, JsonValue]) -> str:
    """A JSON object on one line, without a line end."""
    return json.dumps(event, allow_nan=False, separators=(",", ":"))


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(one.capitalize() for one in others)


def _time(at: JsonValue) -> float | None:
    """A time that others can read too; None for one of a clock that was beside itself."""
    return float(at) if isinstance(at, int | float) and 0 <= at <= LATEST else None


def _plain(value: JsonValue) -> JsonValue:
    """What every JSON reader agrees on: no infinity, and no half of a surrogate pair."""
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "replace").decode()
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list) else value
