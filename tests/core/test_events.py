"""Events as rows and as records, and the workflow an agent declares."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import flovia
from flovia.core.events import EVENT_TYPES, FIELDS, Event, declared_workflow
from tests.core.world import Shop, buy, deliver, request


@given(st.builds(Event, at=st.floats(allow_nan=False), latency_ms=st.none() | st.floats(allow_nan=False)))
def test_rows_and_records_are_the_same(event: Event) -> None:
    """A record becomes a row and back; a shorter row leaves the last fields out."""
    assert event == Event.from_row(event.to_row())
    assert len(FIELDS) == len(event.to_row())
    assert Event(*event.to_row()[:6]) == Event.from_row(event.to_row()[:6])
    assert f"{event.request_id}.{event.seq}" == event.id


def test_types_are_fixed() -> None:
    """Event types have unique names in two families."""
    assert len(set(EVENT_TYPES)) == len(EVENT_TYPES)
    assert {"paid_api", "payment"} == {name.split(".")[0] for name in EVENT_TYPES}


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"flovia-workflow": " nightly-report "}, "nightly-report"),
        ({"flovia-workflow": ""}, None),
        ({"flovia-workflow": "x" * 128}, "x" * 128),
        ({"flovia-workflow": "x" * 129}, None),
        ({"flovia-workflow": "caf\xe9"}, None),
        ({"flovia-workflow": "a\tb"}, None),
        ({"baggage": "userId=1, flovia.workflow=w1;ttl=3, x=y"}, "w1"),
        ({"baggage": "userId=1"}, None),
        ({"baggage": "xflovia.workflow=w1"}, None),
        ({"flovia-workflow": "first", "baggage": "flovia.workflow=second"}, "first"),
    ],
)
def test_declared_workflow(headers: dict[str, str], expected: str | None) -> None:
    """The header wins over baggage; what is no short visible ASCII text counts as not declared."""
    assert expected == declared_workflow(flovia.Headers.of(list(headers.items())))


def test_a_requests_events_are_numbered() -> None:
    """From one on and without a gap: whoever has all of them knows that none is missing."""
    shop = Shop()
    gate = shop.flovia.paid_api(provider="mock", price="1.00 USD")
    _, passage = buy(gate)
    deliver(gate, passage)
    numbers: dict[str, list[int]] = {}
    for _, event in shop.ledger.read_events():
        numbers.setdefault(event.request_id, []).append(event.seq)
    assert [3, 6] == [len(seqs) for seqs in numbers.values()]
    assert [[1, 2, 3], [1, 2, 3, 4, 5, 6]] == list(numbers.values())


def test_s37_events_hold_no_secret() -> None:
    """No event of a purchase holds the credential, its proof, the receipt or the secret (S37, S38)."""
    shop = Shop()
    gate = shop.flovia.paid_api(provider="mock", price="1.00 USD", name="report")
    credential, passage = buy(gate, "ok-test-proof", headers={"flovia-workflow": "w1"})
    start = deliver(gate, passage)
    text = repr([event for _, event in shop.ledger.read_events()]) + repr(passage) + repr(gate) + repr(shop.flovia)
    receipt = dict(start.add)["payment-receipt"]
    for secret in (credential, credential.removeprefix("Payment "), "ok-test-proof", receipt, "test-secret"):
        assert secret not in text
    assert {("report", "w1")} == {(e.endpoint, e.workflow) for _, e in shop.ledger.read_events()}


def test_a_request_id_of_the_callers_is_kept() -> None:
    """An adapter's own request id names the events."""
    shop = Shop()
    gate = shop.flovia.paid_api(provider="mock", price="1.00 USD")
    asked = request()
    asked.request_id = "trace-1"
    gate.enter(asked)
    assert {"trace-1"} == {event.request_id for _, event in shop.ledger.read_events()}
