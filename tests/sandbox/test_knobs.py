"""The knobs themselves: what can be set, and for which calls. The modules beside this one show what each value does."""

from importlib import import_module
from pathlib import Path

import pytest

from flovia.sandbox import KNOBS, LIMITS
from tests.sandbox.knobs import SHOWN, listed
from tests.sandbox.local import KEY, SALT, Local


def test_no_scenario_is_for_a_value_that_is_not_there() -> None:
    """What the tests show and what the table of knobs has is the same: no value is without a test."""
    for path in Path(__file__).parent.glob("test_knobs_*.py"):
        import_module(f"tests.sandbox.{path.stem}")
    assert {(knob, value) for knob, values in KNOBS.items() for value in values} == SHOWN


@pytest.mark.parametrize(
    "fault",
    [
        {},
        {"knob": "nothing"},
        {"knob": "http"},
        {"knob": "http", "value": 418},
        {"knob": "http", "value": True},
        {"knob": "http", "value": "slow", "ms": -1},
        {"knob": "http", "value": "slow", "ms": 1.5},
        {"knob": "http", "value": "slow", "ms": True},
        {"knob": "http", "value": "slow", "seconds": 1},
        {"knob": "http", "value": "reset", "after_commit": 1},
        {"knob": "http", "value": "redirect", "location": 1},
        {"knob": "http", "value": 503, "next": 0},
        {"knob": "http", "value": 503, "next": True},
        {"knob": "http", "value": 503, "route": 1},
        {"knob": "http", "value": 503, "id": 1},
        {"knob": "payer", "value": "auto_pay", "delay": "1"},
        {"knob": "limits", "unknown": 1},
        {"knob": "limits", "charge_ttl": 1, "id": "x"},
        {"knob": "limits", "charge_ttl": 1, "next": 1},
        {"knob": "pr_lag", "value": "forever", "route": "B1"},
        {"knob": "http", "value": 503, "route": "B10"},
        {"knob": "webhook", "value": "lost", "route": "B8"},
        {"knob": "webhook", "value": "lost", "target": "nobody"},
        {"knob": "http", "value": "redirect", "location": "http://127.0.0.1/\r\nx: y"},
        {"knob": "http", "value": "redirect", "location": "http://127.0.0.1/\u00e9"},
        {"faults": {"knob": "http"}},
        {"faults": [[]]},
    ],
)
def test_a_fault_that_is_none_is_refused(fault: dict[str, object]) -> None:
    """A misspelt knob, value or option is 422 with the ones there are, and nothing is set."""
    local = Local()
    reply = local.broker("PUT /__emulator/faults", fault)
    assert (422, "invalid") == (reply.status, reply.json()["error"])
    assert () == local.state.faults


def test_scopes() -> None:
    """By route, by id, for the next calls; a fault of the same scope replaces the one before; all can be cleared."""
    local = Local()
    charge_id, other = local.charge(), local.charge(nonce="another-nonce-1")
    local.fault("http", 503, route="B2", id=charge_id, next=2)
    assert [200, 503, 503, 200] == [
        local.broker(f"GET /v1/charges/{each}").status for each in (other, charge_id, charge_id, charge_id)
    ]
    local.fault("http", 500, route="B2")
    local.fault("http", 502, route="B2")
    assert 502 == local.broker(f"GET /v1/charges/{other}").status
    local.control("PUT faults", {"faults": [{"knob": "jwks", "value": "down"}, {"knob": "qr", "value": "string"}]})
    assert ["http", "http", "jwks", "qr"] == [fault.knob for fault in local.state.faults]
    local.control("DELETE faults?knob=http")
    assert 200 == local.broker(f"GET /v1/charges/{other}").status
    shown = local.control("GET faults")
    assert [{"knob": "jwks", "value": "down"}, {"knob": "qr", "value": "string"}] == shown["faults"]
    assert set(KNOBS) == set(shown["knobs"])  # type: ignore[call-overload]  # JSON
    local.control("DELETE faults")
    assert () == local.state.faults


def test_a_creation_is_named_by_the_request_it_is_for() -> None:
    """It has no id yet; and what is about one thing can be cleared by itself."""
    local = Local()
    body = local.creation()
    local.fault("http", 503, route="B1", id=body["request_hash"])
    other = {**local.creation(nonce="another-nonce-1"), "request_hash": "0" * 64}
    assert [503, 201] == [local.broker("POST /v1/charges", each).status for each in (body, other)]
    assert 400 <= local.broker("POST /v1/charges", {}).status < 500
    local.fault("http", 503, route="B2", id="x")
    local.control(f"DELETE faults?knob=http&id={body['request_hash']}")
    assert ["x"] == [fault.about for fault in local.state.faults]
    local.control("DELETE faults?knob=jwks&id=x")
    assert ["x"] == [fault.about for fault in local.state.faults]
    local.control("DELETE faults?id=x")
    assert () == local.state.faults


def test_the_journal_names_the_faults() -> None:
    """What was spoilt on purpose is told apart from what went wrong."""
    local = Local()
    local.fault("http", 503, route="B1")
    local.broker("POST /v1/charges", local.creation())
    assert [["http=503"]] == [each["faults"] for each in listed(local, "journal")]


def test_limits_have_defaults() -> None:
    """Each limit of the knob is one that a sandbox can be started with."""
    assert set(LIMITS) == set(KNOBS["limits"]["set"])
    assert KEY != SALT
