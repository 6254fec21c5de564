"""The form of what leaves: CloudEvents 1.0, one published schema, ids that never change."""

import math
from typing import Any, cast

import attrs
import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flovia.core.events import EVENT_TYPES, FIELDS, Event
from flovia.export.envelope import NAMES, entry, entry_of, event_id, schema
from tests.export.world import event, parsed


def check(envelope: Any) -> None:
    """Raises if it is not what the schema says."""
    validator = jsonschema.Draft202012Validator(cast("Any", schema()), format_checker=jsonschema.FormatChecker())
    validator.validate(envelope)


def test_the_schema_is_one() -> None:
    """A JSON Schema of 2020-12, with a member for every field of an event."""
    jsonschema.Draft202012Validator.check_schema(cast("Any", schema()))
    data = cast("Any", schema())["properties"]["data"]
    assert set(NAMES.values()) == set(data["properties"])


@pytest.mark.parametrize("type_", EVENT_TYPES)
def test_every_type_is_valid(type_: str) -> None:
    """Whatever the type, full or bare, what is sent is what the schema says."""
    check(parsed(entry(7, event(type=type_)).body))
    bare = Event(type=type_, at=0.0, request_id="refund_1", seq=0, endpoint="", http_method="")
    check(parsed(entry(2**62, bare).body))


def test_what_is_sent() -> None:
    """Every member, by its name; nothing is sent of what is not known; the amount is text."""
    sent = parsed(entry(12, event(problem="expired", amount=10**30), "https://api.example.com").body)
    assert "1.0" == sent["specversion"]
    assert ("https://api.example.com", "paid_api.request_started") == (sent["source"], sent["type"])
    assert ("2023-11-14T22:13:20.250000Z", "0000000000000000012") == (sent["time"], sent["sequence"])
    assert {
        "at": 1_700_000_000.25,
        "requestId": "req-1",
        "seq": 1,
        "endpoint": "/reports/{id}",
        "httpMethod": "GET",
        "provider": "mock",
        "rail": "mpp",
        "amount": "1" + "0" * 30,
        "currency": "usd",
        "challengeId": "challenge-1",
        "paymentId": "pay-1",
        "payer": "did:example:payer",
        "recipient": "acct-1",
        "status": 200,
        "latencyMs": 12.5,
        "workflow": "nightly",
        "problem": "expired",
    } == sent["data"]
    assert "payer" not in parsed(entry(12, event(payer=None)).body)["data"]


def test_the_id_never_changes() -> None:
    """Receivers remember ids: this one is what it was in the first version that had them."""
    assert PINNED == event_id(event())
    assert PINNED == event_id(event(status=500, payer=None, amount=1))


PINNED = "evt__xxnfMtBWqg4IY4gaGucGxhe7f1bhrp6"


@pytest.mark.parametrize("change", [{"request_id": "req-2"}, {"seq": 2}, {"at": 1.5}, {"type": "payment.settled"}])
def test_what_makes_an_event_unique_makes_its_id(change: dict[str, Any]) -> None:
    """Two events that the ledger keeps apart have two ids."""
    assert event_id(event()) != event_id(event(**change))


TEXT = st.text(st.characters(codec=None), max_size=20)  # type: ignore[arg-type]  # half surrogate pairs too
EVENTS = st.builds(
    Event,
    type=st.sampled_from(EVENT_TYPES),
    at=st.floats(0, 2**40),
    request_id=TEXT,
    seq=st.integers(0, 10**6),
    endpoint=TEXT,
    http_method=TEXT,
    provider=st.none() | TEXT,
    amount=st.none() | st.integers(0, 10**40),
    status=st.none() | st.integers(100, 599),
    latency_ms=st.none() | st.floats(0) | st.just(math.nan),
    workflow=st.none() | TEXT,
)


@given(EVENTS)
def test_any_event_is_one_line_of_valid_json(found: Event) -> None:
    """Whatever texts an event holds, it leaves as one line that every reader takes, and comes back as it was."""
    one = entry(1, found)
    assert b"\n" not in one.body
    check(parsed(one.body))
    assert one == attrs.evolve(entry_of(1, one.body.decode()), at=one.at)


def test_a_clock_beside_itself_stops_nothing() -> None:
    """An event without a time that can be written is sent without."""
    sent = parsed(entry(1, event(at=1e300, latency_ms=math.inf)).body)
    assert "time" not in sent
    assert "latencyMs" not in sent["data"]


def test_every_field_is_sent() -> None:
    """A field that is added to events is added here, and to the schema."""
    assert {*NAMES, "type"} == set(FIELDS)
