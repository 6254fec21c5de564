"""Switching it on, and what it takes when it is off."""

import subprocess
import sys

import pytest

import flovia
from flovia.core.errors import WiringError
from flovia.core.gate import Gate
from flovia.core.observer import Observer
from flovia.otel import Otel
from flovia.otel.guards import TracedGate, TracedObserver
from tests.otel.sdk import SECRET, Kept, paying, request, shop


def opened(**settings: object) -> flovia.Flovia:
    """A Flovia with these settings."""
    return flovia.Flovia(provider="mock", secret=SECRET, ledger="memory://", **settings)  # type: ignore[arg-type]


def test_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the setting, or with false, the guards are the plain ones, and nobody watches the driver."""
    monkeypatch.delenv("FLOVIA_OTEL", raising=False)
    for flo in (opened(), opened(otel=False)):
        gate = flo.paid_api(price="1.00 USD")
        assert (Gate, Observer) == (type(gate.guard), type(flo.observe().guard))
        assert gate.world.watch is None


@pytest.mark.parametrize("how", ["variable", "argument", "object"])
def test_on(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One variable, or one argument, which also says where it goes."""
    monkeypatch.setenv("FLOVIA_OTEL", "true" if how == "variable" else "false")
    flo = opened(**{"argument": {"otel": True}, "object": {"otel": Otel()}}.get(how, {}))
    gate = flo.paid_api(price="1.00 USD", name="r")
    assert "<Otel>" == repr(Otel())
    assert (TracedGate, TracedObserver) == (type(gate.guard), type(flo.observe().guard))
    assert ("<PaidApi gate r>", "<PaidApi observer unnamed>") == (repr(gate), repr(flo.observe()))


def test_neither_true_nor_false(monkeypatch: pytest.MonkeyPatch) -> None:
    """A value that is neither is refused at start."""
    monkeypatch.setenv("FLOVIA_OTEL", "console")
    with pytest.raises(WiringError, match="FLOVIA_OTEL is a text of 7 characters that is not true or false"):
        opened()


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who forgot the extra reads at start which line installs it."""
    for name in [name for name in sys.modules if name.startswith(("opentelemetry", "flovia.otel"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(WiringError, match=r"pip install 'flovia\[otel\]'"):
        opened(otel=True)


def test_off_it_is_not_imported() -> None:
    """A paid route without telemetry loads nothing of OpenTelemetry."""
    code = """
import sys, flovia
flo = flovia.Flovia(provider="mock", price="1.00 USD", ledger="memory://")
flo.paid_api().enter(flovia.HttpRequest("GET", "/paid", "", flovia.Headers.of([("host", "127.0.0.1")])))
print([name for name in sys.modules if name.startswith(("opentelemetry", "flovia.otel"))])
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "[]" == done.stdout.strip()


def test_without_an_sdk() -> None:
    """With the API alone everything works, and goes nowhere."""
    code = """
import flovia
from tests.otel.sdk import SECRET, paying, request
flo = flovia.Flovia(
    provider="mock", price="1.00 USD", ledger="memory://", secret=SECRET, public_origin="https://api.example.com",
    otel=True,
)
gate = flo.paid_api()
passage = gate.enter(request(paying(gate.enter(request()).response)))
print(passage.start(200, flovia.Headers.of([])).add[0][0], passage.trace.request_id[:4])
gate.leave(passage, completed=True)
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "payment-receipt req_" == done.stdout.strip()


def test_the_events_are_the_same() -> None:
    """With telemetry as without, the same events tell of the same requests."""

    def events(flo: flovia.Flovia) -> list[tuple[object, ...]]:
        gate = flo.paid_api(name="r")
        passage = gate.enter(request(paying(gate.enter(request()).response)))
        passage.start(200, flovia.Headers.of([]))
        gate.leave(passage, completed=True)
        seen = [event for _, event in flo.ledger.read_events()]
        return [(e.type, e.seq, e.status, e.problem, e.amount, e.payer, e.payment_id) for e in seen]

    plain = events(shop(Kept(), otel=False))
    assert "payment.delivered" in [type_ for type_, *_ in plain]
    assert plain == events(shop(Kept()))
